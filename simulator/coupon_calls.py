"""Stripe API calls about coupons."""

from __future__ import annotations

from typing import Any

from simulator import discounts
from simulator.calls import CREATED, PAGE, Call, played
from simulator.errors import ApiError, not_modelled

Json = dict[str, Any]


@played("POST", "/v1/coupons", "id", "percent_off", "duration", "duration_in_months", "name", "metadata")
def create_coupon(call: Call) -> Json:
    params = call.params
    if "percent_off" not in params:
        raise not_modelled(f"POST {call.path} without percent_off")
    if params.get("id") in call.world.kinds.get("coupon", {}):
        raise ApiError(400, "Coupon already exists.", code="resource_already_exists")
    if not 0 < params["percent_off"] <= 100:
        raise ApiError(400, "percent_off must be more than 0 and at most 100", param="percent_off")
    if (params.get("duration") == "repeating") != ("duration_in_months" in params):
        raise ApiError(400, "duration_in_months goes with duration=repeating", param="duration_in_months")
    coupon = call.world.add(discounts.coupon(call.world, params))
    call.world.emit("coupon.created", coupon, call.caller)
    return coupon


@played("GET", "/v1/coupons/{id}")
def get_coupon(call: Call) -> Json:
    return call.world.get("coupon", call.args["id"])


@played("GET", "/v1/coupons", *PAGE, *CREATED, "created")
def list_coupons(call: Call) -> Json:
    return call.listing(call.world.newest("coupon"))
