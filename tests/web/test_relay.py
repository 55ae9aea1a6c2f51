"""The relay: every row ends, with its reason; any number of relays, each run started once. On both databases."""

import asyncio
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text, update
from sqlmodel import SQLModel, col, select
from temporalio import workflow
from temporalio.client import Client
from temporalio.service import RPCError

from models import facts, ledger, loading
from models.cases import Case, Ending
from models.columns import AccountColumns
from models.database import Database
from models.policy import PolicyFile
from models.tables import EVENTS, Account, CaseRow, CaseSubject, InboxEvent, TaskRow, wall
from tests.web.events import Json, event, invoice
from web.webhooks import row_of
from workers.relay import LEASE, MOST_TRIES, Relay
from workers.routing import Router, StartRun, TellRun, heard_kinds
from workflows import PLAYBOOKS
from workflows.playbook import Playbook
from workflows.steps import Start


@workflow.defn(name="by-itself")
class ByItself(Playbook):
    """Starts a run for each subject and lets none join."""

    starts_on = (Start(facts.PAYMENT_FAILED),)

    @workflow.run
    async def run(self, case: Case) -> Ending:
        """Never carried out here."""
        raise NotImplementedError


@workflow.defn(name="broken")
class Broken(Playbook):
    """Has a defect where it is asked whether to start."""

    starts_on = (Start(facts.PAYMENT_FAILED),)

    @classmethod
    def refuses(cls, case: Case) -> str:
        """Fail, as a defect would."""
        raise ZeroDivisionError("a defect")

    @workflow.run
    async def run(self, case: Case) -> Ending:
        """Never carried out here."""
        raise NotImplementedError


async def nobody(charge: str) -> str:
    raise AssertionError(f"{charge}: no charge is read in this test")


@dataclass
class Office:
    """An inbox and relays over it; runs are started, but no worker takes them up."""

    database: Database
    client: Client
    mark: str
    count: int = 0

    def relay(self, playbooks: Sequence[type[Playbook]] = PLAYBOOKS, policy: Json | None = None) -> Relay:
        router = Router(PolicyFile(policy), playbooks)
        return Relay(self.database, self.client, router, nobody, task_queue=f"nobody-{self.mark}")

    def name(self, short: str) -> str:
        """An id that no other test uses; Temporal is shared."""
        return f"{short}_{self.mark}"

    def case(self, invoice: str) -> str:
        return f"payment-failure/{self.name(invoice)}"

    async def hear(self, kind: str, invoice_id: str, customer: str, **changes: Any) -> InboxEvent:
        """Put an event about an invoice into the inbox."""
        self.count += 1
        about = invoice(id=self.name(invoice_id), customer=self.name(customer), **changes)
        return await self.put(event(kind, about, id=f"evt_{self.count}"))

    async def put(self, made: Json) -> InboxEvent:
        row = row_of(made, b"{}", livemode=False)
        async with self.database.writing() as session:
            assert await ledger.insert_once(session, row)
        return row

    async def due(self) -> None:
        """What waiting would bring."""
        async with self.database.writing() as session:
            statement = update(InboxEvent).where(col(InboxEvent.state) == "pending")
            await session.exec(statement.values(wall_next_try_at=wall()))

    async def rows(self, table: type[SQLModel] = InboxEvent) -> list[Any]:
        async with self.database.reading() as session:
            return list((await session.exec(select(table).order_by(*table.__table__.primary_key))).all())  # type: ignore[attr-defined]

    async def settled(self) -> list[tuple[str, str]]:
        return [(row.state, row.reason.replace(f"_{self.mark}", "")) for row in await self.rows()]

    async def history(self, invoice: str) -> list[str]:
        """What Temporal was told about a case: `started`, then the kinds of the facts it heard."""
        try:
            found = await self.client.get_workflow_handle(self.case(invoice)).fetch_history()
        except RPCError:
            return []
        said = ["started"]
        for each in found.events:
            if each.HasField("workflow_execution_signaled_event_attributes"):
                payload = each.workflow_execution_signaled_event_attributes.input.payloads[0]
                said.append((await self.client.data_converter.decode([payload]))[0]["kind"])
        return said


