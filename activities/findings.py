"""What each daily scan finds on one page of accounts. Reads only, a fixed number of queries a page.

Every finding's id follows from the data alone, not from when the scan ran, so that a scan that was killed, doubled or
made up for ends in the same rows as a clean one.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import ColumnElement, and_, or_
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from activities import falling_usage
from activities.crossed_rules import crossings
from models import facts
from models.customers import Contract
from models.days import midnight
from models.policy import Policy, PolicyFile
from models.scans import Which
from models.tables import OURSELVES, Account, InboxEvent, RiskSignal
from models.usage import WATCH_ONLY

if TYPE_CHECKING:
    from models.health.scoring import Changes

KINDS: Final[dict[Which, str]] = {
    "usage": facts.USAGE_DECLINED,
    "renewals": facts.RENEWAL_AHEAD,
    "cards": facts.CARD_EXPIRING,
    "health": facts.HEALTH_BAND_CHANGED,
    "rules": facts.RULE_CROSSED,
}
MONTHLY: Final = ("monthly", "month-to-month")
"""Terms without a renewal of their own (P6.18)."""
RENEWS: Final = ("active", "sent")
Told = tuple[date, str]
RANK: Final = {"": 0, "moderate": 1, "severe": 2}


@dataclass
class Page:
    """What is due on one page of accounts: facts, watch-only signals to raise and (by key) to clear, changed scores.

    `events` are those not on record yet, in the order of their accounts; `by_value` counts them all by severity.
    """

    after: str = ""
    accounts: int = 0
    last: bool = False
    found: int = 0
    events: list[InboxEvent] = field(default_factory=list)
    by_value: dict[str, int] = field(default_factory=dict)
    long_since: int = 0
    raised: list[RiskSignal] = field(default_factory=list)
    cleared: list[str] = field(default_factory=list)
    scores: "Changes | None" = None


async def page_of(session: AsyncSession, which: Which, day: date, policy: PolicyFile, after: str, size: int) -> Page:
    """What the scan finds among the next `size` accounts by id, as of a day (UTC)."""
    if which == "health":
        return await _health(session, day, policy.default, after, size)
    ids = select(Account.id).where(Account.id > after).order_by(col(Account.id)).limit(size).subquery()
    count, last = (await session.exec(select(func.count(ids.c.id), func.max(ids.c.id)))).one()
    page = Page(after=last or after, accounts=count, last=count < size)
    if not count:
        return page
    within = and_(Account.id > after, Account.id <= last)  # type: ignore[arg-type]
    if which == "usage":
        await _usage(session, day, policy, within, page)
    else:
        look = {"renewals": _renewals, "cards": _cards, "rules": _rules}[which]
        found = await look(session, day, policy, within)
        await _keep_new(session, found, page)
    return page


async def _health(session: AsyncSession, day: date, policy: Policy, after: str, size: int) -> Page:
    """Every model's scores that changed, and bands that were crossed (H0.4)."""
    # Takes half a second to import, which nothing else needs.
    from models.health import scoring

    read = await scoring.read_page(session, day, policy, after, size)
    scores = await scoring.changes_of(read, day)
    page = Page(after=read.after, accounts=read.rows.height, last=read.last, found=len(scores.events), scores=scores)
    page.events = scores.events
    page.by_value = dict(sorted(Counter(event.value for event in page.events).items()))
    return page


async def _rules(session: AsyncSession, day: date, policy: PolicyFile, within: ColumnElement[bool]) -> list[InboxEvent]:
    """Every rule that holds for an account (T3)."""
    return await crossings(session, day, policy.default.usage, within)


def _groups(policy: PolicyFile) -> Iterator[tuple[Policy, ColumnElement[bool]]]:
    """Each policy there is, and which accounts it is for."""
    named = sorted(policy.segments)
    yield policy.default, col(Account.segment).not_in(named)
    for name in named:
        yield policy.for_segment(name), col(Account.segment) == name


