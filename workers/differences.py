"""What `holdfast reconcile` compares with what, and how a difference is told and mended."""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import orjson
import stripe
from sqlmodel import col, select
from temporalio.client import Client

from activities.doubts import LookUps
from models import ledger
from models.database import Database
from models.found import LEDGER_FOUND
from models.policy import PolicyFile
from models.tables import OURSELVES, Account, InboxEvent, TaskRow, wall
from workers.connect import TASK_QUEUE

PAGE: Final = 100
Mend = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Difference:
    """One thing two sides do not agree on: `what` in a sentence, `mend` what --apply does about it."""

    kind: str
    what: str
    mend: str
    apply: Mend


@dataclass
class Sides:
    """Everything that is compared. `since`: how far back. `notes` is what could not be compared, and why."""

    database: Database
    stripe: stripe.StripeClient
    client: Client
    look_ups: LookUps
    policy: PolicyFile
    livemode: bool
    since: datetime
    task_queue: str = TASK_QUEUE
    looked_at: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    async def put(self, row: InboxEvent) -> None:
        """Put a row into the inbox, once; the relay does the rest."""
        async with self.database.writing() as session:
            await ledger.insert_once(session, row)

    async def known(self, table: Any, column: Any, values: list[str]) -> set[str]:
        """Which of these values a column holds."""
        if not values:
            return set()
        async with self.database.reading() as session:
            return set((await session.exec(select(column).where(col(column).in_(values)))).all())

    def found(self, row_id: str, account: str, at: datetime, said: Mapping[str, Any]) -> Mend:
        """Mend by putting back a row of ours."""

        async def apply() -> None:
            await self.put(
                InboxEvent(
                    source=OURSELVES,
                    event_id=f"found/{row_id}",
                    type=LEDGER_FOUND,
                    kind=LEDGER_FOUND,
                    account_id=account,
                    occurred_at=at,
                    body=orjson.dumps({"data": said}),
                )
            )

        return apply

    def says(self, kind: str, event_id: str, account: str, subject: str, at: datetime, **more: Any) -> Mend:
        """Mend by a fact, as if its event had come."""

        async def apply() -> None:
            await self.put(
                InboxEvent(
                    source=OURSELVES,
                    event_id=event_id,
                    type=kind,
                    kind=kind,
                    account_id=account,
                    subject=subject,
                    occurred_at=at,
                    body=b"{}",
                    **more,
                )
            )

        return apply

    async def for_a_person(self, kind: str, what: str, key: str, account: str, case: str) -> AsyncIterator[Difference]:
        """A difference no machine may mend: --apply opens a task, once. Nothing where somebody has been asked."""
        task_key = f"reconcile/{key}"
        async with self.database.reading() as session:
            asked = await session.get(TaskRow, task_key)
            row = await session.get(Account, account)
        if asked:
            self.looked_at["waiting for a person"] += 1
            return
        owner = (row.owner if row else "") or self.policy.default.people.csm_lead

        async def apply() -> None:
            task = TaskRow(
                key=task_key,
                account_id=account,
                case_id=case,
                owner=owner,
                title=what[:250],
                body=f"Found by `holdfast reconcile`; nothing was changed. {what}",
                opened_at=wall(),
                due_at=wall() + timedelta(days=1),
            )
            async with self.database.writing() as session:
                await ledger.insert_once(session, task)

        yield Difference(kind, what, f"open a task for {owner}", apply)


Comparison = Callable[[Sides], AsyncIterator[Difference]]
