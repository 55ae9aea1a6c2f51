"""Pages: the link out of a dunning mail, and the outbox for those who send nothing yet."""

from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.templating import Jinja2Templates
from sqlmodel import col, select

from models.database import Database
from models.links import BadLink, subject_of
from models.money import money
from models.tables import CaseRow, CaseSubject, Message
from web.answers import MAIL_ANSWERS, PAY_ANSWERS, STAFF_PAGE_ANSWERS, STYLE_ANSWERS, in_path
from web.security_headers import MAIL_HEADERS
from web.temporal_ui import run_url

PAGES: Final = Jinja2Templates(directory=Path(__file__).parent / "templates")
PAGES.env.globals["run_url"] = run_url
STYLE: Final = (Path(__file__).parent / "templates" / "style.css").read_text(encoding="utf-8")
MOST_LISTED: Final = 200


def no_such_page(request: Request) -> Response:
    """404, for people: a link that was cut in two on its way is followed by customers, too."""
    words = {
        "title": "No such page",
        "text": "There is nothing at this address. Please use the link in our latest mail.",
    }
    return PAGES.TemplateResponse(request, "notice.html", words, 404)


def page_routes(database: Database, link_secret: str, temporal_ui: str, temporal_namespace: str) -> APIRouter:
    """`/pay/{token}` for customers; `/`, `/cases`, `/outbox` and `/mail/...` for staff."""
    router = APIRouter()

    @router.get(
        "/pay/{token:path}",
        status_code=303,
        response_class=RedirectResponse,
        responses=PAY_ANSWERS,
        openapi_extra=in_path("token"),
    )
    async def pay(request: Request) -> Response:
        """Lead the customer, without a login, to the provider's page for the oldest invoice still unpaid."""
        try:
            case_id = subject_of(link_secret, "pay", request.path_params["token"])
        except BadLink as error:
            return PAGES.TemplateResponse(request, "notice.html", {"title": "Link", "text": str(error)}, 400)
        async with database.reading() as session:
            # A win-back names the invoice that brought it about; the page to pay it on is known to the case before.
            mine = select(CaseSubject.subject).where(CaseSubject.case_id == case_id)
            statement = select(CaseSubject).where(col(CaseSubject.subject).in_(mine), CaseSubject.fate == "")
            rows = (await session.exec(statement.order_by(col(CaseSubject.joined_at)))).all()
        target = next((row.hosted_url for row in rows if row.hosted_url.startswith(("https://", "http://"))), "")
        if target:
            return RedirectResponse(target, 303)
        words = {"title": "Nothing is due", "text": "There is no open payment here any more. Thank you."}
        return PAGES.TemplateResponse(request, "notice.html", words)

    @router.get("/", response_class=HTMLResponse, responses=STAFF_PAGE_ANSWERS)
    @router.get("/cases", response_class=HTMLResponse, responses=STAFF_PAGE_ANSWERS)
    async def cases(request: Request) -> Response:
        """Every case, those in trouble first."""
        async with database.reading() as session:
            statement = select(CaseRow).order_by(col(CaseRow.ended), col(CaseRow.at_stake).desc()).limit(MOST_LISTED)
            rows = (await session.exec(statement)).all()
        runs = {"temporal_ui": temporal_ui, "temporal_namespace": temporal_namespace}
        return PAGES.TemplateResponse(request, "cases.html", {"cases": rows, "money": money, **runs})

    @router.get("/outbox", response_class=HTMLResponse, responses=STAFF_PAGE_ANSWERS)
    async def outbox(request: Request) -> Response:
        """The newest mails and banners."""
        async with database.reading() as session:
            statement = select(Message).order_by(col(Message.at).desc()).limit(MOST_LISTED)
            rows = (await session.exec(statement)).all()
        return PAGES.TemplateResponse(request, "outbox.html", {"messages": rows})

    async def message(key: str) -> Message | None:
        # PostgreSQL cannot be asked for a text with NUL in it.
        if "\0" in key:
            return None
        async with database.reading() as session:
            return await session.get(Message, key)

    def no_such_mail(request: Request) -> Response:
        return PAGES.TemplateResponse(
            request, "notice.html", {"title": "No such mail", "text": "There is no such message."}, 404
        )

    @router.get("/outbox/{key:path}", response_class=HTMLResponse, responses=MAIL_ANSWERS, openapi_extra=in_path("key"))
    async def letter(request: Request) -> Response:
        """One mail: its subject, to whom and when, the mail itself in a frame, its text part."""
        row = await message(request.path_params["key"])
        if row is None:
            return no_such_mail(request)
        return PAGES.TemplateResponse(request, "letter.html", {"message": row})

    @router.get("/mail/{key:path}", response_class=HTMLResponse, responses=MAIL_ANSWERS, openapi_extra=in_path("key"))
    async def mail_itself(request: Request) -> Response:
        """The HTML of one mail as it was sent, for the frame: a document that may do nothing but be looked at."""
        row = await message(request.path_params["key"])
        if row is None or not row.html:
            return no_such_mail(request)
        return HTMLResponse(row.html, headers=MAIL_HEADERS)

    @router.get("/style.css", response_class=Response, responses=STYLE_ANSWERS)
    async def style() -> Response:
        """What every page looks like; in a file of its own, so that no page needs inline styles."""
        return Response(STYLE, media_type="text/css", headers={"Cache-Control": "public, max-age=3600"})

    return router
