"""A worker that stands still (SIGSTOP, a frozen machine) right after a claim, and wakes when another has taken over.

Temporal gives its step to somebody else after ten seconds without a heartbeat, and cannot take it from the one that
stands still. Whatever that one does when it wakes must not be an effect more, nor one that the world has overtaken.
"""

import asyncio
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment

from activities import systems
from activities.systems import FRESH_S, TryAgain
from models.cases import Batch, CancelSubscription, Parting, SetAccess
from models.facts import PLAN_DONE
from models.tables import Access, EffectRow
from tests.activities.test_lost_answers import batch, carried_out, case_of, charge, mail, states
from tests.town import Customer, Town


async def stands_still(
    place: Town,
    monkeypatch: pytest.MonkeyPatch,
    wanted: Batch,
    kind: str,
    meanwhile: Callable[[], Awaitable[Any]],
    seconds: float = FRESH_S + 6,
) -> None:
    """Carry a batch out with a try that stands still for so long between its claim and its act."""
    ahead = 0.0
    monkeypatch.setattr(systems, "monotonic", lambda: time.monotonic() + ahead)
    system: Any = place.effects._outside[kind]
    really = system.perform

    async def after_standing_still(*call: Any) -> Any:
        nonlocal ahead
        monkeypatch.setattr(system, "perform", really)
        await meanwhile()
        ahead = seconds
        return await really(*call)

    monkeypatch.setattr(system, "perform", after_standing_still)
    try:
        if seconds > FRESH_S:
            with pytest.raises(TryAgain, match="stood still"):
                await ActivityEnvironment().run(place.effects.carry_out, wanted)
        else:
            await ActivityEnvironment().run(place.effects.carry_out, wanted)
    finally:
        ahead = 0.0


async def pays(place: Town, person: Customer) -> None:
    """The customer pays by link."""
    await place.simulator.customer_pays(person.invoice, behaviour={"always": "ok"})


