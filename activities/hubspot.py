"""HubSpot by its official SDK: companies, the at-risk list, deals, tasks and notes (I1.1 to I1.5).

Everything is upserted by a unique property that holds our key, and associated afterwards: both may be done twice and
are done once. Records are looked up by that property too and never by HubSpot's search, whose index lags behind. The
SDK is synchronous; every call is made in a thread.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from http import HTTPStatus
from typing import Any, Final

import orjson
from hubspot import Client
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError

from models.crm import LISTS, Busy, Closed, CrmSettings, Gone, Kind, NoCompany, Record, Refused, Schema, Unsure, Value

BASE: Final = "https://api.hubapi.com"
TIMEOUT_S: Final = 10.0
AWAY_S: Final = 30.0
ROLLING_S: Final = 10.0
"""The window of HubSpot's burst limit, for answers that do not say how long to wait."""
UNDER_WAY: Final = (HTTPStatus.CONFLICT, HTTPStatus.LOCKED, 477)
"""Somebody else writes the record, or the account is being moved: nothing was done."""
TYPES: Final = {"companies": "0-2", "deals": "0-3"}
"""HubSpot's ids of its kinds of objects, where it asks for these."""
OBJECTS: Final[dict[Kind, str]] = {"company": "companies", "deal": "deals", "task": "tasks", "note": "notes"}

Json = dict[str, Any]


class Missing(Exception):
    """404; the message is HubSpot's."""


