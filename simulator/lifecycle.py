"""What happens to subscriptions and invoices besides charging, whoever does it."""

from __future__ import annotations

from typing import Any

from simulator import billing, discounts, payment_objects, stripe_objects
from simulator.errors import ApiError
from simulator.world import CUSTOMER, STRIPE, Caller, World

Json = dict[str, Any]


def start_period(world: World, subscription: Json, reason: str, caller: Caller) -> Json:
    """Make the invoice of a new period and try to collect it as pause_collection allows. Returns the invoice."""
    if reason == "subscription_cycle":
        for item in subscription["items"]["data"]:
            item["current_period_start"] = world.now()
            item["current_period_end"] = world.now() + stripe_objects.MONTH
    discounts.lapse(world, subscription)
    invoice = world.add(payment_objects.invoice(world, subscription, reason))
    discounts.has_billed(world, subscription)
    subscription["latest_invoice"] = invoice["id"]
    paused = subscription["pause_collection"]
    if paused and paused["behavior"] == "keep_as_draft":
        invoice.update(status="draft", auto_advance=False)
        invoice["status_transitions"]["finalized_at"] = None
        world.emit("invoice.created", invoice, caller)
        return invoice
    world.emit("invoice.created", invoice, caller)
    world.emit("invoice.finalized", invoice, caller)
    if paused and paused["behavior"] == "void":
        void_invoice(world, invoice, caller)
    elif paused:
        mark_uncollectible(world, invoice, caller)
    elif invoice["collection_method"] == "charge_automatically":
        method = billing.method_for(world, invoice)
        if method is not None:
            billing.attempt(world, invoice, method, caller)
    return invoice


def cycle(world: World, subscription: Json) -> Json:
    """The next billing period begins: Stripe makes an invoice and charges it."""
    if subscription["status"] == "canceled":
        raise ApiError(400, "The subscription is canceled.")
    return start_period(world, subscription, "subscription_cycle", STRIPE)


def require_payable(invoice: Json) -> None:
    """400 unless money can still come in for this invoice."""
    if invoice["status"] == "paid":
        raise ApiError(400, "Invoice is already paid", executed=True)
    if invoice["status"] not in ("open", "uncollectible"):
        raise ApiError(
            400,
            f"This invoice can no longer be paid: its status is {invoice['status']}.",
            executed=True,
            code="invoice_not_editable",
        )


def void_invoice(world: World, invoice: Json, caller: Caller) -> None:
    """Void an open or uncollectible invoice."""
    if invoice["status"] not in ("open", "uncollectible"):
        raise ApiError(400, f"You can only void open invoices; this one is {invoice['status']}.", executed=True)
    billing.cancel_open_payment(world, invoice, caller)
    invoice.update(status="void", next_payment_attempt=None)
    invoice["status_transitions"]["voided_at"] = world.now()
    world.emit("invoice.voided", invoice, caller)


def mark_uncollectible(world: World, invoice: Json, caller: Caller) -> None:
    """Write an open invoice off."""
    if invoice["status"] != "open":
        raise ApiError(400, f"Only open invoices can be marked; this one is {invoice['status']}.", executed=True)
    invoice.update(status="uncollectible", next_payment_attempt=None)
    invoice["status_transitions"]["marked_uncollectible_at"] = world.now()
    world.emit("invoice.marked_uncollectible", invoice, caller)


def cancel_subscription(
    world: World, subscription: Json, caller: Caller, reason: str = "cancellation_requested"
) -> None:
    """End a subscription now; Stripe stops collecting its open invoices by itself."""
    if subscription["status"] == "canceled":
        raise ApiError(404, f"No such subscription: '{subscription['id']}'", code="resource_missing", param="id")
    now = world.now()
    subscription.update(status="canceled", canceled_at=now, ended_at=now)
    subscription["cancellation_details"]["reason"] = reason
    for invoice in world.kinds.get("invoice", {}).values():
        if invoice["status"] == "open" and billing.subscription_of(world, invoice) is subscription:
            before = billing.copy_of(invoice)
            invoice.update(auto_advance=False, next_payment_attempt=None)
            if previous := billing.changed(before, invoice):
                world.emit("invoice.updated", invoice, caller, previous)
    world.emit("customer.subscription.deleted", subscription, caller)


