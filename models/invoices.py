"""One reading of an invoice, whichever API version rendered it.

Since 2025-03-31 an invoice names its subscription under `parent` and no longer carries `paid`, `charge`,
`payment_intent`. The endpoint's API version decides what a webhook holds, so both shapes are accepted.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from models.frozen import Frozen

LATEST: Final = 2**33
"""Seconds since 1970 that a date can surely hold (the year 2242)."""


class UnreadableInvoice(ValueError):
    """The object is not an invoice we can act on; the message names the field."""


class Invoice(Frozen):
    """An invoice, amounts in the currency's minor unit, times in UTC."""

    id: str
    customer: str
    status: str
    amount_due: int
    amount_paid: int
    amount_remaining: int
    currency: str
    attempts: int
    automatic: bool
    """Whether it is charged automatically, rather than sent for payment."""
    auto_advance: bool
    next_attempt: datetime | None = None
    subscription: str = ""
    hosted_url: str = ""
    number: str = ""
    livemode: bool = False

    @property
    def is_open(self) -> bool:
        """Still owed."""
        return self.status == "open" and self.amount_remaining > 0


def read_invoice(raw: Mapping[str, Any]) -> Invoice:
    """Read an invoice in either shape.

    Raises:
        UnreadableInvoice: a field we cannot do without is missing or of the wrong kind.
    """
    if raw.get("object") != "invoice":
        raise UnreadableInvoice(f"expected an invoice, got object {raw.get('object')!r}")
    paid = _number(raw, "amount_paid", 0)
    due = _number(raw, "amount_due")
    return Invoice(
        id=_text(raw, "id"),
        customer=id_of(raw.get("customer")),
        status=_text(raw, "status"),
        amount_due=due,
        amount_paid=paid,
        amount_remaining=_number(raw, "amount_remaining", due - paid),
        currency=_text(raw, "currency").lower(),
        attempts=_number(raw, "attempt_count", 0),
        automatic=raw.get("collection_method", "charge_automatically") == "charge_automatically",
        auto_advance=bool(raw.get("auto_advance")),
        next_attempt=_time(raw, "next_payment_attempt"),
        subscription=_subscription_of(raw),
        hosted_url=_optional_text(raw, "hosted_invoice_url"),
        number=_optional_text(raw, "number"),
        livemode=bool(raw.get("livemode")),
    )


def id_of(value: Any) -> str:
    """The id of a field that holds an id, an expanded object, or nothing."""
    if isinstance(value, Mapping):
        value = value.get("id")
    return value if isinstance(value, str) else ""


def _subscription_of(raw: Mapping[str, Any]) -> str:
    parent = raw.get("parent")
    if isinstance(parent, Mapping):
        details = parent.get("subscription_details")
        return id_of(details.get("subscription")) if isinstance(details, Mapping) else ""
    return id_of(raw.get("subscription"))


def _text(raw: Mapping[str, Any], field: str) -> str:
    value = raw.get(field)
    if not isinstance(value, str) or not value:
        raise UnreadableInvoice(f"invoice {raw.get('id')!r}: {field} is {value!r}, expected text")
    return value


def _number(raw: Mapping[str, Any], field: str, default: int | None = None) -> int:
    value = raw.get(field, default)
    if isinstance(value, bool) or not isinstance(value, int):
        raise UnreadableInvoice(f"invoice {raw.get('id')!r}: {field} is {value!r}, expected a whole number")
    return value


def _optional_text(raw: Mapping[str, Any], field: str) -> str:
    return _text(raw, field) if raw.get(field) not in (None, "") else ""


def _time(raw: Mapping[str, Any], field: str) -> datetime | None:
    seconds = raw.get(field)
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int) or not 0 <= seconds < LATEST:
        raise UnreadableInvoice(f"invoice {raw.get('id')!r}: {field} is {seconds!r}, expected seconds since 1970")
    return datetime.fromtimestamp(seconds, UTC)
