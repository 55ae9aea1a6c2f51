"""The database of the settings, for as long as a command needs it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from models.database import Database
from workers.settings import Settings


@asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[Database]:
    """The database, closed at the end."""
    database = Database(settings.dsn)
    try:
        yield database
    finally:
        await database.close()
