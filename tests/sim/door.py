"""The way in: Stripe's webhooks, on time or not, and what the company's own systems say by POST /events."""

from typing import TYPE_CHECKING, Any

import orjson
from sqlalchemy.exc import SQLAlchemyError

from models import inbox, ledger
from models.stripe_events import READERS
from simulator.webhooks import signature
from tests.sim.rig import WEBHOOK_SECRET
from web.events import read_event
from web.signatures import check_stripe_signature
from web.strict_json import parse_object
from web.webhooks import row_of

if TYPE_CHECKING:
    from tests.sim.world import World

Json = dict[str, Any]


class Door:
    """What the receiver does with what it is sent."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._numbers = 0
        self.events: list[str] = []
        """Every event that Stripe has told, or was about to tell."""
        self.before = True
        """Whether what happens is history yet, which nobody is told of."""
        self.at_once: list[Json] | None = None
        """Where events are put that must not wait for their turn."""

    def hear(self, event: Json) -> None:
        if event["type"] not in READERS or self.before:
            return
        self.events.append(event["id"])
        if self.at_once is not None:
            self.at_once.append(event)
            return
        struck = self._world.strike("webhook")
        delays = {"lost": (), "duplicate": (0.3, 40), "late": (7200,), "out_of_order": (90,)}.get(struck, (0.3,))
        for delay in delays:
            self._bring(event, delay)

    def _bring(self, event: Json, seconds: float) -> None:
        async def deliver() -> None:
            try:
                await self.receive(event)
            except SQLAlchemyError:  # 503: Stripe comes again
                self._bring(event, 3600)

        self._world.clock.after(seconds, f"webhook {event['type']}", deliver)

    async def receive(self, event: Json) -> None:
        """What the receiver does with a delivery."""
        body = orjson.dumps(event)
        now = int(self._world.clock.now.timestamp())
        check_stripe_signature(signature(body, [WEBHOOK_SECRET], now), body, (WEBHOOK_SECRET,), now)
        row = row_of(parse_object(body), body, livemode=False)
        async with self._world.database.writing() as session:
            await ledger.insert_once(session, row)

    async def tell(self, kind: str, account: str, **data: Any) -> None:
        """The company's own systems say something, by POST /events."""
        self._numbers += 1
        said = {"type": kind, "timestamp": self._world.clock.now.isoformat(), "data": {"account": account, **data}}
        body = orjson.dumps(said)
        name = f"told-{self._numbers}"

        async def post() -> None:
            row = read_event(parse_object(body), name, body, self._world.rig.events)
            try:
                async with self._world.database.writing() as session:
                    await inbox.take_in(session, [row])
            except SQLAlchemyError:  # 503: they come again
                self._world.clock.after(3600, f"told {kind}", post)

        await post()
