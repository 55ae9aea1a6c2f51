"""Attio over its REST API: companies, the at-risk list, deals, tasks and notes (I1.2 to I1.5).

Companies and deals are asserted by a unique attribute that holds our key, so that making one twice makes it once. Tasks
and notes have no attributes of one's own: our key is the last line of their text, and is looked for among those of the
company. One file: what a call sends, what it may be answered and what that means belong together.
"""

import contextlib
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final

import aiohttp

from models.crm import LISTS, Busy, Closed, CrmSettings, Gone, NoCompany, Record, Refused, Schema, Unsure, Value

BASE: Final = "https://api.attio.com"
TIMEOUT_S: Final = 10.0
AWAY_S: Final = 30.0
"""How long to leave Attio alone when it cannot be reached, or is still merging."""
CONFLICT_S: Final = 2.0
LONGEST_TASK: Final = 2000
"""Characters of a task's text."""
PAGE: Final = 50
"""The most that Attio lists of tasks and notes at once."""
MARK: Final = "Holdfast: "

Json = dict[str, Any]


class Missing(Exception):
    """404, or a reference to something that is not there; the message is Attio's."""


class Attio:
    """The adapter. `base` is Attio's address without a path."""

    name = "Attio"

    def __init__(self, token: str, settings: CrmSettings, base: str = BASE, timeout_s: float = TIMEOUT_S) -> None:
        self._token = token
        self._settings = settings
        self._base = base.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._http: aiohttp.ClientSession | None = None
        self._members: frozenset[str] | None = None

    def use(self, settings: CrmSettings) -> None:
        """Write by this map from now on."""
        self._settings = settings

    async def close(self) -> None:
        """Give connections back."""
        if self._http:
            await self._http.close()
            self._http = None

    async def schema(self) -> Schema:
        """The attributes of companies and deals, the deal stages, and whether the at-risk list is one of companies."""
        attributes = {
            kind: {each["api_slug"]: bool(each.get("is_unique")) for each in await self._attributes_of(slug)}
            for kind, slug in (("company", "companies"), ("deal", "deals"))
        }
        self._members = None
        stage = self._settings.fields("deal").get("stage", "")
        stages: tuple[str, ...] = ()
        if stage in attributes["deal"]:
            found = await self._read("GET", f"/v2/objects/deals/attributes/{stage}/statuses")
            stages = tuple(each["title"] for each in found["data"] if not each.get("is_archived"))
        wanted = {name: of for name, of in LISTS.items() if getattr(self._settings, name)}
        lacking = [name for name, of in wanted.items() if not await self._has_list(getattr(self._settings, name), of)]
        return Schema({"company": attributes["company"], "deal": attributes["deal"]}, stages, tuple(lacking))

    async def look(self, record: Record) -> str:
        """The id of the record that carries our key, or of the company's entry in the list."""
        try:
            if record.kind == "at_risk":
                return await self._entry_of(record.company)
            if record.kind == "task":
                query = {"linked_object": "companies", "linked_record_id": record.company, "sort": "created_at:desc"}
                return await self._marked("tasks", record.key, query)
            if record.kind == "note":
                query = {"parent_object": "companies", "parent_record_id": record.company}
                return await self._marked("notes", record.key, query)
            return await self._record_with(_OBJECTS[record.kind], self._settings.fields(record.kind)["key"], record.key)
        except Missing:
            return ""

    async def write(self, record: Record, remote_id: str) -> str:
        """Make it or bring it up to date; the id is another one where it was merged meanwhile.

        Raises:
            Gone, NoCompany, Refused, Unsure, Busy, Closed: as models/crm.py says.
        """
        if record.kind == "company":
            return await self._write_company(record, remote_id)
        try:
            if record.kind == "deal":
                return await self._write_deal(record, remote_id)
            if record.kind == "at_risk":
                return await self._write_entry(record, remote_id)
            if record.kind == "task":
                return await self._write_task(record, remote_id)
            return remote_id or await self._make_note(record)
        except Missing as error:
            raise NoCompany(str(error)) from error

    # Each kind.

    async def _write_company(self, record: Record, remote_id: str) -> str:
        if not remote_id and not self._settings.create_companies:
            key = self._settings.fields("company")["key"]
            raise Refused(f"no company has {record.key!r} as its {key}; put it there on the right one")
        try:
            return await self._assert("companies", record, await self._values(record), remote_id)
        except Missing as error:
            raise Refused(str(error)) from error

    async def _write_deal(self, record: Record, remote_id: str) -> str:
        values = await self._values(record)
        if not remote_id:
            reference = {"target_object": "companies", "target_record_id": record.company}
            values["associated_company"] = [reference]
        written = await self._assert("deals", record, values, remote_id)
        if self._settings.renewal_list:
            await self._put_on(self._settings.renewal_list, "deals", written)
        return written

    async def _assert(self, slug: str, record: Record, values: Json, remote_id: str) -> str:
        """Write the record with this id; where it is no more, the one that carries our key, which a merge leaves."""
        key = self._settings.fields(record.kind)["key"]
        body = {"data": {"values": {**values, key: record.key}}}
        if not remote_id:
            path = f"/v2/objects/{slug}/records?matching_attribute={key}"
            return _record_id(await self._call("PUT", path, body))
        try:
            return _record_id(await self._call("PATCH", f"/v2/objects/{slug}/records/{remote_id}", body))
        except Missing as error:
            other = await self._record_with(slug, key, record.key)
            if not other or other == remote_id:
                gone = f"{record.kind} {remote_id} was deleted in Attio, and no other has {record.key!r} as its {key}"
                raise Gone(gone) from error
        return _record_id(await self._call("PATCH", f"/v2/objects/{slug}/records/{other}", body))

    async def _record_with(self, slug: str, key: str, value: str) -> str:
        body = {"filter": {key: value}, "limit": 1}
        found = (await self._read("POST", f"/v2/objects/{slug}/records/query", body))["data"]
        return str(found[0]["id"]["record_id"]) if found else ""

    async def _write_entry(self, record: Record, remote_id: str) -> str:
        list_ = self._settings.at_risk_list
        if record.fields["on"]:
            return remote_id or await self._put_on(list_, "companies", record.company)
        # By what the list says now, for whoever works with it may have taken the company off and put it on again.
        entry = await self._entry_of(record.company)
        if entry:
            with contextlib.suppress(Missing):
                await self._call("DELETE", f"/v2/lists/{list_}/entries/{entry}")
        return ""

    async def _put_on(self, list_: str, of: str, record_id: str) -> str:
        """Asserted by what it is an entry of, so that it is there once."""
        parent = {"parent_object": of, "parent_record_id": record_id, "entry_values": {}}
        try:
            made = await self._call("PUT", f"/v2/lists/{list_}/entries", {"data": parent})
        except Missing:
            if await self._has_list(list_, of):
                raise
            raise Refused(f"there is no list {list_!r} of {of} any more") from None
        return str(made["data"]["id"]["entry_id"])

    async def _entry_of(self, company: str) -> str:
        found = await self._read("GET", f"/v2/objects/companies/records/{company}/entries")
        names = self._settings.at_risk_list
        entries = [each for each in found["data"] if names in (each.get("list_api_slug"), each.get("list_id"))]
        return str(entries[0]["entry_id"]) if entries else ""

    async def _write_task(self, record: Record, remote_id: str) -> str:
        if remote_id:
            try:
                body = {"data": {"is_completed": record.fields["done"]}}
                await self._call("PATCH", f"/v2/tasks/{remote_id}", body)
            except Missing as error:
                raise Gone(f"the task was deleted in Attio: {error}") from error
            return remote_id
        links = [{"target_object": "companies", "target_record_id": record.company}]
        if record.deal:
            links.append({"target_object": "deals", "target_record_id": record.deal})
        due = record.fields["due"]
        data = {
            "content": marked_text(f"{record.fields['title']}\n\n{record.fields['body']}", record.key, LONGEST_TASK),
            "format": "plaintext",
            "deadline_at": _moment(due) if isinstance(due, datetime) else None,
            "is_completed": record.fields["done"],
            "linked_records": links,
            "assignees": await self._member(record),
        }
        try:
            made = await self._call("POST", "/v2/tasks", {"data": data})
        except Missing:
            if not record.deal:
                raise
            # A deal that somebody deleted is no reason to keep the task from its company.
            made = await self._call("POST", "/v2/tasks", {"data": {**data, "linked_records": links[:1]}})
        return str(made["data"]["id"]["task_id"])

    async def _make_note(self, record: Record) -> str:
        at = record.fields["at"]
        data = {
            "parent_object": "companies",
            "parent_record_id": record.company,
            "title": record.fields["title"],
            "format": "plaintext",
            "content": marked_text(str(record.fields["body"]), record.key),
        }
        if isinstance(at, datetime):
            data["created_at"] = _moment(at)
        made = await self._call("POST", "/v2/notes", {"data": data})
        return str(made["data"]["id"]["note_id"])

    async def _marked(self, what: str, key: str, query: Mapping[str, str]) -> str:
        """The task or note whose last line is our key."""
        offset, wanted = 0, f"{MARK}{key}"
        while True:
            asked = "&".join(f"{name}={value}" for name, value in {**query, "limit": PAGE, "offset": offset}.items())
            found = (await self._read("GET", f"/v2/{what}?{asked}"))["data"]
            for each in found:
                if wanted in str(each.get("content_plaintext", "")).splitlines():
                    return str(each["id"][f"{what[:-1]}_id"])
            if len(found) < PAGE:
                return ""
            offset += PAGE

    async def _attributes_of(self, slug: str) -> list[Json]:
        found: list[Json] = []
        while True:
            page = await self._read("GET", f"/v2/objects/{slug}/attributes?limit=500&offset={len(found)}")
            found += page["data"]
            if len(page["data"]) < 500:
                return [each for each in found if not each.get("is_archived")]

    async def _has_list(self, list_: str, of: str) -> bool:
        try:
            found = await self._read("GET", f"/v2/lists/{list_}")
        except Missing:
            return False
        return of in found["data"].get("parent_object", [])

    async def _member(self, record: Record) -> list[Json]:
        """The owner, if he is a member of the workspace: Attio takes no others."""
        if self._members is None:
            found = await self._read("GET", "/v2/workspace_members")
            self._members = frozenset(str(each["email_address"]).lower() for each in found["data"])
        address = str(record.fields.get("owner") or "").lower()
        return [{"workspace_member_email_address": address}] if address in self._members else []

    async def _values(self, record: Record) -> Json:
        """Our fields by their attributes, in the shapes that Attio takes; what we do not know is not touched."""
        out: Json = {}
        for ours, theirs in self._settings.fields(record.kind).items():
            value = record.fields.get(ours)
            if ours == "key" or value is None or value == "":
                continue
            if ours == "owner":
                member = await self._member(record)
                if member:
                    out[theirs] = member
            elif ours == "stage":
                out[theirs] = self._settings.stage(str(value))
            else:
                out[theirs] = _value(value)
        return out

    # The wire.

    async def _read(self, method: str, path: str, body: Json | None = None) -> Json:
        """A call that changes nothing: whatever is lost of it may be asked again."""
        try:
            return await self._call(method, path, body)
        except Unsure as error:
            raise Busy(str(error), AWAY_S, only_this=True) from error

    async def _call(self, method: str, path: str, body: Json | None = None) -> Json:
        if self._http is None:
            headers = {"Authorization": f"Bearer {self._token}"}
            self._http = aiohttp.ClientSession(
                headers=headers, timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar()
            )
        try:
            async with self._http.request(method, self._base + path, json=body, allow_redirects=False) as answer:
                said = await _json_of(answer)
                status, headers_of = answer.status, answer.headers
        except aiohttp.ClientConnectorError as error:
            raise Busy(f"Attio could not be reached: {type(error).__name__}", AWAY_S) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unsure(f"the connection to Attio was lost: {type(error).__name__}") from error
        if status < HTTPStatus.MULTIPLE_CHOICES:
            return said
        code, message = str(said.get("code", "")), str(said.get("message", ""))[:300]
        what = f"Attio answered {status} {code}: {message}"
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            raise Busy(what, _seconds(headers_of.get("Retry-After", "")))
        if status == HTTPStatus.CONFLICT:
            raise Busy(what, CONFLICT_S, only_this=True)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise Unsure(what)
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise Closed(what)
        if code == "merge_in_progress":
            raise Busy(what, AWAY_S, only_this=True)
        if status == HTTPStatus.NOT_FOUND or (code == "value_not_found" and "record" in message.lower()):
            raise Missing(what)
        raise Refused(what)


_OBJECTS: Final = {"company": "companies", "deal": "deals"}


async def _json_of(answer: aiohttp.ClientResponse) -> Json:
    try:
        said = await answer.json(content_type=None)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _record_id(answer: Json) -> str:
    return str(answer["data"]["id"]["record_id"])


def _seconds(retry_after: str) -> float:
    """Attio says at what time its limit is over; the standard allows seconds too."""
    if retry_after.isdigit():
        return float(retry_after)
    try:
        moment = parsedate_to_datetime(retry_after)
    except ValueError:
        return 1.0
    return max(1.0, (moment - datetime.now(UTC)).total_seconds())


def _value(value: Value) -> str | int | float | bool | None:
    if isinstance(value, datetime):
        return _moment(value)
    if isinstance(value, date):
        return value.isoformat()
    return float(value) if isinstance(value, Decimal) else value


def _moment(value: datetime) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def marked_text(text: str, key: str, longest: int = 0) -> str:
    """The text with our key as its last line, which is never cut off."""
    line = f"\n\n{MARK}{key}"
    room = longest - len(line) if longest else len(text)
    text = text.strip()
    return (text if len(text) <= room else f"{text[: room - 1]}…") + line
