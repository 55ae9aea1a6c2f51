"""Both sides compared: each kind of difference planted, found, told and mended; a second time there is none."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, update
from sqlmodel import col

from models.customers import OfferRow
from models.tables import Access, Attempt, CaseRow, CaseSubject, EffectRow, InboxEvent, Message, TaskRow, wall
from tests.town import DAY, Customer, Town
from tests.workers.test_audit import attempt, message
from tests.workers.test_cli import holdfast
from workers.differences import Difference, Sides
from workers.reconcile import COMPARED, Found, reconcile
from workers.sweep import REACH


def sides(place: Town, since: datetime | None = None) -> Sides:
    """The two sides of a town, 30 days back."""
    begin = since or wall() - REACH
    ends = place.database, place.stripe, place.client, place.look_ups, place.policy
    return Sides(*ends, livemode=False, since=begin, task_queue=place.task_queue)


async def compared(
    place: Town, *, apply: bool = False, since: datetime | None = None
) -> tuple[Found, list[Difference]]:
    """One `holdfast reconcile`."""
    told: list[Difference] = []
    found = await reconcile(sides(place, since), told.append, lambda name: None, place.relay if apply else None)
    assert sum(found.differences.values()) == len(told)
    return found, told


async def mended(place: Town, *kinds: str) -> list[Difference]:
    """These differences are found, told without being mended, then mended; then there is none."""
    _, first = await compared(place)
    assert sorted({each.kind for each in first}) == sorted(kinds)
    _, told = await compared(place)
    assert [each.what for each in told] == [each.what for each in first]
    await compared(place, apply=True)
    await place.arrive()
    found, told = await compared(place, apply=True)
    assert (found.differences, [each.what for each in told]) == ({}, [])
    return first


async def test_a_month_that_went_well_has_no_difference(place: Town) -> None:
    suspended = await place.payment_fails("insufficient_funds")
    await place.finish(suspended.case)
    recovered = await place.payment_fails("insufficient_funds", "ok")
    await place.finish(recovered.case)
    waiting = await place.payment_fails("lost_card")
    await place.pass_time(waiting.case, DAY)
    await place.simulator.sendgrid(activity=True)
    here = sides(place)
    found = await reconcile(here, lambda difference: None, lambda name: None)
    assert found.differences == {}
    assert here.notes == []
    for looked_at in (
        "runs",
        "events",
        "charges of ours",
        "mails",
        "open cases",
        "paid charges",
        "restricted accounts",
    ):
        assert here.looked_at[looked_at] > 0, looked_at


async def test_t1_19_lost_events_are_put_into_the_inbox_and_their_runs_begin(place: Town) -> None:
    await place.simulator.webhooks(lost=1.0)
    person = await place.customer("insufficient_funds")
    person.invoice = (await place.simulator.cycle(person.subscription))["id"]
    first = await mended(place, "event missing", "invoice without case")
    assert any(f"(invoice.payment_failed, {wall():%Y-%m-%d}" in each.what for each in first)
    assert (await place.case(person.case)).state == "open"


async def test_p1_1_an_unpaid_invoice_whose_event_is_gone_opens_its_case(place: Town) -> None:
    person = await place.customer("insufficient_funds")
    await place.arrive()
    await place.simulator.webhooks(lost=1.0)
    person.invoice = (await place.simulator.cycle(person.subscription))["id"]
    later = datetime.now(UTC) + timedelta(hours=1)  # Stripe keeps events for 30 days only
    _, told = await compared(place, since=later)
    assert [(each.kind, each.what) for each in told] == [
        (
            "invoice without case",
            f"{person.invoice} ({person.id}) is open at Stripe, $29.00 unpaid after 1 failed attempt, "
            "and no case is about it",
        )
    ]
    await compared(place, apply=True, since=later)
    assert (await place.case(person.case)).at_stake == 2900
    assert (await compared(place, apply=True, since=later))[1] == []


async def test_an_invoice_that_the_policy_leaves_alone_is_no_difference(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds")
    async with place.database.writing() as session:
        await session.exec(delete(CaseSubject).where(col(CaseSubject.case_id) == person.case))
        await session.exec(delete(CaseRow).where(col(CaseRow.id) == person.case))
    await place.run(person.case).terminate()
    assert "invoice without case" not in (await compared(place))[0].differences


async def test_p1_13_a_case_whose_invoice_was_paid_unheard_is_told_and_ends(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds")
    await place.pass_time(person.case, timedelta(hours=2))
    await place.simulator.webhooks(lost=1.0)
    await place.simulator.customer_pays(person.invoice, behaviour={"always": "ok"})
    await place.arrive()
    later = datetime.now(UTC) + timedelta(days=1)
    _, told = await compared(place, since=later)
    assert [each.what for each in told] == [
        f"{person.invoice} ({person.id}) is paid at Stripe, but {person.case} is open and was not told"
    ]
    await compared(place, apply=True, since=later)
    ending = await place.finish(person.case)
    assert ending.outcome == "recovered_by_customer"
    assert (await compared(place, apply=True, since=later))[1] == []


async def test_a_case_whose_run_was_terminated_is_closed_and_a_person_is_asked(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds")
    await place.run(person.case).terminate("by hand")
    first = await mended(place, "run gone")
    assert [each.what for each in first] == [
        f"{person.case} ({person.id}) is open in the database, but its run is terminated"
    ]
    assert (await place.case(person.case)).outcome == "run_lost"


async def test_a_case_whose_end_the_database_lost_is_closed_as_its_run_ended(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds", "ok")
    await place.finish(person.case)
    async with place.database.writing() as session:
        opened = {"ended": False, "state": "open", "outcome": "", "reason": "", "ended_at": None}
        await session.exec(update(CaseRow).where(col(CaseRow.id) == person.case).values(**opened))
    first = await mended(place, "case outlives its run")
    assert first[0].what.endswith("is open in the database, but its run ended as recovered_by_retry")
    case = await place.case(person.case)
    assert (case.outcome, case.reason) == ("recovered_by_retry", "paid.by_retry")


async def test_lost_ledger_rows_come_back_from_the_runs_history_and_nothing_is_done_again(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds")
    await place.pass_time(person.case, 15 * DAY)
    calendar = await place.calendar(person.case)
    mails, told = await place.simulator.mailbox(), await place.simulator.product_calls()
    async with place.database.writing() as session:
        for table in (CaseSubject, CaseRow, EffectRow, Attempt, Message, TaskRow, Access):
            await session.exec(delete(table))
    first = await mended(place, "case lost", "ledger row lost", "charge not on record")
    assert len([each for each in first if each.kind == "charge not on record"]) == 3
    assert await place.calendar(person.case) == calendar
    assert [row.level for row in await place.rows(Access)] == ["restricted"]
    assert [row.card != "" for row in await place.rows(Attempt)] == [True] * 3
    assert (await place.simulator.mailbox(), await place.simulator.product_calls()) == (mails, told)
    await place.simulator.customer_pays(person.invoice, behaviour={"always": "ok"})
    await place.arrive()
    ending = await place.finish(person.case)
    assert ending.outcome == "recovered_after_restriction"
    assert [row.level for row in await place.rows(Access)] == ["full"]
    levels = [each["body"]["data"]["level"] for each in await place.simulator.product_calls()]
    assert levels == ["restricted", "full"]


async def test_a_claim_whose_end_the_run_was_told_is_finished(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds")
    await place.pass_time(person.case, timedelta(hours=1))
    mail = f"{person.case}/tell_them/4"
    async with place.database.writing() as session:
        await session.exec(delete(Message).where(col(Message.key) == mail))
        await session.exec(update(EffectRow).where(col(EffectRow.key) == mail).values(state="claimed"))
    first = await mended(place, "ledger row unfinished")
    assert first[0].what.endswith("as its run was told, but the ledger has it as claimed")
    assert [row.state for row in await place.rows(EffectRow, key=mail)] == ["done"]
    assert [row.template for row in await place.rows(Message, key=mail)] == ["dunning.d0"]


async def test_p1_14_an_account_that_owes_nothing_gets_its_access_back(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds")
    await place.finish(person.case)
    await place.simulator.webhooks(lost=1.0)
    await place.simulator.customer_pays(person.invoice, behaviour={"always": "ok"})
    await place.arrive()
    later = datetime.now(UTC) + timedelta(days=60)
    _, told = await compared(place, since=later)
    assert [each.what for each in told] == [
        f"{person.id} is suspended, but {person.case} ended suspended and nothing is owed any more"
    ]
    await compared(place, apply=True, since=later)
    ending = await place.finish(f"reinstatement/{person.invoice}")
    assert ending.outcome == "reinstated"
    assert (await compared(place, apply=True, since=later))[1] == []


async def plant(place: Town, *rows: Any) -> None:
    """Put rows into the database."""
    async with place.database.writing() as session:
        for row in rows:
            session.add(type(row)(**row.model_dump()))


async def test_a_charge_that_stripe_does_not_have_is_put_before_a_person(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds")
    await plant(place, attempt("payment-failure/in_x/step/1", invoice=person.invoice, account_id=person.id))
    await mended(place, "charge unknown to Stripe")
    (task,) = await place.rows(TaskRow, key="reconcile/payment-failure/in_x/step/1")
    assert task.owner == "ana"
    assert task.title == (
        f"payment-failure/in_x/step/1: the ledger has {person.invoice} as paid by our charge, but at Stripe it is open"
    )


async def test_a_mail_that_sendgrid_does_not_show_is_put_before_a_person(place: Town) -> None:
    await plant(place, message())
    here = sides(place)
    await reconcile(here, lambda difference: None, lambda name: None)
    assert here.notes == [
        "mails were not compared: SendGrid's activity cannot be asked (403): "
        "it has to be bought, and the key needs the permission"
    ]
    await place.simulator.sendgrid(activity=True)
    await mended(place, "mail not at SendGrid")


async def test_coupons_and_offers_that_do_not_match_are_put_before_a_person(place: Town) -> None:
    at = wall()
    terms: dict[str, Any] = {"account_id": "cus_1", "case_id": "c/1", "pct": 10, "months": 3, "made_at": at}
    effect = EffectRow(
        key="c/1/give/1",
        case_id="c/1",
        account_id="cus_1",
        playbook="c",
        step="give",
        kind="apply_offer",
        title="Give",
        state="done",
        at=at,
    )
    await plant(
        place,
        OfferRow(key="c/1/offer/1", state="accepted", expires_at=at + DAY, answered_at=at, **terms),
        OfferRow(key="c/1/offer/2", state="declined", expires_at=at + DAY, answered_at=at, **terms),
        effect,
    )
    coupon: Any = {"id": "holdfast-1", "percent_off": 10, "duration": "once", "metadata": {"offer": "c/1/offer/2"}}
    await place.stripe.v1.coupons.create_async(coupon)
    told = await mended(place, "coupon without offer", "offer without coupon")
    assert [each.what for each in told] == [
        "holdfast-1 was made at Stripe for the offer c/1/offer/2, which is declined, not accepted",
        "the offer c/1/offer/1 is on record as given, but Stripe has no coupon "
        "holdfast-" + told[1].what.rpartition("holdfast-")[2],
    ]


async def test_more_than_a_page_of_everything_is_compared(place: Town) -> None:
    await place.simulator.webhooks(lost=1.0)
    person = await place.customer("ok")
    for _ in range(60):
        await place.simulator.cycle(person.subscription)
    found, _ = await compared(place, apply=True)
    assert found.differences["event missing"] == len(await place.rows(InboxEvent, source="stripe")) > 100
    assert (await compared(place))[1] == []


def test_every_comparison_has_a_name_of_its_own() -> None:
    assert len({name for name, _ in COMPARED}) == len(COMPARED) == 10


def env(place: Town, database_url: str) -> dict[str, str]:
    """The settings of a town for the command line."""
    return {
        "DATABASE_URL": database_url,
        "STRIPE_API_KEY": "sk_test_town",
        "STRIPE_API_BASE": place.simulator.url,
        "STRIPE_WEBHOOK_SECRETS": "whsec_town0123456789",
        "SENDGRID_API_KEY": "SG.town",
        "SENDGRID_API_BASE": place.simulator.url,
        "LINK_SECRET": "0123456789abcdef",
        "TEMPORAL_ADDRESS": place.client.service_client.config.target_host,
    }


async def lost_event(place: Town) -> Customer:
    """A customer who paid, unheard of."""
    await place.simulator.webhooks(lost=1.0)
    return await place.customer("ok")


async def test_the_command_says_each_difference_and_exits_honestly(
    place: Town, database_url: str, tmp_path: Path
) -> None:
    await lost_event(place)
    settings = env(place, database_url)
    code, out, err = await holdfast(tmp_path, "reconcile", **settings)
    assert (code, err) == (1, "")
    lines = out.splitlines()
    assert lines[0].startswith("event missing: Stripe has evt_")
    assert lines[0].endswith("the inbox has not. --apply would: put it into the inbox.")
    assert " differences; " in lines[-1]
    code, out, _ = await holdfast(tmp_path, "reconcile", "--apply", "--json", **settings)
    said = [json.loads(line) for line in out.splitlines()]
    assert (code, said[0]["kind"], said[0]["applied"]) == (1, "event missing", True)
    assert said[-1]["mended"] == len(said) - 1
    code, out, _ = await holdfast(tmp_path, "reconcile", "--apply", "--since", "2020-01-01", **settings)
    assert (code, out.splitlines()[-1].split(";")[0]) == (0, "0 differences, 0 mended")


async def test_the_command_refuses_settings_that_will_not_do(tmp_path: Path) -> None:
    code, out, err = await holdfast(tmp_path, "reconcile")
    assert (code, out) == (2, "")
    assert "STRIPE_API_KEY is not set" in err


@pytest.mark.parametrize("kind", ["401", "503"])
async def test_the_command_does_not_call_it_well_when_stripe_does_not_answer(
    place: Town, database_url: str, tmp_path: Path, kind: str
) -> None:
    await place.simulator.add_fault(kind, "/v1/events")
    code, _, err = await holdfast(tmp_path, "reconcile", **env(place, database_url))
    assert code == 1
    assert err.startswith("holdfast: ")
