"""Events about accounts we do not know: they wait in the inbox, and go on once the account is loaded (T1.19)."""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any, Final

import orjson
from sqlalchemy import text
from sqlmodel import col, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from models import counting
from models.counting import USAGE, Count
from models.tables import Account, InboxEvent, wall

PARKED: Final = "parked"
COUNTED: Final = "counted"
LOCK: Final = 4_105_307
"""The number of the advisory lock between those who park and those who load; ours alone, by agreement."""
NAMES_AT_ONCE: Final = 500
ROWS_AT_ONCE: Final = 500


def unknown(name: str) -> str:
    """Why an event is parked, and what to do."""
    return f"account {name!r} is not known: load it, and this event goes on"


def too_many(metric: str) -> str:
    """Why a count was left out, and what to do."""
    return (
        f"not counted: the account has {counting.MOST_UNMAPPED} metrics on this day already; "
        f"name {metric!r} in [usage.names] of the policy to have it counted"
    )


async def accounts_called(session: AsyncSession, names: Iterable[str]) -> dict[str, str]:
    """The ids of accounts by what they are called here: their own id, or else our product's (`external_id`)."""
    wanted = sorted(set(names))
    found: dict[str, str] = {}
    for start in range(0, len(wanted), NAMES_AT_ONCE):
        some = wanted[start : start + NAMES_AT_ONCE]
        statement = select(Account.id, Account.external_id).where(
            or_(col(Account.id).in_(some), col(Account.external_id).in_(some))
        )
        for account, external in (await session.exec(statement)).all():
            if external is not None:
                found.setdefault(external, account)
            found[account] = account
    return {name: found[name] for name in wanted if name in found}


async def before_parking(session: AsyncSession) -> None:
    """Wait for loads under way, and let none begin until this transaction ends; then look once more, and park.

    Without it an event could be parked in the moment in which its account is loaded, and wait for ever.
    """
    await _lock(session, "pg_advisory_xact_lock_shared")


async def before_loading(session: AsyncSession) -> None:
    """Wait for those who park and for other loads, and let none begin until this transaction ends."""
    await _lock(session, "pg_advisory_xact_lock")


async def _lock(session: AsyncSession, function: str) -> None:
    # SQLite has one writer at a time anyway.
    if session.get_bind().dialect.name != "sqlite":
        await session.exec(text(f"SELECT {function}({LOCK})"))  # type: ignore[call-overload]


async def go_on(session: AsyncSession, accounts: Mapping[str, str]) -> Counter[str]:
    """Let every parked event about these accounts go on, in this transaction; how many for each account.

    `accounts` gives the account's id for each name it may be called by. Use is counted here, the rest is left to the
    relay. The caller holds `before_loading`.
    """
    moved: Counter[str] = Counter()
    names = sorted(accounts)
    for start in range(0, len(names), NAMES_AT_ONCE):
        some = names[start : start + NAMES_AT_ONCE]
        while True:
            statement = (
                select(InboxEvent)
                .where(InboxEvent.state == PARKED, col(InboxEvent.account_id).in_(some))
                .order_by(col(InboxEvent.id))
                .limit(ROWS_AT_ONCE)
                .with_for_update()
            )
            rows = (await session.exec(statement)).all()
            for row in rows:
                row.account_id = accounts[row.account_id]
            await _settle(session, [row for row in rows if row.kind == USAGE])
            for row in rows:
                if row.kind != USAGE:
                    row.state, row.reason, row.wall_settled_at, row.wall_next_try_at = "pending", "", None, wall()
                session.add(row)
            await session.flush()
            moved.update(row.account_id for row in rows)
            if len(rows) < ROWS_AT_ONCE:
                break
    return moved


async def _settle(session: AsyncSession, rows: list[InboxEvent]) -> None:
    counts = [count_of(row) for row in rows]
    over = await counting.over_the_limit(session, counts)
    await counting.add(session, (each for each in counts if each.key not in over))
    for row, count in zip(rows, counts, strict=True):
        settle_usage(row, left_out=count.key in over)


def settle_usage(row: InboxEvent, *, left_out: bool) -> None:
    """Write down that a row of use was counted, or left out because there are too many metrics."""
    row.state, row.reason = ("ignored", too_many(row.value)) if left_out else ("applied", COUNTED)
    row.learned, row.wall_settled_at = True, wall()


def count_of(row: InboxEvent) -> Count:
    """What a stored row of use counts."""
    data: dict[str, Any] = orjson.loads(row.body)["data"]
    count, unmapped = data.get("count", 1), data.get("unmapped", False)
    return Count(row.account_id, row.value, date.fromisoformat(row.object_id), count, unmapped is True)
