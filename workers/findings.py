"""What `holdfast doctor` finds, and what its checks are given."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

import stripe
from temporalio.client import Client

from activities.assembly import Assembled
from models.database import Database
from models.policy import PolicyFile
from models.tables import wall
from workers.connect import TASK_QUEUE
from workers.settings import Settings

State = Literal["well", "wrong", "unknown"]
GIB: Final = 1024**3


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: what is so, and what to do about it where it is not well."""

    check: str
    state: State
    what: str
    do: str = ""


@dataclass(frozen=True)
class Patient:
    """What is looked at. `client` is None while Temporal does not answer; times are the machine's, `least_*` bounds."""

    settings: Settings
    policy: PolicyFile
    database: Database
    world: Assembled
    client: Client | None
    task_queue: str = TASK_QUEUE
    now: Callable[[], datetime] = wall
    least_free: int = GIB
    least_retention: timedelta = timedelta(days=1)

    @property
    def stripe(self) -> stripe.StripeClient:
        """Stripe's client."""
        return self.world.stripe


Check = Callable[[Patient], AsyncIterator[Finding]]


class Unasked(Exception):
    """A check cannot be made; the message says why. What it says is unknown, not wrong."""


def the_client(patient: Patient) -> Client:
    """Temporal's client.

    Raises:
        Unasked: it does not answer.
    """
    if patient.client is None:
        raise Unasked("Temporal does not answer")
    return patient.client
