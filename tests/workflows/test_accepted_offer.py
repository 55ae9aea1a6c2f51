"""Accepted offer (O12): which run starts, who is asked where the offer cannot be given, and what it came to."""

from datetime import UTC, datetime

from activities.offers import coupon_of
from models.customers import OfferRow
from models.tables import CaseRow
from tests.playbook_kit import Kit, Run
from tests.town import DAY, Customer

BY_HAND = "task An accepted offer could not be applied: give it by hand"


async def offered(kit: Kit) -> tuple[Customer, OfferRow]:
    """A customer of Stripe with an offer that some run made."""
    person = await kit.place.customer("ok")
    await kit.place.arrive()
    now = datetime.now(UTC)
    offer = OfferRow(
        key=f"usage-decline/{person.id}/offer_training/1",
        account_id=person.id,
        case_id=f"usage-decline/{person.id}",
        made_at=now - DAY,
        expires_at=now + 13 * DAY,
        pct=20,
        months=3,
    )
    await kit.add(offer)
    return person, offer


async def accepted(kit: Kit, person: Customer, offer: OfferRow) -> Run:
    """The run that starts when the customer says yes."""
    run = await kit.start("offer.accepted", person.id, object_id=offer.key)
    assert run.case == f"accepted-offer/{offer.key}"
    return run


async def test_o12_an_accepted_offer_is_given_and_no_person_is_asked(kit: Kit) -> None:
    person, offer = await offered(kit)
    run = await accepted(kit, person, offer)
    ending = await run.finish()
    assert (ending.reason, ending.outcome, ending.skipped) == ("plan.done", "given", ("ask_a_person",))
    assert await run.calendar() == {0.0: ["apply_offer"]}
    assert list((await run.left_out()).values()) == ["It was given"]
    subscription = await kit.place.stripe.v1.subscriptions.retrieve_async(
        person.subscription, {"expand": ["discounts"]}
    )
    assert coupon_of(offer) in str(subscription)


async def test_o12_where_it_is_refused_a_person_gives_it_within_a_day(kit: Kit) -> None:
    person, offer = await offered(kit)
    await kit.place.stripe.v1.subscriptions.cancel_async(person.subscription)
    run = await accepted(kit, person, offer)
    ending = await run.finish()
    assert ending.outcome == "needs_a_person"
    assert await run.calendar() == {0.0: ["apply_offer refused"], 0.04: [BY_HAND]}
    (task,) = await run.tasks()
    assert (task.due_at - task.opened_at).days == 1


async def test_p0_5_an_offer_is_given_once_however_often_it_is_accepted(kit: Kit) -> None:
    person, offer = await offered(kit)
    run = await accepted(kit, person, offer)
    again = await kit.tell("offer.accepted", person.id, object_id=offer.key)
    assert again.reason.startswith(f"{run.case} is open already")
    await run.finish()
    later = await kit.tell("offer.accepted", person.id, object_id=offer.key)
    assert f"{run.case} has ended: given" in later.reason


async def test_o12_a_declined_offer_starts_nothing(kit: Kit) -> None:
    person, offer = await offered(kit)
    await kit.tell("offer.declined", person.id, object_id=offer.key)
    assert await kit.place.rows(CaseRow, playbook="accepted-offer") == []
    (row,) = await kit.place.rows(OfferRow, key=offer.key)
    assert row.state == "declined"


async def test_o12_two_offers_of_one_customer_have_a_run_each(kit: Kit) -> None:
    person, offer = await offered(kit)
    second = OfferRow(**(offer.model_dump() | {"key": f"{offer.key}/pause", "what": "pause", "pct": 0, "months": 1}))
    await kit.add(second)
    first_run = await accepted(kit, person, offer)
    second_run = await accepted(kit, person, second)
    assert (await first_run.finish()).outcome == "given"
    assert second_run.case != first_run.case and await kit.place.case(second_run.case)
