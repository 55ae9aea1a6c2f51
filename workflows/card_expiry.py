"""Card expiry (ledger P2): ask for a new card before the old one fails."""

from temporalio import workflow

from models import facts
from models.cases import Case, Ending
from models.facts import Fact
from workflows.playbook import Playbook
from workflows.steps import Start, before, when

RISK = "card expired"


@workflow.defn(name="card-expiry")
class CardExpiry(Playbook):
    """The card on file expires soon: ask for a new one, three times at most."""

    automatic = False
    starts_on = (Start(facts.CARD_EXPIRING),)
    ends_on = (facts.CARD_REPLACED, facts.SUBSCRIPTION_CANCELLED)
    watches = "card"
    precedence = "payment"
    notice = "billing"
    cooldown_days = 0
    outcomes = ("card_updated", "auto_updated", "expired_unhandled", "cancelled")

    @classmethod
    def refuses(cls, case: Case) -> str:
        """Without a date there is nothing to count back from."""
        return "" if case.anchor else "the subject does not say when the card expires"

    @workflow.run
    async def run(self, case: Case) -> Ending:
        """Days count back from the card's last day (P2.1); alerts whose day is past are left out (P2.4)."""
        first, second, last = case.policy.card_expiry.days
        return await self.follow(
            case,
            before(first, self.ask_for_a_new_card),
            before(second, self.ask_again, stage="Reminded"),
            before(last, self.ask_a_last_time, stage="Urgent"),
            before(-1, self.note_that_it_expired),
            otherwise="expired_unhandled",
        )

    def ask_for_a_new_card(self) -> None:
        """Ask for a new card, by mail and in the product."""
        self.alert("predunning.card_30")

    def ask_again(self) -> None:
        """Ask again."""
        self.take_down_banner()
        self.alert("predunning.card_15")

    def ask_a_last_time(self) -> None:
        """Ask a last time; tell the CSM of a high-value account."""
        self.take_down_banner()
        self.alert("predunning.card_7")
        if self.given(self.high_value, "only for high-value accounts"):
            self.task("The card on file expires in a week", template="predunning.csm")

    def note_that_it_expired(self) -> None:
        """The card has expired: put a risk signal on the account before the next charge."""
        self.take_down_banner()
        self.raise_risk(RISK)

    @when(facts.CARD_UPDATED)
    def see_whether_the_card_is_new(self, fact: Fact) -> None:
        """See whether another card is on file now."""
        self.automatic = fact.value == "automatic"

    def alert(self, template: str) -> None:
        """Mail it, and show it in the product (P2.2)."""
        self.email(template)
        self.show_banner("predunning.card_banner")

    def part(self, reason: str) -> str:
        """Take the request down; nothing is said of a card that was replaced (P2.3, P2.6)."""
        self.take_down_banner()
        if reason == facts.CARD_REPLACED:
            return "auto_updated" if self.automatic else "card_updated"
        return "cancelled" if reason == facts.SUBSCRIPTION_CANCELLED else "ended_by_lead"
