"""The way into the inbox for what our own systems and Segment say: many at once, each once (T1.5, T1.19, I6)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlmodel import SQLModel, col, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from models import counting, parking
from models.counting import USAGE
from models.tables import InboxEvent, wall

ROWS_AT_ONCE: Final = 200
WAITS: Final = ("parked", "dead")


async def take_in(session: AsyncSession, rows: Sequence[InboxEvent]) -> list[str]:
    """Store rows, each once by its source and event id, and count the use they report in this same transaction.

    Returns what became of each, in order: its state, or `duplicate`. Use of an account nobody knows is parked; a row
    of any other kind stays as it is, for the relay finds out for itself.
    """
    await _look_at_use(session, [row for row in rows if row.kind == USAGE and row.state == "pending"])
    new = await _insert(session, rows)
    states = []
    counted = []
    for row in rows:
        key = (row.source, row.event_id)
        is_new = key in new
        new.discard(key)
        states.append(row.state if is_new else "duplicate")
        if is_new and row.kind == USAGE and row.state == "applied":
            counted.append(parking.count_of(row))
    await counting.add(session, counted)
    return states


async def insert_all(session: AsyncSession, rows: Sequence[InboxEvent]) -> int:
    """Store rows that count no use, each once by its source and event id; how many are new."""
    if not rows:
        return 0
    table = SQLModel.metadata.tables[str(InboxEvent.__tablename__)]
    insert = sqlite_insert if session.get_bind().dialect.name == "sqlite" else postgres_insert
    values = [row.model_dump(exclude={"id"}) for row in rows]
    connection = await session.connection()
    statement = insert(table).on_conflict_do_nothing().returning(table.c.id)
    return len((await connection.execute(statement, values)).all())


async def _look_at_use(session: AsyncSession, rows: Sequence[InboxEvent]) -> None:
    """Say of each row of use whether it is counted, parked or left out."""
    names = {row.account_id for row in rows}
    known = await parking.accounts_called(session, names)
    if names - known.keys():
        await parking.before_parking(session)
        known |= await parking.accounts_called(session, names - known.keys())
    for row in rows:
        if row.account_id in known:
            row.account_id = known[row.account_id]
        else:
            row.state, row.reason = parking.PARKED, parking.unknown(row.account_id)
    here = [row for row in rows if row.state == "pending"]
    counts = [parking.count_of(row) for row in here]
    over = await counting.over_the_limit(session, counts)
    for row, count in zip(here, counts, strict=True):
        parking.settle_usage(row, left_out=count.key in over)


async def _insert(session: AsyncSession, rows: Sequence[InboxEvent]) -> set[tuple[str, str]]:
    """Insert in the order given; the source and event id of those that were not there."""
    table = SQLModel.metadata.tables[str(InboxEvent.__tablename__)]
    insert = sqlite_insert if session.get_bind().dialect.name == "sqlite" else postgres_insert
    new: set[tuple[str, str]] = set()
    for start in range(0, len(rows), ROWS_AT_ONCE):
        values = [row.model_dump(exclude={"id"}) for row in rows[start : start + ROWS_AT_ONCE]]
        statement = insert(table).values(values).on_conflict_do_nothing()
        found = (await session.exec(statement.returning(table.c.source, table.c.event_id))).all()
        new.update((source, event_id) for source, event_id in found)
    return new


@dataclass(frozen=True)
class Waiting:
    """A row that is parked or dead."""

    id: int
    state: str
    source: str
    event_id: str
    type: str
    account: str
    received_at: str
    reason: str


async def waiting(session: AsyncSession, most: int) -> list[Waiting]:
    """Parked and dead rows, the newest `most`, newest first."""
    statement = (
        select(InboxEvent).where(col(InboxEvent.state).in_(WAITS)).order_by(col(InboxEvent.id).desc()).limit(most)
    )
    return [
        Waiting(
            id=row.id or 0,
            state=row.state,
            source=row.source,
            event_id=row.event_id,
            type=row.type,
            account=row.account_id,
            received_at=row.wall_received_at.isoformat(timespec="seconds"),
            reason=row.reason,
        )
        for row in (await session.exec(statement)).all()
    ]


class NothingToRetry(LookupError):
    """The row is not there, or not one that waits; the message says which."""


async def put_back(session: AsyncSession, *, row_id: int | None = None, state: str = "") -> int:
    """Let one row, or all that are `parked` or `dead`, be tried once more; how many.

    Raises:
        NothingToRetry: the one row is not there, is neither parked nor dead, or cannot be carried by anybody.
    """
    again: dict[str, Any] = {
        "state": "pending",
        "reason": "",
        "tries": 0,
        "wall_next_try_at": wall(),
        "wall_settled_at": None,
    }
    # What could not be read when it came has no kind; trying again would not make it readable.
    where = [col(InboxEvent.state).in_([state] if state else WAITS), col(InboxEvent.kind) != ""]
    if row_id is not None:
        row = await session.get(InboxEvent, row_id)
        if row is None:
            raise NothingToRetry(f"there is no row {row_id} in the inbox; `holdfast inbox` lists those that wait")
        if row.state not in WAITS:
            raise NothingToRetry(f"row {row_id} is {row.state}, neither parked nor dead: there is nothing to retry")
        if not row.kind:
            raise NothingToRetry(f"row {row_id} could not be read when it came ({row.reason}); it has to be sent anew")
        where.append(col(InboxEvent.id) == row_id)
    done = await session.exec(update(InboxEvent).where(*where).values(**again))
    return int(done.rowcount)
