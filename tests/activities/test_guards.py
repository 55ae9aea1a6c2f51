"""Guards that other tests only lean on: each is here because taking it out has to be noticed (`make mutants`)."""

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlmodel.ext.asyncio.session import AsyncSession
from temporalio.testing import ActivityEnvironment

from activities.billing import Billing
from activities.carry_out import Effects
from models import ledger
from models.asking import Asked, Held
from models.cases import Batch, Charge, Email
from models.facts import INVOICE_PAID, PAID_BY_RETRY
from models.picture import Picture
from models.policy import Policy
from models.tables import EffectRow, InboxEvent, wall
from tests.activities.test_lost_answers import batch, case_of
from tests.town import ALWAYS, Customer, Town
from workers.routing import StartRun
from workflows.payment_failure import PaymentFailure


def charge(person: Customer) -> Charge:
    return Charge(key=f"{person.case}/step/1", title="Retry", invoice=person.invoice, then=PAID_BY_RETRY)


async def claim(session: AsyncSession, person: Customer, effect: Email) -> tuple[EffectRow | Held, bool]:
    policy, asked = Policy.model_validate(ALWAYS), batch(person, effect)
    return await ledger.claim(session, asked, effect, Picture(), parting=False, detail={}, policy=policy)


async def test_news_that_comes_between_the_look_and_the_claim_stops_the_effect(place: Town) -> None:
    person = await case_of(place, "insufficient_funds")

    class PaysWhileWeThink(Billing):
        """The customer pays, and the webhook arrives, right after the first look."""

        looked = 0

        async def look(self, batch: Batch) -> Picture:
            seen = await super().look(batch)
            self.looked += 1
            if self.looked == 1:
                await place.simulator.customer_pays(person.invoice, behaviour={"always": "ok"})
                async with place.database.writing() as session:
                    news = InboxEvent(
                        source="stripe",
                        event_id="evt_paid",
                        type="invoice.paid",
                        kind=INVOICE_PAID,
                        account_id=person.id,
                        subject=person.invoice,
                        occurred_at=datetime.now(UTC),
                        body=b"{}",
                    )
                    await ledger.insert_once(session, news)
            return seen

    watch = PaysWhileWeThink(place.database, place.stripe)
    there: Any = place.effects
    effects = Effects(place.database, place.policy, [watch], there._inside.values(), there._outside.values())
    reminder = Email(key=f"{person.case}/step/1", title="Remind", template="dunning.d3")
    outcome = await ActivityEnvironment().run(effects.carry_out, batch(person, reminder))
    assert outcome.over == INVOICE_PAID
    assert [mail["subject"] for mail in await place.simulator.mailbox()] == ["Payment received"]


async def test_one_claim_of_two_is_fresh(place: Town) -> None:
    person = await case_of(place, "insufficient_funds")
    effect = Email(key=f"{person.case}/step/1", title="Remind", template="dunning.d3")
    fresh = []
    for _ in range(2):
        async with place.database.writing() as session:
            _, claimed = await claim(session, person, effect)
            fresh.append(claimed)
    assert fresh == [True, False]


async def test_a_claim_is_of_the_moment_the_gate_was_asked(place: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    person = await case_of(place, "insufficient_funds")
    effect = Email(key=f"{person.case}/step/1", title="Remind", template="dunning.d3")
    asked = []

    async def rule(_asked: Asked) -> None:
        asked.append(wall())

    monkeypatch.setattr("models.gate.RULES", (rule,))
    async with place.database.writing() as session:
        await claim(session, person, effect)
    (row,) = await place.rows(EffectRow, key=effect.key)
    assert row.wall_claimed_at <= asked[0]


async def test_a_charge_that_is_sent_twice_under_its_key_is_tried_once(place: Town) -> None:
    person = await case_of(place, "insufficient_funds")
    asked = batch(person, charge(person))
    picture = await place.billing.look(asked)
    answers = [await place.billing.perform(charge(person), asked, picture) for _ in range(2)]
    assert [answer.state for answer in answers] == ["refused", "refused"]
    assert await place.charges(person) == ["insufficient_funds", "insufficient_funds"]  # the renewal's own, and ours


async def test_a_run_that_ended_is_not_started_again_under_its_id(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds", "ok")
    await place.finish(person.case)
    first = (await place.run(person.case).describe()).run_id
    row = await place.case(person.case)
    async with place.database.reading() as session:
        (event, *_) = await place.inbox(kind="payment.failed")
        case = await place.relay._router._case(session, row, event)
    await place.relay._start(StartRun(PaymentFailure, case))
    assert (await place.run(person.case).describe()).run_id == first


async def test_a_case_that_ended_after_the_batch_began_claims_nothing(place: Town) -> None:
    person = await case_of(place, "insufficient_funds")
    effect = Email(key=f"{person.case}/step/1", title="Remind", template="dunning.d3")
    async with place.database.writing() as session:
        case = await ledger.lock_case(session, person.case)
        case.ended, case.outcome = True, "ended_by_lead"
        session.add(case)
    async with place.database.writing() as session:
        row, _ = await claim(session, person, effect)
    assert isinstance(row, EffectRow)
    assert (row.state, row.rule, row.reason) == ("dropped", "case_is_open", "the case has ended: ended_by_lead")
