"""Children of one command: started with their own settings, restarted when they die, stopped together."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

RESTART_AFTER_S = 0.5
GRACE_S = 135


class Child:
    """One process of ours, restarted whenever it ends without having been told to."""

    def __init__(self, name: str, arguments: list[str], env: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.restarts = 0
        self._arguments = arguments
        self._env = {**os.environ, **env}
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False
        self._watching: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """The process id of the present incarnation."""
        if self._process is None:
            raise RuntimeError(f"{self.name} is not running")
        return self._process.pid

    async def start(self) -> None:
        """Start it, and keep it running."""
        await self._spawn()
        self._watching = asyncio.create_task(self._watch())

    async def _spawn(self) -> None:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *self._arguments,
                env=self._env,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def _watch(self) -> None:
        while self._process is not None:
            code = await self._process.wait()
            if self._stopping:
                return
            structlog.get_logger().warning("child.died", name=self.name, code=code)
            self.restarts += 1
            await asyncio.sleep(RESTART_AFTER_S)
            if self._stopping:
                return
            await self._spawn()

    def kill(self) -> None:
        """Kill it with -9, as a machine would; it is started again."""
        os.kill(self.pid, signal.SIGKILL)

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL after the grace that running charges need."""
        self._stopping = True
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), GRACE_S)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


@asynccontextmanager
async def children(*wanted: Child) -> AsyncIterator[None]:
    """Run children until the block ends, however it ends."""
    started: list[Child] = []
    try:
        for child in wanted:
            await child.start()
            started.append(child)
        yield
    finally:
        await asyncio.gather(*(child.stop() for child in reversed(started)))