@pytest.fixture
def office(both: Database, client: Client) -> Office:
    return Office(both, client, uuid.uuid4().hex[:8])


async def test_t1_1_a_failed_payment_starts_a_run(office: Office) -> None:
    await office.hear("invoice.payment_failed", "in_1", "cus_1")
    assert await office.relay().once() == 1
    assert await office.settled() == [("applied", "started payment-failure/in_1")]
    (case,) = await office.rows(CaseRow)
    assert (case.id, case.started, case.ended, case.at_stake) == (office.case("in_1"), True, False, 2900)
    (subject,) = await office.rows(CaseSubject)
    assert (subject.case_id, subject.subject) == (case.id, office.name("in_1"))
    assert await office.history("in_1") == ["started"]
    assert await office.relay().once() == 0


async def test_t1_1_a_second_failure_of_the_same_invoice_starts_nothing(office: Office) -> None:
    relay = office.relay()
    for kind in ("invoice.payment_failed", "invoice.payment_action_required"):
        await office.hear(kind, "in_1", "cus_1")
    assert await relay.once() == 2
    assert await office.settled() == [
        ("applied", "started payment-failure/in_1"),
        ("applied", "payment-failure/in_1 is open already"),
    ]
    assert await office.history("in_1") == ["started"]


async def test_t1_2_a_payment_is_told_to_the_open_run(office: Office) -> None:
    relay = office.relay()
    await office.hear("invoice.payment_failed", "in_1", "cus_1")
    await office.hear("invoice.paid", "in_1", "cus_1", status="paid")
    await relay.once()
    assert await office.settled() == [
        ("applied", "started payment-failure/in_1"),
        ("applied", "told payment-failure/in_1"),
    ]
    assert await office.history("in_1") == ["started", facts.INVOICE_PAID]


async def test_t1_3_a_new_card_is_told_to_the_open_run_of_that_customer_only(office: Office) -> None:
    relay = office.relay()
    await office.hear("invoice.payment_failed", "in_1", "cus_1")
    await office.hear("invoice.payment_failed", "in_2", "cus_2")
    await relay.once()
    card = {"object": "payment_method", "id": "pm_1", "customer": office.name("cus_1")}
    await office.put(event("payment_method.attached", card, id="evt_card"))
    await relay.once()
    assert (await office.history("in_1"), await office.history("in_2")) == (
        ["started", facts.CARD_UPDATED],
        ["started"],
    )


@pytest.mark.parametrize(
    ("kind", "fact"),
    [
        ("invoice.paid", facts.INVOICE_PAID),
        ("invoice.voided", facts.INVOICE_VOIDED),
        ("invoice.marked_uncollectible", facts.INVOICE_WRITTEN_OFF),
    ],
)
async def test_t1_19_what_nobody_hears_ends_with_the_reason(kind: str, fact: str, office: Office) -> None:
    await office.hear(kind, "in_1", "cus_1")
    await office.relay().once()
    assert await office.settled() == [("applied", f"no open run hears {fact}")]
    assert await office.rows(CaseRow) == []


async def test_t1_20_paid_before_failed_is_carried_in_the_order_it_came(office: Office) -> None:
    await office.hear("invoice.paid", "in_1", "cus_1", status="paid")
    await office.hear("invoice.payment_failed", "in_1", "cus_1")
    await office.relay().once()
    assert await office.settled() == [
        ("applied", "no open run hears invoice.paid"),
        ("applied", "started payment-failure/in_1"),
    ]


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ({"min_amount": 3000}, "2900 is below dunning.min_amount 3000"),
        ({"currencies": ["eur"]}, "currency usd is not in dunning.currencies"),
    ],
)
async def test_p1_1_what_the_policy_leaves_alone_starts_nothing(policy: Json, reason: str, office: Office) -> None:
    await office.hear("invoice.payment_failed", "in_1", "cus_1")
    await office.relay(policy={"dunning": policy}).once()
    assert await office.settled() == [("applied", f"payment-failure not started: {reason}")]
    assert await office.rows(CaseRow) == []


