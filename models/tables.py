"""The tables. Money is in the minor unit, times are UTC; `*_at` columns hold business time unless named `wall_*`."""

from datetime import UTC, date, datetime
from typing import Any, Final

from sqlalchemy import JSON, BigInteger, Column, DateTime, Dialect, Index, LargeBinary, MetaData, UniqueConstraint, text
from sqlalchemy.types import TypeDecorator
from sqlmodel import Field, SQLModel

SQLModel.metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


STRIPE: Final = "stripe"
OURSELVES: Final = "holdfast"
EVENTS: Final = "events"
SEGMENT: Final = "segment"
SENDGRID: Final = "sendgrid"
"""Sources of inbox rows: the billing provider, what our own runs and scans put on record, the company's own systems,
its product analytics, and the mail provider."""


UNSETTLED: Final = "state IN ('claimed', 'in_doubt')"
"""Effects whose fate is not known, written out: with bound values neither database would use the partial index."""


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC. SQLite drops time zones; a naive value is a defect and is refused."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To the database, in UTC."""
        if value is not None and value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone")
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """From the database, with its zone."""
        if value is None:
            return None
        moment: datetime = value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def wall() -> datetime:
    """The machine's clock, for columns that say when we learned something, never for deciding."""
    return datetime.now(UTC)


class InboxEvent(SQLModel, table=True):
    """An event we said yes to. It ends `applied`, `ignored` or `dead`, always with the reason.

    `parked` is one about an account we do not know; it goes on when the account is loaded (T1.19).
    """

    __tablename__ = "inbox"
    __table_args__ = (
        UniqueConstraint("source", "event_id"),
        Index("ix_inbox_due", "state", "wall_next_try_at", "id"),
        Index("ix_inbox_account_id_kind", "account_id", "kind"),
    )

    id: int | None = Field(default=None, primary_key=True)
    source: str
    event_id: str
    type: str
    kind: str = ""
    account_id: str = ""
    subject: str = ""
    object_id: str = ""
    at_stake: int = Field(default=0, sa_type=BigInteger)
    currency: str = ""
    occurred_at: datetime = Field(sa_type=UtcDateTime)
    api_version: str = ""
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    state: str = "pending"
    reason: str = ""
    learned: bool = False
    """Whether our own tables have taken in what it says; set in the same transaction."""
    value: str = ""
    tries: int = 0
    wall_received_at: datetime = Field(default_factory=wall, sa_type=UtcDateTime)
    wall_next_try_at: datetime = Field(default_factory=wall, sa_type=UtcDateTime)
    wall_settled_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class Account(SQLModel, table=True):
    """A customer of ours; the id is the billing provider's, opaque, `external_id` what our product calls it.

    Name and address never leave this table and the messages sent.
    """

    __tablename__ = "accounts"

    id: str = Field(primary_key=True)
    external_id: str | None = Field(default=None, unique=True, index=True)
    name: str = ""
    company: str = ""
    email: str = ""
    locale: str = ""
    timezone: str = ""
    owner: str = Field(default="", index=True)
    owner_since: datetime | None = Field(default=None, sa_type=UtcDateTime)
    owner_held: bool = False
    """Kept with this owner by hand, whatever their book holds."""
    segment: str = ""
    segment_computed: bool = False
    """Whether the segment is ours to change: nobody gave it to us."""
    segment_below_since: date | None = None
    """Since when its revenue is below its segment (S1.5)."""
    strategic: bool = False
    growth: bool = False
    """Expected to grow: one segment higher (S1.4)."""
    mrr: int = Field(default=0, sa_type=BigInteger)
    currency: str = "usd"
    plan: str = ""
    health: int | None = None
    signed_up_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    churned_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    churn_reason: str = ""
    opted_out_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    card_last4: str = ""
    card_expires_on: date | None = Field(default=None, index=True)
    wall_updated_at: datetime = Field(default_factory=wall, sa_type=UtcDateTime, sa_column_kwargs={"onupdate": wall})
    """Moves with every change, by whoever: a CRM outside is told by it."""


class CaseRow(SQLModel, table=True):
    """One playbook run, open or ended. At most one is open for an account in a playbook and lane (P0.5).

    The lane is empty where a playbook runs once an account, the contract or card where it runs once for each of them.
    """

    __tablename__ = "cases"
    __table_args__ = (
        Index(
            "uq_cases_one_open",
            "playbook",
            "account_id",
            "lane",
            unique=True,
            sqlite_where=text("ended = 0"),
            postgresql_where=text("NOT ended"),
        ),
        Index("ix_cases_account_id", "account_id"),
    )

    id: str = Field(primary_key=True)
    playbook: str
    account_id: str
    subject: str
    lane: str = ""
    precedence: str = ""
    """How urgent the playbook is (P0.8), as it says of itself."""
    state: str = "open"
    ended: bool = False
    started: bool = False
    stage: str = ""
    last_title: str = ""
    next_title: str = ""
    next_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    at_stake: int = Field(default=0, sa_type=BigInteger)
    currency: str = ""
    readings: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    policy_version: str = "default"
    plan: str = ""
    """A fingerprint of the plan the run follows: its steps' names in order (`holdfast versions`)."""
    opened_at: datetime = Field(sa_type=UtcDateTime)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    outcome: str = ""
    reason: str = ""


