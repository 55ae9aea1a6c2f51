"""Run the Temporal server that `workers.temporal_server` found, for as long as a block lasts.

We start the process ourselves, not through the SDK, so that its log is kept, the chaos tests know its process id,
and its death is told.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.common import SearchAttributeKey
from temporalio.service import RPCError, RPCStatusCode

from workers.temporal_server import ROOT, Found, connect, skips_time

LOG = ROOT / ".holdfast" / "logs" / "temporal.log"
HOST = "127.0.0.1"
LOG_LIMIT = 10_000_000


class TemporalServerError(RuntimeError):
    """The server was found but did not start, or died; the text has its last words."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers. `pid` is None for one that we did not start."""

    address: str
    ui_url: str | None
    metrics_url: str | None
    can_skip_time: bool
    pid: int | None
    died: Callable[[], Awaitable[str]]
    """Waits until the process ends, for whatever reason, and returns a sentence with its last log lines."""


@asynccontextmanager
async def running_server(
    found: Found,
    *,
    data: Path | None = None,
    port: int = 0,
    ui_port: int | None = None,
    namespace: str = "default",
    search_attributes: Sequence[SearchAttributeKey[Any]] = (),
    skip_time: bool = False,
    fast_timers: bool = False,
    metrics_port: int | None = None,
    log: Path = LOG,
) -> AsyncIterator[Server]:
    """Run what `find()` found until the block ends; a server at an address is only connected to.

    Ports: 0 is any free one; without `ui_port` there is no Web UI, without `metrics_port` no known metrics page.
    `data` is a SQLite file, None keeps all in memory. `fast_timers` makes short timers fire within milliseconds
    instead of up to a second late, for more CPU. `log` is appended to.

    Raises:
        TemporalServerError: a port is taken, the server died, did not answer within 60 s, or refuses the search
            attributes.
    """
    if found.executable is None:
        client = await connect(None, namespace)
        await _add_attributes(client, search_attributes)
        address = found.address or client.service_client.config.target_host
        yield Server(address, None, None, await skips_time(client), None, never)
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > LOG_LIMIT:
        log.replace(log.with_suffix(".old.log"))
    for attempt in range(3):
        ports = [_free_port(wanted) if wanted is not None else None for wanted in (port, ui_port, metrics_port)]
        flags = _flags(ports, data, namespace, search_attributes, skip_time, fast_timers)
        process = _Process(found.executable, flags, log)
        await process.start()
        try:
            try:
                client = await _answering(process, f"{HOST}:{ports[0]}", namespace, ports[1])
            except TemporalServerError as error:
                # Between our look for a free port and the server's start somebody else may take it.
                if "address already in use" in str(error) and 0 in (port, ui_port, metrics_port) and attempt < 2:
                    continue
                raise
            await _add_attributes(client, search_attributes)
            yield Server(
                f"{HOST}:{ports[0]}",
                f"http://{HOST}:{ports[1]}" if ports[1] else None,
                f"http://{HOST}:{ports[2]}/metrics" if ports[2] else None,
                await skips_time(client),
                process.pid,
                process.died,
            )
            return
        finally:
            await process.stop()


async def never() -> str:
    """The `died` of a server that we did not start: whoever did will see."""
    await asyncio.Event().wait()
    return ""


def _free_port(wanted: int) -> int:
    with socket.socket() as probe:
        if wanted and probe.connect_ex((HOST, wanted)) == 0:
            raise TemporalServerError(f"Port {wanted} is taken by another program: stop it, or choose another port.")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, wanted))
        except OSError as error:
            raise TemporalServerError(f"Port {wanted} cannot be used: {error.strerror}.") from error
        return int(probe.getsockname()[1])


def _flags(
    ports: Sequence[int | None],
    data: Path | None,
    namespace: str,
    search_attributes: Sequence[SearchAttributeKey[Any]],
    skip_time: bool,
    fast_timers: bool,
) -> list[str]:
    flags = ["server", "start-dev", "--ip", HOST, "--port", str(ports[0]), "--namespace", namespace]
    flags += ["--log-level", "warn", "--log-format", "json"]
    flags += ["--ui-port", str(ports[1])] if ports[1] else ["--headless"]
    flags += ["--metrics-port", str(ports[2])] if ports[2] else []
    if data is not None:
        data.parent.mkdir(parents=True, exist_ok=True)
        # Without these a file database chokes at ten starts a second.
        flags += [
            "--db-filename",
            str(data),
            "--sqlite-pragma",
            "journal_mode=WAL",
            "--sqlite-pragma",
            "synchronous=NORMAL",
        ]
    for key in search_attributes:
        kind = key.indexed_value_type.name.title().replace("_", "")
        flags += ["--search-attribute", f"{key.name}={kind}"]
    for setting in dynamic_settings(skip_time=skip_time, fast_timers=fast_timers):
        flags += ["--dynamic-config-value", setting]
    return flags


