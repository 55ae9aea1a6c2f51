"""`holdfast up`: everything for real keys, on one machine."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from rich.console import Console

from workers import migrate
from workers.connect import connect, ensure_search_attributes
from workers.databases import open_database
from workers.processes import told_to_stop
from workers.settings import Settings
from workers.supervisor import Child, children
from workers.temporal_process import Server, never, running_server
from workers.temporal_server import find
from workflows.visible import SEARCH_ATTRIBUTES

HOME: Final = Path(".holdfast")


@asynccontextmanager
async def _temporal(settings: Settings) -> AsyncIterator[Server]:
    if settings.temporal_address:
        # From the settings, not the environment that `find` looks at: address, key and certificates may stand in .env.
        await ensure_search_attributes(await connect(settings))
        yield Server(settings.temporal_address, None, None, can_skip_time=False, pid=None, died=never)
        return
    found = await find()
    data = HOME / "temporal.db"
    async with running_server(found, data=data, search_attributes=SEARCH_ATTRIBUTES, port=7233, ui_port=8233) as server:
        yield server


async def run_everything(settings: Settings) -> int:
    """Migrate, start Temporal if none is named, then web, relay and worker, until told to stop. The exit code."""
    stop = told_to_stop()
    console = Console(stderr=True)
    HOME.mkdir(exist_ok=True)
    async with open_database(settings) as database:
        await migrate.upgrade(database)
    async with _temporal(settings) as server:
        env = {"TEMPORAL_ADDRESS": server.address}
        web = ["-m", "workers", "web", *(["--temporal-ui", server.ui_url] if server.ui_url else [])]
        log = HOME / "logs" / "holdfast.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        processes = [
            Child("web", web, env | _metrics_port(settings, 0), log),
            Child("relay", ["-m", "workers", "relay"], env | _metrics_port(settings, 1), log),
            Child("worker", ["-m", "workers", "worker"], env | _metrics_port(settings, 2), log),
        ]
        async with children(*processes):
            base = f"http://{settings.holdfast_host}:{settings.holdfast_port}"
            console.print(f"Holdfast runs. Webhooks: {base}/webhooks/stripe   Cases: {base}/cases")
            console.print(f"Temporal: {server.address}   Web UI: {server.ui_url or 'where your server has it'}")
            console.print(f"Mode: {'LIVE, real money' if settings.livemode else 'test'}. Log: {log}. Ctrl-C stops.")
            waiting = asyncio.create_task(stop.wait())
            died = asyncio.ensure_future(server.died())
            done, _ = await asyncio.wait({waiting, died}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            died.cancel()
            if died in done:
                console.print(f"[red]{died.result()}[/]")
                return 1
    return 0


def _metrics_port(settings: Settings, place: int) -> dict[str, str]:
    """One machine, one port for each process; none where none is wanted."""
    return {"METRICS_PORT": str(settings.metrics_port + place if settings.metrics_port else 0)}
