"""Accepted offers, given at Stripe: once, whatever becomes of the answers, and never in the way of another discount."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment

from activities.offers import coupon_of
from activities.systems import TryAgain
from models.cases import ApplyOffer, Batch, Effect, Outcome, Parting
from models.customers import OfferRow
from models.facts import PLAN_DONE
from models.tables import CaseRow, EffectRow
from tests.town import Customer, Town

UPDATE = "/v1/subscriptions/*"
COUPONS = "/v1/coupons"
LIST = "/v1/subscriptions"
OFFER = "usage-decline/1/step/1"
FAULTS = ["429", "503", "500_before", "500_after", "cut_before", "cut_after", "cut_midway"]


@dataclass
class Promise:
    """A customer who accepted an offer, and the batch that gives it."""

    place: Town
    person: Customer
    now: datetime
    offer: OfferRow

    @property
    def effect(self) -> ApplyOffer:
        """The one effect."""
        return ApplyOffer(key="accepted-offer/1/give_it/1", title="Apply the accepted offer", offer=OFFER)

    def batch(self, *effects: Effect, **more: Any) -> Batch:
        """A batch as the playbook would send it."""
        return Batch(
            case="accepted-offer/1",
            account=self.person.id,
            subject=OFFER,
            playbook="accepted-offer",
            step="give_it",
            title="A step.",
            since=self.now,
            now=self.now,
            effects=effects,
            **more,
        )

    async def give(self, tries: int = 1) -> Outcome:
        """Try until the batch comes back, as Temporal would."""
        for number in range(1, tries + 1):
            try:
                batch = self.batch(self.effect)
                outcome: Outcome = await ActivityEnvironment().run(self.place.effects.carry_out, batch)
            except Exception:
                if number == tries:
                    raise
                continue
            return outcome
        raise AssertionError("unreachable")

    async def subscription(self, identifier: str = "") -> dict[str, Any]:
        """The subscription with its discounts, at Stripe."""
        found = await self.place.stripe.v1.subscriptions.retrieve_async(
            identifier or self.person.subscription, {"expand": ["discounts"]}
        )
        return found.to_dict()

    async def coupons(self, identifier: str = "") -> list[str]:
        """The coupons on the subscription."""
        return [each["source"]["coupon"] for each in (await self.subscription(identifier))["discounts"]]

    async def redeemed(self) -> int:
        """How often our coupon was redeemed: what a second time could not hide."""
        return (await self.place.stripe.v1.coupons.retrieve_async(coupon_of(self.offer))).times_redeemed

    async def ledger(self) -> tuple[str, str]:
        """State and reason of the one effect."""
        (row,) = await self.place.rows(EffectRow)
        return row.state, row.reason

    async def another_subscription(self) -> str:
        """A second subscription of the same customer."""
        v1 = self.place.stripe.v1
        first = await self.subscription()
        price = first["items"]["data"][0]["price"]["id"]
        return (await v1.subscriptions.create_async({"customer": self.person.id, "items": [{"price": price}]})).id

    async def cancel(self, subscription: str = "") -> None:
        """The customer cancels."""
        identifier = subscription or self.person.subscription
        await self.place.simulator.call("POST", "customer/cancel_subscription", subscription=identifier)

    async def someone_discounts(self) -> str:
        """Somebody at our company gave a discount by hand; its id."""
        await self.place.stripe.v1.coupons.create_async({"id": "sales-10", "percent_off": 10, "duration": "forever"})
        made = await self.place.stripe.v1.subscriptions.update_async(
            self.person.subscription, {"discounts": [{"coupon": "sales-10"}]}
        )
        return str((made.discounts or [""])[0])


async def promised(place: Town, **changes: Any) -> Promise:
    """A customer with an accepted offer: 20 % off for three months, unless told otherwise."""
    await place.simulator.webhooks(lost=1.0)
    person = await place.customer("ok")
    now = datetime.fromtimestamp((await place.simulator.state())["now"], UTC)
    terms = {"what": "discount", "pct": 20, "months": 3, "state": "accepted", "answered_at": now, **changes}
    offer = OfferRow(
        key=OFFER,
        account_id=person.id,
        case_id="usage-decline/1",
        made_at=now,
        expires_at=now + timedelta(days=14),
        **terms,
    )
    case = CaseRow(id="accepted-offer/1", playbook="accepted-offer", account_id=person.id, subject=OFFER, opened_at=now)
    async with place.database.writing() as session:
        session.add(offer)
        session.add(case)
    return Promise(place, person, now, offer)


PAUSE: dict[str, Any] = {"what": "pause", "pct": 0, "months": 2}


async def test_o2_an_accepted_discount_takes_20_percent_off_three_invoices(place: Town) -> None:
    promise = await promised(place)
    outcome = await promise.give()
    assert await promise.ledger() == ("done", "")
    assert outcome.readings == {"apply_offer": "done"}
    paid = []
    for _ in range(4):
        await place.simulator.advance(29 * 86_400)
        paid.append((await place.simulator.cycle(promise.person.subscription))["amount_paid"])
    assert paid == [2320, 2320, 2320, 2900]


async def test_o12_the_offer_names_its_coupon_and_the_coupon_its_offer(place: Town) -> None:
    promise = await promised(place)
    await promise.give()
    (row,) = await place.rows(OfferRow)
    coupon = await place.stripe.v1.coupons.retrieve_async(row.provider_id)
    assert (coupon.percent_off, coupon.duration, coupon.duration_in_months) == (20, "repeating", 3)
    assert coupon.metadata
    assert coupon.metadata.to_dict() == {"offer": OFFER}
    (effect,) = await place.rows(EffectRow)
    assert effect.detail == {"coupon": coupon.id, "subscriptions": [promise.person.subscription]}


async def test_o3_an_accepted_pause_voids_invoices_until_it_ends(place: Town) -> None:
    promise = await promised(place, **PAUSE)
    await promise.give()
    pause = (await promise.subscription())["pause_collection"]
    assert pause["behavior"] == "void"
    assert 59 * 86_400 <= pause["resumes_at"] - promise.now.timestamp() <= 62 * 86_400, "two calendar months"
    states = []
    for _ in range(3):
        await place.simulator.advance(29 * 86_400)
        states.append((await place.simulator.cycle(promise.person.subscription))["status"])
    assert states == ["void", "void", "paid"]
    assert (await place.rows(OfferRow))[0].provider_id == ""


@pytest.mark.parametrize(
    ("terms", "path"),
    [({}, UPDATE), ({}, COUPONS), ({}, LIST), (PAUSE, UPDATE)],
    ids=["update", "coupon", "list", "pause"],
)
@pytest.mark.parametrize("kind", FAULTS)
async def test_o12_whatever_answer_is_lost_it_is_given_once(
    place: Town, kind: str, path: str, terms: dict[str, Any]
) -> None:
    promise = await promised(place, **terms)
    await place.simulator.add_fault(kind, path, method="GET" if path == LIST else "POST")
    outcome = await promise.give(tries=3)
    assert (await promise.ledger())[0] == "done"
    assert outcome.readings == {"apply_offer": "done"}
    found = await promise.subscription()
    if terms:
        assert found["pause_collection"]["resumes_at"] > promise.now.timestamp()
    else:
        assert await promise.coupons() == [coupon_of(promise.offer)]
        assert await promise.redeemed() == 1
        assert (await place.rows(OfferRow))[0].provider_id == coupon_of(promise.offer)
    assert await updates_of(place) == 1


async def updates_of(place: Town) -> int:
    """How often subscriptions were changed by somebody."""
    events = await place.stripe.v1.events.list_async({"type": "customer.subscription.updated", "limit": 100})
    return len(events.data)


async def test_o12_asked_to_slow_down_the_claim_is_given_back(place: Town) -> None:
    promise = await promised(place)
    await place.simulator.add_fault("429", UPDATE, method="POST")
    with pytest.raises(TryAgain, match="Stripe asks to slow down"):
        await promise.give()
    assert await place.rows(EffectRow) == []
    assert await promise.coupons() == []


async def test_o12_twice_is_once(place: Town) -> None:
    promise = await promised(place)
    outcomes = [await promise.give() for _ in range(2)]
    assert outcomes[0].results == outcomes[1].results
    assert [outcome.readings for outcome in outcomes] == [{"apply_offer": "done"}] * 2
    assert (await promise.redeemed(), await updates_of(place)) == (1, 1)


@pytest.mark.parametrize("terms", [{}, PAUSE], ids=["discount", "pause"])
async def test_o12_what_was_taken_back_meanwhile_is_not_given_again(place: Town, terms: dict[str, Any]) -> None:
    promise = await promised(place, **terms)
    await place.simulator.add_fault("cut_after", UPDATE, method="POST")
    with pytest.raises(Exception, match=r".+"):
        await promise.give()
    taken: Any = {"pause_collection": ""} if terms else {"discounts": ""}
    await place.stripe.v1.subscriptions.update_async(promise.person.subscription, taken)
    await promise.give()
    assert await promise.ledger() == ("done", "found done after the answer was lost")
    found = await promise.subscription()
    assert (found["discounts"], found["pause_collection"]) == ([], None)


async def test_o12_given_and_cancelled_before_we_knew_counts_as_given(place: Town) -> None:
    promise = await promised(place)
    await place.simulator.add_fault("cut_after", UPDATE, method="POST")
    with pytest.raises(Exception, match=r".+"):
        await promise.give()
    await promise.cancel()
    await promise.give()
    assert await promise.ledger() == ("done", "found done after the answer was lost")


async def test_o12_a_coupon_made_before_the_answer_was_lost_is_used(place: Town) -> None:
    promise = await promised(place)
    await place.simulator.add_fault("cut_after", COUPONS, method="POST")
    with pytest.raises(Exception, match=r".+"):
        await promise.give()
    assert (await promise.coupons(), await promise.redeemed()) == ([], 0)
    await promise.give()
    assert (await promise.coupons(), await promise.redeemed()) == ([coupon_of(promise.offer)], 1)
    assert await promise.ledger() == ("done", "")


async def refused(promise: Promise) -> str:
    """Give it; it is refused, the playbook is told, and nothing was changed by us. The reason."""
    before = await updates_of(promise.place)
    outcome = await promise.give()
    state, reason = await promise.ledger()
    assert (state, outcome.readings) == ("refused", {"apply_offer": "refused"})
    assert outcome.results[promise.effect.key].reason == reason
    assert await updates_of(promise.place) == before
    return reason


async def test_o12_cancelled_meanwhile_is_refused(place: Town) -> None:
    promise = await promised(place)
    await promise.cancel()
    assert await refused(promise) == "no subscription of the account is active any more"


async def test_o12_cancelled_between_our_look_and_the_update_is_refused(place: Town) -> None:
    promise = await promised(place)
    await place.simulator.add_fault("slow_before", UPDATE, method="POST", seconds=0.3)
    giving = asyncio.create_task(promise.give())
    await asyncio.sleep(0.15)
    await promise.cancel()
    outcome = await giving
    assert outcome.readings == {"apply_offer": "refused"}
    assert (await promise.ledger())[1].startswith("Stripe refused: A canceled subscription can only")


async def test_o12_a_person_sees_a_refusal_however_much_later_the_run_asks(place: Town) -> None:
    promise = await promised(place)
    await promise.cancel()
    await promise.give()
    closing = Parting(reason=PLAN_DONE, outcome="needs_a_person")
    later: Outcome = await ActivityEnvironment().run(place.effects.carry_out, promise.batch(watch="facts"))
    assert (later.readings["apply_offer"], later.readings["churned"]) == ("refused", False)
    ended: Outcome = await ActivityEnvironment().run(place.effects.carry_out, promise.batch(closing=closing))
    assert ended.readings["apply_offer"] == "refused"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"state": "made"}, "the offer is made, not accepted"),
        ({"state": "declined"}, "the offer is declined, not accepted"),
        ({"state": "withdrawn"}, "the offer is withdrawn, not accepted"),
        ({"what": "pause", "pct": 0, "months": 4}, "a pause of 4 months: 3 is the most (O3)"),
        ({"pct": 50}, "50 % off: half or more is never given (O2)"),
    ],
)
async def test_o2_o3_what_was_not_accepted_or_is_too_much_is_refused(
    place: Town, changes: dict[str, Any], reason: str
) -> None:
    assert await refused(await promised(place, **changes)) == reason


async def test_o12_an_offer_that_is_not_on_record_is_refused(place: Town) -> None:
    promise = await promised(place)
    async with place.database.writing() as session:
        await session.delete(promise.offer)
    assert await refused(promise) == "the offer is not on record, not accepted"


async def test_o7_a_discount_by_other_means_is_neither_doubled_nor_taken_away(place: Town) -> None:
    promise = await promised(place)
    theirs = await promise.someone_discounts()
    assert await refused(promise) == (
        f"{promise.person.subscription} has a discount already (sales-10): never two, and never one for another"
    )
    assert [each["id"] for each in (await promise.subscription())["discounts"]] == [theirs]


async def test_o7_a_discount_of_the_customer_itself_counts(place: Town) -> None:
    promise = await promised(place)
    await place.stripe.v1.coupons.create_async({"id": "friend", "percent_off": 10, "duration": "forever"})
    await place.simulator.call("POST", "dashboard/discount", customer=promise.person.id, coupon="friend")
    assert "has a discount already (friend)" in await refused(promise)


async def test_o7_an_earlier_offer_of_ours_counts(place: Town) -> None:
    promise = await promised(place)
    await place.stripe.v1.coupons.create_async({"id": "holdfast-earlier", "percent_off": 20, "duration": "forever"})
    await place.stripe.v1.subscriptions.update_async(
        promise.person.subscription,
        {"discounts": [{"coupon": "holdfast-earlier"}], "metadata": {"holdfast_discount": "another/offer"}},
    )
    assert "has a discount already (holdfast-earlier)" in await refused(promise)
    assert await promise.coupons() == ["holdfast-earlier"]


async def test_o7_a_discount_that_has_ended_is_in_nobodys_way(place: Town) -> None:
    promise = await promised(place)
    await place.stripe.v1.coupons.create_async(
        {"id": "short", "percent_off": 10, "duration": "repeating", "duration_in_months": 1}
    )
    await place.stripe.v1.subscriptions.update_async(promise.person.subscription, {"discounts": [{"coupon": "short"}]})
    await place.simulator.advance(31 * 86_400)
    await promise.give()
    assert await promise.coupons() == [coupon_of(promise.offer)]


async def test_o3_a_pause_by_other_means_stays_as_it_is(place: Town) -> None:
    promise = await promised(place, **PAUSE)
    theirs: Any = {"pause_collection": {"behavior": "keep_as_draft"}}
    await place.stripe.v1.subscriptions.update_async(promise.person.subscription, theirs)
    assert await refused(promise) == f"{promise.person.subscription} is paused already, not by this offer"
    assert (await promise.subscription())["pause_collection"] == {"behavior": "keep_as_draft", "resumes_at": None}


async def test_o3_a_pause_is_no_matter_of_discounts(place: Town) -> None:
    promise = await promised(place, **PAUSE)
    await promise.someone_discounts()
    await promise.give()
    assert (await promise.subscription())["pause_collection"]["behavior"] == "void"
    assert await promise.coupons() == ["sales-10"]


async def test_o12_every_living_subscription_gets_it_and_no_ended_one(place: Town) -> None:
    promise = await promised(place)
    second, third = await promise.another_subscription(), await promise.another_subscription()
    await promise.cancel(third)
    await place.simulator.add_fault("cut_before", f"/v1/subscriptions/{promise.person.subscription}", method="POST")
    await promise.give(tries=2)
    assert await promise.coupons() == await promise.coupons(second) == [coupon_of(promise.offer)]
    assert (await promise.coupons(third), await promise.redeemed()) == ([], 2)


async def test_p1_a_subscription_whose_payment_is_late_lives(place: Town) -> None:
    promise = await promised(place)
    await place.simulator.set_issuer(promise.person.card, {"script": ["insufficient_funds"]})
    await place.simulator.cycle(promise.person.subscription)
    assert (await promise.subscription())["status"] == "past_due"
    await promise.give()
    assert await promise.coupons() == [coupon_of(promise.offer)]
