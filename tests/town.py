"""A whole small world for a test: simulator, database, web, relay, worker, Temporal. Time moves when told to."""

import asyncio
import contextlib
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import stripe
import uvicorn
from google.protobuf.field_mask_pb2 import FieldMask
from sqlmodel import SQLModel, col, select
from temporalio.api.common.v1 import TimeSkippingConfig as Skipping
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflow.v1 import WorkflowExecutionOptions
from temporalio.api.workflowservice.v1 import UpdateWorkflowExecutionOptionsRequest
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError
from temporalio.testing import TimeSkipper, TimeSkippingConfig
from temporalio.worker import Worker

from activities.assembly import Outside, assemble
from activities.billing import Billing, close_stripe_client, stripe_client
from activities.carry_out import Effects
from activities.doubts import LookUps
from activities.scans import Scans
from models.cases import Ending
from models.database import Database
from models.policy import PolicyFile
from models.tables import CaseRow, EffectRow, InboxEvent, Message
from simulator.running import SimulatorControl
from web.app import WebSettings, create_app
from web.events import EventsEndpoint
from web.sendgrid import SendGridEndpoint
from web.sendgrid_signature import public_keys
from web.webhooks import StripeEndpoint
from workers.authoring import catalogue_for_the_web
from workers.connect import playbook_worker
from workers.relay import Relay
from workers.routing import Router, heard_kinds

WEBHOOK_SECRET = "whsec_town0123456789"
EVENTS_SECRET = "whsec_dGhlIHNlbmRlciBvZiBmYWN0cw=="
LINK_SECRET = "a-secret-for-links-in-tests"
PUBLIC_URL = "https://pay.example.com"
ALWAYS: dict[str, Any] = {
    "hours": {"enabled": False},
    "caps": {"contact_day": 99, "contact_week": 99, "account_day": 99, "account_week": 99},
}
"""Mails go out at the step's own moment, however many: for tests of playbooks, whose subject is the plan. Hours and
caps have tests of their own."""
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@dataclass
class Customer:
    """A customer of the simulator with one monthly subscription."""

    id: str
    subscription: str
    card: str
    invoice: str = ""

    @property
    def case(self) -> str:
        """The id of the payment failure case about the customer's invoice."""
        return f"payment-failure/{self.invoice}"


