"""SendGrid's signed event webhook at the door, on both databases: what is taken, what is refused, what is kept."""

import time
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from sendgrid.helpers.eventwebhook import EventWebhook

from models import ledger
from models.consent_rows import Suppression
from models.customers import Contact
from models.database import Database
from models.facts import MAIL_BOUNCED, MAIL_DROPPED, MAIL_REPORTED, UNSUBSCRIBED
from models.learning import learn
from models.tables import CaseRow, EffectRow, InboxEvent, Message, TaskRow
from models.touch import reader_of
from simulator.sendgrid_events import EventPost
from tests.models.gate_kit import MONDAY
from tests.web.wire import Answer, Receiver, receiving, request
from web.sendgrid import LARGEST_BODY, SendGridEndpoint
from web.sendgrid_signature import OLDEST_S, BadPublicKey, public_keys
from workers.settings import Settings

PATH = b"/webhooks/sendgrid"
POST, OLDER, STRANGER = EventPost(), EventPost(), EventPost()
ADDRESS, ACCOUNT, CASE, KEY = "max@example.com", "cus_1", "renewal/con_9", "renewal/con_9/step/1"
NOW = 1_800_000_000


def event(kind: str, event_id: str = "sg_1", **more: Any) -> dict[str, Any]:
    """An event of our mail, as SendGrid tells it."""
    said = {"event": kind, "sg_event_id": event_id, "email": ADDRESS, "timestamp": NOW, "effect": KEY, "case": CASE}
    return {name: value for name, value in {**said, **more}.items() if value is not None}


async def tell(receiver: Receiver, *events: Any, post: EventPost = POST, age: int = 0) -> Answer:
    """Post a batch, signed `age` seconds ago."""
    return await send(receiver, orjson.dumps(list(events)), post=post, age=age)


async def send(receiver: Receiver, body: bytes, *, post: EventPost = POST, age: int = 0, **changed: str) -> Answer:
    """Post a body, signed; headers named in `changed` are others."""
    headers = {**post.signed(body, int(time.time()) - age), **{k.replace("_", "-"): v for k, v in changed.items()}}
    lines = [(name.encode(), value.encode()) for name, value in headers.items() if value]
    return await receiver.exchange(request(body, lines, path=PATH))


@pytest.fixture
async def door(both: Database) -> AsyncIterator[Receiver]:
    """A door with two keys, before a case with one mail that was sent."""
    keys = public_keys(f"{POST.public_key}, {OLDER.public_key}")
    async with receiving(both, sendgrid=SendGridEndpoint(keys)) as receiver:
        await keep(receiver, state="done")
        yield receiver


@pytest.fixture
async def shut_door(database: Database) -> AsyncIterator[Receiver]:
    """A door for what is refused anyway, so that one database will do."""
    async with receiving(database, sendgrid=SendGridEndpoint(public_keys(POST.public_key))) as receiver:
        yield receiver


async def keep(receiver: Receiver, key: str = KEY, **columns: Any) -> None:
    """A mail in the ledger."""
    mail = {"playbook": "renewal", "step": "step", "kind": "email", "title": "E-mail renewal.terms", **columns}
    async with receiver.database.writing() as session:
        await session.merge(CaseRow(id=CASE, playbook="renewal", account_id=ACCOUNT, subject="con_9", opened_at=MONDAY))
        row = EffectRow(
            key=key,
            case_id=CASE,
            account_id=ACCOUNT,
            reader=reader_of(ADDRESS),
            what={"template": "renewal.terms", "to": "champion"},
            at=MONDAY,
            **mail,
        )
        await session.merge(row)


async def rows(receiver: Receiver) -> list[tuple[str, str, str]]:
    """Kind, state and object of every inbox row."""
    return [(row.kind, row.state, row.object_id) for row in await receiver.rows()]


async def learned(receiver: Receiver, lead: str = "lead") -> None:
    """What the relay does first."""
    for row in await receiver.rows():
        async with receiver.database.writing() as session:
            found = await session.get(InboxEvent, row.id)
            assert found
            await learn(session, found, lead)


async def get(receiver: Receiver, table: Any, key: Any) -> Any:
    """One row."""
    async with receiver.database.reading() as session:
        return await session.get(table, key)


def test_the_simulator_signs_as_sendgrids_own_library_checks() -> None:
    body = orjson.dumps([event("delivered")])
    headers = list(POST.signed(body, NOW).values())
    library = EventWebhook(POST.public_key)
    assert library.verify_signature(body.decode(), headers[1], headers[2])
    assert not library.verify_signature(body.decode(), headers[1], str(NOW + 1))


async def test_t1_19_events_that_mean_nothing_to_us_are_taken_and_not_kept(door: Receiver) -> None:
    blocked = event("bounce", type="blocked")
    answer = await tell(door, event("open"), event("click"), event("deferred"), blocked, event("delivered"))
    assert (answer.status, answer.json["ignored"]) == (200, 5)
    assert await rows(door) == []


