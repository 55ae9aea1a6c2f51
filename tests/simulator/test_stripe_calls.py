"""Every modelled call through the unmodified SDK."""

from __future__ import annotations

import aiohttp
import pytest
import stripe

from simulator.running import SimulatorControl
from tests.simulator.conftest import KEY, failed_invoice, subscribe


async def test_customer_calls(client: stripe.StripeClient) -> None:
    made = await client.v1.customers.create_async(
        params={"email": "a@example.com", "preferred_locales": ["de"], "metadata": {"a": "1", "b": "2"}}
    )
    changed = await client.v1.customers.update_async(made.id, params={"name": "Bob", "metadata": {"a": ""}})
    read = await client.v1.customers.retrieve_async(made.id)
    assert changed.to_dict() == read.to_dict()
    assert (read.name, read.preferred_locales, read.metadata.to_dict() if read.metadata else None) == (
        "Bob",
        ["de"],
        {"b": "2"},
    )
    listed = await client.v1.customers.list_async(params={"email": "a@example.com"})
    assert [row.id for row in listed.data] == [made.id]


async def test_payment_method_calls(client: stripe.StripeClient) -> None:
    customer = await client.v1.customers.create_async(params={"email": "a@example.com"})
    first = await client.v1.payment_methods.attach_async("pm_card_visa", params={"customer": customer.id})
    second = await client.v1.payment_methods.attach_async("pm_card_mastercard", params={"customer": customer.id})
    by_filter = await client.v1.payment_methods.list_async(params={"customer": customer.id, "type": "card"})
    by_path = await client.v1.customers.payment_methods.list_async(customer.id)
    assert [row.id for row in by_filter.data] == [row.id for row in by_path.data] == [second.id, first.id]
    read = await client.v1.payment_methods.retrieve_async(second.id)
    assert read.card is not None
    assert (read.card.brand, read.card.last4) == ("mastercard", "4444")


async def test_subscription_calls(sim: SimulatorControl, client: stripe.StripeClient) -> None:
    account = await subscribe(client)
    paused = await client.v1.subscriptions.update_async(
        account.subscription, params={"pause_collection": {"behavior": "void"}, "cancel_at_period_end": True}
    )
    assert paused.pause_collection is not None
    assert (paused.pause_collection.behavior, paused.cancel_at_period_end) == ("void", True)
    assert (await sim.cycle(account.subscription))["status"] == "void"
    resumed = await client.v1.subscriptions.update_async(
        account.subscription, params={"pause_collection": "", "default_payment_method": account.method}
    )
    assert (resumed.pause_collection, resumed.default_payment_method) == (None, account.method)
    await client.v1.subscriptions.cancel_async(account.subscription)
    assert (await client.v1.subscriptions.retrieve_async(account.subscription)).status == "canceled"
    assert (await client.v1.subscriptions.list_async(params={"customer": account.customer})).data == []
    every = await client.v1.subscriptions.list_async(params={"customer": account.customer, "status": "all"})
    assert [row.id for row in every.data] == [account.subscription]


async def test_prices_and_products(client: stripe.StripeClient) -> None:
    account = await subscribe(client, amount=1234)
    price = await client.v1.prices.retrieve_async(account.price, params={"expand": ["product"]})
    assert price.unit_amount == 1234
    assert isinstance(price.product, stripe.Product)
    assert price.product.name == "Pro"
    assert len((await client.v1.prices.list_async()).data) == len((await client.v1.products.list_async()).data) == 1


async def test_decline_then_recovery(sim: SimulatorControl, client: stripe.StripeClient) -> None:
    account, invoice_id = await failed_invoice(sim, client, "do_not_honor", "ok")
    assert (await client.v1.subscriptions.retrieve_async(account.subscription)).status == "past_due"
    with pytest.raises(stripe.CardError) as declined:
        await client.v1.invoices.pay_async(invoice_id, params={"off_session": True})
    error = declined.value.error
    assert error is not None
    assert (error.code, error.decline_code, error.advice_code, error.network_decline_code) == (
        "card_declined",
        "do_not_honor",
        "try_again_later",
        "05",
    )
    assert error.payment_intent is not None
    paid = await client.v1.invoices.pay_async(invoice_id, params={"payment_method": account.method})
    assert (paid.status, paid.amount_paid, paid.amount_remaining, paid.attempt_count) == ("paid", 2900, 0, 3)
    assert (await client.v1.subscriptions.retrieve_async(account.subscription)).status == "active"
    charges = await client.v1.charges.list_async(params={"payment_intent": error.payment_intent.id})
    assert [(row.status, row.failure_code) for row in charges.data] == [
        ("succeeded", None),
        ("failed", "card_declined"),
        ("failed", "card_declined"),
    ]
    with pytest.raises(stripe.InvalidRequestError, match="Invoice is already paid"):
        await client.v1.invoices.pay_async(invoice_id)
    outcomes = [entry["outcome"] for entry in await sim.ledger() if entry["invoice"] == invoice_id]
    assert outcomes == ["insufficient_funds", "do_not_honor", "ok"]
    assert (await sim.received())[invoice_id] == 2900


