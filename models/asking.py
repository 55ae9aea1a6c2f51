"""What a rule of the send gate is asked, and what it may answer."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from models.cases import Batch, Effect
from models.contact_rows import Deferral
from models.hours import Window
from models.picture import Picture
from models.policy import Policy
from models.tables import CaseRow

Nature = Literal["required", "service", "marketing"]
COUNTS: Final = ("claimed", "done", "in_doubt")
"""States of an effect that has reached somebody, or may have."""


class LookAgain(Exception):
    """Something was heard since we looked; the claim is not made, the source of truth is read once more."""


@dataclass(frozen=True)
class Held:
    """Not now: `until` says when to ask again; without it the effect is dropped for good."""

    rule: str
    reason: str
    until: datetime | None = None


@dataclass(frozen=True)
class Touch:
    """A contact with a customer, as the rules see it.

    `required` is what law, money or safety wants said; `service` what belongs to the service; `marketing` all that one
    can opt out of. `reader` is a digest of the address, the same wherever the address stands; empty for what is shown
    to a whole account.
    """

    nature: Nature
    window: Window
    reader: str = ""
    notice: str = ""
    at_once: bool = False


@dataclass(frozen=True)
class Asked:
    """What a rule may know."""

    session: AsyncSession
    case: CaseRow
    batch: Batch
    effect: Effect
    picture: Picture
    parting: bool
    """Whether this is owed at the end of the case; then the reason need not hold any more."""
    policy: Policy
    """Today's, of the account's segment."""
    touch: Touch | None = None
    """Where the effect is a contact with the customer."""
    topic: str = ""
    """What a mail is about, as its template says; empty where nobody said."""


Rule = Callable[[Asked], Awaitable[Held | None]]


async def waits_since(asked: Asked, rule: str) -> datetime:
    """Since when a rule has made this effect wait; now, if it does not yet."""
    statement = select(func.min(col(Deferral.at))).where(Deferral.key == asked.effect.key, Deferral.rule == rule)
    return (await asked.session.exec(statement)).one() or asked.batch.now


async def one_at_a_time(asked: Asked, what: str) -> None:
    """Let nobody else ask about the same thing until this transaction ends.

    The lock on one's own case does not: such rules read what other cases wrote. Advisory locks and not the account's
    row, which the relay locks before it locks cases, so that each could wait for the other; and an account need not
    have a row. Whoever takes several takes the account's first. SQLite has one writer at a time anyway.
    """
    if asked.session.get_bind().dialect.name == "postgresql":
        await asked.session.exec(select(func.pg_advisory_xact_lock(func.hashtextextended(what, 0))))
