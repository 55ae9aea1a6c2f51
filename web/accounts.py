"""Staff pages that tell an account's story, and the stop switch with its buttons."""

from collections.abc import Sequence
from typing import Final
from urllib.parse import parse_qsl, quote

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from itsdangerous import BadSignature, URLSafeTimedSerializer
from sqlmodel.ext.asyncio.session import AsyncSession

from models import holds
from models.books import care_of
from models.database import Database
from models.money import money
from models.segments import Segments
from models.story import NoSuchAccount, story_of
from models.tables import Account
from web.answers import ACCOUNT_ANSWERS, STAFF_PAGE_ANSWERS, SWITCH_ANSWERS, in_path
from web.pages import PAGES
from web.webhooks import Refused, body_of

BY: Final = "a staff page"
PRESSED_WITHIN_S: Final = 86_400
SCOPES: Final = ("all", "playbook", "account")


def account_routes(
    database: Database,
    secret: str,
    temporal_ui: str,
    temporal_namespace: str,
    playbooks: Sequence[str],
    rules: Segments,
) -> APIRouter:
    """`/accounts/{id}` and `/holds`. What is pressed is signed, so that no page elsewhere can press it."""
    router = APIRouter()
    signer = URLSafeTimedSerializer(secret, salt="staff-button")

    def button(what: str, scope: str, name: str) -> dict[str, str]:
        return {"what": what, "scope": scope, "name": name, "token": signer.dumps([what, scope, name])}

    def notice(request: Request, title: str, text: str, status: int) -> Response:
        return PAGES.TemplateResponse(request, "notice.html", {"title": title, "text": text}, status)

    @router.get(
        "/accounts/{account:path}",
        response_class=HTMLResponse,
        responses=ACCOUNT_ANSWERS,
        openapi_extra=in_path("account"),
    )
    async def account(request: Request) -> Response:
        """An account's story in order: contacts, what was not sent and why, cases, tasks, offers."""
        named = request.path_params["account"]
        try:
            if "\0" in named:  # PostgreSQL cannot be asked for a text with NUL in it.
                raise NoSuchAccount(named)
            async with database.reading() as session:
                story = await story_of(session, named)
                row = await session.get(Account, named)
                standing = [each for each in await holds.standing_holds(session) if each.scope == "account"]
        except NoSuchAccount:
            return notice(request, "No such account", "Nothing is known of this account.", 404)
        held = any(each.name == named for each in standing)
        words = {
            "story": story,
            "who": row and care_of(row, rules),
            "temporal_ui": temporal_ui,
            "temporal_namespace": temporal_namespace,
            "money": money,
            "held": held,
            "button": button("release" if held else "hold", "account", named),
        }
        return PAGES.TemplateResponse(request, "account.html", words)

    @router.get("/holds", response_class=HTMLResponse, responses=STAFF_PAGE_ANSWERS)
    async def on_hold(request: Request) -> Response:
        """The stop switch: what is on hold, and a button for everything and each playbook."""
        async with database.reading() as session:
            standing = await holds.standing_holds(session)
        held = {(each.scope, each.name): each for each in standing}
        may = [("all", ""), *(("playbook", name) for name in playbooks)]
        may += [key for key in held if key not in may]
        rows = [
            {"scope": scope, "name": name, "hold": held.get((scope, name))}
            | {"button": button("release" if (scope, name) in held else "hold", scope, name)}
            for scope, name in may
        ]
        return PAGES.TemplateResponse(request, "holds.html", {"rows": rows})

    @router.post("/holds", status_code=303, response_class=RedirectResponse, responses=SWITCH_ANSWERS)
    async def switch(request: Request) -> Response:
        """Press a button: put on hold, or release. Pressing it twice changes nothing."""
        try:
            said = dict(parse_qsl((await body_of(request)).decode("utf-8", "replace")))
            what, scope, name = signer.loads(said.get("token", ""), max_age=PRESSED_WITHIN_S)
        except Refused as refused:
            return notice(request, "Not taken", refused.error, refused.status)
        except (BadSignature, ValueError):
            return notice(request, "Not taken", "This button is too old. Please go back and load the page again.", 400)
        async with database.writing() as session:
            if what == "hold":
                await holds.place(session, scope, name, BY, said.get("reason", "")[:200])
            else:
                await _release(session, scope, name)
        return RedirectResponse(f"/accounts/{quote(name)}" if scope == "account" else "/holds", 303)

    return router


async def _release(session: AsyncSession, scope: holds.Scope, name: str) -> None:
    try:
        await holds.release(session, scope, name, BY)
    except holds.NotOnHold:
        return  # somebody else was quicker
