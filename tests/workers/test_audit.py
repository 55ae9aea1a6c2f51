"""The audit: clean after a real month, red for each violation that is planted."""

from datetime import timedelta
from typing import Any

import pytest

from models.consent_rows import Suppression
from models.database import Database
from models.tables import Access, Attempt, CaseRow, CaseSubject, EffectRow, InboxEvent, Message, wall
from tests.town import DAY, Town
from workers.audit import Report, audit

HOUR_AGO = wall() - timedelta(hours=1)


async def test_a_finished_month_is_clean_against_stripe_and_temporal(place: Town) -> None:
    suspended = await place.payment_fails("insufficient_funds")
    await place.finish(suspended.case)
    recovered = await place.payment_fails("insufficient_funds", "ok")
    await place.finish(recovered.case)
    waiting = await place.payment_fails("lost_card")
    await place.pass_time(waiting.case, DAY)
    report = await audit(place.database, client=place.client, billing=place.billing)
    assert report.violations == []
    assert report.counts["cases"] == 4  # the suspension started a win-back (P1.8)


async def test_cases_that_are_not_about_invoices_are_no_matter_for_stripe(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds")
    await place.finish(person.case)
    # Win-back began with the suspension; what it comes to does not give the account back.
    winback = f"win-back/{person.invoice}"
    async with place.database.writing() as session:
        session.add(case(id="usage-decline/u", playbook="usage-decline", account_id=person.id, subject=person.id))
        await session.flush()
        session.add(CaseSubject(case_id="usage-decline/u", subject=person.id, joined_at=HOUR_AGO))
    await place.finish(winback)
    report = await audit(place.database, billing=place.billing)
    assert (report.violations, report.counts["invoices"]) == ([], 1)


def effect(**more: Any) -> EffectRow:
    """A ledger row."""
    fields: dict[str, Any] = {
        "key": "payment-failure/in_1/step/1",
        "case_id": "payment-failure/in_1",
        "account_id": "cus_1",
        "playbook": "payment-failure",
        "step": "step",
        "kind": "email",
        "title": "Mail",
        "state": "done",
        "at": HOUR_AGO,
    }
    return EffectRow(**{**fields, **more})


def case(**more: Any) -> CaseRow:
    """An ended case."""
    fields: dict[str, Any] = {
        "id": "payment-failure/in_1",
        "playbook": "payment-failure",
        "account_id": "cus_1",
        "subject": "in_1",
        "ended": True,
        "state": "ended",
        "outcome": "recovered_by_retry",
        "opened_at": HOUR_AGO - timedelta(days=2),
        "ended_at": HOUR_AGO - timedelta(days=1),
    }
    return CaseRow(**{**fields, **more})


def message(**more: Any) -> Message:
    """A mail as sent."""
    fields: dict[str, Any] = {
        "key": "payment-failure/in_1/step/1",
        "account_id": "cus_1",
        "case_id": "payment-failure/in_1",
        "channel": "email",
        "template": "dunning.d3",
        "subject": "Hello",
        "at": HOUR_AGO,
    }
    return Message(**{**fields, **more})


def attempt(key: str, **more: Any) -> Attempt:
    """A charge attempt."""
    fields: dict[str, Any] = {
        "account_id": "cus_1",
        "invoice": "in_1",
        "card": "fp_1",
        "network": "visa",
        "amount": 2900,
        "currency": "usd",
        "at": HOUR_AGO,
        "succeeded": True,
    }
    return Attempt(key=key, **{**fields, **more})


def event(**more: Any) -> InboxEvent:
    """An inbox row."""
    fields: dict[str, Any] = {
        "source": "stripe",
        "event_id": "evt_1",
        "type": "invoice.paid",
        "occurred_at": HOUR_AGO,
        "wall_received_at": HOUR_AGO,
        "body": b"{}",
    }
    return InboxEvent(**{**fields, **more})


PLANTED: list[tuple[str, list[Any], str]] = [
    ("charged twice", [attempt("a"), attempt("b")], "charged twice: in_1 has 2 successful charges"),
    ("after the end", [case(), effect(kind="task")], "after the end: payment-failure/in_1/step/1"),
    ("mail without ledger", [message()], "mail without ledger: payment-failure/in_1/step/1"),
    ("ledger without mail", [effect()], "ledger without mail: payment-failure/in_1/step/1"),
    ("dropped but sent", [effect(state="dropped"), message()], "dropped but sent: payment-failure/in_1/step/1"),
    ("dead event", [event(state="dead", reason="no")], "dead event: evt_1 (invoice.paid): no"),
    ("stuck event", [event()], "stuck event: evt_1 (invoice.paid): the relay does not run"),
    (
        "still restricted",
        [case(), Access(account_id="cus_1", level="restricted", key="k", since=HOUR_AGO)],
        "still restricted: cus_1 is restricted, but payment-failure/in_1 ended recovered_by_retry",
    ),
    (
        "network cap",
        [attempt(f"a{number}", succeeded=False) for number in range(16)],
        "network cap: card fp_1: more than 15 in 30 days",
    ),
    (
        "stuck effect",
        [effect(kind="task", state="claimed", wall_claimed_at=HOUR_AGO)],
        f"stuck effect: payment-failure/in_1/step/1: begun at {HOUR_AGO:%Y-%m-%d %H:%M} UTC",
    ),
    (
        "mailed to an address that bounced",
        [
            effect(reader="0f"),
            message(),
            Suppression(reader="0f", why="bounced", account_id="cus_1", at=HOUR_AGO, wall_noted_at=HOUR_AGO),
        ],
        f"mailed to an address that bounced: payment-failure/in_1/step/1, known since {HOUR_AGO:%d %b %Y}",
    ),
]


@pytest.mark.parametrize(("rows", "violation"), [each[1:] for each in PLANTED], ids=[each[0] for each in PLANTED])
async def test_a_planted_violation_is_found(place: Town, rows: list[Any], violation: str) -> None:
    async with place.database.writing() as session:
        for row in rows:
            session.add(type(row)(**row.model_dump()))
    report: Report = await audit(place.database)
    assert report.violations == [violation]


MONEY: list[tuple[str, float, dict[str, Any], list[str]]] = [
    ("begun before it arrived", -0.001, {}, []),
    ("begun after it arrived", 0.5, {}, ["after the money: payment-failure/in_1/step/1, by 0.500 s"]),
    ("begun while it was on its way to the disk", 0.5, {"on_its_way": timedelta(seconds=1)}, []),
    (
        "begun when it was there, surely",
        1.5,
        {"on_its_way": timedelta(seconds=1)},
        ["after the money: payment-failure/in_1/step/1, by 1.500 s"],
    ),
    ("begun before its commit", 0.5, {"durable": {"evt_1": HOUR_AGO + timedelta(seconds=0.6)}}, []),
    (
        "begun after its commit",
        0.5,
        {"durable": {"evt_1": HOUR_AGO + timedelta(seconds=0.4)}},
        ["after the money: payment-failure/in_1/step/1, by 0.100 s"],
    ),
]


@pytest.mark.parametrize(("after_s", "known", "found"), [each[1:] for each in MONEY], ids=[each[0] for each in MONEY])
async def test_p0_14_what_is_begun_after_the_money_is_found(
    place: Town, after_s: float, known: dict[str, Any], found: list[str]
) -> None:
    begun = effect(kind="task", wall_claimed_at=HOUR_AGO + timedelta(seconds=after_s))
    async with place.database.writing() as session:
        session.add(case(outcome="recovered_by_customer", ended_at=HOUR_AGO + timedelta(days=1)))
        await session.flush()
        session.add(CaseSubject(case_id=begun.case_id, subject="in_1", joined_at=HOUR_AGO))
        session.add(event(kind="invoice.paid", subject="in_1", state="applied"))
        session.add(begun)
    report = await audit(place.database, **known)
    excused = int("on_its_way" in known and not found)
    assert (report.violations, report.counts["begun_as_the_money_was_told"]) == (found, excused)


async def test_thanks_that_were_on_hold_when_the_case_ended_are_no_violation(database: Database) -> None:
    async with database.writing() as session:
        session.add(case())
        await session.flush()
        session.add(effect(key="payment-failure/in_1/ending:invoice.paid/1", kind="banner"))
    assert (await audit(database)).violations == []


async def test_a_case_and_its_run_have_to_agree(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds")
    await place.run(person.case).terminate("by hand")
    async with place.database.writing() as session:
        session.add(case(id="payment-failure/in_none", subject="in_none", account_id="cus_9", ended=False))
    report = await audit(place.database, client=place.client)
    assert sorted(report.violations) == sorted(
        [
            f"case outlives its run: {person.case}: the run is TERMINATED",
            "case without run: payment-failure/in_none",
        ]
    )


async def test_what_we_charged_is_paid_at_stripe(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds")
    await place.pass_time(person.case, DAY)
    async with place.database.writing() as session:
        session.add(attempt("planted", invoice=person.invoice))
    report = await audit(place.database, billing=place.billing)
    assert report.violations == [f"charged but not paid: {person.invoice} is open at Stripe"]
