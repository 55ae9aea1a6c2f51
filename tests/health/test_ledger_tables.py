"""Every line of the scorecards' tables as the ledger has it (H0 to H6): each label and limit, with what it is worth."""

from typing import Any

import pytest

from models.health import CARDS
from models.health.h1 import H1
from models.health.h3 import H3
from models.health.h4 import H4
from models.health.h5 import H5
from models.health.metrics import readings_of
from models.health.recording import checked
from models.health.risk import LEVELS, signal_named, standing
from models.health.scorecard import DEFAULT_BANDS, Scorecard

UNITS = 600_000
"""Units of a point."""


def points(card: Scorecard, metric: str, value: Any) -> float:
    """What a reading is worth in a scorecard, in points."""
    (part,) = [each for each in card.parts if metric in [rule.metric for rule in each.rules]]
    units = part.units(readings_of(checked({metric: value})))
    assert units is not None
    return units / UNITS


def worths(card: Scorecard, metric: str, *values: Any) -> list[float]:
    """What each of these readings is worth."""
    return [points(card, metric, value) for value in values]


def test_h0_5_h3_2_and_h3_4_bands_at_80_60_and_40_with_what_is_due() -> None:
    assert [(band.low, band.name) for band in DEFAULT_BANDS] == [
        (80, "healthy"),
        (60, "stable"),
        (40, "at_risk"),
        (0, "critical"),
    ]
    assert H3.bands == H1.bands == DEFAULT_BANDS
    due = {band.name: band.action for band in H3.bands}
    assert ("expansion" in due["healthy"], "outreach" in due["at_risk"]) == (True, True)
    assert "intervention" in due["critical"] or "immediate" in due["critical"]


def test_h1_1_poor_fair_good_and_excellent_are_0_5_8_and_10_of_the_weight() -> None:
    assert worths(H1, "email_engagement", "no_opens", "some", "regular", "replies") == [0, 5, 8, 10]


def test_h1_2_usage_40_logins_15_core_features_15_sessions_10() -> None:
    assert worths(H1, "logins_per_week", 0, 1, 3, 5) == [0, 7.5, 12, 15]
    assert worths(H1, "core_feature_pct", 19, 20, 50, 81) == [0, 7.5, 12, 15]
    assert worths(H1, "session_minutes", 1, 2, 5, 16) == [0, 5, 8, 10]


def test_h1_4_engagement_25_mails_10_support_10_community_5() -> None:
    assert worths(H1, "email_engagement", "no_opens", "some", "regular", "replies") == [0, 5, 8, 10]
    assert worths(H1, "support_sentiment", "negative", "neutral", "positive", "advocate") == [0, 5, 8, 10]
    assert worths(H1, "community", "none", "lurker", "contributor", "leader") == [0, 2.5, 4, 5]


def test_h1_5_relationship_20_nps_10_sponsor_5_stakeholders_5() -> None:
    assert worths(H1, "nps", 6, 7, 8, 9, 10) == [0, 5, 5, 10, 10]
    assert worths(H1, "executive_sponsor", "none", "identified", "engaged", "champion") == [0, 2.5, 4, 5]
    assert worths(H1, "stakeholders", "one", "two_or_three", "four_or_more", "org_wide") == [0, 2.5, 4, 5]


def test_h1_6_a_promoter_without_a_number_is_good_and_with_one_excellent() -> None:
    assert worths(H1, "nps_group", "detractor", "passive", "promoter") == [0, 5, 8]
    both = H1.standing(readings_of(checked({"nps": 9, "nps_group": "promoter"})))
    alone = H1.standing(readings_of(checked({"nps": 9})))
    assert both == alone


def test_h1_7_business_15_payment_contract_and_growth_5_each() -> None:
    assert worths(H1, "payment", "often_late", "sometimes_late", "on_time", "auto_pay") == [0, 2.5, 4, 5]
    assert worths(H1, "contract", "month_to_month", "quarterly", "annual", "multi_year") == [0, 2.5, 4, 5]
    assert worths(H1, "growth", "contracting", "flat", "growing", "high") == [0, 2.5, 4, 5]


