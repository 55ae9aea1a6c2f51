"""What the tests of the send gate are written with: cases of one account, and effects claimed as the one door does."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlmodel import select

from models import ledger
from models.cases import Batch, Effect, Email
from models.contact_rows import Deferral
from models.database import Database
from models.gate import Held
from models.picture import Person, Picture
from models.policy import Policy
from models.tables import Account, CaseRow, EffectRow
from workflows import PLAYBOOKS
from workflows.steps import name_of

MONDAY = datetime(2026, 11, 23, 12, tzinfo=UTC)
"""A Monday at noon; working time in London and Berlin, and no holiday."""
DAY = timedelta(days=1)
ACCOUNT = "cus_1"
KNOWN = {name_of(each): each for each in PLAYBOOKS}


async def case_of(database: Database, playbook: str, account: str = ACCOUNT, now: datetime = MONDAY) -> Batch:
    """An open case in the database, and a batch of it."""
    case = f"{playbook}/{account}"
    kind = KNOWN.get(playbook)
    precedence = kind.precedence if kind else ""
    async with database.writing() as session:
        await session.merge(
            CaseRow(
                id=case,
                playbook=playbook,
                account_id=account,
                subject=account,
                precedence=precedence,
                opened_at=MONDAY - DAY,
            )
        )
    return Batch(
        case=case,
        account=account,
        subject=account,
        playbook=playbook,
        step="step",
        title="A step.",
        since=MONDAY - DAY,
        now=now,
        precedence=precedence,
        gives_way=kind.gives_way if kind else "drop",
    )


async def account_of(database: Database, account: str = ACCOUNT, **columns: Any) -> None:
    """An account in the database."""
    async with database.writing() as session:
        await session.merge(Account(id=account, **columns))


def mail(batch: Batch, number: int = 1, **fields: Any) -> Email:
    """A marketing mail of a batch, unless told otherwise."""
    said = {"template": "usage.d3", "to": "champion", "marketing": True, **fields}
    return Email(key=f"{batch.case}/step/{number}", title="E-mail", **said)


def people(address: str = "max@example.com", zone: str = "") -> Picture:
    """Somebody to write to."""
    return Picture(people={"champion": Person(id="con_1", email=address, timezone=zone)})


async def asked(
    database: Database,
    batch: Batch,
    effect: Effect,
    picture: Picture | None = None,
    *,
    policy: Policy | None = None,
    parting: bool = False,
) -> EffectRow | Held:
    """Claim an effect as the one door does: the ledger's row, or what makes it wait."""
    async with database.writing() as session:
        row, _ = await ledger.claim(
            session, batch, effect, picture or people(), parting=parting, detail={}, policy=policy or Policy()
        )
    return row


def said(answer: EffectRow | Held) -> tuple[str, str]:
    """Its state (or "waits"), and the rule."""
    return ("waits" if isinstance(answer, Held) else answer.state), answer.rule


async def deferrals(database: Database) -> list[Deferral]:
    """Everything that had to wait, in order."""
    async with database.reading() as session:
        return list((await session.exec(select(Deferral).order_by(Deferral.id))).all())  # type: ignore[arg-type]
