"""Stripe API calls about customers, cards, prices, subscriptions, events and endpoints."""

from __future__ import annotations

import secrets
from typing import Any

from simulator import billing, discounts, issuer, lifecycle, stripe_objects
from simulator.calls import CREATED, PAGE, Call, played
from simulator.errors import ApiError, not_modelled

Json = dict[str, Any]

CUSTOMER_FIELDS = ("email", "name", "phone", "description", "preferred_locales")


@played(
    "POST", "/v1/customers", *CUSTOMER_FIELDS, "metadata", "payment_method", "invoice_settings.default_payment_method"
)
def create_customer(call: Call) -> Json:
    customer = call.world.add(stripe_objects.customer(call.world, call.params))
    if "payment_method" in call.params:
        lifecycle.attach_method(call.world, _method(call, call.params["payment_method"]), customer, call.caller)
    _set_default_method(call, customer)
    call.world.emit("customer.created", customer, call.caller)
    return customer


@played("POST", "/v1/customers/{id}", *CUSTOMER_FIELDS, "metadata", "invoice_settings.default_payment_method")
def update_customer(call: Call) -> Json:
    customer = call.world.get("customer", call.args["id"])
    before = billing.copy_of(customer)
    _set_default_method(call, customer)
    customer.update({name: call.params[name] or None for name in CUSTOMER_FIELDS if name in call.params})
    customer["preferred_locales"] = customer["preferred_locales"] or []
    call.merge_metadata(customer)
    call.world.emit("customer.updated", customer, call.caller, billing.changed(before, customer))
    return customer


def _set_default_method(call: Call, customer: Json) -> None:
    settings = call.params.get("invoice_settings") or {}
    if "default_payment_method" in settings:
        customer["invoice_settings"]["default_payment_method"] = _owned(
            call, settings["default_payment_method"], customer["id"]
        )


def _owned(call: Call, method_id: str, customer_id: str) -> str | None:
    """The id if the card belongs to the customer; None for an empty string."""
    if method_id == "":
        return None
    method = call.world.get("payment_method", method_id, "default_payment_method")
    if method["customer"] != customer_id:
        raise ApiError(400, f"The customer does not have a payment method with the ID {method_id}.")
    return method_id


@played("GET", "/v1/customers/{id}")
def get_customer(call: Call) -> Json:
    return call.world.get("customer", call.args["id"])


@played("GET", "/v1/customers", *PAGE, *CREATED, "created", "email")
def list_customers(call: Call) -> Json:
    return call.listing(call.world.newest("customer"), ["email"])


CARD = ("card.number", "card.exp_month", "card.exp_year", "card.cvc")


@played("POST", "/v1/payment_methods", "type", *CARD, "billing_details.email", "billing_details.name", "metadata")
def create_payment_method(call: Call) -> Json:
    if call.params.get("type") != "card":
        raise not_modelled(f"parameter type={call.params.get('type')} of POST {call.path}")
    card = call.params.get("card")
    if not card:
        raise ApiError(400, "Missing required param: card.", code="parameter_missing", param="card")
    number = str(card["number"]).replace(" ", "")
    behaviour = {"always": issuer.TEST_CARDS.get(number, issuer.OK)}
    method = lifecycle.new_card(call.world, number, behaviour, card["exp_month"], card["exp_year"])
    method["billing_details"].update(call.params.get("billing_details", {}))
    call.merge_metadata(method)
    return method


def _method(call: Call, identifier: str) -> Json:
    """A stored card, or a fresh one for a pm_card_… token."""
    if identifier in issuer.TOKENS:
        number = issuer.TOKENS[identifier]
        return lifecycle.new_card(call.world, number, {"always": issuer.TEST_CARDS[number]})
    return call.world.get("payment_method", identifier, "payment_method")


@played("POST", "/v1/payment_methods/{id}/attach", "customer")
def attach_payment_method(call: Call) -> Json:
    customer = call.world.get("customer", call.params["customer"], "customer")
    method = _method(call, call.args["id"])
    lifecycle.attach_method(call.world, method, customer, call.caller)
    return method


