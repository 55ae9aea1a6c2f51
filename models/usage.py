"""How an account's use changes: daily counts in, a judgement out (P3.1 to P3.4, P3.14). Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from models.policy import Usage

Counts = Mapping[tuple[str, date], int]
"""How often, by metric and day (UTC)."""
LOGIN_DAYS = 30
REPORT_DAYS = 100
"""An account that made no report in so many days is not one that stopped making them."""
FEW_LOGINS: Final = "few logins"
NO_REPORTS: Final = "no reports"
DOWN_ON_THE_MONTH: Final = "usage down on the month"
WATCH_ONLY: Final = (FEW_LOGINS, NO_REPORTS, DOWN_ON_THE_MONTH)
"""Risk signals that start nothing by themselves (P3.3, H7.10)."""


@dataclass(frozen=True)
class Change:
    """The last window against the one before. `down_pct` is how far it fell, 0 where it did not."""

    now: int
    before: int

    @property
    def down_pct(self) -> int:
        """Whole percent, rounded down."""
        return 0 if self.before <= 0 or self.now >= self.before else int((self.before - self.now) * 100 / self.before)


def total(counts: Counts, metric: str, since: date, until: date) -> int:
    """The sum of a metric from `since` up to but not including `until`."""
    return sum(count for (name, day), count in counts.items() if name == metric and since <= day < until)


def change(counts: Counts, metric: str, today: date, days: int) -> Change:
    """The `days` days before today against the `days` days before those. Today itself is not over and not counted."""
    middle = today - timedelta(days=days)
    return Change(
        now=total(counts, metric, middle, today),
        before=total(counts, metric, middle - timedelta(days=days), middle),
    )


def latest(counts: Counts, metric: str, default: int) -> int:
    """A metric that is a level, not a count: its newest value."""
    days = {day: count for (name, day), count in counts.items() if name == metric}
    return days[max(days)] if days else default


def severity(counts: Counts, today: date, rules: Usage, tenure_days: int | None) -> str:
    """`severe`, `moderate`, or empty where usage has not fallen, or nothing can be concluded (P3.4).

    Severe is a fall of `severe_pct` or more, or logins at or below that share of the previous 30 days (P3.2); moderate
    is a fall of more than `moderate_pct` (P3.1). `tenure_days` None: not known, and no reason to hold back.
    """
    if tenure_days is not None and tenure_days < rules.min_tenure_days:
        return ""
    use = change(counts, rules.metric, today, rules.window_days)
    logins = change(counts, rules.login_metric, today, LOGIN_DAYS)
    enough = use.before >= rules.min_baseline
    if enough and (use.before - use.now) * 100 >= rules.severe_pct * use.before:
        return "severe"
    if logins.before >= rules.min_baseline and logins.now * 100 <= (100 - rules.severe_pct) * logins.before:
        return "severe"
    if enough and (use.before - use.now) * 100 > rules.moderate_pct * use.before:
        return "moderate"
    return ""


def first_needed(began: date, rules: Usage) -> date:
    """The first day that the baseline of a fall on the day `began` is counted from."""
    return began - timedelta(days=2 * max(rules.window_days, LOGIN_DAYS))


def since_the_fall(counts: Counts, today: date, began: date, rules: Usage) -> Change | None:
    """The last window against the baseline before the fall, by what fell: use, else logins.

    None where neither was counted often enough to conclude anything (P3.4).
    """
    measures = ((rules.metric, rules.window_days), (rules.login_metric, LOGIN_DAYS))
    then = {metric: change(counts, metric, began, days) for metric, days in measures}
    known = [(metric, days) for metric, days in measures if then[metric].before >= rules.min_baseline]
    fell = [(metric, days) for metric, days in known if _is_below(then[metric], rules)]
    if not known:
        return None
    metric, days = (fell or known)[0]
    return Change(total(counts, metric, today - timedelta(days=days), today), then[metric].before)


def still_declining(counts: Counts, today: date, began: date, rules: Usage) -> bool:
    """Whether the last window is still below the baseline before the trigger by more than the threshold (P3.14).

    So it is where nothing was counted: whoever told us of the fall has to tell us of the recovery.
    """
    found = since_the_fall(counts, today, began, rules)
    return found is None or _is_below(found, rules)


def _is_below(found: Change, rules: Usage) -> bool:
    return (found.before - found.now) * 100 > rules.moderate_pct * found.before


def unused_feature(counts: Counts, today: date, rules: Usage) -> str:
    """The feature used most before and not at all now, as customers call it; empty if there is none (P3.8).

    One that is used less is not named: the mail says that they have not used it.
    """
    features = sorted({name for name, _ in counts if name.startswith(rules.feature_prefix)})
    changes = {name: change(counts, name, today, rules.window_days) for name in features}
    stopped = [name for name in features if changes[name].before and not changes[name].now]
    if not stopped:
        return ""
    worst = max(stopped, key=lambda name: changes[name].before).removeprefix(rules.feature_prefix)
    return rules.features.get(worst, worst.replace("_", " "))


def watch_only(counts: Counts, today: date, rules: Usage) -> tuple[str, ...]:
    """Signs that are put on record but start nothing by themselves (P3.3)."""
    month = change(counts, rules.metric, today, LOGIN_DAYS)
    logins = change(counts, rules.login_metric, today, LOGIN_DAYS)
    reports = total(counts, rules.report_metric, today - timedelta(days=LOGIN_DAYS), today)
    since = today - timedelta(days=REPORT_DAYS)
    ever = any(name == rules.report_metric and since <= day < today for name, day in counts)
    found = []
    if logins.before >= rules.min_baseline and logins.now < rules.few_logins:
        found.append(FEW_LOGINS)
    if ever and not reports:
        found.append(NO_REPORTS)
    if month.before >= rules.min_baseline and (month.before - month.now) * 100 >= rules.moderate_pct * month.before:
        found.append(DOWN_ON_THE_MONTH)
    return tuple(found)
