"""What an outside system has to offer to take part: the protocols behind `carry_out`."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final, Literal, Protocol

from sqlmodel.ext.asyncio.session import AsyncSession

from models.cases import Batch, Effect
from models.picture import Picture


@dataclass(frozen=True)
class Answer:
    """How an outside system took an effect. `in_doubt` means nobody can say; it is never repeated blindly."""

    state: Literal["done", "refused", "in_doubt"] = "done"
    reason: str = ""
    detail: dict[str, Any] = field(default_factory=dict)
    reread: bool = False
    """Whether the source of truth has changed, so that the batch has to look again."""


class TryAgain(Exception):
    """The system is certain that nothing happened (429, 503, no connection): free to repeat."""


FRESH_S: Final = 5.0
"""So soon after its claim an effect has to leave. Temporal gives a step to somebody else after ten seconds without a
heartbeat, and cannot take it from one that only stands still (SIGSTOP, a frozen machine, a loop that starves)."""
_claimed: ContextVar[float] = ContextVar("claimed")


@contextmanager
def claimed_at(moment: float) -> Iterator[None]:
    """What is done within is done under a claim that was begun at `moment` of the monotonic clock."""
    token = _claimed.set(moment)
    try:
        yield
    finally:
        _claimed.reset(token)


def still_fresh() -> None:
    """Asked right before anything leaves: did we stand still since the claim? Then the world may have moved on.

    Raises:
        TryAgain: too much time has passed; nothing has left.
    """
    moment = _claimed.get(None)
    if moment is not None and monotonic() - moment > FRESH_S:
        raise TryAgain(f"stood still for more than {FRESH_S:g} s after the claim")


class Inside(Protocol):
    """Effects that are rows of ours: done in the transaction that claims them, so never in doubt."""

    kinds: tuple[str, ...]

    async def write(self, session: AsyncSession, effect: Any, batch: Batch, picture: Picture) -> Answer:
        """Write the rows."""
        ...


class Outside(Protocol):
    """Effects on somebody else's system."""

    kinds: tuple[str, ...]

    def before(self, effect: Any, picture: Picture) -> dict[str, Any]:
        """What to note with the claim, so that a lost answer can be looked up later."""
        ...

    async def perform(self, effect: Any, batch: Batch, picture: Picture) -> Answer:
        """Do it, with the effect's key as the provider's idempotency key; asks `still_fresh` right before each call.

        Raises:
            TryAgain: certainly nothing happened. Any other exception leaves the effect in doubt until looked up.
        """
        ...

    async def look_up(self, effect: Any, batch: Batch, picture: Picture, noted: dict[str, Any]) -> Answer | None:
        """Find out what became of a claim whose answer was lost. None: it was not done, and may be done now."""
        ...


class Watch(Protocol):
    """A source of truth a playbook can look at before every step."""

    name: str

    async def look(self, batch: Batch) -> Picture:
        """Read how things stand."""
        ...


def effect_named(batch: Batch, key: str) -> Effect | None:
    """The effect of a batch with this key, wherever in the batch it stands."""
    everything = [*batch.effects, *(batch.closing.effects if batch.closing else ())]
    for parting in batch.partings.values():
        everything.extend(parting.effects)
    return next((effect for effect in everything if effect.key == key), None)
