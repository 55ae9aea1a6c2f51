"""`python -m tests.crash`: crash enumeration, ending with one line of JSON (`make crash`)."""

import argparse
import asyncio
import itertools
import json
import logging
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import structlog
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter

from models.database import Database
from simulator.running import simulator_running
from tests.crash.enumeration import Enumeration, Tally
from tests.crash.paid import NEWS, paid_at_every_point
from tests.crash.stage import Stage, stage
from tests.crash.stories import PAIRS_OF, stories
from workers import migrate
from workers.temporal_process import running_server
from workers.temporal_server import find
from workflows.visible import SEARCH_ATTRIBUTES

MEMORY: Final = Path("/dev/shm")
"""Where there is one, databases live in memory: power cuts are not what is looked for here."""
SHOWN: Final = 50
"""So many violations are written out; after that they are counted."""


@asynccontextmanager
async def a_stage() -> AsyncIterator[Stage]:
    """A stage with a server and a simulator of its own."""
    found = await find(need_time_skipping=True)
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        url = f"sqlite:///{Path(folder) / 'crash.db'}"
        database = Database(url)
        await migrate.upgrade(database)
        await database.close()
        # Crashes are meant; what the SDK says of them would bury what we look for.
        quiet = LoggingConfig(filter=TelemetryFilter(core_level="ERROR", other_level="ERROR"))
        runtime = Runtime(telemetry=TelemetryConfig(logging=quiet))
        async with (
            running_server(
                found,
                search_attributes=SEARCH_ATTRIBUTES,
                skip_time=True,
                fast_timers=True,
                metrics_port=0,
                log=Path(folder) / "temporal.log",
            ) as server,
            simulator_running() as simulator,
        ):
            client = await Client.connect(server.address, data_converter=pydantic_data_converter, runtime=runtime)
            async with stage(client, simulator, url) as place:
                yield place


async def work(asked: argparse.Namespace, which: int) -> Tally:
    """This process's share of every point of the stories asked for, then of every pair."""
    tally = Tally()

    def progress(line: str) -> None:
        sys.stderr.write(f"{line}; {len(tally.violations)} violations\n")

    wanted = [story for story in stories() if asked.playbook in ("", story.playbook, str(story))]
    async with a_stage() as place:
        for story in wanted if asked.pairs != "only" else []:
            await Enumeration(place, story, tally, progress, (which, asked.jobs), asked.most).points()
        for story in wanted if asked.pairs != "none" else []:
            if str(story) == PAIRS_OF:
                await Enumeration(place, story, tally, progress, (which, asked.jobs), asked.most).pairs()
        if asked.paid and asked.playbook in ("", "payment-failure"):
            for news in NEWS:
                points = itertools.count(1 + which, asked.jobs)
                mine = itertools.takewhile(lambda point: not asked.most or point <= asked.most, points)
                tried, wrong = await paid_at_every_point(place, news, mine, progress)
                tally.paid += tried
                tally.violations += wrong
    return tally


async def together(jobs: int, arguments: list[str]) -> Tally:
    """The whole work in so many processes, each with its own server and simulator."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    running = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.crash", *arguments, "--which", str(which), stdout=-1, env=environment
        )
        for which in range(jobs)
    ]
    whole = Tally()
    for said, _ in await asyncio.gather(*(each.communicate() for each in running)):
        if not said:
            whole.violations.append("one of the processes ended without a result; see above")
            continue
        part = json.loads(said)
        whole.points += part["points"]
        whole.pairs += part["pairs"]
        whole.paid += part["paid"]
        whole.in_doubt += part["in_doubt"]
        whole.leapt += part["leapt"]
        whole.violations += part["violations"]
        whole.names.update(part["names"])
        whole.expected |= Counter(part["expected"])
    return whole


def main() -> int:
    """1 when anything broke."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--playbook", default="", help="only this playbook, or only this story (playbook/story)")
    parser.add_argument("--most", type=int, default=0, help="only so many points of each story")
    parser.add_argument("--pairs", choices=("all", "none", "only"), default="all")
    parser.add_argument("--no-paid", dest="paid", action="store_false", help="without paying at every event")
    parser.add_argument("--jobs", type=int, default=2, help="processes; each takes a core")
    parser.add_argument("--which", type=int, default=None, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    logging.getLogger("temporalio").setLevel(logging.CRITICAL)
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    if asked.which is not None:
        sys.stdout.write(json.dumps(vars(asyncio.run(work(asked, asked.which)))))
        return 0
    begun = time.monotonic()
    tally = asyncio.run(together(asked.jobs, sys.argv[1:]))
    for violation in tally.violations[:SHOWN]:
        sys.stderr.write(f"{violation}\n")
    # Points are told by their number; that each kind of them really fired as often as it is there is told by name.
    unreached = Counter() if asked.most or asked.pairs == "only" else tally.expected - tally.names
    for name, count in sorted(unreached.items()):
        sys.stderr.write(f"never died at: {name} ({count} times)\n")
    figures: dict[str, Any] = {
        "points": tally.points,
        "pairs": tally.pairs,
        "paid_at": tally.paid,
        "violations": len(tally.violations),
        "in_doubt": tally.in_doubt,
        "leapt": tally.leapt,
        "unreached": unreached.total(),
        "seconds": round(time.monotonic() - begun),
    }
    sys.stdout.write(json.dumps(figures) + "\n")
    return 1 if tally.violations or not tally.points + tally.pairs + tally.paid else 0


if __name__ == "__main__":
    sys.exit(main())
