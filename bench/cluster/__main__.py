"""`python -m bench.cluster`: a crowd's months on the shape of production (`make cluster`).

The real Temporal server with several history shards and our own tables on one PostgreSQL; two workers, two receivers
behind a balancer, two relays, which know of one another by the database and Temporal alone. Ends with one line of JSON;
exit code 1 when something does not hold.
"""

import argparse
import asyncio
import json
import logging
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import structlog
from sqlmodel import select

from bench.chaos.play import months, rest, settle_doubts
from bench.chaos.stage import Stage, stage
from bench.chaos.verdict import reckon, show
from bench.cluster.server import CannotBuild
from models.tables import CaseRow

ASKED: Final = 60
"""Of so many runs it is read from the history which worker took their steps."""


async def cluster(cases: int, seed: int, shards: int, minutes: float) -> tuple[dict[str, Any], bool]:
    """One run: the figures, and whether all of it holds."""
    folder = Path(tempfile.mkdtemp(prefix="holdfast-cluster-"))
    began = time.monotonic()
    async with stage(folder, seed, shards) as place:
        started = time.monotonic()
        begun = await months(place, cases, seed, started + minutes * 60)
        problems = [f"{cases - begun} cases never began: more --minutes"] if begun < cases else []
        took = time.monotonic() - started
        rested: float | None = None
        try:
            rested = await rest(place)
        except TimeoutError as error:
            problems.append(str(error))
        await settle_doubts(place)
        found = await reckon(place, [])
        workers = await _steps_by_worker(place)
        restarts = [f"{each.name} died {each.child.restarts} times" for each in place.ours if each.child.restarts]
    problems += found.complaints
    problems += [] if len(workers) == 2 else [f"{len(workers)} of 2 workers took a step"]
    problems += restarts
    figures = {
        "shards": shards,
        "workers": len(workers),
        "receivers": 2,
        "relays": 2,
        **found.figures,
        "steps_by_worker": sorted(workers.values()),
        "at_rest_after_s": rested,
        "cases_per_s": round(found.cases / took, 2),
        "seconds": round(time.monotonic() - began),
        "problems": len(problems),
    }
    show(problems, folder)
    return figures, not problems


async def _steps_by_worker(place: Stage) -> Counter[str]:
    """How many steps of some runs each worker took."""
    async with place.database.reading() as session:
        asked = (await session.exec(select(CaseRow.id).limit(ASKED))).all()
    found: Counter[str] = Counter()
    for case in asked:
        history = await place.client.get_workflow_handle(case).fetch_history()
        found.update(
            event.activity_task_started_event_attributes.identity
            for event in history.events
            if event.HasField("activity_task_started_event_attributes")
        )
    return found


def main() -> int:
    """Read the options, run, judge."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.cluster", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=400)
    parser.add_argument("--shards", type=int, default=4, help="history shards; cannot be changed once data is there")
    parser.add_argument("--seed", type=int, default=1, help="the same seed is the same people")
    parser.add_argument("--minutes", type=float, default=20, help="no new cases begin after so long")
    told = parser.parse_args()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    logging.getLogger("temporalio").setLevel(logging.ERROR)
    try:
        figures, holds = asyncio.run(cluster(told.cases, told.seed, told.shards, told.minutes))
    except CannotBuild as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(json.dumps(figures) + "\n")
    sys.stdout.flush()
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
