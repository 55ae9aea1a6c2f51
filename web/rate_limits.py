"""How much one address may ask for: a token bucket for each client address and class of route, in this process.

Libraries were looked at: slowapi and fastapi-limiter (over `limits` and `pyrate-limiter`) keep a counter for every
address that was ever seen, until it expires, or want Redis; here a flood of addresses must not cost memory.
"""

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

RouteClass = Literal["webhooks", "pages"]

WEBHOOKS: Final = ("/webhooks/", "/events", "/segment", "/api/")
"""Paths that machines post to begin so; a new route for machines is one entry here."""
EXEMPT: Final = ("/healthz",)
"""Never limited: whoever watches us must not be told 429 while we are well."""
MOST_ADDRESSES: Final = 10_000
"""Buckets kept, about 2 MB; beyond that the one unused for longest is forgotten, which fills it up again."""


@dataclass(frozen=True)
class Rate:
    """Requests a second in the long run, and how many at once after a quiet time. 0 a second: no limit."""

    per_second: float
    burst: int


@dataclass(frozen=True)
class RateLimits:
    """The limit for each class of route and client address."""

    webhooks: Rate = Rate(500, 5000)
    pages: Rate = Rate(20, 200)


def route_class(path: str) -> RouteClass | None:
    """Which limit a path falls under; None: it is exempt."""
    if path in EXEMPT:
        return None
    return "webhooks" if path.startswith(WEBHOOKS) else "pages"


def who(address: str | None) -> str:
    """The client as the limiter counts it: an IPv4 address, an IPv6 /64 (one customer has that many), or "unknown".

    What a proxy wrote into X-Forwarded-For need not be an address at all, and may be long; such clients share one.
    """
    try:
        parsed = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


class TokenBuckets:
    """Buckets that fill at `rate.per_second` up to `rate.burst`; at most `most` of them."""

    def __init__(self, rate: Rate, most: int = MOST_ADDRESSES) -> None:
        self._rate = rate
        self._most = most
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, key: str, now: float) -> float:
        """Take one token; the seconds until there will be one if there is none now, else 0. `now` never goes back."""
        if self._rate.per_second <= 0:
            return 0.0
        tokens, at = self._buckets.pop(key, (float(self._rate.burst), now))
        tokens = min(float(self._rate.burst), tokens + (now - at) * self._rate.per_second)
        wait = 0.0
        if tokens >= 1:
            tokens -= 1
        else:
            wait = (1 - tokens) / self._rate.per_second
        self._buckets[key] = (tokens, now)
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        return wait


class RateLimited:
    """ASGI middleware: answers 429 with Retry-After (whole seconds) before the body is read or anything is stored."""

    def __init__(self, app: ASGIApp, limits: RateLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self._clock = clock
        self._buckets: dict[RouteClass, TokenBuckets] = {
            "webhooks": TokenBuckets(limits.webhooks),
            "pages": TokenBuckets(limits.pages),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        kind = route_class(scope["path"]) if scope["type"] == "http" else None
        if kind:
            client = scope.get("client")
            wait = self._buckets[kind].take(who(client[0] if client else None), self._clock())
            if wait:
                after = {"Retry-After": str(math.ceil(wait))}
                answer = JSONResponse({"error": "too many requests from this address; nothing was stored"}, 429, after)
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)
