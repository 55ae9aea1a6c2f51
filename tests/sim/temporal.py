"""A small virtual Temporal: real workflow instances, timers, signals, updates and retried activities on virtual time.

It keeps what the server keeps (the activations of each run, for replay) and loses what a worker loses (everything
else). A crashed worker's runs are made again from their activations, and must ask for the same commands; after a
deploy for the same kinds of commands under the same ids, which is what the server compares.
"""

from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any, Final

import temporalio.bridge.proto.workflow_activation.workflow_activation_pb2 as activation_pb
import temporalio.bridge.proto.workflow_commands.workflow_commands_pb2 as commands_pb
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from models.cases import Batch, Case, Ending, Outcome
from tests.sim.clock import Clock
from tests.sim.handles import Handle
from tests.sim.runs import Activity, Broken, Crash, Job, Run
from workers.rehearsal import CONVERTER, first_job
from workflows.playbook import Playbook

LONGEST_BACKOFF_S: Final = 600
"""The playbook base's `maximum_interval`."""
HEARTBEAT_S: Final = 10
CarryOut = Callable[[Batch], Awaitable[Outcome]]


class VirtualTemporal:
    """The server, and the worker that polls it. The relay talks to it as to a client."""

    data_converter = pydantic_data_converter

    def __init__(self, clock: Clock, playbooks: dict[str, type[Playbook]], carry_out: CarryOut) -> None:
        self._clock = clock
        self._playbooks = playbooks
        self._carry_out = carry_out
        self._numbers = count()
        self.runs: dict[str, Run] = {}
        self.version = 0
        """Which code the workers have."""
        self.away = False
        self.worker_down = False
        self.replays = 0
        self._at: list[tuple[Run, Activity]] = []
        self.strike: Callable[[], str] = str
        """Asked before each call of a client; it may say "lost_answer"."""

    # What a client may do.

    async def start_workflow(self, name: str, case: Case, *, id: str, **_: Any) -> None:
        """Start a run, or say that there was one (REJECT_DUPLICATE)."""
        fault = self._reached()
        if id in self.runs:
            raise WorkflowAlreadyStartedError(id, name)
        run = self.runs[id] = Run(case, self._playbooks[name], self._clock.now)
        self._tell(run, Job(initialize_workflow=first_job(case, run.started)))
        self._answer(fault)

    def get_workflow_handle(self, workflow_id: str, *, result_type: type | None = None) -> Handle:
        """A handle, whether there is such a run or not."""
        return Handle(self, workflow_id)

    def signal(self, workflow_id: str, name: str, argument: Any) -> None:
        """Put a signal into the history of an open run."""
        fault = self._reached()
        run = self.runs.get(workflow_id)
        if run is None or run.closed:
            raise RPCError("workflow execution already completed", RPCStatusCode.NOT_FOUND, b"")
        signal = activation_pb.SignalWorkflow(signal_name=name, input=[CONVERTER.to_payload(argument)])
        self._tell(run, Job(signal_workflow=signal))
        self._answer(fault)

    def look(self, workflow_id: str) -> Run:
        """The run, as `describe` finds it.

        Raises:
            RPCError: there is no such run, or the server is away.
        """
        fault = self._reached()
        if workflow_id not in self.runs:
            raise RPCError("workflow not found", RPCStatusCode.NOT_FOUND, b"")
        self._answer(fault)
        return self.runs[workflow_id]

    def update(self, run: Run, name: str, *arguments: Any) -> str:
        """Ask for an update; what came of it is in `run.updates` under the id this returns."""
        key = f"update-{next(self._numbers)}"
        update = activation_pb.DoUpdate(
            id=key,
            protocol_instance_id=key,
            name=name,
            input=[CONVERTER.to_payload(each) for each in arguments],
            run_validator=True,
        )
        self._tell(run, Job(do_update=update))
        return key

    def terminate(self, run: Run) -> None:
        """What the Web UI's button does."""
        run.terminated, run.closed_at = True, self._clock.now
        self._forget(run)

    # What happens to workers.

    def crash(self) -> None:
        """Every worker is killed: caches are empty, activities under way are noticed by their heartbeats."""
        for run in self.runs.values():
            run.instance = None

    def deploy(self) -> None:
        """New code on every worker."""
        self.version += 1
        self.crash()

    def worker_up(self) -> None:
        """Workers poll again."""
        self.worker_down = False
        for run in self.runs.values():
            if run.jobs:
                self._task(run)
            for activity in run.activities.values():
                if activity.due == -1:
                    self._schedule(run, activity, 0)

    def _reached(self) -> str:
        if self.away:
            raise RPCError("tcp connect error", RPCStatusCode.UNAVAILABLE, b"")
        self._clock.tick()
        return self.strike()

    def _answer(self, fault: str) -> None:
        if fault == "lost_answer":
            raise RPCError("deadline exceeded", RPCStatusCode.DEADLINE_EXCEEDED, b"")

    def _tell(self, run: Run, job: Job) -> None:
        run.jobs.append(job)
        self._task(run)

    def _task(self, run: Run) -> None:
        if run.task_due or self.worker_down or run.closed:
            return
        run.task_due = True

        async def do() -> None:
            run.task_due = False
            if run.jobs and not run.closed and not self.worker_down and not self.away:
                jobs, run.jobs = run.jobs, []
                self._activate(run, jobs)
            elif run.jobs and self.away:
                self._clock.after(600, "workflow task", self._later(run))

        self._clock.after(0.01, "workflow task", do)

    def _later(self, run: Run) -> Callable[[], Awaitable[None]]:
        async def do() -> None:
            self._task(run)

        return do

    # Workflow tasks.

    def _activate(self, run: Run, jobs: list[Job]) -> None:
        self.in_cache(run)
        activation = activation_pb.WorkflowActivation(run_id=run.case.id, jobs=jobs)
        activation.timestamp.FromDatetime(self._clock.now)
        commands = run.activate(activation)
        run.activations.append(activation)
        run.said.append(commands)
        run.versions.append(self.version)
        for command in commands:
            self._obey(run, command)

    def in_cache(self, run: Run) -> None:
        """Make the run's instance again from what the server kept, if no worker has it; this is a replay."""
        if run.instance is None:
            self.replays += bool(run.activations)
            run.replay(self.version)

    def _obey(self, run: Run, command: commands_pb.WorkflowCommand) -> None:
        kind = command.WhichOneof("variant")
        if kind == "start_timer":
            self._start_timer(run, command.start_timer)
        elif kind == "cancel_timer":
            # One that has fired already is cancelled in vain: the signal and the timer were in one task.
            self._clock.off(run.timers.pop(command.cancel_timer.seq, -1))
        elif kind == "schedule_activity":
            batch: Batch = CONVERTER.from_payload(command.schedule_activity.arguments[0], Batch)
            activity = run.activities[command.schedule_activity.seq] = Activity(command.schedule_activity.seq, batch)
            self._schedule(run, activity, 0.01)
        elif kind == "request_cancel_activity":
            self._cancel(run, command.request_cancel_activity.seq)
        elif kind == "complete_workflow_execution":
            run.ending = CONVERTER.from_payload(command.complete_workflow_execution.result, Ending)
            run.closed_at = self._clock.now
            self._forget(run)
        elif kind == "fail_workflow_execution":
            raise Broken(f"{run.case.id} fails: {command.fail_workflow_execution.failure.message}")
        elif kind == "update_response":
            run.take_response(command.update_response)

    def _start_timer(self, run: Run, timer: commands_pb.StartTimer) -> None:
        async def fire() -> None:
            del run.timers[timer.seq]
            self._tell(run, Job(fire_timer=activation_pb.FireTimer(seq=timer.seq)))

        seconds = timer.start_to_fire_timeout.ToTimedelta().total_seconds()
        run.timers[timer.seq] = self._clock.after(seconds, "timer", fire)

    def _forget(self, run: Run) -> None:
        for number in run.timers.values():
            self._clock.off(number)
        for activity in run.activities.values():
            self._clock.off(activity.due)
        run.timers.clear()
        run.activities.clear()
        run.jobs.clear()

    # Activities.

    def _schedule(self, run: Run, activity: Activity, seconds: float) -> None:
        async def attempt() -> None:
            await self._attempt(run, activity)

        activity.due = self._clock.after(seconds, "activity", attempt)

    async def _attempt(self, run: Run, activity: Activity) -> None:
        activity.due = -1
        if self.worker_down:
            return
        if self.away:
            self._schedule(run, activity, 600)
            return
        activity.tries += 1
        mine = activity.tries
        self._at.append((run, activity))
        try:
            outcome = await self._carry_out(activity.batch)
        except Crash:
            self.crash()
            self._retry(run, activity, mine, HEARTBEAT_S, "the worker was killed")
        except Exception as error:  # noqa: BLE001 - as the server does, with everything
            backoff = min(2.0 ** (mine - 1), LONGEST_BACKOFF_S)
            self._retry(run, activity, mine, backoff, f"{type(error).__name__}: {error}")
        else:
            if run.activities.pop(activity.seq, None):
                resolved = activation_pb.ResolveActivity(seq=activity.seq)
                resolved.result.completed.result.CopyFrom(CONVERTER.to_payload(outcome))
                self._tell(run, Job(resolve_activity=resolved))
        finally:
            self._at.pop()

    async def stand_still(self) -> None:
        """The worker of the try being made stands still for so long that the step is given to another, which takes it.

        Then the first wakes, with whatever it had in its hands.
        """
        if not self._at or self.away or self.worker_down:
            return
        run, activity = self._at[-1]
        if activity.seq in run.activities:
            await self._attempt(run, activity)

    def _retry(self, run: Run, activity: Activity, mine: int, seconds: float, error: str) -> None:
        # What a try says that the server has given up already is not listened to.
        if activity.seq in run.activities and mine == activity.tries:
            activity.error = error
            self._schedule(run, activity, seconds)

    def _cancel(self, run: Run, seq: int) -> None:
        """TRY_CANCEL: the workflow is told at once; a try that waits for its turn is never made."""
        activity = run.activities.pop(seq, None)
        if activity is None:
            return
        self._clock.off(activity.due)
        resolved = activation_pb.ResolveActivity(seq=seq)
        resolved.result.cancelled.failure.message = "activity cancelled"
        resolved.result.cancelled.failure.canceled_failure_info.SetInParent()
        self._tell(run, Job(resolve_activity=resolved))
