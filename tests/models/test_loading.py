"""Rows into our tables, on both databases: what moves on, what sleeping runs have to hear, what stays."""

import asyncio
from datetime import date, timedelta
from typing import Any

import orjson
from sqlmodel import SQLModel, select

from models import learning, loading
from models.columns import AccountColumns, ContactColumns, ContractColumns, read_row
from models.customers import Contact, Contract
from models.database import Database
from models.tables import Account, CaseRow, InboxEvent, wall

MARCH, APRIL = date(2027, 3, 1), date(2027, 4, 1)


async def rows(database: Database, table: type[SQLModel]) -> list[Any]:
    async with database.reading() as session:
        return list((await session.exec(select(table).order_by(*table.__table__.primary_key))).all())  # type: ignore[attr-defined]


async def load(database: Database, *given: Any) -> list[tuple[str, str]]:
    async with database.writing() as session:
        loaded = await loading.load(session, given)
    return [(each.state, str(each.problem or "")) for each in loaded]


async def put(database: Database, *given: SQLModel) -> None:
    async with database.writing() as session:
        session.add_all(given)


def parked(account: str, event_id: str, state: str = "parked") -> InboxEvent:
    return InboxEvent(
        source="events",
        event_id=event_id,
        type="user.signed_up",
        kind="user.signed_up",
        account_id=account,
        state=state,
        reason="waits",
        occurred_at=wall(),
        wall_next_try_at=wall() + timedelta(days=9),
        body=b"{}",
    )


async def test_t1_19_events_parked_under_either_name_go_on_and_no_others(both: Database) -> None:
    events = [parked("acme", "1"), parked("cus_1", "2"), parked("other", "3"), parked("acme", "4", "dead")]
    await put(both, *events)
    assert await load(both, AccountColumns(id="cus_1", external_id="acme")) == [("created", "")]
    found = await rows(both, InboxEvent)
    assert [(row.state, row.account_id, row.reason) for row in found] == [
        ("pending", "cus_1", ""),
        ("pending", "cus_1", ""),
        ("parked", "other", "waits"),
        ("dead", "acme", "waits"),
    ]
    assert all(row.wall_next_try_at <= wall() for row in found[:2])
    assert await load(both, AccountColumns(id="cus_1", external_id="other")) == [("changed", "")]
    assert [row.state for row in await rows(both, InboxEvent)] == ["pending", "pending", "pending", "dead"]


async def test_t1_19_two_rows_of_one_load_cannot_have_one_name(both: Database) -> None:
    given = [AccountColumns(id=f"cus_{number}", external_id="acme") for number in (1, 2)]
    assert await load(both, *given) == [
        ("created", ""),
        ("bad", "external_id: 'acme' belongs to account 'cus_1' already"),
    ]
    assert [row.id for row in await rows(both, Account)] == ["cus_1"]


async def test_t1_19_loads_of_one_account_at_once_make_one_account_and_lose_no_field(both: Database) -> None:
    fields: list[dict[str, Any]] = [{"plan": "pro"}, {"mrr": 5}, {"company": "Acme"}, {"owner": "ana"}]
    states = await asyncio.gather(*(load(both, AccountColumns(id="cus_1", **each)) for each in fields))
    assert sorted(state for ((state, _),) in states) == ["changed", "changed", "changed", "created"]
    (account,) = await rows(both, Account)
    assert (account.plan, account.mrr, account.company, account.owner) == ("pro", 5, "Acme", "ana")


def renewal(ended: bool) -> CaseRow:
    return CaseRow(
        id="renewal/con_1/2027-03-01",
        playbook="renewal",
        account_id="cus_1",
        subject="con_1/2027-03-01",
        lane="con_1",
        ended=ended,
        opened_at=wall(),
    )


async def test_t1_15_a_renewal_date_that_moves_is_told_to_the_open_renewal(both: Database) -> None:
    contract = Contract(id="con_1", account_id="cus_1", renews_on=MARCH)
    await put(both, Account(id="cus_1"), contract, renewal(ended=False))
    assert await load(both, ContractColumns(id="con_1", renews_on=MARCH, value=5)) == [("changed", "")]
    assert await rows(both, InboxEvent) == []
    assert await load(both, ContractColumns(id="con_1", renews_on=APRIL)) == [("changed", "")]
    (told,) = await rows(both, InboxEvent)
    assert (told.source, told.kind, told.account_id, told.subject, told.value, told.state, told.learned) == (
        "holdfast",
        "renewal_date.changed",
        "cus_1",
        "con_1",
        "2027-04-01",
        "pending",
        True,
    )
    await load(both, ContractColumns(id="con_1", renews_on=MARCH))
    await load(both, ContractColumns(id="con_1", renews_on=APRIL))
    assert [row.value for row in await rows(both, InboxEvent)] == ["2027-04-01", "2027-03-01", "2027-04-01"]


async def test_t1_15_a_renewal_date_that_moves_is_told_to_nobody_where_no_renewal_is_open(both: Database) -> None:
    contract = Contract(id="con_1", account_id="cus_1", renews_on=MARCH)
    await put(both, Account(id="cus_1"), contract, renewal(ended=True))
    await load(both, ContractColumns(id="con_1", renews_on=APRIL))
    assert await rows(both, InboxEvent) == []
    assert [row.renews_on for row in await rows(both, Contract)] == [APRIL]


async def test_i6_what_segment_says_of_a_person_and_an_account_is_learned_once_the_account_is_known(
    both: Database,
) -> None:
    data = {"account": {"company": "Acme", "mrr": 5}, "contact": {"id": "usr_1", "email": "zoe@example.com"}}
    event = parked("cus_1", "1", "pending")
    event.kind, event.body = loading.DESCRIBED, orjson.dumps({"data": data})
    await put(both, Account(id="cus_1", plan="pro"), event)
    async with both.writing() as session:
        await learning.learn(session, event)
    (account,), (person,) = await rows(both, Account), await rows(both, Contact)
    assert (account.company, account.mrr, account.plan) == ("Acme", 5, "pro")
    assert (person.id, person.account_id, person.email) == ("usr_1", "cus_1", "zoe@example.com")


def test_t1_19_what_is_not_given_is_not_written() -> None:
    assert read_row(ContactColumns, {"id": "z", "role": " Admin "}).model_fields_set == {"id", "role"}
    assert read_row(AccountColumns, {"id": "a", "name": "Zoe\r\nMiller"}).name == "Zoe Miller"
