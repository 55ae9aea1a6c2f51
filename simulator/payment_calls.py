"""Stripe API calls about invoices and the money that pays them."""

from __future__ import annotations

from typing import Any

from simulator import billing, lifecycle
from simulator.calls import CREATED, PAGE, Call, played
from simulator.errors import ApiError

Json = dict[str, Any]


@played("GET", "/v1/invoices/{id}")
def get_invoice(call: Call) -> Json:
    return call.world.get("invoice", call.args["id"])


@played("GET", "/v1/invoices", *PAGE, *CREATED, "created", "customer", "status", "collection_method", "subscription")
def list_invoices(call: Call) -> Json:
    rows = call.world.newest("invoice")
    if "subscription" in call.params:
        wanted = call.params["subscription"]
        rows = (row for row in rows if (billing.subscription_of(call.world, row) or {}).get("id") == wanted)
    return call.listing(rows, ["customer", "status", "collection_method"])


@played("POST", "/v1/invoices/{id}", "auto_advance", "metadata", "description")
def update_invoice(call: Call) -> Json:
    invoice = call.world.get("invoice", call.args["id"])
    before = billing.copy_of(invoice)
    if "auto_advance" in call.params:
        _set_auto_advance(call, invoice, call.params["auto_advance"])
    if "description" in call.params:
        invoice["description"] = call.params["description"] or None
    call.merge_metadata(invoice)
    if previous := billing.changed(before, invoice):
        call.world.emit("invoice.updated", invoice, call.caller, previous)
    return invoice


def _set_auto_advance(call: Call, invoice: Json, wanted: bool) -> None:
    invoice["auto_advance"] = wanted
    if not wanted:
        invoice["next_payment_attempt"] = None
    elif invoice["status"] == "open" and invoice["attempted"] and invoice["next_payment_attempt"] is None:
        billing.plan_next_attempt(call.world, invoice)


@played("POST", "/v1/invoices/{id}/pay", "payment_method", "off_session", "paid_out_of_band")
def pay_invoice(call: Call) -> Json:
    invoice = call.world.get("invoice", call.args["id"])
    params = call.params
    lifecycle.require_payable(invoice)
    if params.get("paid_out_of_band"):
        billing.pay_out_of_band(call.world, invoice, call.caller)
        return invoice
    if "payment_method" in params:
        method = call.world.get("payment_method", params["payment_method"], "payment_method")
        if method["customer"] != invoice["customer"]:
            raise ApiError(400, "The payment method must be attached to the customer of the invoice.", executed=True)
    else:
        stored = billing.method_for(call.world, invoice)
        if stored is None:
            raise ApiError(
                400,
                "There is no default payment method for this invoice's customer.",
                executed=True,
                code="resource_missing",
            )
        method = stored
    waiting = billing.open_payment(call.world, invoice)
    if waiting and billing.intent_of(call.world, waiting)["status"] == "processing":
        raise ApiError(
            400, "A payment of this invoice is processing.", executed=True, code="payment_intent_unexpected_state"
        )
    intent = billing.attempt(call.world, invoice, method, call.caller)
    if intent["status"] == "processing":
        return invoice
    if intent["status"] != "succeeded":
        raise decline_error(intent)
    return invoice


def decline_error(intent: Json) -> ApiError:
    """402 for a payment intent whose last attempt failed."""
    error = {key: value for key, value in intent["last_payment_error"].items() if key not in ("type", "message")}
    message = intent["last_payment_error"]["message"]
    if intent["status"] == "requires_action":
        error["code"] = "invoice_payment_intent_requires_action"
        message = "This payment requires additional user action before it can be completed successfully."
    error["payment_intent"] = billing.copy_of(intent)
    return ApiError(402, message, kind="card_error", executed=True, **error)


@played("POST", "/v1/invoices/{id}/void")
def void_invoice(call: Call) -> Json:
    invoice = call.world.get("invoice", call.args["id"])
    lifecycle.void_invoice(call.world, invoice, call.caller)
    return invoice


@played("POST", "/v1/invoices/{id}/mark_uncollectible")
def mark_uncollectible(call: Call) -> Json:
    invoice = call.world.get("invoice", call.args["id"])
    lifecycle.mark_uncollectible(call.world, invoice, call.caller)
    return invoice


@played("GET", "/v1/invoice_payments", *PAGE, "invoice", "status")
def list_invoice_payments(call: Call) -> Json:
    return call.listing(call.world.newest("invoice_payment"), ["invoice", "status"])


@played("GET", "/v1/payment_intents/{id}")
def get_payment_intent(call: Call) -> Json:
    return call.world.get("payment_intent", call.args["id"])


@played("GET", "/v1/payment_intents", *PAGE, *CREATED, "created", "customer")
def list_payment_intents(call: Call) -> Json:
    return call.listing(call.world.newest("payment_intent"), ["customer"])


@played("GET", "/v1/charges/{id}")
def get_charge(call: Call) -> Json:
    return call.world.get("charge", call.args["id"])


@played("GET", "/v1/charges", *PAGE, *CREATED, "created", "customer", "payment_intent")
def list_charges(call: Call) -> Json:
    return call.listing(call.world.newest("charge"), ["customer", "payment_intent"])


@played("POST", "/v1/refunds", "charge", "payment_intent", "amount", "reason", "metadata")
def create_refund(call: Call) -> Json:
    params = call.params
    identifier = params.get("charge")
    if identifier is None and "payment_intent" in params:
        identifier = call.world.get("payment_intent", params["payment_intent"], "payment_intent")["latest_charge"]
    if identifier is None:
        raise ApiError(400, "One of charge or payment_intent is required.", code="parameter_missing", param="charge")
    charge = call.world.get("charge", identifier, "charge")
    return lifecycle.refund(call.world, charge, params.get("amount"), params, call.caller)


@played("GET", "/v1/refunds", *PAGE, *CREATED, "created", "charge", "payment_intent")
def list_refunds(call: Call) -> Json:
    return call.listing(call.world.newest("refund"), ["charge", "payment_intent"])


@played("GET", "/v1/disputes/{id}")
def get_dispute(call: Call) -> Json:
    return call.world.get("dispute", call.args["id"])


@played("GET", "/v1/disputes", *PAGE, *CREATED, "created", "charge", "payment_intent")
def list_disputes(call: Call) -> Json:
    return call.listing(call.world.newest("dispute"), ["charge", "payment_intent"])
