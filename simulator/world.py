"""The state of the pretend world: objects, clock, randomness, settings and the ledger of charge attempts."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from simulator.errors import missing

Json = dict[str, Any]

API_VERSION = "2026-10-28.endive"
DAY = 86_400
"""Seconds."""

PREFIXES = {
    "billing_portal.session": "bps",
    "charge": "ch",
    "coupon": "coupon",
    "customer": "cus",
    "discount": "di",
    "dispute": "du",
    "event": "evt",
    "invoice": "in",
    "invoice_payment": "inpay",
    "line_item": "il",
    "payment_intent": "pi",
    "payment_method": "pm",
    "price": "price",
    "product": "prod",
    "refund": "re",
    "subscription": "sub",
    "subscription_item": "si",
    "webhook_endpoint": "we",
}


@dataclass(frozen=True)
class Caller:
    """Who makes something happen: our API call, Stripe itself, or the customer in a browser."""

    by: str = "api"
    request_id: str | None = None
    idempotency_key: str | None = None


STRIPE = Caller(by="stripe")
CUSTOMER = Caller(by="customer")


@dataclass
class Attempt:
    """One charge attempt. `at` is simulated unix seconds, `amount` minor units, `outcome` "ok" or a decline code."""

    at: int
    invoice: str
    subscription: str | None
    customer: str
    payment_method: str
    fingerprint: str
    amount: int
    currency: str
    outcome: str
    idempotency_key: str | None
    by: str
    charge: str


@dataclass
class Settings:
    """Behaviour that the control plane may change.

    `retry_days`: pauses between Stripe's own attempts; `after_last_retry`: leave | cancel | unpaid;
    `legacy_shapes`: deliver webhook events in the shape of API version 2024-06-20;
    `manual_attempts_count`: whether attempts after the first that are not Stripe's own raise attempt_count
    (Stripe's field description says they do not).
    """

    retry_days: list[float] = field(default_factory=lambda: [3.0, 5.0, 7.0])
    after_last_retry: str = "leave"
    legacy_shapes: bool = False
    manual_attempts_count: bool = True


class World:
    """All objects by id. Not thread-safe: change it only from the server's event loop."""

    def __init__(self, seed: int = 1) -> None:
        self.base_url = ""
        self.on_event: Callable[[Json], None] = lambda event: None
        self.wall: Callable[[], float] = time.time
        self.numbers_taken = 0  # goes on after a reset: whoever remembers an old id must not meet it again
        self.reset(seed)

    def reset(self, seed: int) -> None:
        """Forget everything and start again from `seed`."""
        self.seed = seed
        self.random = random.Random(seed)
        self.clock_offset = 0.0
        self.objects: dict[str, Json] = {}
        self.kinds: dict[str, dict[str, Json]] = {}
        self.behaviours: dict[str, Json] = {}
        self.behaviour_attempts: dict[str, int] = {}
        self.retries_done: dict[str, int] = {}
        self.webhook_secrets: dict[str, list[str]] = {}
        self.ledger: list[Attempt] = []
        self.payments: dict[str, list[Json]] = {}
        self.received: dict[str, int] = {}
        self.paid_out_of_band: set[str] = set()
        self.settings = Settings()

    def now(self) -> int:
        """Simulated unix time in seconds."""
        return int(self.wall() + self.clock_offset)

    def set_clock(self, unix: float) -> None:
        """Make `now()` return `unix`; from there it runs on with real time."""
        self.clock_offset = unix - self.wall()

    def new_id(self, kind: str) -> str:
        """A fresh id such as in_00000000000012."""
        self.numbers_taken += 1
        return f"{PREFIXES[kind]}_{self.numbers_taken:014d}"

    def number(self, prefix: str) -> str:
        """A fresh id outside Stripe's objects, e.g. req_…"""
        self.numbers_taken += 1
        return f"{prefix}_{self.numbers_taken:014d}"

    def add(self, body: Json) -> Json:
        """Keep an object built by stripe_objects."""
        self.objects[body["id"]] = body
        self.kinds.setdefault(body["object"], {})[body["id"]] = body
        return body

    def get(self, kind: str, identifier: str, param: str = "id") -> Json:
        """The object itself (not a copy); 404 when there is none of that kind."""
        found = self.kinds.get(kind, {}).get(identifier)
        if found is None:
            raise missing(kind, identifier, param)
        return found

    def newest(self, kind: str) -> Iterator[Json]:
        """All objects of a kind, newest first."""
        return reversed(self.kinds.get(kind, {}).values())

    def emit(self, kind: str, subject: Json, caller: Caller, previous: Json | None = None) -> Json:
        """Record an event about `subject` (copied as it is now) and hand it to the webhook courier."""
        data: Json = {"object": orjson.loads(orjson.dumps(subject))}
        if previous is not None:
            data["previous_attributes"] = previous
        event = self.add(
            {
                "id": self.new_id("event"),
                "object": "event",
                "api_version": API_VERSION,
                "created": self.now(),
                "data": data,
                "livemode": False,
                "pending_webhooks": len(self.kinds.get("webhook_endpoint", {})),
                "request": {"id": caller.request_id, "idempotency_key": caller.idempotency_key},
                "type": kind,
            }
        )
        self.on_event(event)
        return event

    def receive(self, invoice: str, amount: int) -> None:
        """Count money (minor units) that really arrived for an invoice."""
        self.received[invoice] = self.received.get(invoice, 0) + amount
