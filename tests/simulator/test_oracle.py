"""Requests and answers of the simulator against Stripe's own description."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest
import stripe

from simulator import oracle
from simulator.calls import MODELLED
from simulator.running import SimulatorControl
from tests.simulator.conftest import KEY, failed_invoice

Json = dict[str, Any]
LISTS = [
    "customers",
    "products",
    "prices",
    "invoices",
    "invoice_payments",
    "payment_intents",
    "charges",
    "refunds",
    "disputes",
    "events",
]


def test_every_modelled_parameter_is_described() -> None:
    for modelled in MODELLED:
        path = modelled.path.replace("{id}", "x")
        described = oracle.operation(modelled.method, path)
        assert described is not None, (modelled.method, modelled.path)
        schema = oracle._request_schema(described)
        for name in modelled.params:
            assert name.split(".")[0] in schema["properties"], (modelled.path, name)


@pytest.mark.parametrize(
    ("method", "path", "params", "words"),
    [
        ("POST", "/v1/invoices/in_1/pay", {"off_session": True}, []),
        ("POST", "/v1/invoices/in_1/pay", {"off_session": "maybe"}, ["Invalid boolean: off_session"]),
        ("POST", "/v1/invoices/in_1/pay", {"coupon": "x"}, ["Received unknown parameter: coupon"]),
        ("POST", "/v1/subscriptions/sub_1", {"pause_collection": {"behavior": "void"}}, []),
        (
            "POST",
            "/v1/subscriptions/sub_1",
            {"pause_collection": {"x": "y"}},
            ["Received unknown parameter: pause_collection[x]", "Missing required param: pause_collection[behavior]."],
        ),
        ("GET", "/v1/invoices", {"status": "open", "limit": 3, "created": {"gte": 5}}, []),
        ("POST", "/v1/nothing", {}, ["Unrecognized request URL (POST: /v1/nothing)."]),
    ],
)
def test_request_errors(method: str, path: str, params: Json, words: list[str]) -> None:
    assert oracle.request_errors(method, path, params) == words


def test_response_errors_find_mistakes() -> None:
    body = {"object": "list", "data": [{"object": "product", "id": 1, "colour": "red"}], "has_more": False, "url": "/"}
    found = oracle.response_errors("GET", "/v1/products", body)
    assert any("colour" in message for message in found)
    assert any("1 is not of type 'string'" in message for message in found)


async def test_every_answer_and_event_fits(sim: SimulatorControl, client: stripe.StripeClient) -> None:
    account, first = await failed_invoice(sim, client, "authentication_required", "lost_card", "ok")
    await client.v1.subscriptions.update_async(
        account.subscription,
        params={"pause_collection": {"behavior": "void"}, "default_payment_method": account.method},
    )
    await client.v1.subscriptions.update_async(account.subscription, params={"pause_collection": ""})
    errors = []
    for _ in range(2):
        with pytest.raises(stripe.CardError) as declined:
            await client.v1.invoices.pay_async(first)
        errors.append(declined.value.json_body)
    await sim.customer_pays(first, amount=500)
    second = (await sim.cycle(account.subscription))["id"]
    charge = next(entry["charge"] for entry in await sim.ledger() if entry["outcome"] == "ok")
    refund = await client.v1.refunds.create_async(params={"charge": charge, "amount": 5})
    dispute = await sim.call("POST", "customer/dispute", charge=charge)
    await client.v1.invoices.void_invoice_async(first)
    await client.v1.subscriptions.cancel_async(account.subscription)
    price = await client.v1.prices.retrieve_async(account.price)
    intent = (await client.v1.payment_intents.list_async()).data[0].id
    event = (await client.v1.events.list_async()).data[0].id

    answers: dict[str, Json] = {}
    headers = {"Authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession(headers=headers) as session:

        async def ask(method: str, path: str, form: dict[str, str] | None = None) -> None:
            async with session.request(method, sim.url + path, data=form) as answer:
                assert answer.status == 200, (path, await answer.text())
                answers[f"{method} {path}"] = await answer.json()

        everything = "expand[]=payments.data.payment.payment_intent.latest_charge&expand[]=customer"
        for path in (
            f"/v1/invoices/{first}",
            f"/v1/invoices/{second}?{everything}",
            f"/v1/customers/{account.customer}?expand[]=invoice_settings.default_payment_method",
            f"/v1/customers/{account.customer}/payment_methods",
            f"/v1/payment_methods/{account.method}",
            f"/v1/payment_methods?customer={account.customer}",
            f"/v1/products/{price.product}",
            f"/v1/prices/{price.id}?expand[]=product",
            f"/v1/subscriptions/{account.subscription}?expand[]=latest_invoice.payments&expand[]=customer",
            f"/v1/payment_intents/{intent}",
            f"/v1/charges/{charge}",
            f"/v1/disputes/{dispute['id']}?expand[]=charge.payment_intent",
            f"/v1/events/{event}",
            "/v1/subscriptions?status=all",
            *(f"/v1/{kind}?limit=100" for kind in LISTS),
        ):
            await ask("GET", path)
        await ask("POST", "/v1/webhook_endpoints", {"url": "http://127.0.0.1:9/", "enabled_events[]": "*"})
        await ask("GET", "/v1/webhook_endpoints")
        await ask("POST", "/v1/billing_portal/sessions", {"customer": account.customer})

    assert refund.status == "succeeded"
    for name, body in answers.items():
        method, path = name.split(" ")
        assert oracle.response_errors(method, path.partition("?")[0], body) == [], name
    for error in errors:
        assert isinstance(error, dict)
        assert oracle.response_errors("POST", f"/v1/invoices/{first}/pay", error) == []
    kinds = {row["type"] for row in answers["GET /v1/events?limit=100"]["data"]}
    assert {"charge.failed", "charge.dispute.created", "refund.created", "invoice.voided"} <= kinds
