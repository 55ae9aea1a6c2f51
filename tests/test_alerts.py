"""Every alert is seen firing once: a story happens, processes show their numbers, Prometheus' own promtool evaluates.

What is asserted is the whole set that fires, so that an alert that fires beside the right one is noticed too.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from sqlmodel import text
from temporalio import workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from models import holds
from models.database import Database
from models.tables import EffectRow, InboxEvent, wall
from tests.promtool import Alert, Scrape, firing
from tests.town import Town, fresh_database
from tests.web.events import SECRET, encoded, event, signed
from tests.web.serving import serving
from tests.workers.test_doctor import patient
from tests.workers.test_metrics_port import free_port, polled
from web.app import WebSettings, create_app
from web.metrics import WebMetrics
from web.webhooks import StripeEndpoint
from workers import schedules
from workers.metrics_port import SdkMetrics, text_of
from workers.relay_metrics import RelayMetrics
from workers.settings import Settings
from workers.temporal_process import Server

LOOPS = ("relay", "settler", "sweep")
LOOPS_AT, SCANS_AT = "holdfast_last_success_timestamp_seconds", "holdfast_scan_last_success_timestamp_seconds"
ALIVE = "process_open_fds 9\n"
MINUTES, HOURS, DAYS = (timedelta(**{unit: 1}) for unit in ("minutes", "hours", "days"))


@pytest.fixture
async def database(migrated: Path, tmp_path: Path) -> AsyncIterator[Database]:
    opened = Database(fresh_database(migrated, tmp_path))
    yield opened
    await opened.close()


async def web_shows(database: Database) -> Scrape:
    return Scrape("holdfast-web", (await WebMetrics().text(database)).decode())


def relay_metrics() -> RelayMetrics:
    """Of a relay whose loops got through just now."""
    metrics = RelayMetrics()
    for loop in LOOPS:
        metrics.succeeded(loop)
    return metrics


async def relay_shows(metrics: RelayMetrics | None = None, **older: timedelta) -> Scrape:
    said = (await text_of((metrics or well()).registry)()).decode()
    return Scrape("holdfast-relay", said, older=older)


def well() -> RelayMetrics:
    """Of a relay that has looked at a Temporal in good health."""
    metrics = relay_metrics()
    metrics._reachable.set(1)
    for kind in ("workflow", "activity"):
        metrics._pollers.labels(kind).set(2)
    return metrics


WORKER = Scrape("holdfast-worker", ALIVE)


def a_fact(number: int, **columns: Any) -> InboxEvent:
    known = {"type": "invoice.payment_failed", "account_id": "cus_1", "occurred_at": wall(), "body": b"{}"}
    return InboxEvent(source="stripe", event_id=f"evt_{number}", **{**known, **columns})


def an_effect(kind: str, state: str, age: timedelta) -> EffectRow:
    claimed = wall() - age
    return EffectRow(
        key=f"payment-failure/in_1/{kind}/1",
        case_id="payment-failure/in_1",
        account_id="cus_1",
        playbook="payment-failure",
        step="s",
        kind=kind,
        title="t",
        state=state,
        at=wall(),
        wall_claimed_at=claimed,
    )


async def plant(database: Database, *rows: Any) -> None:
    async with database.writing() as session:
        session.add_all(rows)


# Without a server.


async def test_a_healthy_installation_is_silent_for_two_days(database: Database, tmp_path: Path) -> None:
    relay = await relay_shows(well(), **{LOOPS_AT: -3 * DAYS})
    assert firing(tmp_path, [await web_shows(database), relay, WORKER], 2 * DAYS) == set()


async def test_a_stopped_relay_with_facts_waiting(database: Database, tmp_path: Path) -> None:
    await plant(database, a_fact(1, wall_received_at=wall() - 10 * MINUTES))
    shown = [await web_shows(database), WORKER]
    assert firing(tmp_path, shown, 4 * MINUTES) == {("HoldfastRelayMissing",), ("HoldfastFactsNotDelivered", "stripe")}
    assert firing(tmp_path, shown, 1 * MINUTES) == set(), "a deploy is no outage"


async def test_no_receiver_and_no_worker(tmp_path: Path) -> None:
    assert firing(tmp_path, [await relay_shows()], 4 * MINUTES) == {("HoldfastWebMissing",), ("HoldfastWorkerMissing",)}


async def test_a_dead_fact_a_parked_one_and_one_that_has_time(database: Database, tmp_path: Path) -> None:
    rows = [a_fact(1, state="dead"), a_fact(2, state="parked"), a_fact(3, wall_next_try_at=wall() + HOURS)]
    await plant(database, *rows)
    shown = [await web_shows(database), await relay_shows(), WORKER]
    assert firing(tmp_path, shown, 10 * MINUTES) == {("HoldfastFactsDead",)}
    stood = [
        await web_shows(database),
        await relay_shows(well(), **{LOOPS_AT: -7 * HOURS}),
        WORKER,
    ]
    assert firing(tmp_path, stood, 7 * HOURS) == {("HoldfastFactsDead",), ("HoldfastFactsParked",)}
    later = [
        await web_shows(database),
        await relay_shows(well(), **{LOOPS_AT: -26 * HOURS}),
        WORKER,
    ]
    assert firing(tmp_path, later, 25 * HOURS) == {("HoldfastFactsParked",)}, "a day later it is no news"


async def test_a_mail_in_doubt_too_long_and_a_claim_that_nobody_looks_after(database: Database, tmp_path: Path) -> None:
    mail, debit = an_effect("email", "in_doubt", 4 * HOURS), an_effect("charge", "in_doubt", 9 * DAYS)
    await plant(database, mail, debit, an_effect("set_access", "claimed", 40 * MINUTES))
    shown = [await web_shows(database), await relay_shows(), WORKER]
    expected: set[Alert] = {("HoldfastEffectInDoubt", "email"), ("HoldfastEffectStuck", "set_access")}
    assert firing(tmp_path, shown, 10 * MINUTES) == expected


async def test_a_debit_in_doubt_for_more_than_two_weeks(database: Database, tmp_path: Path) -> None:
    await plant(database, an_effect("charge", "in_doubt", 15 * DAYS))
    shown = [await web_shows(database), await relay_shows(), WORKER]
    assert firing(tmp_path, shown, 10 * MINUTES) == {("HoldfastEffectInDoubt", "charge")}


async def test_the_stop_switch(database: Database, tmp_path: Path) -> None:
    async with database.writing() as session:
        await holds.place(session, "all", "", "ana")
        await holds.place(session, "playbook", "renewal", "ana")
        await holds.place(session, "account", "cus_1", "ana")
    relay = await relay_shows(well(), **{LOOPS_AT: -26 * HOURS})
    shown = [await web_shows(database), relay, WORKER]
    assert firing(tmp_path, shown, 10 * MINUTES) == set(), "it is for using it"
    assert firing(tmp_path, shown, 20 * MINUTES) == {("HoldfastEverythingOnHold",)}
    assert firing(tmp_path, shown, 25 * HOURS) == {("HoldfastEverythingOnHold",), ("HoldfastPlaybookOnHold", "renewal")}
    async with database.writing() as session:
        await holds.release(session, "all", "", "ana")
        await holds.release(session, "playbook", "renewal", "ana")
    assert firing(tmp_path, [await web_shows(database), relay, WORKER], 25 * HOURS) == set()


async def answers(database: Database, *headers: Callable[[bytes], dict[str, str]]) -> Scrape:
    """What a receiver shows before and after it was sent one event for each."""
    metrics = WebMetrics()
    app = create_app(database, WebSettings(StripeEndpoint((SECRET,)), "a-secret-for-links", metrics=metrics))
    before = (await metrics.text(database)).decode()
    async with serving(app) as port, aiohttp.ClientSession() as client:
        for header in headers:
            body = encoded(event())
            url = f"http://127.0.0.1:{port}/webhooks/stripe"
            async with client.post(url, data=body, headers=header(body)) as answer:
                await answer.read()
    return Scrape("holdfast-web", before, (await metrics.text(database)).decode())


def by_stripe(body: bytes) -> dict[str, str]:
    return {"Stripe-Signature": signed(body).decode()}


def by_somebody(body: bytes) -> dict[str, str]:
    return {"Stripe-Signature": "t=1,v1=00"}


async def test_a_secret_that_changed_at_stripe_and_not_here(database: Database, tmp_path: Path) -> None:
    refused = await answers(database, by_somebody, by_somebody, by_stripe)
    shown = [refused, await relay_shows(well(), **{LOOPS_AT: -1 * HOURS}), WORKER]
    assert firing(tmp_path, shown, 40 * MINUTES) == {("HoldfastReceiverRefuses", "/webhooks/stripe")}
    mostly = [await answers(database, by_somebody, by_stripe, by_stripe), await relay_shows(), WORKER]
    assert firing(tmp_path, mostly, 14 * MINUTES) == set(), "somebody knocks at every door"


async def test_a_database_that_is_away(database: Database, tmp_path: Path) -> None:
    async with database.writing() as session:
        await session.exec(text("DROP TABLE inbox"))  # type: ignore[call-overload]
    shown = [await answers(database, by_stripe), await relay_shows(), WORKER]
    assert firing(tmp_path, shown, 12 * MINUTES) == {("HoldfastDatabaseAway",), ("HoldfastReceiverFails",)}


async def test_a_receiver_that_is_slow(database: Database, tmp_path: Path) -> None:
    metrics = WebMetrics()
    before = (await metrics.text(database)).decode()
    metrics.answered("/webhooks/stripe", 200, 7.0)
    slow = Scrape("holdfast-web", before, (await metrics.text(database)).decode())
    assert firing(tmp_path, [slow, await relay_shows(), WORKER], 14 * MINUTES) == {("HoldfastReceiverSlow",)}


async def test_a_sweep_that_does_not_get_through(database: Database, tmp_path: Path) -> None:
    metrics = well()
    metrics._now = lambda: wall() - 4 * HOURS
    metrics.succeeded("sweep")
    shown = [await web_shows(database), await relay_shows(metrics), WORKER]
    assert firing(tmp_path, shown, 8 * MINUTES) == {("HoldfastRelayLoopLate", "sweep")}


# With a server.


async def test_temporal_is_down(place: Town, tmp_path: Path) -> None:
    metrics = relay_metrics()
    await polled(place, metrics)
    with free_port() as port:
        nobody = await Client.connect(f"127.0.0.1:{port}", lazy=True)
    await metrics.look(nobody, place.task_queue)
    shown = [await web_shows(place.database), await relay_shows(metrics), WORKER]
    assert firing(tmp_path, shown, 5 * MINUTES) == {("HoldfastTemporalAway",)}


async def test_a_worker_that_asks_for_nothing(place: Town, tmp_path: Path) -> None:
    metrics = relay_metrics()
    metrics._now = lambda: wall() + 3 * MINUTES
    await metrics.look(place.client, place.task_queue)
    metrics._backlog_age.labels("workflow").set(400)
    shown = [await web_shows(place.database), await relay_shows(metrics), WORKER]
    assert firing(tmp_path, shown, 12 * MINUTES) == {
        ("HoldfastNoPollers", "activity"),
        ("HoldfastNoPollers", "workflow"),
        ("HoldfastBacklog", "workflow"),
    }


async def test_a_scan_that_came_through_two_days_ago_and_one_that_is_paused(place: Town, tmp_path: Path) -> None:
    metrics = relay_metrics()
    async with patient(place):
        await schedules.pause(place.client, "cards", "ana")
        await schedules.trigger(place.client, "usage")
        for _ in range(500):
            await metrics.look(place.client, place.task_queue)
            if metrics.registry.get_sample_value(SCANS_AT, {"scan": "usage"}):
                break
            await asyncio.sleep(0.05)
        await polled(place, metrics)
    web = await web_shows(place.database)
    assert firing(tmp_path, [web, await relay_shows(metrics), WORKER], 14 * MINUTES) == set()
    metrics_of_then = await relay_shows(metrics, **{SCANS_AT: 37 * HOURS, LOOPS_AT: -26 * HOURS})
    assert firing(tmp_path, [web, metrics_of_then, WORKER], 25 * HOURS) == {
        ("HoldfastScanLate", "usage"),
        ("HoldfastSchedulePaused", "cards"),
    }


@workflow.defn(name="broken")
class Broken:
    """A run whose code fails: it stays where it is, and is tried again."""

    @workflow.run
    async def run(self) -> None:
        raise RuntimeError("as after a change that does not replay")


async def test_runs_that_cannot_go_on(temporal: Server, database: Database, tmp_path: Path) -> None:
    sdk = SdkMetrics(Settings(_env_file=None, metrics_port=1))
    client = await Client.connect(temporal.address, runtime=sdk.runtime)
    before = (await sdk.text()).decode()
    async with Worker(client, task_queue="broken", workflows=[Broken], workflow_runner=UnsandboxedWorkflowRunner()):
        run = await client.start_workflow("broken", id="broken", task_queue="broken")
        while "temporal_workflow_task_execution_failed_total{" not in (shown := (await sdk.text()).decode()):
            await asyncio.sleep(0.02)
        await run.terminate()
    broken = Scrape("holdfast-worker", before, shown)
    everything = [await web_shows(database), await relay_shows(), broken]
    assert firing(tmp_path, everything, 14 * MINUTES) == {("HoldfastRunsStuck", "broken")}
