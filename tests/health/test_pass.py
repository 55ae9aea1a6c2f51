"""The pass over all accounts (ledger H0.2 to H0.4, H6, T2.1): changes only, one fact a crossing, once."""

from datetime import UTC, date, datetime
from typing import Any

from sqlmodel import select

from models.database import Database
from models.health.recording import record_metrics
from models.health.rows import AccountHealth, HealthChange
from models.health.scoring import MODELS
from models.tables import Account
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
