"""All points of a story, and all pairs: a new world for each, compared with the one in which nobody died."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from tests.crash.faults import At
from tests.crash.hands import Hands
from tests.crash.seen import Lines, differences, seen
from tests.crash.stage import Stage
from tests.crash.stories import Story

LONGEST_S: Final = 60
"""A world that has not come to rest by then hangs."""


@dataclass
class Tally:
    """What was tried and what broke. `names` are points by story and name, `expected` those of worlds without crash."""

    points: int = 0
    pairs: int = 0
    paid: int = 0
    in_doubt: int = 0
    leapt: int = 0
    """Worlds that were told again because steps were missing, and had them then."""
    violations: list[str] = field(default_factory=list)
    names: Counter[str] = field(default_factory=Counter)
    expected: Counter[str] = field(default_factory=Counter)


@dataclass
class Enumeration:
    """One story on one stage. `share` is (which, of how many) where several processes do the work together."""

    place: Stage
    story: Story
    tally: Tally
    progress: Callable[[str], None]
    share: tuple[int, int] = (0, 1)
    most: int = 0
    """Not more points of each process than so many; 0 is all."""
    _clean: Lines = field(init=False)
    _points: Counter[str] = field(init=False)
    _begun: float = field(init=False)
    _reached: bool = True

    async def points(self) -> None:
        """A world for each point: 1, 2, … of each process until none fires."""
        await self._see_it_clean()
        self.tally.expected.update(f"{self.story} {process}: {name}" for process, name in self.place.faults.seen)
        for at in self._mine():
            self._reached = await self._dies(at)
            if self._reached:
                self.tally.points += 1
                self.tally.names[f"{self.story} {self.place.faults.fired[0]}"] += 1
                self._say(f"{at[0]} {at[1]}")

    async def pairs(self) -> None:
        """A world for each two points, whichever comes first: 1, 2, … of each until none fires."""
        await self._see_it_clean()
        for first in self._mine():
            await self._tell(first)
            self._reached = bool(self.place.faults.fired)
            others = [each for each in sorted(self.place.faults.counts) if each >= first[0] and self._reached]
            for process in others:
                number = first[1] + 1 if process == first[0] else 1
                while await self._dies(first, (process, number)):
                    self.tally.pairs += 1
                    number += 1
            self._say(f"pairs of {first[0]} {first[1]}, {self.tally.pairs} pairs so far")

    async def _see_it_clean(self) -> None:
        """What the world comes to where nobody dies, and how many points it has."""
        self._begun = time.monotonic()
        await self._tell()
        self._clean, self._points = await seen(self.place), self.place.faults.counts
        wrong, doubtful = await differences(self.place, self._clean, self._clean)
        if wrong or doubtful:
            raise AssertionError(f"{self.story} is wrong without any crash: {wrong}")

    def _mine(self) -> Iterator[At]:
        """The points that are this process's share; of each process until the last one was not reached."""
        mine, of = self.share
        for process in sorted(self._points):
            numbers = itertools.count(mine + 1, of)
            self._reached = True
            while self._reached:
                number = next(numbers)
                if self.most and number > self.most:
                    break
                yield process, number

    async def _tell(self, *at: At) -> None:
        """Tell the story in a new world, and let everything come to rest."""
        await self.place.make_new(*at)
        await self.story.tell(Hands(self.place))
        await self.place.rest()

    async def _dies(self, *at: At) -> bool:
        """One world with crashes at these points. False: not all of them were reached."""
        wrong, doubtful = await self._differs(*at)
        if wrong and all(": lacks " in each for each in wrong):
            # The test server's time skipping may leap over timers that are due; steps are only missing then. What
            # is lost by a crash is lost each time, and what is done twice is never excused.
            again, doubtful = await self._differs(*at)
            self.tally.leapt += not again
            wrong = again
        fired = self.place.faults.fired
        if len(fired) == len(at):
            self.tally.in_doubt += doubtful
        where = " and ".join(f"{process} {number}" for process, number in at)
        self.tally.violations += [f"{self.story} at {where} ({', '.join(fired)}): {each}" for each in wrong]
        return len(fired) == len(at)

    async def _differs(self, *at: At) -> tuple[list[str], int]:
        """What is other in a world with crashes at these points, and how many mails are in doubt."""
        try:
            await asyncio.wait_for(self._tell(*at), LONGEST_S)
            return await differences(self.place, self._clean, await seen(self.place))
        except Exception as error:  # noqa: BLE001 - a world that does not come to rest is what we look for
            return [f"never came to rest: {type(error).__name__}: {error}"], 0

    def _say(self, what: str) -> None:
        expected = ", ".join(f"{process} {count}" for process, count in sorted(self._points.items()))
        self.progress(f"{self.story}: {what} (of {expected}), {time.monotonic() - self._begun:.0f} s")
