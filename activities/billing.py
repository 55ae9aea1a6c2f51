"""Billing at Stripe: looking at invoices, charging them, switching retries off, cancelling."""

from calendar import monthrange
from dataclasses import replace
from datetime import date
from typing import Any, Final

import stripe
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from activities.stripe_picture import decline_of_error, owed_of, picture_of
from activities.systems import Answer, TryAgain, still_fresh
from models import facts, ledger, parking
from models.cases import Batch, CancelSubscription, Charge, HoldRetries
from models.database import Database
from models.declines import Decline
from models.invoices import Invoice, id_of, read_invoice
from models.picture import Card, Owed, Picture
from models.tables import Account, Attempt, CaseRow, InboxEvent, wall

TIMEOUT_S: Final = 15
ON_ITS_WAY: Final = "Stripe took it, and the bank has not answered yet: a slow method"
CARD: Final = ["invoice_settings.default_payment_method"]
STOPS: Final = (facts.PAYMENT_REFUNDED, facts.PAYMENT_DISPUTED)
EXPAND: Final = [
    "customer",
    "customer.invoice_settings.default_payment_method",
    "default_payment_method",
    "parent.subscription_details.subscription",
    "parent.subscription_details.subscription.default_payment_method",
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

    async def learn_account(self, customer: str, *, again: bool = False) -> Account:
        """Read a customer we do not know yet, or `again`: whose CSM, which segment, which card."""
        async with self._db.reading() as session:
            known = await session.get(Account, customer)
        if known and not again:
            return known
        found = await self._stripe.v1.customers.retrieve_async(customer, {"expand": CARD})
        return await self._remember_account(customer, _plain(found))

    async def status_of(self, invoice: str) -> str:
        """The invoice's status at Stripe now: draft, open, paid, void or uncollectible."""
        found = await self._stripe.v1.invoices.retrieve_async(invoice)
        return str(_plain(found).get("status"))

    # Looking.

    async def look(self, batch: Batch) -> Picture:
        """Read every invoice of the case, its customer, subscription and last attempt, and what hints point at."""
        async with self._db.reading() as session:
            case = await session.get(CaseRow, batch.case)
            subjects = [row.subject for row in await ledger.subjects_of(session, batch.case)]
            cancelled_by_us = await ledger.was_begun(session, batch.case, "cancel_subscription")
            tried = await ledger.tries_of(session, subjects)
            hints = await _hints(session, batch, case)
        refused = set(str(case.readings.get("refused_cards", "")).split()) if case else set()
        pages: list[tuple[Owed, dict[str, Any]]] = []
        for subject in subjects:
            invoice, raw = await self._invoice(subject)
            pages.append((owed_of(invoice, raw, tried.get(subject, 0), refused), raw))
        account = await self._remember_account(batch.account, pages[0][1]["customer"]) if pages else Account(id="")
        stopped = await self._stopped_by(hints, frozenset().union(*(owed.intents for owed, _ in pages)))
        picture = picture_of(pages, account, stopped, cancelled_by_us=cancelled_by_us)
        seen = refused | set(str(picture.readings["refused_cards"]).split())
        return replace(picture, readings={**picture.readings, "refused_cards": " ".join(sorted(seen))})

    async def _invoice(self, invoice_id: str) -> tuple[Invoice, dict[str, Any]]:
        raw = _plain(await self._stripe.v1.invoices.retrieve_async(invoice_id, {"expand": EXPAND}))
        return read_invoice(raw), raw

    async def _stopped_by(self, charges: list[str], intents: frozenset[str]) -> str:
        """What was heard of, if the charge confirms it: a dispute of any charge, a refund of one for this case."""
        for each in charges:
            charge = _plain(await self._stripe.v1.charges.retrieve_async(each))
            if charge.get("disputed"):
                return facts.PAYMENT_DISPUTED
            if charge.get("refunded") and id_of(charge.get("payment_intent")) in intents:
                return facts.PAYMENT_REFUNDED
        return ""

    async def _remember_account(self, account_id: str, customer: dict[str, Any]) -> Account:
        """Keep what Stripe says of a customer; what it does not say stays as it was loaded from elsewhere."""
        said = _said_of(customer)
        async with self._db.reading() as session:
            known = await session.get(Account, account_id)
        if known and all(getattr(known, name) == value for name, value in said.items()):
            return known
        async with self._db.writing() as session:
            found = await session.get(Account, account_id)
            if found is None:
                await parking.before_loading(session)
            row = found or Account(id=account_id)
            for name, value in said.items():
                setattr(row, name, value)
            row.wall_updated_at = wall()
            if found:
                session.add(row)
            elif await ledger.insert_once(session, row):
                await parking.go_on(session, {account_id: account_id})
        return row

    # Doing.

    def before(self, effect: Any, picture: Picture) -> dict[str, Any]:
        """Note the newest charge there was, so that a lost answer can be told from none.

        `attempt_count` would not do: Stripe counts automatic retries in it, and of others only the first.
        """
        if isinstance(effect, Charge) and effect.invoice in picture.owed:
            owed = picture.owed[effect.invoice]
            card = owed.fresh_card.id if owed.fresh_card else ""
            return {"latest_charge": owed.latest_charge, "amount": owed.invoice.amount_remaining, "card": card}
        return {}

    async def perform(self, effect: Any, batch: Batch, picture: Picture) -> Answer:
        """Do it at Stripe under the effect's own idempotency key.

        Raises:
            TryAgain: Stripe says that nothing was begun.
            stripe.StripeError: the answer was lost or is a server error; what happened must be looked up.
        """
        still_fresh()
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
        except stripe.InvalidRequestError as error:
            # Paid, voided, deleted in the meantime: no failure of ours, and the next look says which.
            return Answer("refused", f"Stripe refused: {error.code or error.user_message}", reread=True)
        raise TypeError(f"billing does not do {effect!r}")

    async def look_up(self, effect: Any, batch: Batch, picture: Picture, noted: dict[str, Any]) -> Answer | None:
        """A lost charge shows on the invoice: paid, or a newer charge than before. The rest is safe to repeat."""
        if isinstance(effect, HoldRetries):
            held = effect.invoice in picture.owed and not picture.owed[effect.invoice].invoice.auto_advance
            return Answer(reason="found done after the answer was lost") if held else None
        if isinstance(effect, CancelSubscription):
            return None if picture.subscriptions else Answer(reason="found done after the answer was lost")
        owed = picture.owed[effect.invoice]
        if owed.invoice.status == "paid":
            return await self._who_paid(effect, batch, picture, noted)
        if owed.processing:
            return Answer("in_doubt", ON_ITS_WAY)
        if owed.latest_charge != noted.get("latest_charge"):
            decline = owed.decline or Decline()
            await self._remember_attempt(effect, batch, picture, noted.get("amount", 0), decline)
            return Answer("refused", f"{decline.name}; found by looking after the answer was lost", reread=True)
        return None

    async def _who_paid(self, effect: Charge, batch: Batch, picture: Picture, noted: dict[str, Any]) -> Answer:
        """Whether the lost charge paid the invoice, or the customer did meanwhile: Stripe answers a key it knows again.

        A paid invoice cannot be paid twice, so asking again is safe here, and only here.
        """
        amount = noted.get("amount", 0)
        decline: Decline | None = None
        try:
            await self._pay(effect, noted.get("card", ""))
        except stripe.CardError as error:
            decline = decline_of_error(_plain(error.error) if error.error else {})
        except stripe.InvalidRequestError:
            return Answer(
                "refused", "paid by other means before our charge; found after its answer was lost", reread=True
            )
        except stripe.RateLimitError as error:
            raise TryAgain(f"Stripe asks to slow down: {error.user_message or error}") from error
        except stripe.APIError as error:
            # Stripe keeps a server error under the key too. It says that our charge was begun, which is as near as
            # one can come; an error that is new says nothing.
            if (error.headers or {}).get("idempotent-replayed") != "true":
                raise
        await self._remember_attempt(effect, batch, picture, amount, decline)
        found = "found by looking after the answer was lost"
        if decline:
            return Answer("refused", f"{decline.name}; {found}", reread=True)
        return Answer(reason=f"paid; {found}", reread=True)

    async def _pay(self, effect: Charge, card: str) -> stripe.Invoice:
        """Another card is another request: under one key Stripe would refuse it as a different one."""
        params: dict[str, Any] = {"off_session": True} | ({"payment_method": card} if card else {})
        key = f"{effect.key}/{card}" if card else effect.key
        return await self._stripe.v1.invoices.pay_async(effect.invoice, params, {"idempotency_key": key})  # type: ignore[arg-type]

    async def _charge(self, effect: Charge, batch: Batch, picture: Picture) -> Answer:
        owed = picture.owed[effect.invoice]
        amount = owed.invoice.amount_remaining
        try:
            paid = await self._pay(effect, owed.fresh_card.id if owed.fresh_card else "")
        except stripe.CardError as error:
            decline = decline_of_error(_plain(error.error) if error.error else {})
            await self._remember_attempt(effect, batch, picture, amount, decline)
            return Answer("refused", decline.name, {"class": decline.kind}, reread=True)
        if paid.status != "paid":
            return Answer("in_doubt", ON_ITS_WAY, reread=True)
        await self._remember_attempt(effect, batch, picture, amount, None)
        return Answer(detail={"amount": amount, "currency": owed.invoice.currency}, reread=True)

    async def _cancel(self, effect: CancelSubscription, picture: Picture) -> Answer:
        for number, subscription in enumerate(picture.subscriptions):
            still_fresh()
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


async def _hints(session: AsyncSession, batch: Batch, case: CaseRow | None) -> list[str]:
    """Charges that a refund or a dispute was heard of: by the run, or since the case was opened in the inbox.

    The run hears of it a moment later than we do; what came in between is news to the gate, and must not be lost on
    the look that the gate then asks for.
    """
    heard = [fact.object_id for fact in batch.heard if fact.kind in STOPS]
    statement = select(InboxEvent.object_id).where(
        InboxEvent.account_id == batch.account,
        col(InboxEvent.kind).in_(STOPS),
        InboxEvent.occurred_at >= (case.opened_at if case else batch.since),
    )
    told = (await session.exec(statement.order_by(col(InboxEvent.id)))).all()
    return list(dict.fromkeys([*heard, *told]))


def _said_of(customer: dict[str, Any]) -> dict[str, Any]:
    """The columns of an account that Stripe's customer fills."""
    told = customer.get("metadata") or {}
    locales = customer.get("preferred_locales") or []
    said: dict[str, Any] = {
        "name": customer.get("name"),
        "email": customer.get("email"),
        "locale": locales[0] if locales else "",
        "timezone": told.get("timezone"),
        "company": told.get("company"),
        "owner": told.get("csm"),
        "segment": told.get("segment"),
        "plan": told.get("plan"),
        "mrr": int(told["mrr"]) if str(told.get("mrr", "")).isdigit() else None,
        "strategic": told["strategic"] in ("1", "true", "yes") if "strategic" in told else None,
    }
    default = (customer.get("invoice_settings") or {}).get("default_payment_method")
    card = default.get("card") if isinstance(default, dict) else None
    if isinstance(card, dict):
        said["card_last4"] = card.get("last4")
        said["card_expires_on"] = last_day(card["exp_year"], card["exp_month"])
    return {name: value for name, value in said.items() if value not in (None, "")}


def last_day(year: int, month: int) -> date:
    """The last day of a month: a card is good until then (P2.1)."""
    return date(year, month, monthrange(year, month)[1])


def _plain(found: Any) -> dict[str, Any]:
    plain: dict[str, Any] = found.to_dict()
    return plain
