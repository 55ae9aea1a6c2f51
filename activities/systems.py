"""What an outside system has to offer to take part: the protocols behind `carry_out`."""

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

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
        """Do it, with the effect's key as the provider's idempotency key.

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
