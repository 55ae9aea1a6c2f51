"""Everything the cases run on, in real processes, wired through links that can be cut."""

import asyncio
import base64
import contextlib
import random
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
import stripe
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import TimeSkipper, TimeSkippingConfig

from activities.billing import close_stripe_client, stripe_client
from bench.chaos import witness
from bench.chaos.crowd import Sender
from bench.chaos.links import HOST, Link, free_port
from bench.chaos.parts import Ours, Part, PostgresPart, SimulatorPart, TemporalPart
from bench.chaos.postgres import Postgres
from bench.cluster.server import ClusterServer
from models.database import Database
from simulator.running import SimulatorControl
from workers import migrate
from workers.demo import environment_of
from workers.settings import Settings
from workers.supervisor import children
from workers.temporal_server import find

MANNERS: Final = {
    "duplicate": 0.1,
    "out_of_order": 0.15,
    "lost": 0.02,
    "delay_seconds": [0.0, 0.03],
    "hold_seconds": 0.5,
}
"""How webhooks are delivered, faults apart."""
SWEEP_S: Final = 60
SETTLE_S: Final = 15


@dataclass
class Stage:
    """What runs, and the director's own ways around the links."""

    client: Client
    skipper: TimeSkipper
    simulator: SimulatorControl
    stripe: stripe.StripeClient
    database: Database
    sender: Sender
    parts: dict[str, list[Part]]
    links: list[Link]
    ours: list[Ours]
    settings: Settings


@asynccontextmanager
async def stage(folder: Path, seed: int, shards: int = 0) -> AsyncIterator[Stage]:
    """Start everything in `folder`, and end it. With `shards` Temporal is the cluster's server, on PostgreSQL."""
    async with AsyncExitStack() as stack:
        postgres = Postgres(free_port())
        stack.push_async_callback(postgres.stop)
        simulator = SimulatorPart(folder, seed)
        stack.push_async_callback(simulator.stop)
        await asyncio.gather(postgres.start(), simulator.start())
        temporal: TemporalPart | ClusterServer
        if shards:
            temporal = ClusterServer(postgres, folder, shards)
        else:
            found = await find(need_time_skipping=True)
            temporal = TemporalPart(found, folder / "temporal.db", folder / "temporal.log")
        stack.push_async_callback(temporal.stop)
        await temporal.start()
        doors = [free_port(), free_port()]
        links = [
            Link("database", postgres.port),
            Link("temporal", temporal.port),
            Link("outside", simulator.port),
            Link("webhooks", *doors),
        ]
        for link in links:
            await link.start()
            stack.push_async_callback(link.stop)
        ports = {link.name: link.port for link in links}
        settings = _settings(postgres.url(ports["database"]), ports)
        database = Database(postgres.url(postgres.port))
        stack.push_async_callback(database.close)
        await migrate.upgrade(database)
        await witness.appoint(database)
        ours = _ours(settings, doors, folder / "holdfast.log")
        await stack.enter_async_context(children(*(each.child for each in ours)))
        # Without a pool: a connection that a killed server left behind is no use to a director.
        connector = aiohttp.TCPConnector(force_close=True)
        session = await stack.enter_async_context(
            aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=60))
        )
        api = stripe_client("sk_test_chaos", f"http://{HOST}:{simulator.port}")
        stack.push_async_callback(close_stripe_client, api)
        control = SimulatorControl(f"http://{HOST}:{simulator.port}", session)
        for door in doors:
            await _answers(session, f"http://{HOST}:{door}/healthz", folder)
        await control.webhook_endpoint(f"{settings.public_url}/webhooks/stripe", settings.webhook_secrets[0])
        await control.webhooks(**MANNERS)
        # An account that has bought the Email Activity API: what it shows settles most mails in doubt.
        await control.sendgrid(activity=True)
        client = await Client.connect(f"{HOST}:{temporal.port}", data_converter=pydantic_data_converter)
        sender = Sender(
            session, settings.public_url, settings.senders_secrets[0], settings.tokens[0], random.Random(seed + 7)
        )
        parts: dict[str, list[Part]] = {
            "worker": [each for each in ours if each.name == "worker"],
            "relay": [each for each in ours if each.name == "relay"],
            "receiver": [each for each in ours if each.name == "receiver"],
            "temporal": [temporal],
            "postgres": [PostgresPart(postgres)],
            "simulator": [simulator],
        }
        skipper = TimeSkipper(client, config=TimeSkippingConfig(enabled=False))
        yield Stage(client, skipper, control, api, database, sender, parts, links, ours, settings)


def _ours(settings: Settings, doors: list[int], log: Path) -> list[Ours]:
    env = environment_of(settings)
    ours = [Ours("receiver", ["web"], {**env, "HOLDFAST_PORT": str(door)}, log) for door in doors]
    return [*ours, *(Ours(name, [name], env, log) for name in ("relay", "relay", "worker", "worker"))]


def _settings(database_url: str, ports: dict[str, int]) -> Settings:
    outside = f"http://{HOST}:{ports['outside']}"
    return Settings(
        database_url=database_url,
        stripe_api_key="sk_test_chaos",
        stripe_api_base=outside,
        stripe_webhook_secrets=f"whsec_{secrets.token_hex(16)}",
        events_secrets="whsec_" + base64.b64encode(secrets.token_bytes(32)).decode(),
        api_tokens=secrets.token_hex(16),
        sendgrid_api_key="SG.chaos",
        sendgrid_api_base=outside,
        product_webhook_url=f"{outside}/product/access",
        product_webhook_secret="whsec_Y2hhb3M=",
        public_url=f"http://{HOST}:{ports['webhooks']}",
        link_secret=secrets.token_hex(16),
        # All the world comes from one address here.
        holdfast_webhooks_per_s=0,
        temporal_address=f"{HOST}:{ports['temporal']}",
        temporal_namespace="default",
        temporal_tls=False,
        temporal_tls_client_cert_path=None,
        temporal_tls_client_key_path=None,
        temporal_tls_server_ca_cert_path=None,
        temporal_tls_server_name="",
        temporal_api_key="",
        database_password="",
        metrics_port=0,
        holdfast_policy=None,
        holdfast_payload_keys="",
        holdfast_settle_s=SETTLE_S,
        holdfast_sweep_s=SWEEP_S,
    )


async def _answers(session: aiohttp.ClientSession, url: str, folder: Path) -> None:
    for _ in range(600):
        with contextlib.suppress(aiohttp.ClientError):
            async with session.get(url) as answer:
                if answer.status == 200:
                    return
        await asyncio.sleep(0.1)
    raise RuntimeError(f"{url} does not answer; the reason stands in {folder}/holdfast.log")
