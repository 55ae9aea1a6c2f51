"""What SendGrid's event webhook tells of our mails: read from its events, kept, and taken in (T4.3, P0.14).

What was delivered settles a doubt in the transaction that stores it, and leaves no row: there is one for every mail.
What says that an address takes no mail, or that its reader wants none, goes through the inbox like every fact. Of an
event only ids, codes and the digest of the address are kept.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from models import consent, doubts, facts, ledger
from models.consent_rows import Suppression
from models.customers import Contact
from models.tables import SENDGRID, Account, CaseRow, EffectRow, InboxEvent, TaskRow, wall
from models.touch import reader_of

KINDS: Final[dict[str, str]] = {
    "processed": "processed",
    "delivered": "delivered",
    "bounce": facts.MAIL_BOUNCED,
    "dropped": facts.MAIL_DROPPED,
    "spamreport": facts.MAIL_REPORTED,
    "unsubscribe": facts.UNSUBSCRIBED,
    "group_unsubscribe": facts.UNSUBSCRIBED,
}
"""SendGrid's kinds of event that mean something to us, and what."""
ARRIVED: Final = ("processed", "delivered")
LEARNED: Final = (facts.MAIL_BOUNCED, facts.MAIL_DROPPED, facts.MAIL_REPORTED)
EVIDENCE: Final = {facts.MAIL_BOUNCED: "bounced", facts.MAIL_DROPPED: "dropped"}
DROPS: Final = {
    "bounced address": "bounced",
    "invalid": "bounced",
    "spam reporting address": "complained",
    "unsubscribed address": "unsubscribed",
}
"""Why SendGrid drops a mail, where the reason lies in the address; other drops say nothing about it."""
LONGEST: Final = 255
_CODE: Final = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")
NOT_OURS: Final = "no mail of ours went to this address"


class UnreadableMailEvent(ValueError):
    """A signed event that cannot be read; the message names the field."""


@dataclass(frozen=True)
class MailEvent:
    """One event. `kind` is a fact's or one of `ARRIVED`, `effect` the key of the mail's effect, empty if not told.

    `said` is a status code (5.1.1) or one of `DROPS`' words.
    """

    event_id: str
    type: str
    kind: str
    at: datetime
    reader: str
    effect: str = ""
    said: str = ""


def read_event(said: Any) -> MailEvent | None:
    """Read one event of a batch; None for one that means nothing to us (an open, a click, a deferral, a blocked mail).

    Raises:
        UnreadableMailEvent: a field that is needed is missing, or not what it may be.
    """
    if not isinstance(said, dict):
        raise UnreadableMailEvent("each event is an object")
    kind = KINDS.get(_text(said, "event"))
    # Blocked is not the address's fault: a full box, a greylisting server, our own good name.
    if kind is None or (kind == facts.MAIL_BOUNCED and said.get("type") == "blocked"):
        return None
    return MailEvent(
        event_id=_text(said, "sg_event_id"),
        type=_text(said, "event"),
        kind=kind,
        at=_moment(said.get("timestamp")),
        reader=reader_of(_text(said, "email")),
        effect=_text(said, "effect") if said.get("effect") else "",
        said=_said(kind, said),
    )


async def take_in(session: AsyncSession, events: Sequence[MailEvent]) -> list[tuple[str, str]]:
    """Keep a batch: what became of each event, in order, as its state and the reason."""
    mails = await _mails_of(session, events)
    # Whoever writes to the ledger takes the case first; in one order, so that two batches never wait for each other.
    for case in sorted({mail.case_id for mail in mails.values() if mail.state in ("claimed", "in_doubt")}):
        await session.get(CaseRow, case, with_for_update=True)
    return [await _take_in_one(session, event, mails.get(event.effect)) for event in events]


async def _take_in_one(session: AsyncSession, event: MailEvent, mail: EffectRow | None) -> tuple[str, str]:
    if event.kind in ARRIVED:
        return await _arrived(session, event, mail)
    mail = mail or await _newest_mail_to(session, event.reader)
    if mail is None:
        return "ignored", NOT_OURS
    if event.effect and event.kind in EVIDENCE:
        await _tell(session, mail.key, EVIDENCE[event.kind])
    new = False
    for row in await _rows(session, event, mail):
        new = await ledger.insert_once(session, row) or new
    return ("pending", "") if new else ("duplicate", "")


async def _arrived(session: AsyncSession, event: MailEvent, mail: EffectRow | None) -> tuple[str, str]:
    if mail is None or mail.state not in ("claimed", "in_doubt"):
        return "ignored", "nothing about this mail is in doubt"
    await _tell(session, mail.key, event.kind)
    return "applied", f"SendGrid has the mail: {event.kind}"


async def _tell(session: AsyncSession, key: str, word: str) -> None:
    row = await session.get(EffectRow, key, with_for_update=True, populate_existing=True)
    if row:
        await doubts.close_task(session, key, await ledger.told_of(session, row, word))


async def _mails_of(session: AsyncSession, events: Sequence[MailEvent]) -> dict[str, EffectRow]:
    """The mails that events name, by the key of the effect."""
    keys = sorted({event.effect for event in events if event.effect})
    found: dict[str, EffectRow] = {}
    for start in range(0, len(keys), 500):
        statement = select(EffectRow).where(col(EffectRow.key).in_(keys[start : start + 500]))
        found |= {row.key: row for row in (await session.exec(statement)).all() if row.kind == "email"}
    return found


