"""A PostgreSQL cluster that is durable (fsync on) and can be killed and stopped like any other part."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final

import psycopg

from bench.chaos import witness

PROGRAMS: Final = Path("/usr/lib/postgresql")
ANSWERS_WITHIN_S: Final = 60


class PostgresMissing(RuntimeError):
    """PostgreSQL is not installed; the message says how to get it."""


def programs() -> Path:
    """The folder of the newest PostgreSQL that is installed."""
    found = sorted(PROGRAMS.glob("*/bin/initdb"))
    if not found:
        raise PostgresMissing("there is no /usr/lib/postgresql/*/bin/initdb: apt-get install postgresql")
    return found[-1].parent


class Postgres:
    """One cluster in a folder of its own, always on the same port."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._programs = programs()
        self._folder = Path(tempfile.mkdtemp(prefix="holdfast-chaos-pg-"))
        self._process: asyncio.subprocess.Process | None = None
        # PostgreSQL refuses to run as root; Debian's package made it a user.
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:
            shutil.chown(self._folder, "postgres", "postgres")
            self._as = {"user": "postgres", "group": "postgres", "extra_groups": []}
        data = str(self._folder / "data")
        command = [str(self._programs / "initdb"), "-D", data, "-A", "trust", "-U", "holdfast", "-E", "UTF8"]
        subprocess.run([*command, "--locale=C"], check=True, cwd="/", stdout=subprocess.DEVNULL, **self._as)

    def url(self, port: int) -> str:
        """The URL of our database, at the port that leads here."""
        return f"postgresql://holdfast@127.0.0.1:{port}/postgres"

    async def start(self) -> None:
        """Start it and wait until it answers. What a kill left behind may hold its memory for a moment: try again."""
        deadline = asyncio.get_running_loop().time() + ANSWERS_WITHIN_S
        while asyncio.get_running_loop().time() < deadline:
            if self._process is None or self._process.returncode is not None:
                await self._spawn()
            with contextlib.suppress(psycopg.OperationalError):
                async with await psycopg.AsyncConnection.connect(self.url(self.port), connect_timeout=5) as connection:
                    await connection.execute("SELECT 1")
                    return
            await asyncio.sleep(0.1)
        raise RuntimeError(f"PostgreSQL does not answer; its log is {self._folder}/log")

    async def _spawn(self) -> None:
        options = ["-p", str(self.port), "-k", str(self._folder), "-c", "listen_addresses=127.0.0.1"]
        options += ["-c", "max_connections=200", "-c", "fsync=on", "-c", "synchronous_commit=on", *witness.SETTING]
        with (self._folder / "log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                str(self._programs / "postgres"),
                *("-D", str(self._folder / "data"), *options),
                cwd="/",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self._as,
            )

    def pids(self) -> list[int]:
        """The server and its children: a machine that fails takes them all."""
        if self._process is None or self._process.returncode is not None:
            return []
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return [self._process.pid, *map(int, children)]

    def signal(self, number: int) -> None:
        """Send a signal to all of it."""
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    async def gone(self) -> None:
        """Wait until the server has ended."""
        if self._process:
            await self._process.wait()

    async def stop(self) -> None:
        """End it, and take its files away."""
        if self._process and self._process.returncode is None:
            self._process.send_signal(signal.SIGINT)
            try:
                await asyncio.wait_for(self._process.wait(), 15)
            except TimeoutError:
                self.signal(signal.SIGKILL)
                await self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)
