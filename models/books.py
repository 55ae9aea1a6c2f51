"""Who looks after whom: CSMs by capacity (S3), their books, and what follows when one leaves or is away."""

import uuid
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

import orjson
from sqlalchemy import update
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from models import ledger
from models.customers import Contract, Owner
from models.facts import OWNER_CHANGED
from models.segments import HOUR, SEGMENTS, SLAS, Books, Segments, support_tier, touch_model
from models.tables import OURSELVES, Account, CaseRow, InboxEvent, TaskRow, wall

CSM: Final = "csm"
RENEWS_SOON: Final = timedelta(days=90)
FULL: Final = "capacity-full"


def is_away(owner: Owner, day: date) -> bool:
    """Whether an owner is away on a day; both ends count."""
    return bool(owner.away_until and (owner.away_from or day) <= day <= owner.away_until)


def has_left(owner: Owner, day: date) -> bool:
    """Whether the owner works here no more."""
    return bool(owner.left_on and owner.left_on <= day)


@dataclass
class Seat:
    """A CSM who can be given accounts: what is in the book already."""

    owner: Owner
    serves: tuple[str, ...]
    counts: Counter[str] = field(default_factory=Counter)
    revenue: int = 0
    """Monthly, in the minor unit; of whatever currency."""
    last: datetime | None = None
    """When the newest account was given to this CSM."""

    def fullness(self, rules: Books) -> float:
        """How full the book is: 1 is full."""
        if self.owner.capacity is not None:
            return sum(self.counts.values()) / self.owner.capacity if self.owner.capacity else 1.0
        return sum(count / rules.capacity[name] for name, count in self.counts.items() if name in rules.capacity)

    def has_room(self, segment: str, rules: Books) -> bool:
        """Whether one more account of the segment fits."""
        if self.owner.capacity is not None:
            return sum(self.counts.values()) < self.owner.capacity
        # A whole account's share more, with a hair's breadth for what thirds and sixtieths add up to.
        return self.fullness(rules) + 1 / rules.capacity[segment] <= 1 + 1e-9

    def take(self, account: Account, at: datetime) -> None:
        """Put an account into the book."""
        self.counts[account.segment] += 1
        self.revenue += account.mrr
        self.last = at


def pick(seats: Iterable[Seat], segment: str, rules: Books) -> Seat | None:
    """Who gets the next account of a segment: of those with room the least loaded (S3.3); None if all are full.

    Equals follow each other by handle, so that the same book gives the same answer.
    """
    able = [seat for seat in seats if segment in seat.serves and seat.has_room(segment, rules)]

    def order(seat: Seat) -> tuple[float, float, str]:
        turn = seat.last.timestamp() if seat.last else 0.0
        if rules.by == "round_robin":
            return turn, 0, seat.owner.handle
        load = float(seat.revenue) if rules.by == "revenue" else seat.fullness(rules)
        return load, turn, seat.owner.handle

    return min(able, key=order) if able else None


async def seats(session: AsyncSession, rules: Books, day: date) -> list[Seat]:
    """Every CSM who is here on a day, with what their book holds."""
    owners = (await session.exec(select(Owner).where(Owner.role == CSM).order_by(col(Owner.handle)))).all()
    here = {
        owner.handle: Seat(owner, serves_of(owner, rules))
        for owner in owners
        if not has_left(owner, day) and not is_away(owner, day)
    }
    if not here:
        return []
    theirs = (col(Account.owner).in_(list(here)), col(Account.churned_at).is_(None))
    held = select(Account.owner, Account.segment, func.count(), func.sum(Account.mrr)).group_by(
        Account.owner, Account.segment
    )
    for handle, segment, count, revenue in (await session.exec(held.where(*theirs))).all():
        here[handle].counts[segment] += count
        here[handle].revenue += int(revenue)
    newest = select(Account.owner, func.max(Account.owner_since)).group_by(Account.owner)
    for handle, last in (await session.exec(newest.where(*theirs))).all():
        here[handle].last = last
    return list(here.values())


