"""Bring a database to the newest schema, or back; the same on SQLite and PostgreSQL."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlmodel import SQLModel

from models.database import Database

DEADLOCK: Final = "40P01"
TRIES: Final = 5
MIGRATIONS = Path(__file__).parent.parent / "migrations"


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config


async def upgrade(database: Database, revision: str = "head") -> None:
    """Run the migrations up to `revision`; processes may go on writing meanwhile."""
    await _moved(database, lambda sync: command.upgrade(_config(sync), revision))


async def downgrade(database: Database, revision: str) -> None:
    """Run the migrations back to `revision`; "base" is before the first."""
    await _moved(database, lambda sync: command.downgrade(_config(sync), revision))


async def _moved(database: Database, move: Callable[[Connection], None]) -> None:
    """Move, and again where PostgreSQL chose it as the victim of a deadlock.

    A migration locks several tables in turn, and so do those who write. Where a writer is the victim, it comes again by
    itself as after any error of the database: a webhook was answered 503, an activity is retried.
    """
    for left in reversed(range(TRIES)):
        try:
            async with database.engine.connect() as connection:
                await connection.run_sync(move)
                await connection.commit()
            return
        except DBAPIError as error:
            if not left or getattr(error.orig, "sqlstate", "") != DEADLOCK:
                raise


async def revisions(database: Database) -> tuple[str, str]:
    """The migration the database is at, empty before the first, and the newest there is."""

    def look(connection: Connection) -> tuple[str, str]:
        newest = ScriptDirectory.from_config(_config(connection)).get_current_head() or ""
        return MigrationContext.configure(connection).get_current_revision() or "", newest

    async with database.engine.connect() as connection:
        return await connection.run_sync(look)


async def write_revision(database: Database, message: str) -> None:
    """Write a migration from the difference between the tables and the database."""
    async with database.engine.connect() as connection:
        await connection.run_sync(lambda sync: command.revision(_config(sync), message, autogenerate=True))


async def differences(database: Database) -> list[Any]:
    """What the tables in code and the migrated database differ in; empty is right."""

    def compare(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "render_as_batch": True})
        return list(compare_metadata(context, SQLModel.metadata))

    async with database.engine.connect() as connection:
        return await connection.run_sync(compare)
