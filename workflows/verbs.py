"""The verbs a playbook is written with. Each queues an effect; the step's batch carries them out in order."""

from datetime import datetime, timedelta

from temporalio import workflow

from models.cases import (
    Banner,
    CancelSubscription,
    Case,
    Charge,
    Effect,
    Email,
    HoldRetries,
    Reading,
    Risk,
    SetAccess,
    Task,
    Tell,
)
from models.facts import PAID_BY_NEW_CARD, PAID_BY_RETRY


class Verbs:
    """What a step may ask for. Nothing happens before the step returns; its order is the order of the calls."""

    case: Case

    def __init__(self) -> None:
        super().__init__()
        self._queued: list[Effect] = []
        self._step_name = ""
        self._count = 0
        self._readings: dict[str, Reading] = {}
        self._day0: datetime = workflow.now()

    def reading(self, name: str, default: Reading = "") -> Reading:
        """What the last look found under this name."""
        return self._readings.get(name, default)

    @property
    def high_value(self) -> bool:
        """Enterprise, strategic, or revenue above the policy's line (P0.16)."""
        mrr = self.reading("mrr", 0)
        rich = isinstance(mrr, int) and mrr > self.case.policy.people.high_value_mrr
        return bool(self.reading("high_touch", False)) or rich

    # Money.

    def retry_payment(self) -> None:
        """Charge every open invoice of the case again, if the last refusal allows it (P1.3 to P1.5, P1.9, P1.10)."""
        for invoice in self._open_invoices():
            self._queue(Charge(key=self._key(), title="Retry the payment", invoice=invoice, then=PAID_BY_RETRY))

    def charge_new_card(self) -> None:
        """Charge at once if a card is on file that has not failed yet; not counted as a retry (P1.12)."""
        for invoice in self._open_invoices():
            self._queue(
                Charge(
                    key=self._key(),
                    title="Try the new card",
                    invoice=invoice,
                    then=PAID_BY_NEW_CARD,
                    new_card_only=True,
                )
            )

    def hold_retries(self, invoice: str) -> None:
        """Switch the provider's own retries off for an invoice (P1.24)."""
        self._queue(HoldRetries(key=self._key(), title="Switch off the provider's own retries", invoice=invoice))

    def cancel_subscription(self) -> None:
        """Cancel the subscription at the provider (P1.17)."""
        self._queue(CancelSubscription(key=self._key(), title="Cancel the subscription"))

    # Words.

    def email(
        self,
        template: str,
        *,
        by_decline: dict[str, str] | None = None,
        restrict_at: datetime | None = None,
        suspend_at: datetime | None = None,
    ) -> None:
        """Mail the billing contact; `by_decline` names other templates for hard and authentication declines."""
        self._queue(
            Email(
                key=self._key(),
                title=f"E-mail {template}",
                template=template,
                by_decline=by_decline or {},
                restrict_at=restrict_at,
                suspend_at=suspend_at,
            )
        )

    def show_banner(self, template: str) -> None:
        """Show a banner in the product until it is taken down (P1.19)."""
        self._queue(Banner(key=self._key(), title="Show the in-app banner", template=template))

    def take_down_banner(self) -> None:
        """Take down the case's banners."""
        self._queue(Banner(key=self._key(), title="Take the banner down"))

    # People.

    def task(self, title: str, *, due_in_days: int = 1, template: str = "", owner: str = "") -> None:
        """Open a task for the account's CSM, or for `owner`."""
        due = workflow.now() + timedelta(days=due_in_days)
        self._queue(Task(key=self._key(), title=title, template=template, owner=owner, due=due))

    # The account.

    def restrict_access(self) -> None:
        """Read-only: billing and data export stay reachable (P1.18)."""
        self._queue(SetAccess(key=self._key(), title="Restrict the account", level="restricted"))

    def suspend_access(self) -> None:
        """Only the billing page is left (P1.18)."""
        self._queue(SetAccess(key=self._key(), title="Suspend the service", level="suspended"))

    def restore_access(self) -> None:
        """Lift any restriction or suspension (P1.13)."""
        self._queue(SetAccess(key=self._key(), title="Restore full access", level="full"))

    def raise_risk(self, signal: str) -> None:
        """Put a risk signal on the account (P1.22)."""
        self._queue(Risk(key=self._key(), title=f"Raise risk signal: {signal}", signal=signal, raised=True))

    def clear_risk(self, signal: str) -> None:
        """Clear a risk signal (P1.22)."""
        self._queue(Risk(key=self._key(), title=f"Clear risk signal: {signal}", signal=signal, raised=False))

    def tell(self, fact: str) -> None:
        """Put a fact on record that other playbooks may start on (P1.8)."""
        self._queue(Tell(key=self._key(), title=f"Tell: {fact}", fact=fact))

    # Behind the verbs.

    def _begin(self, step: str) -> None:
        self._step_name, self._count = step, 0

    def _key(self) -> str:
        self._count += 1
        return f"{self.case.id}/{self._step_name}/{self._count}"

    def _queue(self, effect: Effect) -> None:
        self._queued.append(effect)

    def _open_invoices(self) -> list[str]:
        return str(self.reading("invoices", self.case.subject)).split()
