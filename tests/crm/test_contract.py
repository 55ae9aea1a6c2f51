"""What every CRM keeps: the same contents whichever it is, nothing doubled, nothing lost."""

import asyncio
from datetime import timedelta
from typing import Any, cast

import pytest
from sqlmodel import delete
from urllib3.exceptions import ReadTimeoutError

from activities.hubspot import HubSpot
from models.crm import Record
from models.crm_due import Asked, tasks
from models.crm_rows import CrmRecord
from models.tables import Account, TaskRow
from tests.crm.parties import CASE, OUTSIDE, WRITES, Contents, Party, deal, risk
from tests.crm.parties import task as work

EVERYTHING = Contents(
    at_risk=["cus_1"],
    deals=[(CASE, "Renewal Due")],
    tasks=[(f"{CASE}/step/call", "Do: call", False)],
    risk_notes=[f"{CASE}/step/risk"],
)
LOSSES = ["429", "500_before", "500_after", "cut_before", "cut_after"]


async def test_i1_what_a_playbook_does_is_in_the_crm_once(anyone: Party) -> None:
    await anyone.everything()
    await anyone.in_time()
    assert await anyone.contents() == EVERYTHING


async def test_i1_what_changes_is_changed_and_not_made_anew(anyone: Party) -> None:
    await anyone.everything()
    await anyone.in_time()
    await anyone.do(deal("Won", f"{CASE}/step/2"), risk(raised=False))
    await anyone.change(Account, "cus_1", health=80)
    await anyone.finish(f"{CASE}/step/call")
    await anyone.in_time()
    assert await anyone.contents() == Contents(
        at_risk=[],
        deals=[(CASE, "Won")],
        tasks=[(f"{CASE}/step/call", "Do: call", True)],
        risk_notes=[f"{CASE}/step/risk"],
    )


async def test_i1_a_company_at_risk_again_is_on_the_list_again(anyone: Party) -> None:
    for health in (35, 80, 20):
        await anyone.change(Account, "cus_1", health=health)
        await anyone.in_time()
    assert (await anyone.contents()).at_risk == ["cus_1"]


@pytest.mark.parametrize("loss", LOSSES)
async def test_i1_whatever_is_lost_on_the_way_nothing_is_doubled_and_nothing_lost(outside: Party, loss: str) -> None:
    for method, path in WRITES[outside.name].values():
        await outside.simulator.add_fault(loss, path, method=method)
    await outside.everything()
    await outside.in_time()
    assert await outside.contents() == EVERYTHING
    assert len(outside.there.records["companies"]) == 1
    assert {each.state for each in await outside.rows(CrmRecord, "key")} == {"done"}
    assert await outside.asked() == []


@pytest.mark.parametrize("loss", ["429", "500_after", "cut_before", "cut_after"])
async def test_i1_whatever_is_lost_of_a_change_it_is_made(outside: Party, loss: str) -> None:
    await outside.everything()
    await outside.in_time()
    await outside.simulator.add_fault(loss, "*", method="PATCH", times=3)
    await outside.simulator.add_fault(loss, "*", method="POST", times=1)
    await outside.do(deal("Kickoff", f"{CASE}/step/2"))
    await outside.finish(f"{CASE}/step/call")
    await outside.in_time()
    assert await outside.contents() == Contents(
        at_risk=["cus_1"],
        deals=[(CASE, "Kickoff")],
        tasks=[(f"{CASE}/step/call", "Do: call", True)],
        risk_notes=[f"{CASE}/step/risk"],
    )


async def test_i1_4_an_answer_that_comes_too_late_is_looked_up(outside: Party) -> None:
    method, path = WRITES[outside.name]["task"]
    await outside.simulator.add_fault("cut_after", path, method=method)
    await outside.do(work("call"))
    await outside.carried()
    row = await outside.record(f"task/{CASE}/step/call")
    assert (row.state, row.remote_id) == ("in_doubt", "")
    assert row.wall_next_try_at == outside.clock.now + timedelta(minutes=1)
    outside.there.calls.clear()
    await outside.carried()
    assert outside.there.calls == []
    outside.clock.now += timedelta(minutes=1)
    await outside.carried()
    row = await outside.record(f"task/{CASE}/step/call")
    assert (row.state, [row.remote_id]) == ("done", list(outside.tasks_there()))
    assert len((await outside.contents()).tasks) == 1


async def test_i1_4_a_task_made_by_a_relay_that_died_is_found_and_not_made_again(outside: Party) -> None:
    await outside.do(work("call"))
    await outside.in_time()
    key = f"task/{CASE}/step/call"
    left = {"state": "claimed", "remote_id": "", "written": "", "wall_claimed_at": outside.clock.now}
    await outside.change(CrmRecord, key, **left)
    await outside.carried()
    assert (await outside.record(key)).state == "claimed"
    outside.clock.now += timedelta(minutes=10)
    await outside.carried()
    assert (await outside.record(key)).state == "done"
    assert len((await outside.contents()).tasks) == 1


async def test_i1_two_relays_at_once_write_everything_once(outside: Party) -> None:
    await outside.everything()
    others = [outside.another_mirror() for _ in range(3)]
    for _ in range(4):
        await asyncio.gather(*(each.once() for each in others if each))
        outside.clock.now += timedelta(hours=1)
    assert await outside.contents() == EVERYTHING
    assert len(outside.there.records["companies"]) == 1


