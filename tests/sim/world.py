"""A world: our code in the middle, people and providers around it, faults where the script puts them."""

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson
from sqlalchemy.exc import SQLAlchemyError

from activities.doubts import UNDER_WAY
from models import inbox, ledger
from models.cases import Batch, Outcome
from models.stripe_events import READERS
from models.tables import UNSETTLED
from simulator import billing
from simulator.clock import due_invoices
from simulator.sendgrid_api import Mail
from simulator.webhooks import signature
from simulator.world import Attempt
from tests.sim.clock import BEGIN, Clock, shown_to_our_code
from tests.sim.providers import Postbox, Product, StripeDoor, VirtualStripe, light_objects, without_threads
from tests.sim.rig import WEBHOOK_SECRET, Rig, edited_plans, one_lane_at_a_time, product_at, rig_of
from tests.sim.runs import Broken, Crash
from tests.sim.script import Act, Fault, Person, Script
from tests.sim.temporal import VirtualTemporal
from web.events import read_event
from web.signatures import check_stripe_signature
from web.strict_json import parse_object
from web.webhooks import row_of
from workers.relay import Relay
from workers.settler import Settler, asks_temporal
from workers.sweep import sweep
from workflows import PLAYBOOKS
from workflows.steps import name_of

Json = dict[str, Any]
Do = Callable[["World", Act], Awaitable[None]]
Whole = Callable[["World"], Awaitable[None]]
MOST: Final = 6_000
"""Things that may happen in one world; one that does not come to rest by then never does."""
RELAYED: Final = ("dispute", "refund")
NAMES: Final = {name_of(each): each for each in PLAYBOOKS}


@dataclass
class Customer:
    """A person of the script, at Stripe."""

    about: Person
    id: str
    subscription: str = ""
    invoices: list[str] = field(default_factory=list)
    contract: str = ""
    done: int = 0


def moment_of(said: str) -> datetime:
    """A moment as it stands in the database."""
    return datetime.fromisoformat(said).replace(tzinfo=UTC)


def text_of(moment: datetime) -> str:
    """A moment as it stands in the database."""
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")


