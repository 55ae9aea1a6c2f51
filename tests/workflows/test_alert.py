"""What follows when a rule was crossed (T3)."""

import pytest

from models.tables import InboxEvent
from tests.playbook_kit import Kit, Run


async def crossed(kit: Kit, rule: str) -> Run:
    """A run of an account for which a rule holds."""
    account = await kit.account(segment="mid")
    return await kit.start("rule.crossed", account, value=rule, subject=f"{account}:{rule}/2026-11")


@pytest.mark.parametrize(
    ("rule", "lines", "owner"),
    [
        ("support_escalation", ["risk raised", "task Support is failing this customer: step in"], "cs-manager"),
        ("adoption_risk", ["risk raised", "task Offer a training session: little of the product is used"], "ana"),
        ("near_limit", ["banner alert.limit"], ""),
        ("no_login", ["email alert.update"], ""),
        ("detractor", ["task Contact them personally within a day: they would not recommend us"], "ana"),
        ("lead_volume", ["task Their leads are about to pass the plan's limit", "banner alert.limit"], "ana"),
        ("wants_more", ["task They asked for a feature of a higher plan: talk about an upgrade"], "ana"),
        ("team_outgrew_plan", ["task Cross-sell: their team is larger than their plan"], "ana"),
    ],
)
async def test_t3_2_to_t3_7_a_rule_that_was_crossed_reaches_who_it_should(
    kit: Kit, rule: str, lines: list[str], owner: str
) -> None:
    run = await crossed(kit, rule)
    await run.to_day(0.1) if "risk raised" in lines else await run.finish()
    assert await run.calendar() == {0.0: lines}
    assert [task.owner for task in await run.tasks()] == ([owner] if owner else [])


async def test_t3_2_the_signal_is_taken_off_after_two_weeks(kit: Kit) -> None:
    run = await crossed(kit, "support_escalation")
    assert (await run.finish()).outcome == "told"
    assert (await run.calendar())[14.0] == ["risk cleared"]


async def test_t3_6_who_is_in_trouble_is_asked_no_favour(kit: Kit) -> None:
    account = await kit.account(segment="mid")
    await kit.start("usage.declined", account, value="severe")
    run = await kit.start("rule.crossed", account, value="wants_more", subject=f"{account}:wants_more/2026-11")
    await run.finish()
    assert [(kind, rule) for _, kind, rule in await run.dropped()] == [("task", "no_favours")]


async def test_t3_9_two_rules_of_one_account_are_two_runs_and_an_unknown_rule_is_none(kit: Kit) -> None:
    account = await kit.account(segment="mid")
    for rule in ("detractor", "no_login"):
        await kit.start("rule.crossed", account, value=rule, subject=f"{account}:{rule}/2026-11")
    told = await kit.tell("rule.crossed", account, value="gone", subject=f"{account}:gone/2026-11")
    assert told.reason == "alert not started: there is no rule 'gone'"
    assert len(await kit.place.rows(InboxEvent, account_id=account, kind="rule.crossed")) == 3
