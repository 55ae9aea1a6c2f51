"""What we keep ourselves about an account: tasks, risk signals, banners, facts of our own. Rows, so never in doubt."""

from typing import Any

from sqlalchemy import update
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession

from activities import letters
from activities.known import named_day
from activities.merge_fields import Fields
from activities.systems import Answer
from models import books, ledger
from models.cases import Banner, Batch, Deal, Offer, Risk, Task, Tell
from models.customers import Contract, DealRow, OfferRow
from models.health import alerts
from models.picture import Picture
from models.policy import PolicyFile
from models.tables import OURSELVES, Account, InboxEvent, Message, TaskRow


class Crm:
    """The built-in CRM: tables of ours behind the same verbs another CRM would serve."""

    kinds: tuple[str, ...] = ("task", "risk", "banner", "tell", "offer", "deal")

    def __init__(self, policy: PolicyFile, fields: Fields) -> None:
        self._policy = policy
        self._fields = fields

    async def write(self, session: AsyncSession, effect: Any, batch: Batch, picture: Picture) -> Answer:
        """Write the rows of one effect."""
        if isinstance(effect, Task):
            return await self._task(session, effect, batch, picture)
        if isinstance(effect, Risk):
            return await self._risk(session, effect, batch)
        if isinstance(effect, Banner):
            return await self._banner(session, effect, batch, picture)
        if isinstance(effect, Tell):
            return await self._tell(session, effect, batch)
        if isinstance(effect, Offer):
            return await self._offer(session, effect, batch)
        if isinstance(effect, Deal):
            return await self._deal(session, effect, batch)
        raise TypeError(f"the CRM does not do {effect!r}")

    async def _task(self, session: AsyncSession, effect: Task, batch: Batch, picture: Picture) -> Answer:
        policy = self._policy.for_segment(str(picture.readings.get("segment", "")))
        owner = effect.owner or str(picture.readings.get("owner", "")) or policy.people.csm_lead
        body = ""
        if effect.template:
            body = letters.render(effect.template, self._fields.of(batch, picture, policy, effect)).text
        acting = await books.acting_for(session, owner, batch.now.date(), policy.people.csm_lead)
        if acting != owner:
            body = f"{body}\n\nIn place of {owner}, who is not here.".strip()
        row = TaskRow(
            key=effect.key,
            account_id=batch.account,
            case_id=batch.case,
            owner=acting,
            title=effect.title,
            body=body,
            opened_at=batch.now,
            due_at=effect.due,
            answers=" ".join(effect.answers),
        )
        await ledger.insert_once(session, row)
        return Answer(reason=f"for {acting}")

    async def _risk(self, session: AsyncSession, effect: Risk, batch: Batch) -> Answer:
        if effect.raised:
            await alerts.raise_signal(session, batch.account, effect.signal, effect.key, batch.now)
        else:
            await alerts.clear_signal(session, batch.account, effect.signal, batch.now)
        return Answer()

    async def _banner(self, session: AsyncSession, effect: Banner, batch: Batch, picture: Picture) -> Answer:
        if not effect.template:
            await session.exec(
                update(Message)
                .where(
                    col(Message.case_id) == batch.case,
                    col(Message.channel) == "in_app",
                    col(Message.taken_down_at).is_(None),
                )
                .values(taken_down_at=batch.now)
            )
            return Answer()
        policy = self._policy.for_segment(str(picture.readings.get("segment", "")))
        person = picture.person("billing")
        fields = self._fields.of(batch, picture, policy, effect)
        letter = letters.render(effect.template, fields, locale=(person.locale if person else "") or "en")
        row = Message(
            key=effect.key,
            account_id=batch.account,
            case_id=batch.case,
            channel="in_app",
            template=effect.template,
            subject=letter.subject,
            text=letter.text,
            at=batch.now,
        )
        await ledger.insert_once(session, row)
        return Answer()

    async def _tell(self, session: AsyncSession, effect: Tell, batch: Batch) -> Answer:
        row = InboxEvent(
            source=OURSELVES,
            event_id=effect.key,
            type=effect.fact,
            kind=effect.fact,
            account_id=batch.account,
            # About the account itself: then it is a case of its day, and there may be another one some day.
            subject="" if batch.subject == batch.account else batch.subject,
            value=effect.value,
            occurred_at=batch.now,
            body=b"{}",
        )
        await ledger.insert_once(session, row)
        return Answer()

    async def _offer(self, session: AsyncSession, effect: Offer, batch: Batch) -> Answer:
        row = OfferRow(
            key=effect.key,
            account_id=batch.account,
            case_id=batch.case,
            what=effect.what,
            pct=effect.pct,
            months=effect.months,
            approver=effect.approver,
            made_at=batch.now,
            expires_at=effect.expires,
        )
        await ledger.insert_once(session, row)
        return Answer()

    async def _deal(self, session: AsyncSession, effect: Deal, batch: Batch) -> Answer:
        contract = await session.get(Contract, batch.subject.partition("/")[0])
        account = await session.get(Account, batch.account)
        row = await session.get(DealRow, batch.case) or DealRow(
            case_id=batch.case, account_id=batch.account, moved_at=batch.now
        )
        company = (account.company if account else "") or batch.account
        row.stage, row.moved_at = effect.stage, batch.now
        row.expansion_potential = effect.expansion_potential or row.expansion_potential
        if contract:
            # A signed contract names the date of its next term; the deal that is closed is about the one before.
            closes = effect.stage in ("Won", "Lost")
            day = (row.renewal_date or named_day(batch.subject)) if closes else None
            row.renewal_date = day or contract.renews_on
            row.name = f"Renewal - {company} - {row.renewal_date.year}"
            row.value, row.currency, row.contract_term = contract.value, contract.currency, contract.term
        session.add(row)
        return Answer()
