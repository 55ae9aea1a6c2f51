"""What the company's own systems, Segment and scripts send, signed as each of them does."""

import base64
import hashlib
import hmac
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from sqlmodel import SQLModel, select

from models.database import Database
from models.policy import Usage
from models.tables import Account
from tests.web.events import encoded
from tests.web.wire import Answer, Receiver, receiving, request
from web.events import EventsEndpoint
from web.segment import SegmentEndpoint

EVENTS_SECRET = "whsec_" + base64.b64encode(b"present-secret-of-24-byte").decode()
OLDER_EVENTS_SECRET = "whsec_" + base64.b64encode(b"older-secret-of-24-bytes!").decode()
SEGMENT_SECRET = "segment-secret-in-tests"
TOKEN, OLDER_TOKEN = "token-of-the-api-in-tests", "older-token-of-the-api-in-tests"
RULES = Usage(names={"Report Viewed": "report", "opened": "activity"}, facts={"Signed Up": "user.signed_up"})
AT = "2026-11-24T23:30:00-02:00"
"""In UTC this is the next day, 01:30."""
DAY = "2026-11-25"


def fact(kind: str = "user.signed_up", account: str = "cus_1", at: str = AT, **data: Any) -> dict[str, Any]:
    """An event as our own systems send it."""
    return {"type": kind, "timestamp": at, "data": {"account": account, **data}}


def standard_headers(
    body: bytes, message_id: str, secret: str = EVENTS_SECRET, at: int = 0
) -> list[tuple[bytes, bytes]]:
    """The three headers of Standard Webhooks, worked out here by hand."""
    moment = str(at or int(time.time()))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{message_id}.{moment}.".encode() + body, hashlib.sha256).digest()
    return [
        (b"webhook-id", message_id.encode()),
        (b"webhook-timestamp", moment.encode()),
        (b"webhook-signature", b"v1," + base64.b64encode(digest)),
    ]


def sha1(body: bytes, secret: str = SEGMENT_SECRET) -> bytes:
    """What Segment puts into X-Signature."""
    return hmac.new(secret.encode(), body, hashlib.sha1).hexdigest().encode()


@dataclass
class Door:
    """A running server with every door open, and its database."""

    receiver: Receiver

    @property
    def database(self) -> Database:
        return self.receiver.database

    async def say(self, event: Any, message_id: str = "msg_1", secret: str = EVENTS_SECRET) -> Answer:
        """Post to /events, signed."""
        body = encoded(event)
        return await self.post(b"/events", body, standard_headers(body, message_id, secret))

    async def segment(self, call: Any) -> Answer:
        """Post to /segment, signed over the whole body."""
        body = encoded(call)
        return await self.post(b"/segment", body, [(b"X-Signature", sha1(body))])

    async def put(self, path: str, row: Any, token: str = TOKEN) -> Answer:
        """Put a row to the API."""
        headers = [(b"Authorization", b"Bearer " + token.encode())]
        return await self.receiver.exchange(request(encoded(row), headers, b"PUT", path.encode()))

    async def post(self, path: bytes, body: bytes, headers: list[tuple[bytes, bytes]]) -> Answer:
        """Post bytes as they are."""
        return await self.receiver.exchange(request(body, headers, path=path))

    async def account(self, account: str = "cus_1", **columns: Any) -> None:
        """Let an account be known, as it would be after Stripe told us of it."""
        async with self.database.writing() as session:
            session.add(Account(id=account, **columns))

    async def rows(self, table: type[SQLModel]) -> list[Any]:
        """Every row of a table, by its key."""
        async with self.database.reading() as session:
            return list((await session.exec(select(table).order_by(*table.__table__.primary_key))).all())  # type: ignore[attr-defined]

    async def settled(self) -> list[tuple[str, str, str]]:
        """Kind, state and reason of every inbox row, in the order in which they came."""
        return [(row.kind, row.state, row.reason) for row in await self.receiver.rows()]


@asynccontextmanager
async def open_door(database: Database) -> AsyncIterator[Door]:
    """A server that takes events, Segment's calls and the API."""
    async with receiving(
        database,
        events=EventsEndpoint((EVENTS_SECRET, OLDER_EVENTS_SECRET), frozenset({"usage.declined"}), RULES),
        segment=SegmentEndpoint(SEGMENT_SECRET, RULES),
        api_tokens=(TOKEN, OLDER_TOKEN),
    ) as receiver:
        yield Door(receiver)
