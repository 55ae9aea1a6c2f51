"""Win-back (ledger P20): after they left; people where it is worth it, a few mails for the rest."""

from temporalio import workflow

from models import facts
from models.cases import Case, Ending
from models.facts import Fact
from workflows.playbook import Playbook
from workflows.steps import Start, Step, on_day, when


@workflow.defn(name="win-back")
class WinBack(Playbook):
    """A customer left: reach out in the way their value and the time since then ask for."""

    declined = False
    group = to_be_approved = ""
    approved_by = ""
    starts_on = (
        Start(facts.SERVICE_SUSPENDED),
        Start(facts.SUBSCRIPTION_CANCELLED),
        Start(facts.RENEWAL_LAPSED),
    )
    ends_on = (facts.SUBSCRIPTION_REACTIVATED, facts.INVOICE_PAID, facts.UNSUBSCRIBED)
    watches = "churn"
    precedence = "re_engagement"
    writes_to = "champion"
    marketing = True
    outcomes = ("won_back", "no_response", "declined", "unsubscribed")

    @workflow.run
    async def run(self, case: Case) -> Ending:
        """Which of the three segments it is, is read first (P20.3 to P20.8)."""
        self.rules = case.policy.winback
        await self.look_first(case)
        self.group = self.group_of_them()
        plans = {"segment1": self.people, "segment2": self.people, "segment3": self.mails}
        return await self.follow(case, *plans[self.group](), otherwise=self.how_it_ended)

    def people(self) -> list[Step]:
        """Segments 1 and 2: a person, an offer, a last word."""
        rules = self.rules
        return [
            on_day(rules.outreach_day, self.reach_out, stage="Outreach"),
            on_day(rules.offer_day, self.make_an_offer, stage="Offer"),
            on_day(rules.last_day, self.try_a_last_time, fresh=True),
        ]

    def mails(self) -> list[Step]:
        """Segment 3: four mails, then an update every quarter for a year."""
        four = [on_day(day, self.write, name=f"mail_{n}") for n, day in enumerate(self.rules.mail_days, start=1)]
        updates = [on_day(day, self.tell_what_is_new, name=f"update_{day}") for day in self.rules.update_days]
        return four + updates

    # The steps.

    def reach_out(self) -> None:
        """Reach out in person."""
        by_an_executive = self.group == "segment1"
        self.ask(
            "Reach out to a customer who left",
            template="winback.call" if by_an_executive else "winback.outreach",
            owner="executive" if by_an_executive else "",
            answers=("reached", "not_reached", "declined"),
            then=self.hear_from_the_outreach,
        )
        if self.given(self.left_over_a_payment, "they did not leave over a payment"):
            self.email("winback.payment", to="billing")

    def make_an_offer(self) -> None:
        """Make an offer to come back."""
        if not self.given(not self.declined, "they said no"):
            return
        if self.given(not self.left_over_a_payment, "they left over a payment: no discount"):
            self.offer_a_discount("winback.exec" if self.group == "segment1" else "winback.csm")
        else:
            self.email("winback.auto1")

    def try_a_last_time(self) -> None:
        """Write a last time."""
        if not self.given(not self.declined, "they said no"):
            return
        if not self.given(not self.left_over_a_payment, "they left over a payment: no discount"):
            self.email("winback.payment", to="billing")
        elif self.given("accepted" not in str(self.reading("offer")).split(), "they have accepted the offer"):
            self.offer_a_discount("winback.last")

    def write(self) -> None:
        """Mail what has changed since they left."""
        number = self.step.removeprefix("mail_")
        first = number == "1" and self.left_over_a_payment
        self.email("winback.payment" if first else f"winback.auto{number}", to="billing" if first else "")

    def tell_what_is_new(self) -> None:
        """Mail the quarter's news."""
        self.email("winback.quarterly")

    # What may come in between.

    @when(facts.OFFER_DECLINED)
    def hear_that_they_decline(self, fact: Fact) -> None:
        """Hear that they decline the offer."""
        self.declined = True

    def hear_from_the_outreach(self, outcome: str) -> None:
        """Take in what came of the outreach."""
        self.declined = self.declined or outcome == "declined"

    def part(self, reason: str) -> str:
        """Nothing is owed; the reason is the outcome (P20.10)."""
        return {
            facts.SUBSCRIPTION_REACTIVATED: "won_back",
            facts.INVOICE_PAID: "won_back",
            facts.UNSUBSCRIBED: "unsubscribed",
        }.get(reason, "ended_by_lead")

    def how_it_ended(self) -> str:
        """They never came back, or said no."""
        return "declined" if self.declined else "no_response"

    # The rules of this playbook.

    def group_of_them(self) -> str:
        """Segment 1, 2 or 3 by value and by how long ago they left (P20.3 to P20.7); it stays what it was on day 0."""
        recent = int(self.reading("churned_days", 0)) < self.rules.recent_days
        if self.high_value:
            return "segment1" if recent else self.rules.old_high_value
        return "segment2" if recent and self.segment == "mid" else "segment3"

    @property
    def left_over_a_payment(self) -> bool:
        """Whether a payment ended it, so that a card brings them back and no discount does (P20.9)."""
        return self.case.trigger == facts.SERVICE_SUSPENDED

    @property
    def pct(self) -> int:
        """The custom offer of segment 1, or the improved one of segment 2."""
        return self.rules.exec_pct if self.group == "segment1" else self.rules.csm_pct

    def offer_a_discount(self, template: str) -> None:
        """The offer of their segment; somebody approves it first where it must be (O6, O8)."""
        policy = self.case.policy.offers
        above = self.pct > policy.max_pct
        if self.approved_by or not (above or self.segment in policy.approval_segments):
            self.email(template, offer=self.offer(pct=self.pct, approver=self.approved_by))
        elif self.given(not self.to_be_approved, "nobody has approved an offer"):
            self.to_be_approved = template
            self.ask(
                f"Approve {self.pct} % off for a customer who left",
                owner="executive" if above or self.group == "segment1" else "lead",
                answers=("approved", "refused"),
                then=self.send_the_offer,
            )

    def send_the_offer(self, answer: str) -> None:
        """Send the offer that was approved."""
        approved = self.given(answer == "approved", "the offer was not approved")
        if approved and self.given(not self.declined, "they said no"):
            people = self.case.policy.people
            self.approved_by = people.executive if self.group == "segment1" else people.csm_lead
            self.email(self.to_be_approved, offer=self.offer(pct=self.pct, approver=self.approved_by))
