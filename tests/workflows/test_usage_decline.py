"""Usage decline, line by line of the ledger (P3): the plan, day by day. How a run ends is in `test_usage_endings`."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from models.customers import Contact, OfferRow, Owner
from models.tables import RiskSignal
from tests.playbook_kit import Kit
from tests.town import DAY
from tests.workers.test_cli import holdfast

MODERATE = {
    0.0: ["banner usage.d1"],
    2.0: ["email usage.d3"],
    13.0: ["email usage.training"],
    28.0: ["banner", "tell usage.unresolved"],
}
CALL = "task Call about the falling usage"
SHARE = "task Call and share a screen"
PLAN = "task Call as the manager and agree on a recovery plan"
APPROVE = "task Approve a discount to keep this account"
SEVERE = {
    0.0: ["banner usage.d1", "risk raised", "task High priority: usage fell by half, reach out today"],
    2.0: ["email usage.d3_severe"],
    7.0: [SHARE],
    12.0: ["task Overdue: Call and share a screen"],
    13.0: ["email usage.training"],
    14.0: [PLAN],
    19.0: ["task Overdue: Call as the manager and agree on a recovery plan"],
    21.0: ["task Write to them personally", "offer", "email usage.retention"],
    28.0: ["banner", "tell usage.unresolved"],
}
CALL_THEM = "Day 7: Call them to find what stands in the way, and agree on a plan."
ONLY_SEVERE = "Only where usage fell by half or more"


async def falling(kit: Kit, per_day: int, *, back_on: int = 60, **columns: Any) -> str:
    """An account with 10 events a day that fell to `per_day` two weeks ago, until the day `back_on` of the run."""
    account = await kit.account(**{"segment": "mid", "health": 80, **columns})
    await kit.use(account, "activity", 10, days=(-28, -14), today=kit.today())
    await kit.use(account, "activity", per_day, days=(-14, back_on), today=kit.today())
    await kit.use(account, "activity", 10, days=(back_on, 60), today=kit.today())
    return account


def until(calendar: dict[float, list[str]], day: float) -> dict[float, list[str]]:
    """A calendar up to and with a day."""
    return {when: what for when, what in calendar.items() if when <= day}


async def test_p3_5_to_p3_11_a_moderate_fall(kit: Kit) -> None:
    run = await kit.start("usage.declined", await falling(kit, 6), value="moderate")
    ending = await run.finish()
    assert await run.calendar() == MODERATE
    assert await run.left_out() == {
        "Day 1: Put a risk signal on the account and have the CSM reach out today.": ONLY_SEVERE,
        CALL_THEM: "Only for accounts in usage.call_scope",
        "Day 8: Share a screen with those not called yet; a link to book it where nobody calls.": ONLY_SEVERE,
        "Day 15: Have a manager call and write a recovery plan.": ONLY_SEVERE,
        "Day 22: Bring in an executive, with an offer to stay.": ONLY_SEVERE,
    }
    assert await run.dropped() == []
    assert ending.outcome == "escalated_unresolved"
    row = await run.row()
    assert (row.ended, row.outcome, row.reason) == (True, "escalated_unresolved", "plan.done")


async def test_p3_5_to_p3_13_a_severe_fall(kit: Kit) -> None:
    run = await kit.start("usage.declined", await falling(kit, 4), value="severe")
    ending = await run.finish()
    assert await run.calendar() == SEVERE
    assert await run.left_out() == {CALL_THEM: "Only for accounts in usage.call_scope"}
    assert await run.dropped() == []
    assert ending.outcome == "escalated_unresolved"


async def test_p3_5_the_soft_touch_links_to_the_quick_win_article_and_is_taken_down_at_the_end(kit: Kit) -> None:
    run = await kit.start("usage.declined", await falling(kit, 6), value="moderate")
    await run.to_day(0)
    (banner,) = await run.messages("in_app")
    assert banner.text == (
        "We noticed you've been quiet. Need help?\n\nRead a short guide: https://help.example.com/quick-wins\n"
    )
    assert banner.taken_down_at is None
    await run.finish()
    (banner,) = await run.messages("in_app")
    assert banner.taken_down_at is not None


async def test_p3_6_severe_raises_a_risk_alert_and_an_urgent_task_for_the_csm(kit: Kit) -> None:
    account = await falling(kit, 4)
    run = await kit.start("usage.declined", account, value="severe")
    await run.to_day(0)
    (signal,) = await kit.place.rows(RiskSignal, account_id=account)
    assert (signal.signal, signal.cleared_at) == ("usage decline", None)
    (task,) = await run.tasks()
    assert (task.owner, task.title) == ("ana", "High priority: usage fell by half, reach out today")
    assert task.due_at - task.opened_at == DAY
    assert "Usage: down 60% (56 now, 140 in as many days before the fall)\n" in task.body


async def test_p3_7_the_check_in_asks_and_sells_nothing(kit: Kit) -> None:
    account = await falling(kit, 6)
    await kit.add(
        Contact(id="bob", account_id=account, role="champion", name="Bob Ross", email="bob@acme.example.com"),
        Owner(handle="ana", name="Ana Silva", email="ana@us.example.com"),
    )
    run = await kit.start("usage.declined", account, value="moderate")
    await run.to_day(2)
    (mail,) = await run.messages()
    assert (mail.recipient, mail.subject) == ("bob@acme.example.com", "Is everything okay, Bob?")
    assert "You can always reach Ana Silva directly: ana@us.example.com" in mail.text
    assert not [word for word in ("%", "discount", "offer", "upgrade") if word in mail.text]
    assert await kit.place.rows(OfferRow) == []


async def test_p3_8_the_severe_check_in_names_the_feature_the_drop_and_the_tutorials(kit: Kit) -> None:
    account = await falling(kit, 4)
    await kit.use(account, "feature:saved_views", 2, days=(-28, -14), today=kit.today())
    run = await kit.start("usage.declined", account, value="severe")
    await run.to_day(2)
    (mail,) = await run.messages()
    assert mail.subject == "Is everything okay, Zoe?"
    assert "We noticed that you haven't used saved views. Need help?" in mail.text
    assert "activity in your account is down 60%" in mail.text
    assert "Open the tutorials: https://help.example.com/tutorials" in mail.text


async def test_p3_8_a_feature_that_is_still_used_is_not_called_unused(kit: Kit) -> None:
    account = await falling(kit, 4)
    await kit.use(account, "feature:saved_views", 2, days=(-28, 60), today=kit.today())
    run = await kit.start("usage.declined", account, value="severe")
    await run.to_day(2)
    (mail,) = await run.messages()
    assert "haven't used" not in mail.text
    assert "activity in your account is down 60%" in mail.text


@pytest.mark.parametrize(
    ("columns", "called"),
    [
        ({"segment": "mid", "mrr": 200_000}, False),
        ({"segment": "mid", "mrr": 200_001}, True),
        ({"segment": "starter", "strategic": True}, True),
        ({"segment": "enterprise", "mrr": 0}, True),
    ],
)
async def test_p3_9_high_value_accounts_are_called_on_day_seven(
    kit: Kit, columns: dict[str, Any], called: bool
) -> None:
    run = await kit.start("usage.declined", await falling(kit, 6, **columns), value="moderate")
    await run.to_day(6)
    assert (await run.calendar()).get(6.0) == ([CALL] if called else None)
    if called:
        (task,) = await run.tasks()
        assert (task.owner, task.due_at - task.opened_at) == ("ana", DAY)
        assert "What's changed?" in task.body and "What would help?" in task.body
        assert "Record the action plan in this task" in task.body


@pytest.mark.parametrize(
    ("kit_with", "mrr", "called"),
    [
        ({"usage": {"call_scope": "all"}}, 5_000, True),
        ({"usage": {"call_scope": "nobody"}}, 900_000, False),
        ({"people": {"high_value_mrr": 4_999}}, 5_000, True),
    ],
    indirect=["kit_with"],
)
async def test_p3_9_who_is_called_is_policy(kit_with: Kit, mrr: int, called: bool) -> None:
    run = await kit_with.start("usage.declined", await falling(kit_with, 6, mrr=mrr), value="moderate")
    await run.to_day(6)
    assert (await run.calendar()).get(6.0) == ([CALL] if called else None)


async def test_p3_10_who_was_called_is_not_called_again_the_next_day(kit: Kit) -> None:
    run = await kit.start("usage.declined", await falling(kit, 4, mrr=300_000), value="severe")
    await run.to_day(7)
    calendar = await run.calendar()
    assert (calendar[6.0], calendar.get(7.0)) == ([CALL], None)
    assert "Not done: they have been called already" in [note.text for note in await kit.notes(run.case)]


async def test_p3_10_who_was_not_reached_is_called_again_with_a_shared_screen(kit: Kit) -> None:
    run = await kit.start("usage.declined", await falling(kit, 4, mrr=300_000), value="severe")
    await run.to_day(6)
    await run.answer("call_them", "not_reached")
    await run.to_day(7)
    assert (await run.calendar())[7.0] == [SHARE]


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        ({"segment": "mid"}, SHARE),
        ({"segment": "starter"}, "email usage.self_book"),
        ({"segment": ""}, "email usage.self_book"),
    ],
)
async def test_p3_10_mid_touch_is_called_and_tech_touch_books_a_time(
    kit: Kit, columns: dict[str, Any], line: str
) -> None:
    run = await kit.start("usage.declined", await falling(kit, 4, **columns), value="severe")
    await run.to_day(7)
    assert (await run.calendar())[7.0] == [line]
    if line.startswith("email"):
        mail = (await run.messages())[-1]
        assert mail.subject == "Pick a time for a call or a screen share"
        assert "Pick a time: https://book.example.com/success" in mail.text


@pytest.mark.parametrize(("health", "offered"), [(60, False), (59, True), (None, False)])
async def test_p3_11_training_and_where_health_is_at_risk_a_discount(
    kit: Kit, health: int | None, offered: bool
) -> None:
    run = await kit.start("usage.declined", await falling(kit, 6, health=health), value="moderate")
    await run.to_day(13)
    assert (await run.calendar())[13.0] == ["email usage.training", *(["offer", "email usage.discount"] * offered)]
    subjects = [mail.subject for mail in await run.messages()]
    assert subjects[1:] == ["Free training session", *(["A short-term offer"] * offered)]
    notes = [note.text for note in await kit.notes(run.case)]
    assert ("Not done: no discount: health is not at risk" in notes) is not offered


@pytest.mark.parametrize(("tenure", "pct"), [(None, 20), (352, 20), (353, 25)])
async def test_p3_11_o2_the_discount_is_20_percent_or_25_after_a_year_for_three_months(
    kit: Kit, tenure: int | None, pct: int
) -> None:
    since = datetime.now(UTC) - timedelta(days=tenure) if tenure else None
    run = await kit.start("usage.declined", await falling(kit, 6, health=20, signed_up_at=since), value="moderate")
    await run.to_day(13)
    (offer,) = await kit.place.rows(OfferRow)
    assert (offer.what, offer.pct, offer.months, offer.state) == ("discount", pct, 3, "made")
    assert offer.expires_at - offer.made_at == timedelta(days=14)
    text = (await run.messages())[-1].text
    assert f"Discount: {pct}%\nFor: 3 months\n" in text
    assert "See the offer: https://pay.example.com/offer/" in text


async def test_p3_11_o6_in_enterprise_the_lead_approves_the_discount_first(kit: Kit) -> None:
    account = await falling(kit, 6, segment="enterprise", health=20)
    run = await kit.start("usage.declined", account, value="moderate")
    await run.to_day(6)
    await run.answer("call_them", "no_interest")
    await run.to_day(13)
    assert (await run.calendar())[13.0] == ["email usage.training", APPROVE]
    task = (await run.tasks())[-1]
    assert (task.owner, task.answers, await kit.place.rows(OfferRow)) == ("csm-lead", "approved refused", [])
    await run.to_day(14)
    await run.answer("offer_training", "approved")
    assert (await run.calendar())[14.04] == ["offer", "email usage.discount"]
    (offer,) = await kit.place.rows(OfferRow)
    assert (offer.pct, offer.approver) == (20, "csm-lead")


async def test_p0_12_a_lead_without_the_web_ui_lists_the_task_and_answers_it(kit: Kit, tmp_path: Path) -> None:
    account = await falling(kit, 6, segment="enterprise", health=20)
    run = await kit.start("usage.declined", account, value="moderate")
    await run.to_day(13)
    there = {
        "DATABASE_URL": kit.place.database.engine.url.set(drivername="sqlite").render_as_string(),
        "TEMPORAL_ADDRESS": kit.place.client.service_client.config.target_host,
    }
    code, out, _ = await holdfast(tmp_path, "tasks", "list", "--owner", "csm-lead", "--json", **there)
    overdue, task = json.loads(out)
    assert (overdue["task"], overdue["outcomes"]) == ("Overdue: Call about the falling usage", "")
    assert (code, task["case"], task["outcomes"]) == (0, run.case, "approved | refused")
    code, _, err = await holdfast(tmp_path, "cases", "answer", run.case, task["step"], "perhaps", **there)
    assert code == 1
    assert "'perhaps' is not an outcome of this task; these are: approved, refused" in err
    code, _, _ = await holdfast(tmp_path, "cases", "answer", run.case, task["step"], "refused", "--by", "ana", **there)
    await kit.place.pass_time(run.case, timedelta(minutes=1))
    assert code == 0
    _, out, _ = await holdfast(tmp_path, "tasks", "list", "--owner", "csm-lead", "--json", **there)
    assert [each["task"] for each in json.loads(out)] == [overdue["task"]]
    assert await kit.place.rows(OfferRow) == []


async def test_p3_11_o6_refused_by_the_lead_nothing_is_offered(kit: Kit) -> None:
    account = await falling(kit, 6, segment="enterprise", health=20)
    run = await kit.start("usage.declined", account, value="moderate")
    await run.to_day(13)
    await run.answer("offer_training", "refused")
    assert await kit.place.rows(OfferRow) == []
    assert "Not done: the lead did not approve the discount" in [note.text for note in await kit.notes(run.case)]


async def test_p3_12_the_manager_calls_for_a_recovery_plan(kit: Kit) -> None:
    run = await kit.start("usage.declined", await falling(kit, 4), value="severe")
    await run.to_day(14)
    task = (await run.tasks())[-1]
    assert (task.owner, task.title) == ("cs-manager", PLAN.removeprefix("task "))
    assert "Record the recovery plan in this task" in task.body


async def test_p3_13_an_executive_steps_in_with_a_retention_offer(kit: Kit) -> None:
    run = await kit.start("usage.declined", await falling(kit, 4), value="severe")
    await run.to_day(21)
    task = (await run.tasks())[-1]
    assert (task.owner, task.title) == ("executive", "Write to them personally")
    mail = (await run.messages())[-1]
    assert mail.subject == "A personal note from Our head of customer success"
    assert "Discount: 20%\nFor: 3 months\n" in mail.text


@pytest.mark.parametrize(("refused", "offered"), [(False, False), (True, True)])
async def test_p3_13_the_second_offer_comes_only_after_the_first_was_refused(
    kit: Kit, refused: bool, offered: bool
) -> None:
    run = await kit.start("usage.declined", await falling(kit, 4, health=20), value="severe")
    await run.to_day(13)
    (offer,) = await kit.place.rows(OfferRow)
    if refused:
        await run.hear("offer.declined", object_id=offer.key)
    await run.to_day(21)
    assert (await run.calendar())[21.0][1:] == (["offer", "email usage.retention"] if offered else [])
    assert len(await kit.place.rows(OfferRow)) == 1 + offered
    notes = [note.text for note in await kit.notes(run.case)]
    assert ("Not done: an offer was made before and not refused" in notes) is not offered


async def test_p3_13_while_the_first_offer_waits_for_approval_no_second_is_asked_for(kit: Kit) -> None:
    account = await falling(kit, 4, segment="enterprise", health=20)
    run = await kit.start("usage.declined", account, value="severe")
    await run.to_day(21)
    asked = [line for what in (await run.calendar()).values() for line in what if line == APPROVE]
    assert asked == [APPROVE]


@pytest.mark.parametrize(
    ("kit_with", "days"),
    [
        ({"day_one_is_trigger_day": False}, {1.0, 3.0, 14.0, 29.0}),
        ({"usage": {"offer_days": [10, 20]}}, {0.0, 2.0, 9.0, 26.0}),
        ({"usage": {"last_look_days": 1}}, {0.0, 2.0, 13.0, 22.0}),
        ({"segment": {"mid": {"usage": {"offer_days": [21, 30]}}}}, {0.0, 2.0, 20.0, 36.0}),
    ],
    indirect=["kit_with"],
)
async def test_p0_2_p0_15_the_days_are_policy(kit_with: Kit, days: set[float]) -> None:
    run = await kit_with.start("usage.declined", await falling(kit_with, 6), value="moderate")
    await run.finish()
    assert set(await run.calendar()) == days


@pytest.mark.parametrize(("kit_with", "offered"), [({"usage": {"discount_health": 90}}, True)], indirect=["kit_with"])
async def test_p3_11_which_health_is_at_risk_is_policy(kit_with: Kit, offered: bool) -> None:
    run = await kit_with.start("usage.declined", await falling(kit_with, 6), value="moderate")
    await run.to_day(13)
    assert (await run.calendar())[13.0][1:] == ["offer", "email usage.discount"]
