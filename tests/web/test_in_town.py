"""Stale, early and late events against the whole of it: Stripe's simulator, web, relay, a real run."""

import asyncio
import json
import time
from typing import Any

import aiohttp

from models import facts
from models.cases import Ending
from models.counting import USAGE
from models.customers import UsageDay
from models.tables import EffectRow, InboxEvent, Message, wall
from tests.town import WEBHOOK_SECRET, Customer, Town
from tests.web.events import encoded, event, signed


async def tell(place: Town, made: dict[str, Any]) -> str:
    """Send an event of our own making, signed; the state it was stored in."""
    body = encoded(made)
    headers = {"Stripe-Signature": signed(body, secret=WEBHOOK_SECRET).decode()}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{place.url}/webhooks/stripe", data=body, headers=headers) as answer,
    ):
        assert answer.status == 200
        return str((await answer.json())["state"])


async def snapshot(place: Town, invoice: str) -> dict[str, Any]:
    """The invoice as Stripe would put it into an event now."""
    found: dict[str, Any] = json.loads(str(await place.stripe.v1.invoices.retrieve_async(invoice)))
    return found


async def a_failure_that_was_paid_since(place: Town) -> tuple[Customer, dict[str, Any], dict[str, Any]]:
    """The `failed` and the `paid` event of an invoice; neither was delivered."""
    await place.simulator.webhooks(lost=1.0)
    person = await place.customer("insufficient_funds", "ok")
    person.invoice = (await place.simulator.cycle(person.subscription))["id"]
    now = int(time.time())
    failed = event(obj=await snapshot(place, person.invoice), id="evt_failed", created=now - 60)
    assert (await place.simulator.customer_pays(person.invoice))["paid"] is True
    paid = event("invoice.paid", await snapshot(place, person.invoice), id="evt_paid", created=now)
    await place.simulator.settled()
    assert await place.rows(InboxEvent) == []
    return person, failed, paid


async def the_end(place: Town, case: str) -> Ending:
    """The run ends by itself, at once; no time has to pass."""
    ending: Ending = await asyncio.wait_for(place.client.get_workflow_handle(case, result_type=Ending).result(), 5)
    return ending


async def nothing_was_done(place: Town, person: Customer, charges: int) -> None:
    assert await place.simulator.mailbox() == []
    assert await place.rows(Message) == []
    assert len(await place.charges(person)) == charges
    kinds = {row.kind for row in await place.rows(EffectRow) if row.state == "done"}
    assert kinds <= {"banner", "risk"}, "only what is taken back may be touched"
    assert await place.simulator.product_calls() == []


async def test_t1_20_a_stale_failed_after_paid_ends_as_already_paid_without_a_mail_or_a_charge(place: Town) -> None:
    person, failed, paid = await a_failure_that_was_paid_since(place)
    charges = len(await place.charges(person))
    assert await tell(place, paid) == "pending"
    await place.relay.once()
    assert await tell(place, failed) == "pending"
    await place.relay.once()
    ending = await the_end(place, person.case)
    assert ending.outcome == "already_paid"
    assert [(row.state, row.reason) for row in await place.inbox()] == [
        ("applied", f"no open run hears {facts.INVOICE_PAID}"),
        ("applied", f"started {person.case}"),
    ]
    assert (await place.case(person.case)).outcome == "already_paid"
    await nothing_was_done(place, person, charges)


async def test_t1_20_paid_and_failed_in_one_batch_end_as_already_paid(place: Town) -> None:
    person, failed, paid = await a_failure_that_was_paid_since(place)
    charges = len(await place.charges(person))
    await tell(place, paid)
    await tell(place, failed)
    await place.relay.once()
    assert (await the_end(place, person.case)).outcome == "already_paid"
    await nothing_was_done(place, person, charges)


async def test_t1_20_a_failed_that_comes_once_more_after_the_end_starts_nothing(place: Town) -> None:
    person, failed, paid = await a_failure_that_was_paid_since(place)
    charges = len(await place.charges(person))
    await tell(place, failed)
    await place.relay.once()
    await the_end(place, person.case)
    await tell(place, {**failed, "id": "evt_again"})
    await tell(place, paid)
    await place.relay.once()
    assert [(row.state, row.reason) for row in await place.inbox()][1:] == [
        ("applied", f"{person.case} has ended: already_paid"),
        ("applied", f"no open run hears {facts.INVOICE_PAID}"),
    ]
    await nothing_was_done(place, person, charges)


async def test_t1_10_a_dispute_reaches_the_case_of_the_customer_its_charge_belongs_to(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds")
    other = await place.payment_fails("insufficient_funds")
    charges = await place.stripe.v1.charges.list_async({"customer": person.id})
    made = event("charge.dispute.created", {"object": "dispute", "id": "dp_1", "charge": charges.data[0].id})
    assert await tell(place, {**made, "id": "evt_dispute"}) == "pending"
    (row,) = await place.inbox(event_id="evt_dispute")
    assert row.account_id == "?"
    await place.relay.once()
    (row,) = await place.inbox(event_id="evt_dispute")
    assert (row.state, row.account_id, row.reason) == ("applied", person.id, f"told {person.case}")
    assert other.id != person.id


async def test_t1_10_a_dispute_of_a_charge_that_stripe_does_not_know_is_tried_again(place: Town) -> None:
    made = event("charge.dispute.created", {"object": "dispute", "id": "dp_1", "charge": "ch_unknown"})
    await tell(place, made)
    await place.relay.once()
    (row,) = await place.inbox()
    assert (row.state, row.tries, row.account_id) == ("pending", 1, "?")
    assert row.reason.startswith("InvalidRequestError: ")


async def test_t1_19_an_account_that_is_learned_from_stripe_lets_its_parked_events_go_on(place: Town) -> None:
    await place.simulator.webhooks(lost=1.0)  # any of them would have the account learned at once
    person = await place.customer()
    async with place.database.writing() as session:
        for kind in (facts.USER_SIGNED_UP, USAGE):
            session.add(
                InboxEvent(
                    source="events",
                    event_id=kind,
                    type=kind,
                    kind=kind,
                    account_id=person.id,
                    value="login",
                    object_id="2026-11-25",
                    occurred_at=wall(),
                    body=b'{"data": {"count": 3}}',
                )
            )
    await place.relay.once()
    assert {row.state for row in await place.inbox(source="events")} == {"parked"}
    await place.billing.learn_account(person.id)
    found = {row.kind: row.state for row in await place.inbox(source="events")}
    assert found == {facts.USER_SIGNED_UP: "pending", USAGE: "applied"}
    assert [(row.metric, row.count) for row in await place.rows(UsageDay)] == [("login", 3)]
    await place.billing.learn_account(person.id, again=True)
    assert [(row.metric, row.count) for row in await place.rows(UsageDay)] == [("login", 3)]
