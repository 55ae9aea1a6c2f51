"""Invoices being charged: by an API call, by Stripe's own schedule, or by the customer.

One payment intent belongs to an invoice for all its attempts, as at Stripe; each attempt adds a charge.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson

from simulator import issuer, payment_objects
from simulator.errors import ApiError
from simulator.world import DAY, STRIPE, Attempt, Caller, World

Json = dict[str, Any]
REVIVED_BY_PAYMENT = {"past_due", "unpaid", "incomplete"}


def copy_of(subject: Json) -> Json:
    """A deep copy, to tell later what changed."""
    copied: Json = orjson.loads(orjson.dumps(subject))
    return copied


def changed(before: Json, after: Json) -> Json:
    """Former values of the top-level keys that differ: Stripe's previous_attributes."""
    return {key: before.get(key) for key in after if before.get(key) != after[key]}


def subscription_of(world: World, invoice: Json) -> Json | None:
    """The subscription an invoice bills."""
    details = (invoice["parent"] or {}).get("subscription_details")
    return world.objects.get(details["subscription"]) if details else None


def default_method(world: World, customer: Json, subscription: Json | None) -> Json | None:
    """The card Stripe would charge: the subscription's, else the customer's."""
    chosen = (subscription or {}).get("default_payment_method") or customer["invoice_settings"][
        "default_payment_method"
    ]
    return world.objects.get(chosen) if chosen else None


def method_for(world: World, invoice: Json) -> Json | None:
    """The card Stripe would charge for an invoice."""
    if invoice["default_payment_method"]:
        return world.objects.get(invoice["default_payment_method"])
    return default_method(world, world.get("customer", invoice["customer"]), subscription_of(world, invoice))


def payments_of(world: World, invoice: Json) -> list[Json]:
    """Invoice payments of one invoice, newest first."""
    return world.payments.get(invoice["id"], [])[::-1]


def open_payment(world: World, invoice: Json) -> Json | None:
    """The invoice's payment that is still to be paid, if an attempt was made."""
    return next((payment for payment in payments_of(world, invoice) if payment["status"] == "open"), None)


def intent_of(world: World, payment: Json) -> Json:
    """The payment intent behind an invoice payment."""
    return world.get("payment_intent", payment["payment"]["payment_intent"])


def attempt(
    world: World,
    invoice: Json,
    method: Json,
    caller: Caller,
    *,
    forced: str | None = None,
    amount: int | None = None,
) -> Json:
    """Charge a card for an open invoice and return the payment intent.

    `forced` overrides the issuer's answer; `amount` (minor units) pays only a part, as a payment of its own.
    """
    outcome = forced or issuer.ask(world, method["id"])
    before = copy_of(invoice)
    payment = open_payment(world, invoice) if amount is None else None
    if payment is None:
        intent = world.add(payment_objects.payment_intent(world, invoice, amount or invoice["amount_remaining"]))
        payment = world.add(payment_objects.invoice_payment(world, invoice, intent, default=amount is None))
        world.payments.setdefault(invoice["id"], []).append(payment)
    intent = intent_of(world, payment)
    charge = world.add(payment_objects.charge(world, intent, method, outcome))
    intent.update(latest_charge=charge["id"], payment_method=method["id"])
    _write_ledger(world, invoice, charge, method, outcome, caller)
    if amount is None:
        counts = invoice["attempt_count"] == 0 or caller.by == "stripe" or world.settings.manual_attempts_count
        invoice.update(attempted=True, attempt_count=invoice["attempt_count"] + int(counts))
    if outcome == issuer.SLOW:
        _pend(world, invoice, intent, charge, before, caller)
    elif outcome == issuer.OK:
        _succeed(world, invoice, payment, charge, before, caller)
    else:
        _fail(world, invoice, intent, charge, method, outcome, before, caller)
    return intent


def _write_ledger(world: World, invoice: Json, charge: Json, method: Json, outcome: str, caller: Caller) -> None:
    subscription = subscription_of(world, invoice)
    world.ledger.append(
        Attempt(
            at=world.now(),
            invoice=invoice["id"],
            subscription=subscription["id"] if subscription else None,
            customer=invoice["customer"],
            payment_method=method["id"],
            fingerprint=method["card"]["fingerprint"],
            amount=charge["amount"],
            currency=charge["currency"],
            outcome=outcome,
            idempotency_key=caller.idempotency_key,
            by=caller.by,
            charge=charge["id"],
        )
    )


