"""What is left to read in the files of a real Temporal server, and keys that come and go under open runs."""

import asyncio
import base64
import sqlite3
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from temporalio import activity, workflow
from temporalio.api.failure.v1 import Failure
from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateFailedError,
)
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.worker import Worker

from models.facts import CARD_UPDATED, Fact
from models.tables import Message, wall
from simulator.running import SimulatorControl
from tests.town import DAY, Customer, Town, town
from tests.workers.test_codec import NEW, OLD, settings, with_keys
from workers.codec import EncryptingCodec, PayloadKey
from workers.connect import data_converter
from workers.temporal_process import Server, running_server
from workers.temporal_server import find
from workflows.visible import SEARCH_ATTRIBUTES

AMOUNT = 7_316_249
LEAD = "Ana Lindqvist"


def spellings(cents: int) -> list[bytes]:
    """An amount as it may be written: with and without commas, in cents, as JSON's and the machine's float."""
    units = cents / 100
    texts = [f"{units:,.2f}", f"{units:.2f}", f"{cents}", f"{cents:,}", f"{units:,.2f}".replace(",", ".")]
    return [*(text.encode() for text in texts), struct.pack("<d", units), struct.pack(">d", units)]


def also_in_base64(word: str) -> list[bytes]:
    """A word as it is, and as it looks within base64, which depends on where it begins."""
    shifted = [base64.b64encode(b"\0" * start + word.encode())[start + 1 : -4] for start in range(3)]
    return [word.encode(), *shifted]


@dataclass
class Files:
    """Everything that a server wrote: its files as bytes, and each value in its tables."""

    contents: list[bytes]

    @classmethod
    def of(cls, path: Path) -> "Files":
        """The database, its write-ahead log and whatever else lies beside it."""
        return cls([each.read_bytes() for each in path.parent.glob(f"{path.name}*")])

    def with_values_of(self, path: Path) -> "Files":
        """These and every value by itself: in the file a long one is cut where a page ends."""
        database = sqlite3.connect(path)
        try:
            tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            values = [
                value if isinstance(value, bytes) else str(value).encode()
                for table in tables
                for row in database.execute(f'SELECT * FROM "{table}"')
                for value in row
            ]
        finally:
            database.close()
        return Files([*self.contents, b"\0".join(values)])

    def tell(self, secrets: dict[str, list[bytes]]) -> set[str]:
        """Which of these can be read here."""
        return {
            name
            for name, words in secrets.items()
            if any(word in content or word.lower() in content.lower() for word in words for content in self.contents)
        }


@asynccontextmanager
async def server_with_a_file(path: Path) -> AsyncIterator[Server]:
    """A real server that keeps its data and skips time."""
    async with running_server(
        await find(need_time_skipping=True),
        data=path,
        search_attributes=SEARCH_ATTRIBUTES,
        skip_time=True,
        fast_timers=True,
        log=path.parent / "server.log",
    ) as server:
        yield server


async def a_month(place: Town) -> tuple[Customer, dict[str, list[bytes]]]:
    """A case from refused card to suspension, paused and resumed by a lead; what nobody else needs to know of it."""
    person = await place.payment_fails("insufficient_funds", cents=AMOUNT)
    await place.pass_time(person.case, 1 * DAY)
    for name in ("pause", "resume"):
        await place.run(person.case).execute_update(name, LEAD)
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await place.run(person.case).execute_update("skip", "Zoe Miller")
    assert str(refused.value.cause).startswith("Refusal: 'Zoe Miller' is not ahead of this run; ")
    ending = await place.finish(person.case)
    assert ending.outcome == "suspended"
    subjects = {row.subject for row in await place.rows(Message, channel="email")}
    assert len(subjects) == 6
    secrets = {
        "name": also_in_base64("Zoe Miller"),
        "address": also_in_base64("zoe1@example.com"),
        "amount": spellings(AMOUNT),
        "lead": also_in_base64(LEAD),
        "a step's title": also_in_base64("Suspend the service"),
        **{f"subject: {subject}": also_in_base64(subject) for subject in subjects},
    }
    return person, secrets


