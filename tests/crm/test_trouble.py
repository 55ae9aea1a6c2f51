"""What cannot be written by itself: limits, deletions, merges, refusals, a key that is not taken."""

from dataclasses import replace
from datetime import timedelta

import pytest

from models.cases import Risk
from models.crm_due import AGAIN
from models.crm_rows import CrmRecord
from models.tables import Account, TaskRow, wall
from simulator.crm_door import Bucket
from tests.crm.parties import CASE, WRITES, Contents, Party, deal, risk, task
from tests.crm.test_contract import EVERYTHING
from workers.crm_mirror import NotUsable

TASK = f"task/{CASE}/step/call"


async def company_there(party: Party) -> str:
    """The id of the company over there."""
    return (await party.record("company/cus_1")).remote_id


async def only_task(party: Party) -> TaskRow:
    """The one task in which a person is asked."""
    (found,) = await party.asked()
    return found


# Limits.


async def test_i1_429_is_obeyed_for_as_long_as_attio_says(attio: Party) -> None:
    attio.clock.now = wall()  # the answer names a time, so the clock has to be right
    await attio.simulator.add_fault("429", "/v2/tasks", method="POST", seconds=40)
    await attio.everything()
    await attio.carried()
    attio.there.calls.clear()
    attio.clock.now += timedelta(seconds=30)
    await attio.carried()
    assert attio.there.calls == []
    attio.clock.now += timedelta(seconds=15)
    await attio.carried()
    assert await attio.contents() == EVERYTHING


async def test_i1_429_without_a_time_is_obeyed_for_hubspots_window(hubspot: Party) -> None:
    method, path = WRITES["hubspot"]["task"]
    await hubspot.simulator.add_fault("429", path, method=method)
    await hubspot.everything()
    await hubspot.carried()
    row = await hubspot.record(TASK)
    assert row.reason == "HubSpot answered 429 RATE_LIMITS: You have reached your ten_secondly_rolling limit."
    assert row.wall_next_try_at - hubspot.clock.now == timedelta(seconds=10)
    hubspot.there.calls.clear()
    hubspot.clock.now += timedelta(seconds=9)
    await hubspot.carried()
    assert hubspot.there.calls == []
    hubspot.clock.now += timedelta(seconds=1)
    await hubspot.carried()
    assert await hubspot.contents() == EVERYTHING


async def test_i1_a_limit_in_the_middle_of_many_loses_none(outside: Party) -> None:
    outside.there.writes = outside.there.reads = Bucket(12, 3600)
    await outside.do(*(task(f"call{n}") for n in range(8)))
    await outside.carried()
    assert len(outside.there.calls) == 12
    outside.there.writes = outside.there.reads = Bucket(1000, 1)
    await outside.in_time()
    assert [key for key, _, _ in (await outside.contents()).tasks] == [f"{CASE}/step/call{n}" for n in range(8)]


async def test_i1_a_key_that_is_not_taken_keeps_everything_for_later(outside: Party) -> None:
    await outside.everything()
    await outside.simulator.add_fault("401", "*", times=1)
    assert await outside.carried() == {}
    outside.clock.now += timedelta(minutes=9)
    assert await outside.carried() == {}
    assert await outside.rows(CrmRecord, "key") == []
    outside.clock.now += timedelta(minutes=1)
    await outside.in_time()
    assert await outside.contents() == EVERYTHING
    assert await outside.asked() == []


async def test_i1_a_key_that_may_not_write_one_kind_writes_the_others(outside: Party) -> None:
    method, path = WRITES[outside.name]["at_risk"]
    await outside.simulator.add_fault("401", path, method=method, times=1)
    await outside.everything()
    await outside.carried()
    assert await outside.contents() == replace(EVERYTHING, at_risk=[])
    row = await outside.record("at_risk/cus_1")
    assert (row.state, row.wall_next_try_at) == ("waits", outside.clock.now + timedelta(minutes=10))
    await outside.in_time()
    assert await outside.contents() == EVERYTHING


async def test_i1_a_company_that_cannot_be_changed_keeps_its_tasks_not_back(outside: Party) -> None:
    await outside.in_time()
    await outside.simulator.add_fault("500_before", "*/companies/*", method="PATCH", times=99)
    await outside.change(Account, "cus_1", health=20)
    await outside.carried()
    await outside.do(task("call"))
    await outside.carried()
    assert (await outside.record("company/cus_1")).state == "in_doubt"
    assert (await outside.contents()).tasks == [(f"{CASE}/step/call", "Do: call", False)]


# Deleted, merged.


