"""Answers that never arrive: whatever the provider does, one batch tried again and again does each thing once."""

from datetime import UTC, datetime
from typing import Any

import pytest
from temporalio.client import Client
from temporalio.testing import ActivityEnvironment

from activities.systems import TryAgain
from models.cases import Batch, CancelSubscription, Charge, Effect, Email, Outcome, Parting, SetAccess
from models.facts import INVOICE_PAID, PAID_BY_RETRY, PLAN_DONE
from models.tables import Access, CaseRow, CaseSubject, EffectRow
from simulator.running import SimulatorControl
from tests.town import Customer, Town, town

NOW = datetime(2026, 12, 1, 9, tzinfo=UTC)
PAY = "/v1/invoices/*/pay"
MAIL = "/v3/mail/send"


async def case_of(place: Town, *outcomes: str) -> Customer:
    """A customer with a refused invoice and a case, but no run: the test is the one who carries batches out."""
    await place.simulator.webhooks(lost=1.0)
    person = await place.customer(*outcomes)
    person.invoice = (await place.simulator.cycle(person.subscription))["id"]
    async with place.database.writing() as session:
        session.add(
            CaseRow(
                id=person.case, playbook="payment-failure", account_id=person.id, subject=person.invoice, opened_at=NOW
            )
        )
        await session.flush()
        session.add(CaseSubject(case_id=person.case, subject=person.invoice, joined_at=NOW))
    return person


def batch(person: Customer, *effects: Effect, closing: Parting | None = None) -> Batch:
    """A batch as the playbook would send it."""
    partings = {}
    for reason, outcome in ((INVOICE_PAID, "recovered_by_customer"), (PAID_BY_RETRY, "recovered_by_retry")):
        thanks = Email(key=f"{person.case}/ending:{reason}/2", title="Thanks", template="dunning.recovered")
        access = SetAccess(key=f"{person.case}/ending:{reason}/1", title="Restore", level="full")
        partings[reason] = Parting(reason=reason, outcome=outcome, effects=(access, thanks))
    return Batch(
        case=person.case,
        account=person.id,
        subject=person.invoice,
        playbook="payment-failure",
        step="step",
        title="A step.",
        since=NOW,
        now=NOW,
        watch="invoices",
        effects=effects,
        partings=partings,
        closing=closing,
    )


def charge(person: Customer) -> Charge:
    """The retry of the step."""
    return Charge(key=f"{person.case}/step/1", title="Retry", invoice=person.invoice, then=PAID_BY_RETRY)


def mail(person: Customer) -> Email:
    """The mail of the step."""
    return Email(key=f"{person.case}/step/2", title="Mail", template="dunning.d3", dates={"restrict_date": NOW})


async def carried_out(place: Town, wanted: Batch, tries: int = 6) -> Outcome:
    """Try a batch until it comes back, as Temporal would."""
    for number in range(1, tries + 1):
        try:
            outcome: Outcome = await ActivityEnvironment().run(place.effects.carry_out, wanted)
        except Exception:
            if number == tries:
                raise
            continue
        return outcome
    raise AssertionError("unreachable")


async def states(place: Town) -> dict[str, str]:
    """The ledger: key after the case id, and state."""
    rows: list[EffectRow] = await place.rows(EffectRow)
    return {row.key.removeprefix(f"{row.case_id}/"): row.state for row in rows}


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


async def test_c15_a_letter_that_cannot_be_written_is_not_in_doubt(
    client: Client, the_simulator: SimulatorControl, database_url: str
) -> None:
    async with town(client, the_simulator, database_url, {"company": {"postal_address": ""}}) as place:
        person = await case_of(place, "insufficient_funds")
        for _ in range(2):
            with pytest.raises(TryAgain, match="lacks merge fields: postal_address"):
                await ActivityEnvironment().run(place.effects.carry_out, batch(person, mail(person)))
        assert await states(place) == {}
        assert await place.simulator.mailbox() == []


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
