"""What an accepted offer promised, given at Stripe: a coupon on the subscription, or a pause of its collection."""

import hashlib
from collections.abc import Iterator
from typing import Any, Final

import stripe

from activities.systems import Answer, TryAgain, still_fresh
from models.cases import ApplyOffer, Batch
from models.customers import OfferRow
from models.database import Database
from models.offers import HALF_PCT, MOST_MONTHS, months_after
from models.picture import Picture

LIVING: Final = ("active", "trialing", "past_due")
"""Subscriptions that go on; the others are over, have not begun, or are Stripe's to end."""
PAGE: Final = 100
EXPAND: Final = ["data.customer", "data.discounts", "data.items.data.discounts"]


class Offers:
    """Applies accepted offers to every living subscription of the account (O2, O3, O12).

    The update that gives an offer also writes its key into the subscription's metadata. That mark stays when the
    coupon is taken off again or the pause ends, so that a lost answer is never made up for by giving it twice.
    """

    kinds: tuple[str, ...] = ("apply_offer",)

    def __init__(self, database: Database, client: stripe.StripeClient) -> None:
        self._db = database
        self._stripe = client

    def before(self, effect: ApplyOffer, picture: Picture) -> dict[str, Any]:
        """Nothing to note: what was given says for which offer it is."""
        return {}

    async def look_up(self, effect: ApplyOffer, batch: Batch, picture: Picture, noted: dict[str, Any]) -> Answer | None:
        """Done if a subscription carries the offer's mark and no living one lacks it; ended ones count as given."""
        offer = await self._offer(effect)
        if offer is None:
            return None
        subscriptions = await self._subscriptions(batch.account)
        given = [each["id"] for each in subscriptions if _has(offer, each)]
        if not given or any(_lives(each) and not _has(offer, each) for each in subscriptions):
            return None
        await self._note_coupon(offer)
        return Answer(reason="found done after the answer was lost", detail=_detail(offer, given))

    async def perform(self, effect: ApplyOffer, batch: Batch, picture: Picture) -> Answer:
        """Give it to each living subscription that does not have it yet.

        Refused, with the reason, where the offer was not accepted or is beyond the hard limits (O2, O3), where no
        subscription lives, and where another discount or pause is in force: two are never stacked (O7), and one that
        a customer has by other means is never taken away for ours, which Stripe's `discounts` would do.

        Raises:
            TryAgain: Stripe says that nothing was begun.
            stripe.StripeError: the answer was lost; what happened must be looked up.
        """
        offer = await self._offer(effect)
        objection = _objection(offer)
        if offer is None or objection:
            return Answer("refused", objection)
        given: list[str] = []
        try:
            subscriptions = [each for each in await self._subscriptions(batch.account) if _lives(each)]
            if not subscriptions:
                return Answer("refused", "no subscription of the account is active any more")
            waiting = [each for each in subscriptions if not _has(offer, each)]
            given = [each["id"] for each in subscriptions if _has(offer, each)]
            in_force = next((found for each in subscriptions if (found := _in_force(offer, each))), "")
            if waiting and in_force:
                return Answer("refused", in_force, _detail(offer, given))
            if waiting and offer.what == "discount":
                still_fresh()
                await self._make_coupon(offer)
            for each in waiting:
                still_fresh()
                await self._stripe.v1.subscriptions.update_async(
                    each["id"],
                    _change(offer, batch),  # type: ignore[arg-type]
                    {"idempotency_key": f"{effect.key}/{each['id']}"},
                )
                given.append(each["id"])
        except stripe.RateLimitError as error:
            raise TryAgain(f"Stripe asks to slow down: {error.user_message or error}") from error
        except stripe.InvalidRequestError as error:
            return Answer("refused", f"Stripe refused: {error.user_message or error.code}", _detail(offer, given))
        await self._note_coupon(offer)
        return Answer(detail=_detail(offer, given))

    async def _offer(self, effect: ApplyOffer) -> OfferRow | None:
        async with self._db.reading() as session:
            return await session.get(OfferRow, effect.offer)

    async def _note_coupon(self, offer: OfferRow) -> None:
        """Put the coupon's id on the offer's record (O12)."""
        if offer.what != "discount":
            return
        async with self._db.writing() as session:
            row = await session.get(OfferRow, offer.key, with_for_update=True)
            if row:
                row.provider_id = coupon_of(offer)
                session.add(row)

    async def _subscriptions(self, account: str) -> list[dict[str, Any]]:
        page = await self._stripe.v1.subscriptions.list_async(
            {"customer": account, "status": "all", "limit": PAGE, "expand": EXPAND}
        )
        return [each.to_dict() async for each in page.auto_paging_iter()]

    async def _make_coupon(self, offer: OfferRow) -> None:
        # No idempotency key: the id is one, and under a key Stripe would repeat a 500 for a day though it was made.
        try:
            await self._stripe.v1.coupons.create_async(
                {
                    "id": coupon_of(offer),
                    "percent_off": offer.pct,
                    "duration": "repeating",
                    "duration_in_months": offer.months,
                    "name": f"{offer.pct} % off for {offer.months} months",
                    "metadata": {"offer": offer.key},
                }
            )
        except stripe.InvalidRequestError as error:
            if error.code != "resource_already_exists":
                raise


