"""Low health, line by line of the ledger (P8)."""

from typing import Any

import pytest

from models.at_risk import CAUSES
from models.tables import InboxEvent
from tests.playbook_kit import Kit, Run
from tests.workflows.at_risk_kit import signal, was

WHY = "task Find out why the health is low"
REACH = "task Reach out: offer help and training"
PLAN = "task Recovery plan: agree on it with the customer"
ADJUST = "task No progress yet: adjust the plan"
REVIEW = "task At-Risk Account Review"
LATE = "task Overdue: "


async def low(kit: Kit, health: int = 52, value: str = "at_risk", *, model: str = "h1", **columns: Any) -> Run:
    """A run of an account whose health came into a band today."""
    account = await kit.account(**({"segment": "mid"} | columns))
    await was(kit, account, {0: health}, band=value, model=model)
    return await kit.start("health.band_changed", account, value=value, object_id=model)


async def said(run: Run) -> list[str]:
    """The case's history in words."""
    return [note.text for note in await run.kit.notes(run.case)]


async def owners(run: Run) -> dict[str, str]:
    """Who has which task."""
    return {task.title: task.owner for task in await run.tasks()}


async def test_p8_1_to_p8_7_between_40_and_59_the_product_comes_first_and_a_person_beside_it(kit: Kit) -> None:
    run = await low(kit)
    ending = await run.finish()
    assert await run.calendar() == {
        0.0: ["email atrisk.help"],
        2.0: [WHY],
        3.0: ["email atrisk.education", REACH],
        7.0: [LATE + WHY[5:]],
        8.0: [LATE + REACH[5:]],
        10.0: [ADJUST],
        20.0: [ADJUST],
        30.0: ["tell risk.escalated"],
    }
    assert ending.outcome == "unchanged"


async def test_p8_2_h3_4_t3_8_below_40_a_person_reviews_the_account_the_same_day(
    kit: Kit,
) -> None:
    run = await low(kit, 31, "critical")
    await run.to_day(3)
    assert await run.calendar() == {0.0: [REVIEW], 2.0: [WHY], 3.0: [PLAN]}
    review = (await run.tasks())[0]
    assert (review.owner, (review.due_at - review.opened_at).total_seconds() / 3600) == ("ana", 12)
    assert "Health: 31 of 100" in review.body
    assert await run.messages() == []


async def test_p8_3_which_signals_fired_is_put_on_record(kit: Kit) -> None:
    account = await kit.account(segment="mid")
    await was(kit, account, {0: 52})
    await signal(kit, account, "usage decline", days_ago=3)
    await signal(kit, account, "tickets spiked, then stopped", days_ago=2)
    await signal(kit, account, "billing page visits", days_ago=8)
    run = await kit.start("health.band_changed", account, value="at_risk", object_id="h1")
    await run.to_day(2)
    words = "Health 52 of 100, at risk. Signals: usage decline; tickets spiked, then stopped."
    assert words in await said(run)
    assert "Signals: usage decline; tickets spiked, then stopped" in (await run.tasks())[0].body


@pytest.mark.parametrize(
    ("cause", "title", "owner"),
    [
        ("payment", "Payment: see that the open invoices are dealt with", "ana"),
        ("tickets", "Support: escalate the open tickets", "cs-manager"),
        ("competitor", "Competitor: show what they would lose, and ask what they miss", "account-executive"),
        ("no_value", "No value yet: agree on one result within two weeks", "ana"),
        ("low_adoption", "Adoption: train them in what they do not use", "ana"),
        ("relationship", "Relationship: a meeting with their sponsor", "executive"),
        ("champion_left", "Champion left: find a new one, and begin again with them", "ana"),
        ("other", "", ""),
    ],
)
async def test_p8_4_and_p8_8_one_named_cause_goes_to_who_deals_with_it(
    kit: Kit, cause: str, title: str, owner: str
) -> None:
    run = await low(kit)
    await run.to_day(2)
    (why,) = await run.tasks()
    assert why.answers == " ".join(CAUSES)
    await run.answer("investigate", cause)
    (told,) = await kit.place.rows(InboxEvent, kind="root_cause.found", account_id=run.account)
    assert told.value == cause
    assert {name: who for name, who in (await owners(run)).items() if name != WHY[5:]} == (
        {title: owner} if title else {}
    )
    await run.to_day(3)
    assert f"Cause: {cause.replace('_', ' ')}" in (await run.tasks())[-1].body