async def test_p1_20_a_second_invoice_joins_the_open_case(office: Office) -> None:
    relay = office.relay()
    for each in ("in_1", "in_2"):
        await office.hear("invoice.payment_failed", each, "cus_1")
    await relay.once()
    assert await office.settled() == [
        ("applied", "started payment-failure/in_1"),
        ("applied", "in_2 joined payment-failure/in_1"),
    ]
    assert [row.subject for row in await office.rows(CaseSubject)] == [office.name("in_1"), office.name("in_2")]
    assert await office.history("in_1") == ["started", facts.SUBJECT_JOINED]
    assert await office.history("in_2") == []


async def test_p0_5_where_nothing_joins_a_second_subject_waits_outside(office: Office) -> None:
    relay = office.relay([ByItself])
    for each in ("in_1", "in_2"):
        await office.hear("invoice.payment_failed", each, "cus_1")
    await relay.once()
    assert await office.settled() == [
        ("applied", "started by-itself/in_1"),
        ("applied", "by-itself not started: by-itself/in_1 is open for this account"),
    ]
    assert [row.id for row in await office.rows(CaseRow)] == [f"by-itself/{office.name('in_1')}"]


async def test_t1_19_an_event_for_a_case_that_has_ended_starts_nothing(office: Office) -> None:
    relay = office.relay()
    await office.hear("invoice.payment_failed", "in_1", "cus_1")
    await relay.once()
    async with office.database.writing() as session:
        await session.exec(update(CaseRow).values(ended=True, outcome="recovered"))
    await office.hear("invoice.payment_failed", "in_1", "cus_1")
    await office.hear("invoice.paid", "in_1", "cus_1")
    await relay.once()
    assert (await office.settled())[1:] == [
        ("applied", "payment-failure/in_1 has ended: recovered"),
        ("applied", "no open run hears invoice.paid"),
    ]
    assert await office.history("in_1") == ["started"]


async def test_t1_19_a_relay_that_died_before_the_start_starts_the_run_on_the_next_pass(office: Office) -> None:
    row = await office.hear("invoice.payment_failed", "in_1", "cus_1")
    async with office.database.writing() as session:  # as far as the dead relay came
        await Router(PolicyFile()).route(session, row)
    assert await office.history("in_1") == []
    assert await office.relay().once() == 1
    assert await office.settled() == [("applied", "payment-failure/in_1 is open already")]
    (case,) = await office.rows(CaseRow)
    assert case.started
    assert await office.history("in_1") == ["started"]


async def test_t1_19_a_relay_that_died_after_the_start_starts_nothing_twice(office: Office) -> None:
    await office.hear("invoice.payment_failed", "in_1", "cus_1")
    await office.relay().once()
    before = await office.client.get_workflow_handle(office.case("in_1")).describe()
    async with office.database.writing() as session:  # it started the run, but came no further
        await session.exec(update(CaseRow).values(started=False))
        await session.exec(update(InboxEvent).values(state="pending", reason="", wall_next_try_at=wall()))
    assert await office.relay().once() == 1
    assert await office.settled() == [("applied", "payment-failure/in_1 is open already")]
    (case,) = await office.rows(CaseRow)
    assert case.started
    after = await office.client.get_workflow_handle(office.case("in_1")).describe()
    assert (after.run_id, after.history_length) == (before.run_id, before.history_length)


async def test_t1_19_a_run_is_not_told_what_it_was_started_with(office: Office) -> None:
    """Usage decline hears `usage.declined` while it runs, and must not take its own beginning for more news."""
    account, at = office.name("cus_1"), wall()

    def fell(name: str, later: timedelta) -> InboxEvent:
        return InboxEvent(
            source="ourselves",
            event_id=office.name(name),
            type="usage.declined",
            kind="usage.declined",
            account_id=account,
            subject="",
            value="severe",
            occurred_at=at + later,
            body=b"{}",
        )

    rows = [fell("evt_1", timedelta()), fell("evt_2", timedelta(hours=1))]
    async with office.database.writing() as session:
        session.add(Account(id=account))
        session.add_all(rows)
    router = Router(PolicyFile())
    async with office.database.writing() as session:
        (start,) = (await router.route(session, rows[0])).deliveries
        assert isinstance(start, StartRun)
        (await session.get_one(CaseRow, start.case.id)).started = True  # and here the relay died
    async with office.database.writing() as session:
        assert (await router.route(session, rows[0])).deliveries == ()
        (told,) = (await router.route(session, rows[1])).deliveries
    assert isinstance(told, TellRun)


