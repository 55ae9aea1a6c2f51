"""What is due: found by comparing, on both databases; what is history stays here."""

import asyncio
from datetime import timedelta

import pytest

from activities.attio import LONGEST_TASK, marked_text
from models.crm import CrmSettings
from models.crm_due import LOOKS, Asked
from models.customers import Owner
from models.database import Database
from models.ledger import insert_once
from models.policy import PolicyFile
from models.tables import Account, CaseRow, TaskRow
from simulator.attio_api import AttioApi
from simulator.running import SimulatorControl
from tests.crm.conftest import joined
from tests.crm.parties import AT, CASE, OUTSIDE, Party, deal, task
from workers.crm_mirror import NotUsable
from workers.processes import keep_the_crm_up_to_date
from workers.settings import Settings


async def test_r9_a_run_that_ended_is_noted_once(outside: Party) -> None:
    await outside.carried()
    await outside.change(CaseRow, CASE, ended=True, ended_at=AT + timedelta(days=3), outcome="renewed")
    await outside.in_time()
    texts = [f"{each.get('title', '')} {each.get('content', '')}" for each in outside.attio.notes.values()]
    texts += [each["hs_note_body"] for each in outside.hubspot.records["notes"].values()]
    (text,) = texts
    assert "Renewal: renewed" in text
    assert "2026-11-25 to 2026-11-28. Last step: none." in text


async def test_what_had_ended_before_the_crm_was_switched_on_is_not_written(outside: Party) -> None:
    before = AT - timedelta(days=1)
    await outside.do(task("old"), task("open"))
    await outside.change(TaskRow, f"{CASE}/step/old", outcome="done", done_at=before)
    await outside.change(CaseRow, CASE, ended=True, ended_at=before, outcome="renewed")
    await outside.in_time()
    contents = await outside.contents()
    assert [key for key, _, _ in contents.tasks] == [f"{CASE}/step/open"]
    assert [each for each in outside.there.calls if each.startswith("P") and "notes" in each] == []


async def test_a_task_that_was_opened_and_done_between_two_looks_is_documented(outside: Party) -> None:
    await outside.carried()
    await outside.do(task("quick"))
    await outside.change(TaskRow, f"{CASE}/step/quick", outcome="done", done_at=AT + timedelta(minutes=1))
    await outside.in_time()
    assert (await outside.contents()).tasks == [(f"{CASE}/step/quick", "Do: quick", True)]


async def test_any_change_of_an_account_moves_its_time(both: Database) -> None:
    async with both.writing() as session:
        await insert_once(session, Account(id="cus_9"))
    async with both.writing() as session:
        account = await session.get(Account, "cus_9")
        assert account
        before, account.health = account.wall_updated_at, 12
        session.add(account)
    async with both.reading() as session:
        after = await session.get(Account, "cus_9")
        assert after
        assert after.wall_updated_at > before


@pytest.mark.parametrize("name", OUTSIDE)
async def test_s_only_the_segments_that_are_named_are_written(
    name: str, database: Database, the_simulator: SimulatorControl
) -> None:
    async with joined(name, database, the_simulator, segments=["enterprise"]) as party:
        await party.everything()
        await party.in_time()
        assert party.there.records["companies"] == {}
        await party.change(Account, "cus_1", segment="enterprise")
        await party.in_time()
        assert len((await party.contents()).tasks) == 1


@pytest.mark.parametrize("name", OUTSIDE)
async def test_i1_where_we_may_make_no_company_a_person_links_it(
    name: str, database: Database, the_simulator: SimulatorControl
) -> None:
    async with joined(name, database, the_simulator, create_companies=False) as party:
        await party.everything()
        await party.in_time()
        (asked,) = await party.asked()
        assert "no company has 'cus_1' as its holdfast_account; put it there on the right one" in asked.body
        assert party.there.records["companies"] == {}
        party.there.company(name="Acme", holdfast_account="cus_1")
        await party.finish(asked.key, "again")
        await party.in_time()
        assert len((await party.contents()).tasks) == 1


async def test_an_owner_whom_the_crm_does_not_know_keeps_nothing_back(outside: Party) -> None:
    await outside.add(Owner(handle="ana", email="ana@elsewhere.example.com"))
    await outside.do(task("call"))
    await outside.in_time()
    assert (await outside.contents()).tasks == [(f"{CASE}/step/call", "Do: call", False)]


