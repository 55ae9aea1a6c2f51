"""Staff pages are for staff: this machine only, until there is a password."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.types import Message

from models.database import Database
from tests.town import fresh_database
from tests.web.wire import Receiver, receiving, request
from web.app import WebSettings, create_app
from web.catalogue import Made
from web.staff import StaffOnly, is_staff
from web.webhooks import StripeEndpoint

PASSWORD = "a long word for all of staff"
PUBLIC = {
    "/events",
    "/healthz",
    "/segment",
    "/style.css",
    "/webhooks/sendgrid",
    "/webhooks/stripe",
    "/api/{kind}/{key}",
    "/offer/{token}",
    "/pay/{token}",
    "/preferences/{token}",
    "/unsubscribe/{token}",
}


@pytest.fixture(scope="module")
async def locked(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Receiver]:
    database = Database(fresh_database(migrated, tmp_path_factory.mktemp("locked")))
    async with receiving(database, staff_password=PASSWORD) as receiver:
        yield receiver
    await database.close()


def basic(text: str) -> tuple[bytes, bytes]:
    return b"Authorization", b"Basic " + base64.b64encode(text.encode())


@pytest.mark.parametrize(
    "path", [b"/", b"/cases", b"/outbox", b"/outbox/x", b"/mail/x", b"/holds", b"/books", b"/accounts/cus_1"]
)
async def test_with_a_password_staff_pages_ask_for_it(locked: Receiver, path: bytes) -> None:
    answer = await locked.exchange(request(b"", [], b"GET", path))
    assert (answer.status, answer.headers["www-authenticate"]) == (401, 'Basic realm="Holdfast staff", charset="UTF-8"')
    known = await locked.exchange(request(b"", [basic(f"ana:{PASSWORD}")], b"GET", path))
    assert known.status in (200, 404)


@pytest.mark.parametrize(
    "header",
    [
        basic("ana:wrong"),
        basic(PASSWORD),
        basic(f"ana:{PASSWORD}x"),
        basic("ana:"),
        (b"Authorization", b"Basic %%%"),
        (b"Authorization", f"Bearer {PASSWORD}".encode()),
    ],
)
async def test_another_word_does_not_open(locked: Receiver, header: tuple[bytes, bytes]) -> None:
    assert (await locked.exchange(request(b"", [header], b"GET", b"/cases"))).status == 401
    assert (await locked.exchange(request(b"token=x", [header], b"POST", b"/holds"))).status == 401


async def asked(password: str, client: str, host: str) -> int:
    """The status for a client at an address that asks for a name."""
    statuses: list[int] = []

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "method": "GET", "path": "/cases", "headers": [(b"host", host.encode())]}
    inner = Starlette()  # answers 404: whoever gets so far was let in
    await StaffOnly(inner, password)({**scope, "client": (client, 1), "query_string": b""}, receive, send)
    return statuses[0]


@pytest.mark.parametrize(
    ("client", "host", "status"),
    [
        ("127.0.0.1", "localhost:8080", 404),
        ("127.0.0.1", "127.0.0.1", 404),
        ("::1", "[::1]:8080", 404),
        ("::1", "[::1]", 404),
        ("172.18.0.1", "localhost", 403),
        ("203.0.113.9", "127.0.0.1:8080", 403),
        ("127.0.0.1", "pay.example.com", 403),
        ("127.0.0.1", "localhost.example.com", 403),
        ("", "localhost", 403),
    ],
)
async def test_without_a_password_staff_pages_are_shown_to_this_machine_only(
    client: str, host: str, status: int
) -> None:
    assert await asked("", client, host) == status
    assert await asked(PASSWORD, client, host) == 401


def test_every_route_is_a_staff_page_or_known_to_be_open() -> None:
    settings = WebSettings(
        StripeEndpoint(("whsec_x",)), "a-secret-for-links", catalogue=lambda: Made((), {}), samples=lambda: ()
    )
    paths = set(create_app(Database("sqlite://"), settings).openapi()["paths"])
    assert {path for path in paths if not is_staff(path)} == PUBLIC
