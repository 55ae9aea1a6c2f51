"""Who wants which mails, and which addresses take none: what people chose, and the gate's two rules."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from models.asking import Asked, Held
from models.cases import Email
from models.consent_rows import Suppression, TopicChoice
from models.customers import Contact
from models.tables import Account
from models.topics import TOPICS
from models.touch import reader_of

WHY: Final = {"bounced": "the address takes no mail", "complained": "the reader reported our mail as spam"}


class NotSuppressed(LookupError):
    """Nothing stands against the address."""


async def the_address_takes_mail(asked: Asked) -> Held | None:
    """Nothing more is mailed to an address that bounced; after a complaint, only what has to be said.

    A mail that bounced once bounces again, and each time costs our other mails their good name.
    """
    if not isinstance(asked.effect, Email) or asked.touch is None or not asked.touch.reader:
        return None
    statement = select(Suppression).where(
        Suppression.reader == asked.touch.reader, col(Suppression.wall_lifted_at).is_(None)
    )
    for row in (await asked.session.exec(statement.order_by(col(Suppression.why)))).all():
        if row.why == "bounced" or asked.touch.nature != "required":
            said = f" ({row.said})" if row.said else ""
            return Held(f"address_{row.why}", f"{WHY[row.why]}: told on {row.at:%d %b %Y}{said}")
    return None


async def the_topic_is_wanted(asked: Asked) -> Held | None:
    """Mail about a topic that its reader switched off is not sent (T4.3); what has to be said is."""
    topic = TOPICS.get(asked.topic)
    if topic is None or not isinstance(asked.effect, Email):
        return None
    if asked.touch is not None and asked.touch.nature == "required":
        return None
    person = asked.picture.person(asked.effect.to)
    chosen = await asked.session.get(TopicChoice, (asked.batch.account, person.id if person else "", topic.name))
    if chosen is None or chosen.wanted:
        return None
    return Held("topic_not_wanted", f"wants no mails about {topic.title!r} since {chosen.at:%d %b %Y}")


async def choices(session: AsyncSession, account: str, contact: str) -> dict[str, bool]:
    """Each topic of `TOPICS`, and whether this person gets mails about it now. Reads only."""
    statement = select(TopicChoice).where(TopicChoice.account_id == account, TopicChoice.contact_id == contact)
    said = {row.topic: row.wanted for row in (await session.exec(statement)).all()}
    out = await _opted_out(session, account, contact)
    return {name: said.get(name, True) and not (topic.marketing and out) for name, topic in TOPICS.items()}


async def choose(session: AsyncSession, account: str, contact: str, wanted: Mapping[str, bool], at: datetime) -> None:
    """Keep what a person chose at `at`; older words do not undo newer ones, and unknown topics are left out.

    Who is unsubscribed and now wants something again is unsubscribed no more; the other topics stay switched off.
    """
    row = await session.get(Contact, contact) if contact else await session.get(Account, account)
    said = {name: bool(yes) for name, yes in wanted.items() if name in TOPICS}
    back = any(yes and TOPICS[name].marketing for name, yes in said.items())
    if row and row.opted_out_at and at >= row.opted_out_at and back:
        said = {name: False for name, topic in TOPICS.items() if topic.marketing} | said
        row.opted_out_at = None
        session.add(row)
    for name, yes in said.items():
        known = await session.get(TopicChoice, (account, contact, name), with_for_update=True)
        if known is None:
            session.add(TopicChoice(account_id=account, contact_id=contact, topic=name, wanted=yes, at=at))
        elif known.at <= at:
            known.wanted, known.at = yes, at
            session.add(known)
    await session.flush()


async def suppress(session: AsyncSession, row: Suppression) -> bool:
    """Keep that an address takes no mail. False: that is known, or the address was lifted after this was said."""
    known = await session.get(Suppression, (row.reader, row.why), with_for_update=True)
    if known is None:
        session.add(row)
        await session.flush()
        return True
    if known.wall_lifted_at is None or row.at <= known.wall_lifted_at:
        return False
    known.said, known.account_id, known.effect, known.at = row.said, row.account_id, row.effect, row.at
    known.lifted_by, known.wall_lifted_at = "", None
    session.add(known)
    return True


async def standing(session: AsyncSession) -> list[Suppression]:
    """Every suppression that is not lifted, the newest first."""
    statement = select(Suppression).where(col(Suppression.wall_lifted_at).is_(None))
    return list((await session.exec(statement.order_by(col(Suppression.at).desc(), col(Suppression.reader)))).all())


async def lift(session: AsyncSession, address: str, by: str, now: datetime) -> list[Suppression]:
    """Let mail go to an address again, after somebody has made sure of it. The rows that stood.

    Raises:
        NotSuppressed: none stands.
    """
    statement = select(Suppression).where(
        Suppression.reader == reader_of(address), col(Suppression.wall_lifted_at).is_(None)
    )
    rows = list((await session.exec(statement.with_for_update())).all())
    if not rows:
        raise NotSuppressed("nothing stands against this address: mail to it is not held back")
    for row in rows:
        row.lifted_by, row.wall_lifted_at = by, now
        session.add(row)
    return rows


async def _opted_out(session: AsyncSession, account: str, contact: str) -> bool:
    whole = await session.get(Account, account)
    person = await session.get(Contact, contact) if contact else None
    return bool((whole and whole.opted_out_at) or (person and person.opted_out_at))
