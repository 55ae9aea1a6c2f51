"""A run without a server: the real playbook code on skipped time, its effects written down instead of carried out.

The SDK's own workflow instance runs the code; here the part of the server is played: timers fire in the order of their
moments, the one activity answers at once. Nothing outside this process is touched. The preview, the catalogue, the
pictures and the plan lock are all made of this.
"""

import asyncio
import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import temporalio.bridge.proto.workflow_activation.workflow_activation_pb2 as activation_pb
import temporalio.bridge.proto.workflow_commands.workflow_commands_pb2 as commands_pb
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.common import Priority, TypedSearchAttributes
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import UnsandboxedWorkflowRunner, WorkflowInstance, WorkflowInstanceDetails
from temporalio.workflow import Info, _Definition

from models.cases import Batch, Case, Effect, Ending, Outcome, Reading, Result
from workflows.playbook import Playbook
from workflows.visible import attributes_of

LONGEST = 2_000
"""Activations after which a rehearsal gives up: a plan that never ends is a defect."""
CONVERTER = pydantic_data_converter.payload_converter
Answer = Callable[[Batch], Outcome]


class RehearsalError(RuntimeError):
    """The playbook failed while it was rehearsed; the message is its own."""


@dataclass(frozen=True)
class PlannedStep:
    """A step as the run itself tells of it."""

    name: str
    title: str
    stage: str
    only_if: str


@dataclass(frozen=True)
class Moment:
    """One batch as the run asked for it, and what came of it. `left_out` says why its step was not taken."""

    at: datetime
    batch: Batch
    outcome: Outcome
    left_out: str = ""

    @property
    def is_a_look(self) -> bool:
        """Whether nothing was asked for but a look."""
        return not self.batch.title and not self.batch.effects and not self.batch.notes


@dataclass
class Rehearsed:
    """Everything a rehearsed run did. `commands` is what a replay would compare, in order (the plan lock)."""

    started: datetime
    steps: tuple[PlannedStep, ...] = ()
    moments: list[Moment] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    patches: list[str] = field(default_factory=list)
    ending: Ending | None = None
    endings: dict[str, list[str]] = field(default_factory=dict)
    """The outcomes each way to end may have, depending on when it comes."""
    owed: list[Effect] = field(default_factory=list)
    """What is owed for one way to end or another."""


def carried_out(batch: Batch, readings: dict[str, Reading] | None = None) -> Outcome:
    """The answer of an activity that did everything it was asked. Tasks are not waited for."""
    effects = [*batch.effects, *(batch.closing.effects if batch.closing else ())]
    return Outcome(
        over=batch.closing.reason if batch.closing else "",
        outcome=batch.closing.outcome if batch.closing else "",
        readings=readings or {},
        results={effect.key: Result(state="done") for effect in effects},
    )


def rehearse(
    playbook: type[Playbook],
    case: Case,
    *,
    start: datetime,
    answer: Answer = carried_out,
    patches: Iterable[str] | None = None,
) -> Rehearsed:
    """Run a playbook from its start to its end.

    Not from inside an event loop (use a thread there). `answer` plays the activity. `patches`: pretend to be a run that
    began when only these patches were known, as a replay does; None is a run that begins today.

    Raises:
        RehearsalError: the playbook raised, or does not come to an end.
    """
    return _Stage(playbook, case, start, answer, patches).play()


