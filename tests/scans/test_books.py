"""The daily look at segments and books: rows on both databases, killed or doubled (S1.5, S3, T2.6)."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlmodel import select

from models import books, loading
from models.columns import AccountColumns
from models.customers import Owner
from models.database import Database
from models.segments import Books
from models.tables import Account, CaseRow, InboxEvent, TaskRow
from tests.scans.customers import DAY, TODAY, account, contract, put, rows, scanned, told

MID, BIG = {"mrr": 100_000}, {"mrr": 300_000}
NOON = datetime(2026, 3, 30, 12, tzinfo=UTC)


def csm(handle: str, **more: Any) -> Owner:
    """A CSM who serves what has a CSM by name."""
    return Owner(handle=handle, **more)


async def who(database: Database) -> dict[str, str]:
    """Each account's CSM."""
    return dict(await rows(database, Account, ("id", "owner")))


async def segments(database: Database) -> dict[str, str]:
    """Each account's segment."""
    return dict(await rows(database, Account, ("id", "segment")))


async def tasks(database: Database) -> list[tuple[Any, ...]]:
    """Every task: account, owner, title."""
    return await rows(database, TaskRow, ("account_id", "owner", "title"))


async def change(database: Database, table: Any, key: str, **values: Any) -> None:
    """Change a row by hand."""
    async with database.writing() as session:
        row = await session.get(table, key)
        for name, value in values.items():
            setattr(row, name, value)
        session.add(row)


# Segments.


async def test_s1_5_segments_follow_the_revenue_up_at_once_and_down_after_60_days(both: Database) -> None:
    await put(both, account("a", **MID), account("b"), account("gone", churned_at=NOON, **BIG))
    found = await scanned(both, "books")
    assert found.by_value == {"given a segment": 2}
    assert await segments(both) == {"a": "mid", "b": "starter", "gone": ""}
    await change(both, Account, "a", mrr=1)
    await change(both, Account, "b", mrr=300_000)
    assert (await scanned(both, "books", TODAY + DAY)).by_value == {"moved up": 1}
    assert await segments(both) == {"a": "mid", "b": "enterprise", "gone": ""}
    assert (await scanned(both, "books", TODAY + 60 * DAY)).by_value == {}
    assert (await scanned(both, "books", TODAY + 61 * DAY)).by_value == {"moved down": 1}
    assert await segments(both) == {"a": "starter", "b": "enterprise", "gone": ""}
    down, up = TODAY + 61 * DAY, TODAY + DAY
    assert await told(both) == [
        (f"segment.changed/a/{down}", "starter"),
        (f"segment.changed/b/{up}", "enterprise"),
    ]


async def test_s1_4_by_yearly_value_the_running_contracts_count(both: Database) -> None:
    await put(both, account("a", **BIG), account("b"), account("c", strategic=True), account("d", growth=True))
    soon = TODAY + 30 * DAY
    await put(both, contract("k1", "b", soon), contract("k2", "b", soon, state="lost"))
    await change(both, type(contract("k", "b", soon)), "k1", value=600_000)
    await scanned(both, "books", policy={"segments": {"basis": "acv"}})
    assert await segments(both) == {"a": "starter", "b": "mid", "c": "enterprise", "d": "mid"}


async def test_s1_4_a_segment_that_we_were_given_is_not_ours_to_change(both: Database) -> None:
    await put(both, account("a", segment="enterprise"), account("b", **MID))
    await scanned(both, "books")
    assert await segments(both) == {"a": "enterprise", "b": "mid"}
    async with both.writing() as session:
        await loading.load(session, [AccountColumns(id="b", segment="mid")])
    await change(both, Account, "b", mrr=300_000)
    assert (await scanned(both, "books", TODAY + DAY)).by_value == {}
    async with both.writing() as session:
        await loading.load(session, [AccountColumns(id="b", segment="")])
    await scanned(both, "books", TODAY + DAY)
    assert (await segments(both))["b"] == "enterprise"


