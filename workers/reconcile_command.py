"""`holdfast reconcile` as a command: what is said, and the exit code."""

import json
import sys
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console

from workers.console import AsJson, complain, run


def reconcile_command(
    as_json: AsJson = False,
    apply: Annotated[bool, typer.Option("--apply", help="Mend what is found.")] = False,
    since: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="How far back, a day (UTC); 30 days, as far as Stripe's events go."),
    ] = None,
) -> None:
    """Compare the database with Stripe, Temporal and SendGrid, both ways, and say each difference in a sentence.

    Stripe's events and the inbox; unpaid invoices and cases; our charges and Stripe's; restricted accounts and what
    they owe; coupons and accepted offers; mails, where SendGrid's activity may be asked; runs and their rows.

    With --apply each is mended by the ways there are: rows of the inbox that the relay carries, or a task for a person
    where no machine may decide. Nothing is charged or mailed by this command itself. A second --apply finds nothing.
    After a database was put back from a copy: run it with relay and worker stopped, then start them.

    --json prints a line for each difference, and a last one with the counts.
    Exit code 0 if there is no difference, 1 if there are, 2 if the settings will not do.
    """
    from models.policy import PolicyFile
    from models.tables import wall
    from workers.connect import connect
    from workers.databases import open_database
    from workers.differences import Difference, Sides
    from workers.processes import outside_world
    from workers.reconcile import reconcile
    from workers.relay import Relay
    from workers.routing import Router
    from workers.settings import Settings
    from workers.sweep import REACH

    settings = Settings()
    problems = settings.problems()
    if problems:
        for problem in problems:
            complain(problem)
        raise typer.Exit(2)
    console = Console(soft_wrap=True, highlight=False)

    def tell(difference: Difference) -> None:
        if as_json:
            said = {"kind": difference.kind, "what": difference.what, "mend": difference.mend, "applied": apply}
            sys.stdout.write(json.dumps(said) + "\n")
        else:
            done = "Applied" if apply else "--apply would"
            console.print(f"{difference.kind}: {difference.what}. {done}: {difference.mend}.", markup=False)

    def under_way(name: str) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"comparing {name} ...\n")

    async def work() -> int:
        client = await connect(settings)
        policy = PolicyFile.read(settings.holdfast_policy)
        async with open_database(settings) as database, outside_world(settings, database) as world:
            begin = since.replace(tzinfo=UTC) if since else wall() - REACH
            sides = Sides(database, world.stripe, client, world.look_ups, policy, settings.livemode, begin)
            relay = None
            if apply:
                ask, learn = world.billing.customer_of_charge, world.billing.learn_account
                relay = Relay(database, client, Router(policy), ask, learn_account=learn)
            found = await reconcile(sides, tell, under_way, relay)
        total = sum(found.differences.values())
        if as_json:
            counts = {"looked_at": sides.looked_at, "notes": sides.notes, "differences": found.differences}
            sys.stdout.write(json.dumps({**counts, "mended": found.mended}) + "\n")
            return 1 if total else 0
        for note in sides.notes:
            console.print(f"Note: {note}.", markup=False)
        looked = ", ".join(f"{count:,} {name}" for name, count in sorted(sides.looked_at.items()))
        mended = f", {found.mended} mended" if apply else ""
        console.print(f"{total} differences{mended}; {looked or 'nothing to compare'}.", markup=False)
        return 1 if total else 0

    run(work())
