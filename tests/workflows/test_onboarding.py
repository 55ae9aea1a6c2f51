"""Onboarding by themselves, and what every variant shares, line by line of the ledger (P7)."""

import itertools
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from models.customers import ChecklistItem
from models.policy import Onboarding
from models.tables import OURSELVES, InboxEvent, RiskSignal
from tests.playbook_kit import Calendar, Kit, Run
from tests.town import HOUR
from workers.cases import steer

RULES = Onboarding()
DAY_1, DAY_3, DAY_7 = RULES.day_1_items, RULES.day_3_items, RULES.day_7_items
CHECKLIST = (*DAY_1, *DAY_3, *DAY_7)
MILESTONES = ("profile", "first_action", "first_value", "streak_3")
WEEK_1 = {0.0: ["email onboarding.d1"], 2.0: ["email onboarding.d3"], 6.0: ["email onboarding.d7"]}
WEEK_2: Calendar = {8.0: ["email onboarding.w2a"], 10.0: ["email onboarding.w2b"], 12.0: ["email onboarding.w2c"]}
WEEK_3: Calendar = {15.0: ["email onboarding.w3a"], 17.0: ["email onboarding.w3b"], 19.0: ["email onboarding.w3c"]}
RESCUE = ["task Call a new customer in trouble today", "task A new customer is in trouble"]
NOT_HEALTHY = "Only where the onboarding score is healthy"


async def did(kit: Kit, account: str, *items: str) -> None:
    """The account has done these items."""
    await kit.add(*(ChecklistItem(account_id=account, item=item, done_at=datetime.now(UTC)) for item in items))


async def uses(kit: Kit, account: str, *metrics: str) -> None:
    """The account does these things every day."""
    for metric in metrics:
        await kit.use(account, metric, 1, days=(0, 60), today=kit.today())


async def uses_everything(kit: Kit, account: str) -> None:
    """As much as the onboarding score asks for."""
    await uses(kit, account, "project", "report", *(f"feature:{name}" for name in "abcde"))


async def signed_up(kit: Kit, *items: str, **columns: Any) -> Run:
    """A run of somebody who signed up, with these items done."""
    account = await kit.account(**({"segment": "starter"} | columns))
    await did(kit, account, *items)
    return await kit.start("user.signed_up", account)


async def said(run: Run) -> list[str]:
    """Why things were not done."""
    notes = [note.text for note in await run.kit.notes(run.case)]
    return [text.removeprefix("Not done: ") for text in notes if text.startswith("Not done: ")]


def without_the_overdue(calendar: Calendar) -> tuple[Calendar, dict[str, float]]:
    """The calendar, and what was escalated when.

    A deadline that falls a blink after a step of the same day may be skipped over by the server's fast clock until the
    next step: so when it is escalated is only known to a few days here.
    """
    late = {
        line.removeprefix("task Overdue: "): day
        for day, lines in calendar.items()
        for line in lines
        if line.startswith("task Overdue: ")
    }
    rest = {day: [line for line in lines if not line.startswith("task Overdue: ")] for day, lines in calendar.items()}
    return {day: lines for day, lines in rest.items() if lines}, late


async def mails(run: Run) -> list[str]:
    """The templates that were mailed."""
    return [message.template for message in await run.messages()]


async def told(run: Run, kind: str) -> int:
    """How often the run told a fact."""
    return len(await run.kit.place.rows(InboxEvent, account_id=run.account, kind=kind, source=OURSELVES))


async def assert_one_mail_a_day(run: Run) -> None:
    """Never two mails within a day, whatever the hour the run began at."""
    at = [message.at for message in await run.messages()]
    assert len(at) > 5
    assert all(later - earlier >= 23 * HOUR for earlier, later in itertools.pairwise(at))


# The whole month.


