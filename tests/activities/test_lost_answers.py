"""Answers that never arrive: whatever the provider does, one batch tried again and again does each thing once."""

from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment

from activities.systems import TryAgain
from models.cases import CancelSubscription, Effect, Parting, SetAccess
from models.facts import PAID_BY_RETRY, PLAN_DONE
from models.tables import Access, EffectRow
from tests.activities.errands import MAIL, NOW, PAY, batch, carried_out, case_of, charge, mail, states
from tests.town import Customer, Town

FAULTS = ["429", "503", "500_before", "500_after", "cut_before", "cut_after", "cut_midway"]


@pytest.mark.parametrize("kind", FAULTS)
async def test_p0_14_a_charge_that_succeeds_is_made_once(place: Town, kind: str) -> None:
    person = await case_of(place, "insufficient_funds", "ok")
    await place.simulator.add_fault(kind, PAY, method="POST")
    outcome = await carried_out(place, batch(person, charge(person), mail(person)))
    assert await place.charges(person) == ["insufficient_funds", "ok"]
    assert (await place.simulator.received())[person.invoice] == 2900
    assert (outcome.over, outcome.outcome) == (PAID_BY_RETRY, "recovered_by_retry")
    assert [each["subject"] for each in await place.simulator.mailbox()] == ["Payment received"]
    assert (await place.case(person.case)).outcome == "recovered_by_retry"


@pytest.mark.parametrize("kind", FAULTS)
async def test_p0_14_a_charge_that_is_refused_is_made_once(place: Town, kind: str) -> None:
    person = await case_of(place, "insufficient_funds", "do_not_honor", "ok")
    await place.simulator.add_fault(kind, PAY, method="POST")
    outcome = await carried_out(place, batch(person, charge(person), mail(person)))
    assert await place.charges(person) == ["insufficient_funds", "do_not_honor"]
    assert outcome.over == ""
    assert await states(place) == {"step/1": "refused", "step/2": "done"}
    (row,) = [row for row in await place.rows(EffectRow) if row.kind == "charge"]
    assert row.reason.startswith("do_not_honor")


@pytest.mark.parametrize("kind", ["429", "503"])
async def test_a_mail_that_was_surely_not_taken_is_sent_later_and_once(place: Town, kind: str) -> None:
    person = await case_of(place, "insufficient_funds")
    await place.simulator.add_fault(kind, MAIL, method="POST")
    with pytest.raises(TryAgain):
        await ActivityEnvironment().run(place.effects.carry_out, batch(person, mail(person)))
    assert await states(place) == {}
    await carried_out(place, batch(person, mail(person)))
    assert len(await place.simulator.mailbox()) == 1
    assert await states(place) == {"step/2": "done"}


@pytest.mark.parametrize(("kind", "sent"), [("500_before", 0), ("500_after", 1), ("cut_after", 1)])
async def test_a_mail_whose_fate_is_unknown_is_never_sent_again(place: Town, kind: str, sent: int) -> None:
    person = await case_of(place, "insufficient_funds")
    await place.simulator.add_fault(kind, MAIL, method="POST")
    for _ in range(3):
        await carried_out(place, batch(person, mail(person)))
    assert len(await place.simulator.mailbox()) == sent
    assert await states(place) == {"step/2": "in_doubt"}


async def claim(place: Town, person: Customer, effect: Effect, **detail: Any) -> None:
    """An earlier try that died after its claim."""
    async with place.database.writing() as session:
        session.add(
            EffectRow(
                key=effect.key,
                case_id=person.case,
                account_id=person.id,
                playbook="payment-failure",
                step="step",
                kind=effect.kind,
                title=effect.title,
                state="claimed",
                detail=detail,
                at=NOW,
            )
        )


async def test_p1_17_a_lost_cancel_is_not_made_up_for_after_the_customer_paid(place: Town) -> None:
    person = await case_of(place, "insufficient_funds")
    cancel = CancelSubscription(key=f"{person.case}/step/1", title="Cancel")
    await claim(place, person, cancel)
    await place.simulator.customer_pays(person.invoice, behaviour={"always": "ok"})
    await carried_out(place, batch(person, cancel, closing=Parting(reason=PLAN_DONE, outcome="suspended")))
    subscription = await place.stripe.v1.subscriptions.retrieve_async(person.subscription)
    assert subscription.status == "active"
    assert (await place.case(person.case)).outcome == "recovered_by_customer"


async def test_p1_7_a_lost_restriction_is_not_made_up_for_after_the_customer_paid(place: Town) -> None:
    person = await case_of(place, "insufficient_funds")
    restrict = SetAccess(key=f"{person.case}/step/1", title="Restrict", level="restricted")
    await claim(place, person, restrict)
    await place.simulator.customer_pays(person.invoice, behaviour={"always": "ok"})
    await carried_out(place, batch(person, restrict))
    assert await place.simulator.product_calls() == []
    assert await place.rows(Access) == []


async def test_p1_13_a_try_cut_off_after_the_end_thanks_once_and_for_the_same_reason(place: Town) -> None:
    person = await case_of(place, "insufficient_funds", "ok")
    await place.simulator.add_fault("503", MAIL, method="POST")
    with pytest.raises(TryAgain):
        await ActivityEnvironment().run(place.effects.carry_out, batch(person, charge(person)))
    assert (await place.case(person.case)).ended
    for _ in range(2):
        outcome = await carried_out(place, batch(person, charge(person)))
        assert (outcome.over, outcome.outcome) == (PAID_BY_RETRY, "recovered_by_retry")
    assert len(await place.simulator.mailbox()) == 1
    assert set(await states(place)) == {"step/1", "ending:paid.by_retry/1", "ending:paid.by_retry/2"}


async def test_p1_18_the_product_is_told_again_under_the_same_id(place: Town) -> None:
    person = await case_of(place, "insufficient_funds")
    restrict = SetAccess(key=f"{person.case}/step/1", title="Restrict", level="restricted")
    await place.simulator.add_fault("500_after", "/product/access", method="POST")
    await carried_out(place, batch(person, restrict))
    ids = [call["headers"]["webhook-id"] for call in await place.simulator.product_calls()]
    assert set(ids) == {restrict.key}
    assert await states(place) == {"step/1": "done"}


async def test_nothing_of_an_ended_case_is_done_but_what_is_owed(place: Town) -> None:
    person = await case_of(place, "insufficient_funds")
    closing = Parting(reason=PLAN_DONE, outcome="suspended")
    await carried_out(place, batch(person, closing=closing))
    outcome = await carried_out(place, batch(person, charge(person), mail(person)))
    assert (outcome.over, outcome.outcome) == (PLAN_DONE, "suspended")
    assert await states(place) == {}
    assert await place.charges(person) == ["insufficient_funds"]


async def test_p1_9_network_cap_holds_over_cases(place: Town) -> None:
    from models.tables import Attempt

    person = await case_of(place, "insufficient_funds")
    method = await place.stripe.v1.payment_methods.retrieve_async(person.card)
    fingerprint = method.card.fingerprint if method.card else ""
    async with place.database.writing() as session:
        for number in range(14):
            session.add(
                Attempt(
                    key=f"earlier/{number}",
                    account_id=person.id,
                    invoice="in_earlier",
                    card=fingerprint or "",
                    network="visa",
                    amount=2900,
                    currency="usd",
                    at=NOW,
                    succeeded=False,
                )
            )
    await carried_out(place, batch(person, charge(person)))
    (row,) = await place.rows(EffectRow)
    assert (row.state, row.rule) == ("dropped", "network_cap")
    assert await place.charges(person) == ["insufficient_funds"]
