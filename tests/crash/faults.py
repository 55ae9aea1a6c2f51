"""Points at which a process may die, numbered by running.

A process (receiver, relay, worker) is nothing but a memory; what it does that outlives it are commits, requests that
change something outside, calls to Temporal, and answers. Between two of these nothing is different for whoever comes
after it, so there is one point before each and none elsewhere. "After the effect, before the ledger" is the point
before the commit that records it; "after the ledger, before the answer" is the one before the answer.

There is no list of points. A process counts those it comes by, and dies at the one whose number was asked for. Each
counts for itself: what one does comes in the same order in each world, but not how far another is by then. Whatever
else of a process is under way when it dies, dies at its own next point: it can change nothing any more.
"""

import asyncio
import contextvars
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


class Crash(BaseException):
    """The process is gone. No `except Exception` of ours may survive it."""


@dataclass(frozen=True)
class Life:
    """A process from its start to its death."""

    process: str
    number: int


LIFE: contextvars.ContextVar[Life | None] = contextvars.ContextVar("LIFE", default=None)
"""Whose code this is. The tests' own is nobody's: it comes by no points."""
Act = Callable[[], Awaitable[object]]
At = tuple[str, int]
"""A point: the process, and its number there, from 1."""


@dataclass
class Faults:
    """Counts points; at those asked for a process dies or, with `act`, something else happens in the meantime."""

    at: frozenset[At] = frozenset()
    act: Act | None = None
    counting: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    seen: list[tuple[str, str]] = field(default_factory=list)
    """Every point that was come by: its process and its name."""
    fired: list[str] = field(default_factory=list)
    died: list[str] = field(default_factory=list)
    """The points at which something died, those included that a crash elsewhere in the process took along."""
    deaths: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()  # workflow tasks run in threads of their own
        self._loop = asyncio.get_running_loop()

    def reset(self, *at: At, act: Act | None = None) -> None:
        """A new world: nothing counted, nothing fired. Points count from `start` on."""
        self.at, self.act, self.counting = frozenset(at), act, False
        self.counts, self.seen, self.fired, self.died = Counter(), [], [], []

    def start(self) -> None:
        """From here on points count."""
        self.counting = True

    def life(self, process: str) -> Life:
        """The process as it lives now."""
        return Life(process, self.deaths[process])

    @contextmanager
    def living(self, process: str) -> Iterator[Life]:
        """What runs in this block is this process, with nothing remembered from before its last death."""
        life = self.life(process)
        token = LIFE.set(life)
        try:
            yield life
        finally:
            LIFE.reset(token)

    async def reach(self, name: str) -> None:
        """Come by a point.

        Raises:
            Crash: the process dies here, or is dead already.
        """
        if self._is_due(name, "", LIFE.get()) and self.act:
            await asyncio.create_task(_awaited(self.act), context=contextvars.Context())

    def reach_in_thread(self, name: str, about: str = "", life: Life | None = None) -> None:
        """Come by a point in another thread than the loop's.

        Raises:
            Crash: the process dies here, or is dead already.
        """
        if self._is_due(name, about, life or LIFE.get()) and self.act:
            acting = _awaited(self.act)
            contextvars.Context().run(asyncio.run_coroutine_threadsafe, acting, self._loop).result()

    def _is_due(self, name: str, about: str, life: Life | None) -> bool:
        if life is None:
            return False
        with self._lock:
            if life != self.life(life.process):
                self.died.append(f"{name} {about}")
                raise Crash(name)
            if not self.counting:
                return False
            self.counts[life.process] += 1
            self.seen.append((life.process, name))
            if (life.process, self.counts[life.process]) not in self.at:
                return False
            self.fired.append(f"{life.process}: {name}")
            if self.act:
                return True
            self.died.append(f"{name} {about}")
            self.deaths[life.process] += 1
            raise Crash(name)


async def _awaited(act: Act) -> None:
    await act()
