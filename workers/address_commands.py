"""`holdfast addresses`: which addresses take no mail, and how one takes mail again."""

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from workers.console import AsJson, run
from workers.hold_commands import By

addresses_app = typer.Typer(no_args_is_help=True, help="Addresses that take no mail: those that bounced or complained.")


@addresses_app.command("list")
def list_addresses(as_json: AsJson = False) -> None:
    """Every address that nothing is mailed to, by the account of the mail that came back, with the reason.

    The addresses themselves are not kept with it; the account's contacts have them.
    """
    from models import consent
    from workers.databases import open_database
    from workers.settings import Settings

    async def work() -> None:
        async with open_database(Settings()) as database, database.reading() as session:
            rows = [_said(each) for each in await consent.standing(session)]
        if as_json:
            Console().print_json(json.dumps(rows))
            return
        table = Table("Account", "Why", "Told", "Since (UTC)", "By the mail")
        for row in rows:
            table.add_row(row["account"], row["why"], row["said"], row["since"], row["effect"])
        Console().print(table if rows else "Mail goes to every address.")

    run(work())


@addresses_app.command("lift")
def lift(
    address: Annotated[str, typer.Argument(help="The address, as the contact has it.")],
    by: By = "the command line",
    as_json: AsJson = False,
) -> None:
    """Let mail go to an address again, once somebody has made sure that it takes mail.

    SendGrid keeps lists of its own and drops what is mailed to them: take the address off there first. An address that
    was corrected needs nothing of this, for only the old one is held. Exit code 1 if nothing stands against it.
    """
    from models import consent
    from models.tables import wall
    from workers.databases import open_database
    from workers.settings import Settings

    async def work() -> None:
        async with open_database(Settings()) as database, database.writing() as session:
            rows = [_said(each) for each in await consent.lift(session, address, by, wall())]
        if as_json:
            Console().print_json(json.dumps(rows))
        else:
            Console().print(f"Mail goes to this address again. It had {' and '.join(row['why'] for row in rows)}.")

    run(work())


def _said(row: Any) -> dict[str, str]:
    since = row.at.strftime("%Y-%m-%d %H:%M")
    return {"account": row.account_id, "why": row.why, "said": row.said, "since": since, "effect": row.effect}
