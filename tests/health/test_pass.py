"""The pass over all accounts (ledger H0.2 to H0.4, H6, T2.1): changes only, one fact a crossing, once."""

from datetime import UTC, date, datetime
from typing import Any

import orjson
import pytest
from sqlmodel import col, select

from activities.scans import HOUR, Scans
from models.database import Database
from models.health.explaining import known_of
from models.health.metrics import BadMetric
from models.health.recording import record_metrics
from models.health.rows import AccountHealth, AccountMetrics, HealthChange
from models.health.scoring import MODELS
from models.policy import PolicyFile
from models.scans import Found, Scan
from models.tables import Account, InboxEvent, RiskSignal
from tests.scans.customers import DAY, TODAY, account, facts_of, put, rows, scanned

EXCELLENT: dict[str, Any] = {
    "logins_per_week": 7,
    "core_feature_pct": 90,
    "session_minutes": 20,
    "email_engagement": "replies",
    "support_sentiment": "advocate",
    "community": "leader",
    "nps": 10,
    "executive_sponsor": "champion",
    "stakeholders": "org_wide",
    "payment": "auto_pay",
    "contract": "multi_year",
    "growth": "high",
}


def noon(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 12, tzinfo=UTC)


async def told(database: Database, name: str, day: date = TODAY - DAY, **values: Any) -> None:
    """Readings of an account."""
    async with database.writing() as session:
        await record_metrics(session, name, values, noon(day))


async def health(database: Database, name: str = "a") -> AccountHealth:
    """Where an account stands."""
    async with database.reading() as session:
        return (await session.exec(select(AccountHealth).where(AccountHealth.account_id == name))).one()


async def band_facts(database: Database) -> list[tuple[str, str]]:
    return [(row[0], row[4]) for row in await facts_of(database)]


async def test_h0_1_every_model_is_stored_and_the_primary_one_is_the_accounts_health(both: Database) -> None:
    await put(both, account("a"))
    await told(both, "a", **EXCELLENT)
    found = await scanned(both, "health")
    assert (found.accounts, found.found, found.recorded) == (1, 0, 0)
    stands = await health(both)
    assert (stands.model, stands.band, stands.score, stands.coverage) == ("h1", "healthy", 100_000, 100)
    parts = ("score", "band", "coverage")
    assert {name: tuple(stands.standings[f"{name}_{part}"] for part in parts) for name in MODELS} == {
        "h1": (100_000, "healthy", 100),
        "h2": (None, None, 15),
        "h3": (100_000, "healthy", 50),
        "h4": (None, None, 35),
        "h5": (None, None, 30),
        "risk": (0, "low", 100),
    }
    async with both.reading() as session:
        assert (await session.get_one(Account, "a")).health == 100
    changes = await rows(both, HealthChange, ("model", "score", "band", "coverage"))
    assert changes == [("h1", 100_000, "healthy", 100), ("h3", 100_000, "healthy", 50)]
    assert await facts_of(both) == []


async def bands(database: Database, *steps: tuple[dict[str, Any], tuple[int | None, str]]) -> None:
    """Tell of account a what each step says, score the next day, and expect this score and band of H1."""
    for number, (values, expected) in enumerate(steps):
        await told(database, "a", TODAY + DAY * number - DAY, **values)
        await scanned(database, "health", TODAY + DAY * number)
        stands = await health(database)
        assert (stands.score, stands.band) == expected, number


async def test_h0_4_a_crossing_is_one_fact_and_a_move_inside_a_band_or_less_than_two_points_beyond_is_none(
    both: Database,
) -> None:
    await put(both, account("a"))
    await bands(
        both,
        (EXCELLENT, (100_000, "healthy")),
        # 15 and 5 points less, then 1.5: 78.5 is below 80, and not two points below.
        ({"logins_per_week": 0, "payment": "often_late"}, (80_000, "healthy")),
        ({"core_feature_pct": 80}, (77_000, "stable")),
        ({"core_feature_pct": 90, "payment": "sometimes_late"}, (82_500, "healthy")),
        ({"payment": "often_late"}, (80_000, "healthy")),
        ({"growth": "growing"}, (79_000, "healthy")),
    )
    days = [TODAY + DAY * number for number in range(6)]
    found = [
        (f"health.band_changed/a/{days[2]}/h1/stable", "stable"),
        (f"health.band_changed/a/{days[3]}/h1/healthy", "healthy"),
    ]
    assert await band_facts(both) == found
    changes = await rows(both, HealthChange, ("model", "at", "score", "band"))
    assert [(at.date(), score, band) for model, at, score, band in changes if model == "h1"] == [
        (days[0], 100_000, "healthy"),
        (days[1], 80_000, "healthy"),
        (days[2], 77_000, "stable"),
        (days[3], 82_500, "healthy"),
        (days[4], 80_000, "healthy"),
        (days[5], 79_000, "healthy"),
    ]


