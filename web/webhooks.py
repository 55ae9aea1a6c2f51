"""Webhooks in: size cap, signature over the raw bytes, strict parse, one inbox row, 200 (T1.19)."""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel.ext.asyncio.session import AsyncSession
from starlette.requests import ClientDisconnect

from models import ledger
from models.database import Database
from models.stripe_events import Heard, UnreadableEvent, read_event
from models.tables import InboxEvent, wall
from web.answers import WEBHOOK_ANSWERS, described
from web.signatures import BadSignature, check_stripe_signature
from web.strict_json import BadJson, parse_object

LARGEST_BODY: Final = 256 * 1024
LONGEST_ID: Final = 255
LONGEST_REASON: Final = 500

Answer = tuple[dict[str, Any], int]
"""What is answered, and with which status."""
T = TypeVar("T")

log = structlog.get_logger()


class Refused(Exception):
    """The request is not taken; nothing was stored. `details` go into the answer beside the reason."""

    def __init__(self, status: int, error: str, **details: Any) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.details = details


@dataclass(frozen=True)
class StripeEndpoint:
    """What the receiver has to know of our Stripe account."""

    secrets: Sequence[str]
    livemode: bool = False


def stripe_routes(database: Database, endpoint: StripeEndpoint) -> APIRouter:
    """`POST /webhooks/stripe`."""
    router = APIRouter()

    @router.post("/webhooks/stripe", responses=WEBHOOK_ANSWERS, openapi_extra=described("Stripe-Signature"))
    async def receive(request: Request) -> JSONResponse:
        """Take one event. 200 means it is on disk; 4xx that it never will be; 503 that Stripe should come again."""

        def read(body: bytes) -> InboxEvent:
            header = the_one_header(request, "stripe-signature")
            check_stripe_signature(header, body, endpoint.secrets, time.time())
            return row_of(parse_object(body), body, livemode=endpoint.livemode)

        async def store(session: AsyncSession, row: InboxEvent) -> Answer:
            is_new = await ledger.insert_once(session, row)
            return {"received": True, "state": row.state if is_new else "duplicate", "reason": row.reason}, 200

        return await received(request, database, read, store)

    return router


async def received(
    request: Request,
    database: Database,
    read: Callable[[bytes], T],
    store: Callable[[AsyncSession, T], Awaitable[Answer]],
    *,
    largest: int = LARGEST_BODY,
) -> JSONResponse:
    """Take a body of at most `largest` bytes: `read` checks and parses it, `store` keeps it in one transaction.

    What `read` refuses is answered with its status and reason and nothing is stored; while the database is away, 503.
    """
    try:
        taken = read(await body_of(request, largest))
    except Refused as refused:
        return JSONResponse({"error": refused.error, **refused.details}, refused.status)
    except (BadSignature, BadJson) as error:
        return JSONResponse({"error": str(error)}, 400)
    try:
        async with database.writing() as session:
            answer, status = await store(session, taken)
    except (SQLAlchemyError, OSError) as error:
        log.error("webhook.database_down", error=type(error).__name__)
        return JSONResponse({"error": "the event could not be stored; please send it again"}, 503)
    return JSONResponse(answer, status)


async def body_of(request: Request, largest: int = LARGEST_BODY) -> bytes:
    """The raw body, read with a cap whatever Content-Length claims.

    Raises:
        Refused: compressed (415), larger than the cap (413), or the sender hung up before the end (400).
    """
    if request.headers.get("content-encoding", "identity").lower() not in ("", "identity"):
        raise Refused(415, "compressed bodies are not taken; the signature is over the plain bytes")
    length = request.headers.get("content-length", "")
    # Not every digit is one that int() takes, nor does it take any number of them.
    if length.isascii() and length.isdigit() and (len(length) > 18 or int(length) > largest):
        raise Refused(413, f"the body is larger than {largest} bytes")
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > largest:
                raise Refused(413, f"the body is larger than {largest} bytes")
            chunks.append(chunk)
    except ClientDisconnect:
        raise Refused(400, "the connection ended before the body did") from None
    return b"".join(chunks)


def the_one_header(request: Request, name: str) -> str:
    """A header that must be there exactly once.

    Raises:
        Refused: it is missing, or there twice.
    """
    values = request.headers.getlist(name)
    if len(values) != 1:
        raise Refused(400, f"expected exactly one {name} header, got {len(values)}")
    return values[0]


def row_of(event: dict[str, Any], body: bytes, *, livemode: bool) -> InboxEvent:
    """The inbox row of a parsed event: pending, or ignored with the reason, or dead where we cannot read it.

    Raises:
        Refused: it is not an event, or of the other mode (test against live).
    """
    event_id, kind = event.get("id"), event.get("type")
    for name, value in (("id", event_id), ("type", kind)):
        if not isinstance(value, str) or not is_a_name(value):
            raise Refused(400, f"not a Stripe event: {name} is missing or malformed")
    if event.get("object") != "event":
        raise Refused(400, "not a Stripe event: object is not 'event'")
    if event.get("livemode") is not livemode:
        wanted = "live" if livemode else "test"
        raise Refused(400, f"this endpoint takes {wanted} mode events only (livemode is {event.get('livemode')!r})")
    created, version = event.get("created"), event.get("api_version")
    usable = isinstance(created, int) and not isinstance(created, bool) and 0 < created < 2**33
    row = InboxEvent(
        source="stripe",
        event_id=str(event_id),
        type=str(kind),
        occurred_at=datetime.fromtimestamp(created, UTC) if usable and isinstance(created, int) else wall(),
        api_version=version if isinstance(version, str) and is_a_name(version) else "",
        body=body,
    )
    try:
        heard = _storable(read_event(event))
    except UnreadableEvent as error:
        row.state, row.reason, row.wall_settled_at = "dead", f"cannot be read: {error}"[:LONGEST_REASON], wall()
        # The reason quotes the field, which may be a name or an address: it stays in the row.
        log.error("webhook.unreadable", event_id=row.event_id, type=row.type)
        return row
    if heard.fact is None:
        row.state, row.reason, row.wall_settled_at = "ignored", heard.ignored, wall()
        return row
    row.kind, row.account_id = heard.fact.kind, heard.fact.account
    row.subject, row.object_id, row.value = heard.fact.subject, heard.fact.object_id, heard.fact.value
    row.at_stake, row.currency = heard.at_stake, heard.currency
    return row


def _storable(heard: Heard) -> Heard:
    """Refuse ids that no database column or workflow id could hold, for such a row would never be settled.

    Raises:
        UnreadableEvent: an id or the currency is too long, or holds characters that are not printable.
    """
    if heard.fact:
        fact = heard.fact
        values = {
            "account": fact.account,
            "subject": fact.subject,
            "object": fact.object_id,
            "currency": heard.currency,
        }
        for name, value in values.items():
            if value and not is_a_name(value):
                raise UnreadableEvent(f"the {name} {value!r} is too long or not printable")
    return heard


def is_a_name(value: str) -> bool:
    """Whether a column and a workflow id can hold it: 1 to 255 printable characters."""
    return 0 < len(value) <= LONGEST_ID and value.isprintable()