def test_h1_8_the_weights_are_40_25_20_and_15() -> None:
    weights = [part.weight for part in H1.parts]
    assert [sum(weights[:3]), sum(weights[3:6]), sum(weights[6:9]), sum(weights[9:])] == [40, 25, 20, 15]


def test_h4_1_six_dimensions_with_their_weights_and_signals() -> None:
    assert {part.title: (part.weight, len(part.rules)) for part in H4.parts} == {
        "Usage frequency": (25, 3),
        "Feature depth": (20, 1),
        "Engagement": (20, 2),
        "Satisfaction": (15, 3),
        "Growth": (10, 2),
        "Relationship": (10, 2),
    }


def test_h4_3_its_bands_say_upsell_monitor_automated_and_human() -> None:
    assert [(band.low, band.title, band.action) for band in H4.bands] == [
        (80, "Healthy", "upsell"),
        (60, "Stable", "monitor"),
        (40, "At Risk", "automated intervention"),
        (0, "Critical", "human outreach"),
    ]


def test_h5_1_h5_2_and_h5_4_logins_adoption_and_data() -> None:
    assert worths(H5, "active_days", 0, 1, 4, 20) == [0, 4, 7, 10]
    assert worths(H5, "core_feature_pct", 49, 50, 70, 90) == [0, 5, 10, 15]
    assert worths(H5, "data_quality", "low", "medium", "high") == [0, 3, 5]


def test_h5_6_lead_volume_at_its_limits() -> None:
    assert worths(H5, "lead_growth_pct", -1, 0, 25, 50, 51) == [0, 5, 7, 7, 10]


def test_h5_7_satisfaction_support_and_executives() -> None:
    assert worths(H5, "satisfaction", 1, 2, 3, 4, 5) == [0, 1, 4, 7, 10]
    assert worths(H5, "support_sentiment", "negative", "neutral", "positive") == [0, 3, 5]
    assert worths(H5, "executive_engagement", "none", "occasional", "regular") == [0, 3, 5]


def test_h5_8_payment_and_contract() -> None:
    assert worths(H5, "payment", "often_late", "sometimes_late", "on_time") == [0, 2, 5]
    assert worths(H5, "contract", "at_risk", "month_to_month", "annual") == [0, 2, 5]


def test_h5_10_its_bands_name_who_does_what() -> None:
    assert [(band.low, band.title, band.action.partition(":")[0]) for band in H5.bands] == [
        (90, "Champion", "CSM"),
        (75, "Healthy", "CSM"),
        (60, "At Risk", "CSM and manager"),
        (40, "Critical", "manager and executive"),
        (0, "Lost", "executive"),
    ]


def test_h6_1_low_medium_high_and_critical_at_30_50_and_70() -> None:
    assert [(level.low, level.name) for level in LEVELS] == [(70, "critical"), (50, "high"), (30, "medium"), (0, "low")]


@pytest.mark.parametrize(
    ("live", "score"),
    [
        ([], 0),
        (["NPS below 6"], 30),
        (["champion left"], 50),
        (["data export started"], 70),
        (["champion left", "NPS below 6"], 60),
        (["data export started", "champion left", "seats removed", "NPS below 6"], 100),
    ],
)
def test_h6_2_the_worst_signal_and_ten_for_each_other_up_to_100(live: list[str], score: int) -> None:
    assert standing(live).whole == score


def test_h6_4_the_five_signals_of_trouble_count_as_high() -> None:
    five = ("usage decline", "champion left", "support escalation", "payment issues", "competitor mentioned")
    assert {signal_named(name).level for name in five} == {"high"}


def test_h0_2_all_five_models_are_there_side_by_side() -> None:
    assert [card.name for card in CARDS] == ["h1", "h2", "h3", "h4", "h5"]
