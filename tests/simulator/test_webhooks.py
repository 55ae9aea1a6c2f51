"""Signed deliveries, and their unreliability on demand."""

from __future__ import annotations

import json
from typing import Any

import pytest
import stripe

from simulator.running import SimulatorControl
from tests.simulator.conftest import Receiver, failed_invoice, subscribe

SECRET = "whsec_test"


def types_of(receiver: Receiver) -> list[str]:
    return [json.loads(body)["type"] for body in receiver.bodies]


def ids_of(receiver: Receiver) -> list[str]:
    return [json.loads(body)["id"] for body in receiver.bodies]


async def test_every_delivery_is_accepted(
    sim: SimulatorControl, client: stripe.StripeClient, receiver: Receiver
) -> None:
    await sim.webhook_endpoint(receiver.url, SECRET)
    _, invoice = await failed_invoice(sim, client, "ok")
    await client.v1.invoices.pay_async(invoice)
    counters = await sim.settled()
    for body, headers in zip(receiver.bodies, receiver.headers, strict=True):
        event = stripe.Webhook.construct_event(body, headers["Stripe-Signature"], SECRET)
        assert event.api_version == "2026-10-28.endive"
    count = len(sim.world.kinds["event"])
    assert counters == {
        "events": count,
        "deliveries": count,
        "duplicates": 0,
        "out_of_order": 0,
        "lost": 0,
        "retried": 0,
        "failed": 0,
    }


async def test_only_wanted_types(sim: SimulatorControl, client: stripe.StripeClient, receiver: Receiver) -> None:
    await sim.webhook_endpoint(receiver.url, SECRET, enabled_events=["invoice.payment_failed"])
    await failed_invoice(sim, client)
    await sim.settled()
    assert types_of(receiver) == ["invoice.payment_failed"]


async def test_duplicates(sim: SimulatorControl, client: stripe.StripeClient, receiver: Receiver) -> None:
    await sim.webhook_endpoint(receiver.url, SECRET)
    await sim.webhooks(duplicate=1.0)
    await client.v1.customers.create_async(params={"name": "x"})
    counters = await sim.settled()
    assert (counters["duplicates"], counters["deliveries"]) == (1, 2)
    assert len(set(ids_of(receiver))) == 1


async def test_lost_events_stay_in_the_list(
    sim: SimulatorControl, client: stripe.StripeClient, receiver: Receiver
) -> None:
    await sim.webhook_endpoint(receiver.url, SECRET)
    await sim.webhooks(lost=1.0)
    await client.v1.customers.create_async(params={"name": "x"})
    counters = await sim.settled()
    assert (counters["lost"], counters["deliveries"], receiver.bodies) == (1, 0, [])
    event = (await client.v1.events.list_async()).data[0]
    assert event.type == "customer.created"
    assert (await sim.call("POST", "webhooks/send", event=event.id))["statuses"] == [200]
    assert ids_of(receiver) == [event.id]


async def test_out_of_order(sim: SimulatorControl, client: stripe.StripeClient, receiver: Receiver) -> None:
    customer = await client.v1.customers.create_async(params={"name": "x"})
    await sim.webhook_endpoint(receiver.url, SECRET)
    await sim.webhooks(out_of_order=1.0, hold_seconds=60)
    await client.v1.customers.update_async(customer.id, params={"name": "first"})
    await sim.webhooks(out_of_order=0.0)
    await client.v1.customers.update_async(customer.id, params={"name": "second"})
    counters = await sim.settled()
    names = [json.loads(body)["data"]["object"]["name"] for body in receiver.bodies]
    assert (names, counters["out_of_order"]) == (["second", "first"], 1)


async def test_a_held_event_without_successor_arrives(
    sim: SimulatorControl, client: stripe.StripeClient, receiver: Receiver
) -> None:
    await sim.webhook_endpoint(receiver.url, SECRET)
    await sim.webhooks(out_of_order=1.0, hold_seconds=60)
    await client.v1.customers.create_async(params={"name": "x"})
    counters = await sim.settled()
    assert (counters["deliveries"], counters["out_of_order"]) == (1, 0)


