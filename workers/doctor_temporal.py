"""Checks of Temporal: the server, the namespace, search attributes, workers, runs, schedules."""

from collections.abc import AsyncIterator
from datetime import UTC, timedelta
from typing import Final

from sqlmodel import col, func, select
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, DescribeTaskQueueRequest
from temporalio.service import RPCError, RPCStatusCode

from models.scans import SCANS
from models.tables import CaseRow
from workers import schedules
from workers.differences import Sides
from workers.findings import Finding, Patient, the_client
from workers.reconcile_runs import cases_and_their_runs
from workflows.visible import SEARCH_ATTRIBUTES

POLLS: Final = timedelta(minutes=2)
"""A worker asks for work at least once a minute."""
SHOWN: Final = 3


async def temporal_answers_and_remembers(patient: Patient) -> AsyncIterator[Finding]:
    """The server answers, and keeps ended runs long enough to be looked at."""
    if patient.client is None:
        address = patient.settings.temporal_address or "127.0.0.1:7233"
        do = "start it, or correct TEMPORAL_ADDRESS, TEMPORAL_API_KEY and TEMPORAL_TLS; events wait in the inbox"
        yield Finding("Temporal", "wrong", f"no Temporal server answers at {address}", do)
        return
    asked = DescribeNamespaceRequest(namespace=patient.client.namespace)
    try:
        found = await patient.client.workflow_service.describe_namespace(asked, retry=True)
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise
        do = "create it (`temporal operator namespace create`), or correct TEMPORAL_NAMESPACE"
        yield Finding("Temporal", "wrong", f"there is no namespace {patient.client.namespace!r}", do)
        return
    kept = found.config.workflow_execution_retention_ttl.ToTimedelta()
    if kept < patient.least_retention:
        do = f"`temporal operator namespace update --retention 30d {patient.client.namespace}`"
        yield Finding(
            "Temporal", "wrong", f"ended runs are forgotten after {kept.total_seconds() / 3600:.0f} hours", do
        )
    else:
        yield Finding("Temporal", "well", f"Temporal answers and keeps ended runs for {kept.days} days")


async def search_attributes_are_there(patient: Patient) -> AsyncIterator[Finding]:
    """All that runs are started with are registered."""
    client = the_client(patient)
    listed = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=client.namespace), retry=True
    )
    lacking = sorted(key.name for key in SEARCH_ATTRIBUTES if key.name not in listed.custom_attributes)
    if lacking:
        what = f"the namespace lacks the search attributes {', '.join(lacking)}: no run can be started"
        do = "start a worker, which registers them; on Temporal Cloud make them in the namespace's settings"
        yield Finding("search attributes", "wrong", what, do)
    else:
        yield Finding("search attributes", "well", "every search attribute is registered")


async def a_worker_polls(patient: Patient) -> AsyncIterator[Finding]:
    """Somebody takes work from the task queue."""
    client = the_client(patient)
    seen = []
    for kind in (TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY):
        asked = DescribeTaskQueueRequest(
            namespace=client.namespace, task_queue=TaskQueue(name=patient.task_queue), task_queue_type=kind
        )
        pollers = (await client.workflow_service.describe_task_queue(asked, retry=True)).pollers
        fresh = [each for each in pollers if patient.now() - each.last_access_time.ToDatetime(UTC) < POLLS]
        seen.append(len(fresh))
    if min(seen) == 0:
        what = f"no worker takes work from the task queue {patient.task_queue!r}: no step is taken"
        yield Finding("worker", "wrong", what, "start `holdfast worker`; runs go on where they are")
    else:
        yield Finding("worker", "well", f"{min(seen)} workers take work from the task queue")


async def cases_have_their_runs(patient: Patient) -> AsyncIterator[Finding]:
    """Every open case's run goes on; looked at one by one only if the numbers do not agree."""
    client = the_client(patient)
    async with patient.database.reading() as session:
        statement = select(func.count()).select_from(CaseRow).where(col(CaseRow.ended).is_(False), col(CaseRow.started))
        open_cases = (await session.exec(statement)).one()
    sides = Sides(
        patient.database,
        patient.stripe,
        client,
        patient.world.look_ups,
        patient.policy,
        patient.settings.livemode,
        patient.now(),
    )
    gone = []
    async for difference in cases_and_their_runs(sides):
        gone.append(difference.what)
        if len(gone) == SHOWN:
            break
    for what in gone:
        yield Finding("cases", "wrong", what, "`holdfast reconcile --apply` closes it as it ended, or asks a person")
    if not gone:
        yield Finding("cases", "well", f"each of the {open_cases} open cases has its run")


async def schedules_are_there(patient: Patient) -> AsyncIterator[Finding]:
    """The daily scans that the policy wants are scheduled and not paused."""
    rows = {row["scan"]: row for row in await schedules.listed(the_client(patient))}
    wrong = False
    for which in SCANS:
        row = rows[which]
        if not getattr(patient.policy.default.scans, which).enabled:
            continue
        if row["schedule"] == "none":
            wrong = True
            do = "`holdfast schedules ensure`, or start a worker"
            yield Finding("schedules", "wrong", f"the scan {which} has no schedule", do)
        elif row["schedule"].endswith("(paused)"):
            wrong = True
            why = f" ({row['note']})" if row["note"] else ""
            what = f"the schedule of the scan {which} is paused{why}"
            yield Finding("schedules", "wrong", what, f"`holdfast schedules resume {which}`, if the reason is gone")
    if not wrong:
        yield Finding("schedules", "well", "every scan is scheduled")
