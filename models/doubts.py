"""Effects in doubt: nobody could say whether they were done. How such a row is settled, by a look or by a person."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy import text
from sqlmodel import col, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from models import ledger
from models.tables import UNSETTLED, CaseRow, EffectRow, TaskRow, wall
from models.told import mail_of

Word = Literal["done", "not_done"]
WORDS: Final[tuple[Word, ...]] = ("done", "not_done")
"""What a person may say became of an effect."""
APPLY_OFFER: Final = "apply_offer"
"""The kind of effect whose fate is a reading of the same name: a person has to see where it is not `done`."""
_TASK: Final = "/in_doubt"
FOUND_BY_A_PERSON: Final = (
    "A person found that this mail arrived. Its words were not kept, for the answer to sending it was lost."
)


class NotInDoubt(LookupError):
    """There is nothing to decide; the message says why."""


def task_of(key: str) -> str:
    """The key of the task in which a person is asked about an effect."""
    return f"{key}{_TASK}"


def effect_asked_about(task: str) -> str:
    """The effect a task asks about; empty if it is another kind of task."""
    return task.removesuffix(_TASK) if task.endswith(_TASK) else ""


async def unsettled(session: AsyncSession, now: datetime, after: str, most: int) -> Sequence[EffectRow]:
    """Claimed and doubtful rows that may be asked for, by key after `after`; at most `most`. Reads only."""
    statement = (
        select(EffectRow)
        .where(
            text(UNSETTLED),
            col(EffectRow.key) > after,
            or_(col(EffectRow.wall_look_at).is_(None), col(EffectRow.wall_look_at) <= now),
        )
        .order_by(col(EffectRow.key))
        .limit(most)
    )
    return (await session.exec(statement)).all()


async def settle(
    session: AsyncSession, key: str, state: ledger.State, reason: str, detail: dict[str, Any] | None = None
) -> None:
    """Write down what was found out, close the person's task if there is one, and tell the case of an offer."""
    row = await session.get(EffectRow, key)
    if row is None:
        return
    if row.kind == APPLY_OFFER:
        case = await session.get(CaseRow, row.case_id, with_for_update=True)
        if case:
            case.readings = {**case.readings, APPLY_OFFER: state}
            session.add(case)
    settled = await ledger.settle(session, key, state, reason, detail)
    await close_task(session, key, settled)


async def close_task(session: AsyncSession, key: str, state: str) -> None:
    """Close the task in which a person was asked about an effect, once its fate is known."""
    if state in ("done", "refused", "dropped"):
        await ledger.finish_task(session, task_of(key), "done" if state == "done" else "not_done", wall())


async def decide(session: AsyncSession, key: str, word: str, by: str) -> EffectRow:
    """Settle an effect in doubt as a person says; `by` is who. A mail said to be done gets its row among the messages.

    Raises:
        NotInDoubt: there is no such effect, or its fate is known, or it is looked up without a person.
        ValueError: the word is none of `WORDS`.
    """
    if word not in WORDS:
        raise ValueError(f"{word!r} is no answer: say {' or '.join(WORDS)}")
    row = await session.get(EffectRow, key)
    if row is None:
        raise NotInDoubt(f"there is no effect {key!r} in the ledger; `holdfast cases show CASE` names them")
    if row.state == "claimed":
        raise NotInDoubt(f"{key} is under way or being looked up: the relay settles it within minutes")
    if row.state != "in_doubt":
        raise NotInDoubt(f"{key} is not in doubt: it is {row.state}{f' ({row.reason})' if row.reason else ''}")
    state: ledger.State = "done" if word == "done" else "refused"
    await settle(session, key, state, f"{word.replace('_', ' ')}: {by} says so", {"settled_by": by})
    if row.kind == "email" and state == "done":
        await ledger.insert_once(session, mail_of(row, FOUND_BY_A_PERSON))
    return row


async def ask_a_person(session: AsyncSession, row: EffectRow, title: str, body: str, owner: str, due: datetime) -> bool:
    """Open the task about an effect in doubt, once. Whether it is new."""
    task = TaskRow(
        key=task_of(row.key),
        account_id=row.account_id,
        case_id=row.case_id,
        owner=owner,
        title=title,
        body=body,
        opened_at=wall(),
        due_at=due,
        answers=" ".join(WORDS),
    )
    return await ledger.insert_once(session, task)
