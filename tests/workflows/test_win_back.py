"""Win-back, line by line of the ledger (P20), and how a suspension starts it (P1.8)."""

from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest

from models.customers import Contact, OfferRow
from models.policy import PolicyError, PolicyFile, WinBack
from models.tables import CaseRow
from tests.playbook_kit import Calendar, Kit, Run
from tests.town import DAY, Customer, Town
from workers.cases import steer

RULES = WinBack()
REACH_OUT = "task Reach out to a customer who left"
LATE = "task Overdue: Reach out to a customer who left"
ANOTHER_WAY = "they did not leave over a payment"
MAILS: Calendar = {
    7.0: ["email winback.auto1"],
    30.0: ["email winback.auto2"],
    60.0: ["email winback.auto3"],
    90.0: ["email winback.auto4"],
    180.0: ["email winback.quarterly"],
    270.0: ["email winback.quarterly"],
    360.0: ["email winback.quarterly"],
}
RICH: dict[str, Any] = {"segment": "mid", "mrr": 200_001}
MID: dict[str, Any] = {"segment": "mid", "mrr": 100_000}


async def left(kit: Kit, kind: str = "subscription.cancelled", **columns: Any) -> Run:
    """A run of a customer who left."""
    return await kit.start(kind, await kit.account(**columns))


def people(template: str, *, approval: str = "") -> Calendar:
    """The calendar of segments 1 and 2 if nobody answers."""
    if approval:
        return {3.0: [REACH_OUT], 8.0: [LATE], 10.0: [f"task {approval}"], 15.0: [f"task Overdue: {approval}"]}
    return {
        3.0: [REACH_OUT],
        8.0: [LATE],
        10.0: ["offer", f"email {template}"],
        30.0: ["offer", "email winback.last"],
    }


async def said(run: Run) -> list[str]:
    """Why things were not done."""
    notes = [note.text for note in await run.kit.notes(run.case)]
    return [text.removeprefix("Not done: ") for text in notes if text.startswith("Not done: ")]


async def offers(run: Run) -> list[tuple[int, int, str, str]]:
    """The offers of the run: per cent, months, who approved it, state."""
    rows: list[OfferRow] = await run.kit.place.rows(OfferRow, case_id=run.case)
    return [(row.pct, row.months, row.approver, row.state) for row in sorted(rows, key=lambda row: row.made_at)]


# The three segments.


async def test_p20_3_p20_8_segment_1_an_executive_and_a_custom_offer(kit: Kit) -> None:
    run = await left(kit, **RICH)
    ending = await run.finish()
    assert await run.calendar() == people("winback.exec")
    assert ending.outcome == "no_response"
    call = (await run.tasks())[0]
    assert (call.owner, (call.due_at - call.opened_at).days, call.answers) == (
        "executive",
        1,
        "reached not_reached declined",
    )
    assert f"Left on: {kit.today().day} {kit.today():%B %Y}\n" in call.body
    assert await offers(run) == [(30, 3, "", "made"), (30, 3, "", "made")]
    first, last = await run.messages()
    assert (first.subject, last.subject) == (
        "A personal note from Our head of customer success",
        "Our last mail about coming back",
    )
    assert "Discount: 30%\nFor: 3 months\n" in first.text
    assert [text for text in await said(run) if text != ANOTHER_WAY] == []
    assert await run.dropped() == [] and await run.left_out() == {}


async def test_p20_4_p20_8_segment_2_the_csm_and_an_improved_offer(kit: Kit) -> None:
    run = await left(kit, **MID)
    ending = await run.finish()
    assert await run.calendar() == people("winback.csm")
    assert (ending.outcome, (await run.tasks())[0].owner) == ("no_response", "ana")
    assert await offers(run) == [(20, 3, "", "made"), (20, 3, "", "made")]
    assert (await run.messages())[0].subject == "If you would like to come back"


async def test_p20_5_p20_8_segment_3_mails_then_an_update_every_quarter_for_a_year(kit: Kit) -> None:
    run = await left(kit, segment="starter")
    ending = await run.finish()
    assert await run.calendar() == MAILS
    assert ending.outcome == "no_response"
    assert await run.tasks() == [] and await offers(run) == []
    mails = await run.messages()
    assert [mail.subject for mail in mails] == [
        "Your Holdfast Demo account, if you need it again",
        "What is new in Holdfast Demo",
        "What has changed in Holdfast Demo",
        "After this, we will write less often",
        *["Holdfast Demo - news of the quarter"] * 3,
    ]
    for mail in mails:
        assert "What is new: faster reports, a new dashboard and simpler sharing\n" in mail.text
        assert "Reactivate your account: https://app.example.com/reactivate\n" in mail.text


