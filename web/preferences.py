"""The preferences page: what a person gets mails about, topic by topic (P0.4, T4.3), and the one click of RFC 8058.

Looking changes nothing. What is said holds from the moment it is stored, whether a relay runs or not.
"""

import uuid
from typing import Final
from urllib.parse import parse_qs

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel.ext.asyncio.session import AsyncSession

from models import consent, facts
from models.database import Database
from models.learning import learn
from models.topics import TOPICS
from web.answers import PREFERENCES_ANSWERS, in_path
from web.customer_pages import (
    PAGES,
    Notice,
    body_in,
    later,
    not_before_its_cases,
    our_event,
    page,
    private,
    subject_in,
    unsubscribe,
)

ONE_CLICK: Final = b"List-Unsubscribe"
ALWAYS: Final = "Mails about your bills and your service always come."


def preference_routes(database: Database, link_secret: str) -> APIRouter:
    """`/preferences/{token}`, for customers without a login."""
    router = APIRouter()

    def link_of(request: Request) -> tuple[str, str, str]:
        """The topic of the mail that the link was in, the account, and the contact."""
        topic, account, *contact = subject_in(link_secret, "preferences", request.path_params["token"]).split(" ", 2)
        return topic, account, contact[0] if contact else ""

    @router.get("/preferences/{token}", responses=PREFERENCES_ANSWERS, openapi_extra=in_path("token"))
    async def see(request: Request) -> Response:
        """Show a box for each topic. Nothing is recorded by looking."""
        try:
            _, account, contact = link_of(request)
            async with database.reading() as session:
                wanted = await consent.choices(session, account, contact)
        except Notice as notice:
            return page(request, notice)
        except (SQLAlchemyError, OSError) as error:
            return later(request, error)
        return private(PAGES.TemplateResponse(request, "preferences.html", {"topics": TOPICS, "wanted": wanted}))

    @router.post("/preferences/{token}", responses=PREFERENCES_ANSWERS, openapi_extra=in_path("token"))
    async def choose(request: Request) -> Response:
        """Keep what is ticked; or with the one click of a mail program, leave the topic of the mail.

        The form has `save` and a `topic` for each that is ticked. The one click is `List-Unsubscribe=One-Click`, as a
        form or in parts.
        """
        try:
            topic, account, contact = link_of(request)
            wanted = _wanted(await body_in(request), topic)
            async with database.writing() as session:
                await _keep(session, account, contact, wanted)
                now = await consent.choices(session, account, contact)
        except Notice as notice:
            return page(request, notice)
        except (SQLAlchemyError, OSError) as error:
            return later(request, error)
        titles = ", ".join(TOPICS[name].title for name, yes in now.items() if yes)
        says = f"You get mails about: {titles}." if titles else "You get no mails about any of these topics."
        return page(request, Notice(200, "Your choice is saved", f"{says} {ALWAYS}"))

    return router


def _wanted(body: bytes, topic: str) -> dict[str, bool]:
    """What a body says of each topic.

    Raises:
        Notice: it says nothing.
    """
    if ONE_CLICK in body:
        return {topic: False} if topic in TOPICS else dict.fromkeys(TOPICS, False)
    try:
        form = parse_qs(body.decode(), max_num_fields=20)
    except ValueError:
        form = {}
    if "save" not in form:
        raise Notice(400, "Nothing was chosen", "Please go back and press the button below the topics.")
    return {name: name in form.get("topic", []) for name in TOPICS}


async def _keep(session: AsyncSession, account: str, contact: str, wanted: dict[str, bool]) -> None:
    """Put what changes into the inbox, and take it in. Who leaves the last marketing topic has unsubscribed (T4.3)."""
    before = await consent.choices(session, account, contact)
    changed = {name: yes for name, yes in wanted.items() if before[name] != yes}
    if not changed:
        return
    row = our_event(
        f"preferences/{account} {contact}/{uuid.uuid4().hex}",
        facts.PREFERENCES,
        account,
        await not_before_its_cases(session, account),
        object_id=contact,
        body=orjson.dumps({"data": {"topics": changed}}),
    )
    session.add(row)
    await session.flush()
    await learn(session, row)
    marketing = [name for name, topic in TOPICS.items() if topic.marketing]
    after = before | changed
    if any(before[name] for name in marketing) and not any(after[name] for name in marketing):
        await unsubscribe(session, f"{account} {contact}".strip())
