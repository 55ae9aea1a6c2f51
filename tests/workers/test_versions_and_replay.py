"""`holdfast versions` and `holdfast replay`: what a deploy reckons with, from real rows and real sleeping runs."""

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError

from models.tables import CaseRow
from simulator.running import SimulatorControl
from tests.playbook_kit import Kit, Run
from tests.town import DAY, town
from tests.workers.test_cli import ROOT, holdfast
from workers.authoring import replay
from workers.temporal_process import running_server
from workers.temporal_server import find
from workflows import PLAYBOOKS
from workflows.payment_failure import PaymentFailure
from workflows.visible import SEARCH_ATTRIBUTES

OPEN = "ExecutionStatus = 'Running'"


@dataclass
class Asleep:
    """A server of its own, so that no other test's runs are on it, with one sleeping run each of two playbooks."""

    address: str
    database_url: str
    kit: Kit
    payment: str
    trial: Run

    async def holdfast(self, folder: Path, *arguments: str) -> tuple[int, str, str]:
        """The command, run in a checkout or in an empty folder."""
        return await holdfast(folder, *arguments, TEMPORAL_ADDRESS=self.address, DATABASE_URL=self.database_url)


@pytest.fixture(scope="module")
async def alone(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    """A client of a fresh server."""
    found = await find(need_time_skipping=True)
    log = tmp_path_factory.mktemp("temporal") / "temporal.log"
    async with running_server(
        found, search_attributes=SEARCH_ATTRIBUTES, skip_time=True, fast_timers=True, metrics_port=0, log=log
    ) as server:
        yield await Client.connect(server.address, data_converter=pydantic_data_converter)


@pytest.fixture
async def asleep(alone: Client, the_simulator: SimulatorControl, database_url: str) -> AsyncIterator[Asleep]:
    """Two runs that sleep: a payment that failed five days ago, a trial of six days."""
    async with town(alone, the_simulator, database_url) as place:
        kit = Kit(place)
        person = await place.payment_fails("insufficient_funds")
        await place.pass_time(person.case, 5 * DAY)
        trial = await kit.start("trial.started", await kit.account())
        await trial.to_day(6)
        while {run.id async for run in alone.list_workflows(OPEN)} != {person.case, trial.case}:
            await asyncio.sleep(0.01)  # the server's list is a moment behind
        yield Asleep(alone.service_client.config.target_host, database_url, kit, person.case, trial)
        for case in (person.case, trial.case):
            with contextlib.suppress(RPCError):  # a test may have ended it
                await place.run(case).terminate()


def edited(folder: Path) -> Path:
    """A checkout in which somebody renamed a step of the trial's playbook and thought no further."""
    shutil.copytree(ROOT / "workflows", folder / "workflows", ignore=shutil.ignore_patterns("__pycache__"))
    path = folder / "workflows" / "trial_ending.py"
    path.write_text(path.read_text(encoding="utf-8").replace("help_them", "assist_them"), encoding="utf-8")
    return folder


async def test_runs_that_sleep_replay_with_the_code_as_it_is_and_the_edited_one_is_named(
    asleep: Asleep, tmp_path: Path
) -> None:
    assert await asleep.holdfast(tmp_path, "replay") == (0, "2 open runs replayed; 0 would get stuck.\n", "")
    code, out, _ = await asleep.holdfast(tmp_path, "replay", "--json")
    assert (code, json.loads(out)) == (0, {"runs": 2, "failures": {}})
    code, out, _ = await asleep.holdfast(edited(tmp_path), "replay")
    assert code == 1
    assert out.splitlines()[-1] == "2 open runs replayed; 1 would get stuck."
    assert f"✗ {asleep.trial.case}: " in out
    assert asleep.payment not in out
    code, out, _ = await asleep.holdfast(tmp_path, "replay", "--json")
    assert (code, list(json.loads(out)["failures"])) == (1, [asleep.trial.case])


async def test_only_open_runs_of_these_playbooks_are_replayed(asleep: Asleep) -> None:
    await asleep.trial.hear("plan.upgraded")
    assert (await asleep.trial.finish()).outcome == "upgraded"
    client = asleep.kit.place.client
    while [run.id async for run in client.list_workflows(OPEN)] != [asleep.payment]:
        await asyncio.sleep(0.01)
    assert [done.runs async for done in replay(client)] == [1]
    others = [each for each in PLAYBOOKS if each is not PaymentFailure]
    assert [done async for done in replay(client, others)] == []


async def test_open_runs_are_counted_by_plan(asleep: Asleep, tmp_path: Path) -> None:
    assert await counted(asleep, tmp_path) == [("payment-failure", 1, "current"), ("trial-ending", 1, "current")]
    await asleep.kit.add(case(1, "unheard-of"), case(2, "unheard-of"), case(3, "unheard-of", ended=True), case(4, ""))
    code, out, err = await asleep.holdfast(tmp_path, "versions", "--json")
    assert (code, err) == (0, "")
    assert [each for each in json.loads(out) if each["state"] == "other"] == [
        {"playbook": "trial-ending", "plan": "not begun", "runs": 1, "oldest": "2026-11-04", "state": "other"},
        {"playbook": "trial-ending", "plan": "unheard-of", "runs": 2, "oldest": "2026-11-01", "state": "other"},
    ]
    code, out, err = await asleep.holdfast(tmp_path, "versions")
    assert (code, err) == (0, "")
    assert [[cell.strip() for cell in line.split("│")[1:6]] for line in out.splitlines() if "unheard-of" in line] == [
        ["trial-ending", "unheard-of", "other", "2", "2026-11-01"]
    ]


async def test_after_an_edit_the_runs_of_before_are_on_an_older_plan(asleep: Asleep, tmp_path: Path) -> None:
    found = await counted(asleep, edited(tmp_path))
    assert found == [("payment-failure", 1, "current"), ("trial-ending", 1, "older")]


async def test_without_runs_there_is_nothing_to_reckon_with(database_url: str, tmp_path: Path) -> None:
    assert await holdfast(tmp_path, "versions", DATABASE_URL=database_url) == (0, "No run is open.\n", "")


async def counted(asleep: Asleep, folder: Path) -> list[tuple[str, int, str]]:
    """What `holdfast versions` says: playbook, open runs, state of the plan."""
    code, out, err = await asleep.holdfast(folder, "versions", "--json")
    assert (code, err) == (0, "")
    return [(each["playbook"], each["runs"], each["state"]) for each in json.loads(out)]


def case(number: int, plan: str, *, ended: bool = False) -> CaseRow:
    """A trial's case, opened on day `number` of the month."""
    return CaseRow(
        id=f"trial-ending/{number}",
        playbook="trial-ending",
        account_id=f"cus_{number}",
        subject=str(number),
        plan=plan,
        ended=ended,
        opened_at=datetime(2026, 11, number, tzinfo=UTC),
    )
