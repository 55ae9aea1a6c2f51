"""What a playbook's test is written with: one account, the facts it tells, and a run on the real server, day by day.

    async def test_p3_7_a_check_in_on_day_three(kit: Kit) -> None:
        account = await kit.account(segment="mid")
        run = await kit.start("usage.declined", account, value="moderate")
        await run.to_day(2)
        assert (await run.calendar())[2.0] == ["email usage.d3"]

Days are days after the start (D+N); `calendar()` is everything that was really done, from the effect ledger.
"""

import itertools
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import aiohttp
import orjson
import pytest
from sqlmodel import SQLModel, col, delete
from temporalio.client import Client

from activities.outgoing_webhooks import signed_headers
from models.cases import Ending
from models.customers import UsageDay
from models.tables import Account, CaseNote, CaseRow, InboxEvent, Message, TaskRow
from simulator.running import SimulatorControl
from tests.town import DAY, EVENTS_SECRET, Town, town
from workers.cases import steer

Calendar = dict[float, list[str]]
NUMBERS = itertools.count()
"""Of the whole session: the server is shared, and a run's id is made of its account's name and the day."""


@dataclass
class Run:
    """One run of a playbook, and the hands of whoever tests it."""

    kit: "Kit"
    case: str
    account: str
    day: float = 0

    async def to_day(self, day: float, *, hour: float = 1) -> None:
        """Let the run's clock go on to an hour past day `day` after the start."""
        target = day + hour / 24
        await self.kit.place.pass_time(self.case, (target - self.day) * DAY)
        self.day = target

    async def calendar(self) -> Calendar:
        """Everything done so far: `{2.0: ["email usage.d3"], …}`, by whole days after the start, to a hundredth."""
        return await self.kit.place.calendar(self.case)

    async def left_out(self) -> dict[str, str]:
        """Steps that were left out, each with its reason."""
        lines = (note.text for note in await self.kit.notes(self.case) if note.text.startswith("Left out: "))
        return {line[10:].partition(" Reason: ")[0]: line.partition(" Reason: ")[2] for line in lines}

    async def dropped(self) -> list[tuple[str, str, str]]:
        """What the gate held back: (step, kind, rule)."""
        return await self.kit.place.dropped(self.case)

    async def hear(self, kind: str, **said: Any) -> None:
        """Tell a fact about the run's account, at the run's own time."""
        at = await self.kit.place.started_at(self.case) + self.day * DAY
        await self.kit.tell(kind, self.account, at=at, **said)

    async def answer(self, step: str, outcome: str) -> None:
        """Say how the task that a step asked for ended, as a lead does in the Web UI."""
        await steer(self.kit.place.client, self.case, "answer", step, outcome)
        await self.kit.place.pass_time(self.case, timedelta(minutes=1))
        self.day += 1 / 1440

    async def finish(self) -> Ending:
        """Let the run go on to its end."""
        return await self.kit.place.finish(self.case)

    async def row(self) -> CaseRow:
        """The case's row."""
        return await self.kit.place.case(self.case)

    async def tasks(self) -> list[TaskRow]:
        """Every task of the case, oldest first."""
        rows: list[TaskRow] = await self.kit.place.rows(TaskRow, case_id=self.case)
        return sorted(rows, key=lambda row: (row.opened_at, row.key))

    async def messages(self, channel: str = "email") -> list[Message]:
        """Every message of the case on a channel, oldest first."""
        rows: list[Message] = await self.kit.place.rows(Message, case_id=self.case, channel=channel)
        return sorted(rows, key=lambda row: (row.at, row.key))


@dataclass
class Kit:
    """Accounts and facts in a town."""

    place: Town

    def today(self) -> date:
        """The day runs start on, UTC."""
        return datetime.now(UTC).date()

    async def add(self, *rows: SQLModel) -> None:
        """Put rows into the database."""
        async with self.place.database.writing() as session:
            for row in rows:
                await session.merge(row)

    async def account(self, account: str = "", **columns: Any) -> str:
        """An account with a contact who has an address."""
        made = account or f"acme{next(NUMBERS)}"
        known: dict[str, Any] = {
            "name": "Zoe Miller",
            "email": f"zoe@{made}.example.com",
            "company": "Acme",
            "owner": "ana",
            "segment": "starter",
            "mrr": 5_000,
        }
        await self.add(Account(id=made, **(known | columns)))
        return made

    async def use(self, account: str, metric: str, per_day: int, *, days: tuple[int, int], today: date) -> None:
        """`per_day` of a metric on each day from `days[0]` up to but not including `days[1]`, counted from today."""
        dates = [today + timedelta(days=day) for day in range(*days)]
        counted = (col(UsageDay.account_id) == account, col(UsageDay.metric) == metric, col(UsageDay.day).in_(dates))
        async with self.place.database.writing() as session:
            await session.exec(delete(UsageDay).where(*counted))
            session.add_all(UsageDay(account_id=account, metric=metric, day=day, count=per_day) for day in dates)

    async def tell(
        self,
        kind: str,
        account: str,
        *,
        subject: str = "",
        object_id: str = "",
        value: str = "",
        at_stake: int = 0,
        at: datetime | None = None,
        **data: Any,
    ) -> InboxEvent:
        """Tell a fact as our own systems do, by `POST /events`, and let it arrive."""
        event_id = f"evt_{uuid.uuid4().hex}"
        said = {"account": account, "subject": subject, "object": object_id, "value": value, "amount": at_stake, **data}
        body = orjson.dumps({"type": kind, "timestamp": (at or datetime.now(UTC)).isoformat(), "data": said})
        headers = signed_headers(EVENTS_SECRET, event_id, int(time.time()), body)
        async with (
            aiohttp.ClientSession() as http,
            http.post(f"{self.place.url}/events", data=body, headers=headers) as answer,
        ):
            assert answer.status == 200, await answer.text()
        await self.place.arrive()
        (stored,) = await self.place.rows(InboxEvent, event_id=event_id)
        told: InboxEvent = stored
        return told

    async def start(self, kind: str, account: str, **said: Any) -> Run:
        """Tell a fact that starts a run, and take the run it started."""
        told = await self.tell(kind, account, **said)
        started = [part for part in told.reason.split("; ") if part.startswith("started ")]
        assert len(started) == 1, told.reason
        return Run(self, started[0].removeprefix("started "), account)

    async def notes(self, case: str) -> list[CaseNote]:
        """The case's history in words."""
        rows = await self.place.rows(CaseNote, case_id=case)
        return sorted(rows, key=lambda row: row.id)


@pytest.fixture
async def kit(place: Town) -> Kit:
    """A kit in a town with the default policy."""
    return Kit(place)


@pytest.fixture
async def kit_with(
    client: Client, the_simulator: SimulatorControl, database_url: str, request: pytest.FixtureRequest
) -> AsyncIterator[Kit]:
    """A kit in a town with a policy of its own: `@pytest.mark.parametrize("kit_with", [{...}], indirect=True)`."""
    async with town(client, the_simulator, database_url, request.param) as place:
        yield Kit(place)
