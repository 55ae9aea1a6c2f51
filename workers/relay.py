"""The relay: carries inbox rows to Temporal, each until it ends as applied, ignored or dead, with the reason."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final, Protocol

import aiohttp
import stripe
import structlog
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from models import found, ledger, parking
from models.cases import Ending
from models.database import Database
from models.facts import CARD_UPDATED, ENDED_BY_LEAD, PLAN_DONE, RUN_LOST
from models.learning import BadFact, learn
from models.tables import OURSELVES, SENDGRID, STRIPE, Account, CaseRow, InboxEvent, TaskRow, wall
from workers.connect import TASK_QUEUE
from workers.relay_metrics import RelayMetrics
from workers.routing import Router, StartRun, TellRun
from workflows.steps import name_of
from workflows.visible import attributes_of, headline

LEASE: Final = timedelta(seconds=30)
BATCH: Final = 100
AT_ONCE: Final = 16
MOST_TRIES: Final = 12
IDLE_S: Final = 0.1

log = structlog.get_logger()


class LearnAccount(Protocol):
    """Read an account at the provider, if we do not know it yet, or `again`."""

    async def __call__(self, customer: str, *, again: bool = False) -> object:
        """Learn it."""
        ...


class UnknownAccount(LookupError):
    """Nobody we know of; the event is parked until the account is loaded (T1.19)."""


class Away(Exception):
    """Temporal or the provider cannot be reached; nobody's fault, and no try is counted."""


class Relay:
    """Any number of relays may run side by side: each takes rows under a lease.

    Two things are read from the provider where an event does not say them: `customer_of_charge`, for disputes, and
    `learn_account`, before the first run of an account that we do not know yet.
    """

    def __init__(
        self,
        database: Database,
        client: Client,
        router: Router,
        customer_of_charge: Callable[[str], Awaitable[str]],
        *,
        learn_account: LearnAccount | None = None,
        task_queue: str = TASK_QUEUE,
        metrics: RelayMetrics | None = None,
    ) -> None:
        self._db = database
        self._client = client
        self._router = router
        self._customer_of_charge = customer_of_charge
        self._learn_account = learn_account
        self._task_queue = task_queue
        self._metrics = metrics or RelayMetrics()
        self._away = False

    async def run(self, stop: asyncio.Event) -> None:
        """Carry rows until `stop` is set."""
        while not stop.is_set():
            try:
                moved = await self.once()
                self._metrics.succeeded("relay")
            except Exception as error:  # noqa: BLE001 - the database may be down; the relay outlives it
                log.warning("relay.waits", error=type(error).__name__)
                moved = 0
            if not moved:
                try:
                    await asyncio.wait_for(stop.wait(), 1.0 if self._away else IDLE_S)
                except TimeoutError:
                    continue

    async def once(self) -> int:
        """Carry what is due now; the number of rows taken."""
        events = await self._take()
        lanes: dict[str, list[InboxEvent]] = defaultdict(list)
        for event in events:
            lanes[event.account_id].append(event)
        limit = asyncio.Semaphore(AT_ONCE)

        async def carry_lane(lane: list[InboxEvent]) -> None:
            async with limit:
                for event in lane:
                    await self._carry(event)

        await asyncio.gather(*(carry_lane(lane) for lane in lanes.values()))
        return len(events)

    async def _take(self) -> list[InboxEvent]:
        async with self._db.writing() as session:
            statement = (
                select(InboxEvent)
                .where(InboxEvent.state == "pending", InboxEvent.wall_next_try_at <= wall())
                .order_by(col(InboxEvent.id))
                .limit(BATCH)
                .with_for_update(skip_locked=True)
            )
            events = list((await session.exec(statement)).all())
            for event in events:
                event.wall_next_try_at = wall() + LEASE
                session.add(event)
        return events

    async def _carry(self, event: InboxEvent) -> None:
        try:
            reason = await self._deliver(event)
        except Away as error:
            if not self._away:
                log.warning("relay.waits_for", error=str(error))
            self._away = True
            await self._later(event, timedelta(seconds=1), str(error), counted=False)
            return
        except UnknownAccount as error:
            log.warning("relay.parked", event_id=event.event_id, kind=event.kind)
            await self._park(event, str(error))
            return
        except BadFact as error:
            await self._settle(event, "dead", str(error))
            return
        except Exception as error:  # noqa: BLE001 - one bad row must not stop the others
            delay = timedelta(seconds=min(300, 2**event.tries))
            await self._later(event, delay, f"{type(error).__name__}: {error}", counted=True)
            return
        self._away = False
        await self._settle(event, "applied", reason)

    async def _deliver(self, event: InboxEvent, *, again: bool = True) -> str:
        await self._read_what_the_event_does_not_say(event)
        # `event` stays outside the session: after a rollback it could not be read any more, and never be settled.
        async with self._db.writing() as session:
            row = await session.get(InboxEvent, event.id)
            if row:
                event.account_id = await account_called(session, event)
                row.account_id = event.account_id
                session.add(row)
                await learn(session, row, self._router.default_owner)
            route = await self._router.route(session, event)
        unheard = False
        for delivery in route.deliveries:
            if isinstance(delivery, StartRun):
                await self._start(delivery)
            else:
                unheard = await self._tell(delivery) or unheard
        if unheard and again:
            # The case closed while we spoke; what the event means now is for the router to say once more.
            return f"{route.reason}; {await self._deliver(event, again=False)}"
        return route.reason

    async def _read_what_the_event_does_not_say(self, event: InboxEvent) -> None:
        try:
            if event.account_id == "?":
                event.account_id = await self._customer_of_charge(event.object_id)
            told_of_a_card = event.kind == CARD_UPDATED
            asked = event.source == STRIPE and (told_of_a_card or self._router.may_start(event.kind))
            if self._learn_account and asked:
                with contextlib.suppress(stripe.InvalidRequestError):  # deleted: then there is nothing to learn
                    await self._learn_account(event.account_id, again=told_of_a_card)
        except (stripe.APIConnectionError, stripe.RateLimitError, stripe.APIError, aiohttp.ClientError) as error:
            raise Away(f"Stripe: {type(error).__name__}") from error

    async def _start(self, delivery: StartRun) -> None:
        case = delivery.case
        try:
            await self._client.start_workflow(
                name_of(delivery.playbook),
                case,
                id=case.id,
                task_queue=self._task_queue,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                search_attributes=attributes_of(case, with_amount=self._client.data_converter.payload_codec is None),
                static_summary=headline(case),
                static_details=f"Account `{case.account}`, subject `{case.subject}`, policy `{case.policy.version}`.",
            )
        except WorkflowAlreadyStartedError:
            pass
        except RPCError as error:
            raise _away_or(error) from error
        async with self._db.writing() as session:
            row = await session.get(CaseRow, case.id)
            if row:
                row.started = True
                session.add(row)

    async def _tell(self, delivery: TellRun) -> bool:
        """Tell a run. True if its case had closed for another reason, so that nobody heard."""
        handle = self._client.get_workflow_handle(delivery.case_id)
        gone, ended = False, None
        try:
            await handle.signal("hear", delivery.fact)
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise _away_or(error) from error
            gone, ended = True, await self._how_it_ended(delivery.case_id)
        async with self._db.writing() as session:
            case = await ledger.lock_case(session, delivery.case_id)
            if gone and not case.ended:
                if ended:
                    # The database was put back from a copy that is older than the run's end.
                    await found.take_in(session, case.account_id, {"ending": ended})
                else:
                    await lose(session, case, self._router.default_owner)
            return case.ended and case.reason in (PLAN_DONE, ENDED_BY_LEAD, RUN_LOST)

    async def _how_it_ended(self, case_id: str) -> dict[str, str] | None:
        """What a run that completed says of its end; None if it was terminated, or there is none."""
        try:
            run = await self._client.get_workflow_handle(case_id).describe()
            if run.status != WorkflowExecutionStatus.COMPLETED or run.close_time is None:
                return None
            ending: Ending = await self._client.get_workflow_handle(case_id, result_type=Ending).result()
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise _away_or(error) from error
            return None
        at = run.close_time.isoformat()
        return {"case": case_id, "outcome": ending.outcome, "reason": ending.reason, "at": at}

    async def _later(self, event: InboxEvent, delay: timedelta, reason: str, *, counted: bool) -> None:
        tries = event.tries + counted
        if tries >= MOST_TRIES:
            log.error("relay.dead", event_id=event.event_id, reason=reason)
            await self._settle(event, "dead", reason)
            return
        async with self._db.writing() as session:
            row = await session.get(InboxEvent, event.id)
            if row:
                row.tries, row.reason, row.wall_next_try_at = tries, reason[:500], wall() + delay
                session.add(row)

    async def _park(self, event: InboxEvent, reason: str) -> None:
        """Park it, unless its account was loaded since we looked; then it is still due, and is taken up again."""
        async with self._db.writing() as session:
            await parking.before_parking(session)
            known = await parking.accounts_called(session, [event.account_id])
            row = await session.get(InboxEvent, event.id)
            if row:
                if known:
                    row.wall_next_try_at = wall()
                else:
                    row.state, row.reason, row.wall_settled_at = parking.PARKED, reason, wall()
                session.add(row)
        if row and row.state == parking.PARKED:
            self._metrics.settled(row)

    async def _settle(self, event: InboxEvent, state: str, reason: str) -> None:
        async with self._db.writing() as session:
            row = await session.get(InboxEvent, event.id)
            if row:
                row.state, row.reason, row.wall_settled_at = state, reason[:500], wall()
                row.account_id = event.account_id
                session.add(row)
        if row:
            self._metrics.settled(row)