async def test_p1_17_a_cancellation_is_not_made_up_for_after_the_customer_paid(
    place: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await case_of(place, "insufficient_funds")
    cancel = CancelSubscription(key=f"{person.case}/step/1", title="Cancel")
    wanted = batch(person, cancel, closing=Parting(reason=PLAN_DONE, outcome="suspended"))

    async def meanwhile() -> None:
        await pays(place, person)
        await carried_out(place, wanted)

    await stands_still(place, monkeypatch, wanted, "cancel_subscription", meanwhile)
    assert (await place.stripe.v1.subscriptions.retrieve_async(person.subscription)).status == "active"
    assert (await place.case(person.case)).outcome == "recovered_by_customer"


async def test_p1_13_a_restriction_is_not_put_back_after_it_was_lifted(
    place: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await case_of(place, "insufficient_funds")
    restrict = SetAccess(key=f"{person.case}/step/1", title="Restrict", level="restricted")

    async def meanwhile() -> None:
        await carried_out(place, batch(person, restrict))
        await pays(place, person)
        await carried_out(place, batch(person))

    await stands_still(place, monkeypatch, batch(person, restrict), "access", meanwhile)
    assert [row.level for row in await place.rows(Access)] == ["full"]
    assert [call["body"]["data"]["level"] for call in await place.simulator.product_calls()] == ["restricted", "full"]


async def test_p1_13_a_restriction_whose_claim_is_gone_is_not_written(
    place: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stood still between the look at the clock and the row: there the ledger itself is asked, under its lock."""
    person = await case_of(place, "insufficient_funds")
    restrict = SetAccess(key=f"{person.case}/step/1", title="Restrict", level="restricted")
    system: Any = place.effects._outside["access"]
    really = system.perform

    async def after_standing_still(*call: Any) -> Any:
        monkeypatch.setattr(system, "perform", really)
        await carried_out(place, batch(person, restrict))
        await pays(place, person)
        await carried_out(place, batch(person))
        monkeypatch.setattr("activities.access.still_fresh", lambda: None)
        return await really(*call)

    monkeypatch.setattr(system, "perform", after_standing_still)
    with pytest.raises(TryAgain, match="claim is gone"):
        await ActivityEnvironment().run(place.effects.carry_out, batch(person, restrict))
    assert [row.level for row in await place.rows(Access)] == ["full"]


async def test_a_mail_is_not_sent_long_after_its_claim_and_the_ledger_says_so(
    place: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await case_of(place, "insufficient_funds")
    wanted = batch(person, mail(person))

    async def meanwhile() -> None:
        await carried_out(place, wanted)
        assert await states(place) == {"step/2": "in_doubt"}

    await stands_still(place, monkeypatch, wanted, "email", meanwhile)
    assert await place.simulator.mailbox() == []
    assert await states(place) == {"step/2": "refused"}
    (row,) = await place.rows(EffectRow)
    assert row.reason.startswith("not done: stood still")


async def test_a_mail_that_leaves_a_moment_late_is_sent_once(place: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    person = await case_of(place, "insufficient_funds")
    wanted = batch(person, mail(person))
    await stands_still(place, monkeypatch, wanted, "email", lambda: carried_out(place, wanted), seconds=0)
    assert len(await place.simulator.mailbox()) == 1
    assert await states(place) == {"step/2": "done"}


async def test_i1_a_charge_is_made_once(place: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    person = await case_of(place, "insufficient_funds", "do_not_honor", "ok")
    wanted = batch(person, charge(person))
    await stands_still(place, monkeypatch, wanted, "charge", lambda: carried_out(place, wanted))
    assert await place.charges(person) == ["insufficient_funds", "do_not_honor"]
    assert await states(place) == {"step/1": "refused"}


async def test_who_wakes_does_not_give_back_the_claim_of_who_took_over(
    place: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await case_of(place, "insufficient_funds", "do_not_honor")
    wanted = batch(person, charge(person))
    system: Any = place.effects._outside["charge"]
    really = system.perform
    second: list[asyncio.Task[Any]] = []
    in_the_middle, go_on = asyncio.Event(), asyncio.Event()

    async def second_perform(*call: Any) -> Any:
        in_the_middle.set()
        await go_on.wait()
        return await really(*call)

    async def meanwhile() -> None:
        monkeypatch.setattr(system, "perform", second_perform)
        second.append(asyncio.create_task(ActivityEnvironment().run(place.effects.carry_out, wanted)))
        await in_the_middle.wait()

    await stands_still(place, monkeypatch, wanted, "charge", meanwhile)
    assert await states(place) == {"step/1": "claimed"}
    go_on.set()
    await second[0]
    assert await states(place) == {"step/1": "refused"}
    assert await place.charges(person) == ["insufficient_funds", "do_not_honor"]


CHILD = """
import asyncio, os, signal, sys
from temporalio.testing import ActivityEnvironment
from activities import systems
from activities.assembly import Outside, assemble
from activities.billing import close_stripe_client, stripe_client
from models.cases import Batch
from models.database import Database
from models.policy import PolicyFile

systems.FRESH_S = 0.5

async def main():
    api = stripe_client("sk_test_town", sys.argv[2])
    database = Database(sys.argv[1])
    effects = assemble(database, PolicyFile(None), Outside(stripe=api)).effects
    system = effects._outside["cancel_subscription"]
    really = system.perform

    async def after_a_stop(*call):
        os.kill(os.getpid(), signal.SIGSTOP)
        return await really(*call)

    system.perform = after_a_stop
    try:
        await ActivityEnvironment().run(effects.carry_out, Batch.model_validate_json(sys.stdin.read()))
    except systems.TryAgain as error:
        print(error)
    await close_stripe_client(api)
    await database.close()

asyncio.run(main())
"""


async def test_p1_17_a_process_that_was_really_stopped_cancels_nothing_when_it_goes_on(
    place: Town, database_url: str
) -> None:
    person = await case_of(place, "insufficient_funds")
    cancel = CancelSubscription(key=f"{person.case}/step/1", title="Cancel")
    wanted = batch(person, cancel, closing=Parting(reason=PLAN_DONE, outcome="suspended"))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", CHILD, database_url, place.simulator.url),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdin is not None
        process.stdin.write(wanted.model_dump_json().encode())
        process.stdin.close()
        async with asyncio.timeout(40):
            while await states(place) != {"step/1": "claimed"}:
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.6)
        await pays(place, person)
        await carried_out(place, wanted)
        process.send_signal(signal.SIGCONT)
        said, _ = await asyncio.wait_for(process.communicate(), 15)
        assert b"stood still" in said
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert (await place.stripe.v1.subscriptions.retrieve_async(person.subscription)).status == "active"
    assert (await place.case(person.case)).outcome == "recovered_by_customer"