async def test_p7_8_to_p7_11_p7_22_p7_27_a_customer_who_does_everything(kit: Kit) -> None:
    run = await signed_up(kit, *CHECKLIST, *MILESTONES)
    await uses_everything(kit, run.account)
    await run.to_day(29)
    assert (await run.row()).stage == "Week 4"
    await run.to_day(30)
    assert (await run.finish()).outcome == "activated"
    assert await run.calendar() == {
        **WEEK_1,
        **WEEK_2,
        13.0: ["email onboarding.celebrate"],
        **WEEK_3,
        22.0: ["email onboarding.w4.value"],
        24.0: ["task See whether a bigger plan would help them"],
        26.0: ["email onboarding.w4.advocate"],
        30.0: ["tell onboarding.completed"],
        30.04: ["banner", "risk cleared"],
    }
    assert await run.left_out() == {} and await run.dropped() == []
    assert "they were congratulated yesterday" in await said(run)
    assert (await said(run)).count("still healthy: that was acted on before") == 2
    assert (await run.row()).readings["onboarding_score"] == 85
    (mail,) = [message for message in await run.messages() if message.template == "onboarding.celebrate"]
    for words in ("best practices and the advanced features", "two or three sentences", "without your consent"):
        assert words in mail.text
    assert [message.subject for message in await run.messages()] == [
        "Welcome to Holdfast Demo",
        "How is it going?",
        "You did it - next steps",
        "Have you seen saved reports?",
        "Best practices for Holdfast Demo",
        "How another team works with Holdfast Demo",
        "You are off to a good start",
        "Advanced features: automations",
        "A smoother workflow",
        "Is there anything you need from us?",
        "Is Holdfast Demo worth it for you so far?",
        "Join our advocates",
    ]
    await assert_one_mail_a_day(run)


async def test_p7_12_p7_21_p7_24_p7_27_a_customer_who_does_nothing(kit: Kit) -> None:
    run = await signed_up(kit)
    ending = await run.finish()
    calendar, late = without_the_overdue(await run.calendar())
    assert late.keys() == {"Call a new customer in trouble today"} and 8 <= min(late.values()) <= 10
    assert calendar == {
        0.0: ["email onboarding.d1"],
        0.5: ["banner onboarding.nudge"],
        1.5: ["banner", "banner onboarding.nudge", "risk raised"],
        2.0: ["email onboarding.drop"],
        3.5: ["banner", "email onboarding.milestone_missed"],
        6.0: ["email onboarding.drop"],
        7.0: RESCUE,
        7.5: ["banner onboarding.nudge"],
        8.0: ["email onboarding.w2a"],
        10.0: ["email onboarding.w2b"],
        12.0: ["email onboarding.w2c"],
        13.0: ["banner", "email onboarding.drop"],
        **WEEK_3,
        22.0: ["email onboarding.w4.value"],
        45.0: ["banner", "tell onboarding.stalled"],
    }
    assert ending.outcome == "stalled"
    assert await run.left_out() == {
        "Day 25: Have the CSM see whether a bigger plan would help them.": NOT_HEALTHY,
        "Day 27: Invite them to become advocates.": NOT_HEALTHY,
    }
    assert await run.dropped() == []
    assert (await said(run)).count("3 such mails were sent this month") == 2
    assert await told(run, "onboarding.stalled") == 1 and await told(run, "onboarding.completed") == 0
    await assert_one_mail_a_day(run)


# The start.


async def test_p7_1_p0_5_p0_6_one_run_for_a_customer_ever(kit: Kit) -> None:
    run = await signed_up(kit)
    again = await kit.tell("handoff.completed", run.account, **HANDOFF)
    assert again.reason == f"{run.case} is open already"
    tomorrow = await kit.tell("user.signed_up", run.account, at=datetime.now(UTC) + timedelta(days=1))
    assert tomorrow.reason == f"onboarding not started: {run.case} is open for this account"
    await run.to_day(5)
    await run.hear("subscription.cancelled")
    await run.finish()
    later = await kit.tell("user.signed_up", run.account, at=datetime.now(UTC) + timedelta(days=400))
    assert "onboarding not started: it rests for this account until" in later.reason


@pytest.mark.parametrize(
    "kit_with", [{"onboarding": {"variant": {"mid": "self_service", "starter": "guided"}}}], indirect=True
)
async def test_p7_1_the_policy_says_which_segment_gets_which_variant(kit_with: Kit) -> None:
    run = await signed_up(kit_with, segment="mid")
    await run.to_day(2)
    assert await mails(run) == ["onboarding.d1", "onboarding.drop"]
    starter = await kit_with.account(segment="starter")
    refused = await kit_with.tell("user.signed_up", starter)
    assert refused.reason == "onboarding not started: guided onboarding starts with handoff.completed"


