"""`holdfast import`: a CSV file of any size into the database, a thousand rows a transaction; bad rows are kept apart.

Running it again changes nothing. It starts no runs: history is loaded, facts are said elsewhere.
"""

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

from sqlmodel.ext.asyncio.session import AsyncSession

from models import counting, loading, parking
from models.columns import (
    AccountColumns,
    BadRow,
    ContactColumns,
    ContractColumns,
    Loadable,
    MetricColumns,
    OwnerColumns,
    UsageColumns,
    read_row,
)
from models.counting import Count
from models.database import Database
from models.health.metrics import BadMetric, metric_named
from models.health.recording import record_metrics
from models.policy import Usage
from models.tables import wall
from workers.csv_files import REASON, BadFile, Header, Line, Rejected, header_of, lines_of, look_over

ROWS_AT_ONCE: Final = 1000
SHOWN: Final = 20


@dataclass(frozen=True)
class Kind:
    """What a file may hold: the row, the columns it cannot do without, and those that tell rows apart."""

    row: type[Loadable]
    needs: tuple[str, ...]
    key: tuple[str, ...]


KINDS: Final[dict[str, Kind]] = {
    "accounts": Kind(AccountColumns, ("id",), ("id",)),
    "contacts": Kind(ContactColumns, ("id",), ("id",)),
    "contracts": Kind(ContractColumns, ("id",), ("id",)),
    "owners": Kind(OwnerColumns, ("handle",), ("handle",)),
    "usage": Kind(UsageColumns, ("account", "metric", "day", "count"), ("account", "metric", "day")),
    "metrics": Kind(MetricColumns, ("account", "metric", "value"), ("account", "metric", "at")),
}