# Who looks after whom.


async def test_s3_3_each_account_goes_to_who_has_most_room_in_its_pool(both: Database) -> None:
    await put(both, csm("ana"), csm("bea", capacity=4), csm("eve", serves="enterprise"), csm("lead", role="lead"))
    await put(both, *(account(f"m{number}", **MID) for number in range(3)), account("big", **BIG), account("small"))
    found = await scanned(both, "books", page=100)
    assert found.by_value == {"given a segment": 5, "given to a CSM": 4}
    # An enterprise account fills a twentieth of a book, a mid one a sixtieth, one of four a quarter.
    assert await who(both) == {"big": "ana", "m0": "bea", "m1": "ana", "m2": "ana", "small": ""}
    async with both.reading() as session:
        big = await session.get(Account, "big")
    assert big and big.owner_since and big.owner_since.date() == TODAY


@pytest.mark.parametrize(
    ("by", "expected"),
    [("accounts", ["ana", "bea", "ana"]), ("revenue", ["ana", "bea", "bea"]), ("round_robin", ["ana", "bea", "ana"])],
)
async def test_s3_3_by_accounts_by_revenue_or_in_turn(both: Database, by: str, expected: list[str]) -> None:
    await put(both, csm("ana"), csm("bea"), account("a", mrr=190_000), account("b", mrr=60_000), account("c", **MID))
    await scanned(both, "books", policy={"books": {"by": by}}, page=1)
    assert [owner for _, owner in sorted((await who(both)).items())] == expected


async def test_s3_3_whose_turn_it_is_outlives_the_day(both: Database) -> None:
    policy = {"books": {"by": "round_robin"}}
    await put(both, csm("ana"), csm("bea"), csm("eve"), *(account(name, **MID) for name in "ab"))
    await scanned(both, "books", policy=policy)
    await put(both, *(account(name, **MID) for name in "cd"))
    await scanned(both, "books", TODAY + DAY, policy=policy)
    assert await who(both) == {"a": "ana", "b": "bea", "c": "eve", "d": "ana"}


async def test_s3_1_when_everybody_is_full_the_lead_is_asked_once(both: Database) -> None:
    policy = {"books": {"capacity": {"enterprise": 1, "mid": 2, "starter": 1}}}
    await put(both, csm("ana"), *(account(name, **MID) for name in "abc"), account("d", **BIG))
    found = await scanned(both, "books", policy=policy, page=100)
    assert found.by_value["capacity full"] == 2
    assert await who(both) == {"a": "ana", "b": "ana", "c": "", "d": ""}
    asked = [("", "csm-lead", "Capacity full: enterprise"), ("", "csm-lead", "Capacity full: mid")]
    assert await tasks(both) == asked
    await scanned(both, "books", TODAY + DAY, policy=policy)
    assert await tasks(both) == asked
    await put(both, csm("bea"))
    await scanned(both, "books", TODAY + 2 * DAY, policy=policy)
    assert await who(both) == {"a": "ana", "b": "ana", "c": "bea", "d": ""}


async def test_s3_3_where_nobody_keeps_books_nobody_is_asked(both: Database) -> None:
    await put(both, account("a", **BIG), account("b", owner="somebody", **BIG))
    assert (await scanned(both, "books")).by_value == {"given a segment": 2}
    assert (await who(both), await tasks(both)) == ({"a": "", "b": "somebody"}, [])


# Who leaves, who is away.


def case(name: str, **more: Any) -> CaseRow:
    """An open case."""
    known: dict[str, Any] = {"playbook": name, "subject": "s", "opened_at": NOON - timedelta(days=9), "started": True}
    return CaseRow(id=f"{name}/{more['account_id']}", **(known | more))


def task(key: str, account_id: str, owner: str, **more: Any) -> TaskRow:
    """A task of a case."""
    known: dict[str, Any] = {"case_id": f"x/{account_id}", "title": key, "opened_at": NOON, "due_at": NOON}
    return TaskRow(key=key, account_id=account_id, owner=owner, **(known | more))


