"""Requests the receiver does not take: each a clear 4xx with the reason, and nothing stored."""

import asyncio
import gzip
import math
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.web.events import OLDER_SECRET, encoded, event, signed, v1
from tests.web.wire import Receiver, request
from web.signatures import BadSignature, check_stripe_signature
from web.webhooks import LARGEST_BODY

GOOD = encoded(event())
NO_TIMESTAMP = "the Stripe-Signature header has no usable timestamp"
NO_V1 = "the Stripe-Signature header has no usable v1 signature"
MALFORMED = "the Stripe-Signature header is malformed; expected t=...,v1=..."
NO_FIT = "no signature fits; is the endpoint's signing secret in STRIPE_WEBHOOK_SECRETS?"
NOT_ASCII = "the Stripe-Signature header holds characters that are not ASCII"
TOO_LARGE = f"the body is larger than {LARGEST_BODY} bytes"


def at(shift: float = 0) -> str:
    return str(int(time.time() + shift))


def with_timestamp(timestamp: str) -> bytes:
    return f"t={timestamp},v1={v1(GOOD, timestamp)}".encode()


SIGNATURES: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", MALFORMED),
    "no equals sign": (lambda: b"nonsense", MALFORMED),
    "trailing comma": (lambda: signed(GOOD) + b",", MALFORMED),
    "no timestamp": (lambda: b"v1=" + b"a" * 64, NO_TIMESTAMP),
    "two timestamps": (lambda: f"t={at()},".encode() + signed(GOOD), NO_TIMESTAMP),
    "empty timestamp": (lambda: with_timestamp(""), NO_TIMESTAMP),
    "space before the timestamp": (lambda: with_timestamp(" " + at()), NO_TIMESTAMP),
    "space after the timestamp": (lambda: with_timestamp(at() + " "), NO_TIMESTAMP),
    "underscored timestamp": (lambda: with_timestamp("1_795_420_000"), NO_TIMESTAMP),
    "negative timestamp": (lambda: with_timestamp("-1"), NO_TIMESTAMP),
    "5,000-digit timestamp": (lambda: with_timestamp("9" * 5_000), NO_TIMESTAMP),
    "Arabic digits": (
        lambda: with_timestamp(at().translate(str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩"))),
        NOT_ASCII,
    ),
    "signature not ASCII": (lambda: f"t={at()},v1=".encode() + "ä".encode() * 32, NOT_ASCII),
    "signature in Latin-1": (lambda: f"t={at()},v1=".encode() + b"\xe4" * 64, NOT_ASCII),
    "no v1": (lambda: f"t={at()},v0={'a' * 64}".encode(), NO_V1),
    "17 v1 entries": (lambda: f"t={at()}".encode() + b",v1=" + b",v1=".join([b"a" * 64] * 17), NO_V1),
    "wrong signature": (lambda: f"t={at()},v1={'a' * 64}".encode(), NO_FIT),
    "signature in capitals": (lambda: signed(GOOD).upper().replace(b"T=", b"t=").replace(b"V1=", b"v1="), NO_FIT),
    "signature cut short": (lambda: signed(GOOD)[:-1], NO_FIT),
    "wrong secret": (lambda: signed(GOOD, secret="whsec_somebody_elses"), NO_FIT),
    "empty secret": (lambda: signed(GOOD, secret=""), NO_FIT),
    "signature of another body": (lambda: signed(GOOD + b" "), NO_FIT),
    "signature of another time": (lambda: f"t={at()},v1={v1(GOOD, at(-5))}".encode(), NO_FIT),
    "301 s old": (
        lambda: signed(GOOD, math.floor(time.time()) - 301),
        "the timestamp is too old (more than 300 seconds)",
    ),
    "301 s ahead": (
        lambda: signed(GOOD, math.ceil(time.time()) + 301),
        "the timestamp lies in the future (more than 300 seconds)",
    ),
}


@pytest.mark.parametrize("name", SIGNATURES)
async def test_t1_19_a_bad_signature_is_refused_with_the_reason(name: str, receiver: Receiver) -> None:
    make, reason = SIGNATURES[name]
    answer = await receiver.send(GOOD, signature=make())
    assert (answer.status, answer.json) == (400, {"error": reason})
    assert await receiver.rows() == []


@pytest.mark.parametrize("shift", [-299, 0, 299])
async def test_t1_19_a_timestamp_within_300_s_is_taken(shift: int, receiver: Receiver) -> None:
    now = time.time()
    stamp = (math.ceil(now) if shift < 0 else math.floor(now)) + shift
    answer = await receiver.send(GOOD, signature=signed(GOOD, stamp))
    assert (answer.status, len(await receiver.rows())) == (200, 1)


@pytest.mark.parametrize(("now", "fits"), [(1300, True), (1300.5, False), (700, True), (699.5, False)])
def test_t1_19_the_window_ends_at_300_s_both_ways(now: float, fits: bool) -> None:
    header = signed(GOOD, 1000).decode()
    if fits:
        check_stripe_signature(header, GOOD, ["whsec_present0123456789"], now)
    else:
        with pytest.raises(BadSignature):
            check_stripe_signature(header, GOOD, ["whsec_present0123456789"], now)


@pytest.mark.parametrize("secrets", [[], ["", ""]])
def test_t1_19_without_a_secret_nothing_fits(secrets: list[str]) -> None:
    with pytest.raises(BadSignature, match="no signature fits"):
        check_stripe_signature(signed(GOOD, 1000, secret="").decode(), GOOD, secrets, 1000)


async def test_t1_19_a_missing_signature_is_refused(receiver: Receiver) -> None:
    answer = await receiver.exchange(request(GOOD, []))
    assert (answer.status, answer.error) == (400, "expected exactly one stripe-signature header, got 0")
    assert await receiver.rows() == []


async def test_t1_19_two_signature_headers_are_refused_even_if_one_fits(receiver: Receiver) -> None:
    answer = await receiver.send(GOOD, (b"stripe-signature", signed(GOOD)))
    assert (answer.status, answer.error) == (400, "expected exactly one stripe-signature header, got 2")
    assert await receiver.rows() == []


async def test_t1_19_ten_thousand_signatures_are_refused(receiver: Receiver) -> None:
    header = signed(GOOD) + b",v1=" + b",v1=".join([b"a" * 64] * 10_000)
    reader, writer = await asyncio.open_connection("127.0.0.1", receiver.port)
    # The server stops reading at its own limit for headers, so we need not get rid of all 680 kB.
    writer.write(request(GOOD, [(b"Stripe-Signature", header)]))
    status_line = await asyncio.wait_for(reader.readline(), 5)
    writer.transport.abort()
    assert status_line.split(b" ")[1] == b"400"
    assert await receiver.rows() == []


async def test_t1_19_ten_thousand_short_entries_are_refused_by_us(receiver: Receiver) -> None:
    answer = await receiver.send(GOOD, signature=signed(GOOD) + b",v1=" * 10_000)
    assert (answer.status, answer.error) == (400, NO_V1)
    assert await receiver.rows() == []


@pytest.mark.parametrize("secret", ["whsec_present0123456789", OLDER_SECRET])
async def test_t1_19_either_secret_is_taken_while_one_is_rotated(secret: str, receiver: Receiver) -> None:
    answer = await receiver.send(GOOD, signature=signed(GOOD, secret=secret))
    assert (answer.status, answer.json["state"]) == (200, "pending")


async def test_t1_19_a_header_signed_with_both_secrets_is_taken(receiver: Receiver) -> None:
    stamp = at()
    header = f"t={stamp},v0=old,v1={v1(GOOD, stamp, 'whsec_unknown')},v1={v1(GOOD, stamp, OLDER_SECRET)}"
    answer = await receiver.send(GOOD, signature=header.encode())
    assert (answer.status, answer.json["state"]) == (200, "pending")


def nested(levels: int) -> bytes:
    """An event that is `levels` deep altogether."""
    return encoded(event())[:-1] + b',"deep":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


def holding(number: bytes) -> bytes:
    return GOOD.replace(b'"pending_webhooks":1', b'"pending_webhooks":' + number)


NOT_JSON = "the body is not valid JSON: "
BODIES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", NOT_JSON + "Input is a zero-length, empty document"),
    "cut short": (GOOD[:-1], NOT_JSON + "unexpected end of data"),
    "invalid UTF-8": (GOOD.replace(b"evt_1", b"evt_\xff"), "the body is not valid UTF-8"),
    "overlong UTF-8": (GOOD.replace(b"evt_1", b"evt_\xc0\x80"), "the body is not valid UTF-8"),
    "byte order mark": (b"\xef\xbb\xbf" + GOOD, NOT_JSON + "UTF-8 byte order mark (BOM) is not supported"),
    "UTF-16": (GOOD.decode().encode("utf-16"), "the body is not valid UTF-8"),
    "form": (b"id=evt_1&type=invoice.paid", NOT_JSON + "unexpected character, expected a JSON value"),
    "array": (b"[" + GOOD + b"]", "the body must be a JSON object"),
    "string": (b'"evt_1"', "the body must be a JSON object"),
    "null": (b"null", "the body must be a JSON object"),
    "number": (b"1", "the body must be a JSON object"),
    "NaN": (holding(b"NaN"), NOT_JSON + "unexpected character, expected a JSON value"),
    "Infinity": (holding(b"Infinity"), NOT_JSON + "unexpected character, expected a JSON value"),
    "1e999": (holding(b"1e999"), NOT_JSON + "number is infinity when parsed as double"),
    "5,000 digits": (holding(b"9" * 5_000), NOT_JSON + "number is infinity when parsed as double"),
    "2**64": (holding(str(2**64).encode()), "a number is too large"),
    "2**63": (holding(str(2**63).encode()), "a number is too large"),
    "1e300": (holding(b"1e300"), "a number is too large"),
    "33 levels": (nested(33), "the body is nested more than 32 levels deep"),
    "3,000 levels": (nested(3_000), NOT_JSON + "depth limit exceeded"),
    "lone surrogate": (GOOD.replace(b"evt_1", b"evt_\\ud800"), NOT_JSON + "no low surrogate in string"),
    "control character": (GOOD.replace(b"evt_1", b"evt_\n"), NOT_JSON),
}


