"""SendGrid's signed event webhook: `POST /webhooks/sendgrid`. What became of mails, and who wants no more (T4.3)."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import orjson
import structlog
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from sqlmodel.ext.asyncio.session import AsyncSession

from models import ledger, mail_events
from models.database import Database
from models.mail_events import MailEvent, UnreadableMailEvent
from models.tables import InboxEvent
from web.answers import SENDGRID_ANSWERS, described
from web.sendgrid_signature import check_sendgrid_signature
from web.strict_json import parse
from web.webhooks import Answer, Refused, received, the_one_header

LARGEST_BODY: Final = 1024 * 1024
"""SendGrid posts a batch once it holds 768 kB."""
MOST_EVENTS: Final = 5000
SIGNATURE: Final = "x-twilio-email-event-webhook-signature"
TIMESTAMP: Final = "x-twilio-email-event-webhook-timestamp"

log = structlog.get_logger()


@dataclass(frozen=True)
class SendGridEndpoint:
    """What the receiver has to know: the keys in use; none: there is no such endpoint."""

    keys: Sequence[ec.EllipticCurvePublicKey] = ()


@dataclass(frozen=True)
class _Batch:
    events: list[MailEvent]
    dead: list[InboxEvent]
    ignored: int


def sendgrid_routes(database: Database, endpoint: SendGridEndpoint) -> APIRouter:
    """`POST /webhooks/sendgrid`."""
    router = APIRouter()

    @router.post("/webhooks/sendgrid", responses=SENDGRID_ANSWERS, openapi_extra=described(SIGNATURE, TIMESTAMP))
    async def receive(request: Request) -> JSONResponse:
        """Take a batch of events. 200: all that means something is on disk; 503: SendGrid should come again."""

        def read(body: bytes) -> _Batch:
            headers = the_one_header(request, SIGNATURE), the_one_header(request, TIMESTAMP)
            check_sendgrid_signature(*headers, body, endpoint.keys, time.time())
            return read_batch(body)

        if not endpoint.keys:
            return JSONResponse({"error": "this endpoint is off: SENDGRID_WEBHOOK_PUBLIC_KEY is not set"}, 404)
        return await received(request, database, read, _store, largest=LARGEST_BODY)

    return router


async def _store(session: AsyncSession, batch: _Batch) -> Answer:
    for row in batch.dead:
        if await ledger.insert_once(session, row):
            log.error("webhook.unreadable", event_id=row.event_id, type=row.type)
    taken = await mail_events.take_in(session, batch.events)
    said = dict.fromkeys(("pending", "applied", "ignored", "duplicate", "dead"), 0)
    said |= {"ignored": batch.ignored, "dead": len(batch.dead)}
    for state, _ in taken:
        said[state] += 1
    return {"received": True, **said}, 200


def read_batch(body: bytes) -> _Batch:
    """The events of a body whose signature fits. One that cannot be read is kept as dead: it would come again in vain.

    Raises:
        Refused: not a list of events.
        BadJson: not JSON we take.
    """
    said = parse(body)
    if not isinstance(said, list):
        raise Refused(400, "expected a list of events, as SendGrid's event webhook posts them")
    if len(said) > MOST_EVENTS:
        raise Refused(413, f"a batch holds at most {MOST_EVENTS} events, this one {len(said)}")
    batch = _Batch([], [], 0)
    ignored = 0
    for each in said:
        try:
            event = mail_events.read_event(each)
        except UnreadableMailEvent as error:
            digest = hashlib.sha256(orjson.dumps(each, option=orjson.OPT_SORT_KEYS)).hexdigest()
            batch.dead.append(mail_events.unreadable(digest, error))
            continue
        if event is None:
            ignored += 1
        else:
            batch.events.append(event)
    return _Batch(batch.events, batch.dead, ignored)
