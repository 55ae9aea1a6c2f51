"""The inbox, the cases and the ledger against Stripe: events, invoices, charges, coupons."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson
import stripe
from sqlmodel import col, or_, select

from activities.offers import coupon_of
from activities.stripe_picture import card_of
from models import facts
from models.customers import OfferRow
from models.invoices import Invoice, UnreadableInvoice, read_invoice
from models.money import money
from models.stripe_events import OUR_KEYS, READERS
from models.tables import Attempt, CaseRow, CaseSubject, EffectRow, InboxEvent, wall
from web.webhooks import Refused, row_of
from workers.differences import PAGE, Difference, Mend, Sides
from workers.sweep import REACH

WINDOW: Final = timedelta(hours=6)
"""Stripe lists newest first and we store oldest first: so much of what is missing is in memory at a time."""
CHARGES: Final = ("charge.succeeded", "charge.failed", "invoice.paid", "invoice.payment_failed")
ON_A_CARD: Final = re.compile(r"/(pm|card|src|ba)_\w+$")
"""What a charge of a new card adds to its effect's key."""
FATES: Final = {
    "paid": facts.INVOICE_PAID,
    "void": facts.INVOICE_VOIDED,
    "uncollectible": facts.INVOICE_WRITTEN_OFF,
}


async def _windows(sides: Sides, types: list[str]) -> AsyncIterator[list[dict[str, Any]]]:
    """Stripe's events of these types since, oldest window first, oldest event first in each."""
    end = wall()
    begin = max(sides.since, end - REACH)
    while begin < end:
        until = begin + WINDOW
        created: dict[str, int] = {"gte": int(begin.timestamp())}
        if until < end:
            created["lt"] = int(until.timestamp())
        params: Any = {"types": types, "created": created, "limit": PAGE}
        page = await sides.stripe.v1.events.list_async(params)
        found = [event.to_dict() async for event in page.auto_paging_iter()]
        yield found[::-1]
        begin = until


async def events_and_the_inbox(sides: Sides) -> AsyncIterator[Difference]:
    """Stripe's events of kinds we act on that the inbox lacks."""
    async for events in _windows(sides, sorted(READERS)):
        sides.looked_at["events"] += len(events)
        for start in range(0, len(events), PAGE):
            some = events[start : start + PAGE]
            known = await sides.known(InboxEvent, InboxEvent.event_id, [str(event["id"]) for event in some])
            for event in some:
                if event["id"] in known:
                    continue
                try:
                    row = row_of(event, orjson.dumps(event, default=str), livemode=sides.livemode)
                except Refused:
                    continue  # of the other mode: it is not for this inbox
                yield Difference(
                    "event missing",
                    f"Stripe has {row.event_id} ({row.type}, {row.occurred_at:%Y-%m-%d %H:%M} UTC"
                    f"{f', {row.account_id}' if row.account_id else ''}), the inbox has not",
                    "put it into the inbox",
                    _take(sides, row),
                )


def _take(sides: Sides, row: InboxEvent) -> Mend:
    async def apply() -> None:
        await sides.put(row)

    return apply


async def unpaid_invoices_and_cases(sides: Sides) -> AsyncIterator[Difference]:
    """Open invoices whose charge failed at Stripe, and that no case and no event of ours is about."""
    oldest = wall() - timedelta(days=sides.policy.default.starts.oldest_fact_days)
    page = await sides.stripe.v1.invoices.list_async(
        {"status": "open", "collection_method": "charge_automatically", "limit": PAGE}
    )
    while True:
        invoices = [_readable(raw.to_dict()) for raw in page.data]
        failed = [each for each in invoices if each and each[0].is_open and each[0].attempts > 0]
        sides.looked_at["open invoices"] += len(invoices)
        ids = [invoice.id for invoice, _ in failed]
        known = await sides.known(CaseSubject, CaseSubject.subject, ids)
        known |= await _heard_of(sides, ids)
        for invoice, since in failed:
            if invoice.id in known:
                continue
            if since < oldest:
                sides.looked_at["invoices too old to begin with"] += 1
                continue
            unpaid = money(invoice.amount_remaining, invoice.currency)
            attempts = f"{invoice.attempts} failed {'attempt' if invoice.attempts == 1 else 'attempts'}"
            yield Difference(
                "invoice without case",
                f"{invoice.id} ({invoice.customer}) is open at Stripe, {unpaid} unpaid after {attempts}, "
                "and no case is about it",
                "put the failed payment into the inbox",
                sides.says(
                    facts.PAYMENT_FAILED,
                    f"reconcile/{invoice.id}",
                    invoice.customer,
                    invoice.id,
                    since,
                    at_stake=invoice.amount_remaining,
                    currency=invoice.currency,
                ),
            )
        if not page.has_more:
            return
        page = await page.next_page_async()


