"""Accounts whose use does what a test needs, and a scan over them without Temporal."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlmodel import SQLModel, col, select

from activities.scans import Scans
from models.customers import Contract, UsageDay
from models.database import Database
from models.health.rows import AccountHealth, AccountMetrics
from models.policy import PolicyFile
from models.scans import Found, Scan, Which
from models.tables import Account, InboxEvent, RiskSignal

DAY = timedelta(days=1)
TODAY = date(2026, 3, 30)
LONG_AGO = datetime(2024, 1, 1, tzinfo=UTC)


async def put(database: Database, *rows: SQLModel) -> None:
    """Insert rows."""
    async with database.writing() as session:
        session.add_all(rows)


def windows(
    account: str, before: int, now: int, *, day: date = TODAY, metric: str = "activity", days: int = 14
) -> list[UsageDay]:
    """`before` events a day in the first of the two windows that end the day before `day`, `now` in the second."""
    return [
        UsageDay(account_id=account, metric=metric, day=day - DAY * back, count=now if back <= days else before)
        for back in range(1, 2 * days + 1)
    ]


def constant_then(account: str, daily: int, since: date, then: int, until: date) -> list[UsageDay]:
    """`daily` events a day for 60 days before `since`, then `then` a day up to, not including, `until`."""
    first = since - DAY * 60
    return [
        UsageDay(account_id=account, metric="activity", day=day, count=daily if day < since else then)
        for day in (first + DAY * number for number in range((until - first).days))
    ]


def account(name: str, **more: Any) -> Account:
    """A customer of long standing."""
    return Account(**{"id": name, "signed_up_at": LONG_AGO, "mrr": 4900, **more})


def contract(name: str, account: str, renews_on: date, **more: Any) -> Contract:
    """A signed annual contract."""
    return Contract(id=name, account_id=account, renews_on=renews_on, value=120_000, **more)


def unwell(name: str) -> list[SQLModel]:
    """An account that was healthy, and whose readings of today are as bad as may be."""
    poor = {"logins_per_week": 0, "core_feature_pct": 0, "session_minutes": 0, "nps": 0}
    stood = {"h1_score": 100_000, "h1_band": "healthy", "h1_coverage": 50, "risk_score": 0, "risk_band": "low"}
    health = AccountHealth(account_id=name, model="h1", band="healthy", standings=stood, at=LONG_AGO)
    return [AccountMetrics(account_id=name, readings=poor), health]


async def scanned(
    database: Database,
    which: Which = "usage",
    day: date = TODAY,
    policy: dict[str, Any] | None = None,
    page: int = 2,
) -> Found:
    """One whole scan, in pages of two accounts."""
    scans = Scans(database, PolicyFile(policy), page=page)
    scan, found = Scan(which=which, day=day, window=10**9), Found()
    async for more in scans.steps(scan, found):
        found = found.plus(more)
    return found


async def rows(database: Database, table: type[SQLModel], order: Iterable[str]) -> list[tuple[Any, ...]]:
    """A table's columns named in `order`, sorted."""
    async with database.reading() as session:
        statement = select(*(col(getattr(table, name)) for name in order))
        return sorted(tuple(row) for row in (await session.exec(statement)).all())


async def facts_of(database: Database) -> list[tuple[Any, ...]]:
    """What is in the inbox, without the machine's clock."""
    names = ("event_id", "kind", "account_id", "subject", "value", "at_stake", "currency", "occurred_at", "source")
    return await rows(database, InboxEvent, names)


async def told(database: Database) -> list[tuple[str, str]]:
    """The ids of the facts and what they say."""
    return [(row[0], row[4]) for row in await facts_of(database)]


async def signals(database: Database) -> list[tuple[Any, ...]]:
    """Who has which risk signal, from when to when."""
    async with database.reading() as session:
        found = (await session.exec(select(RiskSignal))).all()
    return sorted(
        (row.account_id, row.signal, row.raised_at.date(), row.cleared_at.date() if row.cleared_at else None)
        for row in found
    )
