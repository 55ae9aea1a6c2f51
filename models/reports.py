"""The weekly summary and the monthly review (T2.5): what runs came to, what it brought, what lies ahead."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any, Final, Literal

from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from models import ledger
from models.customers import Contract
from models.days import midnight
from models.health.scorecard import DEFAULT_BANDS, default_band
from models.money import money
from models.tables import Account, CaseRow, EffectRow, InboxEvent, TaskRow

Period = Literal["week", "month"]
PERIODS: Final[tuple[Period, ...]] = ("week", "month")
TITLES: Final[dict[Period, str]] = {"week": "Weekly summary", "month": "Monthly review"}
AHEAD: Final = timedelta(days=90)
RECOVERED: Final = "recovered"


@dataclass(frozen=True)
class Report:
    """Figures of a period, from its first day up to but not including `until`. Money in the minor unit, by currency."""

    period: Period
    since: date
    until: date
    started: dict[str, int]
    ended: dict[str, dict[str, int]]
    """By playbook, how runs ended."""
    open_now: dict[str, int]
    at_stake: dict[str, int]
    """What payment failures that ended in the period were about."""
    recovered: dict[str, int]
    customers: int
    health: dict[str, int]
    renewals_ahead: int
    tasks_overdue: int
    in_doubt: int
    dead_facts: int

    @property
    def name(self) -> str:
        """What the period is called."""
        return name_of(self.period, self.since)

    @property
    def title(self) -> str:
        """The report's heading."""
        last = self.until - timedelta(days=1)
        span = f"{self.since:%B %Y}" if self.period == "month" else f"{self.since.day} {self.since:%B} to {_day(last)}"
        return f"{TITLES[self.period]}: {span}"

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return asdict(self) | {
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
            "name": self.name,
            "recovery_pct": self.recovery_pct,
        }

    @property
    def recovery_pct(self) -> dict[str, int]:
        """How much of what was at stake came back, by currency, rounded down."""
        return {name: 100 * self.recovered.get(name, 0) // owed for name, owed in self.at_stake.items() if owed}

    def in_words(self) -> str:
        """The report as people read it."""
        lines = [f"{self.customers:,} customers. {_counts(self.health) or 'No health is known yet'}."]
        lines.append(f"{self.renewals_ahead:,} contracts renew within 90 days.")
        for currency, owed in self.at_stake.items():
            back = money(self.recovered.get(currency, 0), currency)
            lines.append(
                f"Failed payments that ended: {back} of {money(owed, currency)} recovered "
                f"({self.recovery_pct[currency]} %)."
            )
        lines.append("")
        for playbook in sorted({*self.started, *self.ended, *self.open_now}):
            ended = self.ended.get(playbook, {})
            how = f": {_counts(ended)}" if ended else ""
            lines.append(
                f"- {playbook}: {self.started.get(playbook, 0)} started, {sum(ended.values())} ended{how}; "
                f"{self.open_now.get(playbook, 0)} open"
            )
        lines.append("")
        lines.append(
            f"Tasks overdue: {self.tasks_overdue}. Effects in doubt: {self.in_doubt}. "
            f"Facts that could not be carried: {self.dead_facts}."
        )
        return "\n".join(lines)


def name_of(period: Period, since: date) -> str:
    """A period by its first day: a week by its ISO number, a month by its own."""
    return f"{since:%G-W%V}" if period == "week" else f"{since:%Y-%m}"


def last_whole(period: Period, day: date) -> tuple[date, date]:
    """The last period that was over when a day began: its first day, and the day after its last."""
    if period == "week":
        until = day - timedelta(days=day.weekday())
        return until - timedelta(days=7), until
    until = day.replace(day=1)
    return (until - timedelta(days=1)).replace(day=1), until


async def report(session: AsyncSession, period: Period, day: date) -> Report:
    """The report of the last whole week or month before a day. Reads only."""
    since, until = last_whole(period, day)
    begin, end = midnight(since), midnight(until)
    started = select(CaseRow.playbook, func.count()).where(CaseRow.opened_at >= begin, CaseRow.opened_at < end)
    over = (col(CaseRow.ended), col(CaseRow.ended_at) >= begin, col(CaseRow.ended_at) < end)
    ended = select(CaseRow.playbook, CaseRow.outcome, func.count()).where(*over)
    still = select(CaseRow.playbook, func.count()).where(col(CaseRow.ended).is_(False))
    owed = select(CaseRow.currency, CaseRow.outcome, func.sum(CaseRow.at_stake)).where(
        *over, CaseRow.playbook == "payment-failure"
    )
    endings: dict[str, dict[str, int]] = {}
    for playbook, outcome, count in (await session.exec(ended.group_by(CaseRow.playbook, CaseRow.outcome))).all():
        endings.setdefault(playbook, {})[outcome] = count
    at_stake, recovered = Counter[str](), Counter[str]()
    for currency, outcome, amount in (await session.exec(owed.group_by(CaseRow.currency, CaseRow.outcome))).all():
        at_stake[currency] += int(amount)
        recovered[currency] += int(amount) if outcome.startswith(RECOVERED) else 0
    alive = col(Account.churned_at).is_(None)
    ahead = (
        select(func.count())
        .select_from(Contract)
        .where(
            col(Contract.state).in_(("active", "sent")),
            Contract.renews_on >= until,
            Contract.renews_on <= until + AHEAD,
        )
    )
    overdue = select(func.count()).select_from(TaskRow).where(TaskRow.outcome == "", TaskRow.due_at < end)
    doubts = select(func.count()).select_from(EffectRow).where(EffectRow.state == "in_doubt")
    dead = select(func.count()).select_from(InboxEvent).where(InboxEvent.state == "dead")
    return Report(
        period=period,
        since=since,
        until=until,
        started=dict((await session.exec(started.group_by(CaseRow.playbook))).all()),
        ended=endings,
        open_now=dict((await session.exec(still.group_by(CaseRow.playbook))).all()),
        at_stake=dict(at_stake),
        recovered=dict(recovered),
        customers=(await session.exec(select(func.count()).select_from(Account).where(alive))).one(),
        health=await _bands(session),
        renewals_ahead=(await session.exec(ahead)).one(),
        tasks_overdue=(await session.exec(overdue)).one(),
        in_doubt=(await session.exec(doubts)).one(),
        dead_facts=(await session.exec(dead)).one(),
    )


async def _bands(session: AsyncSession) -> dict[str, int]:
    """How many customers are in which band by their health as it stands (H0.5)."""
    statement = (
        select(Account.health, func.count()).where(col(Account.churned_at).is_(None)).group_by(col(Account.health))
    )
    found = Counter[str]()
    for health, count in (await session.exec(statement)).all():
        if health is not None:
            found[default_band(health).name] += count
    names = (band.name for band in DEFAULT_BANDS)
    return {name.replace("_", " "): found[name] for name in names if found[name]}


async def write_reports(session: AsyncSession, day: date, lead: str) -> int:
    """Give the lead the report of the last whole week and month, each once; how many are new.

    Made up for where the job did not run on the day. An installation without a case has nothing to report.
    """
    if (await session.exec(select(CaseRow.id).limit(1))).first() is None:
        return 0
    written = 0
    for period in PERIODS:
        key = f"report/{period}/{name_of(period, last_whole(period, day)[0])}"
        if await session.get(TaskRow, key):
            continue
        made = await report(session, period, day)
        row = TaskRow(
            key=key,
            account_id="",
            case_id="",
            owner=lead,
            title=made.title,
            body=made.in_words(),
            opened_at=midnight(day),
            due_at=midnight(day) + timedelta(days=2),
        )
        written += await ledger.insert_once(session, row)
    return written


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items())


def _day(day: date) -> str:
    return f"{day.day} {day:%B %Y}"