async def test_delays_do_not_starve_the_queue(
    sim: SimulatorControl, client: stripe.StripeClient, receiver: Receiver
) -> None:
    await sim.webhook_endpoint(receiver.url, SECRET)
    await sim.webhooks(delay_seconds=[0.05, 0.1], concurrency=1)
    for number in range(20):
        await client.v1.customers.create_async(params={"name": str(number)})
    counters = await sim.settled()
    assert counters["deliveries"] == 20


async def test_retries_until_accepted_or_given_up(
    sim: SimulatorControl, client: stripe.StripeClient, receiver: Receiver
) -> None:
    await sim.webhook_endpoint(receiver.url, SECRET)
    await sim.webhooks(retry_base_seconds=0.001, max_attempts=3)
    receiver.statuses = [500, 503]
    await client.v1.customers.create_async(params={"name": "x"})
    counters = await sim.settled()
    assert (counters["retried"], counters["deliveries"], counters["failed"]) == (2, 1, 0)
    receiver.statuses = [500, 500, 500]
    await client.v1.customers.create_async(params={"name": "y"})
    counters = await sim.settled()
    assert (counters["retried"], counters["deliveries"], counters["failed"]) == (4, 1, 1)


async def test_two_secrets_while_rotating(
    sim: SimulatorControl, client: stripe.StripeClient, receiver: Receiver
) -> None:
    endpoint = await sim.webhook_endpoint(receiver.url, "whsec_old")
    await sim.call("POST", "webhook_endpoints/rotate", endpoint=endpoint["id"], secret="whsec_new")
    await client.v1.customers.create_async(params={"name": "x"})
    await sim.settled()
    header = receiver.headers[0]["Stripe-Signature"]
    assert header.count("v1=") == 2
    for secret in ("whsec_old", "whsec_new"):
        stripe.Webhook.construct_event(receiver.bodies[0], header, secret)


@pytest.mark.parametrize("forgery", [{"secret": "whsec_wrong"}, {"timestamp_offset": -400}])
async def test_forged_and_stale_deliveries(
    sim: SimulatorControl, client: stripe.StripeClient, receiver: Receiver, forgery: dict[str, Any]
) -> None:
    await client.v1.customers.create_async(params={"name": "x"})
    event = (await client.v1.events.list_async()).data[0]
    await sim.webhook_endpoint(receiver.url, SECRET)
    await sim.call("POST", "webhooks/send", event=event.id, **forgery)
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(receiver.bodies[0], receiver.headers[0]["Stripe-Signature"], SECRET)


async def test_signature_time_is_real_while_created_is_simulated(
    sim: SimulatorControl, client: stripe.StripeClient, receiver: Receiver
) -> None:
    await sim.webhook_endpoint(receiver.url, SECRET)
    await sim.set_clock(1_900_000_000)
    customer = await client.v1.customers.create_async(params={"name": "x"})
    await sim.settled()
    assert 0 <= customer.created - 1_900_000_000 < 5
    stripe.Webhook.construct_event(receiver.bodies[0], receiver.headers[0]["Stripe-Signature"], SECRET)


async def test_legacy_shapes(sim: SimulatorControl, client: stripe.StripeClient, receiver: Receiver) -> None:
    await sim.webhook_endpoint(receiver.url, SECRET, enabled_events=["invoice.payment_failed", "invoice.paid"])
    await sim.settings(legacy_shapes=True)
    account = await subscribe(client)
    await sim.set_issuer(account.method, {"always": "lost_card"})
    await sim.cycle(account.subscription)
    await sim.settled()
    paid, failed = (json.loads(body) for body in receiver.bodies)
    assert (failed["api_version"], failed["type"]) == ("2024-06-20", "invoice.payment_failed")
    invoice = failed["data"]["object"]
    charge = (await client.v1.charges.list_async(params={"limit": 1})).data[0]
    shown = {key: invoice[key] for key in ("subscription", "charge", "payment_intent", "paid")}
    assert shown == {
        "subscription": account.subscription,
        "charge": charge.id,
        "payment_intent": charge.payment_intent,
        "paid": False,
    }
    assert "parent" not in invoice
    assert paid["data"]["object"]["paid"] is True
    modern = (await client.v1.events.list_async(params={"type": "invoice.payment_failed"})).data[0]
    assert "parent" in modern.data.object
