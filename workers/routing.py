"""Which playbooks a fact starts, which open runs hear it: derived from what the playbooks declare."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession
from sqlmodel.sql.expression import SelectOfScalar

from models import ledger
from models.cases import Case
from models.customers import Contract
from models.facts import SUBJECT_JOINED, TASK_DONE, Fact
from models.policy import PolicyFile
from models.tables import Access, Account, CaseRow, CaseSubject, InboxEvent, TaskRow, wall
from workflows import PLAYBOOKS
from workflows.playbook import Playbook
from workflows.steps import Start, name_of, reactions_of

TOO_OLD: Final = "the fact is older than starts.oldest_fact_days"
RESTS: Final = "it rests for this account until"
IS_OPEN: Final = "is open for this account"
"""Why a run was not started, as the reason says it."""


@dataclass(frozen=True)
class StartRun:
    """Start this case's run; harmless if it runs already."""

    playbook: type[Playbook]
    case: Case


@dataclass(frozen=True)
class TellRun:
    """Tell an open run a fact."""

    case_id: str
    fact: Fact


Delivery = StartRun | TellRun


@dataclass(frozen=True)
class Route:
    """What follows from one event: deliveries to Temporal, and the reason in words."""

    deliveries: tuple[Delivery, ...]
    reason: str


def case_id_of(name: str, fact: Fact) -> str:
    """The id of the case a fact opens: by its subject, which is unique; else by account and day (P0.5).

    The day is the fact's own, so that a fact that is delivered twice opens one case.
    """
    return f"{name}/{fact.subject}" if fact.subject else f"{name}/{fact.account}/{fact.at:%Y-%m-%d}"


def hears(playbook: type[Playbook]) -> set[str]:
    """Every fact an open run of this playbook wants to be told."""
    return {*playbook.ends_on, *reactions_of(playbook)}


def heard_kinds(playbooks: Sequence[type[Playbook]] = PLAYBOOKS) -> frozenset[str]:
    """Every kind of fact that starts a run or is told to one; what is none of them need not be carried."""
    starts = (start.fact for playbook in playbooks for start in playbook.starts_on)
    return frozenset(starts).union(*(hears(playbook) for playbook in playbooks))