def _pend(world: World, invoice: Json, intent: Json, charge: Json, before: Json, caller: Caller) -> None:
    """The bank takes its time; the invoice stays open until it answers."""
    intent.update(status="processing", last_payment_error=None, next_action=None)
    world.emit("charge.pending", charge, caller)
    world.emit("payment_intent.processing", intent, caller)
    world.emit("invoice.updated", invoice, caller, changed(before, invoice))


def bank_answers(world: World, invoice: Json, outcome: str) -> Json:
    """The bank says what became of a slow payment: "ok" or a decline code. Returns the payment intent."""
    payment = open_payment(world, invoice)
    intent = intent_of(world, payment) if payment else None
    if payment is None or intent is None or intent["status"] != "processing":
        raise ApiError(400, "No payment of this invoice waits for its bank.")
    charge = world.get("charge", intent["latest_charge"])
    method = world.get("payment_method", intent["payment_method"])
    before = copy_of(invoice)
    told = payment_objects.charge(world, intent, method, outcome)
    kept = ("id", "created")
    charge.update({key: value for key, value in told.items() if key not in kept})
    for number, entry in enumerate(world.ledger):
        if entry.charge == charge["id"]:
            world.ledger[number] = replace(entry, outcome=outcome)
    if outcome == issuer.OK:
        _succeed(world, invoice, payment, charge, before, STRIPE)
    else:
        _fail(world, invoice, intent, charge, method, outcome, before, STRIPE)
    return intent


def _succeed(world: World, invoice: Json, payment: Json, charge: Json, before: Json, caller: Caller) -> None:
    now = world.now()
    amount = charge["amount"]
    intent = intent_of(world, payment)
    intent.update(status="succeeded", amount_received=amount, last_payment_error=None, next_action=None)
    payment.update(status="paid", amount_paid=amount)
    payment["status_transitions"]["paid_at"] = now
    world.receive(invoice["id"], amount)
    world.emit("charge.succeeded", charge, caller)
    world.emit("payment_intent.succeeded", intent, caller)
    invoice["amount_paid"] += amount
    invoice["amount_remaining"] -= amount
    if invoice["amount_remaining"] > 0:
        _lower_open_payment(world, invoice)
        world.emit("invoice.updated", invoice, caller, changed(before, invoice))
    else:
        _close_as_paid(world, invoice, before, caller)


def _lower_open_payment(world: World, invoice: Json) -> None:
    payment = open_payment(world, invoice)
    if payment is not None:
        payment["amount_requested"] = invoice["amount_remaining"]
        intent_of(world, payment)["amount"] = invoice["amount_remaining"]


def cancel_open_payment(world: World, invoice: Json, caller: Caller) -> None:
    """Cancel what is left to pay, because the invoice is closed in another way."""
    payment = open_payment(world, invoice)
    if payment is None:
        return
    payment["status"] = "canceled"
    payment["status_transitions"]["canceled_at"] = world.now()
    intent = intent_of(world, payment)
    intent.update(status="canceled", canceled_at=world.now(), cancellation_reason="void_invoice", next_action=None)
    world.emit("payment_intent.canceled", intent, caller)


def pay_out_of_band(world: World, invoice: Json, caller: Caller) -> None:
    """The money came outside Stripe: no charge, the invoice is paid."""
    before = copy_of(invoice)
    world.paid_out_of_band.add(invoice["id"])
    invoice["amount_paid_off_stripe"] += invoice["amount_remaining"]
    invoice.update(amount_paid=invoice["amount_due"], amount_remaining=0)
    cancel_open_payment(world, invoice, caller)
    _close_as_paid(world, invoice, before, caller)


def _close_as_paid(world: World, invoice: Json, before: Json, caller: Caller) -> None:
    invoice.update(status="paid", next_payment_attempt=None)
    invoice["status_transitions"]["paid_at"] = world.now()
    world.emit("invoice.updated", invoice, caller, changed(before, invoice))
    world.emit("invoice.paid", invoice, caller)
    world.emit("invoice.payment_succeeded", invoice, caller)
    subscription = subscription_of(world, invoice)
    if subscription is not None and subscription["status"] in REVIVED_BY_PAYMENT:
        set_subscription_status(world, subscription, "active", caller)


