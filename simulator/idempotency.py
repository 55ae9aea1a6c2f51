"""Idempotency keys as Stripe documents them.

The first answer of a call that began to run is kept (also a 402 or 500) and replayed for the same key and
parameters. Validation errors and 429 are not kept. Keys are forgotten after 24 h of simulated time.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from simulator.errors import ApiError
from simulator.world import DAY, World


@dataclass(frozen=True)
class Answer:
    """A finished HTTP answer: status, JSON body, request id it was first given under."""

    status: int
    body: bytes
    request_id: str


@dataclass(frozen=True)
class _Kept:
    digest: str
    at: int
    answer: Answer


class IdempotencyStore:
    """Answers by key. One key belongs to one path and one set of parameters."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.kept: dict[str, _Kept] = {}
        self._running: dict[str, str] = {}

    def clear(self) -> None:
        """Forget all keys."""
        self.kept.clear()
        self._running.clear()

    @staticmethod
    def digest(path: str, encoded: str) -> str:
        """What a key is bound to: path and encoded parameters."""
        return hashlib.sha256(f"{path}?{encoded}".encode()).hexdigest()

    def begin(self, key: str, digest: str) -> Answer | None:
        """The answer to replay, or None when the call shall run now (end it with `finish`)."""
        kept = self.kept.get(key)
        if kept is not None and self._world.now() - kept.at > DAY:
            del self.kept[key]
            kept = None
        other = kept.digest if kept else self._running.get(key)
        if other is not None and other != digest:
            raise _error(
                400,
                "Keys for idempotent requests can only be used with the same parameters they were first used with. "
                f"Try using a key other than '{key}' if you meant to execute a different request.",
            )
        if kept is not None:
            return kept.answer
        if key in self._running:
            raise _error(
                409,
                "There is currently another in-progress request using this idempotency key.",
                code="idempotency_key_in_use",
            )
        self._running[key] = digest
        return None

    def finish(self, key: str, answer: Answer | None) -> None:
        """The call ended; keep its answer unless it is None."""
        digest = self._running.pop(key, None)
        if digest is not None and answer is not None:
            self.kept[key] = _Kept(digest, self._world.now(), answer)


def _error(status: int, message: str, **fields: Any) -> ApiError:
    return ApiError(status, message, kind="idempotency_error", **fields)