HANDOFF: dict[str, Any] = {
    "goals": ["one report a week without manual work", "success: two hours saved a week"],
    "stakeholders": ["Zoe Miller", "Bo Frei"],
    "promised": "import of the old data",
    "terms": "12 months",
    "technical_contact": "ops@acme.example.com",
}


@pytest.mark.parametrize(("segment", "variant"), [("mid", "guided"), ("enterprise", "white_glove")])
async def test_p7_3_no_run_with_people_without_the_handoff(kit: Kit, segment: str, variant: str) -> None:
    account = await kit.account(segment=segment)
    signed = await kit.tell("user.signed_up", account)
    assert signed.reason == f"onboarding not started: {variant} onboarding starts with handoff.completed"
    run = await kit.start("handoff.completed", account, **HANDOFF)
    await run.to_day(1)
    assert await mails(run) == ["onboarding.d1", "onboarding.session"]


@pytest.mark.parametrize("field", list(HANDOFF))
async def test_p7_3_a_handoff_that_lacks_a_field_is_refused_with_a_sentence(kit: Kit, field: str) -> None:
    account = await kit.account(segment="enterprise")
    lacking = {name: words for name, words in HANDOFF.items() if name != field}
    refused = await kit.tell("handoff.completed", account, **lacking)
    assert refused.state == "dead"
    assert f"handoff.completed: the handoff record lacks {field} (P7.3)" in refused.reason
    run = await kit.start("handoff.completed", account, **HANDOFF)
    assert (await run.row()).account_id == account


# What a run knows (P7.2).


async def test_p7_2_p7_4_p7_20_what_a_run_holds(kit: Kit) -> None:
    run = await signed_up(kit, *DAY_1, "profile")
    await run.hear("onboarding.step_done", value="first_action")
    await run.hear("onboarding.step_done", value="first_value")
    await run.to_day(1, hour=13)
    readings = (await run.row()).readings
    assert readings["done_items"].split() == sorted({*DAY_1, "created", "profile", "first_action", "first_value"})
    assert readings["open_items"].split() == [*DAY_3, *DAY_7]
    assert (readings["completion"], readings["onboarding_band"]) == (38, "critical")
    assert (readings["pattern"], readings["d30_lift"], readings["missed"]) == ("guided_setup", 25, "")
    assert (readings["first_value_h"], readings["first_value_in_time"]) == (0, True)


async def test_x26_first_value_later_than_the_segment_should_have_it(kit: Kit) -> None:
    run = await signed_up(kit)
    await run.to_day(1)
    await run.hear("onboarding.step_done", value="first_value")
    await run.to_day(2)
    readings = (await run.row()).readings
    assert (readings["first_value_h"], readings["first_value_in_time"]) == (25, False)


# Mails (P7.8 to P7.12).


async def test_p7_8_the_first_mails_name_what_is_due(kit: Kit) -> None:
    run = await signed_up(kit, *DAY_1)
    await run.to_day(2)
    welcome, progress = await run.messages()
    assert "Still open" not in welcome.text and "https://app.example.com/setup" in welcome.text
    assert (
        "Still open: make your first report, set up attribution, look around the dashboard, find the help pages\n"
        in progress.text
    )
    assert "https://help.example.com" in progress.text


async def test_p7_12_an_item_open_after_its_day_brings_the_next_step(kit: Kit) -> None:
    run = await signed_up(kit, "email_verified", *MILESTONES)
    await run.to_day(2)
    (_, drop) = await run.messages()
    assert drop.subject == "Pick up where you left off"
    assert "Next step: start the setup wizard\n" in drop.text
    assert "Continue: https://app.example.com/setup\n" in drop.text
    await did(kit, run.account, *DAY_1)
    await run.to_day(6)
    assert await mails(run) == ["onboarding.d1", "onboarding.drop", "onboarding.drop"]
    assert "Next step: make your first report\n" in (await run.messages())[-1].text
    reasons = await said(run)
    for day in (1, 3):
        assert f"items of day {day} are open: they get the next one" in reasons


