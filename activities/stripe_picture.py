"""From Stripe's invoices to a picture: what is owed, how it was refused, which card has not failed yet. Pure."""

from collections.abc import Iterable
from datetime import UTC
from typing import Any, Final

from models import facts
from models.cases import Reading
from models.declines import Decline
from models.invoices import Invoice, id_of
from models.money import total
from models.picture import Card, Owed, Person, Picture
from models.tables import Account

GIVES: Final = frozenset(
    {
        "card_last4",
        "amount",
        "invoice_number",
        "decline",
        "next_attempt",
        "attempts",
        "decline_code",
        "account_name",
    }
)
"""The merge fields that a look at invoices gives (C15)."""


def owed_of(invoice: Invoice, raw: dict[str, Any], tries_of_ours: int, refused: set[str]) -> Owed:
    """One invoice with its last refusal, and a default card on file that is not among the `refused` identities."""
    failed = [intent for intent in _intents(raw) if intent.get("last_payment_error") or _wants_action(intent)]
    failed.sort(key=lambda intent: int(intent.get("created") or 0))
    last = failed[-1] if failed else None
    tried = [intent for intent in _intents(raw) if intent in failed or _is_processing(intent)]
    newest = max(tried, key=lambda intent: int(intent.get("created") or 0), default=None)
    cards = [card for intent in failed if (card := _failed_card(intent))]
    known = refused | {identity for card in cards for identity in identities(card)}
    fresh = [card for card in _cards_on_file(raw) if not known & identities(card)] if known else []
    return Owed(
        invoice=invoice,
        decline=decline_of_intent(last) if last else None,
        failed_card=cards[-1] if cards else None,
        fresh_card=fresh[0] if fresh else None,
        latest_charge=id_of(newest.get("latest_charge")) if newest else "",
        attempts=max(invoice.attempts, tries_of_ours + 1),
        processing=any(_is_processing(intent) for intent in tried),
        intents=frozenset(str(intent["id"]) for intent in _intents(raw)),
    )


def identities(card: Card) -> set[str]:
    """What a card is known by: number and expiry where Stripe tells them, so that a renewed card is a new one."""
    return {f"{card.fingerprint}:{card.expiry}"} if card.fingerprint else {card.id}


def card_of(value: Any) -> Card | None:
    """A payment method, expanded or only its id."""
    if isinstance(value, str) and value:
        return Card(id=value)
    if not isinstance(value, dict) or not value.get("id"):
        return None
    card = value.get("card") or {}
    return Card(
        id=value["id"],
        fingerprint=card.get("fingerprint") or "",
        network=card.get("brand") or "",
        last4=card.get("last4") or "",
        expiry=f"{card.get('exp_month', '')}/{card.get('exp_year', '')}",
    )


def decline_of_error(error: dict[str, Any]) -> Decline:
    """A refusal as the body of a card error tells it."""
    intent = error.get("payment_intent")
    inner = intent.get("last_payment_error") if isinstance(intent, dict) else None
    if isinstance(inner, dict):
        error = {**inner, "code": inner.get("code") or error.get("code")}
    card = card_of(error.get("payment_method"))
    return Decline(
        code=error.get("code") or "",
        decline_code=error.get("decline_code") or "",
        advice_code=error.get("advice_code") or "",
        network=card.network if card else "",
        network_advice_code=error.get("network_advice_code") or "",
    )


def decline_of_intent(intent: dict[str, Any]) -> Decline:
    """A refusal as the payment intent tells it; one that waits for the customer is a matter of authentication."""
    error = intent.get("last_payment_error")
    if _wants_action(intent):
        return Decline(code="authentication_required", decline_code="authentication_required")
    return decline_of_error(error if isinstance(error, dict) else {})


