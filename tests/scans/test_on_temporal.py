"""Scans on the real server: the workflow, what the relay starts from it, and the schedules (T2.6)."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import pytest
from sqlmodel import select
from structlog.testing import capture_logs
from temporalio import workflow
from temporalio.client import Client, ScheduleBackfill, ScheduleOverlapPolicy, ScheduleRange
from temporalio.worker import Worker

from activities.scans import Scans
from models import facts
from models.cases import Case, Ending
from models.customers import UsageDay
from models.database import Database
from models.policy import Policy, PolicyFile
from models.scans import SCANS, Found, Scan, ScanJob
from models.tables import CaseRow, InboxEvent, wall
from tests.scans.customers import DAY, account, contract, facts_of, put, unwell, windows
from workers import schedules
from workers.connect import sandbox
from workers.relay import Relay
from workers.routing import Router
from workers.scan_preview import preview
from workers.temporal_process import Server
from workflows import JOBS
from workflows.playbook import Playbook
from workflows.steps import Start


@workflow.defn(name="falling")
class Falling(Playbook):
    """Starts where usage fell."""

    starts_on = (Start(facts.USAGE_DECLINED),)

    @workflow.run
    async def run(self, case: Case) -> Ending:
        """Never carried out here."""
        raise NotImplementedError


@workflow.defn(name="renewing")
class Renewing(Playbook):
    """Starts for each contract that renews."""

    starts_on = (Start(facts.RENEWAL_AHEAD),)
    one_for_each_subject = True

    @workflow.run
    async def run(self, case: Case) -> Ending:
        """Never carried out here."""
        raise NotImplementedError


async def nobody(charge: str) -> str:
    raise AssertionError(f"{charge}: no charge is read in this test")


@dataclass
class Observatory:
    """A database with accounts, a worker that takes scans, and a relay that starts runs nobody takes up."""

    client: Client
    database: Database
    task_queue: str
    mark: str

    @property
    def router(self) -> Router:
        return Router(PolicyFile(), (Falling, Renewing))

    async def scan(self, which: Any, day: date, window: int = 3) -> Found:
        found: Found = await self.client.execute_workflow(
            "scan",
            ScanJob(which=which, window=window, day=day),
            id=f"scan-{uuid.uuid4()}",
            task_queue=self.task_queue,
            result_type=Found,
        )
        return found

    async def relayed(self) -> list[tuple[str, str, str]]:
        """Carry everything to Temporal; the events, how they ended, and why."""
        relay = Relay(self.database, self.client, self.router, nobody, task_queue=f"nobody-{self.mark}")
        while await relay.once():
            pass
        async with self.database.reading() as session:
            events = (await session.exec(select(InboxEvent))).all()
        return sorted((event.event_id, event.state, event.reason) for event in events)

    async def runs(self) -> list[str]:
        """The runs that Temporal really has, of the cases there are."""
        async with self.database.reading() as session:
            cases = (await session.exec(select(CaseRow.id))).all()
        return sorted([(await self.client.get_workflow_handle(case).describe()).id for case in cases])


@pytest.fixture
async def observatory(both: Database, client: Client) -> AsyncIterator[Observatory]:
    """On either database, with windows of pages of two accounts."""
    mark = uuid.uuid4().hex[:8]
    scans = Scans(both, PolicyFile(), page=2)
    queue = f"scans-{mark}"
    async with Worker(
        client, task_queue=queue, workflows=list(JOBS), activities=[scans.scan], workflow_runner=sandbox()
    ):
        yield Observatory(client, both, queue, mark)


async def test_p3_1_exactly_those_that_cross_start_a_run_once_each(observatory: Observatory) -> None:
    today, mark = wall().date(), observatory.mark
    names = [f"{mark}{letter}" for letter in "abcdefg"]
    await put(observatory.database, *(account(name) for name in names))
    for name, now in zip(names, (10, 7, 6, 5, 10, 0, 8), strict=True):
        so_far = UsageDay(account_id=name, metric="activity", day=today, count=now)
        await put(observatory.database, *windows(name, 10, now, day=today), so_far)
    found = await observatory.scan("usage", today)
    assert (found.accounts, found.found, found.recorded, found.done) == (7, 3, 3, True)
    assert found.by_value == {"moderate": 1, "severe": 2}
    again = await observatory.scan("usage", today)
    assert (again.found, again.recorded) == (3, 0)
    events = await observatory.relayed()
    assert [(event.split("/")[1], state) for event, state, _ in events] == [
        (f"{mark}c", "applied"), (f"{mark}d", "applied"), (f"{mark}f", "applied"),
    ]  # fmt: skip
    cases = [event_id.replace("usage.declined", "falling") for event_id, _, _ in events]
    assert await observatory.runs() == cases
    assert [reason for _, _, reason in events] == [f"started {case}" for case in cases]
    following = await observatory.scan("usage", today + DAY)
    assert following.recorded == 0, "over the threshold today as yesterday is no new crossing"
    assert await observatory.relayed() == events


async def test_p6_13_a_renewal_that_is_close_starts_at_once_with_its_anchor(observatory: Observatory) -> None:
    today, mark = wall().date(), observatory.mark
    soon = today + DAY * 20
    await put(observatory.database, account(f"{mark}a"), contract(f"{mark}c", f"{mark}a", soon))
    await put(observatory.database, contract(f"{mark}d", f"{mark}a", soon, term="monthly"))
    assert (await observatory.scan("renewals", today)).recorded == 1
    await observatory.relayed()
    case = f"renewing/{mark}c/{soon}"
    assert await observatory.runs() == [case]
    history = await observatory.client.get_workflow_handle(case).fetch_history()
    payloads = history.events[0].workflow_execution_started_event_attributes.input.payloads
    (said,) = await observatory.client.data_converter.decode(payloads, [Case])
    assert (said.anchor.date(), said.at_stake) == (soon, 120_000)


async def test_the_scan_shows_how_far_it_came_and_keeps_a_short_history(observatory: Observatory) -> None:
    today = wall().date()
    await put(observatory.database, *(account(f"a{number:02}", card_expires_on=today) for number in range(10)))
    handle = await observatory.client.start_workflow(
        "scan",
        ScanJob(which="cards", window=3, day=today),
        id=f"scan-{uuid.uuid4()}",
        task_queue=observatory.task_queue,
        result_type=Found,
    )
    found = await handle.result()
    assert found == Found(after="a09", done=True, pages=7, accounts=10, found=10, recorded=10)
    metadata: Any = await handle.query("__temporal_workflow_metadata")
    assert metadata.current_details == (
        f"**Cards about to expire**, as of {today} (UTC): done\n\n10 accounts looked at, 10 found, 10 of them new."
    )
    assert (await handle.describe()).history_length == 4 * 6 + 5, "six events a window"


async def test_a_long_scan_goes_on_in_a_new_run(observatory: Observatory) -> None:
    today = wall().date()
    await put(observatory.database, *(account(f"a{number:03}", card_expires_on=today) for number in range(205)))
    found = await observatory.scan("cards", today, window=1)
    assert (found.accounts, found.recorded, found.pages) == (205, 205, 206)


async def test_t2_1_the_health_scan_scores_window_after_window_and_what_it_found_goes_its_way(
    observatory: Observatory,
) -> None:
    today = wall().date()
    names = [f"a{number}" for number in range(5)]
    rows = [row for name in names for row in (account(name), *unwell(name))]
    await put(observatory.database, *rows)
    found = await observatory.scan("health", today, window=2)
    assert (found.accounts, found.recorded, found.pages, found.by_value) == (5, 5, 3, {"critical": 5})
    assert (await observatory.scan("health", today, window=2)).recorded == 0


async def test_a_preview_says_what_the_router_would_and_writes_nothing(both: Database) -> None:
    today = wall().date()
    await put(both, *(account(name) for name in "abcdef"))
    for name, now in zip("abcdef", (5, 6, 6, 6, 6, 10), strict=True):
        await put(both, *windows(name, 10, now, day=today))
    policy = PolicyFile({"starts": {"per_hour": 2}})
    scans, router = Scans(both, policy, page=2), Router(policy, (Falling,))
    ended: dict[str, Any] = {"playbook": "falling", "subject": "", "at_stake": 1, "opened_at": wall() - DAY * 9}
    await put(both, CaseRow(id="1", account_id="b", ended=True, ended_at=wall() - DAY * 2, **ended))
    await put(both, CaseRow(id="2", account_id="c", **ended))
    said = await preview(both, scans, router, Scan(which="usage", day=today, window=100))
    hours = [each.pop("from") for each in said["starts_by_hour"]]
    assert len(set(hours)) == 3
    assert said == {
        "scan": "usage",
        "day": today.isoformat(),
        "accounts": 6,
        "found": 5,
        "new": 5,
        "new_by_severity": {"moderate": 4, "severe": 1},
        "starts": {"falling": 3},
        "starts_by_hour": [{"runs": 1}, {"runs": 1}, {"runs": 1}],
        "too_old": 0,
        "in_cool_down": 1,
        "open_already": 1,
        "other": 0,
        "fell_long_since": 0,
        "signals_raised": 0,
        "signals_cleared": 0,
    }
    assert await facts_of(both) == []
    async with both.reading() as session:
        assert sorted((await session.exec(select(CaseRow.id))).all()) == ["1", "2"]
    past = today - DAY * 60
    await put(both, account("old"), *windows("old", 10, 0, day=past))
    said = await preview(both, scans, router, Scan(which="usage", day=past, window=100))
    assert (said["new"], said["starts"], said["too_old"]) == (1, {}, 1)
    unheard = await preview(both, scans, Router(policy, ()), Scan(which="usage", day=today, window=100))
    assert (unheard["other"], unheard["starts"]) == (5, {})


# Schedules.


@pytest.fixture
async def no_schedules(client: Client) -> AsyncIterator[None]:
    """None before, none after."""
    for which in SCANS:
        await schedules.remove(client, which)
    yield
    for which in SCANS:
        await schedules.remove(client, which)


def policy(**scans: Any) -> Policy:
    return PolicyFile({"scans": scans}).default


@pytest.mark.usefixtures("no_schedules")
async def test_t2_6_the_schedules_are_on_the_server_and_explain_themselves(client: Client) -> None:
    assert await schedules.ensure(client, policy()) == dict.fromkeys(SCANS, "made")
    there = await client.get_schedule_handle("scan-usage").describe()
    (calendar,) = there.schedule.spec.calendars
    assert (calendar.hour, calendar.minute) == ((ScheduleRange(5),), (ScheduleRange(10),))
    assert there.schedule.spec.time_zone_name is None, "UTC: no change of clocks skips or doubles a day"
    assert there.schedule.spec.jitter == timedelta(minutes=5)
    assert there.schedule.policy.overlap == ScheduleOverlapPolicy.SKIP
    assert there.schedule.policy.catchup_window == DAY, "a long outage is made up for once, not once a day"
    assert there.schedule.state.note == (
        "Usage that fell: daily 05:10 UTC; finds accounts whose usage fell past the threshold (P3)"
    )
    assert [(moment.hour, moment.minute) for moment in there.info.next_action_times[:1]] in (
        [(5, minute)] for minute in range(10, 16)
    )
    rows = await schedules.listed(client)
    assert [(row["scan"], row["schedule"]) for row in rows] == [(which, f"scan-{which}") for which in SCANS]


@pytest.mark.usefixtures("no_schedules")
async def test_t2_6_ensuring_is_harmless_and_leaves_a_paused_schedule_paused(client: Client) -> None:
    await schedules.ensure(client, policy())
    assert await schedules.ensure(client, policy()) == dict.fromkeys(SCANS, "as it was")
    await schedules.pause(client, "usage", "ana")
    assert (await schedules.ensure(client, policy()))["usage"] == "as it was"
    moved = policy(usage={"hour": 7, "minute": 45}, window=500)
    assert await schedules.ensure(client, moved) == dict.fromkeys(SCANS, "updated")
    there = (await client.get_schedule_handle("scan-usage").describe()).schedule
    assert (there.state.paused, there.state.note) == (True, "Paused by ana")
    assert there.spec.calendars[0].hour == (ScheduleRange(7),)
    await schedules.resume(client, moved, "usage")
    there = (await client.get_schedule_handle("scan-usage").describe()).schedule
    assert (there.state.paused, (there.state.note or "").split(";")[0]) == (False, "Usage that fell: daily 07:45 UTC")
    assert await schedules.ensure(client, moved) == dict.fromkeys(SCANS, "as it was")
    off = policy(usage={"enabled": False})
    assert (await schedules.ensure(client, off))["usage"] == "removed"
    assert (await schedules.ensure(client, off))["usage"] == "not enabled"
    with pytest.raises(schedules.NoSuchSchedule, match="there is no schedule scan-usage; `holdfast schedules ensure`"):
        await schedules.trigger(client, "usage")


async def last_run(client: Client, count: int = 1) -> Found:
    handle = client.get_schedule_handle("scan-cards")
    while True:
        actions = (await handle.describe()).info.recent_actions
        if len(actions) >= count:
            break
        await asyncio.sleep(0.02)
    run: Any = actions[-1].action
    found: Found = await client.get_workflow_handle(run.workflow_id, result_type=Found).result()
    return found


@pytest.mark.usefixtures("no_schedules")
async def test_t2_6_a_triggered_schedule_scans_and_a_missed_day_keeps_its_day(observatory: Observatory) -> None:
    client, today = observatory.client, wall().date()
    await put(observatory.database, account("a", card_expires_on=today + DAY * 10))
    await schedules.ensure(client, policy(), observatory.task_queue)
    await schedules.trigger(client, "cards")
    assert (await last_run(client)).recorded == 1
    assert [row[7].date() for row in await facts_of(observatory.database)] == [today]
    await put(observatory.database, account("b", card_expires_on=today - DAY * 3))
    missed = wall().replace(hour=5, minute=50, second=0, microsecond=0) - DAY * 4
    minute = timedelta(minutes=1)
    await client.get_schedule_handle("scan-cards").backfill(ScheduleBackfill(missed - minute, missed + minute * 10))
    assert (await last_run(client, 2)).recorded == 1
    assert [(row[2], row[7].date()) for row in await facts_of(observatory.database)] == [
        ("a", today),
        ("b", missed.date()),
    ]


@pytest.mark.usefixtures("no_schedules")
async def test_t2_6_a_worker_makes_the_schedules_and_starts_even_where_it_may_not(
    client: Client, temporal: Server
) -> None:
    await schedules.ensure_or_warn(client, policy())
    assert {row["schedule"] for row in await schedules.listed(client)} == {f"scan-{which}" for which in SCANS}
    with capture_logs() as said:
        await schedules.ensure_or_warn(
            await Client.connect(temporal.address, namespace="nowhere", data_converter=client.data_converter), policy()
        )
    assert [(line["event"], line["error"]) for line in said] == [("schedules.refused", "NOT_FOUND")]
