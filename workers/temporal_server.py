"""Find a Temporal server the way people expect, or get one.

`find()` looks, in this order, at `TEMPORAL_ADDRESS`; `HOLDFAST_TEMPORAL_BIN`; `temporal` on PATH; what an earlier
call left in `.tools/temporal`; the SDK's own download of the Temporal CLI; and last builds `tools/devserver` with Go.
`workers.temporal_process` runs what was found.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from temporalio.api.workflowservice.v1 import GetSystemInfoRequest, PollWorkflowExecutionTimeSkippingRequest
from temporalio.client import Client
from temporalio.envconfig import ClientConfig
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import WorkflowEnvironment

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".tools" / "temporal"
DEVSERVER = ROOT / "tools" / "devserver"

CLI_VERSION = "v1.9.1"
"""The Temporal CLI that the SDK downloads: the first with server 1.32, which skips time."""

SKIPS_TIME = (1, 32)
GO_NEEDED = (1, 26)
PACKAGES = 1_780
"""How many Go packages the build compiles, for its counter."""

Say = Callable[[str], None]


class TemporalNotFound(RuntimeError):
    """There is no Temporal server to use; the text says what to do about it."""


@dataclass(frozen=True, slots=True)
class Found:
    """Where a server is (`address`), or the executable that starts one.

    `can_skip_time` is what its version promises; a running `Server` tells whether it is switched on.
    """

    how: Literal["address", "path", "download", "build"]
    executable: Path | None
    address: str | None
    version: str
    can_skip_time: bool

    def __str__(self) -> str:
        skips = "skips time" if self.can_skip_time else "cannot skip time"
        return f"Temporal server {self.version or 'of unknown version'} ({skips}): {self.address or self.executable}"


def to_stderr(line: str) -> None:
    """Say a line where it does not mix with output for scripts."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def server_version(text: str) -> str:
    """The server's version in what `--version` printed, or "" where it names none."""
    found = re.search(r"\bServer v?(\d+\.\d+(?:\.\d+)?)", text)
    return found[1] if found else ""


def at_least(version: str, needed: tuple[int, int]) -> bool:
    """Whether a version such as "1.32.0" is `needed` or later; text that is no version is not."""
    found = re.match(r"v?(\d+)\.(\d+)", version)
    return found is not None and (int(found[1]), int(found[2])) >= needed


async def find(*, need_time_skipping: bool = False, cache: Path = CACHE, say: Say = to_stderr) -> Found:
    """The server to use, downloaded or built where need be (a build takes 3-7 minutes, once).

    With `need_time_skipping` a `temporal` on PATH that is too old for it is passed over. `say` gets progress, a line
    at a time.

    Raises:
        TemporalNotFound: nothing was found, or what the environment names does not work.
    """
    if address := os.environ.get("TEMPORAL_ADDRESS"):
        return await _at_address(address)
    if named := os.environ.get("HOLDFAST_TEMPORAL_BIN"):
        if found := await _executable("path", shutil.which(named) or named):
            return found
        raise TemporalNotFound(f"HOLDFAST_TEMPORAL_BIN is {named!r}, which is not a Temporal CLI that runs.")
    if (on_path := shutil.which("temporal")) and (found := await _executable("path", on_path)):
        if found.can_skip_time:
            return found
        what = "passed over" if need_time_skipping else "used, but it cannot skip time"
        say(f"{on_path} has Temporal server {found.version or 'of unknown version'}, older than 1.32: {what}.")
        if not need_time_skipping:
            return found
    downloaded, built = cache / f"temporal-{CLI_VERSION}", cache / devserver_name()
    # What is there already comes before any attempt to download: set-up stays quick and works offline.
    if found := await _cached(downloaded, built):
        return found
    async with _alone(cache, say):
        if found := await _cached(downloaded, built):  # while we waited
            return found
        await _download(downloaded, say)
        go = None if downloaded.exists() else shutil.which("go")
        if go and at_least((await _output(go, "env", "GOVERSION")).removeprefix("go"), GO_NEEDED):
            await _build(go, built, say)
        if found := await _cached(downloaded, built):
            return found
    raise TemporalNotFound(
        "No Temporal server found: set TEMPORAL_ADDRESS to a running one, or put the Temporal CLI 1.9.1 or later on "
        "PATH (or its path in HOLDFAST_TEMPORAL_BIN), or let this machine reach temporal.download, or install "
        "Go 1.26 or later."
    )


async def _cached(downloaded: Path, built: Path) -> Found | None:
    return await _executable("download", downloaded) or await _executable("build", built)


@asynccontextmanager
async def _alone(cache: Path, say: Say) -> AsyncIterator[None]:
    """Hold the lock of the cache folder: two set-ups at once would download or build twice."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock, _ticker(say) as tick:
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            tick("waiting for another set-up to get the Temporal server")
            await asyncio.sleep(1)
        yield


async def _output(*command: str | Path) -> str:
    """What a short command prints, "" when it fails or takes over 20 seconds."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError:
        return ""
    try:
        out, _ = await asyncio.wait_for(process.communicate(), 20)
    except TimeoutError:
        process.kill()
        await process.wait()
        return ""
    return out.decode(errors="replace").strip() if process.returncode == 0 else ""


async def _executable(how: Literal["path", "download", "build"], path: str | Path) -> Found | None:
    if not (text := await _output(path, "--version")):
        return None
    version = server_version(text)
    return Found(how, Path(path).absolute(), None, version, at_least(version, SKIPS_TIME))