async def test_p7_12_a_touch_for_a_finished_item_becomes_the_next_open_item(kit: Kit) -> None:
    run = await signed_up(kit, *DAY_1, *DAY_3, "features_adopted", "several_projects", *MILESTONES)
    await run.to_day(18)
    calendar, _ = without_the_overdue(await run.calendar())
    assert calendar[8.0] == ["email onboarding.drop"]
    assert {day: calendar[day] for day in (10.0, 12.0, 15.0)} == {
        10.0: ["email onboarding.w2b"],
        12.0: ["email onboarding.w2c"],
        15.0: ["email onboarding.w3a"],
    }
    assert calendar[17.0] == ["email onboarding.drop"]
    assert "features_adopted is done: the next item" in await said(run)
    drops = [message.text for message in await run.messages() if message.template == "onboarding.drop"]
    assert all("Next step: make reports regularly\n" in text for text in drops)


@pytest.mark.parametrize(
    ("kit_with", "most"),
    [({}, 3), ({"onboarding": {"drop_mails_a_month": 1}}, 1)],
    indirect=["kit_with"],
)
async def test_p7_12_no_more_than_so_many_such_mails_a_month(kit_with: Kit, most: int) -> None:
    run = await signed_up(kit_with, "features_adopted", "regular_reports", "several_projects")
    await run.to_day(30)
    assert Counter(await mails(run))["onboarding.drop"] == most
    # Days 2, 6, 8, 10, 13, 17, 20 and 27 would each have had one.
    assert (await said(run)).count(f"{most} such mails were sent this month") == 8 - most


@pytest.mark.parametrize(
    "kit_with",
    [{"onboarding": {"lessons": {10: "support"}, "week_4_days": [18, 20, 23], "score_days": [11]}}],
    indirect=True,
)
async def test_p7_9_to_p7_11_the_days_are_the_policys(kit_with: Kit) -> None:
    run = await signed_up(kit_with, *CHECKLIST, *MILESTONES)
    await uses_everything(kit_with, run.account)
    await run.to_day(29)
    assert await run.calendar() == {
        **WEEK_1,
        9.0: ["email onboarding.w3c"],
        11.0: ["email onboarding.celebrate"],
        17.0: ["email onboarding.w4.value"],
        19.0: ["task See whether a bigger plan would help them"],
        22.0: ["email onboarding.w4.advocate"],
    }


@pytest.mark.parametrize("kit_with", [{"day_one_is_trigger_day": False}], indirect=True)
async def test_p0_2_day_1_may_be_the_day_after(kit_with: Kit) -> None:
    run = await signed_up(kit_with, *CHECKLIST, *MILESTONES)
    await run.to_day(7)
    assert await run.calendar() == {day + 1: lines for day, lines in WEEK_1.items()}


async def test_p7_11_upsell_and_advocacy_are_not_for_those_at_risk(kit: Kit) -> None:
    run = await signed_up(kit, *CHECKLIST, *MILESTONES)
    await uses(kit, run.account, "project", "report")
    await run.to_day(27)
    assert await run.left_out() == {
        "Day 25: Have the CSM see whether a bigger plan would help them.": NOT_HEALTHY,
        "Day 27: Invite them to become advocates.": NOT_HEALTHY,
    }
    calendar = await run.calendar()
    assert calendar[22.0] == ["email onboarding.w4.value"] and not {24.0, 26.0} & calendar.keys()
    value = next(message for message in await run.messages() if message.template == "onboarding.w4.value")
    assert "\n23 reports in the last 30 days\n" in value.text


# Milestones (P7.19 to P7.21).


async def test_p7_21_each_missed_milestone_is_nudged_within_a_day_of_the_miss(kit: Kit) -> None:
    run = await signed_up(kit, *CHECKLIST)
    await run.to_day(9)
    nudges = [*await run.messages("in_app"), *await run.messages()]
    begun = await kit.place.started_at(run.case)
    when = {
        round((message.at - begun) / HOUR, 1): message.text.partition("\n\n")[0]
        for message in nudges
        if message.template in ("onboarding.nudge", "onboarding.milestone_missed")
    }
    assert sorted(when) == [12.1, 36.0, 84.0, 180.0]
    for at, due in zip(sorted(when), sorted(RULES.milestone_hours.values())[1:], strict=True):
        assert 0 <= at - due <= 24
    assert (when[12.1], when[36.0], when[180.0]) == (
        "Next step: fill in your profile",
        "Next step: create your first project",
        "Next step: use it on three days in a row",
    )
    (mail,) = [message for message in await run.messages() if message.template == "onboarding.milestone_missed"]
    assert mail.subject == "One step is still open"
    assert "still open in Holdfast Demo: get your first result\n" in mail.text


