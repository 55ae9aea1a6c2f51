"""The base every playbook stands on: steps on days, one exit clause, and verbs instead of Temporal.

A step queues effects with verbs (`self.email(...)`, `self.retry_payment()`); when it returns, they are carried
out in order by one activity, which looks at the source of truth first and stops at the first effect that finds
the reason gone. One activity a step keeps a month-long case within 20 billable actions.
"""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any, ClassVar, Final, Literal, NoReturn

from temporalio import workflow
from temporalio.common import RetryPolicy, SearchAttributeUpdate

from models import facts
from models.cases import Batch, Case, Effect, Ending, Outcome, Parting, Task
from models.facts import Fact
from models.money import major
from models.urgency import Precedence
from workflows.commands import Commands
from workflows.steps import Start, Step, Taken, after_a_quiet_time, ordered, plan_of, reactions_of, title_of, when
from workflows.verbs import Verbs
from workflows.visible import AT_STAKE, DATE, OWNER, STAGE, STARTED, checklist

TASKS: Final = (facts.TASK_DONE, facts.TASK_OVERDUE)


class Over(Exception):
    """The run has ended; carries the outcome of the batch that ended it."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.over)
        self.outcome = outcome


class Playbook(Commands, Verbs):
    """Write `run` as the outline and a method for each step; the first line of its docstring is its title.

    Class attributes: `starts_on` names the facts that start a run, `ends_on` the facts and results that end it,
    `watches` the source of truth looked at before every step ("facts": what we were told of the account). Methods
    marked `@when(fact)` answer facts in between. Routing is derived from these.

    `counts_from` is 1 where the plan's first day is called day 1 (P0.2). `one_for_each_subject`: an account may have
    several open runs, one a contract or card. `cooldown_days`: how long the playbook rests for an account after a
    run; None is the policy's `starts.cooldown_days` (P0.6). `outcomes` are what a run may end with, for the catalogue.
    `precedence` says how urgent it is beside the account's other runs, and `gives_way` what becomes of its words while
    a more urgent one speaks (P0.8).
    """

    starts_on: ClassVar[tuple[Start, ...]] = ()
    ends_on: ClassVar[tuple[str, ...]] = ()
    watches: ClassVar[str] = "facts"
    precedence: ClassVar[Precedence] = ""
    gives_way: ClassVar[Literal["drop", "wait"]] = "drop"
    counts_from: ClassVar[Literal[0, 1]] = 0
    one_for_each_subject: ClassVar[bool] = False
    cooldown_days: ClassVar[int | None] = None
    outcomes: ClassVar[tuple[str, ...]] = ()
    activity_timeout: ClassVar[timedelta] = timedelta(seconds=120)
    """The longest a step's batch may take; no playbook of ours sets another."""

    @classmethod
    def refuses(cls, case: Case) -> str:
        """Why no run is started for this case; empty to start one."""
        return ""

    def __init__(self) -> None:
        super().__init__()
        self._answers = reactions_of(type(self))
        self._heard: list[Fact] = []
        self._news: list[Fact] = []
        self._told: list[Fact] = []
        self._reactions = 0
        self._last: Taken | None = None
        self._anchor: datetime | None = None
        self._counts_since = self._day0
        self._otherwise: str | Callable[[], str] = ""
        self._plan = ""
        self._over_early: Over | None = None
        self._answered: set[str] = set()
        self._overdue: set[str] = set()
        self._waiting: list[asyncio.Task[None]] = []
        self._batches = 0
        self._stage = ""

    # Facts come as signals (the worker may be down); commands are updates, see `Commands`.

    @workflow.signal(name="hear")
    def hear(self, fact: Fact) -> None:
        """Take note of a fact; whether it is true is looked up before anything follows from it."""
        # A relay that died tells once more what it had told. Runs that took such a fact up twice replay as they ran.
        if fact in self._told and workflow.patched("facts-are-heard-once"):
            return
        self._told.append(fact)
        self._news.append(fact)
        self._spoken += 1

    # What a playbook is written with.

    async def follow(
        self,
        case: Case,
        *steps: Step | None,
        otherwise: str | Callable[[], str],
        counts_from: int | None = None,
    ) -> Ending:
        """Take each step on its day until one of `ends_on` is true.

        `otherwise` is the outcome if none ever is, or a method that queues what is owed then and names the outcome.
        `counts_from` is for playbooks whose variants count differently.
        """
        self.case = case
        self._anchor = self._anchor or case.anchor
        self._otherwise = otherwise
        first_day = self.counts_from if counts_from is None else counts_from
        self._steps = ordered(
            steps,
            first_day=first_day if case.policy.day_one_is_trigger_day else 0,
            anchor_after=case.anchor - self._day0 if case.anchor else None,
        )
        self._plan = plan_of(self._steps)
        try:
            try:
                if self._over_early:
                    raise self._over_early
                await self._play()
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

    async def look_first(self, case: Case) -> None:
        """Look at the source of truth before the plan is made, for plans that depend on what is found.

        What was found is in the history, so the plan stays the same however often it is replayed.
        """
        self.case = case
        self._begin("begin")
        try:
            await self._carry_out("", "")
        except Over as over:
            self._over_early = over

    def part(self, reason: str) -> str:
        """Queue what is owed when the run ends for `reason`, and name the outcome. Playbooks override this."""
        return reason

    def took(self, step: Callable[[], None]) -> bool:
        """Whether a step was taken to its end; the one being taken does not count yet."""
        return step.__name__ in self._done and step.__name__ != self._taking

    @property
    def step(self) -> str:
        """The name of the step being worked out, for methods that serve several steps."""
        return self._step_name

    @property
    def anchor(self) -> datetime:
        """The date the run's days count back from.

        Raises:
            ValueError: this run has none.
        """
        if self._anchor is None:
            raise ValueError("this run has no anchor date")
        return self._anchor

    def days_until(self, days_before: int) -> float:
        """How many days from now until so many days before the anchor date; at least one."""
        return max(1.0, (self.anchor - timedelta(days=days_before) - workflow.now()) / timedelta(days=1))

    @when(facts.OWNER_CHANGED)
    def take_in_the_new_owner(self, fact: Fact) -> None:
        """The account has another CSM: leads who filter the list by their own accounts find the run (S3.5)."""
        workflow.upsert_search_attributes([OWNER.value_set(fact.value or "unassigned")])

    # Machinery.

    async def _play(self) -> NoReturn:
        for position, step in enumerate(self._steps):
            await self._come_due(step)
            if step.name not in self._skipped:
                await self._take(step, last=position == len(self._steps) - 1)
        await self._attend()
        while self._open_tasks - self._overdue:
            spoken = self._spoken
            await workflow.wait_condition(lambda spoken=spoken: self._spoken != spoken)  # type: ignore[misc]
            await self._attend()
        last = self._steps[-1].name
        skipped = last in self._skipped and last not in self._left_out
        closing = self._parting(facts.PLAN_DONE, (lambda: "skipped_to_the_end") if skipped else self._at_the_end)
        self._begin("close")
        await self._carry_out("The plan is done", "", closing=closing)
        await self._attend()
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
        if self._last is None and not step.after and not self._shift and step.counts != "from_anchor":
            return None
        return after_a_quiet_time(self._planned(step), self._last)

    def _planned(self, step: Step) -> datetime:
        start = self._anchor if step.counts == "from_anchor" and self._anchor else self._day0
        planned = start + step.after + self._shift
        return step.moved_to(planned) if step.moved_to else planned

    async def _attend(self) -> None:
        """Act on what was said: endings are verified, facts answered, commands put on record."""
        while self._news or self._notes or self._ended_by:
            if self._ended_by:
                parting = self._parting(facts.ENDED_BY_LEAD, partial(self.part, facts.ENDED_BY_LEAD))
                self._begin("end")
                await self._carry_out(f"Ended by {self._ended_by}", "", closing=parting)
            news, self._news = self._news, []
            self._heard.extend(fact for fact in news if fact.kind in self.ends_on)
            answered = [fact for fact in news if fact.kind in self._answers or fact.kind in TASKS]
            if not answered:
                self._begin("look")
                await self._carry_out("", "")
            for fact in answered:
                self._reactions += 1
                if fact.kind in TASKS:
                    await self._hear_of_a_task(fact)
                    continue
                react: Callable[[Fact], None] = getattr(self, self._answers[fact.kind])
                self._begin(f"{react.__name__}-{self._reactions}")
                react(fact)
                await self._carry_out(title_of(react), title_of(react))

    # Tasks that are waited for (P0.3, P0.7). When to escalate comes from the history, with the answer that opened
    # the task: the code of a step may change under a sleeping run without moving a timer.

    def _wait_for(self, key: str, deadline: datetime) -> None:
        if key in self._answered or key in self._open_tasks:
            return
        self._open_tasks.add(key)
        self._waiting.append(asyncio.create_task(self._mind_the_deadline(key, deadline)))

    async def _mind_the_deadline(self, key: str, deadline: datetime) -> None:
        try:
            await workflow.wait_condition(
                lambda: key not in self._open_tasks or bool(self._finished),
                timeout=max(deadline - workflow.now(), timedelta(seconds=1)),
                timeout_summary="Deadline of a task",
            )
        except TimeoutError:
            self._news.append(Fact(kind=facts.TASK_OVERDUE, at=workflow.now(), account="", object_id=key))
            self._spoken += 1

    async def _hear_of_a_task(self, fact: Fact) -> None:
        """Whatever a playbook makes of it, one batch follows: which commands there are depends on what was said."""
        key, question = fact.object_id, self._questions.get(fact.object_id)
        known = key not in self._answered and (fact.kind == facts.TASK_DONE or key in self._open_tasks)
        self._begin(f"{key.split('/')[-2] if '/' in key else 'task'}-answer-{self._reactions}")
        title, answered = "", {}
        if question and known and fact.kind == facts.TASK_DONE:
            title, answered = f"{question.title}: {fact.value}", {key: fact.value}
            self._note(title)
            if question.then:
                question.then(fact.value)
        elif question and known:
            title = f"Overdue: {question.title}"
            self._overdue.add(key)
            self.task(title, owner=question.escalate_to)
        if fact.kind == facts.TASK_DONE:
            self._answered.add(key)
            self._open_tasks.discard(key)
        await self._carry_out(title, title, answered=answered)

    async def _take(self, step: Step, *, last: bool) -> None:
        self._begin(step.name)
        if step.fresh:
            await self._carry_out("", "", look="look-")
            self._begin(step.name)
        planned = self._planned(step)
        why_not = self._why_left_out(step, planned)
        if why_not:
            self._skipped.append(step.name)
            self._left_out[step.name] = why_not
            self._note(f"Left out: {step.title} Reason: {why_not}")
        else:
            step.do()
            self._done.append(step.name)
            self._last = Taken(planned=planned, at=workflow.now())
        # Left out or taken, the same commands follow: then days and conditions may change under sleeping runs.
        if step.stage:
            self._stage = self._stage if why_not else step.stage
            shown: list[SearchAttributeUpdate[Any]] = [STAGE.value_set(self._stage or STARTED)]
            # A run that was started without its amount in clear is one whose payloads are encrypted.
            if workflow.info().typed_search_attributes.get(AT_STAKE) is not None:
                owed = self.reading("at_stake", self.case.at_stake)
                shown.append(AT_STAKE.value_set(float(major(int(owed), self.case.currency))))
            if self._anchor:
                shown.append(DATE.value_set(self._anchor))
            workflow.upsert_search_attributes(shown)
        self._taking = step.name
        asks = any(isinstance(effect, Task) and effect.deadline for effect in self._queued)
        closing = None
        if last and not asks and not self._open_tasks - self._overdue:
            closing = self._parting(facts.PLAN_DONE, self._at_the_end)
        await self._carry_out(step.title, step.title if not why_not else "", closing=closing)
        self._taking = ""

    def _why_left_out(self, step: Step, planned: datetime) -> str:
        if step.if_late == "leave_out" and planned < self._counts_since - timedelta(days=1):
            return f"its day was past when the {'run began' if self._counts_since == self._day0 else 'date was moved'}"
        if step.only_if and not step.only_if():
            return title_of(step.only_if).rstrip(".")
        return ""

    def _at_the_end(self) -> str:
        return self._otherwise if isinstance(self._otherwise, str) else self._otherwise()

    async def _carry_out(
        self,
        title: str,
        shown: str,
        *,
        closing: Parting | None = None,
        look: str = "",
        answered: dict[str, str] | None = None,
    ) -> None:
        """Have the queued effects carried out. Raises `Over` when that ended the run.

        A lead's `end` does not wait for a step that is in trouble: the step is given up, and whatever of it is
        still under way finds the case closed.
        """
        step, effects = self._step_name, tuple(self._queued)
        notes, self._notes = tuple(self._notes), []
        partings = {kind: self._parting(kind, partial(self.part, kind)) for kind in self.ends_on}
        upcoming = next(iter(self._ahead()), None)
        self._held = False
        while True:
            # Paused while it waits for its hour, a step only looks, and goes on waiting.
            only_looks = self._held and self._paused_at is not None and workflow.patched("held-steps-stay-paused")
            spoken = self._spoken
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
                precedence=self.precedence,
                gives_way=self.gives_way,
                plan=self._plan,
                stage=self._stage,
                state="paused" if self._paused_at else "open",
                heard=tuple(self._heard),
                notes=notes,
                answered=answered or {},
                effects=() if only_looks else effects,
                partings=partings,
                closing=None if only_looks else closing,
                next_title=upcoming.title if upcoming else "",
                next_at=self._due(upcoming) if upcoming else None,
            )
            carrying = workflow.start_activity(
                "carry_out",
                batch,
                result_type=Outcome,
                activity_id=f"{step}-{look}{self._batches}",
                summary=_summary(title, effects),
                start_to_close_timeout=self.activity_timeout,
                heartbeat_timeout=timedelta(seconds=10),
                retry_policy=RetryPolicy(maximum_interval=timedelta(minutes=10)),
            )
            outcome = await self._unless_ended(carrying, closing)
            if outcome is None:
                self._queued.clear()
                self._held = False
                return
            self._take_in(outcome)
            if outcome.over:
                raise Over(outcome)
            if only_looks:
                await workflow.wait_condition(lambda spoken=spoken: self._spoken != spoken)  # type: ignore[misc]
                continue
            if outcome.wait_until is None:
                self._queued.clear()
                self._held = False
                return
            await self._hold(outcome.wait_until, title)
            if self._last:
                # What comes next keeps its distance from when this really went out.
                self._last = Taken(planned=self._last.planned, at=workflow.now())

    async def _hold(self, until: datetime, title: str) -> None:
        """Wait with a step that was held back; whatever is said to the run wakes it, for it may be the money."""
        spoken, self._held = self._spoken, True
        with contextlib.suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: self._spoken != spoken,
                timeout=max(until - workflow.now(), timedelta(seconds=1)),
                timeout_summary=f"Held back: {title}",
            )

    def _take_in(self, outcome: Outcome) -> None:
        self._readings = outcome.readings or self._readings
        said = str(self.reading("anchor"))
        moved = datetime.fromisoformat(said) if said and not outcome.over else self._anchor
        if moved != self._anchor:
            # Milestones that the move left behind are past, as they are for a run that began late (P6.13, P6.19).
            self._anchor, self._counts_since = moved, workflow.now()
        for key, result in outcome.results.items():
            if result.deadline and result.state == "done" and not outcome.over:
                self._wait_for(key, result.deadline)

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

    def _parting(self, reason: str, decide: Callable[[], str]) -> Parting:
        """What is owed for one way to end, with keys that stay the same however often it is worked out."""
        kept = self._queued, self._step_name, self._count, self._notes
        self._queued, self._notes = [], []
        self._begin(f"ending:{reason}")
        outcome = decide()
        parting = Parting(reason=reason, outcome=outcome, effects=tuple(self._queued))
        self._queued, self._step_name, self._count, self._notes = kept
        return parting

    def _show(self) -> None:
        state = f"Ended: {self._finished}" if self._finished else "Paused" if self._paused_at else ""
        workflow.set_current_details(
            checklist(self._steps, self._done, self._skipped, self._left_out, self._current, self._next_at, state)
        )


def _summary(title: str, effects: tuple[Effect, ...]) -> str:
    what = "; ".join(effect.title for effect in effects)
    return (f"{title} ({what})" if what and title else title or what or "Look how things stand")[:190]
