"""The real Temporal server (frontend, history, matching and worker services) on PostgreSQL, from its Go module.

`tools/clusterserver` names the version and holds the checksums. The dev server of `holdfast up` is the same code with
one shard on SQLite; here it is `cmd/server` with a configuration file, as an operator runs it.
"""

import asyncio
import contextlib
import os
import random
import shutil
import signal
import socket
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import psycopg
from ruamel.yaml import YAML
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from bench.chaos.links import HOST
from bench.chaos.postgres import Postgres
from workers.connect import ensure_search_attributes
from workers.temporal_process import dynamic_settings
from workers.temporal_server import CACHE, GO_NEEDED, ROOT, at_least

MODULE: Final = ROOT / "tools" / "clusterserver"
COMMANDS: Final = ("go.temporal.io/server/cmd/server", "go.temporal.io/server/cmd/tools/sql")
SERVICES: Final = ("frontend", "history", "matching", "worker")
STORES: Final = {"temporal": "temporal", "temporal_visibility": "visibility"}
"""Our name of each database, and the folder of its schema in the module."""
RETENTION: Final = timedelta(days=30)
ANSWERS_WITHIN_S: Final = 90
NAMESPACE: Final = "default"


class CannotBuild(RuntimeError):
    """The server cannot be had; the message says what is missing."""


