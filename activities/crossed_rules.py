"""The rules scan (T3): which rules of the table hold for each account of a page. Two queries a page, reads only."""

from collections.abc import Iterator
from datetime import date
from typing import Any

from sqlalchemy import ColumnElement
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from models.customers import UsageDay
from models.days import midnight
from models.facts import RULE_CROSSED
from models.health.rows import AccountMetrics
from models.policy import Usage
from models.rules import crossed
from models.tables import OURSELVES, Account, InboxEvent


async def crossings(session: AsyncSession, day: date, rules: Usage, within: ColumnElement[bool]) -> list[InboxEvent]:
    """A fact for each rule that holds for an account; one a month, however often it is looked."""
    statement = (
        select(Account, AccountMetrics.readings)
        .join(AccountMetrics, col(AccountMetrics.account_id) == col(Account.id), isouter=True)
        .where(within, col(Account.churned_at).is_(None))
        .order_by(col(Account.id))
    )
    logins = (
        select(UsageDay.account_id, func.max(UsageDay.day))
        .join(Account, col(Account.id) == col(UsageDay.account_id))
        .where(within, UsageDay.metric == rules.login_metric, UsageDay.count > 0, UsageDay.day < day)
        .group_by(UsageDay.account_id)
    )
    last_login = dict((await session.exec(logins)).all())
    found = []
    for account, readings in (await session.exec(statement)).all():
        known = dict(_known(account, last_login.get(account.id), day))
        for rule in crossed({**(readings or {}), **known}):
            found.append(_event(account, rule.name, day))
    return found


def _known(account: Account, last_login: date | None, day: date) -> Iterator[tuple[str, Any]]:
    """What our own tables say beside the metrics. Who never logged in is onboarding's, not ours."""
    if account.signed_up_at:
        yield "tenure_days", (midnight(day) - account.signed_up_at).days
    if last_login:
        yield "days_since_login", (day - last_login).days


def _event(account: Account, rule: str, day: date) -> InboxEvent:
    subject = f"{account.id}:{rule}/{day:%Y-%m}"
    return InboxEvent(
        source=OURSELVES,
        event_id=f"{RULE_CROSSED}/{subject}",
        type=RULE_CROSSED,
        kind=RULE_CROSSED,
        account_id=account.id,
        subject=subject,
        value=rule,
        at_stake=account.mrr,
        currency=account.currency,
        occurred_at=midnight(day),
        body=b"{}",
    )
