"""Risk signals at the moment they are told, and the level they bring about: alerts do not wait for a pass (T2.4)."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Final

from sqlmodel import col, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from models import facts, ledger
from models.at_risk import LEVELS
from models.days import midnight
from models.health.known import crossing
from models.health.risk import RISK, SEVERAL, SIGNALS, is_live, standing
from models.health.rows import AccountHealth, HealthChange
from models.tables import Account, RiskSignal

NAMES: Final = tuple(signal.name for signal in SIGNALS)


async def signals_of(session: AsyncSession, account: str) -> Sequence[RiskSignal]:
    """Every signal an account ever had, the oldest first."""
    statement = select(RiskSignal).where(RiskSignal.account_id == account)
    return (await session.exec(statement.order_by(col(RiskSignal.raised_at), col(RiskSignal.key)))).all()


def live_on(signals: Iterable[RiskSignal], day: date) -> dict[str, date]:
    """Those that count on a business day, each with the day it was raised on (H7)."""
    found: dict[str, date] = {}
    for row in signals:
        if is_live(row.signal, row.raised_at, row.cleared_at, day):
            found.setdefault(row.signal, row.raised_at.date())
    return found


async def raise_signal(session: AsyncSession, account: str, signal: str, key: str, at: datetime) -> bool:
    """Put a signal on an account, once by key; whether it is new. What level it brings about is told at once."""
    row = RiskSignal(key=key, account_id=account, signal=signal, raised_at=at)
    new = await ledger.insert_once(session, row)
    if new:
        await reassess(session, account, at)
    return new


async def clear_signal(session: AsyncSession, account: str, signal: str, at: datetime) -> None:
    """Take a signal off an account."""
    statement = update(RiskSignal).where(
        col(RiskSignal.account_id) == account,
        col(RiskSignal.signal) == signal,
        col(RiskSignal.cleared_at).is_(None),
    )
    await session.exec(statement.values(cleared_at=at))
    await reassess(session, account, at)


async def reassess(session: AsyncSession, account: str, at: datetime) -> None:
    """Work out an account's churn risk as of now, and tell of a level that is another than the one on record (H6).

    Of an account that no pass has scored yet, low is on record. A high level that several signals bring about is told
    as such, once a day: one of them alone, such as a payment that failed, is its own playbook's (P9.2).
    """
    await session.flush()
    day = at.date()
    # One after the other: two signals at once would each see the level without the other.
    row = await session.get(Account, account, with_for_update=True)
    if row is None or row.churned_at is not None:
        return
    live = live_on(await signals_of(session, account), day)
    now = standing(live)
    known = await session.get(AccountHealth, account, with_for_update=True)
    said = dict(known.standings) if known else {}
    was = str(said.get(f"{RISK}_band") or "low")
    if known and (now.score, now.band) != (said.get(f"{RISK}_score"), was):
        new = {f"{RISK}_score": now.score, f"{RISK}_band": now.band, f"{RISK}_coverage": now.coverage}
        known.standings = {**said, **new}
        known.version += 1
        session.add(known)
        change = HealthChange(
            account_id=account, model=RISK, at=midnight(day), score=now.score, band=now.band, coverage=now.coverage
        )
        await session.merge(change)
    several = now.band in LEVELS and len(live) > 1
    if several or now.band != was:
        event = crossing(
            facts.RISK_LEVEL_CHANGED, day, account, SEVERAL if several else RISK, was, now.band, now.score or 0
        )
        event.occurred_at, event.at_stake, event.currency = at, row.mrr, row.currency
        await ledger.insert_once(session, event)
