"""`holdfast demo`: a month of failed payments in a minute, everything real but the outside world and the calendar."""

import asyncio
import contextlib
import json
import secrets
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import aiohttp
from rich.console import Console
from sqlmodel import col, func, select
from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.testing import TimeSkipper, TimeSkippingConfig

from activities.billing import close_stripe_client, stripe_client
from models.database import Database
from models.tables import CaseRow, InboxEvent
from simulator.population import DAY_S, Population
from simulator.running import SimulatorControl
from workers import migrate
from workers.connect import connect
from workers.demo_report import Figures, Progress, figures, table
from workers.processes import told_to_stop
from workers.secret_files import secrets_of
from workers.settings import Settings
from workers.supervisor import Child, children
from workers.temporal_process import Server, running_server
from workers.temporal_server import find
from workflows.visible import SEARCH_ATTRIBUTES

HOME: Final = Path(".holdfast/demo")
KILLED_ON: Final = 7
PAPER: Final = 110
"""Columns where there is no terminal to ask."""
MANNERS: Final = {
    "duplicate": 0.15,
    "out_of_order": 0.2,
    "lost": 0.03,
    "delay_seconds": [0.0, 0.03],
    "hold_seconds": 0.5,
}
MAIL_MANNERS: Final = {"duplicate": 0.1, "out_of_order": 0.2, "lost": 0.03}
AT_ONCE: Final = 12


@dataclass
class Stage:
    """Everything that runs, and the hands of the director."""

    client: Client
    skipper: TimeSkipper
    simulator: SimulatorControl
    database: Database
    population: Population
    worker: Child
    temporal: Server
    web_url: str


async def play(*, customers: int, seed: int, days: int, stay: bool) -> int:
    """Play the month. The exit code: 0 if nobody was charged twice, written to after paying, and no event was lost."""
    console = Console(stderr=True, width=PAPER) if not sys.stdout.isatty() else Console()
    stop = told_to_stop()
    async with _stage(seed, console) as stage:
        started = time.monotonic()  # getting a Temporal server may take minutes, once
        _say_where(console, stage)
        await stage.population.settle_in(customers)
        counters = await _month(stage, console, stop, days)
        if stop.is_set():
            return 130
        found = await figures(stage.database, stage.simulator, stage.population, counters)
        found.seconds = round(time.monotonic() - started, 1)
        found.worker_killed = stage.worker.restarts
        Console(width=None if sys.stdout.isatty() else PAPER).print(table(found))
        _complain(console, found)
        sys.stdout.write(json.dumps(found.as_json()) + "\n")
        sys.stdout.flush()
        if stay:
            _say_where(console, stage)
            console.print("All of it stays up to look at. Ctrl-C ends it.")
            await stop.wait()
    return 0 if found.clean else 1


def _say_where(console: Console, stage: Stage) -> None:
    console.print(
        f"Runs in Temporal's Web UI: {stage.temporal.ui_url}   Cases: {stage.web_url}/cases   "
        f"Mails: {stage.simulator.url}/mailbox"
    )


def _complain(console: Console, found: Figures) -> None:
    for sentence in found.complaints:
        console.print(f"[red]{sentence}[/]")


@asynccontextmanager
async def _stage(seed: int, console: Console) -> AsyncIterator[Stage]:
    HOME.mkdir(parents=True, exist_ok=True)
    for old in HOME.glob("holdfast.db*"):
        old.unlink()
    log = HOME / "holdfast.log"
    log.write_bytes(b"")
    found = await find(need_time_skipping=True)
    console.print(f"{found}")
    async with contextlib.AsyncExitStack() as stack:
        temporal = await stack.enter_async_context(
            running_server(found, ui_port=0, search_attributes=SEARCH_ATTRIBUTES, skip_time=True, fast_timers=True)
        )
        simulator_url = await stack.enter_async_context(_simulator_process(seed))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        simulator = SimulatorControl(simulator_url, session)
        settings = _settings(temporal, simulator_url, (await simulator.sendgrid())["public_key"])
        env = environment_of(settings)
        database = Database(settings.database_url)
        stack.push_async_callback(database.close)
        await migrate.upgrade(database)
        worker = Child("worker", ["-m", "workers", "worker"], env, log)
        web = Child("web", ["-m", "workers", "web", "--temporal-ui", temporal.ui_url or ""], env, log)
        relay = Child("relay", ["-m", "workers", "relay"], env, log)
        await stack.enter_async_context(children(web, relay, worker))
        await _answers(session, f"{settings.public_url}/healthz")
        await simulator.webhook_endpoint(f"{settings.public_url}/webhooks/stripe", settings.webhook_secrets[0])
        await simulator.webhooks(**MANNERS)
        await simulator.sendgrid(event_url=f"{settings.public_url}/webhooks/sendgrid", **MAIL_MANNERS)
        stripe = stripe_client(settings.stripe_api_key.get_secret_value(), simulator_url)
        stack.push_async_callback(close_stripe_client, stripe)
        client = await connect(settings)
        skipper = TimeSkipper(client, config=TimeSkippingConfig(enabled=False))
        population = Population(simulator, stripe, seed)
        yield Stage(client, skipper, simulator, database, population, worker, temporal, settings.public_url)


