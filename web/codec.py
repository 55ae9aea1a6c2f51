"""The codec server: decrypts payloads for the Temporal Web UI and CLI, for those who may, and writes down who did."""

import hmac
import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import structlog
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from sqlalchemy.exc import SQLAlchemyError
from starlette.middleware.cors import CORSMiddleware
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.converter import PayloadCodec

from models.database import Database
from models.tables import CodecRead
from web.oidc import BadToken, Issuer, IssuerAway, Tokens
from web.strict_json import BadJson, parse_object

LARGEST_BODY: Final = 8 * 1024 * 1024
"""Twice what Temporal sends in one message, for base64 and the rest."""
LONGEST_NAME: Final = 255
HEADERS: Final = ["Authorization", "Authorization-Extras", "Content-Type", "X-Namespace", "X-Workflow-Id"]
"""What the Web UI sends (2.54) and, for the CLI's `--codec-header`, a run's id."""

log = structlog.get_logger()
Work = Callable[[Sequence[Payload]], Awaitable[list[Payload]]]


class Refused(Exception):
    """The request is not answered; the text says why and is safe to send back."""

    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status = status
        self.error = error


@dataclass(frozen=True)
class Access:
    """Who may read. With neither a secret nor an issuer everybody who reaches the port: right for loopback only.

    `origins` are the Web UIs whose pages may ask, such as `https://temporal.example.com`.
    """

    secret: str = ""
    issuer: Issuer | None = None
    origins: tuple[str, ...] = ()


def is_loopback(host: str) -> bool:
    """Whether this name or address is the machine itself."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Door:
    """Lets in those who may read, and names them."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._tokens = Tokens(access.issuer) if access.issuer else None

    async def who(self, request: Request) -> str:
        """Who asks.

        Raises:
            Refused: a page of another origin (403), no good token (401), the issuer does not answer (503).
        """
        origin = request.headers.get("origin")
        if origin is not None and origin not in self._access.origins:
            raise Refused(403, "this page's origin is not among HOLDFAST_CODEC_ORIGINS")
        if not self._access.secret and self._tokens is None:
            # A page elsewhere may let its own name point to 127.0.0.1; its requests then carry that name.
            if not is_loopback(request.url.hostname or ""):
                raise Refused(403, "without a secret only this machine's own names are answered")
            return "anybody on this machine"
        return await self._named_by(_bearer(request))

    async def _named_by(self, token: str) -> str:
        secret = self._access.secret
        if secret and hmac.compare_digest(token.encode(), secret.encode()):
            return "the shared secret"
        if self._tokens is None:
            raise Refused(401, "the bearer token is not the secret")
        try:
            return await self._tokens.person(token)
        except BadToken as error:
            raise Refused(401, str(error)) from None
        except IssuerAway as error:
            log.error("codec.issuer_away", error=str(error))
            raise Refused(503, "the issuer of tokens does not answer; try again") from None


def _bearer(request: Request) -> str:
    values = request.headers.getlist("authorization")
    kind, _, token = values[0].partition(" ") if len(values) == 1 else ("", "", "")
    if kind.lower() != "bearer" or not token.strip():
        raise Refused(401, "send one Authorization header with a bearer token")
    return token.strip()


def codec_routes(database: Database, codec: PayloadCodec, access: Access) -> APIRouter:
    """`POST /codec/decode` and `/codec/encode`, Temporal's remote codec protocol. Each decode leaves a row."""
    router = APIRouter(prefix="/codec")
    door = Door(access)

    @router.post("/decode")
    async def decode(request: Request) -> JSONResponse:
        """Decrypt for reading."""
        return await answer(request, codec.decode, reads=True)

    @router.post("/encode")
    async def encode(request: Request) -> JSONResponse:
        """Encrypt what a lead sends from the Web UI: an update, a signal."""
        return await answer(request, codec.encode, reads=False)

    async def answer(request: Request, work: Work, *, reads: bool) -> JSONResponse:
        try:
            who = await door.who(request)
            asked = await _payloads(request)
            if reads:
                await write_down(request, who, len(asked))
            done = await _worked(work, asked)
        except Refused as refused:
            log.warning("codec.refused", status=refused.status, error=refused.error)
            more = {"WWW-Authenticate": "Bearer"} if refused.status == 401 else {}
            return JSONResponse({"error": refused.error}, refused.status, headers=more)
        told = {"payloads": [MessageToDict(each) for each in done]}
        return JSONResponse(told, headers={"Cache-Control": "no-store"})

    async def write_down(request: Request, who: str, payloads: int) -> None:
        row = CodecRead(
            who=who[:LONGEST_NAME],
            namespace=_name(request, "x-namespace"),
            workflow_id=_name(request, "x-workflow-id"),
            payloads=payloads,
        )
        try:
            async with database.writing() as session:
                session.add(row)
        except (SQLAlchemyError, OSError) as error:
            log.error("codec.database_down", error=type(error).__name__)
            raise Refused(503, "the read could not be written down, so it is not answered") from None

    return router


async def _worked(work: Work, asked: Sequence[Payload]) -> list[Payload]:
    try:
        return await work(asked)
    except ValueError as error:
        raise Refused(400, str(error)) from None


def _name(request: Request, header: str) -> str:
    value = request.headers.get(header, "")
    if len(value) > LONGEST_NAME:
        raise Refused(400, f"the {header} header is longer than {LONGEST_NAME} characters")
    return value


async def _payloads(request: Request) -> list[Payload]:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refused(415, "send application/json")
    try:
        body = parse_object(await _body(request))
        if not isinstance(body.get("payloads"), list):
            raise Refused(400, "the body has no list named payloads")
        return list(ParseDict({"payloads": body["payloads"]}, Payloads(), ignore_unknown_fields=True).payloads)
    except BadJson as error:
        raise Refused(400, str(error)) from None
    except ParseError:
        raise Refused(400, "the payloads are not Temporal's, as JSON: metadata and data are base64") from None


async def _body(request: Request) -> bytes:
    too_large = Refused(413, f"the body is larger than {LARGEST_BODY} bytes")
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > LARGEST_BODY:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY:
            raise too_large
    return bytes(body)


def create_codec_app(database: Database, codec: PayloadCodec, access: Access) -> FastAPI:
    """The codec server as an application of its own: it is not for where webhooks and customers come in."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield

    app = FastAPI(title="Holdfast codec", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.include_router(codec_routes(database, codec, access))

    @app.get("/healthz")
    async def healthz() -> JSONResponse:
        """200 while reads can be written down."""
        try:
            async with database.reading() as session:
                await session.connection()
        except (SQLAlchemyError, OSError):
            return JSONResponse({"ok": False, "error": "the database does not answer"}, 503)
        return JSONResponse({"ok": True})

    @app.middleware("http")
    async def no_sniffing(request: Any, call_next: Any) -> Any:
        response = await call_next(request)
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    app.add_middleware(
        CORSMiddleware,
        allow_origins=list(access.origins),
        allow_methods=["POST"],
        allow_headers=HEADERS,
        max_age=600,
    )
    return app
