"""A PostgreSQL server of our own for the tests, where its programs are installed."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from models.database import Database
from workers import migrate


class Postgres:
    """One cluster on a free port; each test takes a database of its own."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._folder = Path(tempfile.mkdtemp(prefix="holdfast-pg-"))
        self._count = 0
        self._has_template = False
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        if os.geteuid() == 0:
            shutil.chown(self._folder, "postgres", "postgres")
        data = str(self._folder / "data")
        options = f"-p {self.port} -k {self._folder} -c listen_addresses=127.0.0.1 -c fsync=off -c full_page_writes=off"
        self._run("initdb", "-D", data, "-A", "trust", "-U", "holdfast", "-E", "UTF8", "--locale=C", "--no-sync")
        self._run("pg_ctl", "-D", data, "-l", str(self._folder / "log"), "-w", "-o", options, "start")

    def _run(self, program: str, *arguments: str) -> None:
        asked = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        command = [*asked, str(self._programs / program), *arguments]
        # pg_ctl's server would keep our pipes open, so its output goes nowhere; the log is in the folder.
        subprocess.run(command, check=True, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop(self) -> None:
        """End the server and take its files away."""
        self._run("pg_ctl", "-D", str(self._folder / "data"), "-m", "immediate", "-w", "stop")
        shutil.rmtree(self._folder)

    def url(self, name: str) -> str:
        """The URL of a database."""
        return f"postgresql://holdfast@127.0.0.1:{self.port}/{name}"

    def _sql(self, statement: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)

    def empty(self) -> str:
        """A fresh database without tables."""
        self._count += 1
        name = f"empty{self._count}"
        self._sql(f"CREATE DATABASE {name}")
        return self.url(name)

    async def migrated(self) -> str:
        """A fresh database with every table."""
        if not self._has_template:
            self._sql("CREATE DATABASE migrated")
            database = Database(self.url("migrated"))
            await migrate.upgrade(database)
            await database.close()
            self._has_template = True
        self._count += 1
        name = f"fresh{self._count}"
        self._sql(f"CREATE DATABASE {name} TEMPLATE migrated")
        return self.url(name)


_shared: list[Postgres] = []
_users = 0


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The cluster, shared by every folder of tests that imports this fixture."""
    global _users
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("PostgreSQL is not installed: there is no /usr/lib/postgresql/*/bin/initdb")
    if not _shared:
        _shared.append(Postgres(found[-1].parent))
    _users += 1
    yield _shared[0]
    _users -= 1
    if not _users:
        _shared.pop().stop()
