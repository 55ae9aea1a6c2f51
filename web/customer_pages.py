"""Pages behind the links in our mails: an offer to accept or decline, and the way out of mails.

Following a link changes nothing, for mail scanners follow links; a button does. No page needs JavaScript.
"""

from datetime import datetime
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import Response
from fastapi.templating import Jinja2Templates
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from models import facts, ledger
from models.customers import Contact, OfferRow
from models.database import Database
from models.learning import learn
from models.links import BadLink, Purpose, subject_of
from models.tables import OURSELVES, Account, CaseRow, InboxEvent, wall
from web.answers import ANSWER_ANSWERS, LINK_ANSWERS, UNSUBSCRIBE_ANSWERS, in_path
from web.webhooks import Refused, body_of

PAGES: Final = Jinja2Templates(directory=Path(__file__).parent / "templates")
ANSWERS: Final = {"accept": facts.OFFER_ACCEPTED, "decline": facts.OFFER_DECLINED}
SAID: Final = {facts.OFFER_ACCEPTED: "accepted", facts.OFFER_DECLINED: "declined"}
STATE: Final = {"accepted": facts.OFFER_ACCEPTED, "declined": facts.OFFER_DECLINED}
THANKS: Final = {
    facts.OFFER_ACCEPTED: "You have accepted this offer. We are putting it in place; there is nothing more to do.",
    facts.OFFER_DECLINED: "You have declined this offer. Nothing changes.",
}
UNSUBSCRIBED: Final = "You will get no more tips and offers. Mails about your bills and your service still come."

log = structlog.get_logger()


