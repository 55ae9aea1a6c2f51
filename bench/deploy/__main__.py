"""`python -m bench.deploy`: 200 sleeping runs of five playbooks meet a deploy that edits all of them."""

import argparse
import asyncio
import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError

from bench.deploy.edits import NEEDS_PATCH, NO_PATCH, apply
from models.customers import Contract
from models.database import Database
from models.tables import EffectRow
from simulator.running import simulator_running
from tests.playbook_kit import Kit
from tests.town import LINK_SECRET, PUBLIC_URL, WEBHOOK_SECRET, Town, town
from workers import migrate
from workers.connect import TASK_QUEUE
from workers.supervisor import Child, children
from workers.temporal_process import running_server
from workers.temporal_server import find
from workflows.visible import SEARCH_ATTRIBUTES

ROOT: Final = Path(__file__).parents[2]
CODE: Final = ("models", "workflows", "activities", "workers", "web", "emails", "migrations", "simulator")
AT_ONCE: Final = 6
DAYS: Final = {"payment-failure": 29, "usage-decline": 20, "renewal": 118, "onboarding": 44, "win-back": 29}
"""How many days after its start a run of each playbook may sleep when the deploy comes."""


@dataclass
class Sleeper:
    """A run that began before the deploy: its plan then."""

    case: str
    playbook: str
    plan: list[str] = field(default_factory=list)


