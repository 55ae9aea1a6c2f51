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
            runs = {case.id: _link(temporal_ui, settings.temporal_namespace, case.id) for case in told.cases}
            Console().print_json(json.dumps({"account": account, "runs": runs, "story": lines}))
            return
        table = Table("When (UTC)", "What", "", "Why", "Rule", "Case")
        for line in lines:
            run_of = line["case"]
            if run_of and temporal_ui:
                run_of = f"[link={_link(temporal_ui, settings.temporal_namespace, run_of)}]{run_of}[/link]"
            table.add_row(line["at"], line["what"], line["text"], line["why"], line["rule"], run_of)
        Console().print(table if lines else "Nothing has happened yet.")

    run(work())


def _link(temporal_ui: str, namespace: str, case: str) -> str:
    """Where the Temporal Web UI shows a run; empty without one."""
    from urllib.parse import quote

    if not temporal_ui:
        return ""
    asked = quote(f'WorkflowId="{case}"', safe="")
    return f"{temporal_ui.rstrip('/')}/namespaces/{namespace}/workflows?query={asked}"
