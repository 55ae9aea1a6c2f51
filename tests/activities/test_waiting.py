"""What the one door does with what has to wait: the case stays open for it, and what is owed is not lost."""

from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta

from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession
from temporalio.testing import ActivityEnvironment

from activities.carry_out import Effects
from activities.systems import Answer
from models import holds
from models.cases import Batch, Effect, Email, Outcome, Parting, SetAccess
from models.contact_rows import Deferral
from models.database import Database
from models.facts import INVOICE_PAID, PLAN_DONE
from models.picture import Person, Picture
from models.policy import PolicyFile
from models.tables import CaseRow, EffectRow, wall

NIGHT = datetime(2026, 11, 24, 2, tzinfo=UTC)
NINE = datetime(2026, 11, 24, 9, tzinfo=UTC)
CASE = "payment-failure/in_1"
ON_TIME = {"hours": {"spread_minutes": 0}}


@dataclass
class Door:
    """The one door, with a source of truth that says what the test says, and a system that only takes notes."""

    database: Database
    over: str = ""
    done: list[str] = field(default_factory=list)
    name: str = "told"
    kinds: tuple[str, ...] = ("email", "access")

    async def look(self, batch: Batch) -> Picture:
        return Picture(over=self.over, people={"billing": Person(email="zoe@example.com")}, fates={"in_1": self.over})

    async def write(self, session: AsyncSession, effect: Effect, batch: Batch, picture: Picture) -> Answer:
        self.done.append(effect.title)
        return Answer()

    async def carry_out(self, batch: Batch, *, tried_at: datetime = NIGHT) -> Outcome:
        effects = Effects(self.database, PolicyFile(ON_TIME), [self], [self], [])
        environment = ActivityEnvironment()
        environment.info = replace(environment.info, started_time=tried_at)
        outcome: Outcome = await environment.run(effects.carry_out, batch)
        return outcome

    async def case(self) -> CaseRow:
        async with self.database.reading() as session:
            row = await session.get(CaseRow, CASE)
        assert row
        return row


async def door(database: Database) -> Door:
    async with database.writing() as session:
        session.add(CaseRow(id=CASE, playbook="payment-failure", account_id="cus_1", subject="in_1", opened_at=NIGHT))
    return Door(database)


def email(title: str) -> Email:
    return Email(key=f"{CASE}/{title}/1", title=title, template="dunning.d3", notice="billing")


def batch(now: datetime, **parts: object) -> Batch:
    known = {"case": CASE, "account": "cus_1", "subject": "in_1", "playbook": "payment-failure", "step": "s"}
    paid = Parting(reason=INVOICE_PAID, outcome="paid", effects=(email("thanks"),))
    return Batch.model_validate(
        {**known, "title": "A step.", "since": NIGHT, "now": now, "watch": "told", "partings": {INVOICE_PAID: paid}}
        | parts
    )


async def test_p0_17_a_step_s_mail_waits_and_the_rest_of_the_step_with_it(database: Database) -> None:
    here = await door(database)
    suspend = SetAccess(key=f"{CASE}/s/2", title="suspend", level="suspended")
    step = {"effects": (email("warn"), suspend)}
    assert (await here.carry_out(batch(NIGHT, **step))).wait_until == NINE
    assert here.done == []
    assert (await here.carry_out(batch(NINE, **step))).wait_until is None
    assert here.done == ["warn", "suspend"]


async def test_p0_17_a_step_that_an_outage_kept_until_the_night_waits_for_the_morning(database: Database) -> None:
    here = await door(database)
    step = batch(NINE, effects=(email("warn"),))
    assert (await here.carry_out(step, tried_at=NIGHT + timedelta(days=1))).wait_until == NINE + timedelta(days=1)
    assert here.done == []
    assert (await here.carry_out(step, tried_at=NINE + timedelta(days=1))).wait_until is None
    async with database.reading() as session:
        row = await session.get(EffectRow, email("warn").key)
    assert row and (row.at, row.contact_on) == (NINE, date(2026, 11, 25)), "the step's moment, and the reader's day"


async def test_p0_17_the_money_that_comes_while_a_mail_waits_ends_it_unsent(database: Database) -> None:
    here = await door(database)
    await here.carry_out(batch(NIGHT, effects=(email("warn"),)))
    here.over = INVOICE_PAID
    assert (await here.carry_out(batch(NIGHT + timedelta(hours=1), effects=(email("warn"),)))).outcome == "paid"
    assert here.done == ["thanks"], "thanks are said at once"


async def test_p0_17_before_a_last_mail_the_case_stays_open_for_the_money(database: Database) -> None:
    here = await door(database)
    closing = Parting(reason=PLAN_DONE, outcome="suspended", effects=(email("farewell"),))
    assert (await here.carry_out(batch(NIGHT, closing=closing))).wait_until == NINE
    assert not (await here.case()).ended
    async with database.reading() as session:
        assert [(row.key, row.rule) for row in (await session.exec(select(Deferral))).all()] == [
            (f"{CASE}/farewell/1", "hours")
        ]
    here.over = INVOICE_PAID
    assert (await here.carry_out(batch(NINE, closing=closing))).outcome == "paid"
    assert here.done == ["thanks"]


async def test_p0_17_a_last_mail_goes_when_its_hour_has_come(database: Database) -> None:
    here = await door(database)
    closing = Parting(reason=PLAN_DONE, outcome="suspended", effects=(email("farewell"),))
    outcome = await here.carry_out(batch(NINE, closing=closing))
    assert (outcome.over, outcome.outcome, here.done) == (PLAN_DONE, "suspended", ["farewell"])


async def test_what_is_owed_waits_for_the_release_of_a_hold_and_is_not_lost(database: Database) -> None:
    here = await door(database)
    here.over = INVOICE_PAID
    async with database.writing() as session:
        await holds.place(session, "all", "", "ana")
    first = await here.carry_out(batch(wall()))
    assert first.over == ""
    assert first.wait_until is not None
    assert (await here.case()).ended
    assert here.done == []
    async with database.writing() as session:
        await holds.release(session, "all", "", "ana", spread_minutes=0)
    again = await here.carry_out(batch(wall()))
    assert (again.over, again.outcome, here.done) == (INVOICE_PAID, "paid", ["thanks"])


async def test_the_ledger_keeps_why_a_contact_was_made(database: Database) -> None:
    here = await door(database)
    await here.carry_out(batch(NINE, effects=(email("warn"),)))
    async with database.reading() as session:
        (row,) = (await session.exec(select(EffectRow))).all()
    assert (row.state, row.rule, row.nature, str(row.contact_on)) == (
        "done",
        "required_notice",
        "required",
        "2026-11-24",
    )
    assert row.reason == "a billing notice: no cap and no other playbook holds it back; Tue 24 Nov, 09:00 in UTC"
    assert len(row.reader) == 16
    assert "zoe" not in row.reader