def set_subscription_status(world: World, subscription: Json, status: str, caller: Caller) -> None:
    """Change the status and tell about it."""
    previous = {"status": subscription["status"]}
    subscription["status"] = status
    world.emit("customer.subscription.updated", subscription, caller, previous)


def _fail(
    world: World,
    invoice: Json,
    intent: Json,
    charge: Json,
    method: Json,
    outcome: str,
    before: Json,
    caller: Caller,
) -> None:
    authentication = outcome == "authentication_required"
    intent["last_payment_error"] = _payment_error(charge, method, outcome)
    intent["status"] = "requires_action" if authentication else "requires_payment_method"
    intent["next_action"] = {"type": "use_stripe_sdk", "use_stripe_sdk": {}} if authentication else None
    world.emit("charge.failed", charge, caller)
    world.emit("payment_intent.requires_action" if authentication else "payment_intent.payment_failed", intent, caller)
    _schedule_after_failure(world, invoice, caller)
    world.emit("invoice.updated", invoice, caller, changed(before, invoice))
    world.emit("invoice.payment_failed", invoice, caller)
    if authentication:
        world.emit("invoice.payment_action_required", invoice, caller)
    subscription = subscription_of(world, invoice)
    if subscription is None or subscription["status"] != "active":
        return
    first = invoice["billing_reason"] == "subscription_create"
    set_subscription_status(world, subscription, "incomplete" if first else "past_due", caller)


def _payment_error(charge: Json, method: Json, outcome: str) -> Json:
    decline = issuer.DECLINES[outcome]
    network_advice = decline.network_advice(method["card"]["brand"])
    error = {
        "advice_code": decline.advice,
        "charge": charge["id"],
        "code": decline.code,
        "decline_code": outcome,
        "message": charge["failure_message"],
        "network_advice_code": network_advice,
        "network_decline_code": decline.network_code,
        "payment_method": copy_of(method),
        "type": "card_error",
    }
    return {key: value for key, value in error.items() if value is not None}


def _schedule_after_failure(world: World, invoice: Json, caller: Caller) -> None:
    """Plan Stripe's next own attempt. A manual attempt leaves an existing plan alone."""
    if not invoice["auto_advance"] or invoice["collection_method"] != "charge_automatically":
        invoice["next_payment_attempt"] = None
    elif caller.by == "stripe" or invoice["next_payment_attempt"] is None:
        plan_next_attempt(world, invoice)


def plan_next_attempt(world: World, invoice: Json) -> None:
    """Set next_payment_attempt by the schedule; null when the schedule is used up."""
    done = world.retries_done.get(invoice["id"], 0)
    days = world.settings.retry_days
    invoice["next_payment_attempt"] = world.now() + round(days[done] * DAY) if done < len(days) else None


def retry_by_stripe(world: World, invoice: Json) -> None:
    """Stripe's own due attempt.

    After a hard decline Stripe keeps counting but charges only when there is another card.
    """
    world.retries_done[invoice["id"]] = world.retries_done.get(invoice["id"], 0) + 1
    method = method_for(world, invoice)
    payment = open_payment(world, invoice)
    error = intent_of(world, payment)["last_payment_error"] if payment else None
    refused = error is not None and issuer.DECLINES[error["decline_code"]].hard
    if method is None or (refused and error is not None and error["payment_method"]["id"] == method["id"]):
        before = copy_of(invoice)
        invoice["attempt_count"] += 1
        plan_next_attempt(world, invoice)
        world.emit("invoice.updated", invoice, STRIPE, changed(before, invoice))
    else:
        attempt(world, invoice, method, STRIPE)
    if invoice["status"] == "open" and invoice["next_payment_attempt"] is None:
        _give_up(world, invoice)


def _give_up(world: World, invoice: Json) -> None:
    from simulator.lifecycle import cancel_subscription

    subscription = subscription_of(world, invoice)
    if subscription is None or subscription["status"] == "canceled":
        return
    match world.settings.after_last_retry:
        case "cancel":
            cancel_subscription(world, subscription, STRIPE, reason="payment_failed")
        case "unpaid":
            set_subscription_status(world, subscription, "unpaid", STRIPE)
