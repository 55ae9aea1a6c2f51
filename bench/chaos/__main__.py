"""`python -m bench.chaos`: prints one line of JSON last; exit code 1 when something does not hold."""

import argparse
import asyncio
import json
import logging
import signal
import sys
import tempfile
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import structlog

from bench.chaos.play import months, rest, settle_doubts
from bench.chaos.stage import stage
from bench.chaos.storm import Storm
from bench.chaos.verdict import reckon, show

T = TypeVar("T")
DECK_S = 3.0
"""Seconds from one fault to the next, on average, where there are many cases."""


async def chaos(
    cases: int, seed: int, minutes: float, gap_s: float, *, long_stops: bool, only: str
) -> tuple[dict[str, Any], bool]:
    """One run: the figures, and whether all of it holds."""
    folder = Path(tempfile.mkdtemp(prefix="holdfast-chaos-"))
    began = time.monotonic()
    async with stage(folder, seed) as place:
        storm = Storm(place.parts, place.links, seed, gap_s, long_stops=long_stops, only=only)
        until = time.monotonic() + minutes * 60
        started = time.monotonic()
        # Without any gap there is no storm: what the same people cost in fair weather.
        raging = asyncio.create_task(storm.rage() if gap_s else asyncio.sleep(0))
        begun = await months(place, cases, seed, until)
        await storm.struck()  # with few cases the deck is dealt to its end
        await storm.calm()
        await raging
        stormy_s = time.monotonic() - started
        problems = list(storm.failed)
        rested: float | None = None
        try:
            rested = await rest(place)
        except TimeoutError as error:
            problems.append(str(error))
        settled = await settle_doubts(place)
        found = await reckon(place, storm.faults)
    problems += [f"no fault of the kind {kind}" for kind, count in storm.counted.items() if not count]
    problems += [f"{cases - begun} cases never began: more --minutes"] if begun < cases else []
    problems += found.complaints
    figures = {
        **found.figures,
        "faults": storm.counted,
        "settled_by_mailbox": dict(settled),
        "slowest_settle_s": found.slowest_settle_s,
        "slowest_after": found.slowest_after,
        "at_rest_after_s": rested,
        "cases_per_s": round(found.cases / stormy_s, 2),
        "seconds": round(time.monotonic() - began),
        "seed": seed,
        "problems": len(problems),
    }
    show(problems, folder)
    return figures, not problems


async def _told_to_end(run: Coroutine[Any, Any, T]) -> T:
    """SIGTERM ends the run as Ctrl-C does, so that nothing that it started stays behind."""
    task = asyncio.ensure_future(run)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


def main() -> int:
    """Read the options, run, judge."""
    parser = argparse.ArgumentParser(prog="python -m bench.chaos", description=__doc__)
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1, help="the same seed is the same storm and the same people")
    parser.add_argument("--minutes", type=float, default=45, help="no new cases begin after so long")
    parser.add_argument("--gap", type=float, default=DECK_S, help="seconds from one fault to the next, on average")
    parser.add_argument("--only", default="", help="only faults with these words, such as 'kill temporal'")
    parser.add_argument("--short-stops", action="store_true", help="no stop outlasts what the others wait for")
    told = parser.parse_args()
    structlog.configure(
        processors=[
            structlog.processors.TimeStamper(fmt="%H:%M:%S"),
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    logging.getLogger("temporalio").setLevel(logging.ERROR)
    run = chaos(told.cases, told.seed, told.minutes, told.gap, long_stops=not told.short_stops, only=told.only)
    figures, holds = asyncio.run(_told_to_end(run))
    sys.stdout.write(json.dumps(figures) + "\n")
    sys.stdout.flush()
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
