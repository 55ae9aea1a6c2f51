"""Each fault kind and the idempotency rules, judged by the ledger of charge attempts."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
import stripe

from simulator.running import SimulatorControl
from tests.simulator.conftest import failed_invoice, sdk

PAY = "/v1/invoices/*/pay"
Json = dict[str, Any]


async def pay(client: stripe.StripeClient, invoice: str, key: str = "k1", **params: Any) -> stripe.Invoice:
    everything: Any = {"off_session": True, **params}
    return await client.v1.invoices.pay_async(invoice, params=everything, options={"idempotency_key": key})


def replayed(answer: stripe.Invoice) -> bool:
    return answer.last_response is not None and answer.last_response.headers.get("idempotent-replayed") == "true"


async def attempts(sim: SimulatorControl, invoice: str) -> list[str]:
    """Outcomes of the attempts that came by API."""
    return [entry["outcome"] for entry in await sim.ledger() if entry["invoice"] == invoice and entry["by"] == "api"]


@pytest.mark.parametrize(
    ("kind", "error", "again"),
    [
        ("429", stripe.RateLimitError, "paid"),
        ("500_before", stripe.APIError, "paid"),
        ("503", stripe.APIError, "paid"),
        ("401", stripe.AuthenticationError, "paid"),
        ("cut_before", stripe.APIConnectionError, "paid"),
        ("cut_after", stripe.APIConnectionError, "replayed"),
        # The SDK does not wrap errors while the body is read.
        ("cut_midway", aiohttp.ClientPayloadError, "replayed"),
        ("500_after", stripe.APIError, "500 for ever"),
    ],
)
async def test_fault_then_same_key(
    sim: SimulatorControl, client: stripe.StripeClient, kind: str, error: type[Exception], again: str
) -> None:
    _, invoice = await failed_invoice(sim, client, "ok")
    await sim.add_fault(kind, PAY, method="POST")
    with pytest.raises(error):
        await pay(client, invoice)
    executed = again != "paid"
    assert await attempts(sim, invoice) == (["ok"] if executed else [])
    if again == "500 for ever":
        with pytest.raises(stripe.APIError) as stored:
            await pay(client, invoice)
        assert stored.value.http_status == 500
    else:
        paid = await pay(client, invoice)
        assert paid.status == "paid"
        assert replayed(paid) is executed
    assert await attempts(sim, invoice) == ["ok"]
    assert (await client.v1.invoices.retrieve_async(invoice)).status == "paid"


async def test_sdk_retries_a_cut_connection_with_its_key(sim: SimulatorControl, client: stripe.StripeClient) -> None:
    _, invoice = await failed_invoice(sim, client, "ok")
    await sim.add_fault("cut_after", PAY)
    async with sdk(sim.url, retries=1) as patient:
        paid = await pay(patient, invoice)
    assert replayed(paid)
    assert await attempts(sim, invoice) == ["ok"]


async def test_slow_before_is_executed_although_nobody_waits(
    sim: SimulatorControl, client: stripe.StripeClient
) -> None:
    _, invoice = await failed_invoice(sim, client, "ok")
    await sim.add_fault("slow_before", PAY, seconds=0.15)
    async with sdk(sim.url, timeout=0.05) as hasty:
        with pytest.raises(stripe.APIConnectionError):
            await pay(hasty, invoice)
    assert (await pay(client, invoice)).status == "paid"
    await asyncio.sleep(0.15)
    assert await attempts(sim, invoice) == ["ok"]


async def test_slow_after_keeps_the_key_in_flight(sim: SimulatorControl, client: stripe.StripeClient) -> None:
    _, invoice = await failed_invoice(sim, client, "ok")
    await sim.add_fault("slow_after", PAY, seconds=0.15)
    slow = asyncio.create_task(pay(client, invoice))
    for _ in range(100):
        if await attempts(sim, invoice):
            break
        await asyncio.sleep(0.001)
    with pytest.raises(stripe.APIError) as busy:
        await pay(client, invoice)
    assert busy.value.http_status == 409
    assert (await slow).status == "paid"
    assert replayed(await pay(client, invoice))
    assert await attempts(sim, invoice) == ["ok"]


async def test_same_key_with_other_parameters(sim: SimulatorControl, client: stripe.StripeClient) -> None:
    account, invoice = await failed_invoice(sim, client, "ok")
    await pay(client, invoice)
    with pytest.raises(stripe.IdempotencyError) as refused:
        await pay(client, invoice, payment_method=account.method)
    assert refused.value.http_status == 400
    assert await attempts(sim, invoice) == ["ok"]


async def test_a_decline_is_replayed_until_the_key_changes(sim: SimulatorControl, client: stripe.StripeClient) -> None:
    _, invoice = await failed_invoice(sim, client, "do_not_honor", "ok")
    for _ in range(2):
        with pytest.raises(stripe.CardError) as declined:
            await pay(client, invoice)
        assert declined.value.error is not None
        assert declined.value.error.decline_code == "do_not_honor"
    assert await attempts(sim, invoice) == ["do_not_honor"]
    assert (await pay(client, invoice, key="k2")).status == "paid"
    assert await attempts(sim, invoice) == ["do_not_honor", "ok"]


async def test_validation_errors_are_not_kept(sim: SimulatorControl, client: stripe.StripeClient) -> None:
    _, invoice = await failed_invoice(sim, client, "ok")
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await pay(client, invoice, nonsense="1")
    assert refused.value.code == "parameter_unknown"
    assert (await pay(client, invoice)).status == "paid"


async def test_keys_are_forgotten_after_a_simulated_day(sim: SimulatorControl, client: stripe.StripeClient) -> None:
    _, invoice = await failed_invoice(sim, client, "ok")
    await pay(client, invoice)
    await sim.advance(86_400 + 5)
    with pytest.raises(stripe.InvalidRequestError, match="already paid"):
        await pay(client, invoice)
    assert await attempts(sim, invoice) == ["ok"]


async def test_rule_counting(sim: SimulatorControl, client: stripe.StripeClient) -> None:
    await sim.add_fault("500_before", "/v1/customers", method="POST", nth=2, times=2)
    await sim.add_fault("429", "/v1/events", probability=0.0)
    results = []
    for _ in range(5):
        try:
            await client.v1.customers.create_async(params={"name": "x"})
            results.append("made")
        except stripe.APIError:
            results.append("500")
    assert results == ["made", "500", "500", "made", "made"]
    assert (await client.v1.events.list_async()).data[0].type == "customer.created"
    counted = [(rule["seen"], rule["struck"]) for rule in (await sim.state())["faults"]]
    assert counted == [(5, 2), (1, 0)]
    await sim.clear_faults()
    assert (await sim.state())["faults"] == []


async def test_retry_after(sim: SimulatorControl, client: stripe.StripeClient) -> None:
    await sim.add_fault("429", "/v1/customers", seconds=7)
    with pytest.raises(stripe.RateLimitError) as limited:
        await client.v1.customers.create_async(params={"name": "x"})
    assert limited.value.headers is not None
    assert limited.value.headers["retry-after"] == "7"
