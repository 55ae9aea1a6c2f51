"""Virtual time: what is due, in the order of its moments, and a wall clock for our code that shows the same time."""

import heapq
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import count
from typing import Any, Final

from activities import carry_out, systems
from models import tables

BEGIN: Final = datetime(2026, 3, 2, 9, tzinfo=UTC)
TICK: Final = timedelta(milliseconds=20)
"""How long a call to a provider takes: so what we learned before a claim is earlier than the claim."""
Due = Callable[[], Awaitable[None]]


class Clock:
    """The time, and what is to happen when. Things of one moment happen in the order in which they were put down."""

    def __init__(self) -> None:
        self.now = BEGIN
        self._due: list[tuple[datetime, int, str, Due]] = []
        self._numbers = count()
        self._off: set[int] = set()

    def tick(self) -> None:
        """A moment passes."""
        self.now += TICK

    def at(self, moment: datetime, what: str, do: Due) -> int:
        """Do something at a moment; the number takes it off again."""
        number = next(self._numbers)
        heapq.heappush(self._due, (max(moment, self.now), number, what, do))
        return number

    def after(self, seconds: float, what: str, do: Due) -> int:
        """Do something so many seconds from now."""
        return self.at(self.now + timedelta(seconds=seconds), what, do)

    def off(self, number: int) -> None:
        """Take something off."""
        self._off.add(number)

    def next_at(self) -> datetime | None:
        """When the next thing is due."""
        while self._due and self._due[0][1] in self._off:
            self._off.discard(heapq.heappop(self._due)[1])
        return self._due[0][0] if self._due else None

    def pop(self) -> tuple[str, Due]:
        """Go to the next thing's moment and take it."""
        moment, _, what, do = heapq.heappop(self._due)
        self.now = max(self.now, moment)
        return what, do

    def waiting(self) -> list[str]:
        """What is still to come, by name."""
        return [what for _, number, what, _ in self._due if number not in self._off]


class _Shown:
    clock: Clock | None = None


class _VirtualDatetime(datetime):
    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        """The clock of the world that is being played."""
        return _Shown.clock.now if _Shown.clock else datetime.now(tz)


@contextmanager
def swapped(holder: Any, name: str, value: Any) -> Iterator[None]:
    """Put something else into the place of a module's name."""
    before = getattr(holder, name)
    setattr(holder, name, value)
    try:
        yield
    finally:
        setattr(holder, name, before)


@contextmanager
def shown_to_our_code(clock: Clock) -> Iterator[None]:
    """Make `models.tables.wall`, by which all our code reads the wall clock, read this one; `monotonic` as well."""

    def monotonic() -> float:
        return (clock.now - BEGIN).total_seconds()

    _Shown.clock = clock
    try:
        with (
            swapped(tables, "datetime", _VirtualDatetime),
            swapped(systems, "monotonic", monotonic),
            swapped(carry_out, "monotonic", monotonic),
        ):
            yield
    finally:
        _Shown.clock = None