@dataclass
class Report:
    """What an import did. `loaded` rows are in the database now: those that were `changed` or new, and the others."""

    kind: str
    file: str
    read: int = 0
    loaded: int = 0
    changed: int = 0
    unchanged: int = 0
    bad: int = 0
    events_that_went_on: int = 0
    rejected: str = ""
    dry_run: bool = False
    seconds: float = 0.0
    first_bad: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The figures."""
        return asdict(self)


@dataclass(frozen=True)
class _Row:
    line: Line
    values: dict[str, str]
    row: Any


class _RollBack(Exception):
    """Ends the transaction of a dry run."""


class Import:
    """One file on its way in. `progress` is told the bytes done and the bytes there are."""

    def __init__(
        self,
        database: Database,
        kind: str,
        path: Path,
        rules: Usage,
        *,
        dry_run: bool = False,
        progress: Callable[[int, int], None] = lambda done, of: None,
        complain: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._db = database
        self._kind = KINDS[kind]
        self._path = path
        self._rules = rules
        self._progress = progress
        self._complain = complain
        self.report = Report(kind, str(path), dry_run=dry_run)
        self._size = look_over(path)
        self._header = self._checked(header_of(path, list(self._kind.row.model_fields)))
        self._rejected = Rejected(path, self._header)

    def _checked(self, header: Header) -> Header:
        known = list(self._kind.row.model_fields)
        unknown = [name for name in header.columns if name not in known and name != REASON]
        lacking = [name for name in self._kind.needs if name not in header.columns]
        wrong = [f"unknown column{'s' if len(unknown) > 1 else ''} {', '.join(map(repr, unknown))}"] if unknown else []
        wrong += [f"no column {', '.join(map(repr, lacking))}"] if lacking else []
        if wrong:
            raise BadFile(
                f"{self._path}: {'; '.join(wrong)}. For {self.report.kind} there are: {', '.join(known)}. "
                f"Needed: {', '.join(self._kind.needs)}"
            )
        return header

    async def run(self) -> Report:
        """Read, check and load every row. A row that cannot be loaded is reported, and the others go on."""
        began = time.monotonic()
        try:
            with _Seen() as seen:
                lines = lines_of(self._path, self._header)
                while batch := list(islice(lines, ROWS_AT_ONCE)):
                    good = list(self._readable(batch, seen))
                    if good:
                        await self._load(good)
                    self._progress(batch[-1].end, self._size)
        finally:
            self._rejected.close()
        self.report.rejected = str(self._rejected.path) if self._rejected.count else ""
        self.report.seconds = round(time.monotonic() - began, 3)
        return self.report

    def _readable(self, batch: Iterable[Line], seen: "_Seen") -> Iterator[_Row]:
        for line in batch:
            self.report.read += 1
            if line.reason:
                self._bad(line, line.reason)
                continue
            pairs = zip(self._header.columns, line.cells, strict=True)
            # An empty cell says nothing; what is in the database stays.
            values = {name: cell.strip() for name, cell in pairs if name != REASON and cell.strip()}
            try:
                row = read_row(self._kind.row, values)
            except BadRow as error:
                self._bad(line, str(error))
                continue
            key = "\0".join(str(getattr(row, name)) for name in self._kind.key)
            earlier = seen.before(key, line.number)
            if earlier:
                self._bad(line, f"{', '.join(self._kind.key)}: the same as in line {earlier}; keep one of the two")
                continue
            yield _Row(line, values, row)

    async def _load(self, rows: Sequence[_Row]) -> None:
        problems: list[tuple[Line, str]] = []
        states: list[str] = []
        went_on = 0
        try:
            async with self._db.writing() as session:
                if self._kind.row is UsageColumns:
                    states, problems = await self._count(session, rows)
                elif self._kind.row is MetricColumns:
                    states, problems = await _record(session, rows)
                else:
                    loaded = await loading.load(session, [each.row for each in rows])
                    states = [each.state for each in loaded if not each.problem]
                    problems = [
                        (row.line, str(each.problem)) for row, each in zip(rows, loaded, strict=True) if each.problem
                    ]
                    went_on = sum(each.went_on for each in loaded)
                if self.report.dry_run:
                    raise _RollBack
        except _RollBack:
            pass
        self.report.loaded += len(states)
        self.report.unchanged += states.count("unchanged")
        self.report.changed += len(states) - states.count("unchanged")
        self.report.events_that_went_on += went_on
        for line, reason in problems:
            self._bad(line, reason)

    async def _count(self, session: AsyncSession, rows: Sequence[_Row]) -> tuple[list[str], list[tuple[Line, str]]]:
        accounts = await parking.accounts_called(session, {each.row.account for each in rows})
        counts, problems = [], []
        for each in rows:
            if each.row.account in accounts:
                metric = self._rules.names.get(each.row.metric, each.row.metric)
                counts.append(Count(accounts[each.row.account], metric, each.row.day, each.row.count))
            else:
                problems.append((each.line, f"account: {each.row.account!r} is not known; import the account first"))
        touched = await counting.set_to(session, counts)
        return ["changed" if each.key in touched else "unchanged" for each in counts], problems

    def _bad(self, line: Line, reason: str) -> None:
        self.report.bad += 1
        self._rejected.add(line, reason)
        if self.report.bad <= SHOWN:
            self.report.first_bad.append(f"line {line.number}: {reason}")
            self._complain(f"line {line.number}: {reason}")


async def _record(session: AsyncSession, rows: Sequence[_Row]) -> tuple[list[str], list[tuple[Line, str]]]:
    accounts = await parking.accounts_called(session, {each.row.account for each in rows})
    states, problems = [], []
    for each in rows:
        row: MetricColumns = each.row
        try:
            if row.account not in accounts:
                raise BadMetric(f"account: {row.account!r} is not known; import the account first")
            metric = metric_named(row.metric)
            value = metric.said(metric.read(row.value))
            changed = await record_metrics(session, accounts[row.account], {row.metric: value}, row.at or wall())
            states.append("changed" if changed else "unchanged")
        except BadMetric as error:
            problems.append((each.line, str(error)))
    return states, problems


class _Seen:
    """The keys of the file so far, on disk: memory does not grow with the file."""

    def __enter__(self) -> "_Seen":
        # An empty name is a private file that SQLite takes away by itself.
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.execute("PRAGMA journal_mode=OFF")
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.execute("BEGIN")
        self._db.execute("CREATE TABLE seen (key TEXT PRIMARY KEY, line INTEGER) WITHOUT ROWID")
        return self

    def __exit__(self, *error: object) -> None:
        self._db.close()

    def before(self, key: str, line: int) -> int:
        """The line in which this key stood before; 0 if it is new, and then it is kept."""
        cursor = self._db.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (key, line))
        if cursor.rowcount:
            return 0
        (earlier,) = self._db.execute("SELECT line FROM seen WHERE key = ?", (key,)).fetchone()
        return int(earlier)
