"""The effect ledger: what was done, held back or is in doubt, each exactly once, with the reason."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal

from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlmodel import SQLModel, and_, col, func, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from models.cases import Batch, Effect, Result
from models.contact_rows import Deferral
from models.gate import BEFORE_THE_END, Asked, Held, LookAgain, ask, news_count
from models.picture import Picture
from models.policy import Policy
from models.tables import Attempt, CaseNote, CaseRow, CaseSubject, EffectRow, TaskRow, wall
from models.told import TOLD, mail_of
from models.touch import touch_of, why_it_went

State = Literal["claimed", "done", "refused", "dropped", "in_doubt"]
SETTLED = ("done", "refused", "dropped", "in_doubt")


class NoSuchCase(LookupError):
    """There is no row for this case: the run was not started by the relay."""


async def insert_once(session: AsyncSession, row: SQLModel) -> bool:
    """Insert a row unless its unique key is taken. Says whether it was inserted."""
    table = SQLModel.metadata.tables[str(type(row).__tablename__)]
    values = {key: value for key, value in row.model_dump().items() if not (key == "id" and value is None)}
    is_sqlite = session.get_bind().dialect.name == "sqlite"
    insert = sqlite_insert if is_sqlite else postgres_insert
    first_key = next(iter(table.primary_key.columns))
    statement = insert(table).values(**values).on_conflict_do_nothing().returning(first_key)
    return (await session.exec(statement)).scalar_one_or_none() is not None


async def lock_case(session: AsyncSession, case_id: str) -> CaseRow:
    """The case, locked until the transaction ends.

    Raises:
        NoSuchCase: there is no such row.
    """
    statement = select(CaseRow).where(CaseRow.id == case_id).with_for_update()
    row = (await session.exec(statement)).one_or_none()
    if row is None:
        raise NoSuchCase(f"no case {case_id!r} in the database; runs are started through the relay")
    return row


async def subjects_of(session: AsyncSession, case_id: str) -> list[CaseSubject]:
    """Every subject of a case, in the order they joined."""
    statement = select(CaseSubject).where(CaseSubject.case_id == case_id)
    return list((await session.exec(statement.order_by(col(CaseSubject.joined_at), col(CaseSubject.subject)))).all())


async def claim(
    session: AsyncSession,
    batch: Batch,
    effect: Effect,
    picture: Picture,
    *,
    parting: bool,
    detail: dict[str, Any],
    policy: Policy,
    topic: str = "",
    now: datetime | None = None,
) -> tuple[EffectRow | Held, bool]:
    """Take the key of an effect, after asking the gate in this same transaction. `topic` is what a mail is about.

    `now` is the moment of this try on the run's clock, for the gate to judge; the step's own if not given.
    Returns the row and whether this call claimed it; a row that was there before is settled, or somebody else's.
    Instead of the row, what holds the effect back, if the gate wants it later; that is kept as a deferral.

    Raises:
        LookAgain: there is news since the picture was made.
    """
    case = await lock_case(session, batch.case)
    known = await session.get(EffectRow, effect.key)
    if known:
        return known, False
    touch = await touch_of(session, batch, effect, picture, policy)
    asked = Asked(session, case, _asked_at(batch, now), effect, picture, parting, policy, touch, topic)
    # The moment the gate is asked, not the moment it has answered: news that comes in between is later than the claim.
    asked_at = wall()
    held = await ask(asked)
    if held and held.until:
        await _defer(asked, held)
        return held, False
    rule, reason = (held.rule, held.reason) if held else why_it_went(asked)
    row = EffectRow(
        **_named(batch, effect),
        what=effect.model_dump(mode="json", exclude={"key", "title", "kind"}),
        state="dropped" if held else "claimed",
        rule=rule,
        reason=reason,
        nature=touch.nature if touch else "",
        reader=touch.reader if touch else "",
        contact_on=touch.window.day_of(asked.batch.now) if touch else None,
        detail=detail,
        wall_claimed_at=asked_at,
        wall_settled_at=wall() if held else None,
    )
    session.add(row)
    await session.flush()
    return row, True


async def waits_before_the_end(
    session: AsyncSession,
    batch: Batch,
    effects: Iterable[Effect],
    picture: Picture,
    policy: Policy,
    *,
    now: datetime | None = None,
) -> Held | None:
    """What of a last step has to wait, so that its case stays open and is looked at until then; `now` as in `claim`."""
    case = await lock_case(session, batch.case)
    for effect in effects:
        touch = await touch_of(session, batch, effect, picture, policy)
        asked = Asked(session, case, _asked_at(batch, now), effect, picture, False, policy, touch)
        held = await ask(asked, BEFORE_THE_END)
        if held and held.until and not case.ended:
            await _defer(asked, held)
            return held
    return None


def _asked_at(batch: Batch, now: datetime | None) -> Batch:
    """The batch as the gate judges it: a step that an outage kept until the night must not mail by its own morning."""
    return batch.model_copy(update={"now": now}) if now else batch


async def _defer(asked: Asked, held: Held) -> None:
    """Keep that it had to wait, and why; once, however often the same try is made."""
    row = Deferral(
        **_named(asked.batch, asked.effect),
        rule=held.rule,
        reason=held.reason,
        until=held.until or asked.batch.now,
    )
    await insert_once(asked.session, row)


def _named(batch: Batch, effect: Effect) -> dict[str, Any]:
    """The columns that say which effect a row is about."""
    return {
        "key": effect.key,
        "case_id": batch.case,
        "account_id": batch.account,
        "playbook": batch.playbook,
        "step": batch.step,
        "kind": effect.kind,
        "title": effect.title,
        "at": batch.now,
    }


async def release(session: AsyncSession, key: str, claimed_at: datetime, why: str = "") -> None:
    """Give back a claim under which nothing was done, if it is still that claim and not another try's.

    With `why` its holder knows that nothing was done; where somebody else has put it in doubt meanwhile, it is in doubt
    no more.
    """
    row = await session.get(EffectRow, key, with_for_update=True)
    if row is None or row.wall_claimed_at != claimed_at:
        return
    if row.state == "claimed":
        await session.delete(row)
    elif row.state == "in_doubt" and why:
        await settle(session, key, "refused", why)


async def done_keys(session: AsyncSession, keys: list[str]) -> set[str]:
    """Which of these effects were done."""
    statement = select(EffectRow.key).where(col(EffectRow.key).in_(keys), EffectRow.state == "done")
    return set((await session.exec(statement)).all())


async def settle(
    session: AsyncSession, key: str, state: State, reason: str = "", detail: dict[str, Any] | None = None
) -> str:
    """Write down how an effect ended; the state it is in then. What is settled stays settled, but what was in doubt
    may be found out, and what the mail provider has told of a mail already is no doubt any more."""
    row = await session.get(EffectRow, key, with_for_update=True)
    if row is None or row.state in ("done", "refused", "dropped"):
        return row.state if row else state
    told = str(row.detail.get("told", ""))
    if state == "in_doubt" and told in TOLD:
        state, reason = TOLD[told], f"SendGrid's event: {told}"
    # Why a contact was allowed stays with it, unless there is more to say of how it ended.
    row.state, row.reason, row.wall_settled_at = state, reason or row.reason, wall()
    row.detail = {**row.detail, **(detail or {})}
    session.add(row)
    if state == "done" and row.detail.get("told"):
        await insert_once(session, mail_of(row, "SendGrid has this mail. Its words were not kept."))
    return state


async def told_of(session: AsyncSession, row: EffectRow, word: str) -> str:
    """Note on a locked row what the provider told of its mail (one of `TOLD`): the state it is in then.

    A mail still being handed over keeps its claim: the answer may be on its way, and says more than the event.
    """
    if row.state in ("claimed", "in_doubt") or (row.state == "done" and word in ("bounced", "dropped")):
        row.detail = {**row.detail, "told": word}
        session.add(row)
        await session.flush()
    return await settle(session, row.key, "in_doubt") if row.state == "in_doubt" else row.state


async def unsettled(session: AsyncSession, batch: Batch) -> list[EffectRow]:
    """The effects of this batch that were claimed by an earlier try whose answer was lost, and slow payments."""
    keys = [effect.key for effect in batch.effects]
    keys += [effect.key for parting in batch.partings.values() for effect in parting.effects]
    keys += [effect.key for effect in (batch.closing.effects if batch.closing else ())]
    slow = and_(EffectRow.state == "in_doubt", EffectRow.kind == "charge")
    statement = select(EffectRow).where(col(EffectRow.key).in_(keys), or_(EffectRow.state == "claimed", slow))
    return list((await session.exec(statement)).all())


async def was_begun(session: AsyncSession, case_id: str, kind: str) -> bool:
    """Whether an effect of this kind was claimed for the case, however it ended."""
    statement = select(EffectRow.key).where(
        EffectRow.case_id == case_id, EffectRow.kind == kind, col(EffectRow.state) != "dropped"
    )
    return (await session.exec(statement)).first() is not None


async def tries_of(session: AsyncSession, invoices: list[str]) -> dict[str, int]:
    """How often we charged each invoice, successfully or not."""
    statement = (
        select(Attempt.invoice, func.count()).where(col(Attempt.invoice).in_(invoices)).group_by(col(Attempt.invoice))
    )
    return dict((await session.exec(statement)).all())


def result_of(row: EffectRow) -> Result:
    """What the playbook is told of a settled effect."""
    said = row.what.get("deadline") if row.state == "done" else None
    return Result(state=row.state, reason=row.reason, deadline=datetime.fromisoformat(said) if said else None)


async def write_progress(session: AsyncSession, case: CaseRow, batch: Batch, picture: Picture) -> None:
    """Bring a locked case up to date: its step, what comes next, what is owed. An ended one stays as it is."""
    if case.ended:
        return
    case.state, case.stage, case.plan = batch.state, batch.stage or case.stage, batch.plan
    case.precedence = batch.precedence
    if batch.title:
        case.last_title = batch.title
    case.next_title, case.next_at = batch.next_title, batch.next_at
    case.readings = {**case.readings, **picture.readings}
    at_stake = picture.readings.get("at_stake")
    case.at_stake = at_stake if isinstance(at_stake, int) and at_stake > 0 else case.at_stake
    session.add(case)
    await _write_subjects(session, batch, picture)
    await _write_notes(session, batch)
    for key, outcome in batch.answered.items():
        await finish_task(session, key, outcome, batch.now)


async def finish_task(session: AsyncSession, key: str, outcome: str, at: datetime) -> None:
    """Close a person's task, once."""
    task = await session.get(TaskRow, key, with_for_update=True)
    if task and not task.outcome:
        task.outcome, task.done_at = outcome, at
        session.add(task)


