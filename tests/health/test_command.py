"""`holdfast score` as a CSM meets it: every number can be repeated with a pencil (ledger H0)."""

import json
from pathlib import Path
from typing import Any

import pytest

from models.database import Database
from models.health import card_named
from models.health.explaining import explain
from models.health.metrics import readings_of
from models.health.recording import record_metrics
from tests.health.test_pass import EXCELLENT, noon, risk_of
from tests.scans.customers import DAY, TODAY, account, facts_of, put
from tests.town import fresh_database
from tests.workers.test_cli import holdfast
from workers.score_command import sentences

LESS = {name: value for name, value in EXCELLENT.items() if name != "growth"} | {"nps": 5, "session_minutes": 6}
"""83 points of the 95 that are known."""


async def with_readings(folder: Path, template: Path) -> Database:
    """A migrated database in the folder, with an account that has readings and a live signal, and one that has not."""
    (folder / ".holdfast").mkdir()
    database = Database(fresh_database(template, folder / ".holdfast"))
    await put(database, account("a", external_id="acme"), account("b"), risk_of("a", "seats removed", TODAY - DAY))
    async with database.writing() as session:
        await record_metrics(session, "a", LESS, noon(TODAY))
    return database


async def test_h0_an_accounts_score_is_explained_to_the_last_digit(migrated: Path, tmp_path: Path) -> None:
    database = await with_readings(tmp_path, migrated)
    day = TODAY.isoformat()
    code, out, err = await holdfast(tmp_path, "score", "acme", "--day", day)
    assert (code, err) == (0, "")
    assert out.splitlines()[-4:] == [
        "Sum 83 x 100 / 95 (what is missing is left out) = 87.368, shown as 87 of 100.",
        "Band: Healthy. Due: expansion.",
        "What would help most: NPS answer (0 to 10); at its best, 97.894.",
        "Churn risk: 50, high: seats removed (high)",
    ]
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in out.splitlines() if line.startswith("│")]
    assert rows[2] == ["Session length", "session length (minutes): 6", "8", "10", "80 %"]
    assert rows[-1] == ["Growth", "missing: growth of the account", "", "5", ""]
    code, out, _ = await holdfast(tmp_path, "score", "a", "--day", day, "--json")
    said = json.loads(out)
    parts = {part.pop("part"): part for part in said.pop("parts")}
    assert said == {
        "account": "a",
        "model": "h1",
        "score": 87.368,
        "shown": 87,
        "band": "healthy",
        "held": None,
        "coverage": 95,
        "given": 83.0,
        "attainable": 95,
        "best": 100,
        "improve": "nps",
        "improved": 97.894,
        "risk": {"score": 50, "level": "high", "signals": ["seats removed"]},
    }
    assert parts["NPS"] == {"weight": 10, "points": 0.0, "share": 0, "readings": {"nps": 5}, "missing": []}
    missing: dict[str, Any] = {"weight": 5, "points": None, "share": None, "readings": {}, "missing": ["growth"]}
    assert parts["Growth"] == missing
    assert sum(part["points"] or 0 for part in parts.values()) == 83
    await database.close()


async def test_t2_1_score_all_writes_once_and_ends_with_a_line_of_json(migrated: Path, tmp_path: Path) -> None:
    database = await with_readings(tmp_path, migrated)
    code, out, err = await holdfast(tmp_path, "score", "--all", "--day", (TODAY - DAY).isoformat())
    said = f"Scored as of {TODAY - DAY} (UTC): 2 accounts looked at, 0 found, 0 of them new.\n"
    assert (code, out, err) == (0, said, "")
    async with database.writing() as session:
        await record_metrics(session, "a", {"logins_per_week": 0, "core_feature_pct": 0}, noon(TODAY + DAY))
    for recorded in (1, 0):
        code, out, _ = await holdfast(tmp_path, "score", "--all", "--day", TODAY.isoformat(), "--json")
        figures = json.loads(out)
        assert figures.pop("seconds") > 0
        found = {"found": recorded, "recorded": recorded, "by_value": {"at_risk": 1} if recorded else {}}
        assert figures == {"day": "2026-03-30", "accounts": 2, **found}
    assert [row[0] for row in await facts_of(database)] == ["health.band_changed/a/2026-03-30/h1/at_risk"]
    await database.close()


async def test_what_cannot_be_scored_is_said_with_its_exit_code(migrated: Path, tmp_path: Path) -> None:
    database = await with_readings(tmp_path, migrated)
    await database.close()
    nobody = "holdfast: account 'nobody' is not known; import the account first\n"
    assert await holdfast(tmp_path, "score", "nobody") == (1, "", nobody)
    no_model = "holdfast: there is no model 'h9'; there are h1, h2, h3, h4, h5\n"
    assert await holdfast(tmp_path, "score", "a", "--model", "h9") == (1, "", no_model)
    either = "holdfast: name one account, or say --all (which scores by every model); see `holdfast score --help`\n"
    assert await holdfast(tmp_path, "score") == (2, "", either)
    code, out, _ = await holdfast(tmp_path, "score", "b")
    assert (code, out.splitlines()[-2:]) == (
        0,
        ["Unknown: 0 % of the weights are known, 50 % are needed.", "Churn risk: 0, low: no live signal"],
    )


@pytest.mark.parametrize(
    ("model", "values", "held", "expected"),
    [
        (
            "h2",
            {"checklist_pct": 100, "campaigns": 1, "core_feature_pct": 60, "open_tickets": 0.99},
            "",
            [
                # 30 + 10 + 9 - 4.95, of the 65 that can be had without reports.
                "Sum 44.05 x 85 / 65 (what is missing is left out) = 57.603, shown as 57 of 100.",
                "Band: Critical. Due: rescue today.",
                "What would help most: campaigns or projects made; at its best, 70.68.",
            ],
        ),
        (
            "h4",
            {"dau_mau_pct": 90, "session_index": 90, "recency_index": 50, "core_feature_pct": 80, "time_index": 80},
            "healthy",
            [
                "Sum 51.1667 x 100 / 65 (what is missing is left out) = 78.717, shown as 78 of 100.",
                "Band: Healthy, held from before: a band is left 2 points beyond its limit. Due: upsell.",
                "What would help most: time since the last login (index); at its best, 85.128.",
            ],
        ),
        (
            "h1",
            EXCELLENT,
            "",
            ["Sum 100 = 100, shown as 100 of 100.", "Band: Healthy. Due: expansion."],
        ),
    ],
)
def test_h0_the_sum_the_band_and_what_would_help_most(
    model: str, values: dict[str, Any], held: str, expected: list[str]
) -> None:
    assert list(sentences(explain(card_named(model), readings_of(values), held))) == expected
