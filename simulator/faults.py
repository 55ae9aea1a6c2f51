"""Faults on demand, for Stripe, SendGrid and product paths alike.

A rule is {"method": "POST" or "*", "path": glob, "kind": one of KINDS, and when it strikes:
"nth": the nth matching request (1 is the next one), "probability": 0..1, "times": at most so often}.
Without `probability`, `times` is 1; `nth` with `times` strikes that many requests from the nth on.
Kinds ending in _before strike before anything is done, those in _after when all is done (and stored);
cut_midway is cut_after with half an answer. `seconds` belongs to the slow kinds and to Retry-After of 429 and 503.
"""

from __future__ import annotations

import asyncio
import fnmatch
import random
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from simulator.errors import ApiError

Json = dict[str, Any]

KINDS = {
    "401",
    "429",
    "500_before",
    "500_after",
    "503",
    "cut_before",
    "cut_after",
    "cut_midway",
    "slow_before",
    "slow_after",
}


@dataclass
class Rule:
    """One rule with its counters; `seconds` are real time."""

    kind: str
    path: str
    method: str = "*"
    nth: int | None = None
    probability: float | None = None
    times: int | None = None
    seconds: float = 0.0
    seen: int = 0
    struck: int = 0

    def strikes(self, method: str, path: str, dice: random.Random) -> bool:
        """Count a request and tell whether the rule hits it."""
        if self.method not in ("*", method) or not fnmatch.fnmatchcase(path, self.path):
            return False
        self.seen += 1
        limit = self.times if self.times is not None or self.probability is not None else 1
        if limit is not None and self.struck >= limit:
            return False
        if self.nth is not None and self.seen < self.nth:
            return False
        if self.probability is not None and dice.random() >= self.probability:
            return False
        self.struck += 1
        return True


class Faults:
    """The rules in force."""

    def __init__(self, seed: int) -> None:
        self.reset(seed)

    def reset(self, seed: int) -> None:
        """Drop all rules. Faults have their own dice, so they do not disturb the issuer's."""
        self.rules: list[Rule] = []
        self._dice = random.Random(seed + 1)

    def add(self, description: Json) -> Rule:
        """Add a rule as described in the module's text; 400 when it makes no sense."""
        try:
            rule = Rule(**description)
        except TypeError as problem:
            raise ApiError(400, f"bad fault rule: {problem}") from problem
        if rule.kind not in KINDS:
            raise ApiError(400, f"unknown fault kind {rule.kind!r}; one of {', '.join(sorted(KINDS))}")
        self.rules.append(rule)
        return rule

    def strike(self, method: str, path: str) -> Rule | None:
        """The rule that hits this request, if any. Every matching rule counts the request."""
        hits = [rule for rule in self.rules if rule.strikes(method, path, self._dice)]
        return hits[0] if hits else None


class CuttableProtocol(H11Protocol):
    """Lets the application reach the connection, so that it can drop it without any answer."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Offer the transport in the request state."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


class CutConnection(Response):
    """Drops the connection before anything is answered; needs `CuttableProtocol`."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["transport"].abort()
        while (await receive())["type"] != "http.disconnect":
            pass


class CutMidway(Response):
    """Starts an answer and never completes it, so the server closes the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-length", b"100000"), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"{", "more_body": True})
