"""The sweep: webhooks get lost, Stripe's list of events does not. What is missing in the inbox is fetched."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import orjson
import stripe
import structlog
from sqlmodel import col, func, select

from models import ledger
from models.database import Database
from models.stripe_events import READERS
from models.tables import STRIPE, InboxEvent, wall
from web.webhooks import Refused, row_of

REACH: Final = timedelta(days=30)
"""Stripe keeps its events for 30 days."""
OVERLAP: Final = timedelta(hours=2)
PAGE: Final = 100

log = structlog.get_logger()


async def sweep(database: Database, api: stripe.StripeClient, *, livemode: bool, since: int) -> int:
    """Store every event of a kind we act on, created at or after `since` (seconds since 1970), that we lack.

    Returns how many were missing. Stripe lists newest first; they are stored oldest first.
    """
    found: list[dict[str, object]] = []
    unseen: list[dict[str, object]] = []
    params: stripe.params.EventListParams = {
        "types": sorted(READERS),
        "created": {"gte": since},
        "limit": PAGE,
    }
    page = await api.v1.events.list_async(params)
    async for event in page.auto_paging_iter():
        found.append(event.to_dict())
        if len(found) == PAGE:
            unseen += await _unseen(database, found)
            found.clear()
    unseen += await _unseen(database, found)
    missing = 0
    for each in reversed(unseen):
        try:
            row = row_of(each, orjson.dumps(each, default=str), livemode=livemode)
        except Refused:
            continue
        async with database.writing() as session:
            missing += await ledger.insert_once(session, row)
    if missing:
        log.warning("sweep.found_missing", events=missing)
    return missing


async def _unseen(database: Database, found: list[dict[str, object]]) -> list[dict[str, object]]:
    """Those that are not in the inbox. Nearly all are, so they are asked for together and not tried one by one."""
    ids = [str(event.get("id")) for event in found]
    async with database.reading() as session:
        statement = select(InboxEvent.event_id).where(InboxEvent.source == STRIPE, col(InboxEvent.event_id).in_(ids))
        known = set((await session.exec(statement)).all())
    return [event for event in found if event.get("id") not in known]


async def sweep_for_ever(
    database: Database,
    api: stripe.StripeClient,
    stop: asyncio.Event,
    *,
    livemode: bool,
    every_s: float,
    succeeded: Callable[[str], None] = lambda loop: None,
) -> None:
    """Sweep at the start back to the last event we have, then every `every_s` seconds with an overlap.

    A new installation begins with its own first day: what happened before it was handled otherwise.
    """
    since: datetime | None = None
    while not stop.is_set():
        began = wall()
        try:
            since = since or await _the_last_event(database)
            await sweep(database, api, livemode=livemode, since=int(since.timestamp()))
            # From the last sweep that succeeded, however many failed since: an outage may be longer than the overlap.
            since = began - OVERLAP
            succeeded("sweep")
        except Exception as error:  # noqa: BLE001 - Stripe or the database may be away; the next sweep sees it all
            log.warning("sweep.failed", error=type(error).__name__)
        try:
            await asyncio.wait_for(stop.wait(), every_s)
        except TimeoutError:
            continue


async def _the_last_event(database: Database) -> datetime:
    """Where the first sweep begins: with an overlap before the last event we have, now if there is none."""
    async with database.reading() as session:
        statement = select(func.max(InboxEvent.wall_received_at)).where(InboxEvent.source == STRIPE)
        last = (await session.exec(statement)).one()
    return max(last - OVERLAP, wall() - REACH) if last else wall()
