"""`holdfast import` as a user meets it: files as people save them, every row accounted for, twice the same."""

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import SQLModel, select

from models.customers import Contact, Contract, Owner, UsageDay
from models.database import Database
from models.health.rows import AccountMetrics
from models.policy import Usage
from models.tables import Account, InboxEvent, wall
from tests.models.conftest import both
from tests.models.postgres import postgres
from tests.workers.test_cli import holdfast
from workers.csv_files import BadFile
from workers.importing import Import, Report

__all__ = ["both", "postgres"]
RULES = Usage(names={"Opened": "activity"})


async def imported(database: Database, kind: str, path: Path, content: str | bytes, **options: Any) -> Report:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return await Import(database, kind, path, RULES, **options).run()


def figures(report: Report) -> tuple[int, int, int, int, int]:
    return report.read, report.loaded, report.changed, report.unchanged, report.bad


async def rows(database: Database, table: type[SQLModel]) -> list[Any]:
    async with database.reading() as session:
        return list((await session.exec(select(table).order_by(*table.__table__.primary_key))).all())  # type: ignore[attr-defined]


async def known(database: Database, *accounts: Account) -> None:
    async with database.writing() as session:
        session.add_all(accounts)


async def test_t1_19_a_file_is_loaded_and_loading_it_again_changes_nothing(both: Database, tmp_path: Path) -> None:
    content = "id,external_id,company,mrr,strategic,signed_up_at\na1,x1,Acme,500,true,2026-01-02\na2,,Bolt,,no,\n"
    file = tmp_path / "accounts.csv"
    assert figures(await imported(both, "accounts", file, content)) == (2, 2, 2, 0, 0)
    first, second = await rows(both, Account)
    assert (first.external_id, first.company, first.mrr, first.strategic) == ("x1", "Acme", 500, True)
    assert first.signed_up_at == datetime(2026, 1, 2, tzinfo=UTC)
    assert (second.external_id, second.company, second.mrr, second.strategic) == (None, "Bolt", 0, False)
    assert figures(await imported(both, "accounts", file, content)) == (2, 2, 0, 2, 0)
    changed = content.replace("500", "700")
    assert figures(await imported(both, "accounts", file, changed)) == (2, 2, 1, 1, 0)
    assert not list(tmp_path.glob("*.rejected.csv"))


async def test_t1_19_an_empty_cell_leaves_what_is_there(both: Database, tmp_path: Path) -> None:
    await known(both, Account(id="a1", company="Acme", mrr=5))
    report = await imported(both, "accounts", tmp_path / "a.csv", "id,company,mrr\na1,,7\n")
    assert figures(report) == (1, 1, 1, 0, 0)
    assert [(row.company, row.mrr) for row in await rows(both, Account)] == [("Acme", 7)]


