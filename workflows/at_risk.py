"""At risk (ledger P8): health fell into a band that asks for help, from the product or from people."""

from temporalio import workflow

from models import facts
from models.at_risk import BANDS, BY_PEOPLE, CAUSES, LEVERS, AtRisk
from models.cases import Case, Ending
from models.facts import Fact
from workflows.playbook import Playbook
from workflows.steps import Start, on_day, when

H5 = "h5"
ONBOARDING = "h2"


def is_low(fact: Fact) -> bool:
    """A band that asks for help; what h2 says of a new customer is for onboarding to act on (P7.22)."""
    return fact.value in BANDS and fact.object_id != ONBOARDING


@workflow.defn(name="at-risk")
class AtRiskAccount(Playbook):
    """Health is low: see why, help, follow up, and escalate what does not get better."""

    begun_at = -1
    worst = cause = ""
    done_about_it = ""
    starts_on = (Start(facts.HEALTH_BAND_CHANGED, values=BANDS, only_if=is_low),)
    ends_on = (facts.HEALTH_RECOVERED, facts.SUBSCRIPTION_CANCELLED)
    watches = "health"
    precedence = "at_risk"
    writes_to = "champion"
    marketing = True
    outcomes = ("recovered", "improved", "unchanged", "escalated", "churned")
    rules: AtRisk

    @workflow.run
    async def run(self, case: Case) -> Ending:
        """Identify, investigate, intervene, follow up three times (P8.3 to P8.6)."""
        rules = self.rules = case.policy.at_risk
        self.worst = case.value
        first, second, last = rules.follow_up_days
        return await self.follow(
            case,
            on_day(0, self.identify, fresh=True),
            on_day(rules.investigate_day, self.investigate, stage="Investigate"),
            on_day(rules.intervene_day, self.intervene, fresh=True, stage="Intervene"),
            on_day(first, self.check_progress, name="check_progress_1", fresh=True, stage="Follow up"),
            on_day(second, self.check_progress, name="check_progress_2", fresh=True),
            on_day(last, self.take_stock, fresh=True),
            otherwise=self.how_it_ended,
        )

    # The steps.

    def identify(self) -> None:
        """Put on record which signals are up; where people come first, have the account reviewed today."""
        self.begun_at = self.health
        self._note(f"Health {self.health} of 100, {self.worst.replace('_', ' ')}. Signals: {self.signals or 'none'}.")
        if self.by_people:
            self.review()
        elif self.given(not self.by_profile, "scorecard h5: the CSM and the manager begin themselves"):
            self.email("atrisk.help")

    def investigate(self) -> None:
        """Find the one root cause: use, support, what they said."""
        self.ask(
            "Find out why the health is low",
            template="atrisk.investigate",
            answers=CAUSES,
            then=self.route_by_cause,
        )

    def intervene(self) -> None:
        """Do what helps: by a person where health is critical, else a mail first and a person beside it."""
        if not self.by_people and not self.by_profile:
            self.email("atrisk.education", advanced_feature=self.case.policy.words.advanced_feature)
        self.ask(
            "Recovery plan: agree on it with the customer" if self.by_people else "Reach out: offer help and training",
            template="atrisk.intervene",
            owner=self.leads,
            answers=LEVERS,
            then=self.note_what_was_done,
            cause=self.cause.replace("_", " ") or "not named yet",
        )
        if self.by_profile and self.seconds:
            self.task("Stand by the CSM with this account", template="atrisk.review", owner=self.seconds)

    def check_progress(self) -> None:
        """See whether it gets better; change the plan where it does not."""
        if self.given(self.is_better, f"no better: {self.health} now, {self.begun_at} at the start"):
            self._note(f"Better: {self.health} now, {self.begun_at} at the start.")
            return
        self.task(
            "No progress yet: adjust the plan",
            template="atrisk.adjust",
            owner=self.leads,
            cause=self.cause.replace("_", " ") or "not named yet",
        )

    def take_stock(self) -> None:
        """See what has come of it."""

    # What may come in between.

    @when(facts.HEALTH_BAND_CHANGED)
    def see_where_it_went(self, fact: Fact) -> None:
        """See whether it got worse: then a person comes first from now on."""
        worse = fact.value in BY_PEOPLE and self.worst not in BY_PEOPLE
        if self.given(worse, "no worse than before"):
            self.worst = fact.value
            self.review()

    def route_by_cause(self, cause: str) -> None:
        """Pass the account on to whoever deals with that cause (P8.8)."""
        self.cause = cause
        self.tell(facts.ROOT_CAUSE_FOUND, cause)
        what, owner = ROUTES.get(cause, ("", ""))
        if self.given(bool(what), f"nobody else is asked about {cause.replace('_', ' ')}"):
            self.task(what, template="atrisk.route", owner=owner, cause=cause.replace("_", " "))

    def note_what_was_done(self, lever: str) -> None:
        """Take in what was done about it (P8.9)."""
        self.done_about_it = lever

    def part(self, reason: str) -> str:
        """Say well done; a customer who left is another playbook's."""
        if reason == facts.HEALTH_RECOVERED and self.cheers:
            self.email("atrisk.better")
        return {facts.HEALTH_RECOVERED: "recovered", facts.SUBSCRIPTION_CANCELLED: "churned"}.get(
            reason, "ended_by_lead"
        )

    def how_it_ended(self) -> str:
        """Better, or on to the people who decide (P8.12)."""
        if self.is_better:
            return "improved"
        self.tell(facts.RISK_ESCALATED, "at_risk")
        return "escalated" if self.by_people else "unchanged"

    # The rules of this playbook.

    @property
    def health(self) -> int:
        """The score as last seen, rounded down; -1 where it is not known."""
        return int(self.reading("health", -1))

    @property
    def signals(self) -> str:
        """Which risk signals are up (P8.3)."""
        return str(self.reading("signals"))

    @property
    def by_people(self) -> bool:
        """Whether a person comes first (P8.7)."""
        return self.worst in BY_PEOPLE

    @property
    def by_profile(self) -> bool:
        """Whether scorecard h5 speaks for the accounts, which has owners by band (P8.10)."""
        return self.case.policy.health.model == H5

    @property
    def leads(self) -> str:
        """Who leads: the CSM; with h5 the manager once it is critical, an executive once it is lost (P8.10)."""
        return {"critical": "manager", "lost": "executive"}.get(self.worst, "") if self.by_profile else ""

    @property
    def seconds(self) -> str:
        """Who stands beside whoever leads (P8.10)."""
        return {"at_risk": "manager", "critical": "executive"}.get(self.worst, "")

    @property
    def is_better(self) -> bool:
        """Whether health has risen by what counts, or into a band without worry."""
        line = self.rules.healthy_h5 if self.by_profile else self.rules.healthy
        return self.health >= line or self.health >= self.begun_at + self.rules.better_by >= 0

    @property
    def cheers(self) -> bool:
        """Whether somebody did something that the customer knows of."""
        return self.done_about_it not in ("", "not_reached")

    def review(self) -> None:
        """The urgent task of the CSM's, due today (P8.2)."""
        self.task("At-Risk Account Review", template="atrisk.review", owner=self.leads, due_in_days=0.5)


ROUTES = {
    "payment": ("Payment: see that the open invoices are dealt with", ""),
    "tickets": ("Support: escalate the open tickets", "manager"),
    "competitor": ("Competitor: show what they would lose, and ask what they miss", "account_executive"),
    "no_value": ("No value yet: agree on one result within two weeks", ""),
    "low_adoption": ("Adoption: train them in what they do not use", ""),
    "relationship": ("Relationship: a meeting with their sponsor", "executive"),
    "champion_left": ("Champion left: find a new one, and begin again with them", ""),
}
"""What each root cause leads to, and who does it; empty: the CSM (P8.8)."""
