"""The tables and what claims rely on: locks, unique keys, times. On both databases."""

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError, StatementError
from sqlmodel import col, select

from models import ledger
from models.database import Database
from models.database_url import BadDatabaseUrl, async_url
from models.tables import Access, CaseNote, CaseRow, CaseSubject, InboxEvent, wall
from workers import migrate

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def case(number: int = 1, account: str = "cus_1", **values: Any) -> CaseRow:
    made: dict[str, Any] = {"at_stake": 0, "opened_at": NOON, "subject": f"in_{number}", **values}
    return CaseRow(id=f"payment-failure/in_{number}", playbook="payment-failure", account_id=account, **made)


def inbox(event_id: str = "evt_1", body: bytes = b"{}") -> InboxEvent:
    return InboxEvent(source="stripe", event_id=event_id, type="invoice.paid", occurred_at=NOON, body=body)


def again(database: Database) -> Database:
    """Another process's way to the same database."""
    return Database(database.engine.url.render_as_string(hide_password=False))


async def test_a_moment_comes_back_in_utc_whatever_zone_it_was_written_in(both: Database) -> None:
    async with both.writing() as session:
        session.add(Access(account_id="a", level="full", key="k", since=NOON.astimezone(timezone(timedelta(hours=5)))))
    async with both.reading() as session:
        found = (await session.exec(select(Access))).one()
    assert (found.since, found.since.tzinfo) == (NOON, UTC)


async def test_a_moment_without_a_zone_is_refused(both: Database) -> None:
    with pytest.raises(StatementError, match="has no time zone"):
        async with both.writing() as session:
            session.add(Access(account_id="a", level="full", key="k", since=datetime(2026, 11, 23)))  # noqa: DTZ001
    async with both.reading() as session:
        assert (await session.exec(select(Access))).all() == []


async def test_no_update_is_lost_among_400(both: Database) -> None:
    """Four ways to the database, each a hundred times: read, think, write."""
    async with both.writing() as session:
        session.add(case())
    others = [again(both) for _ in range(4)]

    async def work(database: Database) -> None:
        for _ in range(100):
            async with database.writing() as session:
                row = await ledger.lock_case(session, "payment-failure/in_1")
                seen = row.at_stake
                await asyncio.sleep(0)
                row.at_stake = seen + 1
                session.add(row)

    await asyncio.gather(*(work(each) for each in others))
    for each in others:
        await each.close()
    async with both.reading() as session:
        assert (await session.exec(select(CaseRow.at_stake))).one() == 400


async def test_readers_wait_for_no_writer(both: Database) -> None:
    async with both.writing() as session:
        session.add(case())
        await session.flush()
        async with both.reading() as other:
            found = await asyncio.wait_for(other.exec(select(CaseRow)), 2)
            assert found.all() == []


async def test_an_error_takes_everything_back(both: Database) -> None:
    with pytest.raises(ZeroDivisionError):
        async with both.writing() as session:
            session.add(case())
            await session.flush()
            raise ZeroDivisionError
    async with both.reading() as session:
        assert (await session.exec(select(CaseRow))).all() == []


async def test_t1_19_insert_once_inserts_once(both: Database) -> None:
    async with both.writing() as session:
        assert await ledger.insert_once(session, inbox()) is True
        assert await ledger.insert_once(session, inbox(body=b"other")) is False
    async with both.writing() as session:
        assert await ledger.insert_once(session, inbox(body=b"third")) is False
        assert await ledger.insert_once(session, inbox("evt_2")) is True
    async with both.reading() as session:
        rows = (await session.exec(select(InboxEvent).order_by(col(InboxEvent.id)))).all()
    assert [(row.event_id, row.body, row.occurred_at) for row in rows] == [
        ("evt_1", b"{}", NOON),
        ("evt_2", b"{}", NOON),
    ]


async def test_t1_19_of_twenty_at_once_one_is_inserted(both: Database) -> None:
    async def insert() -> bool:
        async with both.writing() as session:
            return await ledger.insert_once(session, inbox())

    assert sorted(await asyncio.gather(*(insert() for _ in range(20)))) == [False] * 19 + [True]


