"""The stop switch, on both databases: what waits, what does not, and how it is let go on."""

from datetime import timedelta

import pytest
from sqlmodel import select

from models import holds
from models.cases import Banner, CancelSubscription, Charge, Deal, Effect, HoldRetries, Risk, SetAccess, Task, Tell
from models.contact_rows import Hold
from models.database import Database
from models.gate import Held
from models.hours import spread
from models.policy import Policy
from models.tables import wall
from tests.models.gate_kit import ACCOUNT, MONDAY, asked, case_of, mail, said
from tests.town import ALWAYS

OPEN = Policy.model_validate(ALWAYS)


async def place(database: Database, scope: holds.Scope, name: str = "") -> None:
    async with database.writing() as session:
        await holds.place(session, scope, name, "ana", "a wrong price in a template")


@pytest.mark.parametrize(
    ("scope", "name", "waits"),
    [
        ("all", "", True),
        ("playbook", "usage-decline", True),
        ("playbook", "renewal", False),
        ("account", ACCOUNT, True),
        ("account", "cus_2", False),
    ],
)
async def test_a_hold_makes_wait_what_it_names_and_nothing_else(
    both: Database, scope: holds.Scope, name: str, waits: bool
) -> None:
    usage = await case_of(both, "usage-decline", now=wall())
    await place(both, scope, name)
    answer = await asked(both, usage, mail(usage), policy=OPEN)
    assert said(answer) == (("waits", "on_hold") if waits else ("claimed", "contact_rules"))
    if isinstance(answer, Held):
        assert answer.reason.startswith(f"{scope} {name}".strip() + " on hold since ")
        assert answer.reason.endswith(" UTC: a wrong price in a template")
        assert answer.until == usage.now + timedelta(minutes=15)


def effects(case: str) -> list[tuple[Effect, bool]]:
    """Every kind of effect, and whether it leaves the house."""
    key = {"key": f"{case}/step/1", "title": "An effect"}
    return [
        (Charge(invoice="in_1", then="paid.by_retry", **key), True),
        (HoldRetries(invoice="in_1", **key), True),
        (CancelSubscription(**key), True),
        (Banner(template="dunning.banner", **key), True),
        (Banner(**key), False),
        (SetAccess(level="restricted", **key), True),
        (SetAccess(level="suspended", **key), True),
        (SetAccess(level="full", **key), False),
        (Task(due=MONDAY, **key), False),
        (Tell(fact="trial.started", **key), False),
        (Risk(signal="payment issues", raised=True, **key), False),
        (Deal(stage="Open", **key), False),
    ]


async def test_all_that_leaves_waits_and_nothing_is_kept_back_from_a_customer(both: Database) -> None:
    payment = await case_of(both, "payment-failure", now=wall())
    await place(both, "all")
    for effect, leaves in effects(payment.case):
        answer = await asked(both, payment, effect, policy=OPEN, parting=True)
        assert (said(answer) == ("waits", "on_hold")) == leaves, effect
        async with both.writing() as session:
            if not isinstance(answer, Held):
                await session.delete(await session.merge(answer))


async def test_a_released_hold_lets_go_without_a_burst(both: Database) -> None:
    now = wall()
    usage = await case_of(both, "usage-decline", now=now)
    await place(both, "all")
    waiting = [mail(usage, number) for number in range(20)]
    for each in waiting:
        assert said(await asked(both, usage, each, policy=OPEN)) == ("waits", "on_hold")
    async with both.writing() as session:
        await holds.release(session, "all", "", "ana", spread_minutes=90)
    async with both.reading() as session:
        released = (await session.exec(select(Hold.wall_released_at))).one()
    assert released
    again = usage.model_copy(update={"now": released})
    for each in waiting:
        held = await asked(both, again, each, policy=OPEN)
        minute = released + spread(each.key, 90)
        assert held == Held("on_hold", "released; what waited is spread", minute)
        later = usage.model_copy(update={"now": minute})
        assert said(await asked(both, later, each, policy=OPEN)) == ("claimed", "contact_rules")
    new = await asked(both, again, mail(usage, 50), policy=OPEN)
    assert said(new) == ("claimed", "contact_rules"), "what did not wait is not late either"


async def test_while_one_hold_stands_the_release_of_another_changes_nothing(both: Database) -> None:
    usage = await case_of(both, "usage-decline", now=wall())
    await place(both, "all")
    await place(both, "account", ACCOUNT)
    async with both.writing() as session:
        await holds.release(session, "all", "", "ana", spread_minutes=0)
    assert said(await asked(both, usage, mail(usage), policy=OPEN)) == ("waits", "on_hold")


async def test_a_hold_is_placed_once_and_what_does_not_stand_cannot_be_released(both: Database) -> None:
    await place(both, "playbook", "renewal")
    async with both.writing() as session:
        row, fresh = await holds.place(session, "playbook", "renewal", "max")
        assert (row.placed_by, fresh) == ("ana", False)
    async with both.writing() as session:
        with pytest.raises(holds.NotOnHold, match="all is not on hold; on hold: playbook renewal"):
            await holds.release(session, "all", "", "ana")
    async with both.writing() as session:
        await holds.release(session, "playbook", "renewal", "ana")
    async with both.reading() as session:
        assert await holds.standing_holds(session) == []


async def test_the_longer_it_stands_the_less_often_it_is_asked(both: Database) -> None:
    usage = await case_of(both, "usage-decline")
    await place(both, "all")
    async with both.writing() as session:
        (hold,) = await holds.standing_holds(session)
        hold.wall_placed_at = MONDAY
        session.add(hold)
    waits = []
    for hours in (0, 4, 1000):
        now = MONDAY + timedelta(hours=hours)
        held = await asked(both, usage.model_copy(update={"now": now}), mail(usage), policy=OPEN)
        assert isinstance(held, Held)
        assert held.until
        waits.append(held.until - now)
    assert waits == [timedelta(minutes=15), timedelta(hours=1), timedelta(hours=6)]
