"""What customers see against what their cases say: access to the product, and mails at SendGrid."""

from collections.abc import AsyncIterator
from typing import Final

from sqlmodel import col, select

from activities.messages import ActivityClosed, SendGridMail
from models import facts
from models.tables import Access, CaseRow, CaseSubject, InboxEvent, Message, wall
from workers.audit import LIMITED_ENDS
from workers.differences import PAGE, Difference, Sides
from workflows import PLAYBOOKS
from workflows.steps import name_of

ABOUT_INVOICES: Final = frozenset(name_of(each) for each in PLAYBOOKS if each.watches == "invoices")
"""The playbooks that take access away and give it back."""
SETTLED: Final = ("paid", "void", "uncollectible")


async def access_and_cases(sides: Sides) -> AsyncIterator[Difference]:
    """Accounts that are restricted though nothing is owed any more and no case of theirs is open."""
    after = ""
    while True:
        async with sides.database.reading() as session:
            statement = select(Access).where(Access.level != "full", col(Access.account_id) > after)
            rows = (await session.exec(statement.order_by(col(Access.account_id)).limit(PAGE))).all()
        for row in rows:
            sides.looked_at["restricted accounts"] += 1
            async for difference in _access(sides, row):
                yield difference
        if len(rows) < PAGE:
            return
        after = rows[-1].account_id


async def _access(sides: Sides, access: Access) -> AsyncIterator[Difference]:
    async with sides.database.reading() as session:
        statement = select(CaseRow).where(CaseRow.account_id == access.account_id)
        cases = list((await session.exec(statement.order_by(col(CaseRow.opened_at)))).all())
        owed = select(CaseSubject.subject).where(
            col(CaseSubject.case_id).in_([case.id for case in cases if case.playbook == "payment-failure"]),
            CaseSubject.fate == "",
        )
        subjects = sorted(set((await session.exec(owed)).all()))
    cases = [case for case in cases if case.playbook in ABOUT_INVOICES]
    if any(not case.ended for case in cases) or not cases:
        return
    last = cases[-1]
    statuses = [str((await sides.stripe.v1.invoices.retrieve_async(each)).status) for each in subjects]
    if any(status not in SETTLED for status in statuses):
        return
    if last.outcome in LIMITED_ENDS and not subjects:
        return
    subject = subjects[0] if subjects else last.subject
    event = f"reconcile/{subject}/access"
    what = f"{access.account_id} is {access.level}, but {last.id} ended {last.outcome} and nothing is owed any more"
    async with sides.database.reading() as session:
        told = (await session.exec(select(InboxEvent.id).where(InboxEvent.event_id == event))).first()
    if told is None:
        yield Difference(
            "still restricted",
            what,
            "say again that it is paid, so that reinstatement gives the access back",
            sides.says(facts.INVOICE_PAID, event, access.account_id, subject, wall()),
        )
        return
    async for difference in sides.for_a_person("still restricted", what, event, access.account_id, last.id):
        yield difference


async def mails_and_sendgrid(sides: Sides) -> AsyncIterator[Difference]:
    """Mails that the ledger has as sent, asked for one by one at SendGrid where its activity may be asked."""
    mail = sides.look_ups.outside.get("email")
    if not isinstance(mail, SendGridMail):
        sides.notes.append("mails were not compared: SENDGRID_API_KEY is not set, mails stay in the outbox")
        return
    after = ""
    while True:
        async with sides.database.reading() as session:
            statement = select(Message).where(
                Message.channel == "email", col(Message.at) >= sides.since, col(Message.key) > after
            )
            rows = (await session.exec(statement.order_by(col(Message.key)).limit(PAGE))).all()
        for row in rows:
            try:
                found = await mail.activity_of(row.key)
            except ActivityClosed as error:
                sides.notes.append(f"mails were not compared: {error}")
                return
            sides.looked_at["mails"] += 1
            if found:
                continue
            what = f"{row.key}: the ledger has this mail as sent, but SendGrid's activity does not show it"
            async for difference in sides.for_a_person(
                "mail not at SendGrid", what, row.key, row.account_id, row.case_id
            ):
                yield difference
        if len(rows) < PAGE:
            return
        after = rows[-1].key
