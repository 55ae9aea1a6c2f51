"""SendGrid's event webhook as it is posted: signed, in batches, and as unreliable as asked for."""

from __future__ import annotations

import asyncio
import base64
import random
import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

Json = dict[str, Any]
SIGNATURE_HEADER = "X-Twilio-Email-Event-Webhook-Signature"
TIMESTAMP_HEADER = "X-Twilio-Email-Event-Webhook-Timestamp"


@dataclass
class MailSettings:
    """`suppressed` addresses are dropped, `bouncing` ones bounce; all seconds are real time.

    `duplicate`, `lost` and `out_of_order` are probabilities per event batch; a batch out of order is posted event by
    event, the last first. `held` keeps every batch back until somebody says `release`.
    `activity`: whether the account has bought the Email Activity API. `scopes` are what the key may do.
    """

    activity: bool = False
    scopes: list[str] = field(default_factory=lambda: ["mail.send"])
    event_url: str | None = None
    duplicate: float = 0.0
    lost: float = 0.0
    out_of_order: float = 0.0
    delay_seconds: float = 0.0
    held: bool = False
    suppressed: list[str] = field(default_factory=list)
    bouncing: list[str] = field(default_factory=list)
    max_attempts: int = 8
    retry_base_seconds: float = 0.2


class EventPost:
    """Signs batches of events and brings them to the webhook. Lives in the server's event loop."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._tasks: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None
        self._held: list[tuple[str, list[Json]]] = []
        self.sent = 0

    async def open(self) -> None:
        """Get ready to post."""
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10))

    async def close(self) -> None:
        """Drop what is under way."""
        await self.reset()
        if self._session is not None:
            await self._session.close()

    async def reset(self) -> None:
        """Drop what is under way and held; the signing key stays."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._held.clear()
        self.sent = 0

    @property
    def public_key(self) -> str:
        """Base64 DER, as SendGrid's settings page shows it."""
        encoded = self._key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return base64.b64encode(encoded).decode()

    def private_key(self) -> bytes:
        """The signing key, for whoever keeps it."""
        plain = serialization.NoEncryption()
        return self._key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, plain)

    def use_key(self, key: bytes) -> None:
        """Sign with a key that was kept."""
        loaded = serialization.load_der_private_key(key, None)
        if isinstance(loaded, ec.EllipticCurvePrivateKey):
            self._key = loaded

    def signed(self, body: bytes, timestamp: int) -> dict[str, str]:
        """The headers of a body posted at `timestamp` (unix seconds)."""
        signature = self._key.sign(str(timestamp).encode() + body, ec.ECDSA(hashes.SHA256()))
        return {
            "Content-Type": "application/json",
            SIGNATURE_HEADER: base64.b64encode(signature).decode(),
            TIMESTAMP_HEADER: str(timestamp),
        }

    def tell(self, events: list[Json], settings: MailSettings, dice: random.Random) -> None:
        """Send a batch on its way, with the settings' manners; without a URL there is nobody to tell."""
        if settings.event_url is None or dice.random() < settings.lost:
            return
        if settings.held:
            self._held.append((settings.event_url, events))
            return
        copies = 2 if dice.random() < settings.duplicate else 1
        batches = [[event] for event in reversed(events)] if dice.random() < settings.out_of_order else [events]
        for _ in range(copies):
            self._send(settings.event_url, batches, settings)

    def release(self, settings: MailSettings) -> int:
        """Let go what was held; how many batches."""
        held, self._held = self._held, []
        for url, events in held:
            self._send(url, [events], settings)
        return len(held)

    def _send(self, url: str, batches: list[list[Json]], settings: MailSettings) -> None:
        async def one_after_another() -> None:
            await asyncio.sleep(settings.delay_seconds)
            for batch in batches:
                await self._deliver(url, orjson.dumps(batch), settings)

        task = asyncio.create_task(one_after_another())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, url: str, body: bytes, settings: MailSettings) -> None:
        if self._session is None:
            raise RuntimeError("SendGrid is not open")
        for attempt in range(settings.max_attempts):
            if attempt:
                await asyncio.sleep(settings.retry_base_seconds * 2 ** (attempt - 1))
            try:
                async with self._session.post(url, data=body, headers=self.signed(body, int(time.time()))) as answer:
                    await answer.read()
                    if answer.status < 300:
                        self.sent += 1
                        return
            except (aiohttp.ClientError, TimeoutError, OSError):
                continue

    async def settled(self) -> None:
        """Wait until all that is not held is delivered or given up."""
        while self._tasks:
            await asyncio.wait(self._tasks)
