"""The weekly summary and the monthly review, on both databases (T2.5)."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from models.database import Database
from models.reports import last_whole, report
from models.tables import CaseRow, EffectRow, InboxEvent, TaskRow
from tests.scans.customers import TODAY, account, contract, put, rows, scanned

MONDAY = datetime(2026, 3, 23, tzinfo=UTC)
"""The first day of the week before `TODAY`, which is a Monday too."""


@pytest.mark.parametrize(
    ("period", "day", "span"),
    [
        ("week", date(2026, 3, 30), (date(2026, 3, 23), date(2026, 3, 30))),
        ("week", date(2026, 4, 5), (date(2026, 3, 23), date(2026, 3, 30))),
        ("month", date(2026, 3, 30), (date(2026, 2, 1), date(2026, 3, 1))),
        ("month", date(2026, 1, 1), (date(2025, 12, 1), date(2026, 1, 1))),
    ],
)
def test_t2_5_the_last_whole_week_or_month(period: Any, day: date, span: tuple[date, date]) -> None:
    assert last_whole(period, day) == span


def case(name: str, number: int, at: float, **more: Any) -> CaseRow:
    """A case opened so many days after Monday."""
    known: dict[str, Any] = {"account_id": f"a{number}", "subject": "s", "started": True, "currency": "usd"}
    opened = MONDAY + timedelta(days=at)
    return CaseRow(id=f"{name}/{number}", playbook=name, opened_at=opened, **(known | more))


def over(outcome: str, day: float, at_stake: int = 0, **more: Any) -> dict[str, Any]:
    """How a case ended."""
    ended_at = MONDAY + timedelta(days=day)
    return {"ended": True, "outcome": outcome, "ended_at": ended_at, "at_stake": at_stake, **more}


async def a_week(database: Database) -> None:
    """Five payment failures, a usage decline, three customers, two renewals, something in doubt."""
    await put(
        database,
        case("payment-failure", 1, -3, **over("recovered_by_retry", 0, 3_000)),
        case("payment-failure", 2, 0, **over("recovered_by_customer", 6.9, 1_000)),
        case("payment-failure", 3, 1, **over("suspended", 5, 4_000)),
        case("payment-failure", 4, 1, **over("recovered_by_retry", 5, 900, currency="eur")),
        case("payment-failure", 5, 1, **over("suspended", 7, 99_999)),
        case("usage-decline", 6, 6.9),
        case("usage-decline", 7, 7),
        account("h", health=85),
        account("l", health=39),
        account("gone", health=1, churned_at=MONDAY),
        contract("k1", "h", TODAY + timedelta(days=90)),
        contract("k2", "h", TODAY + timedelta(days=91)),
        TaskRow(key="t", account_id="h", case_id="c", owner="ana", title="x", opened_at=MONDAY, due_at=MONDAY),
        EffectRow(
            key="e", case_id="c", account_id="h", playbook="p", step="s", kind="email", title="m", at=MONDAY,
            state="in_doubt", what={},
        ),
        InboxEvent(source="s", event_id="d", type="x", occurred_at=MONDAY, body=b"{}", state="dead"),
    )  # fmt: skip


async def test_t2_5_a_week_in_figures_and_in_words(both: Database) -> None:
    await a_week(both)
    async with both.reading() as session:
        made = await report(session, "week", TODAY)
    assert made.started == {"payment-failure": 4, "usage-decline": 1}
    assert made.ended == {
        "payment-failure": {"recovered_by_retry": 2, "recovered_by_customer": 1, "suspended": 1},
    }
    assert made.open_now == {"usage-decline": 2}
    assert (made.at_stake, made.recovered) == ({"usd": 8_000, "eur": 900}, {"usd": 4_000, "eur": 900})
    assert made.recovery_pct == {"usd": 50, "eur": 100}
    assert (made.customers, made.health, made.renewals_ahead) == (2, {"healthy": 1, "critical": 1}, 1)
    assert (made.tasks_overdue, made.in_doubt, made.dead_facts) == (1, 1, 1)
    assert (made.title, made.name) == ("Weekly summary: 23 March to 29 March 2026", "2026-W13")
    words = made.in_words()
    assert "2 customers. 1 healthy, 1 critical." in words
    assert "Failed payments that ended: $40.00 of $80.00 recovered (50 %)." in words
    assert "- usage-decline: 1 started, 0 ended; 2 open" in words


async def test_t2_5_the_lead_gets_each_once_and_a_missed_one_later(both: Database) -> None:
    assert (await scanned(both, "reports")).recorded == 0  # nothing to report yet
    await a_week(both)
    assert (await scanned(both, "reports", TODAY + timedelta(days=2))).recorded == 2
    assert (await scanned(both, "reports", TODAY + timedelta(days=3))).recorded == 0
    assert (await scanned(both, "reports", TODAY + timedelta(days=7))).recorded == 1
    assert [row[:3] for row in await rows(both, TaskRow, ("key", "owner", "title")) if row[0] != "t"] == [
        ("report/month/2026-03", "csm-lead", "Monthly review: March 2026"),
        ("report/week/2026-W13", "csm-lead", "Weekly summary: 23 March to 29 March 2026"),
        ("report/week/2026-W14", "csm-lead", "Weekly summary: 30 March to 5 April 2026"),
    ]
