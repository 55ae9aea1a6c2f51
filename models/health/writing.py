"""Changed scores into the database, many at once and each once, whoever else scores at the same time (H0).

Rows go through a table of the transaction's own.
"""

from typing import Any, Final

import polars as pl
from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    cast,
    literal,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlmodel import SQLModel, col
from sqlmodel.ext.asyncio.session import AsyncSession

from models.days import midnight
from models.health.frames import stage
from models.health.rows import AccountHealth, HealthChange
from models.health.scorecard import THOUSANDTH
from models.health.scoring import Changes
from models.tables import Account, UtcDateTime

STAGED: Final = MetaData()
ROWS: Final = Table(
    "staged_health",
    STAGED,
    Column("account_id", String),
    Column("model", String),
    Column("band", String),
    Column("score", Integer),
    Column("coverage", Integer),
    Column("standings", Text),
    Column("version", BigInteger),
    prefixes=["TEMPORARY"],
    postgresql_on_commit="DROP",
)
HISTORY: Final = Table(
    "staged_health_changes",
    STAGED,
    *(Column(name, String) for name in ("account_id", "model")),
    Column("score", Integer),
    Column("band", String),
    Column("coverage", Integer),
    prefixes=["TEMPORARY"],
    postgresql_on_commit="DROP",
)


async def write(session: AsyncSession, changes: Changes) -> set[str]:
    """Write what changed, in this transaction; the accounts that were written.

    An account that somebody else scored since the page was read is left to them, with its history and its facts.
    """
    if not changes.rows.height:
        return set()
    is_sqlite = session.get_bind().dialect.name == "sqlite"
    dialect_insert: Any = sqlite_insert if is_sqlite else postgres_insert
    at = literal(midnight(changes.day), UtcDateTime)
    rows, history = changes.rows, changes.history
    await stage(session, ROWS, rows)
    standings: Any = ROWS.c.standings if is_sqlite else cast(ROWS.c.standings, JSON)
    given: list[Any] = [standings if each is ROWS.c.standings else each for each in ROWS.c]
    table = SQLModel.metadata.tables[str(AccountHealth.__tablename__)]
    # SQLite needs the "where" to tell the conflict clause from a join.
    statement = dialect_insert(table).from_select([*ROWS.c.keys(), "at"], select(*given, at).where(true()))
    statement = statement.on_conflict_do_update(
        index_elements=["account_id"],
        set_={each.name: statement.excluded[each.name] for each in table.c if each.name != "account_id"},
        where=table.c.version == statement.excluded.version - 1,
    )
    written = set((await session.exec(statement.returning(table.c.account_id))).scalars().all())
    if len(written) < rows.height:
        mine = pl.col("account_id").is_in(list(written))
        rows, history = rows.filter(mine), history.filter(mine)
        await stage(session, ROWS, rows)
    await _set_health(session)
    await stage(session, HISTORY, history)
    table = SQLModel.metadata.tables[str(HealthChange.__tablename__)]
    statement = dialect_insert(table).from_select([*HISTORY.c.keys(), "at"], select(*HISTORY.c, at).where(true()))
    statement = statement.on_conflict_do_update(
        index_elements=["account_id", "model", "at"],
        set_={name: statement.excluded[name] for name in ("score", "band", "coverage")},
    )
    await session.exec(statement)
    return written


async def _set_health(session: AsyncSession) -> None:
    """What playbooks read as an account's health is the score of its primary model, where there is one (H0.2)."""
    whole = ROWS.c.score // THOUSANDTH
    scored = (col(Account.id) == ROWS.c.account_id, ROWS.c.score.is_not(None))
    differs = (*scored, col(Account.health).is_distinct_from(whole))
    # Locked in one order first, so that two that write accounts never wait for each other in a circle.
    locked = select(Account.id).join(ROWS, scored[0]).where(*differs).order_by(col(Account.id))  # type: ignore[call-overload]
    await session.exec(locked.with_for_update(of=Account))
    await session.exec(update(Account).values(health=whole).where(*differs))