@pytest.mark.parametrize("name", BODIES)
async def test_t1_19_a_body_that_is_not_strict_json_is_refused(name: str, receiver: Receiver) -> None:
    body, reason = BODIES[name]
    answer = await receiver.send(body)
    assert answer.status == 400
    assert answer.error == reason if reason != NOT_JSON else answer.error.startswith(NOT_JSON)
    assert await receiver.rows() == []


@pytest.mark.parametrize("body", [nested(32), holding(str(2**63 - 1).encode())], ids=["32 levels", "2**63-1"])
async def test_t1_19_what_is_just_within_the_limits_is_taken(body: bytes, receiver: Receiver) -> None:
    assert (await receiver.send(body)).status == 200


def without(field: str) -> dict[str, Any]:
    return {key: value for key, value in event().items() if key != field}


NO_ID = "not a Stripe event: id is missing or malformed"
NO_TYPE = "not a Stripe event: type is missing or malformed"
NO_OBJECT = "not a Stripe event: object is not 'event'"
EVENTS: dict[str, tuple[dict[str, Any], str]] = {
    "empty object": ({}, NO_ID),
    "no id": (without("id"), NO_ID),
    "empty id": (event(id=""), NO_ID),
    "id of 256": (event(id="e" * 256), NO_ID),
    "id a number": (event(id=1), NO_ID),
    "id a list": (event(id=["evt_1"]), NO_ID),
    "id null": (event(id=None), NO_ID),
    "id with NUL, which PostgreSQL cannot hold": (event(id="evt_\0"), NO_ID),
    "id with a line break": (event(id="evt_\n1"), NO_ID),
    "no type": (without("type"), NO_TYPE),
    "type of 256": (event("t" * 256), NO_TYPE),
    "type an object": (event(type={}), NO_TYPE),
    "type with NUL": (event("invoice\0"), NO_TYPE),
    "no object": (without("object"), NO_OBJECT),
    "object of another kind": (event(object="invoice"), NO_OBJECT),
    "v2 thin event": (event(object="v2.core.event"), NO_OBJECT),
    "live": (event(livemode=True), "this endpoint takes test mode events only (livemode is True)"),
    "livemode missing": (without("livemode"), "this endpoint takes test mode events only (livemode is None)"),
    "livemode 0": (event(livemode=0), "this endpoint takes test mode events only (livemode is 0)"),
    "livemode text": (event(livemode="false"), "this endpoint takes test mode events only (livemode is 'false')"),
}


