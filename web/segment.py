"""Product analytics: Segment's webhook destination posts track, identify and group calls to `/segment` (I6).

Segment signs with HMAC-SHA1, in hex, over the body: X-Signature, or X-Segment-Signature where the destination is told
to use it. X-Signature of a batched delivery covers the first call only, so that anybody who has seen one could add
calls of his own; such a batch is refused with a sentence that says what to switch.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from sqlmodel.ext.asyncio.session import AsyncSession

from models import inbox, loading
from models.columns import AccountColumns, BadRow, ContactColumns, Loadable, read_row, read_what_fits
from models.counting import LONGEST_METRIC, USAGE
from models.database import Database
from models.loading import DESCRIBED
from models.policy import Usage
from models.tables import SEGMENT, Account, InboxEvent, wall
from web.answers import SEGMENT_ANSWERS, described
from web.signatures import BadSignature
from web.strict_json import parse
from web.webhooks import LONGEST_REASON, Answer, Refused, is_a_name, received

LARGEST_BODY: Final = 1024 * 1024
MOST_CALLS: Final = 1000
HEADERS: Final = ("x-segment-signature", "x-signature")
_HEX: Final = re.compile(r"[0-9a-f]{40}")
_NOT_STORED: Final = frozenset({"page", "screen", "alias", "delete"})
_GROUP_COLUMNS: Final = ("plan", "mrr", "currency", "segment", "owner", "strategic", "timezone", "locale", "email")


@dataclass(frozen=True)
class SegmentEndpoint:
    """What the receiver has to know: the shared secret (empty: there is no such endpoint) and what names stand for."""

    secret: str = ""
    usage: Usage = field(default_factory=Usage)


@dataclass
class _Call:
    row: InboxEvent | None
    reason: str = ""
    new_account: AccountColumns | None = None


def segment_routes(database: Database, endpoint: SegmentEndpoint) -> APIRouter:
    """`POST /segment`."""
    router = APIRouter()

    @router.post("/segment", responses=SEGMENT_ANSWERS, openapi_extra=described("x-signature"))
    async def receive(request: Request) -> JSONResponse:
        """Take one call or a batch. 200: all of it is on disk, or is nothing for us; 503: Segment should come again."""

        def read(body: bytes) -> list[_Call]:
            check_segment_signature(request.headers, body, endpoint.secret)
            return [read_call(each, endpoint.usage) for each in _calls_in(parse(body))]

        if not endpoint.secret:
            return JSONResponse({"error": "this endpoint is off: SEGMENT_SECRET is not set"}, 404)
        return await received(request, database, read, _store, largest=LARGEST_BODY)

    return router


async def _store(session: AsyncSession, calls: Sequence[_Call]) -> Answer:
    for call in calls:
        if call.new_account:
            await _make_known(session, call)
    rows = [call.row for call in calls if call.row]
    states = iter(await inbox.take_in(session, rows))
    said = []
    for call in calls:
        state = next(states) if call.row else "ignored"
        reason = call.reason or (call.row.reason if call.row and state == call.row.state else "")
        said.append({"state": state, "reason": reason})
    return {"received": True, "calls": said}, 200


async def _make_known(session: AsyncSession, call: _Call) -> None:
    """Give an account its product's name, or make it, under the billing provider's id that the call tells."""
    wanted = call.new_account
    if wanted is None or call.row is None:
        return
    known = await session.get(Account, wanted.id)
    if known is None or known.external_id is None:
        (loaded,) = await loading.load(session, [wanted])
        if loaded.problem:
            call.row.state, call.row.reason, call.row.wall_settled_at = "dead", str(loaded.problem), wall()


def check_segment_signature(headers: Mapping[str, str], body: bytes, secret: str) -> None:
    """Check X-Segment-Signature or X-Signature over the whole body. There is no timestamp in it to look at.

    Raises:
        BadSignature: there is none, or it does not fit; the message is safe to send back.
    """
    found = [headers[name].strip().lower() for name in HEADERS if name in headers]
    if not found:
        raise BadSignature("there is no X-Signature header; set the shared secret in Segment's webhook destination")
    wanted = hmac.new(secret.encode(), body, hashlib.sha1).hexdigest()
    if not any(_HEX.fullmatch(each) and hmac.compare_digest(each, wanted) for each in found):
        raise BadSignature(
            "the signature does not fit the body: is the destination's shared secret SEGMENT_SECRET? Of batches, "
            "X-Signature covers the first call only; switch on 'Use X-Segment-Signature Header', or batching off"
        )


def _calls_in(said: dict[str, Any] | list[Any]) -> list[dict[str, Any]]:
    calls = said if isinstance(said, list) else said["batch"] if isinstance(said.get("batch"), list) else [said]
    if not all(isinstance(each, dict) for each in calls):
        raise Refused(400, "each call of a batch is an object such as Segment sends")
    if len(calls) > MOST_CALLS:
        raise Refused(413, f"a batch holds at most {MOST_CALLS} calls, this one {len(calls)}")
    return calls


def read_call(call: dict[str, Any], rules: Usage) -> _Call:
    """What a call means: use that is counted, a fact, or what an account and a person at it are like.

    A call that cannot be used is stored as ignored, for Segment cannot correct it; only what is never ours (page,
    screen) is not stored at all.
    """
    kind = call.get("type")
    if kind in _NOT_STORED:
        return _Call(None, f"Holdfast takes track, identify and group, not {kind}")
    row = InboxEvent(
        source=SEGMENT,
        event_id=_id_of(call),
        type=_short(kind) or "?",
        occurred_at=_time_of(call),
        body=orjson.dumps({"type": kind, "call": call}),
    )
    group = _object(call, "context").get("groupId") or call.get("groupId")
    if kind == "track":
        _read_track(row, call, group, rules)
        return _Call(row)
    if kind == "identify":
        _read_identify(row, call, group)
        return _Call(row)
    if kind == "group":
        return _read_group(row, call)
    return _Call(_ignored(row, f"Holdfast takes track, identify and group, not {_short(kind)!r}"))


def _read_track(row: InboxEvent, call: dict[str, Any], group: Any, rules: Usage) -> None:
    said = _object(call, "properties")
    name, account = _clean(call.get("event")), group or said.get("account") or said.get("groupId")
    if not name:
        _ignored(row, "a track call without a name of the event")
    elif not _is_id(account):
        _ignored(row, "names no account: neither context.groupId nor properties.account")
    elif name in rules.facts:
        row.kind, row.type, row.account_id = rules.facts[name], rules.facts[name], str(account)
        row.subject, row.object_id = _word(said.get("subject")), _word(said.get("object"))
        row.value = _word(said.get("value"))
        row.body = orjson.dumps({"type": row.type, "data": said, "call": call})
    else:
        metric = rules.names.get(name, name)
        known = {*rules.names.values(), rules.metric, rules.login_metric, rules.report_metric}
        row.kind, row.account_id, row.value = USAGE, str(account), metric
        row.object_id = row.occurred_at.date().isoformat()
        data = {"metric": metric, "count": 1, "unmapped": metric not in known}
        row.body = orjson.dumps({"type": "track", "data": data, "call": call})


def _read_identify(row: InboxEvent, call: dict[str, Any], group: Any) -> None:
    traits = {**_object(call, "traits")}
    company = traits.get("company")
    company = company if isinstance(company, dict) else {"name": company}
    account, person = group or traits.get("account") or company.get("id"), call.get("userId")
    if not _is_id(account):
        _ignored(row, "names no account: neither context.groupId nor traits.account")
        return
    if not _is_id(person):
        _ignored(row, "names no person: there is no userId")
        return
    full_name = f"{traits.get('firstName') or ''} {traits.get('lastName') or ''}".strip()
    contact = {
        "id": person,
        "name": traits.get("name") or full_name or None,
        "email": traits.get("email"),
        "timezone": traits.get("timezone") or _object(call, "context").get("timezone"),
        "locale": traits.get("locale") or _object(call, "context").get("locale"),
    }
    _describe(row, str(account), {"company": company.get("name")}, contact, call)


def _read_group(row: InboxEvent, call: dict[str, Any]) -> _Call:
    traits, account = _object(call, "traits"), call.get("groupId")
    if not _is_id(account):
        return _Call(_ignored(row, "names no account: there is no groupId"))
    columns = {name: traits.get(name) for name in _GROUP_COLUMNS}
    columns |= {"company": traits.get("name"), "signed_up_at": traits.get("createdAt")}
    billing_id = traits.get("billing_id")
    _describe(row, str(account), columns, {}, call)
    if not _is_id(billing_id) or row.state != "pending":
        return _Call(row)
    row.account_id = str(billing_id)
    try:
        return _Call(row, new_account=read_row(AccountColumns, {"id": billing_id, "external_id": account}))
    except BadRow as error:
        return _Call(_ignored(row, str(error)))


def _describe(
    row: InboxEvent, account: str, columns: dict[str, Any], contact: dict[str, Any], call: dict[str, Any]
) -> None:
    """Keep what fits of the traits; one bad trait is named and does not cost the others."""
    problems: list[str] = []
    data: dict[str, Any] = {}
    wanted: list[tuple[str, type[Loadable], dict[str, Any], dict[str, str]]] = [
        ("account", AccountColumns, columns, {"id": account}),
        ("contact", ContactColumns, contact, {"account_id": account}),
    ]
    for name, kind, given, whose in wanted:
        there = {key: value for key, value in given.items() if value not in (None, "")}
        if not there:
            continue
        try:
            fits, wrong = read_what_fits(kind, {**there, **whose})
        except BadRow as error:
            _ignored(row, str(error))
            return
        problems += [f"{each} (left out)" for each in wrong]
        data[name] = fits.model_dump(mode="json", include=fits.model_fields_set - whose.keys())
    if not any(data.values()):
        _ignored(row, "; ".join(problems) or "says nothing that Holdfast keeps")
        return
    row.kind, row.account_id, row.reason = DESCRIBED, account, "; ".join(problems)[:LONGEST_REASON]
    row.body = orjson.dumps({"type": row.type, "data": data, "call": call})


def _ignored(row: InboxEvent, reason: str) -> InboxEvent:
    row.state, row.reason, row.wall_settled_at = "ignored", reason[:LONGEST_REASON], wall()
    return row


def _id_of(call: dict[str, Any]) -> str:
    """Segment's messageId; a call without one is known by what it says."""
    given = call.get("messageId")
    if isinstance(given, str) and is_a_name(given):
        return given
    return f"sha256-{hashlib.sha256(orjson.dumps(call, option=orjson.OPT_SORT_KEYS)).hexdigest()}"


def _time_of(call: dict[str, Any]) -> datetime:
    """When it happened: Segment's corrected `timestamp`; ours where it is not usable."""
    try:
        moment = datetime.fromisoformat(str(call.get("timestamp")))
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return wall()


def _clean(name: Any) -> str:
    """An event's name as a metric: printable, single spaces, of bounded length."""
    if not isinstance(name, str):
        return ""
    printable = "".join(each if each.isprintable() else " " for each in name[: 4 * LONGEST_METRIC])
    return " ".join(printable.split())[:LONGEST_METRIC].strip()


def _object(call: dict[str, Any], name: str) -> dict[str, Any]:
    value = call.get(name)
    return value if isinstance(value, dict) else {}


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and is_a_name(value)


def _word(value: Any) -> str:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    return text if _is_id(text) else ""


def _short(value: Any) -> str:
    text = str(value)[:60]
    return text if text.isprintable() else repr(text)
