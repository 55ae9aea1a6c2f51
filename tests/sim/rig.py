"""Our own code, put together once for each process and policy; worlds come and go around it."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cache
from typing import Any

import stripe
from temporalio.testing import ActivityEnvironment

import activities.access
from activities.assembly import Assembled, Outside, assemble
from models.cases import Batch, Outcome
from models.policy import PolicyFile
from models.tables import wall
from tests.sim.clock import swapped
from tests.sim.memory import MemoryDatabase
from tests.sim.providers import StripeHttp
from tests.town import ALWAYS
from web.events import EventsEndpoint
from workers import relay
from workers.routing import Router, heard_kinds
from workflows import playbook as base
from workflows.steps import Step, ordered

POLICIES: dict[str, dict[str, Any]] = {
    "default": ALWAYS,
    "observe": {**ALWAYS, "dunning": {"mode": "observe"}},
    "later_cancel": {**ALWAYS, "dunning": {"hard_cancel_day": 32, "min_amount": 1000}},
    "contact_rules": {},
}
"""In most worlds mail goes out at all hours, to have more happen; `contact_rules` is the policy as it comes."""
WEBHOOK_SECRET = "whsec_sim0123456789"
Post = Callable[..., Awaitable[int]]


class Rig:
    """Everything between the doors: the effects, the scans, the router, on one database."""

    def __init__(self, database: MemoryDatabase, policy: str) -> None:
        self.database = database
        self.policy = PolicyFile(POLICIES[policy])
        self.stripe = StripeHttp()
        client = stripe.StripeClient("sk_test_sim", max_network_retries=0, http_client=self.stripe)
        outside = Outside(
            stripe=client,
            sendgrid_key="SG.sim",
            product_url="https://product.example.com/access",
            product_secret="whsec_dG93bg==",
            public_url="https://pay.example.com",
            link_secret="a-secret-for-links-in-sim",
        )
        self.our: Assembled = assemble(database, self.policy, outside)
        self.router = Router(self.policy)
        self.events = EventsEndpoint((), heard_kinds(), self.policy.default.usage)
        self._environment = ActivityEnvironment()

    def with_mail(self, postbox: Any) -> None:
        """Mail goes into this world's postbox."""
        self.our.effects._outside["email"]._sendgrid = postbox  # type: ignore[attr-defined]

    async def carry_out(self, batch: Batch) -> Outcome:
        """The one door, as an activity."""
        self._environment.info = replace(self._environment.info, started_time=wall())
        outcome: Outcome = await self._environment.run(self.our.effects.carry_out, batch)
        return outcome


@cache
def the_database() -> MemoryDatabase:
    """One for the process."""
    return MemoryDatabase()


@cache
def rig_of(policy: str) -> Rig:
    """One for each policy."""
    return Rig(the_database(), policy)


def product_at(post: Post) -> AbstractContextManager[None]:
    """Webhooks to the product arrive here, instead of going through the network."""
    return swapped(activities.access, "post", post)


def one_lane_at_a_time() -> AbstractContextManager[None]:
    """The relay carries one account's rows after the other's: there is one connection to the database in memory."""
    return swapped(relay, "AT_ONCE", 1)


def edited_plans(version: Callable[[], int]) -> AbstractContextManager[None]:
    """Each version of the code has other days and titles: what the author's guide says may change under sleeping runs.

    All days by one factor, so that their order stays; day 0, and days before a date, stay as they are.
    """

    def edited(*args: Any, **kwargs: Any) -> tuple[Step, ...]:
        steps = ordered(*args, **kwargs)
        number = version()
        if not number or any(step.counts == "from_anchor" for step in steps):
            return steps
        factor = (1.0, 0.8, 1.25)[number % 3]
        return tuple(replace(step, after=step.after * factor, title=f"{step.title} (v{number})") for step in steps)

    return swapped(base, "ordered", edited)
