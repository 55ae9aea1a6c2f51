"""Writes into a CRM outside what our tables say: claimed before, settled after, looked up where the answer was lost.

Beside the settler in the relay process and not in `carry_out`: a run's step must not wait for a CRM, and what a CRM has
to be told (health, owners, tasks of the settler) does not all come from runs. Any number of relays may do it side by
side: each record is written under a claim of its own. One file: the way of a record, from claim to settlement, is one.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from time import monotonic
from typing import Any, Final

import structlog
from sqlmodel import col, select

from models import ledger
from models.crm import (
    DEAL_STAGES,
    Busy,
    Closed,
    CrmError,
    CrmSettings,
    Gone,
    Lacking,
    NoCompany,
    OutsideCrm,
    Refused,
    Unsure,
    lacking,
)
from models.crm_due import AGAIN, LOOKS, OF_OURS, SINCE, Asked, Due, company_of
from models.crm_rows import CrmRecord
from models.database import Database
from models.tables import Account, TaskRow, wall

MOST: Final = 200
"""Records of a kind in one pass."""
ABANDONED: Final = timedelta(minutes=10)
"""A claim this old belongs to nobody any more: no write takes longer than its look and its call, 10 seconds each."""
STOOD_STILL_S: Final = 120.0
"""Whoever holds a claim for longer than this writes nothing any more; well before somebody else may take it."""
LOOK_AGAIN: Final = timedelta(minutes=1)
"""How long a lost answer is waited for: what was sent may still be under way over there. Doubles up to an hour."""
CLOSED_S: Final = 600.0
"""How long nothing is tried after the key was refused."""
UNHEARD: Final = 5
"""So many answers lost one after the other: then the CRM itself is in trouble, and is left alone for a minute."""
MOST_TRIES: Final = 3
"""How often a record's company is looked for anew before a person is."""
LEAVE: Final = "leave"

log = structlog.get_logger()


class NotUsable(CrmError):
    """The CRM lacks what we cannot do without; the message is in sentences."""