async def test_i1_a_company_that_was_deleted_is_a_persons_and_nothing_of_it_is_lost(outside: Party) -> None:
    await outside.in_time()
    gone = await company_there(outside)
    outside.there.delete("companies", gone)
    await outside.do(task("call"), deal("Renewal Due"))
    await outside.change(Account, "cus_1", health=30)
    await outside.in_time()
    assert outside.there.records["companies"] == {}
    asked = await only_task(outside)
    who = {"attio": "Attio", "hubspot": "HubSpot"}[outside.name]
    assert (asked.owner, asked.title) == ("ana", f"{who} does not have this as it should: company")
    assert f"company {gone} was deleted in {who}, and no other has 'cus_1' as its holdfast_account" in asked.body
    assert (asked.answers, asked.case_id) == ("again leave", "")

    outside.there.company(name="Acme", holdfast_account="cus_1")
    await outside.finish(asked.key, AGAIN)
    await outside.in_time()
    contents = await outside.contents()
    assert contents.tasks == [(f"{CASE}/step/call", "Do: call", False)]
    assert contents.deals == [(CASE, "Renewal Due")]
    assert await only_task(outside)


async def test_i1_a_company_found_deleted_by_what_belongs_to_it_is_a_persons(outside: Party) -> None:
    await outside.in_time()
    outside.there.delete("companies", await company_there(outside))
    await outside.do(task("call"))
    await outside.in_time()
    assert (await only_task(outside)).title.endswith("does not have this as it should: company")
    assert (await outside.record(TASK)).state == "waits"
    assert [*outside.tasks_there()][1:] == []


async def test_i1_a_company_that_was_merged_is_followed(outside: Party) -> None:
    await outside.do(task("call"))
    await outside.in_time()
    other = outside.there.company(name="Acme Inc.")
    merged = outside.there.merge("companies", other, await company_there(outside))
    await outside.do(task("visit"), deal("Renewal Due"), risk(raised=True))
    await outside.change(Account, "cus_1", health=20)
    await outside.finish(f"{CASE}/step/call")
    await outside.in_time()
    assert await outside.contents() == Contents(
        at_risk=["cus_1"],
        deals=[(CASE, "Renewal Due")],
        tasks=[(f"{CASE}/step/call", "Do: call", True), (f"{CASE}/step/visit", "Do: visit", False)],
        risk_notes=[f"{CASE}/step/risk"],
    )
    assert await company_there(outside) == merged
    assert outside.there.records["companies"].keys() == {merged}
    assert outside.there.records["companies"][merged]["name"] == "Acme"
    assert await outside.asked() == []


async def test_i1_a_merge_that_is_under_way_is_waited_for(attio: Party) -> None:
    await attio.in_time()
    attio.attio.merging.add(await company_there(attio))
    await attio.change(Account, "cus_1", health=20)
    await attio.add(Account(id="cus_2", company="Bolt", health=90, segment="growth"))
    await attio.carried()
    assert [each["name"] for each in attio.attio.records["companies"].values()] == ["Acme", "Bolt"]
    row = await attio.record("company/cus_1")
    assert (row.state, row.wall_next_try_at) == ("waits", attio.clock.now + timedelta(seconds=30))
    attio.attio.merging.clear()
    await attio.in_time()
    assert [each["health_score"] for each in attio.attio.records["companies"].values()] == [20, 90]
    assert await attio.asked() == []


async def test_i1_5_a_deal_that_was_deleted_is_a_persons_and_not_made_anew(outside: Party) -> None:
    await outside.everything()
    await outside.in_time()
    outside.there.delete("deals", (await outside.record(f"deal/{CASE}")).remote_id)
    await outside.do(deal("Kickoff", f"{CASE}/step/2"), task("visit"))
    await outside.in_time()
    contents = await outside.contents()
    assert (contents.deals, len(contents.tasks)) == ([], 2)
    asked = await only_task(outside)
    assert (asked.title.rpartition(": ")[2], asked.case_id) == ("deal", CASE)


async def test_i1_4_a_task_that_was_deleted_over_there_is_left_so(outside: Party) -> None:
    await outside.everything()
    await outside.in_time()
    key = (await outside.record(TASK)).remote_id
    del outside.tasks_there()[key]
    await outside.finish(f"{CASE}/step/call")
    await outside.in_time()
    row = await outside.record(TASK)
    assert (row.state, (await outside.contents()).tasks) == ("done", [])
    assert "was deleted" in row.reason
    assert await outside.asked() == []


# Refused.


