"""The hands of those around us in a crashing world: senders that come again until they are told yes."""

import itertools
import time
from datetime import UTC, datetime
from typing import Any

import aiohttp
import orjson

from activities.outgoing_webhooks import signed_headers
from models.links import link
from models.tables import CaseRow, InboxEvent, TaskRow
from tests.crash.stage import Stage
from tests.playbook_kit import Kit, Run
from tests.town import EVENTS_SECRET, LINK_SECRET

MOST_TRIES = 5


class Hands(Kit):
    """A kit whose facts arrive although the receiver dies."""

    place: Stage

    def __init__(self, place: Stage) -> None:
        super().__init__(place)
        self._numbers = itertools.count(1)

    def start_counting(self) -> None:
        """What came before only makes the scene; the story's points begin here."""
        self.place.faults.start()

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
        """Tell a fact under one id until it is taken, and let it arrive."""
        event_id = f"evt_{account}_{next(self._numbers)}"
        said = {"account": account, "subject": subject, "object": object_id, "value": value, "amount": at_stake, **data}
        body = orjson.dumps({"type": kind, "timestamp": (at or datetime.now(UTC)).isoformat(), "data": said})
        headers = signed_headers(EVENTS_SECRET, event_id, int(time.time()), body)
        await self._post("/events", body, headers)
        await self.place.arrive()
        (stored,) = await self.place.rows(InboxEvent, event_id=event_id)
        told: InboxEvent = stored
        return told

    async def _post(self, path: str, body: Any, headers: dict[str, str] | None = None) -> None:
        async with aiohttp.ClientSession() as http:
            for _ in range(MOST_TRIES):
                async with http.post(f"{self.place.url}{path}", data=body, headers=headers) as answer:
                    if answer.status == 200:
                        return
        raise AssertionError(f"{path} never said yes: {answer.status}")

    async def start(self, kind: str, account: str, **said: Any) -> Run:
        """Tell a fact that starts a run, and take the run it started."""
        known = {row.id for row in await self.place.rows(CaseRow)}
        told = await self.tell(kind, account, **said)
        started = [row.id for row in await self.place.rows(CaseRow, account_id=account) if row.id not in known]
        assert len(started) == 1, f"{kind} started {started}: {told.state}, {told.reason}"
        return Run(self, started[0], account)

    async def accept(self, offer: str) -> None:
        """The customer follows the link of an offer and presses the button, again if need be."""
        path = link("", LINK_SECRET, "offer", offer)
        await self._post(path, {"answer": "accept"})
        await self.place.arrive()

    async def done(self, run: Run, title: str, outcome: str) -> None:
        """A colleague finishes a task that the run waits for, in the CRM."""
        tasks = await self.place.rows(TaskRow, case_id=run.case)
        asked = [row for row in tasks if row.title == title]
        assert len(asked) == 1, f"{title!r} is not one of {[row.title for row in tasks]}"
        await run.hear("task.done", object_id=asked[0].key, value=outcome)
