"""What our own ledger has lost (a database put back from a copy) and others still know: taken in again, each once.

Nothing here does anything to anybody. Rows are put back as they were, so that what was done is not done again.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from models import ledger
from models.customers import OfferRow
from models.tables import Access, Attempt, CaseRow, CaseSubject, EffectRow, Message, RiskSignal, TaskRow, wall

LEDGER_FOUND: Final = "ledger.found"
"""The kind of inbox row that puts back a row of ours; only `holdfast reconcile` writes it."""
PAID: Final = ("invoice.paid", "paid.by_retry", "paid.by_new_card")
LOST_WORDS: Final = "The words of this message were lost with the database."


async def take_in(session: AsyncSession, account: str, said: Mapping[str, Any]) -> None:
    """Put back what `said` holds: a `case`, its `ending`, an `effect` with the rows it wrote, or an `attempt`."""
    if "case" in said:
        await _case(session, account, said["case"])
    if "ending" in said:
        await _ending(session, said["ending"])
    if "effect" in said:
        await _effect(session, account, said["effect"])
    if "attempt" in said:
        await _attempt(session, account, said["attempt"])


async def _case(session: AsyncSession, account: str, said: Mapping[str, Any]) -> None:
    opened = datetime.fromisoformat(said["opened_at"])
    row = CaseRow(
        id=said["id"],
        playbook=said["playbook"],
        account_id=account,
        subject=said["subject"],
        lane=said["lane"],
        started=True,
        at_stake=said["at_stake"],
        currency=said["currency"],
        policy_version=said["policy_version"],
        opened_at=opened,
        # Inserted as ended where its run is, for only one may be open for an account.
        ended=bool(said.get("over")),
        state="ended" if said.get("over") else "open",
    )
    if await ledger.insert_once(session, row):
        subject = CaseSubject(case_id=row.id, subject=row.subject, at_stake=row.at_stake, joined_at=opened)
        await ledger.insert_once(session, subject)


async def _ending(session: AsyncSession, said: Mapping[str, Any]) -> None:
    case = await session.get(CaseRow, said["case"], with_for_update=True)
    if case is None or case.outcome:
        return
    case.ended, case.state, case.ended_at = True, "ended", datetime.fromisoformat(said["at"])
    case.outcome, case.reason, case.stage = said["outcome"], said["reason"], said["outcome"]
    case.next_title, case.next_at = "", None
    session.add(case)
    if said["reason"] in PAID:
        for subject in (await session.exec(select(CaseSubject).where(CaseSubject.case_id == case.id))).all():
            subject.fate = subject.fate or "paid"
            session.add(subject)


async def _effect(session: AsyncSession, account: str, said: Mapping[str, Any]) -> None:
    at = datetime.fromisoformat(said["at"])
    # What one step did has one business time; the ledger keeps the order too.
    claimed = min(at, wall()) + timedelta(microseconds=said["number"])
    row = EffectRow(
        key=said["key"],
        case_id=said["case"],
        account_id=account,
        playbook=said["playbook"],
        step=said["step"],
        kind=said["kind"],
        title=said["title"],
        what=said["what"],
        state=said["state"],
        reason=said["reason"],
        detail={"found": "in the run's history"},
        at=at,
        wall_claimed_at=claimed,
        wall_settled_at=wall(),
    )
    if not await ledger.insert_once(session, row):
        # A copy made while a step was under way has its claim and not its end.
        known = await session.get(EffectRow, row.key)
        if known is None or known.state not in ("claimed", "in_doubt"):
            return
        await ledger.settle(session, row.key, said["state"], row.reason, row.detail)
    if row.state == "done":
        await _rows_it_wrote(session, row, at, said["template"])


async def _rows_it_wrote(session: AsyncSession, row: EffectRow, at: datetime, template: str) -> None:
    """The rows of ours that later effects depend on; what only people read comes back without its words."""
    what = row.what
    ids: dict[str, Any] = {"key": row.key, "account_id": row.account_id}
    if row.kind == "access":
        known = await session.get(Access, row.account_id, with_for_update=True)
        if known is None or known.since < at:
            await session.merge(Access(account_id=row.account_id, level=what["level"], key=row.key, since=at))
    elif row.kind == "risk":
        if what["raised"]:
            await ledger.insert_once(session, RiskSignal(**ids, signal=what["signal"], raised_at=at))
        else:
            raised = select(RiskSignal).where(
                RiskSignal.account_id == row.account_id, RiskSignal.signal == what["signal"]
            )
            for signal in (await session.exec(raised)).all():
                signal.cleared_at = signal.cleared_at or at
                session.add(signal)
    elif row.kind == "task":
        task = TaskRow(
            **ids,
            case_id=row.case_id,
            owner=what["owner"],
            title=row.title,
            body=LOST_WORDS,
            opened_at=at,
            due_at=datetime.fromisoformat(what["due"]),
            answers=" ".join(what["answers"]),
        )
        await ledger.insert_once(session, task)
    elif row.kind == "offer":
        offer = OfferRow(
            **ids,
            case_id=row.case_id,
            what=what["what"],
            pct=what["pct"],
            months=what["months"],
            approver=what["approver"],
            made_at=at,
            expires_at=datetime.fromisoformat(what["expires"]),
        )
        await ledger.insert_once(session, offer)
    elif row.kind in ("email", "banner") and template:
        message = Message(
            **ids,
            case_id=row.case_id,
            channel="email" if row.kind == "email" else "in_app",
            template=template,
            subject=row.title,
            text=LOST_WORDS,
            at=at,
        )
        await ledger.insert_once(session, message)
    elif row.kind == "banner":
        shown = select(Message).where(Message.case_id == row.case_id, Message.channel == "in_app")
        for message in (await session.exec(shown)).all():
            message.taken_down_at = message.taken_down_at or at
            session.add(message)


async def _attempt(session: AsyncSession, account: str, said: Mapping[str, Any]) -> None:
    attempt = Attempt(
        key=said["key"],
        account_id=account,
        invoice=said["invoice"],
        payment_method=said["payment_method"],
        card=said["card"],
        network=said["network"],
        amount=said["amount"],
        currency=said["currency"],
        at=datetime.fromisoformat(said["at"]),
        succeeded=said["succeeded"],
        decline=said["decline"],
    )
    await ledger.insert_once(session, attempt)
