"""What people want of us and what their mail servers say: topics they chose, addresses that take no mail."""

from datetime import datetime
from typing import Literal

from sqlmodel import Field, SQLModel

from models.tables import UtcDateTime, wall

Why = Literal["bounced", "complained"]


class TopicChoice(SQLModel, table=True):
    """Whether a person wants mails of one topic (models/consent.py); no row: nobody has said. Newest word wins.

    `contact_id` is empty for the billing contact that the account itself names.
    """

    __tablename__ = "topic_choices"

    account_id: str = Field(primary_key=True)
    contact_id: str = Field(primary_key=True)
    topic: str = Field(primary_key=True)
    wanted: bool
    at: datetime = Field(sa_type=UtcDateTime)


class Suppression(SQLModel, table=True):
    """An address that no mail may go to any more, by the digest under which the ledger knows it (`models.touch`).

    `said` is the provider's code or word, never its sentence, which quotes the address. `account_id` and `effect` name
    the mail that it was told about; `at` is the provider's time. A corrected address has another digest, and is free.
    """

    __tablename__ = "suppressions"

    reader: str = Field(primary_key=True)
    why: str = Field(primary_key=True)
    said: str = ""
    account_id: str = Field(index=True)
    effect: str = ""
    at: datetime = Field(sa_type=UtcDateTime)
    wall_noted_at: datetime = Field(default_factory=wall, sa_type=UtcDateTime)
    lifted_by: str = ""
    """Who said that the address takes mail again; empty: it stands."""
    wall_lifted_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
