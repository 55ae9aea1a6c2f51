"""Coupons, discounts and pauses of the pretend Stripe, through the unmodified SDK."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest
import stripe

from simulator import oracle
from simulator.running import SimulatorControl
from simulator.world import DAY
from tests.simulator.conftest import KEY, Account, subscribe

Json = dict[str, Any]
REPEATING: Any = {"id": "stay-20", "percent_off": 20, "duration": "repeating", "duration_in_months": 3}


async def discounted(client: stripe.StripeClient, amount: int = 2900) -> tuple[Account, str]:
    """A subscription with 20 % off for three months; the id of its discount."""
    account = await subscribe(client, amount)
    await client.v1.coupons.create_async(REPEATING)
    made = await client.v1.subscriptions.update_async(account.subscription, {"discounts": [{"coupon": "stay-20"}]})
    assert made.discounts
    return account, str(made.discounts[0])


async def kinds_of(client: stripe.StripeClient) -> list[str]:
    """The kinds of all events, oldest first."""
    return [str(event.type) for event in (await client.v1.events.list_async({"limit": 100})).data][::-1]


async def test_a_coupon_exists_once(client: stripe.StripeClient) -> None:
    named: Any = {**REPEATING, "name": "20 % off", "metadata": {"a": "b"}}
    made = await client.v1.coupons.create_async(named)
    read = await client.v1.coupons.retrieve_async("stay-20")
    assert made.to_dict() == read.to_dict()
    assert (read.percent_off, read.duration_in_months, read.times_redeemed, read.name) == (20, 3, 0, "20 % off")
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await client.v1.coupons.create_async(REPEATING)
    assert (refused.value.http_status, refused.value.code) == (400, "resource_already_exists")
    assert (await kinds_of(client)).count("coupon.created") == 1
    assert [each.id for each in (await client.v1.coupons.list_async()).data] == ["stay-20"]


@pytest.mark.parametrize(
    "changes",
    [{"percent_off": 0}, {"percent_off": 101}, {"duration": "once"}, {"duration_in_months": None}],
)
async def test_a_coupon_that_makes_no_sense_is_refused(client: stripe.StripeClient, changes: Json) -> None:
    params = {key: value for key, value in {**REPEATING, **changes}.items() if value is not None}
    with pytest.raises(stripe.InvalidRequestError):
        await client.v1.coupons.create_async(params)  # type: ignore[arg-type]
    assert (await client.v1.coupons.list_async()).data == []


async def test_an_unknown_coupon_changes_nothing(client: stripe.StripeClient) -> None:
    account, discount = await discounted(client)
    with pytest.raises(stripe.InvalidRequestError, match="No such coupon: 'other'"):
        await client.v1.subscriptions.update_async(account.subscription, {"discounts": [{"coupon": "other"}]})
    assert (await client.v1.subscriptions.retrieve_async(account.subscription)).discounts == [discount]


async def test_promotion_codes_are_not_modelled(client: stripe.StripeClient) -> None:
    account, discount = await discounted(client)
    with pytest.raises(stripe.APIError, match="does not model promotion codes"):
        await client.v1.subscriptions.update_async(account.subscription, {"discounts": [{"promotion_code": "x"}]})
    assert (await client.v1.subscriptions.retrieve_async(account.subscription)).discounts == [discount]


async def test_20_percent_for_three_months_is_three_invoices(
    sim: SimulatorControl, client: stripe.StripeClient
) -> None:
    account, discount = await discounted(client, amount=2999)
    paid = []
    for _ in range(4):
        await sim.advance(29 * DAY)
        paid.append(await sim.cycle(account.subscription))
    assert [each["amount_paid"] for each in paid] == [2399, 2399, 2399, 2999]
    assert [each["subtotal"] for each in paid] == [2999] * 4
    assert [each["total_discount_amounts"] for each in paid] == [[{"amount": 600, "discount": discount}]] * 3 + [[]]
    assert paid[0]["lines"]["data"][0]["discount_amounts"] == [{"amount": 600, "discount": discount}]
    assert [entry["amount"] for entry in await sim.ledger()] == [2999, 2399, 2399, 2399, 2999]
    assert (await client.v1.subscriptions.retrieve_async(account.subscription)).discounts == []
    assert (await kinds_of(client)).count("customer.discount.deleted") == 1


async def test_a_coupon_for_once_is_used_up(sim: SimulatorControl, client: stripe.StripeClient) -> None:
    account = await subscribe(client)
    await client.v1.coupons.create_async({"id": "one", "percent_off": 50, "duration": "once"})
    await client.v1.subscriptions.update_async(account.subscription, {"discounts": [{"coupon": "one"}]})
    assert [(await sim.cycle(account.subscription))["amount_paid"] for _ in range(2)] == [1450, 2900]


async def test_the_list_of_discounts_replaces_what_was_there(
    sim: SimulatorControl, client: stripe.StripeClient
) -> None:
    account, first = await discounted(client)
    await client.v1.coupons.create_async({"id": "other", "percent_off": 10, "duration": "forever"})
    both = await client.v1.subscriptions.update_async(
        account.subscription, {"discounts": [{"discount": first}, {"coupon": "other"}]}
    )
    assert both.discounts is not None
    assert both.discounts[0] == first
    assert (await sim.cycle(account.subscription))["amount_paid"] == 2088  # 10 % of what 20 % left
    same = await client.v1.subscriptions.update_async(account.subscription, {"discounts": [], "description": "x"})
    assert same.discounts == both.discounts
    again = await client.v1.subscriptions.update_async(account.subscription, {"discounts": [{"coupon": "stay-20"}]})
    assert again.discounts
    assert len(again.discounts) == 1
    assert again.discounts[0] not in both.discounts, "a coupon is redeemed anew"
    assert (await client.v1.coupons.retrieve_async("stay-20")).times_redeemed == 2
    none = await client.v1.subscriptions.update_async(account.subscription, {"discounts": ""})
    assert none.discounts == []
    kinds = [kind for kind in await kinds_of(client) if "discount" in kind]
    assert kinds == ["customer.discount.created"] * 2 + ["customer.discount.deleted"] * 2 + [
        "customer.discount.created",
        "customer.discount.deleted",
    ]


async def test_a_customers_own_discount_counts_where_the_subscription_has_none(
    sim: SimulatorControl, client: stripe.StripeClient
) -> None:
    account = await subscribe(client)
    await client.v1.coupons.create_async({"id": "friend", "percent_off": 10, "duration": "forever"})
    await sim.call("POST", "dashboard/discount", customer=account.customer, coupon="friend")
    assert (await sim.cycle(account.subscription))["amount_paid"] == 2610
    await client.v1.coupons.create_async(REPEATING)
    await client.v1.subscriptions.update_async(account.subscription, {"discounts": [{"coupon": "stay-20"}]})
    assert (await sim.cycle(account.subscription))["amount_paid"] == 2320


async def test_discounts_and_their_coupons_expand_in_lists(client: stripe.StripeClient) -> None:
    account, discount = await discounted(client)
    plain = await client.v1.subscriptions.list_async({"customer": account.customer, "status": "active"})
    assert plain.data[0].discounts == [discount]
    once = await client.v1.subscriptions.list_async({"customer": account.customer, "expand": ["data.discounts"]})
    (shown,) = once.data[0].to_dict()["discounts"]
    assert (shown["id"], shown["source"], shown["subscription"]) == (
        discount,
        {"coupon": "stay-20", "type": "coupon"},
        account.subscription,
    )
    assert shown["end"] - shown["start"] == 90 * DAY
    deep = await client.v1.subscriptions.list_async({"expand": ["data.discounts.source.coupon"]})
    assert deep.data[0].to_dict()["discounts"][0]["source"]["coupon"]["percent_off"] == 20


async def test_a_pause_ends_by_itself(sim: SimulatorControl, client: stripe.StripeClient) -> None:
    account = await subscribe(client)
    until = (await sim.state())["now"] + 60 * DAY
    await client.v1.subscriptions.update_async(
        account.subscription, {"pause_collection": {"behavior": "void", "resumes_at": until}}
    )
    states = []
    for _ in range(3):
        await sim.advance(29 * DAY)
        states.append((await sim.cycle(account.subscription))["status"])
    assert states == ["void", "void", "paid"]
    resumed = [
        event
        for event in (await client.v1.events.list_async({"type": "customer.subscription.updated"})).data
        if "pause_collection" in (event.to_dict()["data"].get("previous_attributes") or {})
    ]
    assert [event.created - until for event in resumed[:1]] == [0], "at its own moment, not when the clock stopped"
    assert (await client.v1.subscriptions.retrieve_async(account.subscription)).pause_collection is None
    assert len(await sim.ledger()) == 2


async def test_a_pause_cannot_end_before_it_began(sim: SimulatorControl, client: stripe.StripeClient) -> None:
    account = await subscribe(client)
    with pytest.raises(stripe.InvalidRequestError, match="resumes_at must be in the future"):
        await client.v1.subscriptions.update_async(
            account.subscription, {"pause_collection": {"behavior": "void", "resumes_at": 5}}
        )
    assert (await client.v1.subscriptions.retrieve_async(account.subscription)).pause_collection is None


async def test_every_answer_and_event_about_discounts_fits(sim: SimulatorControl, client: stripe.StripeClient) -> None:
    account, _ = await discounted(client)
    await sim.call("POST", "dashboard/discount", customer=account.customer, coupon="stay-20")
    invoice = (await sim.cycle(account.subscription))["id"]
    await sim.advance(91 * DAY)
    headers = {"Authorization": f"Bearer {KEY}"}
    kinds: set[str] = set()
    async with aiohttp.ClientSession(headers=headers) as session:
        for path in (
            "/v1/coupons/stay-20",
            "/v1/coupons",
            f"/v1/invoices/{invoice}?expand[]=discounts.source.coupon&expand[]=lines.data.discounts",
            f"/v1/customers/{account.customer}",
            "/v1/subscriptions?expand[]=data.discounts&expand[]=data.customer",
            "/v1/events?limit=100",
        ):
            async with session.get(sim.url + path) as answer:
                assert answer.status == 200, (path, await answer.text())
                body = await answer.json()
            assert oracle.response_errors("GET", path.partition("?")[0], body) == [], path
            kinds |= {row["type"] for row in body.get("data", []) if row["object"] == "event"}
        async with session.post(sim.url + "/v1/coupons", data={"id": "stay-20", "percent_off": "5"}) as answer:
            assert answer.status == 400
            assert oracle.response_errors("POST", "/v1/coupons", await answer.json()) == []
    assert {"coupon.created", "customer.discount.created", "customer.discount.deleted"} <= kinds
