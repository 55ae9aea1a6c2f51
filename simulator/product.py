"""The customer's own product: it gets our access webhooks and writes them down, without verifying anything."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from simulator.faults import CutConnection, CutMidway, Faults

Json = dict[str, Any]
REFUSALS = {"401": 401, "429": 429, "500_before": 500, "503": 503}


class Product:
    """Answers POST /product/access. `calls` holds {received_at (real unix seconds), headers, raw, body}."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self.calls: list[Json] = []

    async def answer(self, request: Request) -> Response:
        """One HTTP exchange; the fault rules apply here too."""
        fault = self._faults.strike(request.method, request.url.path)
        kind = fault.kind if fault is not None else ""
        if kind in REFUSALS:
            return Response(b"{}", REFUSALS[kind], media_type="application/json")
        if kind == "cut_before":
            return CutConnection()
        if fault is not None and kind == "slow_before":
            await asyncio.sleep(fault.seconds)
        raw = await request.body()
        try:
            body = orjson.loads(raw)
        except orjson.JSONDecodeError:
            body = None
        self.calls.append(
            {
                "received_at": time.time(),
                "headers": dict(request.headers),
                "raw": raw.decode(errors="replace"),
                "body": body,
            }
        )
        if fault is not None and kind == "slow_after":
            await asyncio.sleep(fault.seconds)
        if kind in ("cut_after", "cut_midway"):
            return CutConnection() if kind == "cut_after" else CutMidway()
        return Response(b'{"received":true}', 500 if kind == "500_after" else 200, media_type="application/json")
