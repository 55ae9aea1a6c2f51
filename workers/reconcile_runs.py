"""The database against the runs in Temporal: lost cases, lost ledger rows, cases whose run is gone."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from sqlmodel import col, select
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowExecution, WorkflowExecutionStatus, WorkflowHistory
from temporalio.service import RPCError, RPCStatusCode

from models import ledger
from models.cases import Batch, Case, Effect, Email, Ending, Outcome, Result
from models.tables import CaseRow, EffectRow, wall
from workers.differences import PAGE, Difference, Sides
from workers.relay import lose
from workflows import PLAYBOOKS
from workflows.steps import name_of

SHOWN: Final = 5
ALONE: Final = frozenset(name_of(each) for each in PLAYBOOKS if each.one_for_each_subject)
STARTED = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED
ENDED = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED
ASKED = EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
ANSWERED = EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED


@dataclass
class Told:
    """What a run's history tells: its input, every effect whose fate it was told, and how it ended."""

    case: Case
    began: datetime
    effects: dict[str, tuple[Batch, Effect, Result, str]] = field(default_factory=dict)
    """By key: the batch, the effect, its fate, and the template that was really used."""
    ending: Ending | None = None
    ended: datetime | None = None


async def told_by(sides: Sides, history: WorkflowHistory) -> Told:
    """Read a history, through the client's own converter."""
    read = sides.client.data_converter.decode
    first = history.events[0]
    (case,) = await read(list(first.workflow_execution_started_event_attributes.input.payloads), [Case])
    told = Told(case, first.event_time.ToDatetime(UTC))
    batches: dict[int, Batch] = {}
    for event in history.events:
        if event.event_type == ASKED and event.activity_task_scheduled_event_attributes.activity_type.name == (
            "carry_out"
        ):
            payloads = list(event.activity_task_scheduled_event_attributes.input.payloads)
            batches[event.event_id] = (await read(payloads, [Batch]))[0]
        elif event.event_type == ANSWERED:
            answer = event.activity_task_completed_event_attributes
            batch = batches.pop(answer.scheduled_event_id, None)
            if batch:
                (outcome,) = await read(list(answer.result.payloads), [Outcome])
                told.effects.update(_fates(batch, outcome))
        elif event.event_type == ENDED:
            payloads = list(event.workflow_execution_completed_event_attributes.result.payloads)
            (told.ending,) = await read(payloads, [Ending])
            told.ended = event.event_time.ToDatetime(UTC)
    return told


def _fates(batch: Batch, outcome: Outcome) -> dict[str, tuple[Batch, Effect, Result, str]]:
    everything = [*batch.effects, *(batch.closing.effects if batch.closing else ())]
    for parting in batch.partings.values():
        everything.extend(parting.effects)
    effects = {effect.key: effect for effect in everything}
    decline = str(outcome.readings.get("decline", ""))
    return {
        key: (batch, effects[key], result, _template(effects[key], decline))
        for key, result in outcome.results.items()
        if key in effects
    }


def _template(effect: Effect, decline: str) -> str:
    """The template a mail was made from, which may depend on how the card was refused."""
    template = getattr(effect, "template", "")
    return effect.by_decline.get(decline, template) if isinstance(effect, Email) else str(template)


async def _histories(sides: Sides) -> AsyncIterator[tuple[WorkflowExecution, Told]]:
    """Every run of a playbook that runs, or began or ended since; one history in memory at a time."""
    names = ", ".join(f"'{name_of(each)}'" for each in PLAYBOOKS)
    moment = f"'{sides.since.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}'"
    # Others may share the namespace; ours are those of our task queue.
    ours = f"TaskQueue = '{sides.task_queue}' AND WorkflowType IN ({names})"
    async for run in sides.client.list_workflows(f"{ours} AND (ExecutionStatus = 'Running' OR CloseTime >= {moment})"):
        handle = sides.client.get_workflow_handle(run.id, run_id=run.run_id)
        try:
            history = await handle.fetch_history()
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
            continue
        sides.looked_at["runs"] += 1
        yield run, await told_by(sides, history)


