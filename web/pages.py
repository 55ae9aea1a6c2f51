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

PAGES: Final = Jinja2Templates(directory=Path(__file__).parent / "templates")
MOST_LISTED: Final = 200


def page_routes(database: Database, link_secret: str, temporal_ui: str) -> APIRouter:
    """`/pay/{token}` for customers; `/`, `/cases` and `/outbox` for staff."""
    router = APIRouter()

    @router.get("/pay/{token}")
    async def pay(request: Request, token: str) -> Response:
        """Lead the customer, without a login, to the provider's page for the oldest invoice still unpaid."""
        try:
            case_id = subject_of(link_secret, "pay", token)
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

    @router.get("/", response_class=HTMLResponse)
    @router.get("/cases", response_class=HTMLResponse)
    async def cases(request: Request) -> Response:
        """Every case, those in trouble first."""
        async with database.reading() as session:
            statement = select(CaseRow).order_by(col(CaseRow.ended), col(CaseRow.at_stake).desc()).limit(MOST_LISTED)
            rows = (await session.exec(statement)).all()
        return PAGES.TemplateResponse(
            request, "cases.html", {"cases": rows, "temporal_ui": temporal_ui, "money": money}
        )

    @router.get("/outbox", response_class=HTMLResponse)
    async def outbox(request: Request) -> Response:
        """The newest mails and banners."""
        async with database.reading() as session:
            statement = select(Message).order_by(col(Message.at).desc()).limit(MOST_LISTED)
            rows = (await session.exec(statement)).all()
        return PAGES.TemplateResponse(request, "outbox.html", {"messages": rows})

    @router.get("/outbox/{key:path}", response_class=HTMLResponse)
    async def letter(request: Request, key: str) -> Response:
        """One mail as it was sent."""
        async with database.reading() as session:
            row = await session.get(Message, key)
        if row is None:
            words = {"title": "No such mail", "text": f"There is no message {key}."}
            return PAGES.TemplateResponse(request, "notice.html", words, 404)
        return PAGES.TemplateResponse(request, "letter.html", {"message": row})

    return router
