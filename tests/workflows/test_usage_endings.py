"""How a usage decline ends, and what else happens to it: recovery, exits, outcomes, repeats, restarts, answers."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from models.customers import OfferRow
from models.tables import Account, CaseRow, InboxEvent, RiskSignal
from tests.playbook_kit import Kit, Run
from tests.town import DAY
from tests.workflows.test_usage_decline import CALL, MODERATE, SEVERE, SHARE, falling, until
from workers.cases import steer


async def risk_is_open(run: Run) -> bool:
    """Whether the risk signal of the run stands."""
    (signal,) = await run.kit.place.rows(RiskSignal, account_id=run.account)
    return signal.cleared_at is None


@pytest.mark.parametrize(
    ("back_on", "ended_on", "steps"),
    [(6, 13.0, 4), (7, 14.0, 5), (8, 21.0, 6), (15, 28.0, 7)],
)
async def test_p3_14_recovery_is_seen_before_each_late_step(
    kit: Kit, back_on: int, ended_on: float, steps: int
) -> None:
    run = await kit.start("usage.declined", await falling(kit, 4, back_on=back_on), value="severe")
    ending = await run.finish()
    calendar = await run.calendar()
    assert calendar.pop(ended_on) == ["banner", "risk cleared"]
    assert calendar == {day: lines for day, lines in SEVERE.items() if day < ended_on}
    assert (ending.outcome, len(ending.done)) == ("recovered", steps)


async def test_p3_14_recovered_means_within_30_percent_of_the_baseline(kit: Kit) -> None:
    account = await falling(kit, 4, back_on=1)
    await kit.use(account, "activity", 6, days=(1, 60), today=kit.today())
    run = await kit.start("usage.declined", account, value="severe")
    await run.to_day(21)
    assert (await run.row()).state == "open"


async def test_p3_14_a_pause_of_80_days_does_not_lose_the_baseline(kit: Kit) -> None:
    account = await falling(kit, 4)
    await kit.use(account, "activity", 4, days=(60, 120), today=kit.today())
    run = await kit.start("usage.declined", account, value="severe")
    await run.to_day(1)
    await steer(kit.place.client, run.case, "snooze", 80)
    await run.finish()
    assert (await run.calendar())[82.0] == ["email usage.d3_severe"]
    assert (await run.row()).outcome == "escalated_unresolved"


async def test_p3_2_p3_14_where_only_logins_fell_the_run_does_not_end_at_once(kit: Kit) -> None:
    account = await kit.account(segment="mid", health=80)
    await kit.use(account, "activity", 10, days=(-60, 60), today=kit.today())
    await kit.use(account, "login", 2, days=(-60, -30), today=kit.today())
    await kit.use(account, "login", 1, days=(-30, 60), today=kit.today())
    run = await kit.start("usage.declined", account, value="severe")
    await run.finish()
    assert await run.calendar() == SEVERE


async def test_p3_14_told_by_another_system_it_ends_when_that_system_says_so(kit: Kit) -> None:
    run = await kit.start("usage.declined", await kit.account(segment="mid"), value="moderate")
    await run.to_day(2)
    assert (await run.messages())[-1].subject == "Is everything okay, Zoe?"
    await run.hear("usage.recovered")
    assert (await run.finish()).outcome == "recovered"
    assert sorted(await run.calendar()) == [0.0, 2.0, 2.04]


EXITS = {
    "usage.recovered": ("recovered", ["banner", "risk cleared"]),
    "cancel.requested": ("cancel_flow", ["banner"]),
    "subscription.cancelled": ("churned", ["banner", "risk cleared"]),
    "lull.planned": ("lull_planned", ["banner", "risk cleared", "offer", "email usage.pause"]),
}


@pytest.mark.parametrize("kind", EXITS)
@pytest.mark.parametrize("day", [0, 10, 22])
async def test_p3_15_every_exit_at_any_moment(kit: Kit, kind: str, day: int) -> None:
    outcome, owed = EXITS[kind]
    # The retention offer is out on day 22, and a pause is no second discount.
    run = await kit.start("usage.declined", await falling(kit, 4), value="severe")
    await run.to_day(day)
    await run.hear(kind)
    ending = await run.finish()
    calendar = await run.calendar()
    last = max(calendar)
    assert (ending.outcome, calendar.pop(last)[-len(owed) :]) == (outcome, owed)
    assert {when: lines for when, lines in calendar.items() if when <= day} == until(SEVERE, day)
    assert round(last) == day
    assert await risk_is_open(run) is (kind == "cancel.requested")


async def test_p3_15_a_planned_lull_heard_on_a_call_is_offered_a_pause(kit: Kit) -> None:
    run = await kit.start("usage.declined", await falling(kit, 6, mrr=300_000), value="moderate")
    await run.to_day(6)
    await run.answer("call_them", "lull_planned")
    assert (await run.finish()).outcome == "lull_planned"
    (offer,) = await kit.place.rows(OfferRow)
    assert (offer.what, offer.months) == ("pause", 3)
    mail = (await run.messages())[-1]
    assert mail.subject == "A quiet period ahead? You can pause"
    assert "for up to 3 months" in mail.text and "https://pay.example.com/offer/" in mail.text


async def test_p0_4_a_customer_who_left_before_is_not_written_to(kit: Kit) -> None:
    left = datetime.now(UTC) - timedelta(days=3)
    run = await kit.start("usage.declined", await falling(kit, 6, churned_at=left), value="moderate")
    assert (await run.finish()).outcome == "churned"
    assert [mail.template for mail in await run.messages()] == []


async def test_p0_4_who_opted_out_gets_no_mail_but_the_rest(kit: Kit) -> None:
    run = await kit.start("usage.declined", await falling(kit, 6, opted_out_at=datetime.now(UTC)), value="moderate")
    await run.finish()
    assert await run.calendar() == {0.0: MODERATE[0.0], 28.0: MODERATE[28.0]}
    assert await run.dropped() == [("check_in", "email", "opted_out"), ("offer_training", "email", "opted_out")]


async def test_p3_16_plan_agreed(kit: Kit) -> None:
    run = await kit.start("usage.declined", await falling(kit, 4), value="severe")
    await run.to_day(7)
    await run.answer("share_a_screen", "plan_agreed")
    assert (await run.finish()).outcome == "plan_agreed"
    calendar = await run.calendar()
    assert calendar[28.0] == ["banner"]
    assert 12.0 not in calendar


async def test_p3_16_training_booked(kit: Kit) -> None:
    run = await kit.start("usage.declined", await falling(kit, 6), value="moderate")
    await run.to_day(15)
    await run.hear("training.booked")
    assert (await run.finish()).outcome == "training_booked"
    assert (await run.calendar())[28.0] == ["banner"]


@pytest.mark.parametrize(("severity", "health", "day"), [("moderate", 20, 14), ("severe", 80, 22)])
async def test_p3_16_discount_accepted_the_first_offer_or_the_last(
    kit: Kit, severity: str, health: int, day: int
) -> None:
    account = await falling(kit, 4 if severity == "severe" else 6, health=health)
    run = await kit.start("usage.declined", account, value=severity)
    await run.to_day(day)
    (offer,) = await kit.place.rows(OfferRow)
    await run.hear("offer.accepted", object_id=offer.key)
    assert (await run.finish()).outcome == "discount_accepted"


async def test_p3_16_unresolved_is_told_so_that_at_risk_recovery_can_begin(kit: Kit) -> None:
    run = await kit.start("usage.declined", await falling(kit, 6), value="moderate")
    await run.finish()
    (told,) = await kit.place.rows(InboxEvent, kind="usage.unresolved")
    assert (told.account_id, told.source) == (run.account, "holdfast")


async def test_p0_12_end_by_a_lead_gives_back_the_banner_and_the_risk_signal(kit: Kit) -> None:
    run = await kit.start("usage.declined", await falling(kit, 4), value="severe")
    await run.to_day(1)
    await steer(kit.place.client, run.case, "end", "bo")
    assert (await run.finish()).outcome == "ended_by_lead"
    assert (await run.calendar())[1.04] == ["banner", "risk cleared"]
    assert not await risk_is_open(run)


async def test_p0_5_a_second_trigger_starts_no_second_run(kit: Kit) -> None:
    run = await kit.start("usage.declined", await falling(kit, 6), value="moderate")
    await run.to_day(4)
    again = await kit.tell("usage.declined", run.account, value="moderate", at=datetime.now(UTC) + 4 * DAY)
    assert f"usage-decline not started: {run.case} is open for this account" in again.reason
    await run.finish()
    assert await run.calendar() == MODERATE
    assert len(await kit.place.rows(CaseRow, account_id=run.account)) == 1


async def test_p0_5_what_started_the_run_is_not_told_to_it_once_more(kit: Kit) -> None:
    account = await falling(kit, 6)
    told = await kit.tell("usage.declined", account, value="moderate")
    assert told.reason == f"started usage-decline/{account}/{kit.today()}"


async def test_p0_5_p3_6_a_fall_that_gets_worse_alerts_at_once_and_goes_on_as_severe(kit: Kit) -> None:
    account = await falling(kit, 6)
    run = await kit.start("usage.declined", account, value="moderate")
    await run.to_day(4)
    await kit.use(account, "activity", 4, days=(-14, 60), today=kit.today())
    await run.hear("usage.declined", value="severe")
    await run.finish()
    calendar = await run.calendar()
    assert calendar.pop(4.04) == SEVERE[0.0][1:]
    assert calendar == {**SEVERE, 0.0: MODERATE[0.0], 2.0: MODERATE[2.0]}


@pytest.mark.parametrize(("after", "started"), [(29, False), (31, True)])
async def test_p0_6_the_playbook_rests_for_30_days(kit: Kit, after: int, started: bool) -> None:
    run = await kit.start("usage.declined", await falling(kit, 6), value="moderate")
    await run.to_day(1)
    await run.hear("usage.recovered")
    await run.finish()
    ended = (await run.row()).ended_at
    assert ended
    again = await kit.tell("usage.declined", run.account, value="moderate", at=ended + after * DAY)
    assert again.reason.startswith("started " if started else "usage-decline not started: it rests") is True


async def test_p0_7_a_call_without_an_answer_goes_to_the_lead_after_five_days_and_is_still_waited_for(kit: Kit) -> None:
    run = await kit.start("usage.declined", await falling(kit, 6, mrr=300_000), value="moderate")
    await run.to_day(12)
    calendar = await run.calendar()
    assert (calendar[6.0], calendar[11.0]) == ([CALL], ["task Overdue: Call about the falling usage"])
    assert (await run.tasks())[-1].owner == "csm-lead"
    await run.answer("call_them", "plan_agreed")
    assert (await run.finish()).outcome == "plan_agreed"
    asked = next(task for task in await run.tasks() if task.title == CALL[5:])
    assert asked.outcome == "plan_agreed"


@pytest.mark.parametrize("kit_with", [{"people": {"task_timeout_days": 2}}], indirect=True)
async def test_p0_7_how_long_is_policy(kit_with: Kit) -> None:
    run = await kit_with.start("usage.declined", await falling(kit_with, 6, mrr=300_000), value="moderate")
    await run.to_day(9)
    assert (await run.calendar())[8.0] == ["task Overdue: Call about the falling usage"]


@pytest.mark.parametrize("day", [1, 10, 20])
async def test_p0_18_a_worker_restart_in_mid_wait_changes_nothing(kit: Kit, day: int) -> None:
    run = await kit.start("usage.declined", await falling(kit, 4), value="severe")
    await run.to_day(day)
    async with kit.place.no_worker():
        pass
    await run.finish()
    assert await run.calendar() == SEVERE


async def test_p0_18_heard_while_no_worker_was_there(kit: Kit) -> None:
    run = await kit.start("usage.declined", await falling(kit, 4), value="severe")
    await run.to_day(8)
    async with kit.place.no_worker():
        await run.hear("cancel.requested")
    assert (await run.finish()).outcome == "cancel_flow"
    calendar: dict[float, Any] = await run.calendar()
    assert calendar.pop(8.04) == ["banner"]
    assert calendar == until(SEVERE, 8)


async def test_p0_15_the_severity_decides_the_plan_not_the_segment_of_a_later_day(kit: Kit) -> None:
    run = await kit.start("usage.declined", await falling(kit, 4), value="severe")
    await run.to_day(3)
    (account,) = await kit.place.rows(Account, id=run.account)
    account.segment = "starter"
    await kit.add(account)
    await run.to_day(7)
    assert (await run.calendar())[7.0] == ["email usage.self_book"]
    assert SHARE not in [f"task {task.title}" for task in await run.tasks()]
