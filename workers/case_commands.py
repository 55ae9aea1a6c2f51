"""`holdfast cases` and `holdfast tasks`: what is going on, and a lead's hand on it, without the Temporal Web UI."""

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from workers.console import AsJson, run

cases_app = typer.Typer(help="See cases, and steer their runs.", no_args_is_help=True)
tasks_app = typer.Typer(help="What people are asked to do.", no_args_is_help=True)

By = Annotated[str, typer.Option(help="Who says so; kept in the case's history.")]
CaseId = Annotated[str, typer.Argument(help="The case's id, such as payment-failure/in_123.")]
StepName = Annotated[str, typer.Argument(help="The step's name")]


@cases_app.command("list")
def list_cases(
    as_json: AsJson = False,
    everything: Annotated[bool, typer.Option("--all", help="Ended cases too.")] = False,
) -> None:
    """Open cases, those with the most at stake first."""
    from workers import cases as case_commands
    from workers.databases import open_database
    from workers.settings import Settings

    async def work() -> None:
        async with open_database(Settings()) as database:
            rows = await case_commands.listed(database, everything=everything)
        if as_json:
            Console().print_json(json.dumps(rows))
            return
        table = Table("Case", "Account", "State", "Next", "When (UTC)", "At stake")
        for row in rows:
            table.add_row(row["case"], row["account"], row["state"], row["next"], row["next_at"], row["at_stake"])
        Console().print(table if rows else "No case is open.")

    run(work())


@cases_app.command("show")
def show(case: CaseId, as_json: AsJson = False) -> None:
    """One case's story: every effect done, held back or in doubt, with the reason."""
    from workers import cases as case_commands
    from workers.databases import open_database
    from workers.settings import Settings

    async def work() -> None:
        async with open_database(Settings()) as database:
            story = await case_commands.story(database, case)
        if as_json:
            Console().print_json(json.dumps(story))
            return
        console = Console()
        console.print(f"[bold]{story['case']}[/]  account {story['account']}  {story['state']}  {story['at_stake']}")
        table = Table("When (UTC)", "Step", "What", "State", "Why")
        for line in story["lines"]:
            table.add_row(line["at"], line["step"], line["what"], line["state"], line["why"])
        console.print(table)

    run(work())


def _steer(name: str, case: str, *arguments: Any) -> None:
    from workers import cases as case_commands
    from workers.connect import connect
    from workers.settings import Settings

    async def work() -> None:
        said = await case_commands.steer(await connect(Settings()), case, name, *arguments)
        Console().print(said)

    run(work())


@cases_app.command()
def pause(case: CaseId, by: By = "the command line") -> None:
    """Stop the run's clock; what is left moves by as long as the pause lasts."""
    _steer("pause", case, by)


@cases_app.command()
def resume(case: CaseId, by: By = "the command line") -> None:
    """Let a paused run go on."""
    _steer("resume", case, by)


@cases_app.command()
def snooze(case: CaseId, days: Annotated[int, typer.Argument(help="1 to 90")], by: By = "the command line") -> None:
    """Move everything that is left by some days."""
    _steer("snooze", case, days, by)


@cases_app.command()
def skip(case: CaseId, step: StepName, by: By = "the command line") -> None:
    """Leave out one step that is still ahead."""
    _steer("skip", case, step, by)


@cases_app.command()
def answer(
    case: CaseId,
    step: StepName,
    outcome: Annotated[str, typer.Argument(help="One of the task's outcomes, as `holdfast tasks list` names them.")],
    by: By = "the command line",
) -> None:
    """Say how the task ended that a step asked for; the task is closed and the run goes on.

    A wrong step or outcome is refused with those that there are, and nothing changes.
    """
    _steer("answer", case, step, outcome, by)


@cases_app.command()
def end(case: CaseId, by: By = "the command line") -> None:
    """End the run now and give back what it took away: banner, risk signal, restriction."""
    _steer("end", case, by)


@cases_app.command()
def settle(
    key: Annotated[str, typer.Argument(help="The effect's key, as `cases show --json` and the person's task name it.")],
    word: Annotated[str, typer.Argument(help="done or not_done.")],
    by: By = "the command line",
) -> None:
    """Say what became of an effect in doubt, such as a mail whose answer was lost. It is not done again either way.

    Exit code 1 if it is not in doubt, 2 if the word is neither done nor not_done.
    """

    from workers import cases as case_commands
    from workers.databases import open_database
    from workers.settings import Settings

    async def work() -> int:
        async with open_database(Settings()) as database:
            return await case_commands.settle(database, key, word, by)

    run(work())


@tasks_app.command("list")
def list_tasks(
    as_json: AsJson = False,
    owner: Annotated[str, typer.Option(help="Only what this person is asked to do.")] = "",
    everything: Annotated[bool, typer.Option("--all", help="Finished tasks too.")] = False,
) -> None:
    """Open tasks, the one due first at the top, with the outcomes that a waiting run knows."""
    from workers import cases as case_commands
    from workers.databases import open_database
    from workers.settings import Settings

    async def work() -> None:
        async with open_database(Settings()) as database:
            rows = await case_commands.tasks(database, owner, everything=everything)
        if as_json:
            Console().print_json(json.dumps(rows))
            return
        table = Table("Due (UTC)", "Owner", "Account", "Task", "Case", "Step", "Outcomes")
        for row in rows:
            named = (row["due"], row["owner"], row["account"], row["task"], row["case"], row["step"])
            table.add_row(*named, row["outcome"] or row["outcomes"])
        Console().print(table if rows else "No task is open.")

    run(work())
