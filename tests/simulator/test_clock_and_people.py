"""Stripe's own retries, the issuer's behaviours, and what customers do."""

from __future__ import annotations

from itertools import pairwise

import stripe

from simulator.running import SimulatorControl
from simulator.world import DAY
from tests.simulator.conftest import failed_invoice, subscribe


async def ledger_of(sim: SimulatorControl, invoice: str) -> list[tuple[str, str, str | None]]:
    return [
        (entry["by"], entry["outcome"], entry["idempotency_key"])
        for entry in await sim.ledger()
        if entry["invoice"] == invoice
    ]


async def test_stripes_own_retries(sim: SimulatorControl, client: stripe.StripeClient) -> None:
    account, invoice_id = await failed_invoice(sim, client)
    invoice = await client.v1.invoices.retrieve_async(invoice_id)
    assert invoice.next_payment_attempt is not None
    assert invoice.next_payment_attempt - invoice.created in (3 * DAY, 3 * DAY + 1)
    assert await sim.advance(2 * DAY) == 0
    assert await sim.advance(20 * DAY) == 3
    done = await client.v1.invoices.retrieve_async(invoice_id)
    assert (done.attempt_count, done.next_payment_attempt, done.status) == (4, None, "open")
    assert await ledger_of(sim, invoice_id) == [("stripe", "insufficient_funds", None)] * 4
    moments = [entry["at"] for entry in await sim.ledger() if entry["invoice"] == invoice_id]
    gaps = [round((later - earlier) / DAY) for earlier, later in pairwise(moments)]
    assert gaps == [3, 5, 7]
    assert await sim.advance(30 * DAY) == 0
    assert (await client.v1.subscriptions.retrieve_async(account.subscription)).status == "past_due"


async def test_a_due_retry_that_succeeds_has_no_request(sim: SimulatorControl, client: stripe.StripeClient) -> None:
    _, invoice_id = await failed_invoice(sim, client, "ok")
    assert await sim.advance(4 * DAY) == 1
    event = (await client.v1.events.list_async(params={"type": "invoice.paid", "limit": 1})).data[0]
    assert event.request is not None
    assert (event.request.id, event.request.idempotency_key) == (None, None)
    assert (await client.v1.invoices.retrieve_async(invoice_id)).status == "paid"


async def test_auto_advance_off_stops_stripe(sim: SimulatorControl, client: stripe.StripeClient) -> None:
    _, invoice_id = await failed_invoice(sim, client, "ok")
    off = await client.v1.invoices.update_async(invoice_id, params={"auto_advance": False})
    assert off.next_payment_attempt is None
    assert await sim.advance(60 * DAY) == 0
    on = await client.v1.invoices.update_async(invoice_id, params={"auto_advance": True, "metadata": {"a": "1"}})
    assert on.next_payment_attempt is not None
    assert await sim.advance(3 * DAY + 5) == 1


async def test_hard_decline_is_counted_but_not_charged_again(
    sim: SimulatorControl, client: stripe.StripeClient
) -> None:
    account = await subscribe(client)
    await sim.set_issuer(account.method, {"script": ["stolen_card", "ok"]})
    invoice_id = (await sim.cycle(account.subscription))["id"]
    assert await sim.advance(4 * DAY) == 1
    assert (await client.v1.invoices.retrieve_async(invoice_id)).attempt_count == 2
    assert len(await ledger_of(sim, invoice_id)) == 1
    await sim.replace_card(account.customer)
    assert await sim.advance(5 * DAY) == 1
    assert await ledger_of(sim, invoice_id) == [("stripe", "stolen_card", None), ("stripe", "ok", None)]


async def test_last_retry_may_cancel(sim: SimulatorControl, client: stripe.StripeClient) -> None:
    await sim.settings(retry_days=[1], after_last_retry="cancel")
    account, invoice_id = await failed_invoice(sim, client)
    await sim.advance(2 * DAY)
    subscription = await client.v1.subscriptions.retrieve_async(account.subscription)
    assert subscription.cancellation_details is not None
    assert (subscription.status, subscription.cancellation_details.reason) == ("canceled", "payment_failed")
    assert (await client.v1.invoices.retrieve_async(invoice_id)).auto_advance is False


async def test_payday(sim: SimulatorControl, client: stripe.StripeClient) -> None:
    account = await subscribe(client)
    payday = (await sim.state())["now"] + 5 * DAY
    await sim.set_issuer(account.method, {"ok_from": payday, "until_then": "insufficient_funds"})
    invoice_id = (await sim.cycle(account.subscription))["id"]
    assert await sim.advance(9 * DAY) == 2
    assert [outcome for _, outcome, _ in await ledger_of(sim, invoice_id)] == [
        "insufficient_funds",
        "insufficient_funds",
        "ok",
    ]