class CaseSubject(SQLModel, table=True):
    """What a case is about: for payment failure each unpaid invoice, the first and those that joined (P1.20)."""

    __tablename__ = "case_subjects"

    case_id: str = Field(primary_key=True, foreign_key="cases.id")
    subject: str = Field(primary_key=True, index=True)
    at_stake: int = Field(default=0, sa_type=BigInteger)
    hosted_url: str = ""
    fate: str = ""
    joined_at: datetime = Field(sa_type=UtcDateTime)


class EffectRow(SQLModel, table=True):
    """The effect ledger: one row for each thing done, held back or in doubt, with the reason."""

    __tablename__ = "effects"
    __table_args__ = (
        Index("ix_effects_account_id_kind_at", "account_id", "kind", "at"),
        Index("ix_effects_account_id_contact_on", "account_id", "contact_on"),
        Index("ix_effects_reader_contact_on", "reader", "contact_on"),
        Index("ix_effects_unsettled", "key", sqlite_where=text(UNSETTLED), postgresql_where=text(UNSETTLED)),
    )

    key: str = Field(primary_key=True)
    case_id: str = Field(index=True)
    account_id: str
    playbook: str
    step: str
    kind: str
    title: str
    what: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    state: str
    rule: str = ""
    """Of the gate: what held it back, or let a contact pass."""
    reason: str = ""
    nature: str = ""
    """Where it is a contact with the customer: `required`, `service` or `marketing` (models/asking.py)."""
    reader: str = ""
    """A digest of the address it went to, by which a person's mails are counted over accounts (T4.2)."""
    contact_on: date | None = None
    """The date on the reader's calendar."""
    detail: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    at: datetime = Field(sa_type=UtcDateTime)
    wall_look_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When its fate is asked for next, while it is in doubt."""
    wall_claimed_at: datetime = Field(default_factory=wall, sa_type=UtcDateTime)
    wall_settled_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class Attempt(SQLModel, table=True):
    """A charge attempt of ours, for the card networks' caps."""

    __tablename__ = "attempts"
    __table_args__ = (Index("ix_attempts_card_amount_at", "card", "amount", "at"),)

    key: str = Field(primary_key=True)
    account_id: str
    invoice: str
    payment_method: str = ""
    card: str = ""
    network: str = ""
    amount: int = Field(sa_type=BigInteger)
    currency: str
    at: datetime = Field(sa_type=UtcDateTime)
    succeeded: bool
    decline: str = ""


class Message(SQLModel, table=True):
    """What a customer was shown: a mail as it was sent, or a banner until it is taken down."""

    __tablename__ = "messages"
    __table_args__ = (Index("ix_messages_account_id_channel", "account_id", "channel"),)

    key: str = Field(primary_key=True)
    account_id: str
    case_id: str
    channel: str
    template: str
    recipient: str = ""
    subject: str
    html: str = ""
    text: str = ""
    provider_id: str = ""
    at: datetime = Field(sa_type=UtcDateTime)
    taken_down_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class TaskRow(SQLModel, table=True):
    """A person's task."""

    __tablename__ = "tasks"

    key: str = Field(primary_key=True)
    account_id: str = Field(index=True)
    case_id: str
    owner: str
    title: str
    body: str = ""
    opened_at: datetime = Field(sa_type=UtcDateTime)
    due_at: datetime = Field(sa_type=UtcDateTime)
    answers: str = ""
    """The outcomes it may end with, separated by spaces; empty: any. A run waits for one where there are some."""
    outcome: str = ""
    done_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class Access(SQLModel, table=True):
    """What an account may do in our product. No row means everything."""

    __tablename__ = "access"

    account_id: str = Field(primary_key=True)
    level: str
    key: str
    since: datetime = Field(sa_type=UtcDateTime)


class RiskSignal(SQLModel, table=True):
    """A reason to worry about an account, from raised to cleared (H7)."""

    __tablename__ = "risk_signals"

    key: str = Field(primary_key=True)
    account_id: str = Field(index=True)
    signal: str
    raised_at: datetime = Field(sa_type=UtcDateTime)
    cleared_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class CaseNote(SQLModel, table=True):
    """The case's history in words (P0.10)."""

    __tablename__ = "case_notes"
    __table_args__ = (UniqueConstraint("case_id", "at", "text"),)

    id: int | None = Field(default=None, primary_key=True)
    case_id: str = Field(index=True)
    at: datetime = Field(sa_type=UtcDateTime)
    by: str
    text: str


class CodecRead(SQLModel, table=True):
    """Somebody read encrypted payloads through the codec server: who, when and how many, never what they said.

    `workflow_id` is empty unless the reader's program sent it; the Temporal Web UI does not.
    """

    __tablename__ = "codec_reads"

    id: int | None = Field(default=None, primary_key=True)
    wall_read_at: datetime = Field(default_factory=wall, sa_type=UtcDateTime, index=True)
    who: str
    namespace: str
    workflow_id: str = ""
    payloads: int
