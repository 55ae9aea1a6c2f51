"""How long the usage scan takes: many accounts, two metrics, sixty days, on SQLite (`make bench-scan`)."""

import argparse
import asyncio
import json
import resource
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any, Final

from activities.scans import Scans
from models.database import Database
from models.policy import PolicyFile
from models.scans import Found, Scan
from workers import migrate

DAYS: Final = 60
TODAY: Final = date(2026, 3, 30)
FALLS_EVERY: Final = 20
"""One account in so many nearly stops, eight days before the scan; the others are steady."""
PER_SECOND: Final = 1000
"""Fewer accounts a second than this, and a million would take longer than a quarter of an hour."""
PEAK_MB: Final = 400


CHUNK: Final = 10_000
ACCOUNTS: Final = """
WITH RECURSIVE numbers(n) AS (SELECT :first UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < :until)
INSERT INTO accounts (id, name, company, email, locale, timezone, owner, segment, strategic, mrr, currency, plan,
                      signed_up_at, churn_reason, card_last4, wall_updated_at)
SELECT printf('a%07d', n), '', '', '', '', '', '', '', 0, 4900, 'usd', '', '2024-01-01 00:00:00.000000', '', '',
       '2026-03-30 00:00:00.000000'
FROM numbers
"""
USAGE: Final = """
WITH RECURSIVE numbers(n) AS (SELECT :first UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < :until),
     back(b) AS (SELECT :days UNION ALL SELECT b - 1 FROM back WHERE b > 1),
     metrics(m) AS (VALUES ('activity'), ('login'))
INSERT INTO usage_days (account_id, metric, day, count)
SELECT printf('a%07d', n), m, date(:today, '-' || b || ' days'), CASE WHEN n % :every = 0 AND b <= 8 THEN 1 ELSE 10 END
FROM numbers CROSS JOIN metrics CROSS JOIN back
"""


def fill(path: Path, accounts: int) -> None:
    """Accounts and their use, straight into the file: loading is not what is measured."""
    with closing(sqlite3.connect(path)) as plain:
        plain.execute("PRAGMA synchronous=OFF")
        for first in range(0, accounts, CHUNK):
            values = {
                "first": first,
                "until": min(first + CHUNK, accounts),
                "days": DAYS,
                "today": TODAY.isoformat(),
                "every": FALLS_EVERY,
            }
            plain.execute(ACCOUNTS, {name: values[name] for name in ("first", "until")})
            plain.execute(USAGE, values)
            plain.commit()


async def scan_usage(accounts: int = 200_000) -> tuple[dict[str, Any], bool]:
    """A first scan, and the same again, which finds nothing new. Figures, and whether they hold."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.db"
        database = Database(f"sqlite:///{path}")
        await migrate.upgrade(database)
        begun = time.perf_counter()
        fill(path, accounts)
        print(f"filled {accounts:,} accounts in {time.perf_counter() - begun:.0f} s", flush=True)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        scans, rounds = Scans(database, PolicyFile()), []
        for name in ("first scan", "again"):
            begun, found = time.perf_counter(), Found()
            scan = Scan(which="usage", day=TODAY, window=sys.maxsize)
            async for page in scans.pages(scan, found):
                found = found.plus(await scans.put(scan, page))
            rounds.append((time.perf_counter() - begun, found))
            print(f"{name}: {rounds[-1][0]:.1f} s; {found.in_words()}", flush=True)
        await database.close()
        size = path.stat().st_size // 2**20
    seconds, first = rounds[0]
    figures = {
        "accounts": accounts,
        "usage_rows": accounts * DAYS * 2,
        "database_mb": size,
        "found": first.found,
        "seconds": round(seconds, 1),
        "seconds_again": round(rounds[1][0], 1),
        "accounts_per_s": int(accounts / seconds),
        "rss_mb_before": before,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    holds = (
        first.recorded == -(-accounts // FALLS_EVERY)
        and rounds[1][1].recorded == 0
        and accounts / seconds >= PER_SECOND
        and int(figures["peak_rss_mb"]) <= PEAK_MB
    )
    return figures, holds


def main() -> int:
    """1 when a figure does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accounts", type=int, default=200_000)
    figures, holds = asyncio.run(scan_usage(parser.parse_args().accounts))
    print(json.dumps({"bench": "scan-usage", **figures, "holds": holds}))
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
