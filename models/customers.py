"""What we know of customers beside their bills: people, contracts, use, onboarding, offers, deals.

Loaded from CSV, upserted by API, or learned from facts. Names and addresses of people live in `owners`, `contacts` and
`accounts` only.
"""

from datetime import date, datetime
from typing import Literal

from sqlalchemy import BigInteger, Index
from sqlmodel import Field, SQLModel

from models.tables import UtcDateTime, wall

OfferState = Literal["made", "accepted", "declined", "withdrawn"]


class Owner(SQLModel, table=True):
    """Somebody of ours: a CSM, a lead, an executive. `handle` is what tasks and runs name them by."""

    __tablename__ = "owners"

    handle: str = Field(primary_key=True)
    name: str = ""
    email: str = ""
    phone: str = ""
    booking_url: str = ""
    role: str = "csm"
    """csm, executive (sponsor), tam (technical account manager), or whatever the company calls it."""
    serves: str = ""
    """Segments, with spaces or commas between; empty: those whose accounts have a CSM by name."""
    capacity: int | None = None
    """Most accounts, where it is not what the policy says."""
    away_from: date | None = None
    away_until: date | None = None
    covered_by: str = ""
    left_on: date | None = None


class Contact(SQLModel, table=True):
    """A person at a customer. `role`: billing, champion, sponsor, technical, or admin."""

    __tablename__ = "contacts"

    id: str = Field(primary_key=True)
    account_id: str = Field(index=True)
    role: str = "champion"
    name: str = ""
    email: str = ""
    locale: str = ""
    timezone: str = ""
    left_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    opted_out_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class Contract(SQLModel, table=True):
    """What an account has signed, and until when. `value` is for the whole term, in the minor unit."""

    __tablename__ = "contracts"

    id: str = Field(primary_key=True)
    account_id: str = Field(index=True)
    renews_on: date = Field(index=True)
    term: str = "annual"
    value: int = Field(default=0, sa_type=BigInteger)
    currency: str = "usd"
    plan: str = ""
    state: str = "active"
    sign_url: str = ""
    told_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """The provider's time of the newest fact that changed this row: older ones do not undo it (T1.20)."""


class UsageDay(SQLModel, table=True):
    """How often an account did something on one day (UTC). Metric names are the company's own."""

    __tablename__ = "usage_days"
    __table_args__ = (Index("ix_usage_days_metric_day", "metric", "day"),)

    account_id: str = Field(primary_key=True)
    metric: str = Field(primary_key=True)
    day: date = Field(primary_key=True)
    count: int = Field(default=0, sa_type=BigInteger)


class ChecklistItem(SQLModel, table=True):
    """An onboarding item an account has finished (P7.5 to P7.7)."""

    __tablename__ = "checklist_items"

    account_id: str = Field(primary_key=True)
    item: str = Field(primary_key=True)
    done_at: datetime = Field(sa_type=UtcDateTime)


class OfferRow(SQLModel, table=True):
    """An offer made to an account: terms, expiry, who approved it, what became of it (O12)."""

    __tablename__ = "offers"

    key: str = Field(primary_key=True)
    account_id: str = Field(index=True)
    case_id: str = Field(index=True)
    what: str = "discount"
    pct: int = 0
    months: int = 0
    approver: str = ""
    state: str = "made"
    made_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime)
    answered_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    provider_id: str = ""


class DealRow(SQLModel, table=True):
    """A renewal deal in the pipeline (P6.14, P6.15)."""

    __tablename__ = "deals"

    case_id: str = Field(primary_key=True)
    account_id: str = Field(index=True)
    name: str = ""
    stage: str = ""
    value: int = Field(default=0, sa_type=BigInteger)
    currency: str = "usd"
    renewal_date: date | None = None
    contract_term: str = ""
    expansion_potential: str = ""
    moved_at: datetime = Field(sa_type=UtcDateTime)
    wall_updated_at: datetime = Field(default_factory=wall, sa_type=UtcDateTime)
