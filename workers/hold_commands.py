"""`holdfast hold`, `release` and `holds`: the stop switch, by hand."""

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from workers.console import AsJson, complain, run

By = Annotated[str, typer.Option(help="Who says so; kept with the hold.")]
Playbook = Annotated[str, typer.Option("--playbook", help="Only what runs of this playbook send.")]
Account = Annotated[str, typer.Option("--account", help="Only what goes to this account.")]


def hold(
    playbook: Playbook = "",
    account: Account = "",
    reason: Annotated[str, typer.Option(help="Why; told with everything that waits for it.")] = "",
    by: By = "the command line",
    as_json: AsJson = False,
) -> None:
    """Stop all that would leave: mails, banners, charges, cancellations, restrictions, offers. Runs keep their days.

    Without --playbook or --account it is everything. What is due waits, and looks again by itself; people's tasks go
    on, and access is still given back. `holdfast release` with the same words lets it go on.
    Exit code 2 if there is no such playbook or account.
    """
    from models import holds
    from workers.databases import open_database
    from workers.settings import Settings

    async def work() -> int:
        async with open_database(Settings()) as database, database.writing() as session:
            scope, name, wrong = await _named(session, playbook, account)
            if wrong:
                complain(wrong)
                return 2
            row, fresh = await holds.place(session, scope, name, by, reason)
            said = _said(row)
        if as_json:
            Console().print_json(json.dumps(said | {"placed": fresh}))
        else:
            since = "" if fresh else f" already, since {said['since']} by {said['by']}"
            Console().print(f"{said['what']} is on hold{since}. Nothing leaves until `holdfast release`.")
        return 0

    run(work())


def release(
    playbook: Playbook = "",
    account: Account = "",
    spread_minutes: Annotated[
        int, typer.Option(min=0, max=10_080, help="What waited goes out over so many minutes, not all at once.")
    ] = 60,
    by: By = "the command line",
    as_json: AsJson = False,
) -> None:
    """Let go on what `holdfast hold` stopped, without a burst.

    What waited asks again within 15 minutes to 6 hours, the longer the longer it was held; whether its reason still
    holds is looked at then. Exit code 1 if no such hold stands, 2 if there is no such playbook or account.
    """
    from models import holds
    from workers.databases import open_database
    from workers.settings import Settings

    async def work() -> int:
        async with open_database(Settings()) as database, database.writing() as session:
            scope, name, wrong = await _named(session, playbook, account)
            if wrong:
                complain(wrong)
                return 2
            said = _said(await holds.release(session, scope, name, by, spread_minutes))
        if as_json:
            Console().print_json(json.dumps(said))
        else:
            Console().print(f"{said['what']} is released; what waited goes out over {spread_minutes} minutes.")
        return 0

    run(work())


def list_holds(as_json: AsJson = False) -> None:
    """What is on hold, since when, by whom and why."""
    from models import holds
    from workers.databases import open_database
    from workers.settings import Settings

    async def work() -> None:
        async with open_database(Settings()) as database, database.reading() as session:
            rows = [_said(each) for each in await holds.standing_holds(session)]
        if as_json:
            Console().print_json(json.dumps(rows))
            return
        table = Table("What", "Since (UTC)", "By", "Why")
        for row in rows:
            table.add_row(row["what"], row["since"], row["by"], row["reason"])
        Console().print(table if rows else "Nothing is on hold.")

    run(work())


async def _named(session: Any, playbook: str, account: str) -> tuple[Any, str, str]:
    """Scope and name, or what is wrong with them: a hold on something that is not there would hold nothing."""
    from models.story import NoSuchAccount, cases_of
    from workflows import PLAYBOOKS
    from workflows.steps import name_of

    if playbook and account:
        return "all", "", "give --playbook or --account, not both"
    names = sorted(name_of(each) for each in PLAYBOOKS)
    if playbook and playbook not in names:
        return "all", "", f"there is no playbook {playbook!r}; there are {', '.join(names)}"
    if account:
        try:
            await cases_of(session, account)
        except NoSuchAccount as error:
            return "all", "", str(error)
    return ("playbook" if playbook else "account" if account else "all"), playbook or account, ""


def _said(row: Any) -> dict[str, str]:
    what = "Everything" if row.scope == "all" else f"{row.scope.capitalize()} {row.name}"
    since = row.wall_placed_at.strftime("%Y-%m-%d %H:%M")
    return {
        "what": what,
        "scope": row.scope,
        "name": row.name,
        "since": since,
        "by": row.placed_by,
        "reason": row.reason,
    }
