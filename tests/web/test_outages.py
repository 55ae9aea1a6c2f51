"""The database or Temporal is really away: what the sender is told, and that nothing is lost."""

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event as on
from sqlalchemy import update
from sqlmodel import col
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RetryConfig

from models.database import Database
from models.policy import PolicyFile
from models.tables import CaseRow, InboxEvent, wall
from tests.town import fresh_database
from tests.web.events import event, invoice
from tests.web.wire import Receiver, receiving, request
from workers.relay import Relay
from workers.routing import Router
from workers.temporal_process import Server, running_server
from workers.temporal_server import Found, find
from workflows.visible import SEARCH_ATTRIBUTES

DOWN = {"error": "the event could not be stored; please send it again"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def health(receiver: Receiver) -> tuple[int, Any]:
    answer = await receiver.exchange(request(b"", [], b"GET", b"/healthz"))
    return answer.status, answer.json


HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another process holds the whole database for itself."""
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield


async def test_t1_19_a_locked_database_is_a_503_and_the_event_is_taken_the_next_time(database_url: str) -> None:
    database = Database(database_url)
    # The last to be called on a new connection; 30 s would be too long for a test.
    on.listen(database.engine.sync_engine, "connect", lambda raw, _: raw.execute("PRAGMA busy_timeout = 20"))
    async with receiving(database) as receiver:
        with locked(Path(database_url.removeprefix("sqlite:///"))):
            answer = await receiver.tell(event())
            assert (answer.status, answer.json) == (503, DOWN)
        assert await receiver.rows() == []
        assert (await receiver.tell(event())).json["state"] == "pending"
        assert len(await receiver.rows()) == 1
    await database.close()


@pytest.mark.parametrize("contents", [b"", b"this is no database" * 100], ids=["emptied", "overwritten"])
async def test_t1_19_a_replaced_database_file_is_a_503(contents: bytes, tmp_path: Path) -> None:
    path = tmp_path / "replaced.db"
    path.write_bytes(contents)
    database = Database(f"sqlite:///{path}")
    async with receiving(database) as receiver:
        answer = await receiver.tell(event())
        assert (answer.status, answer.json) == (503, DOWN)
    await database.close()


async def test_t1_19_a_database_server_that_is_not_there_is_a_503() -> None:
    database = Database(f"postgresql://holdfast@127.0.0.1:{free_port()}/holdfast")
    async with receiving(database) as receiver:
        answer = await receiver.tell(event())
        assert (answer.status, answer.json) == (503, DOWN)
    await database.close()


async def test_t1_19_health_is_503_while_the_database_does_not_answer() -> None:
    database = Database(f"postgresql://holdfast@127.0.0.1:{free_port()}/holdfast")
    async with receiving(database) as receiver:
        assert await health(receiver) == (503, {"ok": False, "error": "the database does not answer"})
    await database.close()


async def test_t1_19_a_bad_request_is_a_400_even_without_a_database() -> None:
    database = Database(f"postgresql://holdfast@127.0.0.1:{free_port()}/holdfast")
    async with receiving(database) as receiver:
        assert (await receiver.send(b"{}")).status == 400
    await database.close()


async def test_t1_19_health_is_200_while_the_database_answers(receiver: Receiver) -> None:
    assert await health(receiver) == (200, {"ok": True})


@asynccontextmanager
async def temporal_at(found: Found, port: int, folder: Path) -> AsyncIterator[Server]:
    async with running_server(
        found,
        data=folder / "temporal.db",
        port=port,
        search_attributes=SEARCH_ATTRIBUTES,
        metrics_port=0,
        log=folder / "temporal.log",
    ) as server:
        yield server


async def nobody(charge: str) -> str:
    raise AssertionError(f"{charge}: no charge is read in this test")


async def due_now(database: Database) -> None:
    """What a second's wait would bring."""
    async with database.writing() as session:
        await session.exec(update(InboxEvent).values(wall_next_try_at=wall()).where(col(InboxEvent.state) == "pending"))


async def test_t1_19_while_temporal_is_down_events_are_taken_and_delivered_once_it_is_back(
    migrated: Path, tmp_path: Path
) -> None:
    found = await find()
    database = Database(fresh_database(migrated, tmp_path))
    port = free_port()
    async with receiving(database) as receiver:
        async with temporal_at(found, port, tmp_path) as server:
            # By default the client itself goes on trying for ten seconds.
            client = await Client.connect(
                server.address,
                data_converter=pydantic_data_converter,
                retry_config=RetryConfig(max_elapsed_time_millis=50, max_retries=1),
            )
            relay = Relay(database, client, Router(PolicyFile()), nobody)
        # Temporal is down now.
        assert (await receiver.tell(event(obj=invoice(id="in_outage")))).status == 200
        started = time.monotonic()
        for _ in range(15):  # more than the tries that a row has
            assert await relay.once() == 1
            await due_now(database)
        assert time.monotonic() - started < 5
        (row,) = await receiver.rows()
        assert (row.state, row.tries) == ("pending", 0)
        assert row.reason.startswith("Temporal: ")
        async with database.reading() as session:
            case = await session.get(CaseRow, "payment-failure/in_outage")
        assert case is not None
        assert not case.started

        async with temporal_at(found, port, tmp_path):
            for _ in range(100):  # the channel finds its way back by itself
                await due_now(database)
                await relay.once()
                (row,) = await receiver.rows()
                if row.state != "pending":
                    break
                await asyncio.sleep(0.02)
            assert (row.state, row.tries) == ("applied", 0)
            assert await relay.once() == 0
            described = await client.get_workflow_handle("payment-failure/in_outage").describe()
            assert described.history_length == 2  # started, and waiting for a worker
        async with database.reading() as session:
            case = await session.get(CaseRow, "payment-failure/in_outage")
        assert case is not None
        assert case.started
    await database.close()
