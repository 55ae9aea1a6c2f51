"""The relay and the settler, as the relay's process runs them: called where there is something for them to do."""

from collections import Counter
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from activities.doubts import UNDER_WAY
from models.tables import UNSETTLED
from tests.sim.clock import Due
from tests.sim.memory import moment_of, text_of
from tests.sim.runs import Crash
from workers.relay import Relay
from workers.settler import Settler, asks_temporal

if TYPE_CHECKING:
    from tests.sim.world import World


class Loops:
    """They come by every second and every minute; a world has no patience for so many steps."""

    def __init__(self, world: "World") -> None:
        self._world = world
        our = world.rig.our
        self.relay = Relay(
            world.database,
            world.temporal,  # type: ignore[arg-type]
            world.rig.router,
            our.billing.customer_of_charge,
            learn_account=our.billing.learn_account,
        )
        self.settler = Settler(
            world.database,
            our.look_ups,
            asks_temporal(world.temporal),  # type: ignore[arg-type]
            world.rig.router.default_owner,
        )
        self.settled: Counter[str] = Counter()
        """How what was in doubt came out of it, by the settler's own words."""
        self._called: dict[str, tuple[datetime, int]] = {}
        """When each comes by next, and the clock's number of it."""

    def call_the_relay(self) -> None:
        """Where rows are due, the relay comes by."""
        ((due,),) = self._world.database.rows("SELECT min(wall_next_try_at) FROM inbox WHERE state = 'pending'")
        if due:
            soon = timedelta(minutes=20) if self._nothing_goes() else timedelta(milliseconds=100)
            self._call("relay", moment_of(due), soon, self._relay_once)

    def call_the_settler(self) -> None:
        """Where something is in doubt, the settler comes by."""
        ((claimed, doubtful),) = self._world.database.rows(
            "SELECT min(CASE state WHEN 'claimed' THEN coalesce(wall_look_at, wall_claimed_at) END),"
            " min(CASE state WHEN 'in_doubt' THEN coalesce(wall_look_at, wall_claimed_at) END)"
            f" FROM effects WHERE {UNSETTLED}"
        )
        due = [moment_of(doubtful)] if doubtful else []
        due += [moment_of(claimed) + UNDER_WAY] if claimed else []
        if due:
            soon = timedelta(minutes=20 if self._nothing_goes() else 1)
            self._call("settler", min(due), soon, self._settle_once)

    def _call(self, who: str, due: datetime, soon: timedelta, once: Due) -> None:
        """Put it down for when something is due, unless it comes by before that anyway."""
        at, number = self._called.get(who, (None, -1))
        wanted = max(due, self._world.clock.now + soon)
        if at is not None and at <= wanted:
            return
        self._world.clock.off(number)
        self._called[who] = wanted, self._world.clock.at(wanted, who, once)

    async def _relay_once(self) -> None:
        self._called.pop("relay")
        self._world.scope = "relay"
        try:
            await self.relay.once()
        except Crash:
            self._world.note("the relay was killed")
        except Exception as error:  # noqa: BLE001 - as `Relay.run` does: the database may be away
            self._world.note(f"the relay waits: {type(error).__name__}")
            soon = timedelta(minutes=20 if self._world.database_down else 0, seconds=1)
            self._call("relay", self._world.clock.now + soon, soon, self._relay_once)
        finally:
            self._world.scope = ""

    async def _settle_once(self) -> None:
        self._called.pop("settler")
        self._world.scope = "settler"
        try:
            self.settled.update(await self.settler.once())
        except Crash:
            self._world.note("the settler was killed")
        except Exception as error:  # noqa: BLE001 - as `settle_for_ever` does: the database may be away
            self._world.note(f"the settler waits: {type(error).__name__}")
        finally:
            self._world.scope = ""

    def _nothing_goes(self) -> bool:
        return self._world.temporal.away or self._world.database_down

    def may_wait(self) -> set[str]:
        """What is only in doubt, and before a person, is asked for for ever."""
        ((young,),) = self._world.database.rows(
            f"SELECT count(*) FROM effects WHERE {UNSETTLED} AND (state = 'claimed' OR wall_claimed_at > ?)",
            text_of(self._world.clock.now - timedelta(hours=2)),
        )
        return set() if young else {"settler"}
