"""The API against its own document: whatever fits it, or breaks it, gets one of the statuses it promises."""

import asyncio
import hashlib
import hmac
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from activities.outgoing_webhooks import signed_headers
from models.database import Database
from models.links import link
from models.policy import Usage
from simulator.sendgrid_events import EventPost
from tests.town import fresh_database
from tests.web.events import SECRET, encoded, event, signed
from tests.web.serving import serving
from web.app import WebSettings, create_app
from web.catalogue import Made
from web.events import EventsEndpoint
from web.rate_limits import Rate, RateLimits
from web.segment import SegmentEndpoint
from web.sendgrid import SendGridEndpoint
from web.sendgrid_signature import public_keys
from web.webhooks import StripeEndpoint

LINK_SECRET = "a-secret-for-links-in-tests"
EVENTS_SECRET, SEGMENT_SECRET, TOKEN = "whsec_dGhlIHNlbmRlciBvZiBmYWN0cw==", "segments-own-secret", "a-token-of-ours"
SENDGRID = EventPost()
SETTINGS = WebSettings(
    StripeEndpoint((SECRET,)),
    LINK_SECRET,
    limits=RateLimits(webhooks=Rate(0, 1), pages=Rate(0, 1)),
    catalogue=lambda: Made((), {}),
    samples=lambda: (),
    events=EventsEndpoint((EVENTS_SECRET,), frozenset({"user.signed_up"}), Usage()),
    segment=SegmentEndpoint(SEGMENT_SECRET, Usage()),
    api_tokens=(TOKEN,),
    sendgrid=SendGridEndpoint(public_keys(SENDGRID.public_key)),
)
CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
# The document comes from the routes alone; the database is not asked for it.
DOCUMENT = create_app(Database("sqlite://"), SETTINGS).openapi()
SIGNERS: dict[str, Callable[[bytes], dict[str, str]]] = {
    "/webhooks/stripe": lambda body: {"Stripe-Signature": signed(body).decode()},
    "/events": lambda body: signed_headers(EVENTS_SECRET, "msg_1", int(time.time()), body),
    "/segment": lambda body: {"X-Signature": hmac.new(SEGMENT_SECRET.encode(), body, hashlib.sha1).hexdigest()},
    "/webhooks/sendgrid": lambda body: SENDGRID.signed(body, int(time.time())),
    "/api/{kind}/{key}": lambda body: {"Authorization": f"Bearer {TOKEN}"},
}
"""How a request for a path is signed; a new signed route is one entry here."""
schema = schemathesis.openapi.from_dict(DOCUMENT)
BOUNDED = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)


@pytest.fixture(scope="module")
def base_url(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The server as it is run, in a thread of its own: schemathesis waits for each answer."""
    url = fresh_database(migrated, tmp_path_factory.mktemp("schemathesis"))
    started: list[int] = []
    up, done = threading.Event(), threading.Event()

    async def serve() -> None:
        database = Database(url)
        async with serving(create_app(database, SETTINGS)) as port:
            started.append(port)
            up.set()
            await asyncio.to_thread(done.wait)
        await database.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert up.wait(10)
    yield f"http://127.0.0.1:{started[0]}"
    done.set()
    thread.join()


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as opened:
        opened.max_redirects = 0
        yield opened


def exchange(case: Case[Any], base_url: str, session: requests.Session, *, sign: bool) -> requests.Response:
    prepared = session.prepare_request(requests.Request(**_arguments(case, base_url)))
    if sign and case.path in SIGNERS:
        body: Any = prepared.body or b""
        prepared.headers.update(SIGNERS[case.path](body.encode() if isinstance(body, str) else body))
    return session.send(prepared, allow_redirects=False, timeout=10)


def _arguments(case: Case[Any], base_url: str) -> dict[str, Any]:
    arguments: dict[str, Any] = case.as_transport_kwargs(base_url=base_url)
    return {name: value for name, value in arguments.items() if name not in ("timeout", "verify", "allow_redirects")}


@schema.parametrize()
@BOUNDED
def test_every_answer_is_one_that_the_document_promises(
    case: Case[Any], base_url: str, session: requests.Session
) -> None:
    for sign in (True, False):
        response = exchange(case, base_url, session, sign=sign)
        case.validate_response(response, checks=CHECKS)
        assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_the_document_names_every_route_and_only_statuses_that_are_sent() -> None:
    promised = {
        (path, method): sorted(operation["responses"])
        for path, methods in DOCUMENT["paths"].items()
        for method, operation in methods.items()
    }
    page, mail = ["200", "401", "403", "429", "503"], ["200", "401", "403", "404", "429", "503"]
    expected = {
        ("/webhooks/stripe", "post"): ["200", "400", "413", "415", "429", "503"],
        ("/pay/{token}", "get"): ["200", "303", "400", "404", "429", "503"],
        ("/", "get"): page,
        ("/cases", "get"): page,
        ("/outbox", "get"): page,
        ("/outbox/{key}", "get"): mail,
        ("/mail/{key}", "get"): mail,
        ("/style.css", "get"): ["200", "429"],
        ("/offer/{token}", "get"): ["200", "400", "404", "409", "410", "429", "503"],
        ("/offer/{token}", "post"): ["200", "400", "404", "409", "410", "413", "429", "503"],
        ("/unsubscribe/{token}", "get"): ["200", "400", "404", "413", "429", "503"],
        ("/unsubscribe/{token}", "post"): ["200", "400", "404", "413", "429", "503"],
        ("/preferences/{token}", "get"): ["200", "400", "404", "413", "429", "503"],
        ("/preferences/{token}", "post"): ["200", "400", "404", "413", "429", "503"],
        ("/webhooks/sendgrid", "post"): ["200", "400", "404", "413", "415", "429", "503"],
        ("/accounts/{account}", "get"): mail,
        ("/holds", "get"): page,
        ("/books", "get"): page,
        ("/holds", "post"): ["303", "400", "401", "403", "413", "415", "429", "503"],
        ("/templates", "get"): ["200", "401", "403", "429"],
        ("/templates/{key}/{locale}", "get"): ["200", "401", "403", "404", "429"],
        ("/templates/{key}/{locale}/mail", "get"): ["200", "401", "403", "404", "429"],
        ("/playbooks", "get"): ["200", "401", "403", "429"],
        ("/metrics", "get"): ["200", "401", "403", "429"],
        ("/events", "post"): ["200", "400", "404", "413", "415", "422", "429", "503"],
        ("/segment", "post"): ["200", "400", "404", "413", "415", "429", "503"],
        ("/api/{kind}/{key}", "put"): ["200", "400", "401", "404", "413", "415", "422", "429", "503"],
        ("/playbooks/{name}.svg", "get"): ["200", "401", "403", "404", "429"],
        ("/healthz", "get"): ["200", "503"],
    }
    assert promised == expected, "each 422 is one of ours; the framework validates nothing"


def test_good_requests_reach_what_is_behind_the_document(base_url: str, session: requests.Session) -> None:
    """Whatever a generator misses: a signed event is taken, a pay link is read."""
    body = encoded(event(id="evt_schemathesis"))
    headers = {"Stripe-Signature": signed(body).decode()}
    taken = session.post(f"{base_url}/webhooks/stripe", data=body, headers=headers, timeout=10)
    assert (taken.status_code, taken.json()["state"]) == (200, "pending")
    paid = session.get(link(base_url, LINK_SECRET, "pay", "payment-failure/in_0"), timeout=10)
    assert (paid.status_code, "Nothing is due" in paid.text) == (200, True)
