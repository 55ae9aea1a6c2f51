"""The one door: every effect of every playbook is claimed, gated, done and recorded here (design: once only)."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace

from temporalio import activity

from activities.systems import Answer, Inside, Outside, TryAgain, Watch, effect_named
from models import ledger
from models.cases import Batch, Effect, Outcome, Parting, Result
from models.database import Database
from models.gate import Held, LookAgain, newest_news
from models.picture import Picture

LOOKS = 20
"""How often one batch looks again because news keeps coming in, before Temporal's retry takes over."""


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
    """

    def __init__(
        self,
        database: Database,
        watches: Iterable[Watch],
        inside: Iterable[Inside],
        outside: Iterable[Outside],
    ) -> None:
        self._db = database
        self._watches = {watch.name: watch for watch in watches}
        self._inside = {kind: system for system in inside for kind in system.kinds}
        self._outside = {kind: system for system in outside for kind in system.kinds}

    @activity.defn
    async def carry_out(self, batch: Batch) -> Outcome:
        """Carry out a step's effects in order; stop at the first that finds the reason gone, and part properly.

        Safe to repeat at any point: settled effects are read from the ledger, and those whose answer was lost
        are looked up at the provider before anything is done again.
        """
        async with _beating():
            return await self._carry_out(batch)

    async def _carry_out(self, batch: Batch) -> Outcome:
        picture, found = await self._settle_what_was_lost(batch, await self._look(batch))
        results: dict[str, Result] = {}
        async with self._db.writing() as session:
            await ledger.write_progress(session, batch, picture)
        if picture.over:
            ended = await self._part(batch, picture, found or picture.over, results)
            if ended:
                return ended
        for effect in batch.effects:
            settled = await self._do(batch, effect, picture)
            if isinstance(settled, Held):
                return Outcome(wait_until=settled.until, readings=picture.readings, results=results)
            result, picture, reason = settled
            results[effect.key] = result
            if picture.over:
                ended = await self._part(batch, picture, reason or picture.over, results)
                if ended:
                    return ended
        if batch.closing:
            return await self._close(batch, batch.closing, picture, results)
        async with self._db.writing() as session:
            await ledger.write_progress(session, batch, picture)
        return Outcome(readings=picture.readings, results=results)

    async def _look(self, batch: Batch) -> Picture:
        async with self._db.reading() as session:
            mark = await newest_news(session, batch)
        picture = await self._watches[batch.watch].look(batch) if batch.watch else Picture()
        return replace(picture, mark=mark)

    async def _do(
        self, batch: Batch, effect: Effect, picture: Picture, *, parting: bool = False
    ) -> tuple[Result, Picture, str] | Held:
        """Claim one effect, do it, record it. Returns the newest picture, and the ending this effect brought about."""
        outside = self._outside.get(effect.kind)
        for _ in range(LOOKS):
            noted = outside.before(effect, picture) if outside else {}
            try:
                async with self._db.writing() as session:
                    row = await ledger.claim(session, batch, effect, picture, parting=parting, detail=noted)
                    if isinstance(row, Held):
                        return row
                    if row.state == "claimed" and not outside:
                        answer = await self._inside[effect.kind].write(session, effect, batch, picture)
                        await ledger.settle(session, effect.key, answer.state, answer.reason, answer.detail)
                        row.state, row.reason = answer.state, answer.reason
                break
            except LookAgain:
                picture = await self._look(batch)
                if picture.over:
                    return Result(state="dropped", reason=f"just ended: {picture.over}"), picture, ""
        else:
            raise TryAgain(f"{effect.key}: news keeps coming in; the source of truth has not settled")
        if row.state != "claimed" or outside is None:
            return ledger.result_of(row), picture, ""
        answer = await outside.perform(effect, batch, picture)
        result = await self._record(effect, answer)
        if answer.reread and not parting:
            picture = await self._look(batch)
        return result, picture, getattr(effect, "then", "") if answer.state == "done" else ""

    async def _record(self, effect: Effect, answer: Answer) -> Result:
        async with self._db.writing() as session:
            await ledger.settle(session, effect.key, answer.state, answer.reason, answer.detail)
        return Result(state=answer.state, reason=answer.reason)

    async def _settle_what_was_lost(self, batch: Batch, picture: Picture) -> tuple[Picture, str]:
        """Look up every claim an earlier try left behind. Says which ending, if any, such an effect brought about."""
        brought_about = ""
        async with self._db.reading() as session:
            lost = await ledger.unsettled(session, batch)
        for row in lost:
            effect = effect_named(batch, row.key)
            if effect is None:
                continue
            system = self._outside[row.kind]
            answer = await system.look_up(effect, batch, picture, row.detail)
            if answer is None:
                answer = await system.perform(effect, batch, picture)
            await self._record(effect, answer)
            if answer.reread:
                picture = await self._look(batch)
            if answer.state == "done":
                brought_about = getattr(effect, "then", "") or brought_about
        return picture, brought_about if picture.over else ""

    async def _part(self, batch: Batch, picture: Picture, reason: str, results: dict[str, Result]) -> Outcome | None:
        """End the case for `reason` and do what is then owed; None if the case may not end after all."""
        parting = batch.partings.get(reason) or batch.partings.get(picture.over)
        if parting is None:
            raise LookupError(f"{batch.playbook} has no parting for {reason!r}; it names {sorted(batch.partings)}")
        async with self._db.writing() as session:
            if not await ledger.close(session, batch, picture, reason, parting.outcome):
                return None
        return await self._owed(batch, parting, picture, reason, results)

    async def _close(self, batch: Batch, closing: Parting, picture: Picture, results: dict[str, Result]) -> Outcome:
        async with self._db.writing() as session:
            await ledger.close(session, batch, picture, "", closing.outcome)
        return await self._owed(batch, closing, picture, "closed", results)

    async def _owed(
        self, batch: Batch, parting: Parting, picture: Picture, reason: str, results: dict[str, Result]
    ) -> Outcome:
        for effect in parting.effects:
            settled = await self._do(batch, effect, picture, parting=True)
            if not isinstance(settled, Held):
                results[effect.key] = settled[0]
        return Outcome(over=reason, outcome=parting.outcome, readings=picture.readings, results=results)