async def test_p8_5_and_p8_9_what_is_done_about_it_is_one_of_the_levers(kit: Kit) -> None:
    run = await low(kit)
    await run.to_day(3)
    task = (await run.tasks())[-1]
    assert task.answers == "outreach education success_story discount custom_solution not_reached"
    await run.answer("intervene", "education")
    assert "Reach out: offer help and training: education" in await said(run)


async def test_p8_6_progress_is_measured_and_the_plan_adjusted(kit: Kit) -> None:
    run = await low(kit)
    await run.to_day(9)
    await was(kit, run.account, {0: 52, 9: 57})
    await run.to_day(19)
    await was(kit, run.account, {0: 52, 9: 57, 19: 56})
    await run.to_day(29)
    calendar = await run.calendar()
    assert (10.0 in calendar, calendar[20.0]) == (False, [ADJUST])
    assert "Better: 57 now, 52 at the start." in await said(run)
    assert "Not done: no better: 56 now, 52 at the start" in await said(run)


async def test_p8_7_one_that_gets_worse_is_a_persons_from_then_on(kit: Kit) -> None:
    run = await low(kit)
    await run.to_day(1)
    await was(kit, run.account, {0: 52, 1: 31})
    await run.hear("health.band_changed", value="critical", object_id="h1")
    await run.to_day(3)
    assert await run.calendar() == {0.0: ["email atrisk.help"], 1.04: [REVIEW], 2.0: [WHY], 3.0: [PLAN]}
    assert "Health: 31 of 100" in {task.title: task.body for task in await run.tasks()}[REVIEW[5:]]
    await run.hear("health.band_changed", value="at_risk", object_id="h1")
    await run.to_day(4)
    assert "Not done: no worse than before" in await said(run)


H5 = {"health": {"model": "h5"}}


@pytest.mark.parametrize("kit_with", [H5], indirect=True)
@pytest.mark.parametrize(
    ("band", "health", "expected"),
    [
        ("at_risk", 65, {REACH[5:]: "ana", "Stand by the CSM with this account": "cs-manager"}),
        ("critical", 45, {PLAN[5:]: "cs-manager", "Stand by the CSM with this account": "executive"}),
        ("lost", 20, {PLAN[5:]: "executive"}),
    ],
)
async def test_p8_10_with_h5_each_band_has_its_owners(
    kit_with: Kit, band: str, health: int, expected: dict[str, str]
) -> None:
    run = await low(kit_with, health, band, model="h5")
    await run.to_day(3)
    tasks = {name: who for name, who in (await owners(run)).items() if name in (REACH[5:], PLAN[5:], *expected)}
    assert tasks == expected
    assert await run.messages() == []


@pytest.mark.parametrize(
    ("scores", "outcome", "mails"),
    [
        ({0: 52, 3: 60}, "recovered", ["atrisk.help", "atrisk.education", "atrisk.better"]),
        ({0: 52, 4: 60}, "", ["atrisk.help", "atrisk.education"]),
        ({0: 52, 2: 70, 6: 59, 7: 70}, "", ["atrisk.help", "atrisk.education"]),
    ],
    ids=["seven days", "six days", "fell in between"],
)
async def test_p8_11_seven_days_at_60_or_more_end_it_and_it_is_celebrated(
    kit: Kit, scores: dict[int, int], outcome: str, mails: list[str]
) -> None:
    run = await low(kit)
    await run.to_day(3.5)
    await run.answer("intervene", "outreach")
    await was(kit, run.account, scores)
    await run.to_day(10)
    row = await run.row()
    assert (row.outcome, [mail.template for mail in await run.messages()]) == (outcome, mails)


async def test_p8_12_not_better_after_30_days_it_is_churn_risk(kit: Kit) -> None:
    run = await low(kit, 31, "critical")
    assert (await run.finish()).outcome == "escalated"
    await kit.place.arrive()
    (told,) = await kit.place.rows(InboxEvent, kind="risk.escalated", account_id=run.account)
    assert told.reason.startswith(f"started churn-risk/{run.account}/")


async def test_p8_12_better_but_not_well_is_improved_and_who_leaves_has_churned(kit: Kit) -> None:
    run = await low(kit)
    await run.to_day(12)
    await was(kit, run.account, {0: 52, 12: 57})
    assert (await run.finish()).outcome == "improved"
    gone = await low(kit)
    await gone.to_day(1)
    await gone.hear("subscription.cancelled")
    assert (await gone.finish()).outcome == "churned"


async def test_p8_1_a_new_customer_in_onboarding_is_onboardings(kit: Kit) -> None:
    told = await kit.tell("health.band_changed", await kit.account(), value="critical", object_id="h2")
    assert "started" not in told.reason
