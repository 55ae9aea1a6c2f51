"""Segments, touch models and support tiers: their tables, and every threshold at its edge (S1, S2, S4)."""

from datetime import date, timedelta
from typing import Any

import pytest

from models.policy import PolicyError, PolicyFile
from models.segments import SLAS, Segments, move, segment_of, support_tier, touch_model, worth_a_year

RULES = Segments()
DAY = timedelta(days=1)
TODAY = date(2026, 3, 30)


@pytest.mark.parametrize(
    ("mrr", "segment"),
    [(0, "starter"), (50_000, "starter"), (50_001, "mid"), (200_000, "mid"), (200_001, "enterprise")],
)
def test_s1_1_to_s1_4_by_monthly_revenue_exactly_at_a_threshold_is_below_it(mrr: int, segment: str) -> None:
    assert segment_of(mrr, RULES) == segment


@pytest.mark.parametrize(
    ("acv", "segment"),
    [(500_000, "starter"), (500_001, "mid"), (2_500_000, "mid"), (2_500_001, "enterprise")],
)
def test_s1_4_by_what_the_contracts_are_worth_in_a_year(acv: int, segment: str) -> None:
    assert segment_of(acv, Segments(basis="acv")) == segment


def test_s1_4_a_strategic_account_is_enterprise_and_one_that_grows_is_one_higher() -> None:
    assert segment_of(0, RULES, strategic=True) == "enterprise"
    assert [segment_of(mrr, RULES, growth=True) for mrr in (0, 60_000, 300_000)] == ["mid", "enterprise", "enterprise"]


def test_s1_5_up_at_once_and_down_only_after_60_days_below() -> None:
    assert move("starter", "enterprise", None, TODAY, RULES) == ("enterprise", None)
    assert move("", "mid", None, TODAY, RULES) == ("mid", None)
    segment, since = move("enterprise", "mid", None, TODAY, RULES)
    assert (segment, since) == ("enterprise", TODAY)
    assert move(segment, "starter", since, TODAY + 59 * DAY, RULES) == ("enterprise", TODAY)
    assert move(segment, "starter", since, TODAY + 60 * DAY, RULES) == ("starter", None)


def test_s1_5_who_comes_back_up_begins_to_count_anew() -> None:
    assert move("mid", "mid", TODAY, TODAY + 30 * DAY, RULES) == ("mid", None)
    assert move("mid", "starter", None, TODAY + 70 * DAY, RULES) == ("mid", TODAY + 70 * DAY)


@pytest.mark.parametrize(
    ("value", "term", "a_year"),
    [
        (1_200, "annual", 1_200),
        (100, "monthly", 1_200),
        (100, "Month-to-Month", 1_200),
        (300, "quarterly", 1_200),
        (2_400, "2 years", 1_200),
        (3_600, "3-year", 1_200),
        (1_200, "whatever they say", 1_200),
        (1_200, "0 years", 1_200),
    ],
)
def test_s1_4_a_contract_counts_for_what_it_is_worth_in_a_year(value: int, term: str, a_year: int) -> None:
    assert worth_a_year(value, term) == a_year


def test_s2_1_and_s2_2_each_segment_is_looked_after_in_its_own_way() -> None:
    big, middle, small = (touch_model(segment) for segment in ("enterprise", "mid", "starter"))
    assert (big.csm, big.sponsor, big.qbr, big.contact) == ("a dedicated CSM", True, True, "a check-in each week")
    assert (middle.csm, middle.sponsor, middle.training) == (
        "a CSM shared with others",
        False,
        "guided onboarding, group training",
    )
    assert middle.work == "reactive, and proactive where a playbook asks for it"
    assert (small.csm, small.plan, small.work) == (
        "nobody by name",
        "automated journeys",
        "automated, for all at once",
    )
    assert touch_model("") == small


def test_s4_1_to_s4_4_what_each_tier_promises() -> None:
    said = {
        tier: (sla.answer_within and sla.answer_within.total_seconds() / 3600, sla.solved_within, sla.solved_pct)
        for tier, sla in SLAS.items()
    }
    assert said == {
        "self_service": (None, None, 80),
        "email": (4, timedelta(hours=24), 80),
        "priority": (2, timedelta(hours=12), 80),
        "dedicated": (1, timedelta(hours=6), 80),
    }


@pytest.mark.parametrize(
    ("segment", "plan", "tier"),
    [
        ("starter", "free", "self_service"),
        ("", "free", "self_service"),
        ("starter", "pro", "email"),
        ("", "pro", "email"),
        ("mid", "free", "priority"),
        ("enterprise", "pro", "dedicated"),
    ],
)
def test_s4_5_and_s4_6_a_tier_by_segment_and_by_name(segment: str, plan: str, tier: str) -> None:
    assert support_tier(segment, plan, RULES) == tier


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ({"segments": {"mid_above": 200_000}}, "segments: mid_above 200000 must be below enterprise_above 200000"),
        ({"books": {"capacity": {"mid": 60, "starter": 500}}}, "books: named_csm has enterprise, capacity has not"),
        ({"books": {"named_csm": ["midmarket"]}}, "books: 'midmarket' is no segment"),
        ({"books": {"capacity": {"enterprise": 0, "mid": 1}}}, "books: capacity.enterprise is 0; at least 1"),
        (
            {"segment": {"mid": {"books": {"by": "revenue"}}}},
            "segment.mid.books: it is about all accounts; set [books]",
        ),
    ],
)
def test_s3_1_a_policy_that_does_not_hold_together_is_refused(policy: dict[str, Any], reason: str) -> None:
    with pytest.raises(PolicyError, match="policy: .*") as refused:
        PolicyFile(policy)
    assert reason in str(refused.value)
