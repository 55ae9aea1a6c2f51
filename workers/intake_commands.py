"""`holdfast import`, `holdfast events send` and `holdfast inbox`: data in, and what became of it."""

import contextlib
import json
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from workers.console import AsJson, complain, run

if TYPE_CHECKING:
    from workers.importing import Report

MOST_LISTED = 1000
events_app = typer.Typer(help="Say that something happened.", no_args_is_help=True)
inbox_app = typer.Typer(help="Events that wait for an account (parked) or cannot be carried (dead).")


class ImportKind(StrEnum):
    """What a file may hold."""

    ACCOUNTS = "accounts"
    CONTACTS = "contacts"
    CONTRACTS = "contracts"
    OWNERS = "owners"
    USAGE = "usage"
    METRICS = "metrics"


def import_command(
    kind: Annotated[ImportKind, typer.Argument(help="What the file holds.")],
    file: Annotated[Path, typer.Argument(help="A CSV file whose first line names the columns.")],
    as_json: AsJson = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check every row, and change nothing.")] = False,
) -> None:
    """Load a CSV file. Rows that cannot be loaded go to FILE.rejected.csv, each with its reason; the others are loaded.

    An empty cell leaves what is there. Running it again changes nothing. It starts no runs.
    Exit code 1 if some rows were bad, 2 if the file cannot be read or its columns are not those there are.
    """
    from models.policy import PolicyFile
    from workers.csv_files import BadFile
    from workers.databases import open_database
    from workers.importing import Import
    from workers.settings import Settings

    settings = Settings()
    rules = PolicyFile.read(settings.holdfast_policy).default.usage

    async def work() -> int:
        async with open_database(settings) as database:
            try:
                with _progress(file.name) as tell:
                    coming = Import(database, kind, file, rules, dry_run=dry_run, progress=tell, complain=complain)
                    report = await coming.run()
            except BadFile as error:
                complain(str(error))
                return 2
        _say(report, as_json)
        return 1 if report.bad else 0

    run(work())


@contextlib.contextmanager
def _progress(name: str) -> Iterator[Callable[[int, int], None]]:
    if not sys.stderr.isatty():
        yield lambda done, of: None
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)


def _say(report: "Report", as_json: bool) -> None:
    from workers.importing import SHOWN

    if report.bad > SHOWN:
        complain(f"... and {report.bad - SHOWN} more")
    if report.rejected:
        complain(f"rows that were not loaded are in {report.rejected}: correct them, and import that file")
    if as_json:
        sys.stdout.write(json.dumps(report.as_json()) + "\n")
        return
    would = "would be " if report.dry_run else ""
    went_on = f"; {report.events_that_went_on} parked events go on" if report.events_that_went_on else ""
    sys.stdout.write(
        f"{report.read} rows read, {report.loaded} {would}loaded ({report.changed} new or changed, "
        f"{report.unchanged} unchanged), {report.bad} bad{went_on}.\n"
    )


@events_app.command("send")
def send(
    kind: Annotated[str, typer.Argument(metavar="TYPE", help="What happened, such as user.signed_up or usage.")],
    account: Annotated[str, typer.Option(help="The account's id or external_id.")],
    subject: Annotated[str, typer.Option(help="What it is about, such as a contract.")] = "",
    object_id: Annotated[str, typer.Option("--object", help="The object that proves it.")] = "",
    value: Annotated[str, typer.Option(help="One word of what was said.")] = "",
    metric: Annotated[str, typer.Option(help="For usage: what was counted.")] = "",
    count: Annotated[int, typer.Option(min=1, help="For usage: how often.")] = 1,
    at: Annotated[str, typer.Option(help="When, in ISO 8601; now if left out.")] = "",
    event_id: Annotated[str, typer.Option("--id", help="The event's id; the same id is taken once.")] = "",
    url: Annotated[str, typer.Option(help="Where web listens; from HOLDFAST_HOST and HOLDFAST_PORT if left out.")] = "",
) -> None:
    """Sign an event with the first of EVENTS_SECRETS and post it to a running web, as your own systems would."""
    import aiohttp

    from activities.outgoing_webhooks import signed_headers
    from workers.settings import Settings

    settings = Settings()
    data: dict[str, Any] = {"account": account, "subject": subject, "object": object_id, "value": value}
    data |= {"metric": metric, "count": count} if metric or count != 1 else {}
    said = {"type": kind, "timestamp": at or datetime.now(UTC).isoformat()}
    body = json.dumps({**said, "data": {name: each for name, each in data.items() if each != ""}}).encode()
    target = url or f"http://{settings.holdfast_host}:{settings.holdfast_port}/events"

    async def work() -> int:
        if not settings.senders_secrets:
            complain("EVENTS_SECRETS is not set: make one with `echo whsec_$(openssl rand -base64 32)`")
            return 2
        message_id = event_id or f"cli-{uuid.uuid4()}"
        headers = signed_headers(settings.senders_secrets[0], message_id, int(time.time()), body)
        try:
            async with aiohttp.ClientSession() as session, session.post(target, data=body, headers=headers) as answer:
                text, status = await answer.text(), answer.status
        except (aiohttp.ClientError, OSError, ValueError) as error:
            complain(f"nobody answers at {target} ({type(error).__name__}): start `holdfast web`, or give --url")
            return 1
        sys.stdout.write(f"{status} {text}\n")
        return 0 if status == 200 else 1

    run(work())


@inbox_app.callback(invoke_without_command=True)
def list_inbox(
    context: typer.Context,
    as_json: AsJson = False,
    most: Annotated[int, typer.Option(min=1, max=MOST_LISTED, help="So many rows at most, the newest first.")] = 100,
) -> None:
    """List events that are parked or dead, each with the reason."""
    if context.invoked_subcommand:
        return
    from models import inbox
    from workers.databases import open_database
    from workers.settings import Settings

    async def work() -> None:
        async with open_database(Settings()) as database, database.reading() as session:
            rows = await inbox.waiting(session, most)
        if as_json:
            sys.stdout.write(json.dumps([asdict(each) for each in rows]) + "\n")
            return
        table = Table("ID", "State", "Source", "Type", "Account", "Received (UTC)", "Reason")
        for each in rows:
            row = (str(each.id), each.state, each.source, each.type, each.account, each.received_at[:19], each.reason)
            table.add_row(*row)
        Console().print(table if rows else "Nothing is parked or dead.", markup=False)

    run(work())


@inbox_app.command("retry")
def retry(
    row: Annotated[int | None, typer.Argument(metavar="[ID]", help="A row of the list.")] = None,
    dead: Annotated[bool, typer.Option("--dead", help="All that are dead.")] = False,
    parked: Annotated[bool, typer.Option("--parked", help="All that are parked.")] = False,
) -> None:
    """Put one event, or all that are dead or parked, back: the relay tries them once more."""
    from models import inbox
    from workers.databases import open_database
    from workers.settings import Settings

    async def work() -> int:
        if (row is not None) + dead + parked != 1:
            complain("say which: `holdfast inbox retry ID`, or --dead, or --parked")
            return 2
        state = "dead" if dead else "parked" if parked else ""
        async with open_database(Settings()) as database, database.writing() as session:
            try:
                moved = await inbox.put_back(session, row_id=row, state=state)
            except inbox.NothingToRetry as error:
                complain(str(error))
                return 1
        sys.stdout.write(f"{moved} event{'' if moved == 1 else 's'} will be tried again.\n")
        return 0

    run(work())
