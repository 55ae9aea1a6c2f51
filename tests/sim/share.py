"""One process's share of the worlds: play them, count, keep what breaks."""

import gc
import json
import logging
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import structlog

from tests.sim.playing import play, shrink
from tests.sim.script import script_of

MOST_KEPT: Final = 5


def share(what: tuple[range, Path]) -> dict[str, Any]:
    """One process's seeds."""
    silent()
    seeds, found = what
    total: dict[str, Any] = {"steps": 0, "violations": 0, "replays": 0}
    counted = {name: Counter[str]() for name in ("fired", "playbooks", "endings")}
    started = time.monotonic()
    # Worlds are full of cycles; looking for them all the time takes a seventh of it, in all our code each time more.
    gc.disable()
    for number, seed in enumerate(seeds, start=1):
        if number == 2:
            gc.freeze()
        if number % 50 == 0:
            gc.collect()
        played = play(script_of(seed))
        total["steps"] += played.steps
        total["replays"] += played.replays
        for name, counter in counted.items():
            counter.update(getattr(played, name))
        if played.violation:
            total["violations"] += 1
            _say(f"seed {seed}: {played.violation}")
            if total["violations"] <= MOST_KEPT:
                _keep(seed, played.violation, found)
        if number % 100 == 0:
            _say(f"  {number:,} of {len(seeds):,}, {number / (time.monotonic() - started):.1f}/s")
    return total | counted | {"cpu_seconds": time.process_time()}


def _keep(seed: int, violation: str, found: Path) -> None:
    rule = violation.partition(":")[0]
    small = shrink(script_of(seed), lambda script: play(script).violation.partition(":")[0] == rule)
    found.mkdir(parents=True, exist_ok=True)
    path = found / f"{seed}.json"
    path.write_text(json.dumps({"violation": play(small).violation, "script": small.to_json()}, indent=1) + "\n")
    _say(f"  kept as {path}: {len(small.acts)} acts, {len(small.faults)} faults")


def silent() -> None:
    """Outages are meant here; what our code logs about them is not for the terminal."""
    logging.disable(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def _say(line: str) -> None:
    os.write(2, f"{line}\n".encode(errors="replace"))
