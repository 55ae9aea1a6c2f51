"""Where an account stands in its onboarding: checklist, milestones, the onboarding score (P7.5 to P7.7, H2). Pure."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from models import usage
from models.policy import Onboarding, Policy, Subject, Variant
from models.usage import Counts

BEST: Final = 0.85


@dataclass(frozen=True)
class Lesson:
    """What a touch of week 2 or 3 teaches; `item` is the checklist item it is about, if there is one (P7.12)."""

    template: str
    item: str = ""


LESSONS: Final[dict[Subject, Lesson]] = {
    "feature": Lesson("onboarding.w2a", "features_adopted"),
    "practice": Lesson("onboarding.w2b", "regular_reports"),
    "story": Lesson("onboarding.w2c"),
    "advanced": Lesson("onboarding.w3a"),
    "workflow": Lesson("onboarding.w3b", "several_projects"),
    "support": Lesson("onboarding.w3c"),
}


def variant_for(segment: str, rules: Onboarding) -> Variant:
    """self_service, guided or white_glove, by segment (P7.1)."""
    return rules.variant.get(segment, "self_service")


def checklist(rules: Onboarding) -> tuple[str, ...]:
    """Every item, in the order of its day."""
    return (*rules.day_1_items, *rules.day_3_items, *rules.day_7_items)


def due_items(done: Collection[str], day: int, rules: Onboarding) -> list[str]:
    """What should be done by now and is not: the items of day 1 from the start on, of day 3 two days later, then all.

    `day` counts whole days after the start.
    """
    due = [*rules.day_1_items, *(rules.day_3_items if day >= 2 else ()), *(rules.day_7_items if day >= 6 else ())]
    return [item for item in due if item not in done]


def open_items(done: Collection[str], rules: Onboarding) -> list[str]:
    """What is not done yet, in order."""
    return [item for item in checklist(rules) if item not in done]


def name_of(item: str, rules: Onboarding) -> str:
    """What customers call an item."""
    return rules.item_names.get(item, item.replace("_", " "))


def completion(done: Collection[str], rules: Onboarding) -> int:
    """Percent of the checklist that is done, rounded down."""
    items = checklist(rules)
    return sum(item in done for item in items) * 100 // len(items)


def missed_milestones(done: Mapping[str, datetime], signed_up: datetime, now: datetime, rules: Onboarding) -> list[str]:
    """The milestones whose hour is past and that were not reached, earliest first (P7.19, P7.21)."""
    due = sorted(rules.milestone_hours.items(), key=lambda each: each[1])
    return [name for name, hours in due if now >= signed_up + timedelta(hours=hours) and name not in done]


def score(
    completed: float, campaigns: float, reports: float, features: float, tickets: float, rules: Onboarding
) -> float:
    """The onboarding score, 0 to 100, from percentages (H2.1, H2.2)."""
    points = (completed * 30 + campaigns * 20 + reports * 20 + features * 15 - tickets * 15) / 100
    points = points / BEST if rules.rescale else points
    return min(100.0, max(0.0, points))


def band(points: float, rules: Onboarding) -> str:
    """healthy, at_risk or critical (H2.4)."""
    if points >= rules.healthy:
        return "healthy"
    return "at_risk" if points >= rules.at_risk else "critical"


def one_lower(name: str) -> str:
    """The band below (P7.21)."""
    return "at_risk" if name == "healthy" else "critical"


def weeks_of(days: Iterable[int], *, first: int) -> dict[int, str]:
    """The stage that begins with each day that is the first of its week among `days`; week 1 begins with the run."""
    found: dict[str, int] = {"Week 1": first}
    for day in sorted(days):
        found.setdefault(f"Week {(day - first) // 7 + 1}", day)
    return {day: week for week, day in found.items()}


def score_of(done: Collection[str], counts: Counts, policy: Policy, today: date) -> float:
    """The onboarding score of an account, from its checklist and its use in the last 30 days (H2.3)."""
    rules = policy.onboarding
    since, until = today - timedelta(days=30), today + timedelta(days=1)
    projects = usage.total(counts, rules.project_metric, since, until)
    reports = usage.total(counts, policy.usage.report_metric, since, until)
    tickets = usage.total(counts, rules.ticket_metric, since, until)
    prefix = policy.usage.feature_prefix
    features = len({name for (name, day), n in counts.items() if name.startswith(prefix) and n > 0 and day >= since})
    return score(
        completion(done, rules),
        min(projects / 2, 1) * 100,
        min(reports / 2, 1) * 100,
        min(features / rules.core_features, 1) * 100,
        min(tickets / 3, 1) * 100,
        rules,
    )
