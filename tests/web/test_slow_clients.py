"""Clients that hold on: silent, dribbling, not reading, flooding. Real sockets against the server as it is run."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from models.database import Database
from tests.town import fresh_database
from tests.web.events import SECRET, encoded, event, signed
from tests.web.serving import serving
from tests.web.wire import PATH, Receiver, request
from web.app import WebSettings, create_app
from web.server import LARGEST_HEAD, Patience
from web.webhooks import StripeEndpoint
from workers.processes import run_web
from workers.settings import Settings

GOOD = encoded(event())
START = b"POST " + PATH + b" HTTP/1.1\r\nHost: holdfast.test\r\n"
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def receiving(database: Database, **patience: float) -> AsyncIterator[Receiver]:
    app = create_app(database, WebSettings(StripeEndpoint((SECRET,)), "a-secret-for-links-in-tests"))
    async with serving(app, patience=Patience(**patience)) as port:  # type: ignore[arg-type]
        yield Receiver(port, database)


@asynccontextmanager
async def holding(port: int, count: int, first: bytes = b"") -> AsyncIterator[list[Connection]]:
    """So many connections that sent `first` and then nothing, in the order in which the server took them."""
    opened: list[Connection] = []
    try:
        for _ in range(count):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(first)
            opened.append((reader, writer))
        yield opened
    finally:
        for _, writer in opened:
            writer.transport.abort()
        await asyncio.sleep(0)


async def ended(reader: asyncio.StreamReader) -> bytes:
    """All that comes until the server ends the connection, in whatever way."""
    with contextlib.suppress(ConnectionError):
        return await asyncio.wait_for(reader.read(-1), 3)
    return b""


async def is_open(reader: asyncio.StreamReader) -> bool:
    try:
        return bool(await asyncio.wait_for(reader.read(1), 0.02))
    except TimeoutError:
        return True
    except ConnectionError:
        return False


HALF = {
    "nothing": b"",
    "half a request line": b"POST /webh",
    "half the headers": START + b"Stripe-Sig",
    "headers and no body": START + b"Content-Length: 100\r\n\r\n",
    "half a body": START + b"Content-Length: 100\r\n\r\n" + b"{" * 50,
    "half a chunk": START + b"Transfer-Encoding: chunked\r\n\r\n32\r\n{",
}


@pytest.mark.parametrize("name", HALF)
async def test_whoever_does_not_finish_a_request_is_told_408_and_closed(name: str, database: Database) -> None:
    async with receiving(database, request_s=0.1) as receiver, holding(receiver.port, 1, HALF[name]) as ((reader, _),):
        started = time.monotonic()
        answer = await ended(reader)
        assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        assert 0.08 < time.monotonic() - started < 1
        assert await receiver.rows() == []


async def test_a_byte_now_and_then_does_not_buy_more_time(database: Database) -> None:
    async with receiving(database, request_s=0.2) as receiver, holding(receiver.port, 1, START) as ((reader, writer),):
        ending = asyncio.create_task(ended(reader))
        started = time.monotonic()
        while not ending.done() and time.monotonic() - started < 2:
            writer.write(b"a")
            await asyncio.sleep(0.01)
        assert (await ending).startswith(b"HTTP/1.1 408")
        assert time.monotonic() - started < 1


@pytest.mark.parametrize("name", HALF)
async def test_200_slow_connections_do_not_stop_a_good_webhook(name: str, database: Database) -> None:
    """More connections than the server takes: with uvicorn alone the good one is answered 503, for ever."""
    limits = {"request_s": 30, "most_waiting": 50, "most_connections": 100}
    async with receiving(database, **limits) as receiver, holding(receiver.port, 200, HALF[name]) as slow:
        started = time.monotonic()
        answer = await receiver.send(GOOD)
        assert (answer.status, answer.json["state"]) == (200, "pending")
        assert time.monotonic() - started < 1
        assert not await is_open(slow[0][0]), "those that waited longest had to go"
        assert await is_open(slow[-1][0]), "the newest did not"
        assert len(await receiver.rows()) == 1


async def test_200_who_ask_and_then_idle_do_not_stop_a_good_webhook(database: Database) -> None:
    asked = b"GET /healthz HTTP/1.1\r\nHost: holdfast.test\r\n\r\n"
    limits = {"most_waiting": 50, "most_connections": 100}
    async with receiving(database, **limits) as receiver, holding(receiver.port, 200, asked):
        assert (await receiver.send(GOOD)).status == 200


async def test_the_web_process_itself_keeps_these_limits(migrated: Path, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    settings = Settings(
        _env_file=None,
        database_url=fresh_database(migrated, tmp_path),
        stripe_webhook_secrets=SECRET,
        link_secret=SecretStr("a-secret-for-links-in-tests"),
        holdfast_port=port,
    )
    stop = asyncio.Event()
    running = asyncio.create_task(run_web(settings, stop))
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            break
        await asyncio.sleep(0.01)
    database = Database(settings.database_url)
    receiver = Receiver(port, database)
    async with holding(port, 300) as slow:
        answer = await receiver.send(GOOD)
        assert answer.status == 200
        assert "server" not in answer.headers
        assert not await is_open(slow[0][0])
        assert await is_open(slow[-1][0])
        answer = await receiver.exchange(START + b"X: " + b"x" * LARGEST_HEAD)
        assert (answer.status, answer.body) == (400, b"Invalid HTTP request received.")
    stop.set()
    await running
    await database.close()


async def test_an_honest_slow_sender_within_the_time_is_taken(database: Database) -> None:
    async with receiving(database, request_s=1) as receiver, holding(receiver.port, 1) as ((reader, writer),):
        raw = request(GOOD, [(b"Stripe-Signature", signed(GOOD))])
        for at in range(0, len(raw), 200):
            writer.write(raw[at : at + 200])
            await asyncio.sleep(0.01)
        assert (await ended(reader)).startswith(b"HTTP/1.1 200 ")


async def test_a_connection_may_be_used_again_and_is_closed_when_it_idles(database: Database) -> None:
    asked = b"GET /healthz HTTP/1.1\r\nHost: holdfast.test\r\n\r\n"
    patience = {"request_s": 0.1, "idle_s": 1}
    async with receiving(database, **patience) as receiver, holding(receiver.port, 1) as ((reader, writer),):
        for _ in range(3):
            writer.write(asked)
            assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
            await reader.readuntil(b'{"ok":true}')
            await asyncio.sleep(0.12)
        writer.write(b"GET /heal")
        assert (await ended(reader)).startswith(b"HTTP/1.1 408 "), "the time runs anew from its first byte"


async def test_whoever_does_not_read_its_answer_is_cut_off(database: Database) -> None:
    ended_with: list[bool] = []

    async def long_answer(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(400):  # 25 MB, more than what the two sockets hold
            await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})
        ended_with.append(True)

    async with serving(long_answer, patience=Patience(answer_s=0.2)) as port:
        with socket.create_connection(("127.0.0.1", port)) as unread:
            unread.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            for _ in range(150):
                if ended_with:
                    break
                await asyncio.sleep(0.01)
    assert ended_with == [True]


async def test_an_answer_given_before_the_body_came_does_not_let_the_sender_dribble_on(database: Database) -> None:
    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        await Response("too large", 413)(scope, receive, send)

    start = START + b"Content-Length: 1000000\r\n\r\n"
    async with (
        serving(refuse, patience=Patience(request_s=0.2)) as port,
        holding(port, 1, start) as ((reader, writer),),
    ):
        ending = asyncio.create_task(ended(reader))
        started = time.monotonic()
        while not ending.done() and time.monotonic() - started < 2:
            writer.write(b"x")
            await asyncio.sleep(0.01)
        assert time.monotonic() - started < 1
        assert b"408" not in await ending


GARBAGE = {
    "chunk size not hex": b"xyz\r\n{}\r\n0\r\n\r\n",
    "chunk size negative": b"-2\r\n{}\r\n0\r\n\r\n",
    "chunk size of 30 digits": b"f" * 30 + b"\r\n{}",
    "chunk longer than said": b"2\r\n{}{}\r\n0\r\n\r\n",
    "an extension of 40 kB": b"2;" + b"x" * 40_000 + b"\r\n{}\r\n0\r\n\r\n",
    "no chunks": b"{}" * 100 + b"\r\n\r\n",
}


@pytest.mark.parametrize("name", GARBAGE)
async def test_chunked_garbage_is_refused_and_stores_nothing(
    name: str, database: Database, capfd: pytest.CaptureFixture[str]
) -> None:
    headers = [(b"Stripe-Signature", signed(b"{}")), (b"Transfer-Encoding", b"chunked")]
    async with receiving(database) as receiver:
        answer = await receiver.exchange(request(GARBAGE[name], headers), hang_up=True)
        assert answer.status == 400
        assert await receiver.rows() == []
        assert (await receiver.send(GOOD)).status == 200
    assert "Traceback" not in capfd.readouterr().err


HEADS = {
    "one header of 33 kB": b"X: " + b"x" * LARGEST_HEAD,
    "three thousand": b"".join(b"X-%05d: x\r\n" % number for number in range(3_000)),
    "a name of 33 kB": b"x" * LARGEST_HEAD,
    "both lengths": b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n{}",
    "two hosts": b"Host: other.test\r\n\r\n",
    "NUL": b"X: a\0b\r\n\r\n",
    "bare CR": b"X: a\rY: b\r\n\r\n",
    "a header without a name": b": x\r\n\r\n",
    "two transfer codings": b"Transfer-Encoding: gzip, chunked\r\n\r\n",
}
"""Without their end where they are long: the server gives up before it comes."""


@pytest.mark.parametrize("name", HEADS)
async def test_a_flood_of_headers_is_refused_by_the_server(name: str, database: Database) -> None:
    async with receiving(database, request_s=1) as receiver:
        answer = await receiver.exchange(START + HEADS[name])
        assert (answer.status, answer.body) in ((400, b"Invalid HTTP request received."), (501, b""))
        assert (await receiver.send(GOOD)).status == 200
        assert len(await receiver.rows()) == 1


@pytest.mark.parametrize("announced", [len(GOOD) + 1, 200_000])
async def test_half_open_after_a_lying_length_is_quiet_and_stores_nothing(
    announced: int, database: Database, capfd: pytest.CaptureFixture[str]
) -> None:
    headers = [(b"Stripe-Signature", signed(GOOD)), (b"Content-Length", b"%d" % announced)]
    async with receiving(database, request_s=0.2) as receiver:
        async with holding(receiver.port, 20, request(GOOD, headers)) as opened:
            for _, writer in opened[:10]:
                writer.transport.abort()
            for _, writer in opened[10:]:
                writer.write_eof()
            answers = [await ended(reader) for reader, _ in opened[10:]]
        assert {answer[:12] for answer in answers} <= {b"HTTP/1.1 400", b""}
        assert await receiver.rows() == []
        assert (await receiver.send(GOOD)).status == 200
    logged = capfd.readouterr().err
    assert "ERROR" not in logged, "a sender that hangs up is nothing to wake anybody for"
    assert "Traceback" not in logged


async def test_a_slow_body_is_no_error_of_ours(database: Database, capfd: pytest.CaptureFixture[str]) -> None:
    async with (
        receiving(database, request_s=0.1) as receiver,
        holding(receiver.port, 5, HALF["half a body"]) as opened,
    ):
        assert {(await ended(reader))[:12] for reader, _ in opened} == {b"HTTP/1.1 408"}
    assert capfd.readouterr().err == ""
