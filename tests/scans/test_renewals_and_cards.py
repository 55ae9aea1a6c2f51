"""The scans for renewals and cards: each is found once, killed or doubled; runs are spread (P2, P6, T2)."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlmodel import col, select
from temporalio.testing import ActivityEnvironment

from activities.findings import KINDS
from activities.scans import HOUR, Scans, Turns
from models.database import Database
from models.policy import PolicyFile
from models.scans import Found, Scan, Which
from models.tables import InboxEvent
from tests.scans.customers import DAY, TODAY, account, contract, facts_of, put, scanned, told, unwell, windows

TOLD = [which for which in KINDS if which != "rules"]
"""Of these `many` gives each account one finding; who is unwell crosses two rules."""
MIDNIGHT = datetime(2026, 3, 30, tzinfo=UTC)


async def test_p6_1_p6_13_t2_2_each_contract_within_120_days_or_closer(both: Database) -> None:
    ahead = {"today": 0, "soon": 10, "edge": 120, "far": 121, "past": -1}
    await put(both, account("a"), *(contract(name, "a", TODAY + DAY * days) for name, days in ahead.items()))
    await scanned(both, "renewals")
    edge = TODAY + DAY * 120
    assert [row[3].split("/")[0] for row in await facts_of(both)] == ["edge", "soon", "today"]
    assert (await facts_of(both))[0] == (
        f"renewal.ahead/edge/{edge}", "renewal.ahead", "a", f"edge/{edge}", "", 120_000, "usd", MIDNIGHT, "holdfast",
    )  # fmt: skip
    await scanned(both, "renewals", TODAY + DAY)
    assert [row[3].split("/")[0] for row in await facts_of(both)] == ["edge", "far", "soon", "today"]


async def test_p6_18_a_monthly_account_has_no_renewal_nor_has_what_is_signed_or_left(both: Database) -> None:
    soon = TODAY + DAY * 30
    await put(both, account("a"), account("gone", churned_at=MIDNIGHT))
    await put(
        both,
        contract("monthly", "a", soon, term="monthly"),
        contract("annual", "a", soon),
        contract("sent", "a", soon, state="sent"),
        contract("signed", "a", soon, state="signed"),
        contract("lost", "a", soon, state="lost"),
        contract("churned", "gone", soon),
    )
    found = await scanned(both, "renewals")
    assert [row[3] for row in await facts_of(both)] == [f"annual/{soon}", f"sent/{soon}"]
    assert (found.found, found.recorded, found.accounts) == (2, 2, 2)


async def test_a_renewal_that_moved_is_found_again_and_segments_prepare_earlier(both: Database) -> None:
    await put(both, account("a"), account("big", segment="enterprise"))
    await put(both, contract("c", "a", TODAY + DAY * 150), contract("d", "big", TODAY + DAY * 150))
    policy = {"segment": {"enterprise": {"renewal": {"prepare_day": 180}}}}
    await scanned(both, "renewals", policy=policy)
    assert [row[3].split("/")[0] for row in await facts_of(both)] == ["d"]
    async with both.writing() as session:
        moved = await session.get(type(contract("d", "big", TODAY)), "d")
        assert moved
        moved.renews_on = TODAY + DAY * 160
    await scanned(both, "renewals", policy=policy)
    assert [row[3] for row in await facts_of(both)] == [f"d/{TODAY + DAY * 150}", f"d/{TODAY + DAY * 160}"]


async def test_p2_1_t2_3_cards_within_thirty_days_inclusive(both: Database) -> None:
    days = {"today": 0, "edge": 30, "later": 31, "expired": -1, "none": None}
    for name, ahead in days.items():
        await put(both, account(name, card_expires_on=None if ahead is None else TODAY + DAY * ahead))
    await put(both, account("gone", card_expires_on=TODAY, churned_at=MIDNIGHT))
    await scanned(both, "cards")
    edge = TODAY + DAY * 30
    assert [row[2] for row in await facts_of(both)] == ["edge", "today"]
    assert (await facts_of(both))[0] == (
        f"card.expiring/edge/{edge}", "card.expiring", "edge", f"edge/{edge}", "", 4900, "usd", MIDNIGHT, "holdfast",
    )  # fmt: skip


async def many(database: Database, count: int) -> None:
    """Accounts of which each scan finds every one, two windows of them."""
    for number in range(count):
        name = f"a{number:03}"
        await put(database, account(name, card_expires_on=TODAY), contract(f"c{number:03}", name, TODAY + DAY))
        await put(database, *windows(name, 10, 4), *unwell(name))


async def dues(database: Database) -> list[datetime]:
    async with database.reading() as session:
        statement = select(InboxEvent.wall_next_try_at).order_by(col(InboxEvent.id))
        return list((await session.exec(statement)).all())


async def test_starts_per_hour_the_rest_of_a_scan_follows_hour_by_hour(both: Database) -> None:
    await many(both, 7)
    policy = {"starts": {"per_hour": 2}}
    await scanned(both, "cards", policy=policy)
    moments = await dues(both)
    assert [round((moment - moments[0]) / HOUR) for moment in moments] == [0, 0, 1, 1, 2, 2, 3]
    await put(both, account("b", card_expires_on=TODAY))
    await scanned(both, "cards", policy=policy)
    assert round(((await dues(both))[-1] - moments[0]) / HOUR) == 3, "a second scan queues behind the first"


def test_turns_never_give_more_than_the_hour_may_have() -> None:
    now = datetime(2026, 3, 30, 5, 10, tzinfo=UTC)
    turns = Turns([now - timedelta(minutes=50), now - timedelta(minutes=20)], 3, now)
    given = []
    for _ in range(5):
        given.append(turns.next() - now)
        turns.take()
    minutes = [moment / timedelta(minutes=1) for moment in given]
    assert minutes == [0, 10, 40, 60, 70]


@pytest.mark.parametrize("which", TOLD)
async def test_a_scan_that_is_done_twice_at_once_ends_in_the_rows_of_one(both: Database, which: Which) -> None:
    await many(both, 9)
    found = await asyncio.gather(*(scanned(both, which) for _ in range(3)))
    rows = await facts_of(both)
    assert len(rows) == 9
    assert sum(each.recorded for each in found) == 9
    assert (await scanned(both, which)).recorded == 0
    assert await facts_of(both) == rows


@pytest.mark.parametrize("which", TOLD)
@pytest.mark.parametrize("remembered", [True, False], ids=["goes on", "starts over"])
async def test_a_scan_killed_after_its_first_page_ends_in_the_same_rows(
    both: Database, which: Which, remembered: bool
) -> None:
    await many(both, 9)
    scans = Scans(both, PolicyFile(), page=2)
    scan = Scan(which=which, day=TODAY, window=100)
    beats: list[Any] = []
    first = ActivityEnvironment()

    def killed(beat: Any) -> None:
        beats.append(beat)
        first.cancel()

    first.on_heartbeat = killed
    with pytest.raises(asyncio.CancelledError):
        await first.run(scans.scan, scan)
    assert len(beats) == 1
    assert len(await told(both)) == 2
    again = ActivityEnvironment()
    again.info = replace(again.info, heartbeat_details=beats if remembered else [])
    pages: list[Any] = []
    again.on_heartbeat = pages.append
    found = await again.run(scans.scan, scan)
    # A band that was crossed is what the account stands in from then on, and not found again.
    finds = 7 if which == "health" and not remembered else 9
    assert (found.found, found.accounts, found.done) == (finds, 9, True)
    assert found.recorded == (9 if remembered else 7)
    assert [page["accounts"] for page in pages] == ([4, 6, 8, 9] if remembered else [2, 4, 6, 8, 9])
    killed_rows = await facts_of(both)
    assert [row[2] for row in killed_rows] == [f"a{number:03}" for number in range(9)]


async def test_windows_go_on_after_each_other_to_the_last_account(both: Database) -> None:
    await many(both, 6)
    scans = Scans(both, PolicyFile(), page=2)
    so_far = Found()
    after = []
    while not so_far.done:
        scan = Scan(which="cards", day=TODAY, window=3, after=so_far.after)
        so_far = so_far.plus(await ActivityEnvironment().run(scans.scan, scan))
        after.append((so_far.after, so_far.accounts, so_far.done))
    assert after == [("a002", 3, False), ("a005", 6, False), ("a005", 6, True)]
    assert so_far.recorded == 6
