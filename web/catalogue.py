"""The catalogue as a page: what `workers` made from the playbooks' code, shown as it is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, Response

from web.answers import CATALOGUE_ANSWERS, PICTURE_ANSWERS, in_path
from web.pages import PAGES
from web.security_headers import PICTURE_POLICY


@dataclass(frozen=True)
class Made:
    """The catalogue's entries as data, and a picture (SVG) for each name."""

    entries: Sequence[Mapping[str, Any]]
    pictures: Mapping[str, str]


Catalogue = Callable[[], Made]
"""Makes the catalogue. It takes seconds, so it is asked once, in a thread, when somebody first looks."""


def catalogue_routes(make: Catalogue) -> APIRouter:
    """`/playbooks` and `/playbooks/NAME.svg`."""
    router = APIRouter()
    kept: list[Made] = []

    async def made() -> Made:
        if not kept:
            kept.append(await run_in_threadpool(make))
        return kept[0]

    @router.get("/playbooks", response_class=HTMLResponse, responses=CATALOGUE_ANSWERS)
    async def playbooks(request: Request) -> Response:
        """Every playbook with its calendar, exits, outcomes and contents."""
        return PAGES.TemplateResponse(request, "playbooks.html", {"entries": (await made()).entries})

    @router.get(
        "/playbooks/{name}.svg", response_class=Response, responses=PICTURE_ANSWERS, openapi_extra=in_path("name")
    )
    async def picture(request: Request) -> Response:
        """A playbook's calendar as a picture."""
        found = (await made()).pictures.get(request.path_params["name"])
        if found is None:
            return Response("There is no playbook of this name.", 404, media_type="text/plain")
        return Response(found, headers={"Content-Security-Policy": PICTURE_POLICY}, media_type="image/svg+xml")

    return router
