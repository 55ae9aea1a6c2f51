"""The `holdfast` command.

What a command needs is imported by the command: otherwise each of them waits for all that any of them needs.
"""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console

from workers.address_commands import addresses_app
from workers.at_risk_command import at_risk_command
from workers.case_commands import cases_app, tasks_app
from workers.cli_authors import register
from workers.console import AsJson, complain, run
from workers.crm_commands import crm_app
from workers.csm_commands import csm_app
from workers.hold_commands import hold, list_holds, release
from workers.intake_commands import events_app, import_command, inbox_app
from workers.reconcile_command import reconcile_command
from workers.report_command import report_command
from workers.scan_commands import scan, schedules_app
from workers.score_command import score
from workers.story_command import story

if TYPE_CHECKING:
    from collections.abc import Callable

    from workers.audit import Report
    from workers.settings import Settings

app = typer.Typer(
    help="Durable customer-retention playbooks on Temporal. Settings come from the environment or .env.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(cases_app, name="cases")
app.add_typer(tasks_app, name="tasks")
register(app)
app.command()(scan)
app.command()(score)
app.add_typer(schedules_app, name="schedules")
app.add_typer(events_app, name="events")
app.add_typer(inbox_app, name="inbox")
app.add_typer(crm_app, name="crm")
app.add_typer(addresses_app, name="addresses")
app.command("import")(import_command)
app.command("reconcile")(reconcile_command)
app.command()(hold)
app.command()(release)
app.command("holds")(list_holds)
app.command()(story)
app.command("report")(report_command)
app.command("at-risk")(at_risk_command)
app.add_typer(csm_app, name="csm")
keys_app = typer.Typer(help="Keys that payloads in Temporal are encrypted with.", no_args_is_help=True)
app.add_typer(keys_app, name="keys")


def main() -> NoReturn:
    """Run the command and leave at once: a short-lived Temporal client may abort in the interpreter's own exit."""
    code = 0
    try:
        # Without "standalone mode" a command's exit code is what the call returns.
        returned = app(standalone_mode=False, prog_name="holdfast")
        code = returned if isinstance(returned, int) else 0
    except typer.Abort:
        code = 130
    except KeyboardInterrupt:
        code = 130
    except Exception as error:  # noqa: BLE001 - the last handler: a sentence for people, not a traceback
        code = _explain(error)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _explain(error: Exception) -> int:
    if hasattr(error, "format_message"):  # click's own usage errors
        complain(error.format_message())
        return 2
    if _is_a(error, "pydantic", "ValidationError"):
        problems: list[dict[str, Any]] = error.errors()  # type: ignore[attr-defined]
        complain("; ".join(f"{'.'.join(map(str, each['loc'])).upper()}: {each['msg']}" for each in problems))
        return 2
    if _is_a(error, "sqlalchemy.exc", "SQLAlchemyError"):
        complain(
            f"the database does not do as asked ({type(error).__name__}): check DATABASE_URL, "
            "and bring it to the newest schema with `holdfast migrate`"
        )
        return 1
    speaks_for_itself = isinstance(error, RuntimeError | LookupError) or any(
        _is_a(error, module, name) for module, name in KNOWN
    )
    complain(str(error) if speaks_for_itself else f"{type(error).__name__}: {error}")
    return 1


KNOWN = (
    ("models.policy", "PolicyError"),
    ("models.database_url", "BadDatabaseUrl"),
    ("workers.codec", "BadPayloadKeys"),
    ("workers.secret_files", "BadSecretFile"),
)
"""Errors whose message is a sentence for people, by module: a command that never loaded it cannot meet it."""


def _is_a(error: Exception, module: str, name: str) -> bool:
    """Whether it is of this class, whose module this command may never have loaded."""
    return isinstance(error, getattr(sys.modules.get(module), name, ()))


def _checked(problems_of: "Callable[[Settings], list[str]] | None" = None) -> "Settings":
    from workers.settings import Settings

    settings = Settings()
    problems = (problems_of or Settings.problems)(settings)
    if problems:
        for problem in problems:
            complain(problem)
        raise typer.Exit(2)
    return settings


@app.command()
def demo(
    customers: Annotated[int, typer.Option(min=8, max=2000, help="How many simulated customers.")] = 60,
    seed: Annotated[int, typer.Option(help="The same seed gives the same customers.")] = 1,
    until: Annotated[int, typer.Option(min=1, max=31, help="Stop the month after this day, with runs open.")] = 31,
    once: Annotated[bool, typer.Option("--once", help="End by itself, even on a terminal.")] = False,
) -> None:
    """Play a month of failed payments against a simulated Stripe, with faults, in about a minute.

    Starts a Temporal server with its Web UI, the simulator and Holdfast's own processes; shows the month pass; ends
    with a table and one line of JSON. On a terminal everything stays up to look at until Ctrl-C.
    Exit code 1 if anybody was charged twice, written to after paying, or an event was lost.
    """
    from workers.demo import play

    run(play(customers=customers, seed=seed, days=until, stay=sys.stdout.isatty() and not once))


@app.command()
def up() -> None:
    """Run everything for real keys: web, relay, worker, and a local Temporal server unless TEMPORAL_ADDRESS is set.

    Refuses to start, with a sentence for each problem, when a setting is missing or malformed.
    """
    settings = _checked()
    from workers.processes import log_to_stderr
    from workers.up import run_everything

    log_to_stderr()
    run(run_everything(settings))


@app.command()
def worker() -> None:
    """Run the process that takes the steps. Any number may run side by side."""
    settings = _checked()
    from workers.processes import log_to_stderr, run_worker, told_to_stop

    log_to_stderr()

    async def work() -> None:
        await run_worker(settings, told_to_stop())

    run(work())


@app.command()
def relay() -> None:
    """Run the process that carries received events to Temporal. Any number may run side by side."""
    settings = _checked()
    from workers.processes import log_to_stderr, run_relay, told_to_stop

    log_to_stderr()

    async def work() -> None:
        await run_relay(settings, told_to_stop())

    run(work())


@app.command()
def web(temporal_ui: Annotated[str, typer.Option(help="URL of the Temporal Web UI, to link to.")] = "") -> None:
    """Run the process that receives webhooks and serves pages. It needs the database, not Temporal."""
    settings = _checked()
    from workers.processes import log_to_stderr, run_web, told_to_stop

    log_to_stderr()

    async def work() -> None:
        await run_web(settings, told_to_stop(), temporal_ui)

    run(work())


@app.command()
def codec() -> None:
    """Run the codec server, which decrypts payloads for the Temporal Web UI. See docs/encryption.md."""
    from workers.codec_server import codec_problems
    from workers.processes import log_to_stderr, run_codec, told_to_stop

    settings = _checked(codec_problems)
    log_to_stderr()

    async def work() -> None:
        await run_codec(settings, told_to_stop())

    run(work())


@keys_app.command("new")
def new_payload_key() -> None:
    """Print a fresh "id:key" for HOLDFAST_PAYLOAD_KEYS: put it in front of those that are there."""
    from workers.codec import new_key

    sys.stdout.write(f"{new_key()}\n")


@app.command()
def migrate(revision: Annotated[str, typer.Argument(help="head, base, or a revision.")] = "head") -> None:
    """Bring the database to the newest schema (head), or to another revision."""
    from workers import migrate as migrations
    from workers.databases import open_database
    from workers.settings import Settings

    async def work() -> None:
        async with open_database(Settings()) as database:
            if revision == "base":
                await migrations.downgrade(database, revision)
            else:
                await migrations.upgrade(database, revision)

    run(work())


@app.command(name="audit")
def audit_command(
    as_json: AsJson = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Only the database; ask neither Stripe nor Temporal.")
    ] = False,
) -> None:
    """Check the invariants on the database, against Stripe and Temporal. Exit code 1 if one is broken."""
    from workers.audit import ON_ITS_WAY, audit
    from workers.databases import open_database
    from workers.settings import Settings

    settings = Settings()

    async def work() -> int:
        async with open_database(settings) as database:
            if offline:
                return _report(await audit(database, on_its_way=ON_ITS_WAY), as_json)
            from workers.connect import connect
            from workers.processes import outside_world

            async with outside_world(settings, database) as world:
                client = await connect(settings)
                report = await audit(database, client=client, billing=world.billing, on_its_way=ON_ITS_WAY)
                return _report(report, as_json)

    run(work())


