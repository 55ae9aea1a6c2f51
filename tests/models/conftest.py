"""The tests of the models run on both databases."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from models.database import Database
from tests.models.postgres import postgres
from tests.town import fresh_database

__all__ = ["postgres"]


@pytest.fixture(params=["sqlite", "postgresql"])
async def both(request: pytest.FixtureRequest, migrated: Path, tmp_path: Path) -> AsyncIterator[Database]:
    """A fresh migrated database, of either kind."""
    if request.param == "sqlite":
        url = fresh_database(migrated, tmp_path)
    else:
        url = await request.getfixturevalue("postgres").migrated()
    opened = Database(url)
    yield opened
    await opened.close()


@pytest.fixture(params=["sqlite", "postgresql"])
async def bare(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """A database without tables, of either kind."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'bare.db'}"
    else:
        url = request.getfixturevalue("postgres").empty()
    opened = Database(url)
    yield opened
    await opened.close()
