"""Onboarding with people: white-glove and guided, line by line of the ledger (P7.13 to P7.18)."""

from typing import Any

import pytest

from models.policy import Onboarding
from models.tables import Account
from tests.playbook_kit import Calendar, Kit, Run
from tests.workflows.test_onboarding import (
    CHECKLIST,
    HANDOFF,
    MILESTONES,
    RESCUE,
    assert_one_mail_a_day,
    did,
    mails,
    said,
    told,
    uses_everything,
    without_the_overdue,
)

TOPICS = Onboarding().sessions
PLAN = "task Finalise the success plan and plan the next phase"
NOT_READY = "Only from a return of twice the price and good health on"
TALK = "Day 21: Speak of expansion, where the return and the health are there."


def session(day: int) -> list[str]:
    """What a live session leaves in the calendar."""
    return ["email onboarding.session", f"task Session of day {day}: {TOPICS[day]}"]


WHITE_GLOVE: Calendar = {
    0.0: ["email onboarding.d1"],
    **{float(day): session(day) for day in (1, 2, 3, 4, 5, 8, 10, 12, 14, 18, 25)},
    6.0: ["email onboarding.weekend"],
    28.0: ["email onboarding.session", "task Assess the onboarding"],
    30.0: ["email onboarding.session", PLAN],
}
GUIDED: Calendar = {
    0.0: ["email onboarding.d1"],
    **{float(day): session(day) for day in (1, 14)},
    **{float(day): ["email onboarding.group"] for day in (4, 5, 8, 18)},
    **{float(day): ["email onboarding.self_guided"] for day in (2, 3, 10, 12)},
    6.0: ["email onboarding.weekend"],
    25.0: ["email onboarding.w4.value"],
    28.0: ["task Assess the onboarding"],
    30.0: ["email onboarding.session", PLAN],
}
SESSIONS = {"enterprise": (1, 2, 3, 4, 5, 8, 10, 12, 14, 18, 25), "mid": (1, 14)}


async def handed_over(kit: Kit, segment: str, *items: str, **columns: Any) -> Run:
    """A run that began with the sales handoff, with these items done."""
    account = await kit.account(segment=segment, **columns)
    await did(kit, account, *items)
    return await kit.start("handoff.completed", account, **HANDOFF)


async def a_good_customer(kit: Kit, segment: str, *, roi_tenths: int = 20, health: int = 75) -> Run:
    """A run of a customer who does everything, with that return and health."""
    run = await handed_over(kit, segment, *CHECKLIST, *MILESTONES, health=health)
    await uses_everything(kit, run.account)
    await kit.use(run.account, "roi_tenths", roi_tenths, days=(0, 1), today=kit.today())
    return run


async def hold(run: Run, *days: int) -> None:
    """Go on to each of these sessions and hold it."""
    for day in days:
        await run.to_day(day)
        await run.answer(f"session_{day}", "held")


def plus(calendar: Calendar, more: Calendar) -> Calendar:
    """Both, day by day."""
    days = sorted({*calendar, *more})
    return {day: [*calendar.get(day, []), *more.get(day, [])] for day in days}


@pytest.mark.parametrize(("segment", "calendar"), [("enterprise", WHITE_GLOVE), ("mid", GUIDED)])
async def test_p7_13_to_p7_18_the_month_of_a_customer_who_does_everything(
    kit: Kit, segment: str, calendar: Calendar
) -> None:
    run = await a_good_customer(kit, segment)
    await hold(run, *SESSIONS[segment])
    await run.to_day(28)
    await run.answer("assess_the_onboarding", "complete")
    await run.to_day(30)
    assert not (await run.row()).ended
    await run.answer("finish_with_a_plan", "final")
    ending = await run.finish()
    assert ending.outcome == "activated"
    done = await run.calendar()
    after = {day: done.pop(day) for day in list(done) if day > 30}
    assert [line for lines in after.values() for line in lines] == [
        "tell onboarding.completed",
        "banner",
        "risk cleared",
    ]
    assert max(after) < 30.1
    assert done == plus(calendar, {7.0: ["email onboarding.celebrate"], 21.0: ["task Speak of expansion"]})
    assert await run.left_out() == {} and await run.dropped() == []
    assert not [task for task in await run.tasks() if task.title.startswith("Overdue")]
    await assert_one_mail_a_day(run)