async def main() -> int:
    """Run the drill; 1 if a figure does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200, help="how many runs sleep when the deploy comes")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="holdfast-deploy-") as folder:
        figures = await drill(Path(folder), asked.runs, random.Random(asked.seed))
    holds = not (figures["stuck_tasks"] or figures["missed"] or figures["repeated"] or figures["unfinished"])
    holds = holds and figures["new_runs_on_the_new_plan"] == len(DAYS) and figures["edited_effects"] > 0
    sys.stdout.write(json.dumps({"bench": "deploy-drill", **figures, "holds": holds}) + "\n")
    return 0 if holds else 1


async def drill(folder: Path, runs: int, rng: random.Random) -> dict[str, Any]:
    """Start runs under the code as it is, deploy the edited code over them, let them finish."""
    copy = edited_checkout(folder)
    count = apply(copy, NO_PATCH) + apply(copy, NEEDS_PATCH)
    url = f"sqlite:///{folder / 'holdfast.db'}"
    database = Database(url)
    await migrate.upgrade(database)
    await database.close()
    found = await find(need_time_skipping=True)
    async with (
        running_server(
            found, search_attributes=SEARCH_ATTRIBUTES, skip_time=True, fast_timers=True, log=folder / "temporal.log"
        ) as server,
        simulator_running() as simulator,
    ):
        client = await Client.connect(server.address, data_converter=pydantic_data_converter)
        async with town(client, simulator, url, task_queue=TASK_QUEUE) as place:
            await place.worker.shutdown()
            env = environment(url, server.address, simulator.url)
            async with old_worker(folder, env):
                say(f"{runs} runs begin under the code as it is")
                sleepers = await begin(Kit(place), runs)
                await each(sleepers, lambda one: put_to_sleep(place, one, rng))
            locked = plans(copy, "lock")
            say(f"{count} edits are deployed over them; the plan lock says: {locked}")
            new = Child(
                "new-worker", ["-P", "-m", "workers", "worker"], {**env, "PYTHONPATH": str(copy)}, folder / "new.log"
            )
            async with children(new):
                done = Counter[str]()

                async def finish(one: Sleeper) -> None:
                    await awake(place, one)
                    done["finished"] += 1
                    if done["finished"] % 20 == 0:
                        say(f"{done['finished']} of {runs} runs are at their end")

                await each(sleepers, finish)
                fresh = await begin(Kit(place), len(DAYS))
                await each(fresh, lambda one: awake(place, one))
                return {
                    "runs": runs,
                    "playbooks": len(DAYS),
                    "edits": count,
                    **await judge(place, sleepers),
                    "new_runs_on_the_new_plan": sum([await follows_the_new_plan(place, one) for one in fresh]),
                    "edited_effects": await edited_effects(place),
                }


def environment(url: str, address: str, outside: str) -> dict[str, str]:
    """Settings of the workers."""
    return {
        "DATABASE_URL": url,
        "TEMPORAL_ADDRESS": address,
        "STRIPE_API_KEY": "sk_test_drill",
        "STRIPE_API_BASE": outside,
        "STRIPE_WEBHOOK_SECRETS": WEBHOOK_SECRET,
        "SENDGRID_API_KEY": "SG.drill",
        "SENDGRID_API_BASE": outside,
        "PRODUCT_WEBHOOK_URL": f"{outside}/product/access",
        "PRODUCT_WEBHOOK_SECRET": "whsec_dG93bg==",
        "PRODUCT_WEBHOOK_PRIVATE": "true",
        "PUBLIC_URL": PUBLIC_URL,
        "LINK_SECRET": LINK_SECRET,
    }


@asynccontextmanager
async def old_worker(folder: Path, env: dict[str, str]) -> AsyncIterator[None]:
    """The worker of before, from this checkout."""
    log = folder / "old.log"
    async with children(Child("old-worker", ["-P", "-m", "workers", "worker"], {**env, "PYTHONPATH": str(ROOT)}, log)):
        yield


def edited_checkout(folder: Path) -> Path:
    """A copy of the code, to be edited."""
    copy = folder / "checkout"
    for name in CODE:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def plans(copy: Path, what: str) -> str:
    """What `holdfast plans` says in a checkout; it refuses if a locked plan would not replay."""
    asked = subprocess.run(
        [sys.executable, "-m", "workers", "plans", what],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode:
        raise RuntimeError(f"plans {what}: {asked.stderr}")
    return asked.stdout.strip()


async def begin(kit: Kit, runs: int) -> list[Sleeper]:
    """As many runs of each playbook, for accounts of every segment."""
    sleepers = []
    for number in range(runs):
        playbook = list(DAYS)[number % len(DAYS)]
        sleepers.append(Sleeper(await STARTS[playbook](kit, number), playbook))
    return sleepers


async def payment_failure(kit: Kit, number: int) -> str:
    return (await kit.place.payment_fails("insufficient_funds")).case


async def usage_decline(kit: Kit, number: int) -> str:
    account = await kit.account(segment=SEGMENTS[number % 3], health=50)
    await kit.use(account, "activity", 10, days=(-28, -14), today=kit.today())
    value = "severe" if number % 2 else "moderate"
    return (await kit.start("usage.declined", account, value=value)).case


async def renewal(kit: Kit, number: int) -> str:
    account = await kit.account(segment=SEGMENTS[number % 3], health=60 + number % 20)
    renews_on = kit.today() + timedelta(days=121)
    await kit.add(Contract(id=f"ct_{account}", account_id=account, renews_on=renews_on, value=1_200_000))
    return (await kit.start("renewal.ahead", account, subject=f"ct_{account}/{renews_on}", at_stake=1_200_000)).case


async def onboarding(kit: Kit, number: int) -> str:
    segment = SEGMENTS[number % 3]
    account = await kit.account(segment=segment)
    if segment == "starter":
        return (await kit.start("user.signed_up", account)).case
    record = dict.fromkeys(("goals", "stakeholders", "promised", "terms", "technical_contact"), "known")
    return (await kit.start("handoff.completed", account, **record)).case


async def win_back(kit: Kit, number: int) -> str:
    account = await kit.account(segment=SEGMENTS[number % 3])
    return (await kit.start("subscription.cancelled", account)).case


SEGMENTS: Final = ("starter", "mid", "enterprise")
STARTS: Final = {
    "payment-failure": payment_failure,
    "usage-decline": usage_decline,
    "renewal": renewal,
    "onboarding": onboarding,
    "win-back": win_back,
}


async def put_to_sleep(place: Town, one: Sleeper, rng: random.Random) -> None:
    """Let a run go on to some moment of its calendar, and note its plan."""
    await place.skipper.fast_forward(place.run(one.case), timedelta(hours=rng.uniform(1, DAYS[one.playbook] * 24)))
    one.plan = [step["name"] for step in await place.run(one.case).query("plan")]


async def awake(place: Town, one: Sleeper) -> None:
    """Let a run go on to its end."""
    with contextlib.suppress(RPCError):
        await place.skipper.fast_forward(place.run(one.case))
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(place.run(one.case).result(), 60)


async def each(sleepers: list[Sleeper], work: Any) -> None:
    """Do something to every run, a few at once."""
    limit = asyncio.Semaphore(AT_ONCE)

    async def one_of(one: Sleeper) -> None:
        async with limit:
            await work(one)

    await asyncio.gather(*(one_of(one) for one in sleepers))


async def judge(place: Town, sleepers: list[Sleeper]) -> dict[str, int]:
    """From the histories: tasks that got stuck, steps missed or repeated, runs that did not end."""
    stuck = missed = repeated = unfinished = steps = 0
    for one in sleepers:
        history = await place.run(one.case).fetch_history()
        kinds = Counter(event.event_type for event in history.events)
        stuck += kinds[EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED]
        unfinished += not kinds[EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED]
        taken = Counter(name for name, held in carried_out(history) if not held)
        steps += len(one.plan)
        missed += sum(1 for name in one.plan if not taken[name])
        repeated += sum(1 for name in one.plan if taken[name] > 1)
        if taken.keys() & {"added_first", "added_middle", "added_last"}:
            repeated += 1
    return {"steps": steps, "stuck_tasks": stuck, "missed": missed, "repeated": repeated, "unfinished": unfinished}


def carried_out(history: WorkflowHistory) -> Iterator[tuple[str, bool]]:
    """Each batch a run had answered: the step's name, and whether the step was only held back for its hour."""
    scheduled = {
        event.event_id: event.activity_task_scheduled_event_attributes.activity_id.rpartition("-")[0]
        for event in history.events
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
    }
    for event in history.events:
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
            answer = event.activity_task_completed_event_attributes
            outcome = json.loads(answer.result.payloads[0].data)
            yield scheduled[answer.scheduled_event_id], outcome["wait_until"] is not None


async def follows_the_new_plan(place: Town, one: Sleeper) -> bool:
    """Whether a run that began after the deploy has the new steps: else the drill deployed nothing."""
    history = await place.run(one.case).fetch_history()
    return any(name.startswith("added_") for name, _ in carried_out(history))


async def edited_effects(place: Town) -> int:
    """Effects that only the edited code has."""
    rows = await place.rows(EffectRow)
    return sum(row.title in ("One effect more", "Added by the deploy", "E-mail usage.self_book") for row in rows)


def say(text: str) -> None:
    """Progress, for people."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