SHAPES: dict[str, bytes] = {
    "as it should be": b'id,company,owner\na1,"Acme, Inc.",ana\na2,"Two\nlines",bob\n',
    "BOM and CRLF, as Excel saves it": (
        b'\xef\xbb\xbfid,company,owner\r\na1,"Acme, Inc.",ana\r\na2,"Two\r\nlines",bob\r\n'
    ),
    "semicolons, as Excel saves it in Europe": b'id;company;owner\na1;Acme, Inc.;ana\na2;"Two\nlines";bob\n',
    "tabs": b'id\tcompany\towner\na1\tAcme, Inc.\tana\na2\t"Two\nlines"\tbob\n',
    "blank lines, spaces, capitals, no last line end": (
        b'\n ID , Company,OWNER\n\na1," Acme,  Inc. ", ana\n   \na2,"Two\nlines",bob'
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
async def test_t1_19_every_way_in_which_programs_save_csv_is_read_the_same(
    shape: str, database: Database, tmp_path: Path
) -> None:
    report = await imported(database, "accounts", tmp_path / "a.csv", SHAPES[shape])
    assert figures(report) == (2, 2, 2, 0, 0)
    assert [(row.id, row.company, row.owner) for row in await rows(database, Account)] == [
        ("a1", "Acme, Inc.", "ana"),
        ("a2", "Two lines", "bob"),
    ]


async def test_t1_19_bad_rows_are_kept_apart_with_their_line_and_reason_and_can_be_mended(
    both: Database, tmp_path: Path
) -> None:
    file, rejected = tmp_path / "accounts.csv", tmp_path / "accounts.rejected.csv"
    heard: list[str] = []
    content = 'id,company,mrr\na1,"Ac\nme",1\na2,Bolt,lots\na1,Again,2\na3,too,many,cells\n,nobody,3\na4,fine,4\n'
    report = await imported(both, "accounts", file, content, complain=heard.append)
    assert figures(report) == (6, 2, 2, 0, 4)
    assert (
        heard
        == report.first_bad
        == [
            "line 4: mrr: is 'lots'; expected a whole number in the minor unit (cents), 0 or more",
            "line 5: id: the same as in line 2; keep one of the two",
            "line 6: has 4 cells, but the header has 3 columns; a cell with a comma in it stands in quotation marks",
            "line 7: id: is missing; expected 1 to 255 printable characters",
        ]
    )
    assert report.rejected == str(rejected)
    assert rejected.read_text() == (
        "id,company,mrr,reason\n"
        "a2,Bolt,lots,\"line 4: mrr: is 'lots'; expected a whole number in the minor unit (cents), 0 or more\"\n"
        "a1,Again,2,line 5: id: the same as in line 2; keep one of the two\n"
        'a3,too,many,cells,"line 6: has 4 cells, but the header has 3 columns; a cell with a comma in it stands in '
        'quotation marks"\n'
        ",nobody,3,line 7: id: is missing; expected 1 to 255 printable characters\n"
    )
    mended = "id,company,mrr,reason\na2,Bolt,2,line 4: was bad\na3,too many cells,3,line 6\n"
    assert figures(await imported(both, "accounts", rejected, mended)) == (2, 2, 2, 0, 0)
    assert [(row.id, row.mrr) for row in await rows(both, Account)] == [("a1", 1), ("a2", 2), ("a3", 3), ("a4", 4)]


async def test_t1_19_a_quotation_mark_that_is_never_closed_costs_no_more_than_it_must(
    database: Database, tmp_path: Path
) -> None:
    report = await imported(database, "accounts", tmp_path / "a.csv", 'id,company\na1,"Acme\na2,Bolt\n')
    assert figures(report) == (1, 0, 0, 0, 1)
    assert report.first_bad == [
        "line 2: a quotation mark is opened and not closed up to line 3; the lines from 2 on are one cell"
    ]
    assert 'a1,""Acme\na2,Bolt' in (tmp_path / "a.rejected.csv").read_text()
    report = await imported(database, "accounts", tmp_path / "b.csv", 'id,company\na1,"Ac"me\na2,Bolt\n')
    assert figures(report) == (2, 1, 1, 0, 1)
    assert report.first_bad[0].startswith("line 2: a quotation mark inside a cell must be doubled")


ACCOUNTS = (
    "id, external_id, name, company, email, locale, timezone, owner, segment, strategic, growth, "
    "owner_held, mrr, currency, plan, health, "
    "signed_up_at, churned_at, churn_reason, opted_out_at"
)
BAD_FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "{file} is empty: the first line names the columns"),
    "unknown columns": (
        b"id,mr,foo\na,1,2\n",
        f"{{file}}: unknown columns 'mr', 'foo'. For accounts there are: {ACCOUNTS}. Needed: id",
    ),
    "no id": (b"company\nAcme\n", f"{{file}}: no column 'id'. For accounts there are: {ACCOUNTS}. Needed: id"),
    "a column twice": (b"id,plan,plan\n", "{file}: the header names 'plan' twice"),
    "a column without a name": (b"id,plan,\n", "{file}: column 3 of the header has no name"),
    "Latin-1": (
        b"id,company\na1,Acme\na2,M\xfcller\n",
        "{file}: line 3 is not UTF-8: save the file as UTF-8 (in Excel: CSV UTF-8), then import",
    ),
    "UTF-16": (
        "id,company\n".encode("utf-16"),
        "{file} is UTF-16: save the file as UTF-8 (in Excel: CSV UTF-8), then import",
    ),
    "a spreadsheet": (
        b"PK\x03\x04 and so on",
        "{file} is a spreadsheet or an archive: save the sheet as CSV UTF-8, and import that",
    ),
    "cut off": (b"id,company\na1,M\xc3", "{file}: it ends in the middle of a character; it seems to be cut off"),
    "one endless line": (
        b"id,company\n" + b"a" * 2_200_000,
        "{file}: line 2 is longer than 1048576 bytes; is this a CSV file?",
    ),
}


