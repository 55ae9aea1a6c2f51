"""A Hypothesis state machine on the same engine: the order of acts and faults is its own, and it shrinks by itself."""

import asyncio
from contextlib import ExitStack
from datetime import timedelta

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.sim import beginning, operators
from tests.sim.invariants import Checker, at_rest
from tests.sim.providers import without_threads
from tests.sim.script import FAULTS, Act, Fault, Person, Script
from tests.sim.world import World

DECLINES = st.sampled_from(["insufficient_funds", "lost_card", "authentication_required", "ok"])
PEOPLE = st.builds(Person, st.just("payment"), answers=st.tuples(DECLINES, DECLINES), opted_out=st.booleans())
MONEY = ("fail", "pay", "card", "bad_card", "refund", "dispute", "void", "write_off", "cancel", "authenticate")
LEADS = ("pause", "resume", "snooze", "skip", "end", "sweep")
OUTAGES = ("kill_workers", "deploy", "temporal_down", "database_down", "workers_down", "hold", "release")
WHERE = [(where, kind) for where, (_, kinds) in FAULTS.items() for kind in kinds]


class Accounts(RuleBasedStateMachine):
    """Two customers, everybody else, and whatever breaks next."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.stack = ExitStack()
        self.world: World | None = None

    @property
    def here(self) -> World:
        """The world that has begun."""
        assert self.world is not None
        return self.world

    @initialize(people=st.tuples(PEOPLE, PEOPLE))
    def begin(self, people: tuple[Person, Person]) -> None:
        """A world without a script of its own."""
        self.world = World(Script(1, "default", people, (), (), 0), Checker())

        async def start() -> None:
            without_threads()
            self.here.enter(self.stack)
            await beginning.begin(self.here)
            self.here.begun()

        self.loop.run_until_complete(start())

    def _do(self, act: Act) -> None:
        self.loop.run_until_complete(self.here.act(operators.do, act))

    @rule(what=st.sampled_from(MONEY), who=st.integers(0, 1))
    def money(self, what: str, who: int) -> None:
        """Something happens at Stripe."""
        self._do(Act(0, what, who))

    @rule(what=st.sampled_from(LEADS), who=st.integers(0, 1))
    def lead(self, what: str, who: int) -> None:
        """Somebody of ours says something."""
        self._do(Act(0, what, who, "0"))

    @rule(what=st.sampled_from(OUTAGES), hours=st.sampled_from(["1", "30"]))
    def outage(self, what: str, hours: str) -> None:
        """Something of ours is away, or new."""
        self._do(Act(0, what, 0, hours))

    @rule(fault=st.sampled_from(WHERE), soon=st.integers(1, 30))
    def breaks(self, fault: tuple[str, str], soon: int) -> None:
        """Something will break soon."""
        self.here.will_strike(Fault(fault[0], soon, fault[1]))

    @rule(hours=st.sampled_from([0.1, 2, 20, 75]))
    def time_passes(self, hours: float) -> None:
        """Time passes."""
        self.loop.run_until_complete(self.here.pass_time(self.here.clock.now + timedelta(hours=hours)))

    def teardown(self) -> None:
        """Everything comes to rest, and holds."""

        async def rest() -> None:
            await self.here.come_to_rest()
            await at_rest(self.here)

        try:
            if self.world is not None:
                self.loop.run_until_complete(rest())
        finally:
            self.stack.close()
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()


TestAccounts = Accounts.TestCase
TestAccounts.settings = settings(
    max_examples=12,
    stateful_step_count=15,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
