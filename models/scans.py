"""The daily scans over all accounts (T2.2, T2.3): what is asked of one, and what it found."""

from datetime import date
from typing import Final, Literal

from models.frozen import Frozen

Which = Literal["books", "usage", "renewals", "cards", "health", "rules", "reports"]
SCANS: Final[tuple[Which, ...]] = ("books", "usage", "renewals", "cards", "health", "rules", "reports")
TITLES: Final[dict[Which, str]] = {
    "books": "Segments and books",
    "usage": "Usage that fell",
    "renewals": "Renewals ahead",
    "cards": "Cards about to expire",
    "health": "Health and churn risk",
    "rules": "Rules that were crossed",
    "reports": "Weekly summary and monthly review",
}


class Scan(Frozen):
    """One window of a scan: up to `window` accounts with ids after `after`, as of the business day `day` (UTC)."""

    which: Which
    day: date
    window: int
    after: str = ""


class Found(Frozen):
    """What a scan found so far, and the account after which it goes on.

    `found` counts what is due on the day, `recorded` what of it was put on record now and not before. `by_value`
    splits `found` by severity, where there is one. `long_since` counts accounts whose use fell so long ago that the
    fact would start nothing any more; nothing is put on record for them. `raised` and `cleared` are watch-only signals
    (P3.3).
    """

    after: str = ""
    done: bool = False
    pages: int = 0
    accounts: int = 0
    found: int = 0
    recorded: int = 0
    by_value: dict[str, int] = {}  # noqa: RUF012 - pydantic copies it
    long_since: int = 0
    raised: int = 0
    cleared: int = 0

    def plus(self, more: "Found") -> "Found":
        """Both together; where it goes on is as `more` says."""
        values = sorted({*self.by_value, *more.by_value})
        return Found(
            after=more.after,
            done=more.done,
            pages=self.pages + more.pages,
            accounts=self.accounts + more.accounts,
            found=self.found + more.found,
            recorded=self.recorded + more.recorded,
            by_value={value: self.by_value.get(value, 0) + more.by_value.get(value, 0) for value in values},
            long_since=self.long_since + more.long_since,
            raised=self.raised + more.raised,
            cleared=self.cleared + more.cleared,
        )

    def in_words(self) -> str:
        """One sentence: how much was looked at, what was found, what of it is new."""
        values = ", ".join(f"{count:,} {value}" for value, count in self.by_value.items())
        said = f"{self.accounts:,} accounts looked at, {self.found:,} found"
        said += f" ({values})" if values else ""
        said += f", {self.recorded:,} of them new"
        if self.long_since:
            said += f"; {self.long_since:,} fell too long ago to start anything"
        if self.raised or self.cleared:
            said += f"; {self.raised:,} risk signals raised, {self.cleared:,} cleared"
        return said


class ScanJob(Frozen):
    """A whole scan, as the workflow `scan` takes it. Without a `day` it is the one the schedule meant.

    `so_far` is where an earlier run of the same scan left off, after continue-as-new.
    """

    which: Which
    window: int
    day: date | None = None
    so_far: Found = Found()
