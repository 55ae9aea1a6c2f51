"""What the tests of low health and churn risk share: what an account's health was on which day, and its signals."""

from datetime import timedelta

from sqlmodel import col, delete

from models.days import midnight
from models.health.rows import AccountHealth, HealthChange
from models.tables import Account, RiskSignal
from tests.playbook_kit import Kit


async def was(kit: Kit, account: str, scores: dict[int, int], *, model: str = "h1", band: str = "at_risk") -> None:
    """The health of an account by days from today; the last one is what it is now."""
    async with kit.place.database.writing() as session:
        await session.exec(delete(HealthChange).where(col(HealthChange.account_id) == account))
        for day, score in scores.items():
            at = midnight(kit.today() + timedelta(days=day))
            session.add(HealthChange(account_id=account, model=model, at=at, score=score * 1000, band=band))
        now = list(scores.values())[-1]
        row = AccountHealth(account_id=account, model=model, band=band, score=now * 1000, at=midnight(kit.today()))
        await session.merge(row)
        known = await session.get(Account, account)
        assert known
        known.health = now
        session.add(known)


async def signal(kit: Kit, account: str, name: str, *, days_ago: int = 0) -> None:
    """A risk signal on an account, raised so many days ago; nobody is told of it."""
    at = midnight(kit.today() - timedelta(days=days_ago))
    await kit.add(RiskSignal(key=f"test/{account}/{name}/{days_ago}", account_id=account, signal=name, raised_at=at))
