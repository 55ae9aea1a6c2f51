"""A hundred thousand accounts from a CSV file, one row in a hundred bad: twice, on SQLite and on PostgreSQL."""

import asyncio
import csv
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from models.database import Database
from tests.models.postgres import Postgres
from workers import migrate

ROWS: Final = 100_000
FEW_ROWS: Final = 10_000
MOST_MORE_MB: Final = 50
"""How much more memory ten times the rows may take."""
ROOT: Final = Path(__file__).parent.parent
COLUMNS: Final = ("id", "external_id", "company", "email", "timezone", "segment", "mrr", "currency", "plan", "health")
ZONES: Final = ("Europe/Berlin", "America/New_York", "Asia/Tokyo", "UTC")
SPOILT: Final = {"email": "nobody", "timezone": "Mars/Phobos", "mrr": "12.50", "health": "101", "currency": "dollars"}


def written(path: Path, rows: int) -> set[int]:
    """Write a file of made-up accounts; the lines that are bad, each in one column or by an id that came before."""
    rng = random.Random(rows)
    bad = set()
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for number in range(rows):
            row = {
                "id": f"cus_{number:07}",
                "external_id": f"acme-{number:07}",
                "company": f"Company {number}, Inc.",
                "email": f"billing{number}@example.com",
                "timezone": rng.choice(ZONES),
                "segment": rng.choice(("starter", "mid", "enterprise")),
                "mrr": str(rng.randrange(0, 500_000)),
                "currency": "usd",
                "plan": "pro",
                "health": str(rng.randrange(0, 101)),
            }
            if number % 100 == 50:
                bad.add(number + 2)
                spoilt = rng.choice([*SPOILT, "id"])
                row[spoilt] = SPOILT.get(spoilt, "cus_0000000")
            writer.writerow(row)
    return bad


def run_import(path: Path, url: str) -> tuple[dict[str, Any], float, float]:
    """Import in a process of its own: its report, seconds, and its peak memory in MB."""
    program = [sys.executable, "-m", "workers", "import", "accounts", str(path), "--json"]
    out = path.with_suffix(".json")
    began = time.monotonic()
    with out.open("wb") as said:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "DATABASE_URL": url}
        child = subprocess.Popen(program, stdout=said, stderr=subprocess.DEVNULL, cwd=path.parent, env=environment)
        # Of all the ways to wait, this one tells the peak memory of one child and not of all there were.
        _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    took = time.monotonic() - began
    unit = 1024 if sys.platform == "linux" else 1024 * 1024
    return json.loads(out.read_text(encoding="utf-8")), took, usage.ru_maxrss / unit


def bad_lines(report: dict[str, Any]) -> set[int]:
    """The line numbers in the file of rejected rows."""
    if not report["rejected"]:
        return set()
    with Path(report["rejected"]).open(encoding="utf-8", newline="") as file:
        return {int(row["reason"].split(":")[0].removeprefix("line ")) for row in csv.DictReader(file)}


def measured(folder: Path, few_url: str, url: str) -> tuple[dict[str, Any], bool]:
    """A small file for its memory, then the large one twice."""
    few, many = folder / "few.csv", folder / "many.csv"
    written(few, FEW_ROWS)
    bad = written(many, ROWS)
    _, _, few_mb = run_import(few, few_url)
    report, seconds, peak_mb = run_import(many, url)
    reported = bad_lines(report)
    again, again_s, _ = run_import(many, url)
    figures = {
        "rows": ROWS,
        "loaded": report["loaded"],
        "bad_reported": report["bad"],
        "second_run_changed": again["changed"],
        "seconds": round(seconds, 1),
        "second_run_seconds": round(again_s, 1),
        "rows_per_s": round(ROWS / seconds),
        "peak_rss_mb": round(peak_mb, 1),
        "peak_rss_mb_of_10k_rows": round(few_mb, 1),
    }
    holds = (
        report["read"] == ROWS
        and report["loaded"] == report["changed"] == ROWS - len(bad)
        and reported == bad
        and again["changed"] == 0
        and again["unchanged"] == report["loaded"]
        and peak_mb - few_mb < MOST_MORE_MB
    )
    return figures, holds


async def _migrated(url: str) -> str:
    database = Database(url)
    await migrate.upgrade(database)
    await database.close()
    return url


@contextmanager
def postgres_cluster() -> Iterator[Postgres | None]:
    """A PostgreSQL of our own while it is needed; None where it is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    cluster = Postgres(found[-1].parent) if found else None
    try:
        yield cluster
    finally:
        if cluster:
            cluster.stop()


async def import_accounts() -> tuple[dict[str, Any], bool]:
    """Both databases where both are there; the figures are SQLite's, PostgreSQL's beside them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        few, many = [await _migrated(f"sqlite:///{folder / each}.db") for each in ("few", "many")]
        figures, holds = await asyncio.to_thread(measured, folder, few, many)
        with postgres_cluster() as cluster:
            if cluster:
                few, many = await cluster.migrated(), await cluster.migrated()
                figures["postgresql"], fits = await asyncio.to_thread(measured, folder, few, many)
                holds = holds and fits
    return figures, holds
