"""`holdfast story`: what an account heard of us, what it did not hear, and why."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from workers.console import AsJson, run

FORMAT = "%Y-%m-%d %H:%M"


def story(
    account: Annotated[str, typer.Argument(help="The account's id, as the billing provider names it.")],
    as_json: AsJson = False,
    temporal_ui: Annotated[str, typer.Option(help="URL of the Temporal Web UI, to link runs to.")] = "",
) -> None:
    """An account's story in order: what was sent, what was not or had to wait, by which rule and why; cases, offers.

    Exit code 1 if nothing is known of the account.
    """
    from models.story import story_of
    from web.temporal_ui import run_url
    from workers.databases import open_database
    from workers.settings import Settings

    async def work() -> None:
        settings = Settings()
        async with open_database(settings) as database, database.reading() as session:
            told = await story_of(session, account)
        lines = [
            {
                "at": entry.at.strftime(FORMAT),
                "what": entry.what,
                "text": entry.text,
                "why": entry.why,
                "rule": entry.rule,
                "case": entry.case,
                "key": entry.key,
            }
            for entry in told.entries
        ]
        if as_json:
            runs = {case.id: run_url(temporal_ui, case.id, settings.temporal_namespace) for case in told.cases}
            Console().print_json(json.dumps({"account": account, "runs": runs, "story": lines}))
            return
        table = Table("When (UTC)", "What", "", "Why", "Rule", "Case")
        for line in lines:
            run_of = line["case"]
            if run_of and temporal_ui:
                run_of = f"[link={run_url(temporal_ui, run_of, settings.temporal_namespace)}]{run_of}[/link]"
            table.add_row(line["at"], line["what"], line["text"], line["why"], line["rule"], run_of)
        Console().print(table if lines else "Nothing has happened yet.")

    run(work())
