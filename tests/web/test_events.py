"""What our own systems say, over real HTTP, on both databases: each event once, use counted once, nothing lost."""

import asyncio
import time
from datetime import UTC, date, datetime
from typing import Any

import pytest
from sqlalchemy import text

from models import loading
from models.columns import AccountColumns
from models.customers import UsageDay
from models.database import Database
from models.tables import InboxEvent
from tests.web.events import encoded
from tests.web.senders import (
    AT,
    DAY,
    EVENTS_SECRET,
    OLDER_EVENTS_SECRET,
    Door,
    fact,
    standard_headers,
)
from tests.web.wire import Receiver, request
from web.events import LARGEST_BATCH, MOST_EVENTS


async def counts(door: Door) -> dict[tuple[str, str, str], int]:
    return {(row.account_id, row.metric, str(row.day)): row.count for row in await door.rows(UsageDay)}


async def test_t1_13_a_fact_of_our_own_systems_is_stored_as_a_pending_fact(door: Door) -> None:
    body = encoded(fact("onboarding.step_done", value="first_report", subject="con_1", object="usr_1", more={"a": 1}))
    answer = await door.post(b"/events", body, standard_headers(body, "msg_1"))
    assert (answer.status, answer.json) == (200, {"received": True, "state": "pending", "reason": ""})
    (row,) = await door.rows(InboxEvent)
    stored = row.model_dump(exclude={"id", "wall_received_at", "wall_next_try_at"})
    assert stored == {
        "source": "events",
        "event_id": "msg_1",
        "type": "onboarding.step_done",
        "kind": "onboarding.step_done",
        "account_id": "cus_1",
        "subject": "con_1",
        "object_id": "usr_1",
        "at_stake": 0,
        "currency": "",
        "occurred_at": datetime(2026, 11, 25, 1, 30, tzinfo=UTC),
        "api_version": "",
        "body": body,
        "state": "pending",
        "reason": "",
        "learned": False,
        "value": "first_report",
        "tries": 0,
        "wall_settled_at": None,
    }


async def test_t1_19_an_event_that_comes_again_is_stored_once(door: Door) -> None:
    states = [(await door.say(fact())).json["state"] for _ in range(2)]
    states.append((await door.say(fact("health.scored", value=1), "msg_1")).json["state"])
    assert states == ["pending", "duplicate", "duplicate"]
    assert [row.kind for row in await door.rows(InboxEvent)] == ["user.signed_up"]


async def test_t1_19_either_secret_fits_while_one_is_rotated(door: Door) -> None:
    assert (await door.say(fact(), "msg_1", OLDER_EVENTS_SECRET)).status == 200
    assert (await door.say(fact(), "msg_2", "whsec_c29tZWJvZHkgZWxzZSdzIHNlY3JldA==")).status == 400
    assert len(await door.rows(InboxEvent)) == 1


async def test_t1_19_what_nobody_hears_is_ignored_with_the_reason_and_what_somebody_hears_is_not(door: Door) -> None:
    assert (await door.say(fact("moon.full"), "msg_1")).json == {
        "received": True,
        "state": "ignored",
        "reason": "no playbook hears moon.full",
    }
    await door.say(fact("usage.declined", value="severe"), "msg_2")  # only a playbook hears it
    await door.say(fact("health.scored", value=73), "msg_3")  # only our own tables take it
    assert await door.settled() == [
        ("moon.full", "ignored", "no playbook hears moon.full"),
        ("usage.declined", "pending", ""),
        ("health.scored", "pending", ""),
    ]
    rows = await door.rows(InboxEvent)
    assert ([row.value for row in rows], rows[0].wall_settled_at is not None) == (["", "severe", "73"], True)


