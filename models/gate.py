"""The send gate: may this effect happen now? Asked in the transaction that claims it, so the answer is still true.

Every rule answers go (None), wait or drop, with its name and a reason for the ledger. docs/contact-rules.md says in
words what they come to. Rules about contacts with customers are in files of their own: holds, consent, precedence,
hours, caps.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlmodel import and_, col, func, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from models.asking import Asked, Held, LookAgain, Rule, one_at_a_time
from models.caps import no_message_too_often, the_caps_hold
from models.cases import Batch, CancelSubscription, Charge, Email, Offer, SetAccess, Task
from models.consent import the_address_takes_mail, the_topic_is_wanted
from models.customers import Contact, OfferRow
from models.declines import broken_rule
from models.holds import nothing_is_on_hold
from models.offers import HALF_PCT, MOST_MONTHS
from models.picture import Card
from models.precedence import no_favours_in_trouble, nobody_more_urgent_speaks
from models.tables import Access, Account, Attempt, CaseRow, CaseSubject, InboxEvent
from models.touch import it_is_their_working_time

__all__ = ["RULES", "Asked", "Held", "LookAgain", "ask", "news_count"]

ON_ITS_WAY: Final = timedelta(days=1)
"""How long the gate waits before it asks again whether a slow payment has arrived."""


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
        if owed.decline and owed.decline.why_not_retried:
            return Held("decline_class", owed.decline.why_not_retried)
    card = owed.fresh_card or owed.failed_card or Card(id="")
    earlier = await _attempts(asked, card, owed.invoice.amount_remaining)
    rule = broken_rule(card.network, earlier, asked.batch.now)
    if rule:
        return Held("network_cap", f"{rule.limit} attempts in {rule.window.days} days on one card: {rule.source}")
    return None


async def no_payment_is_on_its_way(asked: Asked) -> Held | None:
    """While all that is owed is on its way by a slow method, nobody is charged, reminded or restricted.

    Asked again a day later, for a bank takes days; news of the money wakes the run before.
    """
    effect = asked.effect
    takes = isinstance(effect, Charge | Email | Task | CancelSubscription)
    takes = takes or (isinstance(effect, SetAccess) and effect.level != "full")
    if asked.parting or not takes:
        return None
    owed = [each for each in asked.picture.owed.values() if each.invoice.is_open]
    if isinstance(effect, Charge):
        owed = [each for each in owed if each.invoice.id == effect.invoice]
    if not owed or not all(each.processing for each in owed):
        return None
    return Held(
        "payment_on_its_way",
        "a payment by a slow method is on its way; nobody is asked for it meanwhile",
        until=asked.batch.now + ON_ITS_WAY,
    )


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


async def nobody_opted_out(asked: Asked) -> Held | None:
    """Mail that is not about the service itself goes to nobody who opted out (P0.4, T4.3)."""
    if not isinstance(asked.effect, Email) or not asked.effect.marketing:
        return None
    account = await asked.session.get(Account, asked.batch.account)
    person = asked.picture.person(asked.effect.to)
    contact = await asked.session.get(Contact, person.id) if person and person.id else None
    if (account and account.opted_out_at) or (contact and contact.opted_out_at):
        return Held("opted_out", "opted out of mails that are not about the service")
    return None


async def the_offer_is_allowed(asked: Asked) -> Held | None:
    """A discount above the limit needs an executive's word; one a year, and never two at once (O2, O7, O8).

    A pause of more than three months is never offered (O3).
    """
    offer = asked.effect
    if not isinstance(offer, Offer):
        return None
    rules = asked.policy.offers
    over = offer.months > MOST_MONTHS and (offer.what == "pause" or not offer.approver)
    if over or offer.months < 1:
        return Held("offer_limit", f"{offer.months} months: an offer is for 1 to {MOST_MONTHS}")
    if offer.what == "pause":
        return None
    if not 0 < offer.pct < HALF_PCT or (offer.pct > rules.max_pct and not offer.approver):
        return Held("offer_limit", f"{offer.pct} % is beyond the limit of {rules.max_pct} %")
    await one_at_a_time(asked, asked.batch.account)
    since = asked.batch.now - timedelta(days=rules.every_days)
    statement = select(OfferRow).where(
        OfferRow.account_id == asked.batch.account,
        OfferRow.what == "discount",
        OfferRow.key != offer.key,
        or_(
            and_(OfferRow.state == "accepted", col(OfferRow.answered_at) > since),
            and_(OfferRow.state == "made", col(OfferRow.expires_at) > asked.batch.now),
        ),
    )
    other = (await asked.session.exec(statement)).first()
    if other:
        return Held(
            "one_discount", f"a discount was {other.state} on {other.made_at:%d %b %Y}: one in a year, never two"
        )
    return None


async def the_offer_stands(asked: Asked) -> Held | None:
    """A mail that speaks of an offer goes only while there is one: made and not expired, or accepted (O12)."""
    if not isinstance(asked.effect, Email) or not asked.effect.offer:
        return None
    row = await asked.session.get(OfferRow, asked.effect.offer)
    if row is None:
        return Held("offer_stands", "the offer it speaks of was not made")
    if row.state in ("declined", "withdrawn"):
        return Held("offer_stands", f"the offer it speaks of was {row.state}")
    if row.state == "made" and row.expires_at <= asked.batch.now:
        return Held("offer_stands", "the offer it speaks of has expired")
    return None


RULES: Final[tuple[Rule, ...]] = (
    the_case_is_open,
    nothing_new_was_heard,
    nothing_is_on_hold,
    no_payment_is_on_its_way,
    the_card_may_be_charged,
    it_changes_something,
    nothing_else_is_due,
    the_address_takes_mail,
    nobody_opted_out,
    the_topic_is_wanted,
    no_favours_in_trouble,
    nobody_more_urgent_speaks,
    the_offer_is_allowed,
    the_offer_stands,
    no_message_too_often,
    it_is_their_working_time,
    the_caps_hold,
)
"""Caps come last: they count for the day on which it really goes, and take locks."""
BEFORE_THE_END: Final[tuple[Rule, ...]] = (nothing_is_on_hold, nobody_more_urgent_speaks, it_is_their_working_time)
"""What can make a last step wait. Asked before its case is closed: afterwards nobody looks at the money any more."""


async def ask(asked: Asked, rules: Sequence[Rule] | None = None) -> Held | None:
    """The first rule that objects, of all of them unless some are named; None: go."""
    for rule in RULES if rules is None else rules:
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
