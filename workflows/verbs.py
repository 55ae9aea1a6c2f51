"""The verbs a playbook is written with. Each queues an effect; the step's batch carries them out in order."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar, Final

from temporalio import workflow

from models.cases import (
    ApplyOffer,
    Banner,
    CancelSubscription,
    Case,
    Charge,
    Deal,
    Effect,
    Email,
    HoldRetries,
    Note,
    Notice,
    Offer,
    Reading,
    Risk,
    SetAccess,
    Task,
    Tell,
    words_and_dates,
)
from models.facts import PAID_BY_NEW_CARD, PAID_BY_RETRY

MergeField = str | int | datetime
THE_PLAN: Final = "the plan"


@dataclass(frozen=True)
class Question:
    """A task the run waits for: who hears its outcome, and to whom it is escalated."""

    title: str
    answers: tuple[str, ...]
    then: Callable[[str], None] | None
    escalate_to: str


class Verbs:
    """What a step may ask for. Nothing happens before the step returns; its order is the order of the calls.

    `writes_to` is the role of the person whom this playbook's mails go to, `marketing` whether they are mails one can
    opt out of, `notice` as what they have to be said, so that no cap and no other playbook holds them back.
    """

    writes_to: ClassVar[str] = "billing"
    marketing: ClassVar[bool] = False
    notice: ClassVar[Notice] = ""
    case: Case

    def __init__(self) -> None:
        super().__init__()
        self._queued: list[Effect] = []
        self._step_name = ""
        self._count = 0
        self._readings: dict[str, Reading] = {}
        self._notes: list[Note] = []
        self._questions: dict[str, Question] = {}
        self._day0: datetime = workflow.now()

    def reading(self, name: str, default: Reading = "") -> Reading:
        """What the last look found under this name."""
        return self._readings.get(name, default)

    @property
    def high_value(self) -> bool:
        """Enterprise, strategic, or revenue above the policy's line (P0.16)."""
        mrr = self.reading("mrr", self.case.mrr)
        rich = isinstance(mrr, int) and mrr > self.case.policy.people.high_value_mrr
        high_touch = self.case.strategic or self.case.segment == "enterprise"
        return bool(self.reading("high_touch", high_touch)) or rich

    @property
    def segment(self) -> str:
        """The account's segment as last seen."""
        return str(self.reading("segment", self.case.segment))

    def given(self, holds: bool, reason: str) -> bool:
        """A branch inside a step: where the condition does not hold, `reason` is put on record as why not."""
        if not holds:
            self._note(f"Not done: {reason}")
        return holds

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
        to: str = "",
        by_decline: dict[str, str] | None = None,
        offer: str = "",
        at_once: bool = False,
        favour: str = "",
        **fields: MergeField,
    ) -> None:
        """Mail a person of the account; `fields` are what the template's words need beside what is always known.

        `by_decline` names other templates for hard and authentication declines; `offer` is what `self.offer` gave.
        `at_once`: at night and on Sundays too (P0.17). `favour` names what it asks for (upsell, referral, review ...),
        which nobody in trouble is asked (P0.9).
        """
        words, dates = words_and_dates(fields)
        self._queue(
            Email(
                key=self._key(),
                title=f"E-mail {template}",
                template=template,
                to=to or self.writes_to,
                marketing=self.marketing,
                notice=self.notice,
                at_once=at_once,
                favour=favour,
                by_decline=by_decline or {},
                fields=words,
                dates=dates,
                offer=offer,
            )
        )

    def show_banner(self, template: str, **fields: MergeField) -> None:
        """Show a message in the product until it is taken down (P1.19)."""
        words, dates = words_and_dates(fields)
        self._queue(
            Banner(
                key=self._key(),
                title=f"Show {template} in the product",
                template=template,
                marketing=self.marketing,
                notice=self.notice,
                fields=words,
                dates=dates,
            )
        )

    def take_down_banner(self) -> None:
        """Take down what the case shows in the product."""
        self._queue(Banner(key=self._key(), title="Take the banner down"))

    # People.

    def task(
        self,
        title: str,
        *,
        due_in_days: float = 1,
        template: str = "",
        owner: str = "",
        favour: str = "",
        **fields: MergeField,
    ) -> None:
        """Open a task for the account's CSM, or for `owner`: lead, manager, executive, account_executive, a handle.

        `favour` names what the customer is to be asked for, as in `email`.
        """
        words, dates = words_and_dates(fields)
        self._queue(
            Task(
                key=self._key(),
                title=title,
                template=template,
                owner=self._person(owner),
                to=self.writes_to,
                favour=favour,
                due=workflow.now() + timedelta(days=due_in_days),
                fields=words,
                dates=dates,
            )
        )

    def ask(
        self,
        title: str,
        *,
        then: Callable[[str], None] | None = None,
        answers: tuple[str, ...] = ("done",),
        within_days: float = 0,
        template: str = "",
        owner: str = "",
        escalate_to: str = "lead",
        **fields: MergeField,
    ) -> None:
        """Open a task and wait for its outcome: `then` is called with one of `answers` (P0.7).

        Not done `within_days` (a deadline of its own, P0.3; else the policy's `people.task_timeout_days`), it is
        escalated, and still waited for. The steps ahead keep their days meanwhile.
        """
        words, dates = words_and_dates(fields)
        key = self._key()
        days = within_days or self.case.policy.people.task_timeout_days
        self._questions[key] = Question(title, answers, then, escalate_to)
        self._queue(
            Task(
                key=key,
                title=title,
                template=template,
                owner=self._person(owner),
                to=self.writes_to,
                due=workflow.now() + timedelta(days=within_days or 1),
                deadline=workflow.now() + timedelta(days=days),
                answers=answers,
                fields=words,
                dates=dates,
            )
        )

    def deal(self, stage: str, *, expansion_potential: str = "") -> None:
        """Open the case's renewal deal, or move it to another stage (P6.3, P6.14)."""
        title = f"Deal: {stage}"
        self._queue(Deal(key=self._key(), title=title, stage=stage, expansion_potential=expansion_potential))

    # Offers.

    def offer(self, *, pct: int = 0, months: int = 0, pause: bool = False, approver: str = "") -> str:
        """Put an offer on record and give its name for `email(offer=...)`; the gate keeps its limits (O2, O3, O7)."""
        rules = self.case.policy.offers
        months = months or (rules.pause_months if pause else rules.months)
        key = self._key()
        title = f"Offer a pause of up to {months} months" if pause else f"Offer {pct} % off for {months} months"
        self._queue(
            Offer(
                key=key,
                title=title,
                what="pause" if pause else "discount",
                pct=0 if pause else pct,
                months=months,
                expires=workflow.now() + timedelta(days=rules.valid_days),
                approver=approver,
            )
        )
        return key

    def apply_offer(self, offer: str) -> None:
        """Give what an accepted offer promised, at the billing provider (O12)."""
        self._queue(ApplyOffer(key=self._key(), title="Apply the accepted offer", offer=offer))

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

    def tell(self, fact: str, value: str = "") -> None:
        """Put a fact on record that this or other playbooks hear, or start on (P1.8)."""
        self._queue(Tell(key=self._key(), title=f"Tell: {fact}", fact=fact, value=value))

    # Behind the verbs.

    def _begin(self, step: str) -> None:
        self._step_name, self._count = step, 0

    def _key(self) -> str:
        self._count += 1
        return f"{self.case.id}/{self._step_name}/{self._count}"

    def _queue(self, effect: Effect) -> None:
        self._queued.append(effect)

    def _note(self, text: str) -> None:
        self._notes.append(Note(at=workflow.now(), by=THE_PLAN, text=text))

    def _person(self, role: str) -> str:
        people = self.case.policy.people
        roles = {
            "lead": people.csm_lead,
            "manager": people.manager,
            "executive": people.executive,
            "account_executive": people.account_executive,
        }
        return roles.get(role, role)

    def _open_invoices(self) -> list[str]:
        return str(self.reading("invoices", self.case.subject)).split()
