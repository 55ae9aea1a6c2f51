"""The numbers of `/metrics` that live in the database: exact after a known story, on both databases."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from models import vitals
from models.contact_rows import Hold
from models.database import Database
from models.tables import CaseRow, EffectRow, InboxEvent
from models.vitals import GAUGES

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


def ago(**how_long: float) -> datetime:
    return NOW - timedelta(**how_long)


def event(number: int, source: str, **columns: Any) -> InboxEvent:
    known = {"wall_received_at": NOW, "wall_next_try_at": NOW, "kind": "x", "account_id": "acme"}
    return InboxEvent(
        source=source, event_id=f"e{number}", type="x", occurred_at=NOW, body=b"{}", **{**known, **columns}
    )


def effect(key: str, kind: str, state: str, claimed: datetime) -> EffectRow:
    return EffectRow(
        key=key,
        case_id="payment-failure/in_1",
        account_id="acme",
        playbook="payment-failure",
        step="s",
        kind=kind,
        title="t",
        state=state,
        at=NOW,
        wall_claimed_at=claimed,
    )


def case(number: int, playbook: str, *, ended: bool = False) -> CaseRow:
    return CaseRow(
        id=f"{playbook}/{number}", playbook=playbook, account_id=f"a{number}", subject="s", ended=ended, opened_at=NOW
    )


async def numbers(database: Database) -> dict[str, float]:
    """Every number, by its name and labels as Prometheus writes them."""
    async with database.reading() as session:
        found = await vitals.vitals(session, NOW)
    for each in found:
        assert set(each.labels) == set(GAUGES[each.name].labels), each
    return {
        each.name.removeprefix("holdfast_") + "".join(f" {value}" for value in each.labels.values()): each.value
        for each in found
    }


EMPTY = {
    "inbox_undelivered events": 0,
    "inbox_undelivered holdfast": 0,
    "inbox_undelivered segment": 0,
    "inbox_undelivered stripe": 0,
    "inbox_oldest_undelivered_seconds events": 0,
    "inbox_oldest_undelivered_seconds holdfast": 0,
    "inbox_oldest_undelivered_seconds segment": 0,
    "inbox_oldest_undelivered_seconds stripe": 0,
    "inbox_waiting scheduled": 0,
    "inbox_waiting parked": 0,
    "inbox_waiting dead": 0,
    "on_hold all ": 0,
    "on_hold account ": 0,
}


async def test_t1_19_an_installation_at_rest_says_zero_and_not_nothing(both: Database) -> None:
    assert await numbers(both) == EMPTY


async def test_t1_19_what_waits_and_since_when(both: Database) -> None:
    async with both.writing() as session:
        session.add_all(
            [
                # Temporal is away: the relay puts it off by a second, again and again.
                event(1, "stripe", wall_received_at=ago(minutes=20), wall_next_try_at=NOW + timedelta(seconds=1)),
                event(2, "stripe", wall_received_at=ago(minutes=7)),
                event(3, "segment", wall_received_at=ago(minutes=3)),
                # Found at night, given a turn: late only since then.
                event(4, "holdfast", wall_received_at=ago(hours=6), wall_next_try_at=ago(seconds=30)),
                event(5, "holdfast", wall_received_at=ago(hours=6), wall_next_try_at=NOW + timedelta(hours=1)),
                event(6, "stripe", state="applied", wall_received_at=ago(days=1)),
                event(7, "events", state="parked", wall_received_at=ago(days=1)),
                event(8, "events", state="dead", wall_received_at=ago(days=1)),
                event(9, "stripe", state="dead", wall_received_at=ago(days=1)),
            ]
        )
    assert await numbers(both) == EMPTY | {
        "inbox_undelivered stripe": 2,
        "inbox_undelivered segment": 1,
        "inbox_undelivered holdfast": 1,
        "inbox_oldest_undelivered_seconds stripe": 1200,
        "inbox_oldest_undelivered_seconds segment": 180,
        "inbox_oldest_undelivered_seconds holdfast": 30,
        "inbox_waiting scheduled": 1,
        "inbox_waiting parked": 1,
        "inbox_waiting dead": 2,
    }


async def test_p0_14_effects_whose_fate_is_not_known_and_since_when(both: Database) -> None:
    async with both.writing() as session:
        session.add_all(
            [
                effect("a", "charge", "in_doubt", ago(hours=3)),
                effect("b", "charge", "in_doubt", ago(hours=1)),
                effect("c", "email", "claimed", ago(seconds=4)),
                effect("d", "email", "done", ago(days=9)),
                effect("e", "email", "dropped", ago(days=9)),
            ]
        )
    assert await numbers(both) == EMPTY | {
        "effects_unsettled charge in_doubt": 2,
        "effects_unsettled_oldest_seconds charge in_doubt": 10800,
        "effects_unsettled email claimed": 1,
        "effects_unsettled_oldest_seconds email claimed": 4,
    }


async def test_p0_17_open_cases_by_playbook_and_the_stop_switch_without_any_account(both: Database) -> None:
    async with both.writing() as session:
        session.add_all([case(1, "renewal"), case(2, "renewal"), case(3, "payment-failure")])
        session.add(case(4, "payment-failure", ended=True))
        session.add_all(
            [
                Hold(scope="all", placed_by="ana", wall_released_at=NOW),
                Hold(scope="playbook", name="renewal", placed_by="ana"),
                Hold(scope="account", name="acme", placed_by="ana"),
                Hold(scope="account", name="bob", placed_by="ana"),
            ]
        )
    assert await numbers(both) == EMPTY | {
        "cases_open renewal": 2,
        "cases_open payment-failure": 1,
        "on_hold playbook renewal": 1,
        "on_hold account ": 2,
    }
    async with both.writing() as session:
        session.add(Hold(scope="all", placed_by="ana"))
    assert (await numbers(both))["on_hold all "] == 1


async def test_an_outage_does_not_make_looking_dear(both: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vitals, "MOST", 3)
    async with both.writing() as session:
        session.add_all([event(n, "stripe") for n in range(5)])
        session.add_all([event(n, "events", state="dead") for n in range(5)])
        session.add_all([case(n, "renewal") for n in range(5)])
    found = await numbers(both)
    assert (found["inbox_undelivered stripe"], found["inbox_waiting dead"], found["cases_open renewal"]) == (3, 3, 3)