@pytest.mark.parametrize("key", [POST, OLDER], ids=["present", "older"])
async def test_t4_3_a_bounce_is_kept_once_without_the_address(door: Receiver, key: EventPost) -> None:
    bounce = event("bounce", reason="550 5.1.1 <max@example.com> unknown", status="5.1.1", type="bounce")
    said = [(await tell(door, *batch, post=key)).json for batch in ([bounce, bounce], [bounce])]
    assert [(each["pending"], each["duplicate"]) for each in said] == [(1, 1), (0, 1)]
    (row,) = await door.rows()
    assert (row.source, row.kind, row.state, row.account_id, row.object_id) == (
        "sendgrid", MAIL_BOUNCED, "pending", ACCOUNT, KEY,
    )  # fmt: skip
    assert orjson.loads(row.body) == {"data": {"reader": reader_of(ADDRESS), "said": "5.1.1"}}
    for _ in range(2):
        await learned(door)
    known = await get(door, Suppression, (reader_of(ADDRESS), "bounced"))
    assert (known.said, known.account_id, known.effect, known.at.timestamp()) == ("5.1.1", ACCOUNT, KEY, NOW)
    task = await get(door, TaskRow, "mail/sg_1")
    assert (task.case_id, task.owner, task.title) == (CASE, "lead", "A customer's address takes no mail")
    assert ADDRESS not in task.body


async def test_t4_3_a_bounce_that_comes_late_without_our_arguments_is_known_by_the_address(door: Receiver) -> None:
    assert (await tell(door, event("bounce", effect=None, email=ADDRESS.upper()))).json["pending"] == 1
    assert await rows(door) == [(MAIL_BOUNCED, "pending", KEY)]
    assert (await tell(door, event("bounce", "sg_2", effect=None, email="other@example.com"))).json["ignored"] == 1
    assert (await tell(door, event("bounce", "sg_3", effect="of/somebody/else", email="x@y.z"))).json["ignored"] == 1


@pytest.mark.parametrize(
    ("reason", "why", "kinds"),
    [
        ("Bounced Address", "bounced", [MAIL_DROPPED]),
        ("Invalid", "bounced", [MAIL_DROPPED]),
        ("Spam Reporting Address", "complained", [MAIL_DROPPED, UNSUBSCRIBED]),
        ("Unsubscribed Address", "", [MAIL_DROPPED, UNSUBSCRIBED]),
        ("Spam Content", "", [MAIL_DROPPED]),
    ],
)
async def test_t4_3_why_a_mail_was_dropped_says_whether_its_address_is_to_blame(
    door: Receiver, reason: str, why: str, kinds: list[str]
) -> None:
    await tell(door, event("dropped", reason=reason))
    assert [row.kind for row in await door.rows()] == kinds
    await learned(door)
    stands = [each for each in ("bounced", "complained") if await get(door, Suppression, (reader_of(ADDRESS), each))]
    assert stands == ([why] if why else [])
    asked = await get(door, TaskRow, "mail/sg_1")
    assert bool(asked) == (why == "bounced" or reason == "Spam Content")


@pytest.mark.parametrize(
    ("kind", "first"),
    [("spamreport", [(MAIL_REPORTED, "pending", KEY)]), ("unsubscribe", []), ("group_unsubscribe", [])],
)
async def test_t4_3_who_wants_no_more_leaves_all_marketing_mail(door: Receiver, kind: str, first: list[Any]) -> None:
    async with door.database.writing() as session:
        session.add(Contact(id="con_1", account_id=ACCOUNT, email=ADDRESS.title()))
        session.add(Contact(id="con_2", account_id=ACCOUNT, email="other@example.com"))
    for _ in range(2):
        await tell(door, event(kind))
    assert await rows(door) == [*first, (UNSUBSCRIBED, "pending", "con_1")]
    await learned(door)
    assert (await get(door, Contact, "con_1")).opted_out_at is not None
    assert (await get(door, Contact, "con_2")).opted_out_at is None


@pytest.mark.parametrize("kind", ["processed", "delivered", "bounce"])
async def test_p0_14_an_event_settles_the_doubt_of_its_mail(door: Receiver, kind: str) -> None:
    await keep(door, state="in_doubt", reason="the connection to SendGrid was lost: TimeoutError")
    await tell(door, event(kind))
    row = await get(door, EffectRow, KEY)
    word = "bounced" if kind == "bounce" else kind
    assert (row.state, row.reason, row.detail) == ("done", f"SendGrid's event: {word}", {"told": word})
    assert (await get(door, Message, KEY)).template == "renewal.terms"


async def test_p0_14_an_event_before_the_answer_leaves_the_claim_and_settles_the_doubt_that_comes(
    door: Receiver,
) -> None:
    await keep(door, state="claimed")
    assert (await tell(door, event("processed"))).json["applied"] == 1
    assert (await get(door, EffectRow, KEY)).state == "claimed"
    async with door.database.writing() as session:
        assert await ledger.settle(session, KEY, "in_doubt", "the connection was lost") == "done"
    assert (await get(door, EffectRow, KEY)).reason == "SendGrid's event: processed"


