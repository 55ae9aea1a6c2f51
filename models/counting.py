"""Daily counts of use: events add to them, imports set them; exact under concurrency on both databases (T1.5, I6)."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

from sqlalchemy import tuple_
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlmodel import SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from models.customers import UsageDay
from models.policy import Usage

USAGE: Final = "usage"
"""The kind of every inbox row that says how often something was done; the row's value is the metric, its object the
day, and `data.count` of its body the count."""
USAGE_TYPES: Final = frozenset({USAGE, "login", "session", "feature.used"})
MOST_AT_ONCE: Final = 10**9
LONGEST_METRIC: Final = 100
MOST_UNMAPPED: Final = 100
"""Metrics an account may have on one day before names that nobody has configured are left out. Whoever sends tracked
events may put anything into a name, an id for instance, and each name is a row a day."""
ROWS_AT_ONCE: Final = 500

Key = tuple[str, str, date]


class BadUsage(ValueError):
    """The event does not say what was counted; the message names the field and what it may hold."""


@dataclass(frozen=True)
class Count:
    """So often did an account do something on one day (UTC). `unmapped`: nobody has configured the metric's name."""

    account: str
    metric: str
    day: date
    count: int
    unmapped: bool = False

    @property
    def key(self) -> Key:
        """What there is one row for."""
        return self.account, self.metric, self.day


def read_count(kind: str, account: str, at: datetime, said: Mapping[str, Any], rules: Usage) -> Count:
    """What an event of one of `USAGE_TYPES` counts: for `usage` the metric it names, else what its type stands for.

    `at` is when it happened; its UTC day counts unless `said` holds another `day`.

    Raises:
        BadUsage: the metric, the feature, the count or the day is missing or of the wrong shape.
    """
    if kind == "login":
        metric = rules.names.get(kind, rules.login_metric)
    elif kind == "session":
        metric = rules.names.get(kind, kind)
    elif kind == "feature.used":
        feature = _name(kind, "value", said.get("value"), "the feature's name, such as saved_reports")
        metric = rules.feature_prefix + rules.names.get(feature, feature)
    else:
        metric = _name(kind, "metric", said.get("metric"), "a metric's name, such as activity")
        metric = rules.names.get(metric, metric)
    if len(metric) > LONGEST_METRIC:
        raise BadUsage(f"the metric {metric[:40]!r}... is longer than {LONGEST_METRIC} characters")
    return Count(account, metric, _day(kind, said, at), _count(kind, said))


def _name(kind: str, field: str, value: Any, expected: str) -> str:
    name = value.strip() if isinstance(value, str) else ""
    if not name or not name.isprintable():
        raise BadUsage(f"{kind}: data.{field} is {_short(value)}, expected {expected}")
    return name


def _count(kind: str, said: Mapping[str, Any]) -> int:
    count = said.get("count", 1)
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MOST_AT_ONCE:
        raise BadUsage(f"{kind}: data.count is {_short(count)}, expected a whole number from 1 to {MOST_AT_ONCE}")
    return count


def _day(kind: str, said: Mapping[str, Any], at: datetime) -> date:
    day = said.get("day")
    if day is None:
        return at.astimezone(UTC).date()
    try:
        return date.fromisoformat(day)
    except (TypeError, ValueError):
        raise BadUsage(f"{kind}: data.day is {_short(day)}, expected a date such as 2027-03-01") from None


def _short(value: Any) -> str:
    text = repr(value)
    return "missing" if value is None else text if len(text) <= 60 else f"{text[:60]}..."


async def over_the_limit(session: AsyncSession, counts: Iterable[Count]) -> set[Key]:
    """The keys that must not be counted, because the account has `MOST_UNMAPPED` metrics on that day without them."""
    asked: dict[tuple[str, date], list[str]] = defaultdict(list)
    for each in counts:
        if each.unmapped:
            asked[each.account, each.day].append(each.metric)
    if not asked:
        return set()
    known: dict[tuple[str, date], set[str]] = defaultdict(set)
    pairs = list(asked)
    for start in range(0, len(pairs), ROWS_AT_ONCE):
        statement = select(col(UsageDay.account_id), col(UsageDay.metric), col(UsageDay.day)).where(
            tuple_(col(UsageDay.account_id), col(UsageDay.day)).in_(pairs[start : start + ROWS_AT_ONCE])
        )
        for account, metric, day in (await session.exec(statement)).all():
            known[account, day].add(metric)
    over = set()
    for (account, day), metrics in asked.items():
        there = known[account, day]
        for metric in metrics:
            if metric in there or len(there) < MOST_UNMAPPED:
                there.add(metric)
            else:
                over.add((account, metric, day))
    return over


async def add(session: AsyncSession, counts: Iterable[Count]) -> None:
    """Add to the days' counts. Whoever adds at the same time is added to, not overwritten."""
    sums: dict[Key, int] = defaultdict(int)
    for each in counts:
        sums[each.key] += each.count
    await _upsert(session, sums, adds=True)


async def set_to(session: AsyncSession, counts: Sequence[Count]) -> set[Key]:
    """Let the days' counts be these; a day named twice gets the last. The keys that were new or another before."""
    return await _upsert(session, {each.key: each.count for each in counts}, adds=False)


async def _upsert(session: AsyncSession, wanted: Mapping[Key, int], *, adds: bool) -> set[Key]:
    table = SQLModel.metadata.tables[str(UsageDay.__tablename__)]
    insert = sqlite_insert if session.get_bind().dialect.name == "sqlite" else postgres_insert
    touched: set[Key] = set()
    # In one order, so that two writers never wait for each other in a circle.
    rows = [
        {"account_id": account, "metric": metric, "day": day, "count": wanted[account, metric, day]}
        for account, metric, day in sorted(wanted)
    ]
    for start in range(0, len(rows), ROWS_AT_ONCE):
        statement = insert(table).values(rows[start : start + ROWS_AT_ONCE])
        there, said = table.c["count"], statement.excluded["count"]
        statement = statement.on_conflict_do_update(
            index_elements=list(table.primary_key.columns),
            set_={"count": there + said if adds else said},
            where=None if adds else there != said,
        )
        key = (table.c.account_id, table.c.metric, table.c.day)
        found = (await session.exec(statement.returning(*key))).all()
        touched.update((account, metric, day) for account, metric, day in found)
    return touched