async def test_i1_4_a_task_is_linked_to_its_company_and_its_deal_and_assigned(outside: Party) -> None:
    await outside.everything()
    await outside.in_time()
    deal_id = (await outside.record(f"deal/{CASE}")).remote_id
    company = (await outside.record("company/cus_1")).remote_id
    ((key, there),) = outside.tasks_there().items()
    if outside.name == "attio":
        assert there["links"] == [company, deal_id]
        assert there["assignees"] == [{"workspace_member_email_address": "ana@example.com"}]
        assert there["deadline_at"] == "2026-11-26T09:00:00.000000Z"
    else:
        linked = {each[2:] for each in outside.hubspot.associations if each[:2] == ("tasks", key)}
        assert linked == {("companies", company), ("deals", deal_id)}
        assert (there["hubspot_owner_id"], there["hs_timestamp"]) == ("9001", "2026-11-26T09:00:00.000Z")


async def test_i1_5_a_deal_has_its_money_in_the_major_unit_and_its_dates(outside: Party) -> None:
    await outside.everything()
    await outside.in_time()
    ((key, there),) = outside.there.records["deals"].items()
    assert float(there["value" if outside.name == "attio" else "amount"]) == 48_000
    assert (there["renewal_date"], there["contract_term"]) == ("2027-03-01", "annual")
    assert there["dealname" if outside.name == "hubspot" else "name"] == "Renewal - Acme - 2027"
    company = (await outside.record("company/cus_1")).remote_id
    if outside.name == "attio":
        assert there["associated_company"] == [company]
    else:
        assert ("deals", key, "companies", company) in outside.hubspot.associations


def test_a_long_task_keeps_our_key() -> None:
    text = marked_text("x" * 5000, "a/b/1", LONGEST_TASK)
    assert (len(text), text.splitlines()[-1]) == (LONGEST_TASK, "Holdfast: a/b/1")
    assert CrmSettings().fields("company") == {}


async def test_what_waits_for_its_company_keeps_nothing_else_out(
    both: Database, the_simulator: SimulatorControl
) -> None:
    async with joined("attio", both, the_simulator, create_companies=False) as party:
        await party.do(*(task(f"call{n}") for n in range(3)))
        await party.carried()
        async with both.reading() as session:
            asked = Asked(session, party.settings, party.clock.now + timedelta(days=1), 2, AT, "lead")
            assert [len(await look(asked)) for _, look in LOOKS] == [0, 0, 0, 0, 0]


async def test_the_relay_keeps_the_crm_up_to_date_until_it_is_told_to_stop(attio: Party) -> None:
    stop = asyncio.Event()
    settings = Settings(
        attio_api_key=AttioApi.token, attio_api_base=attio.simulator.url, holdfast_crm_s=0.01, _env_file=None
    )
    policy = PolicyFile({"crm": {"provider": "attio", "at_risk_list": "at_risk_customers"}})
    await attio.do(task("call"))
    keeping = asyncio.create_task(keep_the_crm_up_to_date(settings, policy, attio.database, "lead", stop))
    while not attio.attio.tasks and not keeping.done():
        await asyncio.sleep(0.01)
    stop.set()
    await keeping
    assert (await attio.contents()).tasks == [(f"{CASE}/step/call", "Do: call", False)]
    await keep_the_crm_up_to_date(settings, PolicyFile(), attio.database, "lead", stop)


@pytest.mark.parametrize(("name", "list_"), [("attio", "renewal_pipeline"), ("hubspot", "8")])
async def test_i1_3_a_renewal_deal_is_on_the_pipelines_list_once(
    name: str, list_: str, database: Database, the_simulator: SimulatorControl
) -> None:
    async with joined(name, database, the_simulator, renewal_list=list_) as party:
        await the_simulator.add_fault("cut_after", "*/entries" if name == "attio" else "*/add", method="PUT", times=2)
        await party.everything()
        await party.in_time()
        await party.do(deal("Kickoff", f"{CASE}/step/2"))
        await party.in_time()
        deal_id = (await party.record(f"deal/{CASE}")).remote_id
        on = [each["record"] for each in party.attio.entries.values() if each["list"] == list_]
        assert [*on, *party.hubspot.lists["8"]] == [deal_id]
        assert (await party.contents()).deals == [(CASE, "Kickoff")]


@pytest.mark.parametrize(("name", "list_"), [("attio", "at_risk_customers"), ("hubspot", "7")])
async def test_i1_3_a_list_of_something_else_is_refused_at_the_start(
    name: str, list_: str, database: Database, the_simulator: SimulatorControl
) -> None:
    async with joined(name, database, the_simulator, renewal_list=list_) as party:
        with pytest.raises(
            NotUsable, match=f"there is no list '{list_}' of deals; make it, or correct crm.renewal_list"
        ):
            await party.carried()
