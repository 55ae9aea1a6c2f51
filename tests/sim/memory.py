"""A real SQLite in this process's memory, reached without threads, that fails where it is told to.

aiosqlite talks to SQLite through a thread for each connection. That costs more than SQLite itself, and the order of
threads is nobody's to seed. SQLAlchemy's plain driver serves its asyncio sessions as well, as long as nothing awaits.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import create_engine, event
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.ext.asyncio import engine as asyncio_engine
from sqlalchemy.ext.asyncio import result as asyncio_result
from sqlalchemy.ext.asyncio import session as asyncio_session
from sqlalchemy.pool import StaticPool
from sqlmodel import SQLModel
from sqlmodel.ext.asyncio import session as sqlmodel_session

from models.database import Database, _sqlite_on_begin
from models.tables import InboxEvent
from tests.sim.clock import swapped

Hook = Callable[[str], None]
"""Told "statement", "commit" and "committed" just before each; it may raise."""


def moment_of(said: str) -> datetime:
    """A moment as it stands in the database."""
    return datetime.fromisoformat(said).replace(tzinfo=UTC)


def text_of(moment: datetime) -> str:
    """A moment as it stands in the database."""
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")


class InProcess(SQLiteDialect_pysqlite):
    """SQLite as SQLAlchemy knows it, offered to asyncio sessions."""

    supports_statement_cache = True
    hook: Hook | None = None

    def do_execute(self, cursor: Any, statement: Any, parameters: Any, context: Any = None) -> None:
        """Run a statement, unless this is the one that fails."""
        if self.hook:
            self.hook("statement")
        super().do_execute(cursor, statement, parameters, context)  # type: ignore[no-untyped-call]

    def do_commit(self, dbapi_connection: Any) -> None:
        """Commit; it may fail before, and its answer may get lost."""
        if self.hook:
            self.hook("commit")
        super().do_commit(dbapi_connection)  # type: ignore[no-untyped-call]
        if self.hook:
            self.hook("committed")


class _Cursor(sqlite3.Cursor):
    """With the one thing that asyncio sessions ask of a cursor beyond DBAPI."""

    async def _async_soft_close(self) -> None:
        """Nothing is open elsewhere."""


class _Connection(sqlite3.Connection):
    def cursor(self, factory: Any = _Cursor) -> Any:
        """A cursor for asyncio sessions."""
        return super().cursor(factory)

    def close(self) -> None:
        """What a killed process leaves behind: nothing it had not committed. The memory stays."""
        if self.in_transaction:
            super().rollback()


registry.register("sqlite.inprocess", __name__, "InProcess")


async def _at_once(do: Callable[..., Any], *args: Any, _require_await: bool = False, **named: Any) -> Any:
    return do(*args, **named)


@contextmanager
def without_greenlets() -> Iterator[None]:
    """Spare each call its greenlet, which nothing here would ever switch away from: an eighth of a world's time."""
    with ExitStack() as stack:
        for module in (asyncio_engine, asyncio_result, asyncio_session, sqlmodel_session):
            stack.enter_context(swapped(module, "greenlet_spawn", _at_once))
        yield


class MemoryDatabase(Database):
    """One connection, one engine (statements are compiled once for all worlds), emptied for each world."""

    def __init__(self) -> None:
        self.is_sqlite = True
        self.raw = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False, factory=_Connection)
        engine = create_engine(
            "sqlite+inprocess://", creator=lambda: self.raw, poolclass=StaticPool, hide_parameters=True
        )
        event.listen(engine, "begin", _sqlite_on_begin)
        assert InboxEvent.metadata is SQLModel.metadata
        SQLModel.metadata.create_all(engine)
        self._dialect: Any = engine.dialect
        # Only from here on: what SQLAlchemy takes locks for at the first connection, it would await otherwise.
        self._dialect.is_async = True
        self.engine = AsyncEngine(engine)
        self._empty = self.raw.serialize()

    def begin_again(self, hook: Hook) -> None:
        """Forget everything."""
        self._dialect.hook = None
        if self.raw.in_transaction:
            self.raw.rollback()
        self.raw.deserialize(self._empty)
        self.raw.execute("PRAGMA foreign_keys=ON")
        self._dialect.hook = hook

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """What is in the database, for those who check it: no fault strikes here."""
        return self.raw.execute(statement, values).fetchall()
