"""One real Temporal server and one simulator for the whole session; a fresh database for each test."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.client import Client

from models.database import Database
from simulator.running import SimulatorControl, simulator_running
from tests.playbook_kit import kit, kit_with
from tests.town import Town, fresh_database, town
from workers import migrate
from workers.connect import data_converter
from workers.settings import Settings
from workers.temporal_process import Server, running_server
from workers.temporal_server import find
from workflows.visible import SEARCH_ATTRIBUTES

__all__ = ["kit", "kit_with"]


@pytest.fixture(scope="session")
async def temporal(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A real server that skips time."""
    found = await find(need_time_skipping=True)
    log = tmp_path_factory.mktemp("temporal") / "temporal.log"
    async with running_server(
        found, search_attributes=SEARCH_ATTRIBUTES, skip_time=True, fast_timers=True, metrics_port=0, log=log
    ) as server:
        yield server


@pytest.fixture(scope="session")
async def client(temporal: Server) -> Client:
    """A client with our converter.

    With HOLDFAST_PAYLOAD_KEYS set, every test runs encrypted; the one that reads AmountAtStake then fails, rightly.
    """
    return await Client.connect(temporal.address, data_converter=data_converter(Settings(_env_file=None)))


@pytest.fixture(scope="session")
async def the_simulator() -> AsyncIterator[SimulatorControl]:
    """Stripe, SendGrid and the product, shared; each town resets it."""
    async with simulator_running() as running:
        yield running
        # The last delivery's connections close a moment after the courier stops.
        await asyncio.sleep(0)


@pytest.fixture(scope="session")
async def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty SQLite file to copy."""
    path = tmp_path_factory.mktemp("database") / "template.db"
    database = Database(f"sqlite:///{path}")
    await migrate.upgrade(database)
    await database.close()
    return path


@pytest.fixture
def database_url(migrated: Path, tmp_path: Path) -> str:
    """The URL of a fresh database."""
    return fresh_database(migrated, tmp_path)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A fresh database."""
    opened = Database(database_url)
    yield opened
    await opened.close()


@pytest.fixture
async def place(client: Client, the_simulator: SimulatorControl, database_url: str) -> AsyncIterator[Town]:
    """A town with the default policy."""
    async with town(client, the_simulator, database_url) as running:
        yield running
