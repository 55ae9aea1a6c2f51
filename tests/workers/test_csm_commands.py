"""`holdfast csm` and `/books`, as a lead meets them (S3.3 to S3.5)."""

import json
from pathlib import Path

from models.customers import Contract, Owner
from models.database import Database
from models.tables import Account, TaskRow, wall
from tests.web.wire import receiving, request
from tests.workers.test_cli import holdfast

URL = "DATABASE_URL"


async def a_team(url: str) -> Database:
    """Two CSMs, two accounts, a renewal next week."""
    database = Database(url)
    today = wall().date()
    async with database.writing() as session:
        session.add(Owner(handle="ana", name="Ana Silva"))
        session.add(Owner(handle="bea", serves="starter", capacity=2))
        session.add(Account(id="acme", company="Acme", owner="ana", segment="enterprise", mrr=300_000, health=71))
        session.add(Account(id="tiny", owner="bea", segment="starter", mrr=4_900))
        session.add(Contract(id="k", account_id="acme", renews_on=today, value=1))
        session.add(
            TaskRow(key="t", account_id="acme", case_id="x", owner="ana", title="Call", opened_at=wall(), due_at=wall())
        )
    return database


async def test_s3_4_the_book_says_what_a_lead_asks_for(tmp_path: Path, database_url: str) -> None:
    database = await a_team(database_url)
    code, out, err = await holdfast(tmp_path, "csm", "book", "--json", DATABASE_URL=database_url)
    assert (code, err) == (0, "")
    ana, bea = json.loads(out)["books"]
    assert (ana["accounts"], ana["arr"], ana["mean_health"], ana["renewals_ahead"]) == (1, {"usd": 3_600_000}, 71.0, 1)
    assert (bea["serves"], bea["full_pct"], bea["state"]) == (["starter"], 50, "here")
    code, out, _ = await holdfast(tmp_path, "csm", "book", "bea", DATABASE_URL=database_url)
    assert code == 0
    assert "bea" in out and "$588.00" in out and "50 %" in out and "Ana" not in out
    assert await holdfast(tmp_path, "csm", "book", "zoe", DATABASE_URL=database_url) == (
        1,
        "",
        "holdfast: no CSM 'zoe' has a book; `holdfast csm book` shows all\n",
    )
    async with receiving(database) as site:
        page = (await site.exchange(request(b"", [], b"GET", b"/books"))).body.decode()
    assert all(words in page for words in ("Ana Silva", "1 (1 enterprise)", "$36,000.00", "71.0", "5 %", "50 %"))
    await database.close()


async def test_s3_3_assigned_by_hand_and_kept(tmp_path: Path, database_url: str) -> None:
    database = await a_team(database_url)
    told = await holdfast(tmp_path, "csm", "assign", "acme", "bea", "--hold", DATABASE_URL=database_url)
    assert told == (0, "acme is bea's, and stays so; it was ana's.\n", "")
    async with database.reading() as session:
        account, task = await session.get(Account, "acme"), await session.get(TaskRow, "t")
        assert account and task
        assert (account.owner, account.owner_held, task.owner) == ("bea", True, "bea")
    assert await holdfast(tmp_path, "csm", "assign", "nobody", "bea", DATABASE_URL=database_url) == (
        2,
        "",
        "holdfast: no account 'nobody' is known\n",
    )
    assert await holdfast(tmp_path, "csm", "assign", "acme", "zoe", DATABASE_URL=database_url) == (
        2,
        "",
        "holdfast: no owner 'zoe' is known; load owners with `holdfast import owners`\n",
    )
    await database.close()


async def test_s3_5_who_leaves_and_who_is_away(tmp_path: Path, database_url: str) -> None:
    database = await a_team(database_url)
    day = ("--until", "2026-12-11", "--from", "2026-12-01")
    assert (await holdfast(tmp_path, "csm", "away", "ana", *day, "--cover", "bea", DATABASE_URL=database_url))[:2] == (
        0,
        "ana is away from 2026-12-01 until 2026-12-11; bea does their tasks.\n",
    )
    wrong = ("--until", "2026-12-01", "--from", "2026-12-02")
    assert await holdfast(tmp_path, "csm", "away", "ana", *wrong, DATABASE_URL=database_url) == (
        2,
        "",
        "holdfast: away from 2026-12-02 until 2026-12-01: the last day comes before the first\n",
    )
    said = await holdfast(tmp_path, "csm", "leaves", "ana", "--on", "2027-01-31", "--json", DATABASE_URL=database_url)
    assert json.loads(said[1]) == {"owner": "ana", "left_on": "2027-01-31"}
    async with database.reading() as session:
        ana = await session.get(Owner, "ana")
    assert ana
    assert [str(each) for each in (ana.away_from, ana.away_until, ana.covered_by, ana.left_on)] == [
        "2026-12-01",
        "2026-12-11",
        "bea",
        "2027-01-31",
    ]
    await database.close()


async def test_t2_6_the_look_at_books_by_hand_and_its_preview(tmp_path: Path, database_url: str) -> None:
    database = await a_team(database_url)
    async with database.writing() as session:
        session.add(Account(id="new", mrr=300_000))
    looked = ("scan", "books", "--json")
    previewed = json.loads((await holdfast(tmp_path, *looked, "--preview", DATABASE_URL=database_url))[1])
    assert previewed["by_value"] == {"given a segment": 1, "given to a CSM": 1}
    async with database.reading() as session:
        new = await session.get(Account, "new")
    assert new and (new.owner, new.segment) == ("", "")
    done = json.loads((await holdfast(tmp_path, *looked, DATABASE_URL=database_url))[1])
    assert done["by_value"] == previewed["by_value"]
    async with database.reading() as session:
        new = await session.get(Account, "new")
    assert new and (new.owner, new.segment) == ("ana", "enterprise")
    await database.close()
