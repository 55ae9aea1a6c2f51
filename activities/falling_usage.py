"""`models/usage.py` as SQL, for many accounts at once: severity (P3.1, P3.2, P3.4) and watch-only signs (P3.3).

A property test holds the two together, row by row, on both databases.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, exists, or_, select
from sqlmodel import col, func
from sqlmodel.ext.asyncio.session import AsyncSession

from models.customers import UsageDay
from models.days import midnight
from models.policy import Usage
from models.tables import Account
from models.usage import DOWN_ON_THE_MONTH, FEW_LOGINS, LOGIN_DAYS, NO_REPORTS, REPORT_DAYS


@dataclass(frozen=True)
class Judged:
    """An account of which there is something to say: its severity, empty if none, and its watch-only signs."""

    severity: str
    signs: tuple[str, ...]


async def severities(session: AsyncSession, day: date, rules: Usage, accounts: ColumnElement[bool]) -> dict[str, str]:
    """`moderate` or `severe` by account, as of a day (UTC), for those `accounts` where usage has fallen."""
    statement = _judgement(day, rules, accounts, with_signs=False)
    return {row.id: row.severity for row in (await session.exec(statement)).all()}  # type: ignore[call-overload]


async def judged(session: AsyncSession, day: date, rules: Usage, accounts: ColumnElement[bool]) -> dict[str, Judged]:
    """Severity and watch-only signs by account, as of a day (UTC), for those `accounts` that have either."""
    statement = _judgement(day, rules, accounts, with_signs=True)
    return {
        row.id: Judged(
            row.severity,
            tuple(
                sign
                for sign, is_so in ((FEW_LOGINS, row.few), (NO_REPORTS, row.none), (DOWN_ON_THE_MONTH, row.down))
                if is_so
            ),
        )
        for row in (await session.exec(statement)).all()  # type: ignore[call-overload]
    }


def _judgement(day: date, rules: Usage, accounts: ColumnElement[bool], *, with_signs: bool) -> Select[Any]:
    sums = _sums(day, rules, accounts).subquery()
    s = sums.c
    enough, logins_enough = s.use_before >= rules.min_baseline, s.logins_before >= rules.min_baseline
    fallen = (s.use_before - s.use_now) * 100
    severe = or_(
        and_(enough, fallen >= rules.severe_pct * s.use_before),
        and_(logins_enough, s.logins_now * 100 <= (100 - rules.severe_pct) * s.logins_before),
    )
    moderate = and_(enough, fallen > rules.moderate_pct * s.use_before)
    young = s.signed_up_at > midnight(day) - timedelta(days=rules.min_tenure_days)
    severity = case((young, ""), (severe, "severe"), (moderate, "moderate"), else_="")
    if not with_signs:
        inner = select(s.id, severity.label("severity")).subquery()
        return select(inner).where(inner.c.severity != "")
    of_reports = and_(UsageDay.account_id == s.id, UsageDay.metric == rules.report_metric, UsageDay.day < day)  # type: ignore[arg-type]
    ever = exists().where(of_reports, col(UsageDay.day) >= day - timedelta(days=REPORT_DAYS))
    lately = exists().where(of_reports, col(UsageDay.day) >= day - timedelta(days=LOGIN_DAYS), col(UsageDay.count) > 0)
    month_fallen = (s.month_before - s.month_now) * 100
    inner = select(
        s.id,
        severity.label("severity"),
        and_(logins_enough, s.logins_now < rules.few_logins).label("few"),
        and_(ever, ~lately).label("none"),
        and_(s.month_before >= rules.min_baseline, month_fallen >= rules.moderate_pct * s.month_before).label("down"),
    ).subquery()
    return select(inner).where(or_(inner.c.severity != "", inner.c.few, inner.c.none, inner.c.down))


def _sums(day: date, rules: Usage, accounts: ColumnElement[bool]) -> Select[Any]:
    """The windows of each account, from one pass over the days that any of them holds."""
    longest = 2 * max(rules.window_days, LOGIN_DAYS)
    days = and_(
        UsageDay.account_id == Account.id,  # type: ignore[arg-type]
        col(UsageDay.metric).in_(sorted({rules.metric, rules.login_metric})),
        col(UsageDay.day) >= day - timedelta(days=longest),
        col(UsageDay.day) < day,
    )

    def total(metric: str, first: int, until: int) -> ColumnElement[Any]:
        """The sum from `first` days before the day up to, not including, `until` days before it."""
        within = and_(
            UsageDay.metric == metric,  # type: ignore[arg-type]
            col(UsageDay.day) >= day - timedelta(days=first),
            col(UsageDay.day) < day - timedelta(days=until),
        )
        return func.coalesce(func.sum(case((within, UsageDay.count), else_=0)), 0)

    span = rules.window_days
    return (
        select(
            col(Account.id),
            col(Account.signed_up_at),
            total(rules.metric, span, 0).label("use_now"),
            total(rules.metric, 2 * span, span).label("use_before"),
            total(rules.login_metric, LOGIN_DAYS, 0).label("logins_now"),
            total(rules.login_metric, 2 * LOGIN_DAYS, LOGIN_DAYS).label("logins_before"),
            total(rules.metric, LOGIN_DAYS, 0).label("month_now"),
            total(rules.metric, 2 * LOGIN_DAYS, LOGIN_DAYS).label("month_before"),
        )
        .select_from(Account)
        .outerjoin(UsageDay, days)
        .where(accounts)
        .group_by(col(Account.id))
    )
