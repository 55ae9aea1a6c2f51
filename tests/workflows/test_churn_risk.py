"""Churn risk, line by line of the ledger (P9)."""

import pytest

from models.tables import CaseRow, InboxEvent, RiskSignal
from tests.playbook_kit import Kit, Run
from tests.town import DAY
from tests.workflows.at_risk_kit import signal

ASSESS = "Churn Risk Assessment"
ESCALATE = "Churn Risk Escalation"
CALL = "Call them: they may leave"
EXPORT = "Contact them today: they export their data"


async def risky(kit: Kit, *signals: str, days_ago: int = 0) -> Run:
    """A run of an account with these signals, all of which are told at once but were raised before."""
    account = await kit.account(segment="mid")
    for name in signals[:-1]:
        await signal(kit, account, name, days_ago=days_ago)
    await kit.tell("risk.raised", account, value=signals[-1])
    await kit.place.arrive()
    (case,) = await kit.place.rows(CaseRow, playbook="churn-risk", account_id=account)
    return Run(kit, case.id, account)


async def titles(run: Run) -> list[tuple[str, str]]:
    """Every task with its owner, in order."""
    return [(task.title, task.owner) for task in await run.tasks()]


async def said(run: Run) -> list[str]:
    """The case's history in words."""
    return [note.text for note in await run.kit.notes(run.case)]


async def test_p9_1_and_p9_2_two_signals_are_an_assessment_with_level_signals_and_what_to_do(kit: Kit) -> None:
    run = await risky(kit, "champion left", "competitor mentioned")
    await run.to_day(0.1)
    assert (await titles(run))[0] == (ASSESS, "ana")
    body = (await run.tasks())[0].body
    assert "Level: high\nSignals: champion left; competitor mentioned" in body
    assert all(
        words in body for words in ("Executive outreach", "Roadmap review", "Pricing discussion", "Success plan:")
    )
    assert "Churn risk high. Signals: champion left; competitor mentioned." in await said(run)
    assert not {ESCALATE, CALL} & {title for title, _ in await titles(run)}


async def test_p9_2_one_signal_alone_is_its_own_playbooks(kit: Kit) -> None:
    account = await kit.account(segment="mid")
    await kit.tell("risk.raised", account, value="competitor mentioned")
    await kit.place.arrive()
    (told,) = await kit.place.rows(InboxEvent, kind="risk.level_changed", account_id=account)
    assert (told.value, told.reason) == ("high", "no open run hears risk.level_changed")
    await kit.tell("risk.raised", account, value="seats removed")
    await kit.place.arrive()
    assert len(await kit.place.rows(CaseRow, playbook="churn-risk", account_id=account)) == 1


async def test_p9_3_three_signals_go_to_the_manager_and_the_account_executive_at_once(kit: Kit) -> None:
    run = await risky(kit, "support escalation", "payment issues")
    await run.to_day(0.1)
    assert ESCALATE not in [title for title, _ in await titles(run)]
    await run.hear("risk.raised", value="seats removed")
    await run.to_day(0.3)
    told = [task for task in await run.tasks() if task.title == ESCALATE]
    assert [task.owner for task in told] == ["cs-manager", "account-executive"]
    assert all((task.account_id, (task.due_at - task.opened_at).days) == (run.account, 1) for task in told)
    assert "Level: critical\nSignals: support escalation; payment issues; seats removed" in told[0].body
    await run.hear("risk.raised", value="billing page visits")
    await run.to_day(8)
    assert [title for title, _ in await titles(run)].count(ESCALATE) == 2