def test_p20_3_to_p20_5_what_is_expected_is_in_the_policy() -> None:
    assert RULES.expected_pct == {"segment1": 25, "segment2": 15, "segment3": 5}


@pytest.mark.parametrize(
    ("columns", "days", "first"),
    [
        (RICH, 89, REACH_OUT),
        (RICH, 90, "email winback.auto1"),
        (RICH, 400, "email winback.auto1"),
        (MID, 89, REACH_OUT),
        (MID, 90, "email winback.auto1"),
        ({"segment": "starter"}, 0, "email winback.auto1"),
        ({"segment": "enterprise", "mrr": 1}, 0, REACH_OUT),
        ({"segment": "starter", "strategic": True}, 0, REACH_OUT),
        ({"segment": "starter", "mrr": 200_000}, 0, "email winback.auto1"),
    ],
)
async def test_p20_3_to_p20_7_value_and_time_decide(kit: Kit, columns: dict[str, Any], days: int, first: str) -> None:
    run = await left(kit, "renewal.lapsed", churned_at=datetime.now(UTC) - days * DAY, **columns)
    await run.to_day(8)
    done = await run.calendar()
    assert done[min(done)] == [first] and min(done) == (3.0 if first == REACH_OUT else 7.0)


@pytest.mark.parametrize("kit_with", [{"winback": {"old_high_value": "segment1"}}], indirect=True)
async def test_p20_6_x42_old_high_value_may_stay_with_people(kit_with: Kit) -> None:
    run = await left(kit_with, "renewal.lapsed", churned_at=datetime.now(UTC) - 90 * DAY, **RICH)
    await run.to_day(3)
    assert await run.calendar() == {3.0: [REACH_OUT]}


async def test_p20_3_who_was_recent_at_the_start_stays_in_the_segment(kit: Kit) -> None:
    run = await left(kit, "renewal.lapsed", churned_at=datetime.now(UTC) - 85 * DAY, **RICH)
    await run.to_day(10)
    assert (await run.calendar())[10.0] == ["offer", "email winback.exec"]


@pytest.mark.parametrize(
    "kit_with",
    [
        {
            "winback": {
                "recent_days": 10,
                "outreach_day": 1,
                "offer_day": 2,
                "last_day": 3,
                "csm_pct": 25,
                "mail_days": [1, 2, 3, 4],
                "update_days": [5],
            }
        }
    ],
    indirect=True,
)
async def test_p20_8_days_and_offers_are_the_policys(kit_with: Kit) -> None:
    run = await left(kit_with, **MID)
    await run.to_day(4)
    assert await run.calendar() == {1.0: [REACH_OUT], 2.0: ["offer", "email winback.csm"]}
    # The last try is a day later here, while the first offer stands: never two at once (O7).
    assert {rule for _, _, rule in await run.dropped()} == {"one_discount", "offer_stands"}
    assert await offers(run) == [(25, 3, "", "made")]
    old = await left(kit_with, "renewal.lapsed", churned_at=datetime.now(UTC) - 10 * DAY, **MID)
    await old.to_day(6)
    assert list(await old.calendar()) == [1.0, 2.0, 3.0, 4.0, 5.0]


# Who is not won back.


async def test_p20_2_health_alone_never_starts_it(kit: Kit) -> None:
    account = await kit.account(segment="mid")
    told = await kit.tell("health.scored", account, value="10")
    assert "win-back" not in told.reason
    assert await kit.place.rows(CaseRow, playbook="win-back") == []
    with pytest.raises(PolicyError, match="require_churned false: the mails speak of a subscription that has ended"):
        PolicyFile({"winback": {"require_churned": False}})


async def test_p0_5_p0_6_a_second_reason_joins_nothing_and_a_month_passes_between_two(kit: Kit) -> None:
    run = await left(kit, segment="starter")
    again = await kit.tell("renewal.lapsed", run.account, subject="con_1")
    assert again.reason == f"win-back not started: {run.case} is open for this account"
    await run.hear("contact.unsubscribed")
    await run.finish()
    soon = await kit.tell("renewal.lapsed", run.account, subject="con_2", at=datetime.now(UTC) + 29 * DAY)
    assert "it rests for this account until" in soon.reason
    later = await kit.tell("renewal.lapsed", run.account, subject="con_2", at=datetime.now(UTC) + 31 * DAY)
    assert later.reason == "started win-back/con_2"


# People (P0.3, P0.7).


async def test_p0_7_an_outreach_that_is_answered_is_not_escalated(kit: Kit) -> None:
    run = await left(kit, **MID)
    await run.to_day(4)
    await run.answer("reach_out", "reached")
    await run.to_day(11)
    assert await run.calendar() == {3.0: [REACH_OUT], 10.0: ["offer", "email winback.csm"]}


