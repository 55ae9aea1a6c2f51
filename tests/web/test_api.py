"""`PUT /api/...` over real HTTP, on both databases: partial, strict, behind a token."""

from datetime import UTC, date, datetime
from typing import Any

import pytest

from models.customers import Contact, Contract, Owner
from models.tables import Account
from tests.web.events import encoded
from tests.web.senders import OLDER_TOKEN, TOKEN, Door
from tests.web.wire import Receiver, request


async def test_t1_19_an_account_is_made_and_then_changed_field_by_field(door: Door) -> None:
    row = {"company": "Acme", "mrr": 290000, "timezone": "Europe/Berlin", "signed_up_at": "2026-01-01T00:00:00+01:00"}
    assert (await door.put("/api/accounts/cus_1", row)).json == {
        "id": "cus_1",
        "state": "created",
        "events_that_went_on": 0,
    }
    assert (await door.put("/api/accounts/cus_1", {"plan": "pro", "id": "cus_1"})).json["state"] == "changed"
    assert (await door.put("/api/accounts/cus_1", {"plan": "pro"})).json["state"] == "unchanged"
    (account,) = await door.rows(Account)
    assert (account.company, account.mrr, account.timezone, account.plan, account.signed_up_at) == (
        "Acme",
        290000,
        "Europe/Berlin",
        "pro",
        datetime(2025, 12, 31, 23, tzinfo=UTC),
    )
    assert (await door.put("/api/accounts/cus_1", {"company": "", "signed_up_at": None})).json["state"] == "changed"
    (account,) = await door.rows(Account)
    assert (account.company, account.signed_up_at, account.mrr) == ("", None, 290000)


async def test_t1_19_contacts_contracts_and_owners_are_put_the_same_way(door: Door) -> None:
    await door.account("cus_1", external_id="acme")
    assert (await door.put("/api/owners/ana", {"email": "ana@example.com"})).json["state"] == "created"
    contact = await door.put("/api/contacts/zoe%40acme%2F1", {"account_id": "acme", "role": "Sponsor"})
    assert contact.json == {"id": "zoe@acme/1", "state": "created", "events_that_went_on": 0}
    contract = {"account_id": "cus_1", "renews_on": "2027-03-01", "value": 1200000, "currency": "EUR"}
    assert (await door.put("/api/contracts/con_1", contract)).json["state"] == "created"
    (person,) = await door.rows(Contact)
    assert (person.account_id, person.role) == ("cus_1", "sponsor")
    (signed,) = await door.rows(Contract)
    assert (signed.account_id, signed.renews_on, signed.value, signed.currency) == (
        "cus_1",
        date(2027, 3, 1),
        1200000,
        "eur",
    )
    assert [(row.handle, row.email) for row in await door.rows(Owner)] == [("ana", "ana@example.com")]