def _event(which: Which, day: date, account: str, key: str, **more: Any) -> InboxEvent:
    kind = KINDS[which]
    return InboxEvent(
        source=OURSELVES,
        event_id=f"{kind}/{key}",
        type=kind,
        kind=kind,
        account_id=account,
        occurred_at=midnight(day),
        body=b"{}",
        **more,
    )


async def _keep_new(session: AsyncSession, found: list[InboxEvent], page: Page) -> None:
    """Count what was found, and keep what is not on record yet."""
    page.found += len(found)
    for event in found:
        if event.value:
            page.by_value[event.value] = page.by_value.get(event.value, 0) + 1
    statement = select(InboxEvent.event_id).where(
        InboxEvent.source == OURSELVES, col(InboxEvent.event_id).in_([event.event_id for event in found])
    )
    known = set((await session.exec(statement)).all()) if found else set()
    page.events += [event for event in found if event.event_id not in known]


# Contracts and cards: the day is in the subject, so that each renewal and each card is found once.


async def _renewals(
    session: AsyncSession, day: date, policy: PolicyFile, within: ColumnElement[bool]
) -> list[InboxEvent]:
    """Every contract that renews within the days of preparation (P6.1, T2.2); one that is closer too (P6.13)."""
    ahead = [
        and_(mine, col(Contract.renews_on) <= day + timedelta(days=rules.renewal.prepare_day))
        for rules, mine in _groups(policy)
    ]
    statement = (
        select(Contract)
        .join(Account, col(Account.id) == col(Contract.account_id))
        .where(
            within,
            or_(*ahead),
            col(Contract.renews_on) >= day,
            col(Contract.term).not_in(MONTHLY),
            col(Contract.state).in_(RENEWS),
            col(Account.churned_at).is_(None),
        )
        .order_by(col(Contract.account_id), col(Contract.renews_on), col(Contract.id))
    )
    return [
        _event(
            "renewals",
            day,
            row.account_id,
            f"{row.id}/{row.renews_on}",
            subject=f"{row.id}/{row.renews_on}",
            object_id=row.id,
            at_stake=row.value,
            currency=row.currency,
        )
        for row in (await session.exec(statement)).all()
    ]


async def _cards(session: AsyncSession, day: date, policy: PolicyFile, within: ColumnElement[bool]) -> list[InboxEvent]:
    """Every card on file that expires within the days of the first alert, that day included (P2.1)."""
    soon = [
        and_(mine, col(Account.card_expires_on) <= day + timedelta(days=rules.card_expiry.days[0]))
        for rules, mine in _groups(policy)
    ]
    statement = (
        select(Account)
        .where(within, or_(*soon), col(Account.card_expires_on) >= day, col(Account.churned_at).is_(None))
        .order_by(col(Account.id))
    )
    return [
        _event(
            "cards",
            day,
            row.id,
            f"{row.id}/{row.card_expires_on}",
            subject=f"{row.id}/{row.card_expires_on}",
            at_stake=row.mrr,
            currency=row.currency,
        )
        for row in (await session.exec(statement)).all()
    ]


# Usage: a fact for each time it gets worse, dated on the day it did.


async def _usage(session: AsyncSession, day: date, policy: PolicyFile, within: ColumnElement[bool], page: Page) -> None:
    here = and_(within, col(Account.churned_at).is_(None))
    signs: dict[str, tuple[str, ...]] = {}
    worse: list[Fall] = []
    for rules, mine in _groups(policy):
        said = await falling_usage.judged(session, day, rules.usage, and_(here, mine))
        signs |= {account: each.signs for account, each in said.items() if each.signs}
        fallen = {account: each.severity for account, each in said.items() if each.severity}
        rises = await _when_it_got_worse(session, day, rules, fallen, policy.default.starts.oldest_fact_days)
        page.long_since += len(fallen) - len(rises)
        worse += rises
    page.found += len(worse)
    for fall in worse:
        page.by_value[fall.severity] = page.by_value.get(fall.severity, 0) + 1
    new = {fall.account: fall for fall in worse if not fall.told}
    page.events += [
        _event(
            "usage",
            new[row.id].began,
            row.id,
            f"{row.id}/{new[row.id].began}",
            value=new[row.id].severity,
            at_stake=row.mrr,
            currency=row.currency,
        )
        for row in await _accounts(session, list(new))
    ]
    await _signals(session, day, within, signs, page)


