"""What every part of us knows of offers beside their row: the hard limits, and when months end."""

from calendar import monthrange
from datetime import datetime
from typing import Final

HALF_PCT: Final = 50
"""Per cent off at which every path refuses, whoever approved (O2)."""
MOST_MONTHS: Final = 3
"""The longest pause, with no exception (O3), and the longest discount without an executive's word (O2, O8)."""


def months_after(at: datetime, months: int) -> datetime:
    """The same time of day so many calendar months later, on the month's last day where it has no such day."""
    year, month = divmod(at.month - 1 + months, 12)
    year, month = at.year + year, month + 1
    return at.replace(year=year, month=month, day=min(at.day, monthrange(year, month)[1]))
