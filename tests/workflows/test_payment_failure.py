"""Payment failure, line by line of the ledger (P1): the calendar, and exactly what was done on each day."""

from datetime import timedelta
from typing import Any

import pytest

from models.tables import Access, CaseSubject, InboxEvent, Message, RiskSignal, TaskRow
from simulator.running import SimulatorControl
from tests.town import DAY, HOUR, Customer, Town, town

MONTH = {
    0.0: ["hold_retries", "risk raised", "banner dunning.banner", "email dunning.d0"],
    0.04: ["charge refused"],
    3.0: ["charge refused", "email dunning.d3"],
    7.0: ["charge refused", "email dunning.d7", "task Payment overdue for a week"],
    8.0: ["task Call about the failed payment"],
    10.0: ["email dunning.d10"],
    14.0: ["access restricted", "email dunning.d14"],
    30.0: ["access suspended", "email dunning.d30", "tell service.suspended", "cancel_subscription"],
}
SECOND_CARD, THIRD_CARD = "5555555555554444", "4000056655665556"
LIFTED = ["banner", "risk cleared", "email dunning.recovered"]


def month_until(day: float) -> dict[float, list[str]]:
    """The full month's calendar before a day."""
    return {when: list(what) for when, what in MONTH.items() if when < day}


def without(calendar: dict[float, list[str]], *kinds: str) -> dict[float, list[str]]:
    """A calendar without effects of these kinds."""
    kept = {day: [each for each in what if each.split()[0] not in kinds] for day, what in calendar.items()}
    return {day: what for day, what in kept.items() if what}


async def mails(place: Town, case: str) -> list[Message]:
    """The mails of a case, oldest first."""
    rows: list[Message] = await place.rows(Message, case_id=case, channel="email")
    return sorted(rows, key=lambda row: row.at)


async def access_level(place: Town, person: Customer) -> str:
    """What the account may do now."""
    rows: list[Access] = await place.rows(Access, account_id=person.id)
    return rows[0].level if rows else "full"


async def test_p1_1_any_failed_payment_starts_one_run(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds")
    row = await place.case(person.case)
    assert (row.playbook, row.account_id, row.subject, row.at_stake) == (
        "payment-failure",
        person.id,
        person.invoice,
        2900,
    )
    (failed,) = await place.inbox(type="invoice.payment_failed")
    assert (failed.state, failed.reason) == ("applied", f"started {person.case}")


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ({"min_amount": 5000}, "2900 is below dunning.min_amount 5000"),
        ({"currencies": ["eur", "gbp"]}, "currency usd is not in dunning.currencies"),
    ],
)
async def test_p1_1_policy_may_leave_small_amounts_and_currencies_alone(
    client: Any, the_simulator: SimulatorControl, database_url: str, policy: dict[str, Any], reason: str
) -> None:
    async with town(client, the_simulator, database_url, {"dunning": policy}) as place:
        await place.payment_fails("insufficient_funds")
        (failed,) = await place.inbox(type="invoice.payment_failed")
        assert failed.reason == f"payment-failure not started: {reason}"


async def test_p1_2_declines_are_classed_before_anything_else(place: Town) -> None:
    expected = {
        "insufficient_funds": "soft",
        "stolen_card": "hard",
        "authentication_required": "authentication",
        "withdrawal_count_limit_exceeded": "soft",
    }
    for code, kind in expected.items():
        person = await place.payment_fails(code)
        await place.pass_time(person.case, timedelta(minutes=5))
        assert (await place.case(person.case)).readings["decline"] == kind, code


