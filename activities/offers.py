"""What an accepted offer promised, given at Stripe: a coupon on the subscription, or a pause of its collection."""

import hashlib
from datetime import timedelta
from typing import Any

import stripe

from activities.systems import Answer, TryAgain
from models.cases import ApplyOffer, Batch
from models.customers import OfferRow
from models.database import Database
from models.picture import Picture

MONTH = timedelta(days=30)


class Offers:
    """Applies accepted offers (O2, O3, O12). Everything is looked at before it is done, so nothing is given twice."""

    kinds: tuple[str, ...] = ("apply_offer",)

    def __init__(self, database: Database, client: stripe.StripeClient) -> None:
        self._db = database
        self._stripe = client

    def before(self, effect: ApplyOffer, picture: Picture) -> dict[str, Any]:
        """Nothing to note: the coupon's own id says for which offer it is."""
        return {}

    async def look_up(self, effect: ApplyOffer, batch: Batch, picture: Picture, noted: dict[str, Any]) -> Answer | None:
        """The subscription itself says whether it carries the coupon or is paused."""
        offer = await self._offer(effect)
        subscriptions = await self._subscriptions(batch.account)
        if offer and subscriptions and all(_has(offer, each) for each in subscriptions):
            return Answer(reason="found done after the answer was lost")
        return None

    async def perform(self, effect: ApplyOffer, batch: Batch, picture: Picture) -> Answer:
        """Give it.

        Raises:
            TryAgain: Stripe says that nothing was begun.
            stripe.StripeError: the answer was lost; what happened must be looked up.
        """
        offer = await self._offer(effect)
        if offer is None or offer.state != "accepted":
            return Answer("refused", f"the offer is {offer.state if offer else 'not on record'}, not accepted")
        try:
            subscriptions = [each for each in await self._subscriptions(batch.account) if not _has(offer, each)]
            if offer.what == "discount":
                await self._make_coupon(offer)
            for each in subscriptions:
                await self._stripe.v1.subscriptions.update_async(
                    each["id"],
                    _change(offer, batch),  # type: ignore[arg-type]
                    {"idempotency_key": f"{effect.key}/{each['id']}"},
                )
        except stripe.RateLimitError as error:
            raise TryAgain(f"Stripe asks to slow down: {error.user_message or error}") from error
        except stripe.InvalidRequestError as error:
            return Answer("refused", f"Stripe refused: {error.code or error.user_message}")
        return Answer(detail={"coupon": coupon_of(offer), "subscriptions": [each["id"] for each in subscriptions]})

    async def _offer(self, effect: ApplyOffer) -> OfferRow | None:
        async with self._db.reading() as session:
            return await session.get(OfferRow, effect.offer)

    async def _subscriptions(self, account: str) -> list[dict[str, Any]]:
        page = await self._stripe.v1.subscriptions.list_async(
            {"customer": account, "status": "active", "expand": ["data.discounts"]}
        )
        return [each.to_dict() for each in page.data]

    async def _make_coupon(self, offer: OfferRow) -> None:
        try:
            await self._stripe.v1.coupons.create_async(
                {
                    "id": coupon_of(offer),
                    "percent_off": offer.pct,
                    "duration": "repeating",
                    "duration_in_months": offer.months,
                    "name": f"{offer.pct} % off for {offer.months} months",
                    "metadata": {"offer": offer.key},
                },
                {"idempotency_key": f"{offer.key}/coupon"},
            )
        except stripe.InvalidRequestError as error:
            if error.code != "resource_already_exists":
                raise


def coupon_of(offer: OfferRow) -> str:
    """The coupon's id: the same for the same offer, however often it is made."""
    return f"holdfast-{hashlib.sha256(offer.key.encode()).hexdigest()[:20]}"


def _has(offer: OfferRow, subscription: dict[str, Any]) -> bool:
    if offer.what == "pause":
        return bool(subscription.get("pause_collection"))
    discounts = [each for each in subscription.get("discounts") or [] if isinstance(each, dict)]
    found = {_coupon_in(each) for each in discounts}
    return coupon_of(offer) in found


def _coupon_in(discount: dict[str, Any]) -> str:
    """Newer API versions keep the coupon under `source`."""
    source = discount.get("source")
    coupon = source.get("coupon") if isinstance(source, dict) else discount.get("coupon")
    return str(coupon.get("id")) if isinstance(coupon, dict) else str(coupon or "")


def _change(offer: OfferRow, batch: Batch) -> dict[str, Any]:
    if offer.what == "pause":
        resumes = batch.now + MONTH * offer.months
        return {"pause_collection": {"behavior": "void", "resumes_at": int(resumes.timestamp())}}
    return {"discounts": [{"coupon": coupon_of(offer)}]}
