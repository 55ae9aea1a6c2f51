"""METRICS_PORT of each process: what a relay saw and carried, what a worker's gate decided, and the SDK's own."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from temporalio.client import Client
from temporalio.runtime import MetricBuffer, MetricBufferDurationFormat, Runtime, TelemetryConfig
from temporalio.testing import ActivityEnvironment

from models.contact_rows import Hold
from models.scans import SCANS
from models.tables import InboxEvent, wall
from simulator.running import SimulatorControl
from tests.activities.test_lost_answers import batch, case_of, charge, mail
from tests.town import WEBHOOK_SECRET, Town
from tests.web.test_metrics import figures
from tests.workers.test_doctor import patient
from workers import schedules
from workers.metrics_port import SdkMetrics, metrics_served, text_of
from workers.processes import run_relay, run_web, run_worker
from workers.relay import Relay
from workers.relay_metrics import RelayMetrics
from workers.routing import Router
from workers.settings import Settings
from workers.temporal_process import Server


@contextlib.contextmanager
def free_port() -> Iterator[int]:
    """A port that is kept from others until the block ends."""
    with socket.socket() as kept:
        kept.bind(("127.0.0.1", 0))
        yield int(kept.getsockname()[1])


async def shown(metrics: RelayMetrics) -> dict[str, float]:
    """A relay's figures."""
    return figures((await text_of(metrics.registry)()).decode())


def relay_of(place: Town, metrics: RelayMetrics) -> Relay:
    """The town's relay, as the process makes it."""
    router = Router(place.policy)
    return Relay(
        place.database,
        place.client,
        router,
        place.billing.customer_of_charge,
        learn_account=place.billing.learn_account,
        task_queue=place.task_queue,
        metrics=metrics,
    )


async def polled(place: Town, metrics: RelayMetrics) -> None:
    """Look until Temporal has noticed the town's worker, which has only just begun."""
    for _ in range(200):
        await metrics.look(place.client, place.task_queue)
        said = await shown(metrics)
        if said["task_queue_pollers workflow"] and said["task_queue_pollers activity"]:
            return
        await asyncio.sleep(0.02)


def inbox_row(number: int, source: str, kind: str, account: str) -> InboxEvent:
    return InboxEvent(
        source=source, event_id=f"e{number}", type=kind, kind=kind, account_id=account, occurred_at=wall(), body=b"{}",
        wall_received_at=wall() - timedelta(seconds=40),
    )  # fmt: skip


async def test_t1_19_a_relay_counts_what_it_brought_to_an_end_and_how_long_it_took(place: Town) -> None:
    metrics = RelayMetrics()
    place.relay = relay_of(place, metrics)
    await place.payment_fails("insufficient_funds")
    applied = len([row for row in await place.rows(InboxEvent, source="stripe") if row.state == "applied"])
    async with place.database.writing() as session:
        session.add(inbox_row(1, "events", "user.signed_up", "nobody-knows-me"))
        session.add(inbox_row(2, "stripe", "charge.refunded", "cus_nobody"))
    await place.arrive()
    said = await shown(metrics)
    assert said["relay_facts_total stripe applied"] == applied + 1
    assert said["relay_facts_total events parked"] == 1
    assert said["relay_lag_seconds_count stripe"] == applied + 1
    assert metrics.registry.get_sample_value("holdfast_relay_lag_seconds_bucket", {"source": "stripe", "le": "30.0"})
    slow = metrics.registry.get_sample_value("holdfast_relay_lag_seconds_sum", {"source": "stripe"})
    assert slow is not None and slow >= 40


async def test_t2_6_a_relay_sees_pollers_and_the_scans_schedules(place: Town) -> None:
    later = RelayMetrics(now=lambda: wall() + timedelta(minutes=3))
    now = RelayMetrics()
    async with patient(place):
        await schedules.pause(place.client, "usage", "ana")
        await schedules.remove(place.client, "cards")
        await polled(place, now)
        await later.look(place.client, place.task_queue)
    said = await shown(now)
    assert said["temporal_reachable"] == 1
    assert (said["task_queue_pollers workflow"], said["task_queue_pollers activity"]) == (1, 1)
    assert (said["task_queue_backlog workflow"], said["task_queue_backlog_age_seconds workflow"]) == (0, 0)
    states = {name.removeprefix("schedule ") for name, value in said.items() if name.startswith("schedule ") and value}
    others = {f"{which} active" for which in SCANS if which not in ("usage", "cards")}
    assert states == {"usage paused", "cards none", *others}
    silent = await shown(later)
    assert (silent["task_queue_pollers workflow"], silent["task_queue_pollers activity"]) == (0, 0)


async def test_t1_19_a_temporal_that_is_away_is_a_number_and_what_was_seen_stays(place: Town) -> None:
    metrics = RelayMetrics()
    await polled(place, metrics)
    with free_port() as port:
        nobody = await Client.connect(f"127.0.0.1:{port}", lazy=True)
    await metrics.look(nobody, place.task_queue)
    said = await shown(metrics)
    assert (said["temporal_reachable"], said["task_queue_pollers workflow"]) == (0, 1)


@contextlib.contextmanager
def counting() -> Iterator[tuple[ActivityEnvironment, MetricBuffer]]:
    """An activity's surroundings whose meter we can read."""
    buffer = MetricBuffer(10_000, MetricBufferDurationFormat.SECONDS)
    runtime = Runtime(telemetry=TelemetryConfig(metrics=buffer))
    surroundings = ActivityEnvironment()
    surroundings.metric_meter = runtime.metric_meter
    yield surroundings, buffer


