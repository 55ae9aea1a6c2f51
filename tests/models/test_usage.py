"""How a fall in use is judged (ledger P3.1 to P3.4, P3.8, P3.14): pure functions of daily counts."""

from datetime import date, timedelta

import pytest

from models.policy import PolicyError, PolicyFile, Usage
from models.usage import (
    Counts,
    change,
    first_needed,
    severity,
    since_the_fall,
    still_declining,
    unused_feature,
    watch_only,
)

TODAY = date(2026, 3, 1)
RULES = Usage()


def use(metric: str, *spans: tuple[int, int, int]) -> dict[tuple[str, date], int]:
    """Counts of a metric: `(from day, until day, a day)`, days counted from today."""
    return {
        (metric, TODAY + timedelta(days=day)): per_day for first, until, per_day in spans for day in range(first, until)
    }


def fell_to(now: int, before: int = 100, metric: str = "activity", days: int = 14) -> Counts:
    """So much of a metric in the last window, so much in the one before, each on one day of it."""
    return {
        (metric, TODAY - timedelta(days=1)): now,
        (metric, TODAY - timedelta(days=days + 1)): before,
    }


@pytest.mark.parametrize(("now", "expected"), [(100, ""), (71, ""), (70, ""), (69, "moderate"), (51, "moderate")])
def test_p3_1_moderate_is_down_by_more_than_30_percent_in_14_days(now: int, expected: str) -> None:
    assert severity(fell_to(now), TODAY, RULES, 365) == expected


@pytest.mark.parametrize(("now", "expected"), [(51, "moderate"), (50, "severe"), (49, "severe"), (0, "severe")])
def test_p3_2_severe_is_down_by_50_percent_and_exactly_50_counts(now: int, expected: str) -> None:
    assert severity(fell_to(now), TODAY, RULES, 365) == expected


@pytest.mark.parametrize(("now", "expected"), [(51, ""), (50, "severe"), (49, "severe")])
def test_p3_2_or_logins_below_half_of_the_30_days_before(now: int, expected: str) -> None:
    counts = {**fell_to(now, metric="login", days=30), **fell_to(100)}
    assert severity(counts, TODAY, RULES, 365) == expected


def test_p3_1_the_windows_are_the_last_14_days_against_the_14_before_and_today_is_not_over() -> None:
    counts = use("activity", (-30, -28, 1000), (-28, -14, 10), (-14, 0, 6), (0, 1, 1000))
    found = change(counts, "activity", TODAY, 14)
    assert (found.now, found.before, found.down_pct) == (84, 140, 40)


@pytest.mark.parametrize(
    ("counts", "found"),
    [
        (fell_to(4, 20, "login", 30), ("few logins",)),
        (fell_to(5, 20, "login", 30), ()),
        (fell_to(4, 9, "login", 30), ()),
        (use("report", (-40, -30, 1)), ("no reports",)),
        (use("report", (-40, -29, 1)), ()),
        ({}, ()),
        (fell_to(70, 100, "activity", 30), ("usage down on the month",)),
        (fell_to(71, 100, "activity", 30), ()),
    ],
)
def test_p3_3_watch_only_signs(counts: Counts, found: tuple[str, ...]) -> None:
    assert watch_only(counts, TODAY, RULES) == found


def test_p3_3_a_sign_that_is_only_watched_is_no_fall() -> None:
    counts = {**use("activity", (-60, -30, 10), (-30, -14, 7), (-14, 0, 6)), **use("report", (-40, -35, 1))}
    assert watch_only(counts, TODAY, RULES) == ("no reports", "usage down on the month")
    assert severity(counts, TODAY, RULES, 365) == ""


@pytest.mark.parametrize(("before", "expected"), [(9, ""), (10, "severe")])
def test_p3_4_nothing_is_concluded_from_fewer_than_ten_events(before: int, expected: str) -> None:
    assert severity(fell_to(0, before), TODAY, RULES, 365) == expected
    assert severity(fell_to(0, before, "login", 30), TODAY, RULES, 365) == expected


