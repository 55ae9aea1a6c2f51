"""Billing at Stripe: looking at invoices, charging them, switching retries off, cancelling."""

from datetime import UTC
from typing import Any, Final

import stripe

from activities.systems import Answer, TryAgain
from models import facts, ledger
from models.cases import Batch, CancelSubscription, Charge, HoldRetries, Reading
from models.database import Database
from models.declines import Decline
from models.invoices import Invoice, id_of, read_invoice
from models.picture import Card, Owed, Picture
from models.tables import Account, Attempt

TIMEOUT_S: Final = 15
EXPAND: Final = [
    "customer",
    "customer.invoice_settings.default_payment_method",
    "parent.subscription_details.subscription",
    "payments.data.payment.payment_intent",
]


def stripe_client(api_key: str, base_url: str | None = None) -> stripe.StripeClient:
    """A client for one event loop: explicit timeout, no retries of its own, for those carry random keys."""
    stripe.enable_telemetry = False
    return stripe.StripeClient(
        api_key,
        base_addresses={"api": base_url} if base_url else {},
        max_network_retries=0,
        http_client=stripe.AIOHTTPClient(timeout=TIMEOUT_S),
    )


async def close_stripe_client(client: stripe.StripeClient) -> None:
    """Give the connections back."""
    await client._requestor._get_http_client().close_async()  # type: ignore[no-untyped-call]


