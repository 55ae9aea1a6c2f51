"""What our tables say that a CRM outside does not say yet, record by record, ready to be written (I1.2 to I1.5).

Found by comparing, not by being told: whoever opens a task, moves a deal or scores an account knows nothing of the CRM,
and what was missed in one pass is found in the next. One file: the five looks are one rule over five tables.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, case, literal
from sqlalchemy.orm import aliased
from sqlmodel import and_, col, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from models.crm import CrmSettings, Kind, Record, Value
from models.crm_rows import CrmRecord
from models.customers import DealRow, Owner
from models.health.scorecard import default_band
from models.money import major
from models.tables import Account, CaseRow, RiskSignal, TaskRow

OF_OURS: Final = "crm/"
"""Tasks about the CRM itself; they are not written into it."""
LOOKS_BACK: Final = timedelta(days=30)
"""What ended longer ago than this is not written any more, however long the CRM was away."""
CLOSED_STAGES: Final = ("Won", "Lost")
AGAIN: Final = "again"
"""A person's answer to such a task: it was put right, try again."""
OPEN: Final = "open"
DONE: Final = "done"
ON: Final = "on"
OFF: Final = "off"
SINCE: Final = "mirror/since"
"""The row that remembers when the CRM was switched on: what had ended by then is history and stays here."""


@dataclass(frozen=True)
class Due:
    """One record to be written, as it is now. `version` is what is compared with what was written last."""

    key: str
    record: Record
    account_id: str
    version: str
    case_id: str = ""
    seen_at: datetime | None = None


@dataclass(frozen=True)
class Asked:
    """What is asked of the database: by which settings, now (the machine's clock), at most how many, back to when."""

    session: AsyncSession
    settings: CrmSettings
    now: datetime
    most: int
    since: datetime
    fallback_owner: str

    def about(self, table: Any) -> ColumnElement[bool]:
        """Rows of accounts that are written."""
        return and_(col(Account.id) == table.account_id, self.is_written())

    def is_written(self) -> ColumnElement[bool]:
        """The account's segment is written, and its company waits neither for a person nor for its time.

        What belongs to a company that waits would otherwise stand at the head of every pass, and keep the rest out.
        """
        company = aliased(CrmRecord)
        waits = select(company.key).where(
            col(company.key) == literal("company/") + col(Account.id),
            or_(
                col(company.state) == "refused",
                and_(
                    col(company.wall_next_try_at) > self.now,
                    or_(col(company.state) != "in_doubt", col(company.remote_id) == ""),
                ),
            ),
        )
        segments = self.settings.segments
        return and_(~waits.exists(), col(Account.segment).in_(segments) if segments else literal(True))

    def ready(self, version: Any) -> ColumnElement[bool]:
        """Not written in this version yet, and neither waiting for its time nor for a person."""
        again = and_(
            col(CrmRecord.state) != "refused",
            col(CrmRecord.wall_next_try_at) <= self.now,
            or_(col(CrmRecord.written) != version, col(CrmRecord.state) != "done"),
        )
        return or_(col(CrmRecord.key).is_(None), again)

    def fresh_enough(self, ended_at: Any) -> ColumnElement[bool]:
        """Still going on, or ended since the CRM was switched on, and not too long ago."""
        return or_(ended_at.is_(None), ended_at >= max(self.since, self.now - LOOKS_BACK))

    async def address_of(self, handle: str) -> str:
        """The e-mail address of somebody of ours, by which a CRM knows its users; the lead's where there is none."""
        for each in (handle, self.fallback_owner):
            owner = await self.session.get(Owner, each) if each else None
            if owner and owner.email:
                return owner.email
        return ""


def status_of(health: int) -> str:
    """The band of a health score (H3.2)."""
    return default_band(health).title.replace(" ", "-")


