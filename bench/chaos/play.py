"""The run: waves of people, their months passed in jumps, under a storm; then calm, rest, and the reckoning."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final

import structlog
from sqlmodel import col, func, select
from temporalio.service import RPCError, RPCStatusCode

from bench.chaos.crowd import Crowd
from bench.chaos.insist import insist
from bench.chaos.stage import Stage
from models import doubts
from models.stripe_events import READERS
from models.tables import CaseRow, EffectRow, InboxEvent
from simulator.population import DAY_S

WAVE: Final = 80
WAVES_AT_ONCE: Final = 3
TOLD_TRIES: Final = 60
MAY_BE_UNTOLD: Final = 0.1
STORIES_SHARE: Final = 0.08
DAYS: Final = (0.06, 1.6, 3.6, 5.6, 7.6, 9.6, 12.6, 15.6, 18.6, 24.6, 31.6)
JUMPS_AT_ONCE: Final = 12
JUMP_S: Final = 45
"""A jump waits until the run stands still; under faults that may be a while, and the next one makes up for it."""
REST_S: Final = 240

log = structlog.get_logger()


class Month:
    """One wave: its people, and how far their month has come."""

    def __init__(self, stage: Stage, seed: int, first: int, count: int) -> None:
        self._stage = stage
        self._first = first
        self._stories = max(1, round(count * STORIES_SHARE))
        self._people = count - self._stories
        self.crowd = Crowd(stage.simulator, stage.stripe, seed, stage.sender)

    async def pass_by(self, days: Sequence[float] = DAYS) -> None:
        """Let the month pass."""
        await self.crowd.settle_in(self._people)
        log.info("month.settled_in", wave=self._first, people=len(self.crowd.people))
        await self.crowd.invoices_fall_due()
        log.info("month.billed", wave=self._first)
        await self.crowd.stories_begin(self._first, self._stories)
        await self._quiet()
        await self._told()
        passed = 0.0
        for day in days:
            await self.crowd.live_until(day)
            await self._quiet()
            step = (day - passed) * DAY_S
            await insist(lambda s=step: self._stage.simulator.advance(s))  # type: ignore[misc]
            jumping = await self.open_cases()
            log.info("month.jumps", wave=self._first, day=day, cases=len(jumping))
            await jump(self._stage, jumping, timedelta(seconds=step))
            await self._quiet()
            passed = day
            log.info("month", wave=self._first, day=day, still_open=len(await self.open_cases()))

    async def open_cases(self) -> list[str]:
        """The wave's cases that have not ended."""
        accounts = [person.id for person in self.crowd.people] + [story.account for story in self.crowd.stories]

        async def read() -> list[str]:
            async with self._stage.database.reading() as session:
                statement = select(CaseRow.id).where(
                    col(CaseRow.ended).is_(False), col(CaseRow.account_id).in_(accounts)
                )
                return list((await session.exec(statement)).all())

        return await insist(read)

    async def _told(self) -> None:
        """Let the first step of most be taken, or they would pay before we have said a word."""
        accounts = [person.id for person in self.crowd.people]

        async def untold() -> int:
            async with self._stage.database.reading() as session:
                statement = (
                    select(func.count())
                    .select_from(CaseRow)
                    .where(col(CaseRow.account_id).in_(accounts), CaseRow.last_title == "")
                )
                return (await session.exec(statement)).one()

        for _ in range(TOLD_TRIES):
            if await insist(untold) <= MAY_BE_UNTOLD * len(accounts):
                return
            await asyncio.sleep(0.25)

    async def _quiet(self) -> None:
        """Give what was said a moment to arrive; a storm is no reason to wait for long."""
        for _ in range(40):
            if await insist(lambda: pending(self._stage)) == 0:
                return
            await asyncio.sleep(0.25)


async def jump(stage: Stage, cases: Sequence[str], amount: timedelta) -> None:
    """Let the clocks of runs advance. Under faults one may jump twice or not at all: people differ more than that."""
    limit = asyncio.Semaphore(JUMPS_AT_ONCE)

    async def one(case: str) -> None:
        handle = stage.client.get_workflow_handle(case)
        async with limit:
            for _ in range(3):
                try:
                    # A run that has just ended has no clock any more.
                    await asyncio.wait_for(stage.skipper.fast_forward(handle, amount), JUMP_S)
                except (RPCError, TimeoutError, RuntimeError) as error:
                    if isinstance(error, RPCError) and error.status == RPCStatusCode.NOT_FOUND:
                        return
                    log.info("jump.again", case=case, error=f"{type(error).__name__} {error}"[:100])
                    await asyncio.sleep(1)
                else:
                    return

    await asyncio.gather(*(one(case) for case in cases))


