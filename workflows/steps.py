"""Steps and starts: the data a playbook's outline is made of."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal, TypeVar

from models.facts import Fact

Reaction = TypeVar("Reaction", bound=Callable[..., None])
_ANSWERS: Final = "answers_fact"
QUIET: Final = timedelta(hours=20)


@dataclass(frozen=True)
class Step:
    """Something to do once, `after` the run's day 0, or counted from its anchor date.

    `moved_to` makes of the planned moment another, by a reading. `fresh`: look at the source of truth right before
    the step is worked out, so that its branches see today. `only_if` is a fresh condition; its docstring is the
    reason given where it does not hold. `if_late` says what becomes of it where its day was past when the run began.
    """

    name: str
    title: str
    after: timedelta
    do: Callable[[], None]
    stage: str = ""
    moved_to: Callable[[datetime], datetime] | None = None
    counts: Literal["days", "hours", "from_anchor"] = "days"
    fresh: bool = False
    only_if: Callable[[], bool] | None = None
    if_late: Literal["take", "leave_out"] = "take"


def on_day(
    day: int,
    do: Callable[[], None],
    *,
    stage: str = "",
    name: str = "",
    moved_to: Callable[[datetime], datetime] | None = None,
    fresh: bool = False,
    only_if: Callable[[], bool] | None = None,
) -> Step:
    """A step on day `day`, counted from the start of the run (P0.2). `stage` is what the list of runs shows from then.

    The step is known by its method's name, or by `name` where one method serves several days.
    """
    title = f"Day {day}: {title_of(do)}"
    after = timedelta(days=day)
    return Step(name or do.__name__, title, after, do, stage, moved_to, "days", fresh or bool(only_if), only_if)


def on_hour(
    hour: float,
    do: Callable[[], None],
    *,
    stage: str = "",
    name: str = "",
    fresh: bool = False,
    only_if: Callable[[], bool] | None = None,
) -> Step:
    """A step `hour` hours after the start of the run."""
    title = f"Hour {hour:g}: {title_of(do)}"
    after = timedelta(hours=hour)
    return Step(name or do.__name__, title, after, do, stage, None, "hours", fresh or bool(only_if), only_if)


def before(
    days: int,
    do: Callable[[], None],
    *,
    stage: str = "",
    name: str = "",
    fresh: bool = False,
    only_if: Callable[[], bool] | None = None,
    if_late: Literal["take", "leave_out"] = "leave_out",
) -> Step:
    """A step `days` days before the run's anchor date (a renewal, an expiry); negative: after it.

    Where that day was past when the run began, the step is left out, or taken at once with `if_late="take"` (P6.13).
    """
    what = "On the day" if not days else f"{_days(days)} before" if days > 0 else f"{_days(-days)} after"
    title = f"{what}: {title_of(do)}"
    after = timedelta(days=-days)
    return Step(
        name or do.__name__, title, after, do, stage, None, "from_anchor", fresh or bool(only_if), only_if, if_late
    )


def _days(count: int) -> str:
    return f"{count} day{'' if count == 1 else 's'}"


def when(fact: str) -> Callable[[Reaction], Reaction]:
    """Mark a method of a playbook as the answer to a fact: a step without a day, taken when the fact is heard."""

    def mark(method: Reaction) -> Reaction:
        setattr(method, _ANSWERS, fact)
        return method

    return mark


def name_of(playbook: type) -> str:
    """The playbook's name, as its `@workflow.defn` gives it."""
    name: str = playbook.__temporal_workflow_definition.name  # type: ignore[attr-defined]
    return name


def reactions_of(playbook: type) -> dict[str, str]:
    """The facts a playbook answers, each with the name of its method."""
    methods = ((name, getattr(playbook, name)) for name in dir(playbook) if not name.startswith("__"))
    return {getattr(method, _ANSWERS): name for name, method in methods if hasattr(method, _ANSWERS)}


@dataclass(frozen=True)
class Taken:
    """The step taken last: the moment the plan had for it, and the moment it really was taken."""

    planned: datetime
    at: datetime


def after_a_quiet_time(planned: datetime, last: Taken | None) -> datetime:
    """When a step planned for `planned` may be taken.

    After an outage overdue steps keep a distance (`QUIET`, or less where the plan itself has less), so that they do
    not all fire at once; as soon as the plan is ahead again, it holds.
    """
    if last is None:
        return planned
    gap = max(planned - last.planned, timedelta())
    return max(planned, last.at + min(gap, QUIET))


def title_of(do: Callable[..., object]) -> str:
    """The first line of a step's docstring; it names the step wherever people see it."""
    return (do.__doc__ or do.__name__).strip().splitlines()[0]


def ordered(
    steps: Iterable[Step | None], *, first_day: int = 0, anchor_after: timedelta | None = None
) -> tuple[Step, ...]:
    """The steps in the order of their days; steps of one moment keep the order they were written in.

    `first_day` is the number of the run's first day (0, or 1 in playbooks that count from day 1); `anchor_after` how
    long after the start the anchor date is.

    Raises:
        ValueError: two steps have one name, so that nobody could say which was done; a day before the first; a step
            counted from an anchor in a run that has none.
    """
    plan = [_counted(step, first_day) for step in steps if step]
    if anchor_after is None and any(step.counts == "from_anchor" for step in plan):
        raise ValueError("before(...) counts from the run's anchor date, but this run has none")
    shift = anchor_after or timedelta()
    plan.sort(key=lambda step: step.after + (shift if step.counts == "from_anchor" else timedelta()))
    names = [step.name for step in plan]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"two steps are called {', '.join(twice)}: give one of them name=")
    return tuple(plan)


def plan_of(steps: Iterable[Step]) -> str:
    """A fingerprint of a plan: its steps' names in their order, and which of them look first."""
    names = " ".join(f"{step.name}{'*' if step.fresh else ''}" for step in steps)
    return hashlib.sha256(names.encode()).hexdigest()[:8]


def _counted(step: Step, first_day: int) -> Step:
    if step.counts != "days" or not first_day:
        return step
    if step.after < timedelta(days=first_day):
        raise ValueError(f"{step.name}: this playbook counts from day {first_day}")
    return replace(step, after=step.after - timedelta(days=first_day))


@dataclass(frozen=True)
class Start:
    """A fact that starts a run, one for each subject it names.

    `joins`: while a case of the account is open, another subject joins it instead of starting a run (P1.20).
    `only_if_limited`: only for an account that is restricted or suspended and has no open case that would see to it;
    what its ended cases left unpaid becomes part of the new one. `by`: which part of the fact the run is about.
    `values`: what the fact may say, where that makes a difference (a severity). `only_if`: only on a fact that is so.
    """

    fact: str
    joins: bool = False
    only_if_limited: bool = False
    by: Literal["subject", "object"] = "subject"
    values: tuple[str, ...] = ()
    only_if: Callable[[Fact], bool] | None = None