async def companies(asked: Asked) -> list[Due]:
    """Scored accounts that no company carries yet, and companies whose account has changed since."""
    key = literal("company/") + col(Account.id)
    statement = (
        select(Account)
        .outerjoin(CrmRecord, col(CrmRecord.key) == key)
        .where(
            or_(
                and_(col(CrmRecord.key).is_(None), col(Account.health).is_not(None)),
                and_(
                    col(CrmRecord.key).is_not(None),
                    col(CrmRecord.state) != "refused",
                    col(CrmRecord.wall_next_try_at) <= asked.now,
                    or_(
                        col(CrmRecord.seen_at).is_distinct_from(col(Account.wall_updated_at)),
                        col(CrmRecord.state) != "done",
                    ),
                ),
            )
        )
        .order_by(col(Account.id))
        .limit(asked.most)
    )
    if asked.settings.segments:
        statement = statement.where(col(Account.segment).in_(asked.settings.segments))
    return [await company_of(asked, account) for account in (await asked.session.exec(statement)).all()]


async def company_of(asked: Asked, account: Account) -> Due:
    """The company record of an account, as it should be (H3.3)."""
    fields: dict[str, Value] = {
        "name": account.company or account.id,
        "segment": account.segment,
        "owner": await asked.address_of(account.owner),
        "plan": account.plan,
        "mrr": major(account.mrr, account.currency),
    }
    if account.health is not None:
        signals = select(RiskSignal.signal).where(
            RiskSignal.account_id == account.id, col(RiskSignal.cleared_at).is_(None)
        )
        why = ", ".join(sorted({each.replace("_", " ") for each in (await asked.session.exec(signals)).all()}))
        status = status_of(account.health)
        fields |= {
            "health_score": account.health,
            "health_status": status,
            "health_text": f"Health: {status} ({account.health}/100) - {why or 'no risk signal'}",
            "health_updated": account.wall_updated_at,
        }
    return Due(
        key=f"company/{account.id}",
        record=Record("company", account.id, fields),
        account_id=account.id,
        version=account.wall_updated_at.isoformat(),
        seen_at=account.wall_updated_at,
    )


async def at_risk(asked: Asked) -> list[Due]:
    """Accounts that belong on the at-risk list and are not on it, and the other way round (H3.4, T3.8)."""
    if not asked.settings.at_risk_list:
        return []
    signal = select(RiskSignal.account_id).where(col(RiskSignal.cleared_at).is_(None))
    belongs = case(
        (or_(col(Account.health) < asked.settings.at_risk_health, col(Account.id).in_(signal)), literal(ON)),
        else_=literal(OFF),
    )
    statement = (
        select(Account, belongs)
        .outerjoin(CrmRecord, col(CrmRecord.key) == literal("at_risk/") + col(Account.id))
        .where(asked.ready(belongs), asked.is_written(), or_(col(CrmRecord.key).is_not(None), belongs == ON))
        .order_by(col(Account.id))
        .limit(asked.most)
    )
    return [
        Due(
            key=f"at_risk/{account.id}",
            record=Record("at_risk", account.id, {"on": version == ON}),
            account_id=account.id,
            version=version,
        )
        for account, version in (await asked.session.exec(statement)).all()
    ]


async def deals(asked: Asked) -> list[Due]:
    """Renewal deals that were opened or moved (P6.14, P6.15)."""
    version = col(DealRow.stage) + literal("|") + col(DealRow.expansion_potential)
    statement = (
        select(DealRow, Account)
        .join(Account, asked.about(DealRow))
        .outerjoin(CrmRecord, col(CrmRecord.key) == literal("deal/") + col(DealRow.case_id))
        .where(
            asked.ready(version),
            or_(
                col(CrmRecord.key).is_not(None),
                col(DealRow.stage).not_in(CLOSED_STAGES),
                col(DealRow.moved_at) >= max(asked.since, asked.now - LOOKS_BACK),
            ),
        )
        .order_by(col(DealRow.case_id))
        .limit(asked.most)
    )
    return [
        Due(
            key=f"deal/{deal.case_id}",
            record=Record(
                "deal",
                deal.case_id,
                {
                    "name": deal.name,
                    "stage": deal.stage,
                    "value": major(deal.value, deal.currency),
                    "renewal_date": deal.renewal_date,
                    "contract_term": deal.contract_term,
                    "expansion_potential": deal.expansion_potential,
                    "owner": await asked.address_of(account.owner),
                },
            ),
            account_id=account.id,
            case_id=deal.case_id,
            version=f"{deal.stage}|{deal.expansion_potential}",
        )
        for deal, account in (await asked.session.exec(statement)).all()
    ]