@pytest.mark.parametrize("name", BAD_FILES)
async def test_t1_19_a_file_that_cannot_be_imported_is_refused_whole_with_what_to_do(
    name: str, database: Database, tmp_path: Path
) -> None:
    content, sentence = BAD_FILES[name]
    file = tmp_path / "accounts.csv"
    with pytest.raises(BadFile) as refused:
        await imported(database, "accounts", file, content)
    assert str(refused.value) == sentence.format(file=file)
    assert await rows(database, Account) == []


async def test_t1_19_contacts_contracts_and_owners_name_their_account_by_either_name(
    both: Database, tmp_path: Path
) -> None:
    await known(both, Account(id="cus_1", external_id="acme"))
    contacts = "id,account_id,role,email\nz,acme,billing,z@example.com\ny,nobody,billing,\n"
    report = await imported(both, "contacts", tmp_path / "contacts.csv", contacts)
    assert figures(report) == (2, 1, 1, 0, 1)
    assert report.first_bad == ["line 3: account_id: 'nobody' is not known; load the account first"]
    contracts = "id,account_id,renews_on,value\nc1,cus_1,2027-03-01,5\nc2,cus_1,,5\nc3,cus_1,soon,5\n"
    report = await imported(both, "contracts", tmp_path / "contracts.csv", contracts)
    assert report.first_bad == [
        "line 4: renews_on: is 'soon'; expected a date such as 2027-03-01",
        "line 3: renews_on: is missing; a new row needs it: a date such as 2027-03-01",
    ]
    await imported(both, "owners", tmp_path / "owners.csv", "handle,name\nana,Ana\n")
    assert [(row.id, row.account_id) for row in await rows(both, Contact)] == [("z", "cus_1")]
    assert [(row.id, row.renews_on) for row in await rows(both, Contract)] == [("c1", date(2027, 3, 1))]
    assert [(row.handle, row.name) for row in await rows(both, Owner)] == [("ana", "Ana")]


async def test_i6_imported_use_sets_the_days_count_however_often(both: Database, tmp_path: Path) -> None:
    await known(both, Account(id="cus_1", external_id="acme"))
    async with both.writing() as session:
        session.add(UsageDay(account_id="cus_1", metric="activity", day=date(2026, 11, 1), count=99))
    content = (
        "account,metric,day,count\nacme,Opened,2026-11-01,5\ncus_1,login,2026-11-01,2\nnobody,login,2026-11-01,1\n"
    )
    report = await imported(both, "usage", tmp_path / "usage.csv", content)
    assert figures(report) == (3, 2, 2, 0, 1)
    assert report.first_bad == ["line 4: account: 'nobody' is not known; import the account first"]
    assert figures(await imported(both, "usage", tmp_path / "usage.csv", content)) == (3, 2, 0, 2, 1)
    assert [(row.metric, row.count) for row in await rows(both, UsageDay)] == [("activity", 5), ("login", 2)]