async def test_t1_19_a_relay_that_died_between_joining_and_telling_tells_on_the_next_pass(office: Office) -> None:
    await office.hear("invoice.payment_failed", "in_1", "cus_1")
    await office.relay().once()
    row = await office.hear("invoice.payment_failed", "in_2", "cus_1")
    async with office.database.writing() as session:
        await Router(PolicyFile()).route(session, row)
    await office.relay().once()
    assert (await office.settled())[1] == ("applied", "in_2 joined payment-failure/in_1")
    assert len(await office.rows(CaseSubject)) == 2
    assert await office.history("in_1") == ["started", facts.SUBJECT_JOINED]


async def test_t1_19_rows_that_a_dead_relay_took_come_back_when_its_lease_ends(office: Office) -> None:
    await office.hear("invoice.paid", "in_1", "cus_1")
    assert len(await office.relay()._take()) == 1
    (row,) = await office.rows()
    assert LEASE.total_seconds() - 5 < (row.wall_next_try_at - wall()).total_seconds() <= LEASE.total_seconds()
    assert await office.relay().once() == 0
    await office.due()
    assert await office.relay().once() == 1
    assert await office.settled() == [("applied", "no open run hears invoice.paid")]


async def drive_to_the_end(office: Office, relay: Relay) -> tuple[int, list[float]]:
    """Try until nothing is pending; the number of tries, and the waits in between."""
    waits: list[float] = []
    for tries in range(1, 2 * MOST_TRIES):
        await relay.once()
        (row, *_) = [each for each in await office.rows() if each.id == 1]
        if row.state != "pending":
            return tries, waits
        assert row.tries == tries
        waits.append(round((row.wall_next_try_at - wall()).total_seconds()))
        await office.due()
    return tries, waits


async def test_t1_19_a_run_that_was_terminated_closes_its_case_and_a_person_is_told(office: Office) -> None:
    async with office.database.writing() as session:
        session.add(
            CaseRow(
                id=office.case("in_0"),
                playbook="payment-failure",
                account_id=office.name("cus_1"),
                subject=office.name("in_0"),
                started=True,
                opened_at=wall(),
            )
        )
    await office.hear("invoice.paid", "in_0", "cus_1")
    await office.relay().once()
    (row,) = await office.rows()
    assert row.state == "applied"
    assert row.reason.endswith("; no open run hears invoice.paid")
    (case,) = await office.rows(CaseRow)
    assert (case.ended, case.outcome) == (True, "run_lost")
    (task,) = await office.rows(TaskRow)
    assert (task.owner, task.account_id) == ("csm-lead", office.name("cus_1"))


async def test_t1_19_a_defect_while_routing_ends_dead_and_stops_no_other_row(office: Office) -> None:
    await office.hear("invoice.payment_failed", "in_1", "cus_1")
    await office.hear("invoice.paid", "in_1", "cus_1")
    await office.hear("invoice.paid", "in_2", "cus_2")
    tries, _ = await drive_to_the_end(office, office.relay([Broken]))
    assert tries == MOST_TRIES
    assert await office.settled() == [
        ("dead", "ZeroDivisionError: a defect"),
        ("applied", "no open run hears invoice.paid"),
        ("applied", "no open run hears invoice.paid"),
    ]
    assert await office.rows(CaseRow) == []


async def test_t1_19_a_charge_that_cannot_be_read_is_tried_again_and_ends_dead(office: Office) -> None:
    await office.put(event("charge.dispute.created", {"object": "dispute", "id": "dp_1", "charge": "ch_1"}))
    tries, _ = await drive_to_the_end(office, office.relay())
    assert tries == MOST_TRIES
    assert await office.settled() == [("dead", "AssertionError: ch_1: no charge is read in this test")]