def serves_of(owner: Owner, rules: Books) -> tuple[str, ...]:
    """The segments a CSM serves; who names none serves those that have a CSM by name."""
    named = tuple(part for part in owner.serves.replace(",", " ").split() if part)
    return named or rules.named_csm


async def assign(
    session: AsyncSession, account: Account, owner: str, at: datetime, *, held: bool | None = None
) -> None:
    """Give an account to a CSM at a moment: its row, its open tasks, a fact for the runs under way (S3.3, S3.5).

    `held` keeps it with this CSM until they leave: no rule moves it (manual hold).
    """
    before = account.owner
    if held is not None:
        account.owner_held = held
    if before != owner:
        account.owner, account.owner_since = owner, at
    session.add(account)
    if before != owner:
        await follow_up(session, account, before)


async def follow_up(session: AsyncSession, account: Account, before: str) -> None:
    """What follows when an account has another CSM: open tasks go along, and open runs hear of it (S3.5)."""
    mine = (col(TaskRow.account_id) == account.id, col(TaskRow.outcome) == "")
    if before and account.owner:
        await session.exec(update(TaskRow).where(*mine, col(TaskRow.owner) == before).values(owner=account.owner))
    open_runs = select(CaseRow.id).where(CaseRow.account_id == account.id, col(CaseRow.ended).is_(False))
    if (await session.exec(open_runs)).first() is None:
        return
    said = {"account": account.id, "value": account.owner}
    row = InboxEvent(
        source=OURSELVES,
        event_id=f"{OWNER_CHANGED}/{uuid.uuid4()}",
        type=OWNER_CHANGED,
        kind=OWNER_CHANGED,
        account_id=account.id,
        value=account.owner,
        occurred_at=wall(),
        body=orjson.dumps({"type": OWNER_CHANGED, "data": said}),
    )
    await ledger.insert_once(session, row)


async def acting_for(session: AsyncSession, handle: str, day: date, lead: str) -> str:
    """Who does what is asked of an owner on a day: themselves, whoever covers for them, or the lead."""
    seen = {handle}
    while owner := await session.get(Owner, handle):
        if not (is_away(owner, day) or has_left(owner, day)):
            return handle
        handle = owner.covered_by or lead
        if handle in seen:
            return lead
        seen.add(handle)
    return handle


async def cover(session: AsyncSession, owner: Owner, day: date, lead: str) -> int:
    """Hand the open tasks of somebody who is away to whoever covers; how many."""
    to = await acting_for(session, owner.handle, day, lead)
    if to == owner.handle:
        return 0
    mine = (col(TaskRow.owner) == owner.handle, col(TaskRow.outcome) == "")
    return (await session.exec(update(TaskRow).where(*mine).values(owner=to))).rowcount


async def say_it_is_full(session: AsyncSession, segment: str, waiting: int, day: date, lead: str) -> bool:
    """Ask the CSM lead, once until it is done: nobody who serves a segment has room (S3.3)."""
    open_one = select(TaskRow.key).where(col(TaskRow.key).startswith(f"{FULL}/{segment}/"), TaskRow.outcome == "")
    if (await session.exec(open_one)).first():
        return False
    task = TaskRow(
        key=f"{FULL}/{segment}/{day}",
        account_id="",
        case_id="",
        owner=lead,
        title=f"Capacity full: {segment}",
        body=f"No CSM who serves {segment} has room for another account; at least {waiting} wait for one.\n"
        "Add a CSM, raise `capacity` of an owner or [books.capacity] of the policy, or assign by hand: "
        "`holdfast csm assign ACCOUNT CSM`.",
        opened_at=datetime.combine(day, time(), UTC),
        due_at=datetime.combine(day, time(), UTC) + timedelta(days=1),
    )
    return await ledger.insert_once(session, task)


# A book, for people (S3.4).


@dataclass(frozen=True)
class Book:
    """One CSM's accounts in figures. Money is yearly, in the minor unit, by currency; health is of who has one."""

    handle: str
    name: str
    serves: tuple[str, ...]
    accounts: int
    by_segment: dict[str, int]
    arr: dict[str, int]
    mean_health: float | None
    renewals_ahead: int
    """Contracts that renew within 90 days."""
    full_pct: int
    state: str
    """here, away until a date, or left."""