def payloads_in(message: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Where in a message, as JSON, payloads stand, and how each is encoded."""
    if isinstance(message, dict):
        if "encoding" in message.get("metadata", {}):
            yield path, base64.b64decode(message["metadata"]["encoding"]).decode()
        for name, value in message.items():
            yield from payloads_in(value, f"{path}.{name}")
    elif isinstance(message, list):
        for each in message:
            yield from payloads_in(each, path)


@pytest.mark.timeout(120)
async def test_nothing_about_a_customer_can_be_read_in_temporals_files(
    the_simulator: SimulatorControl, database_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "temporal" / "temporal.db"
    async with server_with_a_file(path) as server:
        client = await Client.connect(server.address, data_converter=data_converter(with_keys(NEW, OLD)))
        async with town(client, the_simulator, database_url) as place:
            person, secrets = await a_month(place)
        written = Files.of(path)
        assert person.invoice in (await client.get_workflow_handle(person.case).describe()).id
        # Whoever has no key sees this, in the history and about the run.
        keyless = (await Client.connect(server.address)).get_workflow_handle(person.case)
        history = (await keyless.fetch_history()).to_json_dict()
        about = MessageToDict((await keyless.describe()).raw_description)
        described = await client.get_workflow_handle(person.case).describe()
        summary = await described.static_summary()
    files = Files([*written.contents, *Files.of(path).contents]).with_values_of(path)
    assert files.tell(secrets) == set()
    assert files.tell({"account": [person.id.encode()], "case": [person.case.encode()]}) == {"account", "case"}
    assert summary == f"{person.id}: $73,162.49 at stake"
    found = list(payloads_in({"history": history, "about": about}))
    encrypted = {where for where, encoding in found if encoding == "binary/encrypted"}
    clear = {where for where, encoding in found if encoding != "binary/encrypted"}
    assert all(".searchAttributes." in where for where in clear)
    names = {where.rpartition(".")[2] for where in clear}
    assert names == {"AccountId", "BuildIds", "CsmOwner", "Currency", "Playbook", "Segment", "Stage"}
    assert {where for where in encrypted if "serMetadata" in where} == {
        ".history.events.userMetadata.summary",
        ".history.events.userMetadata.details",
        ".about.executionConfig.userMetadata.summary",
        ".about.executionConfig.userMetadata.details",
    }
    with_summary = {each["eventType"] for each in history["events"] if "userMetadata" in each}
    assert with_summary == {
        "EVENT_TYPE_WORKFLOW_EXECUTION_STARTED",
        "EVENT_TYPE_ACTIVITY_TASK_SCHEDULED",
        "EVENT_TYPE_TIMER_STARTED",
        "EVENT_TYPE_TIMER_CANCELED",
    }


@pytest.mark.timeout(120)
async def test_without_keys_the_same_search_finds_the_amount(
    the_simulator: SimulatorControl, database_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "temporal" / "temporal.db"
    async with server_with_a_file(path) as server:
        client = await Client.connect(server.address, data_converter=data_converter(settings()))
        async with town(client, the_simulator, database_url) as place:
            person, secrets = await a_month(place)
        live = Files.of(path)
        found = await client.get_workflow_handle(person.case).describe()
        attribute = found.typed_search_attributes[SEARCH_ATTRIBUTES[-1]]
    assert attribute == 73162.49
    seen = {"amount", "lead", "a step's title"}
    assert live.tell(secrets) == seen, "in the files while the server runs, its write-ahead log among them"
    assert Files([]).with_values_of(path).tell(secrets) == seen
    for word in (b"73,162.49", b"73162.49", b"7316249"):
        assert live.tell({"amount": [word]}) == {"amount"}


# Failures.

SECRET_WORDS = "the card of Zoe Miller was refused for $73,162.49"


@activity.defn
async def fails(words: str) -> None:
    """Fail with these words, in the message and the details."""
    raise ApplicationError(words, words, type="Refused")


@workflow.defn(sandboxed=False)
class Fails:
    """A run whose only activity fails for good."""

    @workflow.run
    async def run(self, words: str) -> None:
        """Fail."""
        await workflow.execute_activity(
            fails, words, start_to_close_timeout=timedelta(seconds=5), retry_policy=RetryPolicy(maximum_attempts=2)
        )


async def failures_without_a_key(client: Client, address: str) -> tuple[list[Failure], str]:
    """Let a run fail; each failure as a reader without a key sees it, and its whole history as text."""
    task_queue = f"failing-{id(client)}"
    async with Worker(client, task_queue=task_queue, workflows=[Fails], activities=[fails]):
        handle = await client.start_workflow(Fails.run, SECRET_WORDS, id=task_queue, task_queue=task_queue)
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
    assert isinstance(failed.value.cause, ActivityError)
    assert isinstance(failed.value.cause.cause, ApplicationError)
    assert failed.value.cause.cause.message == SECRET_WORDS, "whoever has the key reads it"
    assert failed.value.cause.cause.details == (SECRET_WORDS,)
    keyless = (await Client.connect(address)).get_workflow_handle(task_queue)
    history = await keyless.fetch_history()
    seen = []
    for event in history.events:
        for attributes in ("activity_task_failed_event_attributes", "workflow_execution_failed_event_attributes"):
            if event.HasField(attributes):
                failure: Failure | None = getattr(event, attributes).failure
                while failure is not None:
                    seen.append(failure)
                    failure = failure.cause if failure.HasField("cause") else None
    return seen, history.to_json()


async def test_a_failures_message_and_stack_trace_cannot_be_read(temporal: Server) -> None:
    client = await Client.connect(temporal.address, data_converter=data_converter(with_keys(NEW)))
    seen, history = await failures_without_a_key(client, temporal.address)
    assert [(each.message, each.stack_trace) for each in seen] == [("Encoded failure", "")] * 3
    assert [each.application_failure_info.type for each in seen] == ["Refused", "", "Refused"], "types stay readable"
    assert not Files([history.encode()]).tell({"message": also_in_base64(SECRET_WORDS[4:24])})


async def test_without_keys_a_failures_message_can_be_read(temporal: Server) -> None:
    client = await Client.connect(temporal.address, data_converter=data_converter(settings()))
    seen, history = await failures_without_a_key(client, temporal.address)
    assert SECRET_WORDS in [each.message for each in seen]
    assert Files([history.encode()]).tell({"message": also_in_base64(SECRET_WORDS[4:24])})


async def test_a_lead_without_a_codec_server_still_reads_why_a_command_was_refused(
    temporal: Server, the_simulator: SimulatorControl, database_url: str
) -> None:
    """The Web UI 2.54 does not decode the answer to an update; nothing of a refusal is kept."""
    client = await Client.connect(temporal.address, data_converter=data_converter(with_keys(NEW)))
    async with town(client, the_simulator, database_url) as place:
        person = await place.payment_fails("insufficient_funds")
        keyless = (await Client.connect(temporal.address)).get_workflow_handle(person.case)
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await keyless.execute_update("snooze", 0)
        cause = refused.value.cause
        assert isinstance(cause, ApplicationError)
        assert cause.failure
        assert (cause.message, cause.type, cause.failure.stack_trace) == (
            "snooze by 1 to 90 days, not 0",
            "Refusal",
            "",
        )


# Switching on, and keys that are gone, under a run that sleeps.


async def test_a_run_from_before_the_switch_goes_on_after_it(
    temporal: Server, the_simulator: SimulatorControl, database_url: str
) -> None:
    plain = await Client.connect(temporal.address, data_converter=data_converter(settings()))
    async with town(plain, the_simulator, database_url) as place:
        person = await place.payment_fails("insufficient_funds", cents=AMOUNT)
        await place.pass_time(person.case, 4 * DAY)
        async with place.no_worker():
            place.client = await Client.connect(temporal.address, data_converter=data_converter(with_keys(NEW)))
        ending = await place.finish(person.case)
        described = await place.run(person.case).describe()
    assert ending.outcome == "suspended"
    assert described.typed_search_attributes[SEARCH_ATTRIBUTES[-1]] == 73162.49, "it began with its amount in clear"


async def test_a_run_whose_key_is_gone_waits_and_goes_on_when_it_is_back(
    temporal: Server, the_simulator: SimulatorControl, database_url: str
) -> None:
    async def connected(*keys: PayloadKey) -> Client:
        return await Client.connect(temporal.address, data_converter=data_converter(with_keys(*keys)))

    async with town(await connected(OLD), the_simulator, database_url) as place:
        person = await place.payment_fails("insufficient_funds")
        await place.pass_time(person.case, 4 * DAY)
        async with place.no_worker():
            place.client = await connected(NEW)
        handle = place.run(person.case)
        await handle.signal("hear", Fact(kind=CARD_UPDATED, at=wall(), account=person.id))
        refused = await task_failure(handle)
        assert "which is not among HOLDFAST_PAYLOAD_KEYS (new)" in refused
        assert (await handle.describe()).status == WorkflowExecutionStatus.RUNNING
        async with place.no_worker():
            place.client = await connected(NEW, OLD)
        ending = await place.finish(person.case)
    assert ending.outcome == "suspended"


async def task_failure(handle: WorkflowHandle[Any, Any]) -> str:
    """Wait until a worker could not go on with a run, and return what it said."""
    while True:
        async for event in handle.fetch_history_events():
            if event.HasField("workflow_task_failed_event_attributes"):
                failure = event.workflow_task_failed_event_attributes.failure
                (said,) = await EncryptingCodec([NEW]).decode([failure.encoded_attributes])
                return said.data.decode()
        await asyncio.sleep(0.05)
