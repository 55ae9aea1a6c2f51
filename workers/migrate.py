"""Bring a database to the newest schema, or back; the same on SQLite and PostgreSQL."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError
from sqlmodel import SQLModel

from models.database import Database

DEADLOCK: Final = "40P01"
NO_LOCK: Final = "55P03"
LOCK_WAIT_S: Final = 5
LOCKED_FIRST: Final = ("inbox", "accounts", "effects", "cases")
TRIES: Final = 20
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
    """Move, and again where PostgreSQL could not give the locks.

    A migration locks several tables in turn, and so do those who write. Where a writer is the victim of a deadlock, it
    comes again by itself as after any error of the database: a webhook was answered 503, an activity is retried.
    """
    for left in reversed(range(TRIES)):
        try:
            async with database.engine.connect() as connection:
                await connection.run_sync(_lock_tables)
                await connection.run_sync(move)
                await connection.commit()
            return
        except DBAPIError as error:
            if not left or getattr(error.orig, "sqlstate", "") not in {DEADLOCK, NO_LOCK}:
                raise
        await asyncio.sleep(random.uniform(0.05, 0.5))  # noqa: S311 - so that it does not meet the same writer again


def _lock_tables(connection: Connection) -> None:
    """Take every table at once, in the order in which a fact goes through them, so that few writers cross our way.

    Behind whoever reads for long (a backup) all writers would queue, so the wait is short and the whole is tried again.
    """
    if connection.dialect.name != "postgresql":
        return
    there = sorted(inspect(connection).get_table_names())
    connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_WAIT_S}s'"))
    for name in [
        *(name for name in LOCKED_FIRST if name in there),
        *(name for name in there if name not in LOCKED_FIRST),
    ]:
        connection.execute(text(f'LOCK TABLE "{name}" IN ACCESS EXCLUSIVE MODE'))


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
