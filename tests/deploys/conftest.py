"""Deploys and restores happen on both databases."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.client import Client

from simulator.running import SimulatorControl
from tests.models.conftest import bare
from tests.models.postgres import postgres
from tests.town import Town, fresh_database, town

__all__ = ["bare", "postgres"]


@pytest.fixture(params=["sqlite", "postgresql"])
async def either_place(
    request: pytest.FixtureRequest, client: Client, the_simulator: SimulatorControl, migrated: Path, tmp_path: Path
) -> AsyncIterator[Town]:
    """A town on a database of either kind."""
    if request.param == "sqlite":
        url = fresh_database(migrated, tmp_path)
    else:
        url = await request.getfixturevalue("postgres").migrated()
    async with town(client, the_simulator, url) as running:
        yield running