async def test_p7_13_to_p7_16_nobody_answers_every_session_is_escalated_once(kit: Kit) -> None:
    run = await handed_over(kit, "enterprise")
    ending = await run.finish()
    assert ending.outcome == "stalled"
    more: Calendar = {
        0.5: ["banner onboarding.nudge"],
        1.5: ["banner", "banner onboarding.nudge", "risk raised"],
        3.5: ["banner", "banner onboarding.nudge"],
        7.0: ["banner", *RESCUE],
        7.5: ["banner onboarding.nudge"],
        13.0: ["banner"],
        45.0: ["banner", "tell onboarding.stalled"],
    }
    calendar, late = without_the_overdue(await run.calendar())
    assert calendar == plus(WHITE_GLOVE, more)
    asked = {f"Session of day {day}: {TOPICS[day]}": day for day in SESSIONS["enterprise"]}
    asked |= {"Assess the onboarding": 28, PLAN.removeprefix("task "): 30}
    assert late.keys() == {*asked, "Call a new customer in trouble today"}
    assert all(5 <= late[title] - day <= 7 for title, day in asked.items())
    assert {task.owner for task in await run.tasks() if task.title.startswith("Overdue")} == {"csm-lead"}
    assert await run.left_out() == {TALK: NOT_READY}
    await assert_one_mail_a_day(run)


async def test_p7_13_p7_2_p7_3_the_session_guide_holds_the_handoff(kit: Kit) -> None:
    run = await handed_over(kit, "enterprise")
    await run.to_day(1)
    (task,) = await run.tasks()
    assert (task.owner, (task.due_at - task.opened_at).days, task.answers) == ("ana", 1, "held moved no_show")
    for words in (
        "Day 1: welcome and expectations\n",
        "Goals: one report a week without manual work, success: two hours saved a week\n",
        "From sales: stakeholders: Zoe Miller, Bo Frei; promised: import of the old data; terms: 12 months; "
        "technical contact: ops@acme.example.com\n",
    ):
        assert words in task.body
    mail = (await run.messages())[-1]
    assert mail.subject == "Your one-to-one session: welcome and expectations"
    assert "Pick a time: https://book.example.com/success\n" in mail.text


async def test_p0_7_t1_18_a_session_that_was_answered_in_time_is_not_escalated(kit: Kit) -> None:
    run = await handed_over(kit, "mid", *MILESTONES)
    await run.to_day(1)
    await run.answer("session_1", "no_show")
    await run.to_day(6, hour=2)
    (task,) = await run.tasks()
    assert (task.title, task.outcome) == ("Session of day 1: welcome and expectations", "no_show")


@pytest.mark.parametrize("kit_with", [{"people": {"task_timeout_days": 2, "csm_lead": "lea"}}], indirect=True)
async def test_p0_7_when_and_to_whom_is_the_policys(kit_with: Kit) -> None:
    run = await handed_over(kit_with, "mid", *MILESTONES)
    await run.to_day(3)
    first, overdue = await run.tasks()
    assert (overdue.title, overdue.owner) == (f"Overdue: {first.title}", "lea")


@pytest.mark.parametrize(("roi_tenths", "health", "talk"), [(20, 75, True), (19, 75, False), (20, 74, False)])
async def test_p7_15_p7_17_expansion_only_from_twice_the_price_and_health_75(
    kit: Kit, roi_tenths: int, health: int, talk: bool
) -> None:
    run = await a_good_customer(kit, "mid", roi_tenths=roi_tenths, health=health)
    await run.to_day(21)
    assert (await run.calendar()).get(21.0, []) == (["task Speak of expansion"] if talk else [])
    assert await run.left_out() == ({} if talk else {TALK: NOT_READY})


