"""What can be killed and stopped: each part of the world knows its processes, and how it comes back."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final, Protocol

from bench.chaos.postgres import Postgres
from workers.supervisor import RESTART_AFTER_S, Child
from workers.temporal_process import Server, TemporalServerError, running_server
from workers.temporal_server import Found
from workflows.visible import SEARCH_ATTRIBUTES

RESTARTED_WITHIN_S: Final = 60


class Part(Protocol):
    """Something that runs in processes of its own."""

    name: str

    def signal(self, number: int) -> None:
        """Send a signal to all of its processes."""
        ...

    async def come_back(self) -> None:
        """After a kill: run again. Returns when it does."""
        ...


class Ours:
    """A `holdfast` process; its supervisor starts it again by itself."""

    def __init__(self, name: str, arguments: list[str], env: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.child = Child(name, ["-m", "workers", *arguments], env, log)
        self._signalled = 0

    def signal(self, number: int) -> None:
        """Send a signal to the present incarnation."""
        self._signalled = self.child.pid
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.child.pid, number)

    async def come_back(self) -> None:
        """Wait for the supervisor."""
        for _ in range(int(RESTARTED_WITHIN_S / 0.05)):
            if self.child.pid != self._signalled:
                return
            await asyncio.sleep(0.05)
        raise RuntimeError(f"{self.name} was not started again within {RESTARTED_WITHIN_S} s ({RESTART_AFTER_S=})")


class TemporalPart:
    """The Temporal server on a file that outlives it, always on the same port."""

    name = "temporal"

    def __init__(self, found: Found, data: Path, log: Path) -> None:
        self._found = found
        self._data = data
        self._log = log
        self._stack = AsyncExitStack()
        self.server: Server | None = None
        self.port = 0

    async def start(self) -> None:
        """Start it, or start it again; what was killed a moment ago may still hold the port."""
        for attempt in range(20):
            try:
                self.server = await self._stack.enter_async_context(
                    running_server(
                        self._found,
                        data=self._data,
                        port=self.port,
                        search_attributes=SEARCH_ATTRIBUTES,
                        skip_time=True,
                        fast_timers=True,
                        log=self._log,
                    )
                )
            except TemporalServerError:
                if attempt == 19:
                    raise
                await asyncio.sleep(0.5)
            else:
                self.port = int(self.server.address.rpartition(":")[2])
                return

    def signal(self, number: int) -> None:
        """Send a signal to the server."""
        if self.server and self.server.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.server.pid, number)

    async def come_back(self) -> None:
        """Start it again on the same file."""
        await self.stop()
        await self.start()

    async def stop(self) -> None:
        """End it."""
        await self._stack.aclose()
        self._stack = AsyncExitStack()


class PostgresPart:
    """The database."""

    name = "postgres"

    def __init__(self, postgres: Postgres) -> None:
        self.postgres = postgres

    def signal(self, number: int) -> None:
        """Send a signal to the server and every backend."""
        self.postgres.signal(number)

    async def come_back(self) -> None:
        """Start it again; it recovers from its log."""
        await self.postgres.gone()
        await self.postgres.start()


class SimulatorPart:
    """Stripe, SendGrid and the product in one process, whose memory outlives it (simulator/memory.py)."""

    name = "simulator"

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._seed = seed
        self._process: asyncio.subprocess.Process | None = None
        self.port = 0

    async def start(self) -> None:
        """Start it, or start it again on the same port, and wait until it listens."""
        with (self._folder / "simulator.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "simulator", "--port", str(self.port), "--seed", str(self._seed)),
                *("--memory", str(self._folder / "simulator")),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), RESTARTED_WITHIN_S)
        self.port = int(str(json.loads(line)["url"]).rpartition(":")[2])

    def signal(self, number: int) -> None:
        """Send a signal."""
        if self._process and self._process.returncode is None:
            self._process.send_signal(number)

    async def come_back(self) -> None:
        """Start it again; it remembers."""
        if self._process:
            await self._process.wait()
        await self.start()

    async def stop(self) -> None:
        """End it."""
        if self._process and self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self._process.wait(), 10)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
