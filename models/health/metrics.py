"""What may be read of an account's health: every metric, with its range or its labels (ledger H1 to H5).

A number is kept in hundredths. An index is a number from 0 to 100 that whoever sends it works out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from models.health.scorecard import HUNDREDTH, hundredths

MANY: Final = 1_000_000


class BadMetric(ValueError):
    """A reading that cannot be taken; the message names the metric and says what it may be."""


@dataclass(frozen=True)
class Metric:
    """A metric with its title and unit. With labels, worst first, a reading is one of them; else a number."""

    name: str
    title: str
    labels: tuple[str, ...] = ()
    least: int = 0
    most: int = MANY

    @property
    def allowed(self) -> str:
        """What a reading may be, in words."""
        return f"one of {', '.join(self.labels)}" if self.labels else f"a number from {self.least} to {self.most}"

    def reading(self, value: Any) -> int | str:
        """The value as it is calculated with.

        Raises:
            BadMetric: it is not what is allowed.
        """
        if self.labels:
            text = value.strip().lower().replace("-", "_").replace(" ", "_") if isinstance(value, str) else value
            if text in self.labels:
                return str(text)
        elif isinstance(value, int | float) and not isinstance(value, bool) and self.least <= value <= self.most:
            return hundredths(value)
        raise self._refused(value)

    def read(self, text: str) -> int | str:
        """A reading that is written as text.

        Raises:
            BadMetric: it is not what is allowed.
        """
        try:
            return self.reading(text if self.labels else float(text))
        except ValueError as error:
            raise error if isinstance(error, BadMetric) else self._refused(text) from None

    def _refused(self, value: Any) -> BadMetric:
        return BadMetric(f"{self.name}: {value!r:.60} is not allowed; expected {self.allowed}")

    def said(self, reading: int | str) -> int | float | str:
        """A reading as people say it."""
        if isinstance(reading, str):
            return reading
        return reading // HUNDREDTH if reading % HUNDREDTH == 0 else reading / HUNDREDTH


def _pct(name: str, title: str) -> Metric:
    return Metric(name, title, most=100)


ALL: Final = (
    Metric("logins_per_week", "logins a week"),
    Metric("active_days", "active days of the last 30", most=30),
    _pct("core_feature_pct", "core features used (%)"),
    Metric("session_minutes", "session length (minutes)"),
    Metric("usage_change_pct", "use against the period before (%)", least=-100),
    _pct("dau_mau_pct", "daily of monthly active users (%)"),
    _pct("session_index", "sessions (index)"),
    _pct("recency_index", "time since the last login (index)"),
    _pct("time_index", "time in the product (index)"),
    _pct("action_index", "actions a session (index)"),
    Metric("api_use", "use of the API", ("none", "declining", "stable", "growing")),
    Metric("data_quality", "quality of the data", ("low", "medium", "high")),
    _pct("checklist_pct", "onboarding checklist done (%)"),
    Metric("campaigns", "campaigns or projects made"),
    Metric("reports", "reports made"),
    Metric("open_tickets", "support tickets open"),
    Metric("email_engagement", "reaction to mails", ("no_opens", "some", "regular", "replies")),
    Metric("support_sentiment", "tone in support", ("negative", "neutral", "positive", "advocate")),
    Metric("community", "part in the community", ("none", "lurker", "contributor", "leader")),
    Metric("nps", "NPS answer (0 to 10)", most=10),
    Metric("nps_group", "NPS group", ("detractor", "passive", "promoter")),
    _pct("csat_pct", "satisfied answers (%)"),
    Metric("satisfaction", "satisfaction (1 to 5)", least=1, most=5),
    Metric("executive_sponsor", "executive sponsor", ("none", "identified", "engaged", "champion")),
    Metric("executive_engagement", "executives' engagement", ("none", "occasional", "regular")),
    Metric("stakeholders", "stakeholders", ("one", "two_or_three", "four_or_more", "org_wide")),
    Metric("payment", "payments", ("often_late", "sometimes_late", "on_time", "auto_pay")),
    Metric("contract", "contract", ("at_risk", "month_to_month", "quarterly", "annual", "multi_year")),
    Metric("days_to_renewal", "days to the renewal", most=10_000),
    Metric("growth", "growth of the account", ("contracting", "flat", "growing", "high")),
    _pct("seat_index", "seats added (index)"),
    _pct("upgrade_index", "upgrades (index)"),
    _pct("community_index", "part in the community (index)"),
    _pct("referral_index", "referrals (index)"),
    Metric("roi", "return (times the price)"),
    Metric("lead_growth_pct", "growth of lead volume (%)", least=-100),
)
METRICS: Final[Mapping[str, Metric]] = {metric.name: metric for metric in ALL}


def metric_named(name: str) -> Metric:
    """The metric of this name.

    Raises:
        BadMetric: there is none.
    """
    if name not in METRICS:
        raise BadMetric(f"there is no metric {name!r:.60}; there are {', '.join(METRICS)}")
    return METRICS[name]


def readings_of(stored: Mapping[str, Any]) -> dict[str, int | str]:
    """What is stored of an account, as it is calculated with. What no metric takes any more is left out."""
    readings = {}
    for name, value in stored.items():
        metric = METRICS.get(name)
        if metric is None:
            continue
        try:
            readings[name] = metric.reading(value)
        except BadMetric:
            continue
    return readings
