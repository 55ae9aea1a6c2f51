"""The plan lock: every shape of every playbook that may still be asleep somewhere, and the proof that it replays.

A shape is the order of commands a run gives when nothing is said to it: waits, steps, looks. Days, titles, templates
and timeouts are not in it. A run that sleeps under an old shape is replayed by the code of today; that works if today's
code, knowing only the patches of then, gives the same commands. The default policy is what is locked; runs under other
policies are checked against a live namespace by `holdfast replay`.
"""

import difflib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Final

from models.policy import Policy
from workers.catalogue import BEGAN, SEGMENTS, about
from workers.preview import rehearsed, sample_case
from workers.rehearsal import RehearsalError
from workflows import PLAYBOOKS
from workflows.playbook import Playbook
from workflows.steps import name_of

LOCK: Final = Path(__file__).parent.parent / "workflows" / "plans.lock.json"


@dataclass(frozen=True)
class Shape:
    """What one variant of a playbook does, as a replay sees it, and the patches that were known when it was written."""

    variant: str
    plan: str
    patches: tuple[str, ...]
    commands: tuple[str, ...]


Lock = dict[str, list[Shape]]


class PlanChanged(RuntimeError):
    """Sleeping runs would not replay; the message says what changed and what to write instead."""


def variants(playbook: type[Playbook], patches: Iterable[str] | None = None) -> dict[str, Shape]:
    """The shape of each variant of a playbook, by a name for it; with only these patches known, or as of today."""
    found: dict[str, Shape] = {}
    known: set[tuple[str, ...]] = set()
    for segment, start in product(SEGMENTS, playbook.starts_on):
        for value in start.values or ("",):
            case = sample_case(playbook, Policy(), about(segment), BEGAN, value=value, trigger=start.fact)
            if playbook.refuses(case):
                continue
            run, _ = rehearsed(playbook, case, about(segment), BEGAN, patches=patches)
            name = "/".join(part for part in (segment, start.fact, value) if part)
            commands = tuple(run.commands)
            if commands not in known:
                known.add(commands)
                plan = run.moments[-1].batch.plan
                found[name] = Shape(name, plan, tuple(run.patches if patches is None else patches), commands)
    return found


def read(path: Path = LOCK) -> Lock:
    """The committed lock; empty where there is none yet."""
    if not path.exists():
        return {}
    return {
        name: [Shape(each["variant"], each["plan"], tuple(each["patches"]), tuple(each["commands"])) for each in shapes]
        for name, shapes in json.loads(path.read_text(encoding="utf-8")).items()
    }


def check(lock: Lock, playbooks: Sequence[type[Playbook]] = PLAYBOOKS) -> None:
    """Every locked shape still comes out of today's code, and today's shapes are all locked.

    Raises:
        PlanChanged: naming the playbook, the change, and the line that mends it.
    """
    by_name = {name_of(playbook): playbook for playbook in playbooks}
    for name, shapes in lock.items():
        if name not in by_name:
            raise PlanChanged(_gone(name))
        for shape in shapes:
            _still_replays(by_name[name], shape)
    for name, playbook in by_name.items():
        locked = {(shape.patches, shape.commands) for shape in lock.get(name, [])}
        for shape in variants(playbook).values():
            if (shape.patches, shape.commands) not in locked:
                raise PlanChanged(f"{name} has a new shape ({shape.variant}): lock it with `./holdfast plans lock`")


def locked(lock: Lock, playbooks: Sequence[type[Playbook]] = PLAYBOOKS) -> Lock:
    """The lock with today's shapes added. Old shapes stay until they are forgotten.

    Raises:
        PlanChanged: an old shape would not replay any more.
    """
    grown: Lock = {name: list(shapes) for name, shapes in lock.items()}
    by_name = {name_of(playbook): playbook for playbook in playbooks}
    for name, shapes in grown.items():
        if name in by_name:
            for shape in shapes:
                _still_replays(by_name[name], shape)
    for name, playbook in by_name.items():
        shapes = grown.setdefault(name, [])
        have = {(shape.patches, shape.commands) for shape in shapes}
        shapes += [each for each in variants(playbook).values() if (each.patches, each.commands) not in have]
    return grown


def write(lock: Lock, path: Path = LOCK) -> None:
    """Write the lock, one shape a line, so that a change reads well in a diff."""
    lines = []
    for name in sorted(lock):
        shapes = ",\n".join("    " + json.dumps(_as_json(each)) for each in lock[name])
        lines.append(f"  {json.dumps(name)}: [\n{shapes}\n  ]")
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def _as_json(shape: Shape) -> dict[str, object]:
    return {"variant": shape.variant, "plan": shape.plan, "patches": shape.patches, "commands": shape.commands}


def _still_replays(playbook: type[Playbook], shape: Shape) -> None:
    try:
        now = {each.commands for each in variants(playbook, shape.patches).values()}
    except RehearsalError as error:
        raise PlanChanged(f"{name_of(playbook)}: {error}") from None
    if shape.commands not in now:
        nearest = min(now, key=lambda each: _distance(each, shape.commands), default=())
        raise PlanChanged(_lesson(name_of(playbook), shape, nearest))


def _distance(one: tuple[str, ...], other: tuple[str, ...]) -> float:
    return 1 - difflib.SequenceMatcher(None, one, other).ratio()


def _lesson(name: str, shape: Shape, now: tuple[str, ...]) -> str:
    gone = [each[2:] for each in difflib.ndiff(shape.commands, now) if each.startswith("- ") and "do " in each]
    new = [each[2:] for each in difflib.ndiff(shape.commands, now) if each.startswith("+ ") and "do " in each]
    steps = [each.removeprefix("do ") for each in (*new, *gone)]
    step = next((each for each in steps if not each.endswith("-look")), steps[0] if steps else "the_step")
    patch = f"{step.replace('_', '-')}-{'new' if new else 'gone'}"
    what = "; ".join(
        part
        for part in (
            f"new: {', '.join(each.removeprefix('do ') for each in new)}" if new else "",
            f"gone: {', '.join(each.removeprefix('do ') for each in gone)}" if gone else "",
        )
        if part
    )
    holds = f'if workflow.patched("{patch}") else None' if new else f'if not workflow.patched("{patch}") else None'
    return (
        f"{name}: runs that sleep under the plan {shape.variant!r} would not replay ({what or 'another order'}). "
        f"Keep the old plan for them, in run():\n    on_day(..., self.{step}) {holds}\n"
        "then `./holdfast plans lock`. docs/authoring.md has a row for every kind of edit."
    )


def _gone(name: str) -> str:
    return (
        f"the playbook {name} is locked but not in workflows/__init__.py: keep it there while `./holdfast versions` "
        f"shows open runs of it, then forget it with `./holdfast plans forget {name}`"
    )
