"""Checklist, milestones, the onboarding score, and what the policy says of them (P7, H2, H8.3)."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from models.onboarding import (
    LESSONS,
    band,
    checklist,
    completion,
    due_items,
    missed_milestones,
    name_of,
    one_lower,
    open_items,
    score,
    score_of,
    variant_for,
    weeks_of,
)
from models.policy import Onboarding, Policy, PolicyError, PolicyFile

RULES = Onboarding()
TODAY = date(2027, 3, 31)
SIGNED_UP = datetime(2027, 3, 1, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("segment", "variant"),
    [("enterprise", "white_glove"), ("mid", "guided"), ("starter", "self_service"), ("", "self_service")],
)
def test_p7_1_the_variant_by_segment(segment: str, variant: str) -> None:
    assert variant_for(segment, RULES) == variant


def test_p7_4_the_in_app_pattern_is_one_of_three() -> None:
    assert RULES.pattern == "guided_setup"
    for pattern in ("product_first", "guided_setup", "value_first"):
        assert PolicyFile({"onboarding": {"pattern": pattern}}).default.onboarding.pattern == pattern
    with pytest.raises(PolicyError, match=r"onboarding\.pattern"):
        PolicyFile({"onboarding": {"pattern": "sales_first"}})


def test_p7_5_to_p7_7_the_checklist_by_day() -> None:
    day_1 = ("signed_up", "email_verified", "wizard_started", "connected", "first_project")
    day_3 = ("first_report", "attribution", "dashboard", "resources")
    day_7 = ("several_projects", "regular_reports", "features_adopted", "value_realised")
    assert (RULES.day_1_items, RULES.day_3_items, RULES.day_7_items) == (day_1, day_3, day_7)
    assert checklist(RULES) == (*day_1, *day_3, *day_7)
    assert {name_of(item, RULES) for item in checklist(RULES)} & set(checklist(RULES)) == set()


def test_p7_12_what_is_due_grows_with_the_days() -> None:
    done = {"signed_up", "connected", "dashboard"}
    first = ["email_verified", "wizard_started", "first_project"]
    second = [*first, "first_report", "attribution", "resources"]
    assert [due_items(done, day, RULES) for day in (0, 1, 2, 5)] == [first, first, second, second]
    assert due_items(done, 6, RULES) == [*second, *RULES.day_7_items] == open_items(done, RULES)
    assert due_items(checklist(RULES), 30, RULES) == []


def test_p7_12_each_lesson_knows_its_item() -> None:
    assert {what: lesson.item for what, lesson in LESSONS.items()} == {
        "feature": "features_adopted",
        "practice": "regular_reports",
        "story": "",
        "advanced": "",
        "workflow": "several_projects",
        "support": "",
    }


def test_p7_19_when_each_milestone_is_missed() -> None:
    due = {"created": 0, "profile": 5 / 60, "first_action": 24, "first_value": 72, "streak_3": 168}
    assert due == RULES.milestone_hours
    done = {"created": SIGNED_UP, "first_action": SIGNED_UP + timedelta(hours=2)}

    def missed(hours: float) -> list[str]:
        return missed_milestones(done, SIGNED_UP, SIGNED_UP + timedelta(hours=hours), RULES)

    assert missed(0.05) == []
    assert missed(0.1) == missed(71.9) == ["profile"]
    assert missed(72) == ["profile", "first_value"]
    assert missed(168) == ["profile", "first_value", "streak_3"]


def test_p7_20_the_lift_of_each_milestone() -> None:
    lift = {"created": 0, "profile": 8, "first_action": 15, "first_value": 25, "streak_3": 35}
    assert lift == RULES.milestone_lift


def test_p7_21_a_band_lower() -> None:
    assert [one_lower(each) for each in ("healthy", "at_risk", "critical")] == ["at_risk", "critical", "critical"]


def test_p7_25_p7_26_x26_x27_goals_are_figures_of_the_policy() -> None:
    assert RULES.goals == {
        "first_value_in_a_day_pct": 95,
        "checklist_pct": 90,
        "adoption_pct": 80,
        "adoption_target_pct": 85,
        "roi": 2,
        "satisfaction": 4.5,
        "satisfaction_target": 4.7,
        "first_value_minutes": 10,
        "completion_pct": 70,
        "first_project_pct": 85,
        "first_report_pct": 80,
        "first_win_hours": 48,
    }
    assert (RULES.completion_floor, RULES.completion_target) == (70, 90)
    assert RULES.first_value_hours == {"starter": 10 / 60, "mid": 24, "enterprise": 24}
    assert RULES.first_value_limit_hours == 72


def test_p7_27_completion_counts_the_checklist_only_and_rounds_down() -> None:
    nine = {*RULES.day_1_items, *RULES.day_3_items}
    assert completion(nine, RULES) == 69
    assert completion({*nine, "first_value"}, RULES) == 69
    assert completion({*nine, "several_projects"}, RULES) == 76
    assert completion(checklist(RULES), RULES) == 100


# The onboarding score.


def test_h2_1_h8_3_the_worked_examples() -> None:
    assert score(100, 100, 100, 100, 0, RULES) == 85
    assert score(100, 50, 50, 60, 33, RULES) == pytest.approx(54.05)
    assert (band(85, RULES), band(54.05, RULES)) == ("healthy", "critical")


def test_h2_2_clamped_and_rescaled_only_if_wanted() -> None:
    assert score(0, 0, 0, 0, 100, RULES) == 0
    rescaled = Onboarding(rescale=True)
    assert score(100, 100, 100, 100, 0, rescaled) == 100
    assert score(50, 50, 50, 50, 0, rescaled) == pytest.approx(50)
    assert not RULES.rescale


def test_h2_3_inputs_from_checklist_and_use() -> None:
    day = TODAY - timedelta(days=3)
    counts = {
        ("project", day): 1,
        ("report", day): 5,
        ("ticket", day): 1,
        ("feature:goals", day): 4,
        ("feature:alerts", day): 0,
        ("feature:export", TODAY - timedelta(days=31)): 9,
        ("report", TODAY - timedelta(days=31)): 9,
    }
    done = {*RULES.day_1_items, *RULES.day_3_items}
    points = score_of(done, counts, Policy(), TODAY)
    assert points == pytest.approx((69 * 30 + 50 * 20 + 100 * 20 + 20 * 15 - 100 / 3 * 15) / 100)
    more: dict[tuple[str, date], int] = {("ticket", day): 30, ("project", day): 30}
    assert score_of(checklist(RULES), more, Policy(), TODAY) == pytest.approx(30 + 20 - 15)


@pytest.mark.parametrize(
    ("points", "name"),
    [(85, "healthy"), (80, "healthy"), (79.99, "at_risk"), (60, "at_risk"), (59.99, "critical"), (0, "critical")],
)
def test_h2_4_bands(points: float, name: str) -> None:
    assert band(points, RULES) == name


# The plan.


def test_a_stage_begins_with_the_first_day_of_its_week() -> None:
    assert weeks_of([9, 11, 16, 18, 23], first=1) == {1: "Week 1", 9: "Week 2", 16: "Week 3", 23: "Week 4"}
    assert weeks_of([5, 2, 8, 14, 25, 28], first=0) == {
        0: "Week 1",
        8: "Week 2",
        14: "Week 3",
        25: "Week 4",
        28: "Week 5",
    }


@pytest.mark.parametrize(
    ("over", "said"),
    [
        ({"score_days": (8,)}, "a self_service customer would get two mails on day 8 after the start"),
        ({"lessons": {7: "story"}}, "a self_service customer would get two mails on day 6 after the start"),
        ({"weekend_day": 5}, "a white_glove customer would get two mails on day 5 after the start"),
        ({"guided_groups": (2, 5, 8, 18)}, "a guided customer would get two mails on day 2 after the start"),
        ({"guided_calls": (9,)}, "sessions names no topic for day 9"),
        ({"at_risk": 80}, "at_risk 80 must be below healthy 80"),
    ],
)
def test_a_plan_that_does_not_hold_together_is_refused(over: dict[str, Any], said: str) -> None:
    with pytest.raises(PolicyError, match=f"onboarding: {said}"):
        PolicyFile({"onboarding": over})
