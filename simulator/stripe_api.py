"""The HTTP side of the pretend Stripe: keys, faults, idempotency, validation, then the call itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from simulator import account_calls, coupon_calls, oracle, payment_calls  # noqa: F401  (importing registers the calls)
from simulator.calls import MODELLED, Call
from simulator.errors import ApiError, not_modelled
from simulator.expansion import expand
from simulator.faults import CutConnection, CutMidway, Faults, Rule
from simulator.forms import decode, leaves
from simulator.idempotency import Answer, IdempotencyStore
from simulator.world import API_VERSION, Caller, World

Json = dict[str, Any]


class StripeApi:
    """Answers everything under /v1/."""

    def __init__(self, world: World, faults: Faults) -> None:
        self._world = world
        self._faults = faults
        self.idempotency = IdempotencyStore(world)

    async def answer(self, request: Request) -> Response:
        """One HTTP exchange."""
        headers = {
            "request-id": self._world.number("req"),
            "stripe-version": request.headers.get("stripe-version", API_VERSION),
        }
        fault = self._faults.strike(request.method, request.url.path)
        refused = _refusal(request, fault)
        if refused is not None:
            return _error_response(refused, headers, fault)
        if fault is not None and fault.kind == "cut_before":
            return CutConnection()
        if fault is not None and fault.kind == "slow_before":
            await asyncio.sleep(fault.seconds)
        encoded = (await request.body()).decode() if request.method == "POST" else request.url.query
        try:
            answer = await self._once(request, encoded, headers, fault)
        except ApiError as error:
            return _error_response(error, headers, fault)
        if fault is not None and fault.kind in ("cut_after", "cut_midway"):
            return CutConnection() if fault.kind == "cut_after" else CutMidway()
        return Response(answer.body, answer.status, headers, "application/json")

    async def _once(self, request: Request, encoded: str, headers: dict[str, str], fault: Rule | None) -> Answer:
        """Run the call under its idempotency key, or replay what was kept."""
        key = request.headers.get("idempotency-key") if request.method == "POST" else None

        async def run() -> tuple[Answer, bool]:
            answer, executed = self._run(request, encoded, headers["request-id"], key)
            if fault is not None and fault.kind == "500_after" and executed:
                headers["stripe-should-retry"] = "false"
                answer = Answer(500, orjson.dumps(_boom().body), headers["request-id"])
            if fault is not None and fault.kind == "slow_after":
                await asyncio.sleep(fault.seconds)
            return answer, executed

        if key is None:
            return (await run())[0]
        headers["idempotency-key"] = key
        return await self._under_key(key, IdempotencyStore.digest(request.url.path, encoded), headers, run)

    async def _under_key(
        self,
        key: str,
        digest: str,
        headers: dict[str, str],
        run: Callable[[], Awaitable[tuple[Answer, bool]]],
    ) -> Answer:
        replay = self.idempotency.begin(key, digest)
        if replay is not None:
            headers["idempotent-replayed"] = "true"
            headers["original-request"] = replay.request_id
            if replay.status >= 500:
                headers["stripe-should-retry"] = "false"
            return replay
        kept: Answer | None = None
        try:
            answer, executed = await run()
            kept = answer if executed else None
            return answer
        finally:
            self.idempotency.finish(key, kept)

    def _run(self, request: Request, encoded: str, request_id: str, key: str | None) -> tuple[Answer, bool]:
        """Validate and play; the second value tells whether the call began to run."""
        try:
            body = self._play(request.method, request.url.path, decode(encoded), Caller("api", request_id, key))
        except ApiError as error:
            return Answer(error.status, orjson.dumps(error.body), request_id), error.executed
        return Answer(200, orjson.dumps(body), request_id), True

    def _play(self, method: str, path: str, raw: Json, caller: Caller) -> Json:
        for modelled in MODELLED:
            match = modelled.pattern.match(path)
            if match is None or modelled.method != method:
                continue
            params, problems = oracle.read_parameters(method, path, raw)
            if problems:
                first = problems[0]
                raise ApiError(400, first.message, code=first.code, param=first.param)
            for leaf in leaves(params):
                if not modelled.covers(leaf):
                    raise not_modelled(f"parameter {leaf} of {method} {path}")
            wanted = params.pop("expand", [])
            played = modelled.play(Call(self._world, caller, path, match.groupdict(), params))
            try:
                return expand(self._world, played, wanted) if wanted else played
            except ApiError as error:
                error.executed = True
                raise
        raise not_modelled(f"{method} {path}")


def _boom() -> ApiError:
    return ApiError(500, "An error occurred on our side (simulated).", kind="api_error")


def _refusal(request: Request, fault: Rule | None) -> ApiError | None:
    """Why the request is turned away before anything is looked at."""
    kind = fault.kind if fault is not None else ""
    if kind == "401" or not request.headers.get("authorization", "").startswith("Bearer sk_"):
        return ApiError(401, "Invalid API Key provided.")
    if kind == "429":
        return ApiError(429, "Request rate limit exceeded.", code="rate_limit")
    if kind == "500_before":
        return _boom()
    if kind == "503":
        return ApiError(503, "The service is unavailable (simulated).", kind="api_error")
    return None


def _error_response(error: ApiError, headers: dict[str, str], fault: Rule | None) -> Response:
    extra = dict(headers)
    if error.status in (429, 503):
        extra["retry-after"] = str(int(fault.seconds) if fault is not None and fault.seconds else 1)
    if error.status == 429:
        extra["stripe-rate-limited-reason"] = "global-rate"
    return Response(orjson.dumps(error.body), error.status, extra, "application/json")
