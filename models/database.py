"""The one way to the database: SQLite (WAL) or PostgreSQL behind the same two doors, `reading` and `writing`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlmodel.ext.asyncio.session import AsyncSession

from models.database_url import async_url

BUSY_S = 10
"""How long SQLite waits for another writer before it gives up."""


class Database:
    """An engine and its sessions.

    SQLite begins a transaction at the first write by default, so a read-modify-write of two processes silently
    loses one. Here `writing` takes the write lock before it reads; on PostgreSQL rows are locked where it matters.
    """

    def __init__(self, url: str, *, pool_size: int = 10) -> None:
        target = async_url(url)
        self.is_sqlite = target.startswith("sqlite")
        # An error's parameters may be a name or an address, and errors are shown in Temporal and in logs.
        options: dict[str, Any] = {"hide_parameters": True}
        if self.is_sqlite:
            path = make_url(target).database
            if path and path != ":memory:":
                Path(path).parent.mkdir(parents=True, exist_ok=True)
            options["connect_args"] = {"timeout": BUSY_S}
        else:
            options |= {"pool_size": pool_size, "max_overflow": pool_size, "pool_pre_ping": True}
        self.engine: AsyncEngine = create_async_engine(target, **options)
        if self.is_sqlite:
            event.listen(self.engine.sync_engine, "connect", _sqlite_on_connect)
            event.listen(self.engine.sync_engine, "begin", _sqlite_on_begin)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncSession]:
        """A transaction that may read and then write; committed at the end, rolled back on an error."""
        async with AsyncSession(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        """A session that only reads and holds up nobody."""
        reader = self.engine.execution_options(holdfast_reads_only=True)
        async with AsyncSession(reader, expire_on_commit=False) as session:
            yield session

    async def close(self) -> None:
        """Give all connections back."""
        await self.engine.dispose()


def _sqlite_on_connect(connection: Any, _record: Any) -> None:
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _sqlite_on_begin(connection: Connection) -> None:
    reads_only = connection.get_execution_options().get("holdfast_reads_only")
    connection.exec_driver_sql("BEGIN" if reads_only else "BEGIN IMMEDIATE")
