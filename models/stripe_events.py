"""From Stripe's events to facts (ledger T1.1 to T1.3, T1.10)."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from models import facts
from models.facts import Fact
from models.frozen import Frozen
from models.invoices import UnreadableInvoice, id_of, read_invoice

OUR_KEYS: Final = ("payment-failure/",)
"""Idempotency keys that begin so are our own calls."""
OUR_ECHOES: Final = ("invoice.payment_failed", "invoice.payment_action_required", "customer.subscription.deleted")
"""What our own calls bring about and is not news to us."""


class UnreadableEvent(ValueError):
    """The event has a type we act on, but not the shape; the message names the field."""


class Heard(Frozen):
    """What an event says: a fact, or why it says nothing to us. `at_stake` is in the minor unit."""

    fact: Fact | None = None
    ignored: str = ""
    at_stake: int = 0
    currency: str = ""


Reader = Callable[[str, Mapping[str, Any], Mapping[str, Any], datetime], Heard]


def read_event(event: Mapping[str, Any]) -> Heard:
    """Turn one Stripe event into a fact.

    Raises:
        UnreadableEvent: a type we act on with a body we cannot read.
    """
    kind = event.get("type")
    reader = READERS.get(kind) if isinstance(kind, str) else None
    if reader is None:
        return Heard(ignored=f"no playbook hears {kind}")
    created = event.get("created")
    if isinstance(created, bool) or not isinstance(created, int) or not 0 < created < 2**33:
        raise UnreadableEvent(f"created is {created!r}, expected seconds since 1970")
    data = event.get("data")
    obj = data.get("object") if isinstance(data, Mapping) else None
    if not isinstance(data, Mapping) or not isinstance(obj, Mapping):
        raise UnreadableEvent("data.object is missing")
    if _is_our_own(event) and kind in OUR_ECHOES:
        return Heard(ignored="the echo of our own call; its result is known")
    try:
        heard = reader(str(kind), obj, data, datetime.fromtimestamp(created, UTC))
    except UnreadableInvoice as error:
        raise UnreadableEvent(str(error)) from None
    if heard.fact and not heard.fact.account:
        return Heard(ignored="the object belongs to no customer")
    return heard


def _is_our_own(event: Mapping[str, Any]) -> bool:
    request = event.get("request")
    key = request.get("idempotency_key") if isinstance(request, Mapping) else None
    return isinstance(key, str) and key.startswith(OUR_KEYS)


def _invoice(fact: str) -> Reader:
    def read(kind: str, obj: Mapping[str, Any], data: Mapping[str, Any], at: datetime) -> Heard:
        invoice = read_invoice(obj)
        if fact == facts.PAYMENT_FAILED and not invoice.automatic:
            return Heard(ignored="the invoice is sent for payment, not charged automatically")
        if fact == facts.PAYMENT_FAILED and obj.get("billing_reason") == "subscription_create":
            return Heard(ignored="the first invoice of a checkout; the customer is still there")
        return Heard(
            fact=Fact(kind=fact, at=at, account=invoice.customer, subject=invoice.id),
            at_stake=invoice.amount_remaining,
            currency=invoice.currency,
        )

    return read


def _by_charge(fact: str, charge_field: str) -> Reader:
    def read(kind: str, obj: Mapping[str, Any], data: Mapping[str, Any], at: datetime) -> Heard:
        charge = id_of(obj.get(charge_field))
        if not charge:
            raise UnreadableEvent(f"{kind}: {charge_field} is missing")
        # A dispute names its charge but not its customer; the relay reads the charge.
        return Heard(fact=Fact(kind=fact, at=at, account=id_of(obj.get("customer")) or "?", object_id=charge))

    return read


def _subscription(fact: str) -> Reader:
    def read(kind: str, obj: Mapping[str, Any], data: Mapping[str, Any], at: datetime) -> Heard:
        return Heard(fact=Fact(kind=fact, at=at, account=id_of(obj.get("customer")), object_id=id_of(obj.get("id"))))

    return read


def _card(holder: str) -> Reader:
    def read(kind: str, obj: Mapping[str, Any], data: Mapping[str, Any], at: datetime) -> Heard:
        before = data.get("previous_attributes")
        before = before if isinstance(before, Mapping) else {}
        settings = before.get("invoice_settings")
        changed = "default_payment_method" in before or "default_source" in before
        changed = changed or (isinstance(settings, Mapping) and "default_payment_method" in settings)
        if holder in ("customer", "subscription") and not changed:
            return Heard(ignored=f"{kind} without a change of the default card")
        account = id_of(obj.get("id")) if holder == "customer" else id_of(obj.get("customer"))
        value = "automatic" if kind == "payment_method.automatically_updated" else ""
        return Heard(
            fact=Fact(kind=facts.CARD_UPDATED, at=at, account=account, object_id=id_of(obj.get("id")), value=value)
        )

    return read


READERS: Final[dict[str, Reader]] = {
    "invoice.payment_failed": _invoice(facts.PAYMENT_FAILED),
    "invoice.payment_action_required": _invoice(facts.PAYMENT_FAILED),
    "invoice.paid": _invoice(facts.INVOICE_PAID),
    "invoice.payment_succeeded": _invoice(facts.INVOICE_PAID),
    "invoice.voided": _invoice(facts.INVOICE_VOIDED),
    "invoice.marked_uncollectible": _invoice(facts.INVOICE_WRITTEN_OFF),
    "customer.subscription.deleted": _subscription(facts.SUBSCRIPTION_CANCELLED),
    "customer.subscription.created": _subscription(facts.SUBSCRIPTION_REACTIVATED),
    "customer.subscription.updated": _card("subscription"),
    "customer.updated": _card("customer"),
    "payment_method.attached": _card("payment_method"),
    "payment_method.automatically_updated": _card("payment_method"),
    "charge.refunded": _by_charge(facts.PAYMENT_REFUNDED, "id"),
    "charge.dispute.created": _by_charge(facts.PAYMENT_DISPUTED, "charge"),
}
