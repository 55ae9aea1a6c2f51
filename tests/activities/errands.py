"""Batches carried out by hand, and systems that fail where a test wants them to."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from sqlmodel.ext.asyncio.session import AsyncSession
from temporalio.testing import ActivityEnvironment

from activities.access import ProductAccess
from activities.billing import Billing
from activities.carry_out import Effects
from activities.crm import Crm
from activities.messages import Outbox, Postroom, SendGridMail
from activities.systems import Answer, Inside, Outside, TryAgain, Watch
from models.cases import Batch, Charge, Effect, Email, Outcome, Parting, SetAccess
from models.facts import INVOICE_PAID, PAID_BY_RETRY
from models.picture import Picture
from models.tables import CaseRow, CaseSubject, EffectRow
from tests.town import LINK_SECRET, PUBLIC_URL, Customer, Town

NOW = datetime(2026, 12, 1, 9, tzinfo=UTC)
PAY = "/v1/invoices/*/pay"
MAIL = "/v3/mail/send"


async def case_of(place: Town, *outcomes: str) -> Customer:
    """A customer with a refused invoice and a case, but no run: the test is the one who carries batches out."""
    await place.simulator.webhooks(lost=1.0)
    person = await place.customer(*outcomes)
    person.invoice = (await place.simulator.cycle(person.subscription))["id"]
    async with place.database.writing() as session:
        session.add(
            CaseRow(
                id=person.case, playbook="payment-failure", account_id=person.id, subject=person.invoice, opened_at=NOW
            )
        )
        await session.flush()
        session.add(CaseSubject(case_id=person.case, subject=person.invoice, joined_at=NOW))
    return person


def batch(person: Customer, *effects: Effect, closing: Parting | None = None) -> Batch:
    """A batch as the playbook would send it."""
    partings = {}
    for reason, outcome in ((INVOICE_PAID, "recovered_by_customer"), (PAID_BY_RETRY, "recovered_by_retry")):
        thanks = Email(key=f"{person.case}/ending:{reason}/2", title="Thanks", template="dunning.recovered")
        access = SetAccess(key=f"{person.case}/ending:{reason}/1", title="Restore", level="full")
        partings[reason] = Parting(reason=reason, outcome=outcome, effects=(access, thanks))
    return Batch(
        case=person.case,
        account=person.id,
        subject=person.invoice,
        playbook="payment-failure",
        step="step",
        title="A step.",
        since=NOW,
        now=NOW,
        watch="invoices",
        effects=effects,
        partings=partings,
        closing=closing,
    )


def charge(person: Customer) -> Charge:
    """The retry of the step."""
    return Charge(key=f"{person.case}/step/1", title="Retry", invoice=person.invoice, then=PAID_BY_RETRY)


def mail(person: Customer) -> Email:
    """The mail of the step."""
    return Email(key=f"{person.case}/step/2", title="Mail", template="dunning.d3", restrict_at=NOW, suspend_at=NOW)


async def carried_out(place: Town, wanted: Batch, tries: int = 6) -> Outcome:
    """Try a batch until it comes back, as Temporal would."""
    for number in range(1, tries + 1):
        try:
            outcome: Outcome = await ActivityEnvironment().run(place.effects.carry_out, wanted)
        except Exception:
            if number == tries:
                raise
            continue
        return outcome
    raise AssertionError("unreachable")


async def states(place: Town) -> dict[str, str]:
    """The ledger: key after the case id, and state."""
    rows: list[EffectRow] = await place.rows(EffectRow)
    return {row.key.removeprefix(f"{row.case_id}/"): row.state for row in rows}


async def once(effects: Effects, wanted: Batch) -> Outcome:
    """One try."""
    outcome: Outcome = await ActivityEnvironment().run(effects.carry_out, wanted)
    return outcome


async def row_of(place: Town, effect: Effect) -> EffectRow:
    """The ledger row of an effect."""
    (row,) = await place.rows(EffectRow, key=effect.key)
    found: EffectRow = row
    return found


Around = Callable[[str, Callable[[], Awaitable[Any]]], Awaitable[Any]]
"""Is given the name of a call and the call, and makes it, or not."""


class AroundInside:
    """A system of rows with something around each call."""

    def __init__(self, system: Inside, around: Around) -> None:
        self.kinds = system.kinds
        self._system = system
        self._around = around

    async def write(self, session: AsyncSession, effect: Any, batch: Batch, picture: Picture) -> Answer:
        """Write, with something around it."""
        answer: Answer = await self._around("write", lambda: self._system.write(session, effect, batch, picture))
        return answer


class AroundOutside:
    """An outside system with something around each call."""

    def __init__(self, system: Outside, around: Around) -> None:
        self.kinds = system.kinds
        self._system = system
        self._around = around

    def before(self, effect: Any, picture: Picture) -> dict[str, Any]:
        """As the system does."""
        return self._system.before(effect, picture)

    async def perform(self, effect: Any, batch: Batch, picture: Picture) -> Answer:
        """Perform, with something around it."""
        answer: Answer = await self._around("perform", lambda: self._system.perform(effect, batch, picture))
        return answer

    async def look_up(self, effect: Any, batch: Batch, picture: Picture, noted: dict[str, Any]) -> Answer | None:
        """Look up, with something around it."""
        answer: Answer | None = await self._around(
            "look_up", lambda: self._system.look_up(effect, batch, picture, noted)
        )
        return answer


class AroundWatch:
    """A source of truth with something around each look."""

    def __init__(self, watch: Watch, around: Around) -> None:
        self.name = watch.name
        self._watch = watch
        self._around = around

    async def look(self, batch: Batch) -> Picture:
        """Look, with something around it."""
        picture: Picture = await self._around("look", lambda: self._watch.look(batch))
        return picture


def effects_with(place: Town, around: Around, *, outbox: bool = False) -> Effects:
    """The one door of a town, with something around each call of each system."""
    postroom = Postroom(place.policy, PUBLIC_URL, LINK_SECRET)
    billing = Billing(place.database, place.stripe)
    access = ProductAccess(place.database, f"{place.simulator.url}/product/access", "whsec_dG93bg==")
    inside: list[Inside] = [Crm(place.database, place.policy, PUBLIC_URL, LINK_SECRET)]
    outside: list[Outside] = [billing, access]
    if outbox:
        inside.append(Outbox(postroom))
    else:
        outside.append(SendGridMail(place.database, postroom, "SG.town", place.simulator.url))
    return Effects(
        place.database,
        [AroundWatch(billing, around)],
        inside=[AroundInside(each, around) for each in inside],
        outside=[AroundOutside(each, around) for each in outside],
    )


class Broken(Exception):
    """The process died here."""


class Breaks:
    """Dies at the nth call: before it is made, or after it was made and before anybody hears of it."""

    def __init__(self, nth: int, *, after: bool) -> None:
        self.nth = nth
        self.after = after
        self.calls = 0

    async def __call__(self, name: str, call: Callable[[], Awaitable[Any]]) -> Any:
        """Make the call, or die."""
        self.calls += 1
        breaks = self.calls == self.nth
        if breaks and not self.after:
            raise Broken
        answer = await call()
        if breaks:
            raise Broken
        return answer


class Parks:
    """Stops at the nth call that leaves our database until `goes_on` is set; `parked` tells that it stands there."""

    def __init__(self, nth: int, *, after: bool) -> None:
        self.nth = nth
        self.after = after
        self.calls = 0
        self.parked = asyncio.Event()
        self.goes_on = asyncio.Event()

    async def __call__(self, name: str, call: Callable[[], Awaitable[Any]]) -> Any:
        """Make the call, standing still before or after it."""
        if name == "write":
            return await call()
        self.calls += 1
        here = self.calls == self.nth
        if here and not self.after:
            await self._stand()
        answer = await call()
        if here and self.after:
            await self._stand()
        return answer

    async def _stand(self) -> None:
        self.parked.set()
        await self.goes_on.wait()


async def until_it_returns(effects: Effects, wanted: Batch, tries: int = 40) -> Outcome:
    """Try until the batch comes back; another try at it is waited for."""
    for _ in range(tries):
        try:
            return await once(effects, wanted)
        except (TryAgain, Broken):
            await asyncio.sleep(0.001)
    raise AssertionError(f"still not done after {tries} tries")