def _report(report: "Report", as_json: bool) -> int:
    console = Console()
    if as_json:
        console.print_json(json.dumps({"violations": report.violations, "counts": dict(report.counts)}))
    else:
        for violation in report.violations:
            console.print(f"[red]✗[/] {violation}")
        looked = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in sorted(report.counts.items()))
        console.print(f"{'Broken' if report.violations else 'Clean'}: {len(report.violations)} violations; {looked}.")
    return 1 if report.violations else 0


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Say what is wrong with this installation, each with what to do. Changes nothing.

    Looks at the settings, the database and its migration, the inbox and the ledger, Temporal with its namespace, search
    attributes, workers, runs and schedules, Stripe's key, mode, clock and webhook endpoint, SendGrid's key, the disk
    and the plan lock.

    Exit code 0 if all is well, 1 if something is wrong, 2 if nothing is known to be wrong but something cannot be told.
    """
    from workers.doctor import doctor as examine

    examine(as_json=as_json)


@app.command(hidden=True)
def revision(message: str) -> None:
    """Write a migration from the difference between the tables and a migrated scratch database (for developers)."""
    from workers import migrate as migrations
    from workers.databases import open_database
    from workers.settings import Settings

    async def work() -> None:
        scratch = Path(".holdfast/scratch.db")
        scratch.unlink(missing_ok=True)
        async with open_database(Settings(database_url=f"sqlite:///{scratch}")) as database:
            await migrations.upgrade(database)
            await migrations.write_revision(database, message)
        scratch.unlink(missing_ok=True)

    run(work())