async def test_t1_19_two_relays_carry_each_of_200_rows_once(office: Office) -> None:
    async with office.database.writing() as session:
        for number in range(200):
            about = invoice(id=office.name(f"in_{number}"), customer=office.name(f"cus_{number}"))
            row = row_of(event(obj=about, id=f"evt_{number}"), b"{}", livemode=False)
            assert await ledger.insert_once(session, row)
    other = Database(office.database.engine.url.render_as_string(hide_password=False).replace("+aiosqlite", ""))
    relays = [office.relay(), Office(other, office.client, office.mark).relay()]

    async def work(relay: Relay) -> int:
        total = 0
        while moved := await relay.once():
            total += moved
        return total

    moved = await asyncio.gather(*(work(relay) for relay in relays))
    await other.close()
    assert sum(moved) == 200
    assert all(moved) or office.database.is_sqlite  # where one writer waits for another, one may take all
    rows = await office.rows()
    # A second delivery would say that the case is open already.
    assert Counter((row.state, row.tries, row.reason.split(" ")[0]) for row in rows) == {("applied", 0, "started"): 200}
    cases = await office.rows(CaseRow)
    assert len(cases) == 200
    assert all(case.started for case in cases)
    found = await asyncio.gather(*(office.client.get_workflow_handle(case.id).describe() for case in cases))
    assert Counter(each.history_length for each in found) == {2: 200}


async def test_t1_19_once_takes_at_most_one_batch_and_the_oldest_first(office: Office) -> None:
    for number in range(3):
        await office.hear("invoice.paid", f"in_{number}", "cus_1")
    async with office.database.writing() as session:
        await session.exec(update(InboxEvent).where(col(InboxEvent.id) == 1).values(wall_next_try_at=wall() + LEASE))
    taken = await office.relay()._take()
    assert [row.id for row in taken] == [2, 3]


async def test_t1_19_the_relay_outlives_a_database_that_is_away(office: Office) -> None:
    stop = asyncio.Event()
    relay = Relay(
        Database("postgresql://nobody@127.0.0.1:1/none"), office.client, Router(PolicyFile()), nobody, task_queue="none"
    )
    running = asyncio.create_task(relay.run(stop))
    await asyncio.sleep(0.02)
    assert not running.done()
    stop.set()
    await asyncio.wait_for(running, 2)


@pytest.mark.parametrize("order", [("in_1", "in_2"), ("in_2", "in_1")])
async def test_p1_20_of_two_relays_that_open_a_case_at_once_one_joins(
    order: tuple[str, str], both: Database, client: Client
) -> None:
    """The unique index over open cases decides; the loser tries again and joins."""
    office = Office(both, client, uuid.uuid4().hex[:8])
    first, second = order
    about = invoice(id=office.name(first), customer=office.name("cus_1"))
    ours = row_of(event(obj=about, id="evt_0"), b"{}", livemode=False)
    await office.hear("invoice.payment_failed", second, "cus_1")
    relay = office.relay()
    async with both.writing() as session:
        assert (await Router(PolicyFile()).route(session, ours)).reason == f"started {office.case(first)}"
        theirs = asyncio.create_task(relay.once())
        if not both.is_sqlite:
            await _until_somebody_waits(both)
    assert await theirs == 1
    if not both.is_sqlite:
        (row,) = await office.rows()
        assert (row.state, row.tries) == ("pending", 1)
        assert row.reason.startswith("IntegrityError: ")
        assert "uq_cases_one_open" in row.reason
    # The run of the winner is started by its own relay, which is dead here; ours only has to join.
    async with both.writing() as session:
        (case,) = (await session.exec(select(CaseRow))).all()
        assert (case.id, case.started) == (office.case(first), False)
    assert await ledger_insert(both, ours)
    for _ in range(2):
        await office.due()
        await relay.once()
    await office.due()
    await relay.once()
    subjects = [row.subject for row in await office.rows(CaseSubject)]
    assert sorted(subjects) == sorted([office.name(first), office.name(second)])
    assert {state for state, _ in await office.settled()} == {"applied"}
    assert (await office.history(first))[0] == "started"
    assert await office.history(second) == []