async def tasks(asked: Asked) -> list[Due]:
    """People's tasks that are open and not over there, or done and not done over there (I1.4)."""
    version = case((col(TaskRow.outcome) == "", literal(OPEN)), else_=literal(DONE))
    statement = (
        select(TaskRow, Account)
        .join(Account, asked.about(TaskRow))
        .outerjoin(CrmRecord, col(CrmRecord.key) == literal("task/") + col(TaskRow.key))
        .where(
            asked.ready(version),
            or_(col(CrmRecord.key).is_not(None), asked.fresh_enough(col(TaskRow.done_at))),
            col(TaskRow.key).not_like(f"{OF_OURS}%"),
        )
        .order_by(col(TaskRow.opened_at), col(TaskRow.key))
        .limit(asked.most)
    )
    return [
        Due(
            key=f"task/{task.key}",
            record=Record(
                "task",
                task.key,
                {
                    "title": task.title,
                    "body": task.body,
                    "due": task.due_at,
                    "done": task.outcome != "",
                    "owner": await asked.address_of(task.owner),
                },
            ),
            account_id=account.id,
            case_id=task.case_id,
            version=DONE if task.outcome else OPEN,
        )
        for task, account in (await asked.session.exec(statement)).all()
    ]


async def notes(asked: Asked) -> list[Due]:
    """A note for each risk signal that was raised and each run that ended (R9)."""
    raised = (
        select(RiskSignal, Account)
        .join(Account, asked.about(RiskSignal))
        .outerjoin(CrmRecord, col(CrmRecord.key) == literal("note/") + col(RiskSignal.key))
        .where(asked.ready(DONE), or_(col(CrmRecord.key).is_not(None), asked.fresh_enough(col(RiskSignal.cleared_at))))
        .order_by(col(RiskSignal.key))
        .limit(asked.most)
    )
    ended = (
        select(CaseRow, Account)
        .join(Account, asked.about(CaseRow))
        .outerjoin(CrmRecord, col(CrmRecord.key) == literal("note/") + col(CaseRow.id))
        .where(
            col(CaseRow.ended_at).is_not(None),
            asked.ready(DONE),
            or_(col(CrmRecord.key).is_not(None), asked.fresh_enough(col(CaseRow.ended_at))),
        )
        .order_by(col(CaseRow.id))
        .limit(asked.most)
    )
    found = []
    for signal, account in (await asked.session.exec(raised)).all():
        what = signal.signal.replace("_", " ")
        found.append(_note(signal.key, account, "Churn risk assessment", f"Risk signal: {what}.", signal.raised_at))
    for run, account in (await asked.session.exec(ended)).all():
        title = f"{run.playbook.replace('-', ' ').capitalize()}: {run.outcome.replace('_', ' ')}"
        days = f"{run.opened_at:%Y-%m-%d} to {run.ended_at:%Y-%m-%d}"
        found.append(_note(run.id, account, title, f"{days}. Last step: {run.last_title or 'none'}.", run.ended_at))
    return found


def _note(key: str, account: Account, title: str, body: str, at: datetime | None) -> Due:
    record = Record("note", key, {"title": title, "body": body, "at": at})
    return Due(key=f"note/{key}", record=record, account_id=account.id, version=DONE)


LOOKS: Final[Sequence[tuple[Kind, Callable[[Asked], Awaitable[list[Due]]]]]] = (
    ("company", companies),
    ("at_risk", at_risk),
    ("deal", deals),
    ("task", tasks),
    ("note", notes),
)
"""In the order in which they are written: what others belong to first."""
