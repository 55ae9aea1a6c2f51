"""The scorecards and the churn risk against the worked examples (ledger H8), their limits and what is missing."""

from datetime import date, timedelta
from typing import Any

import pytest

from models.health import CARDS, card_named, risk
from models.health.h1 import H1
from models.health.h2 import H2
from models.health.h3 import H3
from models.health.h4 import H4
from models.health.h5 import H5
from models.health.metrics import METRICS, BadMetric, metric_named, readings_of
from models.health.recording import checked
from models.health.scorecard import Labels, Part, Proportion, Scorecard, Standing, Steps

FOUR: dict[str, tuple[Any, Any, Any, Any]] = {
    "logins_per_week": (0, 1, 3, 5),
    "core_feature_pct": (0, 20, 50, 81),
    "session_minutes": (0, 2, 5, 16),
    "email_engagement": ("no_opens", "some", "regular", "replies"),
    "support_sentiment": ("negative", "neutral", "positive", "advocate"),
    "community": ("none", "lurker", "contributor", "leader"),
    "nps": (0, 7, None, 9),
    "nps_group": (None, None, "promoter", None),
    "executive_sponsor": ("none", "identified", "engaged", "champion"),
    "stakeholders": ("one", "two_or_three", "four_or_more", "org_wide"),
    "payment": ("often_late", "sometimes_late", "on_time", "auto_pay"),
    "contract": ("month_to_month", "quarterly", "annual", "multi_year"),
    "growth": ("contracting", "flat", "growing", "high"),
}
"""H1's metrics, each poor, fair, good and excellent."""
USAGE = ("logins_per_week", "core_feature_pct", "session_minutes")
BUSINESS = ("payment", "contract", "growth")
POINTS = {
    "active_days": 20,
    "core_feature_pct": 75,
    "api_use": "stable",
    "data_quality": "high",
    "roi": 3.5,
    "lead_growth_pct": 30,
    "satisfaction": 4,
    "support_sentiment": "positive",
    "executive_engagement": "occasional",
    "payment": "on_time",
    "contract": "annual",
}


def stands(card: Scorecard, **values: Any) -> tuple[float | None, str]:
    """Score in points and band."""
    found = card.standing(readings_of(checked(values)))
    return None if found.score is None else found.score / 1000, found.band


def rated(rating: int, *names: str) -> dict[str, Any]:
    """These metrics of H1, all of them without names, with one of the four ratings."""
    chosen = {name: FOUR[name][rating] for name in names or FOUR}
    return {name: value for name, value in chosen.items() if value is not None}


@pytest.mark.parametrize(
    ("rating", "expected"), [(0, (0, "critical")), (1, (50, "at_risk")), (2, (80, "healthy")), (3, (100, "healthy"))]
)
def test_h8_1_h1_with_everything_rated_alike(rating: int, expected: tuple[float, str]) -> None:
    assert stands(H1, **rated(rating)) == expected


def test_h8_2_h1_shows_74_for_74_and_a_half() -> None:
    values = {**rated(1), **rated(3, *USAGE), **rated(2, *BUSINESS)}
    found = H1.standing(readings_of(checked(values)))
    assert (found.score, found.whole, found.band) == (74_500, 74, "stable")


def test_h8_3_h2_best_is_85_and_tickets_take_away() -> None:
    done = {"checklist_pct": 100, "campaigns": 2, "reports": 2, "core_feature_pct": 100, "open_tickets": 0}
    assert stands(H2, **done) == (85, "healthy")
    half = {"checklist_pct": 100, "campaigns": 1, "reports": 1, "core_feature_pct": 60, "open_tickets": 0.99}
    assert stands(H2, **half) == (54.05, "critical")
    assert stands(H2, checklist_pct=0, campaigns=0, reports=0, core_feature_pct=0, open_tickets=7) == (0, "critical")


def test_h8_4_h4_adds_its_dimensions() -> None:
    told = {"dau_mau_pct": 80, "core_feature_pct": 70, "time_index": 60, "csat_pct": 50}
    assert stands(H4, **told, seat_index=40, community_index=30) == (60.5, "stable")


def test_h4_2_a_dimension_is_the_mean_of_the_signals_that_are_known() -> None:
    told = {"core_feature_pct": 70, "time_index": 60, "csat_pct": 50, "seat_index": 40, "community_index": 30}
    thirds = stands(H4, **told, dau_mau_pct=100, session_index=70, recency_index=70)
    assert stands(H4, **told, dau_mau_pct=80) == (60.5, "stable")
    assert thirds == stands(H4, **told, dau_mau_pct=90, session_index=70) == (60.5, "stable")