OF_THE_SDK = {"activity_type", "namespace", "service_name", "task_queue"}


def counted(buffer: MetricBuffer) -> dict[str, int]:
    """What was counted, by name and labels."""
    found: dict[str, int] = {}
    for update in buffer.retrieve_updates():
        labels = {name: str(value) for name, value in update.attributes.items() if name not in OF_THE_SDK}
        assert labels.pop("playbook") == "payment-failure"
        name = " ".join([update.metric.name.removeprefix("holdfast_"), *(labels[each] for each in sorted(labels))])
        found[name] = found.get(name, 0) + int(update.value)
    return found


async def test_p0_9_what_the_gate_decides_and_how_effects_end_is_counted_once(place: Town) -> None:
    person = await case_of(place, "insufficient_funds", "stolen_card", "ok")
    wanted = batch(person, charge(person), mail(person))
    with counting() as (surroundings, buffer):
        await surroundings.run(place.effects.carry_out, wanted)
        await surroundings.run(place.effects.carry_out, wanted)  # another try finds all settled
        said = counted(buffer)
        rules = {name.split()[-1] for name in said if name.startswith("gate_decisions go email")}
        assert said == {
            "gate_decisions go charge none": 1,
            "effects charge refused": 1,
            f"gate_decisions go email {rules.pop()}": 1,
            "effects email done": 1,
        }


async def test_p0_17_what_the_stop_switch_holds_back_is_counted_as_waiting(place: Town) -> None:
    person = await case_of(place, "insufficient_funds", "ok")
    async with place.database.writing() as session:
        session.add(Hold(scope="all", placed_by="ana"))
    with counting() as (surroundings, buffer):
        await surroundings.run(place.effects.carry_out, batch(person, charge(person)))
        assert counted(buffer) == {"gate_decisions wait charge on_hold": 1}


@asynccontextmanager
async def until_told(*works: Any) -> AsyncIterator[None]:
    """Processes of ours as tasks; each takes the event that stops it."""
    stop = asyncio.Event()
    running = [asyncio.create_task(work(stop)) for work in works]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*running)


async def page(port: int, path: str = "/metrics") -> str:
    """A page of a process that may only be starting."""
    async with aiohttp.ClientSession() as client:
        for _ in range(2000):
            with contextlib.suppress(aiohttp.ClientConnectorError):
                async with client.get(f"http://127.0.0.1:{port}{path}") as answer:
                    assert answer.status == 200
                    return await answer.text()
            await asyncio.sleep(0.01)
    raise AssertionError(f"nobody listens on {port}")


async def test_a_port_that_is_taken_is_said_at_the_start() -> None:
    with free_port() as port:
        settings = Settings(_env_file=None, metrics_port=port)
        with pytest.raises(RuntimeError, match=f"METRICS_PORT {port} at METRICS_HOST 127.0.0.1 cannot be opened: "):
            async with metrics_served(settings):
                raise AssertionError("unreachable")


async def test_a_core_that_does_not_answer_leaves_the_rest_to_be_seen() -> None:
    with free_port() as port:
        sdk = SdkMetrics(Settings(_env_file=None, metrics_port=1))
        sdk._url = f"http://127.0.0.1:{port}/metrics"
        assert await sdk.text() == b""


async def test_each_process_shows_its_numbers_on_one_port(
    temporal: Server, client: Client, the_simulator: SimulatorControl, database_url: str, tmp_path: Path
) -> None:
    with free_port() as web, free_port() as relay, free_port() as worker, free_port() as pages:
        ports = {"web": web, "relay": relay, "worker": worker}

    def settings(process: str) -> Settings:
        return Settings(
            _env_file=None,
            database_url=database_url,
            stripe_api_key="sk_test_town",
            stripe_api_base=the_simulator.url,
            stripe_webhook_secrets=WEBHOOK_SECRET,
            link_secret="0123456789abcdef",
            temporal_address=temporal.address,
            holdfast_port=pages,
            metrics_port=ports[process],
        )

    works = (
        lambda stop: run_web(settings("web"), stop),
        lambda stop: run_relay(settings("relay"), stop),
        lambda stop: run_worker(settings("worker"), stop),
    )
    try:
        async with until_told(*works):
            said = {name: await page(port) for name, port in ports.items()}
            assert {await page(port, "/healthz") for port in ports.values()} == {"ok\n"}
            while "holdfast_temporal_reachable 1.0" not in said["relay"] or 'loop="sweep"' not in said["relay"]:
                await asyncio.sleep(0.05)
                said["relay"] = await page(ports["relay"])
            while "temporal_num_pollers" not in said["worker"]:
                await asyncio.sleep(0.05)
                said["worker"] = await page(ports["worker"])
            (tmp_path / "said").write_text("\n".join(said.values()))
    finally:
        for which in ("usage", "renewals", "cards"):
            await schedules.remove(client, which)
    assert all("process_resident_memory_bytes" in each for each in said.values())
    assert "holdfast_inbox_undelivered" in said["web"] and "temporal_" not in said["web"].replace("temporal_r", "")
    loops = {name for name in figures(said["relay"]) if name.startswith("last_success")}
    assert loops == {f"last_success_timestamp_seconds {loop}" for loop in ("relay", "settler", "sweep")}
    assert "temporal_request_latency_seconds_bucket" in said["relay"]
    assert "temporal_worker_task_slots_available" in said["worker"]
