"""Paid at every edge of every step: nothing that belongs to the plan happens afterwards (P0.4, P1.13)."""

import pytest

from tests.town import DAY, HOUR, Town
from tests.workflows.test_payment_failure import LIFTED, MONTH, access_level, month_until

EDGES = [0.0, 0.5 / 24, 2 / 24, 2.9, 3.1, 6.9, 7.1, 7.9, 8.1, 9.9, 10.1, 13.9, 14.1, 29.9]


@pytest.mark.parametrize("webhook", ["delivered", "lost"])
@pytest.mark.parametrize("day", EDGES)
async def test_p1_13_paid_at_an_edge_leaves_no_later_effect(place: Town, day: float, webhook: str) -> None:
    person = await place.payment_fails("insufficient_funds")
    await place.pass_time(person.case, day * DAY)
    before = await place.calendar(person.case)
    if webhook == "lost":
        await place.simulator.webhooks(lost=1.0)
    await place.simulator.customer_pays(person.invoice, behaviour={"always": "ok"})
    await place.arrive()
    ending = await place.finish(person.case)
    assert ending.reason == "invoice.paid"

    after = await place.calendar(person.case)
    planned = {when: what for when, what in after.items() if when in MONTH}
    ending_effects = [each for what in after.values() for each in what if each in (*LIFTED, "access full")]
    assert ending_effects == (["access full"] if day > 14 else []) + LIFTED
    for when, what in month_until(day or 0.01).items():
        assert [each for each in planned[when] if each not in ending_effects] == what
    late = [each for when, what in after.items() if when > day + 0.01 for each in what]
    assert [each for each in late if each not in ending_effects] == []
    assert len(await place.charges(person)) == sum("charge refused" in what for what in before.values()) + 2
    assert await access_level(place, person) == "full"


async def test_p1_13_paid_before_the_first_look_sends_nothing_at_all(place: Town) -> None:
    person = await place.customer("insufficient_funds")
    await place.arrive()
    person.invoice = (await place.simulator.cycle(person.subscription))["id"]
    await place.simulator.customer_pays(person.invoice, behaviour={"always": "ok"})
    await place.arrive()
    ending = await place.finish(person.case)
    assert ending.outcome == "already_paid"
    assert await place.simulator.mailbox() == []
    assert await place.charges(person) == ["insufficient_funds", "ok"]


async def test_p1_13_two_failures_one_after_another_are_two_cases(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds", "ok", "insufficient_funds", "ok")
    assert (await place.finish(person.case)).outcome == "recovered_by_retry"
    person.invoice = (await place.simulator.cycle(person.subscription))["id"]
    await place.arrive()
    await place.pass_time(person.case, 2 * HOUR)
    assert (await place.finish(person.case)).outcome == "recovered_by_retry"