async def _write_subjects(session: AsyncSession, batch: Batch, picture: Picture) -> None:
    """Write what became of each subject; of what was looked at where it is billed, in every case it is part of.

    A win-back names the invoice that brought it about, but whether that is paid is not for it to say.
    """
    statement = select(CaseSubject).where(
        col(CaseSubject.subject).in_(list(picture.fates)),
        or_(CaseSubject.case_id == batch.case, col(CaseSubject.subject).in_(list(picture.owed))),
    )
    for row in (await session.exec(statement)).all():
        owed = picture.owed.get(row.subject)
        if owed:
            row.hosted_url, row.at_stake = owed.invoice.hosted_url, owed.invoice.amount_due
        row.fate = picture.fates[row.subject]
        session.add(row)


async def _write_notes(session: AsyncSession, batch: Batch) -> None:
    for note in batch.notes:
        await insert_once(session, CaseNote(case_id=batch.case, at=note.at, by=note.by, text=note.text))


async def close(session: AsyncSession, batch: Batch, picture: Picture, reason: str, outcome: str) -> bool:
    """End the case, under its lock. False if a subject joined that the picture does not show: then look again.

    Raises:
        LookAgain: the plan is done, or a lead ends it, but there is news since the picture was made.
    """
    case = await lock_case(session, batch.case)
    if case.ended:
        return True
    if reason not in batch.partings and await news_count(session, batch) != picture.mark:
        raise LookAgain
    await _write_subjects(session, batch, picture)
    if batch.watch and any(row.subject not in picture.fates for row in await subjects_of(session, batch.case)):
        return False
    case.ended, case.state, case.ended_at = True, "ended", batch.now
    case.outcome, case.reason, case.stage = outcome, reason, outcome
    case.next_title, case.next_at = "", None
    case.readings = {**case.readings, **picture.readings}
    session.add(case)
    await _write_notes(session, batch)
    return True