async def lose(session: AsyncSession, case: CaseRow, owner: str) -> None:
    """Close a case whose run is gone without having closed it (terminated, or lost): a person, `owner`, has to know.

    Raises:
        LookupError: it has no run yet.
    """
    if not case.started:
        raise LookupError(f"{case.id} has no run yet; it is being started")
    log.error("relay.run_lost", case=case.id)
    case.ended, case.state, case.stage = True, "ended", "run_lost"
    case.outcome, case.reason, case.ended_at = "run_lost", RUN_LOST, wall()
    session.add(case)
    task = TaskRow(
        key=f"{case.id}/run_lost/1",
        account_id=case.account_id,
        case_id=case.id,
        owner=owner,
        title="A run was terminated before its end: see what this account still needs",
        opened_at=wall(),
        due_at=wall() + timedelta(days=1),
    )
    await ledger.insert_once(session, task)


async def account_called(session: AsyncSession, event: InboxEvent) -> str:
    """The account's own id, where the event names it as our product does.

    Raises:
        UnknownAccount: it is known under neither name, and the source is not the one that makes accounts.
    """
    known = await session.get(Account, event.account_id)
    if known or event.source in (STRIPE, OURSELVES, SENDGRID):
        return event.account_id
    found = await parking.accounts_called(session, [event.account_id])
    if not found:
        raise UnknownAccount(parking.unknown(event.account_id))
    return found[event.account_id]


def _away_or(error: RPCError) -> Exception:
    """Only what is wrong with the request itself counts against it; the rest may be mended without it."""
    ours = (RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.FAILED_PRECONDITION)
    return error if error.status in ours else Away(f"Temporal: {error.status.name}")
