"""All parts of the pretend world put together as one ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from simulator import pages
from simulator.attio_api import AttioApi
from simulator.control import ACTS
from simulator.errors import ApiError
from simulator.faults import Faults
from simulator.hubspot_api import HubSpotApi
from simulator.product import Product
from simulator.sendgrid_api import SendGrid
from simulator.stripe_api import StripeApi
from simulator.webhooks import Courier
from simulator.world import World

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


class Simulator:
    """The world and its front doors. Everything here belongs to the server's event loop."""

    def __init__(self, seed: int = 1) -> None:
        self.world = World(seed)
        self.faults = Faults(seed)
        self.stripe = StripeApi(self.world, self.faults)
        self.courier = Courier(self.world)
        self.sendgrid = SendGrid(self.world, self.faults)
        self.product = Product(self.faults)
        self.attio = AttioApi(self.faults)
        self.hubspot = HubSpotApi(self.faults)
        self.app = Starlette(
            routes=[
                Route("/_sim/{rest:path}", self._control, methods=METHODS),
                Route("/v1/{rest:path}", self.stripe.answer, methods=METHODS),
                Route("/v3/{rest:path}", self.sendgrid.answer, methods=METHODS),
                Route("/v2/{rest:path}", self.attio.answer, methods=METHODS),
                Route("/crm/{rest:path}", self.hubspot.answer, methods=METHODS),
                Route("/product/access", self.product.answer, methods=["POST"]),
                Route("/i/{invoice}", self._invoice_page, methods=["GET", "POST"]),
                Route("/mailbox", self._mailbox, methods=["GET"]),
                Route("/mailbox/{mail}", self._mail, methods=["GET"]),
            ],
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        await self.courier.open()
        await self.sendgrid.post.open()
        yield
        await self.courier.close()
        await self.sendgrid.post.close()

    async def reset(self, seed: int) -> None:
        """Start again with an empty world."""
        self.world.reset(seed)
        self.faults.reset(seed)
        self.stripe.idempotency.clear()
        self.product.calls.clear()
        self.attio.reset()
        self.hubspot.reset()
        await self.courier.reset()
        await self.sendgrid.reset()

    async def _control(self, request: Request) -> Response:
        act = ACTS.get((request.method, request.url.path))
        if act is None:
            known = sorted(f"{method} {path}" for method, path in ACTS)
            return _json(404, {"error": {"message": "no such control call", "known": known}})
        raw = await request.body()
        try:
            return _json(200, await act(self, orjson.loads(raw) if raw else {}))
        except ApiError as error:
            return _json(error.status, error.body)
        except KeyError as error:
            return _json(400, {"error": {"message": f"missing {error}"}})

    async def _invoice_page(self, request: Request) -> Response:
        try:
            invoice = self.world.get("invoice", request.path_params["invoice"])
        except ApiError:
            return HTMLResponse(pages.page("Not found", "<h1>No such invoice</h1>"), 404)
        if request.method == "GET":
            return HTMLResponse(pages.invoice_page(self.world, invoice))
        problem = pages.pay_on_page(self.world, invoice, await request.form())
        if problem:
            return HTMLResponse(pages.invoice_page(self.world, invoice, problem), 402)
        return RedirectResponse(request.url.path, 303)

    async def _mailbox(self, request: Request) -> Response:
        return HTMLResponse(pages.mailbox_page(self.sendgrid.mailbox))

    async def _mail(self, request: Request) -> Response:
        for mail in self.sendgrid.mailbox:
            if mail.id == request.path_params["mail"]:
                return HTMLResponse(pages.mail_page(mail))
        return HTMLResponse(pages.page("Not found", "<h1>No such mail</h1>"), 404)


def _json(status: int, body: object) -> Response:
    return Response(orjson.dumps(body), status, media_type="application/json")