async def test_events_of_a_payment(sim: SimulatorControl, client: stripe.StripeClient) -> None:
    _, invoice_id = await failed_invoice(sim, client, "ok")
    seen = (await client.v1.events.list_async(params={"limit": 1})).data[0].id
    await client.v1.invoices.pay_async(invoice_id, options={"idempotency_key": "case-1:retry:1"})
    events = (await client.v1.events.list_async(params={"ending_before": seen})).data
    assert [event.type for event in reversed(events)] == [
        "charge.succeeded",
        "payment_intent.succeeded",
        "invoice.updated",
        "invoice.paid",
        "invoice.payment_succeeded",
        "customer.subscription.updated",
    ]
    assert {event.request.idempotency_key for event in events if event.request} == {"case-1:retry:1"}
    one = await client.v1.events.retrieve_async(events[0].id)
    assert one.data.previous_attributes is not None
    by_type = await client.v1.events.list_async(params={"types": ["invoice.paid", "invoice.payment_failed"]})
    assert [event.type for event in by_type.data] == ["invoice.paid", "invoice.payment_failed", "invoice.paid"]
    failed = by_type.data[1]
    assert failed.request is not None
    assert (failed.request.id, failed.request.idempotency_key) == (None, None)


async def test_expand_four_levels(sim: SimulatorControl, client: stripe.StripeClient) -> None:
    account, invoice_id = await failed_invoice(sim, client, "ok")
    invoice = await client.v1.invoices.retrieve_async(
        invoice_id,
        params={
            "expand": [
                "payments.data.payment.payment_intent.latest_charge",
                "customer.invoice_settings.default_payment_method",
            ]
        },
    )
    assert invoice.payments is not None
    intent = invoice.payments.data[0].payment.payment_intent
    assert isinstance(intent, stripe.PaymentIntent)
    assert intent.last_payment_error is not None
    assert intent.last_payment_error.decline_code == "insufficient_funds"
    assert isinstance(intent.latest_charge, stripe.Charge)
    assert isinstance(invoice.customer, stripe.Customer)
    assert invoice.customer.invoice_settings is not None
    method = invoice.customer.invoice_settings.default_payment_method
    assert isinstance(method, stripe.PaymentMethod)
    assert method.id == account.method
    plain = await client.v1.invoices.retrieve_async(invoice_id)
    assert "payments" not in plain
    with pytest.raises(stripe.InvalidRequestError, match="cannot be expanded"):
        await client.v1.invoices.retrieve_async(invoice_id, params={"expand": ["nonsense"]})


async def test_authentication(sim: SimulatorControl, client: stripe.StripeClient) -> None:
    account, invoice_id = await failed_invoice(sim, client, "authentication_required")
    with pytest.raises(stripe.CardError) as declined:
        await client.v1.invoices.pay_async(invoice_id)
    error = declined.value.error
    assert error is not None
    assert error.code == "invoice_payment_intent_requires_action"
    types = [event.type for event in (await client.v1.events.list_async()).data]
    assert types[0] == "invoice.payment_action_required"
    intent = (await client.v1.payment_intents.list_async(params={"customer": account.customer})).data[0]
    assert intent.status == "requires_action"
    assert (await sim.authenticate(invoice_id, success=False))["paid"] is False
    assert (await client.v1.payment_intents.retrieve_async(intent.id)).status == "requires_payment_method"
    with pytest.raises(stripe.CardError):
        await client.v1.invoices.pay_async(invoice_id)
    assert (await sim.authenticate(invoice_id))["paid"] is True
    assert [entry["by"] for entry in await sim.ledger()] == ["api", "stripe", "api", "api", "customer"]


async def test_void_uncollectible_out_of_band(sim: SimulatorControl, client: stripe.StripeClient) -> None:
    account, first = await failed_invoice(sim, client)
    attempts = len(await sim.ledger())
    voided = await client.v1.invoices.void_invoice_async(first)
    assert voided.status == "void"
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await client.v1.invoices.pay_async(first)
    assert refused.value.code == "invoice_not_editable"
    second = (await sim.cycle(account.subscription))["id"]
    assert (await client.v1.invoices.mark_uncollectible_async(second)).status == "uncollectible"
    settled = await client.v1.invoices.pay_async(second, params={"paid_out_of_band": True})
    assert (settled.status, settled.amount_paid_off_stripe) == ("paid", 2900)
    assert len(await sim.ledger()) == attempts + 1
    assert second not in await sim.received()
    listed = await client.v1.invoices.list_async(params={"customer": account.customer, "status": "void"})
    assert [row.id for row in listed.data] == [first]