async def ledger_insert(database: Database, row: InboxEvent) -> bool:
    async with database.writing() as session:
        return await ledger.insert_once(session, row)


async def _until_somebody_waits(database: Database) -> None:
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    for _ in range(500):
        async with database.engine.connect() as connection:
            if (await connection.execute(waiting)).scalar_one():
                return
        await asyncio.sleep(0.002)
    raise AssertionError("nobody waits for the lock")


def test_the_time_of_an_event_is_the_providers() -> None:
    row = row_of(event(created=1_795_420_000), b"{}", livemode=False)
    assert row.occurred_at == datetime.fromisoformat("2026-11-23T07:46:40+00:00")


async def told(office: Office, kind: str, account: str, event_id: str, **more: Any) -> InboxEvent:
    """An event of our own systems about an account, by either of its names."""
    row = InboxEvent(
        source=EVENTS,
        event_id=event_id,
        type=kind,
        kind=kind,
        account_id=account,
        occurred_at=wall(),
        body=b"{}",
        **more,
    )
    async with office.database.writing() as session:
        assert await ledger.insert_once(session, row)
    return row


async def test_t1_19_an_event_of_an_unknown_account_is_parked_and_goes_on_when_it_is_loaded(office: Office) -> None:
    acme, customer = office.name("acme"), office.name("cus_1")
    await told(office, facts.USER_SIGNED_UP, acme, "msg_1")
    await office.relay().once()
    (row,) = await office.rows()
    assert (row.state, row.reason) == ("parked", f"account {acme!r} is not known: load it, and this event goes on")
    assert await office.relay().once() == 0
    async with office.database.writing() as session:
        await loading.load(session, [AccountColumns(id=customer, external_id=acme)])
    assert await office.relay().once() == 1
    (row,) = await office.rows()
    assert (row.state, row.account_id, row.learned) == ("applied", customer, True)
    (account,) = await office.rows(Account)
    assert account.signed_up_at == row.occurred_at


async def test_t1_19_an_account_that_is_loaded_while_its_event_is_being_parked_does_not_leave_it_there(
    office: Office,
) -> None:
    acme, customer = office.name("acme"), office.name("cus_1")
    await told(office, facts.USER_SIGNED_UP, acme, "msg_1")
    relay = office.relay()
    (row,) = await relay._take()
    async with office.database.writing() as session:  # after the relay looked for the account, before it parks the row
        await loading.load(session, [AccountColumns(id=customer, external_id=acme)])
    await relay._park(row, "unknown")
    assert [each.state for each in await office.rows()] == ["pending"]
    assert await relay.once() == 1
    assert [(each.state, each.account_id) for each in await office.rows()] == [("applied", customer)]


async def test_i6_traits_that_do_not_fit_the_account_end_dead_with_the_reason(office: Office) -> None:
    customer = office.name("cus_1")
    async with office.database.writing() as session:
        session.add(Account(id=customer))
    row = await told(office, loading.DESCRIBED, customer, "ajs-1")
    async with office.database.writing() as session:
        body = b'{"data": {"account": {"company": "Acme"}, "contact": {"id": "usr_1", "role": "boss"}}}'
        await session.exec(update(InboxEvent).where(col(InboxEvent.id) == 1).values(body=body))
    await office.relay().once()
    (row,) = await office.rows()
    assert (row.state, row.reason) == (
        "dead",
        "account.described: role: is 'boss'; expected billing, champion, sponsor, technical or admin",
    )
    assert [each.company for each in await office.rows(Account)] == [""], "all of it or nothing"


def test_t1_19_the_kinds_that_are_heard_are_those_that_start_end_or_wake_a_run() -> None:
    assert heard_kinds([ByItself]) == {facts.PAYMENT_FAILED, facts.OWNER_CHANGED, *ByItself.ends_on}
    assert {facts.PAYMENT_FAILED, facts.CARD_UPDATED, facts.INVOICE_PAID} <= heard_kinds()
