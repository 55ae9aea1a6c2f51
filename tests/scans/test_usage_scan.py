"""The usage scan: a fact for each time it gets worse, once, whenever the scan runs (P3.1 to P3.4, T2.6)."""

import time
from datetime import UTC, date, datetime
from typing import Any

import pytest
from sqlalchemy import event

from models.customers import UsageDay
from models.database import Database
from models.scans import Found
from tests.scans.customers import (
    DAY,
    TODAY,
    account,
    constant_then,
    facts_of,
    put,
    scanned,
    signals,
    told,
    windows,
)

D0 = TODAY


async def test_p3_1_and_p3_2_exactly_those_over_the_threshold(both: Database) -> None:
    falls = {"at_30": 70, "over_30": 69, "under_50": 51, "at_50": 50, "steady": 100, "grown": 200}
    await put(both, *(account(name) for name in falls))
    for name, now in falls.items():
        day = TODAY - DAY
        await put(
            both,
            UsageDay(account_id=name, metric="activity", day=day - DAY * 14, count=100),
            UsageDay(account_id=name, metric="activity", day=day, count=now),
        )
    found = await scanned(both)
    assert await told(both) == [
        (f"usage.declined/at_50/{TODAY}", "severe"),
        (f"usage.declined/over_30/{TODAY}", "moderate"),
        (f"usage.declined/under_50/{TODAY}", "moderate"),
    ]
    assert found == Found(
        after="under_50",
        done=True,
        pages=4,
        accounts=6,
        found=3,
        recorded=3,
        by_value={"moderate": 2, "severe": 1},
    )


async def test_p3_2_t3_1_logins_at_half_of_the_thirty_days_before_are_severe(both: Database) -> None:
    await put(both, account("half"), account("more"))
    await put(both, *windows("half", 2, 1, metric="login", days=30))
    await put(both, *windows("more", 3, 2, metric="login", days=30))
    await scanned(both)
    assert [value for _, value in await told(both)] == ["severe"]


async def test_p3_4_too_little_use_too_new_or_gone_is_no_decline(both: Database) -> None:
    midnight = datetime(2026, 3, 30, tzinfo=UTC)
    names: dict[str, dict[str, Any]] = {
        "nine": {},
        "ten": {},
        "young": {"signed_up_at": midnight - DAY * 27},
        "old_enough": {"signed_up_at": midnight - DAY * 28},
        "unknown_age": {"signed_up_at": None},
        "churned": {"churned_at": midnight - DAY},
    }
    await put(both, *(account(name, **more) for name, more in names.items()))
    for name in names:
        row = UsageDay(account_id=name, metric="activity", day=TODAY - DAY * 15, count=9 if name == "nine" else 10)
        await put(both, row)
    await scanned(both)
    assert [event_id.split("/")[1] for event_id, _ in await told(both)] == ["old_enough", "ten", "unknown_age"]


async def test_the_fact_says_who_since_when_and_what_is_at_stake(both: Database) -> None:
    await put(both, account("a", currency="eur"), *windows("a", 10, 4))
    await scanned(both)
    midnight = datetime(2026, 3, 30, tzinfo=UTC)
    (fact,) = await facts_of(both)
    began = fact[7]
    assert fact == (
        f"usage.declined/a/{began.date()}", "usage.declined", "a", "", fact[4], 4900, "eur", began, "holdfast",
    )  # fmt: skip
    assert began <= midnight


async def daily(database: Database, *days: int) -> list[tuple[str, str]]:
    """Scans on these days, counted from the first without any use; what is on record then."""
    for number in days:
        await scanned(database, day=D0 + DAY * number)
    return [(event_id.removeprefix("usage.declined/a/"), value) for event_id, value in await told(database)]


def on(number: int) -> str:
    return (D0 + DAY * number).isoformat()


CROSSED = [(on(5), "moderate"), (on(7), "severe")]
"""Ten events a day, then none: 36 % down after five days, 50 % after seven, and nothing left to compare after 28."""


async def one_that_stopped(database: Database) -> None:
    await put(database, account("a"), *constant_then("a", 10, D0, 0, D0 + DAY * 40))


@pytest.mark.parametrize(
    ("days", "facts"),
    [
        (range(40), CROSSED),
        ((5, 5, 6, 6, 7, 7, 7), CROSSED),
        ((6, 9), CROSSED),
        ((10,), CROSSED[1:]),
        ((10, 5), CROSSED),
        ((20, 6, 13, 3), CROSSED),
        ((4, 30), []),
    ],
    ids=["daily", "doubled", "a day late each", "after an outage", "made up for", "in any order", "outside"],
)
async def test_t2_6_a_fact_for_each_crossing_whenever_the_scan_runs(
    both: Database, days: range | tuple[int, ...], facts: list[tuple[str, str]]
) -> None:
    await one_that_stopped(both)
    assert await daily(both, *days) == facts


