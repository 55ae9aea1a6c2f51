"""`python -m tests.sim --seeds N`: so many worlds, in two processes; ends with one line of JSON on standard output.

Exit code 1 if an invariant did not hold, or if in 2,000 worlds or more some kind of fault never struck or a playbook
never ran. A world that fails is made smaller and kept in tests/sim/found, from where the suite plays it again for ever.
"""

import argparse
import json
import multiprocessing
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Final

from tests.sim.script import FAULTS, OUTAGES
from tests.sim.share import share
from tests.sim.world import NAMES

FOUND: Final = Path(__file__).parent / "found"
WHOLE: Final = 2_000
"""So many worlds have to meet every kind of fault and every playbook; fewer may miss some."""


def main(arguments: list[str] | None = None) -> int:
    """Play; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=WHOLE, help="how many worlds")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--found", type=Path, default=FOUND, help="where failing worlds are kept")
    given = parser.parse_args(arguments)
    started = time.monotonic()
    seeds = range(given.first, given.first + given.seeds)
    shares = [seeds[number :: given.processes] for number in range(given.processes)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(given.processes, mp_context=context) as pool:
        parts = list(pool.map(share, [(share, given.found) for share in shares]))
    return _sum_up(parts, given.seeds, round(time.monotonic() - started, 1))


def _sum_up(parts: list[dict[str, Any]], seeds: int, seconds: float) -> int:
    fired, playbooks, endings = Counter[str](), Counter[str](), Counter[str]()
    for part in parts:
        fired.update(part["fired"])
        playbooks.update(part["playbooks"])
        endings.update(part["endings"])
    wanted = {f"{where}:{kind}" for where, (_, kinds) in FAULTS.items() for kind in kinds} | set(OUTAGES)
    never = sorted(wanted - fired.keys())
    missing = sorted(NAMES.keys() - playbooks.keys())
    violations = sum(part["violations"] for part in parts)
    summary = {
        "seeds": seeds,
        "steps": sum(part["steps"] for part in parts),
        "faults": sum(fired.values()),
        "violations": violations,
        "kinds_of_faults": len(fired),
        "never_struck": never,
        "never_ran": missing,
        "replays": sum(part["replays"] for part in parts),
        "runs": dict(sorted(playbooks.items())),
        "ways_to_end": len(endings),
        "cpu_seconds": round(sum(part["cpu_seconds"] for part in parts)),
        "seconds": seconds,
    }
    sys.stdout.write(json.dumps(summary) + "\n")
    return 1 if violations or (seeds >= WHOLE and (never or missing)) else 0


if __name__ == "__main__":
    sys.exit(main())
