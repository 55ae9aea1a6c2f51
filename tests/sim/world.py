"""A world: our code in the middle, people and providers around it, faults where the script puts them."""

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, cast

from models import holds
from models.cases import Batch, Outcome
from simulator import billing
from simulator.clock import due_invoices
from simulator.sendgrid_api import Mail
from simulator.world import Attempt
from tests.sim.clock import BEGIN, Clock, shown_to_our_code
from tests.sim.door import Door
from tests.sim.loops import Loops
from tests.sim.memory import without_greenlets
from tests.sim.providers import FROZEN, Postbox, Product, StripeDoor, VirtualStripe, light_objects, without_threads
from tests.sim.rig import Rig, edited_plans, one_lane_at_a_time, product_at, rig_of
from tests.sim.runs import Broken, Crash
from tests.sim.script import Act, Fault, Person, Script
from tests.sim.temporal import VirtualTemporal
from workers.sweep import sweep
from workflows import PLAYBOOKS
from workflows.steps import name_of

Do = Callable[["World", Act], Awaitable[None]]
Whole = Callable[["World"], Awaitable[None]]
MOST: Final = 6_000
"""Things that may happen in one world; one that does not come to rest by then never does."""
STOOD_STILL: Final = timedelta(seconds=15)
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


class World:
    """Plays one script. `checks` are asked after every step and may raise `Broken`."""

    def __init__(self, script: Script, check: Callable[["World"], None]) -> None:
        self.script = script
        self.clock = Clock()
        self.rig: Rig = rig_of(script.policy)
        self.database = self.rig.database
        self.stripe = VirtualStripe(self.clock, script.seed)
        self.stripe.settings.manual_attempts_count = False
        self.door = Door(self)
        self.stripe.on_event = self.door.hear
        self.product = Product(self.strike, self._meanwhile, self.clock)
        self.mails: list[Mail] = []
        self.accepted: list[str] = []
        """Mails whose effect was not claimed when they left; the checks take these up."""
        self.temporal = VirtualTemporal(self.clock, NAMES, self._carry_out)
        self.temporal.strike = lambda: self.strike("temporal")
        self.loops = Loops(self)
        self.people: list[Customer] = []
        self.fired: Counter[str] = Counter()
        self.steps = 0
        self.skipped: set[tuple[str, str]] = set()
        self.calm = False
        self._check = check
        self._passed: Counter[str] = Counter()
        self._plan = {(fault.where, fault.nth): fault.kind for fault in script.faults}
        self.scope = ""
        """Whose statements the database is asked for: the activity's, the relay's, the settler's."""
        self.database_down = False
        self._account = ""
        self._trace = hashlib.sha256()

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
        self.door.before = False

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
        stack.enter_context(without_greenlets())
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
            self.loops.call_the_relay()
            self.loops.call_the_settler()
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
        await self._release_all()
        # What got lost is fetched; a sweep that has nothing to find costs as much as the rest of a small world.
        if self.fired["webhook:lost"] or self.script.seed % 10 == 0:
            await sweep(self.database, self.rig.our.stripe, livemode=False, since=int(BEGIN.timestamp()))
        for number in range(40):
            await self.pass_time(self.clock.now + timedelta(minutes=15))
            if number and not set(self.clock.waiting()) - {"timer"} - self.loops.may_wait():
                break

    async def _release_all(self) -> None:
        """What is on hold goes on at once, and the runs that wait for that ask within hours."""
        async with self.database.writing() as session:
            standing = await holds.standing_holds(session)
            for each in standing:
                await holds.release(session, cast("holds.Scope", each.scope), each.name, "ana", 0)
        if self.fired["hold"]:
            await self.pass_time(self.clock.now + holds.ASK_AGAIN[1] + timedelta(hours=1))

    def _step(self) -> None:
        self.steps += 1
        if self.steps > MOST:
            raise Broken(f"the world does not come to rest: {Counter(self.clock.waiting()).most_common(3)}")
        self._check(self)

    # Between the parts.

    async def _carry_out(self, batch: Batch) -> Outcome:
        self.note(f"carry out {batch.case} {batch.step}")
        before = self.scope, self._account
        self.scope, self._account = "activity", batch.account
        try:
            return await self.rig.carry_out(batch)
        finally:
            self.scope, self._account = before

    def _hook(self, what: str) -> None:
        if not self.scope and not self.database_down:
            return
        if self.database_down and what == "statement":
            raise sqlite3.OperationalError("unable to open database file")
        struck = self.strike(f"{self.scope}.{what}") if self.scope else ""
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

    async def _meanwhile(self, what: str) -> None:
        """Somebody does something while we are on the line, and its webhook is on disk before we go on."""
        if what == FROZEN:
            self.clock.now += STOOD_STILL
            await self.temporal.stand_still()
            return
        who = next((number for number, one in enumerate(self.people) if one.id == self._account), 0)
        scope, self.scope, self.door.at_once = self.scope, "", []
        try:
            await self._do(self, Act(0, what, who))
            for event in self.door.at_once:
                await self.door.receive(event)
            if what in RELAYED and scope == "activity" and not self.temporal.away:
                self.scope = ""
                await self.loops.relay.once()  # whose dispute it is, only the relay finds out
        finally:
            self.scope, self.door.at_once = scope, None

    def struck_in(self, *places: str) -> bool:
        """Whether a fault struck in one of these places, or somebody killed a worker."""
        names = [*self.fired]
        return any(name.startswith(places) or name in ("kill_workers", "workers_down", "deploy") for name in names)

    def successes(self) -> list[Attempt]:
        """Charges that took money."""
        return [entry for entry in self.stripe.ledger if entry.outcome == "ok"]
