"""A band that is crossed starts a run, exactly for those that crossed it and once (H0.4, P8.1)."""

from models.health.rows import AccountHealth, AccountMetrics
from models.tables import Account, CaseRow
from tests.playbook_kit import Kit
from tests.scans.customers import LONG_AGO, scanned, unwell

WELL = {"logins_per_week": 5, "core_feature_pct": 90, "session_minutes": 20, "nps": 10}


async def test_h0_4_one_in_a_hundred_crosses_a_band_and_exactly_those_start_a_run_once(kit: Kit) -> None:
    names = [f"crowd{number:03}" for number in range(300)]
    falls = names[::100]
    async with kit.place.database.writing() as session:
        for name in names:
            session.add(Account(id=name, signed_up_at=LONG_AGO, segment="mid", owner="ana"))
            if name in falls:
                session.add_all(unwell(name))
                continue
            stood = {"h1_score": 100_000, "h1_band": "healthy", "h1_coverage": 50, "risk_score": 0, "risk_band": "low"}
            session.add(AccountMetrics(account_id=name, readings=WELL))
            session.add(AccountHealth(account_id=name, model="h1", band="healthy", standings=stood, at=LONG_AGO))
    for _ in range(2):
        await scanned(kit.place.database, "health", kit.today(), page=100)
        await kit.place.arrive()
        cases: list[CaseRow] = await kit.place.rows(CaseRow, playbook="at-risk")
        assert sorted(case.account_id for case in cases if case.account_id in names) == falls
    runs = [run.id async for run in kit.place.client.list_workflows("WorkflowType = 'at-risk'") if "crowd" in run.id]
    assert sorted(runs) == sorted(case.id for case in cases if case.account_id in names)
