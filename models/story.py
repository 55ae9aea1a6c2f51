"""An account's story: every contact and every one that was not made, with the reason, beside cases and tasks."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlmodel import and_, col, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from models.consent import WHY
from models.consent_rows import Suppression, TopicChoice
from models.contact_rows import Deferral, Hold
from models.customers import OfferRow
from models.tables import Account, CaseNote, CaseRow, EffectRow, TaskRow
from models.topics import TOPICS

CONTACTS: Final = ("email", "banner")
STATES: Final = {
    "done": "sent",
    "dropped": "not sent",
    "refused": "not sent",
    "in_doubt": "in doubt",
    "claimed": "under way",
}


class NoSuchAccount(LookupError):
    """Nothing is known of the account: it has no row and no case."""


@dataclass(frozen=True)
class Entry:
    """One line.

    `what`: sent, not sent, waits, in doubt, under way, done, not done, case, task, offer, said, hold, address.
    `rule` is the gate's, where it decided; `key` the effect's, where there is one.
    """

    at: datetime
    what: str
    text: str
    why: str = ""
    rule: str = ""
    case: str = ""
    key: str = ""


@dataclass(frozen=True)
class Story:
    """An account's cases, newest first, and all that happened, oldest first."""

    account: str
    cases: list[CaseRow]
    entries: list[Entry]


async def cases_of(session: AsyncSession, account: str) -> list[CaseRow]:
    """An account's cases, newest first; there may be none.

    Raises:
        NoSuchAccount: nothing is known of it.
    """
    statement = select(CaseRow).where(CaseRow.account_id == account)
    statement = statement.order_by(col(CaseRow.opened_at).desc(), col(CaseRow.id))
    cases = list((await session.exec(statement)).all())
    if not cases and await session.get(Account, account) is None:
        raise NoSuchAccount(f"there is no account {account!r}: it has no row and no case")
    return cases


async def story_of(session: AsyncSession, account: str) -> Story:
    """Tell the story of an account.

    Raises:
        NoSuchAccount: nothing is known of it.
    """
    cases = await cases_of(session, account)
    # Of one moment, what was claimed first stands first; a case opens before and closes after all else.
    lines = [(row.opened_at, 0, _opened(row)) for row in cases]
    effects = select(EffectRow).where(EffectRow.account_id == account)
    for row in (await session.exec(effects.order_by(col(EffectRow.wall_claimed_at), col(EffectRow.key)))).all():
        lines.append((row.at, 2, _effect(row)))
    deferrals = select(Deferral).where(Deferral.account_id == account).order_by(col(Deferral.id))
    lines += [(row.at, 2, _deferral(row)) for row in (await session.exec(deferrals)).all()]
    notes = select(CaseNote).where(col(CaseNote.case_id).in_([row.id for row in cases])).order_by(col(CaseNote.id))
    lines += [(row.at, 1, _note(row)) for row in (await session.exec(notes)).all()]
    tasks = select(TaskRow).where(TaskRow.account_id == account, col(TaskRow.done_at).is_not(None))
    for task in (await session.exec(tasks)).all():
        if task.done_at:
            said = Entry(task.done_at, "task", f"{task.title}: {task.outcome}", f"by {task.owner}", "", task.case_id)
            lines.append((task.done_at, 1, said))
    offers = select(OfferRow).where(OfferRow.account_id == account, col(OfferRow.answered_at).is_not(None))
    for offer in (await session.exec(offers)).all():
        if offer.answered_at:
            terms = f"{offer.pct} % off for {offer.months} months" if offer.what == "discount" else "a pause"
            answered = Entry(offer.answered_at, "offer", f"{terms}: {offer.state}", "", "", offer.case_id, offer.key)
            lines.append((offer.answered_at, 1, answered))
    told = select(Suppression).where(Suppression.account_id == account).order_by(col(Suppression.at))
    lines += [(entry.at, 3, entry) for row in (await session.exec(told)).all() for entry in _suppression(row)]
    chosen = select(TopicChoice).where(TopicChoice.account_id == account)
    order = (col(TopicChoice.contact_id), col(TopicChoice.topic))
    lines += [(row.at, 1, _choice(row)) for row in (await session.exec(chosen.order_by(*order))).all()]
    for hold in await _holds(session, account):
        lines += [(entry.at, 1, entry) for entry in _hold(hold)]
    lines += [(row.ended_at, 3, _ended(row)) for row in cases if row.ended_at]
    return Story(account, cases, [entry for _, _, entry in sorted(lines, key=lambda line: line[:2])])


def _opened(row: CaseRow) -> Entry:
    return Entry(row.opened_at, "case", f"{row.playbook} opened", f"about {row.subject}", "", row.id)


def _ended(row: CaseRow) -> Entry:
    return Entry(row.ended_at or row.opened_at, "case", f"{row.playbook} ended: {row.outcome}", row.reason, "", row.id)


def _effect(row: EffectRow) -> Entry:
    what = STATES[row.state]
    if row.kind not in CONTACTS or not row.nature:
        what = what.replace("sent", "done")
    told = row.detail.get("told", "") if row.state == "done" else ""
    why = f"{row.reason}; SendGrid: {told}" if told in ("bounced", "dropped") else row.reason
    return Entry(row.at, what, row.title, why, row.rule, row.case_id, row.key)


def _suppression(row: Suppression) -> list[Entry]:
    said = f"told of {row.effect}" + (f": {row.said}" if row.said else "")
    found = [Entry(row.at, "address", WHY[row.why], said, f"address_{row.why}")]
    if row.wall_lifted_at:
        found.append(Entry(row.wall_lifted_at, "address", "the address is written to again", f"by {row.lifted_by}"))
    return found


def _choice(row: TopicChoice) -> Entry:
    title = TOPICS[row.topic].title if row.topic in TOPICS else row.topic
    wants = "wants mails" if row.wanted else "wants no mails"
    return Entry(row.at, "said", f"{wants} about {title!r}", f"by {row.contact_id or 'the billing contact'}")


def _deferral(row: Deferral) -> Entry:
    why = f"{row.reason}; until {row.until:%d %b %Y, %H:%M} UTC"
    return Entry(row.at, "waits", row.title, why, row.rule, row.case_id, row.key)


def _note(row: CaseNote) -> Entry:
    return Entry(row.at, "said", row.text, f"by {row.by}", "", row.case_id)


def _hold(row: Hold) -> list[Entry]:
    what = "everything" if row.scope == "all" else f"this {row.scope}"
    found = [Entry(row.wall_placed_at, "hold", f"{what} put on hold", f"by {row.placed_by}: {row.reason}".rstrip(": "))]
    if row.wall_released_at:
        found.append(Entry(row.wall_released_at, "hold", f"{what} released", f"by {row.released_by}"))
    return found


async def _holds(session: AsyncSession, account: str) -> list[Hold]:
    mine = and_(Hold.scope == "account", Hold.name == account)
    statement = select(Hold).where(or_(Hold.scope == "all", mine)).order_by(col(Hold.id))
    return list((await session.exec(statement)).all())