@dataclass
class Town:
    """Everything running; each method is something that happens, or something one can see."""

    client: Client
    database: Database
    simulator: SimulatorControl
    stripe: stripe.StripeClient
    skipper: TimeSkipper
    relay: Relay
    task_queue: str
    policy: PolicyFile
    effects: Effects
    scans: Scans
    billing: Billing
    look_ups: LookUps
    url: str = ""
    worker: Worker = field(init=False)
    people: Counter[str] = field(default_factory=Counter)

    # What happens.

    async def customer(
        self, *outcomes: str, number: str = "4242424242424242", cents: int = 2900, **metadata: str
    ) -> Customer:
        """Somebody with a card that pays once and then answers with `outcomes`, the last one for ever."""
        v1 = self.stripe.v1
        self.people["made"] += 1
        person = await v1.customers.create_async(
            {
                "email": f"zoe{self.people['made']}@example.com",
                "name": "Zoe Miller",
                "metadata": {"csm": "ana", **metadata},
            }
        )
        card = await v1.payment_methods.create_async(
            {"type": "card", "card": {"number": number, "exp_month": 12, "exp_year": 2031, "cvc": "123"}}
        )
        await v1.payment_methods.attach_async(card.id, {"customer": person.id})
        await v1.customers.update_async(person.id, {"invoice_settings": {"default_payment_method": card.id}})
        await self.simulator.set_issuer(card.id, {"script": ["ok", *outcomes]})
        product = await v1.products.create_async({"name": "Pro"})
        price = await v1.prices.create_async(
            {"currency": "usd", "unit_amount": cents, "product": product.id, "recurring": {"interval": "month"}}
        )
        subscription = await v1.subscriptions.create_async({"customer": person.id, "items": [{"price": price.id}]})
        return Customer(person.id, subscription.id, card.id)

    async def payment_fails(self, *outcomes: str, **details: Any) -> Customer:
        """A customer whose next invoice is refused with the first of `outcomes`; the run is started."""
        person = await self.customer(*outcomes, **details)
        await self.arrive()
        person.invoice = (await self.simulator.cycle(person.subscription))["id"]
        await self.arrive()
        return person

    async def arrive(self) -> None:
        """Let every webhook arrive and be carried to Temporal."""
        await self.simulator.settled()
        while await self.relay.once():
            pass

    async def pass_time(self, case: str, amount: timedelta) -> bool:
        """Let a run's own clock advance, the simulator's with it. False: the run ended on the way."""
        # A clock moves only while nothing is under way, so this waits for the step in hand. Not by a whole second, and
        # not while the worker thinks: where the skip meets a timer of its own length, the server jumps over the timer.
        await self._idle(case)
        await self.skipper.fast_forward(self.run(case), timedelta(seconds=1.5))
        await self._idle(case)
        if not amount:
            return True
        await self.simulator.advance(amount.total_seconds())
        still_runs = await self.skipper.fast_forward(self.run(case), amount)
        if still_runs:
            await self._idle(case)
        await self.arrive()
        return still_runs

    async def _idle(self, case: str) -> None:
        """Wait until the worker has nothing in hand; not for ever, for there may be none."""
        for _ in range(200):
            described = (await self.run(case).describe()).raw_description
            first_tries = [each for each in described.pending_activities if each.attempt == 1]
            if not described.HasField("pending_workflow_task") and not first_tries:
                return
            await asyncio.sleep(0.01)

    async def finish(self, case: str) -> Ending:
        """Let the run go on to its end, however far that is."""
        handle = self.client.get_workflow_handle(case, result_type=Ending)
        with contextlib.suppress(RPCError):  # it may have ended already
            await skip_whenever_it_sleeps(self.client, case)
        ending: Ending = await handle.result()
        await self.arrive()
        return ending

    @asynccontextmanager
    async def no_worker(self) -> AsyncIterator[None]:
        """An outage: no worker until the block ends, then another one."""
        await self.worker.shutdown()
        try:
            yield
        finally:
            self.worker = self.new_worker()
            await self.worker.__aenter__()

    def new_worker(self) -> Worker:
        """A worker that is not started yet."""
        return playbook_worker(
            self.client,
            self.effects,
            self.scans,
            task_queue=self.task_queue,
            workflow_failure_exception_types=[Exception],
            graceful_shutdown_timeout=timedelta(seconds=2),
        )

    def run(self, case: str) -> WorkflowHandle[Any, Any]:
        """The run of a case."""
        return self.client.get_workflow_handle(case)

    async def hear_of_mails(self, **manners: Any) -> None:
        """From now on SendGrid posts its events to us, with these manners (see sendgrid_events.MailSettings)."""
        await self.simulator.sendgrid(event_url=f"{self.url}/webhooks/sendgrid", **manners)

    # What one can see.

    async def rows(self, table: type[SQLModel], **where: Any) -> list[Any]:
        """Rows of a table."""
        async with self.database.reading() as session:
            statement = select(table)
            for name, value in where.items():
                statement = statement.where(getattr(table, name) == value)
            return list((await session.exec(statement)).all())

    async def case(self, case: str) -> CaseRow:
        """The row of a case."""
        (row,) = await self.rows(CaseRow, id=case)
        found: CaseRow = row
        return found

    async def calendar(self, case: str) -> dict[float, list[str]]:
        """What was really done, by day after the start: `{3.0: ["charge refused", "email dunning.d3"], …}`."""
        opened = await self.started_at(case)
        async with self.database.reading() as session:
            statement = (
                select(EffectRow)
                .where(EffectRow.case_id == case)
                .order_by(col(EffectRow.wall_claimed_at), col(EffectRow.key))
            )
            effects = (await session.exec(statement)).all()
        days: dict[float, list[str]] = {}
        for effect in effects:
            if effect.state != "dropped":
                day = round((effect.at - opened) / DAY, 2)
                days.setdefault(day, []).append(await self._line(effect))
        return days

    async def _line(self, effect: EffectRow) -> str:
        detail = effect.what.get("template") or effect.what.get("level") or effect.what.get("fact") or ""
        if effect.kind == "email":
            messages: list[Message] = await self.rows(Message, key=effect.key)
            detail = messages[0].template if messages else detail
        if effect.kind == "risk":
            detail = "raised" if effect.what["raised"] else "cleared"
        if effect.kind == "task":
            detail = effect.title
        state = "" if effect.state == "done" else f" {effect.state}"
        return f"{effect.kind}{' ' if detail else ''}{detail}{state}"

    async def dropped(self, case: str) -> list[tuple[str, str, str]]:
        """What the gate held back: (step, kind, rule)."""
        rows = await self.rows(EffectRow, case_id=case, state="dropped")
        return sorted((row.step, row.kind, row.rule) for row in rows)

    async def started_at(self, case: str) -> datetime:
        """The run's day 0."""
        history = await self.run(case).fetch_history()
        moment: datetime = history.events[0].event_time.ToDatetime()
        return moment.replace(tzinfo=UTC)

    async def charges(self, person: Customer) -> list[str]:
        """The outcomes of every charge attempt on the customer's failed invoice, the issuer's ground truth."""
        return [each["outcome"] for each in await self.simulator.ledger() if each["invoice"] == person.invoice]

    async def events_of(self, case: str) -> Counter[str]:
        """How many history events of each type, without those that time skipping adds."""
        history = await self.run(case).fetch_history()
        names = Counter(EventType.Name(event.event_type).removeprefix("EVENT_TYPE_") for event in history.events)
        for artefact in ("WORKFLOW_EXECUTION_OPTIONS_UPDATED", "WORKFLOW_EXECUTION_TIME_SKIPPING_TRANSITIONED"):
            names.pop(artefact, None)
        return names

    async def inbox(self, **where: Any) -> list[InboxEvent]:
        """Inbox rows."""
        return await self.rows(InboxEvent, **where)


