"""One account scored at the moment: what the day's pass would find, it finds (T2.1, T2.4, H0.4)."""

import itertools
from datetime import UTC, datetime, time
from typing import Any

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.database import Database
from models.health.metrics import ALL
from models.health.rows import AccountHealth, AccountMetrics, HealthChange
from models.learning import learn
from models.tables import Account, InboxEvent
from tests.scans.customers import DAY, TODAY, account, put, rows, scanned

GOOD = {"logins_per_week": 5, "core_feature_pct": 90, "session_minutes": 20, "nps": 10, "payment": "auto_pay"}
POOR = {"logins_per_week": 0, "core_feature_pct": 0, "session_minutes": 0, "nps": 0}
NUMBERS = itertools.count()
NOON = datetime.combine(TODAY + DAY, time(12), UTC)


async def told(database: Database, name: str, metrics: dict[str, Any], number: int = 1) -> None:
    """Readings of an account, told at noon of the day after the first pass."""
    body = orjson.dumps({"type": "metrics.recorded", "data": {"metrics": metrics}})
    async with database.writing() as session:
        event = InboxEvent(
            source="told",
            event_id=f"{name}-{number}",
            type="metrics.recorded",
            kind="metrics.recorded",
            account_id=name,
            occurred_at=NOON,
            body=body,
        )
        session.add(event)
        await session.flush()
        await learn(session, event)


async def stands(database: Database, name: str) -> list[tuple[Any, ...]]:
    """What is on record of an account's health, without the version."""
    columns = ("account_id", "model", "band", "score", "coverage", "standings", "at")
    health = [row for row in await rows(database, AccountHealth, columns) if row[0] == name]
    changes = await rows(database, HealthChange, ("account_id", "model", "at", "score", "band", "coverage"))
    (known,) = [row[1:] for row in await rows(database, Account, ("id", "health")) if row[0] == name]
    return [health[0][1:], *sorted(row[1:] for row in changes if row[0] == name), known]


async def test_h0_4_told_at_the_moment_it_is_what_the_pass_would_have_found(both: Database) -> None:
    await put(both, *(account(name) for name in "ab"))
    await put(both, *(AccountMetrics(account_id=name, readings=GOOD) for name in "ab"))
    await scanned(both, "health")
    await told(both, "a", POOR)
    async with both.writing() as session:
        twin = await session.get(AccountMetrics, "b")
        assert twin
        twin.readings = {**GOOD, **POOR}
        session.add(twin)
    assert (await scanned(both, "health", TODAY + DAY)).recorded == 1  # of b alone
    assert await stands(both, "a") == await stands(both, "b")
    facts = {row[0]: row[1:] for row in await rows(both, InboxEvent, ("account_id", "kind", "value", "object_id"))}
    assert facts["b"] == ("health.band_changed", "critical", "h1")
    crossed = [row for row in await rows(both, InboxEvent, ("account_id", "kind", "value")) if row[0] == "a"]
    assert ("a", "health.band_changed", "critical") in crossed


async def test_t2_4_what_changes_nothing_tells_nothing_and_a_first_score_is_the_passes(
    both: Database,
) -> None:
    await put(both, account("a"), account("new"))
    await put(both, AccountMetrics(account_id="a", readings=GOOD))
    await scanned(both, "health")
    before = await stands(both, "a")
    await told(both, "a", {"nps": 10})
    assert await stands(both, "a") == before
    await put(both, account("later"))
    await told(both, "later", POOR)
    assert [row for row in await rows(both, AccountHealth, ("account_id",)) if row[0] == "later"] == []
    kinds = [row[0] for row in await rows(both, InboxEvent, ("kind",))]
    assert "health.band_changed" not in kinds


READING = st.one_of(
    *(
        st.tuples(
            st.just(metric.name),
            st.sampled_from(metric.labels) if metric.labels else st.integers(metric.least, min(metric.most, 200)),
        )
        for metric in ALL
    )
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=st.lists(READING, max_size=20), then=st.lists(READING, min_size=1, max_size=8))
async def test_h0_whatever_is_read_both_ways_end_alike(
    database: Database, first: list[tuple[str, Any]], then: list[tuple[str, Any]]
) -> None:
    number = next(NUMBERS)
    name, twin = f"a{number}", f"b{number}"
    await put(database, account(name), account(twin))
    await put(database, *(AccountMetrics(account_id=each, readings=dict(first)) for each in (name, twin)))
    await scanned(database, "health", page=10_000)
    await told(database, name, dict(then))
    async with database.writing() as session:
        row = await session.get(AccountMetrics, twin)
        assert row
        row.readings = {**row.readings, **dict(then)}
        session.add(row)
    await scanned(database, "health", TODAY + DAY, page=10_000)
    assert await stands(database, name) == await stands(database, twin)
    async with database.writing() as session:
        for each in (name, twin):
            gone = await session.get(Account, each)
            assert gone
            gone.churned_at = NOON
            session.add(gone)
