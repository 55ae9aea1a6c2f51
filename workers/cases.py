"""What `holdfast cases` shows and says."""

from typing import Any

from rich.console import Console
from sqlmodel import col, select
from temporalio.client import Client, WorkflowUpdateFailedError
from temporalio.service import RPCError, RPCStatusCode

from models import doubts, ledger
from models.database import Database
from models.money import money
from models.tables import CaseNote, CaseRow, EffectRow, TaskRow, wall
from workers.console import complain

FORMAT = "%Y-%m-%d %H:%M"


class CaseError(RuntimeError):
    """The command cannot be followed; the message says why and what to do."""


async def listed(database: Database, *, everything: bool = False) -> list[dict[str, str]]:
    """Cases as rows of text, the most money first."""
    async with database.reading() as session:
        statement = select(CaseRow).order_by(col(CaseRow.ended), col(CaseRow.at_stake).desc())
        if not everything:
            statement = statement.where(col(CaseRow.ended).is_(False))
        rows = (await session.exec(statement)).all()
    return [
        {
            "case": row.id,
            "account": row.account_id,
            "state": row.outcome or (row.state if row.state != "open" else row.stage or "open"),
            "next": row.next_title,
            "next_at": row.next_at.strftime(FORMAT) if row.next_at else "",
            "at_stake": money(row.at_stake, row.currency),
        }
        for row in rows
    ]


async def story(database: Database, case_id: str) -> dict[str, Any]:
    """A case with every ledger row and note, in order.

    Raises:
        CaseError: there is no such case.
    """
    async with database.reading() as session:
        case = await session.get(CaseRow, case_id)
        if case is None:
            raise CaseError(f"there is no case {case_id!r}; `holdfast cases list --all` names them")
        statement = select(EffectRow).where(EffectRow.case_id == case_id).order_by(col(EffectRow.wall_claimed_at))
        effects = (await session.exec(statement)).all()
        notes = (await session.exec(select(CaseNote).where(CaseNote.case_id == case_id))).all()
        subjects = await ledger.subjects_of(session, case_id)
    lines = [
        {
            "at": row.at.strftime(FORMAT),
            "step": row.step,
            "what": row.title,
            "state": row.state,
            "why": row.reason,
            "key": row.key,
        }
        for row in effects
    ]
    lines += [
        {"at": note.at.strftime(FORMAT), "step": "", "what": note.text, "state": "said", "why": f"by {note.by}"}
        for note in notes
    ]
    return {
        "case": case.id,
        "account": case.account_id,
        "state": case.outcome or case.state,
        "at_stake": money(case.at_stake, case.currency),
        "subjects": [row.subject for row in subjects],
        "lines": sorted(lines, key=lambda line: line["at"]),
    }


async def tasks(database: Database, owner: str = "", *, everything: bool = False) -> list[dict[str, str]]:
    """Tasks as rows of text, the one due first at the top. `outcomes` is empty where no run waits for one of a few."""
    async with database.reading() as session:
        statement = select(TaskRow).order_by(col(TaskRow.due_at), col(TaskRow.key))
        if owner:
            statement = statement.where(TaskRow.owner == owner)
        if not everything:
            statement = statement.where(col(TaskRow.done_at).is_(None))
        rows = (await session.exec(statement)).all()
    return [
        {
            "due": row.due_at.strftime(FORMAT),
            "owner": row.owner,
            "account": row.account_id,
            "task": row.title,
            "case": row.case_id,
            "step": row.key.split("/")[-2],
            "outcomes": row.answers.replace(" ", " | "),
            "outcome": row.outcome,
            "key": row.key,
        }
        for row in rows
    ]


async def settle(database: Database, key: str, word: str, by: str) -> int:
    """Settle an effect in doubt as a person says. The exit code.

    Raises:
        CaseError: there is nothing to decide; the message says why.
    """
    try:
        async with database.writing() as session:
            row = await doubts.decide(session, key, word, by)
            note = CaseNote(case_id=row.case_id, at=wall(), by=by, text=f"{row.title}: {word.replace('_', ' ')}")
            await ledger.insert_once(session, note)
    except doubts.NotInDoubt as error:
        raise CaseError(str(error)) from None
    except ValueError as error:
        complain(str(error))
        return 2
    Console().print(f"{row.title} ({key}): {word.replace('_', ' ')}. It is not done again.", soft_wrap=True)
    return 0


async def steer(client: Client, case_id: str, name: str, *arguments: Any) -> str:
    """Say something to a run, and bring back its answer.

    Raises:
        CaseError: there is no such run, or it refuses; the message is the run's own reason.
    """
    try:
        answer: str = await client.get_workflow_handle(case_id).execute_update(
            name, args=list(arguments), result_type=str
        )
    except WorkflowUpdateFailedError as error:
        raise CaseError(f"{case_id}: {error.cause}") from None
    except RPCError as error:
        if error.status == RPCStatusCode.NOT_FOUND:
            raise CaseError(f"there is no running run {case_id!r}; `holdfast cases list` names the open ones") from None
        raise
    return answer