class Billing:
    """Stripe as the source of truth for payment failure, and the hand that charges."""

    name = "invoices"
    kinds: tuple[str, ...] = ("charge", "hold_retries", "cancel_subscription")

    def __init__(self, database: Database, client: stripe.StripeClient) -> None:
        self._db = database
        self._stripe = client

    async def customer_of_charge(self, charge: str) -> str:
        """The customer a charge belongs to; disputes do not say. Empty if there is none."""
        found = await self._stripe.v1.charges.retrieve_async(charge)
        return id_of(_plain(found).get("customer"))

    async def learn_account(self, customer: str) -> Account:
        """Read a customer we do not know yet: whose CSM, which segment. Known ones are brought up to date by looks."""
        async with self._db.reading() as session:
            known = await session.get(Account, customer)
        return known or await self._remember_account(
            customer, _plain(await self._stripe.v1.customers.retrieve_async(customer))
        )

    async def status_of(self, invoice: str) -> str:
        """The invoice's status at Stripe now: draft, open, paid, void or uncollectible."""
        found = await self._stripe.v1.invoices.retrieve_async(invoice)
        return str(_plain(found).get("status"))

    # Looking.

    async def look(self, batch: Batch) -> Picture:
        """Read every invoice of the case, its customer, subscription and last attempt, and what hints point at."""
        async with self._db.reading() as session:
            subjects = [row.subject for row in await ledger.subjects_of(session, batch.case)]
            cancelled_by_us = await ledger.was_begun(session, batch.case, "cancel_subscription")
            tried = await ledger.tries_of(session, subjects)
        pages = [await self._invoice(subject) for subject in subjects]
        owed = {invoice.id: _owed(invoice, raw, tried.get(invoice.id, 0)) for invoice, raw in pages}
        account = await self._remember_account(batch.account, pages[0][1]["customer"]) if pages else Account(id="")
        stopped = await self._stopped_by(batch)
        return _picture(owed, [raw for _, raw in pages], account, stopped, cancelled_by_us)

    async def _invoice(self, invoice_id: str) -> tuple[Invoice, dict[str, Any]]:
        raw = _plain(await self._stripe.v1.invoices.retrieve_async(invoice_id, {"expand": EXPAND}))
        return read_invoice(raw), raw

    async def _stopped_by(self, batch: Batch) -> str:
        """A refund or dispute that was heard of, if the charge itself confirms it."""
        for fact in batch.heard:
            if fact.kind not in (facts.PAYMENT_REFUNDED, facts.PAYMENT_DISPUTED):
                continue
            charge = _plain(await self._stripe.v1.charges.retrieve_async(fact.object_id))
            if charge.get("disputed"):
                return facts.PAYMENT_DISPUTED
            if charge.get("refunded"):
                return facts.PAYMENT_REFUNDED
        return ""

    async def _remember_account(self, account_id: str, customer: dict[str, Any]) -> Account:
        told = customer.get("metadata") or {}
        locales = customer.get("preferred_locales") or [""]
        fresh = Account(
            id=account_id,
            name=customer.get("name") or "",
            email=customer.get("email") or "",
            locale=locales[0],
            timezone=told.get("timezone", ""),
            owner=told.get("csm", ""),
            segment=told.get("segment", ""),
            strategic=told.get("strategic", "") in ("1", "true", "yes"),
            mrr=int(told["mrr"]) if str(told.get("mrr", "")).isdigit() else 0,
        )
        async with self._db.reading() as session:
            known = await session.get(Account, account_id)
        if known and known.model_dump(exclude={"wall_updated_at"}) == fresh.model_dump(exclude={"wall_updated_at"}):
            return known
        async with self._db.writing() as session:
            await session.merge(fresh)
        return fresh

    # Doing.

    def before(self, effect: Any, picture: Picture) -> dict[str, Any]:
        """Note the newest charge there was, so that a lost answer can be told from none.

        `attempt_count` would not do: Stripe counts automatic retries in it, and of others only the first.
        """
        if isinstance(effect, Charge) and effect.invoice in picture.owed:
            owed = picture.owed[effect.invoice]
            return {"latest_charge": owed.latest_charge, "amount": owed.invoice.amount_remaining}
        return {}

    async def perform(self, effect: Any, batch: Batch, picture: Picture) -> Answer:
        """Do it at Stripe under the effect's own idempotency key.

        Raises:
            TryAgain: Stripe says that nothing was begun.
            stripe.StripeError: the answer was lost or is a server error; what happened must be looked up.
        """
        try:
            if isinstance(effect, Charge):
                return await self._charge(effect, batch, picture)
            if isinstance(effect, HoldRetries):
                await self._stripe.v1.invoices.update_async(
                    effect.invoice, {"auto_advance": False}, {"idempotency_key": effect.key}
                )
                return Answer()
            if isinstance(effect, CancelSubscription):
                return await self._cancel(effect, picture)
        except stripe.RateLimitError as error:
            raise TryAgain(f"Stripe asks to slow down: {error.user_message or error}") from error
        raise TypeError(f"billing does not do {effect!r}")

    async def look_up(self, effect: Any, batch: Batch, picture: Picture, noted: dict[str, Any]) -> Answer | None:
        """A lost charge shows on the invoice: paid, or a newer charge than before. The rest is safe to repeat."""
        if not isinstance(effect, Charge):
            return None
        owed = picture.owed[effect.invoice]
        if owed.invoice.status == "paid":
            await self._remember_attempt(effect, batch, picture, noted.get("amount", 0), None)
            return Answer(reason="paid; found by looking after the answer was lost", reread=True)
        if owed.latest_charge != noted.get("latest_charge"):
            decline = owed.decline or Decline()
            await self._remember_attempt(effect, batch, picture, noted.get("amount", 0), decline)
            return Answer("refused", f"{decline.name}; found by looking after the answer was lost", reread=True)
        return None

    async def _charge(self, effect: Charge, batch: Batch, picture: Picture) -> Answer:
        owed = picture.owed[effect.invoice]
        params: dict[str, Any] = {"off_session": True}
        if owed.fresh_card:
            params["payment_method"] = owed.fresh_card.id
        amount = owed.invoice.amount_remaining
        try:
            await self._stripe.v1.invoices.pay_async(effect.invoice, params, {"idempotency_key": effect.key})  # type: ignore[arg-type]
        except stripe.CardError as error:
            decline = _decline_of(_plain(error.error) if error.error else {})
            await self._remember_attempt(effect, batch, picture, amount, decline)
            return Answer("refused", decline.name, {"class": decline.kind}, reread=True)
        except stripe.InvalidRequestError as error:
            # Paid, voided or without a card in the meantime: not our failure, the invoice says which.
            return Answer("refused", f"Stripe refused: {error.code or error.user_message}", reread=True)
        await self._remember_attempt(effect, batch, picture, amount, None)
        return Answer(detail={"amount": amount, "currency": owed.invoice.currency}, reread=True)

    async def _cancel(self, effect: CancelSubscription, picture: Picture) -> Answer:
        for number, subscription in enumerate(picture.subscriptions):
            try:
                await self._stripe.v1.subscriptions.cancel_async(
                    subscription, {}, {"idempotency_key": f"{effect.key}/{number}"}
                )
            except stripe.InvalidRequestError as error:
                if error.http_status != 404:
                    return Answer("refused", f"Stripe refused: {error.code or error.user_message}")
        return Answer(detail={"subscriptions": list(picture.subscriptions)})

    async def _remember_attempt(
        self, effect: Charge, batch: Batch, picture: Picture, amount: int, decline: Decline | None
    ) -> None:
        owed = picture.owed.get(effect.invoice)
        card = (owed.fresh_card or owed.failed_card if owed else None) or Card(id="")
        async with self._db.writing() as session:
            await ledger.insert_once(
                session,
                Attempt(
                    key=effect.key,
                    account_id=batch.account,
                    invoice=effect.invoice,
                    payment_method=card.id,
                    card=card.fingerprint,
                    network=card.network,
                    amount=amount,
                    currency=owed.invoice.currency if owed else "",
                    at=batch.now,
                    succeeded=decline is None,
                    decline=decline.name if decline else "",
                ),
            )


def _plain(found: Any) -> dict[str, Any]:
    plain: dict[str, Any] = found.to_dict()
    return plain