async def test_p7_21_a_nudge_in_the_product_goes_when_the_next_look_finds_it_reached(kit: Kit) -> None:
    run = await signed_up(kit)
    await run.to_day(1)
    (nudge,) = await run.messages("in_app")
    assert nudge.taken_down_at is None
    await run.hear("onboarding.step_done", value="profile")
    await run.hear("onboarding.step_done", value="first_action")
    await run.to_day(2)
    (nudge,) = await run.messages("in_app")
    assert nudge.taken_down_at is not None
    assert "first_action was reached in time" in await said(run)


async def test_p7_21_a_second_miss_counts_as_a_band_lower(kit: Kit) -> None:
    run = await signed_up(kit, *CHECKLIST, "first_value", "streak_3")
    await uses_everything(kit, run.account)
    await run.to_day(1)
    assert await kit.place.rows(RiskSignal) == []
    await run.to_day(7)
    (risk,) = await kit.place.rows(RiskSignal)
    assert (risk.account_id, risk.signal, risk.cleared_at) == (run.account, "onboarding behind", None)
    assert (await run.row()).readings["onboarding_band"] == "healthy"
    assert (await run.calendar())[7.0] == ["email onboarding.help", "task Check in with a new customer at risk"]
    assert "two milestones were missed, which counts as one band lower" in await said(run)
    await run.to_day(30)
    assert (await run.finish()).outcome == "activated"
    assert set((await run.left_out()).values()) == {NOT_HEALTHY}
    (risk,) = await kit.place.rows(RiskSignal)
    assert risk.cleared_at is not None


# The onboarding score (P7.22 to P7.24).


async def test_p7_23_at_risk_gets_resources_help_and_a_call(kit: Kit) -> None:
    run = await signed_up(kit, *CHECKLIST, *MILESTONES)
    await uses(kit, run.account, "project", "report")
    await run.to_day(7)
    assert (await run.row()).readings["onboarding_score"] == 70
    assert (await run.calendar())[7.0] == ["email onboarding.help", "task Check in with a new customer at risk"]
    help_mail = (await run.messages())[-1]
    assert "https://help.example.com" in help_mail.text and "https://book.example.com/success" in help_mail.text
    (task,) = await run.tasks()
    assert (task.owner, (task.due_at - task.opened_at).days, task.answers) == (
        "ana",
        1,
        "helped not_reached cancelling",
    )
    assert "Offer extra training" in task.body
    await run.to_day(13)
    assert [(each.title, each.owner) for each in await run.tasks()][1:] == [
        ("Overdue: Check in with a new customer at risk", "csm-lead")
    ]


async def test_p7_23_p7_22_what_is_done_follows_the_band(kit: Kit) -> None:
    run = await signed_up(kit, *CHECKLIST, *MILESTONES)
    await uses(kit, run.account, "project", "report")
    await run.to_day(8)
    await uses_everything(kit, run.account)
    await run.to_day(14)
    await uses(kit, run.account, "ticket")
    await kit.use(run.account, "project", 0, days=(0, 60), today=kit.today())
    await run.to_day(20)
    calendar = await run.calendar()
    assert calendar[13.0][-1:] == ["email onboarding.celebrate"]
    assert calendar[20.0] == RESCUE


async def test_p7_24_critical_is_called_today_and_escalated(kit: Kit) -> None:
    run = await signed_up(kit, *DAY_1)
    await run.to_day(7)
    call, escalation = await run.tasks()
    assert (call.title, call.owner, call.answers) == (
        "Call a new customer in trouble today",
        "ana",
        "plan_agreed not_reached cancelling",
    )
    assert (call.due_at - call.opened_at).days == 1
    for words in ("Immediate outreach", "Personal onboarding call", "Custom success plan"):
        assert words in call.body
    assert (escalation.title, escalation.owner) == ("A new customer is in trouble", "account-executive")
    await run.answer("score_7", "plan_agreed")
    await run.to_day(12)
    assert not [task for task in await run.tasks() if task.title.startswith("Overdue")]
    (call,) = [task for task in await run.tasks() if task.title.startswith("Call")]
    assert (call.outcome, call.done_at is not None) == ("plan_agreed", True)