@pytest.mark.parametrize("kit_with", [{"onboarding": {"expansion_roi": 1.5, "expansion_health": 60}}], indirect=True)
async def test_p7_17_the_figures_are_the_policys(kit_with: Kit) -> None:
    run = await a_good_customer(kit_with, "mid", roi_tenths=15, health=60)
    await run.to_day(21)
    assert (await run.calendar())[21.0] == ["task Speak of expansion"]


async def test_p7_16_the_month_ends_with_an_assessment_and_a_plan(kit: Kit) -> None:
    run = await a_good_customer(kit, "mid")
    await run.to_day(30)
    assessment, plan = (await run.tasks())[-2:]
    assert (assessment.answers, plan.answers) == ("complete extended", "final moved no_show")
    assert "Go through the goals" in assessment.body and "From sales: " in assessment.body
    assert "Finalise the success plan with the customer." in plan.body
    assert (await run.row()).stage == "Finishing"
    assert "guided: assessed without a call" in await said(run)
    await run.answer("finish_with_a_plan", "moved")
    assert "the success plan is not final yet" in await said(run)
    assert await told(run, "onboarding.completed") == 0
    assert (await run.finish()).outcome == "activated"
    assert await told(run, "onboarding.completed") == 1


async def test_p7_27_a_final_plan_does_not_make_up_for_an_unfinished_checklist(kit: Kit) -> None:
    run = await handed_over(kit, "mid", *MILESTONES)
    await run.to_day(30)
    await run.answer("finish_with_a_plan", "final")
    assert await told(run, "onboarding.completed") == 0
    assert "the checklist was not done by day 30: looked at once more" in await said(run)
    await did(kit, run.account, *CHECKLIST)
    assert (await run.finish()).outcome == "completed_late"


async def test_p7_18_guided_mails_say_what_the_day_is_about(kit: Kit) -> None:
    run = await handed_over(kit, "mid", *MILESTONES)
    await run.to_day(5)
    subjects = [message.subject for message in await run.messages()]
    assert subjects == [
        "Welcome to Holdfast Demo",
        "Your one-to-one session: welcome and expectations",
        "On your own: configuration and integrations",
        "On your own: first import",
        "Group training: training in scoring",
        "Group training: a walk through the analytics",
    ]


@pytest.mark.parametrize(
    "kit_with", [{"onboarding": {"guided_calls": [1, 2], "guided_mails": {3: "onboarding.d3"}}}], indirect=True
)
async def test_p7_18_the_day_map_is_the_policys(kit_with: Kit) -> None:
    run = await handed_over(kit_with, "mid", *MILESTONES)
    await run.to_day(4)
    assert await mails(run) == [
        "onboarding.d1",
        "onboarding.session",
        "onboarding.session",
        "onboarding.d3",
        "onboarding.group",
    ]


async def test_p7_24_where_nobody_is_the_csm_the_lead_calls(kit: Kit) -> None:
    run = await handed_over(kit, "enterprise", owner="")
    assert (await kit.place.rows(Account, id=run.account))[0].owner == ""
    await run.to_day(7)
    call = next(task for task in await run.tasks() if task.title.startswith("Call"))
    assert call.owner == "csm-lead"


@pytest.mark.parametrize("day", [0.2, 9])
async def test_p7_27_cancelled_with_open_sessions(kit: Kit, day: float) -> None:
    run = await handed_over(kit, "enterprise")
    await run.to_day(day)
    before = await mails(run)
    await run.hear("subscription.cancelled")
    assert (await run.finish()).outcome == "cancelled"
    assert await mails(run) == before
    assert await told(run, "onboarding.stalled") == 0
