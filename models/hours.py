"""When somebody may be written to: working hours and days in their own zone, without public holidays (P0.17).

Pure: the moment is given, no clock is read. A window opens on a day and is counted as that day's, past midnight too.
Its first instant belongs to it, its last does not. Where the clocks skip an end, it is the instant of the change; where
they show it twice, it is the first time.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from hashlib import blake2b
from importlib.resources import files
from typing import Final
from zoneinfo import ZoneInfo

import holidays

from models.policy import Hours
from models.zones import zone_named

AHEAD: Final = 400
"""Days that are looked through for an open one."""


class NeverOpen(ValueError):
    """The window does not open within a year; the policy's `hours` leave no day."""


@dataclass(frozen=True)
class Window:
    """Working time in one zone. `country` (ISO 3166, may be empty) is whose public holidays are kept."""

    zone: ZoneInfo
    country: str = ""
    opens: time = time(9)
    closes: time = time(17)
    days: frozenset[int] = frozenset(range(5))
    """Monday is 0."""
    always: bool = False

    def is_open(self, moment: datetime) -> bool:
        """Whether the moment lies in the window."""
        return self.next_open(moment) == moment

    def next_open(self, moment: datetime) -> datetime:
        """The moment itself if it lies in the window, else when the window opens next; UTC.

        Raises:
            NeverOpen: there is no such moment within a year.
        """
        if self.always:
            return moment
        today = moment.astimezone(self.zone).date()
        for number in range(-1, AHEAD):
            day = today + timedelta(days=number)
            if not self.works(day):
                continue
            opens = instant(day, self.opens, self.zone)
            overnight = self.closes <= self.opens
            closes = instant(day + timedelta(days=1) if overnight else day, self.closes, self.zone)
            if opens < closes and moment < closes:
                return max(moment, opens)
        raise NeverOpen(f"no working day in {AHEAD} days from {today}: look at the policy's [hours]")

    def works(self, day: date) -> bool:
        """Whether the day is a working day there."""
        return self.always or (day.weekday() in self.days and day not in holidays_of(self.country))

    def day_of(self, moment: datetime) -> date:
        """The date on their calendar."""
        return moment.astimezone(self.zone).date()

    def start_of(self, day: date) -> datetime:
        """The first instant at which somebody may be written to on a day, or on the next that is open; UTC."""
        return self.next_open(instant(day, time(), self.zone))


def window_of(rules: Hours, *zones: str) -> Window:
    """The window in the first of these zones that exists, else in the company's own.

    Holidays are those of the country that the zone lies in, else the company's (`hours.country`).
    """
    zone = next((found for name in zones if (found := zone_named(name))), None) or zone_named(rules.zone)
    zone = zone or ZoneInfo("UTC")
    return Window(
        zone,
        country_of(zone.key) or rules.country,
        time.fromisoformat(rules.opens),
        time.fromisoformat(rules.closes),
        frozenset(rules.days),
        always=not rules.enabled,
    )


def spread(key: str, minutes: int) -> timedelta:
    """How long after a common moment this one goes, from 0 up to `minutes`; for a key always the same."""
    seconds = minutes * 60
    return timedelta(seconds=int.from_bytes(blake2b(key.encode(), digest_size=8).digest()) % seconds if seconds else 0)


def instant(day: date, at: time, zone: ZoneInfo) -> datetime:
    """When a clock there shows `at` on that day, UTC: the first time of two; the change of clocks where it skips it."""
    wall = datetime.combine(day, at, zone)
    later = wall.astimezone(UTC)
    if later.astimezone(zone).replace(tzinfo=None) == wall.replace(tzinfo=None):
        return later
    # Read with the offset of before the change it lies after it, and the other way round: the change is in between.
    earlier = wall.replace(fold=1).astimezone(UTC)
    offset = earlier.astimezone(zone).utcoffset()
    while later - earlier > timedelta(seconds=1):
        middle = earlier + timedelta(seconds=(later - earlier) // timedelta(seconds=2))
        if middle.astimezone(zone).utcoffset() == offset:
            earlier = middle
        else:
            later = middle
    return later


@cache
def country_of(zone: str) -> str:
    """The country a zone lies in, ISO 3166 in two letters; empty for UTC and other zones of no one country."""
    return _countries().get(zone, "")


@cache
def _countries() -> dict[str, str]:
    table = files("tzdata").joinpath("zoneinfo/zone.tab").read_text(encoding="utf-8")
    rows = (line.split("\t") for line in table.splitlines() if line and not line.startswith("#"))
    return {row[2]: row[0] for row in rows}


@cache
def holidays_of(country: str) -> "holidays.HolidayBase | frozenset[date]":
    """The country's public holidays, those of the whole country; none where the country is unknown."""
    # Asked for all that it knows, the library reads every country's file: half a second inside of a claim.
    try:
        return holidays.country_holidays(country) if country else frozenset()
    except NotImplementedError:
        return frozenset()
