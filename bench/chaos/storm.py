"""The faults: which, when and how long, drawn from a seed; each kind once in every round of the deck."""

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import structlog

from bench.chaos.links import Link
from bench.chaos.parts import Part

KILL, STOP, CUT, STALL = "kill", "stop", "cut", "stall"
AT_ONCE: Final = 3
"""So many faults may overlap; never two on one part."""
LONG_STOPS: Final = {"worker": (12.0, 18.0), "relay": (31.0, 36.0), "simulator": (11.0, 17.0), "temporal": (8.0, 15.0)}
"""Longer than what the others wait for them: a step's heartbeat (10 s), a row's lease (30 s), a call's timeout."""
LONG_SHARE: Final = 0.35

log = structlog.get_logger()


@dataclass
class Fault:
    """One fault as it was: real time, UTC."""

    kind: str
    began: datetime
    ended: datetime


@dataclass
class Storm:
    """Draws faults until told to stop; what was begun is ended."""

    parts: Mapping[str, Sequence[Part]]
    links: Sequence[Link]
    seed: int
    gap_s: float
    long_stops: bool = True
    only: str = ""
    """Some words: kinds without them are left out, to look at one kind alone."""
    faults: list[Fault] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._over = asyncio.Event()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._locks: dict[str, asyncio.Lock] = {}
        self._running: set[asyncio.Task[None]] = set()
        self.failed: list[str] = []

    @property
    def kinds(self) -> list[str]:
        """Every kind of fault there is."""
        there_are = [f"{what} {name}" for name in self.parts for what in (KILL, STOP)]
        there_are += [f"{what} {link.name}" for link in self.links for what in (CUT, STALL)]
        return [kind for kind in there_are if self.only in kind]

    @property
    def counted(self) -> dict[str, int]:
        """How often each kind has struck, also those that never did."""
        found = Counter(fault.kind for fault in self.faults)
        return {kind: found[kind] for kind in self.kinds}

    @property
    def all_kinds_struck(self) -> bool:
        """Whether no kind is missing."""
        return all(self.counted.values())

    async def rage(self) -> None:
        """Let faults strike until `calm` is called."""
        while not self._over.is_set():
            deck = self.kinds
            self._random.shuffle(deck)
            for kind in deck:
                # Drawn in order, whatever the machine's speed, so that a seed is the same storm.
                fault = self._drawn(kind)
                pause = self._random.uniform(0.3, 1.7) * self.gap_s
                await self._slots.acquire()
                if self._over.is_set():
                    self._slots.release()
                    return
                task = asyncio.create_task(self._strike(kind, *fault))
                self._running.add(task)
                task.add_done_callback(self._running.discard)
                try:
                    await asyncio.wait_for(self._over.wait(), pause)
                except TimeoutError:
                    continue
                return

    async def struck(self) -> None:
        """Wait until no kind is missing, or the storm has ended."""
        while not self.all_kinds_struck and not self._over.is_set() and self._running:
            await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(self.gap_s)

    async def calm(self) -> None:
        """No more faults; those under way end by themselves."""
        self._over.set()
        while self._running:
            await asyncio.wait(self._running)

    def _drawn(self, kind: str) -> tuple[int, float]:
        """Which of several, and for how long."""
        what, name = kind.split(" ", 1)
        which, length = self._random.randrange(1 << 30), self._random.uniform(0.3, 3.0)
        is_long, longer = self._random.random() < LONG_SHARE, LONG_STOPS.get(name, (0.3, 3.0))
        long_s = self._random.uniform(*longer)
        return which, long_s if what == STOP and is_long and self.long_stops else length

    async def _strike(self, kind: str, which: int, length: float) -> None:
        what, name = kind.split(" ", 1)
        try:
            if what in (KILL, STOP):
                part = self.parts[name][which % len(self.parts[name])]
                lock = self._locks.setdefault(f"{name} {which % len(self.parts[name])}", asyncio.Lock())
            else:
                link = next(each for each in self.links if each.name == name)
                lock = self._locks.setdefault(f"link {name}", asyncio.Lock())
            async with lock:
                began = datetime.now(UTC)
                log.info("fault.begins", kind=kind, seconds=round(length, 1))
                started = time.monotonic()
                if what in (KILL, STOP):
                    await _strike_part(part, what, length)
                else:
                    await _strike_link(link, what, length)
                self.faults.append(Fault(kind, began, datetime.now(UTC)))
                log.info("fault.ended", kind=kind, after=round(time.monotonic() - started, 1))
        except Exception as error:  # noqa: BLE001 - a part that does not come back fails the run, not the storm
            log.error("fault.not_mended", kind=kind, error=f"{type(error).__name__}: {error}")
            self.failed.append(f"{kind}: {error}")
        finally:
            self._slots.release()


async def _strike_part(part: Part, what: str, length: float) -> None:
    if what == KILL:
        part.signal(signal.SIGKILL)
        await part.come_back()
        return
    part.signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(length)
    finally:
        part.signal(signal.SIGCONT)


async def _strike_link(link: Link, what: str, length: float) -> None:
    if what == CUT:
        # Cut, and again shortly after, and for a moment nobody gets through: a wire, not a hiccup.
        link.refuse(True)
        link.cut()
        try:
            await asyncio.sleep(min(length, 1.0))
            link.cut()
        finally:
            link.refuse(False)
        return
    link.stall()
    try:
        await asyncio.sleep(length)
    finally:
        link.flow()
