"""A party for each CRM: the built-in tables, Attio, HubSpot."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from models.database import Database
from simulator.running import SimulatorControl
from tests.crm.parties import OUTSIDE, Party
from tests.models.conftest import both
from tests.models.postgres import postgres

__all__ = ["both", "postgres"]


@asynccontextmanager
async def joined(name: str, database: Database, simulator: SimulatorControl, **settings: Any) -> AsyncIterator[Party]:
    """A party whose account is there, on a fresh simulator."""
    await simulator.reset()
    party = Party(name, database, simulator, **settings)
    await party.open()
    yield party
    if party.client:
        await party.client.close()


@pytest.fixture(params=["built_in", *OUTSIDE])
async def anyone(
    request: pytest.FixtureRequest, both: Database, the_simulator: SimulatorControl
) -> AsyncIterator[Party]:
    """Each CRM, on each database."""
    async with joined(request.param, both, the_simulator) as party:
        yield party


@pytest.fixture(params=OUTSIDE)
async def outside(
    request: pytest.FixtureRequest, database: Database, the_simulator: SimulatorControl
) -> AsyncIterator[Party]:
    """Each CRM that is not ours."""
    async with joined(request.param, database, the_simulator) as party:
        yield party


@pytest.fixture
async def attio(database: Database, the_simulator: SimulatorControl) -> AsyncIterator[Party]:
    """Attio."""
    async with joined("attio", database, the_simulator) as party:
        yield party


@pytest.fixture
async def hubspot(database: Database, the_simulator: SimulatorControl) -> AsyncIterator[Party]:
    """HubSpot."""
    async with joined("hubspot", database, the_simulator) as party:
        yield party


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A folder of one's own."""
    return tmp_path
