"""`holdfast events send` and `holdfast inbox` as a user meets them, against a running web and a real database."""

import json
from pathlib import Path

import pytest
from sqlmodel import col, select

from models.customers import UsageDay
from models.database import Database
from models.tables import Account, InboxEvent, wall
from tests.web.senders import EVENTS_SECRET, OLDER_EVENTS_SECRET, open_door
from tests.workers.test_cli import holdfast


async def inbox_of(database: Database) -> list[InboxEvent]:
    async with database.reading() as session:
        return list((await session.exec(select(InboxEvent).order_by(col(InboxEvent.id)))).all())


async def test_t1_19_an_event_sent_by_hand_is_signed_and_taken(database: Database, tmp_path: Path) -> None:
    async with database.writing() as session:
        session.add(Account(id="cus_1"))
    async with open_door(database) as door:
        url = f"http://127.0.0.1:{door.receiver.port}/events"
        secrets = f"{EVENTS_SECRET},{OLDER_EVENTS_SECRET}"

        async def send(*arguments: str, secrets: str = secrets) -> tuple[int, str, str]:
            command = ("events", "send", *arguments, "--account", "cus_1", "--url", url)
            return await holdfast(tmp_path, *command, EVENTS_SECRETS=secrets)

        code, out, err = await send("onboarding.step_done", "--value", "first_report", "--id", "by-hand-1")
        assert (code, out, err) == (0, '200 {"received":true,"state":"pending","reason":""}\n', "")
        code, out, _ = await send("usage", "--metric", "activity", "--count", "4", "--at", "2026-11-01T10:00:00Z")
        assert (code, out) == (0, '200 {"received":true,"state":"applied","reason":"counted"}\n')
        code, out, _ = await send("usage")
        assert code == 1
        assert out.startswith('400 {"error":"usage: data.metric is missing')
        code, _, err = await send("login", secrets="")
        assert code == 2
        assert err.startswith("holdfast: EVENTS_SECRETS is not set: make one with")
    code, _, err = await send("login")
    assert code == 1
    assert err.startswith(f"holdfast: nobody answers at {url} (")
    (row, _) = await inbox_of(database)
    assert (row.event_id, row.kind, row.account_id, row.value) == (
        "by-hand-1",
        "onboarding.step_done",
        "cus_1",
        "first_report",
    )
    async with database.reading() as session:
        (used,) = (await session.exec(select(UsageDay))).all()
    assert (used.metric, str(used.day), used.count) == ("activity", "2026-11-01", 4)


async def waiting(database: Database) -> None:
    async with database.writing() as session:
        for number, (state, kind) in enumerate(
            [("parked", "usage"), ("dead", "health.scored"), ("dead", ""), ("applied", "user.signed_up")]
        ):
            session.add(
                InboxEvent(
                    source="events",
                    event_id=f"msg_{number}",
                    type=kind or "invoice.paid",
                    kind=kind,
                    account_id="acme",
                    state=state,
                    reason=f"why {number}",
                    tries=12,
                    occurred_at=wall(),
                    wall_settled_at=wall(),
                    body=b"{}",
                )
            )


async def test_t1_19_the_inbox_lists_what_is_parked_or_dead_with_the_reason(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    assert await holdfast(tmp_path, "inbox", DATABASE_URL=database_url) == (0, "Nothing is parked or dead.\n", "")
    await waiting(database)
    code, out, _ = await holdfast(tmp_path, "inbox", "--json", DATABASE_URL=database_url)
    assert code == 0
    assert [(row["id"], row["state"], row["type"], row["account"], row["reason"]) for row in json.loads(out)] == [
        (3, "dead", "invoice.paid", "acme", "why 2"),
        (2, "dead", "health.scored", "acme", "why 1"),
        (1, "parked", "usage", "acme", "why 0"),
    ]
    code, out, _ = await holdfast(tmp_path, "inbox", DATABASE_URL=database_url)
    assert code == 0
    assert "why 0" in out
    assert "why 3" not in out


@pytest.mark.parametrize(
    ("arguments", "code", "said", "states"),
    [
        (["2"], 0, "1 event will be tried again.", ["parked", "pending", "dead", "applied"]),
        (["--parked"], 0, "1 event will be tried again.", ["pending", "dead", "dead", "applied"]),
        (["--dead"], 0, "1 event will be tried again.", ["parked", "pending", "dead", "applied"]),
        (
            ["3"],
            1,
            "holdfast: row 3 could not be read when it came (why 2); it has to be sent anew",
            ["parked", "dead", "dead", "applied"],
        ),
        (
            ["4"],
            1,
            "holdfast: row 4 is applied, neither parked nor dead: there is nothing to retry",
            ["parked", "dead", "dead", "applied"],
        ),
        (
            ["9"],
            1,
            "holdfast: there is no row 9 in the inbox; `holdfast inbox` lists those that wait",
            ["parked", "dead", "dead", "applied"],
        ),
        (
            [],
            2,
            "holdfast: say which: `holdfast inbox retry ID`, or --dead, or --parked",
            ["parked", "dead", "dead", "applied"],
        ),
        (
            ["2", "--dead"],
            2,
            "holdfast: say which: `holdfast inbox retry ID`, or --dead, or --parked",
            ["parked", "dead", "dead", "applied"],
        ),
    ],
)
async def test_t1_19_what_waits_can_be_put_back(
    arguments: list[str],
    code: int,
    said: str,
    states: list[str],
    database: Database,
    database_url: str,
    tmp_path: Path,
) -> None:
    await waiting(database)
    found, out, err = await holdfast(tmp_path, "inbox", "retry", *arguments, DATABASE_URL=database_url)
    assert (found, (out + err).strip()) == (code, said)
    rows = await inbox_of(database)
    assert [row.state for row in rows] == states
    assert {(row.reason, row.tries, row.wall_settled_at) for row in rows if row.state == "pending"} <= {("", 0, None)}
