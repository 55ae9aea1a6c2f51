"""What one payment failure costs: history events, and billable actions by the server's own `action` metric."""

import asyncio
import re
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import aiohttp
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError

from models.database import Database
from simulator.running import simulator_running
from tests.town import Town, town
from workers import migrate
from workers.temporal_process import running_server
from workers.temporal_server import find
from workflows.visible import SEARCH_ATTRIBUTES

MOST_EVENTS: Final = 92
MOST_ACTIONS: Final = 20
MOST_EVENTS_AT_FIRST_RETRY: Final = 26
FLUSHED_AFTER_S: Final = 2.5
"""The server brings its metrics up to date about every second."""
ACTION: Final = re.compile(r"^action\{([^}]*)\} ([0-9.e+]+)", re.MULTILINE)
TYPE: Final = re.compile(r'action_type="([^"]*)"')
NOT_OURS: Final = (
    "command_UpdateWorkflowExecutionOptions",
    "grpc_UpdateWorkflowExecutionOptions",
    "grpc_QueryWorkflow",
)
"""Stepping the clock, and looking at a run while measuring, are no part of a case."""


async def case_cost() -> tuple[dict[str, Any], bool]:
    """A whole month, and a case paid at the first retry. Events that only skipped time adds are not counted."""
    found = await find(need_time_skipping=True)
    async with running_server(
        found, search_attributes=SEARCH_ATTRIBUTES, skip_time=True, fast_timers=True, metrics_port=0
    ) as server:
        client = await Client.connect(server.address, data_converter=pydantic_data_converter)
        async with simulator_running() as simulator:
            with tempfile.TemporaryDirectory() as folder:
                url = f"sqlite:///{Path(folder) / 'bench.db'}"
                database = Database(url)
                await migrate.upgrade(database)
                await database.close()
                async with town(client, simulator, url) as place:
                    month = await _measured(place, server.metrics_url or "", "insufficient_funds")
                    early = await _measured(place, server.metrics_url or "", "insufficient_funds", "ok")
    figures = {
        "month_events": month["events"],
        "month_actions": month["actions"],
        "month_actions_by_type": month["by_type"],
        "month_history_bytes": month["bytes"],
        "first_retry_events": early["events"],
        "first_retry_actions": early["actions"],
    }
    holds = (
        month["events"] <= MOST_EVENTS
        and 0 < month["actions"] <= MOST_ACTIONS
        and early["events"] <= MOST_EVENTS_AT_FIRST_RETRY
    )
    return figures, holds


async def _measured(place: Town, metrics_url: str, *outcomes: str) -> dict[str, Any]:
    await place.arrive()
    await asyncio.sleep(FLUSHED_AFTER_S)
    before = await _actions(metrics_url)
    person = await place.payment_fails(*outcomes)
    # Not `finish`: that lets the webhooks of the end arrive, and the suspension's start the next case, a win-back.
    with suppress(RPCError):  # it may have ended already
        await place.skipper.fast_forward(place.run(person.case))
    await place.run(person.case).result()
    await asyncio.sleep(FLUSHED_AFTER_S)
    after = await _actions(metrics_url)
    by_type = {name: int(after[name] - before.get(name, 0)) for name in after if after[name] != before.get(name, 0)}
    by_type = {name: count for name, count in by_type.items() if name not in NOT_OURS}
    description = await place.run(person.case).describe()
    return {
        "events": sum((await place.events_of(person.case)).values()),
        "actions": sum(by_type.values()),
        "by_type": by_type,
        "bytes": description.raw_description.workflow_execution_info.history_size_bytes,
    }


async def _actions(metrics_url: str) -> dict[str, float]:
    async with aiohttp.ClientSession() as http, http.get(metrics_url) as answer:
        text = await answer.text()
    counted: dict[str, float] = {}
    for labels, value in ACTION.findall(text):
        kind = TYPE.search(labels)
        if kind and 'namespace="default"' in labels:
            counted[kind.group(1)] = counted.get(kind.group(1), 0) + float(value)
    return counted
