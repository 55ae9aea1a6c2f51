"""One simulator for the session, emptied before each test, and the unmodified SDK against it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import stripe
from aiohttp import web

from simulator.running import SimulatorControl, simulator_running

stripe.enable_telemetry = False

Json = dict[str, Any]
KEY = "sk_test_simulator"


@pytest.fixture(scope="session")
async def running() -> AsyncIterator[SimulatorControl]:
    async with simulator_running(seed=7) as control:
        yield control


@pytest.fixture
async def sim(running: SimulatorControl) -> SimulatorControl:
    await running.reset(seed=7)
    return running


@asynccontextmanager
async def sdk(url: str, *, retries: int = 0, timeout: float = 5) -> AsyncIterator[stripe.StripeClient]:
    http = stripe.AIOHTTPClient(timeout=timeout)
    yield stripe.StripeClient(KEY, base_addresses={"api": url}, http_client=http, max_network_retries=retries)
    await http.close_async()  # type: ignore[no-untyped-call]


@pytest.fixture
async def client(sim: SimulatorControl) -> AsyncIterator[stripe.StripeClient]:
    async with sdk(sim.url) as made:
        yield made


@dataclass
class Account:
    """Ids of one subscribed customer."""

    customer: str
    method: str
    price: str
    subscription: str


async def subscribe(client: stripe.StripeClient, amount: int = 2900, number: str = "4242424242424242") -> Account:
    customer = await client.v1.customers.create_async(params={"email": "ada@example.com", "name": "Ada"})
    method = await client.v1.payment_methods.create_async(
        params={"type": "card", "card": {"number": number, "exp_month": 12, "exp_year": 2034, "cvc": "123"}}
    )
    await client.v1.payment_methods.attach_async(method.id, params={"customer": customer.id})
    await client.v1.customers.update_async(
        customer.id, params={"invoice_settings": {"default_payment_method": method.id}}
    )
    product = await client.v1.products.create_async(params={"name": "Pro"})
    price = await client.v1.prices.create_async(
        params={"currency": "usd", "unit_amount": amount, "recurring": {"interval": "month"}, "product": product.id}
    )
    subscription = await client.v1.subscriptions.create_async(
        params={"customer": customer.id, "items": [{"price": price.id}], "metadata": {"plan": "pro"}}
    )
    return Account(customer.id, method.id, price.id, subscription.id)


async def failed_invoice(sim: SimulatorControl, client: stripe.StripeClient, *outcomes: str) -> tuple[Account, str]:
    """A subscribed customer whose next period was declined once; later attempts answer by `outcomes`."""
    account = await subscribe(client)
    await sim.set_issuer(account.method, {"script": ["insufficient_funds", *outcomes]})
    invoice = await sim.cycle(account.subscription)
    return account, str(invoice["id"])


@dataclass
class Receiver:
    """A webhook receiver: keeps what came and answers with `statuses` in turn (200 when they are used up)."""

    url: str
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.read())
        self.headers.append(dict(request.headers))
        return web.Response(status=self.statuses.pop(0) if self.statuses else 200)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver("")
    application = web.Application()
    application.router.add_post("/", made.take)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    yield made
    await runner.cleanup()