async def test_h0_4_the_fact_says_from_where_and_a_fraction_of_a_point_is_no_change(both: Database) -> None:
    await put(both, account("a"))
    await bands(
        both, (EXCELLENT, (100_000, "healthy")), ({"logins_per_week": 0, "core_feature_pct": 1}, (70_000, "stable"))
    )
    async with both.reading() as session:
        event = (await session.exec(select(InboxEvent))).one()
    said = {"account": "a", "value": "stable", "from": "healthy", "model": "h1", "score": 70}
    assert orjson.loads(event.body) == {"type": "health.band_changed", "data": said}
    assert (event.kind, event.object_id, event.subject, event.state) == ("health.band_changed", "h1", "", "pending")
    before = await health(both)
    # 98.5 points of 100 against 100 of 105 ... a part of one point.
    await told(both, "a", TODAY + DAY, nps=10, session_minutes=19)
    found = await scanned(both, "health", TODAY + DAY * 2)
    assert (found.accounts, found.found) == (1, 0)
    assert await health(both) == before


async def test_h0_3_below_half_of_the_weights_nothing_is_said_and_the_last_band_is_kept(both: Database) -> None:
    """What is told again crosses from the band that was known before the gap."""
    await put(both, account("a"))
    few = {name: EXCELLENT[name] for name in ("logins_per_week", "core_feature_pct", "session_minutes")}
    await bands(both, (few, (None, "")), ({"nps": 10}, (100_000, "healthy")))
    async with both.writing() as session:
        row = await session.get_one(AccountMetrics, "a")
        row.readings = few
        session.add(row)
    await bands(
        both, ({}, (None, "healthy")), ({"logins_per_week": 0, "core_feature_pct": 0, "nps": 5}, (20_000, "critical"))
    )
    assert await band_facts(both) == [(f"health.band_changed/a/{TODAY + DAY}/h1/critical", "critical")]


async def test_h0_2_the_first_30_days_of_a_self_service_account_are_onboarding(both: Database) -> None:
    def ago(days: int) -> datetime:
        return noon(TODAY - DAY * days)

    await put(
        both,
        account("new", signed_up_at=ago(29)),
        account("old", signed_up_at=ago(31)),
        account("unknown", signed_up_at=None),
    )
    await put(both, account("guided", signed_up_at=ago(29), segment="mid"))
    policy = {"onboarding": {"variant": {"mid": "guided"}}, "health": {"model": "h5"}}
    await scanned(both, "health", policy=policy)
    found = await rows(both, AccountHealth, ("account_id", "model"))
    assert found == [("guided", "h5"), ("new", "h2"), ("old", "h5"), ("unknown", "h5")]
    async with both.reading() as session:
        primary = [(await known_of(session, name, PolicyFile(policy).default, TODAY)).primary for name, _ in found]
    assert primary == ["h5", "h2", "h5", "h5"]


async def test_h0_2_when_the_model_that_speaks_changes_its_band_is_compared_with_what_was_told(both: Database) -> None:
    await put(both, account("a", signed_up_at=noon(TODAY - DAY * 29)))
    done = {"checklist_pct": 100, "campaigns": 2, "reports": 2, "open_tickets": 0}
    await told(both, "a", **{**EXCELLENT, **done, "logins_per_week": 0, "email_engagement": "no_opens"})
    await scanned(both, "health")
    assert (await health(both)).band == "healthy"
    await scanned(both, "health", TODAY + DAY * 3)
    assert (await health(both)).band == "stable"
    assert await band_facts(both) == [(f"health.band_changed/a/{TODAY + DAY * 3}/h1/stable", "stable")]


async def test_h6_a_level_of_churn_risk_that_changes_is_a_fact(both: Database) -> None:
    await put(both, account("a"), account("b"), risk_of("b", "data export started", TODAY))
    await scanned(both, "health")
    await put(both, risk_of("a", "seats removed", TODAY), risk_of("a", "few logins", TODAY))
    await scanned(both, "health", TODAY + DAY)
    stands = (await health(both)).standings
    assert (stands["risk_score"], stands["risk_band"]) == (60_000, "high")
    # A week after it began the export does not count any more; 14 days after, seats do not.
    await scanned(both, "health", TODAY + DAY * 7)
    await scanned(both, "health", TODAY + DAY * 14)
    day = [TODAY + DAY * number for number in range(15)]
    assert await band_facts(both) == [
        (f"risk.level_changed/a/{day[1]}/risk:several/high", "high"),
        (f"risk.level_changed/a/{day[14]}/risk/medium", "medium"),
        (f"risk.level_changed/b/{day[7]}/risk/low", "low"),
    ]
    changes = await rows(both, HealthChange, ("account_id", "model", "at", "score", "band"))
    assert [(name, model, at.date(), score, band) for name, model, at, score, band in changes] == [
        ("a", "risk", day[1], 60_000, "high"),
        ("a", "risk", day[14], 30_000, "medium"),
        ("b", "risk", day[0], 70_000, "critical"),
        ("b", "risk", day[7], 0, "low"),
    ]


