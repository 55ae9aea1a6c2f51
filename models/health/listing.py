"""The at-risk list: who is below 40, or may leave, with what is known and what is under way (H3.4, P8.2, T3.8)."""

from dataclasses import dataclass
from datetime import date
from typing import Final

from sqlmodel import col, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from models.at_risk import LEVELS
from models.health.alerts import live_on
from models.health.risk import standing
from models.tables import Account, CaseRow, RiskSignal

BELOW: Final = 40
"""Health below this puts an account on the list; its band is told beside it (X14)."""
PLAYBOOKS: Final = ("at-risk", "churn-risk")


@dataclass(frozen=True)
class AtRisk:
    """One account of the list. `mrr` in the minor unit; `runs` are open ones that see to it."""

    account: str
    company: str
    owner: str
    health: int | None
    risk: str
    signals: tuple[str, ...]
    mrr: int
    currency: str
    runs: tuple[str, ...]


async def at_risk(session: AsyncSession, day: date) -> list[AtRisk]:
    """Everybody on the list, the most revenue first."""
    raised = select(RiskSignal).join(Account, col(Account.id) == col(RiskSignal.account_id))
    here = col(Account.churned_at).is_(None)
    signals: dict[str, list[RiskSignal]] = {}
    for signal in (await session.exec(raised.where(here).order_by(col(RiskSignal.raised_at)))).all():
        signals.setdefault(signal.account_id, []).append(signal)
    live = {account: live_on(found, day) for account, found in signals.items()}
    grave = {account for account, found in live.items() if standing(found).band in LEVELS}
    runs: dict[str, list[str]] = {}
    cases = select(CaseRow.account_id, CaseRow.id).where(
        col(CaseRow.ended).is_(False), col(CaseRow.playbook).in_(PLAYBOOKS)
    )
    for account, case in (await session.exec(cases.order_by(CaseRow.id))).all():
        runs.setdefault(account, []).append(case)
    wanted = or_(col(Account.health) < BELOW, col(Account.id).in_({*grave, *runs}))
    rows = (await session.exec(select(Account).where(here, wanted).order_by(col(Account.mrr).desc(), Account.id))).all()
    return [
        AtRisk(
            account=row.id,
            company=row.company,
            owner=row.owner,
            health=row.health,
            risk=standing(live.get(row.id, {})).band,
            signals=tuple(live.get(row.id, {})),
            mrr=row.mrr,
            currency=row.currency,
            runs=tuple(runs.get(row.id, ())),
        )
        for row in rows
    ]
