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
    """The shape of each variant of a playbook, by a name for it; with only these patches known, or as of today.

    Its `patches` are those that the code asked for and had.
    """
    found: dict[str, Shape] = {}
    known: set[tuple[tuple[str, ...], tuple[str, ...]]] = set()
    for segment, start in product(SEGMENTS, playbook.starts_on):
        for value in start.values or ("",):
            case = sample_case(playbook, Policy(), about(segment), BEGAN, value=value, trigger=start.fact)
            if playbook.refuses(case):
                continue
            run, _ = rehearsed(playbook, case, about(segment), BEGAN, patches=patches)
            name = "/".join(part for part in (segment, start.fact, value) if part)
            done = (tuple(dict.fromkeys(run.patches)), tuple(run.commands))
            if done not in known:
                known.add(done)
                found[name] = Shape(name, run.moments[-1].batch.plan, *done)
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
    name = name_of(playbook)
    try:
        now = variants(playbook, shape.patches).values()
    except RehearsalError as error:
        raise PlanChanged(f"{name}: {error}") from None
    asked = [set(each.patches) for each in now if each.commands == shape.commands]
    if not asked:
        nearest = min((each.commands for each in now), key=lambda each: _distance(each, shape.commands), default=())
        raise PlanChanged(_lesson(name, shape, nearest))
    # A patch is in the history of the runs that took it, and code that never asks for it does not replay them.
    missing = min((set(shape.patches) - each for each in asked), key=len)
    if missing:
        raise PlanChanged(_patch_gone(name, missing))


def _distance(one: tuple[str, ...], other: tuple[str, ...]) -> float:
    return 1 - difflib.SequenceMatcher(None, one, other).ratio()


def _lesson(name: str, shape: Shape, now: tuple[str, ...]) -> str:
    differences = list(difflib.ndiff(shape.commands, now))
    gone = [each.removeprefix("- do ") for each in differences if each.startswith("- do ")]
    new = [each.removeprefix("+ do ") for each in differences if each.startswith("+ do ")]
    said = (f"new: {', '.join(new)}" if new else "", f"gone: {', '.join(gone)}" if gone else "")
    return (
        f"{name}: runs that sleep under the plan {shape.variant!r} would not replay "
        f"({'; '.join(filter(None, said)) or 'another order'}). Keep the old plan for them, in run():\n"
        + "".join(f"    {line}\n" for line in _guarded(*_steps_of(gone, new)))
        + "then `./holdfast plans lock`. docs/authoring.md has a row for every kind of edit."
    )


def _steps_of(gone: Sequence[str], new: Sequence[str]) -> tuple[list[str], list[str]]:
    """The steps behind these commands. Where only the look before a step came or went, it has another form now."""
    reshaped = [
        each.removesuffix("-look")
        for side in (gone, new)
        for each in side
        if each.endswith("-look") and each.removesuffix("-look") not in side
    ]
    was, comes = (
        list(dict.fromkeys([*(each for each in side if not each.endswith("-look")), *reshaped])) for side in (gone, new)
    )
    return was, comes


def _guarded(gone: Sequence[str], new: Sequence[str]) -> list[str]:
    """The lines to write: a step that came or went has one, a step that moved or changed its form has both."""
    if not gone and not new:
        gone = new = ["the_step"]
    was, comes = (gone or new)[0], (new or gone)[0]
    word = "new" if not gone else "gone" if not new else "changed" if was == comes else f"for-{was}"
    patch = f"{comes}-{word}".replace("_", "-")
    form = ("  # as it is now", "  # as it was") if was == comes and gone and new else ("", "")
    now = [f'on_day(..., self.{comes}) if workflow.patched("{patch}") else None,{form[0]}'] if new else []
    then = [f'on_day(..., self.{was}) if not workflow.patched("{patch}") else None,{form[1]}'] if gone else []
    return now + then


def _patch_gone(name: str, patches: Iterable[str]) -> str:
    lines = "".join(f'    workflow.deprecate_patch("{each}")\n' for each in sorted(patches))
    return (
        f"{name}: runs that sleep have taken the patch {', '.join(sorted(patches))}, which the code does not ask for "
        f"any more. Until they have ended, write in its place, in run():\n{lines}"
    )


def _gone(name: str) -> str:
    return (
        f"the playbook {name} is locked but not in workflows/__init__.py: keep it there while `./holdfast versions` "
        f"shows open runs of it, then forget it with `./holdfast plans forget {name}`"
    )
