"""The control plane /_sim/…: what other people and the world do, and the ground truth to check against.

Each entry of `ACTS` is one path; its function gets the JSON body ({} for GET) and returns the JSON answer.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from simulator import billing, clock, discounts, issuer, lifecycle, stripe_objects
from simulator.errors import ApiError
from simulator.world import CUSTOMER, Caller

if TYPE_CHECKING:
    from simulator.app import Simulator

Json = dict[str, Any]
Act = Callable[["Simulator", Json], Awaitable[Any]]
ACTS: dict[tuple[str, str], Act] = {}

DASHBOARD = Caller(by="dashboard")
"""Somebody of the merchant's staff, outside our product."""


def act(method: str, path: str) -> Callable[[Act], Act]:
    """Register the function below as /_sim/`path`."""

    def register(function: Act) -> Act:
        ACTS[(method, f"/_sim/{path}")] = function
        return function

    return register


def _card(sim: Simulator, body: Json) -> Json:
    """A new card from {"number"?, "behaviour"?}."""
    number = str(body.get("number", "4242424242424242"))
    behaviour = body.get("behaviour") or {"always": issuer.TEST_CARDS.get(number, issuer.OK)}
    return lifecycle.new_card(sim.world, number, issuer.check_behaviour(behaviour))


def _invoice(sim: Simulator, body: Json) -> Json:
    return sim.world.get("invoice", body["invoice"], "invoice")


def _last_charge(sim: Simulator, body: Json) -> Json:
    """The charge named by {"charge"}, or the last successful one of {"invoice"}."""
    if "charge" in body:
        return sim.world.get("charge", body["charge"], "charge")
    for entry in reversed(sim.world.ledger):
        if entry.invoice == body.get("invoice") and entry.outcome == issuer.OK:
            return sim.world.get("charge", entry.charge)
    raise ApiError(400, "no paid charge of that invoice")


def _paid(invoice: Json, intent: Json) -> Json:
    return {"invoice": invoice, "payment_intent": intent, "paid": intent["status"] == "succeeded"}


@act("GET", "state")
async def state(sim: Simulator, body: Json) -> Json:
    return {
        "now": sim.world.now(),
        "seed": sim.world.seed,
        "objects": {kind: len(rows) for kind, rows in sim.world.kinds.items()},
        "settings": asdict(sim.world.settings),
        "webhooks": asdict(sim.courier.counters),
        "webhook_manners": asdict(sim.courier.manners),
        "faults": [asdict(rule) for rule in sim.faults.rules],
        "mails": len(sim.sendgrid.mailbox),
        "mail_events": sim.sendgrid.post.sent,
        "product_calls": len(sim.product.calls),
        "charge_attempts": len(sim.world.ledger),
        "received": sum(sim.world.received.values()),
    }


@act("GET", "ledger")
async def ledger(sim: Simulator, body: Json) -> Json:
    return {"attempts": [asdict(entry) for entry in sim.world.ledger], "received": sim.world.received}


@act("GET", "truth")
async def truth(sim: Simulator, body: Json) -> Json:
    """Every invoice in short, and every event by id and type: what a check of the whole world is made against."""
    return {
        "invoices": [
            {
                "id": invoice["id"],
                "customer": invoice["customer"],
                "status": invoice["status"],
                "paid_at": invoice["status_transitions"]["paid_at"],
            }
            for invoice in sim.world.kinds.get("invoice", {}).values()
        ],
        "events": {event["id"]: event["type"] for event in sim.world.kinds.get("event", {}).values()},
    }


@act("POST", "reset")
async def reset(sim: Simulator, body: Json) -> Json:
    await sim.reset(int(body.get("seed", sim.world.seed)))
    return {"seed": sim.world.seed}


@act("POST", "settle")
async def settle(sim: Simulator, body: Json) -> Json:
    await sim.courier.settled()
    await sim.sendgrid.post.settled()
    return asdict(sim.courier.counters)


@act("POST", "settings")
async def settings(sim: Simulator, body: Json) -> Json:
    unknown = body.keys() - asdict(sim.world.settings).keys()
    if unknown:
        raise ApiError(400, f"unknown settings: {', '.join(sorted(unknown))}")
    for name, value in body.items():
        setattr(sim.world.settings, name, value)
    return asdict(sim.world.settings)