def risk_of(name: str, signal: str, day: date) -> RiskSignal:
    """A signal raised on a day."""
    return RiskSignal(key=f"{name}/{signal}", account_id=name, signal=signal, raised_at=noon(day))


NAMES = ("a", "b'c", "c%d", "e\\f", 'g"h', "ü,i", "z")
"""Ids that a page is read after."""


async def everything(database: Database) -> list[Any]:
    """All that a pass writes, without the machine's clock."""
    tables = (
        (AccountHealth, ("account_id", "model", "band", "score", "version", "at")),
        (
            HealthChange,
            ("account_id", "model", "at", "score", "band", "coverage"),
        ),
    )
    return [*[await rows(database, table, names) for table, names in tables], await facts_of(database)]


async def fall(database: Database) -> None:
    """Everybody was well, and most are not any more."""
    await put(database, *(account(name) for name in NAMES), account("gone", churned_at=noon(TODAY)))
    for name in NAMES:
        await told(database, name, TODAY - DAY, **EXCELLENT)
    await scanned(database, "health", TODAY - DAY)
    for name in NAMES[1:]:
        await told(database, name, logins_per_week=0, core_feature_pct=0, nps=0)


async def test_t2_1_a_pass_killed_after_any_page_and_run_again_ends_in_the_same_rows_and_facts(both: Database) -> None:
    await fall(both)
    scans, scan = Scans(both, PolicyFile(), page=2), Scan(which="health", day=TODAY, window=10**9)
    found = Found()
    pages = [page async for page in scans.pages(scan, found)]
    assert [page.accounts for page in pages] == [2, 2, 1, 2, 0], "gone is passed over"
    await scans.put(scan, pages[0])
    # Killed here; a page that was read, and is written late, finds that somebody else has written it.
    again = await scanned(both, "health")
    assert (again.accounts, again.recorded) == (7, 5)
    expected = await everything(both)
    late = [await scans.put(scan, page) for page in pages]
    assert [each.recorded for each in late] == [0] * 5
    assert (await scanned(both, "health")).recorded == 0
    assert await everything(both) == expected
    assert [(event_id, value) for event_id, _, _, _, value, *_ in expected[2]] == [
        (f"health.band_changed/{name}/{TODAY}/h1/stable", "stable") for name in sorted(NAMES[1:])
    ]
    assert [row for row in expected[0] if row[0] == "gone"] == []


async def test_t2_1_of_two_passes_that_saw_different_readings_the_first_to_write_wins_whole(both: Database) -> None:
    """Else the slow one would put the old band back, and the crossing would be told a second time."""
    await fall(both)
    scan = Scan(which="health", day=TODAY, window=10**9)
    slow = Scans(both, PolicyFile())
    (page,) = [page async for page in slow.pages(scan, Found())]
    await told(both, "z", TODAY, session_minutes=0, contract="at_risk", payment="often_late", growth="contracting")
    await scanned(both, "health")
    expected = await everything(both)
    assert sorted(row[4] for row in expected[2]) == ["critical", *["stable"] * 5]
    assert (await slow.put(scan, page)).recorded == 0
    assert await everything(both) == expected


async def test_t2_1_facts_of_crossings_take_their_turns_by_the_hour(both: Database) -> None:
    await fall(both)
    await scanned(both, "health", policy={"starts": {"per_hour": 4}})
    async with both.reading() as session:
        due = sorted((await session.exec(select(col(InboxEvent.wall_next_try_at)))).all())
    assert len(due) == 6
    assert due[3] - due[0] < HOUR <= due[4] - due[0]


# Readings on record.


async def test_t1_20_of_each_metric_the_newest_reading_stays(both: Database) -> None:
    await put(both, account("a"))
    async with both.writing() as session:
        assert await record_metrics(session, "a", {"nps": 9, "growth": "High"}, noon(TODAY)) == ["nps", "growth"]
    async with both.writing() as session:
        older = await record_metrics(session, "a", {"nps": 3, "roi": 2.5}, noon(TODAY - DAY))
        assert older == ["roi"]
    async with both.writing() as session:
        assert await record_metrics(session, "a", {"nps": 9, "growth": "flat"}, noon(TODAY + DAY)) == ["growth"]
    async with both.reading() as session:
        row = await session.get_one(AccountMetrics, "a")
    assert row.readings == {"nps": 9, "growth": "flat", "roi": 2.5}
    assert row.told_at == {
        "nps": noon(TODAY + DAY).isoformat(),
        "growth": noon(TODAY + DAY).isoformat(),
        "roi": noon(TODAY - DAY).isoformat(),
    }


async def test_a_reading_that_cannot_be_taken_records_nothing(both: Database) -> None:
    await put(both, account("a"))
    with pytest.raises(BadMetric, match=r"^there is no metric 'npz'; there are logins_per_week, "):
        async with both.writing() as session:
            await record_metrics(session, "a", {"nps": 9, "npz": 9}, noon(TODAY))
    assert await rows(both, AccountMetrics, ("account_id",)) == []
