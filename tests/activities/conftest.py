"""Towns on either database."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.client import Client

from simulator.running import SimulatorControl
from tests.models.postgres import postgres
from tests.town import Town, fresh_database, town

__all__ = ["postgres"]


@pytest.fixture(params=["sqlite", "postgresql"])
async def either(
    request: pytest.FixtureRequest, client: Client, the_simulator: SimulatorControl, migrated: Path, tmp_path: Path
) -> AsyncIterator[Town]:
    """A town, on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        url = fresh_database(migrated, tmp_path)
    else:
        url = await request.getfixturevalue("postgres").migrated()
    async with town(client, the_simulator, url) as running:
        yield running
