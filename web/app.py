"""The HTTP application: webhooks in, a few pages out."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import structlog
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from sqlalchemy.exc import SQLAlchemyError

from models.database import Database
from models.segments import Books, Segments
from web.accounts import account_routes
from web.answers import HEALTH_ANSWERS
from web.api import api_routes
from web.books import book_routes
from web.catalogue import Catalogue, catalogue_routes
from web.customer_pages import customer_routes
from web.events import EventsEndpoint, event_routes
from web.metrics import Measured, WebMetrics, metrics_routes
from web.pages import no_such_page, page_routes
from web.preferences import preference_routes
from web.rate_limits import RateLimited, RateLimits, route_class
from web.security_headers import SecurityHeaders, security_headers
from web.segment import SegmentEndpoint, segment_routes
from web.sendgrid import SendGridEndpoint, sendgrid_routes
from web.staff import StaffOnly
from web.templates_page import Samples, template_routes
from web.webhooks import StripeEndpoint, stripe_routes

log = structlog.get_logger()


@dataclass(frozen=True)
class WebSettings:
    """What the application needs; built from the environment by `workers`."""

    stripe: StripeEndpoint
    link_secret: str
    temporal_ui: str = ""
    temporal_namespace: str = "default"
    public_url: str = ""
    limits: RateLimits = field(default_factory=RateLimits)
    catalogue: Catalogue | None = None
    samples: Samples | None = None
    events: EventsEndpoint = field(default_factory=EventsEndpoint)
    segment: SegmentEndpoint = field(default_factory=SegmentEndpoint)
    sendgrid: SendGridEndpoint = field(default_factory=SendGridEndpoint)
    api_tokens: Sequence[str] = ()
    staff_password: str = ""
    """Empty: staff pages are shown to this machine only."""
    playbooks: Sequence[str] = ()
    """Names, each with a stop switch of its own."""
    books: Books = field(default_factory=Books)
    segments: Segments = field(default_factory=Segments)
    metrics: WebMetrics = field(default_factory=WebMetrics)


def create_app(database: Database, settings: WebSettings) -> FastAPI:
    """The application. It owns nothing: whoever made the database closes it."""
    headers = security_headers(settings.public_url)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield

    app = FastAPI(title="Holdfast", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.include_router(stripe_routes(database, settings.stripe))
    app.include_router(sendgrid_routes(database, settings.sendgrid))
    app.include_router(event_routes(database, settings.events))
    app.include_router(segment_routes(database, settings.segment))
    app.include_router(api_routes(database, settings.api_tokens))
    runs = settings.temporal_ui, settings.temporal_namespace
    app.include_router(page_routes(database, settings.link_secret, *runs))
    app.include_router(customer_routes(database, settings.link_secret))
    app.include_router(preference_routes(database, settings.link_secret))
    app.include_router(account_routes(database, settings.link_secret, *runs, settings.playbooks, settings.segments))

    app.include_router(book_routes(database, settings.books))
    app.include_router(metrics_routes(database, settings.metrics))
    if settings.catalogue:
        app.include_router(catalogue_routes(settings.catalogue))
    if settings.samples:
        app.include_router(template_routes(settings.samples))

    @app.get("/healthz", responses=HEALTH_ANSWERS)
    async def healthz() -> JSONResponse:
        """200 while the database answers: then webhooks are taken."""
        try:
            async with database.reading() as session:
                await session.connection()
        except (SQLAlchemyError, OSError):
            return JSONResponse({"ok": False, "error": "the database does not answer"}, 503)
        return JSONResponse({"ok": True})

    @app.exception_handler(SQLAlchemyError)
    async def database_down(request: Request, error: SQLAlchemyError) -> JSONResponse:
        log.error("web.database_down", error=type(error).__name__)
        return JSONResponse({"error": "the database does not answer; please try again"}, 503, {"Retry-After": "5"})

    @app.exception_handler(404)
    async def nothing_here(request: Request, error: Exception) -> Response:
        if route_class(request.url.path) == "webhooks":
            return JSONResponse({"error": "there is nothing at this address"}, 404)
        return no_such_page(request)

    # Starlette answers for what nobody caught outside of every middleware, so this answer needs the headers itself.
    @app.exception_handler(Exception)
    async def our_fault(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"error": "this is our fault; it has been written to the log"}, 500, headers)

    # The one added last is asked first.
    app.add_middleware(StaffOnly, password=settings.staff_password)
    app.add_middleware(RateLimited, limits=settings.limits)
    app.add_middleware(SecurityHeaders, headers=headers)
    app.add_middleware(Measured, metrics=settings.metrics)
    return app
