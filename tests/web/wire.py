"""Bytes to a real server and back, without an HTTP library that would tidy them up."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn
from sqlmodel import col, select

from models.database import Database
from models.tables import InboxEvent
from tests.web.events import OLDER_SECRET, SECRET, encoded, signed
from web.app import WebSettings, create_app
from web.webhooks import StripeEndpoint

PATH = b"/webhooks/stripe"
Headers = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The reason that was given."""
        reason: str = self.json["error"]
        return reason


def request(body: bytes, headers: Headers, method: bytes = b"POST", path: bytes = PATH) -> bytes:
    """A request as bytes; Content-Length is added unless the headers say how long the body is."""
    lines = [method + b" " + path + b" HTTP/1.1", b"Host: localhost", b"Connection: close"]
    lines += [name + b": " + value for name, value in headers]
    if not {name.lower() for name, _ in headers} & {b"content-length", b"transfer-encoding"}:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


@dataclass
class Receiver:
    """A running server and its database."""

    port: int
    database: Database

    async def exchange(self, raw: bytes, *, hang_up: bool = False, patience_s: float = 5) -> Answer:
        """Send bytes, read until the server closes. With `hang_up` we say that no more will come."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(raw)
            await writer.drain()
            if hang_up:
                writer.write_eof()
            received = await asyncio.wait_for(reader.read(-1), patience_s)
        finally:
            writer.close()
            await writer.wait_closed()
        head, _, body = received.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(": ") for line in lines)
        status = int(first.split(" ")[1]) if first else 0
        return Answer(status, {name.lower(): value for name, _, value in pairs}, body)

    async def send(self, body: bytes, *more: tuple[bytes, bytes], signature: bytes | None = None) -> Answer:
        """Post a body, signed properly unless a signature is given."""
        header = (b"Stripe-Signature", signed(body) if signature is None else signature)
        return await self.exchange(request(body, [header, *more]))

    async def tell(self, event: dict[str, Any]) -> Answer:
        """Post an event, signed properly."""
        return await self.send(encoded(event))

    async def rows(self) -> list[InboxEvent]:
        """The inbox."""
        async with self.database.reading() as session:
            return list((await session.exec(select(InboxEvent).order_by(col(InboxEvent.id)))).all())


@asynccontextmanager
async def receiving(database: Database, *, livemode: bool = False, **more: Any) -> AsyncIterator[Receiver]:
    """A server on a free port that knows two secrets; `more` are further settings of the application."""
    endpoint = StripeEndpoint((SECRET, OLDER_SECRET), livemode)
    app = create_app(database, WebSettings(endpoint, "a-secret-for-links-in-tests", **more))
    config = uvicorn.Config(app, port=0, log_level="critical", access_log=False, ws="none", lifespan="off")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    try:
        while not server.started:
            await asyncio.sleep(0.002)
        yield Receiver(server.servers[0].sockets[0].getsockname()[1], database)
    finally:
        server.should_exit = True
        await serving
