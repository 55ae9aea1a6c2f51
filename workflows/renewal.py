"""Renewal (ledger P6): from 120 days before the date to a signature, with more care where health is low."""

from temporalio import workflow

from models import facts
from models.cases import Case, Ending
from models.facts import Fact
from models.policy import Renewal as Days
from workflows.playbook import Playbook
from workflows.steps import Start, before, when

HELD = ("held", "moved", "not_reached")
POTENTIAL = ("none", "some", "high")
OUT = "Contract Sent"


@workflow.defn(name="renewal")
class Renewal(Playbook):
    """A contract comes up for renewal: prepare, talk, agree, have it signed."""

    at_risk = sent = False
    deal_stage = lost_because = ""
    starts_on = (Start(facts.RENEWAL_AHEAD),)
    ends_on = (
        facts.CONTRACT_SIGNED,
        facts.CONTRACT_EXPANDED,
        facts.CONTRACT_REDUCED,
        facts.RENEWAL_LOST,
        facts.SUBSCRIPTION_CANCELLED,
    )
    watches = "contract"
    precedence = "renewal"
    gives_way = "wait"
    one_for_each_subject = True
    cooldown_days = 0
    writes_to = "champion"
    outcomes = ("renewed", "renewed_expanded", "renewed_reduced", "lapsed", "lost")
    days: Days

    @classmethod
    def refuses(cls, case: Case) -> str:
        """Without a date there is nothing to count back from."""
        return "" if case.anchor else "no contract is on record under this subject, so its date is not known"

    @workflow.run
    async def run(self, case: Case) -> Ending:
        """Days count back from the renewal date (P6.2 to P6.11).

        A late start does the 90-day set, and near the date the contract too, at once (P6.13).
        """
        days = self.days = case.policy.renewal
        to_the_lead, to_an_executive = days.escalate_days
        return await self.follow(
            case,
            before(days.prepare_day, self.prepare),
            before(days.deal_day, self.open_the_deal, stage="Renewal Due", fresh=True, if_late="take"),
            before(days.review_day, self.kick_off, stage="Kickoff", fresh=True),
            before(days.pricing_day, self.discuss_pricing, stage="Terms", fresh=True),
            before(days.negotiate_day, self.negotiate, stage="Negotiation", fresh=True),
            before(days.final_terms_day, self.agree_final_terms, stage="Final Terms", fresh=True),
            before(days.contract_day, self.send_the_contract, stage=OUT, fresh=True, if_late="take"),
            before(to_the_lead, self.escalate_to_the_lead),
            before(to_an_executive, self.escalate_to_an_executive, stage="Unsigned"),
            before(-days.grace_days, self.give_up),
            otherwise="lapsed",
        )

    # The steps.

    def prepare(self) -> None:
        """Gather date, term, contacts, usage and health; nothing goes to the customer."""
        self.note("Prepare the renewal", "renewal.prep")

    def open_the_deal(self) -> None:
        """Open the renewal deal and set the kickoff."""
        self.move_deal("Renewal Due")
        if self.given(not self.reading("owner", self.case.owner), "a CSM is assigned"):
            self.task("Assign a CSM: a renewal is ahead", owner="lead")
        due = self.days_until(self.days.review_day)
        self.note("Renewal Kickoff", "renewal.kickoff", due_in_days=due)
        if self.health_is_low():
            self.note("Assess the value, confirm the CSM, find the executive sponsor", "renewal.assess")

    def kick_off(self) -> None:
        """Hold the kickoff call and review the value."""
        self.move_deal("Kickoff")
        self.meet("Hold the renewal kickoff and value review", "renewal.review")
        if self.health_is_low():
            self.email("renewal.qbr_invite")
            self.ask(
                "Schedule the QBR and list expansion opportunities",
                template="renewal.qbr",
                answers=POTENTIAL,
                then=self.note_the_potential,
            )
            self.note("Prepare the ROI report", "renewal.roi_report")

    def discuss_pricing(self) -> None:
        """Discuss pricing and terms."""
        self.move_deal("Terms")
        self.meet("Discuss pricing and terms", "renewal.pricing")
        self.health_is_low()

    def negotiate(self) -> None:
        """Negotiate the contract; where health is low, address their concerns first."""
        self.move_deal("Negotiation")
        self.meet("Negotiate the contract", "renewal.negotiation")
        if self.health_is_low():
            self.note("Address their concerns and finalise the terms", "renewal.concerns")

    def agree_final_terms(self) -> None:
        """Agree on final terms, executives aligned."""
        self.move_deal("Final Terms")
        self.email("renewal.terms")
        self.note("Align executives on the final terms", "renewal.final_terms", owner="executive")
        self.health_is_low()

    def send_the_contract(self) -> None:
        """Send the contract for signature, unless it is out already."""
        if not self.given(not self.is_out, "the contract is out already"):
            self.hear_that_it_is_sent("sent")
        elif self.given(bool(self.reading("can_be_signed")), "there is no page to sign it on: a person sends it"):
            self.hear_that_it_is_sent("sent")
            self.email("renewal.contract", to="sponsor")
        else:
            self.ask(
                "Send the contract for signature",
                template="renewal.send",
                answers=("sent",),
                then=self.hear_that_it_is_sent,
            )
        self.health_is_low()

    def escalate_to_the_lead(self) -> None:
        """Still unsigned: remind them, and tell the CSM lead and the account executive."""
        can_sign = self.is_out and bool(self.reading("can_be_signed"))
        if self.given(can_sign, "no reminder: the contract was not sent, or there is no page to sign it on"):
            self.email("renewal.unsigned", to="sponsor")
        self.note("The contract is not signed", "renewal.escalation", owner="lead")
        self.note("The contract is not signed", "renewal.escalation", owner="account_executive")

    def escalate_to_an_executive(self) -> None:
        """The day has come: close and renew, or bring in an executive."""
        self.note("Close the renewal", "renewal.close")
        self.note("Unsigned on the renewal date", "renewal.escalation", owner="executive")

    def give_up(self) -> None:
        """The grace is over: the renewal is lost, win-back begins."""
        self.deal("Lost")
        self.tell(facts.RENEWAL_LAPSED, "unsigned")

    # What may come in between.

    @when(facts.RENEWAL_DATE_CHANGED)
    def move_to_the_new_date(self, fact: Fact) -> None:
        """Move all that is left to the new renewal date."""

    @when(facts.CONTRACT_SENT)
    def note_that_it_is_sent(self, fact: Fact) -> None:
        """Note that the contract is out for signature."""
        self.hear_that_it_is_sent("sent")

    @when(facts.RENEWAL_LOST)
    def note_why_it_is_lost(self, fact: Fact) -> None:
        """Note why they do not renew."""
        self.lost_because = fact.value

    def hear_that_it_is_sent(self, outcome: str) -> None:
        """Take in that the contract is out; from now on the deal stays there until it is won or lost."""
        self.sent = True
        self.move_deal(OUT)

    def note_the_potential(self, outcome: str) -> None:
        """Put on the deal how much they could gain from more (P6.6, P6.15)."""
        self.deal(self.deal_stage, expansion_potential=outcome)

    def hear_from_the_meeting(self, outcome: str) -> None:
        """Take in how a meeting ended."""
        if outcome == "not_reached":
            self.task("A renewal meeting did not take place: find another way", owner="lead")

    def part(self, reason: str) -> str:
        """Move the deal to won or lost, and name what it came to (P6.16, P6.21)."""
        if reason in (facts.CONTRACT_SIGNED, facts.CONTRACT_EXPANDED, facts.CONTRACT_REDUCED):
            self.deal("Won")
        elif reason != facts.ENDED_BY_LEAD:
            self.deal("Lost")
        if reason == facts.RENEWAL_LOST:
            self.tell(facts.RENEWAL_LAPSED, self.lost_because or "lost")
        return {
            facts.CONTRACT_SIGNED: "renewed",
            facts.CONTRACT_EXPANDED: "renewed_expanded",
            facts.CONTRACT_REDUCED: "renewed_reduced",
            facts.RENEWAL_LOST: "lost",
            facts.SUBSCRIPTION_CANCELLED: "lost",
        }.get(reason, "ended_by_lead")

    # The rules of this playbook.

    def health_is_low(self) -> bool:
        """Whether the risk overlay applies; an account that joins it late catches up with one task (P6.1, P6.12)."""
        low = 0 <= int(self.reading("health", -1)) < self.days.risk_health
        if low and not self.at_risk:
            self.at_risk = True
            missed = [what for step, what in OVERLAY.items() if step in self._done]
            if missed:
                self.note("Renewal at risk: catch up", "renewal.catch_up", missed="; ".join(missed))
        return self.given(low, f"no overlay: health is not below {self.days.risk_health}")

    @property
    def is_out(self) -> bool:
        """Whether the contract was sent for signature, by us or by a person."""
        return self.sent or self.reading("contract_state") == "sent"

    def move_deal(self, stage: str) -> None:
        """Move the deal on with the milestone (P6.14)."""
        if self.given(stage == OUT or not self.sent, f"the deal is at {OUT} already"):
            self.deal_stage = stage
            self.deal(stage)

    def meet(self, title: str, template: str) -> None:
        """A meeting of the CSM's, waited for."""
        self.ask(title, template=template, answers=HELD, then=self.hear_from_the_meeting)

    def note(self, title: str, template: str, *, owner: str = "", due_in_days: float = 1, **fields: str | int) -> None:
        """A task with its guide."""
        self.task(title, template=template, owner=owner, favour="", due_in_days=due_in_days, **fields)


OVERLAY = {
    "open_the_deal": "confirm the CSM, assess the value, find the executive sponsor",
    "kick_off": "schedule the QBR, prepare the ROI report, list expansion opportunities",
    "negotiate": "address their concerns",
}
