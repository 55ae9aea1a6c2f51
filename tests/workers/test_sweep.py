"""Webhooks get lost; what Stripe lists and we lack is fetched."""

import time

from tests.town import DAY, Town
from workers.sweep import sweep


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