ACCOUNT_FIELDS = (
    "id, external_id, name, company, email, locale, timezone, owner, segment, strategic, growth, "
    "owner_held, mrr, currency, plan, health, "
    "signed_up_at, churned_at, churn_reason, opted_out_at"
)
BAD: dict[str, tuple[str, dict[str, Any], list[tuple[str, str]]]] = {
    "an unknown field": (
        "accounts/a",
        {"mr": 1},
        [("mr", f"there is no such field; there are {ACCOUNT_FIELDS}")],
    ),
    "two at once": (
        "accounts/a",
        {"email": "zoe", "timezone": "Mars/Phobos"},
        [
            ("email", "is 'zoe'; expected an address such as zoe@example.com"),
            ("timezone", "is 'Mars/Phobos'; expected a time zone such as Europe/Berlin"),
        ],
    ),
    "money in halves": (
        "accounts/a",
        {"mrr": 29.5},
        [("mrr", "is 29.5; expected a whole number in the minor unit (cents), 0 or more")],
    ),
    "money as true": (
        "accounts/a",
        {"mrr": True},
        [("mrr", "is True; expected a whole number in the minor unit (cents), 0 or more")],
    ),
    "health above 100": ("accounts/a", {"health": 101}, [("health", "is 101; expected a whole number from 0 to 100")]),
    "a name that is a number": (
        "accounts/a",
        {"name": 7},
        [("name", "is 7; expected at most 255 printable characters")],
    ),
    "a path for a zone": (
        "accounts/a",
        {"timezone": "../../etc/passwd"},
        [("timezone", "is '../../etc/passwd'; expected a time zone such as Europe/Berlin")],
    ),
    "seconds for a date": (
        "contracts/c",
        {"account_id": "cus_1", "renews_on": 1795420000},
        [("renews_on", "is 1795420000; expected a date such as 2027-03-01")],
    ),
    "a new contract without its day": (
        "contracts/c",
        {"account_id": "cus_1"},
        [("renews_on", "is missing; a new row needs it: a date such as 2027-03-01")],
    ),
    "a contact of nobody": (
        "contacts/z",
        {"account_id": "cus_2"},
        [("account_id", "'cus_2' is not known; load the account first")],
    ),
    "a role there is not": (
        "contacts/z",
        {"account_id": "cus_1", "role": "boss"},
        [("role", "is 'boss'; expected billing, champion, sponsor, technical or admin")],
    ),
    "a script for a page": (
        "owners/ana",
        {"booking_url": "javascript:alert(1)"},
        [("booking_url", "is 'javascript:alert(1)'; expected a web address that starts with https://")],
    ),
    "another account's name": (
        "accounts/cus_9",
        {"external_id": "acme"},
        [("external_id", "'acme' belongs to account 'cus_1' already")],
    ),
    "a second account for one we know": (
        "accounts/acme",
        {"plan": "pro"},
        [("id", "'acme' is the external_id of account 'cus_1'; load it under that id")],
    ),
}


@pytest.mark.parametrize("name", BAD)
async def test_t1_19_a_bad_row_is_refused_field_by_field_and_changes_nothing(name: str, sender: Door) -> None:
    if not await sender.rows(Account):
        await sender.account("cus_1", external_id="acme")
    path, row, problems = BAD[name]
    answer = await sender.put(f"/api/{path}", row)
    assert answer.status == 422
    assert [(each["field"], each["reason"]) for each in answer.json["problems"]] == problems
    assert answer.error == "; ".join(f"{field}: {reason}" for field, reason in problems)
    assert [row.id for row in await sender.rows(Account)] == ["cus_1"]
    assert not [row for table in (Contact, Contract, Owner) for row in await sender.rows(table)]


async def test_t1_19_two_names_for_one_row_are_refused(sender: Door) -> None:
    answer = await sender.put("/api/accounts/a", {"id": "b"})
    assert (answer.status, answer.error) == (422, "id: is 'b' in the body, but 'a' in the address")


async def test_t1_19_only_those_with_a_token_are_let_in(sender: Door) -> None:
    assert (await sender.put("/api/owners/x", {"id": 1}, OLDER_TOKEN)).status == 422
    for wrong in ("", TOKEN[:-1], TOKEN + "x", "ü"):
        answer = await sender.put("/api/owners/x", {}, wrong)
        assert (answer.status, answer.error) == (401, "the token is none of API_TOKENS")
        assert answer.headers["www-authenticate"] == "Bearer"
    basic = request(b"{}", [(b"Authorization", b"Basic " + TOKEN.encode())], b"PUT", b"/api/owners/x")
    assert (await sender.receiver.exchange(basic)).status == 401
    assert (await sender.receiver.exchange(request(b"{}", [], b"PUT", b"/api/owners/x"))).status == 401
    assert await sender.rows(Owner) == []
    answer = await sender.put("/api/people/x", {})
    assert (answer.status, answer.error) == (
        404,
        "there is no /api/people; there are accounts, contacts, contracts, owners",
    )


async def test_t1_19_without_tokens_there_is_no_such_endpoint(receiver: Receiver) -> None:
    for token in (TOKEN, ""):
        headers = [(b"Authorization", b"Bearer " + token.encode())]
        answer = await receiver.exchange(request(encoded({}), headers, b"PUT", b"/api/accounts/a"))
        assert (answer.status, answer.error) == (404, "this endpoint is off: API_TOKENS is not set")
