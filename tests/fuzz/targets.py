"""What is fuzzed, and what must hold for every input.

An exception that was not promised is a find, and so is a broken assertion.
"""

import asyncio
import hashlib
import hmac
import json
import math
import sqlite3
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import stripe

from models.database import Database
from models.links import BadLink, link, subject_of
from models.stripe_events import READERS
from models.tables import InboxEvent
from tests.fuzz.choices import NASTY, Choices, encoded, mutated, valid_event
from tests.web.events import SECRET, event, signed
from tests.web.test_standard_webhooks import BODY, FITS, ID, NOW
from tests.web.test_standard_webhooks import SECRET as STANDARD_SECRET
from web.app import WebSettings, create_app
from web.rate_limits import Rate, RateLimits
from web.signatures import BadSignature, check_stripe_signature
from web.standard_webhooks import check
from web.strict_json import BadJson, parse_object
from web.webhooks import Refused, StripeEndpoint, row_of
from workers import migrate

LINK_SECRET: Final = "a-secret-for-links-in-tests"
KINDS: Final = [*sorted(READERS), "customer.created", ""]
T: Final = 1_000
V1: Final = hmac.new(SECRET.encode(), b"1000.{}", hashlib.sha256).hexdigest()
CASE: Final = "payment-failure/in_1"


class ServerError(AssertionError):
    """The application answered 5xx."""


class RowWithoutYes(AssertionError):
    """There is a row although the answer was not 200, or the answer was 200 and there is none."""


def signature_header(data: bytes) -> None:
    """Any header is refused with a sentence in ASCII, or taken by Stripe's own library too."""
    header = data.decode("latin-1").replace("~", V1)
    try:
        check_stripe_signature(header, b"{}", [SECRET], T)
    except BadSignature as error:
        assert str(error).isascii()
        return
    assert V1 in header
    verify: Any = stripe.WebhookSignature.verify_header
    assert verify("{}", header, SECRET)


STANDARD_PIECES: Final = ["webhook-id", "webhook-timestamp", "webhook-signature", "Webhook-Id", "x"]


def standard_webhook(data: bytes) -> None:
    """Any headers are refused, or are the very id and time that were signed."""
    choices = Choices(data)
    pairs = [("webhook-id", ID), ("webhook-timestamp", str(NOW)), ("webhook-signature", FITS)]
    for _ in range(choices.below(4)):
        at = choices.below(3)
        value = choices.some(choices.below(48)).decode("latin-1").replace("~", FITS)
        if choices.below(3):
            pairs[at] = (pairs[at][0], value)
        else:
            pairs.append((choices.one_of(STANDARD_PIECES), value))
    try:
        taken = check(pairs, BODY, [STANDARD_SECRET], NOW)
    except BadSignature as error:
        assert str(error).isascii()
        return
    assert taken == ID
    assert [value for name, value in pairs if name.lower() == "webhook-timestamp"] == [str(NOW)]


def strict_json(data: bytes) -> None:
    """Any bytes are refused, or an object that the standard library reads alike, of finite 64-bit numbers."""
    try:
        value = parse_object(data)
    except BadJson as error:
        assert str(error)
        return
    assert value == json.loads(data)
    assert "NaN" not in json.dumps(value)


def stored(row: InboxEvent) -> None:
    """Both databases can hold the row, so that it is never sent again in vain."""
    for text in (row.event_id, row.type, row.kind, row.account_id, row.subject, row.object_id, row.currency):
        assert len(text) <= 255
        assert "\0" not in text
        text.encode()
    assert row.state in ("pending", "ignored", "dead")
    assert (row.state == "pending") == (row.reason == "")
    assert len(row.reason) <= 500
    assert "\0" not in row.reason
    assert -(2**63) <= row.at_stake < 2**63
    row.reason.encode()
    row.api_version.encode()
    assert math.isfinite(row.occurred_at.timestamp())


def event_row(data: bytes) -> None:
    """A valid event of any kind, changed anywhere, is refused, or a row that can be stored."""
    choices = Choices(data)
    body = encoded(mutated(valid_event(choices.one_of(KINDS), choices), choices))
    try:
        stored(row_of(parse_object(body), body, livemode=False))
    except Refused as refused:
        assert refused.status == 400
    except BadJson:
        return


GOOD_TOKEN: Final = link("", LINK_SECRET, "pay", CASE).removeprefix("/pay/")


def pay_token(data: bytes) -> None:
    """Any token is refused, or leads to the case that was signed: never to another."""
    token = data.decode("utf-8", "replace").replace("~", GOOD_TOKEN)
    try:
        case = subject_of(LINK_SECRET, "pay", token)
    except BadLink as error:
        assert str(error).endswith("Please use the one in our latest mail.")
        return
    assert case == CASE