async def test_p0_14_what_is_settled_stays_settled(door: Receiver) -> None:
    await keep(door, state="refused", reason="not done: ana says so")
    await tell(door, event("delivered"), event("processed", "sg_2"))
    row = await get(door, EffectRow, KEY)
    assert (row.state, row.reason) == ("refused", "not done: ana says so")


async def test_t1_19_an_event_that_cannot_be_read_is_kept_as_dead_and_holds_up_nobody(door: Receiver) -> None:
    bad: list[Any] = [
        7,
        event("bounce", timestamp="now"),
        event("bounce", timestamp=True),
        event("bounce", event_id="x" * 300),
        event("bounce", email="a\0b"),
        event("bounce", effect={"a": 1}),
        event("spamreport", sg_event_id=None),
    ]
    for _ in range(2):
        answer = await tell(door, *bad, event("bounce", "sg_9"))
    assert (answer.status, answer.json["dead"], answer.json["duplicate"]) == (200, 7, 1)
    kept = await door.rows()
    assert [row.state for row in kept].count("dead") == 7
    assert all(row.body == b"{}" and row.reason.startswith("cannot be read: ") for row in kept if row.state == "dead")
    assert [row.event_id for row in kept if row.state == "pending"] == ["sg_9"]


@pytest.mark.parametrize(
    ("signed", "error"),
    [
        ({"post": STRANGER}, "the signature does not fit"),
        ({"age": OLDEST_S + 60}, "too old (more than 25 hours)"),
        ({"age": -400}, "lies in the future"),
        ({"X_Twilio_Email_Event_Webhook_Timestamp": "١٢٣"}, "malformed"),
        ({"X_Twilio_Email_Event_Webhook_Timestamp": "9" * 13}, "malformed"),
        ({"X_Twilio_Email_Event_Webhook_Timestamp": str(NOW)}, "future"),
        ({"X_Twilio_Email_Event_Webhook_Timestamp": ""}, "expected exactly one"),
        ({"X_Twilio_Email_Event_Webhook_Signature": ""}, "expected exactly one"),
        ({"X_Twilio_Email_Event_Webhook_Signature": "not base64!"}, "not base64"),
        ({"X_Twilio_Email_Event_Webhook_Signature": "AAAA"}, "the signature does not fit"),
    ],
)
async def test_t1_19_what_is_not_signed_by_sendgrid_and_from_now_is_refused(
    shut_door: Receiver, signed: dict[str, Any], error: str
) -> None:
    answer = await send(shut_door, orjson.dumps([event("bounce")]), **signed)
    assert (answer.status, error in answer.error) == (400, True), answer.error
    assert await rows(shut_door) == []


async def test_t1_19_a_batch_that_was_tried_again_for_a_day_is_taken(door: Receiver) -> None:
    assert (await tell(door, event("bounce"), age=24 * 3600)).status == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"{}", 400), (b"nonsense", 400), (b"[" * 40 + b"]" * 40, 400), (b"[1e999]", 400), (b"\xff", 400),
     (b"[" + b"0," * 5000 + b"0]", 413)],
)  # fmt: skip
async def test_t1_19_a_body_that_is_no_batch_is_refused(shut_door: Receiver, body: bytes, status: int) -> None:
    assert (await send(shut_door, body)).status == status
    assert (await send(shut_door, b"[]", Content_Encoding="gzip")).status == 415
    assert await rows(shut_door) == []


async def test_t1_19_a_body_that_is_too_large_is_refused_before_it_is_read(shut_door: Receiver) -> None:
    answer = await send(shut_door, b"", Content_Length=str(LARGEST_BODY + 1))
    assert (answer.status, "larger than" in answer.error) == (413, True)


async def test_t1_19_without_a_key_there_is_no_such_endpoint(receiver: Receiver) -> None:
    answer = await tell(receiver, event("bounce"))
    assert (answer.status, "SENDGRID_WEBHOOK_PUBLIC_KEY is not set" in answer.error) == (404, True)


@pytest.mark.parametrize("key", ["nonsense", "AAAA", f"{POST.public_key},x"])
def test_a_key_that_is_none_is_told_before_the_start(key: str) -> None:
    with pytest.raises(BadPublicKey):
        public_keys(key)
    said = Settings(_env_file=None, sendgrid_webhook_public_key=key).problems()
    assert [each for each in said if each.startswith("SENDGRID_WEBHOOK_PUBLIC_KEY is malformed: copy ")]
    good = Settings(_env_file=None, sendgrid_webhook_public_key=f"{POST.public_key}\n,").problems()
    assert not [each for each in good if "SENDGRID_WEBHOOK_PUBLIC_KEY" in each]