@pytest.mark.parametrize("name", EVENTS)
async def test_t1_19_what_is_no_event_for_us_is_refused(name: str, receiver: Receiver) -> None:
    made, reason = EVENTS[name]
    answer = await receiver.tell(made)
    assert (answer.status, answer.json) == (400, {"error": reason})
    assert await receiver.rows() == []


async def test_t1_19_a_live_endpoint_refuses_test_events(live_receiver: Receiver) -> None:
    answer = await live_receiver.tell(event())
    assert (answer.status, answer.error) == (400, "this endpoint takes live mode events only (livemode is False)")
    assert (await live_receiver.tell(event(livemode=True))).status == 200
    assert [row.event_id for row in await live_receiver.rows()] == ["evt_1"]


async def test_t1_19_ids_of_255_are_taken(receiver: Receiver) -> None:
    assert (await receiver.tell(event("t" * 255, id="e" * 255))).status == 200


HUGE = encoded(event(padding="x" * 300_000))


async def test_t1_19_a_body_said_to_be_too_large_is_refused_before_it_is_read(receiver: Receiver) -> None:
    head = request(b"", [(b"Stripe-Signature", signed(HUGE)), (b"Content-Length", b"%d" % len(HUGE))])
    answer = await receiver.exchange(head)
    assert (answer.status, answer.error) == (413, TOO_LARGE)
    assert await receiver.rows() == []


