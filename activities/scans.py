"""The daily scans as an activity: page after page of accounts, what is found put on record once (T2.2, T2.3, T2.6)."""

from collections import deque
from collections.abc import AsyncIterator, Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession
from temporalio import activity

from activities.books import look_over
from activities.findings import KINDS, Page, page_of
from models import inbox, ledger
from models.database import Database
from models.days import midnight
from models.policy import PolicyFile
from models.reports import write_reports
from models.scans import Found, Scan
from models.tables import OURSELVES, InboxEvent, RiskSignal, wall

if TYPE_CHECKING:
    from models.health.scoring import Changes

PAGE: Final = 1000
"""Accounts that are looked at in one query; also the most that a killed worker has to look at again."""
HEALTH_PAGE: Final = 50_000
"""The same for scores, where a query more costs as much as thousands of accounts."""
HOUR: Final = timedelta(hours=1)


class Turns:
    """When each new fact is carried to Temporal, so that a scan starts at most so many runs in any hour.

    `taken` are the turns given out for the last hour and for hours to come, in any order.
    """

    def __init__(self, taken: Iterable[datetime], per_hour: int, now: datetime) -> None:
        self._per_hour = per_hour
        self.now = now
        self._taken = deque(sorted(taken)[-per_hour:], maxlen=per_hour)

    def next(self) -> datetime:
        """The first moment that is free; it stays free until it is taken."""
        full = len(self._taken) == self._per_hour
        return max(self.now, self._taken[0] + HOUR) if full else self.now

    def take(self) -> None:
        """Give out that moment."""
        self._taken.append(self.next())


async def turns(session: AsyncSession, kind: str, per_hour: int, now: datetime) -> Turns:
    """The turns of a kind of fact, as far as they are given out."""
    statement = (
        select(InboxEvent.wall_next_try_at)
        .where(
            col(InboxEvent.state).in_(("pending", "applied", "dead")),
            InboxEvent.wall_next_try_at > now - HOUR,
            InboxEvent.source == OURSELVES,
            InboxEvent.kind == kind,
        )
        .order_by(col(InboxEvent.wall_next_try_at).desc())
        .limit(per_hour)
    )
    return Turns((await session.exec(statement)).all(), per_hour, now)


class Scans:
    """Looks at all accounts. Any number may run side by side: every finding has one id and is put on record once."""

    def __init__(self, database: Database, policy: PolicyFile, *, page: int | None = None) -> None:
        self.policy = policy
        self._db = database
        self._page = page

    @activity.defn(name="scan")
    async def scan(self, scan: Scan) -> Found:
        """Look at one window of accounts. A killed try is taken up after the page it had finished last."""
        told = activity.info().heartbeat_details
        found = Found.model_validate(told[0]) if told else Found(after=scan.after)
        async for more in self.steps(scan, found):
            found = found.plus(more)
            activity.heartbeat(found.model_dump(mode="json"))
        return found

    async def steps(self, scan: Scan, so_far: Found) -> AsyncIterator[Found]:
        """Page after page of the window that is left, each put on record before the next is read."""
        if scan.which == "reports":
            async with self._db.writing() as session:
                made = await write_reports(session, scan.day, self.policy.default.people.csm_lead)
            yield Found(done=True, pages=1, found=made, recorded=made)
            return
        if scan.which != "books":
            async for page in self.pages(scan, so_far):
                yield await self.put(scan, page)
            return
        after, left, done = so_far.after, scan.window - so_far.accounts, so_far.done
        while left > 0 and not done:
            async with self._db.writing() as session:
                found = await look_over(session, scan.day, self.policy.default, after, min(self._page or PAGE, left))
            yield found
            after, left, done = found.after, left - found.accounts, found.done

    async def foresee_books(self, scan: Scan) -> Found:
        """What the look at segments and books would change, with nothing changed."""
        found = Found()
        async with self._db.writing() as session:
            while not found.done:
                found = found.plus(
                    await look_over(session, scan.day, self.policy.default, found.after, self._page or PAGE)
                )
            await session.rollback()
        return found

    async def pages(self, scan: Scan, so_far: Found) -> AsyncIterator[Page]:
        """Each page of the window that is left. Reads only."""
        after, left, done = so_far.after, scan.window - so_far.accounts, so_far.done
        while left > 0 and not done:
            size = min(self._page or (HEALTH_PAGE if scan.which == "health" else PAGE), left)
            async with self._db.reading() as session:
                page = await page_of(session, scan.which, scan.day, self.policy, after, size)
            yield page
            after, left, done = page.after, left - page.accounts, page.last

    async def put(self, scan: Scan, page: Page) -> Found:
        """Put what a page found on record, in one transaction; what is there already stays as it is."""
        recorded = raised = cleared = 0
        if page.scores:
            recorded = await self.put_scores(page.scores)
        elif page.events or page.raised or page.cleared:
            async with self._db.writing() as session:
                per_hour = self.policy.default.starts.per_hour
                order = await turns(session, KINDS[scan.which], per_hour, wall())
                for event in page.events:
                    event.wall_next_try_at = order.next()
                    if await ledger.insert_once(session, event):
                        order.take()
                        recorded += 1
                for signal in page.raised:
                    raised += await ledger.insert_once(session, signal)
                if page.cleared:
                    gone = update(RiskSignal).where(
                        col(RiskSignal.key).in_(page.cleared), col(RiskSignal.cleared_at).is_(None)
                    )
                    cleared = (await session.exec(gone.values(cleared_at=midnight(scan.day)))).rowcount
        return Found(
            after=page.after,
            done=page.last,
            pages=1,
            accounts=page.accounts,
            found=page.found,
            recorded=recorded,
            by_value=page.by_value,
            long_since=page.long_since,
            raised=raised,
            cleared=cleared,
        )

    async def put_scores(self, changes: "Changes") -> int:
        """Write what changed with its facts, in one transaction; how many facts are new."""
        from models.health.writing import write

        if not changes.rows.height:
            return 0
        async with self._db.writing() as session:
            written = await write(session, changes)
            events = [event for event in changes.events if event.account_id in written]
            for kind in sorted({event.kind for event in events}):
                order = await turns(session, kind, self.policy.default.starts.per_hour, wall())
                for event in events:
                    if event.kind == kind:
                        event.wall_next_try_at = order.next()
                        order.take()
            return await inbox.insert_all(session, events)
