"""The at-risk list, on both databases and as a command (H3.4, P8.2, T3.8)."""

import json
from datetime import UTC, datetime, time
from pathlib import Path

from models.database import Database
from models.health.listing import at_risk
from models.tables import Account, CaseRow, RiskSignal
from tests.scans.customers import DAY, TODAY, put
from tests.workers.test_cli import holdfast

NOW = datetime.combine(TODAY, time(), UTC)


async def test_h3_4_t3_8_below_40_a_high_risk_or_a_run_is_on_the_list(both: Database) -> None:
    await put(both, Account(id="low", health=39, mrr=100), Account(id="edge", health=40, mrr=100))
    await put(both, Account(id="risky", health=90, mrr=900, owner="ana"), Account(id="calm", health=90))
    await put(both, Account(id="seen", mrr=50), Account(id="gone", health=1, churned_at=NOW))
    await put(
        both,
        RiskSignal(key="1", account_id="risky", signal="champion left", raised_at=NOW),
        RiskSignal(key="2", account_id="calm", signal="NPS below 6", raised_at=NOW),
        RiskSignal(key="3", account_id="edge", signal="billing page visits", raised_at=NOW - 8 * DAY),
        CaseRow(id="at-risk/seen", playbook="at-risk", account_id="seen", subject="seen", opened_at=NOW),
        CaseRow(id="renewal/calm", playbook="renewal", account_id="calm", subject="c", opened_at=NOW),
    )
    async with both.reading() as session:
        found = await at_risk(session, TODAY)
    assert [(each.account, each.health, each.risk, each.signals, each.runs) for each in found] == [
        ("risky", 90, "high", ("champion left",), ()),
        ("low", 39, "low", (), ()),
        ("seen", None, "low", (), ("at-risk/seen",)),
    ]


async def test_p8_2_the_list_as_a_command(tmp_path: Path, database_url: str) -> None:
    database = Database(database_url)
    assert (await holdfast(tmp_path, "at-risk", DATABASE_URL=database_url))[1] == "Nobody is at risk.\n"
    await put(database, Account(id="low", company="Low Ltd", health=12, mrr=4_900, owner="ana"))
    code, out, _ = await holdfast(tmp_path, "at-risk", DATABASE_URL=database_url)
    assert (code, "Low Ltd (low)" in out, "$49.00" in out) == (0, True, True)
    said = json.loads((await holdfast(tmp_path, "at-risk", "--json", DATABASE_URL=database_url))[1])
    assert [(each["account"], each["health"]) for each in said] == [("low", 12)]
    await database.close()
