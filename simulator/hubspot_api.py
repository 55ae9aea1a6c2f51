"""The pretend HubSpot: companies, deals, tasks, notes, associations and lists, as its CRM API (v3, v4) tells of them.

Enforced: properties and their types, unique properties, pipeline stages, required properties, associations with what is
there. Ids that were merged away lead to the record they were merged into.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import orjson

from simulator.crm_door import Bucket, CrmCall, CrmDoor, CrmRefusal
from simulator.faults import Faults

Json = dict[str, Any]
TYPES = {"companies": "0-2", "deals": "0-3"}
PROPERTIES = {
    "companies": {
        "name": "string",
        "description": "string",
        "hubspot_owner_id": "enumeration",
        "holdfast_account": "string!",
        "health_score": "number",
        "health_status": "string",
        "last_health_update": "datetime",
        "segment": "string",
    },
    "deals": {
        "dealname": "string",
        "dealstage": "enumeration",
        "pipeline": "enumeration",
        "amount": "number",
        "hubspot_owner_id": "enumeration",
        "holdfast_key": "string!",
        "renewal_date": "date",
        "contract_term": "string",
        "expansion_potential": "string",
    },
    "tasks": {
        "hs_task_subject": "string",
        "hs_task_body": "string",
        "hs_task_status": "enumeration",
        "hs_task_type": "enumeration",
        "hs_timestamp": "datetime",
        "hubspot_owner_id": "enumeration",
        "holdfast_key": "string!",
    },
    "notes": {"hs_note_body": "string", "hs_timestamp": "datetime", "holdfast_key": "string!"},
}
"""An account that was set up for us; `!` marks a unique property."""
NEEDED = {"tasks": ("hs_timestamp",), "notes": ("hs_timestamp",)}
STAGES = ["Renewal Due", "Kickoff", "Terms", "Negotiation", "Final Terms", "Contract Sent", "Won", "Lost"]


class HubSpotApi(CrmDoor):
    """Answers /crm/. The state is public: it is what the tests look at."""

    token = "pat-simulated"  # noqa: S105 - not a secret

    def __init__(self, faults: Faults) -> None:
        super().__init__(faults)
        self.reset()
        self.plays("GET", "/crm/v3/properties/{}", self._properties)
        self.plays("GET", "/crm/v3/pipelines/deals/{}/stages", self._stages)
        self.plays("GET", "/crm/v3/owners/", self._owners)
        self.plays("POST", "/crm/v3/objects/{}/batch/read", self._batch_read)
        self.plays("POST", "/crm/v3/objects/{}/batch/upsert", self._batch_upsert)
        self.plays("PATCH", "/crm/v3/objects/{}/{}", self._patch)
        self.plays("PUT", "/crm/v4/objects/{}/{}/associations/default/{}/{}", self._associate)
        self.plays("GET", "/crm/v3/lists/records/{}/{}/memberships", self._memberships)
        self.plays("GET", "/crm/v3/lists/{}", self._list)
        self.plays("PUT", "/crm/v3/lists/{}/memberships/add", self._put_on)
        self.plays("PUT", "/crm/v3/lists/{}/memberships/remove", self._take_off)

    def reset(self) -> None:
        """An empty account, with the burst limit of a private app."""
        self.reads = self.writes = Bucket(190, 10)
        self.properties: dict[str, dict[str, str]] = {kind: dict(each) for kind, each in PROPERTIES.items()}
        self.stages = list(STAGES)
        self.lists: dict[str, set[str]] = {"7": set(), "8": set()}
        self.lists_of = {"7": "companies", "8": "deals"}
        self.owners: dict[str, str] = {"ana@example.com": "9001"}
        self.records: dict[str, dict[str, Json]] = {kind: {} for kind in PROPERTIES}
        self.merged: dict[str, str] = {}
        self.associations: set[tuple[str, str, str, str]] = set()
        self.calls.clear()
        self._made = 1000

    def refusal(self, status: int, seconds: float = 0) -> CrmRefusal:
        """The error answer for a status."""
        if status == 429:
            body = {**_error("You have reached your ten_secondly_rolling limit.", "RATE_LIMITS")}
            return CrmRefusal(429, {**body, "errorType": "RATE_LIMIT", "policyName": "TEN_SECONDLY_ROLLING"})
        if status == 401:
            return CrmRefusal(401, _error("Authentication credentials not found.", "INVALID_AUTHENTICATION"))
        if status == 501:
            return CrmRefusal(501, _error("simulator does not model this", "NOT_MODELLED"))
        return CrmRefusal(status, _error("internal error (simulated)", "INTERNAL_ERROR"))

    def reads_only(self, method: str, path: str) -> bool:
        """Batch reads are POSTs that change nothing."""
        return method == "GET" or path.endswith("/batch/read")

    # What other people do.

    def company(self, **properties: str) -> str:
        """Somebody makes a company."""
        return self._new("companies", properties)

    def delete(self, object_: str, record: str) -> None:
        """Somebody deletes a record."""
        del self.records[object_][record]
        self.associations = {each for each in self.associations if (object_, record) not in (each[:2], each[2:])}
        for members in self.lists.values():
            members.discard(record)

    def merge(self, object_: str, primary: str, secondary: str) -> str:
        """Somebody merges two records: a new one has the values of both, the primary's first, and all that belongs."""
        both = {**self.records[object_].pop(secondary), **self.records[object_].pop(primary)}
        merged = self._new(object_, both)
        self.merged |= dict.fromkeys((primary, secondary), merged)
        self.associations = {(kind, self._now(key), to, self._now(other)) for kind, key, to, other in self.associations}
        self.lists = {key: {self._now(each) for each in members} for key, members in self.lists.items()}
        return merged

    # Calls.

    def _properties(self, call: CrmCall) -> Json:
        found = self._of(self.properties, call.args[0])
        results = [
            {"name": name, "type": kind.rstrip("!"), "hasUniqueValue": kind.endswith("!")}
            for name, kind in found.items()
        ]
        return {"results": results}

    def _stages(self, call: CrmCall) -> Json:
        if call.args[0] != "default":
            raise _missing(f"Pipeline {call.args[0]} does not exist")
        return {"results": [{"id": each, "label": each} for each in self.stages]}

    def _owners(self, call: CrmCall) -> Json:
        wanted = call.query.get("email")
        found = [{"id": key, "email": each} for each, key in self.owners.items() if wanted in (None, each)]
        return {"results": found}

    def _batch_read(self, call: CrmCall) -> Json:
        (object_,) = call.args
        unique = self._unique(object_, call.body["idProperty"])
        wanted = [each["id"] for each in call.body["inputs"]]
        found = [
            self._told(object_, key)
            for key, values in self._of(self.records, object_).items()
            if values.get(unique) in wanted
        ]
        return {"status": "COMPLETE", "results": found}

    def _batch_upsert(self, call: CrmCall) -> Json:
        (object_,) = call.args
        results = []
        for each in call.body["inputs"]:
            unique = self._unique(object_, each["idProperty"])
            values = self._checked(object_, {**each["properties"], unique: each["id"]})
            found = [key for key, there in self.records[object_].items() if there.get(unique) == each["id"]]
            if not found:
                for name in NEEDED.get(object_, ()):
                    if name not in values:
                        raise _invalid(f"Error creating {object_}. Some required properties were not set.", name)
            key = found[0] if found else self._new(object_, {})
            self.records[object_][key] |= values
            results.append({**self._told(object_, key), "new": not found})
        return {"status": "COMPLETE", "results": results}

    def _patch(self, call: CrmCall) -> Json:
        object_, key = call.args[0], self._now(call.args[1])
        self._there(object_, key)
        self.records[object_][key] |= self._checked(object_, call.body["properties"])
        return self._told(object_, key)

    def _associate(self, call: CrmCall) -> Json:
        object_, key, to, other = call.args
        self._there(object_, self._now(key))
        self._there(to, self._now(other))
        self.associations.add((object_, self._now(key), to, self._now(other)))
        return {"status": "COMPLETE", "results": []}

    def _memberships(self, call: CrmCall) -> Json:
        object_type, key = call.args
        if object_type not in TYPES.values():
            raise _missing(f"object type {object_type}")
        return {"results": [{"listId": list_} for list_, members in self.lists.items() if self._now(key) in members]}

    def _list(self, call: CrmCall) -> Json:
        self._members(call.args[0])
        return {
            "list": {
                "listId": call.args[0],
                "objectTypeId": TYPES[self.lists_of[call.args[0]]],
                "processingType": "MANUAL",
            }
        }

    def _put_on(self, call: CrmCall) -> Json:
        members, wanted = self._members(call.args[0]), [self._now(each) for each in call.body["list"]]
        there = [each for each in wanted if each in self.records[self.lists_of[call.args[0]]]]
        members |= set(there)
        return {"recordIdsAdded": there, "recordIdsMissing": [each for each in wanted if each not in there]}

    def _take_off(self, call: CrmCall) -> Json:
        members = self._members(call.args[0])
        members -= {self._now(each) for each in call.body["list"]}
        return {"recordIdsRemoved": call.body["list"], "recordIdsMissing": []}

    # Rules.

    def _checked(self, object_: str, properties: Json) -> Json:
        """The properties of a write; 400 for what they do not allow."""
        known = self._of(self.properties, object_)
        for name, value in properties.items():
            if name not in known:
                raise _not_valid(name, f'Property "{name}" does not exist', "PROPERTY_DOESNT_EXIST")
            if not isinstance(value, str) or not self._fits(name, known[name].rstrip("!"), value):
                raise _not_valid(name, f"{value} was not a valid {known[name].rstrip('!')}.", "INVALID_OPTION")
        return properties

    def _fits(self, name: str, kind: str, value: str) -> bool:
        options = {
            "dealstage": self.stages,
            "pipeline": ["default"],
            "hubspot_owner_id": list(self.owners.values()),
            "hs_task_status": ["NOT_STARTED", "COMPLETED"],
            "hs_task_type": ["TODO", "CALL", "EMAIL"],
        }
        try:
            if kind == "number":
                float(value)
            if kind in ("date", "datetime"):
                datetime.fromisoformat(value)
        except ValueError:
            return False
        return kind != "enumeration" or value in options[name]

    def _unique(self, object_: str, name: str) -> str:
        if self._of(self.properties, object_).get(name, "") != "string!":
            raise _invalid(f"Property {name} is not a unique property of {object_}", "idProperty")
        return name

    def _there(self, object_: str, key: str) -> None:
        if key not in self._of(self.records, object_):
            raise _missing("resource not found")

    def _of(self, table: dict[str, Any], object_: str) -> Any:
        if object_ not in table:
            raise _missing(f"Unable to infer object type from: {object_}")
        return table[object_]

    def _members(self, list_: str) -> set[str]:
        if list_ not in self.lists:
            raise _missing(f"List does not exist with ID {list_}.")
        return self.lists[list_]

    def _now(self, key: str) -> str:
        """The id under which a record lives after all merges."""
        while key in self.merged:
            key = self.merged[key]
        return key

    def _told(self, object_: str, key: str) -> Json:
        return {"id": key, "properties": self.records[object_][key], "archived": False}

    def _new(self, object_: str, properties: Json) -> str:
        self._made += 1
        self.records[object_][str(self._made)] = dict(properties)
        return str(self._made)


def _error(message: str, category: str, **more: Any) -> Json:
    return {"status": "error", "message": message, "correlationId": "simulated", "category": category, **more}


def _invalid(message: str, name: str) -> CrmRefusal:
    return CrmRefusal(400, _error(message, "VALIDATION_ERROR", context={"properties": [name]}))


def _not_valid(name: str, message: str, error: str) -> CrmRefusal:
    """Wrong values are told as JSON inside the message."""
    details = orjson.dumps([{"isValid": False, "message": message, "error": error, "name": name}]).decode()
    return CrmRefusal(400, _error(f"Property values were not valid: {details}", "VALIDATION_ERROR"))


def _missing(message: str) -> CrmRefusal:
    return CrmRefusal(404, _error(message, "OBJECT_NOT_FOUND"))
