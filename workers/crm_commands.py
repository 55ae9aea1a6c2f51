"""`holdfast crm`: see that a CRM outside has what we write to it, and what of it waits or needs a person."""

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from workers.console import AsJson, complain, run

crm_app = typer.Typer(help="The CRM outside (Attio, HubSpot), where the policy file names one.", no_args_is_help=True)


@crm_app.command("check")
def check(as_json: AsJson = False) -> None:
    """Read the attributes, deal stages and the list that the CRM has, and say what is missing. Changes nothing.

    Exit code 0 if nothing is missing, 1 if something is left out or nothing can be written, 2 if the CRM cannot be
    asked or the settings will not do.
    """
    from models.crm import DEAL_STAGES, CrmError, lacking
    from models.policy import PolicyFile
    from workers.crm_clients import crm_client
    from workers.settings import Settings

    async def work() -> int:
        settings = Settings()
        wanted = PolicyFile.read(settings.holdfast_policy).crm
        client = crm_client(settings, wanted)
        if client is None:
            _say(as_json, {"provider": "", "fatal": [], "left_out": []}, ["No CRM outside: our own tables are used."])
            return 0
        try:
            _, found = lacking(wanted, await client.schema(), DEAL_STAGES)
        except CrmError as error:
            complain(f"{client.name} cannot be asked: {error}")
            return 2
        finally:
            await client.close()
        sentences = [f"Nothing is written until this is mended: {each}." for each in found.fatal]
        sentences += [f"{each}." for each in found.left_out]
        said = {"provider": wanted.provider, "fatal": found.fatal, "left_out": found.left_out}
        _say(as_json, said, sentences or [f"{client.name} has everything that is written to it."])
        return 1 if sentences else 0

    run(work())


@crm_app.command("list")
def list_records(as_json: AsJson = False) -> None:
    """What is not over there as it should be: what waits, what is in doubt, and what a person is asked about."""
    from sqlmodel import col, select

    from models.crm_rows import CrmRecord
    from workers.databases import open_database
    from workers.settings import Settings

    async def work() -> None:
        async with open_database(Settings()) as database, database.reading() as session:
            statement = select(CrmRecord).where(CrmRecord.state != "done").order_by(col(CrmRecord.key))
            rows = (await session.exec(statement)).all()
        said = [
            {"key": row.key, "state": row.state, "reason": row.reason, "next_try": row.wall_next_try_at.isoformat()}
            for row in rows
        ]
        if as_json:
            Console().print_json(json.dumps(said))
            return
        table = Table("Record", "State", "Why", "Next try (UTC)")
        for row in rows:
            again = "after an answer" if row.state == "refused" else f"{row.wall_next_try_at:%Y-%m-%d %H:%M}"
            table.add_row(row.key, row.state, row.reason, again)
        Console().print(table if rows else "Everything that was to be written is over there.")

    run(work())


@crm_app.command("again")
def again(
    key: Annotated[str, typer.Argument(metavar="RECORD", help="As `holdfast crm list` names it.")] = "",
    all_of_them: Annotated[bool, typer.Option("--all", help="Everything that a person is asked about.")] = False,
) -> None:
    """Try again what the CRM did not take, now that it was put right over there. Closes the person's task.

    Exit code 2 if there is no such record, or none that waits for a person.
    """
    from sqlmodel import col, select

    from models import ledger
    from models.crm_due import AGAIN
    from models.crm_rows import CrmRecord
    from models.tables import wall
    from workers.databases import open_database
    from workers.settings import Settings

    async def work() -> int:
        if bool(key) == all_of_them:
            complain("name one record, or give --all; `holdfast crm list` has them")
            return 2
        async with open_database(Settings()) as database, database.writing() as session:
            statement = select(CrmRecord).where(CrmRecord.state == "refused")
            statement = statement if all_of_them else statement.where(col(CrmRecord.key) == key)
            rows = (await session.exec(statement)).all()
            for row in rows:
                await ledger.finish_task(session, row.task, AGAIN, wall())
        if not rows:
            complain(f"no record {key!r} waits for a person" if key else "no record waits for a person")
            return 2
        Console().print(f"{len(rows)} will be tried again within a minute.")
        return 0

    run(work())


def _say(as_json: bool, said: dict[str, Any], sentences: list[str]) -> None:
    console = Console(soft_wrap=True, highlight=False)
    if as_json:
        console.print_json(json.dumps(said))
        return
    for sentence in sentences:
        console.print(sentence, markup=False)