def _readable(raw: dict[str, Any]) -> tuple[Invoice, datetime] | None:
    """The invoice and when it was due; None if it is none for us."""
    try:
        invoice = read_invoice(raw)
    except UnreadableInvoice:
        return None
    if raw.get("billing_reason") == "subscription_create":
        return None
    finalized = (raw.get("status_transitions") or {}).get("finalized_at") or raw.get("created") or 0
    return invoice, datetime.fromtimestamp(finalized, UTC)


async def _heard_of(sides: Sides, invoices: list[str]) -> set[str]:
    """The invoices whose failed payment is in the inbox: whether it opened a case was for the router to say."""
    if not invoices:
        return set()
    async with sides.database.reading() as session:
        statement = select(InboxEvent.subject).where(
            InboxEvent.kind == facts.PAYMENT_FAILED, col(InboxEvent.subject).in_(invoices), InboxEvent.state != "dead"
        )
        return set((await session.exec(statement)).all())


async def open_cases_and_invoices(sides: Sides) -> AsyncIterator[Difference]:
    """Open cases about invoices that Stripe has as settled, of which no news came."""
    after = ("", "")
    while True:
        async with sides.database.reading() as session:
            statement = (
                select(CaseSubject, CaseRow.account_id)
                .join(CaseRow, col(CaseRow.id) == col(CaseSubject.case_id))
                .where(
                    CaseRow.playbook == "payment-failure",
                    col(CaseRow.ended).is_(False),
                    CaseSubject.fate == "",
                    or_(
                        col(CaseSubject.case_id) > after[0],
                        (col(CaseSubject.case_id) == after[0]) & (col(CaseSubject.subject) > after[1]),
                    ),
                )
                .order_by(col(CaseSubject.case_id), col(CaseSubject.subject))
                .limit(PAGE)
            )
            rows = (await session.exec(statement)).all()
        for subject, account in rows:
            sides.looked_at["invoices of open cases"] += 1
            try:
                status = str((await sides.stripe.v1.invoices.retrieve_async(subject.subject)).status)
            except stripe.InvalidRequestError:
                status = "void"  # deleted at Stripe: nobody owes it
            kind = FATES.get(status, "")
            if not kind or await _is_on_record(sides, account, subject.subject, kind):
                continue
            yield Difference(
                "settled at Stripe",
                f"{subject.subject} ({account}) is {status} at Stripe, but {subject.case_id} is open and was not told",
                "put that into the inbox, so that the run looks and ends",
                sides.says(kind, f"reconcile/{subject.subject}/{status}", account, subject.subject, wall()),
            )
        if len(rows) < PAGE:
            return
        after = (rows[-1][0].case_id, rows[-1][0].subject)


async def _is_on_record(sides: Sides, account: str, subject: str, kind: str) -> bool:
    async with sides.database.reading() as session:
        statement = select(InboxEvent.id).where(
            InboxEvent.account_id == account, InboxEvent.kind == kind, InboxEvent.subject == subject
        )
        return (await session.exec(statement)).first() is not None


async def charges_and_attempts(sides: Sides) -> AsyncIterator[Difference]:
    """Charges that Stripe made under keys of ours, and that the ledger lacks: the networks' caps count them."""
    async for events in _windows(sides, sorted(CHARGES)):
        ours = [event for event in events if _key(event)]
        invoices = {
            _key(event): str(event["data"]["object"]["id"]) for event in ours if event["type"].startswith("invoice.")
        }
        charges = [event for event in ours if event["type"].startswith("charge.")]
        sides.looked_at["charges of ours"] += len(charges)
        known = await sides.known(Attempt, Attempt.key, [_key(event) for event in charges])
        known |= await _under_way(sides, [_key(event) for event in charges])
        for event in charges:
            key = _key(event)
            if key in known:
                continue
            charge, at = event["data"]["object"], datetime.fromtimestamp(event["created"], UTC)
            said = _attempt(key, invoices.get(key, key.split("/")[1]), charge, at)
            how = "was paid" if said["succeeded"] else f"was refused ({said['decline']})"
            yield Difference(
                "charge not on record",
                f"{charge['id']} of {said['invoice']}, {money(said['amount'], said['currency'])}, {how} at Stripe "
                f"under our key {key}, but the ledger has no attempt",
                "put the attempt back on record",
                sides.found(f"charge/{charge['id']}", str(charge.get("customer") or ""), at, {"attempt": said}),
            )