class Site:
    """The whole application in this process, on a database of its own, with no limits on how much may be asked."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        path = Path(self._folder.name) / "fuzz.db"
        self._loop = asyncio.new_event_loop()
        self._database = Database(f"sqlite:///{path}")
        self._loop.run_until_complete(migrate.upgrade(self._database))
        off = RateLimits(webhooks=Rate(0, 1), pages=Rate(0, 1))
        self._app = create_app(self._database, WebSettings(StripeEndpoint((SECRET,)), LINK_SECRET, limits=off))
        self._looking = sqlite3.connect(path, isolation_level=None)

    def rows(self) -> int:
        """How many events are in the inbox."""
        (count,) = self._looking.execute("SELECT count(*) FROM inbox").fetchone()
        return int(count)

    def ask(self, method: str, path: str, headers: list[tuple[bytes, bytes]], chunks: list[bytes]) -> tuple[int, bytes]:
        """One request as a server would pass it on; the status and the body of the answer."""
        raw = path.encode("utf-8", "replace")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": raw,
            "root_path": "",
            "query_string": b"",
            "headers": [(b"host", b"holdfast.test"), *headers],
            "client": ("203.0.113.9", 1),
            "server": ("127.0.0.1", 80),
        }
        pending = [{"type": "http.request", "body": each, "more_body": True} for each in chunks]
        pending.append({"type": "http.request", "body": b"", "more_body": False})
        said: list[Any] = []

        async def receive() -> Any:
            return pending.pop(0) if pending else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            said.append(message)

        self._loop.run_until_complete(self._app(scope, receive, send))
        assert said[0]["type"] == "http.response.start"
        return said[0]["status"], b"".join(each.get("body", b"") for each in said[1:])


@cache
def the_site() -> Site:
    """One for the whole process: making it takes longer than a thousand requests."""
    return Site()


METHODS: Final = ["POST", "GET", "PUT", "HEAD", "OPTIONS", "DELETE", "PATCH", "TRACE"]
PATHS: Final = ["/webhooks/stripe", "/pay/", "/outbox/", "/mail/", "/", "/cases", "/outbox", "/healthz", "/style.css"]
HEADERS: Final = [b"content-length", b"content-type", b"content-encoding", b"stripe-signature", b"cookie", b"range"]


def stripe_event(choices: Choices) -> Any:
    """A valid event of Stripe's, with an id of its own."""
    made = valid_event(choices.one_of(KINDS), choices)
    return {**made, "id": f"evt_{choices.digest}"} if choices.below(8) else made


def stripe_headers(body: bytes) -> list[tuple[bytes, bytes]]:
    """What Stripe would send with it now."""
    return [(b"stripe-signature", signed(body, int(time.time())))]


SIGNED: Final[dict[str, tuple[Callable[[Choices], Any], Callable[[bytes], list[tuple[bytes, bytes]]]]]] = {
    "/webhooks/stripe": (stripe_event, stripe_headers),
}
"""For each signed route a valid body and its headers; a new route is one entry here."""


def application(data: bytes) -> None:
    """Any request, most of them events signed correctly: no exception, no 5xx, a row only where the answer is 200."""
    site, choices = the_site(), Choices(data)
    before = site.rows()
    way, route = choices.below(8), choices.one_of(list(SIGNED))
    if way < 6:
        make, sign = SIGNED[route]
        body = encoded(mutated(make(choices), choices))
        if way == 5:
            body = bytes(choices.one_of([b"", b"\xff", b"[", b'{"a":'])) + body
        at = choices.below(len(body) + 1) if len(body) < 65_536 else 0
        headers = sign(body)
        if not choices.below(4):
            headers.append((choices.one_of(HEADERS), choices.text().encode("latin-1", "replace")))
        status, said = site.ask("POST", route, headers, [body[:at], body[at:]])
    elif way == 6:
        path = choices.one_of(PATHS)
        method = choices.one_of(METHODS)
        rest = choices.rest().decode("utf-8", "replace").replace("~", GOOD_TOKEN)
        status, said = site.ask(method, path + (rest if path.endswith("/") else ""), [], [])
    else:
        name = choices.one_of(HEADERS)
        value, body = choices.some(choices.below(64)), choices.rest()
        status, said = site.ask("POST", route, [(name, value)], [body])
    if status >= 500:
        raise ServerError(f"{status}: {said[:200]!r}")
    more = site.rows() - before
    new = status == 200 and way < 6 and json.loads(said)["state"] != "duplicate"
    if more != int(new):
        raise RowWithoutYes(f"{status} and {more} more rows: {said[:200]!r}")


@dataclass(frozen=True)
class Target:
    """One thing to fuzz. `share` of all inputs go to it; `seeds` are where the fuzzer starts."""

    run: Callable[[bytes], None]
    share: float
    seeds: tuple[bytes, ...]
    longest: int = 512


WALK: Final = tuple(bytes([number, *range(number, number + 40)]) for number in range(0, 200, 7))
TARGETS: Final[dict[str, Target]] = {
    "signature_header": Target(signature_header, 0.2, (b"t=1000,v1=~", b"t=1000,v0=a,v1=" + b"a" * 64 + b",v1=~")),
    "standard_webhook": Target(standard_webhook, 0.2, (b"", b"\x01\x02\x05~ v1,a\x01", *WALK)),
    "strict_json": Target(
        strict_json, 0.2, (encoded(event()), b'{"a":1e308,"b":[[-1,"\\ud83d\\ude00"]]}', encoded({"a": NASTY}))
    ),
    "event_row": Target(event_row, 0.25, WALK),
    "pay_token": Target(pay_token, 0.05, (b"~", GOOD_TOKEN.encode(), GOOD_TOKEN.encode() + b".a")),
    "application": Target(application, 0.1, WALK),
}