def chunked(body: bytes, size: int) -> bytes:
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in [*pieces, b""])


async def test_t1_19_a_too_large_body_of_unsaid_length_is_refused(receiver: Receiver) -> None:
    headers = [(b"Stripe-Signature", signed(HUGE)), (b"Transfer-Encoding", b"chunked")]
    answer = await receiver.exchange(request(chunked(HUGE, 10_000), headers))
    assert (answer.status, answer.error) == (413, TOO_LARGE)
    assert await receiver.rows() == []


async def test_t1_19_a_body_in_chunks_is_taken(receiver: Receiver) -> None:
    headers = [(b"Stripe-Signature", signed(GOOD)), (b"Transfer-Encoding", b"chunked")]
    assert (await receiver.exchange(request(chunked(GOOD, 7), headers))).status == 200


async def test_t1_19_a_body_of_exactly_the_limit_is_taken(receiver: Receiver) -> None:
    body = encoded(event(padding=""))
    body = body.replace(b'"padding":""', b'"padding":"' + b"x" * (LARGEST_BODY - len(body)) + b'"')
    assert len(body) == LARGEST_BODY
    assert (await receiver.send(body)).status == 200
    headers = [(b"Stripe-Signature", signed(body)), (b"Content-Length", b"%d" % (LARGEST_BODY + 1))]
    assert (await receiver.exchange(request(b"", headers))).status == 413


async def test_t1_19_a_content_length_that_says_too_little_cuts_the_body(receiver: Receiver) -> None:
    headers = [(b"Stripe-Signature", signed(HUGE)), (b"Content-Length", b"100")]
    answer = await receiver.exchange(request(HUGE[:4_000], headers))
    assert (answer.status, answer.error) == (400, NO_FIT)
    assert await receiver.rows() == []


async def test_t1_19_a_content_length_that_says_too_much_stores_nothing(receiver: Receiver) -> None:
    headers = [(b"Stripe-Signature", signed(GOOD)), (b"Content-Length", b"%d" % (len(GOOD) + 1))]
    answer = await receiver.exchange(request(GOOD, headers), hang_up=True)
    assert answer.status in (0, 400)  # whoever hung up may not hear the answer
    assert await receiver.rows() == []
    assert (await receiver.send(GOOD)).status == 200


@pytest.mark.parametrize("length", [b"-1", b"1e3", b"\xb2", b"9" * 5_000, b"5, 6"])
async def test_t1_19_a_malformed_content_length_is_refused(length: bytes, receiver: Receiver) -> None:
    headers = [(b"Stripe-Signature", signed(GOOD)), (b"Content-Length", length)]
    assert (await receiver.exchange(request(GOOD, headers))).status == 400
    assert await receiver.rows() == []


@pytest.mark.parametrize("coding", [b"gzip", b"br", b"identity, gzip", b"GZIP"])
async def test_t1_19_a_compressed_body_is_refused(coding: bytes, receiver: Receiver) -> None:
    body = gzip.compress(GOOD)
    answer = await receiver.send(body, (b"Content-Encoding", coding))
    assert answer.status == 415
    assert answer.error == "compressed bodies are not taken; the signature is over the plain bytes"
    assert await receiver.rows() == []


async def test_t1_19_gzip_without_saying_so_is_not_json(receiver: Receiver) -> None:
    answer = await receiver.send(gzip.compress(GOOD))
    assert (answer.status, answer.error) == (400, "the body is not valid UTF-8")
    assert await receiver.rows() == []


@pytest.mark.parametrize("method", [b"GET", b"PUT", b"DELETE", b"PATCH"])
async def test_t1_19_other_methods_are_refused(method: bytes, receiver: Receiver) -> None:
    answer = await receiver.exchange(request(GOOD, [(b"Stripe-Signature", signed(GOOD))], method))
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    assert await receiver.rows() == []


@pytest.mark.parametrize("kind", [b"text/plain", b"application/x-www-form-urlencoded", b"multipart/form-data"])
async def test_t1_19_the_content_type_does_not_matter_the_signature_does(kind: bytes, receiver: Receiver) -> None:
    assert (await receiver.send(GOOD, (b"Content-Type", kind))).status == 200
