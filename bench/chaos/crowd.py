"""Who the cases are about: most pay early, some take the whole month, and some are no payment failures at all."""

import asyncio
import base64
import hashlib
import hmac
import json
import random
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import aiohttp
import stripe

from bench.chaos.insist import insist
from simulator.population import ACTS, PERSONAS, Person, Persona, Population
from simulator.running import ControlError, SimulatorControl

EARLY: Final = (
    Persona("pays through the link at once", "soft", 40, act="pay", day=0.04),
    Persona("brings a new card at once", "hard", 8, act="replace_card", day=0.04),
    Persona("confirms at the bank at once", "authentication", 8, act="authenticate", day=0.04),
    Persona("money is back within the hour", "soft", 14, then=("ok",)),
    Persona("money is back after three days", "soft", 8, then=("", "ok")),
)
WHOLE_MONTH: Final = tuple(Persona(each.name, each.decline, 1, each.then, each.act, each.day) for each in PERSONAS)
MIX: Final = (*EARLY, *WHOLE_MONTH)
"""About four of five are through after three days: the month of a never-payer costs as much as ten of them."""
STORIES: Final = (
    ("trial.started", "plan.upgraded", ""),
    ("user.signed_up", "onboarding.completed", ""),
    ("usage.declined", "cancel.requested", "moderate"),
    ("subscription.cancelled", "subscription.reactivated", "too expensive"),
    ("renewal.ahead", "renewal.lost", ""),
    ("card.expiring", "subscription.cancelled", ""),
)
"""What our own systems say: what starts a run, what ends it, and the first one's value."""
AT_ONCE: Final = 8
TOLD_TWICE: Final = 0.15
TOLD_FIRST: Final = 0.3
"""The share of which we are told before the account is known; the event is parked until then."""
ENDS_EARLY: Final = 0.7


@dataclass
class Story:
    """A customer of whom our own systems tell us."""

    account: str
    starts: str
    ends: str
    value: str
    subject: str = ""
    end_day: float | None = None


@dataclass
class Sender:
    """Our own systems: `POST /events` and `PUT /api`, sent until they are answered 200, some of them twice."""

    session: aiohttp.ClientSession
    url: str
    secret: str
    token: str
    dice: random.Random
    accepted: list[str] = field(default_factory=list)

    async def say(self, kind: str, account: str, **data: Any) -> None:
        """Say a fact; one id for all tries, so that it counts once."""
        name = f"chaos-{uuid.UUID(int=self.dice.getrandbits(128)).hex}"
        body = json.dumps(
            {"type": kind, "timestamp": datetime.now(UTC).isoformat(), "data": {"account": account, **data}}
        ).encode()
        for _ in range(2 if self.dice.random() < TOLD_TWICE else 1):
            await insist(lambda: self._post(name, body))
        self.accepted.append(name)

    async def _post(self, name: str, body: bytes) -> None:
        moment = str(int(time.time()))
        key = base64.b64decode(self.secret.removeprefix("whsec_"))
        digest = hmac.new(key, f"{name}.{moment}.".encode() + body, hashlib.sha256).digest()
        headers = {
            "webhook-id": name,
            "webhook-timestamp": moment,
            "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
            "content-type": "application/json",
        }
        async with self.session.post(f"{self.url}/events", data=body, headers=headers) as answer:
            answer.raise_for_status()

    async def load(self, kind: str, key: str, **row: Any) -> None:
        """Load a row, until it is on disk."""
        headers = {"authorization": f"Bearer {self.token}"}

        async def put() -> None:
            async with self.session.put(f"{self.url}/api/{kind}/{key}", json=row, headers=headers) as answer:
                answer.raise_for_status()

        await insist(put)


class Crowd(Population):
    """One wave of people, and the stories told about others; every act is tried until it is done."""

    def __init__(self, simulator: SimulatorControl, api: stripe.StripeClient, seed: int, sender: Sender) -> None:
        super().__init__(simulator, api, seed)
        self._sender = sender
        self.stories: list[Story] = []

    async def settle_in(self, count: int, personas: Sequence[Persona] = MIX) -> None:
        """People in the mix's shares; of short waves the first are not always the same."""
        chosen = self._random.choices(personas, [each.share for each in personas], k=count)
        await _side_by_side([lambda n=n, p=p: self._settle(n, p) for n, p in enumerate(chosen)])  # type: ignore[misc]

    async def _settle(self, number: int, persona: Persona) -> None:
        # A customer whose making was cut off stays behind without an invoice, and harms nobody.
        self.people.append(await insist(lambda: self._make(number, persona)))

    async def invoices_fall_due(self) -> None:
        """Every customer's new invoice is refused."""
        await _side_by_side([lambda p=p: insist(lambda: self._bill(p)) for p in self.people])  # type: ignore[misc]

    async def live_until(self, day: float) -> None:
        """What people do up to a day, and what is said of the others."""
        acts: list[Callable[[], Awaitable[None]]] = []
        for person in self.people:
            due = [each for each in person.planned if each[0] <= day]
            person.planned = [each for each in person.planned if each[0] > day]
            acts += [lambda p=person, a=act: self._act(p, a) for _, act in due]  # type: ignore[misc]
        for story in self.stories:
            if story.end_day is not None and story.end_day <= day:
                story.end_day = None
                acts.append(lambda s=story: self._sender.say(s.ends, s.account, subject=s.subject))  # type: ignore[misc]
        await _side_by_side(acts)

    async def _act(self, person: Person, act: str) -> None:
        async def try_it() -> None:
            try:
                await ACTS[act](self, person)
            except ControlError:
                return  # paid, voided or confirmed already, by whoever was quicker or in a try whose answer was lost

        await insist(try_it)

    async def stories_begin(self, first: int, count: int) -> None:
        """Accounts of other playbooks; with some of them the story is told before the account is known."""
        await _side_by_side([lambda n=n: self._story(n) for n in range(first, first + count)])  # type: ignore[misc]

    async def _story(self, number: int) -> None:
        starts, ends, value = STORIES[number % len(STORIES)]
        story = Story(f"cus_story_{number:05}", starts, ends, value)
        if self._random.random() < ENDS_EARLY:
            story.end_day = self._random.uniform(0.5, 25)
        if starts == "renewal.ahead":
            story.subject = f"contract-{number:05}"

        async def say() -> None:
            await self._sender.say(starts, story.account, subject=story.subject, value=value)

        async def load() -> None:
            await self._load(story)

        for step in (say, load) if self._random.random() < TOLD_FIRST else (load, say):
            await step()
        self.stories.append(story)

    async def _load(self, story: Story) -> None:
        await self._sender.load(
            "accounts",
            story.account,
            name="Zoe",
            email=f"{story.account}@example.com",
            company="Story Inc.",
            segment=self._random.choice(("starter", "mid", "enterprise")),
            mrr=9900,
            currency="usd",
            owner="ana",
        )
        if story.subject:
            renews = datetime.now(UTC).date() + timedelta(days=60)
            await self._sender.load(
                "contracts", story.subject, account_id=story.account, renews_on=str(renews), value=99_000
            )


async def _side_by_side(makes: Sequence[Callable[[], Awaitable[Any]]]) -> None:
    limit = asyncio.Semaphore(AT_ONCE)

    async def one(make: Callable[[], Awaitable[Any]]) -> None:
        async with limit:
            await make()

    await asyncio.gather(*(one(make) for make in makes))