@dataclass(frozen=True)
class Fall:
    """An account's use got worse on the day `began`; `told` if a fact that says so is on record."""

    account: str
    began: date
    severity: str
    told: bool


async def _when_it_got_worse(
    session: AsyncSession, day: date, rules: Policy, fallen: Mapping[str, str], days: int
) -> list[Fall]:
    """For each fallen account the last day on which its severity rose, and to what.

    Nearly always that is the scan's own day, or one for which a fact is on record; after days without a scan it is
    found all the same. Accounts that fell `days` days ago or more are left out: the fact would start nothing.
    """
    told = await _told(session, day - timedelta(days=days), day, sorted(fallen))
    now, rises = dict(fallen), list[Fall]()
    for back in range(days):
        this = day - timedelta(days=back)
        for account, severity in list(now.items()):
            # Counts that arrive late may move the day a fall began; whoever was told of it is not told again.
            known = [what for at, what in told.get(account, ()) if at >= this and RANK[what] >= RANK[severity]]
            if known:
                rises.append(Fall(account, this, max(known, key=lambda what: RANK[what]), told=True))
                del now[account]
        if not now:
            break
        among = col(Account.id).in_(sorted(now))
        before = await falling_usage.severities(session, this - timedelta(days=1), rules.usage, among)
        rises += [
            Fall(account, this, severity, told=False)
            for account, severity in now.items()
            if RANK[before.get(account, "")] < RANK[severity]
        ]
        now = {account: before[account] for account in now if RANK[before.get(account, "")] >= RANK[now[account]]}
    return rises


async def _told(session: AsyncSession, since: date, until: date, accounts: list[str]) -> dict[str, list[Told]]:
    """The facts on record about falling usage, by account: of which day, how severe."""
    statement = select(InboxEvent.account_id, InboxEvent.occurred_at, InboxEvent.value).where(
        InboxEvent.source == OURSELVES,
        InboxEvent.kind == facts.USAGE_DECLINED,
        col(InboxEvent.account_id).in_(accounts),
        InboxEvent.occurred_at >= midnight(since),
        InboxEvent.occurred_at <= midnight(until),
    )
    told: dict[str, list[Told]] = {}
    for account, at, value in (await session.exec(statement)).all() if accounts else ():
        told.setdefault(account, []).append((at.date(), value))
    return told


async def _accounts(session: AsyncSession, ids: list[str]) -> Sequence[Account]:
    """These accounts, in the order of their ids."""
    statement = select(Account).where(col(Account.id).in_(ids)).order_by(col(Account.id))
    return (await session.exec(statement)).all() if ids else ()


async def _signals(
    session: AsyncSession, day: date, within: ColumnElement[bool], signs: Mapping[str, tuple[str, ...]], page: Page
) -> None:
    """Raise each sign once, and clear it when it is gone (P3.3). What a later day's scan said stands."""
    statement = (
        select(RiskSignal)
        .join(Account, col(Account.id) == col(RiskSignal.account_id))
        .where(
            within,
            col(RiskSignal.signal).in_(WATCH_ONLY),
            or_(col(RiskSignal.cleared_at).is_(None), col(RiskSignal.cleared_at) > midnight(day)),
        )
    )
    known = (await session.exec(statement)).all()
    stands = {(row.account_id, row.signal) for row in known}
    page.raised += [
        RiskSignal(key=f"watch/{account}/{sign}/{day}", account_id=account, signal=sign, raised_at=midnight(day))
        for account in sorted(signs)
        for sign in signs[account]
        if (account, sign) not in stands
    ]
    page.cleared += [
        row.key
        for row in known
        if row.cleared_at is None and row.raised_at < midnight(day) and row.signal not in signs.get(row.account_id, ())
    ]
