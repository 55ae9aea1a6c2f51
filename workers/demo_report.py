"""What the demo shows while it runs, and the figures it ends with, counted against the simulator's ground truth."""

from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from sqlmodel import select

from models.database import Database
from models.tables import CaseRow, CaseSubject, InboxEvent, Message
from simulator.population import Population
from simulator.running import SimulatorControl
from workers.audit import audit

RECOVERED = ("recovered_by_retry", "recovered_by_new_card", "recovered_by_customer", "recovered_after_restriction")
CLASSES = ("soft", "hard", "authentication")


@dataclass
class Line:
    """One decline class. Money in the minor unit."""

    cases: int = 0
    recovered: int = 0
    suspended: int = 0
    other: int = 0
    at_stake: int = 0
    won_back: int = 0


@dataclass
class Figures:
    """What came of the month."""

    lines: dict[str, Line] = field(default_factory=dict)
    outcomes: Counter[str] = field(default_factory=Counter)
    webhooks: dict[str, Any] = field(default_factory=dict)
    charged_twice: int = 0
    effects_after_paid: int = 0
    events_lost: int = 0
    still_open: int = 0
    worker_killed: int = 0
    seconds: float = 0
    complaints: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Nobody charged twice, nothing after paid, nothing lost, no invariant broken."""
        return not (self.charged_twice or self.effects_after_paid or self.events_lost or self.complaints)

    def as_json(self) -> dict[str, Any]:
        """The last line of output."""
        cases = sum(line.cases for line in self.lines.values())
        recovered = sum(line.recovered for line in self.lines.values())
        return {
            "cases": cases,
            "recovered": recovered,
            "recovery_rate": round(recovered / cases, 3) if cases else 0,
            "suspended": sum(line.suspended for line in self.lines.values()),
            "charged_twice": self.charged_twice,
            "effects_after_paid": self.effects_after_paid,
            "events_lost": self.events_lost,
            "seconds": self.seconds,
            "still_open": self.still_open,
            "worker_killed": self.worker_killed,
            "webhooks": self.webhooks,
            "violations": len(self.complaints),
        }


class Progress:
    """The month passing: a live table on a terminal, a line every few days elsewhere."""

    def __init__(self, console: Console, days: int) -> None:
        self._console = console
        self._days = days
        self._live = Live(console=console, refresh_per_second=8) if console.is_terminal else None

    def __enter__(self) -> "Progress":
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    async def show(self, day: float, database: Database) -> None:
        """Show how things stand at the end of a day."""
        async with database.reading() as session:
            cases = (await session.exec(select(CaseRow))).all()
            mails = len((await session.exec(select(Message.key).where(Message.channel == "email"))).all())
        ended = Counter(case.outcome for case in cases if case.ended)
        recovered = sum(ended[name] for name in RECOVERED)
        still = [case for case in cases if not case.ended]
        owed = sum(case.at_stake for case in still) / 100
        words = (
            f"day {day:4.1f} of {self._days}   open {len(still):3}   recovered {recovered:3}   "
            f"suspended {ended['suspended']:3}   mails {mails:4}   still owed ${owed:,.2f}"
        )
        if self._live:
            filled = int(40 * day / self._days)
            bar = Table.grid()
            bar.add_row(f"[green]{'━' * filled}[/][dim]{'━' * (40 - filled)}[/]  {words}")
            stages = Counter(case.stage or "Told" for case in still)
            bar.add_row("  ".join(f"{stage}: {count}" for stage, count in stages.most_common()))
            self._live.update(bar)
        elif int(day) % 5 == 0:
            self._console.print(words)


async def figures(
    database: Database, simulator: SimulatorControl, population: Population, counters: dict[str, Any]
) -> Figures:
    """Count everything against what the simulator knows to be true."""
    found = Figures(webhooks=counters)
    async with database.reading() as session:
        cases = list((await session.exec(select(CaseRow))).all())
        subjects = list((await session.exec(select(CaseSubject))).all())
        events = list((await session.exec(select(InboxEvent).where(InboxEvent.source == "stripe"))).all())
    await _count_cases(found, population, simulator, cases, subjects)
    _count_charges(found, await simulator.ledger())
    await _count_late_effects(found, simulator, subjects, population)
    expected = counters["events"] - counters["lost"] - counters["failed"]
    unsettled = [event for event in events if event.state not in ("applied", "ignored")]
    found.events_lost = max(0, expected - len(events)) + len(unsettled)
    report = await audit(database)
    found.complaints.extend(report.violations)
    found.still_open = sum(not case.ended for case in cases)
    return found


async def _count_cases(
    found: Figures,
    population: Population,
    simulator: SimulatorControl,
    cases: list[CaseRow],
    subjects: list[CaseSubject],
) -> None:
    received = await simulator.received()
    by_account = {case.account_id: case for case in cases}
    for person in population.people:
        line = found.lines.setdefault(person.persona.decline, Line())
        case = by_account.get(person.id)
        line.at_stake += person.amount * len(person.invoices)
        line.won_back += sum(received.get(invoice, 0) for invoice in person.invoices)
        if case is None:
            found.complaints.append(f"{person.id} ({person.persona.name}) has no case")
            continue
        line.cases += 1
        found.outcomes[case.outcome or "open"] += 1
        line.recovered += case.outcome in RECOVERED
        line.suspended += case.outcome == "suspended"
        line.other += case.outcome not in (*RECOVERED, "suspended")
    joined = {subject.subject for subject in subjects}
    for person in population.people:
        for invoice in person.invoices:
            if invoice not in joined:
                found.complaints.append(f"{invoice} of {person.id} belongs to no case")


def _count_charges(found: Figures, attempts: list[dict[str, Any]]) -> None:
    successes: Counter[str] = Counter()
    partly: Counter[str] = Counter()
    for attempt in attempts:
        if attempt["outcome"] == "ok":
            successes[attempt["invoice"]] += 1
            partly[attempt["invoice"]] += attempt["by"] == "customer"
    found.charged_twice = sum(count > 1 for invoice, count in successes.items() if partly[invoice] < count)


async def _count_late_effects(
    found: Figures, simulator: SimulatorControl, subjects: list[CaseSubject], population: Population
) -> None:
    paid_at = await population.paid_times()
    by_case: dict[str, list[str]] = {}
    for subject in subjects:
        by_case.setdefault(subject.case_id, []).append(subject.subject)
    for attempt in await simulator.ledger():
        when = paid_at.get(attempt["invoice"])
        if when and attempt["by"] == "api" and attempt["at"] > when:
            found.effects_after_paid += 1
            found.complaints.append(f"{attempt['invoice']} was charged after it was paid")
    for mail in await simulator.mailbox():
        effect, case = mail["custom_args"]["effect"], mail["custom_args"]["case"]
        times = [paid_at.get(invoice) for invoice in by_case.get(case, [])]
        if times and all(times) and "/ending:" not in effect and mail["at"] > max(time for time in times if time):
            found.effects_after_paid += 1
            found.complaints.append(f"{effect} was mailed after everything was paid")


def table(found: Figures) -> Table:
    """The month by decline class."""
    out = Table(title="One month, by decline class")
    for name in ("Decline", "Cases", "Recovered", "Suspended", "Other", "At stake", "Won back", "Rate"):
        out.add_column(name, justify="left" if name == "Decline" else "right")
    total = Line()
    for name in CLASSES:
        line = found.lines.get(name, Line())
        _row(out, name, line)
        for each in vars(total):
            setattr(total, each, getattr(total, each) + getattr(line, each))
    out.add_section()
    _row(out, "all", total)
    return out


def _row(out: Table, name: str, line: Line) -> None:
    rate = f"{line.recovered / line.cases:.0%}" if line.cases else "-"
    money = (f"${line.at_stake / 100:,.0f}", f"${line.won_back / 100:,.0f}")
    out.add_row(name, str(line.cases), str(line.recovered), str(line.suspended), str(line.other), *money, rate)