async def books(session: AsyncSession, rules: Books, day: date) -> list[Book]:
    """Every CSM's book, by handle; owners who have left only while accounts are still theirs."""
    owners = (await session.exec(select(Owner).where(Owner.role == CSM).order_by(col(Owner.handle)))).all()
    theirs = (col(Account.churned_at).is_(None), Account.owner != "")
    by_segment = select(Account.owner, Account.segment, func.count()).group_by(Account.owner, Account.segment)
    by_currency = select(Account.owner, Account.currency, func.sum(Account.mrr)).group_by(
        Account.owner, Account.currency
    )
    healths = select(Account.owner, func.avg(Account.health)).group_by(Account.owner)
    ahead = (
        select(Account.owner, func.count())
        .join(Contract, col(Contract.account_id) == col(Account.id))
        .where(
            col(Contract.state).in_(("active", "sent")),
            Contract.renews_on >= day,
            Contract.renews_on <= day + RENEWS_SOON,
        )
        .group_by(Account.owner)
    )
    counts = (await session.exec(by_segment.where(*theirs))).all()
    revenues = (await session.exec(by_currency.where(*theirs))).all()
    health = dict((await session.exec(healths.where(*theirs))).all())
    renewals = dict((await session.exec(ahead.where(*theirs))).all())
    found = []
    for owner in owners:
        seat = Seat(owner, serves_of(owner, rules))
        seat.counts.update({segment: count for handle, segment, count in counts if handle == owner.handle})
        if has_left(owner, day) and not seat.counts:
            continue
        state = "left" if has_left(owner, day) else f"away until {owner.away_until}" if is_away(owner, day) else "here"
        mean = health.get(owner.handle)
        book = Book(
            handle=owner.handle,
            name=owner.name,
            serves=seat.serves,
            accounts=seat.counts.total(),
            by_segment={name: seat.counts[name] for name in (*reversed(SEGMENTS), "") if seat.counts[name]},
            arr={currency: 12 * int(mrr) for handle, currency, mrr in revenues if handle == owner.handle},
            mean_health=None if mean is None else round(float(mean), 1),
            renewals_ahead=renewals.get(owner.handle, 0),
            full_pct=round(100 * seat.fullness(rules)),
            state=state,
        )
        found.append(book)
    return found


async def too_few(session: AsyncSession, rules: Books, day: date) -> list[str]:
    """Where sponsors or technical account managers have more enterprise accounts each than the policy wants (S3.2)."""
    alive = (col(Account.churned_at).is_(None), Account.segment == "enterprise")
    accounts = (await session.exec(select(func.count()).select_from(Account).where(*alive))).one()
    found = []
    for role, words, most in (
        ("executive", "executive sponsors", rules.accounts_per_sponsor),
        ("tam", "technical account managers", rules.accounts_per_tam),
    ):
        owners = (await session.exec(select(Owner).where(Owner.role == role))).all()
        here = sum(not has_left(owner, day) for owner in owners)
        if owners and accounts > here * most:
            found.append(f"{accounts} enterprise accounts, {here} {words}: more than {most} for each")
    return found


def care_of(account: Account, rules: Segments) -> dict[str, str]:
    """How an account is looked after, in words, for whoever opens its page (S2, S4)."""
    model = touch_model(account.segment)
    sla = SLAS[support_tier(account.segment, account.plan, rules)]
    promise = sla.channels
    if sla.answer_within and sla.solved_within:
        hours = [round(span / HOUR) for span in (sla.answer_within, sla.solved_within)]
        promise += f"; an answer within {hours[0]} h, {sla.solved_pct} % solved within {hours[1]} h"
    extras = [*(["an executive sponsor"] if model.sponsor else []), *(["business reviews"] if model.qbr else [])]
    return {
        "Segment": account.segment or "none yet",
        "CSM": f"{account.owner or 'nobody yet'}{', kept by hand' if account.owner_held else ''} ({model.csm})",
        "Plan": "; ".join([model.plan, model.contact, *extras]),
        "Training": model.training,
        "Work": model.work,
        "Support": promise + (f"; {sla.extras}" if sla.extras else ""),
    }
