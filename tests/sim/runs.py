"""A run as the server keeps it, and its instance in the cache of a worker: activated, replayed, compared."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import temporalio.bridge.proto.workflow_activation.workflow_activation_pb2 as activation_pb
import temporalio.bridge.proto.workflow_commands.workflow_commands_pb2 as commands_pb
from temporalio.client import WorkflowExecutionStatus
from temporalio.worker import WorkflowInstance

from models.cases import Batch, Case, Ending
from workers.rehearsal import instance_of
from workflows.playbook import Playbook

Job = activation_pb.WorkflowActivationJob


class Crash(BaseException):
    """The process is killed here: nothing after this line runs, and no handler of our code sees it."""


class Broken(Exception):
    """An invariant does not hold."""


@dataclass
class Activity:
    """An activity that is not finished."""

    seq: int
    batch: Batch
    tries: int = 0
    due: int = -1
    error: str = ""


@dataclass(eq=False)
class Run:
    """One run: what the server knows of it, and the instance, while a worker has it in its cache."""

    case: Case
    playbook: type[Playbook]
    started: datetime
    instance: WorkflowInstance | None = None
    activations: list[activation_pb.WorkflowActivation] = field(default_factory=list)
    said: list[list[commands_pb.WorkflowCommand]] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    task_due: bool = False
    timers: dict[int, int] = field(default_factory=dict)
    activities: dict[int, Activity] = field(default_factory=dict)
    updates: dict[str, str] = field(default_factory=dict)
    ending: Ending | None = None
    terminated: bool = False
    closed_at: datetime | None = None

    @property
    def closed(self) -> bool:
        """Whether it has ended in one way or the other."""
        return self.ending is not None or self.terminated

    @property
    def status(self) -> WorkflowExecutionStatus:
        """As `describe` says it."""
        if self.terminated:
            return WorkflowExecutionStatus.TERMINATED
        return WorkflowExecutionStatus.COMPLETED if self.ending else WorkflowExecutionStatus.RUNNING

    @property
    def code(self) -> Any:
        """The playbook object itself, to look into."""
        return getattr(self.instance, "_object", None)

    def activate(self, activation: activation_pb.WorkflowActivation) -> list[commands_pb.WorkflowCommand]:
        """Have the instance go on; what it asks for.

        Raises:
            Broken: it fails, which on the server would repeat for ever.
        """
        assert self.instance is not None
        loop = asyncio.get_running_loop()
        try:
            completion = self.instance.activate(activation)
        finally:
            asyncio._set_running_loop(loop)
        if completion.HasField("failed"):
            raise Broken(f"a workflow task of {self.case.id} fails: {completion.failed.failure.message}")
        return list(completion.successful.commands)

    def replay(self, version: int) -> None:
        """Make the instance again from the history, as a worker with code of this version does.

        Raises:
            Broken: it asks for other commands than the history has.
        """
        self.instance = instance_of(self.playbook, self.case, self.started)
        for activation, said, written_by in zip(self.activations, self.said, self.versions, strict=True):
            again = activation_pb.WorkflowActivation()
            again.CopyFrom(activation)
            again.is_replaying = True
            for job in again.jobs:
                if job.HasField("do_update"):
                    job.do_update.run_validator = False  # only what was accepted is in the history
            _tell_of_patches(again, said)
            now = self.activate(again)
            alike = now == said if written_by == version else compared(now) == compared(said)
            if not alike:
                raise Broken(f"replay of {self.case.id} asks for {compared(now)}, the history has {compared(said)}")

    def take_response(self, response: commands_pb.UpdateResponse) -> None:
        """Note what came of an update."""
        if response.HasField("rejected"):
            self.updates[response.protocol_instance_id] = f"refused: {response.rejected.message}"
            # A refused update leaves nothing in the history, not even the task that refused it.
            self._strike_out(response.protocol_instance_id)
        elif response.HasField("completed"):
            self.updates[response.protocol_instance_id] = "done"

    def _strike_out(self, key: str) -> None:
        jobs = [each for each in self.activations[-1].jobs if each.do_update.protocol_instance_id != key]
        del self.activations[-1].jobs[:]
        self.activations[-1].jobs.extend(jobs)
        self.said[-1] = [each for each in self.said[-1] if each.update_response.protocol_instance_id != key]
        if not jobs and not self.said[-1]:
            for kept in (self.activations, self.said, self.versions):
                kept.pop()


def _tell_of_patches(activation: activation_pb.WorkflowActivation, said: list[commands_pb.WorkflowCommand]) -> None:
    """The SDK's core looks ahead in the history, and says which patches are in it before the code comes by."""
    known = [each.set_patch_marker.patch_id for each in said if each.HasField("set_patch_marker")]
    jobs = [Job(notify_has_patch=activation_pb.NotifyHasPatch(patch_id=each)) for each in known]
    kept = [*jobs, *activation.jobs]
    del activation.jobs[:]
    activation.jobs.extend(kept)


def compared(commands: list[commands_pb.WorkflowCommand]) -> list[str]:
    """What the server compares on a replay: which commands, activities by their ids; not their inputs or lengths."""
    found = []
    for command in commands:
        kind = command.WhichOneof("variant") or ""
        if kind == "schedule_activity":
            found.append(f"{kind} {command.schedule_activity.activity_id}")
        else:
            found.append(kind)
    return found
