"""The staff page of books: who looks after how many accounts, what they are worth, and who is full (S3.4)."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from models import books
from models.database import Database
from models.money import money
from models.segments import Books
from models.tables import wall
from web.answers import STAFF_PAGE_ANSWERS
from web.pages import PAGES


def book_routes(database: Database, rules: Books) -> APIRouter:
    """`/books`."""
    router = APIRouter()

    @router.get("/books", response_class=HTMLResponse, responses=STAFF_PAGE_ANSWERS)
    async def page(request: Request) -> Response:
        """Each CSM's book."""
        async with database.reading() as session:
            rows = await books.books(session, rules, wall().date())
            warnings = await books.too_few(session, rules, wall().date())
        return PAGES.TemplateResponse(request, "books.html", {"rows": rows, "warnings": warnings, "money": money})

    return router
