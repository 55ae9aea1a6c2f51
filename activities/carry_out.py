"""The one door: every effect of every playbook is claimed, gated, done and recorded here (design: once only)."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from time import monotonic

from temporalio import activity

from activities import counted
from activities.systems import Answer, Inside, Outside, TryAgain, Watch, claimed_at, effect_named
from models import ledger
from models.cases import Batch, Effect, Email, Outcome, Parting, Reading, Result
from models.database import Database
from models.doubts import APPLY_OFFER
from models.gate import Held, LookAgain, news_count
from models.picture import Picture
from models.policy import Policy, PolicyFile

LOOKS = 20
"""How often one batch looks again because news keeps coming in, before Temporal's retry takes over."""
TopicOf = Callable[[Email, Picture], str]
NOTHING_CAME = "nothing came of it"
BEAT_S = 4
"""Batches that take longer tell the server that they live, so that a killed worker is noticed within seconds
(`heartbeat_timeout` in the playbook base); shorter ones never beat, for every beat is a billable action."""


@asynccontextmanager
async def _beating() -> AsyncIterator[None]:
    async def beat() -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            activity.heartbeat()

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()


class Effects:
    """Carries out batches.

    `watches` are the sources of truth by name; `inside` and `outside` the systems, each naming the kinds it serves.
    `topic_of` says what a mail is about.
    """

    def __init__(
        self,
        database: Database,
        policy: PolicyFile,
        watches: Iterable[Watch],
        inside: Iterable[Inside],
        outside: Iterable[Outside],
        topic_of: TopicOf = lambda effect, picture: "",
    ) -> None:
        self._db = database
        self._policy = policy
        self._topic_of = topic_of
        self._watches = {watch.name: watch for watch in watches}
        self._inside = {kind: system for system in inside for kind in system.kinds}
        self._outside = {kind: system for system in outside for kind in system.kinds}

    @activity.defn
    async def carry_out(self, batch: Batch) -> Outcome:
        """Carry out a step's effects in order; stop at the first that finds the reason gone, and part properly.

        Safe to repeat at any point: settled effects are read from the ledger, and those whose answer was lost
        are looked up at the provider before anything is done again.
        """
        # The server's clock, as the run's own is; a try may come hours after the step asked for it.
        now = max(batch.now, activity.info().started_time)
        async with _beating():
            systems = self._watches, self._inside, self._outside
            return await _Try(self._db, self._policy, *systems, self._topic_of, batch, now).carry_out()