async def test_p1_3_to_p1_8_the_whole_month_of_a_soft_decline(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds")
    ending = await place.finish(person.case)
    assert await place.calendar(person.case) == MONTH
    assert await place.charges(person) == ["insufficient_funds"] * 4
    assert await place.dropped(person.case) == []
    assert (ending.outcome, (await place.case(person.case)).outcome) == ("suspended", "suspended")


async def test_p1_3_first_retry_after_an_hour_and_mail_at_once(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds", "ok")
    await place.pass_time(person.case, 59 * timedelta(minutes=1))
    assert await place.charges(person) == ["insufficient_funds"]
    (mail,) = await mails(place, person.case)
    assert mail.subject == "Payment didn't go through - update your card"
    await place.pass_time(person.case, timedelta(minutes=2))
    assert await place.charges(person) == ["insufficient_funds", "ok"]


async def test_p1_4_second_retry_and_reminder_with_the_update_link(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds")
    await place.pass_time(person.case, 3 * DAY + HOUR)
    assert len(await place.charges(person)) == 3
    reminder = (await mails(place, person.case))[-1]
    assert reminder.template == "dunning.d3"
    assert "https://pay.example.com/pay/" in reminder.text


async def test_p1_5_last_retry_urgent_mail_and_the_csm_is_told(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds")
    await place.pass_time(person.case, 7 * DAY + HOUR)
    assert len(await place.charges(person)) == 4
    assert (await mails(place, person.case))[-1].subject == "Account limited in 7 days"
    (task,) = await place.rows(TaskRow, case_id=person.case)
    assert (task.title, task.owner) == ("Payment overdue for a week", "ana")


async def test_p1_6_last_call_on_day_ten_without_a_retry(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds")
    await place.pass_time(person.case, 10 * DAY + HOUR)
    assert len(await place.charges(person)) == 4
    assert (await mails(place, person.case))[-1].subject == "Last chance to keep your account active"


async def test_p1_7_restriction_and_final_notice_on_day_fourteen(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds")
    await place.pass_time(person.case, 14 * DAY + HOUR)
    assert await access_level(place, person) == "restricted"
    assert (await mails(place, person.case))[-1].subject == "Your account is restricted"
    (told,) = await place.simulator.product_calls()
    assert told["body"]["data"]["level"] == "restricted"


async def test_p1_8_suspension_on_day_thirty_and_the_word_for_win_back(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds")
    await place.finish(person.case)
    assert await access_level(place, person) == "suspended"
    (told,) = await place.rows(InboxEvent, source="holdfast", kind="service.suspended")
    assert (told.kind, told.account_id, told.state) == ("service.suspended", person.id, "applied")


async def test_p1_9_hard_decline_is_never_retried(place: Town) -> None:
    person = await place.payment_fails("lost_card")
    await place.finish(person.case)
    expected = without(MONTH, "charge")
    expected[0.0][-1] = "email dunning.hard"
    assert await place.calendar(person.case) == expected
    assert await place.charges(person) == ["lost_card"]
    assert await place.dropped(person.case) == [
        ("first_retry", "charge", "decline_class"),
        ("remind_them", "charge", "decline_class"),
        ("warn_them", "charge", "decline_class"),
    ]
    asked = [mail.text for mail in (await mails(place, person.case))[:-1]]
    assert ["card" in text for text in asked] == [True] * 5


async def test_p1_9_a_soft_decline_that_turns_hard_stops_the_retries(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds", "stolen_card", "ok")
    await place.finish(person.case)
    assert await place.charges(person) == ["insufficient_funds", "stolen_card"]


async def test_p1_10_authentication_is_asked_of_the_customer_not_retried(place: Town) -> None:
    person = await place.payment_fails("authentication_required")
    await place.pass_time(person.case, 4 * DAY)
    assert await place.charges(person) == ["authentication_required"]
    first, second = await mails(place, person.case)
    assert (first.template, first.subject) == ("dunning.auth", "Please confirm your payment")
    assert second.subject == "Quick reminder - please confirm your payment"
    await place.simulator.authenticate(person.invoice)
    await place.arrive()
    assert (await place.finish(person.case)).outcome == "recovered_by_customer"


async def test_p1_11_retry_days_of_the_policy_get_steps_of_their_own(
    client: Any, the_simulator: SimulatorControl, database_url: str
) -> None:
    policy = {"dunning": {"retry_days": [0, 2, 5, 7, 9]}}
    async with town(client, the_simulator, database_url, policy) as place:
        person = await place.payment_fails("insufficient_funds")
        await place.finish(person.case)
        charged = [day for day, what in (await place.calendar(person.case)).items() if "charge refused" in what]
        assert charged == [0.04, 2.0, 5.0, 7.0, 9.0]


async def test_p1_12_a_new_card_is_tried_at_once_and_not_counted(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds")
    await place.pass_time(person.case, 4 * DAY)
    await place.simulator.replace_card(person.id, number=SECOND_CARD, behaviour={"always": "generic_decline"})
    await place.arrive()
    await place.pass_time(person.case, HOUR)
    assert (await place.charges(person))[-1] == "generic_decline"
    await place.simulator.replace_card(person.id, number=THIRD_CARD, behaviour={"always": "ok"})
    await place.arrive()
    ending = await place.finish(person.case)
    assert ending.outcome == "recovered_by_new_card"
    assert ending.done == ("tell_them", "first_retry", "remind_them")
    outcomes = await place.charges(person)
    assert outcomes == ["insufficient_funds"] * 3 + ["generic_decline", "ok"]


async def test_p1_12_a_failed_new_card_does_not_use_up_a_retry(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds")
    await place.pass_time(person.case, 4 * DAY)
    await place.simulator.replace_card(person.id, number=SECOND_CARD, behaviour={"always": "generic_decline"})
    await place.arrive()
    await place.finish(person.case)
    assert await place.charges(person) == ["insufficient_funds"] * 3 + ["generic_decline"] * 2


async def test_p1_12_a_new_card_after_a_hard_decline_is_charged(place: Town) -> None:
    person = await place.payment_fails("stolen_card")
    await place.pass_time(person.case, 2 * DAY)
    await place.simulator.replace_card(person.id, number=THIRD_CARD, behaviour={"always": "ok"})
    await place.arrive()
    assert (await place.finish(person.case)).outcome == "recovered_by_new_card"
    assert await place.charges(person) == ["stolen_card", "ok"]


async def test_p1_12_the_refused_card_stored_again_is_not_a_new_one(place: Town) -> None:
    person = await place.payment_fails("stolen_card")
    await place.pass_time(person.case, 2 * DAY)
    again = await place.stripe.v1.payment_methods.create_async(
        {"type": "card", "card": {"number": "4242424242424242", "exp_month": 12, "exp_year": 2031, "cvc": "123"}}
    )
    await place.stripe.v1.payment_methods.attach_async(again.id, {"customer": person.id})
    await place.stripe.v1.customers.update_async(person.id, {"invoice_settings": {"default_payment_method": again.id}})
    await place.arrive()
    await place.finish(person.case)
    assert await place.charges(person) == ["stolen_card"]


async def test_p1_12_a_refused_new_card_does_not_make_the_old_one_new_again(place: Town) -> None:
    person = await place.payment_fails("stolen_card")
    await place.stripe.v1.subscriptions.update_async(person.subscription, {"default_payment_method": person.card})
    await place.pass_time(person.case, 2 * DAY)
    card = await place.stripe.v1.payment_methods.create_async(
        {"type": "card", "card": {"number": SECOND_CARD, "exp_month": 12, "exp_year": 2031, "cvc": "123"}}
    )
    await place.stripe.v1.payment_methods.attach_async(card.id, {"customer": person.id})
    await place.simulator.set_issuer(card.id, {"always": "stolen_card"})
    await place.stripe.v1.customers.update_async(person.id, {"invoice_settings": {"default_payment_method": card.id}})
    await place.arrive()
    await place.finish(person.case)
    assert await place.charges(person) == ["stolen_card", "stolen_card"]


async def test_p1_13_paid_by_any_route_ends_the_run_and_thanks(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds")
    await place.pass_time(person.case, 4 * DAY)
    await place.simulator.customer_pays(person.invoice, behaviour={"always": "ok"})
    await place.arrive()
    ending = await place.finish(person.case)
    assert ending.outcome == "recovered_by_customer"
    calendar = await place.calendar(person.case)
    assert calendar.pop(4.0) == LIFTED
    assert calendar == month_until(4)


async def test_p1_13_payment_lifts_the_restriction(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds")
    await place.pass_time(person.case, 15 * DAY)
    assert await access_level(place, person) == "restricted"
    await place.simulator.customer_pays(person.invoice, behaviour={"always": "ok"})
    await place.arrive()
    ending = await place.finish(person.case)
    assert ending.outcome == "recovered_after_restriction"
    assert await access_level(place, person) == "full"
    assert [each["body"]["data"]["level"] for each in await place.simulator.product_calls()] == ["restricted", "full"]


async def test_p1_13_payment_after_the_suspension_gives_the_account_back(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds")
    await place.finish(person.case)
    await place.simulator.customer_pays(person.invoice, behaviour={"always": "ok"})
    await place.arrive()
    ending = await place.finish(f"reinstatement/{person.invoice}")
    assert ending.outcome == "reinstated"
    assert await access_level(place, person) == "full"


async def test_p1_13_a_lost_webhook_is_found_by_the_next_look(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds")
    await place.pass_time(person.case, 5 * DAY)
    await place.simulator.webhooks(lost=1.0)
    await place.simulator.customer_pays(person.invoice, behaviour={"always": "ok"})
    ending = await place.finish(person.case)
    assert (ending.reason, ending.outcome) == ("invoice.paid", "recovered_by_customer")
    calendar = await place.calendar(person.case)
    assert calendar.pop(7.0) == LIFTED
    assert calendar == month_until(5)


@pytest.mark.parametrize(
    ("act", "outcome"),
    [("dashboard/void", "voided"), ("dashboard/mark_uncollectible", "voided")],
)
async def test_p1_14_void_and_written_off_invoices_end_the_run(place: Town, act: str, outcome: str) -> None:
    person = await place.payment_fails("insufficient_funds")
    await place.pass_time(person.case, 15 * DAY)
    await place.simulator.call("POST", act, invoice=person.invoice)
    await place.arrive()
    assert (await place.finish(person.case)).outcome == outcome
    assert await access_level(place, person) == "full"
    assert (await place.calendar(person.case))[15.0] == ["access full", "banner", "risk cleared"]


async def test_p1_14_a_cancelled_subscription_ends_the_run(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds")
    await place.pass_time(person.case, 4 * DAY)
    await place.simulator.call("POST", "customer/cancel_subscription", subscription=person.subscription)
    await place.arrive()
    assert (await place.finish(person.case)).outcome == "cancelled"
    assert (await place.calendar(person.case))[4.0] == ["banner", "risk cleared"]


async def test_p1_14_a_refund_of_what_was_paid_on_the_invoice_ends_the_run(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds")
    await place.pass_time(person.case, 3 * DAY + HOUR)
    await place.simulator.customer_pays(person.invoice, behaviour={"always": "ok"}, amount=900)
    await place.arrive()
    part = [each for each in await place.simulator.ledger() if each["amount"] == 900][-1]
    await place.simulator.call("POST", "dashboard/refund", charge=part["charge"])
    await place.arrive()
    assert (await place.finish(person.case)).outcome == "refunded"


async def test_p1_14_a_refund_of_another_charge_changes_nothing(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds")
    await place.pass_time(person.case, 4 * DAY)
    (first,) = [each for each in await place.simulator.ledger() if each["outcome"] == "ok"]
    await place.simulator.call("POST", "dashboard/refund", charge=first["charge"])
    await place.arrive()
    assert (await place.finish(person.case)).outcome == "suspended"


async def test_p1_14_a_dispute_ends_the_run_and_a_person_is_told(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds")
    await place.pass_time(person.case, 4 * DAY)
    (first,) = [each for each in await place.simulator.ledger() if each["outcome"] == "ok"]
    await place.simulator.call("POST", "customer/dispute", charge=first["charge"])
    await place.arrive()
    assert (await place.finish(person.case)).outcome == "disputed"
    assert (await place.calendar(person.case))[4.0] == [
        "banner",
        "risk cleared",
        "task The customer disputes a payment: dunning has stopped",
    ]


async def test_p1_15_high_touch_accounts_are_called_after_the_second_attempt(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds", segment="enterprise", mrr="500000")
    await place.pass_time(person.case, 9 * DAY)
    calls = [row for row in await place.rows(TaskRow) if row.title == "Call about the failed payment"]
    assert [row.key for row in calls] == [f"{person.case}/first_retry/2"]


async def test_p1_15_t3_3_all_others_on_the_eighth_day(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds", segment="starter", mrr="2900")
    await place.pass_time(person.case, 9 * DAY)
    calls = [row for row in await place.rows(TaskRow) if row.title == "Call about the failed payment"]
    assert [row.key for row in calls] == [f"{person.case}/ask_for_a_call/1"]
    assert "8 days" in calls[0].body


async def test_p1_16_the_order_is_retry_mails_grace_restriction_cancel(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds")
    await place.finish(person.case)
    order = [each.split()[0] for what in (await place.calendar(person.case)).values() for each in what]
    last_retry = len(order) - 1 - order[::-1].index("charge")
    assert last_retry < order.index("access") < order.index("cancel_subscription")


@pytest.mark.parametrize(("day", "cancelled_on"), [(30, 30.0), (45, 45.0), (None, None)])
async def test_p1_17_hard_cancel_with_the_suspension_later_or_never(
    client: Any, the_simulator: SimulatorControl, database_url: str, day: int | None, cancelled_on: float | None
) -> None:
    class Rules(dict[str, Any]):
        """A policy with a null, which TOML cannot say but code can."""

    policy = Rules(dunning={"hard_cancel_day": day})
    async with town(client, the_simulator, database_url, policy) as place:
        person = await place.payment_fails("insufficient_funds")
        assert (await place.finish(person.case)).outcome == "suspended"
        days = [when for when, what in (await place.calendar(person.case)).items() if "cancel_subscription" in what]
        assert days == ([] if cancelled_on is None else [cancelled_on])
        subscription = await place.stripe.v1.subscriptions.retrieve_async(person.subscription)
        assert (subscription.status == "canceled") == (day is not None)


async def test_p1_18_the_product_is_told_what_each_level_allows(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds")
    await place.finish(person.case)
    restricted, suspended = [each["body"]["data"] for each in await place.simulator.product_calls()]
    assert restricted["allows"] == "reading, billing and data export; a banner is shown"
    assert suspended["allows"] == "the billing page only; data is kept for 90 days"


async def test_p1_19_the_banner_stands_until_paid(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds")
    await place.pass_time(person.case, 2 * DAY)
    (banner,) = await place.rows(Message, channel="in_app")
    assert (banner.template, banner.taken_down_at) == ("dunning.banner", None)
    await place.simulator.customer_pays(person.invoice, behaviour={"always": "ok"})
    await place.arrive()
    await place.finish(person.case)
    (banner,) = await place.rows(Message, channel="in_app")
    assert banner.taken_down_at is not None


async def test_p1_20_a_second_invoice_joins_and_the_days_do_not_restart(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds")
    await place.pass_time(person.case, 5 * DAY)
    second = (await place.simulator.cycle(person.subscription))["id"]
    await place.arrive()
    await place.pass_time(person.case, HOUR)
    row = await place.case(person.case)
    assert row.at_stake == 5800
    assert {each.subject for each in await place.rows(CaseSubject)} == {person.invoice, second}
    await place.pass_time(person.case, 2 * DAY)
    assert (await place.calendar(person.case))[7.0][:2] == ["charge refused", "charge refused"]
    await place.simulator.customer_pays(person.invoice, behaviour={"always": "ok"})
    await place.arrive()
    await place.pass_time(person.case, HOUR)
    assert (await place.case(person.case)).state == "open"
    await place.simulator.customer_pays(second, behaviour={"always": "ok"})
    await place.arrive()
    assert (await place.finish(person.case)).outcome == "recovered_by_customer"


async def test_p1_20_partial_payment_lowers_the_balance_and_the_run_goes_on(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds")
    await place.pass_time(person.case, 2 * DAY)
    await place.simulator.customer_pays(person.invoice, behaviour={"always": "ok"}, amount=900)
    await place.arrive()
    await place.pass_time(person.case, DAY + HOUR)
    assert (await place.case(person.case)).at_stake == 2000
    assert "$20.00" in (await mails(place, person.case))[-1].text


@pytest.mark.parametrize(
    ("outcomes", "outcome", "days"),
    [
        (("insufficient_funds", "ok"), "recovered_by_retry", 0.04),
        (("insufficient_funds", "generic_decline", "ok"), "recovered_by_retry", 3.0),
        (("insufficient_funds", "generic_decline", "do_not_honor", "ok"), "recovered_by_retry", 7.0),
    ],
)
async def test_p1_21_recovered_by_retry(place: Town, outcomes: tuple[str, ...], outcome: str, days: float) -> None:
    person = await place.payment_fails(*outcomes)
    assert (await place.finish(person.case)).outcome == outcome
    calendar = await place.calendar(person.case)
    assert calendar.pop(days) == ["charge", *LIFTED]
    assert calendar == month_until(days)
    assert (await place.simulator.received())[person.invoice] == 2900


async def test_p1_22_the_risk_signal_is_raised_and_cleared(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds", "ok")
    await place.pass_time(person.case, timedelta(minutes=5))
    (signal,) = await place.rows(RiskSignal)
    assert (signal.signal, signal.cleared_at) == ("payment issues", None)
    await place.finish(person.case)
    (signal,) = await place.rows(RiskSignal)
    assert signal.cleared_at is not None


async def test_p1_23_tasks_go_to_the_csm_and_without_one_to_the_lead(place: Town) -> None:
    with_csm = await place.payment_fails("insufficient_funds", csm="bo")
    await place.finish(with_csm.case)
    without_csm = await place.payment_fails("insufficient_funds", csm="")
    await place.finish(without_csm.case)
    assert {row.owner for row in await place.rows(TaskRow, case_id=with_csm.case)} == {"bo"}
    assert {row.owner for row in await place.rows(TaskRow, case_id=without_csm.case)} == {"csm-lead"}


async def test_p1_24_stripes_own_retries_are_switched_off(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds")
    await place.finish(person.case)
    assert {each["by"] for each in (await place.simulator.ledger())[2:]} == {"api"}
    invoice = await place.stripe.v1.invoices.retrieve_async(person.invoice)
    assert (invoice.auto_advance, invoice.next_payment_attempt) == (False, None)


async def test_p1_24_in_mode_observe_only_stripe_charges_and_we_speak_after_it(
    client: Any, the_simulator: SimulatorControl, database_url: str
) -> None:
    async with town(client, the_simulator, database_url, {"dunning": {"mode": "observe"}}) as place:
        person = await place.payment_fails("insufficient_funds")
        for _ in range(31 * 2):
            if (await place.case(person.case)).ended:
                break
            await place.pass_time(person.case, DAY / 2)
        calendar = await place.calendar(person.case)
        by = {each["by"] for each in await place.simulator.ledger() if each["invoice"] == person.invoice}
        assert by == {"stripe"}
        assert "charge refused" not in [each for what in calendar.values() for each in what]
        assert (await place.case(person.case)).outcome == "suspended"
        reminder, urgent = [row.at for row in await mails(place, person.case)][1:3]
        opened = await place.started_at(person.case)
        assert round((reminder - opened) / DAY, 1) == 3.0
        assert round((urgent - opened) / DAY, 1) == 8.0