async def test_a_second_fall_after_a_recovery_is_a_fact_of_its_own(both: Database) -> None:
    await put(both, account("a"))
    for number in range(-30, 120):
        stopped = 0 <= number < 10 or 60 <= number < 70
        await put(both, UsageDay(account_id="a", metric="activity", day=D0 + DAY * number, count=0 if stopped else 10))
    assert await daily(both, *range(100)) == [
        (on(5), "moderate"), (on(7), "severe"), (on(65), "moderate"), (on(67), "severe"),
    ]  # fmt: skip


async def test_counts_that_arrive_late_do_not_tell_of_the_same_fall_twice(both: Database) -> None:
    await put(both, account("a"), *constant_then("a", 10, D0, 0, D0 + DAY * 40))
    assert await daily(both, 7) == CROSSED[1:]
    async with both.writing() as session:
        for number in (-1, -2, -3):
            row = await session.get(UsageDay, ("a", "activity", D0 + DAY * number))
            assert row
            row.count = 0
    assert await daily(both, 8, 9) == CROSSED[1:]


async def test_starts_oldest_fact_days_a_fall_of_long_ago_is_not_put_on_record(both: Database) -> None:
    await one_that_stopped(both)
    found = await scanned(both, day=D0 + DAY * 17, policy={"starts": {"oldest_fact_days": 10}})
    assert (found.found, found.recorded, found.long_since) == (0, 0, 1)
    assert await told(both) == []
    found = await scanned(both, day=D0 + DAY * 16, policy={"starts": {"oldest_fact_days": 10}})
    assert (found.found, found.recorded, found.long_since) == (1, 1, 0)


async def test_each_segment_has_its_own_thresholds(both: Database) -> None:
    for name, segment in (("a", "enterprise"), ("b", "starter"), ("c", "")):
        await put(both, account(name, segment=segment), *windows(name, 10, 6))
    await scanned(both, policy={"segment": {"enterprise": {"usage": {"moderate_pct": 45}}}})
    assert [event_id.split("/")[1] for event_id, _ in await told(both)] == ["b", "c"]


async def test_p3_3_signs_are_risk_signals_raised_once_and_cleared_and_start_nothing(both: Database) -> None:
    await put(both, account("a"))
    logins = [UsageDay(account_id="a", metric="login", day=D0 - DAY * number, count=1) for number in range(31, 61)]
    few = [UsageDay(account_id="a", metric="login", day=D0 - DAY * number, count=1) for number in (1, 2)]
    report = UsageDay(account_id="a", metric="report", day=D0 - DAY * 20, count=1)
    await put(both, *logins, *few, report)
    rules = {"usage": {"severe_pct": 100, "moderate_pct": 99}}
    for number in (0, 0, 1, 10, 11, 12):
        await scanned(both, day=D0 + DAY * number, policy=rules)
    late = [("a", "few logins", D0, None), ("a", "no reports", D0 + DAY * 11, None)]
    assert await signals(both) == late
    await put(
        both,
        *(UsageDay(account_id="a", metric="login", day=D0 + DAY * number, count=9) for number in (12, 13)),
        UsageDay(account_id="a", metric="report", day=D0 + DAY * 13, count=1),
    )
    await scanned(both, day=D0 + DAY * 14, policy=rules)
    await scanned(both, day=D0 + DAY * 11, policy=rules)
    ended = D0 + DAY * 14
    assert await signals(both) == [(*row[:3], ended) for row in late]
    assert await told(both) == []


@pytest.mark.parametrize("zone", ["America/New_York", "Pacific/Auckland"])
async def test_days_are_utc_whatever_the_zone_or_the_change_of_clocks(
    both: Database, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        await put(both, account("a"), *constant_then("a", 10, date(2026, 3, 5), 0, date(2026, 4, 10)))
        for number in range(25):
            await scanned(both, day=date(2026, 3, 5) + DAY * number)
        assert [row[7] for row in await facts_of(both)] == [
            datetime(2026, 3, 10, tzinfo=UTC),
            datetime(2026, 3, 12, tzinfo=UTC),
        ]
    finally:
        monkeypatch.undo()
        time.tzset()


async def test_a_page_asks_as_many_queries_for_many_accounts_as_for_few(both: Database) -> None:
    async def queries(names: list[str]) -> int:
        await put(both, *(account(name) for name in names))
        await put(both, *(row for name in names for row in constant_then(name, 10, D0, 0, D0 + DAY * 5)))
        asked: list[str] = []

        def note(conn: object, cursor: object, statement: str, *rest: object) -> None:
            if statement.startswith(("SELECT", "WITH")):
                asked.append(statement)

        event.listen(both.engine.sync_engine, "before_cursor_execute", note)
        try:
            found = await scanned(both, day=D0 + DAY * 5, page=1000)
        finally:
            event.remove(both.engine.sync_engine, "before_cursor_execute", note)
        assert found.recorded == len(names)
        return len(asked)

    few = await queries(["a"])
    assert await queries([f"b{number}" for number in range(40)]) == few
