"""What a deploy does to sleeping runs: each row of docs/authoring.md's table, on histories cut at every step edge."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHistory

from models import facts
from models.cases import Case
from models.tables import Account, CaseRow, CaseSubject
from tests.town import DAY, Town
from tests.workflows.edited import EDITS, NAME, Edit, Original
from workers.authoring import replayed
from workers.cases import steer
from workers.connect import playbook_worker
from workflows.playbook import Playbook

GUIDE = Path(__file__).parents[2] / "docs" / "authoring.md"


async def recorded(place: Town, code: type[Playbook]) -> WorkflowHistory:
    """A whole run of `code` on the real server: a fact answered, a question answered, every step taken."""
    async with place.database.writing() as session:
        session.add(Account(id="acme", owner="ana"))
        session.add(
            CaseRow(id=f"{NAME}/acme", playbook=NAME, account_id="acme", subject="acme", opened_at=datetime.now(UTC))
        )
        await session.flush()
        session.add(CaseSubject(case_id=f"{NAME}/acme", subject="acme", joined_at=datetime.now(UTC)))
    queue = f"{place.task_queue}-letters"
    async with playbook_worker(place.client, place.effects, place.scans, task_queue=queue, workflows=[code]):
        case = Case(id=f"{NAME}/acme", playbook=NAME, account="acme", subject="acme")
        handle = await place.client.start_workflow(NAME, case, id=case.id, task_queue=queue)
        await place.skipper.fast_forward(handle, 4 * DAY)
        await handle.signal("hear", facts.Fact(kind=facts.CARD_UPDATED, at=datetime.now(UTC), account="acme"))
        await steer(place.client, case.id, "answer", "second", "yes")
        await place.skipper.fast_forward(handle)
        await handle.result()
        return await handle.fetch_history()


NEXT = {
    EventType.EVENT_TYPE_TIMER_FIRED,
    EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED,
}
"""What may come next for a run that waits: then a deploy may come before it."""


def cut(history: WorkflowHistory) -> list[WorkflowHistory]:
    """The history as it stood each time the run waited: for a day, an activity, or a word."""
    events = list(history.events)
    waits = [number for number, event in enumerate(events) if event.event_type in NEXT]
    return [WorkflowHistory(history.workflow_id, events[:number]) for number in waits]


@pytest.fixture
async def sleeping(place: Town) -> AsyncIterator[list[WorkflowHistory]]:
    """One run of the original code, cut at every step edge."""
    yield cut(await recorded(place, Original))


async def failures(code: type[Playbook], histories: list[WorkflowHistory]) -> list[str]:
    """Why each of the histories does not replay under `code`; empty where it does."""
    return [failure async for _, failure in replayed(histories, [code])]


async def test_every_edit_with_what_the_table_asks_for_replays_every_sleeping_run(
    sleeping: list[WorkflowHistory],
) -> None:
    assert len(sleeping) >= 10
    for edit in (Edit("nothing", Original), *EDITS):
        assert await failures(edit.code, sleeping) == [""] * len(sleeping), edit.what


async def test_every_edit_that_needs_a_patch_fails_loudly_without_it(sleeping: list[WorkflowHistory]) -> None:
    for edit in EDITS:
        if edit.plain and edit.what != "step added last":
            found = [each for each in await failures(edit.plain, sleeping) if each]
            assert found, f"{edit.what}: no sleeping run notices"
            assert "nondeterminism" in found[0].lower(), edit.what
