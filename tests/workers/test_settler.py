"""What is in doubt is settled: by a look at the provider, or by a person, and never by doing it twice."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import stripe
from sqlalchemy import update
from sqlmodel import col

from activities.doubts import DOUBTS, KINDS
from models import doubts
from models.cases import ApplyOffer, CancelSubscription, Charge, Effect, HoldRetries, Parting, SetAccess
from models.customers import OfferRow
from models.facts import PLAN_DONE, TASK_DONE
from models.learning import learn
from models.tables import OURSELVES, Access, Attempt, EffectRow, InboxEvent, Message, TaskRow, wall
from tests.activities.test_lost_answers import NOW, batch, carried_out, case_of, charge, mail
from tests.town import DAY, Customer, Town
from tests.workers.test_cli import holdfast
from workers.settler import LEFT_OUT, Settler, asks_temporal

HOUR_AGO = timedelta(hours=1, minutes=1)


def test_every_kind_of_effect_has_its_row_and_no_row_is_of_a_kind_there_is_not() -> None:
    assert DOUBTS.keys() == KINDS


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_row_says_who_is_asked_how_long_it_waits_and_how_it_ends(kind: str) -> None:
    doubt = DOUBTS[kind]
    assert doubt.asks
    if not doubt.ends:
        return
    assert {"done"} < set(doubt.ends)
    assert doubt.waits >= timedelta(minutes=10)
    assert doubt.again >= timedelta(minutes=1)
    asked = "a_person_decides" in doubt.ends
    assert asked == bool(doubt.person) == bool(doubt.title) == bool(doubt.known)


async def test_every_kind_that_can_be_in_doubt_is_served_by_a_system_that_looks_up(place: Town) -> None:
    assert {kind for kind, doubt in DOUBTS.items() if doubt.ends} == place.look_ups.outside.keys()


def settler(place: Town) -> Settler:
    """The settler as the relay process runs it."""
    return Settler(place.database, place.look_ups, asks_temporal(place.client), "lead")


async def abandoned(place: Town, person: Customer, effect: Effect, age: timedelta = HOUR_AGO, **detail: Any) -> None:
    """A claim that a run which is gone left behind."""
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
                what=effect.model_dump(mode="json", exclude={"key", "title", "kind"}),
                state="claimed",
                detail=detail,
                at=NOW,
                wall_claimed_at=wall() - age,
            )
        )


async def the_row(place: Town) -> EffectRow:
    """The one row of the ledger."""
    (row,) = await place.rows(EffectRow)
    found: EffectRow = row
    return found


async def grown_older(place: Town, by: timedelta) -> None:
    """What waiting would bring."""
    row = await the_row(place)
    async with place.database.writing() as session:
        change = update(EffectRow).where(col(EffectRow.key) == row.key)
        await session.exec(change.values(wall_claimed_at=row.wall_claimed_at - by, wall_look_at=None))


async def test_p0_14_a_charge_that_an_ended_run_left_behind_is_found_paid(place: Town) -> None:
    person = await case_of(place, "insufficient_funds", "ok")
    before = (await place.stripe.v1.charges.list_async({"customer": person.id})).data[0].id
    await abandoned(place, person, charge(person), latest_charge=before, amount=2900)
    key = charge(person).key
    await place.stripe.v1.invoices.pay_async(person.invoice, {"off_session": True}, {"idempotency_key": key})
    assert await settler(place).once() == {"done": 1}
    row = await the_row(place)
    assert (row.state, row.reason) == ("done", "paid; found by looking after the answer was lost")
    assert [(each.key, each.succeeded) for each in await place.rows(Attempt)] == [(row.key, True)]
    assert await settler(place).once() == {}


async def test_p0_14_what_the_customer_paid_while_a_charge_was_lost_is_not_our_recovery(place: Town) -> None:
    person = await case_of(place, "insufficient_funds", "ok")
    before = (await place.stripe.v1.charges.list_async({"customer": person.id})).data[0].id
    await abandoned(place, person, charge(person), latest_charge=before, amount=2900)
    await place.simulator.customer_pays(person.invoice)
    assert await settler(place).once() == {"refused": 1}
    row = await the_row(place)
    assert row.reason == "paid by other means before our charge; found after its answer was lost"
    assert await place.rows(Attempt) == []
    assert await place.charges(person) == ["insufficient_funds", "ok"]


async def test_p0_14_a_lost_charge_that_was_refused_before_the_customer_paid_counts_as_refused(place: Town) -> None:
    person = await case_of(place, "insufficient_funds", "insufficient_funds", "ok")
    before = (await place.stripe.v1.charges.list_async({"customer": person.id})).data[0].id
    await abandoned(place, person, charge(person), latest_charge=before, amount=2900)
    key = charge(person).key
    with pytest.raises(stripe.CardError):
        await place.stripe.v1.invoices.pay_async(person.invoice, {"off_session": True}, {"idempotency_key": key})
    await place.simulator.customer_pays(person.invoice)
    assert await settler(place).once() == {"refused": 1}
    row = await the_row(place)
    assert row.reason == "insufficient_funds; found by looking after the answer was lost"
    assert [(each.key, each.succeeded) for each in await place.rows(Attempt)] == [(row.key, False)]


async def test_p0_14_a_charge_that_was_never_begun_is_dropped_and_not_made(place: Town) -> None:
    person = await case_of(place, "insufficient_funds")
    before = (await place.stripe.v1.charges.list_async({"customer": person.id})).data[0].id
    await abandoned(place, person, charge(person), latest_charge=before)
    assert await settler(place).once() == {"dropped": 1}
    row = await the_row(place)
    assert (row.state, row.reason) == ("dropped", LEFT_OUT)
    assert await place.charges(person) == ["insufficient_funds"]


async def test_a_claim_that_may_still_be_under_way_is_left_alone(place: Town) -> None:
    person = await case_of(place, "insufficient_funds")
    await abandoned(place, person, charge(person), age=timedelta(minutes=9))
    assert await settler(place).once() == {}
    assert (await the_row(place)).state == "claimed"


async def test_a_claim_of_a_run_that_goes_on_is_given_back_to_it(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds")
    before = (await place.stripe.v1.charges.list_async({"customer": person.id})).data[0].id
    await place.pass_time(person.case, timedelta(0))
    lost = Charge(key=f"{person.case}/lost/1", title="Retry", invoice=person.invoice, then="paid.by_retry")
    await abandoned(place, person, lost, latest_charge=before)
    assert await settler(place).once() == {"released": 1}
    assert await place.rows(EffectRow, key=lost.key) == []


async def test_while_stripe_is_away_nothing_is_settled(place: Town) -> None:
    person = await case_of(place, "insufficient_funds")
    await abandoned(place, person, charge(person))
    await place.simulator.add_fault("503", "/v1/invoices/*")
    assert await settler(place).once() == {"unreachable": 1}
    assert (await the_row(place)).state == "claimed"


async def test_p1_17_cancellations_and_held_retries_are_found_done_or_not(place: Town) -> None:
    person = await case_of(place, "insufficient_funds")
    await abandoned(place, person, CancelSubscription(key="c", title="Cancel"))
    await abandoned(place, person, HoldRetries(key="h", title="Hold", invoice=person.invoice))
    await place.stripe.v1.invoices.update_async(person.invoice, {"auto_advance": False})
    assert await settler(place).once() == {"dropped": 1, "done": 1}
    assert {row.key: row.state for row in await place.rows(EffectRow)} == {"c": "dropped", "h": "done"}


async def test_o12_an_offer_that_was_given_is_found_by_its_mark(place: Town) -> None:
    person = await case_of(place, "insufficient_funds")
    terms: dict[str, Any] = {"what": "pause", "months": 1, "state": "accepted", "made_at": NOW, "expires_at": NOW + DAY}
    offer = OfferRow(key="o", account_id=person.id, case_id=person.case, **terms)
    async with place.database.writing() as session:
        session.add(offer)
    await abandoned(place, person, ApplyOffer(key="a", title="Give it", offer="o"))
    await place.stripe.v1.subscriptions.update_async(person.subscription, {"metadata": {"holdfast_pause": "o"}})
    assert await settler(place).once() == {"done": 1}
    assert (await place.case(person.case)).readings["apply_offer"] == "done"


async def test_p1_18_access_that_was_written_is_told_to_the_product_under_the_same_id(place: Town) -> None:
    person = await case_of(place, "insufficient_funds")
    restrict = SetAccess(key=f"{person.case}/step/1", title="Restrict", level="restricted")
    await abandoned(place, person, restrict)
    async with place.database.writing() as session:
        session.add(Access(account_id=person.id, level="restricted", key=restrict.key, since=NOW))
    assert await settler(place).once() == {"done": 1}
    assert [each["headers"]["webhook-id"] for each in await place.simulator.product_calls()] == [restrict.key]


async def test_p1_14_access_that_was_never_given_back_is_put_before_a_person(place: Town) -> None:
    person = await case_of(place, "insufficient_funds")
    await abandoned(place, person, SetAccess(key=f"{person.case}/ending:x/1", title="Restore access", level="full"))
    assert await settler(place).once() == {"dropped": 1}
    (task,) = await place.rows(TaskRow)
    assert (task.title, task.owner) == ("Left undone when the run ended: Restore access", "lead")
    assert await place.simulator.product_calls() == []


async def in_doubt(place: Town, kind: str = "cut_after") -> Customer:
    """A mail whose answer was lost."""
    person = await case_of(place, "insufficient_funds")
    await place.simulator.add_fault(kind, "/v3/mail/send", method="POST")
    await carried_out(place, batch(person, mail(person)))
    assert (await the_row(place)).state == "in_doubt"
    return person


async def test_a_mail_in_doubt_that_sendgrid_shows_is_done(place: Town) -> None:
    await in_doubt(place)
    await place.simulator.sendgrid(activity=True)
    assert await settler(place).once() == {"done": 1}
    row = await the_row(place)
    assert (row.state, row.reason) == ("done", "SendGrid's activity has it: delivered")
    (message,) = await place.rows(Message)
    (sent,) = await place.simulator.mailbox()
    assert (message.key, message.subject, message.recipient) == (row.key, sent["subject"], sent["to"][0])


@pytest.mark.parametrize("activity", [True, False])
async def test_a_mail_that_sendgrid_does_not_show_is_a_persons_to_decide_after_an_hour(
    place: Town, activity: bool
) -> None:
    person = await in_doubt(place, "500_before")
    await place.simulator.sendgrid(activity=activity)
    assert await settler(place).once() == {"in_doubt": 1}
    assert await settler(place).once() == {}  # not asked again at once
    assert await place.rows(TaskRow) == []
    await grown_older(place, HOUR_AGO)
    assert await settler(place).once() == {"asked_a_person": 1}
    await grown_older(place, DAY)
    assert await settler(place).once() == {"in_doubt": 1}
    (task,) = await place.rows(TaskRow)
    assert (task.title, task.owner, task.answers) == ("A mail may not have arrived: Mail", "ana", "done not_done")
    why = "activity does not show it" if activity else "activity cannot be asked (403)"
    for known in (why, f"under the key {person.case}/step/2", "holdfast cases settle", "not sent again by itself"):
        assert known in task.body
    assert await place.simulator.mailbox() == []


@pytest.mark.parametrize(("word", "state", "kept"), [("done", "done", 1), ("not_done", "refused", 0)])
async def test_the_answer_to_the_task_settles_the_mail(place: Town, word: str, state: str, kept: int) -> None:
    await in_doubt(place)
    await grown_older(place, HOUR_AGO)
    await settler(place).once()
    row = await the_row(place)
    answer = InboxEvent(
        source=OURSELVES,
        event_id="answer",
        type=TASK_DONE,
        kind=TASK_DONE,
        account_id=row.account_id,
        object_id=doubts.task_of(row.key),
        value=word,
        occurred_at=datetime.now(UTC),
        body=b"{}",
    )
    async with place.database.writing() as session:
        session.add(answer)
        await session.flush()
        await learn(session, answer)
    row = await the_row(place)
    assert (row.state, row.reason) == (state, f"{word.replace('_', ' ')}: the task's answer says so")
    assert [task.outcome for task in await place.rows(TaskRow)] == [word]
    assert len(await place.rows(Message)) == kept
    assert len(await place.simulator.mailbox()) == 1
    assert await settler(place).once() == {}


async def test_a_person_settles_by_the_command_line_once(place: Town, database_url: str, tmp_path: Path) -> None:
    person = await in_doubt(place)
    key = f"{person.case}/step/2"

    async def settle(*arguments: str) -> tuple[int, str, str]:
        return await holdfast(tmp_path, "cases", "settle", *arguments, DATABASE_URL=database_url)

    assert await settle(key, "perhaps") == (2, "", "holdfast: 'perhaps' is no answer: say done or not_done\n")
    code, _, err = await settle("nothing", "done")
    assert (code, err) == (
        1,
        "holdfast: there is no effect 'nothing' in the ledger; `holdfast cases show CASE` names them\n",
    )
    code, out, _ = await settle(key, "not_done", "--by", "ana")
    assert (code, out) == (0, f"Mail ({key}): not done. It is not done again.\n")
    code, _, err = await settle(key, "done")
    assert (code, err) == (1, f"holdfast: {key} is not in doubt: it is refused (not done: ana says so)\n")
    code, out, _ = await holdfast(tmp_path, "cases", "show", person.case, "--json", DATABASE_URL=database_url)
    assert (code, [line["key"] for line in json.loads(out)["lines"] if "key" in line]) == (0, [key])


# Slow payment methods: a bank debit.


async def test_a_bank_debit_is_in_doubt_until_the_bank_answers_and_nobody_is_written_to(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds", "processing")
    await place.pass_time(person.case, timedelta(hours=30))  # day 0 retry: now on its way
    said = [each["subject"] for each in await place.simulator.mailbox()]
    await place.pass_time(person.case, 3 * DAY)
    assert [each["subject"] for each in await place.simulator.mailbox()] == said
    charges = await place.rows(EffectRow, kind="charge")
    assert [row.state for row in charges] == ["in_doubt"]
    assert await settler(place).once() == {"in_doubt": 1}
    await place.simulator.bank_answers(person.invoice)
    await place.arrive()
    ending = await place.finish(person.case)
    assert ending.outcome == "recovered_by_customer"
    assert await place.charges(person) == ["insufficient_funds", "ok"]
    assert [each["subject"] for each in await place.simulator.mailbox()] == [*said, "Payment received"]


async def test_a_bank_debit_that_fails_lets_the_plan_go_on(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds", "processing", "ok")
    await place.pass_time(person.case, timedelta(hours=30))
    await place.simulator.bank_answers(person.invoice, "insufficient_funds")
    assert await settler(place).once() == {"refused": 1}
    (row,) = await place.rows(EffectRow, kind="charge")
    assert row.reason == "insufficient_funds; found by looking after the answer was lost"
    ending = await place.finish(person.case)
    assert ending.outcome == "recovered_by_retry"
    assert await place.charges(person) == ["insufficient_funds", "insufficient_funds", "ok"]


async def test_the_lost_answer_to_a_bank_debit_is_no_refusal(place: Town) -> None:
    person = await case_of(place, "insufficient_funds", "processing")
    await place.simulator.add_fault("cut_after", "/v1/invoices/*/pay", method="POST")
    try_it = batch(person, charge(person), mail(person))
    outcome = await carried_out(place, try_it)
    assert outcome.wait_until == NOW + DAY
    assert (await the_row(place)).state == "in_doubt"
    await place.simulator.bank_answers(person.invoice)
    outcome = await carried_out(place, try_it)
    assert (outcome.over, outcome.outcome) == ("paid.by_retry", "recovered_by_retry")
    assert [each["subject"] for each in await place.simulator.mailbox()] == ["Payment received"]


async def test_a_debit_on_its_way_after_three_weeks_is_put_before_a_person(place: Town) -> None:
    person = await case_of(place, "insufficient_funds", "processing")
    await carried_out(place, batch(person, charge(person)))
    await grown_older(place, timedelta(days=22))
    assert await settler(place).once() == {"asked_a_person": 1}
    (task,) = await place.rows(TaskRow)
    assert task.title == "A payment is still on its way after three weeks: Retry"


async def test_nothing_is_suspended_or_cancelled_while_a_debit_is_on_its_way(place: Town) -> None:
    person = await case_of(place, "insufficient_funds", "processing")
    await carried_out(place, batch(person, charge(person)))
    suspend = SetAccess(key=f"{person.case}/step/7", title="Suspend", level="suspended")
    cancel = CancelSubscription(key=f"{person.case}/step/8", title="Cancel")
    closing = Parting(reason=PLAN_DONE, outcome="suspended")
    outcome = await carried_out(place, batch(person, suspend, cancel, closing=closing))
    assert outcome.wait_until == NOW + DAY
    assert await place.simulator.product_calls() == []
    assert (await place.case(person.case)).ended is False


async def test_a_row_that_is_no_effect_of_todays_code_stays_in_doubt(place: Town) -> None:
    person = await case_of(place, "insufficient_funds")
    await abandoned(place, person, mail(person))
    row = await the_row(place)
    async with place.database.writing() as session:
        await session.exec(update(EffectRow).where(col(EffectRow.key) == row.key).values(what={"words": 1}))
    assert await settler(place).once() == {"asked_a_person": 1}
    assert (await the_row(place)).state == "in_doubt"
