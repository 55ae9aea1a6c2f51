"""What the scores of an account are made from, beside its metrics: its primary model, its live risk signals."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, case, or_
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from models.health.risk import SIGNALS, signal_named
from models.onboarding import variant_for
from models.policy import Policy
from models.tables import Account, RiskSignal

ONBOARDING: Final = "h2"
ONBOARDING_DAYS: Final = 30
LONGEST_TAIL: Final = timedelta(days=1 + max(signal.days for signal in SIGNALS if signal.while_open))
"""No cleared signal counts longer than this."""


def midnight(day: date) -> datetime:
    """When a business day begins (UTC)."""
    return datetime.combine(day, time(), UTC)


def primary_model(policy: Policy, day: date) -> Any:
    """The model that speaks for an account, as a column: for 30 days a self-service customer is onboarding (H0.2)."""
    served = [name for name in policy.onboarding.variant if variant_for(name, policy.onboarding) != "self_service"]
    began = col(Account.signed_up_at) >= midnight(day - timedelta(days=ONBOARDING_DAYS))
    return case((and_(began, col(Account.segment).not_in(served)), ONBOARDING), else_=policy.health.model)


async def live_signals(session: AsyncSession, day: date, *whose: ColumnElement[bool]) -> Sequence[tuple[str, str]]:
    """The signals that count on this day, each once with its account, in order (H7)."""
    recent = or_(col(RiskSignal.cleared_at).is_(None), col(RiskSignal.cleared_at) > midnight(day) - LONGEST_TAIL)
    statement = select(
        RiskSignal.account_id, RiskSignal.signal, col(RiskSignal.raised_at), col(RiskSignal.cleared_at)
    ).where(*whose, recent)
    live = {
        (account, name)
        for account, name, raised, cleared in (await session.exec(statement)).all()
        if signal_named(name).is_live(raised.date(), cleared.date() if cleared else None, day)
    }
    return sorted(live)
