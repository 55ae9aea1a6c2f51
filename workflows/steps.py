"""Steps and starts: the data a playbook's outline is made of."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeVar

Reaction = TypeVar("Reaction", bound=Callable[..., None])
_ANSWERS: Final = "answers_fact"
QUIET: Final = timedelta(hours=20)


@dataclass(frozen=True)
class Step:
    """Something to do once, `after` the run's day 0. `moved_to` makes of its planned moment another, by a reading."""

    name: str
    title: str
    after: timedelta
    do: Callable[[], None]
    stage: str = ""
    moved_to: Callable[[datetime], datetime] | None = None


def on_day(
    day: int,
    do: Callable[[], None],
    *,
    stage: str = "",
    name: str = "",
    moved_to: Callable[[datetime], datetime] | None = None,
) -> Step:
    """A step on day `day`, counted from the start of the run (P0.2). `stage` is what the list of runs shows from then.

    The step is known by its method's name, or by `name` where one method serves several days.
    """
    return Step(name or do.__name__, f"Day {day}: {title_of(do)}", timedelta(days=day), do, stage, moved_to)


def on_hour(hour: int, do: Callable[[], None], *, stage: str = "", name: str = "") -> Step:
    """A step `hour` hours after the start of the run."""
    return Step(name or do.__name__, f"Hour {hour}: {title_of(do)}", timedelta(hours=hour), do, stage)


def when(fact: str) -> Callable[[Reaction], Reaction]:
    """Mark a method of a playbook as the answer to a fact: a step without a day, taken when the fact is heard."""

    def mark(method: Reaction) -> Reaction:
        setattr(method, _ANSWERS, fact)
        return method

    return mark


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


def title_of(do: Callable[..., None]) -> str:
    """The first line of a step's docstring; it names the step wherever people see it."""
    return (do.__doc__ or do.__name__).strip().splitlines()[0]


def ordered(steps: Iterable[Step | None]) -> tuple[Step, ...]:
    """The steps in the order of their days; steps of one day keep the order they were written in.

    Raises:
        ValueError: two steps have one name, so that nobody could say which was done.
    """
    plan = sorted((step for step in steps if step), key=lambda step: step.after)
    names = [step.name for step in plan]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"two steps are called {', '.join(twice)}: give one of them name=")
    return tuple(plan)


@dataclass(frozen=True)
class Start:
    """A fact that starts a run, one for each subject it names.

    `joins`: while a case of the account is open, another subject joins it instead of starting a run (P1.20).
    `only_if_limited`: only for an account that is restricted or suspended and has no open case that would see to it;
    what its ended cases left unpaid becomes part of the new one.
    """

    fact: str
    joins: bool = False
    only_if_limited: bool = False
