"""The base every playbook stands on: steps on days, one exit clause, and verbs instead of Temporal.

A step queues effects with verbs (`self.email(...)`, `self.retry_payment()`); when it returns, they are carried
out in order by one activity, which looks at the source of truth first and stops at the first effect that finds
the reason gone. One activity a step keeps a month-long case within 20 billable actions.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, ClassVar, NoReturn

from temporalio import workflow
from temporalio.common import RetryPolicy, SearchAttributeUpdate

from models import facts
from models.cases import Batch, Case, Effect, Ending, Outcome, Parting
from models.facts import Fact
from models.money import major
from workflows.commands import Commands
from workflows.steps import Start, Step, Taken, after_a_quiet_time, ordered, reactions_of, title_of
from workflows.verbs import Verbs
from workflows.visible import AT_STAKE, STAGE, checklist


class Over(Exception):
    """The run has ended; carries the outcome of the batch that ended it."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.over)
        self.outcome = outcome


class Playbook(Commands, Verbs):
    """Write `run` as the outline and a method for each step; the first line of its docstring is its title.

    Class attributes: `starts_on` names the facts that start a run, `ends_on` the facts and results that end it,
    `watches` the source of truth looked at before every step ("" for none). Methods marked `@when(fact)` answer
    facts in between. Routing is derived from these.
    """

    starts_on: ClassVar[tuple[Start, ...]] = ()
    ends_on: ClassVar[tuple[str, ...]] = ()
    watches: ClassVar[str] = ""

    @classmethod
    def refuses(cls, case: Case) -> str:
        """Why no run is started for this case; empty to start one."""
        return ""

    def __init__(self) -> None:
        super().__init__()
        self._answers = reactions_of(type(self))
        self._heard: list[Fact] = []
        self._news: list[Fact] = []
        self._reactions = 0
        self._last: Taken | None = None
        self._batches = 0
        self._stage = ""

    # Facts come as signals (the worker may be down); commands are updates, see `Commands`.

    @workflow.signal(name="hear")
    def hear(self, fact: Fact) -> None:
        """Take note of a fact; whether it is true is looked up before anything follows from it."""
        self._news.append(fact)
        self._spoken += 1

    # What a playbook is written with.

    async def follow(
        self,
        case: Case,
        *steps: Step | None,
        otherwise: str,
    ) -> Ending:
        """Take each step on its day until one of `ends_on` is true; `otherwise` is the outcome if none ever is."""
        self.case = case
        self._day0 = workflow.now()
        self._steps = ordered(steps)
        try:
            try:
                await self._play(otherwise)
            except asyncio.CancelledError:
                # "Request Cancellation" is the largest button in the Web UI; here it means what `end` means.
                self._ended_by = "a cancellation in Temporal"
                await self._attend()
        except Over as over:
            ended = over.outcome
        self._finished, self._current = ended.outcome, None
        self._show()
        workflow.upsert_search_attributes([STAGE.value_set(ended.outcome)])
        await workflow.wait_condition(workflow.all_handlers_finished)
        return Ending(reason=ended.over, outcome=ended.outcome, done=tuple(self._done), skipped=tuple(self._skipped))

    def part(self, reason: str) -> str:
        """Queue what is owed when the run ends for `reason`, and name the outcome. Playbooks override this."""
        return reason

    def took(self, step: Callable[[], None]) -> bool:
        """Whether a step was taken to its end; the one being taken does not count yet."""
        return step.__name__ in self._done and step.__name__ != self._taking

    # Machinery.

    async def _play(self, otherwise: str) -> NoReturn:
        done = Parting(reason=facts.PLAN_DONE, outcome=otherwise)
        for position, step in enumerate(self._steps):
            await self._come_due(step)
            if step.name not in self._skipped:
                await self._take(step, done if position == len(self._steps) - 1 else None)
        await self._attend()
        self._begin("close")
        skipped = Parting(reason=facts.PLAN_DONE, outcome="skipped_to_the_end")
        await self._carry_out("The plan is done", "", closing=skipped)
        raise RuntimeError("a closing batch came back without having closed the case")

    async def _come_due(self, step: Step) -> None:
        """Wait for the step's moment.

        Which commands are issued here depends only on what was said to the run, never on comparing the clock
        with the plan; so a step may move to another day under a sleeping run, and the run still replays.
        """
        while step.name not in self._skipped:
            await self._attend()
            if step.name in self._skipped:
                return
            due = self._due(step)
            self._current, self._next_at = step, due
            self._show()
            if due is None and not self._paused_at:
                return
            spoken = self._spoken
            timeout = None if self._paused_at or due is None else max(due - workflow.now(), timedelta(seconds=1))
            try:
                await workflow.wait_condition(
                    lambda spoken=spoken: self._spoken != spoken,  # type: ignore[misc]
                    timeout=timeout,
                    timeout_summary=step.title,
                )
            except TimeoutError:
                # Something said in the very activation in which the timer fires still counts.
                if self._spoken == spoken:
                    return

    def _due(self, step: Step) -> datetime | None:
        """When the step is due; None for the very first, which is due at once."""
        if self._last is None and not step.after and not self._shift:
            return None
        return after_a_quiet_time(self._planned(step), self._last)

    def _planned(self, step: Step) -> datetime:
        planned = self._day0 + step.after + self._shift
        return step.moved_to(planned) if step.moved_to else planned

    async def _attend(self) -> None:
        """Act on what was said: endings are verified, facts answered, commands put on record."""
        while self._news or self._notes or self._ended_by:
            if self._ended_by:
                parting = self._parting(facts.ENDED_BY_LEAD)
                self._begin("end")
                await self._carry_out(f"Ended by {self._ended_by}", "", closing=parting)
            news, self._news = self._news, []
            self._heard.extend(fact for fact in news if fact.kind in self.ends_on)
            answered = [fact for fact in news if fact.kind in self._answers]
            if not answered:
                self._begin("look")
                await self._carry_out("", "")
            for fact in answered:
                react: Callable[[Fact], None] = getattr(self, self._answers[fact.kind])
                self._reactions += 1
                self._begin(f"{react.__name__}-{self._reactions}")
                react(fact)
                await self._carry_out(title_of(react), title_of(react))

    async def _take(self, step: Step, closing: Parting | None) -> None:
        self._begin(step.name)
        planned = self._planned(step)
        step.do()
        if step.stage:
            self._stage = step.stage
            shown: list[SearchAttributeUpdate[Any]] = [STAGE.value_set(step.stage)]
            # A run that was started without its amount in clear is one whose payloads are encrypted.
            if workflow.info().typed_search_attributes.get(AT_STAKE) is not None:
                owed = self.reading("at_stake", self.case.at_stake)
                shown.append(AT_STAKE.value_set(float(major(int(owed), self.case.currency))))
            workflow.upsert_search_attributes(shown)
        self._done.append(step.name)
        self._last = Taken(planned=planned, at=workflow.now())
        self._taking = step.name
        await self._carry_out(step.title, step.title, closing=closing)
        self._taking = ""

    async def _carry_out(self, title: str, shown: str, *, closing: Parting | None = None) -> None:
        """Have the queued effects carried out. Raises `Over` when that ended the run.

        A lead's `end` does not wait for a step that is in trouble: the step is given up, and whatever of it is
        still under way finds the case closed.
        """
        step, effects = self._step_name, tuple(self._queued)
        notes, self._notes = tuple(self._notes), []
        partings = {kind: self._parting(kind) for kind in self.ends_on}
        upcoming = next(iter(self._ahead()), None)
        while True:
            self._batches += 1
            batch = Batch(
                case=self.case.id,
                account=self.case.account,
                subject=self.case.subject,
                playbook=self.case.playbook,
                step=step,
                title=shown,
                since=self._day0,
                now=workflow.now(),
                watch=self.watches,
                stage=self._stage,
                state="paused" if self._paused_at else "open",
                heard=tuple(self._heard),
                notes=notes,
                effects=effects,
                partings=partings,
                closing=closing,
                next_title=upcoming.title if upcoming else "",
                next_at=self._due(upcoming) if upcoming else None,
            )
            carrying = workflow.start_activity(
                "carry_out",
                batch,
                result_type=Outcome,
                activity_id=f"{step}-{self._batches}",
                summary=_summary(title, effects),
                start_to_close_timeout=timedelta(seconds=120),
                heartbeat_timeout=timedelta(seconds=10),
                retry_policy=RetryPolicy(maximum_interval=timedelta(minutes=10)),
            )
            outcome = await self._unless_ended(carrying, closing)
            if outcome is None:
                self._queued.clear()
                return
            self._readings = outcome.readings or self._readings
            if outcome.over:
                raise Over(outcome)
            if outcome.wait_until is None:
                self._queued.clear()
                return
            await workflow.sleep(
                max(outcome.wait_until - workflow.now(), timedelta(seconds=1)), summary=f"Held back: {title}"
            )

    async def _unless_ended(
        self, carrying: workflow.ActivityHandle[Outcome], closing: Parting | None
    ) -> Outcome | None:
        ending = closing is not None and closing.reason == facts.ENDED_BY_LEAD
        try:
            await workflow.wait_condition(lambda: carrying.done() or (bool(self._ended_by) and not ending))
        except asyncio.CancelledError:
            carrying.cancel()
            raise
        if carrying.done():
            return await carrying
        carrying.cancel()
        return None

    def _parting(self, reason: str) -> Parting:
        """What is owed for one way to end, with keys that stay the same however often it is worked out."""
        kept, kept_step, kept_count = self._queued, self._step_name, self._count
        self._queued = []
        self._begin(f"ending:{reason}")
        outcome = self.part(reason)
        parting = Parting(reason=reason, outcome=outcome, effects=tuple(self._queued))
        self._queued, self._step_name, self._count = kept, kept_step, kept_count
        return parting

    def _show(self) -> None:
        state = f"Ended: {self._finished}" if self._finished else "Paused" if self._paused_at else ""
        workflow.set_current_details(
            checklist(self._steps, self._done, self._skipped, self._current, self._next_at, state)
        )


def _summary(title: str, effects: tuple[Effect, ...]) -> str:
    what = "; ".join(effect.title for effect in effects)
    return (f"{title} ({what})" if what and title else title or what or "Look how things stand")[:190]