async def test_refund_and_dispute(sim: SimulatorControl, client: stripe.StripeClient) -> None:
    await subscribe(client)
    charge = (await client.v1.charges.list_async()).data[0]
    part = await client.v1.refunds.create_async(params={"charge": charge.id, "amount": 900})
    assert (part.amount, part.status) == (900, "succeeded")
    rest = await client.v1.refunds.create_async(params={"payment_intent": str(charge.payment_intent)})
    assert rest.amount == 2000
    assert (await client.v1.charges.retrieve_async(charge.id)).refunded is True
    dispute = await sim.call("POST", "customer/dispute", charge=charge.id)
    read = await client.v1.disputes.retrieve_async(dispute["id"])
    assert (read.status, (await client.v1.disputes.list_async()).data[0].id) == ("needs_response", dispute["id"])
    assert (await client.v1.charges.retrieve_async(charge.id)).disputed is True
    assert len((await client.v1.refunds.list_async(params={"charge": charge.id})).data) == 2


async def test_invoice_payments_portal_endpoints(sim: SimulatorControl, client: stripe.StripeClient) -> None:
    account, invoice_id = await failed_invoice(sim, client)
    payments = (await client.v1.invoice_payments.list_async(params={"invoice": invoice_id})).data
    assert [(row.status, row.is_default, row.amount_requested) for row in payments] == [("open", True, 2900)]
    portal = await client.v1.billing_portal.sessions.create_async(params={"customer": account.customer})
    assert portal.url.startswith(sim.url)
    endpoint = await client.v1.webhook_endpoints.create_async(
        params={"url": "http://127.0.0.1:9/", "enabled_events": ["invoice.paid"]}
    )
    assert endpoint.secret is not None
    listed = (await client.v1.webhook_endpoints.list_async()).data
    assert [(row.id, row.url) for row in listed] == [(endpoint.id, "http://127.0.0.1:9/")]


async def test_pagination(client: stripe.StripeClient) -> None:
    made = [(await client.v1.customers.create_async(params={"name": str(number)})).id for number in range(5)]
    first = await client.v1.customers.list_async(params={"limit": 2})
    assert ([row.id for row in first.data], first.has_more) == ([made[4], made[3]], True)
    walked = [row.id async for row in first.auto_paging_iter()]
    assert walked == made[::-1]


async def test_headers_and_bad_key(sim: SimulatorControl) -> None:
    async with aiohttp.ClientSession() as session:
        headers = {"Authorization": f"Bearer {KEY}", "Stripe-Version": "2026-10-28.endive"}
        async with session.get(f"{sim.url}/v1/customers", headers=headers) as answer:
            assert answer.headers["request-id"].startswith("req_")
            assert answer.headers["stripe-version"] == "2026-10-28.endive"
        async with session.get(f"{sim.url}/v1/customers") as answer:
            assert answer.status == 401


@pytest.mark.parametrize(
    ("method", "path", "form", "status", "words"),
    [
        ("POST", "/v1/billing_portal/configurations", "a=1", 501, "POST /v1/billing_portal/configurations"),
        ("POST", "/v1/coupons", "amount_off=10&currency=usd", 501, "parameter amount_off"),
        ("POST", "/v1/customers", "tax_exempt=exempt", 501, "parameter tax_exempt"),
        ("POST", "/v1/customers", "nonsense=1", 400, "unknown parameter: nonsense"),
        ("POST", "/v1/customers", "invoice_settings[nonsense]=1", 400, "invoice_settings[nonsense]"),
        ("POST", "/v1/prices", "unit_amount=x&currency=usd", 400, "Invalid integer: unit_amount"),
        ("POST", "/v1/prices", "unit_amount=1", 400, "Missing required param: currency"),
        ("GET", "/v1/invoices/in_none", "", 404, "No such invoice"),
        ("GET", "/v1/events?delivery_success=true", "", 501, "delivery_success"),
    ],
)
async def test_what_is_not_modelled_is_refused(
    sim: SimulatorControl, method: str, path: str, form: str, status: int, words: str
) -> None:
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/x-www-form-urlencoded"}
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, sim.url + path, data=form or None, headers=headers) as answer,
    ):
        assert answer.status == status
        assert words in (await answer.json())["error"]["message"]
