"""What is in doubt is asked for until it is known: claims that ended runs left behind, mails, slow payments.

Beside the sweep in the relay process, and not a Temporal Schedule as the scans are: it needs the providers' keys and
the database and no memory but the ledger's, so that a workflow would add several billable actions every minute and
nothing else; and it has to go on while no worker is there, for that is when claims are left behind. Any number of
relays may do it side by side: each settlement is taken only if the row still is as it was.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

import structlog
from sqlmodel.ext.asyncio.session import AsyncSession
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from activities.doubts import DOUBTS, Doubt, LookUps, Unreadable
from activities.systems import Answer
from models import doubts, ledger
from models.database import Database
from models.tables import Account, CaseRow, EffectRow, TaskRow, wall

PAGE: Final = 100
UNREADABLE_AGAIN: Final = timedelta(days=1)
LEFT_OUT: Final = "found not done, after its run had ended"
RunGoesOn = Callable[[str], Awaitable[bool]]

log = structlog.get_logger()


def asks_temporal(client: Client) -> RunGoesOn:
    """Whether the run of a case is still there to do what was left undone."""

    async def goes_on(case: str) -> bool:
        try:
            run = await client.get_workflow_handle(case).describe()
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
            return False
        return run.status == WorkflowExecutionStatus.RUNNING

    return goes_on


class Settler:
    """Asks for every unsettled row that is due."""

    def __init__(self, database: Database, look_ups: LookUps, goes_on: RunGoesOn, default_owner: str) -> None:
        self._db = database
        self._look_ups = look_ups
        self._goes_on = goes_on
        self._owner = default_owner

    async def once(self) -> Counter[str]:
        """Ask for what is due now; how many ended how: done, refused, dropped, released, in_doubt, asked_a_person."""
        said: Counter[str] = Counter()
        after = ""
        while True:
            async with self._db.reading() as session:
                rows = await doubts.unsettled(session, wall(), after, PAGE)
            for row in rows:
                doubt = DOUBTS.get(row.kind)
                if doubt and not (row.state == "claimed" and wall() - row.wall_claimed_at < doubt.waits):
                    said[await self._settle(row, doubt)] += 1
            if len(rows) < PAGE:
                return said
            after = rows[-1].key

    async def _settle(self, row: EffectRow, doubt: Doubt) -> str:
        try:
            goes_on = await self._goes_on(row.case_id)
            answer = await self._look_ups.fate(row, abandoned=not goes_on)
        except Unreadable as error:
            return await self._still_in_doubt(row, doubt, str(error), UNREADABLE_AGAIN)
        except Exception as error:  # noqa: BLE001 - the provider or Temporal is away; the next look sees it all
            log.warning("settler.waits", kind=row.kind, error=type(error).__name__)
            return "unreachable"
        if answer is None and row.state == "claimed" and goes_on:
            async with self._db.writing() as session:
                await ledger.release(session, row.key, row.wall_claimed_at)
            return "released"
        if answer is None:
            return await self._undone(row)
        if answer.state == "in_doubt":
            return await self._still_in_doubt(row, doubt, answer.reason, doubt.again)
        return await self._known(row, answer)

    async def _known(self, row: EffectRow, answer: Answer) -> str:
        async with self._db.writing() as session:
            if await _is_as_it_was(session, row):
                await doubts.settle(session, row.key, answer.state, answer.reason, answer.detail)
        log.info("settler.settled", effect=row.key, state=answer.state)
        return answer.state

    async def _undone(self, row: EffectRow) -> str:
        """Not done, and nobody left to do it. What was owed at the end of a case is put before a person."""
        owed = "/ending:" in row.key
        async with self._db.writing() as session:
            if await _is_as_it_was(session, row):
                await doubts.settle(session, row.key, "dropped" if row.state == "claimed" else "refused", LEFT_OUT)
                if owed:
                    task = TaskRow(
                        key=f"{row.key}/left_undone",
                        account_id=row.account_id,
                        case_id=row.case_id,
                        owner=await self._owner_of(session, row.account_id),
                        title=f"Left undone when the run ended: {row.title}",
                        opened_at=wall(),
                        due_at=wall() + timedelta(days=1),
                    )
                    await ledger.insert_once(session, task)
        return "dropped"

    async def _still_in_doubt(self, row: EffectRow, doubt: Doubt, reason: str, again: timedelta) -> str:
        """Note when to ask next; after `doubt.person` somebody is asked, and the row waits for the answer."""
        ask = doubt.person is not None and wall() - row.wall_claimed_at >= doubt.person
        async with self._db.writing() as session:
            if not await _is_as_it_was(session, row):
                return "in_doubt"
            state = await ledger.settle(session, row.key, "in_doubt", reason)
            if state != "in_doubt":
                # What SendGrid's event told came in while the claim stood.
                await doubts.close_task(session, row.key, state)
                return state
            there = await session.get(EffectRow, row.key)
            if there:
                # Once a person is asked there is no hurry; SendGrid allows few questions a minute.
                there.wall_look_at = wall() + (max(again, timedelta(days=1)) if ask else again)
                session.add(there)
            if not ask:
                return "in_doubt"
            known = (
                f"{doubt.known}\n\nKnown so far: {reason}. Begun at {row.wall_claimed_at:%Y-%m-%d %H:%M} UTC under the "
                f"key {row.key}.\nAnswer this task with done or not_done, or: "
                f"holdfast cases settle {row.key} done|not_done"
            )
            owner = await self._owner_of(session, row.account_id)
            new = await doubts.ask_a_person(
                session, row, f"{doubt.title}: {row.title}", known, owner, wall() + timedelta(days=1)
            )
        return "asked_a_person" if new else "in_doubt"

    async def _owner_of(self, session: AsyncSession, account: str) -> str:
        row = await session.get(Account, account)
        return (row.owner if row else "") or self._owner


async def _is_as_it_was(session: AsyncSession, row: EffectRow) -> bool:
    """Whether nobody settled, released or claimed it anew since it was read."""
    # The case first, as everybody who writes to the ledger does.
    await session.get(CaseRow, row.case_id, with_for_update=True)
    there = await session.get(EffectRow, row.key, with_for_update=True)
    return there is not None and (there.state, there.wall_claimed_at) == (row.state, row.wall_claimed_at)


async def settle_for_ever(
    settler: Settler, stop: asyncio.Event, *, every_s: float, succeeded: Callable[[str], None] = lambda loop: None
) -> None:
    """Ask every `every_s` seconds until `stop` is set."""
    while not stop.is_set():
        try:
            await settler.once()
            succeeded("settler")
        except Exception as error:  # noqa: BLE001 - the database may be away
            log.warning("settler.failed", error=type(error).__name__)
        try:
            await asyncio.wait_for(stop.wait(), every_s)
        except TimeoutError:
            continue