async def test_p20_10_who_declines_on_the_phone_hears_no_more(kit: Kit) -> None:
    run = await left(kit, **MID)
    await run.to_day(4)
    await run.answer("reach_out", "declined")
    ending = await run.finish()
    assert await run.calendar() == {3.0: [REACH_OUT]}
    assert ending.outcome == "declined"
    assert (await said(run)).count("they said no") == 2


async def test_p20_10_who_declines_the_offer_hears_no_more(kit: Kit) -> None:
    run = await left(kit, **MID)
    await run.to_day(11)
    (offer,) = await kit.place.rows(OfferRow)
    await run.hear("offer.declined", object_id=offer.key)
    ending = await run.finish()
    assert 30.0 not in await run.calendar()
    assert (ending.outcome, await offers(run)) == ("declined", [(20, 3, "", "declined")])


async def test_p20_8_who_accepted_gets_no_second_offer(kit: Kit) -> None:
    run = await left(kit, **MID)
    await run.to_day(11)
    (offer,) = await kit.place.rows(OfferRow)
    await run.hear("offer.accepted", object_id=offer.key)
    await run.to_day(30)
    assert 30.0 not in await run.calendar()
    assert "they have accepted the offer" in await said(run)


# Approval (O6, O8).


async def test_o6_an_enterprise_offer_goes_when_the_executive_has_approved_it(kit: Kit) -> None:
    run = await left(kit, segment="enterprise")
    await run.to_day(10)
    task = (await run.tasks())[-1]
    assert (task.title, task.owner, task.answers) == (
        "Approve 30 % off for a customer who left",
        "executive",
        "approved refused",
    )
    assert await offers(run) == [] and await run.messages() == []
    await run.to_day(12)
    await run.answer("make_an_offer", "approved")
    await run.to_day(30)
    assert await offers(run) == [(30, 3, "executive", "made")] * 2
    assert [message.template for message in await run.messages()] == ["winback.exec", "winback.last"]


@pytest.mark.parametrize("answer", ["refused", ""])
async def test_o6_an_offer_that_nobody_approved_is_never_sent(kit: Kit, answer: str) -> None:
    run = await left(kit, segment="enterprise")
    await run.to_day(10)
    if answer:
        await run.answer("make_an_offer", answer)
    ending = await run.finish()
    assert await offers(run) == [] and await run.messages() == []
    assert ("nobody has approved an offer" in await said(run), ending.outcome) == (True, "no_response")
    if not answer:
        assert await run.calendar() == people("", approval="Approve 30 % off for a customer who left")


@pytest.mark.parametrize("kit_with", [{"winback": {"exec_pct": 40}}], indirect=True)
async def test_o8_above_the_limit_only_with_the_executives_word(kit_with: Kit) -> None:
    run = await left(kit_with, **RICH)
    await run.to_day(10)
    assert await offers(run) == []
    await run.answer("make_an_offer", "approved")
    await run.to_day(11)
    assert await offers(run) == [(40, 3, "executive", "made")]
    assert "Discount: 40%\n" in (await run.messages())[0].text


@pytest.mark.parametrize("kit_with", [{"offers": {"approval_segments": ["mid"]}}], indirect=True)
async def test_o6_which_segments_want_approval_is_the_policys(kit_with: Kit) -> None:
    run = await left(kit_with, **MID)
    await run.to_day(10)
    assert [(task.title, task.owner) for task in await run.tasks()][-1] == (
        "Approve 20 % off for a customer who left",
        "csm-lead",
    )


def test_o2_half_off_is_refused_in_the_policy() -> None:
    with pytest.raises(PolicyError, match=r"winback\.exec_pct"):
        PolicyFile({"winback": {"exec_pct": 50}})


# How it ends (P20.10).


@pytest.mark.parametrize(("columns", "day"), [(MID, 0), (MID, 11), ({"segment": "starter"}, 100)])
async def test_p20_10_a_reactivation_ends_it(kit: Kit, columns: dict[str, Any], day: int) -> None:
    run = await left(kit, **columns)
    await run.to_day(day)
    before = await run.calendar()
    await run.hear("subscription.reactivated")
    ending = await run.finish()
    assert (ending.reason, ending.outcome) == ("subscription.reactivated", "won_back")
    assert await run.calendar() == before


@pytest.mark.parametrize("day", [0, 5, 45])
async def test_p20_10_p0_4_an_opt_out_ends_it(kit: Kit, day: int) -> None:
    run = await left(kit, segment="starter")
    await run.to_day(day)
    before = await run.calendar()
    await run.hear("contact.unsubscribed")
    ending = await run.finish()
    assert (ending.outcome, await run.calendar()) == ("unsubscribed", before)