async def test_seeded_issuer(sim: SimulatorControl, client: stripe.StripeClient) -> None:
    async def outcomes() -> list[str]:
        await sim.reset(seed=3)
        account = await subscribe(client)
        await sim.set_issuer(account.method, {"probability": 0.5, "decline": "do_not_honor"})
        for _ in range(12):
            await sim.cycle(account.subscription)
        return [entry["outcome"] for entry in await sim.ledger()]

    first = await outcomes()
    assert first == await outcomes()
    assert set(first) == {"ok", "do_not_honor"}


async def test_mastercard_advice(sim: SimulatorControl, client: stripe.StripeClient) -> None:
    account = await subscribe(client, number="5555555555554444")
    await sim.set_issuer(account.method, {"always": "revocation_of_authorization"})
    await sim.cycle(account.subscription)
    charge = (await client.v1.charges.list_async(params={"limit": 1})).data[0]
    assert charge.outcome is not None
    assert (charge.outcome.network_advice_code, charge.outcome.advice_code) == ("21", "do_not_try_again")
    assert charge.payment_method_details is not None
    assert charge.payment_method_details.card is not None
    assert charge.payment_method_details.card.network == "mastercard"


async def test_replaced_card(sim: SimulatorControl, client: stripe.StripeClient) -> None:
    account, _ = await failed_invoice(sim, client)
    await client.v1.subscriptions.update_async(account.subscription, params={"default_payment_method": account.method})
    seen = (await client.v1.events.list_async(params={"limit": 1})).data[0].id
    method = await sim.replace_card(account.customer, number="5555555555554444")
    types = [event.type for event in (await client.v1.events.list_async(params={"ending_before": seen})).data]
    assert types == ["customer.subscription.updated", "customer.updated", "payment_method.attached"]
    customer = await client.v1.customers.retrieve_async(account.customer)
    subscription = await client.v1.subscriptions.retrieve_async(account.subscription)
    assert customer.invoice_settings is not None
    assert customer.invoice_settings.default_payment_method == subscription.default_payment_method == method["id"]


async def test_part_payment_then_the_rest(sim: SimulatorControl, client: stripe.StripeClient) -> None:
    _, invoice_id = await failed_invoice(sim, client, "ok")
    part = await sim.customer_pays(invoice_id, amount=1000, number="4242424242424242")
    assert part["paid"] is True
    invoice = await client.v1.invoices.retrieve_async(invoice_id)
    assert (invoice.status, invoice.amount_paid, invoice.amount_remaining) == ("open", 1000, 1900)
    assert (await client.v1.invoices.pay_async(invoice_id)).status == "paid"
    assert (await sim.received())[invoice_id] == 2900
    payments = (await client.v1.invoice_payments.list_async(params={"invoice": invoice_id})).data
    assert [(row.amount_paid, row.is_default) for row in payments] == [(1000, False), (1900, True)]


async def test_the_dashboard(sim: SimulatorControl, client: stripe.StripeClient) -> None:
    account, first = await failed_invoice(sim, client)
    assert (await sim.call("POST", "dashboard/paid_out_of_band", invoice=first))["status"] == "paid"
    second = (await sim.cycle(account.subscription))["id"]
    assert (await sim.call("POST", "dashboard/mark_uncollectible", invoice=second))["status"] == "uncollectible"
    assert (await sim.call("POST", "dashboard/void", invoice=second))["status"] == "void"
    charge = next(entry["charge"] for entry in await sim.ledger() if entry["outcome"] == "ok")
    assert (await sim.call("POST", "dashboard/refund", charge=charge, amount=100))["amount"] == 100
    gone = await sim.call("POST", "customer/cancel_subscription", subscription=account.subscription)
    assert gone["status"] == "canceled"


async def test_fingerprints_tell_cards_apart(sim: SimulatorControl, client: stripe.StripeClient) -> None:
    account, invoice_id = await failed_invoice(sim, client)
    await sim.replace_card(account.customer, number="4242424242424242", behaviour={"always": "do_not_honor"})
    await sim.customer_pays(invoice_id)
    await sim.customer_pays(invoice_id, number="5555555555554444")
    prints = [entry["fingerprint"] for entry in await sim.ledger() if entry["invoice"] == invoice_id]
    assert prints[0] == prints[1] != prints[2]