async def test_i1_a_relay_that_stood_still_after_its_claim_writes_nothing(
    outside: Party, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter(range(0, 100_000, 200))
    monkeypatch.setattr("workers.crm_mirror.monotonic", lambda: float(next(ticks)))
    await outside.everything()
    await outside.carried()
    assert outside.there.records["companies"] == {}
    assert (await outside.record("company/cus_1")).state == "waits"


@pytest.mark.parametrize("name", OUTSIDE)
def test_every_kind_has_a_call_that_makes_it(name: str) -> None:
    assert WRITES[name].keys() == {"company", "at_risk", "deal", "task", "note"}


async def test_tasks_about_the_crm_stay_here(outside: Party) -> None:
    await outside.add(
        TaskRow(
            key="crm/deal/x/1",
            account_id="cus_1",
            case_id="",
            owner="ana",
            title="t",
            opened_at=outside.clock.now,
            due_at=outside.clock.now,
        )
    )
    await outside.in_time()
    assert (await outside.contents()).tasks == []


async def test_i1_an_older_copy_that_is_put_back_finds_what_is_there(outside: Party) -> None:
    await outside.everything()
    await outside.in_time()
    async with outside.database.writing() as session:
        await session.exec(delete(CrmRecord))
    await outside.in_time()
    assert await outside.contents() == EVERYTHING
    assert len(outside.there.records["companies"]) == 1


async def test_i1_a_claim_that_was_taken_over_is_settled_by_whoever_took_it(
    outside: Party, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, other = outside.client, outside.another_mirror()
    assert client and other
    write = client.write

    async def slow(record: Record, remote_id: str) -> str:
        monkeypatch.setattr(client, "write", write)
        written = await write(record, remote_id)
        await outside.change(Account, "cus_1", health=20)
        outside.clock.now += timedelta(minutes=11)
        await other.once()
        return written

    monkeypatch.setattr(client, "write", slow)
    await outside.carried()
    (account,) = await outside.rows(Account, "id")
    assert (await outside.record("company/cus_1")).seen_at == account.wall_updated_at


async def test_i1_a_list_of_what_is_due_that_has_grown_old_does_nothing(outside: Party) -> None:
    await outside.do(work("call"))
    async with outside.database.reading() as session:
        (due,) = await tasks(Asked(session, outside.settings, outside.clock.now, 9, outside.clock.now, "lead"))
    assert outside.mirror
    await outside.in_time()
    outside.there.calls.clear()
    assert await outside.mirror.carry(due) == "skipped"
    await outside.change(CrmRecord, due.key, state="refused", written="")
    assert await outside.mirror.carry(due) == "skipped"
    await outside.change(CrmRecord, due.key, state="waits", wall_next_try_at=outside.clock.now + timedelta(minutes=1))
    assert await outside.mirror.carry(due) == "skipped"
    assert outside.there.calls == []


async def test_i1_an_answer_that_is_not_understood_keeps_no_other_record_back(
    outside: Party, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = outside.client
    assert client
    write = client.write

    async def strange(record: Record, remote_id: str) -> str:
        if record.kind == "deal":
            raise KeyError("data")
        return await write(record, remote_id)

    monkeypatch.setattr(client, "write", strange)
    await outside.everything()
    await outside.carried()
    row = await outside.record(f"deal/{CASE}")
    assert (row.state, row.reason) == ("in_doubt", "the answer was not understood: KeyError")
    assert (await outside.contents()).tasks == EVERYTHING.tasks
    monkeypatch.setattr(client, "write", write)
    await outside.in_time()
    assert await outside.contents() == EVERYTHING


async def test_i1_a_crm_in_trouble_is_left_alone_for_a_minute(outside: Party) -> None:
    await outside.do(*(work(f"call{n}") for n in range(8)))
    await outside.simulator.add_fault("500_before", WRITES[outside.name]["task"][1], method="POST", times=8)
    assert await outside.carried() == {"done": 2, "in_doubt": 5}
    assert await outside.carried() == {}
    await outside.in_time()
    assert len((await outside.contents()).tasks) == 8


async def test_i1_4_a_call_that_times_out_after_it_was_done_is_looked_up(
    outside: Party, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = [True]

    async def times_out(answer: Any) -> Any:
        if answer.method == "POST" and answer.url.path == "/v2/tasks" and late.pop():
            raise TimeoutError
        return {} if not await answer.read() else await answer.json(content_type=None)

    if isinstance(outside.client, HubSpot):
        upsert = outside.client._batches.upsert

        def called(kind: str, *arguments: Any, **options: Any) -> Any:
            done = upsert(kind, *arguments, **options)
            if kind == "tasks" and late and late.pop():
                raise ReadTimeoutError(cast(Any, None), "/", "Read timed out.")
            return done

        monkeypatch.setattr(outside.client._batches, "upsert", called)
    monkeypatch.setattr("activities.attio._json_of", times_out)
    await outside.do(work("call"))
    await outside.carried()
    row = await outside.record(f"task/{CASE}/step/call")
    assert (row.state, row.reason.partition(": ")[2]) == (
        "in_doubt",
        {"attio": "TimeoutError", "hubspot": "ReadTimeoutError"}[outside.name],
    )
    assert len(outside.tasks_there()) == 1
    await outside.in_time()
    assert len(outside.tasks_there()) == 1
    assert (await outside.record(f"task/{CASE}/step/call")).state == "done"
