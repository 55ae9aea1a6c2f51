"""What the scores of an account are made from, beside its metrics: its primary model, its live risk signals."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any, Final

import orjson
from sqlalchemy import ColumnElement, and_, case, or_
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from models.days import midnight
from models.health.risk import SIGNALS, is_live
from models.health.scorecard import THOUSANDTH
from models.onboarding import variant_for
from models.policy import Policy
from models.tables import OURSELVES, Account, InboxEvent, RiskSignal

ONBOARDING: Final = "h2"
ONBOARDING_DAYS: Final = 30
LONGEST_TAIL: Final = timedelta(days=1 + max(signal.days for signal in SIGNALS if signal.while_open))
"""No cleared signal counts longer than this."""


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
        if is_live(name, raised, cleared, day)
    }
    return sorted(live)


def crossing(kind: str, day: date, account: str, model: str, was: str, band: str, score: int) -> InboxEvent:
    """The fact of a band that an account came into on a business day; told twice it is one (H0.4)."""
    said = {"account": account, "value": band, "from": was, "model": model, "score": score // THOUSANDTH}
    return InboxEvent(
        source=OURSELVES,
        event_id=f"{kind}/{account}/{day}/{model}/{band}",
        type=kind,
        kind=kind,
        account_id=account,
        object_id=model,
        value=band,
        occurred_at=midnight(day),
        body=orjson.dumps({"type": kind, "data": said}),
    )