@act("POST", "clock")
async def set_clock(sim: Simulator, body: Json) -> Json:
    """{"advance": seconds} or {"set": unix seconds}."""
    target = sim.world.now() + body["advance"] if "advance" in body else body["set"]
    attempts = clock.move_clock(sim.world, int(target))
    return {"now": sim.world.now(), "attempts": attempts}


@act("POST", "faults")
async def add_faults(sim: Simulator, body: Json) -> Json:
    """{"rules": [...]} adds rules as described in faults.py."""
    return {"rules": [asdict(sim.faults.add(rule)) for rule in body["rules"]]}


@act("DELETE", "faults")
async def clear_faults(sim: Simulator, body: Json) -> Json:
    sim.faults.rules.clear()
    return {"rules": []}


@act("POST", "webhooks")
async def webhooks(sim: Simulator, body: Json) -> Json:
    return asdict(sim.courier.configure(body))


@act("POST", "webhook_endpoints")
async def webhook_endpoints(sim: Simulator, body: Json) -> Json:
    """{"url", "enabled_events"?, "secret"?} makes an endpoint."""
    params: Json = {"enabled_events": ["*"], **{key: body[key] for key in ("url", "enabled_events") if key in body}}
    endpoint = sim.world.add(stripe_objects.webhook_endpoint(sim.world, params))
    secret = body.get("secret") or f"whsec_{secrets.token_hex(16)}"
    sim.world.webhook_secrets[endpoint["id"]] = [secret]
    return {**endpoint, "secret": secret}


@act("POST", "webhook_endpoints/rotate")
async def rotate(sim: Simulator, body: Json) -> Json:
    """{"endpoint", "secret"?, "keep_old"?}: a new secret; by default the old one signs too."""
    endpoint = sim.world.get("webhook_endpoint", body["endpoint"])
    secret = body.get("secret") or f"whsec_{secrets.token_hex(16)}"
    old = sim.world.webhook_secrets[endpoint["id"]][:1] if body.get("keep_old", True) else []
    sim.world.webhook_secrets[endpoint["id"]] = [secret, *old]
    return {"secret": secret, "valid": 1 + len(old)}


@act("POST", "webhooks/send")
async def send_event(sim: Simulator, body: Json) -> Json:
    """{"event", "endpoint"?, "secret"?, "timestamp_offset"?}: one extra delivery, e.g. badly signed or stale."""
    event = sim.world.get("event", body["event"])
    endpoints = sim.world.kinds.get("webhook_endpoint", {})
    chosen = [endpoints[body["endpoint"]]] if "endpoint" in body else list(endpoints.values())
    forged = [body["secret"]] if "secret" in body else None
    offset = int(body.get("timestamp_offset", 0))
    return {"statuses": [await sim.courier.post(endpoint, event, forged, offset) for endpoint in chosen]}


@act("POST", "issuer")
async def set_issuer(sim: Simulator, body: Json) -> Json:
    """{"payment_method", "behaviour"}, see issuer.py."""
    issuer.set_behaviour(sim.world, body["payment_method"], body["behaviour"])
    return {"payment_method": body["payment_method"], "behaviour": body["behaviour"]}


@act("POST", "cycle")
async def cycle(sim: Simulator, body: Json) -> Json:
    """{"subscription"}: its next period begins. Answers the new invoice."""
    return lifecycle.cycle(sim.world, sim.world.get("subscription", body["subscription"]))


@act("POST", "customer/replace_card")
async def replace_card(sim: Simulator, body: Json) -> Json:
    """{"customer", "number"?, "behaviour"?}. Answers the new payment method."""
    customer = sim.world.get("customer", body["customer"])
    method = _card(sim, body)
    lifecycle.replace_card(sim.world, customer, method)
    return method


@act("POST", "customer/pay")
async def customer_pay(sim: Simulator, body: Json) -> Json:
    """{"invoice", "number"?, "behaviour"?, "amount"?}: pays, with a new card when one is given, maybe only a part."""
    invoice = _invoice(sim, body)
    lifecycle.require_payable(invoice)
    method = _card(sim, body) if "number" in body or "behaviour" in body else None
    return _paid(invoice, lifecycle.customer_pays(sim.world, invoice, method, body.get("amount")))