def _settings(temporal: Server, simulator_url: str, mail_key: str) -> Settings:
    port = _free_port()
    return Settings(
        database_url=f"sqlite:///{HOME}/holdfast.db",
        stripe_api_key="sk_test_demo",
        stripe_api_base=simulator_url,
        stripe_webhook_secrets=f"whsec_{secrets.token_hex(16)}",
        sendgrid_api_key="SG.demo",
        sendgrid_api_base=simulator_url,
        sendgrid_webhook_public_key=mail_key,
        product_webhook_url=f"{simulator_url}/product/access",
        product_webhook_secret="whsec_ZGVtbw==",  # noqa: S106 - for the pretend product
        public_url=f"http://127.0.0.1:{port}",
        link_secret=secrets.token_hex(16),
        holdfast_port=port,
        temporal_address=temporal.address,
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
        holdfast_sweep_s=3,
    )


def environment_of(settings: Settings) -> dict[str, str]:
    """The settings as the environment of a process of ours."""
    plain = settings.model_dump()
    out = {}
    for name, value in plain.items():
        secret = value.get_secret_value() if hasattr(value, "get_secret_value") else value
        out[name.upper()] = "" if secret is None else str(secret)
    # What a file held stands here as it is; the child must not find it said twice.
    return out | {f"{name}_FILE".upper(): "" for name in secrets_of(Settings)}


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def _simulator_process(seed: int) -> AsyncIterator[str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "simulator", "--port", "0", "--seed", str(seed)),
        stdout=asyncio.subprocess.PIPE,
        stdin=asyncio.subprocess.DEVNULL,
    )
    if process.stdout is None:
        raise RuntimeError("the simulator has no output")
    line = await asyncio.wait_for(process.stdout.readline(), 30)
    try:
        yield str(json.loads(line)["url"])
    finally:
        process.terminate()
        await process.wait()


async def _answers(session: aiohttp.ClientSession, url: str) -> None:
    for _ in range(600):
        with contextlib.suppress(aiohttp.ClientError):
            async with session.get(url) as answer:
                if answer.status == 200:
                    return
        await asyncio.sleep(0.1)
    raise RuntimeError(f"{url} does not answer; the reason stands in {HOME}/holdfast.log")


async def _month(stage: Stage, console: Console, stop: asyncio.Event, days: int) -> dict[str, Any]:
    """Let the days pass: what customers do, then every run's clock, then what came of it."""
    await stage.population.invoices_fall_due()
    await _quiet(stage)
    with Progress(console, days) as progress:
        passed = 0.0
        for day in [0.1, *(number + 0.5 for number in range(days))]:
            if stop.is_set():
                break
            await stage.population.live_until(day)
            await _quiet(stage)
            step = (day - passed) * DAY_S
            await stage.simulator.advance(step)
            killing = asyncio.create_task(_kill(stage)) if int(day) == KILLED_ON else None
            await _all_clocks(stage, timedelta(seconds=step))
            if killing:
                await killing
            await _quiet(stage)
            passed = day
            await progress.show(day, stage.database)
    counters: dict[str, Any] = await stage.simulator.settled()
    await _quiet(stage)
    return counters


async def _kill(stage: Stage) -> None:
    """Kill the worker while steps are under way."""
    await asyncio.sleep(0.3)
    stage.worker.kill()


async def _all_clocks(stage: Stage, amount: timedelta) -> None:
    async with stage.database.reading() as session:
        open_cases = (await session.exec(select(CaseRow.id).where(col(CaseRow.ended).is_(False)))).all()
    limit = asyncio.Semaphore(AT_ONCE)

    async def one(case: str) -> None:
        async with limit:
            # A run that has just ended has no clock any more.
            with contextlib.suppress(RPCError):
                await stage.skipper.fast_forward(stage.client.get_workflow_handle(case), amount)

    await asyncio.gather(*(one(case) for case in open_cases))


async def _quiet(stage: Stage) -> None:
    """Wait until every webhook has arrived and was carried on."""
    await stage.simulator.settled()
    while True:
        async with stage.database.reading() as session:
            statement = select(func.count()).select_from(InboxEvent).where(InboxEvent.state == "pending")
            if (await session.exec(statement)).one() == 0:
                break
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.05)
