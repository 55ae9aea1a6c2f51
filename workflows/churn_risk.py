"""Churn risk (ledger P9): several signs at once that a customer may leave."""

from temporalio import workflow

from models import facts
from models.at_risk import LEVELS, ChurnRisk
from models.cases import Case, Ending
from models.facts import Fact
from workflows.playbook import Playbook
from workflows.steps import Start, on_day, when

CHAMPION_LEFT = "champion left"
DATA_EXPORT = "data export started"

TALKED = ("they_stay", "they_waver", "they_leave", "not_reached")


def is_grave(fact: Fact) -> bool:
    """Critical, or high by several signals: one alone is for its own playbook (P9.2, P9.4)."""
    return fact.value == "critical" or (fact.value in LEVELS and fact.object_id.endswith(":several"))


def is_champion(fact: Fact) -> bool:
    """The person who stood for us has left: that alone is enough (P9.5)."""
    return fact.value == CHAMPION_LEFT


@workflow.defn(name="churn-risk")
class ChurnRiskAccount(Playbook):
    """They may leave: say why, bring in the people who can keep them, and look again until it is over."""

    escalated = called = champion = exported = saved = False
    starts_on = (
        Start(facts.RISK_ESCALATED),
        Start(facts.RISK_LEVEL_CHANGED, values=LEVELS, only_if=is_grave),
        Start(facts.RISK_RAISED, only_if=is_champion),
    )
    ends_on = (facts.RISK_CALMED, facts.SUBSCRIPTION_CANCELLED)
    watches = "risk"
    precedence = "churn_risk"
    writes_to = "champion"
    outcomes = ("de_escalated", "saved", "churned", "still_at_risk")
    rules: ChurnRisk

    @workflow.run
    async def run(self, case: Case) -> Ending:
        """Assess and act today, then look again (P9.2 to P9.7)."""
        rules = self.rules = case.policy.churn_risk
        looks = [on_day(day, self.look_again, name=f"look_again_{day}", fresh=True) for day in rules.look_days]
        return await self.follow(
            case,
            on_day(0, self.assess, fresh=True, stage="Assessed"),
            *looks,
            on_day(rules.last_day, self.take_stock, fresh=True),
            otherwise=self.how_it_ended,
        )

    # The steps.

    def assess(self) -> None:
        """Write down level, signals and what to do; have the right people act today."""
        self._note(f"Churn risk {self.level}. Signals: {self.signals or 'none'}.")
        if self.given(self.count >= self.rules.assess_from or self.passed_on, "one signal alone: no assessment"):
            self.task("Churn Risk Assessment", template="churn.assessment")
        self.act()

    def look_again(self) -> None:
        """See whether it is over, and act on what is new."""
        self.act()

    def take_stock(self) -> None:
        """See what has come of it."""

    # What may come in between.

    @when(facts.RISK_LEVEL_CHANGED)
    def act_on_the_new_level(self, fact: Fact) -> None:
        """Act on a level that changed, at once."""
        self.act()

    @when(facts.RISK_RAISED)
    def act_on_the_signal(self, fact: Fact) -> None:
        """Act on a new signal, at once."""
        self.act()

    def hear_from_the_call(self, outcome: str) -> None:
        """Take in what the customer said."""
        self.saved = outcome == "they_stay"
        if outcome == "they_leave":
            self.task("They say that they leave: a last word from an executive", owner="executive")

    def part(self, reason: str) -> str:
        """Name what it came to; how many days after the first signal stays with the case as `signal_days` (P9.7)."""
        if reason == facts.RISK_CALMED:
            return "saved" if self.saved else "de_escalated"
        return "churned" if reason == facts.SUBSCRIPTION_CANCELLED else "ended_by_lead"

    def how_it_ended(self) -> str:
        """Three months on, and still at risk: the lead decides."""
        if self.saved:
            return "saved"
        self.task(
            "Still at risk after three months: decide what to do",
            owner="lead",
            template="churn.assessment",
        )
        return "still_at_risk"

    # The rules of this playbook.

    @property
    def level(self) -> str:
        """The level of churn risk as last seen."""
        return str(self.reading("risk_level", self.case.value))

    @property
    def signals(self) -> str:
        """The live signals by name."""
        return str(self.reading("signals"))

    @property
    def count(self) -> int:
        """How many signals are live."""
        return len([each for each in self.signals.split("; ") if each])

    @property
    def passed_on(self) -> bool:
        """Whether another playbook could not help (P8.12)."""
        return self.case.trigger == facts.RISK_ESCALATED

    def act(self) -> None:
        """Do what the level and the signals ask for, each once."""
        self.escalate()
        if DATA_EXPORT in self.signals and not self.exported:
            self.exported = self.called = True
            self.call("Contact them today: they export their data")
        critical = self.level == "critical" or self.passed_on
        if critical and not self.called:
            self.called = True
            self.call("Call them: they may leave")
        if CHAMPION_LEFT in self.signals and not self.champion:
            self.champion = True
            days = self.rules.new_contact_days
            self.task("Find a new champion", template="churn.champion", due_in_days=2)
            self.task("Ask the sponsor for an introduction", template="churn.champion", due_in_days=2)
            self.task("Begin anew with the new contact", template="churn.champion", due_in_days=days)

    def escalate(self) -> None:
        """Tell the manager and the account executive, once (P9.3)."""
        many = self.count >= self.rules.escalate_from or self.passed_on
        if many and not self.escalated:
            self.escalated = True
            for owner in ("manager", "account_executive"):
                self.task("Churn Risk Escalation", template="churn.escalation", owner=owner)

    def call(self, title: str) -> None:
        """Ask for a talk with the customer today, and wait for what came of it (P9.4, P9.6)."""
        self.ask(
            title,
            template="churn.call",
            answers=TALKED,
            within_days=1,
            then=self.hear_from_the_call,
            escalate_to="manager",
        )