def test_h8_5_h5_is_79_and_healthy() -> None:
    assert stands(H5, **POINTS) == (79, "healthy")


def test_h5_3_an_account_without_the_api_is_scored_out_of_90() -> None:
    values = {name: value for name, value in POINTS.items() if name != "api_use"}
    assert stands(H5, **values) == (80, "healthy")


def test_h3_1_all_inputs_at_their_best_and_worst() -> None:
    best = {"usage_change_pct": 0, "open_tickets": 0, "nps": 9, "email_engagement": "replies", "payment": "auto_pay"}
    assert stands(H3, **best, days_to_renewal=180) == (100, "healthy")
    worst = {"usage_change_pct": -50, "open_tickets": 6, "nps": 6, "email_engagement": "no_opens"}
    assert stands(H3, **worst, payment="often_late", days_to_renewal=29) == (0, "critical")


@pytest.mark.parametrize(
    ("metric", "value", "points"),
    [
        ("logins_per_week", 0.99, 0),
        ("logins_per_week", 1, 7.5),
        ("logins_per_week", 4.99, 12),
        ("logins_per_week", 5, 15),
        ("core_feature_pct", 49.99, 7.5),
        ("core_feature_pct", 50, 12),
        ("core_feature_pct", 80, 12),
        ("core_feature_pct", 80.01, 15),
        ("session_minutes", 5, 8),
        ("session_minutes", 15, 8),
        ("session_minutes", 15.01, 10),
        ("nps", 6, 0),
        ("nps", 8, 5),
        ("nps", 9, 10),
        ("nps_group", "promoter", 8),
        ("contract", "at_risk", 0),
    ],
)
def test_h1_3_a_shared_limit_goes_to_the_better_band_but_more_than_means_more(
    metric: str, value: Any, points: float
) -> None:
    (part,) = [each for each in H1.parts if metric in [rule.metric for rule in each.rules]]
    units = part.units(readings_of(checked({metric: value})))
    assert units == points * 600_000


@pytest.mark.parametrize(
    ("metric", "value", "points"),
    [("roi", 5, 15), ("roi", 5.01, 20), ("roi", 3, 15), ("roi", 2, 10), ("roi", 1, 5), ("roi", 0.99, 0)]
    + [("active_days", days, points) for days, points in ((20, 10), (19, 7), (4, 7), (3, 4), (1, 4), (0, 0))]
    + [("lead_growth_pct", pct, points) for pct, points in ((51, 10), (50, 7), (25, 7), (24, 5), (0, 5), (-1, 0))]
    + [("core_feature_pct", pct, points) for pct, points in ((90, 15), (70, 10), (50, 5), (49, 0))]
    + [("satisfaction", given, points) for given, points in ((5, 10), (4, 7), (3, 4), (2, 1), (1, 0))],
)
def test_h5_5_the_edges_of_the_point_model(metric: str, value: float, points: int) -> None:
    (part,) = [each for each in H5.parts if metric in [rule.metric for rule in each.rules]]
    assert part.units(readings_of(checked({metric: value}))) == points * 600_000


def test_h5_9_the_sub_totals() -> None:
    weights = [part.weight for part in H5.parts]
    assert [sum(weights[:4]), sum(weights[4:6]), sum(weights[6:9]), sum(weights[9:])] == [40, 30, 20, 10]


def test_h0_3_what_is_missing_is_dropped_and_the_rest_rescaled_and_below_half_nothing_is_known() -> None:
    # 40 of usage and 10 of NPS: 50 of the weights.
    half = rated(2, *USAGE, "nps_group")
    assert H1.standing(readings_of(half)) == Standing(80_000, "healthy", 50)
    less = rated(2, *USAGE, "growth")
    assert H1.standing(readings_of(less), "stable") == Standing(None, "stable", 45)
    # 32 of 40 and 0 of 10, of 50: 64.
    assert stands(H1, **rated(2, *USAGE), nps=0) == (64, "stable")


def test_h0_3_without_tickets_the_best_of_h2_stays_85_and_without_reports_too() -> None:
    done = {"checklist_pct": 100, "campaigns": 2, "reports": 2, "core_feature_pct": 100, "open_tickets": 0}
    for name in ("open_tickets", "reports"):
        assert stands(H2, **{each: value for each, value in done.items() if each != name}) == (85, "healthy")
    assert H2.standing(readings_of({"open_tickets": 0})) == Standing(None, "", 15)


