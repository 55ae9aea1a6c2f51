"""The HTTP application: webhooks in, a few pages out."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError

from models.database import Database
from web.api import api_routes
from web.events import EventsEndpoint, event_routes
from web.pages import page_routes
from web.segment import SegmentEndpoint, segment_routes
from web.webhooks import StripeEndpoint, stripe_routes


@dataclass(frozen=True)
class WebSettings:
    """What the application needs; built from the environment by `workers`."""

    stripe: StripeEndpoint
    link_secret: str
    temporal_ui: str = ""
    events: EventsEndpoint = field(default_factory=EventsEndpoint)
    segment: SegmentEndpoint = field(default_factory=SegmentEndpoint)
    api_tokens: Sequence[str] = ()


def create_app(database: Database, settings: WebSettings) -> FastAPI:
    """The application. It owns nothing: whoever made the database closes it."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield

    app = FastAPI(title="Holdfast", docs_url=None, redoc_url=None, lifespan=lifespan)
    app.include_router(stripe_routes(database, settings.stripe))
    app.include_router(event_routes(database, settings.events))
    app.include_router(segment_routes(database, settings.segment))
    app.include_router(api_routes(database, settings.api_tokens))
    app.include_router(page_routes(database, settings.link_secret, settings.temporal_ui))

    @app.get("/healthz")
    async def healthz() -> JSONResponse:
        """200 while the database answers: then webhooks are taken."""
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
        response.headers["Referrer-Policy"] = "no-referrer"
        return response

    return app
