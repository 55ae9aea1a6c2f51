"""The tables of health: what is known of an account, where it stands, and when that changed (ledger H0).

One row an account, whatever models there are: a new scorecard or metric needs no migration, and a pass over all
accounts reads two rows for each.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON
from sqlmodel import Field, SQLModel

from models.tables import UtcDateTime


class AccountMetrics(SQLModel, table=True):
    """The newest reading of each metric by name: a number of at most two places, or a label."""

    __tablename__ = "account_metrics"

    account_id: str = Field(primary_key=True)
    readings: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    told_at: dict[str, str] = Field(default_factory=dict, sa_type=JSON)
    """When each was read, by whoever told it."""


class AccountHealth(SQLModel, table=True):
    """Where an account stands by its primary model (H0.2), and in `standings` by every one.

    Scores are in thousandths of a point, none while the status is unknown; `band` is the last that was known.
    `standings` has `h1_score`, `h1_band`, `h1_coverage` (percent) and so on for every model, and for `risk`.
    """

    __tablename__ = "account_health"

    account_id: str = Field(primary_key=True)
    model: str
    band: str = Field(default="", index=True)
    score: int | None = None
    coverage: int = 0
    standings: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    version: int = 1
    """Rises with every write, so that of two passes at the same time one writes."""
    at: datetime = Field(sa_type=UtcDateTime)
    """The business day of the last change."""


class HealthChange(SQLModel, table=True):
    """A band or a whole number of points that changed, by model and business day."""

    __tablename__ = "health_changes"

    account_id: str = Field(primary_key=True)
    model: str = Field(primary_key=True)
    at: datetime = Field(primary_key=True, sa_type=UtcDateTime)
    score: int | None = None
    band: str = ""
    coverage: int = 0