def attach_method(world: World, method: Json, customer: Json, caller: Caller) -> None:
    """Attach a card to a customer."""
    if method["customer"] not in (None, customer["id"]):
        raise ApiError(400, "The payment method is already attached to another customer.", executed=True)
    method["customer"] = customer["id"]
    world.emit("payment_method.attached", method, caller)


def new_card(world: World, number: str, behaviour: Json, exp_month: int = 12, exp_year: int = 2034) -> Json:
    """Make a card that answers by `behaviour`."""
    method = world.add(stripe_objects.card_payment_method(world, number, exp_month, exp_year))
    world.behaviours[method["id"]] = behaviour
    return method


def replace_card(world: World, customer: Json, method: Json) -> None:
    """The customer stores a new card and makes it the default, also where a subscription has its own default."""
    attach_method(world, method, customer, CUSTOMER)
    before = billing.copy_of(customer)
    customer["invoice_settings"]["default_payment_method"] = method["id"]
    world.emit("customer.updated", customer, CUSTOMER, billing.changed(before, customer))
    for subscription in world.kinds.get("subscription", {}).values():
        own = subscription["default_payment_method"]
        if subscription["customer"] == customer["id"] and own and subscription["status"] != "canceled":
            subscription["default_payment_method"] = method["id"]
            world.emit("customer.subscription.updated", subscription, CUSTOMER, {"default_payment_method": own})


def customer_pays(world: World, invoice: Json, method: Json | None, amount: int | None = None) -> Json:
    """The customer pays on the hosted page, with `method` or the stored card. Returns the payment intent."""
    require_payable(invoice)
    chosen = method or billing.method_for(world, invoice)
    if chosen is None:
        raise ApiError(400, "The customer has no card.")
    if chosen["customer"] is None:
        attach_method(world, chosen, world.get("customer", invoice["customer"]), CUSTOMER)
    if amount is not None and not 0 < amount < invoice["amount_remaining"]:
        raise ApiError(400, "A part must be more than nothing and less than what remains.")
    return billing.attempt(world, invoice, chosen, CUSTOMER, amount=amount)


def authenticate(world: World, invoice: Json, success: bool) -> Json:
    """The customer confirms (or fails) 3-D Secure for the invoice's waiting payment. Returns the payment intent."""
    payment = billing.open_payment(world, invoice)
    if payment is None or billing.intent_of(world, payment)["status"] != "requires_action":
        raise ApiError(400, "No payment of this invoice waits for authentication.")
    intent = billing.intent_of(world, payment)
    if success:
        method = world.get("payment_method", intent["payment_method"])
        return billing.attempt(world, invoice, method, CUSTOMER, forced="ok")
    intent.update(status="requires_payment_method", next_action=None)
    intent["last_payment_error"].update(
        code="payment_intent_authentication_failure", message="The customer could not be authenticated."
    )
    world.emit("payment_intent.payment_failed", intent, CUSTOMER)
    return intent


def refund(world: World, charge: Json, amount: int | None, params: Json, caller: Caller) -> Json:
    """Give money back, all that is left by default."""
    left = charge["amount"] - charge["amount_refunded"]
    if not charge["paid"] or left == 0:
        raise ApiError(400, "The charge cannot be refunded.", executed=True, code="charge_already_refunded")
    if amount is not None and not 0 < amount <= left:
        raise ApiError(400, f"Refund amount must be between 1 and {left}.", param="amount")
    before = billing.copy_of(charge)
    made = world.add(stripe_objects.refund(world, charge, amount or left, params))
    charge["amount_refunded"] += made["amount"]
    charge["refunded"] = charge["amount_refunded"] == charge["amount"]
    world.emit("refund.created", made, caller)
    world.emit("charge.refunded", charge, caller, billing.changed(before, charge))
    return made


def open_dispute(world: World, charge: Json, reason: str) -> Json:
    """The cardholder disputes a charge at the bank."""
    if not charge["paid"] or charge["disputed"]:
        raise ApiError(400, "The charge cannot be disputed.")
    charge["disputed"] = True
    brand = charge["payment_method_details"]["card"]["brand"]
    dispute = world.add(stripe_objects.dispute(world, charge, reason, brand))
    world.emit("charge.dispute.created", dispute, CUSTOMER)
    return dispute