class Notice(Exception):
    """There is nothing to decide here: a page says why, with this status, and nothing is written."""

    def __init__(self, status: int, title: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.title = title


def customer_routes(database: Database, link_secret: str) -> APIRouter:
    """`/offer/{token}` (O12) and `/unsubscribe/{token}` (P0.4, RFC 8058), for customers without a login.

    An answer is one inbox row from ourselves, which the relay carries on; a second click finds it there. Offers expire
    by the machine's clock. An answer's time is that clock's too, but never before what it answers: other clocks (the
    billing provider's, a simulated one) may run ahead of ours, and what is older than a case is not told to it.
    """
    router = APIRouter()

    @router.get("/offer/{token}", responses=LINK_ANSWERS, openapi_extra=in_path("token"))
    async def see(request: Request) -> Response:
        """Show the terms and two buttons. Nothing is accepted by looking."""
        try:
            key = subject_in(link_secret, "offer", request.path_params["token"])
            async with database.reading() as session:
                offer = await _open_offer(session, key)
        except Notice as notice:
            return page(request, notice)
        except (SQLAlchemyError, OSError) as error:
            return later(request, error)
        return private(PAGES.TemplateResponse(request, "offer.html", {"offer": offer}))

    @router.post("/offer/{token}", responses=ANSWER_ANSWERS, openapi_extra=in_path("token"))
    async def answer(request: Request) -> Response:
        """Accept or decline, once; the first answer stands.

        The form's `answer` is `accept` or `decline`; for a pause `months` is how many of those offered are wanted.
        """
        try:
            key = subject_in(link_secret, "offer", request.path_params["token"])
            form = await form_in(request)
            kind = ANSWERS.get(form.get("answer", ""))
            if kind is None:
                raise Notice(400, "Nothing was chosen", "Please go back and choose one of the two buttons.")
            async with database.writing() as session:
                await _answer(session, key, kind, form.get("months", ""))
        except Notice as notice:
            return page(request, notice)
        except (SQLAlchemyError, OSError) as error:
            return later(request, error)
        return page(request, Notice(200, "Thank you", THANKS[kind]))

    @router.get("/unsubscribe/{token}", responses=UNSUBSCRIBE_ANSWERS, openapi_extra=in_path("token"))
    async def ask(request: Request) -> Response:
        """Show one button. Nothing is recorded by looking."""
        try:
            subject_in(link_secret, "unsubscribe", request.path_params["token"])
        except Notice as notice:
            return page(request, notice)
        return private(PAGES.TemplateResponse(request, "unsubscribe.html"))

    @router.post("/unsubscribe/{token}", responses=UNSUBSCRIBE_ANSWERS, openapi_extra=in_path("token"))
    async def leave(request: Request) -> Response:
        """Record it at once: for the button, and for mail programs (`List-Unsubscribe=One-Click`, RFC 8058).

        Whatever the body says, a POST to this address means one thing; so it is read and not looked at.
        """
        try:
            subject = subject_in(link_secret, "unsubscribe", request.path_params["token"])
            await body_in(request)
            async with database.writing() as session:
                await unsubscribe(session, subject)
        except Notice as notice:
            return page(request, notice)
        except (SQLAlchemyError, OSError) as error:
            return later(request, error)
        return page(request, Notice(200, "You are unsubscribed", UNSUBSCRIBED))

    return router


def subject_in(secret: str, purpose: Purpose, token: str) -> str:
    """What a link was made for.

    Raises:
        Notice: it is none of ours, or too old.
    """
    try:
        return subject_of(secret, purpose, token)
    except BadLink as error:
        raise Notice(400, "Link", str(error)) from None


async def body_in(request: Request) -> bytes:
    """The body of a form.

    Raises:
        Notice: it is too large.
    """
    try:
        return await body_of(request)
    except Refused as refused:
        raise Notice(refused.status, "That was too much", "Please use the buttons on the page.") from None


async def form_in(request: Request) -> dict[str, str]:
    """The first value of each field of an HTML form, as forms without files are sent."""
    try:
        fields = parse_qs((await body_in(request)).decode(), max_num_fields=20)
    except ValueError:
        return {}
    return {name: values[0] for name, values in fields.items()}


def _answer_id(key: str) -> str:
    """The same for both answers, so that only the first is taken."""
    return f"offer/{key}"


async def _open_offer(session: AsyncSession, key: str, *, lock: bool = False, wanted: str = "") -> OfferRow:
    """The offer, if it can still be answered.

    Raises:
        Notice: it cannot. Saying again what was said (`wanted`), or only looking, is not an error.
    """
    offer = await session.get(OfferRow, key, with_for_update=lock)
    if offer is None:
        raise Notice(404, "No such offer", "We do not know this offer. Please use the link in our latest mail.")
    statement = select(InboxEvent.kind).where(InboxEvent.source == OURSELVES, InboxEvent.event_id == _answer_id(key))
    said = (await session.exec(statement)).first() or STATE.get(offer.state, "")
    if said:
        status = 409 if wanted and wanted != said else 200
        raise Notice(status, f"This offer was {SAID[said]}", THANKS[said])
    if offer.state == "withdrawn":
        raise Notice(
            410, "This offer was withdrawn", "It is not open any more. Please write to us if you have questions."
        )
    if offer.expires_at <= wall():
        until = f"{offer.expires_at.day} {offer.expires_at:%B %Y}"
        raise Notice(
            410, "This offer has expired", f"It was open until {until}. Please write to us if you have questions."
        )
    return offer


async def _answer(session: AsyncSession, key: str, kind: str, months: str) -> None:
    """Put the answer into the inbox, under the lock of the offer."""
    offer = await _open_offer(session, key, lock=True, wanted=kind)
    wants_less = offer.what == "pause" and kind == facts.OFFER_ACCEPTED and months in _months(offer)
    case = await session.get(CaseRow, offer.case_id)
    await ledger.insert_once(
        session,
        our_event(
            _answer_id(key),
            kind,
            offer.account_id,
            max(wall(), offer.made_at),
            subject=case.subject if case else "",
            object_id=key,
            value=months if wants_less else "",
        ),
    )


async def unsubscribe(session: AsyncSession, subject: str) -> None:
    """Put the opt-out of a contact, or of the whole account, into the inbox, unless it is known already.

    It holds from this transaction on, whether a relay runs or not; who hears of it is for the relay to say.
    """
    account, _, contact = subject.partition(" ")
    person = await session.get(Contact, contact) if contact else await session.get(Account, account)
    if person and person.opted_out_at:
        return
    earlier = select(func.count()).where(
        InboxEvent.account_id == account,
        InboxEvent.kind == facts.UNSUBSCRIBED,
        InboxEvent.object_id == contact,
        col(InboxEvent.learned),
    )
    # Numbered by what was taken in before, so that somebody who came back to our mails can leave them once more.
    number = (await session.exec(earlier)).one()
    event_id = f"unsubscribe/{subject}/{number}"
    at = await not_before_its_cases(session, account)
    await ledger.insert_once(session, our_event(event_id, facts.UNSUBSCRIBED, account, at, object_id=contact))
    mine = select(InboxEvent).where(InboxEvent.source == OURSELVES, InboxEvent.event_id == event_id)
    await learn(session, (await session.exec(mine)).one())


async def not_before_its_cases(session: AsyncSession, account: str) -> datetime:
    """The machine's time, but never before a case that is to hear what is said now."""
    opened = (await session.exec(select(func.max(CaseRow.opened_at)).where(CaseRow.account_id == account))).one()
    return max(wall(), opened) if opened else wall()


def our_event(
    event_id: str,
    kind: str,
    account: str,
    at: datetime,
    *,
    subject: str = "",
    object_id: str = "",
    value: str = "",
    body: bytes = b"{}",
) -> InboxEvent:
    """A row of the inbox from ourselves: what a customer said on one of our pages."""
    return InboxEvent(
        source=OURSELVES,
        event_id=event_id,
        type=kind,
        kind=kind,
        account_id=account,
        subject=subject,
        object_id=object_id,
        value=value,
        occurred_at=at,
        body=body,
    )


def _months(offer: OfferRow) -> list[str]:
    return [str(number) for number in range(1, offer.months + 1)]


def page(request: Request, notice: Notice) -> Response:
    """A page with a heading and a sentence."""
    words = {"title": notice.title, "text": str(notice)}
    return private(PAGES.TemplateResponse(request, "notice.html", words, notice.status))


def later(request: Request, error: Exception) -> Response:
    """503 while the database is away."""
    log.error("pages.database_down", error=type(error).__name__)
    return page(request, Notice(503, "Please try again", "We cannot do this right now. Please try again in a minute."))


def private(response: Response) -> Response:
    """Nobody between us and the reader keeps a page that belongs to one person."""
    response.headers["Cache-Control"] = "no-store"
    return response
