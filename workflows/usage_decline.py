"""Usage decline (ledger P3): three weeks of asking, helping, calling and, last, offering."""

from temporalio import workflow

from models import facts
from models.cases import Case, Ending
from models.facts import Fact
from models.policy import Usage
from workflows.playbook import Playbook
from workflows.steps import Start, on_day, when

RISK = "usage decline"
CALL_ANSWERS = ("plan_agreed", "lull_planned", "no_interest", "not_reached")


@workflow.defn(name="usage-decline")
class UsageDecline(Playbook):
    """Usage fell: ask kindly, help, call where it is worth it, and only then offer."""

    severe = called = agreed = booked = False
    to_be_approved = ""
    starts_on = (Start(facts.USAGE_DECLINED, values=("moderate", "severe")),)
    ends_on = (
        facts.USAGE_RECOVERED,
        facts.CANCEL_REQUESTED,
        facts.SUBSCRIPTION_CANCELLED,
        facts.LULL_PLANNED,
    )
    watches = "usage"
    precedence = "usage_decline"
    counts_from = 1
    writes_to = "champion"
    marketing = True
    outcomes = (
        "recovered",
        "training_booked",
        "discount_accepted",
        "plan_agreed",
        "escalated_unresolved",
        "churned",
        "cancel_flow",
        "lull_planned",
    )
    rules: Usage

    @workflow.run
    async def run(self, case: Case) -> Ending:
        """Day 1 is the day of the fall (P3.5 to P3.13)."""
        self.severe, self.rules = case.value == "severe", case.policy.usage
        offer_day, last_offer_day = self.rules.offer_days
        return await self.follow(
            case,
            on_day(1, self.ask_in_the_product),
            on_day(1, self.alert_the_csm, only_if=self.fell_by_half),
            on_day(3, self.check_in, stage="Asked"),
            on_day(7, self.call_them, only_if=self.is_worth_a_call, stage="Called"),
            on_day(8, self.share_a_screen, only_if=self.fell_by_half),
            on_day(offer_day, self.offer_training, fresh=True, stage="Offered help"),
            on_day(offer_day + 1, self.plan_the_recovery, only_if=self.fell_by_half),
            on_day(last_offer_day, self.bring_in_an_executive, only_if=self.fell_by_half, stage="Executive"),
            on_day(last_offer_day + self.rules.last_look_days, self.take_stock, fresh=True),
            otherwise=self.how_it_ended,
        )

    # The steps.

    def ask_in_the_product(self) -> None:
        """Ask in the product whether they need help."""
        self.show_banner("usage.d1")

    def alert_the_csm(self) -> None:
        """Put a risk signal on the account and have the CSM reach out today."""
        self.raise_risk(RISK)
        self.task("High priority: usage fell by half, reach out today", template="usage.outreach")

    def check_in(self) -> None:
        """Write to them: is everything okay?"""
        self.email("usage.d3_severe" if self.severe else "usage.d3")

    def call_them(self) -> None:
        """Call them to find what stands in the way, and agree on a plan."""
        self.call("Call about the falling usage", "usage.call")

    def share_a_screen(self) -> None:
        """Share a screen with those not called yet; a link to book it where nobody calls."""
        if not self.given(not self.called, "they have been called already"):
            return
        if self.given(self.has_a_csm, "no call: this segment books one itself"):
            self.call("Call and share a screen", "usage.screen_share")
        else:
            self.email("usage.self_book")

    def offer_training(self) -> None:
        """Offer a training session, and a discount where health is at risk."""
        self.email("usage.training")
        if self.given(self.health_is_at_risk, "no discount: health is not at risk"):
            self.discount("usage.discount")

    def plan_the_recovery(self) -> None:
        """Have a manager call and write a recovery plan."""
        self.ask(
            "Call as the manager and agree on a recovery plan",
            template="usage.recovery_plan",
            owner="manager",
            answers=CALL_ANSWERS,
            then=self.hear_from_the_call,
        )

    def bring_in_an_executive(self) -> None:
        """Bring in an executive, with an offer to stay."""
        self.task("Write to them personally", template="usage.executive", owner="executive")
        refused = self.reading("offer") in ("", "declined") and not self.to_be_approved
        if self.given(refused, "an offer was made before and not refused"):
            self.discount("usage.retention")

    def take_stock(self) -> None:
        """See what has come of it."""

    # What may come in between.

    @when(facts.USAGE_DECLINED)
    def see_that_it_got_worse(self, fact: Fact) -> None:
        """See whether the fall has become a severe one."""
        if self.given(fact.value == "severe" and not self.severe, "no worse than before"):
            self.severe = True
            self.alert_the_csm()

    @when(facts.TRAINING_BOOKED)
    def note_the_training(self, fact: Fact) -> None:
        """Note that they booked a training."""
        self.booked = True

    def hear_from_the_call(self, outcome: str) -> None:
        """Take in how a call ended; a planned lull is no decline (P3.15)."""
        self.agreed = self.agreed or outcome == "plan_agreed"
        self.called = outcome != "not_reached"
        if outcome == "lull_planned":
            self.tell(facts.LULL_PLANNED)

    def send_the_discount(self, answer: str) -> None:
        """Send the discount that the lead approved (O6)."""
        template, self.to_be_approved = self.to_be_approved, ""
        if self.given(answer == "approved", "the lead did not approve the discount"):
            self.email(template, offer=self.offer(pct=self.pct, approver=self.case.policy.people.csm_lead))

    def part(self, reason: str) -> str:
        """Take the question down; offer a pause to those who planned a lull (P3.15, P3.16)."""
        self.take_down_banner()
        if reason != facts.CANCEL_REQUESTED:
            self.clear_risk(RISK)
        if reason == facts.LULL_PLANNED:
            self.email("usage.pause", offer=self.offer(pause=True))
        return {
            facts.USAGE_RECOVERED: "recovered",
            facts.CANCEL_REQUESTED: "cancel_flow",
            facts.SUBSCRIPTION_CANCELLED: "churned",
            facts.LULL_PLANNED: "lull_planned",
        }.get(reason, "ended_by_lead")

    def how_it_ended(self) -> str:
        """What three weeks came to (P3.16)."""
        self.take_down_banner()
        if "accepted" in str(self.reading("offer")):
            return "discount_accepted"
        if self.agreed:
            return "plan_agreed"
        if self.booked:
            return "training_booked"
        self.tell(facts.DECLINE_UNRESOLVED)
        return "escalated_unresolved"

    # The rules of this playbook.

    def fell_by_half(self) -> bool:
        """Only where usage fell by half or more."""
        return self.severe

    def is_worth_a_call(self) -> bool:
        """Only for accounts in usage.call_scope."""
        return {"all": True, "nobody": False}.get(self.rules.call_scope, self.high_value)

    @property
    def has_a_csm(self) -> bool:
        """Whether people look after this account, or pages do (P3.10)."""
        return self.high_value or self.segment in ("enterprise", "mid")

    @property
    def health_is_at_risk(self) -> bool:
        """Whether the health score is known and low (P3.11)."""
        return 0 <= int(self.reading("health", -1)) < self.rules.discount_health

    @property
    def pct(self) -> int:
        """The discount this account is offered (O2)."""
        rules = self.case.policy.offers
        is_old = int(self.reading("tenure_days", 0)) > rules.long_tenure_days
        return rules.long_tenure_pct if is_old else rules.save_pct

    def call(self, title: str, template: str) -> None:
        """Ask the CSM for a call and wait for what came of it."""
        self.called = True
        self.ask(title, template=template, answers=CALL_ANSWERS, then=self.hear_from_the_call)

    def discount(self, template: str) -> None:
        """Offer a discount; in some segments the CSM lead approves it first (O6)."""
        if self.segment in self.case.policy.offers.approval_segments:
            self.to_be_approved = template
            self.ask(
                "Approve a discount to keep this account",
                owner="lead",
                answers=("approved", "refused"),
                then=self.send_the_discount,
                escalate_to="manager",
            )
        else:
            self.email(template, offer=self.offer(pct=self.pct))
