import asyncio
import os
import signal
import socket
import sys
import time
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from temporalio import workflow
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import GetSystemInfoRequest
from temporalio.client import Client
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from temporalio.testing import TimeSkipper
from temporalio.worker import Worker

from tests.workers.test_temporal_server import script
from workers.temporal_process import Server, TemporalServerError, running_server
from workers.temporal_server import ROOT, Found, find

KINDS = (
    SearchAttributeKey.for_keyword("Playbook"),
    SearchAttributeKey.for_keyword_list("Tags"),
    SearchAttributeKey.for_datetime("Due"),
    SearchAttributeKey.for_int("Step"),
)
LATER = SearchAttributeKey.for_bool("Later")


@workflow.defn(sandboxed=False)  # this module starts servers, which the sandbox would refuse to import
class MonthLong:
    @workflow.run
    async def run(self) -> float:
        start = workflow.now()
        for _ in range(3):
            await workflow.sleep(timedelta(days=10))
        return (workflow.now() - start) / timedelta(days=1)


@pytest_asyncio.fixture(scope="module")
async def found() -> Found:
    return await find(need_time_skipping=True)


@pytest_asyncio.fixture(scope="module")
async def server(found: Found, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    if found.executable is None:
        pytest.skip("TEMPORAL_ADDRESS is set: these tests start servers of their own")
    log = tmp_path_factory.mktemp("server") / "temporal.log"
    async with running_server(
        found, ui_port=0, metrics_port=0, search_attributes=KINDS, skip_time=True, fast_timers=True, log=log
    ) as running:
        yield running


async def test_it_answers_with_its_version(server: Server, found: Found) -> None:
    client = await Client.connect(server.address)
    info = await client.workflow_service.get_system_info(GetSystemInfoRequest())
    assert info.server_version == found.version
    assert server.can_skip_time
    assert server.pid


async def test_web_ui_and_metrics_answer(server: Server) -> None:
    for url, word in ((server.ui_url, b"<html"), (server.metrics_url, b"service_requests")):
        assert url
        host, _, path = url.removeprefix("http://").partition("/")
        reader, writer = await asyncio.open_connection(*host.split(":"))
        writer.write(f"GET /{path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        page = await reader.read()
        writer.close()
        assert b" 200 " in page.splitlines()[0]
        assert word in page.lower()


async def test_it_has_the_search_attributes(server: Server) -> None:
    client = await Client.connect(server.address)
    known = await client.operator_service.list_search_attributes(ListSearchAttributesRequest(namespace="default"))
    for key in KINDS:
        assert int(known.custom_attributes[key.name]) == key.indexed_value_type, key.name


async def test_thirty_days_pass_in_seconds(server: Server) -> None:
    skipper = TimeSkipper(await Client.connect(server.address))
    queue = str(uuid.uuid4())
    began = time.monotonic()
    async with Worker(skipper.client, task_queue=queue, workflows=[MonthLong]):
        days = await skipper.client.execute_workflow(MonthLong.run, id=queue, task_queue=queue)
    assert days == pytest.approx(30, abs=0.01)
    assert time.monotonic() - began < 5


async def test_a_file_survives_a_restart_and_gains_search_attributes(
    found: Found, tmp_path: Path, server: Server
) -> None:
    data, log, run = tmp_path / "deep" / "temporal.db", tmp_path / "temporal.log", str(uuid.uuid4())
    async with running_server(found, data=data, search_attributes=KINDS, log=log) as first:
        assert not first.can_skip_time, "only when asked for"
        assert first.ui_url is first.metrics_url is None
        client = await Client.connect(first.address)
        await client.start_workflow(MonthLong.run, id=run, task_queue=run)
    async with running_server(found, data=data, search_attributes=(*KINDS, LATER), log=log) as second:
        client = await Client.connect(second.address)
        assert (await client.get_workflow_handle(run).describe()).id == run
        await client.start_workflow(
            MonthLong.run,
            id=f"{run}-2",
            task_queue=run,
            search_attributes=TypedSearchAttributes([SearchAttributePair(LATER, True)]),
        )


async def test_a_taken_port_is_named(found: Found, server: Server, tmp_path: Path) -> None:
    taken = int(server.address.rpartition(":")[2])
    with pytest.raises(TemporalServerError, match=f"Port {taken} is taken"):
        async with running_server(found, port=taken, log=tmp_path / "log"):
            pass


async def test_a_killed_server_is_told_and_stopping_it_again_is_fine(
    found: Found, server: Server, tmp_path: Path
) -> None:
    async with running_server(found, log=tmp_path / "log") as doomed:
        assert doomed.pid
        os.kill(doomed.pid, signal.SIGKILL)
        assert "ended with code -9" in await asyncio.wait_for(doomed.died(), 5)


async def test_stopping_ends_the_process_and_frees_the_port(found: Found, server: Server, tmp_path: Path) -> None:
    async with running_server(found, log=tmp_path / "log") as brief:
        assert brief.pid
    with pytest.raises(ProcessLookupError):
        os.kill(brief.pid, 0)
    with socket.socket() as probe:
        host, _, port = brief.address.partition(":")
        assert probe.connect_ex((host, int(port))) != 0


async def test_an_early_death_shows_the_last_log_lines(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("a line of an earlier run\n")
    broken = Found(
        "path", script(tmp_path / "broken", "echo first; echo no disk left >&2; exit 3"), None, "1.32.0", True
    )
    with pytest.raises(TemporalServerError, match=r"(?s)ended with code 3.*first.*no disk left") as caught:
        async with running_server(broken, log=log):
            pass
    assert "earlier run" not in str(caught.value)


async def test_what_cannot_be_started_says_so(tmp_path: Path) -> None:
    missing = Found("path", tmp_path / "missing", None, "1.32.0", True)
    with pytest.raises(TemporalServerError, match="cannot be started: No such file"):
        async with running_server(missing, log=tmp_path / "log"):
            pass


async def test_an_address_is_used_as_it_is(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", server.address)
    monkeypatch.setenv("HOLDFAST_TEMPORAL_BIN", "/nowhere")
    there = await find()
    assert (there.how, there.address, there.executable, there.can_skip_time) == ("address", server.address, None, True)
    async with running_server(there, search_attributes=(*KINDS, LATER)) as same:
        assert (same.address, same.pid, same.can_skip_time) == (server.address, None, True)
    known = await (await Client.connect(server.address)).operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace="default")
    )
    assert LATER.name in known.custom_attributes


async def test_our_own_build_ends_when_whoever_started_it_is_killed(found: Found, tmp_path: Path) -> None:
    if found.how != "build":
        pytest.skip("only tools/devserver watches its input")
    program = f"""
import asyncio
from pathlib import Path
from workers.temporal_process import running_server
from workers.temporal_server import Found
async def main():
    found = Found("build", Path({str(found.executable)!r}), None, "1.32.0", True)
    async with running_server(found, log=Path({str(tmp_path / "log")!r})) as server:
        print(server.pid, flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout
    pid = int(await asyncio.wait_for(parent.stdout.readline(), 15))
    parent.kill()
    await parent.wait()
    for _ in range(200):
        if not alive(pid):
            return
        await asyncio.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    pytest.fail("the server outlived its parent by 10 seconds")


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody waited for counts as gone."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not (stat.exists() and ") Z " in stat.read_text())
