"""Who may see staff pages: with a password whoever knows it, without one only this machine itself."""

import base64
import binascii
import hmac
import ipaddress
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

STAFF: Final = ("/cases", "/outbox", "/mail/", "/playbooks", "/accounts/", "/holds", "/books", "/templates", "/metrics")
"""Paths of staff pages begin so; `/` is one too. A new staff page is one entry here."""
LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1", "[::1]")
ASKS: Final = {"WWW-Authenticate": 'Basic realm="Holdfast staff", charset="UTF-8"'}


def is_staff(path: str) -> bool:
    """Whether a path is for staff only."""
    return path == "/" or path.startswith(STAFF)


class StaffOnly:
    """ASGI middleware before the staff pages.

    With a password it is asked for (HTTP Basic, whatever the user name). Without one a page is shown only to a client
    on a loopback address that asked for a loopback name: a proxy that forgets X-Forwarded-For has another name, and so
    has a page elsewhere whose name was made to lead here.
    """

    def __init__(self, app: ASGIApp, password: str) -> None:
        self._app = app
        self._password = password.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] != "http" or not is_staff(scope["path"]):
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        if self._password and not hmac.compare_digest(_given(request), self._password):
            answer = PlainTextResponse("This page is for staff: HOLDFAST_STAFF_PASSWORD.", 401, ASKS)
        elif not self._password and not _from_here(request):
            words = "Staff pages are open to this machine only, until HOLDFAST_STAFF_PASSWORD is set."
            answer = PlainTextResponse(words, 403)
        else:
            await self._app(scope, receive, send)
            return
        await answer(scope, receive, send)


def _given(request: Request) -> bytes:
    """The password of an Authorization header; empty if there is none."""
    scheme, _, said = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return b""
    try:
        return base64.b64decode(said.strip(), validate=True).partition(b":")[2]
    except (binascii.Error, ValueError):
        return b""


def _from_here(request: Request) -> bool:
    try:
        address = ipaddress.ip_address(request.client.host if request.client else "")
    except ValueError:
        return False
    host = request.headers.get("host", "").lower()
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    return address.is_loopback and name in LOOPBACK_NAMES