async def test_s3_5_when_a_csm_leaves_accounts_open_tasks_and_runs_are_passed_on(both: Database) -> None:
    await put(both, csm("ana", left_on=TODAY), csm("bea"))
    await put(both, *(account(name, owner="ana", **MID) for name in "ab"), account("s", owner="ana", segment="starter"))
    await put(both, case("renewal", account_id="a"), case("usage-decline", account_id="a", ended=True))
    await put(both, task("t1", "a", "ana"), task("t2", "a", "ana", outcome="done"), task("t3", "a", "csm-lead"))
    await put(both, task("t4", "s", "ana"))
    assert (await scanned(both, "books", TODAY - DAY)).by_value == {"given a segment": 2}
    found = await scanned(both, "books")
    assert found.by_value == {"passed on": 2, "tasks handed over": 1}
    assert await who(both) == {"a": "bea", "b": "bea", "s": "ana"}
    owners = dict(await rows(both, TaskRow, ("key", "owner")))
    assert owners == {"t1": "bea", "t2": "ana", "t3": "csm-lead", "t4": "csm-lead"}
    async with both.reading() as session:
        (heard,) = (await session.exec(select(InboxEvent))).all()
    assert (heard.kind, heard.account_id, heard.value, heard.state) == ("owner.changed", "a", "bea", "pending")
    assert (await scanned(both, "books")).by_value == {}


async def test_s3_5_an_account_kept_by_hand_stays_until_its_csm_leaves(both: Database) -> None:
    await put(both, csm("ana"), csm("bea"), account("a", **MID))
    async with both.writing() as session:
        row = await session.get(Account, "a")
        assert row
        await books.assign(session, row, "ana", NOON, held=True)
    await change(both, Owner, "ana", capacity=0, away_until=TODAY + DAY)
    await scanned(both, "books")
    assert await who(both) == {"a": "ana"}
    await change(both, Owner, "ana", left_on=TODAY + DAY)
    await scanned(both, "books", TODAY + DAY)
    async with both.reading() as session:
        row = await session.get(Account, "a")
    assert row and (row.owner, row.owner_held) == ("bea", False)


@pytest.mark.parametrize(
    ("day", "acts"),
    [(TODAY - DAY, "ana"), (TODAY, "bea"), (TODAY + 2 * DAY, "bea"), (TODAY + 3 * DAY, "ana")],
)
async def test_s3_5_who_covers_acts_from_the_first_day_away_to_the_last(both: Database, day: date, acts: str) -> None:
    away = {"away_from": TODAY, "away_until": TODAY + 2 * DAY, "covered_by": "bea"}
    await put(both, csm("ana", **away), csm("bea"), task("t", "a", "ana"), account("a", owner="ana", **MID))
    async with both.reading() as session:
        assert await books.acting_for(session, "ana", day, "csm-lead") == acts
        assert await books.acting_for(session, "nobody-we-know", day, "csm-lead") == "nobody-we-know"
    await scanned(both, "books", day)
    assert [owner for _, owner, _ in await tasks(both)] == [acts]
    assert await who(both) == {"a": "ana"}


async def test_s3_5_when_those_who_cover_are_away_too_the_lead_acts(both: Database) -> None:
    await put(both, csm("ana", away_until=TODAY, covered_by="bea"), csm("bea", away_until=TODAY, covered_by="ana"))
    await put(both, csm("eve", away_until=TODAY))
    async with both.reading() as session:
        acting = [await books.acting_for(session, handle, TODAY, "csm-lead") for handle in ("ana", "bea", "eve")]
    assert acting == ["csm-lead"] * 3


async def test_s3_3_who_is_away_is_given_no_new_account(both: Database) -> None:
    await put(both, csm("ana", away_until=TODAY + DAY), csm("bea"), account("a", **MID), account("b", **MID))
    await scanned(both, "books")
    assert await who(both) == {"a": "bea", "b": "bea"}