@played("GET", "/v1/payment_methods/{id}")
def get_payment_method(call: Call) -> Json:
    return call.world.get("payment_method", call.args["id"])


@played("GET", "/v1/payment_methods", *PAGE, "customer", "type")
def list_payment_methods(call: Call) -> Json:
    if "customer" not in call.params:
        raise not_modelled("GET /v1/payment_methods without customer")
    return call.listing(call.world.newest("payment_method"), ["customer", "type"])


@played("GET", "/v1/customers/{id}/payment_methods", *PAGE, "type")
def list_customer_payment_methods(call: Call) -> Json:
    customer = call.world.get("customer", call.args["id"], "customer")
    rows = (row for row in call.world.newest("payment_method") if row["customer"] == customer["id"])
    return call.listing(rows, ["type"])


@played("POST", "/v1/products", "name", "description", "metadata")
def create_product(call: Call) -> Json:
    product = call.world.add(stripe_objects.product(call.world, call.params))
    call.world.emit("product.created", product, call.caller)
    return product


@played("GET", "/v1/products/{id}")
def get_product(call: Call) -> Json:
    return call.world.get("product", call.args["id"])


@played("GET", "/v1/products", *PAGE, *CREATED, "created", "active")
def list_products(call: Call) -> Json:
    return call.listing(call.world.newest("product"), ["active"])


RECURRING = ("recurring.interval", "recurring.interval_count")


@played(
    "POST",
    "/v1/prices",
    *RECURRING,
    "currency",
    "unit_amount",
    "product",
    "product_data.name",
    "nickname",
    "lookup_key",
    "metadata",
)
def create_price(call: Call) -> Json:
    params = call.params
    for name in ("unit_amount", "recurring"):
        if name not in params:
            raise not_modelled(f"POST {call.path} without {name}")
    if "product_data" in params:
        product = call.world.add(stripe_objects.product(call.world, params["product_data"]))
    else:
        product = call.world.get("product", params.get("product", ""), "product")
    price = call.world.add(stripe_objects.price(call.world, params, product["id"]))
    call.world.emit("price.created", price, call.caller)
    return price


@played("GET", "/v1/prices/{id}")
def get_price(call: Call) -> Json:
    return call.world.get("price", call.args["id"])


@played("GET", "/v1/prices", *PAGE, *CREATED, "created", "product", "active")
def list_prices(call: Call) -> Json:
    return call.listing(call.world.newest("price"), ["product", "active"])


@played(
    "POST",
    "/v1/subscriptions",
    "customer",
    "items.price",
    "items.quantity",
    "default_payment_method",
    "collection_method",
    "days_until_due",
    "description",
    "metadata",
)
def create_subscription(call: Call) -> Json:
    params = call.params
    if not params.get("items"):
        raise ApiError(400, "Missing required param: items.", code="parameter_missing", param="items")
    customer = call.world.get("customer", params.get("customer", ""), "customer")
    if params.get("default_payment_method"):
        _owned(call, params["default_payment_method"], customer["id"])
    items = [
        (call.world.get("price", item["price"], "items[0][price]"), item.get("quantity", 1)) for item in params["items"]
    ]
    subscription = stripe_objects.subscription(call.world, params, items)
    automatic = subscription["collection_method"] == "charge_automatically"
    if automatic and billing.default_method(call.world, customer, subscription) is None:
        raise ApiError(
            400,
            "This customer has no attached payment source or default payment method.",
            code="resource_missing",
        )
    call.world.add(subscription)
    subscription["days_until_due"] = params.get("days_until_due")
    call.world.emit("customer.subscription.created", subscription, call.caller)
    lifecycle.start_period(call.world, subscription, "subscription_create", call.caller)
    return subscription