@pytest.mark.parametrize(("tenure", "expected"), [(0, ""), (27, ""), (28, "severe"), (None, "severe")])
def test_p3_4_nor_of_a_customer_of_fewer_than_28_days(tenure: int | None, expected: str) -> None:
    assert severity(fell_to(0), TODAY, RULES, tenure) == expected


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({"moderate_pct": 20, "severe_pct": 40}, "severe"),
        ({"moderate_pct": 50, "severe_pct": 60}, ""),
        ({"min_baseline": 141}, ""),
        ({"window_days": 7}, "severe"),
        ({"metric": "jobs"}, ""),
        ({"min_tenure_days": 400}, ""),
    ],
)
def test_p0_15_thresholds_window_and_metric_are_policy(rules: dict[str, object], expected: str) -> None:
    counts = use("activity", (-28, -14, 10), (-14, -7, 8), (-7, 0, 4))
    assert severity(counts, TODAY, RULES, 365) == "moderate"
    assert severity(counts, TODAY, Usage.model_validate(rules), 365) == expected


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        ({"moderate_pct": 60}, "moderate_pct 60 is above severe_pct 50"),
        ({"offer_days": [8, 22]}, "offer_days [8, 22]: they follow day 8, with a day between for the manager"),
        ({"offer_days": [14, 15]}, "offer_days [14, 15]: they follow day 8, with a day between for the manager"),
    ],
)
def test_p0_15_rules_that_do_not_hold_together_are_refused(rules: dict[str, object], reason: str) -> None:
    with pytest.raises(PolicyError) as raised:
        PolicyFile({"usage": rules})
    assert str(raised.value) == f"policy: usage: {reason}"


@pytest.mark.parametrize(("per_day", "expected"), [(6, True), (7, False), (10, False), (0, True)])
def test_p3_14_still_declining_is_more_than_30_percent_below_the_baseline(per_day: int, expected: bool) -> None:
    counts = use("activity", (-34, -20, 10), (-20, -14, 3), (-14, 0, per_day))
    assert still_declining(counts, TODAY, TODAY - timedelta(days=6), RULES) is expected


def test_p3_14_the_baseline_is_the_one_before_the_trigger_however_long_ago() -> None:
    began = TODAY - timedelta(days=50)
    counts = use("activity", (-78, -64, 10), (-64, 0, 4))
    found = since_the_fall(counts, TODAY, began, RULES)
    assert found
    assert (found.before, found.now, found.down_pct) == (140, 56, 60)
    assert change(counts, "activity", TODAY, 14).down_pct == 0
    assert first_needed(began, RULES) <= TODAY - timedelta(days=78)
    assert first_needed(began, Usage(window_days=90)) == began - timedelta(days=180)


def test_p3_14_where_only_logins_fell_it_is_logins_that_have_to_come_back() -> None:
    steady = use("activity", (-90, 0, 10))
    assert still_declining({**steady, **use("login", (-60, -30, 4), (-30, 0, 1))}, TODAY, TODAY, RULES)
    later = {**steady, **use("login", (-70, -40, 4), (-40, -30, 1), (-30, 0, 3))}
    assert not still_declining(later, TODAY, TODAY - timedelta(days=10), RULES)


def test_p3_14_where_nothing_is_counted_nothing_has_recovered() -> None:
    assert since_the_fall({}, TODAY, TODAY, RULES) is None
    assert still_declining({}, TODAY, TODAY, RULES)


@pytest.mark.parametrize(
    ("counts", "found"),
    [
        ({}, ""),
        (use("feature:saved_views", (-28, -14, 2), (-14, 0, 1)), ""),
        (use("feature:saved_views", (-28, -14, 2)), "saved views"),
        ({**use("feature:saved_views", (-28, -14, 2)), **use("feature:api", (-28, -14, 5))}, "the API"),
        (use("feature:saved_views", (-60, -30, 2)), ""),
    ],
)
def test_p3_8_the_feature_named_is_one_that_they_have_stopped_using(counts: Counts, found: str) -> None:
    rules = Usage(features={"api": "the API"})
    assert unused_feature(counts, TODAY, rules) == found
