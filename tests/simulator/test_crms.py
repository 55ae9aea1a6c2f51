"""The pretend Attio and HubSpot refuse what the real ones refuse, with their words."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import pytest

from activities.attio import MARK, Attio
from models.crm import CrmSettings, Record
from simulator.attio_api import AttioApi
from simulator.crm_door import Bucket
from simulator.hubspot_api import HubSpotApi
from simulator.running import SimulatorControl

Answer = tuple[int, Any, Any]


async def asked(sim: SimulatorControl, token: str, method: str, path: str, body: Any = None) -> Answer:
    """Status, body, headers."""
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession() as http, http.request(method, sim.url + path, json=body, headers=headers) as got:
        return got.status, await got.json(), got.headers


async def test_attio_names_an_attribute_that_there_is_not(sim: SimulatorControl) -> None:
    body = {"data": {"values": {"holdfast_account": "cus_1", "nonsense": 1}}}
    path = "/v2/objects/companies/records?matching_attribute=holdfast_account"
    status, said, _ = await asked(sim, AttioApi.token, "PUT", path, body)
    assert (status, said) == (
        400,
        {
            "status_code": 400,
            "type": "invalid_request_error",
            "code": "value_not_found",
            "message": 'Cannot find attribute with slug/ID "nonsense".',
        },
    )


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"health_score": "35"}, "validation_type"),
        ({"name": 1}, "validation_type"),
        ({"primary_csm": [{"workspace_member_email_address": "no@example.com"}]}, "value_not_found"),
        ({}, "missing_value"),
    ],
)
async def test_attio_takes_no_other_shapes(sim: SimulatorControl, values: Any, code: str) -> None:
    body = {"data": {"values": values if not values else {"holdfast_account": "cus_1", **values}}}
    path = "/v2/objects/companies/records?matching_attribute=holdfast_account"
    status, said, _ = await asked(sim, AttioApi.token, "PUT", path, body)
    assert (status, said["code"]) == (400, code)


async def test_attio_says_until_when_its_limit_lasts(sim: SimulatorControl) -> None:
    sim.attio.reads = Bucket(2, 3600)
    for _ in range(2):
        assert (await asked(sim, AttioApi.token, "GET", "/v2/workspace_members"))[0] == 200
    status, said, headers = await asked(sim, AttioApi.token, "GET", "/v2/workspace_members")
    assert (status, said["code"]) == (429, "rate_limit_exceeded")
    assert parsedate_to_datetime(headers["Retry-After"]).date() >= datetime.now(UTC).date()
    assert (await asked(sim, "wrong", "GET", "/v2/workspace_members"))[0] == 401


async def test_attio_shows_fifty_tasks_at_a_time_and_the_oldest_is_found(sim: SimulatorControl) -> None:
    company = sim.attio.company(holdfast_account="cus_1")
    for number in range(120):
        sim.attio.tasks[f"t{number}"] = {
            "content": f"Do it\n\n{MARK}a/{number}",
            "record": company,
            "is_completed": False,
            "deadline_at": None,
        }
    client = Attio(AttioApi.token, CrmSettings(provider="attio"), sim.url)
    try:
        assert await client.look(Record("task", "a/0", {}, company)) == "t0"
        assert await client.look(Record("task", "a/1", {}, company)) == "t1"
        assert await client.look(Record("task", "a", {}, company)) == ""
    finally:
        await client.close()


async def test_hubspot_names_a_property_that_there_is_not(sim: SimulatorControl) -> None:
    one = {"idProperty": "holdfast_account", "id": "cus_1", "properties": {"nonsense": "1"}}
    path = "/crm/v3/objects/companies/batch/upsert"
    status, said, _ = await asked(sim, HubSpotApi.token, "POST", path, {"inputs": [one]})
    assert (status, said["category"]) == (400, "VALIDATION_ERROR")
    assert said["message"] == (
        'Property values were not valid: [{"isValid":false,"message":"Property \\"nonsense\\" does not exist",'
        '"error":"PROPERTY_DOESNT_EXIST","name":"nonsense"}]'
    )


@pytest.mark.parametrize(
    ("object_", "properties"),
    [
        ("companies", {"health_score": "many"}),
        ("deals", {"dealstage": "nowhere"}),
        ("tasks", {"hs_task_subject": "without a time"}),
        ("notes", {"hs_note_body": "text", "hs_timestamp": "tomorrow"}),
    ],
)
async def test_hubspot_takes_no_other_shapes(sim: SimulatorControl, object_: str, properties: dict[str, str]) -> None:
    key = "holdfast_account" if object_ == "companies" else "holdfast_key"
    body = {"inputs": [{"idProperty": key, "id": "k", "properties": properties}]}
    status, said, _ = await asked(sim, HubSpotApi.token, "POST", f"/crm/v3/objects/{object_}/batch/upsert", body)
    assert (status, said["category"]) == (400, "VALIDATION_ERROR")