async def test_i1_what_is_refused_for_its_shape_is_a_persons_and_the_rest_goes_on(outside: Party) -> None:
    outside.there.stages.remove("Kickoff")
    await outside.do(deal("Kickoff"), task("call"))
    await outside.in_time()
    assert (await outside.contents()).tasks == [(f"{CASE}/step/call", "Do: call", False)]
    row = await outside.record(f"deal/{CASE}")
    said = {
        "attio": 'Attio answered 400 value_not_found: Cannot find status "Kickoff" for attribute "stage".',
        "hubspot": "HubSpot answered 400 VALIDATION_ERROR: Property values were not valid: "
        '[{"isValid":false,"message":"Kickoff was not a valid enumeration.","error":"INVALID_OPTION",'
        '"name":"dealstage"}]',
    }[outside.name]
    assert (row.state, row.reason) == ("refused", said)
    outside.there.calls.clear()
    await outside.do(deal("Lost", f"{CASE}/step/2"))
    await outside.in_time()
    assert outside.there.calls == []
    outside.there.stages.append("Kickoff")
    await outside.finish((await only_task(outside)).key, AGAIN)
    await outside.in_time()
    assert (await outside.contents()).deals == [(CASE, "Lost")]


async def test_i1_a_person_may_leave_it_as_it_is(outside: Party) -> None:
    outside.there.stages.clear()
    await outside.do(deal("Kickoff"))
    await outside.in_time()
    await outside.finish((await only_task(outside)).key, "leave")
    await outside.in_time()
    assert (await outside.record(f"deal/{CASE}")).state == "refused"
    assert len(await outside.asked()) == 1


async def test_i1_a_list_that_was_deleted_is_a_persons(outside: Party) -> None:
    await outside.carried()
    await outside.change(Account, "cus_1", health=80)
    await outside.in_time()
    outside.there.lists.clear()
    await outside.change(Account, "cus_1", health=20)
    await outside.in_time()
    row = await outside.record("at_risk/cus_1")
    assert (row.state, "there is no list" in row.reason) == ("refused", True)


# Attributes.


async def test_i1_6_attributes_that_are_missing_are_left_out_and_the_health_is_told_in_words(outside: Party) -> None:
    attributes = (outside.attio.attributes if outside.name == "attio" else outside.hubspot.properties)["companies"]
    del attributes["health_score"]
    await outside.everything()
    await outside.in_time()
    (company,) = outside.there.records["companies"].values()
    assert company["description"] == "Health: Critical (35/100) - usage decline"
    assert company["health_status"] == "Critical"
    assert await outside.contents() == EVERYTHING
    await outside.do(Risk(key=f"{CASE}/step/second", title="Risk", signal="champion_left", raised=True))
    await outside.in_time()
    (company,) = outside.there.records["companies"].values()
    assert company["description"] == "Health: Critical (35/100) - champion left, usage decline"


async def test_i1_6_without_the_attribute_for_our_key_nothing_is_written(outside: Party) -> None:
    attributes = (outside.attio.attributes if outside.name == "attio" else outside.hubspot.properties)["companies"]
    kind = attributes.pop("holdfast_account")
    with pytest.raises(NotUsable) as problem:
        await outside.carried()
    assert str(problem.value) == (
        "company: there is no attribute 'holdfast_account'; needed to find a record again. "
        "Make it, or map crm.company.key anew"
    )
    attributes["holdfast_account"] = kind.rstrip("!")
    with pytest.raises(NotUsable, match="'holdfast_account' must hold unique values, for it holds our key"):
        await outside.carried()
    assert outside.there.records["companies"] == {}
    attributes["holdfast_account"] = kind
    await outside.in_time()
    assert len(outside.there.records["companies"]) == 1


async def test_h3_3_the_health_stands_on_the_company(outside: Party) -> None:
    await outside.in_time()
    (company,) = outside.there.records["companies"].values()
    account = (await outside.rows(Account, "id"))[0]
    assert (company["name"], str(company["health_score"]), company["health_status"]) == ("Acme", "35", "Critical")
    assert company["last_health_update"][:19] == account.wall_updated_at.strftime("%Y-%m-%dT%H:%M:%S")
    assert company.get("hubspot_owner_id", "9001") == "9001"


async def test_t1_18_a_new_owner_is_told(outside: Party) -> None:
    outside.attio.members.add("bob@example.com")
    outside.hubspot.owners["bob@example.com"] = "9002"
    outside.attio.attributes["companies"]["hubspot_owner_id"] = "actor-reference"
    await outside.in_time()
    await outside.change(Account, "cus_1", owner="lead")
    assert (await outside.rows(CrmRecord, "key"))[0].seen_at != (await outside.rows(Account, "id"))[0].wall_updated_at
    assert await outside.carried() == {"done": 1}
