"""Whatever is sent, only the refusals that were promised come out."""

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.invoices import Invoice, UnreadableInvoice, read_invoice
from models.stripe_events import READERS
from models.tables import InboxEvent
from tests.web.events import event, invoice, v1
from web.signatures import BadSignature, check_stripe_signature
from web.strict_json import BadJson, parse_object
from web.webhooks import Refused, row_of

MANY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["invoice", "event"])
)
ANYTHING: st.SearchStrategy[Any] = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def changed(base: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """The object with a few fields replaced by anything."""
    fields = st.dictionaries(st.sampled_from(sorted(base)), ANYTHING, max_size=4)
    return fields.map(lambda replaced: {**base, **replaced})


def storable(row: InboxEvent) -> None:
    """Both databases can hold it, so that it is never sent again in vain."""
    for value in (row.event_id, row.type, row.kind, row.account_id, row.subject, row.object_id, row.currency):
        assert len(value) <= 255
        assert "\0" not in value
        value.encode()
    assert row.state in ("pending", "ignored", "dead")
    assert (row.state == "pending") == (row.reason == "")
    assert len(row.reason) <= 500


@MANY
@given(st.binary(max_size=60) | ANYTHING.map(lambda value: json.dumps(value).encode()))
def test_t1_19_any_bytes_are_an_object_or_refused(body: bytes) -> None:
    try:
        assert isinstance(parse_object(body), dict)
    except BadJson as error:
        assert str(error)


@MANY
@given(ANYTHING)
def test_t1_19_what_was_parsed_is_what_json_says(value: Any) -> None:
    body = json.dumps(value).encode()
    try:
        parsed = parse_object(body)
    except BadJson:
        return
    assert parsed == json.loads(body)


@MANY
@given(st.sampled_from(sorted(READERS)).flatmap(lambda kind: changed(event(kind))))
def test_t1_19_any_event_is_a_row_or_refused(made: dict[str, Any]) -> None:
    try:
        storable(row_of(made, b"{}", livemode=False))
    except Refused as refused:
        assert refused.status == 400


@MANY
@given(
    st.sampled_from(sorted(READERS)),
    changed(invoice()) | changed({"id": "x", "object": "charge", "charge": "ch_1", "customer": "cus_1"}) | ANYTHING,
    ANYTHING,
)
def test_t1_19_any_object_in_an_event_is_a_row(kind: str, obj: Any, before: Any) -> None:
    made = event(kind, data={"object": obj, "previous_attributes": before})
    storable(row_of(made, b"{}", livemode=False))


@MANY
@given(changed(invoice(subscription="sub_1")))
def test_t1_1_any_invoice_is_read_or_unreadable(raw: dict[str, Any]) -> None:
    try:
        assert isinstance(read_invoice(raw), Invoice)
    except UnreadableInvoice as error:
        assert str(error)


PIECES = st.sampled_from(["t=", "v1=", "v0=", ",", "=", "1000", " ", "t=1000", "v1=" + "a" * 64, "٣", "\0", "ä"])


@MANY
@given(st.text(max_size=40) | st.lists(PIECES, max_size=12).map("".join))
def test_t1_19_any_signature_header_is_refused(header: str) -> None:
    try:
        check_stripe_signature(header, b"{}", ["whsec_present0123456789"], 1000)
    except BadSignature as error:
        assert str(error).isascii()
    else:
        raise AssertionError("a header that nobody signed was taken")


@MANY
@given(st.binary(max_size=200), st.integers(0, 10**9), st.text(min_size=1, max_size=20))
def test_t1_19_what_was_signed_fits_and_one_bit_more_does_not(body: bytes, now: int, secret: str) -> None:
    try:
        header = f"t={now},v1={v1(body, str(now), secret)}"
    except UnicodeEncodeError:  # no such secret can be set
        return
    check_stripe_signature(header, body, ["", "another", secret], now)
    for other in (body + b" ", b"\0" + body):
        try:
            check_stripe_signature(header, other, [secret], now)
        except BadSignature:
            continue
        raise AssertionError("another body was taken")
