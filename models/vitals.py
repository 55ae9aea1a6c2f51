"""How the installation is, in numbers the database holds: what waits, is dead, in doubt, open, on hold. For `/metrics`.

Read at the moment somebody asks, a bounded query for each question: what waits is counted up to `MOST`, so that an
outage does not make looking at it expensive. Labels are kinds, states, sources, names of playbooks; never an account.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from sqlmodel import col, func, not_, select, text
from sqlmodel.ext.asyncio.session import AsyncSession

from models.contact_rows import Hold
from models.tables import EVENTS, OURSELVES, SEGMENT, STRIPE, UNSETTLED, CaseRow, EffectRow, InboxEvent

MOST: Final = 100_000
"""Rows counted for one number; a gauge that stands there means "that many or more"."""
SOON: Final = timedelta(minutes=5)
"""A fact whose next try is later is scheduled; the relay's longest pause between tries is this long."""
SOURCES: Final = (STRIPE, EVENTS, SEGMENT, OURSELVES)


@dataclass(frozen=True)
class Gauge:
    """What a number means (for whoever reads `/metrics`), and the names of its labels."""

    help: str
    labels: tuple[str, ...] = ()


GAUGES: Final = {
    "holdfast_inbox_undelivered": Gauge("Facts that are due and not delivered, at most 100,000.", ("source",)),
    "holdfast_inbox_oldest_undelivered_seconds": Gauge(
        "Since the oldest of them was received; of what our own scans found, since its turn came.", ("source",)
    ),
    "holdfast_inbox_waiting": Gauge(
        "Facts that wait for a later hour (scheduled), for their account (parked) or for a person (dead).", ("state",)
    ),
    "holdfast_effects_unsettled": Gauge(
        "Effects under way (claimed) or whose answer was lost (in_doubt).", ("kind", "state")
    ),
    "holdfast_effects_unsettled_oldest_seconds": Gauge("Since the oldest of them was claimed.", ("kind", "state")),
    "holdfast_cases_open": Gauge("Open cases.", ("playbook",)),
    "holdfast_on_hold": Gauge(
        "The stop switch: holds that stand, on everything (all), a playbook, or single accounts.", ("scope", "playbook")
    ),
}


@dataclass(frozen=True)
class Sample:
    """One number: a name of `GAUGES`, its labels, its value."""

    name: str
    value: float
    labels: dict[str, str] = field(default_factory=dict)


async def vitals(session: AsyncSession, now: datetime) -> list[Sample]:
    """Every number, as of `now`."""
    questions = (_undelivered, _waiting, _unsettled, _open_cases, _holds)
    return [sample for ask in questions async for sample in ask(session, now)]


async def _undelivered(session: AsyncSession, now: datetime) -> AsyncIterator[Sample]:
    due = (
        select(InboxEvent.source, InboxEvent.wall_received_at, InboxEvent.wall_next_try_at)
        .where(InboxEvent.state == "pending", InboxEvent.wall_next_try_at <= now + SOON)
        .order_by(col(InboxEvent.wall_next_try_at))
        .limit(MOST)
        .subquery()
    )
    statement = select(
        due.c.source, func.count(), func.min(due.c.wall_received_at), func.min(due.c.wall_next_try_at)
    ).group_by(due.c.source)
    found = {source: rest for source, *rest in (await session.exec(statement)).all()}
    for source in sorted({*SOURCES, *found}):
        count, received, turn = found.get(source, (0, now, now))
        since = turn if source == OURSELVES else received
        yield Sample("holdfast_inbox_undelivered", count, {"source": source})
        age = max(0.0, (now - since).total_seconds())
        yield Sample("holdfast_inbox_oldest_undelivered_seconds", age, {"source": source})


async def _waiting(session: AsyncSession, now: datetime) -> AsyncIterator[Sample]:
    states = {
        "scheduled": (InboxEvent.state == "pending", InboxEvent.wall_next_try_at > now + SOON),
        "parked": (InboxEvent.state == "parked",),
        "dead": (InboxEvent.state == "dead",),
    }
    for state, where in states.items():
        some = select(InboxEvent.id).where(*where).limit(MOST).subquery()
        count = (await session.exec(select(func.count()).select_from(some))).one()
        yield Sample("holdfast_inbox_waiting", count, {"state": state})


async def _unsettled(session: AsyncSession, now: datetime) -> AsyncIterator[Sample]:
    some = (
        select(EffectRow.kind, EffectRow.state, EffectRow.wall_claimed_at)
        .where(text(UNSETTLED))
        .order_by(col(EffectRow.key))
        .limit(MOST)
        .subquery()
    )
    statement = select(some.c.kind, some.c.state, func.count(), func.min(some.c.wall_claimed_at))
    for kind, state, count, oldest in (await session.exec(statement.group_by(some.c.kind, some.c.state))).all():
        labels = {"kind": kind, "state": state}
        yield Sample("holdfast_effects_unsettled", count, labels)
        age = max(0.0, (now - oldest).total_seconds())
        yield Sample("holdfast_effects_unsettled_oldest_seconds", age, labels)


async def _open_cases(session: AsyncSession, now: datetime) -> AsyncIterator[Sample]:
    # Said as the partial index `uq_cases_one_open` says it: for `IS FALSE` PostgreSQL would read the whole table.
    some = select(CaseRow.playbook).where(not_(CaseRow.ended)).limit(MOST).subquery()
    statement = select(some.c.playbook, func.count()).group_by(some.c.playbook)
    for playbook, count in (await session.exec(statement)).all():
        yield Sample("holdfast_cases_open", count, {"playbook": playbook})


async def _holds(session: AsyncSession, now: datetime) -> AsyncIterator[Sample]:
    statement = select(Hold.scope, Hold.name).where(col(Hold.wall_released_at).is_(None)).limit(MOST)
    standing = list((await session.exec(statement)).all())
    for scope in ("all", "account"):
        count = sum(each == scope for each, _ in standing)
        yield Sample("holdfast_on_hold", count, {"scope": scope, "playbook": ""})
    for playbook in sorted(name for scope, name in standing if scope == "playbook"):
        yield Sample("holdfast_on_hold", 1, {"scope": "playbook", "playbook": playbook})
