"""The sweep: webhooks get lost, Stripe's list of events does not. What is missing in the inbox is fetched."""

import asyncio
from datetime import timedelta
from typing import Final

import orjson
import stripe
import structlog
from sqlmodel import func, select

from models import ledger
from models.database import Database
from models.stripe_events import READERS
from models.tables import InboxEvent, wall
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
    params: stripe.params.EventListParams = {
        "types": sorted(READERS),
        "created": {"gte": since},
        "limit": PAGE,
    }
    page = await api.v1.events.list_async(params)
    async for event in page.auto_paging_iter():
        found.append(event.to_dict())
    missing = 0
    for each in reversed(found):
        try:
            row = row_of(each, orjson.dumps(each, default=str), livemode=livemode)
        except Refused:
            continue
        async with database.writing() as session:
            missing += await ledger.insert_once(session, row)
    if missing:
        log.warning("sweep.found_missing", events=missing)
    return missing


async def sweep_for_ever(
    database: Database, api: stripe.StripeClient, stop: asyncio.Event, *, livemode: bool, every_s: float
) -> None:
    """Sweep at the start back to the last event we have, then every `every_s` seconds with an overlap.

    A new installation begins with its own first day: what happened before it was handled otherwise.
    """
    reach = await _since_the_last_event(database)
    while not stop.is_set():
        try:
            await sweep(database, api, livemode=livemode, since=int((wall() - reach).timestamp()))
            reach = timedelta(seconds=every_s) + OVERLAP
        except Exception as error:  # noqa: BLE001 - Stripe or the database may be away; the next sweep sees it all
            log.warning("sweep.failed", error=type(error).__name__)
        try:
            await asyncio.wait_for(stop.wait(), every_s)
        except TimeoutError:
            continue


async def _since_the_last_event(database: Database) -> timedelta:
    async with database.reading() as session:
        statement = select(func.max(InboxEvent.wall_received_at)).where(InboxEvent.source == "stripe")
        last = (await session.exec(statement)).one()
    return min(wall() - last + OVERLAP, REACH) if last else timedelta()
