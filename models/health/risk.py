"""Churn risk from live signals: higher is worse, the opposite of health (ledger H6, H7)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from models.health.scorecard import THOUSANDTH, Band, Standing

RISK: Final = "risk"
"""The name under which the risk stands beside the scorecards."""
BASE: Final[Mapping[str, int]] = {"critical": 70, "high": 50, "medium": 30}
"""Points of the worst signal, by its level (H6.2)."""
EACH_OTHER: Final = 10
LEVELS: Final = (
    Band(70, "critical", "Critical", "a person calls or writes"),
    Band(50, "high", "High", "personal intervention"),
    Band(30, "medium", "Medium", "automated re-engagement"),
    Band(0, "low", "Low", "normal engagement"),
)
"""What a score is called (H6.1, P9.4)."""
OF_MANY: Final[Mapping[int, int]] = {3: 70, 2: 50}
"""So many signals are at least of the level that begins there, whatever the points (H6.3)."""


@dataclass(frozen=True)
class Signal:
    """A reason to worry: its level, and how many days it counts.

    One seen at a moment counts `days` from then, unless it is cleared before. One that stays open counts while it is
    open, and `days` after.
    """

    name: str
    level: str
    days: int
    while_open: bool = False
    ledger: str = ""

    def is_live(self, raised: date, cleared: date | None, day: date) -> bool:
        """Whether it counts on this business day."""
        if raised > day:
            return False
        is_open = cleared is None or cleared > day
        if self.while_open and cleared is not None:
            return is_open or day < cleared + timedelta(days=self.days)
        return is_open and (self.while_open or day < raised + timedelta(days=self.days))


SIGNALS: Final = (
    Signal("logins halved", "high", 28, ledger="H7.1"),
    Signal("usage decline", "high", 28, ledger="H7.1"),
    Signal("key feature stopped", "high", 21, ledger="H7.2"),
    Signal("tickets spiked, then stopped", "high", 14, ledger="H7.3"),
    Signal("billing page visits", "high", 7, ledger="H7.4"),
    Signal("seats removed", "high", 14, ledger="H7.5"),
    Signal("data export started", "critical", 7, ledger="H7.6"),
    Signal("NPS below 6", "medium", 90, ledger="H7.7"),
    Signal("champion left", "high", 60, ledger="H7.8"),
    Signal("competitor mentioned", "high", 14, while_open=True, ledger="H7.9"),
    Signal("support escalation", "high", 14, while_open=True, ledger="H7.9"),
    Signal("payment issues", "high", 14, while_open=True, ledger="H7.9"),
    Signal("card expired", "high", 14, while_open=True, ledger="H7.9"),
    Signal("few logins", "medium", 30, ledger="H7.10"),
    Signal("no reports", "medium", 30, ledger="H7.10"),
    Signal("usage down on the month", "medium", 30, ledger="H7.10"),
    Signal("tickets rising", "medium", 30, ledger="H7.10"),
    Signal("feature denied by tier", "medium", 30, ledger="H7.10"),
    Signal("low adoption", "medium", 0, while_open=True, ledger="H7.11"),
    Signal("onboarding behind", "medium", 0, while_open=True, ledger="P7.19"),
)
"""Those that `risk_signals` holds by name, ours and the playbooks'."""
BY_NAME: Final[Mapping[str, Signal]] = {signal.name: signal for signal in SIGNALS}


def signal_named(name: str) -> Signal:
    """The signal of this name; a playbook's own that nobody has weighed is medium while it is open."""
    return BY_NAME.get(name) or Signal(name, "medium", 0, while_open=True)


def is_live(name: str, raised_at: datetime, cleared_at: datetime | None, day: date) -> bool:
    """Whether a signal, as it is on record, counts on this business day (H7)."""
    return signal_named(name).is_live(raised_at.date(), cleared_at.date() if cleared_at else None, day)


def standing(live: Iterable[str]) -> Standing:
    """The risk of an account with these live signals; one that is raised twice counts once (H6.2, H6.3)."""
    bases = sorted((BASE[signal_named(name).level] for name in set(live)), reverse=True)
    points = min(100, bases[0] + EACH_OTHER * (len(bases) - 1)) if bases else 0
    at_least = next((low for many, low in OF_MANY.items() if len(bases) >= many), 0)
    return Standing(points * THOUSANDTH, level_of(max(points, at_least)), 100)


SEVERAL: Final = f"{RISK}:several"
"""What a level is about that more than one signal brings about."""


def about(band: str, score: int) -> str:
    """Whether one signal brings a level about or several: of a high level its points say it (H6.2, H6.3)."""
    return SEVERAL if band == "high" and score != BASE["high"] * THOUSANDTH else RISK


def level_of(points: int) -> str:
    """critical, high, medium or low (H6.1)."""
    return next(level.name for level in LEVELS if points >= level.low)