NAMED = "(1 to 255 printable characters)"
ISO = "expected ISO 8601 with a zone, such as 2027-03-01T09:30:00Z"
BAD: dict[str, tuple[Any, str]] = {
    "no type": (
        {"timestamp": AT, "data": {"account": "a"}},
        f"type is missing; expected what happened, such as user.signed_up {NAMED}",
    ),
    "an endless type": (
        fact("x" * 256),
        f"type is '{'x' * 59}; expected what happened, such as user.signed_up {NAMED}",
    ),
    "no timestamp": ({"type": "x", "data": {"account": "a"}}, f"timestamp is missing; {ISO}"),
    "no zone": (fact(at="2026-11-25T01:30:00"), f"timestamp is '2026-11-25T01:30:00'; {ISO}"),
    "a number for a timestamp": (fact(at=1795420000), f"timestamp is 1795420000; {ISO}"),  # type: ignore[arg-type]
    "a year that UTC does not have": (
        fact(at="9999-12-31T23:59:59-10:00"),
        f"timestamp is '9999-12-31T23:59:59-10:00'; {ISO}",
    ),
    "no data": ({"type": "x", "timestamp": AT}, 'data is missing; expected an object such as {"account": "cus_123"}'),
    "no account": (
        {"type": "x", "timestamp": AT, "data": {}},
        f"data.account is missing; expected the account's id, or its external_id {NAMED}",
    ),
    "an account with NUL": (
        fact(account="a\0"),
        f"data.account is 'a\\x00'; expected the account's id, or its external_id {NAMED}",
    ),
    "a value that is a list": (
        fact(value=[1]),
        "data.value is [1]; expected a word or number of at most 255 characters",
    ),
    "a field nobody knows": ({**fact(), "when": 1}, "there is no field 'when'; an event has type, timestamp and data"),
    "use of nothing": (fact("usage"), "usage: data.metric is missing, expected a metric's name, such as activity"),
    "use counted in halves": (
        fact("usage", metric="activity", count=0.5),
        "usage: data.count is 0.5, expected a whole number from 1 to 1000000000",
    ),
    "use counted with true": (
        fact("login", count=True),
        "login: data.count is True, expected a whole number from 1 to 1000000000",
    ),
    "use of no day": (
        fact("login", day="yesterday"),
        "login: data.day is 'yesterday', expected a date such as 2027-03-01",
    ),
    "a feature without a name": (
        fact("feature.used"),
        "feature.used: data.value is missing, expected the feature's name, such as saved_reports",
    ),
    "no object": ([], "the body must be a JSON object"),
    "an empty batch": (
        {"events": []},
        'a batch is {"events": [...]} with at least one event, and nothing beside them',
    ),
    "a batch and more": (
        {"events": [fact()], "type": "x"},
        'a batch is {"events": [...]} with at least one event, and nothing beside them',
    ),
}


@pytest.mark.parametrize("name", BAD)
async def test_t1_19_a_bad_event_is_refused_with_the_field_and_what_it_may_hold(name: str, sender: Door) -> None:
    said, reason = BAD[name]
    answer = await sender.say(said)
    assert (answer.status, answer.json) == (400, {"error": reason})
    assert await sender.rows(InboxEvent) == []


async def test_t1_19_an_unsigned_or_tampered_or_stale_event_is_refused(sender: Door) -> None:
    body = encoded(fact())
    good = standard_headers(body, "msg_1")
    assert (await sender.post(b"/events", body, [])).error == "expected exactly one webhook-id header, got 0"
    assert (await sender.post(b"/events", body + b" ", good)).error.startswith("no signature fits")
    other_id = [(b"webhook-id", b"msg_2"), *good[1:]]
    assert (await sender.post(b"/events", body, other_id)).error.startswith("no signature fits")
    stale = standard_headers(body, "msg_1", at=int(time.time()) - 301)
    answer = await sender.post(b"/events", body, stale)
    assert (answer.status, answer.error) == (400, "the timestamp is too old (more than 300 seconds)")
    assert await sender.rows(InboxEvent) == []


async def test_t1_19_compressed_or_too_large_bodies_are_refused_as_stripes_are(sender: Door) -> None:
    body = encoded(fact())
    headers = [*standard_headers(body, "msg_1"), (b"Content-Encoding", b"gzip")]
    assert (await sender.post(b"/events", body, headers)).status == 415
    claimed = (b"Content-Length", b"%d" % (LARGEST_BATCH + 1))
    answer = await sender.post(b"/events", b"", [*standard_headers(b"", "msg_1"), claimed])
    assert (answer.status, answer.error) == (413, f"the body is larger than {LARGEST_BATCH} bytes")


