"""What our own people do, and what befalls them: leads, schedules, outages, deploys. And the way to do any act."""

import contextlib
from datetime import UTC, timedelta
from typing import Any

from temporalio.testing import ActivityEnvironment

from models import holds
from models.scans import Scan
from simulator.errors import ApiError
from tests.sim.acts import DOES, act
from tests.sim.runs import Run
from tests.sim.script import Act
from tests.sim.world import Customer, World
from workers.sweep import sweep


async def do(world: World, what: Act) -> None:
    """Do whatever it is, as far as Stripe lets them."""
    with contextlib.suppress(ApiError):
        happens = DOES[what.what](world, world.people[what.who % len(world.people)], what)
        if happens is not None:
            await happens


@act("usage_scan", "renewal_scan", "card_scan")
async def scan(world: World, who: Customer, what: Act) -> None:
    """A daily scan runs."""
    which: Any = {"usage_scan": "usage", "renewal_scan": "renewals", "card_scan": "cards"}[what.what]
    asked = Scan(which=which, day=world.clock.now.date(), window=1000)
    if not world.database_down and not world.temporal.away:
        await ActivityEnvironment().run(world.rig.our.scans.scan, asked)


# Leads.


def _a_run(world: World, who: Customer, what: Act) -> Run | None:
    mine = [run for run in world.temporal.runs.values() if run.case.account == who.id and not run.closed]
    return mine[int(what.arg or 0) % len(mine)] if mine else None


@act("pause", "resume", "snooze", "skip", "end", "answer")
async def steer(world: World, who: Customer, what: Act) -> None:
    """A lead says something to a run."""
    run = _a_run(world, who, what)
    if run is None or world.temporal.away or world.temporal.worker_down:
        return
    arguments: tuple[Any, ...] = ()
    if what.what == "snooze":
        arguments = (3,)
    if what.what in ("skip", "answer"):
        world.temporal.in_cache(run)
        if run.code is None:
            return
    if what.what == "skip":
        ahead = run.code._ahead()
        arguments = (ahead[min(1, len(ahead) - 1)].name,) if ahead else ("nothing",)
        world.skipped.add((run.case.id, arguments[0]))
    if what.what == "answer":
        asked = sorted(run.code._open_tasks)
        question = run.code._questions.get(asked[0]) if asked else None
        arguments = (asked[0].split("/")[-2], question.answers[0]) if question else ("nothing", "done")
    world.temporal.update(run, what.what, *arguments)


# Operators, and what befalls them.


@act("hold", "release")
async def stop_switch(world: World, who: Customer, what: Act) -> None:
    """Somebody puts everything, the dunning or one account on hold, or lets it go on."""
    scopes: tuple[tuple[holds.Scope, str], ...] = (("all", ""), ("playbook", "payment-failure"), ("account", who.id))
    scope, name = scopes[int(what.arg or 0) % 3]
    if world.database_down:
        return
    with contextlib.suppress(holds.NotOnHold):
        async with world.database.writing() as session:
            if what.what == "hold":
                await holds.place(session, scope, name, "ana", "something is wrong")
                world.fired["hold"] += 1
            else:
                await holds.release(session, scope, name, "ana")


@act("temporal_down", "database_down", "workers_down")
def outage(world: World, _: Customer, what: Act) -> None:
    """Something is away for some hours."""
    world.fired[what.what] += 1
    if what.what == "temporal_down":
        world.temporal.away = True
    elif what.what == "database_down":
        world.database_down = True
    else:
        world.temporal.worker_down = True
        world.temporal.crash()

    async def over() -> None:
        if what.what == "temporal_down":
            world.temporal.away = False
        elif what.what == "database_down":
            world.database_down = False
        else:
            world.temporal.worker_up()

    world.clock.after(int(what.arg or 1) * 3600, f"{what.what} is over", over)


@act("kill_workers", "deploy", "terminate")
def to_the_workers(world: World, who: Customer, what: Act) -> None:
    """Workers are killed, get new code, or somebody presses Terminate."""
    world.fired[what.what] += 1
    if what.what == "kill_workers":
        world.temporal.crash()
    elif what.what == "deploy":
        world.temporal.deploy()
    else:
        run = _a_run(world, who, what)
        if run:
            world.temporal.terminate(run)


@act("sweep")
async def sweeps(world: World, _: Customer, __: Act) -> None:
    """The hourly sweep."""
    if not world.database_down:
        since = int((world.clock.now - timedelta(days=30)).astimezone(UTC).timestamp())
        with contextlib.suppress(Exception):
            await sweep(world.database, world.rig.our.stripe, livemode=False, since=since)
