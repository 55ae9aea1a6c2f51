"""Commands for those who write and deploy playbooks. Heavy imports wait until a command needs them."""

import asyncio
import json
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from workers.console import AsJson

plans_app = typer.Typer(help="The plan lock: which plans may still be asleep somewhere.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add these commands to the `holdfast` command."""
    for command in (preview, playbooks, versions, replay):
        app.command()(command)
    app.add_typer(plans_app, name="plans")


def preview(
    playbook: Annotated[str, typer.Argument(help="The playbook's name; `holdfast playbooks` lists them.")],
    account: Annotated[str, typer.Option(help="For this account of the database, read only.")] = "",
    policy: Annotated[Path | None, typer.Option(help="With this policy file instead of HOLDFAST_POLICY.")] = None,
    decline: Annotated[str, typer.Option(help="How the card refuses, such as lost_card.")] = "",
    segment: Annotated[str, typer.Option(help="For a sample account of this segment.")] = "",
    value: Annotated[str, typer.Option(help="What the starting fact says, such as severe.")] = "",
    html: Annotated[Path | None, typer.Option(help="Write a page here, with the mails as they will look.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a playbook would do, and when, before it runs. Nothing is sent; no server is needed.

    The real playbook code is rehearsed on skipped time: day, local date and hour, step, who is contacted and how, the
    subject, and each branch that is not taken with its reason.
    """
    from models.policy import PolicyFile
    from workers import authoring
    from workers.preview import About
    from workers.preview import preview as rehearse
    from workers.settings import Settings

    settings = Settings()
    wanted = authoring.playbook_named(playbook)
    about = _about(account) if account else About(segment=segment)
    rules = PolicyFile.read(policy or settings.holdfast_policy).for_segment(about.segment)
    shown = rehearse(wanted, rules, about=about, value=value, decline=decline)
    if html:
        html.write_text(authoring.as_page(shown), encoding="utf-8")
    console = Console(soft_wrap=True, highlight=False)
    if as_json:
        console.print_json(json.dumps(shown.as_json()))
        return
    console.print(f"[bold]{shown.playbook}[/] for {shown.about}; hours are those of {shown.zone}")
    last: tuple[str, datetime] | None = None
    for line in shown.lines:
        if (line.step, line.at) != last:
            last = (line.step, line.at)
            console.print(f"\n[bold]{line.at:%a %d %b %H:%M}[/]  {line.title}  [dim]{line.step}, D+{line.day:g}[/]")
        if line.why_not:
            console.print(f"    [dim]not{': ' + line.what if line.what else ''} - {line.why_not}[/]")
            continue
        template = f"  [dim]{line.template}[/]" if line.template else ""
        console.print(f"    {line.channel} to {line.who}: {line.what}{template}")
        if line.waits:
            console.print(f"        [dim]{line.waits}[/]")
    console.print()
    for reason, outcomes in shown.ends_on.items():
        console.print(f"ends on [bold]{reason}[/]: {', '.join(outcomes)}")
    console.print(f"left to itself it ends: [bold]{shown.outcome}[/]")
    if html:
        console.print(f"The page is at {html}")


def _about(account: str) -> Any:
    from workers import authoring
    from workers.databases import open_database
    from workers.settings import Settings

    async def work() -> Any:
        async with open_database(Settings()) as database:
            return await authoring.about_account(database, account)

    return asyncio.run(work())


def playbooks(
    as_json: AsJson = False,
    write: Annotated[bool, typer.Option("--write", help="Write docs/playbooks.md and its pictures anew.")] = False,
) -> None:
    """The catalogue: every playbook with what starts it, its calendar, what ends it, and its contents."""
    from workers import authoring
    from workers.catalogue import as_json as jsoned
    from workers.catalogue import catalogue

    if write:
        for path in authoring.write_catalogue():
            Console().print(f"wrote {path.relative_to(authoring.ROOT)}")
        return
    entries = catalogue()
    if as_json:
        Console().print_json(json.dumps(jsoned(entries)))
        return
    table = Table("Playbook", "What it is", "Starts on", "Ends on", "Outcomes")
    for entry in entries:
        table.add_row(
            entry.name,
            entry.summary,
            "\n".join(entry.starts_on),
            "\n".join(entry.ends_on),
            "\n".join(entry.outcomes),
        )
    Console().print(table)


@plans_app.command("check")
def check() -> None:
    """Exit code 1 if runs that sleep under a locked plan would not replay, or today's plan is not locked."""
    from workers import plans

    plans.check(plans.read())
    Console().print("Every locked plan replays with the code as it is.")


@plans_app.command("lock")
def lock() -> None:
    """Add today's plans to workflows/plans.lock.json. Refuses where an older plan would not replay any more."""
    from workers import plans

    plans.write(plans.locked(plans.read()))
    Console().print(f"wrote {plans.LOCK.name}")


@plans_app.command("forget")
def forget(
    playbook: Annotated[str, typer.Argument(help="The playbook whose older plans nothing sleeps under any more.")],
) -> None:
    """Take the older plans of a playbook out of the lock. First see that `holdfast versions` shows no run on them."""
    from workers import plans

    kept = {name: shapes for name, shapes in plans.read().items() if name != playbook}
    plans.write(plans.locked(kept))
    Console().print(f"{playbook}: only today's plans are locked")


def versions(as_json: AsJson = False) -> None:
    """How many open runs are on which plan: what a deploy has to reckon with."""
    from workers import authoring
    from workers.databases import open_database
    from workers.settings import Settings

    async def work() -> list[Any]:
        async with open_database(Settings()) as database:
            return list(await authoring.versions(database))

    found = asyncio.run(work())
    if as_json:
        Console().print_json(json.dumps([asdict(each) for each in found]))
        return
    table = Table("Playbook", "Plan", "State", "Open runs", "Oldest")
    for each in found:
        table.add_row(each.playbook, each.plan, each.state, str(each.runs), each.oldest)
    Console().print(table if found else "No run is open.")


def replay(as_json: AsJson = False) -> None:
    """Replay every open run of the namespace against the code as it is here. Exit code 1 if one would get stuck.

    Run it from the checkout that is about to be deployed, with TEMPORAL_ADDRESS of the live server.
    """
    from temporalio.runtime import Runtime, TelemetryConfig

    from workers import authoring
    from workers.connect import connect
    from workers.settings import Settings

    # The SDK logs each failure on standard output, in the midst of what we say of it there.
    Runtime.set_default(Runtime(telemetry=TelemetryConfig(logging=None)))

    async def work() -> authoring.Replayed:
        client = await connect(Settings())
        done = authoring.Replayed()
        console = Console(stderr=True)
        async for done in authoring.replay(client):
            if done.runs % 100 == 0:
                console.print(f"{done.runs} runs replayed, {len(done.failures)} fail")
        return done

    done = asyncio.run(work())
    if as_json:
        Console().print_json(json.dumps({"runs": done.runs, "failures": done.failures}))
    else:
        for run, reason in done.failures.items():
            Console().print(f"[red]✗[/] {run}: {reason}")
        Console().print(f"{done.runs} open runs replayed; {len(done.failures)} would get stuck.")
    if done.failures:
        raise typer.Exit(1)