async def test_p0_3_p7_24_a_call_that_was_not_made_within_a_day_goes_to_the_lead(kit: Kit) -> None:
    run = await signed_up(kit, *DAY_1)
    await run.to_day(7, hour=23)
    assert len(await run.tasks()) == 2
    await run.to_day(8)
    (overdue,) = [task for task in await run.tasks() if task.title.startswith("Overdue")]
    assert (overdue.title, overdue.owner) == ("Overdue: Call a new customer in trouble today", "csm-lead")
    await run.answer("score_7", "not_reached")


# How it ends (P7.27).


async def test_p7_27_who_gets_there_in_the_two_weeks_more_is_completed_late(kit: Kit) -> None:
    run = await signed_up(kit, *DAY_1, *DAY_3)
    await run.to_day(31)
    row = await run.row()
    assert (row.ended, row.stage) == (False, "Extended")
    assert "the checklist is not done: two weeks more" in await said(run)
    await did(kit, run.account, "several_projects")
    await run.to_day(44)
    assert not (await run.row()).ended
    ending = await run.finish()
    assert ending.outcome == "completed_late"
    assert (await told(run, "onboarding.completed"), await told(run, "onboarding.stalled")) == (1, 0)
    (risk,) = await kit.place.rows(RiskSignal)
    assert risk.cleared_at is not None


@pytest.mark.parametrize(
    ("kit_with", "activated"),
    [({}, True), ({"onboarding": {"completion_floor": 77}}, False)],
    indirect=["kit_with"],
)
async def test_p7_27_x27_activated_from_the_floor_on(kit_with: Kit, activated: bool) -> None:
    run = await signed_up(kit_with, *DAY_1, *DAY_3, "several_projects")
    await run.to_day(31)
    assert await told(run, "onboarding.completed") == activated


@pytest.mark.parametrize("kit_with", [{"onboarding": {"late_day": 33}}], indirect=True)
async def test_p7_27_how_long_it_is_extended_is_the_policys(kit_with: Kit) -> None:
    run = await signed_up(kit_with)
    await run.finish()
    assert (await run.calendar())[33.0] == ["banner", "tell onboarding.stalled"]


@pytest.mark.parametrize("day", [0, 1.6, 32])
async def test_p7_27_cancelled_at_any_moment_takes_the_nudges_down(kit: Kit, day: float) -> None:
    run = await signed_up(kit)
    await run.to_day(day, hour=1)
    before = await mails(run)
    await run.hear("subscription.cancelled")
    ending = await run.finish()
    assert (ending.reason, ending.outcome) == ("subscription.cancelled", "cancelled")
    assert await mails(run) == before
    assert all(message.taken_down_at for message in await run.messages("in_app"))
    assert all(risk.cleared_at for risk in await kit.place.rows(RiskSignal))
    assert await told(run, "onboarding.stalled") == 0


async def test_p7_27_the_product_may_say_that_it_is_complete(kit: Kit) -> None:
    run = await signed_up(kit, *DAY_1)
    await run.to_day(9)
    await run.hear("onboarding.completed")
    assert (await run.finish()).outcome == "activated"


async def test_p0_12_a_lead_ends_it(kit: Kit) -> None:
    run = await signed_up(kit)
    await run.to_day(2)
    await steer(kit.place.client, run.case, "end", "ana")
    assert (await run.finish()).outcome == "ended_by_lead"
    assert all(message.taken_down_at for message in await run.messages("in_app"))


# Rules for all playbooks.


async def test_p0_4_t4_3_who_opts_out_gets_no_more_mail_but_is_still_looked_after(kit: Kit) -> None:
    run = await signed_up(kit)
    await run.to_day(1)
    await run.hear("contact.unsubscribed")
    await run.to_day(9)
    assert await mails(run) == ["onboarding.d1"]
    assert {rule for _, _, rule in await run.dropped()} == {"opted_out"}
    assert [f"task {task.title}" for task in await run.tasks()][:2] == RESCUE


async def test_p0_18_a_worker_restart_in_mid_wait_repeats_and_loses_nothing(kit: Kit) -> None:
    run = await signed_up(kit)
    await run.to_day(4)
    async with kit.place.no_worker():
        pass
    await run.to_day(8)
    assert await mails(run) == [
        "onboarding.d1",
        "onboarding.drop",
        "onboarding.milestone_missed",
        "onboarding.drop",
        "onboarding.w2a",
    ]