@pytest.mark.parametrize(
    ("points", "held", "expected"),
    [
        (80.0, "", "healthy"),
        (79.999, "", "stable"),
        (79.999, "healthy", "healthy"),
        (78.0, "healthy", "healthy"),
        (77.999, "healthy", "stable"),
        (81.999, "stable", "stable"),
        (82.0, "stable", "healthy"),
        (58.0, "stable", "stable"),
        (57.999, "stable", "at_risk"),
        (10.0, "healthy", "critical"),
        (100.0, "critical", "healthy"),
        (41.999, "critical", "critical"),
        (42.0, "critical", "at_risk"),
        (79.0, "champion", "stable"),
    ],
)
def test_h0_4_a_band_is_left_only_two_points_beyond_its_limit(points: float, held: str, expected: str) -> None:
    assert H1.band(round(points * 1000), held) == expected


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_h0_every_rule_reads_a_metric_there_is_and_every_label_has_a_worth(card: Scorecard) -> None:
    assert card_named(card.name) is card
    assert card.best - sum(part.weight for part in card.parts if part.weight < 0) == card.weights == 100
    for rule in (rule for part in card.parts for rule in part.rules):
        metric = metric_named(rule.metric)
        if isinstance(rule, Labels):
            assert tuple(label for label, _ in rule.worths) == metric.labels
        else:
            assert not metric.labels
    assert set(card.metrics) <= set(METRICS)
    assert card.bands[-1].low == 0


def test_h0_a_part_that_could_not_be_exact_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^Odd: roi does not come out in whole units; choose another out_of$"):
        Part("Odd", 1, (Steps("roi", 0, ((1, 5),)),), out_of=7)
    with pytest.raises(ValueError, match=r"^Many: a mean of 7 signals; 6 are the most$"):
        Part("Many", 10, (Proportion("nps", 10),) * 7, mean=True)


def test_no_model_of_that_name() -> None:
    with pytest.raises(LookupError, match=r"^there is no model 'h9'; there are h1, h2, h3, h4, h5$"):
        card_named("h9")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("npz", 9, "there is no metric 'npz'; there are logins_per_week, "),
        ("nps", 11, "nps: 11 is not allowed; expected a number from 0 to 10"),
        ("nps", True, "nps: True is not allowed; expected a number from 0 to 10"),
        ("nps", float("nan"), "nps: nan is not allowed; expected a number from 0 to 10"),
        ("nps", "9", "nps: '9' is not allowed; expected a number from 0 to 10"),
        ("payment", "never", "payment: 'never' is not allowed; expected one of often_late, sometimes_late, on_time, "),
        ("payment", 5, "payment: 5 is not allowed; expected one of often_late, "),
    ],
)
def test_a_reading_that_cannot_be_taken_is_refused_by_name(name: str, value: Any, said: str) -> None:
    with pytest.raises(BadMetric) as error:
        checked({"growth": "high", name: value})
    assert str(error.value).startswith(said)


def test_a_label_is_read_as_people_write_it() -> None:
    assert checked({"contract": " Multi-year ", "payment": "Auto pay", "roi": 2.346}) == {
        "contract": "multi_year",
        "payment": "auto_pay",
        "roi": 2.35,
    }


# Churn risk.


@pytest.mark.parametrize(
    ("live", "points", "level"),
    [
        ((), 0, "low"),
        (("few logins",), 30, "medium"),
        (("seats removed",), 50, "high"),
        (("few logins", "no reports"), 40, "high"),
        (("few logins", "no reports", "tickets rising"), 50, "critical"),
        (("data export started",), 70, "critical"),
        (("seats removed", "champion left", "payment issues"), 70, "critical"),
        (tuple(each.name for each in risk.SIGNALS), 100, "critical"),
        (("few logins", "few logins"), 30, "medium"),
        (("a signal of somebody's own",), 30, "medium"),
    ],
)
def test_h8_6_churn_risk(live: tuple[str, ...], points: int, level: str) -> None:
    assert risk.standing(live) == Standing(points * 1000, level, 100)


@pytest.mark.parametrize(
    ("name", "raised", "cleared", "is_live"),
    [
        ("usage decline", 27, None, True),
        ("usage decline", 28, None, False),
        ("usage decline", 5, 0, False),
        ("usage decline", -1, None, False),
        ("NPS below 6", 89, None, True),
        ("payment issues", 400, None, True),
        ("payment issues", 400, 13, True),
        ("payment issues", 400, 14, False),
        ("onboarding behind", 400, None, True),
        ("onboarding behind", 400, 0, False),
    ],
)
def test_h7_how_long_a_signal_counts(name: str, raised: int, cleared: int | None, is_live: bool) -> None:
    today = date(2026, 3, 30)
    gone = None if cleared is None else today - timedelta(days=cleared)
    assert risk.signal_named(name).is_live(today - timedelta(days=raised), gone, today) is is_live
