"""`holdfast report`: the weekly summary and the monthly review, at any time."""

import json
from datetime import datetime
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console

from workers.console import AsJson, run


class Which(StrEnum):
    """The periods of `models.reports.PERIODS`."""

    week = "week"
    month = "month"


def report_command(
    which: Annotated[Which, typer.Argument(help="week or month.")] = Which.week,
    day: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="The last whole one before this day (UTC); today if left out."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what the last whole week or month came to: runs, money recovered, health, renewals ahead. Reads only.

    The daily job `scan-reports` gives each to the CSM lead as a task, once.
    """
    from models.reports import PERIODS, report
    from models.tables import wall
    from workers.databases import open_database
    from workers.settings import Settings

    period = next(each for each in PERIODS if each == which.value)

    async def work() -> None:
        async with open_database(Settings()) as database, database.reading() as session:
            made = await report(session, period, day.date() if day else wall().date())
        if as_json:
            Console().print_json(json.dumps(made.as_json()))
        else:
            Console().print(f"[bold]{made.title}[/]\n\n{made.in_words()}", highlight=False)

    run(work())
