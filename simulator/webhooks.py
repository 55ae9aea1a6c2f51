"""Deliver Stripe's events to webhook endpoints: signed, and as unreliable as asked for."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import random
import time
from dataclasses import asdict, dataclass, field
from typing import Any

import aiohttp
import orjson

from simulator.errors import ApiError
from simulator.legacy import legacy_event
from simulator.world import World

Json = dict[str, Any]


@dataclass
class Manners:
    """How deliveries behave. Probabilities are per event and endpoint; all seconds are real time."""

    duplicate: float = 0.0
    lost: float = 0.0
    out_of_order: float = 0.0
    delay_seconds: tuple[float, float] = (0.0, 0.0)
    max_attempts: int = 8
    retry_base_seconds: float = 0.2
    retry_cap_seconds: float = 10.0
    hold_seconds: float = 2.0
    concurrency: int = 32


@dataclass
class Counters:
    """`out_of_order`: deliveries that arrived after a later event of the same object; `failed`: given up."""

    events: int = 0
    deliveries: int = 0
    duplicates: int = 0
    out_of_order: int = 0
    lost: int = 0
    retried: int = 0
    failed: int = 0


@dataclass(eq=False)
class Delivery:
    """One event on its way to one endpoint. `number` grows with the events."""

    endpoint: Json
    event: Json
    number: int
    subject: tuple[str, str]
    tried: asyncio.Event = field(default_factory=asyncio.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)


def signature(body: bytes, secrets: list[str], timestamp: int) -> str:
    """The Stripe-Signature header: one v1 for each secret that is valid now."""
    signed = str(timestamp).encode() + b"." + body
    codes = [hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest() for secret in secrets]
    return ",".join([f"t={timestamp}", *(f"v1={code}" for code in codes)])


class Courier:
    """Takes every event and brings it to the endpoints that want it. Lives in the server's event loop."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._tasks: set[asyncio.Task[None]] = set()
        self.under_way: set[Delivery] = set()
        self._session: aiohttp.ClientSession | None = None
        self._reset_state()

    def _reset_state(self) -> None:
        self.manners = Manners()
        self.counters = Counters()
        self.dice = random.Random(self._world.seed + 2)
        self._slots = asyncio.Semaphore(self.manners.concurrency)
        self._held: dict[tuple[str, str], list[Delivery]] = {}
        self._latest: dict[tuple[str, str], Delivery] = {}
        self._arrived: dict[tuple[str, str], int] = {}

    async def open(self) -> None:
        """Start accepting events."""
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10))
        self._world.on_event = self.take

    async def close(self) -> None:
        """Drop what is under way."""
        await self.reset()
        if self._session is not None:
            await self._session.close()

    async def reset(self) -> None:
        """Drop what is under way and go back to reliable manners."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._reset_state()

    def configure(self, changes: Json) -> Manners:
        """Change some fields of the manners; 400 for an unknown one."""
        unknown = changes.keys() - asdict(self.manners).keys()
        if unknown:
            raise ApiError(400, f"unknown webhook settings: {', '.join(sorted(unknown))}")
        if "delay_seconds" in changes:
            low, high = changes["delay_seconds"]
            changes = {**changes, "delay_seconds": (float(low), float(high))}
        self.manners = Manners(**{**asdict(self.manners), **changes})
        self._slots = asyncio.Semaphore(self.manners.concurrency)
        return self.manners

    def take(self, event: Json) -> None:
        """Send an event on its way to each endpoint that listens to its type."""
        self.counters.events += 1
        for endpoint in self._world.kinds.get("webhook_endpoint", {}).values():
            if not {"*", event["type"]} & set(endpoint["enabled_events"]):
                continue
            if self.dice.random() < self.manners.lost:
                self.counters.lost += 1
                continue
            self._dispatch(endpoint, event)
            if self.dice.random() < self.manners.duplicate:
                self.counters.duplicates += 1
                self._dispatch(endpoint, event)

    def _dispatch(self, endpoint: Json, event: Json) -> None:
        subject = (endpoint["id"], event["data"]["object"].get("id", ""))
        delivery = Delivery(endpoint, event, self.counters.events, subject)
        low, high = self.manners.delay_seconds
        held = self.dice.random() < self.manners.out_of_order
        delay = self.dice.uniform(low, high)
        before: Delivery | None = None
        if held:
            self._held.setdefault(subject, []).append(delivery)
        else:
            before = self._latest.get(subject)
            self._latest[subject] = delivery
        task = asyncio.create_task(self._bring(delivery, held, delay, before))
        self._tasks.add(task)
        self.under_way.add(delivery)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: self.under_way.discard(delivery))

    async def _bring(self, delivery: Delivery, held: bool, delay: float, before: Delivery | None) -> None:
        if held:
            try:
                await asyncio.wait_for(delivery.release.wait(), self.manners.hold_seconds)
            except TimeoutError:
                waiting = self._held[delivery.subject]
                if delivery in waiting:
                    waiting.remove(delivery)
        elif delay == 0.0 and before is not None:
            # Without unreliable manners, events of one object arrive in order: nothing overtakes by chance.
            await before.tried.wait()
        if delay:
            await asyncio.sleep(delay)
        for attempt in range(self.manners.max_attempts):
            if attempt:
                self.counters.retried += 1
                pause = self.manners.retry_base_seconds * 2 ** (attempt - 1)
                await asyncio.sleep(min(pause, self.manners.retry_cap_seconds))
            try:
                async with self._slots:
                    status = await self.post(delivery.endpoint, delivery.event)
            finally:
                delivery.tried.set()
            if 200 <= status < 300:
                self._note_arrival(delivery)
                return
        self.counters.failed += 1

    def _note_arrival(self, delivery: Delivery) -> None:
        self.counters.deliveries += 1
        if delivery.number < self._arrived.get(delivery.subject, 0):
            self.counters.out_of_order += 1
        else:
            self._arrived[delivery.subject] = delivery.number
        waiting = self._held.get(delivery.subject, [])
        for earlier in [held for held in waiting if held.number < delivery.number]:
            waiting.remove(earlier)
            earlier.release.set()

    async def post(
        self, endpoint: Json, event: Json, secrets: list[str] | None = None, timestamp_offset: int = 0
    ) -> int:
        """POST an event once and return the HTTP status (0: no answer).

        The timestamp is real time, since receivers compare it with their own clock.
        """
        if self._session is None:
            raise RuntimeError("the courier is not open")
        body = orjson.dumps(legacy_event(self._world, event) if self._world.settings.legacy_shapes else event)
        keys = secrets if secrets is not None else self._world.webhook_secrets[endpoint["id"]]
        header = signature(body, keys, int(time.time()) + timestamp_offset)
        headers = {"Content-Type": "application/json; charset=utf-8", "Stripe-Signature": header}
        try:
            async with self._session.post(endpoint["url"], data=body, headers=headers) as answer:
                await answer.read()
                return answer.status
        except (aiohttp.ClientError, TimeoutError, OSError):
            return 0

    async def settled(self) -> None:
        """Wait until nothing is under way; held-back events are let go when only they are left."""
        while self._tasks:
            held = sum(len(waiting) for waiting in self._held.values())
            if held and held == len(self._tasks):
                for waiting in self._held.values():
                    for delivery in waiting:
                        delivery.release.set()
                    waiting.clear()
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED, timeout=0.05)
