"""Run the simulator in a thread of this process and steer it over HTTP, for tests and the demo."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import uvicorn
from starlette.types import ASGIApp

from simulator.app import Simulator
from simulator.attio_api import AttioApi
from simulator.faults import CuttableProtocol
from simulator.hubspot_api import HubSpotApi
from simulator.world import World

Json = dict[str, Any]


class ControlError(Exception):
    """The control plane refused; `status` is its HTTP status."""

    def __init__(self, status: int, body: Json) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status


class SimulatorControl:
    """Steers a running simulator. Only `world` needs it in this process; all acts go over HTTP."""

    def __init__(self, url: str, session: aiohttp.ClientSession, simulator: Simulator | None = None) -> None:
        self.url = url
        self._session = session
        self._simulator = simulator

    @property
    def world(self) -> World:
        """The state itself, to read only (it lives in another thread)."""
        return self._here.world

    @property
    def _here(self) -> Simulator:
        if self._simulator is None:
            raise RuntimeError("the simulator runs in another process")
        return self._simulator

    @property
    def attio(self) -> AttioApi:
        """The pretend Attio: its state, and what other people do there."""
        return self._here.attio

    @property
    def hubspot(self) -> HubSpotApi:
        """The pretend HubSpot: its state, and what other people do there."""
        return self._here.hubspot

    async def call(self, method: str, path: str, **body: Any) -> Any:
        """Any control call, e.g. call("POST", "settings", legacy_shapes=True)."""
        async with self._session.request(method, f"{self.url}/_sim/{path}", json=body or None) as answer:
            decoded = await answer.json(content_type=None)
            if answer.status != 200:
                raise ControlError(answer.status, decoded)
            return decoded

    async def settled(self) -> Json:
        """Wait until all webhooks are delivered or given up; returns the webhook counters."""
        counters: Json = await self.call("POST", "settle")
        return counters

    async def state(self) -> Json:
        """Counts, settings and counters."""
        found: Json = await self.call("GET", "state")
        return found

    async def ledger(self) -> list[Json]:
        """All charge attempts, oldest first."""
        attempts: list[Json] = (await self.call("GET", "ledger"))["attempts"]
        return attempts

    async def received(self) -> dict[str, int]:
        """Money that arrived, by invoice, in minor units."""
        money: dict[str, int] = (await self.call("GET", "ledger"))["received"]
        return money

    async def reset(self, seed: int | None = None) -> None:
        """Empty the world."""
        await self.call("POST", "reset", **({} if seed is None else {"seed": seed}))

    async def advance(self, seconds: float) -> int:
        """Move the clock; returns how many own attempts Stripe made on the way."""
        attempts: int = (await self.call("POST", "clock", advance=seconds))["attempts"]
        return attempts

    async def set_clock(self, unix: int) -> int:
        """Set the clock; returns how many own attempts Stripe made on the way."""
        attempts: int = (await self.call("POST", "clock", set=unix))["attempts"]
        return attempts

    async def add_fault(self, kind: str, path: str, **details: Any) -> None:
        """Add one fault rule (see faults.py)."""
        await self.call("POST", "faults", rules=[{"kind": kind, "path": path, **details}])

    async def clear_faults(self) -> None:
        """Drop all fault rules."""
        await self.call("DELETE", "faults")

    async def set_issuer(self, payment_method: str, behaviour: Json) -> None:
        """Let a card answer by `behaviour` (see issuer.py)."""
        await self.call("POST", "issuer", payment_method=payment_method, behaviour=behaviour)

    async def webhook_endpoint(
        self, url: str, secret: str | None = None, enabled_events: list[str] | None = None
    ) -> Json:
        """Make a Stripe webhook endpoint for all events by default; returns it with its secret."""
        optional = {"secret": secret, "enabled_events": enabled_events}
        body = {key: value for key, value in optional.items() if value is not None}
        made: Json = await self.call("POST", "webhook_endpoints", url=url, **body)
        return made

    async def webhooks(self, **manners: Any) -> None:
        """Change how webhooks are delivered (see webhooks.Manners)."""
        await self.call("POST", "webhooks", **manners)

    async def settings(self, **changes: Any) -> None:
        """Change world settings (see world.Settings)."""
        await self.call("POST", "settings", **changes)

    async def cycle(self, subscription: str) -> Json:
        """The next billing period begins; returns the invoice after Stripe's first attempt."""
        invoice: Json = await self.call("POST", "cycle", subscription=subscription)
        return invoice

    async def replace_card(self, customer: str, **card: Any) -> Json:
        """The customer stores a new default card ({number, behaviour}); returns the payment method."""
        method: Json = await self.call("POST", "customer/replace_card", customer=customer, **card)
        return method

    async def customer_pays(self, invoice: str, **how: Any) -> Json:
        """The customer pays ({number, behaviour, amount}); returns {invoice, payment_intent, paid}."""
        result: Json = await self.call("POST", "customer/pay", invoice=invoice, **how)
        return result

    async def bank_answers(self, invoice: str, outcome: str = "ok") -> Json:
        """The bank answers a slow payment, "ok" or a decline code; returns {invoice, payment_intent, paid}."""
        result: Json = await self.call("POST", "bank/answer", invoice=invoice, outcome=outcome)
        return result

    async def authenticate(self, invoice: str, success: bool = True) -> Json:
        """The customer confirms or fails 3-D Secure; returns {invoice, payment_intent, paid}."""
        result: Json = await self.call("POST", "customer/authenticate", invoice=invoice, success=success)
        return result

    async def mailbox(self) -> list[Json]:
        """All accepted mails, oldest first."""
        mails: list[Json] = (await self.call("GET", "mailbox"))["mails"]
        return mails

    async def sendgrid(self, **changes: Any) -> Json:
        """Change SendGrid settings, if any are given; returns them with the public key."""
        if changes:
            await self.call("POST", "sendgrid", **changes)
        found: Json = await self.call("GET", "sendgrid")
        return found

    async def release_mail_events(self) -> None:
        """Post the events that were held back."""
        await self.call("POST", "sendgrid/release")

    async def reader_does(self, event: str, to: str) -> Json:
        """Tell SendGrid's event (spamreport, unsubscribe, bounce ...) about the newest mail to an address."""
        told: Json = await self.call("POST", "sendgrid/reader", event=event, to=to)
        return told

    async def product_calls(self) -> list[Json]:
        """Access webhooks the customer's product got."""
        calls: list[Json] = (await self.call("GET", "product"))["calls"]
        return calls


