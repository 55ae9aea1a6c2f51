"""Stripe's own library as the other party: its test suite's cases, one by one, at our door."""

import time
from collections.abc import Callable
from typing import Any

import pytest
import stripe
from hypothesis import given
from hypothesis import strategies as st

from tests.web.events import SECRET, encoded, event
from tests.web.wire import Receiver
from web.signatures import BadSignature, check_stripe_signature

GOOD = encoded(event())
THIN = b'{"id":"evt_234","object":"v2.core.event","type":"v1.billing.meter.error_report_triggered","livemode":false}'


def generate_header(
    body: bytes = GOOD, *, timestamp: int | None = None, scheme: str = "v1", signature: str | None = None
) -> str:
    """As stripe-python's tests make it, with the library's own signing function."""
    at = int(time.time()) if timestamp is None else timestamp
    sign: Any = stripe.WebhookSignature._compute_signature
    made = sign(f"{at}.{body.decode()}", SECRET) if signature is None else signature
    return f"t={at},{scheme}={made}"


REFUSED: dict[str, tuple[Callable[[], str], str]] = {
    "test_raise_on_invalid_header": (
        lambda: "bad_header",
        "the Stripe-Signature header is malformed; expected t=...,v1=...",
    ),
    "test_raise_on_malformed_header": (
        lambda: "i'm not even a real signature header",
        "the Stripe-Signature header is malformed; expected t=...,v1=...",
    ),
    "test_raise_on_no_signatures_with_expected_scheme": (
        lambda: generate_header(scheme="v0"),
        "the Stripe-Signature header has no usable v1 signature",
    ),
    "test_raise_on_no_valid_signatures_for_payload": (
        lambda: generate_header(signature="bad_signature"),
        "no signature fits; is the endpoint's signing secret in STRIPE_WEBHOOK_SECRETS?",
    ),
    "test_raise_on_timestamp_outside_tolerance": (
        lambda: generate_header(timestamp=int(time.time()) - 302),
        "the timestamp is too old (more than 300 seconds)",
    ),
    # The library takes these two: it has no upper bound, and without a tolerance no lower one.
    "a timestamp in the future": (
        lambda: generate_header(timestamp=int(time.time()) + 310),
        "the timestamp lies in the future (more than 300 seconds)",
    ),
    "test_timestamp_off_but_no_tolerance": (
        lambda: generate_header(timestamp=12345),
        "the timestamp is too old (more than 300 seconds)",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_t1_19_what_stripe_s_tests_refuse_we_refuse(name: str, receiver: Receiver) -> None:
    make, reason = REFUSED[name]
    answer = await receiver.send(GOOD, signature=make().encode())
    assert (answer.status, answer.json) == (400, {"error": reason})
    assert await receiver.rows() == []


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"this is not valid JSON", "the body is not valid JSON: invalid literal, expected 'true'"),
        (THIN, "not a Stripe event: object is not 'event'"),
    ],
    ids=["test_raise_on_json_error", "test_raise_on_v2_payload"],
)
async def test_t1_19_what_is_signed_and_no_event_is_refused(body: bytes, reason: str, receiver: Receiver) -> None:
    answer = await receiver.send(body, signature=generate_header(body).encode())
    assert (answer.status, answer.json) == (400, {"error": reason})
    assert await receiver.rows() == []


@pytest.mark.parametrize("more", ["", ",v1=bad_signature"], ids=["test_valid_header", "test_contains_valid_signature"])
async def test_t1_19_what_stripe_s_tests_take_we_take(more: str, receiver: Receiver) -> None:
    answer = await receiver.send(GOOD, signature=(generate_header() + more).encode())
    assert (answer.status, answer.json["state"]) == (200, "pending")


PIECES = st.sampled_from(
    ["t=1000", "t=", "t=999", "v1=", "v0=", ",", "=", " ", "v1=" + "a" * 64, "FITS", "v1=FITS", ",v1=FITS"]
)


@given(st.lists(PIECES, max_size=6), st.binary(max_size=30).filter(lambda body: _is_text(body)))
def test_t1_19_whatever_we_take_stripe_s_library_takes(pieces: list[str], body: bytes) -> None:
    fits = generate_header(body, timestamp=1000).partition("v1=")[2]
    header = "".join(pieces).replace("FITS", fits)
    try:
        check_stripe_signature(header, body, [SECRET], 1000)
    except BadSignature:
        return
    verify: Any = stripe.WebhookSignature.verify_header
    assert verify(body.decode(), header, SECRET)


def _is_text(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True
