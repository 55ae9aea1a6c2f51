"""`holdfast scan` and `holdfast schedules` as a user meets them."""

import json
from pathlib import Path

import pytest
from temporalio.client import Client

from models.database import Database
from models.scans import SCANS
from tests.scans.customers import TODAY, account, facts_of, put, windows
from tests.workers.test_cli import holdfast
from workers import schedules
from workers.temporal_process import Server

WEST = "America/Los_Angeles"


async def with_accounts(folder: Path) -> Database:
    """A migrated database in the folder, with two accounts whose use fell by the end of March 2026."""
    assert (await holdfast(folder, "migrate"))[0] == 0
    database = Database(f"sqlite:///{folder}/.holdfast/holdfast.db")
    await put(database, account("a"), account("b"), account("c"))
    await put(database, *windows("a", 10, 4), *windows("b", 10, 6), *windows("c", 10, 10))
    return database


async def test_a_preview_writes_nothing_and_a_scan_puts_each_finding_on_record_once(tmp_path: Path) -> None:
    database = await with_accounts(tmp_path)
    day = TODAY.isoformat()
    code, out, err = await holdfast(tmp_path, "scan", "usage", "--day", day, "--preview", "--json")
    assert (code, err) == (0, "")
    said = json.loads(out)
    assert (said["found"], said["new"], said["new_by_severity"]) == (2, 2, {"moderate": 1, "severe": 1})
    assert (await facts_of(database)) == []
    code, out, err = await holdfast(tmp_path, "scan", "usage", "--day", day, TZ=WEST)
    assert (code, err) == (0, "")
    assert " ".join(out.split()) == (
        "Usage that fell, as of 2026-03-30 (UTC): 3 accounts looked at, 2 found (1 moderate, 1 severe), 2 of them new."
    )
    code, out, _ = await holdfast(tmp_path, "scan", "usage", "--day", day, "--json")
    assert code == 0
    assert json.loads(out) == {
        "scan": "usage",
        "day": day,
        "pages": 1,
        "accounts": 3,
        "found": 2,
        "recorded": 0,
        "by_value": {"moderate": 1, "severe": 1},
        "long_since": 0,
        "raised": 0,
        "cleared": 0,
    }
    assert len(await facts_of(database)) == 2
    code, out, _ = await holdfast(tmp_path, "scan", "usage", "--day", day, "--preview")
    assert (code, out.splitlines()[0]) == (0, "Nothing is written. As of 2026-03-30, 3 accounts looked at:")
    await database.close()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ("usages",),
            "'which': Value error, 'usages' is not one of " + ", ".join(f"'{which}'" for which in SCANS) + ".",
        ),
        (
            ("usage", "--day", "30.3.2026"),
            "'--day': Value error, '30.3.2026' does not match the formats '%Y-%m-%d'.",
        ),
    ],
)
async def test_a_wrong_word_is_a_usage_error(tmp_path: Path, arguments: tuple[str, ...], sentence: str) -> None:
    assert await holdfast(tmp_path, "scan", *arguments) == (2, "", f"holdfast: Invalid value for {sentence}\n")


def said_of_all(what: str) -> str:
    """What a command says that does the same to every schedule."""
    return "".join(f"scan-{which}: {what}\n" for which in SCANS)


async def test_t2_6_schedules_are_listed_paused_resumed_triggered_and_removed(
    tmp_path: Path, temporal: Server, client: Client
) -> None:
    for which in SCANS:
        await schedules.remove(client, which)

    async def said(*arguments: str) -> tuple[int, str]:
        code, out, err = await holdfast(tmp_path, "schedules", *arguments, TEMPORAL_ADDRESS=temporal.address)
        return code, out + err

    try:
        sentence = "holdfast: there is no schedule scan-cards; `holdfast schedules ensure` makes it\n"
        assert await said("trigger", "cards") == (1, sentence)
        assert await said("ensure") == (0, said_of_all("made"))
        assert await said("pause", "usage", "--by", "ana") == (0, "scan-usage: paused\n")
        rows = json.loads((await said("list", "--json"))[1])
        assert [row["schedule"] for row in rows] == [
            "scan-books",
            "scan-usage (paused)",
            "scan-renewals",
            "scan-cards",
            "scan-health",
            "scan-rules",
            "scan-reports",
        ]
        assert rows[1]["note"].startswith("Paused by ana at ")
        assert (rows[1]["next"], rows[2]["next"][-5:] >= "05:30") == ("", True)
        assert await said("resume", "usage") == (0, "scan-usage: goes on\n")
        assert await said("trigger", "cards") == (0, "scan-cards: started\n")
        assert await said("remove") == (0, said_of_all("removed"))
        assert await said("remove", "usage") == (0, "scan-usage: there was none\n")
    finally:
        async for run in client.list_workflows("WorkflowType = 'scan' AND ExecutionStatus = 'Running'"):
            await client.get_workflow_handle(run.id).terminate()