async def test_s3_5_a_load_that_names_another_csm_is_followed_up_like_any_change(both: Database) -> None:
    await put(both, account("a", owner="ana", **MID), case("renewal", account_id="a"), task("t", "a", "ana"))
    async with both.writing() as session:
        await loading.load(session, [AccountColumns(id="a", owner="bea")])
    assert [owner for _, owner, _ in await tasks(both)] == ["bea"]
    assert [value for _, value in await told(both)] == ["bea"]


# Books, and what may go wrong with the job.


async def test_s3_2_and_s3_4_a_book_has_arr_accounts_health_and_renewals_ahead(both: Database) -> None:
    soon, later = TODAY + 90 * DAY, TODAY + 91 * DAY
    await put(both, csm("ana", name="Ana Silva"), csm("bea"), csm("old", left_on=TODAY), csm("x", role="executive"))
    await put(both, account("a", owner="ana", segment="mid", mrr=100_000, health=80))
    await put(both, account("b", owner="ana", segment="enterprise", mrr=300_000, health=61))
    await put(both, account("c", owner="ana", segment="enterprise", mrr=10_000, currency="eur"))
    await put(both, account("gone", owner="ana", segment="mid", mrr=1, churned_at=NOON))
    await put(both, contract("k1", "a", soon), contract("k2", "b", later), contract("k3", "c", soon, state="signed"))
    async with both.reading() as session:
        ana, bea = await books.books(session, Books(), TODAY)
        assert await books.too_few(session, Books(accounts_per_sponsor=1), TODAY) == [
            "2 enterprise accounts, 1 executive sponsors: more than 1 for each"
        ]
        assert await books.too_few(session, Books(), TODAY) == []
    assert (ana.handle, ana.name, ana.state, ana.serves) == ("ana", "Ana Silva", "here", ("enterprise", "mid"))
    assert (ana.accounts, ana.by_segment) == (3, {"enterprise": 2, "mid": 1})
    assert (ana.arr, ana.mean_health, ana.renewals_ahead) == ({"usd": 4_800_000, "eur": 120_000}, 70.5, 1)
    assert ana.full_pct == 12  # two twentieths and a sixtieth
    assert (bea.accounts, bea.arr, bea.mean_health, bea.renewals_ahead, bea.full_pct) == (0, {}, None, 0, 0)


async def world_of(database: Database) -> list[list[tuple[Any, ...]]]:
    """Everything that the look at books writes, without what differs by its nature (random ids, the wall clock)."""
    accounts = await rows(database, Account, ("id", "owner", "owner_since", "segment", "segment_below_since"))
    return [accounts, await tasks(database), sorted(await rows(database, InboxEvent, ("kind", "account_id", "value")))]


async def a_busy_day(database: Database) -> None:
    """Accounts without CSM, with one who left, full books, segments that change."""
    await put(database, csm("ana", capacity=2), csm("bea", capacity=2), csm("old", left_on=TODAY))
    await put(database, *(account(f"n{number}", **MID) for number in range(3)))
    await put(database, *(account(f"o{number}", owner="old", **BIG) for number in range(3)))
    await put(database, *(case("renewal", account_id=f"o{number}") for number in range(3)))
    await put(database, account("up", segment="mid", segment_computed=True, owner="somebody", **BIG))


async def test_t2_6_doubled_killed_or_late_the_job_ends_in_the_rows_of_one(both: Database) -> None:
    await a_busy_day(both)
    await asyncio.gather(*(scanned(both, "books") for _ in range(3)))
    after = await world_of(both)
    assert [row[1] for row in after[0]] == ["ana", "bea", "ana", "bea", "old", "old", "somebody"]
    assert after[1] == [("", "csm-lead", "Capacity full: enterprise")]
    assert (await scanned(both, "books")).by_value == {}
    assert await world_of(both) == after