class _Stage:
    def __init__(
        self,
        playbook: type[Playbook],
        case: Case,
        start: datetime,
        answer: Answer,
        patches: Iterable[str] | None,
    ) -> None:
        self._now = start
        self._answer = answer
        self._old = patches is not None
        self._patches = set(patches or ())
        self._timers: list[tuple[datetime, int]] = []
        self._cancelled: set[int] = set()
        self._answers: list[tuple[int, Payload]] = []
        self.done = Rehearsed(start)
        self._case = case
        self._instance = asyncio.run(self._made(playbook))

    async def _made(self, playbook: type[Playbook]) -> WorkflowInstance:
        return instance_of(playbook, self._case, self._now)

    def play(self) -> Rehearsed:
        jobs = [activation_pb.WorkflowActivationJob(initialize_workflow=first_job(self._case, self._now))]
        jobs += [
            activation_pb.WorkflowActivationJob(notify_has_patch=activation_pb.NotifyHasPatch(patch_id=each))
            for each in sorted(self._patches)
        ]
        for _ in range(LONGEST):
            self._activate(jobs)
            if self.done.ending:
                self._ask_for_the_plan()
                return self.done
            jobs = self._next()
        raise RehearsalError(f"{self._case.playbook} does not come to an end")

    def _activate(self, jobs: list[activation_pb.WorkflowActivationJob]) -> None:
        activation = activation_pb.WorkflowActivation(run_id="rehearsal", is_replaying=self._old, jobs=jobs)
        activation.timestamp.FromDatetime(self._now)
        completion = self._instance.activate(activation)
        if completion.HasField("failed"):
            raise RehearsalError(f"{self._case.playbook}: {completion.failed.failure.message}")
        for command in completion.successful.commands:
            self._obey(command)

    def _ask_for_the_plan(self) -> None:
        query = activation_pb.QueryWorkflow(query_id="plan", query_type="plan")
        activation = activation_pb.WorkflowActivation(
            run_id="rehearsal",
            is_replaying=True,
            jobs=[activation_pb.WorkflowActivationJob(query_workflow=query)],
        )
        completion = self._instance.activate(activation)
        for command in completion.successful.commands:
            if command.WhichOneof("variant") == "respond_to_query":
                told = CONVERTER.from_payload(command.respond_to_query.succeeded.response, list[dict[str, str]])
                self.done.steps = tuple(PlannedStep(**each) for each in told)

    def _next(self) -> list[activation_pb.WorkflowActivationJob]:
        if self._answers:
            seq, payload = self._answers.pop(0)
            resolved = activation_pb.ResolveActivity(seq=seq)
            resolved.result.completed.result.CopyFrom(payload)
            return [activation_pb.WorkflowActivationJob(resolve_activity=resolved)]
        while self._timers:
            at, seq = heapq.heappop(self._timers)
            if seq not in self._cancelled:
                self._now = max(self._now, at)
                return [activation_pb.WorkflowActivationJob(fire_timer=activation_pb.FireTimer(seq=seq))]
        raise RehearsalError(f"{self._case.playbook} waits for something that never comes")

    def _obey(self, command: commands_pb.WorkflowCommand) -> None:
        kind = command.WhichOneof("variant")
        if kind == "start_timer":
            wait = command.start_timer.start_to_fire_timeout.ToTimedelta()
            heapq.heappush(self._timers, (self._now + wait, command.start_timer.seq))
            self.done.commands.append("wait")
        elif kind == "cancel_timer":
            self._cancelled.add(command.cancel_timer.seq)
        elif kind == "schedule_activity":
            self._carry_out(command.schedule_activity)
        elif kind == "upsert_workflow_search_attributes":
            self.done.commands.append("show the stage")
        elif kind == "set_patch_marker":
            self.done.patches.append(command.set_patch_marker.patch_id)
        elif kind == "complete_workflow_execution":
            result = command.complete_workflow_execution.result
            self.done.ending = CONVERTER.from_payload(result, Ending)
        elif kind == "fail_workflow_execution":
            raise RehearsalError(f"{self._case.playbook}: {command.fail_workflow_execution.failure.message}")

    def _carry_out(self, scheduled: commands_pb.ScheduleActivity) -> None:
        batch: Batch = CONVERTER.from_payload(scheduled.arguments[0], Batch)
        step, _, _ = scheduled.activity_id.rpartition("-")
        self.done.commands.append(f"do {step}")
        outcome = self._answer(batch)
        left_out = next((note.text.partition("Reason: ")[2] for note in batch.notes if "Left out: " in note.text), "")
        self.done.moments.append(Moment(self._now, batch, outcome, left_out))
        for reason, parting in batch.partings.items():
            outcomes = self.done.endings.setdefault(reason, [])
            outcomes.extend([parting.outcome] if parting.outcome not in outcomes else [])
            self.done.owed.extend(parting.effects)
        self._answers.append((scheduled.seq, CONVERTER.to_payload(outcome)))


def first_job(case: Case, start: datetime) -> activation_pb.InitializeWorkflow:
    """What a run is begun with."""
    first = activation_pb.InitializeWorkflow(
        workflow_type=case.playbook,
        workflow_id=case.id,
        arguments=[CONVERTER.to_payload(case)],
        randomness_seed=1,
        attempt=1,
    )
    first.start_time.FromDatetime(start)
    return first


def instance_of(playbook: type[Playbook], case: Case, start: datetime) -> WorkflowInstance:
    """The SDK's own workflow instance of a run, which answers activations. Needs a running event loop."""
    definition = _Definition.must_from_class(playbook)
    info = Info(
        attempt=1,
        continued_run_id=None,
        cron_schedule=None,
        execution_timeout=None,
        first_execution_run_id="rehearsal",
        headers={},
        namespace="rehearsal",
        original_execution_run_id="rehearsal",
        parent=None,
        root=None,
        priority=Priority.default,
        raw_memo={},
        retry_policy=None,
        run_id="rehearsal",
        run_timeout=None,
        search_attributes={},
        start_time=start.astimezone(UTC),
        task_queue="rehearsal",
        task_timeout=timedelta(seconds=10),
        typed_search_attributes=TypedSearchAttributes(list(attributes_of(case))),
        workflow_id=case.id,
        workflow_start_time=start.astimezone(UTC),
        workflow_type=definition.name or "",
    )
    details = WorkflowInstanceDetails(
        payload_converter_factory=lambda: CONVERTER,
        failure_converter_class=pydantic_data_converter.failure_converter_class,
        interceptor_classes=[],
        defn=definition,
        info=info,
        randomness_seed=1,
        extern_functions=_EXTERN,
        disable_eager_activity_execution=True,
        worker_level_failure_exception_types=[Exception],
        patch_activation_callback=None,
        last_completion_result=Payloads(),
        last_failure=None,
    )
    return UnsandboxedWorkflowRunner().create_instance(details)


def _no_metrics(*_: Any, **__: Any) -> None:
    return None


_EXTERN: dict[str, Callable[..., Any]] = {"__temporal_get_metric_meter": _no_metrics}
