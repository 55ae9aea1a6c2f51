"""The pretend SendGrid: accepts mail into a mailbox and tells about it by signed event webhooks."""

from __future__ import annotations

import asyncio
import random
import re
import uuid
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from simulator.errors import ApiError
from simulator.faults import CutConnection, CutMidway, Faults, Rule
from simulator.sendgrid_events import EventPost, MailSettings
from simulator.world import World

Json = dict[str, Any]
BOUNCE = {"reason": "550 no such user", "status": "5.1.1", "type": "bounce"}
UNIQUE_ARG = re.compile(r"\(?unique_args\['(?P<name>[^']+)'\]=\"(?P<value>[^\"]*)\"\)?")
"""The one query of the Email Activity API that is played."""


@dataclass(frozen=True)
class Mail:
    """One accepted message to one personalization. `at` is simulated unix seconds, `wall` real ones."""

    id: str
    at: int
    to: list[str]
    sender: str
    subject: str
    text: str | None
    html: str | None
    headers: dict[str, str]
    custom_args: dict[str, str]
    categories: list[str]
    wall: float = 0.0


class SendGrid:
    """Answers POST /v3/mail/send, GET /v3/messages and /v3/scopes, and sends event webhooks."""

    def __init__(self, world: World, faults: Faults) -> None:
        self._world = world
        self._faults = faults
        self.post = EventPost()
        self._reset_state()

    def _reset_state(self) -> None:
        self.settings = MailSettings()
        self.mailbox: list[Mail] = []
        self.dice = random.Random(self._world.seed + 3)

    async def reset(self) -> None:
        """Empty the mailbox and forget settings; the signing key stays."""
        await self.post.reset()
        self._reset_state()

    def configure(self, changes: Json) -> MailSettings:
        """Change some settings; 400 for an unknown one."""
        unknown = changes.keys() - asdict(self.settings).keys()
        if unknown:
            raise ApiError(400, f"unknown SendGrid settings: {', '.join(sorted(unknown))}")
        self.settings = MailSettings(**{**asdict(self.settings), **changes})
        return self.settings

    def reader_does(self, kind: str, to: str) -> Json:
        """Tell an event of the newest mail to an address: a spam report, an unsubscribing, a bounce that comes late.

        Raises:
            ApiError: no mail went there.
        """
        mail = next((each for each in reversed(self.mailbox) if to in each.to), None)
        if mail is None:
            raise ApiError(400, f"no mail went to {to!r}")
        extra = BOUNCE if kind == "bounce" else {}
        event = self._event(mail, to, kind, **extra)
        self.post.tell([event], self.settings, self.dice)
        return event

    async def answer(self, request: Request) -> Response:
        """One HTTP exchange on /v3/."""
        fault = self._faults.strike(request.method, request.url.path)
        refused = _refusal(request, fault)
        if refused is not None:
            return refused
        if fault is not None and fault.kind == "slow_before":
            await asyncio.sleep(fault.seconds)
        if request.method == "GET":
            return self._told(request)
        if (request.method, request.url.path) != ("POST", "/v3/mail/send"):
            return _errors(501, [_problem(f"simulator does not model {request.method} {request.url.path}")])
        try:
            body = orjson.loads(await request.body())
        except orjson.JSONDecodeError:
            return _errors(400, [_problem("Bad Request")])
        problems = mail_problems(body)
        if problems:
            return _errors(400, problems)
        message_id = uuid.UUID(int=self.dice.getrandbits(128)).hex[:22]
        self._accept(body, message_id)
        if fault is not None and fault.kind == "slow_after":
            await asyncio.sleep(fault.seconds)
        if fault is not None and fault.kind in ("cut_after", "cut_midway"):
            return CutConnection() if fault.kind == "cut_after" else CutMidway()
        if fault is not None and fault.kind == "500_after":
            return _errors(500, [_problem("Internal server error (simulated)")])
        return Response(b"", 202, {"X-Message-Id": message_id})

    def _told(self, request: Request) -> Response:
        """What can be asked: the key's permissions, and the activity of mails by one custom argument."""
        if request.url.path == "/v3/scopes":
            return Response(orjson.dumps({"scopes": self.settings.scopes}), 200, None, "application/json")
        if request.url.path != "/v3/messages":
            return _errors(501, [_problem(f"simulator does not model GET {request.url.path}")])
        if not self.settings.activity:
            return _errors(403, [_problem("access forbidden")])
        query = request.query_params.get("query", "")
        asked = UNIQUE_ARG.fullmatch(query)
        if asked is None:
            return _errors(400, [_problem(f"simulator does not model the query {query!r}")])
        limit = int(request.query_params.get("limit", "10"))
        found = [mail for mail in self.mailbox if mail.custom_args.get(asked["name"]) == asked["value"]]
        return Response(
            orjson.dumps({"messages": [self._activity(mail) for mail in found[:limit]]}), 200, None, "application/json"
        )

    def _activity(self, mail: Mail) -> Json:
        status = "not_delivered" if mail.to[0] in self.settings.bouncing else "delivered"
        return {
            "from_email": mail.sender,
            "msg_id": f"{mail.id}.recvd-simulated",
            "subject": mail.subject,
            "to_email": mail.to[0],
            "status": status,
            "opens_count": 0,
            "clicks_count": 0,
            "last_event_time": datetime.fromtimestamp(mail.at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }

    def _accept(self, body: Json, message_id: str) -> None:
        contents = {part["type"]: part["value"] for part in body["content"]}
        for index, person in enumerate(body["personalizations"]):
            mail = Mail(
                id=message_id if index == 0 else f"{message_id}-{index}",
                at=self._world.now(),
                to=[recipient["email"] for recipient in person["to"]],
                sender=body["from"]["email"],
                subject=person.get("subject") or body["subject"],
                text=contents.get("text/plain"),
                html=contents.get("text/html"),
                headers={**body.get("headers", {}), **person.get("headers", {})},
                custom_args={**body.get("custom_args", {}), **person.get("custom_args", {})},
                categories=body.get("categories", []),
                wall=self._world.wall(),
            )
            reachable = [address for address in mail.to if address not in self.settings.suppressed]
            if reachable:
                self.mailbox.append(mail)
            events = [event for address in mail.to for event in self._events(mail, address)]
            self.post.tell(events, self.settings, self.dice)

    def _events(self, mail: Mail, address: str) -> list[Json]:
        if address in self.settings.suppressed:
            return [self._event(mail, address, "dropped", reason="Bounced Address")]
        last = "bounce" if address in self.settings.bouncing else "delivered"
        extra = BOUNCE if last == "bounce" else {}
        return [self._event(mail, address, "processed"), self._event(mail, address, last, **extra)]

    def _event(self, mail: Mail, address: str, kind: str, **extra: str) -> Json:
        return {
            **mail.custom_args,
            "email": address,
            "event": kind,
            "sg_event_id": uuid.UUID(int=self.dice.getrandbits(128)).hex,
            "sg_message_id": f"{mail.id}.recvd-simulated",
            "timestamp": self._world.now(),
            **extra,
        }


def mail_problems(body: Any) -> list[Json]:
    """What SendGrid would complain about in a mail/send body."""
    if not isinstance(body, dict):
        return [_problem("Bad Request")]
    problems = []
    if not (body.get("from") or {}).get("email"):
        problems.append(_problem("The from object must be provided for every email send.", "from.email"))
    people = body.get("personalizations") or []
    if not people:
        problems.append(
            _problem("The personalizations field is required and must have at least one.", "personalizations")
        )
    for index, person in enumerate(people):
        if not person.get("to"):
            problems.append(
                _problem("The to array is required for all personalization objects.", f"personalizations.{index}.to")
            )
        if not (person.get("subject") or body.get("subject")):
            problems.append(_problem("The subject is required.", "subject"))
    if not body.get("content"):
        problems.append(_problem("The content array is required and must have at least one.", "content"))
    return problems


def _problem(message: str, where: str | None = None) -> Json:
    return {"message": message, "field": where, "help": None}


def _errors(status: int, problems: list[Json], headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps({"errors": problems}), status, headers, "application/json")


def _refusal(request: Request, fault: Rule | None) -> Response | None:
    """The answer given before the mail is looked at, if there is one."""
    kind = fault.kind if fault is not None else ""
    if kind == "401" or not request.headers.get("authorization", "").startswith("Bearer SG."):
        return _errors(401, [_problem("The provided authorization grant is invalid, expired, or revoked")])
    if kind == "429":
        wait = str(int(fault.seconds) if fault is not None and fault.seconds else 1)
        limits = {"X-RateLimit-Limit": "600", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": wait}
        return _errors(429, [_problem("too many requests")], limits)
    if kind in ("500_before", "503"):
        return _errors(503 if kind == "503" else 500, [_problem("Internal server error (simulated)")])
    if kind == "cut_before":
        return CutConnection()
    return None
