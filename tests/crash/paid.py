"""`paid` before and after every event of a run's history, delivered, or lost and found by the sweep (I3, P1.13).

The server writes a history in few transactions; between two of them somebody of ours works, or nobody does. The worker
works between a task's start and its answer, and between a batch's start and its answer: at each of its points there the
customer pays, and the news is carried at once or only some points later. A task that was not yet taken when the news
came is a task that is lost at its start, so that is done too. Where nobody works time passes:
`test_paid_at_every_edge` pays there.
"""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from models.facts import INVOICE_PAID
from models.tables import Access, CaseRow, EffectRow, wall
from tests.crash.enumeration import LONGEST_S
from tests.crash.stage import Stage
from tests.town import Customer
from workers.audit import audit
from workers.sweep import sweep

News = Literal["delivered", "lost", "delivered before the task is taken"]
NEWS: Final[tuple[News, ...]] = ("delivered", "lost", "delivered before the task is taken")
TASK: Final = "task of a run"
RECOVERED: Final = ("already_paid", "recovered_by_customer", "recovered_after_restriction")


@dataclass
class PaidAt:
    """One world: a month in which nothing helps, and the customer pays at one point of the worker's."""

    place: Stage
    point: int
    news: News
    person: Customer = field(init=False)
    paid_at: datetime | None = None
    attempts: int = 0
    under_way: str = ""
    """The step whose batch had begun when the customer paid."""
    _begun: bool = False
    _through: asyncio.Event = field(default_factory=asyncio.Event)

    async def wrong(self) -> list[str] | None:
        """What was wrong with it; None: the point was not reached."""
        # Some points on, a different number in each world, the sweep finds what was lost.
        later = self.point + 1 + self.point * 7 % 20 if self.news == "lost" else self.point
        await self.place.make_new(("worker", self.point), ("worker", later), act=self._act)
        self.person = await self.place.customer("insufficient_funds")
        await self.place.arrive()
        self.place.faults.start()
        try:
            await asyncio.wait_for(self._live(), LONGEST_S)
        except Exception as error:  # noqa: BLE001 - a world that does not come to rest is what we look for
            return [f"never came to rest: {type(error).__name__}: {error}"]
        if self.paid_at is None:
            return None
        return await self._late() + await self._outcome() + await self._audit()

    async def _live(self) -> None:
        self.person.invoice = (await self.place.simulator.cycle(self.person.subscription))["id"]
        await self.place.rest()
        await self._sweep()
        await self.place.rest()

    async def _act(self) -> None:
        if self._begun:
            # Only who came by the point waits for the payment: the rest of the worker may be at the next one by now.
            await self._through.wait()
            await self._sweep()
            return
        self._begun = True
        self.attempts = len(await self.place.charges(self.person))
        self.under_way = self._step_under_way()
        # Stripe's clock has to be the run's, or the payment would be older than what it ends; it counts whole seconds.
        now = await self.place.skipper.get_current_time(self.place.run(self.person.case))
        await self.place.simulator.set_clock(int(now.timestamp()) + 2)
        if self.news == "lost":
            await self.place.simulator.webhooks(lost=1.0)
        await self.place.simulator.customer_pays(self.person.invoice, behaviour={"always": "ok"})
        await self.place.simulator.webhooks(lost=0.0)
        await self.place.arrive()
        self.paid_at = wall()
        self._through.set()
        if self.news == "delivered before the task is taken":
            self.place.faults.deaths["worker"] += 1

    def _step_under_way(self) -> str:
        names = [name for process, name in self.place.faults.seen if process == "worker"]
        begun = next((name for name in reversed(names) if name.startswith(("batch ", TASK))), "")
        return begun.removeprefix("batch ") if begun.startswith("batch ") else ""

    async def _sweep(self) -> None:
        await sweep(self.place.database, self.place.stripe, livemode=False, since=0)
        await self.place.arrive()

    # What has to be so afterwards.

    async def _late(self) -> list[str]:
        """Nothing of the plan is begun after the money; if nobody told us, what was under way may be finished."""
        wrong = []
        for row in await self.place.rows(EffectRow, case_id=self.person.case):
            planned = "/ending:" not in row.key and row.state != "dropped"
            excused = self.news == "lost" and row.step == self.under_way
            if self.paid_at and row.wall_claimed_at > self.paid_at and planned and not excused:
                wrong.append(f"after the money: {row.key}")
        if await self.place.charges(self.person) != ["insufficient_funds"] * self.attempts + ["ok"]:
            wrong.append(f"charged: {await self.place.charges(self.person)} after {self.attempts} attempts")
        return wrong

    async def _outcome(self) -> list[str]:
        """The run ends for the money, or, where it was over before, what it took is given back."""
        case = await self.place.case(self.person.case)
        mails = [mail["custom_args"]["effect"] for mail in await self.place.simulator.mailbox()]
        thanks = [key for key in mails if "/ending:" in key]
        levels = {row.level for row in await self.place.rows(Access)}
        wrong = [f"mailed twice: {key}" for key in set(mails) if mails.count(key) > 1]
        if levels - {"full"}:
            wrong.append(f"access stays {levels}")
        after = [row.outcome for row in await self.place.rows(CaseRow, playbook="reinstatement")]
        if case.outcome == "suspended":
            expected = after == ["reinstated"] and len(thanks) == 1
        else:
            told = case.outcome != "already_paid"
            expected = case.reason == INVOICE_PAID and case.outcome in RECOVERED and len(thanks) == told and not after
        if not expected:
            wrong.append(f"{case.outcome} for {case.reason}, then {after}, thanked {len(thanks)} times")
        return wrong

    async def _audit(self) -> list[str]:
        report = await audit(self.place.database, client=self.place.client, billing=self.place.billing)
        return [f"audit: {each}" for each in report.violations]


async def paid_at_every_point(
    place: Stage, news: News, points: Iterator[int], progress: Callable[[str], None]
) -> tuple[int, list[str]]:
    """Pay at each of these points until one is not reached: how many there were, and what was wrong."""
    tried, wrong = 0, list[str]()
    for point in points:
        found = await PaidAt(place, point, news).wrong()
        if found is None:
            break
        tried += 1
        wrong += [f"paid at worker {point} ({place.faults.fired[:1]}), {news}: {each}" for each in found]
        progress(f"paid at worker {point}, {news}")
    return tried, wrong
