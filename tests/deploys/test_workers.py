"""A deploy of the worker in the middle of everything: the old one finishes what it has begun, and nothing is twice."""

import asyncio
from datetime import timedelta

from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from models.tables import Attempt, EffectRow
from tests.town import Town
from workers.audit import audit


async def test_a_worker_stopped_in_mid_charge_finishes_it_while_a_new_one_takes_the_rest(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds", "ok")
    await place.pass_time(person.case, timedelta(0))
    await place.simulator.add_fault("slow_after", "/v1/invoices/*/pay", method="POST", seconds=1)
    waiting = asyncio.create_task(place.pass_time(person.case, timedelta(hours=30)))
    while len(await place.charges(person)) < 2:
        await asyncio.sleep(0.02)
    # The charge is made; its answer is on its way. The new worker is there before the old one goes.
    host = place.client.service_client.config.target_host
    place.client = await Client.connect(host, data_converter=pydantic_data_converter)  # another process's connection
    newer = place.new_worker()
    await newer.__aenter__()
    (row,) = await place.rows(EffectRow, kind="charge")
    assert row.state == "claimed"
    in_flight = asyncio.create_task(place.payment_fails("lost_card"))
    await place.worker.shutdown()
    place.worker = newer
    (row,) = await place.rows(EffectRow, kind="charge")
    assert (row.state, row.reason) == ("done", "")
    await waiting
    other = await in_flight
    assert (await place.finish(person.case)).outcome == "recovered_by_retry"
    assert await place.charges(person) == ["insufficient_funds", "ok"]
    assert len(await place.rows(Attempt, invoice=person.invoice)) == 1
    await place.pass_time(other.case, timedelta(hours=1))
    assert (await audit(place.database, client=place.client, billing=place.billing)).violations == []


async def test_a_worker_that_is_cut_in_mid_charge_leaves_it_to_the_new_one_which_makes_no_second(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds", "ok")
    await place.pass_time(person.case, timedelta(0))
    await place.simulator.add_fault("cut_after", "/v1/invoices/*/pay", method="POST")
    async with place.no_worker():
        pass
    assert (await place.finish(person.case)).outcome == "recovered_by_retry"
    assert await place.charges(person) == ["insufficient_funds", "ok"]
    assert [row.state for row in await place.rows(EffectRow, kind="charge")] == ["done"]
