"""Playing worlds one after the other: what came of each, and a failing one made smaller."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from tests.sim import beginning, operators
from tests.sim.invariants import Checker, at_rest
from tests.sim.runs import Broken
from tests.sim.script import Script
from tests.sim.world import World


@dataclass
class Played:
    """What came of a world. `violation` is empty where everything held."""

    steps: int = 0
    violation: str = ""
    trace: str = ""
    fired: Counter[str] = field(default_factory=Counter)
    playbooks: Counter[str] = field(default_factory=Counter)
    endings: Counter[str] = field(default_factory=Counter)
    replays: int = 0


def play(script: Script) -> Played:
    """Play one world to its rest."""
    world = World(script, Checker())

    async def all_of_it() -> str:
        try:
            await world.play(operators.do, beginning.begin, at_rest)
        except Broken as broken:
            return str(broken)
        return ""

    violation = asyncio.run(all_of_it())
    runs = world.temporal.runs.values()
    return Played(
        world.steps,
        violation,
        world.trace,
        world.fired,
        Counter(run.case.playbook for run in runs),
        Counter(f"{run.case.playbook}: {run.ending.outcome}" for run in runs if run.ending),
        world.temporal.replays,
    )


def shrink(script: Script, fails: Callable[[Script], bool], most: int = 40) -> Script:
    """The script with everything left out that is not needed for it to fail, as far as `most` tries go."""
    tries = 0
    smaller = True
    while smaller:
        smaller = False
        for candidate in _smaller(script):
            tries += 1
            if tries > most:
                return script
            if fails(candidate):
                script, smaller = candidate, True
                break
    return script


def _smaller(script: Script) -> Iterator[Script]:
    """Scripts with one thing less, the largest steps first."""
    half = len(script.acts) // 2
    if half > 1:
        yield replace(script, acts=script.acts[:half])
        yield replace(script, acts=script.acts[half:])
    for number in range(len(script.faults)):
        yield replace(script, faults=script.faults[:number] + script.faults[number + 1 :])
    for number in reversed(range(len(script.acts))):
        yield replace(script, acts=script.acts[:number] + script.acts[number + 1 :])
    last = max((act.at_h for act in script.acts), default=0.0)
    if script.hours > last + 24:
        yield replace(script, hours=last + 24 if script.hours > last + 48 else last + 1)
    used = {act.who % len(script.people) for act in script.acts}
    if len(script.people) > 1 and len(script.people) - 1 not in used:
        yield replace(script, people=script.people[:-1])
