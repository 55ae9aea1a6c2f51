"""Signals told at the moment, and the level they bring about, on both databases (H6, H7, T2.4)."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from sqlmodel import col, select

from models.database import Database
from models.health import alerts
from models.health.risk import RISK
from models.health.rows import AccountHealth, HealthChange
from models.learning import BadFact, learn
from models.tables import Account, InboxEvent, RiskSignal
from tests.scans.customers import DAY, TODAY, account, put, scanned, told

NOON = datetime(2026, 3, 30, 12, tzinfo=UTC)


def fact(kind: str, value: str, name: str = "evt") -> InboxEvent:
    """What somebody told us."""
    known: dict[str, Any] = {"source": "told", "type": kind, "kind": kind, "occurred_at": NOON, "body": b"{}"}
    return InboxEvent(event_id=name, account_id="a", value=value, **known)


async def learned(database: Database, *events: InboxEvent) -> None:
    """Take in facts, one after the other."""
    for event in events:
        async with database.writing() as session:
            session.add(event)
            await session.flush()
            await learn(session, event)


async def levels(database: Database) -> list[str]:
    """The levels that were told, in order."""
    async with database.reading() as session:
        rows = (await session.exec(select(InboxEvent).order_by(col(InboxEvent.id)))).all()
    mine = [row for row in rows if row.kind == "risk.level_changed"]
    return [f"{orjson.loads(row.body)['data']['from']} -> {row.value}" for row in mine]


async def test_t2_4_a_signal_tells_of_its_level_at_once(both: Database) -> None:
    await put(both, account("a"))
    await learned(both, fact("risk.raised", "NPS below 6", "e1"))
    await learned(both, fact("risk.raised", "champion left", "e2"), fact("risk.raised", "competitor mentioned", "e3"))
    async with both.reading() as session:
        row = (await session.exec(select(InboxEvent).where(InboxEvent.value == "high"))).one()
    assert (row.account_id, row.object_id, row.occurred_at, row.at_stake) == ("a", "risk:several", NOON, 4900)


async def test_h6_each_level_that_is_crossed_is_told_once(both: Database) -> None:
    await put(both, account("a"))
    await scanned(both, "health")
    raised = [fact("risk.raised", name, name) for name in ("NPS below 6", "champion left", "billing page visits")]
    await learned(both, *raised)
    assert await levels(both) == ["low -> medium", "medium -> high", "high -> critical"]
    await learned(both, fact("risk.cleared", "champion left", "c1"), fact("risk.cleared", "billing page visits", "c2"))
    # High and medium were told today already: these are the same facts.
    assert await levels(both) == ["low -> medium", "medium -> high", "high -> critical"]
    async with both.reading() as session:
        known = await session.get(AccountHealth, "a")
        history = (await session.exec(select(HealthChange).where(HealthChange.model == RISK))).all()
    assert known and known.standings[f"{RISK}_band"] == "medium"
    assert (known.standings[f"{RISK}_score"], known.standings[f"{RISK}_coverage"]) == (30_000, 100)
    assert [(row.band, row.score) for row in history] == [("medium", 30_000)]
    # The day's pass finds what stands already.
    assert (await scanned(both, "health")).recorded == 0


async def test_h7_a_signal_told_twice_is_raised_once(both: Database) -> None:
    await put(both, account("a"))
    event = fact("risk.raised", "champion left")
    await learned(both, event)
    async with both.writing() as session:
        again = await session.get(InboxEvent, event.id)
        assert again
        again.learned = False
        await learn(session, again)
    async with both.reading() as session:
        (row,) = (await session.exec(select(RiskSignal))).all()
    assert (row.key, row.raised_at) == ("told/evt", NOON)


async def test_h7_two_signals_at_one_moment_both_count(both: Database) -> None:
    await put(both, account("a"))
    await scanned(both, "health")

    async def tell(name: str) -> None:
        async with both.writing() as session:
            await alerts.raise_signal(session, "a", name, name, NOON)

    await asyncio.gather(*(tell(name) for name in ("champion left", "seats removed", "competitor mentioned")))
    async with both.reading() as session:
        known = await session.get(AccountHealth, "a")
    assert known and (known.standings[f"{RISK}_band"], known.standings[f"{RISK}_score"]) == ("critical", 70_000)
    # The first alone, then two of them, then three.
    assert sorted(name.rpartition("/risk")[2] for name, _ in await told(both)) == [
        "/high",
        ":several/critical",
        ":several/high",
    ]


async def test_h7_of_who_has_left_nothing_is_told(both: Database) -> None:
    await put(both, Account(id="a", churned_at=NOON - timedelta(days=1)))
    await learned(both, fact("risk.raised", "champion left"))
    assert await levels(both) == []


@pytest.mark.parametrize("kind", ["risk.raised", "risk.cleared"])
async def test_h7_an_unknown_signal_is_refused_with_those_there_are(both: Database, kind: str) -> None:
    await put(both, account("a"))
    with pytest.raises(BadFact, match=f"{kind}: value is 'bad mood', expected one of logins halved, usage decline, "):
        await learned(both, fact(kind, "bad mood"))


@pytest.mark.parametrize(
    ("live", "expected"),
    [
        (["champion left"], "risk"),
        (["few logins", "no reports"], "risk:several"),
        (["champion left", "few logins"], "risk:several"),
    ],
)
async def test_h6_3_the_days_pass_says_too_whether_several_signals_bring_a_level_about(
    both: Database, live: list[str], expected: str
) -> None:
    await put(both, account("a"))
    await scanned(both, "health")
    rows = [RiskSignal(key=name, account_id="a", signal=name, raised_at=NOON) for name in live]
    await put(both, *rows)
    await scanned(both, "health", TODAY + DAY)
    async with both.reading() as session:
        (event,) = (await session.exec(select(InboxEvent))).all()
    assert (event.value, event.object_id) == ("high", expected)
