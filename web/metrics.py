"""`/metrics` of the receiver, in Prometheus' text format: requests by route and status, and what the database knows.

The registry is the application's own, not the library's global one: several applications live in one process in tests.
"""

import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Final

from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from sqlalchemy.exc import SQLAlchemyError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.database import Database
from models.tables import wall
from models.vitals import GAUGES, Sample, vitals
from web.answers import METRICS_ANSWERS
from web.rate_limits import EXEMPT, route_class

PATH: Final = "/metrics"
FORMAT: Final = "text/plain; version=0.0.4; charset=utf-8"
KEPT_S: Final = 5.0
"""How long the database's numbers are good for: however many ask, it is asked once in that time."""
BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Seconds. Stripe waits 20 s or so for an answer."""


class WebMetrics:
    """What one receiver has counted since it began, and the database's numbers, a few seconds old at most."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, now: Callable[[], datetime] = wall) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._requests = Histogram(
            "holdfast_receiver_request_seconds",
            "Requests answered, by route and status, and how long it took.",
            ("route", "status"),
            buckets=BUCKETS,
            registry=self.registry,
        )
        self._clock = clock
        self._now = now
        self._kept: tuple[float, list[Sample]] | None = None

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        self._requests.labels(route, str(status)).observe(seconds)

    async def text(self, database: Database) -> bytes:
        """All of it. While the database is away its numbers are left out, and `holdfast_database_up` is 0."""
        return generate_latest(self.registry) + _written(await self._samples(database))

    async def _samples(self, database: Database) -> list[Sample]:
        if self._kept and self._clock() - self._kept[0] < KEPT_S:
            return self._kept[1]
        try:
            async with database.reading() as session:
                samples = [*await vitals(session, self._now()), Sample("holdfast_database_up", 1)]
        except (SQLAlchemyError, OSError):
            samples = [Sample("holdfast_database_up", 0)]
        self._kept = self._clock(), samples
        return samples


class _Snapshot:
    """A collector of numbers that were read already."""

    def __init__(self, samples: list[Sample]) -> None:
        self._samples = samples

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Each name's numbers together, with its explanation."""
        up = GaugeMetricFamily("holdfast_database_up", "Whether the database answers this receiver.")
        families = {
            name: GaugeMetricFamily(name, gauge.help, labels=gauge.labels) for name, gauge in GAUGES.items()
        } | {"holdfast_database_up": up}
        for sample in self._samples:
            gauge = GAUGES.get(sample.name)
            families[sample.name].add_metric(
                [sample.labels[label] for label in gauge.labels] if gauge else [], sample.value
            )
        yield from families.values()


def _written(samples: list[Sample]) -> bytes:
    registry = CollectorRegistry()
    registry.register(_Snapshot(samples))
    return generate_latest(registry)


def metrics_routes(database: Database, metrics: WebMetrics) -> APIRouter:
    """`GET /metrics`, a staff page here; METRICS_PORT is for a Prometheus on another machine."""
    router = APIRouter()

    @router.get(PATH, responses=METRICS_ANSWERS)
    async def numbers() -> Response:
        """The numbers of this receiver and of the database."""
        return Response(await metrics.text(database), media_type=FORMAT)

    return router


class Measured:
    """ASGI middleware around all others: counts every answer, those of the rate limit and refusals too.

    A route is named as it was declared, so that nothing of a path that somebody made up, nor an id, becomes a label.
    """

    def __init__(self, app: ASGIApp, metrics: WebMetrics, clock: Callable[[], float] = time.perf_counter) -> None:
        self._app = app
        self._metrics = metrics
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and look at the answer."""
        if scope["type"] != "http" or scope["path"] in (*EXEMPT, PATH):
            await self._app(scope, receive, send)
            return
        began = self._clock()
        status = 500

        async def looking(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, looking)
        finally:
            named = getattr(scope.get("route"), "path", None)
            route = named or f"other {route_class(scope['path'])}"
            self._metrics.answered(route, status, self._clock() - began)
