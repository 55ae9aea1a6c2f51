"""The one way to Temporal: converter, sandbox, task queue, search attributes, the same for workers, web and tests."""

import asyncio
from datetime import timedelta
from typing import Any, Final

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import DataConverter
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from activities.carry_out import Effects
from activities.scans import Scans
from workers.codec import encrypting
from workers.settings import Settings
from workers.temporal_tls import connect_config
from workflows import JOBS, PLAYBOOKS
from workflows.visible import SEARCH_ATTRIBUTES

TASK_QUEUE: Final = "playbooks"
GRACE: Final = timedelta(seconds=130)
"""A deploy waits this long for running activities: longer than any of them may take, so no charge is cut."""

TASKS_AT_ONCE: Final = 4
STEPS_AT_ONCE: Final = 16
"""How much one worker takes on at a time. What it has not taken on waits at the server, whose clocks for it do not run
yet; the SDK's hundred of each are too many for one core on a billing day: tasks outlast their ten seconds, heartbeats
do not get out, and all of it is done again and again."""


def sandbox() -> SandboxedWorkflowRunner:
    """The workflow sandbox, with our own pure modules passed through."""
    return SandboxedWorkflowRunner(
        restrictions=SandboxRestrictions.default.with_passthrough_modules("models", "activities")
    )


def data_converter(settings: Settings) -> DataConverter:
    """How values become payloads: as Pydantic's JSON, encrypted if the settings name keys.

    Clients, workers, replayers and tests all take it from here.

    Raises:
        BadPayloadKeys: the keys cannot be read.
    """
    return encrypting(pydantic_data_converter, settings.payload_keys)


async def connect(settings: Settings, **more: Any) -> Client:
    """A client that knows our converter. Retries for half a minute while the server comes up.

    Raises:
        BadPayloadKeys: the keys cannot be read.
        BadTemporalTls: what is said of TLS does not go together.
        RuntimeError: the server cannot be reached; the message says where we looked.
    """
    config = connect_config(settings)
    converter = data_converter(settings)
    error: Exception | None = None
    for _ in range(60):
        try:
            return await Client.connect(**config, data_converter=converter, **more)
        except RuntimeError as failed:
            error = failed
            await asyncio.sleep(0.5)
    raise RuntimeError(f"no Temporal server answers at {config['target_host']}: {error}")


async def ensure_search_attributes(client: Client) -> None:
    """Register our search attributes where the server lacks them. Harmless to repeat."""
    listed = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=client.namespace)
    )
    wanted = {
        key.name: IndexedValueType.ValueType(key.indexed_value_type)
        for key in SEARCH_ATTRIBUTES
        if key.name not in listed.custom_attributes
    }
    if not wanted:
        return
    try:
        await client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(search_attributes=wanted, namespace=client.namespace)
        )
    except RPCError as error:
        if error.status != RPCStatusCode.ALREADY_EXISTS:
            raise


def playbook_worker(
    client: Client, effects: Effects, scans: Scans, *, task_queue: str = TASK_QUEUE, **more: Any
) -> Worker:
    """A worker for every playbook there is, and for the scans that start them."""
    options: dict[str, Any] = {
        "workflows": [*PLAYBOOKS, *JOBS],
        "activities": [effects.carry_out, scans.scan],
        "workflow_runner": sandbox(),
        "graceful_shutdown_timeout": GRACE,
        "disable_eager_activity_execution": True,
        "max_concurrent_workflow_tasks": TASKS_AT_ONCE,
        "max_concurrent_activities": STEPS_AT_ONCE,
        **more,
    }
    return Worker(client, task_queue=task_queue, **options)