class World:
    """Plays one script. `checks` are asked after every step and may raise `Broken`."""

    def __init__(self, script: Script, check: Callable[["World"], None]) -> None:
        self.script = script
        self.clock = Clock()
        self.rig: Rig = rig_of(script.policy)
        self.database = self.rig.database
        self.stripe = VirtualStripe(self.clock, script.seed)
        self.stripe.settings.manual_attempts_count = False
        self.stripe.on_event = self._event
        self.product = Product(self.strike, self.clock)
        self.mails: list[Mail] = []
        self.accepted: list[str] = []
        """Mails whose effect was not claimed when they left; the checks take these up."""
        self.temporal = VirtualTemporal(self.clock, NAMES, self._carry_out)
        self.temporal.strike = lambda: self.strike("temporal")
        self.relay = Relay(
            self.database,
            self.temporal,  # type: ignore[arg-type]
            self.rig.router,
            self.rig.our.billing.customer_of_charge,
            learn_account=self.rig.our.billing.learn_account,
        )
        self.settler = Settler(
            self.database,
            self.rig.our.look_ups,
            asks_temporal(self.temporal),  # type: ignore[arg-type]
            self.rig.router.default_owner,
        )
        self.people: list[Customer] = []
        self.fired: Counter[str] = Counter()
        self.settled: Counter[str] = Counter()
        """How what was in doubt came out of it, by the settler's own words."""
        self.steps = 0
        self.skipped: set[tuple[str, str]] = set()
        self.events: list[str] = []
        """Every event that Stripe has told, or was about to tell."""
        self.calm = False
        self._check = check
        self._passed: Counter[str] = Counter()
        self._plan = {(fault.where, fault.nth): fault.kind for fault in script.faults}
        self._scope = ""
        self._before = True
        self.database_down = False
        self._relay_at: datetime | None = None
        self._settler_at: datetime | None = None
        self._at_once: list[Json] | None = None
        self._account = ""
        self._trace = hashlib.sha256()
        self._numbers = 0

    # Playing.

    def strike(self, where: str) -> str:
        """Which fault strikes here, this time."""
        self._passed[where] += 1
        kind = "" if self.calm else self._plan.get((where, self._passed[where]), "")
        if kind:
            self.fired[f"{where}:{kind}"] += 1
            self.note(f"fault {where} {kind}")
        if kind == "slow":
            self.clock.now += timedelta(seconds=12)
            return ""
        return kind

    def begun(self) -> None:
        """From here on Stripe's events are told."""
        self._before = False

    def will_strike(self, fault: Fault) -> None:
        """One more fault, counted from now."""
        self._plan[fault.where, self._passed[fault.where] + fault.nth] = fault.kind

    def note(self, line: str) -> None:
        """Part of the trace, which is the same whenever the seed is."""
        self._trace.update(f"{self.clock.now.isoformat()} {line}\n".encode())

    @property
    def trace(self) -> str:
        """A fingerprint of everything that happened."""
        return self._trace.hexdigest()

    async def play(self, do: Do, begin: Whole, rest: Whole) -> None:
        """From the beginning to rest.

        Raises:
            Broken: an invariant does not hold.
        """
        without_threads()
        with ExitStack() as stack:
            self.enter(stack)
            await begin(self)
            self.begun()
            for act in self.script.acts:
                await self.pass_time(BEGIN + timedelta(hours=act.at_h))
                await self.act(do, act)
            await self.pass_time(BEGIN + timedelta(hours=self.script.hours))
            await self.come_to_rest()
            await rest(self)
            self._dump()

    def _dump(self) -> None:
        for table in ("effects", "cases"):
            for row in self.database.rows(f"SELECT * FROM {table} ORDER BY 1"):
                self.note(repr(row))

    def enter(self, stack: ExitStack) -> None:
        """Let our code see this world and no other."""
        self.database.begin_again(self._hook)
        door = StripeDoor(self.stripe, self.strike, self._meanwhile, self.clock)
        self.rig.stripe.play = door.play
        self.rig.with_mail(Postbox(self.strike, self.clock, self._mail, shows=self.script.shows_mails))
        stack.enter_context(shown_to_our_code(self.clock))
        stack.enter_context(light_objects())
        stack.enter_context(one_lane_at_a_time())
        stack.enter_context(product_at(self.product.post))
        stack.enter_context(edited_plans(lambda: self.temporal.version))

    async def act(self, do: Do, act: Act) -> None:
        """One act of the script, and a look at the invariants."""
        self.note(f"act {act.what} {act.who}")
        self._do = do
        await do(self, act)
        self._step()

    async def pass_time(self, until: datetime) -> None:
        """Everything that is due until a moment, each thing at its own."""
        while True:
            self._call_the_relay()
            self._call_the_settler()
            following = self.clock.next_at()
            if not self._stripe_comes_by(min(until, following) if following else until):
                if following is None or following > until:
                    break
                what, do = self.clock.pop()
                self.note(what)
                await do()
            self._step()
        self.clock.now = max(self.clock.now, until)

    async def come_to_rest(self) -> None:
        """Outages end, no more faults; a sweep; then wait until all that was under way has come to its end."""
        self.calm = True
        self.database_down = self.temporal.away = False
        self.temporal.worker_up()
        # What got lost is fetched; a sweep that has nothing to find costs as much as the rest of a small world.
        if self.fired["webhook:lost"] or self.script.seed % 5 == 0:
            await sweep(self.database, self.rig.our.stripe, livemode=False, since=int(BEGIN.timestamp()))
        for number in range(40):
            await self.pass_time(self.clock.now + timedelta(minutes=15))
            if number and not set(self.clock.waiting()) - {"timer"} - self._may_wait():
                break

    def _may_wait(self) -> set[str]:
        """What is only in doubt, and before a person, is asked for for ever."""
        ((young,),) = self.database.rows(
            f"SELECT count(*) FROM effects WHERE {UNSETTLED} AND (state = 'claimed' OR wall_claimed_at > ?)",
            text_of(self.clock.now - timedelta(hours=2)),
        )
        return set() if young else {"settler"}

    def _step(self) -> None:
        self.steps += 1
        if self.steps > MOST:
            raise Broken(f"the world does not come to rest: {Counter(self.clock.waiting()).most_common(3)}")
        self._check(self)

    # Between the parts.

    async def _carry_out(self, batch: Batch) -> Outcome:
        self.note(f"carry out {batch.case} {batch.step}")
        self._scope, self._account = "activity", batch.account
        try:
            return await self.rig.carry_out(batch)
        finally:
            self._scope = ""

    def _call_the_relay(self) -> None:
        """Where rows are due, the relay comes by."""
        if self._relay_at is not None:
            return
        ((due,),) = self.database.rows("SELECT min(wall_next_try_at) FROM inbox WHERE state = 'pending'")
        if due:
            moment = moment_of(due)
            # It comes by every second while it waits for somebody; a world has no patience for so many steps.
            soon = timedelta(minutes=20) if self.temporal.away or self.database_down else timedelta(milliseconds=100)
            self._relay_at = max(moment, self.clock.now + soon)
            self.clock.at(self._relay_at, "relay", self._relay_once)

    async def _relay_once(self) -> None:
        self._scope, self._relay_at = "relay", None
        try:
            await self.relay.once()
        except Crash:
            self.note("the relay was killed")
        except Exception as error:  # noqa: BLE001 - as `Relay.run` does: the database may be away
            self.note(f"the relay waits: {type(error).__name__}")
            self._relay_at = self.clock.now + timedelta(minutes=20 if self.database_down else 0, seconds=1)
            self.clock.at(self._relay_at, "relay", self._relay_once)
        finally:
            self._scope = ""

    def _call_the_settler(self) -> None:
        """It comes by every minute; here once there is something for it to ask about."""
        if self._settler_at is not None:
            return
        ((claimed, doubtful),) = self.database.rows(
            "SELECT min(CASE state WHEN 'claimed' THEN coalesce(wall_look_at, wall_claimed_at) END),"
            " min(CASE state WHEN 'in_doubt' THEN coalesce(wall_look_at, wall_claimed_at) END)"
            f" FROM effects WHERE {UNSETTLED}"
        )
        due = [moment_of(doubtful)] if doubtful else []
        due += [moment_of(claimed) + UNDER_WAY] if claimed else []
        if due:
            soon = timedelta(minutes=20 if self.temporal.away or self.database_down else 1)
            self._settler_at = max(min(due), self.clock.now + soon)
            self.clock.at(self._settler_at, "settler", self._settle_once)

    async def _settle_once(self) -> None:
        self._scope, self._settler_at = "settler", None
        try:
            self.settled.update(await self.settler.once())
        except Crash:
            self.note("the settler was killed")
        except Exception as error:  # noqa: BLE001 - as `settle_for_ever` does: the database may be away
            self.note(f"the settler waits: {type(error).__name__}")
        finally:
            self._scope = ""

    def _hook(self, what: str) -> None:
        if not self._scope and not self.database_down:
            return
        if self.database_down and what == "statement":
            raise sqlite3.OperationalError("unable to open database file")
        struck = self.strike(f"{self._scope}.{what}") if self._scope else ""
        if struck == "crash":
            raise Crash
        if struck:
            raise sqlite3.OperationalError("disk I/O error")

    def _mail(self, mail: Mail) -> None:
        self.mails.append(mail)
        key = mail.custom_args["effect"]
        (row,) = self.database.rows("SELECT state FROM effects WHERE key = ?", key) or [("nothing",)]
        if row[0] != "claimed":
            self.accepted.append(f"{key} left while the ledger had {row[0]}")

    # Stripe speaks.

    def _stripe_comes_by(self, until: datetime) -> bool:
        due = due_invoices(self.stripe, int(until.timestamp()))
        if not due:
            return False
        self.clock.now = max(self.clock.now, datetime.fromtimestamp(due[0]["next_payment_attempt"], UTC))
        self.note("stripe retries")
        billing.retry_by_stripe(self.stripe, due[0])
        return True

    def _event(self, event: Json) -> None:
        if event["type"] not in READERS or self._before:
            return
        self.events.append(event["id"])
        if self._at_once is not None:
            self._at_once.append(event)
            return
        struck = self.strike("webhook")
        delays = {"lost": (), "duplicate": (0.3, 40), "late": (7200,), "out_of_order": (90,)}.get(struck, (0.3,))
        for delay in delays:
            self._bring(event, delay)

    def _bring(self, event: Json, seconds: float) -> None:
        async def deliver() -> None:
            try:
                await self.receive(event)
            except SQLAlchemyError:  # 503: Stripe comes again
                self._bring(event, 3600)

        self.clock.after(seconds, f"webhook {event['type']}", deliver)

    async def receive(self, event: Json) -> None:
        """What the receiver does with a delivery."""
        body = orjson.dumps(event)
        now = int(self.clock.now.timestamp())
        check_stripe_signature(signature(body, [WEBHOOK_SECRET], now), body, (WEBHOOK_SECRET,), now)
        row = row_of(parse_object(body), body, livemode=False)
        async with self.database.writing() as session:
            await ledger.insert_once(session, row)

    async def _meanwhile(self, what: str) -> None:
        """Somebody does something while we are on the line, and its webhook is on disk before we go on."""
        who = next((number for number, one in enumerate(self.people) if one.id == self._account), 0)
        scope, self._scope, self._at_once = self._scope, "", []
        try:
            await self._do(self, Act(0, what, who))
            for event in self._at_once:
                await self.receive(event)
            if what in RELAYED and scope == "activity" and not self.temporal.away:
                self._scope = ""
                await self.relay.once()  # whose dispute it is, only the relay finds out
        finally:
            self._scope, self._at_once = scope, None

    async def tell(self, kind: str, account: str, **data: Any) -> None:
        """The company's own systems say something, by POST /events."""
        self._numbers += 1
        said = {"type": kind, "timestamp": self.clock.now.isoformat(), "data": {"account": account, **data}}
        body = orjson.dumps(said)
        name = f"told-{self._numbers}"

        async def post() -> None:
            row = read_event(parse_object(body), name, body, self.rig.events)
            try:
                async with self.database.writing() as session:
                    await inbox.take_in(session, [row])
            except SQLAlchemyError:  # 503: they come again
                self.clock.after(3600, f"told {kind}", post)

        await post()

    def struck_in(self, *places: str) -> bool:
        """Whether a fault struck in one of these places, or somebody killed a worker."""
        names = [*self.fired]
        return any(name.startswith(places) or name in ("kill_workers", "workers_down", "deploy") for name in names)

    def successes(self) -> list[Attempt]:
        """Charges that took money."""
        return [entry for entry in self.stripe.ledger if entry.outcome == "ok"]