async def _at_address(address: str) -> Found:
    try:
        client = await asyncio.wait_for(connect(None, "default"), 15)
        info = await client.workflow_service.get_system_info(GetSystemInfoRequest())
    except (RuntimeError, RPCError, TimeoutError) as error:
        raise TemporalNotFound(
            f"TEMPORAL_ADDRESS is {address}, but no Temporal server answers there: {error}"
        ) from error
    can_skip = await skips_time(client)
    return Found("address", None, address, info.server_version, can_skip)


async def _download(target: Path, say: Say) -> None:
    """Have the SDK fetch the CLI, where that is allowed and possible. Gives up after 30 s without a byte."""
    if os.environ.get("HOLDFAST_TEMPORAL_DOWNLOAD", "yes").lower() in {"no", "0", "false"}:
        return
    partial = target.with_name(target.name + ".downloading")
    partial.unlink(missing_ok=True)
    # The SDK has no call that only downloads: it starts the server it fetched, which is then stopped again.
    fetching = asyncio.ensure_future(
        WorkflowEnvironment.start_local(dev_server_download_version=CLI_VERSION, download_dest_dir=str(target.parent))
    )
    seen, quiet = -1, 0
    try:
        with _ticker(say) as tick:
            while not fetching.done() and quiet < 30:
                await asyncio.wait([fetching], timeout=1)
                size = partial.stat().st_size if partial.exists() else 0
                seen, quiet = size, quiet + 1 if size == seen else 0
                tick(f"downloading the Temporal CLI {CLI_VERSION}: {size / 1e6:.0f} MB")
        if fetching.done() and not fetching.exception():
            await fetching.result().shutdown()
    finally:
        fetching.cancel()
    # A server that was fetched but was slow to start is there all the same.
    if not target.exists():
        partial.unlink(missing_ok=True)
        say("The Temporal CLI could not be downloaded; looking for Go to build a server instead.")


def devserver_name() -> str:
    """The file name of a build of `tools/devserver`: its server version and a hash of its sources."""
    sources = sorted(path for path in DEVSERVER.iterdir() if path.suffix in {".go", ".mod", ".sum"})
    digest = hashlib.sha256(b"\0".join(path.name.encode() + b"\0" + path.read_bytes() for path in sources)).hexdigest()
    version = re.search(r"go\.temporal\.io/server v(\S+)", (DEVSERVER / "go.mod").read_text())
    return f"holdfast-devserver-{version[1] if version else 'unknown'}-{digest[:12]}"


async def _build(go: str, target: Path, say: Say) -> None:
    """Build `tools/devserver` into `target`, which appears only when it is whole."""
    say("Building a Temporal server with Go: 3-7 minutes the first time, then never again.")
    unfinished = target.with_name(f"{target.name}.{os.getpid()}")
    flags = ["-v", "-mod=readonly", "-buildvcs=false", "-trimpath", "-ldflags", "-s -w", "-o", str(unfinished), "."]
    process = await asyncio.create_subprocess_exec(
        go,
        "build",
        *flags,
        cwd=DEVSERVER,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    lines: list[str] = []

    async def read() -> None:
        assert process.stderr is not None  # noqa: S101 - asked for above
        async for line in process.stderr:
            lines.append(line.decode(errors="replace").rstrip())

    reading = asyncio.ensure_future(read())
    try:
        with _ticker(say) as tick:
            while not reading.done():
                fetched = sum(line.startswith("go: downloading") for line in lines)
                tick(f"{fetched} modules fetched, {len(lines) - fetched} of at most {PACKAGES} packages compiled")
                await asyncio.wait([reading], timeout=1)
        if await process.wait() != 0:
            said = "\n".join(lines[-10:])
            raise TemporalNotFound(f"Go could not build the Temporal server in {DEVSERVER}:\n{said}")
        unfinished.replace(target)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await reading
        unfinished.unlink(missing_ok=True)


@contextmanager
def _ticker(say: Say) -> Iterator[Say]:
    """A progress line with the seconds passed: rewritten in place on a terminal, else said every 15 s."""
    clock = asyncio.get_running_loop().time
    start = clock()
    said, live = start, say is to_stderr and sys.stderr.isatty()

    def tick(text: str) -> None:
        nonlocal said
        if live:
            sys.stderr.write(f"\r\033[K  {clock() - start:.0f} s: {text}")
            sys.stderr.flush()
        elif clock() - said >= 15:
            said = clock()
            say(f"  {said - start:.0f} s: {text}")

    try:
        yield tick
    finally:
        if live:
            sys.stderr.write("\r\033[K")


async def connect(address: str | None, namespace: str) -> Client:
    """A client of our own server, or, without an address, of the one the TEMPORAL_* variables describe."""
    if address is not None:
        return await Client.connect(address, namespace=namespace)
    config = ClientConfig.load_client_connect_config()
    config.setdefault("namespace", namespace)
    return await Client.connect(**config)


async def skips_time(client: Client) -> bool:
    """Ask the server: it looks whether time skipping is on before it looks at the rest of this empty question."""
    question = PollWorkflowExecutionTimeSkippingRequest(namespace=client.namespace)
    question.workflow_execution.workflow_id = "does-it-skip-time"
    try:
        await client.workflow_service.poll_workflow_execution_time_skipping(question)
    except RPCError as error:
        return error.status == RPCStatusCode.INVALID_ARGUMENT and "not enabled" not in str(error)
    return True


def main() -> int:
    """Get a server ready ahead of time and say which it is; `make setup` calls this."""
    try:
        found = asyncio.run(find(need_time_skipping=True))
    except TemporalNotFound as error:
        to_stderr(str(error))
        return 1
    to_stderr(str(found))
    return 0


if __name__ == "__main__":
    code = main()
    # A short-lived process that used the SDK can abort in the interpreter's own shutdown.
    sys.stderr.flush()
    os._exit(code)
