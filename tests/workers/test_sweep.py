"""Webhooks get lost; what Stripe lists and we lack is fetched."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event as listened

from tests.town import DAY, HOUR, Town
from workers import sweep as sweeping
from workers.sweep import OVERLAP, sweep, sweep_for_ever


async def test_t1_19_a_lost_failure_is_found_and_starts_its_run(place: Town) -> None:
    person = await place.customer("insufficient_funds")
    await place.arrive()
    await place.simulator.webhooks(lost=1.0)
    person.invoice = (await place.simulator.cycle(person.subscription))["id"]
    await place.arrive()
    assert await place.inbox(type="invoice.payment_failed") == []
    since = int(time.time()) - 3600
    assert await sweep(place.database, place.stripe, livemode=False, since=since) >= 1
    await place.arrive()
    assert (await place.case(person.case)).state == "open"
    assert await sweep(place.database, place.stripe, livemode=False, since=since) == 0
    await place.pass_time(person.case, DAY)
    assert len(await place.simulator.mailbox()) == 1


async def test_t1_19_test_events_are_not_swept_into_a_live_inbox(place: Town) -> None:
    await place.simulator.webhooks(lost=1.0)
    await place.customer("ok")
    assert await sweep(place.database, place.stripe, livemode=True, since=0) == 0
    assert await place.inbox() == []


async def test_t1_19_more_than_a_page_of_events_is_swept(place: Town) -> None:
    await place.simulator.webhooks(lost=1.0)
    person = await place.customer("ok")
    for _ in range(60):
        await place.simulator.cycle(person.subscription)
    found = await sweep(place.database, place.stripe, livemode=False, since=0)
    assert found == len(await place.inbox()) > 100


async def test_what_is_known_is_asked_for_a_page_at_a_time(place: Town) -> None:
    """Nearly all that Stripe lists is known; a transaction for each was most of what a relay did (make chaos)."""
    person = await place.customer("ok")
    for _ in range(60):
        await place.simulator.cycle(person.subscription)
    await place.arrive()
    statements: list[str] = []
    engine = place.database.engine.sync_engine
    said = lambda *execution: statements.append(execution[2])  # noqa: E731
    listened.listen(engine, "before_cursor_execute", said)
    try:
        assert await sweep(place.database, place.stripe, livemode=False, since=0) == 0
    finally:
        listened.remove(engine, "before_cursor_execute", said)
    assert 0 < len([each for each in statements if "events" in each or "inbox" in each]) <= 10


async def test_an_outage_longer_than_the_overlap_is_swept_whole(place: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that was there before the first sweep: the relay lives on, and goes back to its last success."""
    now = datetime(2026, 12, 1, 9, tzinfo=UTC)
    outcomes = iter([ConnectionError, None, ConnectionError, ConnectionError, None])
    asked: list[int] = []
    stop = asyncio.Event()

    async def pretended(*_: Any, since: int, **__: Any) -> int:
        nonlocal now
        asked.append(since)
        outcome = next(outcomes, None)
        now += 5 * HOUR
        if len(asked) == 5:
            stop.set()
        if outcome:
            raise outcome
        return 0

    monkeypatch.setattr(sweeping, "wall", lambda: now)
    monkeypatch.setattr(sweeping, "sweep", pretended)
    await asyncio.wait_for(sweep_for_ever(place.database, place.stripe, stop, livemode=False, every_s=0.01), 20)
    start = datetime(2026, 12, 1, 9, tzinfo=UTC)
    after_success = int((start + timedelta(hours=5) - OVERLAP).timestamp())
    assert asked == [int(start.timestamp())] * 2 + [after_success] * 3


async def test_a_database_that_is_away_at_the_start_does_not_end_the_relay(
    place: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, tries = asyncio.Event(), 0

    async def away(_: Any) -> datetime:
        nonlocal tries
        tries += 1
        if tries == 3:
            stop.set()
        raise ConnectionError

    monkeypatch.setattr(sweeping, "_the_last_event", away)
    await asyncio.wait_for(sweep_for_ever(place.database, place.stripe, stop, livemode=False, every_s=0.01), 20)
    assert tries == 3