def picture_of(
    pages: list[tuple[Owed, dict[str, Any]]], account: Account, stopped: str, *, cancelled_by_us: bool
) -> Picture:
    """The picture of a case: `stopped` is a refund or dispute that was confirmed."""
    owed = {each.invoice.id: each for each, _ in pages}
    still = [(each, raw) for each, raw in pages if each.invoice.is_open]
    cancelled = bool(still) and not cancelled_by_us and all(_is_cancelled(raw) for _, raw in still)
    over = stopped or (facts.SUBSCRIPTION_CANCELLED if cancelled else "") or _ending_of(owed.values())
    first = still[0][0] if still else next(iter(owed.values()), None)
    shown = [each for each, _ in still] or list(owed.values())
    readings: dict[str, Reading] = {
        "at_stake": sum(each.invoice.amount_remaining for each, _ in still),
        "invoices": " ".join(each.invoice.id for each, _ in still),
        "attempts": max((each.attempts for each, _ in still), default=0),
        "decline": first.decline.kind if first and first.decline else "soft",
        "decline_code": first.decline.name if first and first.decline else "",
        "high_touch": account.strategic or account.segment == "enterprise",
        "mrr": account.mrr,
        "owner": account.owner,
        "segment": account.segment,
        "next_attempt": _next_attempt([each for each, _ in still]),
        "subscribed": any(_is_subscribed(raw) for _, raw in pages),
        "refused_cards": " ".join(sorted({i for each in owed.values() for i in _refused_by(each)})),
    }
    owing = [(each.invoice.amount_remaining or each.invoice.amount_paid, each.invoice.currency) for each in shown]
    fields: dict[str, str | int] = {
        "card_last4": first.failed_card.last4 if first and first.failed_card else "",
        "amount": total(owing),
        "invoice_number": ", ".join(each.invoice.number or each.invoice.id for each in shown),
        "decline": str(readings["decline"]),
        "next_attempt": str(readings["next_attempt"]),
        "attempts": int(readings["attempts"]),
        "decline_code": str(readings["decline_code"]),
        "account_name": account.company,
    }
    return Picture(
        over=over,
        readings=readings,
        fields=fields,
        people={"billing": person_of(account)},
        owed=owed,
        fates={key: _fate(each.invoice) for key, each in owed.items()},
        subscriptions=tuple(sorted({id_of(_subscription(raw)) for _, raw in pages if _is_subscribed(raw)})),
    )


def person_of(account: Account) -> Person:
    """The billing contact that the account itself names."""
    return Person(name=account.name, email=account.email, locale=account.locale, timezone=account.timezone)


def _intents(raw: dict[str, Any]) -> list[dict[str, Any]]:
    payments = (raw.get("payments") or {}).get("data", [])
    found = [(each.get("payment") or {}).get("payment_intent") for each in payments]
    return [each for each in found if isinstance(each, dict)]


def _is_processing(intent: dict[str, Any]) -> bool:
    return intent.get("status") == "processing"


def _wants_action(intent: dict[str, Any]) -> bool:
    return intent.get("status") == "requires_action"


def _failed_card(intent: dict[str, Any]) -> Card | None:
    error = intent.get("last_payment_error") or {}
    return card_of(error.get("payment_method")) or card_of(intent.get("payment_method"))


def _refused_by(owed: Owed) -> set[str]:
    return identities(owed.failed_card) if owed.failed_card else set()


def _subscription(raw: dict[str, Any]) -> Any:
    return ((raw.get("parent") or {}).get("subscription_details") or {}).get("subscription")


def _is_cancelled(raw: dict[str, Any]) -> bool:
    subscription = _subscription(raw)
    return isinstance(subscription, dict) and subscription.get("status") in ("canceled", "incomplete_expired")


def _is_subscribed(raw: dict[str, Any]) -> bool:
    return isinstance(_subscription(raw), dict) and not _is_cancelled(raw)


def _cards_on_file(raw: dict[str, Any]) -> list[Card]:
    """The default cards, the subscription's before the customer's, as Stripe itself would take them."""
    subscription = _subscription(raw)
    settings = (raw["customer"].get("invoice_settings") or {}) if isinstance(raw.get("customer"), dict) else {}
    places = [
        raw.get("default_payment_method"),
        subscription.get("default_payment_method") if isinstance(subscription, dict) else None,
        settings.get("default_payment_method"),
    ]
    return [card for place in places if (card := card_of(place))]


def _fate(invoice: Invoice) -> str:
    """What became of an invoice: empty while it is owed."""
    if invoice.is_open:
        return ""
    return "paid" if invoice.status == "open" else invoice.status


def _ending_of(owed: Iterable[Owed]) -> str:
    """The ending the invoices tell of: nothing while one is still owed; paid if any was paid."""
    fates = [_fate(each.invoice) for each in owed]
    if not fates or "" in fates:
        return ""
    if "paid" in fates:
        return facts.INVOICE_PAID
    return facts.INVOICE_WRITTEN_OFF if "uncollectible" in fates else facts.INVOICE_VOIDED


def _next_attempt(still: list[Owed]) -> str:
    times = [each.invoice.next_attempt for each in still if each.invoice.next_attempt and each.invoice.auto_advance]
    return min(times).astimezone(UTC).isoformat() if times else ""
