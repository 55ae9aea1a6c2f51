"""Every template as it will look, with sample words, for staff: `/templates`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, Response

from models.topics import BILLING, STAFF, TOPICS
from web.answers import SAMPLE_ANSWERS, TEMPLATES_ANSWERS, in_path
from web.pages import PAGES
from web.security_headers import MAIL_HEADERS

TITLES = {BILLING: "Bills and payments", STAFF: "For our own people"}


@dataclass(frozen=True)
class Sample:
    """A template in one language, written. `html` is empty where there is only text."""

    key: str
    locale: str
    topic: str
    version: str
    subject: str
    html: str
    text: str


Samples = Callable[[], Sequence[Sample]]
"""Writes every sample. It takes a second, so it is asked once, in a thread, when somebody first looks."""


def template_routes(make: Samples) -> APIRouter:
    """`/templates`, a page for each template and language, and the mail itself for its frame."""
    router = APIRouter()
    kept: list[Sequence[Sample]] = []

    async def made() -> Sequence[Sample]:
        if not kept:
            kept.append(await run_in_threadpool(make))
        return kept[0]

    async def named(request: Request) -> Sample | None:
        wanted = request.path_params["key"], request.path_params["locale"]
        return next((each for each in await made() if (each.key, each.locale) == wanted), None)

    def no_such(request: Request) -> Response:
        words = {"title": "No such template", "text": "There is no template of this name in this language."}
        return PAGES.TemplateResponse(request, "notice.html", words, 404)

    @router.get("/templates", response_class=HTMLResponse, responses=TEMPLATES_ANSWERS)
    async def every(request: Request) -> Response:
        """Every template by topic: subject, languages, whether it is a mail or text."""
        groups = [
            (topic, TOPICS[topic].title if topic in TOPICS else TITLES.get(topic, topic), list(group))
            for topic, group in groupby(await made(), key=lambda sample: sample.topic)
        ]
        return PAGES.TemplateResponse(request, "templates.html", {"groups": groups})

    @router.get(
        "/templates/{key}/{locale}",
        response_class=HTMLResponse,
        responses=SAMPLE_ANSWERS,
        openapi_extra=in_path("key", "locale"),
    )
    async def one(request: Request) -> Response:
        """One template: its subject, the mail in a frame, its text part."""
        sample = await named(request)
        if sample is None:
            return no_such(request)
        return PAGES.TemplateResponse(request, "template.html", {"sample": sample})

    @router.get(
        "/templates/{key}/{locale}/mail",
        response_class=HTMLResponse,
        responses=SAMPLE_ANSWERS,
        openapi_extra=in_path("key", "locale"),
    )
    async def mail(request: Request) -> Response:
        """The HTML of one, for the frame: a document that may do nothing but be looked at."""
        sample = await named(request)
        if sample is None or not sample.html:
            return no_such(request)
        return HTMLResponse(sample.html, headers=MAIL_HEADERS)

    return router