@played(
    "POST",
    "/v1/subscriptions/{id}",
    "metadata",
    "default_payment_method",
    "cancel_at_period_end",
    "pause_collection.behavior",
    "pause_collection.resumes_at",
    "pause_collection",
    "description",
    "discounts.coupon",
    "discounts.discount",
    "discounts",
)
def update_subscription(call: Call) -> Json:
    subscription = call.world.get("subscription", call.args["id"])
    if subscription["status"] == "canceled":
        raise ApiError(400, "A canceled subscription can only update its cancellation_details and metadata.")
    params = call.params
    pause = params.get("pause_collection")
    if pause and pause.get("resumes_at", call.world.now() + 1) <= call.world.now():
        raise ApiError(400, "resumes_at must be in the future.", param="pause_collection[resumes_at]")
    before = billing.copy_of(subscription)
    if "default_payment_method" in params:
        method = _owned(call, params["default_payment_method"], subscription["customer"])
        subscription["default_payment_method"] = method
    if "cancel_at_period_end" in params:
        ends = max(item["current_period_end"] for item in subscription["items"]["data"])
        subscription["cancel_at_period_end"] = params["cancel_at_period_end"]
        subscription["cancel_at"] = ends if params["cancel_at_period_end"] else None
        subscription["canceled_at"] = call.world.now() if params["cancel_at_period_end"] else None
    if "discounts" in params:
        discounts.replace(call.world, subscription, params["discounts"], call.caller)
    if "pause_collection" in params:
        subscription["pause_collection"] = {"resumes_at": None, **pause} if pause else None
    if "description" in params:
        subscription["description"] = params["description"] or None
    call.merge_metadata(subscription)
    previous = billing.changed(before, subscription)
    call.world.emit("customer.subscription.updated", subscription, call.caller, previous)
    return subscription


@played("GET", "/v1/subscriptions/{id}")
def get_subscription(call: Call) -> Json:
    return call.world.get("subscription", call.args["id"])


@played("GET", "/v1/subscriptions", *PAGE, *CREATED, "created", "customer", "status", "collection_method")
def list_subscriptions(call: Call) -> Json:
    status = call.params.pop("status", None)
    rows = call.world.newest("subscription")
    if status is None:
        rows = (row for row in rows if row["status"] != "canceled")
    elif status == "ended":
        rows = (row for row in rows if row["status"] == "canceled")
    elif status != "all":
        rows = (row for row in rows if row["status"] == status)
    return call.listing(rows, ["customer", "collection_method"])


@played("DELETE", "/v1/subscriptions/{id}")
def cancel_subscription(call: Call) -> Json:
    subscription = call.world.get("subscription", call.args["id"])
    lifecycle.cancel_subscription(call.world, subscription, call.caller)
    return subscription


@played("GET", "/v1/events/{id}")
def get_event(call: Call) -> Json:
    return call.world.get("event", call.args["id"])


@played("GET", "/v1/events", *PAGE, *CREATED, "created", "type", "types")
def list_events(call: Call) -> Json:
    types = call.params.get("types")
    rows = (row for row in call.world.newest("event") if types is None or row["type"] in types)
    return call.listing(rows, ["type"])


@played("POST", "/v1/webhook_endpoints", "url", "enabled_events", "description", "metadata", "api_version")
def create_webhook_endpoint(call: Call) -> Json:
    endpoint = call.world.add(stripe_objects.webhook_endpoint(call.world, call.params))
    secret = f"whsec_{secrets.token_hex(16)}"
    call.world.webhook_secrets[endpoint["id"]] = [secret]
    return {**endpoint, "secret": secret}


@played("GET", "/v1/webhook_endpoints", *PAGE)
def list_webhook_endpoints(call: Call) -> Json:
    return call.listing(call.world.newest("webhook_endpoint"))


@played("POST", "/v1/billing_portal/sessions", "customer", "return_url", "locale")
def create_portal_session(call: Call) -> Json:
    call.world.get("customer", call.params.get("customer", ""), "customer")
    return call.world.add(stripe_objects.portal_session(call.world, call.params))