async def _under_way(sides: Sides, keys: list[str]) -> set[str]:
    """Those that a run, or the settler, is about to write down."""
    async with sides.database.reading() as session:
        statement = select(EffectRow.key).where(col(EffectRow.key).in_(keys), EffectRow.state == "claimed")
        return set((await session.exec(statement)).all())


def _key(event: dict[str, Any]) -> str:
    """The effect's key, where one of ours brought the event about."""
    request = event.get("request")
    key = request.get("idempotency_key") if isinstance(request, dict) else None
    return ON_A_CARD.sub("", key) if isinstance(key, str) and key.startswith(OUR_KEYS) else ""


def _attempt(key: str, invoice: str, charge: dict[str, Any], at: datetime) -> dict[str, Any]:
    details = (charge.get("payment_method_details") or {}).get("card")
    card = card_of({"id": str(charge.get("payment_method") or "?"), "card": details})
    outcome = charge.get("outcome") or {}
    return {
        "key": key,
        "invoice": invoice,
        "payment_method": str(charge.get("payment_method") or ""),
        "card": card.fingerprint if card else "",
        "network": card.network if card else "",
        "amount": int(charge["amount"]),
        "currency": str(charge["currency"]),
        "at": at.isoformat(),
        "succeeded": charge.get("status") == "succeeded",
        "decline": "" if charge.get("status") == "succeeded" else str(outcome.get("reason") or charge["failure_code"]),
    }


async def attempts_and_charges(sides: Sides) -> AsyncIterator[Difference]:
    """Charges that the ledger has as paid, of invoices that Stripe has not: nothing a machine may mend."""
    after = ""
    while True:
        async with sides.database.reading() as session:
            statement = select(Attempt).where(
                col(Attempt.succeeded), col(Attempt.at) >= sides.since, col(Attempt.key) > after
            )
            rows = (await session.exec(statement.order_by(col(Attempt.key)).limit(PAGE))).all()
        for row in rows:
            sides.looked_at["paid charges"] += 1
            try:
                status = str((await sides.stripe.v1.invoices.retrieve_async(row.invoice)).status)
            except stripe.InvalidRequestError:
                status = "unknown"
            if status == "paid":
                continue
            what = f"{row.key}: the ledger has {row.invoice} as paid by our charge, but at Stripe it is {status}"
            case = "/".join(row.key.split("/")[:2])
            async for difference in sides.for_a_person("charge unknown to Stripe", what, row.key, row.account_id, case):
                yield difference
        if len(rows) < PAGE:
            return
        after = rows[-1].key


async def coupons_and_offers(sides: Sides) -> AsyncIterator[Difference]:
    """Coupons of ours for offers nobody accepted, and offers on record as given that Stripe has no coupon for."""
    created: Any = {"gte": int(sides.since.timestamp())}
    page = await sides.stripe.v1.coupons.list_async({"created": created, "limit": PAGE})
    async for each in page.auto_paging_iter():
        coupon = each.to_dict()
        key = str((coupon.get("metadata") or {}).get("offer", ""))
        if not str(coupon["id"]).startswith("holdfast-") or not key:
            continue
        sides.looked_at["coupons"] += 1
        async with sides.database.reading() as session:
            offer = await session.get(OfferRow, key)
        if offer and offer.state == "accepted":
            continue
        state = f"is {offer.state}" if offer else "is not on record"
        what = f"{coupon['id']} was made at Stripe for the offer {key}, which {state}, not accepted"
        account, case = (offer.account_id, offer.case_id) if offer else ("", "/".join(key.split("/")[:2]))
        async for difference in sides.for_a_person("coupon without offer", what, str(coupon["id"]), account, case):
            yield difference
    async with sides.database.reading() as session:
        statement = select(OfferRow).join(EffectRow, col(EffectRow.case_id) == col(OfferRow.case_id))
        given = statement.where(
            OfferRow.state == "accepted",
            OfferRow.what == "discount",
            col(OfferRow.answered_at) >= sides.since,
            EffectRow.kind == "apply_offer",
            EffectRow.state == "done",
        )
        offers = (await session.exec(given.distinct())).all()
    for offer in offers:
        sides.looked_at["offers given"] += 1
        try:
            await sides.stripe.v1.coupons.retrieve_async(coupon_of(offer))
        except stripe.InvalidRequestError:
            what = f"the offer {offer.key} is on record as given, but Stripe has no coupon {coupon_of(offer)}"
            async for difference in sides.for_a_person(
                "offer without coupon", what, offer.key, offer.account_id, offer.case_id
            ):
                yield difference
