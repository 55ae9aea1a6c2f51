"""What the send gate writes beside the ledger: what waits and why, and what people have put on hold."""

from datetime import datetime

from sqlalchemy import Index, UniqueConstraint
from sqlmodel import Field, SQLModel

from models.tables import UtcDateTime, wall


class Deferral(SQLModel, table=True):
    """An effect was asked for and had to wait: since when, until when, by which rule and why. Never changed."""

    __tablename__ = "deferrals"
    __table_args__ = (UniqueConstraint("key", "at", "rule"), Index("ix_deferrals_account_id_at", "account_id", "at"))

    id: int | None = Field(default=None, primary_key=True)
    key: str
    case_id: str
    account_id: str
    playbook: str
    step: str
    kind: str
    title: str
    rule: str
    reason: str
    at: datetime = Field(sa_type=UtcDateTime)
    until: datetime = Field(sa_type=UtcDateTime)
    wall_noted_at: datetime = Field(default_factory=wall, sa_type=UtcDateTime)


class Hold(SQLModel, table=True):
    """The stop switch: all that would leave, of everything, one playbook or one account, waits until it is released."""

    __tablename__ = "holds"

    id: int | None = Field(default=None, primary_key=True)
    scope: str
    """`all`, `playbook` or `account`; `name` says which."""
    name: str = ""
    reason: str = ""
    placed_by: str
    wall_placed_at: datetime = Field(default_factory=wall, sa_type=UtcDateTime)
    released_by: str = ""
    wall_released_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    spread_minutes: int = 0
    """What waited goes out over so many minutes after the release."""
