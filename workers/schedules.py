"""The Temporal Schedules behind the daily scans (T2.6): made at worker start, harmless to repeat."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import structlog
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleCalendarSpec,
    ScheduleDescription,
    ScheduleHandle,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleRange,
    ScheduleSpec,
    ScheduleState,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.service import RPCError, RPCStatusCode

from models.policy import Policy, ScanTime
from models.scans import SCANS, TITLES, ScanJob, Which
from workers.connect import TASK_QUEUE

CATCH_UP: Final = timedelta(days=1)
"""After an outage of the server each scan runs once for the day it missed, not once for every day."""
WHY: Final[dict[Which, str]] = {
    "books": "brings segments up to date and gives each account a CSM with room (S1, S3)",
    "usage": "finds accounts whose usage fell past the threshold (P3)",
    "renewals": "finds contracts that renew soon (P6)",
    "cards": "finds cards on file that expire soon (P2)",
    "reports": "gives the CSM lead each week's summary and each month's review (T2.5)",
    "rules": "finds accounts for which a rule of the table holds (T3)",
    "health": "scores every account and finds bands that were crossed (H0, H6)",
}
Said = Literal["made", "updated", "as it was", "removed", "not enabled"]

log = structlog.get_logger()


class NoSuchSchedule(RuntimeError):
    """The server has no schedule for this scan."""


def id_of(which: Which) -> str:
    """The schedule's id, and how the ids of its runs begin."""
    return f"scan-{which}"


def schedule_of(which: Which, policy: Policy, task_queue: str = TASK_QUEUE) -> Schedule:
    """The schedule as the policy wants it."""
    when: ScanTime = getattr(policy.scans, which)
    daily = f"daily {when.hour:02}:{when.minute:02} UTC"
    return Schedule(
        action=ScheduleActionStartWorkflow(
            "scan",
            ScanJob(which=which, window=policy.scans.window),
            id=id_of(which),
            task_queue=task_queue,
            static_summary=f"{TITLES[which]}, {daily}",
            static_details=f"Goes through all accounts and {WHY[which]}. Again by hand: `holdfast scan {which}`.",
        ),
        spec=ScheduleSpec(
            calendars=[
                ScheduleCalendarSpec(
                    hour=(ScheduleRange(when.hour),), minute=(ScheduleRange(when.minute),), comment=daily
                )
            ],
            jitter=timedelta(minutes=policy.scans.jitter_minutes),
        ),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=CATCH_UP),
        state=ScheduleState(note=f"{TITLES[which]}: {daily}; {WHY[which]}"),
    )


async def ensure(client: Client, policy: Policy, task_queue: str = TASK_QUEUE) -> dict[Which, Said]:
    """Bring every schedule to what the policy says; one that a person paused stays paused, with that person's note.

    A scan that is not enabled has no schedule.
    """
    said: dict[Which, Said] = {}
    for which in SCANS:
        if getattr(policy.scans, which).enabled:
            said[which] = await _ensure(client, which, schedule_of(which, policy, task_queue))
        else:
            said[which] = "removed" if await remove(client, which) else "not enabled"
    return said


async def ensure_or_warn(client: Client, policy: Policy) -> None:
    """`ensure`, at the start of a worker: a server that refuses is no reason not to take steps."""
    try:
        said = await ensure(client, policy)
    except RPCError as error:
        log.warning("schedules.refused", error=error.status.name, help="holdfast schedules ensure")
    else:
        log.info("schedules.ready", **said)


async def _ensure(client: Client, which: Which, wanted: Schedule) -> Said:
    try:
        await client.create_schedule(id_of(which), wanted)
    except ScheduleAlreadyRunningError:
        pass
    else:
        return "made"
    said: Said = "as it was"
    explains = wanted.state.note

    async def change(update: ScheduleUpdateInput) -> ScheduleUpdate | None:
        nonlocal said
        there = update.description.schedule
        note = there.state.note if there.state.paused else explains
        same = there.state.note == note and await _same(client, there, wanted)
        said = "as it was" if same else "updated"
        wanted.state = replace(there.state, note=note)
        return None if same else ScheduleUpdate(wanted)

    await client.get_schedule_handle(id_of(which)).update(change)
    return said


async def _same(client: Client, there: Schedule, wanted: Schedule) -> bool:
    return (there.spec, there.policy, await _action(client, there)) == (
        ScheduleSpec(calendars=list(wanted.spec.calendars), jitter=wanted.spec.jitter),
        wanted.policy,
        await _action(client, wanted),
    )


async def _action(client: Client, schedule: Schedule) -> tuple[Any, ...]:
    """What can be compared of an action: the server keeps arguments and texts encoded."""
    action = schedule.action
    if not isinstance(action, ScheduleActionStartWorkflow):
        return ()
    proto = (await action._to_proto(client)).start_workflow
    jobs = await client.data_converter.decode(list(proto.input.payloads), [ScanJob])
    texts = (proto.user_metadata.summary, proto.user_metadata.details)
    told = [(await client.data_converter.decode([each], [str]))[0] for each in texts]
    return (proto.workflow_id, proto.workflow_type.name, proto.task_queue.name, jobs, told)


async def listed(client: Client) -> list[dict[str, str]]:
    """Every scan with its schedule: note, whether it is paused, the next run (UTC). Text, ready to print."""
    rows = []
    for which in SCANS:
        try:
            there = await client.get_schedule_handle(id_of(which)).describe()
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
            rows.append({"scan": which, "schedule": "none", "note": "", "next": "", "last": ""})
            continue
        rows.append(_row(which, there))
    return rows


def _row(which: Which, there: ScheduleDescription) -> dict[str, str]:
    def text(moment: datetime) -> str:
        return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}"

    paused, info = there.schedule.state.paused, there.info
    return {
        "scan": which,
        "schedule": f"{there.id} (paused)" if paused else there.id,
        "note": there.schedule.state.note or "",
        "next": "" if paused or not info.next_action_times else text(info.next_action_times[0]),
        "last": text(info.recent_actions[-1].started_at) if info.recent_actions else "",
    }


async def remove(client: Client, which: Which) -> bool:
    """Take a schedule away; False if there is none."""
    try:
        await client.get_schedule_handle(id_of(which)).delete()
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise
        return False
    return True


async def trigger(client: Client, which: Which) -> None:
    """Start a scan now, unless one runs.

    Raises:
        NoSuchSchedule: the server has none for it.
    """
    await _asked(which, client.get_schedule_handle(id_of(which)), "trigger", "")


async def pause(client: Client, which: Which, by: str) -> None:
    """Stop a schedule until it is resumed; a worker's start does not resume it.

    Raises:
        NoSuchSchedule: the server has none for it.
    """
    await _asked(which, client.get_schedule_handle(id_of(which)), "pause", f"Paused by {by}")


async def resume(client: Client, policy: Policy, which: Which) -> None:
    """Let a paused schedule go on, with its own note again.

    Raises:
        NoSuchSchedule: the server has none for it.
    """
    note = schedule_of(which, policy).state.note or ""
    await _asked(which, client.get_schedule_handle(id_of(which)), "unpause", note)


async def _asked(which: Which, handle: ScheduleHandle, what: str, note: str) -> None:
    try:
        await getattr(handle, what)(**({"note": note} if note else {}))
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise
        raise NoSuchSchedule(f"there is no schedule {id_of(which)}; `holdfast schedules ensure` makes it") from None
