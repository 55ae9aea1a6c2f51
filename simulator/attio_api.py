"""The pretend Attio: a workspace with companies, deals, lists, tasks and notes, as its REST API (v2) tells of them.

Enforced: attributes and their types, unique attributes, references, required fields, lengths, page sizes. A merge makes
a new record, and both that were merged are found no more. One file, for all calls are checked against the same tables.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

from simulator.crm_door import Bucket, CrmCall, CrmDoor, CrmRefusal
from simulator.faults import Faults

Json = dict[str, Any]
TASK_FIELDS = ("content", "format", "deadline_at", "is_completed", "linked_records", "assignees")
NOTE_FIELDS = ("parent_object", "parent_record_id", "title", "format", "content")
COMPANY = {
    "name": "text",
    "description": "text",
    "holdfast_account": "text!",
    "health_score": "number",
    "health_status": "text",
    "last_health_update": "timestamp",
    "primary_csm": "actor-reference",
    "segment": "text",
}
DEAL = {
    "name": "text",
    "stage": "status",
    "value": "currency",
    "owner": "actor-reference",
    "associated_company": "record-reference",
    "holdfast_key": "text!",
    "renewal_date": "date",
    "contract_term": "text",
    "expansion_potential": "text",
}
STAGES = ["Renewal Due", "Kickoff", "Terms", "Negotiation", "Final Terms", "Contract Sent", "Won", "Lost"]
"""A workspace that was set up for us. `!` marks a unique attribute."""


class AttioApi(CrmDoor):
    """Answers /v2/. The state is public: it is what the tests look at."""

    token = "attio-simulated"  # noqa: S105 - not a secret

    def __init__(self, faults: Faults) -> None:
        super().__init__(faults)
        self.reset()
        self.plays("GET", "/v2/workspace_members", self._members_told)
        self.plays("GET", "/v2/objects/{}/attributes", self._attributes)
        self.plays("GET", "/v2/objects/{}/attributes/{}/statuses", self._statuses)
        self.plays("POST", "/v2/objects/{}/records/query", self._query)
        self.plays("PUT", "/v2/objects/{}/records", self._assert)
        self.plays("PATCH", "/v2/objects/{}/records/{}", self._patch)
        self.plays("GET", "/v2/objects/{}/records/{}/entries", self._entries_of)
        self.plays("GET", "/v2/lists/{}", self._list)
        self.plays("PUT", "/v2/lists/{}/entries", self._put_on)
        self.plays("DELETE", "/v2/lists/{}/entries/{}", self._take_off)
        self.plays("POST", "/v2/tasks", self._make_task)
        self.plays("GET", "/v2/tasks", self._tasks)
        self.plays("PATCH", "/v2/tasks/{}", self._change_task)
        self.plays("POST", "/v2/notes", self._make_note)
        self.plays("GET", "/v2/notes", self._notes)

    def reset(self) -> None:
        """An empty workspace, with the limits that Attio documents."""
        self.reads, self.writes = Bucket(100, 1), Bucket(25, 1)
        self.attributes: dict[str, dict[str, str]] = {"companies": dict(COMPANY), "deals": dict(DEAL)}
        self.stages = list(STAGES)
        self.lists: dict[str, str] = {"at_risk_customers": "companies", "renewal_pipeline": "deals"}
        self.members: set[str] = {"ana@example.com"}
        self.records: dict[str, dict[str, Json]] = {"companies": {}, "deals": {}}
        self.entries: dict[str, Json] = {}
        self.tasks: dict[str, Json] = {}
        self.notes: dict[str, Json] = {}
        self.merging: set[str] = set()
        self.calls.clear()
        self._made = 0

    def refusal(self, status: int, seconds: float = 0) -> CrmRefusal:
        """The error answer for a status."""
        if status == 429:
            until = datetime.now(UTC) + timedelta(seconds=seconds)
            body = _error(429, "rate_limit_error", "rate_limit_exceeded", "Rate limit exceeded, please try again later")
            return CrmRefusal(429, body, {"Retry-After": format_datetime(until, usegmt=True)})
        if status == 401:
            return CrmRefusal(401, _error(401, "auth_error", "unauthorized", "The access token is not valid."))
        if status == 501:
            return CrmRefusal(501, _error(501, "api_error", "not_modelled", "simulator does not model this"))
        return CrmRefusal(status, _error(status, "api_error", "internal_error", "Something went wrong (simulated)"))

    def reads_only(self, method: str, path: str) -> bool:
        """Queries are POSTs that change nothing."""
        return method == "GET" or path.endswith("/query")

    # What other people do.

    def company(self, **values: Any) -> str:
        """Somebody makes a company."""
        return self._new("companies", {"name": "", **values})

    def delete(self, object_: str, record: str) -> None:
        """Somebody deletes a record."""
        del self.records[object_][record]
        self.entries = {key: each for key, each in self.entries.items() if each["record"] != record}

    def merge(self, object_: str, primary: str, secondary: str) -> str:
        """Somebody merges two records: a new one has the values of both, the primary's first, and all that belongs."""
        both = {**self.records[object_].pop(secondary), **self.records[object_].pop(primary)}
        merged = self._new(object_, both)
        for each in [*self.tasks.values(), *self.notes.values(), *self.entries.values()]:
            each["record"] = merged if each["record"] in (primary, secondary) else each["record"]
        return merged

    # Calls.

    def _members_told(self, call: CrmCall) -> Json:
        return {"data": [{"email_address": each} for each in sorted(self.members)]}

    def _attributes(self, call: CrmCall) -> Json:
        found = self._object(self.attributes, call.args[0])
        attributes = [
            {"api_slug": slug, "type": kind.rstrip("!"), "is_unique": kind.endswith("!"), "is_archived": False}
            for slug, kind in found.items()
        ]
        start = int(call.query.get("offset", "0"))
        return {"data": attributes[start : start + int(call.query.get("limit", "500"))]}

    def _statuses(self, call: CrmCall) -> Json:
        return {"data": [{"title": each, "is_archived": False} for each in self.stages]}

    def _query(self, call: CrmCall) -> Json:
        records = self._object(self.records, call.args[0])
        wanted = call.body.get("filter", {})
        for slug in wanted:
            self._attribute(call.args[0], slug)
        found = [
            self._told(call.args[0], key)
            for key, values in records.items()
            if all(values.get(slug) == value for slug, value in wanted.items())
        ]
        return {"data": found[: int(call.body.get("limit", 500))]}

    def _assert(self, call: CrmCall) -> Json:
        object_, matching = call.args[0], call.query.get("matching_attribute", "")
        records = self._object(self.records, object_)
        values = self._checked(object_, call.body)
        if not self._attribute(object_, matching).endswith("!"):
            raise _invalid("validation_type", f'The attribute "{matching}" is not unique.')
        if matching not in values:
            raise _invalid("missing_value", f'Required value for attribute "{matching}" is missing.')
        for key, there in records.items():
            if there.get(matching) == values[matching]:
                there |= values
                return {"data": self._told(object_, key)}
        lacking = [slug for slug in ("name", "stage", "owner") if object_ == "deals" and not values.get(slug)]
        if lacking:
            raise _invalid("missing_value", f'Required value for attribute with slug "{lacking[0]}" was not provided.')
        return {"data": self._told(object_, self._new(object_, values))}

    def _patch(self, call: CrmCall) -> Json:
        object_, key = call.args
        self._there(object_, key)
        values = self._checked(object_, call.body)
        for slug, value in values.items():
            taken = [other for other, there in self.records[object_].items() if there.get(slug) == value]
            if self.attributes[object_][slug].endswith("!") and taken not in ([], [key]):
                raise _invalid("uniqueness_conflict", f'The value for "{slug}" is taken by another record.')
        self.records[object_][key] |= values
        return {"data": self._told(object_, key)}

    def _entries_of(self, call: CrmCall) -> Json:
        self._there(*call.args)
        found = [
            {"list_id": f"id-of-{each['list']}", "list_api_slug": each["list"], "entry_id": key}
            for key, each in self.entries.items()
            if each["record"] == call.args[1]
        ]
        return {"data": found}

    def _list(self, call: CrmCall) -> Json:
        parent = self._list_called(call.args[0])
        return {"data": {"api_slug": call.args[0], "parent_object": [parent]}}

    def _put_on(self, call: CrmCall) -> Json:
        list_, data = call.args[0], call.body.get("data", {})
        parent = self._list_called(list_)
        if data.get("parent_object") != parent or "entry_values" not in data:
            raise _invalid("validation_type", f"Entries of this list have parents of {parent}, and entry_values.")
        self._there(parent, data["parent_record_id"])
        found = [
            key
            for key, each in self.entries.items()
            if (each["list"], each["record"]) == (list_, data["parent_record_id"])
        ]
        if len(found) > 1:
            raise _invalid("multiple_match_results", "Multiple entries have this parent record.")
        key = found[0] if found else self._id()
        self.entries[key] = {"list": list_, "record": data["parent_record_id"]}
        return {"data": {"id": {"entry_id": key}}}

    def _take_off(self, call: CrmCall) -> Json:
        self._list_called(call.args[0])
        if self.entries.pop(call.args[1], None) is None:
            raise _missing(f'Entry with ID "{call.args[1]}" was not found.')
        return {}

    def _make_task(self, call: CrmCall) -> Json:
        data = self._required(call.body, TASK_FIELDS)
        if data["format"] != "plaintext" or len(data["content"]) > 2000 or not data["content"]:
            raise _invalid("validation_type", "content must be plaintext of 1 to 2000 characters.")
        for each in data["linked_records"]:
            self._referenced(each["target_object"], each["target_record_id"])
        for each in data["assignees"]:
            self._member(each)
        key = self._id()
        links = [each["target_record_id"] for each in data["linked_records"]]
        self.tasks[key] = {**data, "record": links[0] if links else "", "links": links}
        return {"data": self._task_told(key)}

    def _tasks(self, call: CrmCall) -> Json:
        if call.query.get("sort", "created_at:desc") not in ("created_at:asc", "created_at:desc"):
            raise _invalid("validation_type", "sort must be created_at:asc or created_at:desc")
        wanted = call.query.get("linked_record_id")
        if wanted:
            self._there(call.query["linked_object"], wanted)
        found = [self._task_told(key) for key, each in self.tasks.items() if wanted in (None, each["record"])]
        return {"data": _page(call, found[::-1], 500)}

    def _task_told(self, key: str) -> Json:
        task = self.tasks[key]
        return {
            "id": {"task_id": key},
            "content_plaintext": task["content"],
            "is_completed": task["is_completed"],
            "deadline_at": task["deadline_at"],
        }

    def _change_task(self, call: CrmCall) -> Json:
        if call.args[0] not in self.tasks:
            raise _missing(f'Task with ID "{call.args[0]}" was not found.')
        changes = call.body.get("data", {})
        unknown = changes.keys() - {"deadline_at", "is_completed", "linked_records", "assignees"}
        if unknown:
            raise _invalid("validation_type", f"Unrecognized key(s) in object: {', '.join(sorted(unknown))}")
        self.tasks[call.args[0]] |= changes
        return {"data": self._task_told(call.args[0])}

    def _make_note(self, call: CrmCall) -> Json:
        data = self._required(call.body, NOTE_FIELDS)
        self._there(data["parent_object"], data["parent_record_id"])
        key = self._id()
        self.notes[key] = {**data, "record": data["parent_record_id"]}
        return {"data": {"id": {"note_id": key}}}

    def _notes(self, call: CrmCall) -> Json:
        wanted = call.query.get("parent_record_id")
        if wanted:
            self._there(call.query["parent_object"], wanted)
        found = [
            {"id": {"note_id": key}, "title": each["title"], "content_plaintext": each["content"]}
            for key, each in self.notes.items()
            if wanted in (None, each["record"])
        ]
        return {"data": _page(call, found, 50)}

    # Rules.

    def _checked(self, object_: str, body: Json) -> Json:
        """The values of a write, by slug; 400 for what the attributes do not allow."""
        values = body.get("data", {}).get("values")
        if not isinstance(values, dict):
            raise _invalid("validation_type", "data.values must be an object")
        return {slug: self._value(slug, self._attribute(object_, slug), value) for slug, value in values.items()}

    def _value(self, slug: str, kind: str, value: Any) -> Any:
        kind = kind.rstrip("!")
        fits = {
            "text": isinstance(value, str),
            "number": isinstance(value, int | float) and not isinstance(value, bool),
            "currency": isinstance(value, int | float) and not isinstance(value, bool),
            "date": isinstance(value, str) and len(value) == 10,
            "timestamp": isinstance(value, str) and value.endswith("Z"),
            "status": isinstance(value, str),
        }
        if not fits.get(kind, isinstance(value, list)):
            raise _invalid("validation_type", f'An invalid value was passed to attribute with slug "{slug}".')
        if kind == "status" and value not in self.stages:
            raise _invalid("value_not_found", f'Cannot find status "{value}" for attribute "{slug}".')
        if kind == "actor-reference":
            return [self._member(each) for each in value]
        if kind == "record-reference":
            for each in value:
                self._referenced(each["target_object"], each["target_record_id"])
            return [each["target_record_id"] for each in value]
        return value

    def _member(self, reference: Json) -> str:
        address = str(reference.get("workspace_member_email_address", ""))
        if address not in self.members:
            raise _invalid("value_not_found", f'Workspace member with email "{address}" was not found.')
        return address

    def _referenced(self, object_: str, record: str) -> None:
        if record not in self.records.get(object_, {}):
            raise _invalid("value_not_found", f'Could not find record with ID "{record}" of object "{object_}".')

    def _there(self, object_: str, record: str) -> None:
        if record in self.merging:
            raise CrmRefusal(404, _error(404, "invalid_request_error", "merge_in_progress", "The merge is under way."))
        if record not in self._object(self.records, object_):
            raise _missing(f'Record with ID "{record}" was not found.')

    def _object(self, table: dict[str, Any], object_: str) -> Any:
        if object_ not in table:
            raise _missing(f'Object with slug/ID "{object_}" was not found.')
        return table[object_]

    def _attribute(self, object_: str, slug: str) -> str:
        kind = self.attributes[object_].get(slug)
        if kind is None:
            raise _invalid("value_not_found", f'Cannot find attribute with slug/ID "{slug}".')
        return kind

    def _list_called(self, list_: str) -> str:
        if list_ not in self.lists:
            raise _missing(f'List with slug/ID "{list_}" was not found.')
        return self.lists[list_]

    @staticmethod
    def _required(body: Json, fields: tuple[str, ...]) -> Json:
        data: Json = body.get("data", {})
        lacking = [each for each in fields if each not in data]
        if lacking:
            raise _invalid("validation_type", f"Body payload validation error: {lacking[0]} is required.")
        return data

    def _new(self, object_: str, values: Json) -> str:
        key = self._id()
        self.records[object_][key] = values
        return key

    def _told(self, object_: str, key: str) -> Json:
        return {"id": {"object_id": object_, "record_id": key}, "values": {}}

    def _id(self) -> str:
        self._made += 1
        return str(uuid.UUID(int=self._made))


def _page(call: CrmCall, found: list[Json], most: int) -> list[Json]:
    limit, offset = int(call.query.get("limit", "10")), int(call.query.get("offset", "0"))
    if limit > most:
        raise _invalid("validation_type", f"limit must be at most {most}")
    return found[offset : offset + limit]


def _error(status: int, kind: str, code: str, message: str) -> Json:
    return {"status_code": status, "type": kind, "code": code, "message": message}


def _invalid(code: str, message: str) -> CrmRefusal:
    return CrmRefusal(400, _error(400, "invalid_request_error", code, message))


def _missing(message: str) -> CrmRefusal:
    return CrmRefusal(404, _error(404, "invalid_request_error", "not_found", message))