async def test_p9_4_critical_is_a_call_today_and_high_is_not(kit: Kit) -> None:
    run = await risky(kit, "support escalation", "payment issues", "seats removed")
    await run.to_day(0.1)
    (call,) = [task for task in await run.tasks() if task.title == CALL]
    assert (call.owner, (call.due_at - call.opened_at).days) == ("ana", 1)
    assert call.answers == "they_stay they_waver they_leave not_reached"
    await run.to_day(1.5)
    assert ("Overdue: " + CALL, "cs-manager") in await titles(run)
    high = await risky(kit, "champion left", "competitor mentioned")
    await high.to_day(0.1)
    assert CALL not in [title for title, _ in await titles(high)]


async def test_p9_5_when_the_champion_left_a_new_one_is_brought_in_within_seven_days(kit: Kit) -> None:
    run = await risky(kit, "champion left")
    await run.to_day(8)
    due = {task.title: (task.due_at - task.opened_at).days for task in await run.tasks()}
    assert due == {
        "Find a new champion": 2,
        "Ask the sponsor for an introduction": 2,
        "Begin anew with the new contact": 7,
    }


async def test_p9_6_an_export_is_critical_at_once_and_somebody_calls_the_same_day(kit: Kit) -> None:
    run = await risky(kit, "data export started")
    await run.to_day(0.1)
    assert (await titles(run))[0] == (EXPORT, "ana")
    assert CALL not in [title for title, _ in await titles(run)]
    assert "Level: critical" in (await run.tasks())[0].body


async def test_p9_7_below_high_for_fourteen_days_it_is_over(kit: Kit) -> None:
    # Both count for 14 days: it is low from day 14 on, and has been for 14 days on day 28.
    run = await risky(kit, "support escalation", "seats removed")
    for day, ended in ((14, False), (21, False)):
        await run.to_day(day)
        assert (await run.row()).ended is ended
    async with kit.place.database.writing() as session:
        for row in await kit.place.rows(RiskSignal, account_id=run.account):
            row.cleared_at = row.raised_at
            await session.merge(row)
    await run.to_day(28)
    assert (await run.row()).outcome == "de_escalated"


@pytest.mark.parametrize(
    ("answer", "outcome", "last_word"),
    [("they_stay", "saved", False), ("they_waver", "de_escalated", False), ("they_leave", "de_escalated", True)],
)
async def test_p9_7_saved_is_whoever_said_that_they_stay(kit: Kit, answer: str, outcome: str, last_word: bool) -> None:
    run = await risky(kit, "data export started")
    await run.to_day(0.1)
    await run.answer("assess", answer)
    assert ("They say that they leave: a last word from an executive" in dict(await titles(run))) is last_word
    await run.to_day(28)
    assert (await run.row()).outcome == outcome


async def test_p9_7_who_leaves_has_churned_and_how_long_it_took_is_kept(kit: Kit) -> None:
    run = await risky(kit, "usage decline", "competitor mentioned", days_ago=6)
    await run.to_day(5)
    await run.hear("subscription.cancelled")
    assert (await run.finish()).outcome == "churned"
    left_on = (await kit.place.started_at(run.case) + run.day * DAY).date()
    assert (await run.row()).readings["signal_days"] == (left_on - (kit.today() - 6 * DAY)).days


async def test_p9_7_after_three_months_the_lead_decides(kit: Kit) -> None:
    run = await risky(kit, "few logins", "low adoption", "onboarding behind")
    ending = await run.finish()
    assert ending.outcome == "still_at_risk"
    assert (await titles(run))[-1] == ("Still at risk after three months: decide what to do", "csm-lead")


async def test_p8_12_and_p9_3_what_another_playbook_could_not_help_is_escalated(kit: Kit) -> None:
    run = await kit.start("risk.escalated", await kit.account(segment="mid"), value="at_risk")
    await run.to_day(0.1)
    assert [title for title, _ in await titles(run)] == [ASSESS, ESCALATE, ESCALATE, CALL]


async def test_p9_4_a_level_below_high_starts_nothing(kit: Kit) -> None:
    account = await kit.account()
    for value in ("low", "medium"):
        assert "started" not in (await kit.tell("risk.level_changed", account, value=value)).reason
