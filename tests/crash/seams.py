"""Where the points are: each class stands in the place of one of ours or the SDK's and asks `Faults` on the way.

Without these the code has no seams at all, so they cost it nothing.
"""

import functools
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final

import stripe
from sqlmodel.ext.asyncio.session import AsyncSession
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from temporalio import activity
from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.client import (
    Interceptor,
    OutboundInterceptor,
    SignalWorkflowInput,
    StartWorkflowInput,
    WorkflowHandle,
)
from temporalio.exceptions import ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner, WorkflowInstance, WorkflowInstanceDetails, WorkflowRunner
from temporalio.workflow import Info, _Definition

from activities.access import ProductAccess
from activities.carry_out import Effects
from activities.messages import SendGridMail
from models.cases import Batch, Outcome
from models.database import Database
from tests.crash.faults import Crash, Faults

AT_ONCE: Final = timedelta(milliseconds=1)
"""A worker's death is noticed after seconds, and tries lie seconds apart; nothing depends on how many."""


class CrashingDatabase(Database):
    """A point before every commit: a transaction that did not commit never was, wherever in it the process died."""

    def __init__(self, url: str, faults: Faults) -> None:
        super().__init__(url)
        self._faults = faults

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncSession]:
        """A transaction; the point comes before its lock is taken, for else nobody could act there."""
        # This generator runs in `__aenter__`, which runs in whoever writes.
        await self._faults.reach(f"commit in {sys._getframe(2).f_code.co_qualname}")
        async with super().writing() as session:
            yield session


class CrashingHttp(stripe.AIOHTTPClient):
    """A point before every request to Stripe that changes something."""

    faults: Faults

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Ask Stripe."""
        if method.lower() != "get":
            await self.faults.reach(f"{method.upper()} to Stripe")
        answer: tuple[bytes, int, Mapping[str, str]] = await super().request_async(method, url, headers, post_data)
        return answer


def crash_before_requests(effects: Effects, faults: Faults) -> None:
    """A point before every mail handed to SendGrid, and every word to the product."""
    for system in set(effects._outside.values()):
        if isinstance(system, SendGridMail):
            send = system._send

            @functools.wraps(send)
            def sending(mail: Any, send: Any = send) -> Any:
                faults.reach_in_thread("mail", mail.get()["custom_args"]["effect"])
                return send(mail)

            system._send = sending  # type: ignore[method-assign]
        if isinstance(system, ProductAccess):
            post = system._post

            @functools.wraps(post)
            async def posting(message_id: str, body: bytes, post: Any = post) -> None:
                await faults.reach("POST to the product")
                await post(message_id, body)

            system._post = posting  # type: ignore[method-assign]


class CrashingEffects:
    """The door itself, and a point before its answer."""

    def __init__(self, effects: Effects, faults: Faults) -> None:
        self._effects = effects
        self._faults = faults

    @activity.defn(name="carry_out")
    async def carry_out(self, batch: Batch) -> Outcome:
        """Carry out a batch; what Temporal would learn from silence it is told, so that nobody waits for it."""
        try:
            with self._faults.living("worker"):
                await self._faults.reach(f"batch {batch.step}")
                outcome = await self._effects.carry_out(batch)
                await self._faults.reach(f"answer of {batch.step}")
                return outcome
        except Crash as crash:
            raise ApplicationError(f"died: {crash}", next_retry_delay=AT_ONCE) from None
        except Exception as error:
            raise ApplicationError(f"{type(error).__name__}: {error}", next_retry_delay=AT_ONCE) from error


class CrashingRunner(WorkflowRunner):
    """Runs workflows so that each task may be lost before it is worked on, and before its answer leaves.

    A lost task fails, and what the worker remembered of the run is dropped and replayed. Without the sandbox, which
    would load the playbooks anew at each replay: that they pass it is shown by every other test.
    """

    def __init__(self, faults: Faults) -> None:
        self._inner = UnsandboxedWorkflowRunner()
        self._faults = faults

    def prepare_workflow(self, defn: _Definition) -> None:
        """Nothing of ours."""
        self._inner.prepare_workflow(defn)

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        """An instance that lives as long as the worker that made it."""
        return CrashingInstance(self._inner.create_instance(det), self._faults)


class CrashingInstance(WorkflowInstance):
    """A run in a worker's memory."""

    def __init__(self, inner: WorkflowInstance, faults: Faults) -> None:
        self._inner = inner
        self._faults = faults
        self._life = faults.life("worker")

    def activate(self, act: WorkflowActivation) -> WorkflowActivationCompletion:
        """Work on a task."""
        if any(job.HasField("remove_from_cache") for job in act.jobs):
            return self._inner.activate(act)
        try:
            self._faults.reach_in_thread("task of a run", life=self._life)
            completion = self._inner.activate(act)
            self._faults.reach_in_thread("answer of a task of a run", life=self._life)
        except Crash as crash:
            raise RuntimeError(f"died: {crash}") from None
        return completion

    def get_serialization_context(self, command_info: Any) -> Any:
        """Nothing of ours."""
        return self._inner.get_serialization_context(command_info)

    def get_external_store_context(self, command_info: Any) -> Any:
        """Nothing of ours."""
        return self._inner.get_external_store_context(command_info)

    def get_info(self) -> Info:
        """Nothing of ours."""
        return self._inner.get_info()


class CrashingCalls(Interceptor):
    """A point before the relay starts a run or tells one."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        """Stand before the calls."""
        return _Calls(next, self._faults)


class _Calls(OutboundInterceptor):
    def __init__(self, next: OutboundInterceptor, faults: Faults) -> None:
        super().__init__(next)
        self._faults = faults

    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:
        await self._faults.reach(f"start of {input.workflow}")
        return await super().start_workflow(input)

    async def signal_workflow(self, input: SignalWorkflowInput) -> None:
        await self._faults.reach(f"signal {input.signal}")
        await super().signal_workflow(input)


class CrashingDoor:
    """The receiver: every request is taken by a process that may die, then without an answer that says yes."""

    def __init__(self, app: ASGIApp, faults: Faults) -> None:
        self._app = app
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take one request."""

        async def answering(message: Message) -> None:
            if message["type"] == "http.response.start":
                await self._faults.reach("answer to a sender")
            await send(message)

        try:
            with self._faults.living("receiver"):
                await self._app(scope, receive, answering)
        except Crash:
            # uvicorn says 500 for an application that went without a word.
            return