async def skip_whenever_it_sleeps(client: Client, run: str) -> None:
    """From now on this run's time passes by itself whenever it has nothing to do but wait.

    The SDK's `fast_forward` without an end does that too, but watches by reading every event of the history as it is
    written, which takes longer than the run.
    """
    await client.workflow_service.update_workflow_execution_options(
        UpdateWorkflowExecutionOptionsRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=run),
            workflow_execution_options=WorkflowExecutionOptions(time_skipping_config=Skipping(enabled=True)),
            update_mask=FieldMask(paths=["time_skipping_config"]),
            identity=client.identity,
        )
    )


@asynccontextmanager
async def town(
    client: Client,
    simulator: SimulatorControl,
    database_url: str,
    policy: dict[str, Any] | None = None,
    *,
    task_queue: str = "",
) -> AsyncIterator[Town]:
    """Everything running, on a fresh simulator and a migrated database."""
    await simulator.reset()
    await simulator.settings(manual_attempts_count=False)
    database = Database(database_url)
    rules = PolicyFile({**ALWAYS, **(policy or {})})
    api = stripe_client("sk_test_town", simulator.url)
    outside = Outside(
        stripe=api,
        sendgrid_key="SG.town",
        sendgrid_base=simulator.url,
        product_url=f"{simulator.url}/product/access",
        product_secret="whsec_dG93bg==",
        product_private=True,
        public_url=PUBLIC_URL,
        link_secret=LINK_SECRET,
    )
    assembled = assemble(database, rules, outside)
    task_queue = task_queue or f"town-{uuid.uuid4()}"
    skipper = TimeSkipper(client, config=TimeSkippingConfig(enabled=False))
    relay = Relay(
        database,
        client,
        Router(rules),
        assembled.billing.customer_of_charge,
        learn_account=assembled.billing.learn_account,
        task_queue=task_queue,
    )
    web = WebSettings(
        StripeEndpoint((WEBHOOK_SECRET,)),
        LINK_SECRET,
        catalogue=catalogue_for_the_web,
        events=EventsEndpoint((EVENTS_SECRET,), heard_kinds(), rules.default.usage),
        sendgrid=SendGridEndpoint(public_keys((await simulator.sendgrid())["public_key"])),
    )
    app = create_app(database, web)
    config = uvicorn.Config(app, port=0, log_level="critical", access_log=False, ws="none", lifespan="off")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    try:
        while not server.started:
            await asyncio.sleep(0.002)
        url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        await simulator.webhook_endpoint(f"{url}/webhooks/stripe", WEBHOOK_SECRET)
        here = Town(
            client,
            database,
            simulator,
            api,
            skipper,
            relay,
            task_queue,
            rules,
            assembled.effects,
            assembled.scans,
            assembled.billing,
            assembled.look_ups,
            url,
        )
        here.worker = here.new_worker()
        await here.worker.__aenter__()
        try:
            yield here
        finally:
            await here.worker.shutdown()
    finally:
        server.should_exit = True
        await serving
        await close_stripe_client(api)
        await database.close()


def fresh_database(template: Path, folder: Path) -> str:
    """A migrated SQLite database for one test."""
    target = folder / "holdfast.db"
    target.write_bytes(template.read_bytes())
    return f"sqlite:///{target}"
