"""`holdfast at-risk`: the at-risk list."""

import json
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from workers.console import AsJson, run


def at_risk_command(as_json: AsJson = False) -> None:
    """Who is at risk: health below 40, a high churn risk, or a run that sees to it; most revenue first. Reads only."""
    from models.health.listing import at_risk
    from models.money import money
    from models.tables import wall
    from workers.databases import open_database
    from workers.settings import Settings

    async def work() -> None:
        async with open_database(Settings()) as database, database.reading() as session:
            found = await at_risk(session, wall().date())
        if as_json:
            Console().print_json(json.dumps([asdict(each) for each in found]))
            return
        table = Table("Account", "CSM", "Health", "Churn risk", "MRR", "Under way")
        for each in found:
            table.add_row(
                f"{each.company} ({each.account})" if each.company else each.account,
                each.owner,
                "" if each.health is None else f"{each.health}",
                each.risk + (f": {', '.join(each.signals)}" if each.signals else ""),
                money(each.mrr, each.currency),
                "\n".join(each.runs),
            )
        Console().print(table if found else "Nobody is at risk.")

    run(work())
