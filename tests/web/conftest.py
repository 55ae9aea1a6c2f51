"""The webhook receiver, served by uvicorn on a real socket; the inbox on either database."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import delete

from models.database import Database
from models.tables import InboxEvent
from tests.models.postgres import postgres
from tests.town import fresh_database
from tests.web.senders import Door, open_door
from tests.web.wire import Receiver, receiving

__all__ = ["postgres"]


@pytest.fixture(scope="session")
async def _receivers(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[bool, Receiver]]:
    """One server for test mode and one for live mode; uvicorn takes a tenth of a second to stop."""
    opened = [Database(fresh_database(migrated, tmp_path_factory.mktemp("inbox"))) for _ in range(2)]
    async with receiving(opened[0]) as test, receiving(opened[1], livemode=True) as live:
        yield {False: test, True: live}
    for database in opened:
        await database.close()


async def _emptied(receiver: Receiver) -> Receiver:
    async with receiver.database.writing() as session:
        await session.exec(delete(InboxEvent))
    return receiver


@pytest.fixture
async def receiver(_receivers: dict[bool, Receiver]) -> Receiver:
    """A receiver for test mode events, its inbox empty."""
    return await _emptied(_receivers[False])


@pytest.fixture
async def live_receiver(_receivers: dict[bool, Receiver]) -> Receiver:
    """A receiver for live mode events, its inbox empty."""
    return await _emptied(_receivers[True])


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


@pytest.fixture
async def door(both: Database) -> AsyncIterator[Door]:
    """Every door open, over a fresh database of either kind."""
    async with open_door(both) as opened:
        yield opened


@pytest.fixture(scope="session")
async def _sender(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Door]:
    database = Database(fresh_database(migrated, tmp_path_factory.mktemp("sender")))
    async with open_door(database) as opened:
        yield opened
    await database.close()


@pytest.fixture
async def sender(_sender: Door) -> Door:
    """Every door open over one SQLite database for all tests, its inbox empty: for what is refused anyway."""
    await _emptied(_sender.receiver)
    return _sender
