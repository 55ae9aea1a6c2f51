"""The HTTP application: webhooks in, a few pages out."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError

from models.database import Database
from web.catalogue import Catalogue, catalogue_routes
from web.customer_pages import customer_routes
from web.pages import page_routes
from web.webhooks import StripeEndpoint, stripe_routes


@dataclass(frozen=True)
class WebSettings:
    """What the application needs; built from the environment by `workers`."""

    stripe: StripeEndpoint
    link_secret: str
    temporal_ui: str = ""
    catalogue: Catalogue | None = None


def create_app(database: Database, settings: WebSettings) -> FastAPI:
    """The application. It owns nothing: whoever made the database closes it."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield

    app = FastAPI(title="Holdfast", docs_url=None, redoc_url=None, lifespan=lifespan)
    app.include_router(stripe_routes(database, settings.stripe))
    app.include_router(page_routes(database, settings.link_secret, settings.temporal_ui))
    app.include_router(customer_routes(database, settings.link_secret))

    if settings.catalogue:
        app.include_router(catalogue_routes(settings.catalogue))

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