def coupon_of(offer: OfferRow) -> str:
    """The coupon's id: the same for the same offer, however often it is made."""
    return f"holdfast-{hashlib.sha256(offer.key.encode()).hexdigest()[:20]}"


def _objection(offer: OfferRow | None) -> str:
    """Why an offer may not be given, whatever Stripe says."""
    if offer is None or offer.state != "accepted":
        return f"the offer is {offer.state if offer else 'not on record'}, not accepted"
    if offer.what == "pause" and offer.months > MOST_MONTHS:
        return f"a pause of {offer.months} months: {MOST_MONTHS} is the most (O3)"
    if offer.what == "discount" and offer.pct >= HALF_PCT:
        return f"{offer.pct} % off: half or more is never given (O2)"
    return ""


def _lives(subscription: dict[str, Any]) -> bool:
    return subscription["status"] in LIVING


def _mark(offer: OfferRow) -> dict[str, str]:
    return {f"holdfast_{offer.what}": offer.key}


def _has(offer: OfferRow, subscription: dict[str, Any]) -> bool:
    """Whether this offer was given to the subscription, even if nothing is left of it by now."""
    marked = _mark(offer).items() <= (subscription.get("metadata") or {}).items()
    return marked or coupon_of(offer) in set(_coupons(subscription))


def _in_force(offer: OfferRow, subscription: dict[str, Any]) -> str:
    """What else is in force on a subscription and forbids the offer, in words; empty if nothing is."""
    if offer.what == "pause":
        paused = bool(subscription.get("pause_collection")) and not _has(offer, subscription)
        return f"{subscription['id']} is paused already, not by this offer" if paused else ""
    other = next((coupon for coupon in _coupons(subscription) if coupon != coupon_of(offer)), "")
    return (
        f"{subscription['id']} has a discount already ({other}): never two, and never one for another" if other else ""
    )


def _coupons(subscription: dict[str, Any]) -> Iterator[str]:
    """The coupons in force for a subscription: its own, its items', and its customer's."""
    items = (subscription.get("items") or {}).get("data") or []
    customer = subscription.get("customer")
    of_customer = customer.get("discount") if isinstance(customer, dict) else None
    for holder in (subscription, *items, {"discounts": [of_customer] if of_customer else []}):
        for discount in holder.get("discounts") or []:
            yield _coupon_in(discount) if isinstance(discount, dict) else str(discount)


def _coupon_in(discount: dict[str, Any]) -> str:
    """Newer API versions keep the coupon under `source`; a discount that names none is known by its own id."""
    source = discount.get("source")
    coupon = source.get("coupon") if isinstance(source, dict) else discount.get("coupon")
    return str((coupon.get("id") if isinstance(coupon, dict) else coupon) or discount.get("id"))


def _detail(offer: OfferRow, subscriptions: list[str]) -> dict[str, Any]:
    coupon = {"coupon": coupon_of(offer)} if offer.what == "discount" else {}
    return {**coupon, "subscriptions": subscriptions}


def _change(offer: OfferRow, batch: Batch) -> dict[str, Any]:
    """The parameters that give the offer, and leave its mark in the same call."""
    if offer.what == "pause":
        resumes = months_after(batch.now, offer.months)
        pause = {"behavior": "void", "resumes_at": int(resumes.timestamp())}
        return {"pause_collection": pause, "metadata": _mark(offer)}
    return {"discounts": [{"coupon": coupon_of(offer)}], "metadata": _mark(offer)}