@asynccontextmanager
async def simulator_running(seed: int = 1, port: int = 0) -> AsyncIterator[SimulatorControl]:
    """Serve the simulator on 127.0.0.1 in a thread until the block ends. Port 0 takes a free one."""
    simulator = Simulator(seed)
    listener = listening_socket(port)
    simulator.world.base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = uvicorn.Server(server_config(simulator))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="simulator", daemon=True)
    thread.start()
    try:
        while not server.started:
            if not thread.is_alive():
                raise RuntimeError("the simulator did not start")
            await asyncio.sleep(0.005)
        # On a busy machine the server may close an idle connection just when we pick it up again.
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
            yield SimulatorControl(simulator.world.base_url, session, simulator)
    finally:
        server.should_exit = True
        await asyncio.to_thread(thread.join)
        listener.close()


def listening_socket(port: int) -> socket.socket:
    """A TCP socket on 127.0.0.1; port 0 takes a free one.

    asyncio switches Nagle's delay off only for sockets that name their protocol; otherwise each answer takes 40 ms.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    return listener


def server_config(simulator: Simulator, app: ASGIApp | None = None) -> uvicorn.Config:
    """How the simulator, or `app` around it, is served; cut connections are meant and not logged as errors."""
    return uvicorn.Config(
        app or simulator.app,
        http=CuttableProtocol,
        log_level="critical",
        access_log=False,
        ws="none",
        timeout_graceful_shutdown=1,
    )