async def test_h0_imported_readings_are_recorded_the_newest_of_each_and_bad_ones_are_reported(
    both: Database, tmp_path: Path
) -> None:
    await known(both, Account(id="cus_1", external_id="acme"))
    content = (
        "account,metric,value,at\nacme,nps,9,2026-11-02\ncus_1,nps,3,2026-11-01\ncus_1,contract,Multi-year,2026-11-01\n"
        "cus_1,nps,eleven,2026-11-03\ncus_1,npz,1,2026-11-03\nnobody,nps,9,2026-11-03\ncus_1,roi,2.5,2026-11-01\n"
    )
    report = await imported(both, "metrics", tmp_path / "metrics.csv", content)
    assert figures(report) == (7, 4, 3, 1, 3)
    first, second, third = report.first_bad
    assert first == "line 5: nps: 'eleven' is not allowed; expected a number from 0 to 10"
    assert second.startswith("line 6: there is no metric 'npz'; there are logins_per_week, ")
    assert third == "line 7: account: 'nobody' is not known; import the account first"
    (row,) = await rows(both, AccountMetrics)
    assert row.readings == {"nps": 9, "contract": "multi_year", "roi": 2.5}
    assert figures(await imported(both, "metrics", tmp_path / "metrics.csv", content)) == (7, 4, 0, 4, 3)


async def test_t1_19_a_dry_run_reports_the_same_and_changes_nothing(both: Database, tmp_path: Path) -> None:
    content = "id,mrr\na1,1\na2,x\n"
    report = await imported(both, "accounts", tmp_path / "a.csv", content, dry_run=True)
    assert (figures(report), report.dry_run) == ((2, 1, 1, 0, 1), True)
    assert await rows(both, Account) == []
    assert (tmp_path / "a.rejected.csv").exists()


async def test_t1_19_importing_accounts_lets_parked_events_go_on_and_says_how_many(
    both: Database, tmp_path: Path
) -> None:
    async with both.writing() as session:
        session.add(
            InboxEvent(
                source="events",
                event_id="1",
                type="user.signed_up",
                kind="user.signed_up",
                account_id="x1",
                state="parked",
                occurred_at=wall(),
                body=b"{}",
            )
        )
    report = await imported(both, "accounts", tmp_path / "a.csv", "id,external_id\na1,x1\na2,x2\n")
    assert report.events_that_went_on == 1
    assert [(row.state, row.account_id) for row in await rows(both, InboxEvent)] == [("pending", "a1")]


async def test_t1_19_more_rows_than_one_transaction_holds_are_all_loaded(both: Database, tmp_path: Path) -> None:
    lines = [f"a{number},{'x' if number % 100 == 7 else number}" for number in range(2500)]
    report = await imported(both, "accounts", tmp_path / "a.csv", "id,mrr\n" + "\n".join(lines))
    assert figures(report) == (2500, 2475, 2475, 0, 25)
    assert len(report.first_bad) == 20
    assert len((tmp_path / "a.rejected.csv").read_text().splitlines()) == 26
    assert len(await rows(both, Account)) == 2475


async def test_t1_19_the_command_exits_0_1_or_2_and_speaks_json(tmp_path: Path) -> None:
    await holdfast(tmp_path, "migrate")
    file = tmp_path / "accounts.csv"
    file.write_text("id,mrr\na1,5\n")
    code, out, err = await holdfast(tmp_path, "import", "accounts", "accounts.csv")
    assert (code, err) == (0, "")
    assert out == "1 rows read, 1 loaded (1 new or changed, 0 unchanged), 0 bad.\n"
    file.write_text("id,mrr\n" + "".join(f"a{number},x\n" for number in range(21)) + "a99,1\n")
    code, out, err = await holdfast(tmp_path, "import", "accounts", "accounts.csv", "--json")
    found = json.loads(out)
    assert (code, found["loaded"], found["bad"], len(found["first_bad"])) == (1, 1, 21, 20)
    complaints = err.splitlines()
    assert complaints[0].startswith("holdfast: line 2: mrr: is 'x'; expected a whole number")
    assert complaints[20:] == [
        "holdfast: ... and 1 more",
        "holdfast: rows that were not loaded are in accounts.rejected.csv: correct them, and import that file",
    ]
    code, out, err = await holdfast(tmp_path, "import", "usage", "accounts.csv")
    assert (code, out) == (2, "")
    assert err.startswith("holdfast: accounts.csv: unknown columns 'id', 'mrr'; no column 'account', 'metric'")
    assert await holdfast(tmp_path, "import", "usage", "gone.csv") == (2, "", "holdfast: there is no file gone.csv\n")
