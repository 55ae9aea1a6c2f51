"""The watches of low health and of churn risk: what our own tables say of an account today (P8, P9)."""

from datetime import date, datetime, timedelta

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from activities.known import Facts, Seen
from models import facts
from models.at_risk import LEVELS
from models.cases import Batch
from models.days import midnight
from models.health.alerts import live_on, signals_of
from models.health.risk import standing
from models.health.rows import AccountHealth, HealthChange
from models.health.scorecard import THOUSANDTH
from models.policy import Policy
from models.tables import Account

BETWEEN = "; "
"""Between names of signals, some of which have commas."""
A_DAY = timedelta(days=1)


class HealthWatch(Facts):
    """The health of an account, and whether it has been well for long enough (P8.11)."""

    name = "health"
    gives = Facts.gives | {"score", "signals"}

    async def see(
        self, session: AsyncSession, batch: Batch, account: Account, policy: Policy, opened: datetime, told: str
    ) -> Seen:
        """The signals that are up, and `health.recovered` where the score has stayed above the line."""
        day, rules = batch.now.date(), policy.at_risk
        known = await session.get(AccountHealth, account.id)
        line = rules.healthy_h5 if policy.health.model == "h5" else rules.healthy
        well = await _well_since(session, known, line, day) if known else None
        long_enough = well is not None and day - well >= timedelta(days=rules.healthy_days)
        signals = BETWEEN.join(live_on(await signals_of(session, account.id), day))
        return Seen(
            over=facts.HEALTH_RECOVERED if long_enough else "",
            readings={"signals": signals},
            fields={
                "score": "not known" if account.health is None else account.health,
                "signals": signals or "none",
            },
        )


async def _well_since(session: AsyncSession, known: AccountHealth, line: int, day: date) -> date | None:
    """Since which day the primary model's score has been at or above the line; None where it is not."""
    statement = (
        select(HealthChange)
        .where(
            HealthChange.account_id == known.account_id,
            HealthChange.model == known.model,
            HealthChange.at <= midnight(day),
        )
        .order_by(col(HealthChange.at).desc())
    )
    since = None
    for row in (await session.exec(statement)).all():
        if row.score is None or row.score < line * THOUSANDTH:
            break
        since = row.at.date()
    return since


class RiskWatch(Facts):
    """The churn risk of an account, and whether it has been low for long enough (P9.7)."""

    name = "risk"
    gives = Facts.gives | {"level", "signals"}

    async def see(
        self, session: AsyncSession, batch: Batch, account: Account, policy: Policy, opened: datetime, told: str
    ) -> Seen:
        """The level and its signals as of now, and `risk.calmed` where it has stayed below high since the start."""
        day, began = batch.now.date(), opened.date()
        signals = await signals_of(session, account.id)
        live = live_on(signals, day)
        days = policy.churn_risk.calm_days
        calm = all(
            standing(live_on(signals, day - back * A_DAY)).band not in LEVELS and day - back * A_DAY > began
            for back in range(days)
        )
        first = min((raised for raised in live.values() if raised < began), default=began)
        return Seen(
            over=facts.RISK_CALMED if calm else "",
            readings={
                "signals": BETWEEN.join(live),
                "risk_level": standing(live).band,
                "signal_days": (day - first).days,
            },
            fields={"level": standing(live).band, "signals": BETWEEN.join(live) or "none"},
        )