class HubSpot:
    """The adapter. `base` is HubSpot's address without a path."""

    name = "HubSpot"

    def __init__(self, token: str, settings: CrmSettings, base: str = BASE, timeout_s: float = TIMEOUT_S) -> None:
        # The SDK's own retries would repeat what may have been done, without a look.
        crm = Client.create(access_token=token, host=base.rstrip("/"), retry=False).crm
        self._objects = crm.objects.basic_api
        self._batches = crm.objects.batch_api
        self._associations = crm.associations.v4.basic_api
        self._lists = crm.lists.lists_api
        self._members = crm.lists.memberships_api
        self._properties = crm.properties.core_api
        self._stages = crm.pipelines.pipeline_stages_api
        self._people = crm.owners.owners_api
        self._settings = settings
        self._timeout_s = timeout_s
        self._owners: dict[str, str] = {}

    def use(self, settings: CrmSettings) -> None:
        """Write by this map from now on."""
        self._settings = settings

    async def close(self) -> None:
        """Give connections back."""
        for api in (self._objects, self._batches, self._associations, self._lists, self._members, self._properties):
            api.api_client.rest_client.pool_manager.clear()
        for api in (self._stages, self._people):
            api.api_client.rest_client.pool_manager.clear()

    async def schema(self) -> Schema:
        """The properties of each object, the pipeline's stages, and whether the at-risk list is one of companies."""
        attributes = {
            kind: {
                each["name"]: bool(each.get("hasUniqueValue"))
                for each in (await self._read(self._properties.get_all, object_type))["results"]
            }
            for kind, object_type in OBJECTS.items()
        }
        try:
            stages = await self._read(self._stages.get_all, "deals", self._settings.pipeline)
        except Missing:
            stages = {"results": []}
        wanted = {name: of for name, of in LISTS.items() if getattr(self._settings, name)}
        lacking = [name for name, of in wanted.items() if not await self._has_list(getattr(self._settings, name), of)]
        return Schema(attributes, tuple(each["id"] for each in stages["results"]), tuple(lacking))

    async def look(self, record: Record) -> str:
        """The id of the record that carries our key, or of the list if the company is on it."""
        if record.kind == "at_risk":
            try:
                found = await self._read(self._members.get_lists, TYPES["companies"], record.company)
            except Missing:
                return ""
            on = {str(each["listId"]) for each in found["results"]}
            return self._settings.at_risk_list if self._settings.at_risk_list in on else ""
        return await self._record_with(record)

    async def write(self, record: Record, remote_id: str) -> str:
        """Make it or bring it up to date; the id is another one where it was merged meanwhile.

        Raises:
            Gone, NoCompany, Refused, Unsure, Busy, Closed: as models/crm.py says.
        """
        if record.kind == "at_risk":
            return await self._write_membership(record)
        if record.kind == "company" and not remote_id and not self._settings.create_companies:
            key = self._settings.fields("company")["key"]
            raise Refused(f"no company has {record.key!r} as its {key}; put it there on the right one")
        values = await self._values(record)
        written = await self._update(record, values, remote_id) if remote_id else await self._upsert(record, values)
        if record.kind != "company":
            await self._associate(record, written)
        if record.kind == "deal" and self._settings.renewal_list:
            await self._change_members(self._members.add, self._settings.renewal_list, written)
        return written

    # Each step.

    async def _upsert(self, record: Record, values: Json) -> str:
        key = self._settings.fields(record.kind)["key"]
        one = {"idProperty": key, "id": record.key, "properties": {**values, key: record.key}}
        try:
            said = await self._change(self._batches.upsert, OBJECTS[record.kind], {"inputs": [one]})
        except Missing as error:
            raise Refused(str(error)) from error
        if said.get("errors"):
            raise Refused(f"HubSpot did not take it: {str(said['errors'][0].get('message', ''))[:300]}")
        return str(said["results"][0]["id"])

    async def _update(self, record: Record, values: Json, remote_id: str) -> str:
        """Write the record with this id; an id that was merged away leads to the record it was merged into."""
        update = self._objects.update
        object_type, body = OBJECTS[record.kind], {"properties": values}
        try:
            return str((await self._change(update, object_type, remote_id, body))["id"])
        except Missing as error:
            other = await self._record_with(record)
            if not other or other == remote_id:
                key = self._settings.fields(record.kind)["key"]
                gone = f"{record.kind} {remote_id} was deleted in HubSpot, and no other has {record.key!r} as its {key}"
                raise Gone(gone) from error
        return str((await self._change(update, object_type, other, body))["id"])

    async def _record_with(self, record: Record) -> str:
        key = self._settings.fields(record.kind)["key"]
        # In the body and not in the path, for our keys have slashes.
        asked = {"idProperty": key, "inputs": [{"id": record.key}], "properties": [key], "propertiesWithHistory": []}
        found = await self._read(self._batches.read, OBJECTS[record.kind], asked)
        return str(found["results"][0]["id"]) if found["results"] else ""

    async def _associate(self, record: Record, written: str) -> None:
        associate = self._associations.create_default
        try:
            await self._change(associate, OBJECTS[record.kind], written, "companies", record.company)
        except Missing as error:
            raise NoCompany(str(error)) from error
        if record.deal:
            try:
                await self._change(associate, OBJECTS[record.kind], written, "deals", record.deal)
            except Missing:
                return  # a deal that somebody deleted is no reason to keep the task from its company

    async def _write_membership(self, record: Record) -> str:
        list_ = self._settings.at_risk_list
        if record.fields["on"]:
            if record.company in await self._change_members(self._members.add, list_, record.company):
                raise NoCompany(f"HubSpot knows no company {record.company}")
            return list_
        await self._change_members(self._members.remove, list_, record.company)
        return ""

    async def _change_members(self, change: Callable[..., Any], list_: str, record_id: str) -> set[str]:
        """Put on or take off, both of which may be done twice; the ids that HubSpot does not know."""
        try:
            said = await self._change(change, list_, [record_id])
        except Missing as error:
            raise Refused(f"there is no list {list_!r} any more: {error}") from error
        return {str(each) for each in said.get("recordIdsMissing") or ()}

    async def _has_list(self, list_: str, of: str) -> bool:
        """Whether it is a list that records may be put on by hand."""
        try:
            found = await self._read(self._lists.get_by_id, list_)
        except Missing:
            return False
        there = found["list"]
        return there["objectTypeId"] == TYPES[of] and there["processingType"] in ("MANUAL", "SNAPSHOT")

    async def _values(self, record: Record) -> Json:
        """Our fields by their properties, all of them text; what we do not know is not touched."""
        fields = record.fields
        owner = await self._owner_id(str(fields.get("owner") or ""))
        if record.kind == "task":
            done = "COMPLETED" if fields["done"] else "NOT_STARTED"
            values = {"hs_task_subject": fields["title"], "hs_task_body": fields["body"], "hs_timestamp": fields["due"]}
            given: Mapping[str, Value] = {**values, "hs_task_status": done, "hs_task_type": "TODO"}
            return _texts({**given, "hubspot_owner_id": owner})
        if record.kind == "note":
            return _texts({"hs_note_body": f"{fields['title']}\n\n{fields['body']}", "hs_timestamp": fields["at"]})
        out: dict[str, Value] = {"pipeline": self._settings.pipeline} if record.kind == "deal" else {}
        for ours, theirs in self._settings.fields(record.kind).items():
            if ours == "owner":
                out[theirs] = owner
            elif ours == "stage":
                out[theirs] = self._settings.stage(str(fields[ours]))
            elif ours != "key":
                out[theirs] = fields.get(ours)
        return _texts(out)

    async def _owner_id(self, address: str) -> str:
        """HubSpot's id of one of its users; empty if it has none of this address."""
        if address and address not in self._owners:
            found = await self._read(self._people.get_page, email=address, limit=1)
            self._owners[address] = str(found["results"][0]["id"]) if found["results"] else ""
        return self._owners.get(address, "")

    # The wire.

    async def _read(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> Json:
        """A call that changes nothing: whatever is lost of it may be asked again."""
        try:
            return await self._change(call, *arguments, **options)
        except Unsure as error:
            raise Busy(str(error), AWAY_S, only_this=True) from error

    async def _change(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> Json:
        def called() -> Json:
            # Read in the thread too: without preloading the SDK leaves the body on the wire, but does not mould it into
            # classes whose checks are older than the API.
            answer = call(*arguments, **options, _request_timeout=self._timeout_s, _preload_content=False)
            return _json(answer.data)

        try:
            return await asyncio.to_thread(called)
        except (NewConnectionError, ConnectTimeoutError) as error:
            raise Busy(f"HubSpot could not be reached: {type(error).__name__}", AWAY_S) from error
        except HTTPError as error:
            raise Unsure(f"the connection to HubSpot was lost: {type(error).__name__}") from error
        except Exception as error:
            # Each of the SDK's packages has an ApiException of its own, with nothing in common but their fields.
            status = getattr(error, "status", None)
            if not isinstance(status, int):
                raise
            headers = getattr(error, "headers", None) or {}
            raise _what_it_means(status, headers, getattr(error, "body", b"")) from error


def _what_it_means(status: int, headers: Mapping[str, str], body: Any) -> Exception:
    said = _json(body)
    what = f"HubSpot answered {status} {said.get('category', '')}: {str(said.get('message', ''))[:300]}"
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        told = headers.get("Retry-After", "")
        return Busy(what, float(told) if told.isdigit() else ROLLING_S)
    if status in UNDER_WAY:
        return Busy(what, AWAY_S, only_this=True)
    if not status or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Unsure(what)
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return Closed(what)
    return Missing(what) if status == HTTPStatus.NOT_FOUND else Refused(what)


def _json(body: Any) -> Json:
    try:
        said = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError:
        return {}
    return said if isinstance(said, dict) else {}


def _texts(values: Mapping[str, Value]) -> Json:
    return {name: _text(value) for name, value in values.items() if value is not None and value != ""}


def _text(value: Value) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03d}Z"
    return value.isoformat() if isinstance(value, date) else str(value)
