"""One account scored anew at the moment its readings change, by the same definitions as the day's pass (T2.1, T2.4).

What it writes is what the pass would write on that day, so that the pass finds nothing more to do.
"""

from datetime import datetime

from sqlmodel.ext.asyncio.session import AsyncSession

from models import facts, ledger
from models.days import midnight
from models.health import CARDS
from models.health.known import crossing
from models.health.metrics import readings_of
from models.health.rows import AccountHealth, AccountMetrics, HealthChange
from models.health.scorecard import THOUSANDTH
from models.tables import Account


async def rescore(session: AsyncSession, account: str, at: datetime) -> bool:
    """Score an account by every model, and tell of a band that its primary model crossed; whether anything changed.

    An account that no pass has scored yet is left to the pass, whose first score is never a crossing.
    """
    row = await session.get(Account, account, with_for_update=True)
    known = await session.get(AccountHealth, account, with_for_update=True)
    if row is None or known is None or row.churned_at is not None:
        return False
    metrics = await session.get(AccountMetrics, account, populate_existing=True)
    readings = readings_of(metrics.readings if metrics else {})
    said, day, changed = dict(known.standings), at.date(), False
    for card in CARDS:
        was, held = said.get(f"{card.name}_score"), str(said.get(f"{card.name}_band") or "")
        now = card.standing(readings, held)
        moved = (now.whole, now.band) != (None if was is None else was // THOUSANDTH, held)
        if not moved and now.coverage == (said.get(f"{card.name}_coverage") or 0):
            continue
        changed = True
        said |= {
            f"{card.name}_score": now.score,
            f"{card.name}_band": now.band or None,
            f"{card.name}_coverage": now.coverage,
        }
        if moved:
            await session.merge(
                HealthChange(
                    account_id=account,
                    model=card.name,
                    at=midnight(day),
                    score=now.score,
                    band=now.band,
                    coverage=now.coverage,
                )
            )
        if card.name == known.model:
            known.score, known.coverage = now.score, now.coverage
            if now.score is not None:
                row.health = now.score // THOUSANDTH
                await _tell(session, known, row, now.band, now.score, at)
                known.band = now.band
    if changed:
        known.standings, known.at = said, midnight(day)
        known.version += 1
        session.add_all((known, row))
    return changed


async def _tell(session: AsyncSession, known: AccountHealth, row: Account, band: str, score: int, at: datetime) -> None:
    if not known.band or known.band == band:
        return
    event = crossing(facts.HEALTH_BAND_CHANGED, at.date(), row.id, known.model, known.band, band, score)
    event.occurred_at, event.at_stake, event.currency = at, row.mrr, row.currency
    await ledger.insert_once(session, event)