class _Try:
    """One try at one batch: the picture it has, and what came of each effect so far."""

    def __init__(
        self,
        database: Database,
        policy: PolicyFile,
        watches: dict[str, Watch],
        inside: dict[str, Inside],
        outside: dict[str, Outside],
        topic_of: TopicOf,
        batch: Batch,
        now: datetime,
    ) -> None:
        self._now = now
        self._db = database
        self._policy = policy
        self._watches = watches
        self._inside = inside
        self._outside = outside
        self._topic_of = topic_of
        self._batch = batch
        self._picture = Picture()
        self._reason = ""
        self._results: dict[str, Result] = {}
        self._kept: dict[str, Reading] = {}
        self._claims: dict[str, datetime] = {}
        self._passed: dict[str, str] = {}
        """By effect, the rule under which the gate answered this very try."""

    async def carry_out(self) -> Outcome:
        """Carry out the batch, from wherever an earlier try left it."""
        await self._look()
        await self._settle_what_was_lost()
        async with self._db.writing() as session:
            case = await ledger.lock_case(session, self._batch.case)
            await ledger.write_progress(session, case, self._batch, self._picture)
            self._kept |= {name: case.readings[name] for name in (APPLY_OFFER,) if name in case.readings}
        if case.ended:
            # An earlier try ended the case and was cut off: what is owed then is still owed, for the same reason.
            return await self._owed(case.reason, case.outcome)
        ended = await self._part_if_over()
        for effect in self._batch.effects:
            if ended:
                return ended
            held = await self._do(effect)
            if held:
                return self._waits(held)
            ended = await self._part_if_over()
        return ended or await self._close() or Outcome(readings=self._readings(), results=self._results)

    def _readings(self) -> dict[str, Reading]:
        """What the playbook is told: what was seen, and under `apply_offer` how giving an offer ended (O12)."""
        return {**self._picture.readings, **self._kept}

    def _waits(self, held: Held) -> Outcome:
        """What the playbook is told where something has to wait."""
        return Outcome(wait_until=held.until, readings=self._readings(), results=self._results)

    # Looking.

    async def _look(self) -> None:
        """Read how things stand. What an ending has no parting for, is none for this playbook."""
        async with self._db.reading() as session:
            mark = await news_count(session, self._batch)
        watch = self._watches[self._batch.watch] if self._batch.watch else None
        picture = await watch.look(self._batch) if watch else Picture()
        over = picture.over if picture.over in self._batch.partings else ""
        self._picture = replace(picture, over=over, mark=mark)

    async def _settle_what_was_lost(self) -> None:
        """Find out what became of every claim an earlier try left behind; what was not done loses its claim."""
        async with self._db.reading() as session:
            lost = await ledger.unsettled(session, self._batch)
        for row in lost:
            effect = effect_named(self._batch, row.key)
            if effect is None:
                continue
            answer = await self._outside[row.kind].look_up(effect, self._batch, self._picture, row.detail)
            if answer is None and row.state == "in_doubt":
                answer = Answer("refused", NOTHING_CAME, reread=True)
            if answer is None:
                await self._release(effect, row.wall_claimed_at)
                continue
            await self._record(effect, answer)
            if answer.reread:
                await self._look()
        self._reason = await self._what_brought_it_about()

    async def _what_brought_it_about(self) -> str:
        """The ending that an effect of this batch brought about in an earlier try, if it is over."""
        if not self._picture.over:
            return ""
        async with self._db.reading() as session:
            done = await ledger.done_keys(session, [effect.key for effect in self._batch.effects])
        return next((_then(effect) for effect in self._batch.effects if effect.key in done and _then(effect)), "")

    # Doing.

    async def _do(self, effect: Effect, *, parting: bool = False) -> Held | None:
        """Claim one effect, do it, record it; what holds it back is returned."""
        outside = self._outside.get(effect.kind)
        for _ in range(LOOKS):
            began = monotonic()
            try:
                state = await self._claim(effect, outside, parting=parting)
                break
            except LookAgain:
                await self._look()
                if self._picture.over:
                    return None
        else:
            raise TryAgain(f"{effect.key}: news keeps coming in; the source of truth has not settled")
        counted.asked(self._batch, effect, state, self._passed.pop(effect.key, None))
        if isinstance(state, Held):
            return state
        if outside and state == "claimed":
            with claimed_at(began):
                await self._perform(effect, outside, parting=parting)
        return None

    async def _claim(self, effect: Effect, outside: Outside | None, *, parting: bool) -> str | Held:
        """Take the key under the gate; effects inside our own database are done in the same transaction."""
        noted = outside.before(effect, self._picture) if outside else {}
        about = self._topic_of(effect, self._picture) if isinstance(effect, Email) else ""
        async with self._db.writing() as session:
            row, fresh = await ledger.claim(
                session,
                self._batch,
                effect,
                self._picture,
                parting=parting,
                detail=noted,
                policy=self._rules(),
                topic=about,
                now=self._now,
            )
            if isinstance(row, Held):
                return row
            if fresh:
                self._passed[effect.key] = row.rule
            if row.state == "claimed" and not fresh:
                raise TryAgain(f"{effect.key}: another try is at it")
            if row.state == "claimed" and not outside:
                answer = await self._inside[effect.kind].write(session, effect, self._batch, self._picture)
                await ledger.settle(session, effect.key, answer.state, answer.reason, answer.detail)
                deadline = getattr(effect, "deadline", None) if answer.state == "done" else None
                self._results[effect.key] = Result(state=answer.state, reason=answer.reason, deadline=deadline)
                return answer.state
            self._claims[effect.key] = row.wall_claimed_at
        if row.state != "claimed":
            self._results[effect.key] = ledger.result_of(row)
        return row.state

    def _rules(self) -> Policy:
        """Today's policy of the account's segment."""
        return self._policy.for_segment(str(self._picture.readings.get("segment", "")))

    async def _perform(self, effect: Effect, outside: Outside, *, parting: bool) -> None:
        try:
            answer = await outside.perform(effect, self._batch, self._picture)
        except TryAgain as error:
            await self._release(effect, self._claims[effect.key], f"not done: {error}")
            raise
        await self._record(effect, answer)
        if answer.reread and not parting:
            await self._look()
        if answer.state == "done" and self._picture.over:
            self._reason = _then(effect) or self._reason

    async def _record(self, effect: Effect, answer: Answer) -> None:
        async with self._db.writing() as session:
            if effect.kind == APPLY_OFFER:
                # Kept with the case, for what the next look finds replaces all that the playbook was told.
                case = await ledger.lock_case(session, self._batch.case)
                case.readings = {**case.readings, APPLY_OFFER: answer.state}
                session.add(case)
                self._kept[APPLY_OFFER] = answer.state
            state = await ledger.settle(session, effect.key, answer.state, answer.reason, answer.detail)
        counted.ended(self._batch, effect, state)
        self._results[effect.key] = Result(state=state, reason=answer.reason)

    async def _release(self, effect: Effect, claimed: datetime, why: str = "") -> None:
        """Give a claim back: nothing was done, and whether it still may be is for the gate to say."""
        async with self._db.writing() as session:
            await ledger.release(session, effect.key, claimed, why)

    # Ending.

    async def _part_if_over(self) -> Outcome | None:
        """End the case if the reason is gone. If something joined meanwhile, look again: it may not be over at all."""
        for _ in range(LOOKS):
            if not self._picture.over:
                return None
            reason = self._reason if self._reason in self._batch.partings else self._picture.over
            outcome = self._batch.partings[reason].outcome
            async with self._db.writing() as session:
                closed = await ledger.close(session, self._batch, self._picture, reason, outcome)
            if closed:
                return await self._owed(reason, outcome)
            await self._look()
        raise TryAgain(f"{self._batch.case}: subjects keep joining")

    async def _close(self) -> Outcome | None:
        """End the case because the plan is done, or a lead says so; unless there is news that must be looked at."""
        if not self._batch.closing:
            return None
        for _ in range(LOOKS):
            closing = self._batch.closing
            try:
                async with self._db.writing() as session:
                    held = await ledger.waits_before_the_end(
                        session, self._batch, closing.effects, self._picture, self._rules(), now=self._now
                    )
                    closed = not held and await ledger.close(
                        session, self._batch, self._picture, closing.reason, closing.outcome
                    )
                if held:
                    return self._waits(held)
            except LookAgain:
                closed = False
            if closed:
                return await self._owed(closing.reason, closing.outcome)
            await self._look()
            ended = await self._part_if_over()
            if ended:
                return ended
        raise TryAgain(f"{self._batch.case}: news keeps coming in; the case cannot be closed")

    async def _owed(self, reason: str, outcome: str) -> Outcome:
        """Do what is owed for this ending; each at most once, however often it is tried.

        What is on hold makes it wait: the case has ended, so the next try comes here again.
        """
        closing = self._batch.closing
        parting: Parting | None = self._batch.partings.get(reason)
        if closing and closing.reason == reason:
            parting = closing
        for effect in parting.effects if parting else ():
            held = await self._do(effect, parting=True)
            if held:
                return self._waits(held)
        return Outcome(over=reason, outcome=outcome, readings=self._readings(), results=self._results)


def _then(effect: Effect) -> str:
    """The ending that an effect brings about when it is done, if it names one."""
    return getattr(effect, "then", "")
