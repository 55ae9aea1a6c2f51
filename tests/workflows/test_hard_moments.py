"""Moments in which something else happens at the same time: each was once a way to lose or to double something."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from temporalio.api.enums.v1.workflow_pb2 import PENDING_ACTIVITY_STATE_SCHEDULED

from models.facts import CARD_UPDATED, INVOICE_PAID, Fact
from models.tables import Access, CaseRow, CaseSubject, EffectRow, TaskRow
from tests.playbook_kit import Kit
from tests.town import DAY, HOUR, Town
from tests.workflows.test_payment_failure import access_level
from workers.cases import steer
from workers.routing import Router


async def test_a_cancellation_in_temporal_ends_the_run_properly(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds")
    await place.pass_time(person.case, 15 * DAY)
    await place.run(person.case).cancel()
    ending = await place.finish(person.case)
    assert ending.outcome == "ended_by_lead"
    assert await access_level(place, person) == "full"


async def test_a_terminated_run_is_noticed_by_the_next_event(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds")
    await place.pass_time(person.case, 15 * DAY)
    await place.run(person.case).terminate("by hand")
    await place.simulator.customer_pays(person.invoice, behaviour={"always": "ok"})
    await place.arrive()
    assert (await place.case(person.case)).outcome == "run_lost"
    assert (await place.finish(f"reinstatement/{person.invoice}")).outcome == "reinstated"
    assert await access_level(place, person) == "full"


async def waits_for_its_third_try(place: Town, case: str) -> bool:
    """Whether the step in trouble is between two tries, seconds apart: then none is under way."""
    pending = (await place.run(case).describe()).raw_description.pending_activities
    return bool(pending) and pending[0].attempt >= 3 and pending[0].state == PENDING_ACTIVITY_STATE_SCHEDULED


async def is_at_work_on(place: Town, case: str, step: str) -> bool:
    pending = (await place.run(case).describe()).raw_description.pending_activities
    return any(each.activity_id.startswith(step) for each in pending)


async def test_p0_12_end_does_not_wait_for_a_step_in_trouble(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds")
    await place.pass_time(person.case, 2 * HOUR)
    await place.simulator.add_fault("503", "/v1/*", method="*", times=10_000)
    waiting = asyncio.create_task(place.skipper.fast_forward(place.run(person.case), 3 * DAY))
    while not await waits_for_its_third_try(place, person.case):
        await asyncio.sleep(0.02)
    await steer(place.client, person.case, "end", "ana")
    # A try that is under way when a lead says so may still be done, so the provider stays away until none is.
    while await is_at_work_on(place, person.case, "remind_them"):
        await asyncio.sleep(0.02)
    await place.simulator.clear_faults()
    ending = await asyncio.wait_for(place.run(person.case).result(), 20)
    waiting.cancel()
    assert ending["outcome"] == "ended_by_lead"
    assert await place.charges(person) == ["insufficient_funds"] * 2
    assert [mail["subject"] for mail in await place.simulator.mailbox()][1:] == []


async def test_p1_13_end_after_the_money_came_is_the_money(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds")
    await place.pass_time(person.case, 15 * DAY)
    await place.simulator.webhooks(lost=1.0)
    await place.simulator.customer_pays(person.invoice, behaviour={"always": "ok"})
    await steer(place.client, person.case, "end")
    assert (await place.finish(person.case)).outcome == "recovered_after_restriction"
    assert await access_level(place, person) == "full"


@pytest.mark.parametrize("act", ["dashboard/void", "dashboard/mark_uncollectible"])
async def test_p1_14_settled_after_the_suspension_gives_the_account_back_without_thanks(place: Town, act: str) -> None:
    person = await place.payment_fails("insufficient_funds")
    await place.finish(person.case)
    await place.simulator.call("POST", act, invoice=person.invoice)
    await place.arrive()
    assert (await place.finish(f"reinstatement/{person.invoice}")).outcome == "reinstated"
    assert await access_level(place, person) == "full"
    assert "Payment received" not in [mail["subject"] for mail in await place.simulator.mailbox()]


async def test_p1_14_access_comes_back_only_when_nothing_else_is_due(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds")
    await place.pass_time(person.case, 5 * DAY)
    second = (await place.simulator.cycle(person.subscription))["id"]
    await place.arrive()
    await place.finish(person.case)
    assert await access_level(place, person) == "suspended"
    await place.simulator.customer_pays(person.invoice, behaviour={"always": "ok"})
    await place.arrive()
    assert (await place.finish(f"reinstatement/{person.invoice}")).outcome == "still_unpaid"
    assert await access_level(place, person) == "suspended"
    await place.simulator.customer_pays(second, behaviour={"always": "ok"})
    await place.arrive()
    assert (await place.finish(f"reinstatement/{second}")).outcome == "reinstated"
    assert await access_level(place, person) == "full"
    billed = [row for row in await place.rows(CaseSubject) if not row.case_id.startswith("win-back/")]
    assert {row.fate for row in billed} == {"paid"}


async def test_p1_14_a_win_back_does_not_say_what_became_of_an_invoice(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds")
    kit = Kit(place)
    usage = await kit.start("usage.declined", person.id, value="moderate")
    await usage.finish()
    await place.pass_time(person.case, 31 * DAY)
    assert (await place.finish(person.case)).outcome == "suspended"
    win_back = f"win-back/{person.invoice}"
    await kit.tell("contact.unsubscribed", person.id, at=(await place.case(win_back)).opened_at + DAY)
    assert (await place.finish(win_back)).outcome == "unsubscribed"
    assert {row.fate for row in await place.rows(CaseSubject, case_id=person.case)} == {""}
    await place.simulator.customer_pays(person.invoice, behaviour={"always": "ok"})
    await place.arrive()
    reinstatement = f"reinstatement/{person.invoice}"
    assert (await place.finish(reinstatement)).outcome == "reinstated"
    assert [row.subject for row in await place.rows(CaseSubject, case_id=reinstatement)] == [person.invoice]
    assert {row.fate for row in await place.rows(CaseSubject, case_id=person.case)} == {"paid"}


async def test_p1_13_news_between_a_paid_end_and_its_thanks_does_not_give_thanks_twice(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds")
    await place.pass_time(person.case, 15 * DAY)
    await place.simulator.customer_pays(person.invoice, behaviour={"always": "ok"})
    await place.arrive()
    assert (await place.finish(person.case)).outcome == "recovered_after_restriction"
    paid = (await place.inbox(kind=INVOICE_PAID, subject=person.invoice))[-1]
    async with place.database.writing() as session:
        access = await session.get_one(Access, person.id)
        # The case is closed in one transaction, and access is given back in a later one: this is between the two.
        access.level = "restricted"
        session.add(access)
        await session.flush()
        route = await Router(place.policy).route(session, paid)
    assert route.deliveries == ()


async def test_t1_20_a_fact_that_a_dying_relay_tells_twice_is_answered_once(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds")
    await place.pass_time(person.case, 2 * HOUR)
    card = Fact(kind=CARD_UPDATED, at=datetime.now(UTC), account=person.id, object_id="pm_1")
    for fact in (card, card, card.model_copy(update={"object_id": "pm_2"})):
        await place.run(person.case).signal("hear", fact)
        await place.pass_time(person.case, timedelta(minutes=1))
    steps = {row.step for row in await place.rows(EffectRow, case_id=person.case) if "card" in row.step}
    assert steps == {"try_the_new_card-1", "try_the_new_card-2"}


async def test_t1_1_a_failed_checkout_is_not_dunned(place: Town) -> None:
    person = await place.customer("insufficient_funds")
    await place.simulator.set_issuer(person.card, {"always": "insufficient_funds"})
    product = await place.stripe.v1.products.create_async({"name": "Pro"})
    price = await place.stripe.v1.prices.create_async(
        {"currency": "usd", "unit_amount": 900, "product": product.id, "recurring": {"interval": "month"}}
    )
    await place.stripe.v1.subscriptions.create_async({"customer": person.id, "items": [{"price": price.id}]})
    await place.arrive()
    assert await place.rows(CaseRow) == []
    (failed,) = await place.inbox(type="invoice.payment_failed")
    assert (failed.state, failed.reason) == ("ignored", "the first invoice of a checkout; the customer is still there")


async def test_p0_15_the_segment_of_an_account_decides_its_first_policy(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds", segment="enterprise", csm="bo")
    description = await place.run(person.case).describe()
    values = {pair.key.name: pair.value for pair in description.typed_search_attributes}
    assert (values["Segment"], values["CsmOwner"], values["AmountAtStake"]) == ("enterprise", "bo", 29.0)
    assert await place.rows(TaskRow) == []
