"""`holdfast csm`: books of business, and who looks after whom."""

import json
from dataclasses import asdict
from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from workers.console import AsJson, complain, run

if TYPE_CHECKING:
    from sqlmodel.ext.asyncio.session import AsyncSession

    from models.customers import Owner

Handle = Annotated[str, typer.Argument(help="The owner's handle, as loaded with `holdfast import owners`.")]
DAY = ["%Y-%m-%d"]

csm_app = typer.Typer(help="CSMs: their books, their capacity, who looks after whom.", no_args_is_help=True)


@csm_app.command()
def book(
    handle: Annotated[str, typer.Argument(help="Only this CSM's; all of them if left out.")] = "",
    as_json: AsJson = False,
) -> None:
    """Each CSM's book: accounts by segment, ARR, mean health, renewals within 90 days, and how full it is.

    Exit code 1 if there is no such CSM.
    """
    from models import books
    from models.money import money
    from models.policy import PolicyFile
    from models.tables import wall
    from workers.databases import open_database
    from workers.settings import Settings

    settings = Settings()

    async def work() -> int:
        rules = PolicyFile.read(settings.holdfast_policy).default.books
        async with open_database(settings) as database, database.reading() as session:
            found = await books.books(session, rules, wall().date())
            warnings = await books.too_few(session, rules, wall().date())
        found = [each for each in found if handle in ("", each.handle)]
        if handle and not found:
            complain(f"no CSM {handle!r} has a book; `holdfast csm book` shows all")
            return 1
        if as_json:
            Console().print_json(json.dumps({"books": [asdict(each) for each in found], "warnings": warnings}))
            return 0
        table = Table("CSM", "Serves", "Accounts", "ARR", "Health", "Renewals in 90 days", "Full", "")
        for each in found:
            segments = ", ".join(f"{count} {name or 'without a segment'}" for name, count in each.by_segment.items())
            arr = ", ".join(money(amount, currency) for currency, amount in each.arr.items())
            health = "" if each.mean_health is None else f"{each.mean_health:g}"
            table.add_row(
                f"{each.name or each.handle}" + (f" ({each.handle})" if each.name else ""),
                ", ".join(each.serves),
                f"{each.accounts}" + (f" ({segments})" if segments else ""),
                arr,
                health,
                f"{each.renewals_ahead}",
                f"{each.full_pct} %",
                each.state,
            )
        Console().print(table if found else "There are no CSMs: load some with `holdfast import owners`.")
        for warning in warnings:
            Console().print(f"[yellow]![/] {warning}")
        return 0

    run(work())


@csm_app.command()
def assign(
    account: Annotated[str, typer.Argument(help="The account's id.")],
    handle: Handle,
    hold: Annotated[
        bool, typer.Option("--hold", help="Keep it with this CSM, whoever else has room, until they leave.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Give an account to a CSM by hand: open tasks go along, and open runs hear of it.

    Exit code 2 if there is no such account or CSM.
    """

    async def change(session: "AsyncSession") -> tuple[str, dict[str, Any]]:
        from models import books
        from models.tables import Account, wall

        row = await session.get(Account, account, with_for_update=True)
        if row is None:
            raise LookupError(f"no account {account!r} is known")
        owner = await _owner(session, handle)
        before = row.owner
        await books.assign(session, row, owner.handle, wall(), held=hold)
        said = f"{account} is {handle}'s" + (", and stays so" if hold else "")
        return said + (f"; it was {before}'s" if before and before != handle else ""), {
            "account": account,
            "owner": handle,
            "before": before,
            "held": hold,
        }

    run(_changed(change, as_json))


@csm_app.command()
def leaves(
    handle: Handle,
    on: Annotated[
        datetime | None, typer.Option(formats=DAY, help="The first day without them (UTC); today if left out.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say that a CSM leaves. From that day on the daily look passes their accounts on, with open tasks and runs.

    `holdfast scan books` does it at once. Exit code 2 if there is no such owner.
    """

    async def change(session: "AsyncSession") -> tuple[str, dict[str, Any]]:
        from models.tables import wall

        owner = await _owner(session, handle)
        owner.left_on = on.date() if on else wall().date()
        session.add(owner)
        return f"{handle} leaves on {owner.left_on}", {"owner": handle, "left_on": owner.left_on.isoformat()}

    run(_changed(change, as_json))


@csm_app.command()
def away(
    handle: Handle,
    until: Annotated[datetime, typer.Option(formats=DAY, help="The last day away (UTC).")],
    since: Annotated[
        datetime | None, typer.Option("--from", formats=DAY, help="The first day away; today if left out.")
    ] = None,
    cover: Annotated[str, typer.Option(help="Who does their tasks meanwhile; the CSM lead if left out.")] = "",
    as_json: AsJson = False,
) -> None:
    """Say that a CSM is away. They keep their accounts; tasks go to the cover, and they are given no new accounts.

    Exit code 2 if there is no such owner or cover, or the days are the wrong way round.
    """

    async def change(session: "AsyncSession") -> tuple[str, dict[str, Any]]:
        from models.tables import wall

        owner = await _owner(session, handle)
        if cover:
            await _owner(session, cover)
        first: date = since.date() if since else wall().date()
        if until.date() < first:
            raise LookupError(f"away from {first} until {until.date()}: the last day comes before the first")
        owner.away_from, owner.away_until, owner.covered_by = first, until.date(), cover
        session.add(owner)
        words = f"{handle} is away from {first} until {until.date()}; {cover or 'the CSM lead'} does their tasks"
        return words, {"owner": handle, "from": first.isoformat(), "until": until.date().isoformat(), "cover": cover}

    run(_changed(change, as_json))


async def _owner(session: "AsyncSession", handle: str) -> "Owner":
    from models.customers import Owner

    row = await session.get(Owner, handle, with_for_update=True)
    if row is None:
        raise LookupError(f"no owner {handle!r} is known; load owners with `holdfast import owners`")
    return row


async def _changed(change: Any, as_json: bool) -> int:
    from workers.databases import open_database
    from workers.settings import Settings

    async with open_database(Settings()) as database:
        try:
            async with database.writing() as session:
                words, said = await change(session)
        except LookupError as error:
            complain(str(error))
            return 2
    if as_json:
        Console().print_json(json.dumps(said))
    else:
        Console().print(f"{words}.")
    return 0
