"""What a relay counts, and what it sees of Temporal: pollers, backlogs, the daily scans. Shown on METRICS_PORT.

The receiver does not know Temporal and the worker may be the one that is gone, so it is the relay that looks.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client

from models.scans import SCANS
from models.tables import InboxEvent, wall
from workers import schedules

KINDS: Final = {
    "workflow": TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    "activity": TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
}
STATES: Final = ("active", "paused", "none")
POLLS: Final = timedelta(minutes=2)
"""A worker asks for work at least once a minute."""
LOOK_S: Final = 30.0
LOOKED_BACK: Final = 50
"""Scans that ended, newest first, of which the last good one of each is sought: more than two weeks of them."""
BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0)

log = structlog.get_logger()


class RelayMetrics:
    """One relay's numbers since it began."""

    def __init__(self, now: Callable[[], datetime] = wall) -> None:
        self.registry = registry = CollectorRegistry()
        self._now = now
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self._facts = Counter(
            "holdfast_relay_facts", "Facts that this relay brought to an end.", ("source", "state"), registry=registry
        )
        self._lag = Histogram(
            "holdfast_relay_lag_seconds",
            "From received to delivered; of what our own scans found, the wait for its turn included.",
            ("source",),
            buckets=BUCKETS,
            registry=registry,
        )
        self._succeeded = Gauge(
            "holdfast_last_success_timestamp_seconds",
            "When the relay, the sweep for lost webhooks and the settler of doubts last got through.",
            ("loop",),
            registry=registry,
        )
        self._reachable = Gauge(
            "holdfast_temporal_reachable", "Whether Temporal answers this relay.", registry=registry
        )
        self._pollers = Gauge(
            "holdfast_task_queue_pollers",
            "Workers that ask for work, as Temporal sees them.",
            ("kind",),
            registry=registry,
        )
        self._backlog = Gauge(
            "holdfast_task_queue_backlog", "Tasks that wait for a worker, about.", ("kind",), registry=registry
        )
        self._backlog_age = Gauge(
            "holdfast_task_queue_backlog_age_seconds", "Since the oldest of them waits.", ("kind",), registry=registry
        )
        self._schedule = Gauge(
            "holdfast_schedule",
            "1 for the state that a daily scan's schedule is in.",
            ("scan", "state"),
            registry=registry,
        )
        self._scanned = Gauge(
            "holdfast_scan_last_success_timestamp_seconds",
            "When the last complete scan ended; 0 if Temporal knows of none.",
            ("scan",),
            registry=registry,
        )

    def settled(self, row: InboxEvent) -> None:
        """Count a fact that is applied, dead or parked now."""
        self._facts.labels(row.source, row.state).inc()
        if row.state == "applied" and row.wall_settled_at:
            self._lag.labels(row.source).observe((row.wall_settled_at - row.wall_received_at).total_seconds())

    def succeeded(self, loop: str) -> None:
        """Note that a loop of the relay process got through."""
        self._succeeded.labels(loop).set(self._now().timestamp())

    async def look(self, client: Client, task_queue: str) -> None:
        """Ask Temporal how things stand. What it does not answer keeps its last value, and it counts as unreachable."""
        try:
            for kind, which in KINDS.items():
                await self._look_at_queue(client, task_queue, kind, which)
            await self._look_at_scans(client)
            self._reachable.set(1)
        except Exception as error:  # noqa: BLE001 - whatever it is, looking must not stop the relay from carrying
            log.warning("metrics.temporal_away", error=type(error).__name__)
            self._reachable.set(0)

    async def _look_at_queue(self, client: Client, name: str, kind: str, which: "TaskQueueType.ValueType") -> None:
        asked = DescribeTaskQueueRequest(
            namespace=client.namespace, task_queue=TaskQueue(name=name), task_queue_type=which, report_stats=True
        )
        answer = await client.workflow_service.describe_task_queue(asked)
        last = [each.last_access_time.ToDatetime(UTC) for each in answer.pollers]
        self._pollers.labels(kind).set(sum(self._now() - each < POLLS for each in last))
        self._backlog.labels(kind).set(answer.stats.approximate_backlog_count)
        self._backlog_age.labels(kind).set(answer.stats.approximate_backlog_age.ToTimedelta().total_seconds())

    async def _look_at_scans(self, client: Client) -> None:
        for row in await schedules.listed(client):
            paused = row["schedule"].endswith("(paused)")
            there = "none" if row["schedule"] == "none" else "paused" if paused else "active"
            for state in STATES:
                self._schedule.labels(row["scan"], state).set(state == there)
        ended = dict.fromkeys(SCANS, 0.0)
        query = 'WorkflowType = "scan" AND ExecutionStatus = "Completed"'
        async for run in client.list_workflows(query, limit=LOOKED_BACK):
            for which in SCANS:
                if run.close_time and run.id.startswith(schedules.id_of(which)):
                    ended[which] = max(ended[which], run.close_time.timestamp())
        for which, at in ended.items():
            self._scanned.labels(which).set(at)

    async def look_for_ever(self, client: Client, task_queue: str, stop: asyncio.Event) -> None:
        """Ask every half a minute until `stop` is set."""
        while not stop.is_set():
            await self.look(client, task_queue)
            try:
                await asyncio.wait_for(stop.wait(), LOOK_S)
            except TimeoutError:
                continue
