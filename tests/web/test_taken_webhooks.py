"""Events the receiver takes: what is stored, as what, and with which reason."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from models import facts
from models.invoices import Invoice, UnreadableInvoice, read_invoice
from models.stripe_events import READERS, UnreadableEvent, read_event
from models.tables import InboxEvent
from tests.web.events import AT, encoded, event, invoice, older_invoice
from tests.web.wire import Receiver

MOMENT = datetime.fromtimestamp(AT, UTC)


async def the_row(receiver: Receiver) -> InboxEvent:
    (row,) = await receiver.rows()
    return row


async def test_t1_1_a_failed_payment_is_stored_as_a_pending_fact(receiver: Receiver) -> None:
    body = encoded(event())
    answer = await receiver.send(body)
    assert (answer.status, answer.json) == (200, {"received": True, "state": "pending", "reason": ""})
    row = await the_row(receiver)
    stored = row.model_dump(exclude={"id", "wall_received_at", "wall_next_try_at"})
    assert stored == {
        "source": "stripe",
        "event_id": "evt_1",
        "type": "invoice.payment_failed",
        "kind": facts.PAYMENT_FAILED,
        "account_id": "cus_1",
        "subject": "in_1",
        "object_id": "",
        "at_stake": 2900,
        "currency": "usd",
        "occurred_at": MOMENT,
        "api_version": "2026-10-28.endive",
        "body": body,
        "state": "pending",
        "reason": "",
        "learned": False,
        "value": "",
        "tries": 0,
        "wall_settled_at": None,
    }


async def test_t1_19_an_unknown_type_is_stored_as_ignored_with_the_reason(receiver: Receiver) -> None:
    answer = await receiver.tell(event("coupon.created", {"object": "coupon"}, created="soon"))
    assert (answer.status, answer.json["state"]) == (200, "ignored")
    row = await the_row(receiver)
    assert (row.state, row.reason) == ("ignored", "no playbook hears coupon.created")
    assert row.wall_settled_at is not None
    assert abs(row.occurred_at - row.wall_received_at) < timedelta(seconds=5)  # an unusable time gives way to ours


async def test_t1_19_a_duplicate_event_is_one_row(receiver: Receiver) -> None:
    states = [(await receiver.tell(event())).json["state"] for _ in range(3)]
    assert states == ["pending", "duplicate", "duplicate"]
    assert len(await receiver.rows()) == 1


async def test_t1_19_the_same_id_with_another_body_keeps_the_first(receiver: Receiver) -> None:
    await receiver.tell(event())
    answer = await receiver.tell(event("invoice.paid", invoice(amount_due=1)))
    assert (answer.status, answer.json["state"]) == (200, "duplicate")
    row = await the_row(receiver)
    assert (row.type, row.body) == ("invoice.payment_failed", encoded(event()))


NOT_WHOLE = "expected a whole number"
UNREADABLE: dict[str, tuple[dict[str, Any], str]] = {
    "no amount_due": (
        event(obj={key: value for key, value in invoice().items() if key != "amount_due"}),
        "invoice 'in_1': amount_due is None, expected a whole number",
    ),
    "amount a fraction": (event(obj=invoice(amount_due=29.5)), f"invoice 'in_1': amount_due is 29.5, {NOT_WHOLE}"),
    "amount text": (event(obj=invoice(amount_paid="0")), f"invoice 'in_1': amount_paid is '0', {NOT_WHOLE}"),
    "amount true": (event(obj=invoice(amount_due=True)), f"invoice 'in_1': amount_due is True, {NOT_WHOLE}"),
    "no id": (event(obj=invoice(id=None)), "invoice None: id is None, expected text"),
    "no currency": (event(obj=invoice(currency="")), "invoice 'in_1': currency is '', expected text"),
    "status a list": (event(obj=invoice(status=[])), "invoice 'in_1': status is [], expected text"),
    "URL an object": (
        event(obj=invoice(hosted_invoice_url={"a": 1})),
        "invoice 'in_1': hosted_invoice_url is {'a': 1}, expected text",
    ),
    "number a number": (event(obj=invoice(number=7)), "invoice 'in_1': number is 7, expected text"),
    "next attempt beyond all dates": (
        event(obj=invoice(next_payment_attempt=10**15)),
        "invoice 'in_1': next_payment_attempt is 1000000000000000, expected seconds since 1970",
    ),
    "next attempt before 1970": (
        event(obj=invoice(next_payment_attempt=-(2**62))),
        f"invoice 'in_1': next_payment_attempt is {-(2**62)}, expected seconds since 1970",
    ),
    "another object": (event(obj={"object": "charge"}), "expected an invoice, got object 'charge'"),
    "no object": (event(data={}), "data.object is missing"),
    "data null": (event(data=None), "data.object is missing"),
    "object an id": (event(data={"object": "in_1"}), "data.object is missing"),
    "no time": (event(created=None), "created is None, expected seconds since 1970"),
    "time true": (event(created=True), "created is True, expected seconds since 1970"),
    "time too far": (event(created=2**33), f"created is {2**33}, expected seconds since 1970"),
    "customer with NUL": (event(obj=invoice(customer="cus\0")), r"the account 'cus\x00' is too long or not printable"),
    "invoice id with a line break": (
        event(obj=invoice(id="in\n1")),
        r"the subject 'in\n1' is too long or not printable",
    ),
    "dispute without its charge": (
        event("charge.dispute.created", {"object": "dispute", "id": "dp_1"}),
        "charge.dispute.created: charge is missing",
    ),
}


@pytest.mark.parametrize("name", UNREADABLE)
async def test_t1_19_a_known_type_we_cannot_read_is_dead_and_names_the_field(name: str, receiver: Receiver) -> None:
    made, reason = UNREADABLE[name]
    answer = await receiver.tell(made)
    assert (answer.status, answer.json["state"]) == (200, "dead")
    row = await the_row(receiver)
    assert (row.state, row.reason, row.kind) == ("dead", f"cannot be read: {reason}", "")
    assert row.wall_settled_at is not None
    assert row.body == encoded(made)


async def test_t1_19_an_endless_value_does_not_make_an_endless_reason(receiver: Receiver) -> None:
    await receiver.tell(event(obj=invoice(amount_due="9" * 200_000)))
    row = await the_row(receiver)
    assert (row.state, len(row.reason)) == ("dead", 500)
    await receiver.tell(event(obj=invoice(customer="c" * 256), id="evt_2"))
    assert [row.state for row in await receiver.rows()] == ["dead", "dead"]


EXPECTED = Invoice(
    id="in_1",
    customer="cus_1",
    status="open",
    amount_due=2900,
    amount_paid=0,
    amount_remaining=2900,
    currency="usd",
    attempts=1,
    automatic=True,
    auto_advance=True,
    next_attempt=MOMENT + timedelta(days=1),
    subscription="sub_1",
    hosted_url="https://invoice.stripe.com/i/x",
    number="A-1",
)


def test_t1_1_both_shapes_of_an_invoice_read_the_same() -> None:
    assert read_invoice(invoice()) == read_invoice(older_invoice()) == EXPECTED


def test_t1_1_expanded_objects_read_as_their_ids() -> None:
    parent = {"type": "subscription_details", "subscription_details": {"subscription": {"id": "sub_1"}}}
    assert read_invoice(invoice(customer={"id": "cus_1"}, parent=parent)) == EXPECTED
    assert read_invoice({**older_invoice(), "subscription": {"id": "sub_1"}}) == EXPECTED


@pytest.mark.parametrize(
    "parent", [None, {"type": "quote_details", "subscription_details": None}, {"subscription_details": {}}]
)
def test_t1_1_an_invoice_without_a_subscription_has_none(parent: Any) -> None:
    assert read_invoice(invoice(parent=parent)).subscription == ""


def test_t1_1_what_may_be_missing_has_a_default() -> None:
    least = {"object": "invoice", "id": "in_1", "status": "draft", "currency": "EUR", "amount_due": 10}
    assert read_invoice(least) == Invoice(
        id="in_1", customer="", status="draft", amount_due=10, amount_paid=0, amount_remaining=10, currency="eur",
        attempts=0, automatic=True, auto_advance=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "is_open"),
    [({}, True), ({"status": "paid"}, False), ({"amount_remaining": 0}, False), ({"amount_remaining": -1}, False)],
)
def test_t1_1_an_invoice_is_open_while_something_is_owed(changes: dict[str, Any], is_open: bool) -> None:
    assert read_invoice(invoice(**changes)).is_open is is_open


def test_t1_1_an_unreadable_invoice_names_the_field() -> None:
    with pytest.raises(UnreadableInvoice, match="^invoice 'in_1': attempt_count is '1', expected a whole number$"):
        read_invoice(invoice(attempt_count="1"))


OUR_KEY = {"id": "req_1", "idempotency_key": "payment-failure/in_1/first_retry/1"}
ECHO = "the echo of our own call; its result is known"
IGNORED: dict[str, tuple[dict[str, Any], str]] = {
    "our own failed attempt": (event(request=OUR_KEY), ECHO),
    "our own attempt that needs a person": (event("invoice.payment_action_required", request=OUR_KEY), ECHO),
    "our own cancellation": (
        event("customer.subscription.deleted", {"object": "subscription", "id": "sub_1"}, request=OUR_KEY),
        ECHO,
    ),
    "an invoice sent for payment": (
        event(obj=invoice(collection_method="send_invoice")),
        "the invoice is sent for payment, not charged automatically",
    ),
    "an invoice of nobody": (event(obj=invoice(customer=None)), "the object belongs to no customer"),
    "a customer with another name": (
        event("customer.updated", {"object": "customer", "id": "cus_1"}),
        "customer.updated without a change of the default card",
    ),
    "a subscription with another plan": (
        event("customer.subscription.updated", {"object": "subscription", "id": "sub_1", "customer": "cus_1"}),
        "customer.subscription.updated without a change of the default card",
    ),
    "a card of nobody": (
        event("payment_method.attached", {"object": "payment_method", "id": "pm_1", "customer": None}),
        "the object belongs to no customer",
    ),
}


@pytest.mark.parametrize("name", IGNORED)
async def test_t1_19_what_is_no_news_is_ignored_with_the_reason(name: str, receiver: Receiver) -> None:
    made, reason = IGNORED[name]
    answer = await receiver.tell(made)
    assert (answer.status, answer.json) == (200, {"received": True, "state": "ignored", "reason": reason})
    row = await the_row(receiver)
    assert (row.state, row.reason, row.kind) == ("ignored", reason, "")


@pytest.mark.parametrize(
    "theirs", [None, {}, {"idempotency_key": "order/payment-failure/1"}, {"idempotency_key": 1}, "x"]
)
async def test_t1_1_a_failed_attempt_of_others_is_heard(theirs: Any, receiver: Receiver) -> None:
    assert (await receiver.tell(event(request=theirs))).json["state"] == "pending"


async def test_t1_2_our_own_success_is_heard_too(receiver: Receiver) -> None:
    made = event("invoice.paid", invoice(status="paid", amount_paid=2900, amount_remaining=0), request=OUR_KEY)
    assert (await receiver.tell(made)).json["state"] == "pending"


@pytest.mark.parametrize(
    ("amounts", "at_stake"),
    [
        ({"amount_due": 0, "amount_remaining": 0}, 0),
        ({"amount_due": -500, "amount_remaining": -500}, -500),
        ({"amount_due": 2900, "amount_paid": 900, "amount_remaining": 2000}, 2000),
        ({"amount_due": 2900, "currency": "JPY"}, 2900),
    ],
)
async def test_t1_1_the_amount_at_stake_is_what_remains(
    amounts: dict[str, Any], at_stake: int, receiver: Receiver
) -> None:
    await receiver.tell(event(obj=invoice(**amounts)))
    row = await the_row(receiver)
    assert (row.state, row.at_stake, row.currency) == ("pending", at_stake, amounts.get("currency", "usd").lower())


async def test_t1_1_an_invoice_of_500_lines_is_taken(receiver: Receiver) -> None:
    lines = {"object": "list", "data": [{"id": f"il_{n}", "amount": n, "description": "Seat"} for n in range(500)]}
    assert (await receiver.tell(event(obj=invoice(lines=lines)))).json["state"] == "pending"


async def test_t1_19_an_event_of_last_year_is_taken(receiver: Receiver) -> None:
    await receiver.tell(event(created=AT - 365 * 86_400))
    assert (await the_row(receiver)).occurred_at == MOMENT - timedelta(days=365)


@pytest.mark.parametrize("version", [None, 7, "", "x" * 256, "2026\0"])
async def test_t1_19_an_odd_api_version_is_stored_as_none(version: Any, receiver: Receiver) -> None:
    await receiver.tell(event(api_version=version))
    assert (await the_row(receiver)).api_version == ""


CHARGE = {"object": "charge", "id": "ch_1", "customer": "cus_1", "refunded": True}
DISPUTE = {"object": "dispute", "id": "dp_1", "charge": "ch_1"}
SUBSCRIPTION = {"object": "subscription", "id": "sub_1", "customer": "cus_1", "status": "canceled"}
METHOD = {"object": "payment_method", "id": "pm_1", "customer": "cus_1"}
ABOUT_INVOICE = ("cus_1", "in_1", "")
FACTS: dict[str, tuple[Any, dict[str, Any], str, tuple[str, str, str]]] = {
    "invoice.payment_failed": (invoice(), {}, facts.PAYMENT_FAILED, ABOUT_INVOICE),
    "invoice.payment_action_required": (invoice(), {}, facts.PAYMENT_FAILED, ABOUT_INVOICE),
    "invoice.paid": (invoice(status="paid"), {}, facts.INVOICE_PAID, ABOUT_INVOICE),
    "invoice.payment_succeeded": (invoice(status="paid"), {}, facts.INVOICE_PAID, ABOUT_INVOICE),
    "invoice.voided": (invoice(status="void"), {}, facts.INVOICE_VOIDED, ABOUT_INVOICE),
    "invoice.marked_uncollectible": (invoice(), {}, facts.INVOICE_WRITTEN_OFF, ABOUT_INVOICE),
    "customer.subscription.deleted": (SUBSCRIPTION, {}, facts.SUBSCRIPTION_CANCELLED, ("cus_1", "", "sub_1")),
    "customer.subscription.created": (SUBSCRIPTION, {}, facts.SUBSCRIPTION_REACTIVATED, ("cus_1", "", "sub_1")),
    "customer.subscription.updated": (
        SUBSCRIPTION,
        {"default_payment_method": "pm_0"},
        facts.CARD_UPDATED,
        ("cus_1", "", "sub_1"),
    ),
    "customer.updated": (
        {"object": "customer", "id": "cus_1"},
        {"invoice_settings": {"default_payment_method": None}},
        facts.CARD_UPDATED,
        ("cus_1", "", "cus_1"),
    ),
    "payment_method.attached": (METHOD, {}, facts.CARD_UPDATED, ("cus_1", "", "pm_1")),
    "payment_method.automatically_updated": (METHOD, {}, facts.CARD_UPDATED, ("cus_1", "", "pm_1")),
    "charge.refunded": (CHARGE, {}, facts.PAYMENT_REFUNDED, ("cus_1", "", "ch_1")),
    "charge.dispute.created": (DISPUTE, {}, facts.PAYMENT_DISPUTED, ("?", "", "ch_1")),
}


@pytest.mark.parametrize("kind", READERS)
async def test_t1_10_each_event_type_is_its_fact(kind: str, receiver: Receiver) -> None:
    obj, before, fact, ids = FACTS[kind]
    await receiver.tell(event(kind, data={"object": obj, "previous_attributes": before}))
    row = await the_row(receiver)
    assert (row.state, row.kind, (row.account_id, row.subject, row.object_id)) == ("pending", fact, ids)
    assert row.occurred_at == MOMENT


def test_t1_3_an_older_default_source_is_a_card_too() -> None:
    made = event("customer.updated", data={"object": {"id": "cus_1"}, "previous_attributes": {"default_source": "c"}})
    heard = read_event(made).fact
    assert heard is not None
    assert heard.kind == facts.CARD_UPDATED


def test_t1_19_an_event_read_without_its_time_names_it() -> None:
    with pytest.raises(UnreadableEvent, match="^created is 'now', expected seconds since 1970$"):
        read_event(event(created="now"))