async def _newest_mail_to(session: AsyncSession, reader: str) -> EffectRow | None:
    """A bounce that comes late is told without the mail's own arguments."""
    statement = select(EffectRow).where(EffectRow.reader == reader, EffectRow.kind == "email")
    newest_first = (col(EffectRow.contact_on).desc().nulls_last(), col(EffectRow.at).desc())
    return (await session.exec(statement.order_by(*newest_first).limit(1))).first()


async def _rows(session: AsyncSession, event: MailEvent, mail: EffectRow) -> list[InboxEvent]:
    """The inbox rows of an event: itself, and for whoever wants no more mails the word that they leave them."""
    data = {"reader": event.reader, "said": event.said}
    row = _row(event, mail, event.kind, event.event_id, mail.key, data)
    rows = [] if event.kind == facts.UNSUBSCRIBED else [row]
    leaves = event.kind in (facts.UNSUBSCRIBED, facts.MAIL_REPORTED) or event.said in ("complained", "unsubscribed")
    for number, contact in enumerate(await _contacts(session, mail.account_id, event.reader) if leaves else []):
        event_id = f"{event.event_id}/leaves/{number}"
        rows.append(_row(event, mail, facts.UNSUBSCRIBED, event_id, contact, {}))
    return rows


async def _contacts(session: AsyncSession, account: str, reader: str) -> list[str]:
    """Who reads this address at the account; the empty id, for the whole account, if nobody is known by it."""
    rows = (await session.exec(select(Contact).where(Contact.account_id == account).order_by(col(Contact.id)))).all()
    return [row.id for row in rows if reader_of(row.email) == reader] or [""]


def _row(
    event: MailEvent, mail: EffectRow, kind: str, event_id: str, object_id: str, data: Mapping[str, str]
) -> InboxEvent:
    return InboxEvent(
        source=SENDGRID,
        event_id=event_id,
        type=event.type,
        kind=kind,
        account_id=mail.account_id,
        object_id=object_id,
        # A run's clock may be ahead of the machine's; what is older than a case is not told to it.
        occurred_at=max(event.at, mail.at),
        body=orjson.dumps({"data": data}),
    )


async def learn(session: AsyncSession, event: InboxEvent, said: Mapping[str, Any], lead: str) -> None:
    """Take in what an inbox row says of an address; who looks after the account, else `lead`, hears of a bounce."""
    word = str(said.get("said", ""))
    why = {facts.MAIL_BOUNCED: "bounced", facts.MAIL_REPORTED: "complained"}.get(event.kind, word)
    if event.kind == facts.MAIL_DROPPED and word == "other":
        await _ask(session, event, lead, "SendGrid dropped a mail", DROPPED)
    if why not in consent.WHY:
        return
    row = Suppression(
        reader=str(said.get("reader", "")),
        why=why,
        said="" if word in DROPS.values() else word,
        account_id=event.account_id,
        effect=event.object_id,
        at=event.occurred_at,
    )
    if await consent.suppress(session, row) and why == "bounced":
        await _ask(session, event, lead, "A customer's address takes no mail", BOUNCED)


BOUNCED: Final = (
    "A mail came back for good. Nothing more is mailed to this address, bills neither; banners still show. "
    "Find out the right address by another way and correct the contact: a new address is written to at once. If this "
    "one is right after all, take it off SendGrid's bounce list, then: holdfast addresses lift ADDRESS"
)
DROPPED: Final = (
    "SendGrid took a mail and did not send it, for a reason that lies not in the address. See its activity."
)


async def _ask(session: AsyncSession, event: InboxEvent, lead: str, title: str, body: str) -> None:
    mail = await session.get(EffectRow, event.object_id)
    account = await session.get(Account, event.account_id)
    about = (
        f"\n\nThe mail: {mail.title} of {mail.at:%Y-%m-%d}, to the {mail.what.get('to', '')} contact." if mail else ""
    )
    task = TaskRow(
        key=f"mail/{event.event_id}",
        account_id=event.account_id,
        case_id=mail.case_id if mail else "",
        owner=(account.owner if account else "") or lead,
        title=title,
        body=body + about,
        opened_at=event.occurred_at,
        due_at=event.occurred_at + timedelta(days=1),
    )
    await ledger.insert_once(session, task)


def _said(kind: str, said: Mapping[str, Any]) -> str:
    """One code or word; the sentence beside it quotes the address."""
    if kind == facts.MAIL_DROPPED:
        return DROPS.get(str(said.get("reason", "")).strip().lower(), "other")
    if kind != facts.MAIL_BOUNCED:
        return ""
    code = _CODE.search(f"{said.get('status', '')} {said.get('reason', '')}"[:500])
    return code.group() if code else ""


def _text(said: Mapping[str, Any], name: str) -> str:
    value = said.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST or not value.isprintable():
        shown = "missing" if value is None else "malformed"
        raise UnreadableMailEvent(f"{name} is {shown}; expected 1 to {LONGEST} printable characters")
    return value


def _moment(value: Any) -> datetime:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**33:
        raise UnreadableMailEvent("timestamp is missing or malformed; expected seconds since 1970")
    return datetime.fromtimestamp(value, UTC)


def unreadable(event_id: str, error: UnreadableMailEvent) -> InboxEvent:
    """The dead row of an event that cannot be read, so that somebody sees it; without its words, which may name a
    person."""
    return InboxEvent(
        source=SENDGRID,
        event_id=event_id,
        type="unreadable",
        occurred_at=wall(),
        body=b"{}",
        state="dead",
        reason=f"cannot be read: {error}",
        wall_settled_at=wall(),
    )
