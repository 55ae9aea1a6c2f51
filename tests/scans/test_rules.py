"""The automatic rules: each crossed at its edge, found once a month, on both databases (T3)."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from models.customers import UsageDay
from models.database import Database
from models.health.rows import AccountMetrics
from models.rules import BY_NAME, RULES, crossed
from tests.scans.customers import DAY, TODAY, account, put, scanned, told

LONG = datetime(2025, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("readings", "rules"),
    [
        pytest.param({"open_tickets": 4, "satisfaction": 2}, ["support_escalation"], id="t3.2"),
        pytest.param({"open_tickets": 3, "satisfaction": 2}, [], id="t3.2, three tickets"),
        pytest.param({"open_tickets": 4, "satisfaction": 3}, [], id="t3.2, satisfied enough"),
        pytest.param({"open_tickets": 4}, [], id="t3.2, nothing known of satisfaction"),
        pytest.param({"core_feature_pct": 49, "tenure_days": 61}, ["adoption_risk"], id="t3.4"),
        pytest.param({"core_feature_pct": 50, "tenure_days": 61}, [], id="t3.4, half"),
        pytest.param({"core_feature_pct": 49, "tenure_days": 60}, [], id="t3.4, new"),
        pytest.param({"limit_used_pct": 80}, ["near_limit"], id="t3.5, near the limit"),
        pytest.param({"limit_used_pct": 79}, [], id="t3.5, not near"),
        pytest.param({"days_since_login": 14}, ["no_login"], id="t3.5, no login"),
        pytest.param({"days_since_login": 13}, [], id="t3.5, a login"),
        pytest.param({"nps": 6}, ["detractor"], id="t3.5, detractor"),
        pytest.param({"nps": 7}, [], id="t3.5, passive"),
        pytest.param({"lead_used_pct": 81}, ["lead_volume"], id="t3.6, leads"),
        pytest.param({"lead_used_pct": 80}, [], id="t3.6, few leads"),
        pytest.param({"feature_wanted": "white_label"}, ["wants_more"], id="t3.6, a feature"),
        pytest.param({"feature_wanted": "none"}, [], id="t3.6, no feature"),
        pytest.param({"roi": 3.5, "satisfaction": 5}, ["expansion"], id="t3.6, return"),
        pytest.param({"roi": 3, "satisfaction": 5}, [], id="t3.6, not enough return"),
        pytest.param({"roi": 3.5, "satisfaction": 4}, [], id="t3.6, not enough satisfaction"),
        pytest.param({"team_size": 6, "plan_users": 5}, ["team_outgrew_plan"], id="t3.7, team"),
        pytest.param({"team_size": 5, "plan_users": 5}, [], id="t3.7, team fits"),
        pytest.param({"integrations": 3, "integration_limit": 2}, ["integrations_over_limit"], id="t3.7, integrations"),
        pytest.param({"integrations": 2, "integration_limit": 2}, [], id="t3.7, integrations fit"),
        pytest.param({"api_growth_pct": 51}, ["api_grows"], id="t3.7, API"),
        pytest.param({"api_growth_pct": 50}, [], id="t3.7, API grows less"),
    ],
)
def test_t3_2_to_t3_7_each_rule_at_its_edge(readings: dict[str, Any], rules: list[str]) -> None:
    assert [rule.name for rule in crossed(readings)] == rules


def test_t3_2_to_t3_7_every_rule_leads_to_something_and_has_its_line() -> None:
    assert len(BY_NAME) == len(RULES)
    assert {rule.ledger for rule in RULES} == {"T3.2", "T3.4", "T3.5", "T3.6", "T3.7"}
    assert all(rule.task or rule.mail or rule.banner for rule in RULES)


async def test_t3_4_and_t3_5_what_is_read_is_what_is_on_record(both: Database) -> None:
    await put(both, account("a", signed_up_at=LONG), account("b"), account("gone", churned_at=LONG))
    await put(both, AccountMetrics(account_id="a", readings={"core_feature_pct": 10, "nps": 3}))
    await put(both, AccountMetrics(account_id="gone", readings={"nps": 3}))
    await put(both, UsageDay(account_id="b", metric="login", day=TODAY - 14 * DAY, count=2))
    await put(both, UsageDay(account_id="a", metric="login", day=TODAY - 13 * DAY, count=2))
    await put(both, UsageDay(account_id="b", metric="login", day=TODAY - DAY, count=0))
    found = await scanned(both, "rules")
    assert await told(both) == [
        ("rule.crossed/a:adoption_risk/2026-03", "adoption_risk"),
        ("rule.crossed/a:detractor/2026-03", "detractor"),
        ("rule.crossed/b:no_login/2026-03", "no_login"),
    ]
    assert (found.by_value, found.recorded) == ({"adoption_risk": 1, "detractor": 1, "no_login": 1}, 3)


async def test_t2_6_looked_at_twice_at_once_each_crossing_is_one_fact(both: Database) -> None:
    await put(both, *(account(f"a{number}") for number in range(5)))
    await put(both, *(AccountMetrics(account_id=f"a{number}", readings={"nps": 3}) for number in range(5)))
    found = await asyncio.gather(*(scanned(both, "rules") for _ in range(3)))
    assert (sum(each.recorded for each in found), len(await told(both))) == (5, 5)


async def test_t3_9_a_rule_that_still_holds_is_told_once_a_month(both: Database) -> None:
    await put(both, account("a"), AccountMetrics(account_id="a", readings={"nps": 3}))
    for day in (TODAY, TODAY + DAY, TODAY + 2 * DAY, TODAY + timedelta(days=20)):
        await scanned(both, "rules", day)
    assert [name for name, _ in await told(both)] == [
        "rule.crossed/a:detractor/2026-03",
        "rule.crossed/a:detractor/2026-04",
    ]
