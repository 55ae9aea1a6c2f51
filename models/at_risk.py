"""When health is low and when a customer may leave: the days, the lines and the words of P8 and P9."""

from typing import Final, Literal

from pydantic import Field

from models.frozen import Frozen

RootCause = Literal[
    "payment", "tickets", "competitor", "no_value", "low_adoption", "relationship", "champion_left", "other"
]
CAUSES: Final[tuple[RootCause, ...]] = (
    "payment",
    "tickets",
    "competitor",
    "no_value",
    "low_adoption",
    "relationship",
    "champion_left",
    "other",
)
"""The one root cause that an investigation names (P8.4)."""
LEVERS: Final = ("outreach", "education", "success_story", "discount", "custom_solution", "not_reached")
"""What was done about it (P8.5, P8.9)."""
BANDS: Final = ("at_risk", "critical", "lost")
"""Bands that start the playbook, by any scorecard (P8.1)."""
BY_PEOPLE: Final = ("critical", "lost")
"""Bands in which a person comes first; in the other the product and mails do (P8.7)."""
LEVELS: Final = ("high", "critical")
"""Levels of churn risk that start the playbook (P9.4)."""


class AtRisk(Frozen):
    """Low health (P8). Days count from the crossing of the band."""

    investigate_day: int = 2
    intervene_day: int = 3
    follow_up_days: tuple[int, int, int] = (10, 20, 30)
    """Progress is looked at, and the last one decides (P8.6, P8.12)."""
    healthy: int = Field(60, ge=0, le=100)
    """Health from here on ends the run (P8.11)."""
    healthy_h5: int = Field(75, ge=0, le=100)
    """The same where scorecard h5 speaks for the account (P8.11)."""
    healthy_days: int = Field(7, ge=1)
    """For so many days running (P8.11)."""
    better_by: int = Field(5, ge=1)
    """Points more than at the start that count as improved (P8.12)."""

    def problems(self) -> list[str]:
        """What does not hold together."""
        days = [0, self.investigate_day, self.intervene_day, *self.follow_up_days]
        return [] if days == sorted(set(days)) else [f"the days {days} must rise, without repeats"]


class ChurnRisk(Frozen):
    """Churn risk (P9). Days count from the first signal that brought the level about."""

    assess_from: int = Field(2, ge=1)
    """With so many live signals there is an assessment for the account (P9.2)."""
    escalate_from: int = Field(3, ge=2)
    """With so many the manager and the account executive are told (P9.3)."""
    new_contact_days: int = Field(7, ge=1)
    """A new champion is brought in within so many days (P9.5)."""
    calm_days: int = Field(14, ge=1)
    """Below high for so many days running, it is over (P9.7)."""
    look_days: tuple[int, ...] = (7, 14, 21, 28, 42, 56, 70)
    """When the run looks whether it is over; the level itself is worked out daily and on each signal (P9.7)."""
    last_day: int = 90

    def problems(self) -> list[str]:
        """What does not hold together."""
        days = [0, *self.look_days, self.last_day]
        return [] if days == sorted(set(days)) else [f"the days {days} must rise, without repeats"]
