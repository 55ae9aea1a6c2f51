"""`holdfast scan` and `holdfast schedules`."""

import asyncio
import json
import sys
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table

from workers.console import AsJson

if TYPE_CHECKING:
    from temporalio.client import Client

    from models.policy import Policy
    from models.scans import Found, Scan, Which

EVERYTHING: Final = sys.maxsize


class Name(StrEnum):
    """The scans of `models.scans.SCANS`, which would take a third of a second to import."""

    books = "books"
    usage = "usage"
    renewals = "renewals"
    cards = "cards"
    health = "health"
    rules = "rules"
    reports = "reports"


WhichScan = Annotated[Name, typer.Argument(help="books, usage, renewals, cards, health, rules or reports.")]
MaybeScan = Annotated[
    Name | None,
    typer.Argument(help="One of them; all if left out."),
]

schedules_app = typer.Typer(help="The Temporal Schedules of the daily scans.", no_args_is_help=True)


def scan(
    which: WhichScan,
    day: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="As of this business day (UTC); today if left out.")
    ] = None,
    preview: Annotated[bool, typer.Option("--preview", help="Count what it would start, and write nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run one scan over all accounts now. What it finds is put on record once; the relay starts the runs.

    Needs the database only. Look with --preview before the first scan after history was loaded.
    """
    from activities.scans import Scans
    from models.policy import PolicyFile
    from models.scans import Found, Scan
    from models.tables import wall
    from workers.databases import open_database
    from workers.routing import Router
    from workers.scan_preview import preview as previewed
    from workers.settings import Settings

    settings = Settings()
    job = Scan(which=_which(which), day=day.date() if day else wall().date(), window=EVERYTHING)

    async def work() -> None:
        policy = PolicyFile.read(settings.holdfast_policy)
        async with open_database(settings) as database:
            scans = Scans(database, policy)
            if preview and job.which == "reports":
                Console().print("A report is a task for the CSM lead; `holdfast report` shows it.")
                return
            if preview and job.which == "books":
                _tell(job, await scans.foresee_books(job), as_json, "Nothing is written. ")
                return
            if preview:
                _tell_preview(await previewed(database, scans, Router(policy), job), as_json)
                return
            found = Found()
            async for more in scans.steps(job, found):
                found = found.plus(more)
        _tell(job, found, as_json)

    asyncio.run(work())


def _tell(job: "Scan", found: "Found", as_json: bool, first: str = "") -> None:
    from models.scans import TITLES

    if as_json:
        said = found.model_dump(mode="json", exclude={"after", "done"})
        Console().print_json(json.dumps({"scan": job.which, "day": job.day.isoformat(), **said}))
    else:
        Console().print(f"{first}{TITLES[job.which]}, as of {job.day} (UTC): {found.in_words()}.")


def _which(name: Name) -> "Which":
    from models.scans import SCANS

    return next(each for each in SCANS if each == name.value)


def _tell_preview(said: dict[str, Any], as_json: bool) -> None:
    console = Console()
    if as_json:
        console.print_json(json.dumps(said))
        return
    console.print(f"Nothing is written. As of {said['day']}, {said['accounts']:,} accounts looked at:")
    table = Table("What", "How many")
    table.add_row("found", f"{said['found']:,}")
    table.add_row("not on record yet", f"{said['new']:,}")
    for value, count in said["new_by_severity"].items():
        table.add_row(f"  {value}", f"{count:,}")
    for name, count in said["starts"].items():
        table.add_row(f"would start {name}", f"{count:,}")
    for name, words in (
        ("too_old", "start nothing: older than starts.oldest_fact_days"),
        ("in_cool_down", "start nothing: the playbook rests for the account"),
        ("open_already", "start nothing: a run is open"),
        ("other", "start nothing: no playbook wants them"),
        ("fell_long_since", "not put on record: fell too long ago"),
        ("signals_raised", "risk signals raised"),
        ("signals_cleared", "risk signals cleared"),
    ):
        if said[name]:
            table.add_row(words, f"{said[name]:,}")
    console.print(table)
    for hour in said["starts_by_hour"]:
        console.print(f"from {hour['from']}: {hour['runs']:,} runs")


def _policy() -> "Policy":
    from models.policy import PolicyFile
    from workers.settings import Settings

    return PolicyFile.read(Settings().holdfast_policy).default


async def _client() -> "Client":
    from workers.connect import connect
    from workers.settings import Settings

    return await connect(Settings())


def _those(which: Name | None) -> "tuple[Which, ...]":
    from models.scans import SCANS

    return (_which(which),) if which else SCANS


@schedules_app.command("list")
def list_schedules(as_json: AsJson = False) -> None:
    """Every scan, when it runs next, and whether a person paused it."""
    from workers import schedules

    async def work() -> None:
        rows = await schedules.listed(await _client())
        if as_json:
            Console().print_json(json.dumps(rows))
            return
        table = Table("Scan", "Schedule", "Note", "Next (UTC)", "Last (UTC)")
        for row in rows:
            table.add_row(*row.values())
        Console().print(table)

    asyncio.run(work())


@schedules_app.command()
def ensure() -> None:
    """Make the schedules, or bring them to what the policy says; every worker does so at its start."""
    from workers import schedules

    async def work() -> None:
        for which, said in (await schedules.ensure(await _client(), _policy())).items():
            Console().print(f"{schedules.id_of(which)}: {said}")

    asyncio.run(work())


@schedules_app.command()
def remove(which: MaybeScan = None) -> None:
    """Take schedules away. The next worker to start makes them again unless the policy says enabled = false."""
    from workers import schedules

    async def work() -> None:
        client = await _client()
        for each in _those(which):
            gone = await schedules.remove(client, each)
            Console().print(f"{schedules.id_of(each)}: {'removed' if gone else 'there was none'}")

    asyncio.run(work())


@schedules_app.command()
def trigger(which: WhichScan) -> None:
    """Start a scan now through its schedule, unless one runs."""
    from workers import schedules

    async def work() -> None:
        await schedules.trigger(await _client(), _which(which))
        Console().print(f"{schedules.id_of(_which(which))}: started")

    asyncio.run(work())


@schedules_app.command()
def pause(
    which: MaybeScan = None,
    by: Annotated[str, typer.Option(help="Who says so; kept in its note.")] = "the command line",
) -> None:
    """Stop schedules until they are resumed; a worker's start leaves them paused."""
    from workers import schedules

    async def work() -> None:
        client = await _client()
        for each in _those(which):
            await schedules.pause(client, each, f"{by} at {datetime.now(UTC):%Y-%m-%d %H:%M} UTC")
            Console().print(f"{schedules.id_of(each)}: paused")

    asyncio.run(work())


@schedules_app.command()
def resume(which: MaybeScan = None) -> None:
    """Let paused schedules go on."""
    from workers import schedules

    async def work() -> None:
        client, policy = await _client(), _policy()
        for each in _those(which):
            await schedules.resume(client, policy, each)
            Console().print(f"{schedules.id_of(each)}: goes on")

    asyncio.run(work())