async def test_t1_19_without_secrets_there_is_no_such_endpoint(receiver: Receiver) -> None:
    body = encoded(fact())
    answer = await receiver.exchange(request(body, standard_headers(body, "msg_1"), path=b"/events"))
    assert (answer.status, answer.error) == (404, "this endpoint is off: EVENTS_SECRETS is not set")
    assert await receiver.rows() == []


def in_batch(event_id: str, event: dict[str, Any]) -> dict[str, Any]:
    return {"id": event_id, **event}


async def test_t1_19_a_batch_keeps_its_order_and_each_event_is_known_by_its_own_id(door: Door) -> None:
    await door.account()
    batch = {"events": [in_batch("z", fact()), in_batch("a", fact("login")), in_batch("m", fact("moon.full"))]}
    answer = await door.say(batch, "msg_1")
    assert (answer.status, answer.json) == (
        200,
        {
            "received": True,
            "events": [
                {"index": 0, "id": "z", "state": "pending", "reason": ""},
                {"index": 1, "id": "a", "state": "applied", "reason": "counted"},
                {"index": 2, "id": "m", "state": "ignored", "reason": "no playbook hears moon.full"},
            ],
            "bad": [],
        },
    )
    assert [row.event_id for row in await door.receiver.rows()] == ["z", "a", "m"]
    again = await door.say({"events": [*batch["events"], in_batch("n", fact("login"))]}, "msg_2")
    assert [each["state"] for each in again.json["events"]] == ["duplicate", "duplicate", "duplicate", "applied"]
    assert await counts(door) == {("cus_1", "login", DAY): 2}


async def test_t1_19_bad_events_of_a_batch_are_named_and_hold_up_none_of_the_others(
    door: Door,
) -> None:
    await door.account()
    bad = in_batch("b", fact("login", count=-1))
    batch = [in_batch("a", fact("login")), bad, "nonsense", fact(), in_batch("c", fact("login"))]
    answer = await door.say({"events": batch}, "msg_1")
    assert answer.status == 422
    assert answer.json["received"] is False
    assert answer.json["bad"] == [
        {"index": 1, "reason": "login: data.count is -1, expected a whole number from 1 to 1000000000"},
        {"index": 2, "reason": 'each event is an object {"id", "type", "timestamp", "data"}'},
        {
            "index": 3,
            "reason": f"id is missing; expected its own id, by which it is known if it comes again {NAMED}",
        },
    ]
    assert answer.error.startswith("3 of 5 events cannot be taken; the others are stored. Correct them and send")
    assert await counts(door) == {("cus_1", "login", DAY): 2}
    mended = [batch[0], in_batch("b", fact("login")), batch[4]]
    assert (await door.say({"events": mended}, "msg_1")).status == 200
    assert await counts(door) == {("cus_1", "login", DAY): 3}


async def test_t1_19_a_batch_of_more_than_a_thousand_is_refused_and_one_of_a_thousand_is_not(door: Door) -> None:
    await door.account()
    events = [in_batch(f"e{number}", fact("login")) for number in range(MOST_EVENTS + 1)]
    answer = await door.say({"events": events})
    assert answer.status == 413
    assert answer.error == "a batch holds at most 1000 events, this one 1001: send it in parts"
    assert (await door.say({"events": events[1:]})).status == 200
    assert await counts(door) == {("cus_1", "login", DAY): MOST_EVENTS}


async def test_t1_5_use_is_added_to_the_day_it_happened_on_in_utc_under_our_names(door: Door) -> None:
    await door.account("cus_1", external_id="acme")
    said = [
        fact("usage", metric="activity", count=3),
        fact("usage", "acme", metric="opened", count=4),  # [usage.names] maps it to activity
        fact("usage", metric="activity", day="2026-11-01"),
        fact("login"),
        fact("session"),
        fact("feature.used", value="exports"),
    ]
    for number, each in enumerate(said):
        assert (await door.say(each, f"msg_{number}")).json["state"] == "applied"
    assert await counts(door) == {
        ("cus_1", "activity", "2026-11-01"): 1,
        ("cus_1", "activity", DAY): 7,
        ("cus_1", "feature:exports", DAY): 1,
        ("cus_1", "login", DAY): 1,
        ("cus_1", "session", DAY): 1,
    }
    rows = await door.rows(InboxEvent)
    assert {(row.kind, row.state, row.reason, row.account_id, row.learned) for row in rows} == {
        ("usage", "applied", "counted", "cus_1", True)
    }