async def test_t4_3_who_opted_out_before_gets_no_mail(kit: Kit) -> None:
    run = await left(kit, segment="starter", opted_out_at=datetime.now(UTC) - DAY)
    assert (await run.finish()).outcome == "no_response"
    assert await run.calendar() == {}
    assert {rule for _, _, rule in await run.dropped()} == {"opted_out"}


async def test_p20_1_mails_go_to_the_champion(kit: Kit) -> None:
    account = await kit.account(segment="starter")
    await kit.add(Contact(id="con_1", account_id=account, role="champion", name="Bo Frei", email="bo@acme.example.com"))
    run = await kit.start("subscription.cancelled", account)
    await run.to_day(7)
    (mail,) = await run.messages()
    assert (mail.recipient, mail.text.splitlines()[0]) == ("bo@acme.example.com", "Hello Bo,")


async def test_p0_12_a_lead_ends_it(kit: Kit) -> None:
    run = await left(kit, **MID)
    await run.to_day(5)
    await steer(kit.place.client, run.case, "end", "ana")
    assert (await run.finish()).outcome == "ended_by_lead"


async def test_p0_18_a_worker_restart_in_mid_wait(kit: Kit) -> None:
    run = await left(kit, segment="starter")
    await run.to_day(20)
    async with kit.place.no_worker():
        pass
    await run.finish()
    assert await run.calendar() == MAILS


# After a failed payment (P1.8, P20.9).


async def suspended(place: Town, **metadata: str) -> tuple[Customer, str]:
    """A customer whose payment kept failing until the suspension, and the win-back that started."""
    person = await place.payment_fails("insufficient_funds", **metadata)
    await place.pass_time(person.case, 31 * DAY)
    assert (await place.finish(person.case)).outcome == "suspended"
    return person, f"win-back/{person.invoice}"


async def test_p1_8_p20_1_a_suspension_starts_one_win_back(place: Town) -> None:
    _, win_back = await suspended(place)
    row = await place.case(win_back)
    (told,) = await place.inbox(kind="service.suspended")
    assert (told.reason, row.ended) == (f"started {win_back}", False)
    (cancelled,) = await place.inbox(kind="subscription.cancelled")
    assert cancelled.reason == f"win-back not started: {win_back} is open for this account"


async def test_p20_9_p20_5_low_value_is_led_to_the_card_first(place: Town) -> None:
    _, win_back = await suspended(place)
    await place.finish(win_back)
    assert await place.calendar(win_back) == {**MAILS, 7.0: ["email winback.payment"]}


@pytest.mark.parametrize("segment", ["mid", "enterprise"])
async def test_p20_9_people_lead_with_the_card_and_offer_no_discount(place: Town, segment: str) -> None:
    _, win_back = await suspended(place, segment=segment)
    await place.finish(win_back)
    assert await place.calendar(win_back) == {
        3.0: [REACH_OUT, "email winback.payment"],
        8.0: [LATE],
        10.0: ["email winback.auto1"],
        30.0: ["email winback.payment"],
    }
    assert await place.rows(OfferRow) == []
    notes = [note.text for note in await Kit(place).notes(win_back)]
    assert notes.count("Not done: they left over a payment: no discount") == 2


async def test_p20_9_the_link_leads_to_the_invoice_that_is_still_open(place: Town) -> None:
    person, win_back = await suspended(place)
    await place.pass_time(win_back, 8 * DAY)
    mail = next(row for row in await Run(Kit(place), win_back, person.id).messages())
    assert mail.subject == "Update your card to reactivate your account"
    path = mail.text.partition("Update your card: https://pay.example.com")[2].split()[0]
    async with aiohttp.ClientSession() as browser, browser.get(f"{place.url}{path}", allow_redirects=False) as answer:
        found = (answer.status, answer.headers["location"])
    invoice = await place.stripe.v1.invoices.retrieve_async(person.invoice)
    assert found == (303, invoice.hosted_invoice_url)
    assert "Reactivate your account: https://app.example.com/reactivate\n" in mail.text


async def test_p1_13_p20_10_paid_after_the_suspension_is_won_back_and_reinstated(place: Town) -> None:
    person, win_back = await suspended(place)
    await place.pass_time(win_back, 8 * DAY)
    await place.simulator.customer_pays(person.invoice, behaviour={"always": "ok"})
    await place.arrive()
    ending = await place.finish(win_back)
    assert (ending.reason, ending.outcome) == ("invoice.paid", "won_back")
    assert await place.calendar(win_back) == {7.0: ["email winback.payment"]}
    assert (await place.finish(f"reinstatement/{person.invoice}")).outcome == "reinstated"


def test_the_days_hold_together() -> None:
    for over in ({"offer_day": 3}, {"mail_days": [7, 7, 60, 90]}, {"update_days": [90]}):
        with pytest.raises(PolicyError, match="winback: .* must rise"):
            PolicyFile({"winback": over})
    assert RULES.recent_days == 90
