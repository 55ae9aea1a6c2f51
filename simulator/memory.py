"""What the outside world remembers survives a kill -9 of the simulator: `python -m simulator --memory FOLDER`.

Whatever may change the world is written to a journal before it is played, and played at once, so that the journal's
order is the order in which it happened. A start reads the newest snapshot and plays the journal since. A request that
was written down and never answered has thus happened: an answer that got lost, which is what real outages are like.

The journal is not flushed to the disk (the machine stays up), and fault rules are not kept.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

if TYPE_CHECKING:
    from simulator.app import Simulator

Json = dict[str, Any]
RECORDS: Final = 4000
"""After so many records the world is written anew, so that a start never plays more than these."""
NOT_KEPT: Final = ("/_sim/settle", "/_sim/webhooks/send", "/_sim/faults")
NOT_OURS: Final = ("on_event", "base_url", "wall")
"""Attributes of the world that each process sets for itself."""


class Memory:
    """The ASGI application around a simulator's own, with its snapshot and its journal."""

    def __init__(self, simulator: Simulator, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._simulator = simulator
        self._app: ASGIApp = simulator.app
        self._folder = folder
        self._snapshot = folder / "snapshot"
        self._number = 0
        self._records = 0
        self._file: int | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Write down what may change the world, then play it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, self._once_open(send))
            return
        if scope["method"] in ("GET", "HEAD") or scope["path"] in NOT_KEPT:
            await self._app(scope, receive, send)
            return
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
        moment = time.time()
        kept = {name: scope[name] for name in ("method", "path", "raw_path", "query_string", "headers")}
        # Reading takes numbers too, and is not written down.
        self._write((moment, self._simulator.world.numbers_taken, kept, body))
        await self._play(moment, scope, body, receive, send)

    def _write(self, record: Any) -> None:
        if self._records >= RECORDS:
            self.keep()
        if self._file is not None:
            os.write(self._file, pickle.dumps(record))
            self._records += 1

    async def _play(self, moment: float, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        """Play a request at its moment. Up to its answer it runs without a pause, so nothing comes in between."""
        given = [{"type": "http.request", "body": body, "more_body": False}]

        async def first_the_body() -> Message:
            return given.pop() if given else await receive()

        self._simulator.world.wall = lambda: moment
        try:
            await self._app(scope, first_the_body, send)
        finally:
            self._simulator.world.wall = time.time

    def _once_open(self, send: Send) -> Send:
        """What happened before is played when the application is open, before it serves anybody."""

        async def recalled_first(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                await self.recall()
            await send(message)

        return recalled_first

    async def recall(self) -> None:
        """Read the snapshot, play the journal, and send again what may not have been delivered."""
        simulator, again = self._simulator, []
        if self._snapshot.exists():
            again += self._restore(pickle.loads(self._snapshot.read_bytes()))  # noqa: S301 - our own file
        if self._journal.exists():
            taking, simulator.world.on_event = simulator.world.on_event, again.append
            await self._replay()
            simulator.world.on_event = taking
        self.keep()
        # At least once, as Stripe does: what was delivered since the snapshot is delivered again.
        for event in again:
            simulator.courier.take(event)

    async def _replay(self) -> None:
        async def nobody_listens(message: Message) -> None:
            pass

        async def gone() -> Message:
            return {"type": "http.disconnect"}

        with self._journal.open("rb") as journal, contextlib.suppress(EOFError, pickle.UnpicklingError):
            while True:  # until the end, or a last record that the kill cut short
                moment, numbers, kept, body = pickle.load(journal)  # noqa: S301
                self._simulator.world.numbers_taken = numbers
                scope = {"type": "http", "http_version": "1.1", "scheme": "http", "state": {}, **kept}
                await self._play(moment, scope, body, gone, nobody_listens)

    @property
    def _journal(self) -> Path:
        return self._folder / f"journal.{self._number}"

    def keep(self) -> None:
        """Write the whole world down and begin a new journal. A kill at any point leaves a snapshot with its own."""
        old = self._journal
        self._number += 1
        partial = self._folder / "snapshot.partial"
        partial.write_bytes(pickle.dumps(self._state()))
        if self._file is not None:
            os.close(self._file)
        self._file = os.open(self._journal, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        partial.replace(self._snapshot)
        old.unlink(missing_ok=True)
        self._records = 0

    def _state(self) -> Json:
        sim = self._simulator
        return {
            "number": self._number,
            "world": {name: value for name, value in vars(sim.world).items() if name not in NOT_OURS},
            "idempotency": sim.stripe.idempotency.kept,
            "mail": (sim.sendgrid.settings, sim.sendgrid.mailbox, sim.sendgrid.dice, sim.sendgrid.post.private_key()),
            "calls": sim.product.calls,
            "webhooks": (sim.courier.manners, sim.courier.counters, sim.courier.dice),
            "under_way": [delivery.event for delivery in sim.courier.under_way],
        }

    def _restore(self, kept: Json) -> list[Json]:
        """Take up a snapshot; the events that were under way."""
        sim = self._simulator
        self._number = kept["number"]
        vars(sim.world).update(kept["world"])
        sim.stripe.idempotency.kept = kept["idempotency"]
        sim.sendgrid.settings, sim.sendgrid.mailbox, sim.sendgrid.dice, key = kept["mail"]
        sim.sendgrid.post.use_key(key)
        sim.product.calls = kept["calls"]
        manners, sim.courier.counters, sim.courier.dice = kept["webhooks"]
        sim.courier.configure(asdict(manners))
        under_way: list[Json] = kept["under_way"]
        return under_way