class ClusterServer:
    """One Temporal server process on PostgreSQL, always on the same ports; a part as `bench.chaos` knows them."""

    name = "temporal"

    def __init__(self, postgres: Postgres, folder: Path, shards: int) -> None:
        self._ports = {service: (_low_port(), _low_port()) for service in SERVICES}
        self.port = self._ports["frontend"][0]
        self._postgres = postgres
        self._folder = folder
        self._shards = shards
        self._log = folder / "temporal.log"
        self._process: asyncio.subprocess.Process | None = None
        self._programs = CACHE

    @property
    def address(self) -> str:
        """Where clients connect."""
        return f"{HOST}:{self.port}"

    async def start(self) -> None:
        """Build it where that was not done yet, make its databases and namespace, and wait until it answers.

        Raises:
            CannotBuild: there is no Go, or the build failed.
            RuntimeError: it does not answer within 90 s.
        """
        self._programs = await _built()
        await self._schema()
        self._configure()
        await self._spawn()
        await self._ready()

    async def come_back(self) -> None:
        """After a kill: run again on the same databases."""
        await self.stop()
        await self._spawn()
        await self._ready()

    def signal(self, number: int) -> None:
        """Send a signal to the server."""
        if self._process and self._process.returncode is None:
            self._process.send_signal(number)

    async def stop(self) -> None:
        """End it; SIGKILL after 20 s."""
        if self._process is None or self._process.returncode is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), 20)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def _schema(self) -> None:
        """Both databases at the newest schema, made by Temporal's own tool from the files in its module."""
        module = Path(await _said("go", "list", "-m", "-f", "{{.Dir}}", "go.temporal.io/server"))
        connection = await psycopg.AsyncConnection.connect(self._postgres.url(self._postgres.port), autocommit=True)
        async with connection:
            for database in STORES:
                await connection.execute(f'CREATE DATABASE "{database}"'.encode())
        for database, schema in STORES.items():
            tool = [str(self._programs / "sql"), "--plugin", "postgres12", "--endpoint", HOST]
            tool += ["--port", str(self._postgres.port), "--user", "holdfast", "--database", database]
            await _said(*tool, "setup-schema", "--version", "0.0")
            versions = module / "schema" / "postgresql" / "v12" / schema / "versioned"
            await _said(*tool, "update-schema", "--schema-dir", str(versions))

    def _configure(self) -> None:
        yaml = YAML()
        dynamic = dict(each.split("=", 1) for each in dynamic_settings(skip_time=True, fast_timers=True))
        values = {key: [{"value": YAML(typ="safe").load(value)}] for key, value in dynamic.items()}
        with (self._folder / "dynamic.yaml").open("w") as file:
            yaml.dump(values, file)
        config: dict[str, Any] = {
            "log": {"stdout": True, "level": "warn"},
            "persistence": {
                "defaultStore": "temporal",
                "visibilityStore": "temporal_visibility",
                "numHistoryShards": self._shards,
                "datastores": {database: {"sql": self._sql(database)} for database in STORES},
            },
            "global": {"membership": {"maxJoinDuration": "30s", "broadcastAddress": HOST}},
            "services": {
                service: {"rpc": {"grpcPort": grpc, "membershipPort": gossip, "bindOnLocalHost": True}}
                for service, (grpc, gossip) in self._ports.items()
            },
            "clusterMetadata": {
                "enableGlobalNamespace": False,
                "failoverVersionIncrement": 10,
                "masterClusterName": "active",
                "currentClusterName": "active",
                "clusterInformation": {
                    "active": {
                        "enabled": True,
                        "initialFailoverVersion": 1,
                        "rpcName": "frontend",
                        "rpcAddress": self.address,
                    }
                },
            },
            "dcRedirectionPolicy": {"policy": "noop"},
            "dynamicConfigClient": {"filepath": str(self._folder / "dynamic.yaml"), "pollInterval": "10s"},
        }
        with (self._folder / "config.yaml").open("w") as file:
            yaml.dump(config, file)

    def _sql(self, database: str) -> dict[str, Any]:
        return {
            "pluginName": "postgres12",
            "databaseName": database,
            "connectAddr": f"{HOST}:{self._postgres.port}",
            "connectProtocol": "tcp",
            "user": "holdfast",
            "password": "none",
            "maxConns": 20,
            "maxIdleConns": 20,
            "maxConnLifetime": "1h",
        }

    async def _spawn(self) -> None:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                str(self._programs / "server"),
                *("--allow-no-auth", "--config-file", str(self._folder / "config.yaml"), "start"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def _ready(self) -> None:
        deadline = asyncio.get_running_loop().time() + ANSWERS_WITHIN_S
        while asyncio.get_running_loop().time() < deadline:
            if self._process and self._process.returncode is not None:
                break
            with contextlib.suppress(RuntimeError, RPCError):
                client = await Client.connect(self.address, namespace=NAMESPACE)
                await _register(client)
                await ensure_search_attributes(client)
                await client.count_workflows("AccountId IS NULL")
                return
            await asyncio.sleep(0.25)
        raise RuntimeError(f"the Temporal server does not answer; its log is {self._log}")


def _low_port() -> int:
    """A free port below 32,768: Temporal's PostgreSQL schema keeps its services' ports in a smallint."""
    while True:
        port = random.randrange(12_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return port


async def _register(client: Client) -> None:
    asked = RegisterNamespaceRequest(namespace=NAMESPACE)
    asked.workflow_execution_retention_period.FromTimedelta(RETENTION)
    try:
        await client.workflow_service.register_namespace(asked)
    except RPCError as error:
        if error.status != RPCStatusCode.ALREADY_EXISTS:
            raise


async def _built() -> Path:
    """The folder with the server and its SQL tool, built of the version that `tools/clusterserver` names."""
    version = await _said("go", "list", "-m", "-f", "{{.Version}}", "go.temporal.io/server")
    folder = CACHE / f"cluster-{version}"
    if (folder / "sql").exists() and (folder / "server").exists():
        return folder
    go = (await _said("go", "env", "GOVERSION")).removeprefix("go")
    if not at_least(go, GO_NEEDED):
        raise CannotBuild(f"Go {'.'.join(map(str, GO_NEEDED))} or later is needed, this is {go}")
    sys.stderr.write("Building the Temporal server with Go: some minutes the first time, then never again.\n")
    unfinished = folder.with_name(f"{folder.name}.{os.getpid()}")
    unfinished.mkdir(parents=True)
    try:
        flags = ["-mod=readonly", "-buildvcs=false", "-trimpath", "-ldflags", "-s -w"]
        await _said("go", "build", *flags, "-o", f"{unfinished}/", *COMMANDS)
        unfinished.replace(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


async def _said(*command: str) -> str:
    """What a command prints.

    Raises:
        CannotBuild: it is not there, or failed.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=MODULE,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise CannotBuild(f"{command[0]} cannot be run ({error.strerror}): install Go 1.26 or later") from error
    out, wrong = await process.communicate()
    if process.returncode != 0:
        raise CannotBuild(f"`{' '.join(command[:3])}` failed:\n{(wrong or out).decode(errors='replace')[-2000:]}")
    return out.decode().strip()