async def test_t1_5_use_that_is_told_twice_is_counted_once(door: Door) -> None:
    await door.account()
    for _ in range(3):
        await door.say(fact("usage", metric="activity", count=5))
    assert await counts(door) == {("cus_1", "activity", DAY): 5}


async def test_t1_5_use_told_by_many_at_once_is_added_up_exactly(door: Door) -> None:
    await door.account("cus_1")
    await door.account("cus_2")

    async def tell(number: int) -> str:
        # In opposite orders, so that writers would wait for each other in a circle if nobody kept an order.
        names = ["cus_1", "cus_2"] if number % 2 else ["cus_2", "cus_1"]
        events = [in_batch(f"{number}-{each}", fact("login", each)) for each in names]
        return str((await door.say({"events": events}, f"msg_{number}")).status)

    assert set(await asyncio.gather(*(tell(number) for number in range(40)))) == {"200"}
    assert await counts(door) == {("cus_1", "login", DAY): 40, ("cus_2", "login", DAY): 40}


async def test_t1_5_use_of_an_account_nobody_knows_waits_and_is_counted_when_it_is_loaded(door: Door) -> None:
    for number in range(3):
        answer = await door.say(fact("login", "acme"), f"msg_{number}")
        assert answer.json["state"] == "parked"
        assert answer.json["reason"] == "account 'acme' is not known: load it, and this event goes on"
    assert await counts(door) == {}
    answer = await door.put("/api/accounts/cus_9", {"external_id": "acme"})
    assert answer.json == {"id": "cus_9", "state": "created", "events_that_went_on": 3}
    assert await counts(door) == {("cus_9", "login", DAY): 3}
    assert set(await door.settled()) == {("usage", "applied", "counted")}
    await door.put("/api/accounts/cus_9", {"external_id": "acme", "mrr": 5})
    assert await counts(door) == {("cus_9", "login", DAY): 3}


async def test_t1_19_an_event_that_arrives_while_its_account_is_loaded_does_not_wait_for_ever(door: Door) -> None:
    async with door.database.writing() as session:
        await loading.load(session, [AccountColumns(id="cus_9", external_id="acme")])
        telling = asyncio.create_task(door.say(fact("login", "acme")))
        await asyncio.sleep(0.3)
        assert not telling.done(), "what is being loaded is waited for"
    assert (await telling).json["state"] == "applied"
    assert await counts(door) == {("cus_9", "login", DAY): 1}


async def test_t1_19_a_database_that_is_away_is_answered_503_and_nothing_is_lost(both: Database, door: Door) -> None:
    await door.account()
    async with both.writing() as session:
        await session.exec(text("ALTER TABLE usage_days RENAME TO away"))  # type: ignore[call-overload]
    answer = await door.say(fact("login"))
    assert (answer.status, answer.error) == (503, "the event could not be stored; please send it again")
    assert await door.rows(InboxEvent) == []
    async with both.writing() as session:
        await session.exec(text("ALTER TABLE away RENAME TO usage_days"))  # type: ignore[call-overload]
    assert (await door.say(fact("login"))).json["state"] == "applied"
    assert [(str(row.day), row.count) for row in await door.rows(UsageDay)] == [(str(date(2026, 11, 25)), 1)]


def test_the_secret_of_these_tests_is_one_that_settings_take() -> None:
    from workers.settings import Settings

    settings = Settings(_env_file=None, events_secrets=f"{EVENTS_SECRET}, {OLDER_EVENTS_SECRET}")
    assert settings.senders_secrets == (EVENTS_SECRET, OLDER_EVENTS_SECRET)
    assert not [each for each in settings.problems() if "EVENTS" in each]
