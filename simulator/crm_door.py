"""What the pretend CRMs have in common: who may come in, how often, and the fault rules (see faults.py)."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from simulator.faults import CutConnection, CutMidway, Faults

Json = dict[str, Any]


class CrmRefusal(Exception):
    """An error answer: HTTP status, JSON body, headers."""

    def __init__(self, status: int, body: Json, headers: dict[str, str] | None = None) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status
        self.body = body
        self.headers = headers


@dataclass(frozen=True)
class CrmCall:
    """One request: the ids in its path, its query and its JSON body."""

    args: tuple[str, ...]
    query: Mapping[str, str]
    body: Json


@dataclass
class Bucket:
    """At most `most` requests in any `seconds` (real time)."""

    most: int
    seconds: float
    _at: list[float] = field(default_factory=list)

    def takes(self) -> bool:
        """Count one request, if there is room for it."""
        now = time.monotonic()
        self._at = [each for each in self._at if now - each < self.seconds]
        if len(self._at) >= self.most:
            return False
        self._at.append(now)
        return True


Play = Callable[[CrmCall], Json]


class CrmDoor:
    """Answers HTTP; a subclass knows the calls and the shapes of errors. `calls` are all that were let in."""

    token = ""
    reads: Bucket
    writes: Bucket

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._plays: list[tuple[str, re.Pattern[str], Play]] = []
        self.calls: list[str] = []

    def plays(self, method: str, path: str, play: Play) -> None:
        """Let `play` answer a call; {} in the path stands for an id."""
        self._plays.append((method, re.compile(path.replace("{}", "([^/]+)")), play))

    def refusal(self, status: int, seconds: float = 0) -> CrmRefusal:
        """The error answer for 401, 429, 500, 501 and 503; `seconds` is how long to wait."""
        raise NotImplementedError

    def reads_only(self, method: str, path: str) -> bool:
        """Whether a call changes nothing."""
        return method == "GET"

    async def answer(self, request: Request) -> Response:
        """One HTTP exchange."""
        method, path = request.method, request.url.path
        fault = self._faults.strike(method, path)
        kind, seconds = (fault.kind, fault.seconds) if fault else ("", 0.0)
        if kind == "cut_before":
            return CutConnection()
        if kind == "slow_before":
            await asyncio.sleep(seconds)
        try:
            self._let_in(request, kind, seconds)
            raw = await request.body()
            said = self._played(method, path, request.query_params, raw)
        except CrmRefusal as error:
            return _json(error.status, error.body, error.headers)
        if kind == "slow_after":
            await asyncio.sleep(seconds)
        if kind in ("cut_after", "cut_midway"):
            return CutConnection() if kind == "cut_after" else CutMidway()
        if kind == "500_after":
            lost = self.refusal(500)
            return _json(lost.status, lost.body, lost.headers)
        return _json(200, said)

    def _let_in(self, request: Request, kind: str, seconds: float) -> None:
        if kind == "401" or request.headers.get("authorization", "") != f"Bearer {self.token}":
            raise self.refusal(401)
        bucket = self.reads if self.reads_only(request.method, request.url.path) else self.writes
        if kind == "429" or not bucket.takes():
            raise self.refusal(429, seconds or 1)
        if kind in ("500_before", "503"):
            raise self.refusal(503 if kind == "503" else 500)

    def _played(self, method: str, path: str, query: Mapping[str, str], raw: bytes) -> Json:
        for wanted, pattern, play in self._plays:
            found = pattern.fullmatch(path) if method == wanted else None
            if found:
                self.calls.append(f"{method} {path}")
                body = orjson.loads(raw) if raw else {}
                return play(CrmCall(found.groups(), query, body if isinstance(body, dict) else {"list": body}))
        raise self.refusal(501)


def _json(status: int, body: Json, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(body), status, headers, "application/json")