def _owed(invoice: Invoice, raw: dict[str, Any], tries_of_ours: int) -> Owed:
    """Find the last refusal among the invoice's payments, and a default card that was not the one refused."""
    payments = [each.get("payment", {}).get("payment_intent") for each in (raw.get("payments") or {}).get("data", [])]
    failed = [each for each in payments if isinstance(each, dict) and each.get("last_payment_error")]
    failed.sort(key=lambda intent: intent.get("created", 0))
    error = failed[-1]["last_payment_error"] if failed else None
    failed_card = _card(error.get("payment_method")) if error else None
    refused = {card.id for each in failed if (card := _card(each["last_payment_error"].get("payment_method")))}
    fresh = [card for card in _cards_on_file(raw) if card.id not in refused] if refused else []
    return Owed(
        invoice=invoice,
        decline=_decline_of(error) if error else None,
        failed_card=failed_card,
        fresh_card=fresh[0] if fresh else None,
        latest_charge=id_of(failed[-1].get("latest_charge")) if failed else "",
        attempts=max(invoice.attempts, tries_of_ours + 1),
    )


def _cards_on_file(raw: dict[str, Any]) -> list[Card]:
    """The default cards, the subscription's before the customer's, as Stripe itself would take them."""
    subscription = ((raw.get("parent") or {}).get("subscription_details") or {}).get("subscription")
    settings = raw["customer"].get("invoice_settings") or {} if isinstance(raw.get("customer"), dict) else {}
    places = [
        raw.get("default_payment_method"),
        subscription.get("default_payment_method") if isinstance(subscription, dict) else None,
        settings.get("default_payment_method"),
    ]
    return [card for place in places if (card := _card(place))]


def _card(value: Any) -> Card | None:
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
    )


def _decline_of(error: dict[str, Any]) -> Decline:
    intent = error.get("payment_intent")
    inner = intent.get("last_payment_error") if isinstance(intent, dict) else None
    if isinstance(inner, dict):
        error = {**inner, "code": inner.get("code") or error.get("code")}
    card = _card(error.get("payment_method"))
    return Decline(
        code=error.get("code") or "",
        decline_code=error.get("decline_code") or "",
        advice_code=error.get("advice_code") or "",
        network=card.network if card else "",
        network_advice_code=error.get("network_advice_code") or "",
    )


def _fate(invoice: Invoice) -> str:
    return "" if invoice.is_open else invoice.status if invoice.status != "open" else "paid"


def _picture(
    owed: dict[str, Owed], raws: list[dict[str, Any]], account: Account, stopped: str, cancelled_by_us: bool
) -> Picture:
    still = [each for each in owed.values() if each.invoice.is_open]
    subscriptions = [((raw.get("parent") or {}).get("subscription_details") or {}).get("subscription") for raw in raws]
    known = [each for each in subscriptions if isinstance(each, dict)]
    cancelled = bool(known) and all(each.get("status") in ("canceled", "incomplete_expired") for each in known)
    over = (
        stopped
        or (facts.SUBSCRIPTION_CANCELLED if cancelled and still and not cancelled_by_us else "")
        or _ending_of(owed)
    )
    first = still[0] if still else next(iter(owed.values()), None)
    readings: dict[str, Reading] = {
        "at_stake": sum(each.invoice.amount_remaining for each in still),
        "invoices": " ".join(each.invoice.id for each in still),
        "attempts": max((each.attempts for each in still), default=0),
        "decline": first.decline.kind if first and first.decline else "soft",
        "decline_code": first.decline.name if first and first.decline else "",
        "high_touch": account.strategic or account.segment == "enterprise",
        "mrr": account.mrr,
        "owner": account.owner,
        "segment": account.segment,
        "next_attempt": _next_attempt(still),
    }
    card = (first.failed_card if first else None) or Card(id="")
    fields: dict[str, str | int] = {
        "name": account.name,
        "email": account.email,
        "locale": account.locale,
        "card_last4": card.last4,
        "currency": first.invoice.currency if first else "usd",
        "amount_minor": sum(each.invoice.amount_remaining for each in still)
        or sum(each.invoice.amount_paid for each in owed.values()),
        "invoice_number": ", ".join(each.invoice.number or each.invoice.id for each in (still or list(owed.values()))),
        "decline": str(readings["decline"]),
        "next_attempt": str(readings["next_attempt"]),
    }
    return Picture(
        over=over,
        readings=readings,
        fields=fields,
        owed=owed,
        fates={key: _fate(each.invoice) for key, each in owed.items()},
        subscriptions=tuple(each["id"] for each in known if each.get("status") != "canceled"),
    )


def _ending_of(owed: dict[str, Owed]) -> str:
    """The ending the invoices tell of: nothing while one is still owed; paid if any was paid."""
    if not owed or any(each.invoice.is_open for each in owed.values()):
        return ""
    statuses = {each.invoice.status for each in owed.values()}
    if statuses & {"paid", "open"}:
        return facts.INVOICE_PAID
    return facts.INVOICE_WRITTEN_OFF if "uncollectible" in statuses else facts.INVOICE_VOIDED


def _next_attempt(still: list[Owed]) -> str:
    times = [each.invoice.next_attempt for each in still if each.invoice.next_attempt and each.invoice.auto_advance]
    return min(times).astimezone(UTC).isoformat() if times else ""
