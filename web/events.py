"""What the company's own systems say: `POST /events`, Standard Webhooks, one event or a batch (T1.5, T1.19)."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from sqlmodel.ext.asyncio.session import AsyncSession

from models import counting, inbox
from models.counting import USAGE, USAGE_TYPES, BadUsage
from models.database import Database
from models.learning import TOLD
from models.policy import Usage
from models.tables import EVENTS, InboxEvent, wall
from web.answers import EVENTS_ANSWERS, described
from web.standard_webhooks import check
from web.strict_json import parse_object
from web.webhooks import LONGEST_REASON, Answer, Refused, is_a_name, received

LARGEST_BATCH: Final = 1024 * 1024
MOST_EVENTS: Final = 1000
ENVELOPE: Final = frozenset({"id", "type", "timestamp", "data"})
FIRST_YEAR, LAST_YEAR = 1970, 2999


@dataclass(frozen=True)
class EventsEndpoint:
    """What the receiver has to know: secrets (none: there is no such endpoint), the kinds playbooks hear, usage names.

    What our own tables learn from is heard as well, whichever playbooks there are.
    """

    secrets: Sequence[str] = ()
    heard: frozenset[str] = frozenset()
    usage: Usage = field(default_factory=Usage)

    def hears(self, kind: str) -> bool:
        """Whether somebody takes up a fact of this kind."""
        return kind in self.heard or kind in TOLD


class BadEvent(ValueError):
    """An event we cannot take; the message names the field and what it may hold."""


@dataclass
class _Delivery:
    rows: list[InboxEvent] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    bad: list[dict[str, Any]] = field(default_factory=list)
    is_batch: bool = False


def event_routes(database: Database, endpoint: EventsEndpoint) -> APIRouter:
    """`POST /events`."""
    router = APIRouter()

    @router.post(
        "/events",
        responses=EVENTS_ANSWERS,
        openapi_extra=described("webhook-id", "webhook-timestamp", "webhook-signature"),
    )
    async def receive(request: Request) -> JSONResponse:
        """Take one event or a batch. 200: all of it is on disk; 422: all but the events named; 503: send it again."""

        def read(body: bytes) -> _Delivery:
            delivery_id = check(request.headers.items(), body, endpoint.secrets, time.time())
            return read_delivery(delivery_id, body, endpoint)

        async def store(session: AsyncSession, delivery: _Delivery) -> Answer:
            states = await inbox.take_in(session, delivery.rows)
            if not delivery.is_batch:
                return {"received": True, "state": states[0], "reason": delivery.rows[0].reason}, 200
            return _about_batch(delivery, states)

        if not endpoint.secrets:
            return JSONResponse({"error": "this endpoint is off: EVENTS_SECRETS is not set"}, 404)
        return await received(request, database, read, store, largest=LARGEST_BATCH)

    return router


def _about_batch(delivery: _Delivery, states: Sequence[str]) -> Answer:
    taken = [
        {"index": index, "id": row.event_id, "state": state, "reason": row.reason if state == row.state else ""}
        for index, row, state in zip(delivery.places, delivery.rows, states, strict=True)
    ]
    answer = {"received": not delivery.bad, "events": taken, "bad": delivery.bad}
    if delivery.bad:
        answer["error"] = (
            f"{len(delivery.bad)} of {len(taken) + len(delivery.bad)} events cannot be taken; the others are stored. "
            "Correct them and send the batch once more: what is stored already is known by its id"
        )
    return answer, 422 if delivery.bad else 200


def read_delivery(delivery_id: str, body: bytes, endpoint: EventsEndpoint) -> _Delivery:
    """The inbox rows of a body whose signature fits.

    One bad event of a batch must neither hold up the others for ever nor vanish behind a 200 that nobody reads.

    Raises:
        Refused: a single event that cannot be taken, or something that is no batch.
    """
    said = parse_object(body)
    delivery = _Delivery(is_batch="events" in said)
    if not delivery.is_batch:
        try:
            delivery.rows.append(read_event(said, delivery_id, body, endpoint))
        except BadEvent as error:
            raise Refused(400, str(error)) from None
        return delivery
    events = said["events"]
    if not isinstance(events, list) or not events or set(said) != {"events"}:
        raise Refused(400, 'a batch is {"events": [...]} with at least one event, and nothing beside them')
    if len(events) > MOST_EVENTS:
        raise Refused(413, f"a batch holds at most {MOST_EVENTS} events, this one {len(events)}: send it in parts")
    for index, each in enumerate(events):
        try:
            if not isinstance(each, dict):
                raise BadEvent('each event is an object {"id", "type", "timestamp", "data"}')
            event_id = _name(each, "id", "its own id, by which it is known if it comes again")
            delivery.rows.append(read_event(each, event_id, orjson.dumps(each), endpoint))
            delivery.places.append(index)
        except BadEvent as error:
            delivery.bad.append({"index": index, "reason": str(error)[:LONGEST_REASON]})
    return delivery


def read_event(said: dict[str, Any], event_id: str, body: bytes, endpoint: EventsEndpoint) -> InboxEvent:
    """The inbox row of one event: pending, ignored because nobody hears it, or use, which is counted.

    Raises:
        BadEvent: a field is missing or not what it may be.
    """
    for name in said:
        if name not in ENVELOPE:
            raise BadEvent(f"there is no field {name[:60]!r}; an event has type, timestamp and data")
    kind = _name(said, "type", "what happened, such as user.signed_up")
    at = _moment(said.get("timestamp"))
    data = said.get("data")
    if not isinstance(data, dict):
        raise BadEvent('data is missing; expected an object such as {"account": "cus_123"}')
    account = _name(data, "account", "the account's id, or its external_id", "data.")
    row = InboxEvent(
        source=EVENTS,
        event_id=event_id,
        type=kind,
        kind=kind,
        account_id=account,
        occurred_at=at,
        body=body,
    )
    if kind in USAGE_TYPES:
        try:
            count = counting.read_count(kind, account, at, data, endpoint.usage)
        except BadUsage as error:
            raise BadEvent(str(error)) from None
        row.kind, row.value, row.object_id = USAGE, count.metric, count.day.isoformat()
        return row
    row.subject, row.object_id = _optional(data, "subject"), _optional(data, "object")
    row.value = _optional(data, "value")
    row.at_stake, row.currency = _amount(data), _optional(data, "currency").lower()
    if not endpoint.hears(kind):
        row.state, row.reason, row.wall_settled_at = "ignored", f"no playbook hears {kind}", wall()
    return row


def _name(said: dict[str, Any], name: str, expected: str, within: str = "") -> str:
    value = said.get(name)
    if not isinstance(value, str) or not is_a_name(value):
        shown = "missing" if value is None else repr(value)[:60]
        raise BadEvent(f"{within}{name} is {shown}; expected {expected} (1 to 255 printable characters)")
    return value


def _optional(data: dict[str, Any], name: str) -> str:
    value = data.get(name)
    if value is None or value == "":
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not is_a_name(value):
        raise BadEvent(f"data.{name} is {repr(value)[:60]}; expected a word or number of at most 255 characters")
    return value


def _amount(data: dict[str, Any]) -> int:
    value = data.get("amount", 0)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**53:
        raise BadEvent(
            f"data.amount is {repr(value)[:60]}; expected a whole number of the currency's minor unit (cents)"
        )
    return value


def _moment(value: Any) -> datetime:
    expected = "expected ISO 8601 with a zone, such as 2027-03-01T09:30:00Z"
    try:
        if not isinstance(value, str):
            raise ValueError(value)
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None or not FIRST_YEAR <= moment.year <= LAST_YEAR:
            raise ValueError(value)
    except ValueError:
        shown = "missing" if value is None else repr(value)[:60]
        raise BadEvent(f"timestamp is {shown}; {expected}") from None
    return moment.astimezone(UTC)