class Router:
    """Routes events; `playbooks` are all of them unless a test says otherwise."""

    def __init__(self, policy: PolicyFile, playbooks: Sequence[type[Playbook]] = PLAYBOOKS) -> None:
        self._policy = policy
        self._playbooks = {name_of(each): each for each in playbooks}
        self.default_owner = policy.default.people.csm_lead

    def may_start(self, kind: str) -> bool:
        """Whether a fact of this kind may start a run for an account we have not met yet."""
        starts = [start for playbook in self._playbooks.values() for start in playbook.starts_on]
        return any(start.fact == kind and not start.only_if_limited for start in starts)

    async def route(self, session: AsyncSession, event: InboxEvent) -> Route:
        """Open or join cases in this transaction, and say what Temporal has to be told afterwards."""
        fact = Fact(
            kind=event.kind,
            at=event.occurred_at,
            account=event.account_id,
            subject=event.subject,
            object_id=event.object_id,
            value=event.value,
        )
        deliveries: list[Delivery] = []
        reasons: list[str] = []
        begins: set[str] = set()
        for name, playbook in self._playbooks.items():
            for start in playbook.starts_on:
                if start.fact == fact.kind and (start.only_if is None or start.only_if(fact)):
                    about = fact if start.by == "subject" else fact.model_copy(update={"subject": fact.object_id})
                    begins.add(case_id_of(name, about))
                    delivery, reason = await self._start(session, name, start, about, event)
                    reasons.extend([reason] if reason else [])
                    deliveries.extend([delivery] if delivery else [])
        asked_by = await self._asked_by(session, fact)
        for case in await self._open_cases(session, fact.account):
            if case.id in begins and case.opened_at == fact.at:
                continue  # what starts a run is not told to it once more, by a relay that died in between either
            if fact.kind not in hears(self._playbooks[case.playbook]) and case.id != asked_by:
                continue
            if not await self._is_about(session, case, fact):
                reasons.append(f"not about {case.id}")
                continue
            ends = fact.kind in self._playbooks[case.playbook].ends_on
            if fact.at < case.opened_at and not ends:
                # A card stored before the charge failed is the card that failed (T1.20).
                reasons.append(f"older than {case.id}")
            else:
                deliveries.append(TellRun(case.id, fact))
                reasons.append(f"told {case.id}")
        return Route(tuple(deliveries), "; ".join(reasons) or f"no open run hears {fact.kind}")

    async def _start(
        self, session: AsyncSession, name: str, start: Start, fact: Fact, event: InboxEvent
    ) -> tuple[Delivery | None, str]:
        case_id = case_id_of(name, fact)
        known = await session.get(CaseRow, case_id)
        if known and known.ended:
            return None, f"{case_id} has ended: {known.outcome}"
        if known:
            again = StartRun(self._playbooks[name], await self._case(session, known, event))
            return (None if known.started else again), f"{case_id} is open already"
        if start.only_if_limited and not await self._limited_and_alone(session, name, fact.account):
            return None, ""
        # A contract's or card's runs follow one another by date; each offer is one of its own.
        part = fact.subject if start.by == "object" else fact.subject.partition("/")[0]
        lane = part if self._playbooks[name].one_for_each_subject else ""
        joined = await self._join(session, name, lane, start, fact, event)
        if joined:
            return joined
        row = CaseRow(
            id=case_id,
            playbook=name,
            account_id=fact.account,
            subject=fact.subject or fact.account,
            lane=lane,
            precedence=self._playbooks[name].precedence,
            at_stake=event.at_stake,
            currency=event.currency,
            opened_at=event.occurred_at,
        )
        case = await self._case(session, row, event)
        row.at_stake, row.currency = case.at_stake, case.currency
        refused = (
            self._too_old(fact) or await self._rests(session, name, lane, fact) or self._playbooks[name].refuses(case)
        )
        if refused:
            return None, f"{name} not started: {refused}"
        row.policy_version = case.policy.version
        session.add(row)
        await session.flush()
        session.add(CaseSubject(case_id=case_id, subject=row.subject, at_stake=event.at_stake, joined_at=fact.at))
        if start.only_if_limited:
            await self._take_over_what_is_left(session, name, row, fact)
        return StartRun(self._playbooks[name], case), f"started {case_id}"

    def _too_old(self, fact: Fact) -> str:
        """Loading history is no trigger; measured by the machine's clock, for a replayed past has none of its own."""
        days = self._policy.default.starts.oldest_fact_days
        return f"{TOO_OLD} {days}" if wall() - fact.at > timedelta(days=days) else ""

    async def _rests(self, session: AsyncSession, name: str, lane: str, fact: Fact) -> str:
        """After a run a playbook rests for the account (P0.6)."""
        own = self._playbooks[name].cooldown_days
        days = self._policy.default.starts.cooldown_days if own is None else own
        statement = select(func.max(CaseRow.ended_at)).where(
            CaseRow.playbook == name, CaseRow.account_id == fact.account, CaseRow.lane == lane, col(CaseRow.ended)
        )
        last = (await session.exec(statement)).one() if days else None
        until = last + timedelta(days=days) if last else None
        return f"{RESTS} {until:%Y-%m-%d}" if until and fact.at < until else ""

    async def _asked_by(self, session: AsyncSession, fact: Fact) -> str:
        """The case that waits for the task this fact is about."""
        if fact.kind != TASK_DONE:
            return ""
        task = await session.get(TaskRow, fact.object_id)
        return task.case_id if task and task.answers else ""

    async def _is_about(self, session: AsyncSession, case: CaseRow, fact: Fact) -> bool:
        """Where an account may have several runs of a playbook, a fact that names its subject is for that one only."""
        if not fact.subject or not self._playbooks[case.playbook].one_for_each_subject:
            return True
        return fact.subject.partition("/")[0] == case.lane

    async def _limited_and_alone(self, session: AsyncSession, name: str, account: str) -> bool:
        """Whether the account is limited for what it still owes, and no open case looks at what would lift that.

        A win-back does not look. A case that has just ended because it was paid is about to lift it, and says thanks.
        """
        access = await session.get(Access, account)
        if access is None or access.level == "full":
            return False
        akin = self._akin(name)
        if any(case.playbook in akin for case in await self._open_cases(session, account)):
            return False
        return (await session.exec(_left_unpaid(account, akin))).first() is not None

    def _akin(self, name: str) -> list[str]:
        """The playbooks that look at the same source of truth, and so speak of the same kind of subject."""
        watches = self._playbooks[name].watches
        return [other for other, playbook in self._playbooks.items() if playbook.watches == watches]

    async def _take_over_what_is_left(self, session: AsyncSession, name: str, case: CaseRow, fact: Fact) -> None:
        """Make what ended cases of the account left unpaid subjects of this one."""
        statement = _left_unpaid(case.account_id, self._akin(name)).where(CaseRow.id != case.id)
        for subject in (await session.exec(statement)).all():
            await ledger.insert_once(session, CaseSubject(case_id=case.id, subject=subject, joined_at=fact.at))

    async def _join(
        self, session: AsyncSession, name: str, lane: str, start: Start, fact: Fact, event: InboxEvent
    ) -> tuple[Delivery | None, str] | None:
        """Let another subject of the account join its open case (P1.20); a second is never opened (P0.5)."""
        statement = select(CaseRow).where(
            CaseRow.playbook == name,
            CaseRow.account_id == fact.account,
            CaseRow.lane == lane,
            col(CaseRow.ended).is_(False),
        )
        case = (await session.exec(statement.with_for_update())).one_or_none()
        if case is None:
            return None
        if not start.joins:
            return None, f"{name} not started: {case.id} {IS_OPEN}"
        subject = CaseSubject(case_id=case.id, subject=fact.subject, at_stake=event.at_stake, joined_at=fact.at)
        refused = self._playbooks[name].refuses(await self._case(session, case, event))
        if refused:
            return None, f"{fact.subject} did not join {case.id}: {refused}"
        known = await session.get(CaseSubject, (case.id, fact.subject))
        if known and known.joined_at != fact.at:
            return None, f"{fact.subject} is part of {case.id} already"
        await ledger.insert_once(session, subject)
        joined = fact.model_copy(update={"kind": SUBJECT_JOINED})
        return TellRun(case.id, joined), f"{fact.subject} joined {case.id}"

    async def _open_cases(self, session: AsyncSession, account: str) -> list[CaseRow]:
        statement = select(CaseRow).where(
            CaseRow.account_id == account,
            col(CaseRow.ended).is_(False),
            col(CaseRow.playbook).in_(list(self._playbooks)),
        )
        return list((await session.exec(statement)).all())

    async def _case(self, session: AsyncSession, row: CaseRow, event: InboxEvent) -> Case:
        account = await session.get(Account, row.account_id)
        account = account or Account(id=row.account_id)
        return Case(
            id=row.id,
            playbook=row.playbook,
            account=row.account_id,
            subject=row.subject,
            at_stake=event.at_stake or account.mrr,
            currency=event.currency or account.currency,
            owner=account.owner,
            segment=account.segment,
            mrr=account.mrr,
            strategic=account.strategic,
            trigger=event.kind,
            value=event.value,
            anchor=await self._anchor(session, row),
            policy=self._policy.for_segment(account.segment),
        )

    async def _anchor(self, session: AsyncSession, row: CaseRow) -> datetime | None:
        """The date a run's days count back from: its contract's, else the day its subject names after the slash."""
        said = row.subject.rpartition("/")[2]
        contract = await session.get(Contract, row.subject.partition("/")[0])
        # A card is called after its account, and a contract may be called so too.
        if contract and self._playbooks[row.playbook].watches == "contract":
            return datetime.combine(contract.renews_on, time(), UTC)
        try:
            return datetime.combine(date.fromisoformat(said), time(), UTC)
        except ValueError:
            return None


def _left_unpaid(account: str, playbooks: Sequence[str]) -> SelectOfScalar[str]:
    """The subjects of an account's cases that nobody has settled yet."""
    return (
        select(CaseSubject.subject)
        .join(CaseRow, col(CaseRow.id) == col(CaseSubject.case_id))
        .where(CaseRow.account_id == account, col(CaseRow.playbook).in_(playbooks), CaseSubject.fate == "")
        .distinct()
    )
