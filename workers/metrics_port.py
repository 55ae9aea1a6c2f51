"""METRICS_PORT: a small server in each process with `/metrics` for Prometheus and `/healthz` for whoever starts us.

The SDK counts in its Rust core and shows that on a port of its own; here it is fetched and shown together with ours, so
that a process has one port to scrape.
"""

import asyncio
import contextlib
import socket
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig

from web.metrics import FORMAT
from workers.serving import serve
from workers.settings import Settings

Text = Callable[[], Awaitable[bytes]]
"""Gives some of the numbers, in Prometheus' text format."""
FETCHED_WITHIN_S: Final = 3.0


class SdkMetrics:
    """A runtime for `Client.connect` that counts, and the text of what it counted: `temporal_*` and our activities'.

    Without METRICS_PORT it is the SDK's own default, None, and counts nothing.
    """

    runtime: Runtime | None = None

    def __init__(self, settings: Settings) -> None:
        if not settings.metrics_port:
            return
        # The core does not say which port it got, so it is chosen here. Whoever takes it in between makes the start
        # fail, and the next start chooses another.
        with socket.create_server(("127.0.0.1", 0)) as free:
            address = f"127.0.0.1:{free.getsockname()[1]}"
        config = PrometheusConfig(address, counters_total_suffix=True, unit_suffix=True, durations_as_seconds=True)
        self.runtime = Runtime(telemetry=TelemetryConfig(metrics=config))
        self._url = f"http://{address}/metrics"

    async def text(self) -> bytes:
        """What was counted so far; nothing if the core does not answer, for the rest is still worth showing."""
        with contextlib.suppress(OSError):
            return await asyncio.to_thread(self._fetch)
        return b""

    def _fetch(self) -> bytes:
        with urllib.request.urlopen(self._url, timeout=FETCHED_WITHIN_S) as answer:  # noqa: S310 - our own address
            found: bytes = answer.read()
        return found


def text_of(registry: CollectorRegistry) -> Text:
    """A registry's numbers."""

    async def text() -> bytes:
        return generate_latest(registry)

    return text


def this_process() -> CollectorRegistry:
    """Memory, processor time and open files of this process."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return registry


@asynccontextmanager
async def metrics_served(settings: Settings, *texts: Text) -> AsyncIterator[None]:
    """Show the numbers while the block lasts, if METRICS_PORT is set.

    Until its very end: a worker that still waits for its last charge is looked at, too.

    Raises:
        RuntimeError: the port cannot be opened; the message says which.
    """
    if not settings.metrics_port:
        yield
        return

    async def metrics(request: Request) -> Response:
        return Response(b"".join([await text() for text in texts]), media_type=FORMAT)

    async def healthz(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    app = Starlette(routes=[Route("/metrics", metrics), Route("/healthz", healthz)])
    stop = asyncio.Event()
    serving = asyncio.create_task(serve(app, settings.metrics_host, settings.metrics_port, stop, "metrics.ready"))
    await asyncio.sleep(0)  # far enough for the port to be open, or not
    if serving.done() and (error := serving.exception()):
        where = f"METRICS_PORT {settings.metrics_port} at METRICS_HOST {settings.metrics_host}"
        raise RuntimeError(f"{where} cannot be opened: {error}") from error
    try:
        yield
    finally:
        stop.set()
        await serving