async def pending(stage: Stage) -> int:
    """Events on their way to a run."""
    async with stage.database.reading() as session:
        statement = select(func.count()).select_from(InboxEvent).where(InboxEvent.state == "pending")
        return (await session.exec(statement)).one()


async def _claimed(stage: Stage) -> int:
    async with stage.database.reading() as session:
        statement = select(func.count()).select_from(EffectRow).where(EffectRow.state == "claimed")
        return (await session.exec(statement)).one()


async def months(stage: Stage, cases: int, seed: int, until: float) -> int:
    """Every wave's month, some side by side; no new wave begins after `until` (monotonic). How many cases began."""
    waves = [(first, min(WAVE, cases - first)) for first in range(0, cases, WAVE)]
    begun = 0
    lanes = asyncio.Semaphore(WAVES_AT_ONCE)

    async def one(first: int, count: int) -> None:
        nonlocal begun
        async with lanes:
            if time.monotonic() > until:
                return
            await Month(stage, seed + first, first, count).pass_by()
            begun += count

    await asyncio.gather(*(one(*wave) for wave in waves))
    return begun


async def rest(stage: Stage) -> float:
    """After the storm: wait until nothing moves any more. Seconds it took.

    Raises:
        TimeoutError: something still moves, or is stuck.
    """
    began = time.monotonic()
    quiet_since: float | None = None
    with suppress(TimeoutError):
        await asyncio.wait_for(stage.simulator.settled(), REST_S)
    while time.monotonic() - began < REST_S:
        moving = {
            "pending": await pending(stage),
            "claimed": await _claimed(stage),
            "busy": len(await busy_runs(stage)),
        }
        if any(moving.values()):
            quiet_since = None
            log.info("rest", **moving)
        elif quiet_since is None:
            quiet_since = time.monotonic()
        elif time.monotonic() - quiet_since > 3:
            # A webhook that got lost for good is found by the sweep, and moves runs once more.
            moving["not swept"] = await unseen(stage)
            if not moving["not swept"]:
                return round(quiet_since - began, 1)
            quiet_since = None
            log.info("rest", **moving)
            await asyncio.sleep(5)
        await asyncio.sleep(1)
    raise TimeoutError(f"after {REST_S} s there still is {moving}")


async def unseen(stage: Stage) -> int:
    """Events that Stripe has, that we act on, and that neither a webhook nor the sweep has brought."""
    said: dict[str, str] = (await stage.simulator.call("GET", "truth"))["events"]
    async with stage.database.reading() as session:
        known = set((await session.exec(select(InboxEvent.event_id))).all())
    return sum(kind in READERS and event not in known for event, kind in said.items())


async def open_cases(stage: Stage) -> Sequence[str]:
    """Every case that has not ended."""
    async with stage.database.reading() as session:
        return (await session.exec(select(CaseRow.id).where(col(CaseRow.ended).is_(False)))).all()


async def settle_doubts(stage: Stage) -> Counter[str]:
    """Be the person who is asked about mails in doubt, and look into the mailbox: how many were there, and not.

    Most are settled before by SendGrid's activity; what it does not show is never settled without a person.
    """
    sent = {mail["custom_args"]["effect"] for mail in await stage.simulator.mailbox()}
    async with stage.database.reading() as session:
        statement = select(EffectRow.key).where(EffectRow.state == "in_doubt", EffectRow.kind == "email")
        keys = (await session.exec(statement)).all()
    for key in keys:
        async with stage.database.writing() as session:
            await doubts.decide(session, key, "done" if key in sent else "not_done", "the mailbox")
    return Counter("sent" if key in sent else "not sent" for key in keys)


async def without_a_wait(stage: Stage) -> list[str]:
    """Open cases whose run is at rest and waits neither for a day nor for a person."""
    found = []
    for case in await open_cases(stage):
        try:
            state = await stage.client.get_workflow_handle(case).query("state")
        except RPCError as error:
            found.append(f"{case} has a run that does not answer: {error.status.name}")
        else:
            if not (state["next_at"] or state["waits_for"] or state["paused"]):
                found.append(f"{case} is open, and waits for nothing")
    return found


async def busy_runs(stage: Stage) -> list[str]:
    """Open cases whose run has a step under way, or a workflow task that is not answered."""
    cases = await open_cases(stage)
    limit = asyncio.Semaphore(JUMPS_AT_ONCE)

    async def busy(case: str) -> bool:
        async with limit:
            try:
                raw: Any = (await stage.client.get_workflow_handle(case).describe()).raw_description
            except RPCError:
                return False  # a case without a run is for the audit to tell
            return bool(raw.pending_activities) or raw.HasField("pending_workflow_task")

    found = await asyncio.gather(*(busy(case) for case in cases))
    return [case for case, is_busy in zip(cases, found, strict=True) if is_busy]
