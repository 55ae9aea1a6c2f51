"""Payment failure (ledger P1): thirty days of retries, mails and people between a declined card and a suspension."""

from datetime import datetime, timedelta

from temporalio import workflow

from models import facts
from models.cases import Case, Ending
from models.facts import Fact
from workflows.playbook import Playbook
from workflows.steps import Start, Step, on_day, on_hour, when

RISK = "payment issues"


@workflow.defn(name="payment-failure")
class PaymentFailure(Playbook):
    """A charge failed: retry, ask kindly, then plainly, then restrict, then suspend."""

    called = False
    starts_on = (Start(facts.PAYMENT_FAILED, joins=True),)
    ends_on = (
        facts.INVOICE_PAID,
        facts.PAID_BY_RETRY,
        facts.PAID_BY_NEW_CARD,
        facts.INVOICE_VOIDED,
        facts.INVOICE_WRITTEN_OFF,
        facts.SUBSCRIPTION_CANCELLED,
        facts.PAYMENT_REFUNDED,
        facts.PAYMENT_DISPUTED,
    )
    watches = "invoices"
    precedence = "payment"
    notice = "billing"
    cooldown_days = 0

    @classmethod
    def refuses(cls, case: Case) -> str:
        """Small amounts and other currencies are left alone where the policy says so (P1.1)."""
        rules = case.policy.dunning
        if case.at_stake < rules.min_amount:
            return f"{case.at_stake} is below dunning.min_amount {rules.min_amount}"
        if rules.currencies and case.currency not in rules.currencies:
            return f"currency {case.currency} is not in dunning.currencies"
        return ""

    @workflow.run
    async def run(self, case: Case) -> Ending:
        """Follow the plan of P1.3 to P1.8 until the money, or the reason to ask for it, is there no more."""
        rules = self.rules = case.policy.dunning
        notice, reminder, urgent, last_call, final_notice = rules.email_days
        return await self.follow(
            case,
            on_day(notice, self.tell_them),
            on_hour(rules.day0_retry_delay_h, self.first_retry) if 0 in rules.retry_days else None,
            on_day(reminder, self.remind_them, stage="Reminded", moved_to=self.after_the_providers_retry),
            on_day(urgent, self.warn_them, stage="Urgent", moved_to=self.after_the_providers_retry),
            on_day(rules.call_day, self.ask_for_a_call),
            on_day(last_call, self.call_for_the_last_time),
            *self.retries_between(),
            on_day(rules.restrict_day, self.restrict, stage="Restricted"),
            on_day(final_notice, self.give_final_notice) if final_notice != rules.restrict_day else None,
            on_day(rules.suspend_day, self.suspend),
            self.hard_cancel(),
            otherwise="suspended",
        )

    # The steps.

    def tell_them(self) -> None:
        """Tell the customer, put up the banner, take over the retries."""
        if self.rules.mode == "own":
            self.hold_retries(self.case.subject)
        self.raise_risk(RISK)
        self.show_banner("dunning.banner")
        self.mail("dunning.d0", by_decline={"hard": "dunning.hard", "authentication": "dunning.auth"}, at_once=True)

    def first_retry(self) -> None:
        """Try the card again."""
        self.retry(0)
        if self.high_value and self.retries_apply():
            self.call()

    def remind_them(self) -> None:
        """Try the card again, then remind them."""
        self.retry(self.rules.email_days[1])
        self.mail("dunning.d3")

    def warn_them(self) -> None:
        """Try the card a last time, warn of the restriction, tell the CSM."""
        self.retry(self.rules.email_days[2])
        self.mail("dunning.d7")
        self.task("Payment overdue for a week", template="payment.call")

    def ask_for_a_call(self) -> None:
        """Ask the CSM to call about the payment."""
        if not self.called:
            self.call()

    def call_for_the_last_time(self) -> None:
        """Mail the last call to keep the account active."""
        self.retry(self.rules.email_days[3])
        self.mail("dunning.d10")

    def restrict(self) -> None:
        """Restrict the account and give final notice."""
        self.restrict_access()
        if self.rules.email_days[4] == self.rules.restrict_day:
            self.mail("dunning.d14")

    def give_final_notice(self) -> None:
        """Mail the final notice."""
        self.mail("dunning.d14")

    def suspend(self) -> None:
        """Suspend the service and hand over to win-back."""
        self.suspend_access()
        self.mail("dunning.d30")
        self.tell(facts.SERVICE_SUSPENDED)
        if self.rules.hard_cancel_day == self.rules.suspend_day:
            self.cancel_subscription()

    def cancel(self) -> None:
        """Cancel the subscription."""
        self.cancel_subscription()

    def retry_only(self) -> None:
        """Try the card again."""
        self.retry_payment()

    # What may come in between.

    @when(facts.CARD_UPDATED)
    def try_the_new_card(self, fact: Fact) -> None:
        """Try the new card at once."""
        if self.rules.mode == "own":
            self.charge_new_card()

    @when(facts.SUBJECT_JOINED)
    def take_in_another_invoice(self, fact: Fact) -> None:
        """Take a second unpaid invoice into this case; the days do not start again."""
        if self.rules.mode == "own":
            self.hold_retries(fact.subject)

    def part(self, reason: str) -> str:
        """What is owed at the end: access, banner and risk signal back, a word of thanks for money (P1.13, P1.14)."""
        self.restore_access()
        self.take_down_banner()
        self.clear_risk(RISK)
        if reason == facts.PAYMENT_DISPUTED:
            self.task("The customer disputes a payment: dunning has stopped")
        if reason in OUTCOMES:
            return OUTCOMES[reason]
        if not self.took(self.tell_them):
            return "already_paid"
        self.mail("dunning.recovered")
        if self.took(self.restrict):
            return "recovered_after_restriction"
        return RECOVERED[reason]

    # The rules of this playbook.

    def retry(self, day: int) -> None:
        """Retry on the days the policy names, unless the provider retries (mode `observe`)."""
        if self.rules.mode == "own" and day in self.rules.retry_days:
            self.retry_payment()

    def retries_apply(self) -> bool:
        """Whether another attempt on this card is made at all (P1.9, P1.10)."""
        return self.rules.mode == "own" and self.reading("decline", "soft") == "soft"

    def retries_between(self) -> list[Step]:
        """Retries on days that have no mail get a step of their own."""
        others = [day for day in self.rules.retry_days if day and day not in self.rules.email_days[1:4]]
        return [on_day(day, self.retry_only, name=f"retry_on_day_{day}") for day in others]

    def hard_cancel(self) -> Step | None:
        """The hard cancel as a step, where it has a day of its own after the suspension (P1.17)."""
        day = self.rules.hard_cancel_day
        return None if day in (None, self.rules.suspend_day) else on_day(int(day or 0), self.cancel)

    def after_the_providers_retry(self, planned: datetime) -> datetime:
        """In mode `observe`, speak an hour after the provider's own attempt if one comes within a day of the plan."""
        said = str(self.reading("next_attempt"))
        if self.rules.mode != "observe" or not said:
            return planned
        known = datetime.fromisoformat(said) + timedelta(hours=1)
        return known if planned <= known <= planned + timedelta(days=1, hours=2) else planned

    def mail(self, template: str, by_decline: dict[str, str] | None = None, *, at_once: bool = False) -> None:
        """Mail with the dates that this run's clock gives."""
        start = self._day0 + self._shift
        self.email(
            template,
            by_decline=by_decline,
            at_once=at_once,
            restrict_date=start + timedelta(days=self.rules.restrict_day),
            suspend_date=start + timedelta(days=self.rules.suspend_day),
        )

    def call(self) -> None:
        """Ask the CSM for a call, once (P1.15)."""
        self.called = True
        self.task("Call about the failed payment", template="payment.call")


RECOVERED = {
    facts.INVOICE_PAID: "recovered_by_customer",
    facts.PAID_BY_RETRY: "recovered_by_retry",
    facts.PAID_BY_NEW_CARD: "recovered_by_new_card",
}
OUTCOMES = {
    facts.INVOICE_VOIDED: "voided",
    facts.INVOICE_WRITTEN_OFF: "voided",
    facts.SUBSCRIPTION_CANCELLED: "cancelled",
    facts.PAYMENT_REFUNDED: "refunded",
    facts.PAYMENT_DISPUTED: "disputed",
    facts.ENDED_BY_LEAD: "ended_by_lead",
}