async def test_insert_once_knows_keys_of_two_columns_and_rows_with_json(both: Database) -> None:
    note = CaseNote(case_id="c", at=NOON, by="ana", text="called")
    async with both.writing() as session:
        assert await ledger.insert_once(session, case(readings={"at_stake": 1})) is True
        subject = CaseSubject(case_id="payment-failure/in_1", subject="in_1", joined_at=NOON)
        assert [await ledger.insert_once(session, subject) for _ in range(2)] == [True, False]
        assert [await ledger.insert_once(session, note) for _ in range(2)] == [True, False]
    async with both.reading() as session:
        assert (await session.exec(select(CaseRow.readings))).one() == {"at_stake": 1}


async def test_a_subject_needs_its_case(both: Database) -> None:
    with pytest.raises(IntegrityError):
        async with both.writing() as session:
            session.add(CaseSubject(case_id="none", subject="in_1", joined_at=NOON))


async def test_p0_5_one_case_at_most_is_open_for_an_account_in_a_playbook(both: Database) -> None:
    async with both.writing() as session:
        session.add_all([case(1, ended=True), case(2, ended=True), case(3), case(4, "cus_2")])
    with pytest.raises(IntegrityError):
        async with both.writing() as session:
            session.add(case(5))
    async with both.writing() as session:
        session.add(case(6, ended=True))


async def test_lock_case_says_which_case_there_is_none_of(both: Database) -> None:
    with pytest.raises(ledger.NoSuchCase, match="^no case 'none' in the database; runs are started through the relay$"):
        async with both.writing() as session:
            await ledger.lock_case(session, "none")


async def test_lock_case_holds_others_off_until_the_end(both: Database) -> None:
    async with both.writing() as session:
        session.add(case())
    order: list[str] = []

    async def second() -> None:
        async with both.writing() as session:
            await ledger.lock_case(session, "payment-failure/in_1")
            order.append("second")

    async with both.writing() as session:
        await ledger.lock_case(session, "payment-failure/in_1")
        waiting = asyncio.create_task(second())
        await asyncio.sleep(0.05)
        order.append("first")
    await waiting
    assert order == ["first", "second"]


@pytest.mark.parametrize("amount", [2**31 - 1, -(2**31)])
async def test_amounts_of_31_bits_are_kept(both: Database, amount: int) -> None:
    async with both.writing() as session:
        session.add(case(at_stake=amount))
    async with both.reading() as session:
        assert (await session.exec(select(CaseRow.at_stake))).one() == amount


async def test_t1_1_amounts_of_rupiah_are_kept(both: Database) -> None:
    """Stripe takes up to twelve digits in some currencies."""
    async with both.writing() as session:
        session.add(case(at_stake=999_999_999_999))
    async with both.reading() as session:
        assert (await session.exec(select(CaseRow.at_stake))).one() == 999_999_999_999


async def test_migrations_lead_up_down_and_up_again(bare: Database) -> None:
    await migrate.upgrade(bare)
    assert await migrate.differences(bare) == []
    async with bare.writing() as session:
        session.add(case())
    await migrate.downgrade(bare, "base")
    assert {step[0] for step in await migrate.differences(bare)} >= {"add_table"}
    await migrate.upgrade(bare)
    await migrate.upgrade(bare)
    assert await migrate.differences(bare) == []
    async with bare.writing() as session:
        session.add(case())


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("sqlite:///a.db", "sqlite+aiosqlite:///a.db"),
        ("sqlite+pysqlite:///a.db", "sqlite+aiosqlite:///a.db"),
        ("postgres://u:p%40ss@h/d", "postgresql+psycopg://u:p%40ss@h/d"),
        ("postgresql+asyncpg://h/d", "postgresql+psycopg://h/d"),
    ],
)
def test_a_url_gets_the_driver_we_use(url: str, wanted: str) -> None:
    assert async_url(url) == wanted


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "DATABASE_URL '' is not a URL; for example sqlite:///.holdfast/holdfast.db"),
        ("holdfast.db", "DATABASE_URL 'holdfast.db' is not a URL; for example sqlite:///.holdfast/holdfast.db"),
        ("mysql://h/d", "DATABASE_URL names 'mysql'; Holdfast runs on sqlite and postgresql"),
    ],
)
def test_a_url_we_cannot_use_says_what_to_write(url: str, reason: str) -> None:
    with pytest.raises(BadDatabaseUrl) as raised:
        async_url(url)
    assert str(raised.value) == reason


def test_the_machines_clock_is_in_utc() -> None:
    assert wall().tzinfo is UTC
