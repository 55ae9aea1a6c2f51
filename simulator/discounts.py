"""Coupons redeemed into discounts, what they take off an invoice, and how discounts and pauses end by themselves.

A month is 30 days here, as for the simulator's billing periods.
"""

from __future__ import annotations

from typing import Any

from simulator.errors import ApiError, not_modelled
from simulator.stripe_objects import MONTH
from simulator.world import STRIPE, Caller, World

Json = dict[str, Any]


def coupon(world: World, params: Json) -> Json:
    """A percent-off coupon from create parameters."""
    return {
        "id": params.get("id") or world.new_id("coupon"),
        "object": "coupon",
        "amount_off": None,
        "created": world.now(),
        "currency": None,
        "duration": params.get("duration", "once"),
        "duration_in_months": params.get("duration_in_months"),
        "livemode": False,
        "max_redemptions": None,
        "metadata": params.get("metadata", {}),
        "name": params.get("name"),
        "percent_off": params["percent_off"],
        "redeem_by": None,
        "times_redeemed": 0,
        "valid": True,
    }


def _redeem(world: World, redeemed: Json, customer: str, subscription: str | None) -> Json:
    """A discount that starts now."""
    months = redeemed["duration_in_months"]
    redeemed["times_redeemed"] += 1
    return world.add(
        {
            "id": world.new_id("discount"),
            "object": "discount",
            "checkout_session": None,
            "customer": customer,
            "customer_account": None,
            "end": world.now() + months * MONTH if months else None,
            "invoice": None,
            "invoice_item": None,
            "promotion_code": None,
            "source": {"coupon": redeemed["id"], "type": "coupon"},
            "start": world.now(),
            "subscription": subscription,
            "subscription_item": None,
        }
    )


def replace(world: World, subscription: Json, given: list[Json] | str, caller: Caller) -> None:
    """What the parameter `discounts` does: the list replaces what was there, "" clears, an empty list does nothing.

    A coupon is redeemed anew each time; a discount that shall stay has to be named by its id.
    """
    if given == []:
        return
    before, entries = subscription["discounts"], given if isinstance(given, list) else []
    for index, entry in enumerate(entries):
        if "promotion_code" in entry:
            raise not_modelled("promotion codes")
        if "coupon" in entry:
            world.get("coupon", entry["coupon"], f"discounts[{index}][coupon]")
        elif entry.get("discount") not in before:
            raise ApiError(400, "The subscription has no such discount.", param=f"discounts[{index}][discount]")
    kept = [entry["discount"] for entry in entries if "discount" in entry]
    for identifier in before:
        if identifier not in kept:
            world.emit("customer.discount.deleted", world.get("discount", identifier), caller)
    after = []
    for entry in entries:
        if "discount" in entry:
            after.append(entry["discount"])
            continue
        redeemed = world.get("coupon", entry["coupon"])
        made = _redeem(world, redeemed, subscription["customer"], subscription["id"])
        world.emit("customer.discount.created", made, caller)
        after.append(made["id"])
    subscription["discounts"] = after


def give_customer(world: World, customer: Json, redeemed: Json, caller: Caller) -> Json:
    """A discount on the customer: it counts for subscriptions that have none of their own."""
    before, made = customer["discount"], _redeem(world, redeemed, customer["id"], None)
    customer["discount"] = made
    world.emit("customer.discount.created", made, caller)
    world.emit("customer.updated", customer, caller, {"discount": before})
    return made


def take_off(world: World, subscription: Json, lines: list[Json]) -> list[Json]:
    """Write onto invoice lines what each discount takes off; answers the invoice's total_discount_amounts.

    One percentage after the other, each of what the former left, rounded half up to the minor unit.
    """
    own = [world.get("discount", identifier) for identifier in subscription["discounts"]]
    general = world.get("customer", subscription["customer"])["discount"]
    totals = []
    for discount in own or ([general] if general and (general["end"] or world.now() + 1) > world.now() else []):
        percent, off = world.get("coupon", discount["source"]["coupon"])["percent_off"], 0
        for line in lines:
            left = line["amount"] - sum(each["amount"] for each in line["discount_amounts"])
            amount = int(left * percent / 100 + 0.5)
            line["discount_amounts"].append({"amount": amount, "discount": discount["id"]})
            off += amount
        totals.append({"amount": off, "discount": discount["id"]})
    return totals


def has_billed(world: World, subscription: Json) -> None:
    """An invoice was made: discounts that count once are used up."""
    for identifier in list(subscription["discounts"]):
        discount = world.get("discount", identifier)
        if world.get("coupon", discount["source"]["coupon"])["duration"] == "once":
            _end(world, subscription, discount)


def next_lapse(world: World, until: int) -> tuple[int, Json] | None:
    """The first discount or pause that ends at or before `until`: when, and the subscription."""
    found = [
        (end, subscription)
        for subscription in world.kinds.get("subscription", {}).values()
        if subscription["status"] != "canceled"
        for end in _ends(world, subscription)
        if end <= until
    ]
    return min(found, key=lambda each: (each[0], each[1]["id"]), default=None)


def lapse(world: World, subscription: Json) -> None:
    """End what is over by now: discounts past their end, a pause past resumes_at."""
    for identifier in list(subscription["discounts"]):
        discount = world.get("discount", identifier)
        if discount["end"] is not None and discount["end"] <= world.now():
            _end(world, subscription, discount)
    pause = subscription["pause_collection"]
    if pause and pause["resumes_at"] is not None and pause["resumes_at"] <= world.now():
        subscription["pause_collection"] = None
        world.emit("customer.subscription.updated", subscription, STRIPE, {"pause_collection": pause})


def _ends(world: World, subscription: Json) -> list[int]:
    pause = subscription["pause_collection"]
    ends = [world.get("discount", identifier)["end"] for identifier in subscription["discounts"]]
    return [end for end in [*ends, pause["resumes_at"] if pause else None] if end is not None]


def _end(world: World, subscription: Json, discount: Json) -> None:
    before = list(subscription["discounts"])
    subscription["discounts"] = [identifier for identifier in before if identifier != discount["id"]]
    world.emit("customer.discount.deleted", discount, STRIPE)
    world.emit("customer.subscription.updated", subscription, STRIPE, {"discounts": before})
