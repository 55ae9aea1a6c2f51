"""The send gate: may this effect happen now? Asked in the transaction that claims it, so the answer is still true.

Every rule answers go (None), wait or drop, with its name and a reason for the ledger. Caps, hours, consent and
precedence belong in `RULES` beside these.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from models.cases import Batch, Charge, Effect, SetAccess
from models.declines import broken_rule
from models.picture import Card, Picture
from models.tables import Access, Attempt, CaseRow, CaseSubject, InboxEvent


class LookAgain(Exception):
    """Something was heard since we looked; the claim is not made, the source of truth is read once more."""


@dataclass(frozen=True)
class Held:
    """Not now: `until` says when to ask again; without it the effect is dropped for good."""

    rule: str
    reason: str
    until: datetime | None = None


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


Rule = Callable[[Asked], Awaitable[Held | None]]


async def the_case_is_open(asked: Asked) -> Held | None:
    """Nothing leaves for a case that has ended, whatever is still in flight; what is owed at the end does."""
    if asked.case.ended and not asked.parting:
        return Held("case_is_open", f"the case has ended: {asked.case.outcome}")
    return None


async def nothing_new_was_heard(asked: Asked) -> Held | None:
    """If the inbox holds news of an ending that came after our look, look again before acting on the old picture.

    Raises:
        LookAgain: there is such news.
    """
    if asked.parting:
        return None
    if await news_count(asked.session, asked.batch) != asked.picture.mark:
        raise LookAgain
    return None


async def the_card_may_be_charged(asked: Asked) -> Held | None:
    """Hard and authentication declines are never retried on that card; the networks' caps hold (P1.9 to P1.12)."""
    if not isinstance(asked.effect, Charge):
        return None
    owed = asked.picture.owed.get(asked.effect.invoice)
    if owed is None or not owed.invoice.is_open:
        return Held("invoice_is_open", "the invoice is not open any more")
    if owed.fresh_card is None:
        if asked.effect.new_card_only:
            return Held("new_card", "no card on file that has not failed yet")
        if owed.decline and owed.decline.kind != "soft":
            return Held("decline_class", f"{owed.decline.kind} decline ({owed.decline.name}): this card is not retried")
    card = owed.fresh_card or owed.failed_card or Card(id="")
    earlier = await _attempts(asked, card, owed.invoice.amount_remaining)
    rule = broken_rule(card.network, earlier, asked.batch.now)
    if rule:
        return Held("network_cap", f"{rule.limit} attempts in {rule.window.days} days on one card: {rule.source}")
    return None


async def it_changes_something(asked: Asked) -> Held | None:
    """Access that already is so is not set, nor announced, again; and a restriction never softens a suspension."""
    if not isinstance(asked.effect, SetAccess):
        return None
    row = await asked.session.get(Access, asked.batch.account)
    if row and row.key == asked.effect.key:
        return None  # our own earlier try: the row is written, but the product may not know yet
    level = row.level if row else "full"
    if level == asked.effect.level or (level == "suspended" and asked.effect.level == "restricted"):
        return Held("changes_something", f"access is already {level}")
    return None


async def nothing_else_is_due(asked: Asked) -> Held | None:
    """Access is given back only if no other case left something unpaid (P1.14)."""
    if not isinstance(asked.effect, SetAccess) or asked.effect.level != "full":
        return None
    mine = select(CaseSubject.subject).where(CaseSubject.case_id == asked.batch.case)
    statement = (
        select(CaseSubject.subject)
        .join(CaseRow, col(CaseRow.id) == col(CaseSubject.case_id))
        .where(
            CaseRow.account_id == asked.batch.account,
            CaseRow.outcome == "suspended",
            CaseSubject.fate == "",
            col(CaseSubject.subject).not_in(mine),
        )
    )
    other = (await asked.session.exec(statement)).first()
    return Held("nothing_else_is_due", f"{other} is still unpaid") if other else None


RULES: Final[tuple[Rule, ...]] = (
    the_case_is_open,
    nothing_new_was_heard,
    the_card_may_be_charged,
    it_changes_something,
    nothing_else_is_due,
)


async def ask(asked: Asked) -> Held | None:
    """The first rule that objects, or None: go."""
    for rule in RULES:
        held = await rule(asked)
        if held:
            return held
    return None


async def news_count(session: AsyncSession, batch: Batch) -> int:
    """How many inbox events there are that may end this case. Counted, for ids need not appear in their order."""
    kinds = sorted(batch.partings)
    if not kinds:
        return 0
    statement = (
        select(func.count())
        .select_from(InboxEvent)
        .where(InboxEvent.account_id == batch.account, col(InboxEvent.kind).in_(kinds))
    )
    return (await session.exec(statement)).one()


async def _attempts(asked: Asked, card: Card, amount: int) -> list[datetime]:
    """When this card was tried for this amount: our own attempts, and the provider's first one on this invoice."""
    if not card.fingerprint:
        return []
    since = asked.batch.now - timedelta(days=30)
    statement = select(Attempt.at).where(
        Attempt.card == card.fingerprint,
        Attempt.amount == amount,
        Attempt.at > since,
        col(Attempt.succeeded).is_(False),
    )
    ours = list((await asked.session.exec(statement)).all())
    return [*ours, asked.case.opened_at]