@act("POST", "customer/authenticate")
async def customer_authenticate(sim: Simulator, body: Json) -> Json:
    """{"invoice", "success"?}."""
    invoice = _invoice(sim, body)
    return _paid(invoice, lifecycle.authenticate(sim.world, invoice, bool(body.get("success", True))))


@act("POST", "bank/answer")
async def bank_answer(sim: Simulator, body: Json) -> Json:
    """{"invoice", "outcome"?}: the bank answers a slow payment, "ok" or a decline code."""
    invoice = _invoice(sim, body)
    return _paid(invoice, billing.bank_answers(sim.world, invoice, issuer.check_outcome(body.get("outcome", "ok"))))


@act("POST", "customer/dispute")
async def customer_dispute(sim: Simulator, body: Json) -> Json:
    """{"charge"} or {"invoice"}, "reason"?."""
    return lifecycle.open_dispute(sim.world, _last_charge(sim, body), body.get("reason", "fraudulent"))


@act("POST", "dashboard/refund")
async def dashboard_refund(sim: Simulator, body: Json) -> Json:
    """{"charge"} or {"invoice"}, "amount"?."""
    return lifecycle.refund(sim.world, _last_charge(sim, body), body.get("amount"), {}, DASHBOARD)


@act("POST", "dashboard/discount")
async def dashboard_discount(sim: Simulator, body: Json) -> Json:
    """{"customer", "coupon"}: a discount on all that the customer pays."""
    customer = sim.world.get("customer", body["customer"])
    coupon = sim.world.get("coupon", body["coupon"], "coupon")
    return discounts.give_customer(sim.world, customer, coupon, DASHBOARD)


@act("POST", "dashboard/void")
async def dashboard_void(sim: Simulator, body: Json) -> Json:
    lifecycle.void_invoice(sim.world, _invoice(sim, body), DASHBOARD)
    return _invoice(sim, body)


@act("POST", "dashboard/mark_uncollectible")
async def dashboard_uncollectible(sim: Simulator, body: Json) -> Json:
    lifecycle.mark_uncollectible(sim.world, _invoice(sim, body), DASHBOARD)
    return _invoice(sim, body)


@act("POST", "dashboard/paid_out_of_band")
async def dashboard_out_of_band(sim: Simulator, body: Json) -> Json:
    invoice = _invoice(sim, body)
    lifecycle.require_payable(invoice)
    billing.pay_out_of_band(sim.world, invoice, DASHBOARD)
    return invoice


@act("POST", "customer/cancel_subscription")
async def customer_cancels(sim: Simulator, body: Json) -> Json:
    subscription = sim.world.get("subscription", body["subscription"])
    lifecycle.cancel_subscription(sim.world, subscription, CUSTOMER)
    return subscription


@act("GET", "mailbox")
async def mailbox(sim: Simulator, body: Json) -> Json:
    return {"mails": [asdict(mail) for mail in sim.sendgrid.mailbox]}


@act("GET", "sendgrid")
async def sendgrid(sim: Simulator, body: Json) -> Json:
    return {"public_key": sim.sendgrid.post.public_key, **asdict(sim.sendgrid.settings)}


@act("POST", "sendgrid")
async def set_sendgrid(sim: Simulator, body: Json) -> Json:
    return asdict(sim.sendgrid.configure(body))


@act("POST", "sendgrid/release")
async def release_events(sim: Simulator, body: Json) -> Json:
    """Let go the events that were held."""
    return {"batches": sim.sendgrid.post.release(sim.sendgrid.settings)}


@act("POST", "sendgrid/reader")
async def reader_does(sim: Simulator, body: Json) -> Json:
    """{"event": spamreport, unsubscribe, group_unsubscribe, bounce ..., "to"}: about the newest mail to an address."""
    return sim.sendgrid.reader_does(body["event"], body["to"])


@act("GET", "product")
async def product(sim: Simulator, body: Json) -> Json:
    return {"calls": sim.product.calls}