class Mirror:
    """Brings a CRM up to date. `now` is the machine's clock."""

    def __init__(
        self,
        database: Database,
        crm: OutsideCrm,
        settings: CrmSettings,
        default_owner: str,
        now: Callable[[], datetime] = wall,
    ) -> None:
        self._db = database
        self._crm = crm
        self._settings = settings
        self._owner = default_owner
        self._now = now
        self._usable: CrmSettings | None = None
        self._quiet_until: datetime | None = None

    async def check(self) -> Lacking:
        """Read what the CRM has; from now on only that is written.

        Raises:
            Busy, Closed: it cannot be asked.
        """
        usable, found = lacking(self._settings, await self._crm.schema(), DEAL_STAGES)
        self._crm.use(usable)
        self._usable = None if found.fatal else usable
        return found

    async def once(self) -> Counter[str]:
        """Write what is due; how many ended how: done, waits, in_doubt, refused; skipped where it is not its turn.

        Raises:
            NotUsable: the CRM lacks attributes that we cannot do without.
        """
        said: Counter[str] = Counter()
        if self._quiet_until and self._now() < self._quiet_until:
            return said
        self._quiet_until = None
        try:
            if self._usable is None:
                found = await self.check()
                for sentence in found.left_out:
                    log.warning("crm.left_out", what=sentence)
                if found.fatal:
                    raise NotUsable("; ".join(found.fatal))
            since = await self._since()
            await self._hear_answers()
            await self._each_kind(since, said)
        except Busy as error:
            self._quiet(error.wait_s, str(error))
        except Closed as error:
            self._quiet(CLOSED_S, str(error))
        return said

    async def _each_kind(self, since: datetime, said: Counter[str]) -> None:
        unheard, closed = 0, ""
        for _, look in LOOKS:
            async with self._db.reading() as session:
                due = await look(Asked(session, self._settings, self._now(), MOST, since, self._owner))
            for each in due:
                try:
                    state = await self.carry(each)
                except Closed as error:
                    # A key that may not write notes may still write tasks.
                    closed = str(error)
                    break
                said[state] += 1
                unheard = unheard + 1 if state in ("waits", "in_doubt") else 0
                if unheard == UNHEARD:
                    raise Busy(f"{UNHEARD} answers were lost one after the other", LOOK_AGAIN.total_seconds())
        if closed:
            raise Closed(closed)

    def _quiet(self, seconds: float, why: str) -> None:
        self._quiet_until = self._now() + timedelta(seconds=seconds)
        log.warning("crm.waits", seconds=seconds, why=why)

    async def _since(self) -> datetime:
        async with self._db.writing() as session:
            row = CrmRecord(key=SINCE, kind="mirror", account_id="", state="done", wall_made_at=self._now())
            await ledger.insert_once(session, row)
            there = await session.get(CrmRecord, SINCE)
            return (there or row).wall_made_at

    async def _hear_answers(self) -> None:
        """What a person says is to be tried again, is."""
        async with self._db.writing() as session:
            statement = (
                select(CrmRecord)
                .join(TaskRow, col(TaskRow.key) == col(CrmRecord.task))
                .where(CrmRecord.state == "refused", TaskRow.outcome == AGAIN)
            )
            for row in (await session.exec(statement)).all():
                row.state, row.task, row.wall_next_try_at = "waits", "", self._now()
                session.add(row)

    # One record.

    async def carry(self, due: Due) -> str:
        """Claim one record, write it, settle it; how it ended. `skipped` where it was written or claimed meanwhile.

        Raises:
            Busy: nothing more can be written now.
            Closed: nothing more of this kind.
        """
        belongs = due
        if due.record.kind != "company":
            company = await self._company_of(due.account_id)
            if not company:
                return "skipped"
            deal = await self._id_of(f"deal/{due.case_id}") if due.record.kind == "task" and due.case_id else ""
            belongs = replace(due, record=replace(due.record, company=company, deal=deal))
        row = await self._claim(belongs)
        if row is None:
            return "skipped"
        began = monotonic()
        try:
            # Whatever was made by a try whose answer was lost is found by its key, and never made twice.
            remote = row.remote_id or await self._crm.look(belongs.record)
            if monotonic() - began > STOOD_STILL_S:
                raise Busy("stood still after the claim", 0)
            remote = await self._crm.write(belongs.record, remote)
        except (Busy, Closed) as error:
            wait = error.wait_s if isinstance(error, Busy) else CLOSED_S
            await self._settle(row, "waits", str(error), wall_next_try_at=self._now() + timedelta(seconds=wait))
            if isinstance(error, Busy) and error.only_this:
                return "waits"
            raise
        except Unsure as error:
            return await self._in_doubt(row, str(error))
        except NoCompany as error:
            if row.tries >= MOST_TRIES:
                return await self._ask(row, due, str(error))
            await self._look_for_the_company(due.account_id)
            return await self._settle(row, "waits", str(error))
        except Gone as error:
            if due.record.kind in ("company", "deal"):
                return await self._ask(row, due, str(error))
            # A person who deletes a task or a note over there has said what there was to say.
            return await self._settle(row, "done", str(error), written=due.version)
        except Refused as error:
            return await self._ask(row, due, str(error))
        except Exception as error:  # noqa: BLE001 - an answer of another shape than we know; the others are still written
            log.warning("crm.not_understood", record=row.key, error=type(error).__name__)
            return await self._in_doubt(row, f"the answer was not understood: {type(error).__name__}")
        state = await self._settle(row, "done", "", remote_id=remote, written=due.version, seen_at=due.seen_at)
        in_words = "health_text" in (self._usable or self._settings).fields("company")
        if due.record.kind in ("at_risk", "note") and in_words:
            await self._write_the_company_anew(due.account_id)
        return state

    async def _claim(self, due: Due) -> CrmRecord | None:
        """Take the record, if nobody else has it."""
        now = self._now()
        async with self._db.writing() as session:
            fresh = CrmRecord(
                key=due.key,
                kind=due.record.kind,
                account_id=due.account_id,
                state="claimed",
                wanted=due.version,
                tries=1,
                wall_claimed_at=now,
                wall_next_try_at=now,
            )
            if await ledger.insert_once(session, fresh):
                return fresh
            row = await session.get(CrmRecord, due.key, with_for_update=True)
            if row is None or row.state == "refused" or row.wall_next_try_at > now:
                return None
            if row.state == "done" and row.written == due.version:
                return None
            if row.state == "claimed" and now - row.wall_claimed_at < ABANDONED:
                return None
            row.tries = 1 if row.state == "done" else row.tries + 1
            row.state, row.wanted, row.wall_claimed_at = "claimed", due.version, now
            session.add(row)
            return row

    async def _settle(self, row: CrmRecord, state: str, reason: str, **changes: Any) -> str:
        """Write down how it ended, if it is still under this claim."""
        async with self._db.writing() as session:
            there = await session.get(CrmRecord, row.key, with_for_update=True)
            if there and (there.state, there.wall_claimed_at) == ("claimed", row.wall_claimed_at):
                there.sqlmodel_update({"state": state, "reason": reason, **changes})
                session.add(there)
        return state

    async def _in_doubt(self, row: CrmRecord, why: str) -> str:
        wait = min(LOOK_AGAIN * 2 ** min(row.tries - 1, 6), timedelta(hours=1))
        return await self._settle(row, "in_doubt", why, wall_next_try_at=self._now() + wait)

    async def _company_of(self, account: str) -> str:
        """The id over there of the account's company, which is written first where it is not known; empty: it waits."""
        async with self._db.reading() as session:
            row = await session.get(CrmRecord, f"company/{account}")
            if row and row.remote_id and row.state in ("done", "in_doubt"):
                return row.remote_id
            there = await session.get(Account, account)
            if there is None or (row and row.state == "refused"):
                return ""
            asked = Asked(session, self._settings, self._now(), 1, self._now(), self._owner)
            due = await company_of(asked, there)
        await self.carry(due)
        return await self._id_of(due.key)

    async def _id_of(self, key: str) -> str:
        async with self._db.reading() as session:
            row = await session.get(CrmRecord, key)
            return row.remote_id if row and row.state == "done" else ""

    async def _look_for_the_company(self, account: str) -> None:
        """It is not where it was: its own record is written again, which follows a merge or finds it deleted."""
        await self._change_the_company(account, state="waits", wall_next_try_at=self._now())

    async def _write_the_company_anew(self, account: str) -> None:
        await self._change_the_company(account, seen_at=None, written="")

    async def _change_the_company(self, account: str, **changes: Any) -> None:
        async with self._db.writing() as session:
            row = await session.get(CrmRecord, f"company/{account}", with_for_update=True)
            if row and row.state == "done":
                row.sqlmodel_update(changes)
                session.add(row)

    async def _ask(self, row: CrmRecord, due: Due, why: str) -> str:
        """Nothing can be done by itself: a person is asked, and the record waits for the answer."""
        kind = "at-risk list" if due.record.kind == "at_risk" else due.record.kind
        async with self._db.writing() as session:
            account = await session.get(Account, due.account_id)
            task = TaskRow(
                key=f"{OF_OURS}{row.key}/{int(self._now().timestamp())}",
                account_id=due.account_id,
                case_id=due.case_id,
                owner=(account.owner if account else "") or self._owner,
                title=f"{self._crm.name} does not have this as it should: {kind}",
                body=f"What we know: {why}.\nOur key is {due.record.key}, of account {due.account_id}; nothing is "
                f"written about it meanwhile, and nothing of it is lost here.\nPut it right in {self._crm.name}, then "
                f"answer this task with {AGAIN}, or: holdfast crm again {row.key}\nIf it shall stay as it is, answer "
                f"{LEAVE}.",
                opened_at=self._now(),
                due_at=self._now() + timedelta(days=1),
                answers=f"{AGAIN} {LEAVE}",
            )
            await ledger.insert_once(session, task)
        log.info("crm.asked_a_person", record=row.key)
        return await self._settle(row, "refused", why, task=task.key)


async def mirror_for_ever(mirror: Mirror, stop: asyncio.Event, *, every_s: float) -> None:
    """Bring the CRM up to date every `every_s` seconds until `stop` is set."""
    while not stop.is_set():
        try:
            await mirror.once()
        except NotUsable as error:
            log.error("crm.not_usable", what=str(error), do="holdfast crm check")
        except Exception as error:  # noqa: BLE001 - the database may be away
            log.warning("crm.failed", error=type(error).__name__)
        try:
            await asyncio.wait_for(stop.wait(), every_s)
        except TimeoutError:
            continue
