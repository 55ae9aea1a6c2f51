"""Handles of runs, as the relay and the settler get them from a client."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from models.cases import Ending

if TYPE_CHECKING:
    from tests.sim.temporal import VirtualTemporal


@dataclass(frozen=True)
class Handle:
    """What `Client.get_workflow_handle` gives, as far as we use it."""

    temporal: "VirtualTemporal"
    id: str

    async def signal(self, name: str, argument: Any) -> None:
        """Send a signal.

        Raises:
            RPCError: there is no such open run, or the server is away.
        """
        self.temporal.signal(self.id, name, argument)

    async def describe(self) -> SimpleNamespace:
        """Its status, and when it was closed.

        Raises:
            RPCError: there is no such run, or the server is away.
        """
        run = self.temporal.look(self.id)
        return SimpleNamespace(status=run.status, close_time=run.closed_at)

    async def result(self) -> Ending:
        """How a completed run ended.

        Raises:
            RPCError: there is no such run, or the server is away.
        """
        ending = self.temporal.look(self.id).ending
        assert ending is not None, "only completed runs are asked"
        return ending
