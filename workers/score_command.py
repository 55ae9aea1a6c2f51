"""`holdfast score`: how an account's health comes about, or a pass over all accounts."""

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table

from workers.console import AsJson, complain, run

if TYPE_CHECKING:
    from models.health.explaining import Explanation, Known
    from workers.settings import Settings

DAY: Final = typer.Option(formats=["%Y-%m-%d"], help="As of this business day (UTC); today if left out.")


def score(
    account: Annotated[str, typer.Argument(help="The account's id, or what the product calls it.")] = "",
    model: Annotated[str, typer.Option(help="h1 to h5; the one that speaks for the account if left out.")] = "",
    everybody: Annotated[bool, typer.Option("--all", help="Score all accounts; write what changed.")] = False,
    day: Annotated[datetime | None, DAY] = None,
    as_json: AsJson = False,
) -> None:
    """Show how an account's health score comes about: what was read, points of each weight, what is missing, the band.

    With --all, score every account by every model, as the daily health scan does: changes are written, and each band
    crossed is a fact that playbooks hear, once, however often it is run. Needs the database only.
    Exit code 1 if the account or the model is not known, 2 if neither an account nor --all is given, or both.
    """
    from workers.settings import Settings

    if bool(account) == everybody or (everybody and model):
        complain("name one account, or say --all (which scores by every model); see `holdfast score --help`")
        raise typer.Exit(2)
    run(_pass(Settings(), day, as_json) if everybody else _one(Settings(), account, model, day, as_json))


async def _one(settings: "Settings", name: str, model: str, day: datetime | None, as_json: bool) -> None:
    from models import parking
    from models.health.explaining import known_of
    from models.policy import PolicyFile
    from models.tables import wall
    from workers.databases import open_database

    policy = PolicyFile.read(settings.holdfast_policy).default
    async with open_database(settings) as database, database.reading() as session:
        account = (await parking.accounts_called(session, [name])).get(name, name)
        known = await known_of(session, account, policy, (day or wall()).date())
    explanation = known.explanation(model)
    if as_json:
        sys.stdout.write(json.dumps(_as_json(account, explanation, known)) + "\n")
    else:
        _show(account, explanation, known)


def _points(points: Fraction) -> str:
    """To four places at most, without zeros that say nothing."""
    return f"{float(points):.4f}".rstrip("0").rstrip(".")


def _as_json(account: str, said: "Explanation", known: "Known") -> dict[str, Any]:
    from models.health.scorecard import THOUSANDTH

    standing = said.standing
    return {
        "account": account,
        "model": said.card.name,
        "score": None if standing.score is None else standing.score / THOUSANDTH,
        "shown": standing.whole,
        "band": None if standing.score is None else standing.band,
        "held": said.held or None,
        "coverage": standing.coverage,
        "given": float(said.given),
        "attainable": said.attainable,
        "best": said.card.best,
        "parts": [
            {
                "part": line.title,
                "weight": line.weight,
                "points": None if line.points is None else float(line.points),
                "share": line.share,
                "readings": line.readings,
                "missing": list(line.missing) if line.points is None else [],
            }
            for line in said.lines
        ],
        "improve": said.improve or None,
        "improved": None if said.improved is None else said.improved / THOUSANDTH,
        "risk": {"score": known.risk.whole, "level": known.risk.band, "signals": list(known.signals)},
    }


def _show(account: str, said: "Explanation", known: "Known") -> None:
    from models.health.metrics import METRICS
    from models.health.risk import signal_named

    console, card = Console(), said.card
    table = Table("Part", "Reading", "Points", "of", "Share", title=f"{card.title} ({card.ledger}) of {account}")
    for line in said.lines:
        read = "mean of " if len(line.readings) > 1 else ""
        read += ", ".join(f"{METRICS[name].title}: {value}" for name, value in line.readings.items())
        lacks = f"[dim]missing: {' or '.join(METRICS[name].title for name in line.missing)}[/]"
        points = "" if line.points is None else _points(line.points)
        share = "" if line.share is None else f"{line.share} %"
        table.add_row(line.title, read or lacks, points, str(line.weight), share)
    console.print(table)
    for sentence in sentences(said):
        console.print(sentence)
    signals = "; ".join(f"{name} ({signal_named(name).level})" for name in known.signals) or "no live signal"
    console.print(f"Churn risk: {known.risk.whole}, {known.risk.band}: {signals}")


def sentences(said: "Explanation") -> Iterator[str]:
    """The sum, the score, the band, and what would help most."""
    from models.health.metrics import METRICS
    from models.health.scorecard import HYSTERESIS, LEAST_COVERAGE, THOUSANDTH

    card, standing = said.card, said.standing
    if standing.score is None:
        yield f"Unknown: {standing.coverage} % of the weights are known, {LEAST_COVERAGE} % are needed."
        return
    sum_of = f"Sum {_points(said.given)}"
    if said.attainable != card.best:
        sum_of += f" x {card.best} / {said.attainable} (what is missing is left out)"
    if card.out_of != 100:
        sum_of += f" x 100 / {card.out_of}"
    yield f"{sum_of} = {standing.score / THOUSANDTH:g}, shown as {standing.whole} of 100."
    fresh = card.band(standing.score)
    held = f", held from before: a band is left {HYSTERESIS // THOUSANDTH} points beyond its limit"
    action = next(band.action for band in card.bands if band.name == standing.band)
    yield f"Band: {card.title_of(standing.band)}{held if fresh != standing.band else ''}. Due: {action}."
    if said.improved is not None:
        yield f"What would help most: {METRICS[said.improve].title}; at its best, {said.improved / THOUSANDTH:g}."


async def _pass(settings: "Settings", day: datetime | None, as_json: bool) -> None:
    from sqlmodel import func, select

    from activities.scans import Scans
    from models.policy import PolicyFile
    from models.scans import Found, Scan
    from models.tables import Account, wall
    from workers.databases import open_database

    began, found = time.monotonic(), Found()
    job = Scan(which="health", day=(day or wall()).date(), window=sys.maxsize)
    scans_policy = PolicyFile.read(settings.holdfast_policy)
    async with open_database(settings) as database:
        async with database.reading() as session:
            count = (await session.exec(select(func.count()).select_from(Account))).one()
        scans = Scans(database, scans_policy)
        with _progress(count) as tell:
            async for page in scans.pages(job, found):
                found = found.plus(await scans.put(job, page))
                tell(found.accounts)
    if as_json:
        names = {"accounts", "found", "recorded", "by_value"}
        said = {**found.model_dump(mode="json", include=names), "seconds": round(time.monotonic() - began, 3)}
        sys.stdout.write(json.dumps({"day": job.day.isoformat(), **said}) + "\n")
    else:
        Console().print(f"Scored as of {job.day} (UTC): {found.in_words()}.")


@contextlib.contextmanager
def _progress(count: int) -> Iterator[Callable[[int], None]]:
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("accounts"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("accounts", total=count)
        yield lambda done: progress.update(task, completed=done)