def dynamic_settings(*, skip_time: bool, fast_timers: bool) -> list[str]:
    """What the server is told beyond its ports and store, `key=JSON` each."""
    # A search attribute added to an older database can then be used at once, not after 10 s; the CLI sets it too.
    settings = ["system.forceSearchAttributesCacheRefreshOnRead=true"]
    # By default a shard reads each of its queues twenty times a second: alone, a step then waits 50 ms at each turn.
    settings += [f"history.{queue}ProcessorMaxPollRPS=10000" for queue in ("timer", "transfer", "visibility")]
    if skip_time:
        # The name in 1.32, and the one that later servers know it by.
        settings += ["frontend.WorkflowTimeSkippingEnabled=true", "system.workflowTimeSkippingEnabled=true"]
    if fast_timers:
        settings += ['history.timerProcessorMaxTimeShift="5ms"']
    return settings


class _Process:
    """A server process in a group of its own, so that Ctrl-C reaches us first and we stop it in order."""

    def __init__(self, executable: Path, flags: Sequence[str], log: Path) -> None:
        self.command, self.log = [str(executable), *flags], log
        self.from_byte = log.stat().st_size if log.exists() else 0

    async def start(self) -> None:
        theirs, self._ours = os.pipe()
        try:
            with self.log.open("ab") as out:
                self._process = await asyncio.create_subprocess_exec(
                    *self.command,
                    stdin=theirs,
                    stdout=out,
                    stderr=asyncio.subprocess.STDOUT,
                    start_new_session=True,
                    # Our build then ends with us even when we are killed; the CLI does not know of it.
                    env={**os.environ, "HOLDFAST_STOP_AT_END_OF_INPUT": "1"},
                )
        except OSError as error:
            os.close(self._ours)
            raise TemporalServerError(f"{self.command[0]} cannot be started: {error.strerror}.") from error
        finally:
            os.close(theirs)
        self.pid = self._process.pid

    @property
    def ended(self) -> bool:
        return self._process.returncode is not None

    def last_words(self) -> str:
        with self.log.open("rb") as log:
            log.seek(self.from_byte)
            lines = log.read().decode(errors="replace").splitlines()[-15:]
        code = self._process.returncode
        state = f"ended with code {code}" if code is not None else "does not answer"
        return f"The Temporal server (process {self.pid}) {state}. Its last lines in {self.log}:\n" + "\n".join(lines)

    async def died(self) -> str:
        await self._process.wait()
        return self.last_words()

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL after 10 s. That it has ended already, by a chaos test's hand, is fine."""
        try:
            with suppress(ProcessLookupError):
                self._process.terminate()
            await asyncio.wait_for(self._process.wait(), 10)
        except TimeoutError:
            pass
        finally:
            os.close(self._ours)
            if not self.ended:
                with suppress(ProcessLookupError):
                    self._process.kill()
                await self._process.wait()


async def _answering(process: _Process, address: str, namespace: str, ui_port: int | None) -> Client:
    clock = asyncio.get_running_loop().time
    deadline = clock() + 60
    while clock() < deadline:
        if process.ended:
            break
        with suppress(OSError, RuntimeError, RPCError):
            for port in (int(address.rpartition(":")[2]), ui_port):
                if port:
                    _, writer = await asyncio.open_connection(HOST, port)
                    writer.close()
                    await writer.wait_closed()
            client = await connect(address, namespace)
            await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=namespace))
            return client
        await asyncio.sleep(0.05)
    raise TemporalServerError(process.last_words())


async def _add_attributes(client: Client, keys: Sequence[SearchAttributeKey[Any]]) -> None:
    """Register what a server at an address, or the database of an older release of ours, does not have yet."""
    if not keys:
        return
    asked = ListSearchAttributesRequest(namespace=client.namespace)
    names = [key.name for key in keys]
    try:
        have = (await client.operator_service.list_search_attributes(asked)).custom_attributes
        missing = {key.name: key.indexed_value_type.value for key in keys if key.name not in have}
        names = list(missing)
        if missing:
            request = AddSearchAttributesRequest(namespace=client.namespace)
            for name, kind in missing.items():
                request.search_attributes[name] = kind  # type: ignore[assignment]
            await client.operator_service.add_search_attributes(request)
            await _until_known(client, names)
    except RPCError as error:
        raise TemporalServerError(
            f"The Temporal server does not let us add the search attributes {', '.join(names)} ({error}): "
            "add them with `temporal operator search-attribute create`, or in Temporal Cloud's settings."
        ) from error


async def _until_known(client: Client, names: Sequence[str]) -> None:
    """The server's namespace cache takes up to 10 s to see what was added; a start that uses it fails until then."""
    query = " AND ".join(f"`{name}` IS NULL" for name in names)
    for _ in range(300):
        try:
            await client.count_workflows(query)
        except RPCError as error:
            if error.status != RPCStatusCode.INVALID_ARGUMENT:
                raise
            await asyncio.sleep(0.1)
        else:
            return
    raise TemporalServerError(f"The Temporal server still does not know the search attributes {', '.join(names)}.")
