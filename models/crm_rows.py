"""What is written into a CRM outside: one row for each record over there, with its claim, its fate and its id."""

from datetime import datetime

from sqlmodel import Field, SQLModel

from models.tables import UtcDateTime, wall


class CrmRecord(SQLModel, table=True):
    """One record over there. The ledger of the mirror: claimed before anything is written, settled after it.

    `state` is `claimed`, `done`, `waits` (certainly not done, to be tried again), `in_doubt` (the answer was lost) or
    `refused` (a person is asked).
    """

    __tablename__ = "crm_records"

    key: str = Field(primary_key=True)
    """The kind and our own key: `task/payment-failure/in_1/call/1`."""
    kind: str
    account_id: str = Field(index=True)
    remote_id: str = ""
    state: str
    reason: str = ""
    written: str = ""
    """The version that was written last; empty: none."""
    wanted: str = ""
    """The version under the newest claim."""
    seen_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """For companies: the account's `wall_updated_at` that was written last."""
    task: str = ""
    """The task in which a person is asked about it."""
    tries: int = 0
    wall_made_at: datetime = Field(default_factory=wall, sa_type=UtcDateTime)
    wall_claimed_at: datetime = Field(default_factory=wall, sa_type=UtcDateTime)
    wall_next_try_at: datetime = Field(default_factory=wall, sa_type=UtcDateTime)
