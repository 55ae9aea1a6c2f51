"""Mail: the outbox table when no key is set, SendGrid when there is one."""

import asyncio
from http import HTTPStatus
from typing import Any, Final

import orjson
import python_http_client.exceptions as http_errors
from sendgrid import SendGridAPIClient
from sendgrid.helpers.mail import Content, CustomArg, From, Header, Mail, ReplyTo, Subject, To, TrackingSettings
from sendgrid.helpers.mail.click_tracking import ClickTracking
from sqlmodel.ext.asyncio.session import AsyncSession

from activities import letters
from activities.letters import Letter
from activities.merge_fields import Fields
from activities.systems import Answer, TryAgain, still_fresh
from models import ledger
from models.cases import Batch, Email
from models.customers import OfferRow
from models.database import Database
from models.picture import Person, Picture
from models.policy import Policy, PolicyFile
from models.tables import Message
from models.topics import TOPICS

TIMEOUT_S: Final = 10
NO_ADDRESS: Final = "nobody at the account has an e-mail address"


class ActivityClosed(Exception):
    """SendGrid's Email Activity API may not be asked; the message says why."""


class Postroom:
    """Writes the letter of an e-mail effect from current facts; both ways of sending share it."""

    def __init__(self, database: Database, policy: PolicyFile, fields: Fields) -> None:
        self._db = database
        self._policy = policy
        self._fields = fields

    def policy(self, picture: Picture) -> Policy:
        """The policy of the account's segment."""
        return self._policy.for_segment(str(picture.readings.get("segment", "")))

    def template(self, effect: Email, picture: Picture) -> str:
        """The template for the decline class as it is now."""
        return effect.by_decline.get(str(picture.fields.get("decline", "")), effect.template)

    def topic(self, effect: Email, picture: Picture) -> str:
        """What the mail is about; empty for a template that is not there, which is found out when it is written."""
        try:
            return letters.topic_of(self.template(effect, picture))
        except letters.UnknownTemplate:
            return ""

    def recipient(self, effect: Email, picture: Picture) -> Person | None:
        """Who gets it; None if nobody there has an address."""
        person = picture.person(effect.to)
        return person if person and person.email else None

    async def offer(self, effect: Email) -> OfferRow | None:
        """The offer the mail speaks of."""
        if not effect.offer:
            return None
        async with self._db.reading() as session:
            return await session.get(OfferRow, effect.offer)

    def write(self, effect: Email, batch: Batch, picture: Picture, offer: OfferRow | None) -> Letter:
        """Render the letter. Raises `letters.MissingField` before anything is sent (C15)."""
        topic = self.topic(effect, picture)
        fields = self._fields.of(batch, picture, self.policy(picture), effect, offer=offer, topic=topic)
        person = picture.person(effect.to)
        return letters.render(self.template(effect, picture), fields, locale=(person.locale if person else "") or "en")

    def headers(self, effect: Email, batch: Batch, picture: Picture, recipient: Person) -> dict[str, str]:
        """The mail's own headers: what one may switch off is left with one click in the mail program (RFC 8058, T4.3).

        Marketing mail leads out of all marketing mail, other mail out of its topic.
        """
        topic = self.topic(effect, picture)
        if effect.marketing:
            url = self._fields.unsubscribe_url(batch.account, recipient)
        elif topic in TOPICS:
            url = self._fields.preferences_url(batch.account, recipient, topic)
        else:
            return {}
        return {"List-Unsubscribe": f"<{url}>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}

    def message(self, effect: Email, batch: Batch, picture: Picture, letter: Letter) -> Message:
        """The row that keeps what was sent."""
        person = self.recipient(effect, picture)
        return Message(
            key=effect.key,
            account_id=batch.account,
            case_id=batch.case,
            channel="email",
            template=self.template(effect, picture),
            recipient=person.email if person else "",
            subject=letter.subject,
            html=letter.html,
            text=letter.text,
            at=batch.now,
        )


class Outbox:
    """Sends nothing: every mail is a row one can read at /outbox."""

    kinds: tuple[str, ...] = ("email",)

    def __init__(self, postroom: Postroom) -> None:
        self._postroom = postroom

    async def write(self, session: AsyncSession, effect: Email, batch: Batch, picture: Picture) -> Answer:
        """Put the mail into the outbox."""
        if not self._postroom.recipient(effect, picture):
            return Answer("refused", NO_ADDRESS)
        offer = await session.get(OfferRow, effect.offer) if effect.offer else None
        letter = self._postroom.write(effect, batch, picture, offer)
        await ledger.insert_once(session, self._postroom.message(effect, batch, picture, letter))
        return Answer()


class SendGridMail:
    """Sends through SendGrid, which has no idempotency key: a lost answer is in doubt until its activity shows it."""

    kinds: tuple[str, ...] = ("email",)

    def __init__(self, database: Database, postroom: Postroom, api_key: str, base_url: str | None = None) -> None:
        self._db = database
        self._postroom = postroom
        self._sendgrid = SendGridAPIClient(api_key, **({"host": base_url} if base_url else {}))
        self._sendgrid.client.timeout = TIMEOUT_S

    def before(self, effect: Email, picture: Picture) -> dict[str, Any]:
        """Nothing to note."""
        return {}

    async def look_up(self, effect: Email, batch: Batch, picture: Picture, noted: dict[str, Any]) -> Answer | None:
        """Ask SendGrid's activity, which accounts have to buy. What it does not show stays in doubt.

        It is never sent again by itself: the activity shows mails with a delay, and not those of every region.
        """
        try:
            found = await self.activity_of(effect.key)
        except ActivityClosed as error:
            return Answer("in_doubt", f"the answer was lost; not sent again. {error}")
        if not found:
            return Answer("in_doubt", "the answer was lost; not sent again. SendGrid's activity does not show it")
        mail = found[0]
        row = Message(
            key=effect.key,
            account_id=batch.account,
            case_id=batch.case,
            channel="email",
            template=effect.template,
            recipient=str(mail.get("to_email", "")),
            subject=str(mail.get("subject", effect.title)),
            text="SendGrid has this mail. Its words were not kept, for the answer to sending it was lost.",
            provider_id=str(mail.get("msg_id", "")),
            at=batch.now,
        )
        async with self._db.writing() as session:
            await ledger.insert_once(session, row)
        said = str(mail.get("status", ""))
        return Answer(reason=f"SendGrid's activity has it: {said}", detail={"message_id": row.provider_id})

    async def activity_of(self, key: str) -> list[dict[str, Any]]:
        """The mails SendGrid has on record for an effect, as its Email Activity API tells them.

        Raises:
            ActivityClosed: the account or the key may not ask.
        """
        query = {"query": f"(unique_args['effect']=\"{key}\")", "limit": "10"}

        def ask() -> Any:
            return self._sendgrid.client.messages.get(query_params=query)

        try:
            answer = await asyncio.to_thread(ask)
        except http_errors.HTTPError as error:
            if error.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND):
                raise ActivityClosed(
                    f"SendGrid's activity cannot be asked ({error.status_code}): "
                    "it has to be bought, and the key needs the permission"
                ) from None
            raise
        messages: list[dict[str, Any]] = orjson.loads(answer.body).get("messages", [])
        return messages

    async def perform(self, effect: Email, batch: Batch, picture: Picture) -> Answer:
        """Send it.

        Raises:
            TryAgain: SendGrid did not take it (429, 503, no connection made), or the letter cannot be written (C15).
        """
        recipient = self._postroom.recipient(effect, picture)
        if not recipient:
            return Answer("refused", NO_ADDRESS)
        try:
            letter = self._postroom.write(effect, batch, picture, await self._postroom.offer(effect))
        except letters.LetterError as error:
            # Nothing was sent, so nothing is in doubt: it goes as soon as the template or the field is mended.
            raise TryAgain(str(error)) from error
        mail = self._mail(effect, batch, picture, letter, recipient)
        answer = await asyncio.to_thread(self._send, mail)
        if answer.state == "done":
            row = self._postroom.message(effect, batch, picture, letter)
            row.provider_id = answer.detail.get("message_id", "")
            async with self._db.writing() as session:
                await ledger.insert_once(session, row)
        return answer

    def _mail(self, effect: Email, batch: Batch, picture: Picture, letter: Letter, recipient: Person) -> Mail:
        company = self._postroom.policy(picture).company
        mail = Mail()
        mail.from_email = From(company.from_email, company.name)
        mail.reply_to = ReplyTo(company.support_email)
        mail.to = To(recipient.email, recipient.name or None)
        mail.subject = Subject(letter.subject)
        mail.content = [Content("text/plain", letter.text), Content("text/html", letter.html)]
        mail.custom_arg = [CustomArg("effect", effect.key), CustomArg("case", batch.case)]
        mail.header = [Header(*each) for each in self._postroom.headers(effect, batch, picture, recipient).items()]
        # A rewritten link would no longer be the signed one, and would pass through a third party.
        mail.tracking_settings = TrackingSettings(click_tracking=ClickTracking(False, False))
        return mail

    def _send(self, mail: Mail) -> Answer:
        still_fresh()
        try:
            response = self._sendgrid.send(mail)
        except http_errors.HTTPError as error:
            said = _said(error)
            if error.status_code in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
                raise TryAgain(f"SendGrid asks to wait: {error.status_code}") from error
            if error.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
                return Answer("in_doubt", f"SendGrid answered {error.status_code}: {said}")
            return Answer("refused", f"SendGrid answered {error.status_code}: {said}")
        except ConnectionRefusedError as error:
            raise TryAgain("SendGrid could not be reached") from error
        except OSError as error:
            if isinstance(getattr(error, "reason", None), ConnectionRefusedError):
                raise TryAgain("SendGrid could not be reached") from error
            return Answer("in_doubt", f"the connection to SendGrid was lost: {type(error).__name__}")
        return Answer(detail={"message_id": response.headers.get("X-Message-Id", "")})


def _said(error: http_errors.HTTPError) -> str:
    body = error.body
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body)
    return text[:200]