async def runs_and_their_rows(sides: Sides) -> AsyncIterator[Difference]:
    """Runs whose case the database has lost, and what runs were told was done that the ledger has no row for."""
    async for run, told in _histories(sides):
        case = told.case
        async with sides.database.reading() as session:
            row = await session.get(CaseRow, case.id)
        if row is None:
            yield Difference(
                "case lost",
                f"{case.id} ({case.account}) has a run in Temporal, {_status(run)}, but no case in the database",
                "put the case back from the run's own input",
                sides.found(case.id, case.account, told.began, {"case": _case(case, told), **_ending(told)}),
            )
        states = await _states(sides, list(told.effects))
        for number, (key, (batch, effect, result, template)) in enumerate(told.effects.items()):
            state = states.get(key, "")
            if state not in ("", "claimed", "in_doubt") or state == result.state:
                continue
            has = f"has it as {state.replace('_', ' ')}" if state else "has no row for it"
            yield Difference(
                "ledger row unfinished" if state else "ledger row lost",
                f"{key} ({effect.kind}: {effect.title}) was {result.state.replace('_', ' ')} on "
                f"{batch.now:%Y-%m-%d %H:%M} UTC, as its run was told, but the ledger {has}",
                "put the row back as it was; nothing is done again",
                sides.found(
                    f"{key}/{state}" if state else key,
                    case.account,
                    batch.now,
                    {"effect": {**_effect(batch, effect, result), "template": template, "number": number}},
                ),
            )


async def _states(sides: Sides, keys: list[str]) -> dict[str, str]:
    """How the ledger has these effects."""
    if not keys:
        return {}
    async with sides.database.reading() as session:
        statement = select(EffectRow.key, EffectRow.state).where(col(EffectRow.key).in_(keys))
        return dict((await session.exec(statement)).all())


def _status(run: WorkflowExecution) -> str:
    return run.status.name.lower() if run.status else "of unknown state"


def _case(case: Case, told: Told) -> dict[str, Any]:
    return {
        "id": case.id,
        "playbook": case.playbook,
        "subject": case.subject,
        "lane": case.subject.partition("/")[0] if case.playbook in ALONE else "",
        "at_stake": case.at_stake,
        "currency": case.currency,
        "policy_version": case.policy.version,
        "opened_at": told.began.isoformat(),
        "over": told.ending is not None,
    }


def _ending(told: Told) -> dict[str, Any]:
    if told.ending is None or told.ended is None:
        return {}
    said = {"outcome": told.ending.outcome, "reason": told.ending.reason, "at": told.ended.isoformat()}
    return {"ending": {"case": told.case.id, **said}}


def _effect(batch: Batch, effect: Effect, result: Result) -> dict[str, Any]:
    return {
        "key": effect.key,
        "case": batch.case,
        "playbook": batch.playbook,
        "step": batch.step,
        "kind": effect.kind,
        "title": effect.title,
        "what": effect.model_dump(mode="json", exclude={"key", "title", "kind"}),
        "state": result.state,
        "reason": result.reason,
        "at": batch.now.isoformat(),
    }


async def cases_and_their_runs(sides: Sides) -> AsyncIterator[Difference]:
    """Open cases whose run has ended, or is nowhere to be found."""
    after = ""
    while True:
        async with sides.database.reading() as session:
            statement = select(CaseRow).where(col(CaseRow.ended).is_(False), col(CaseRow.started), CaseRow.id > after)
            rows = (await session.exec(statement.order_by(col(CaseRow.id)).limit(PAGE))).all()
        for row in rows:
            sides.looked_at["open cases"] += 1
            difference = await _compared(sides, row)
            if difference:
                yield difference
        if len(rows) < PAGE:
            return
        after = rows[-1].id


async def _compared(sides: Sides, row: CaseRow) -> Difference | None:
    handle = sides.client.get_workflow_handle(row.id)
    try:
        run = await handle.describe()
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise
        return _gone(sides, row, "Temporal knows no run of it")
    if run.status == WorkflowExecutionStatus.RUNNING:
        return None
    if run.status != WorkflowExecutionStatus.COMPLETED:
        return _gone(sides, row, f"its run is {run.status.name.lower() if run.status else 'gone'}")
    ending: Ending = await sides.client.get_workflow_handle(row.id, result_type=Ending).result()
    said = {"case": row.id, "outcome": ending.outcome, "reason": ending.reason}
    at = run.close_time or wall()
    return Difference(
        "case outlives its run",
        f"{row.id} ({row.account_id}) is open in the database, but its run ended as {ending.outcome}",
        "close the case with the run's own outcome",
        sides.found(f"{row.id}/ending", row.account_id, at, {"ending": {**said, "at": at.isoformat()}}),
    )


def _gone(sides: Sides, row: CaseRow, why: str) -> Difference:
    async def apply() -> None:
        async with sides.database.writing() as session:
            case = await ledger.lock_case(session, row.id)
            if not case.ended:
                await lose(session, case, sides.policy.default.people.csm_lead)

    return Difference(
        "run gone",
        f"{row.id} ({row.account_id}) is open in the database, but {why}",
        "close the case as run_lost and open a task for a person",
        apply,
    )
