"""How long the health pass takes: many accounts with 36 metrics, on SQLite and on PostgreSQL (`make bench-scoring`).

A first pass scores accounts nobody has scored; then one account in a hundred changes, and the pass that is measured
finds exactly these. A third changes nothing. Beside it the same sums by hand in polars, without gaps, coverage and
bands, over the same frames. What has to hold is said of seconds of the processor, for others work on the machine;
seconds on the clock and the load stand beside them.
"""

import argparse
import asyncio
import json
import os
import resource
import sqlite3
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

import polars as pl
import psycopg

from activities.scans import HEALTH_PAGE
from activities.scans import Scans as ScanActivity
from bench.import_accounts import postgres_cluster
from models.database import Database
from models.health import CARDS, scoring
from models.health.metrics import ALL
from models.health.scorecard import POINT, Labels, Part, Proportion, Rule, hundredths
from models.policy import Policy, PolicyFile
from workers import migrate

DAY: Final = date(2026, 3, 30)
EVERY: Final = 100
"""One account in so many changes its band before the second pass."""
CHUNK: Final = 50_000
STAGES: Final = ("read", "score", "compare", "write")
LEAST_RATIO: Final = 0.5
MOST_SECONDS: Final = 60
MOST_MB: Final = 1500
PER_HOUR: Final = 10**6
NOTHING: Final = r',"[a-z_]+":null'
"""What is not known is not in a document."""


def readings(first: int, count: int, *, fallen: bool = False) -> pl.DataFrame:
    """Accounts with made-up readings, a fifth of them missing; every hundredth excellent, or `fallen`, poor in all."""
    numbers = pl.DataFrame({"n": range(first, first + count)}, schema={"n": pl.UInt64})
    marked = pl.col("n") % EVERY == 0
    columns = []
    for place, metric in enumerate(ALL):
        drawn, gap = pl.col("n").hash(place), pl.col("n").hash(1000 + place) % 5 == 0
        if metric.labels:
            best: Any = metric.labels[-1]
            worst: Any = metric.labels[0]
            label = drawn % len(metric.labels)
            value: Any = label.replace_strict(dict(enumerate(metric.labels)), return_dtype=pl.String)
        else:
            best, worst = min(metric.most, 200), max(metric.least, -100)
            if metric.name == "open_tickets":
                best, worst = worst, best
            span = (min(metric.most, 200) - metric.least) * 10
            value = ((drawn % (span + 1)).cast(pl.Int64) / 10 + metric.least).round(1)
        marked_value = pl.lit(worst if fallen else best)
        columns.append(pl.when(marked).then(marked_value).when(~gap).then(value).alias(metric.name))
    account = pl.format("a{}", pl.col("n").cast(pl.String).str.zfill(7))
    return numbers.select(
        account.alias("account"), pl.struct(columns).struct.json_encode().str.replace_all(NOTHING, "").alias("readings")
    )


ACCOUNTS: Final = """INSERT INTO accounts (id, name, company, email, locale, timezone, owner, segment, strategic, mrr,
    currency, plan, signed_up_at, churn_reason, card_last4, wall_updated_at)
    SELECT account_id, '', '', '', '', '', '', '', {no}, 4900, 'usd', '', '2024-01-01 00:00:00+00:00', '', '',
    '2026-03-30 00:00:00+00:00' FROM account_metrics"""


def fill_sqlite(path: Path, accounts: int) -> None:
    """Accounts and their readings, straight into the file: loading is not what is measured."""
    with closing(sqlite3.connect(path)) as plain:
        plain.execute("PRAGMA synchronous=OFF")
        for first in range(0, accounts, CHUNK):
            rows = readings(first, min(CHUNK, accounts - first)).rows()
            plain.executemany("INSERT INTO account_metrics VALUES (?, ?, '{}')", rows)
        plain.execute(ACCOUNTS.format(no=0).replace("+00:00", ".000000"))
        plain.commit()


def fill_postgres(url: str, accounts: int) -> None:
    """The same into PostgreSQL."""
    with psycopg.connect(url) as plain:
        for first in range(0, accounts, CHUNK):
            with plain.cursor() as cursor, cursor.copy("COPY account_metrics FROM STDIN") as copy:
                for row in readings(first, min(CHUNK, accounts - first)).rows():
                    copy.write_row((*row, "{}"))
        plain.execute(ACCOUNTS.format(no="false"))
    with psycopg.connect(url, autocommit=True) as plain:
        plain.execute("ANALYZE")


async def let_some_fall(database: Database, accounts: int) -> int:
    """Every hundredth account is poor now; how many."""
    rows = pl.concat(
        readings(first, min(CHUNK, accounts - first), fallen=True).gather_every(EVERY)
        for first in range(0, accounts, CHUNK)
    ).rows()
    mark = "?" if database.is_sqlite else "%s"
    statement = f"UPDATE account_metrics SET readings = {mark} WHERE account_id = {mark}"
    async with database.engine.begin() as connection:
        await connection.exec_driver_sql(statement, [(text, account) for account, text in rows])
    return len(rows)


def bare(frame: pl.LazyFrame) -> pl.LazyFrame:
    """What somebody would write by hand: the same sums in floats; a gap is worth nothing."""
    totals = []
    for card in CARDS:
        parts = [_bare_part(part).fill_null(0) for part in card.parts]
        totals.append(pl.sum_horizontal(parts).clip(0, 100).alias(card.name))
    return frame.select("account", *totals)


def _bare_part(part: Part) -> pl.Expr:
    worths = [_bare_worth(rule, part) for rule in part.rules]
    if len(worths) == 1:
        return worths[0]
    return pl.mean_horizontal(worths) if part.mean else pl.coalesce(worths)


