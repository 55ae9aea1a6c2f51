"""A town that is opened once and made new for each point: one server, one worker, one receiver, empty tables."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

import stripe
import uvicorn
from sqlmodel import SQLModel, col, delete, func, select, update
from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.testing import TimeSkipper, TimeSkippingConfig
from temporalio.worker import Worker

from activities.assembly import Outside, assemble
from activities.billing import TIMEOUT_S
from models.policy import PolicyFile
from models.stripe_events import READERS
from models.tables import CaseRow, InboxEvent, wall
from simulator.running import SimulatorControl
from tests.crash.faults import Act, At, Crash, Faults
from tests.crash.seams import (
    CrashingCalls,
    CrashingDatabase,
    CrashingDoor,
    CrashingEffects,
    CrashingHttp,
    CrashingRunner,
    crash_before_requests,
)
from tests.town import ALWAYS, EVENTS_SECRET, LINK_SECRET, PUBLIC_URL, WEBHOOK_SECRET, Town
from web.app import WebSettings, create_app
from web.events import EventsEndpoint
from web.rate_limits import Rate, RateLimits
from web.webhooks import StripeEndpoint
from workers.relay import Relay
from workers.routing import Router, heard_kinds
from workflows import JOBS, PLAYBOOKS

LONGEST_REST: Final = 40
"""So many rounds of carrying and finishing, and a world that has not come to rest never will."""


class NeverRests(Exception):
    """Something goes on for ever; the message says what."""


@dataclass
class Stage(Town):
    """A town with points in it."""

    faults: Faults = field(init=False)
    seeds: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    async def make_new(self, *at: At, act: Act | None = None) -> None:
        """An empty world in which a process will die at these points, once they count."""
        self.faults.reset(*at, act=act)
        self.people.clear()
        await self._end_what_still_runs()
        await self.simulator.reset(seed=next(self.seeds))
        await self.simulator.settings(manual_attempts_count=False)
        # One delivery after the other, and at once again: then points come in the same order in each world.
        await self.simulator.webhooks(concurrency=1, retry_base_seconds=0.001)
        await self.simulator.webhook_endpoint(f"{self.url}/webhooks/stripe", WEBHOOK_SECRET, sorted(READERS))
        async with self.database.writing() as session:
            for table in reversed(SQLModel.metadata.sorted_tables):
                await session.exec(delete(table))

    async def arrive(self) -> None:
        """Let every webhook arrive and be carried, by a relay that is started again when it dies."""
        for _ in range(LONGEST_REST):
            await self.simulator.settled()
            moved = 0
            try:
                with self.faults.living("relay"):
                    moved = await self.relay.once()
            except Crash:
                # What else it had under way dies at its own next point; then its leases run out.
                await asyncio.sleep(0)
                moved = 1
            if not moved and not await self._wait_for_leases():
                return
        raise NeverRests("rows of the inbox are carried again and again")

    async def _wait_for_leases(self) -> bool:
        """Half a minute passes for what the relay has put off. Whether there was anything."""
        async with self.database.writing() as session:
            waiting = col(InboxEvent.state) == "pending"
            count = (await session.exec(select(func.count()).select_from(InboxEvent).where(waiting))).one()
            await session.exec(update(InboxEvent).where(waiting).values(wall_next_try_at=wall()))
        return count > 0

    async def pass_time(self, case: str, amount: timedelta) -> bool:
        """Let a run's clock advance. The server gives a fast-forward up when a task fails on its way: then again."""
        before = await self.skipper.get_current_time(self.run(case))
        still_runs = await super().pass_time(case, amount)
        for _ in range(LONGEST_REST):
            left = before + amount - await self.skipper.get_current_time(self.run(case))
            if not still_runs or left < timedelta(minutes=1):
                break
            still_runs = await super().pass_time(case, left)
        return still_runs

    async def rest(self) -> None:
        """Let everything come to its end: all news carried, all runs finished.

        Raises:
            NeverRests: it does not.
        """
        finished: set[str] = set()
        for _ in range(LONGEST_REST):
            await self.arrive()
            # An ended case is not enough: what is owed at the end is done after that.
            runs = [row.id for row in await self.rows(CaseRow) if row.id not in finished]
            if not runs:
                return
            for case in runs:
                await asyncio.wait_for(self.finish(case), 30)
                finished.add(case)
        raise NeverRests("runs start one another without end")

    async def _end_what_still_runs(self) -> None:
        for case in await self.rows(CaseRow):
            if not case.ended:
                with suppress(RPCError):
                    await self.run(case.id).terminate("the next world")


@asynccontextmanager
async def stage(
    client: Client, simulator: SimulatorControl, database_url: str, policy: dict[str, Any] | None = None
) -> AsyncIterator[Stage]:
    """Everything running, with points in it."""
    faults = Faults()
    database = CrashingDatabase(database_url, faults)
    rules = PolicyFile({**ALWAYS, **(policy or {})})
    http = CrashingHttp(timeout=TIMEOUT_S)
    http.faults = faults
    api = stripe.StripeClient(
        "sk_test_stage", base_addresses={"api": simulator.url}, max_network_retries=0, http_client=http
    )
    outside = Outside(
        stripe=api,
        sendgrid_key="SG.stage",
        sendgrid_base=simulator.url,
        product_url=f"{simulator.url}/product/access",
        product_secret="whsec_dG93bg==",
        product_private=True,
        public_url=PUBLIC_URL,
        link_secret=LINK_SECRET,
    )
    assembled = assemble(database, rules, outside)
    crash_before_requests(assembled.effects, faults)
    task_queue = f"stage-{next(QUEUES)}"
    config = client.config()
    config["interceptors"] = [*config["interceptors"], CrashingCalls(faults)]
    relay = Relay(
        database,
        Client(**config),
        Router(rules),
        assembled.billing.customer_of_charge,
        learn_account=assembled.billing.learn_account,
        task_queue=task_queue,
    )
    web = WebSettings(
        StripeEndpoint((WEBHOOK_SECRET,)),
        LINK_SECRET,
        limits=RateLimits(Rate(0, 1), Rate(0, 1)),
        events=EventsEndpoint((EVENTS_SECRET,), heard_kinds(), rules.default.usage),
    )
    door = CrashingDoor(create_app(database, web), faults)
    server = uvicorn.Server(
        uvicorn.Config(door, port=0, log_level="critical", access_log=False, ws="none", lifespan="off")
    )
    serving = asyncio.create_task(server.serve())
    try:
        while not server.started:
            await asyncio.sleep(0.002)
        here = Stage(
            client,
            database,
            simulator,
            api,
            TimeSkipper(client, config=TimeSkippingConfig(enabled=False)),
            relay,
            task_queue,
            rules,
            assembled.effects,
            assembled.scans,
            assembled.billing,
            assembled.look_ups,
            f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}",
        )
        here.faults = faults
        async with Worker(
            client,
            task_queue=task_queue,
            workflows=[*PLAYBOOKS, *JOBS],
            activities=[CrashingEffects(assembled.effects, faults).carry_out, assembled.scans.scan],
            workflow_runner=CrashingRunner(faults),
            workflow_failure_exception_types=[Exception],
            disable_eager_activity_execution=True,
            graceful_shutdown_timeout=timedelta(seconds=2),
        ):
            yield here
    finally:
        server.should_exit = True
        await serving
        await http.close_async()  # type: ignore[no-untyped-call]
        await database.close()


QUEUES = itertools.count(1)