def _bare_worth(rule: Rule, part: Part) -> pl.Expr:
    unit, reading = part.unit(rule) / POINT, pl.col(rule.metric)
    if isinstance(rule, Proportion):
        return reading.clip(0, rule.best) * unit
    chain: Any = pl
    if isinstance(rule, Labels):
        for label, worth in rule.worths:
            chain = chain.when(reading == label).then(worth * unit)
        labelled: pl.Expr = chain.otherwise(None)
        return labelled
    for limit, worth in reversed(rule.limits):
        chain = chain.when(reading >= hundredths(limit)).then(worth * unit)
    stepped: pl.Expr = chain.otherwise(rule.below * unit)
    return stepped


class Stages:
    """A pass with its time by stage: seconds on the clock, and for scoring of the processor too."""

    def __init__(self, database: Database, *, with_bare: bool = False) -> None:
        self._db, self._with_bare = database, with_bare
        self.seconds = defaultdict[str, float](float)
        self.accounts = self.facts = self.crossed = self.rows = 0

    def _timed(self, name: str, began: tuple[float, float]) -> None:
        self.seconds[name] += time.perf_counter() - began[0]
        self.seconds[f"{name}_cpu"] += time.process_time() - began[1]

    async def run(self, day: date) -> None:
        """Every page, as the scan takes it."""
        policy = PolicyFile({"starts": {"per_hour": PER_HOUR}})
        scans, after, last = ScanActivity(self._db, policy), "", False
        while not last:
            began = time.perf_counter(), time.process_time()
            async with self._db.reading() as session:
                page = await scoring.read_page(session, day, Policy(), after, HEALTH_PAGE)
            frame = scoring.decode(page)
            self._timed("read", began)
            began = time.perf_counter(), time.process_time()
            scores = scoring.score(frame)
            self._timed("score", began)
            if self._with_bare:
                began = time.perf_counter(), time.process_time()
                bare(frame.lazy()).collect()
                self._timed("bare", began)
            began = time.perf_counter(), time.process_time()
            changes = scoring.compare(scores, day)
            self._timed("compare", began)
            began = time.perf_counter(), time.process_time()
            self.facts += await scans.put_scores(changes)
            self._timed("write", began)
            self.accounts += page.rows.height
            self.crossed += len(changes.events)
            self.rows += changes.rows.height
            after, last = page.after, page.last

    def total(self, which: str = "") -> float:
        """All stages but the comparison with bare polars; `_cpu` for those of the processor."""
        return sum(self.seconds[f"{name}{which}"] for name in STAGES)


async def measured(database: Database, accounts: int) -> tuple[dict[str, Any], bool]:
    """Three passes. Figures of the second, and whether they hold."""
    first, second, third = Stages(database), Stages(database, with_bare=True), Stages(database)
    await first.run(DAY)
    print(f"first pass {first.total():.1f} s, {first.rows:,} rows written", flush=True)
    fallen = await let_some_fall(database, accounts)
    await second.run(DAY + timedelta(days=1))
    await third.run(DAY + timedelta(days=1))
    seconds = {name: round(value, 2) for name, value in second.seconds.items()}
    # The frames of the second pass are scored twice, by us and by hand.
    ratio = seconds["bare_cpu"] / max(seconds["score_cpu"], 0.01)
    figures: dict[str, Any] = {
        "accounts": second.accounts,
        **{f"{name}_s": seconds[name] for name in STAGES},
        "total_s": round(second.total(), 1),
        "cpu_s": {name: seconds[f"{name}_cpu"] for name in STAGES} | {"total": round(second.total("_cpu"), 1)},
        "load": round(os.getloadavg()[0], 1),
        "bare_polars_s": seconds["bare"],
        "bare_polars_cpu_s": seconds["bare_cpu"],
        "ratio": round(ratio, 2),
        "accounts_per_s": {name: round(accounts / max(seconds[name], 0.01)) for name in STAGES},
        "first_pass_s": round(first.total(), 1),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "fallen": fallen,
        "crossed": second.crossed,
        "facts": second.facts,
        "facts_again": third.facts,
    }
    holds = (
        second.accounts == accounts
        and second.crossed == second.facts == fallen == -(-accounts // EVERY)
        and first.facts == third.facts == third.rows == 0
        and ratio >= LEAST_RATIO
        and second.total("_cpu") < MOST_SECONDS
        and figures["peak_mb"] < MOST_MB
    )
    return figures, holds


async def score_accounts(accounts: int) -> tuple[dict[str, Any], bool]:
    """Both databases where both are there; the figures are SQLite's, PostgreSQL's beside them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.db"
        database = Database(f"sqlite:///{path}")
        await migrate.upgrade(database)
        fill_sqlite(path, accounts)
        print(f"SQLite: {accounts:,} accounts, {path.stat().st_size // 2**20:,} MB", flush=True)
        figures, holds = await measured(database, accounts)
        print(json.dumps(figures), flush=True)
        await database.close()
    with postgres_cluster() as cluster:
        if cluster:
            url = await cluster.migrated()
            fill_postgres(url, accounts)
            print("PostgreSQL", flush=True)
            database = Database(url)
            figures["postgresql"], fits = await measured(database, accounts)
            await database.close()
            holds = holds and fits
    return figures, holds


def main() -> int:
    """1 when a figure does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accounts", type=int, default=1_000_000)
    figures, holds = asyncio.run(score_accounts(parser.parse_args().accounts))
    print(json.dumps({"bench": "scoring", **figures, "holds": holds}))
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
