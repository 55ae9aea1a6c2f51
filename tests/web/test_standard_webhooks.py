"""Standard Webhooks signatures: the reference library's own cases, and those it lets through or trips over."""

import base64
import hashlib
import hmac
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from activities.outgoing_webhooks import signed_headers
from web.signatures import BadSignature
from web.standard_webhooks import BadSecret, check, key_of

SECRET = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OLDER = "whsec_b2xkZXItc2VjcmV0LW9mLTI0LWJ5dGVz"
ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
NOW = 1_614_265_330
BODY = b'{"test": 2432232314}'
FITS = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
"""The reference library's published signature of BODY under SECRET at NOW."""
OTHER = "v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc="


def signature(body: bytes = BODY, at: str = str(NOW), secret: str = SECRET, message_id: str = ID) -> str:
    """Signed over the very text of the headers, however they are spelled."""
    key = base64.b64decode(secret.removeprefix("whsec_") + "==")
    content = b".".join((message_id.encode(), at.encode(), body))
    return "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()


def headers(**changes: str | None) -> dict[str, str]:
    """Good headers; None leaves one out."""
    good = {"webhook-id": ID, "webhook-timestamp": str(NOW), "webhook-signature": FITS}
    for name, value in changes.items():
        field = f"webhook-{name}"
        good.pop(field)
        if value is not None:
            good[field] = value
    return good


def stamped(at: str) -> dict[str, str]:
    return headers(timestamp=at, signature=signature(at=at))


def named(message_id: str) -> dict[str, str]:
    return headers(id=message_id, signature=signature(message_id=message_id))


ID_RULE = "the webhook-id header must be 1 to 255 printable ASCII characters"
STAMP_RULE = "the webhook-timestamp header is not whole seconds since 1970"
NO_V1 = "the webhook-signature header has no usable v1 signature"
MALFORMED = "the webhook-signature header is malformed; expected v1,... with spaces between"
NO_FIT = "no signature fits; is the sender's signing secret among those we know?"
OLD, AHEAD = (
    "the timestamp is too old (more than 300 seconds)",
    "the timestamp lies in the future (more than 300 seconds)",
)

REFERENCE: dict[str, tuple[dict[str, str], str]] = {
    "missing id": (headers(id=None), "expected exactly one webhook-id header, got 0"),
    "missing timestamp": (headers(timestamp=None), "expected exactly one webhook-timestamp header, got 0"),
    "missing signature": (headers(signature=None), "expected exactly one webhook-signature header, got 0"),
    "invalid timestamp": (headers(timestamp="hello"), STAMP_RULE),
    "invalid signature": (headers(signature=FITS.replace("1OE=", "1OA=")), NO_FIT),
    "old timestamp": (stamped(str(NOW - 301)), OLD),
    "new timestamp": (stamped(str(NOW + 301)), AHEAD),
}
"""One for each refusal in the test suite of standard-webhooks/standard-webhooks, libraries/python."""

BEYOND: dict[str, tuple[dict[str, str], str]] = {
    "empty id": (named(""), ID_RULE),
    "id of 256": (named("m" * 256), ID_RULE),
    "id with a line break": (named("msg\n1"), ID_RULE),
    "id with NUL": (named("msg\0"), ID_RULE),
    "id not ASCII": (named("msg_ä"), ID_RULE),
    "empty timestamp": (stamped(""), STAMP_RULE),
    "timestamp with a fraction": (stamped(f"{NOW}.0"), STAMP_RULE),
    "timestamp in exponents": (stamped("1.614265330e9"), STAMP_RULE),
    "negative timestamp": (stamped("-1"), STAMP_RULE),
    "timestamp with a plus": (stamped(f"+{NOW}"), STAMP_RULE),
    "timestamp with a space": (stamped(f" {NOW}"), STAMP_RULE),
    "underscored timestamp": (stamped("1_614_265_330"), STAMP_RULE),
    "timestamp nan": (stamped("nan"), STAMP_RULE),
    "timestamp inf": (stamped("inf"), STAMP_RULE),
    "timestamp of 5,000 digits": (stamped("9" * 5_000), STAMP_RULE),
    "timestamp in Arabic digits": (stamped("١٦١٤٢٦٥٣٣٠"), STAMP_RULE),
    "timestamp in milliseconds": (stamped(f"{NOW}000"), STAMP_RULE),
    "respelled timestamp": (headers(timestamp=f"0{NOW}"), NO_FIT),
    "another id": (headers(id=f"{ID}x"), NO_FIT),
    "empty signature": (headers(signature=""), MALFORMED),
    "signature without a version": (headers(signature=FITS[3:]), MALFORMED),
    "a stray word beside a good signature": (headers(signature=f"v1 {FITS}"), MALFORMED),
    "two spaces": (headers(signature=f"{OTHER}  {FITS}"), MALFORMED),
    "commas between": (headers(signature=f"{OTHER},{FITS}"), NO_V1),
    "only v1a": (headers(signature=FITS.replace("v1", "v1a")), NO_V1),
    "only v2": (headers(signature=FITS.replace("v1", "v2")), NO_V1),
    "capital V1": (headers(signature=FITS.replace("v1", "V1")), NO_V1),
    "not base64": (headers(signature="v1,!!!"), NO_V1),
    "base64 with rubbish in it, which b64decode skips": (headers(signature=FITS[:9] + "!" + FITS[9:]), NO_V1),
    "without its padding": (headers(signature=FITS[:-1]), NO_V1),
    "hex": (headers(signature=f"v1,{'a' * 64}"), NO_V1),
    "17 signatures": (
        headers(signature=" ".join([OTHER] * 16 + [FITS])),
        "the webhook-signature header has more than 16 signatures",
    ),
}


@pytest.mark.parametrize("name", [*REFERENCE, *BEYOND])
def test_a_bad_standard_webhook_is_refused_with_the_reason(name: str) -> None:
    made, reason = (REFERENCE | BEYOND)[name]
    with pytest.raises(BadSignature) as refused:
        check(made, BODY, [SECRET], NOW)
    assert str(refused.value) == reason


@pytest.mark.parametrize("body", [b"", BODY + b" ", BODY[:-1], b"\xff\xfe"])
def test_another_body_is_refused(body: bytes) -> None:
    with pytest.raises(BadSignature, match="no signature fits"):
        check(headers(), body, [SECRET], NOW)


@pytest.mark.parametrize("secret", [SECRET, f"whsec_{SECRET}"])
def test_the_published_example_is_taken_with_and_without_the_prefix(secret: str) -> None:
    assert check(headers(), BODY, [secret], NOW) == ID


@pytest.mark.parametrize(
    "made", [" ".join((OTHER, OTHER.replace("v1", "v2"), FITS, OTHER)), " ".join([OTHER] * 15 + [FITS])]
)
def test_one_fitting_signature_among_others_is_enough(made: str) -> None:
    assert check(headers(signature=made), BODY, [SECRET], NOW) == ID


def test_names_of_headers_are_taken_in_any_case() -> None:
    assert check({name.title(): value for name, value in headers().items()}, BODY, [SECRET], NOW) == ID


@pytest.mark.parametrize("field", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_header_that_came_twice_is_refused_even_if_both_are_the_same(field: str) -> None:
    pairs = [*headers().items(), (field.title(), headers()[field])]
    with pytest.raises(BadSignature) as refused:
        check(pairs, BODY, [SECRET], NOW)
    assert str(refused.value) == f"expected exactly one {field} header, got 2"


@pytest.mark.parametrize("signer", [SECRET, OLDER])
def test_either_secret_fits_while_one_is_rotated(signer: str) -> None:
    assert check(headers(signature=signature(secret=signer)), BODY, [SECRET, OLDER], NOW) == ID


@pytest.mark.parametrize("secrets", [[], [""], [OLDER]])
def test_without_the_right_secret_nothing_fits(secrets: list[str]) -> None:
    with pytest.raises(BadSignature, match="no signature fits"):
        check(headers(), BODY, secrets, NOW)


def test_a_signature_under_the_empty_key_never_fits() -> None:
    forged = "v1," + base64.b64encode(hmac.new(b"", f"{ID}.{NOW}.".encode() + BODY, hashlib.sha256).digest()).decode()
    with pytest.raises(BadSignature, match="no signature fits"):
        check(headers(signature=forged), BODY, ["", SECRET], NOW)


@pytest.mark.parametrize(
    ("now", "fits"), [(NOW + 300, True), (NOW + 300.5, False), (NOW - 300, True), (NOW - 301, False)]
)
def test_the_window_of_a_standard_webhook_ends_at_300_s_both_ways(now: float, fits: bool) -> None:
    if fits:
        assert check(headers(), BODY, [SECRET], now) == ID
    else:
        with pytest.raises(BadSignature, match="300 seconds"):
            check(headers(), BODY, [SECRET], now)


def test_an_id_of_255_is_taken() -> None:
    assert check(named("m" * 255), BODY, [SECRET], NOW) == "m" * 255


@pytest.mark.parametrize("secret", ["whsec_", "whsec_!!!!", "not base64", "whsec_whsec_abcd", "whsec_A", "ä"])
def test_a_secret_that_is_none_is_refused_without_being_told(secret: str) -> None:
    with pytest.raises(BadSecret) as refused:
        key_of(secret)
    assert str(refused.value) in (
        "a webhook secret is whsec_ and then base64; this one is not",
        "a webhook secret is whsec_ and then base64; this one is empty",
    )


@given(st.binary(min_size=1, max_size=64))
def test_a_secret_is_read_as_base64_padded_or_not(key: bytes) -> None:
    text = base64.b64encode(key).decode()
    assert {key_of(text), key_of(f"whsec_{text}"), key_of(text.rstrip("="))} == {key}


@given(st.text(max_size=40), st.text(alphabet="msg_0.19", min_size=1, max_size=40), st.integers(0, 10**10))
def test_what_the_reference_library_signs_is_taken(body: str, message_id: str, at: int) -> None:
    made = Webhook(SECRET).sign(message_id, datetime.fromtimestamp(at, UTC), body)
    sent = {"webhook-id": message_id, "webhook-timestamp": str(at), "webhook-signature": made}
    assert check(sent, body.encode(), [SECRET], at) == message_id


def test_what_we_send_is_what_we_and_the_reference_library_take() -> None:
    at = int(datetime.now(UTC).timestamp())
    sent = signed_headers(OLDER, "case/1", at, BODY)
    assert Webhook(OLDER).verify(BODY, sent) == {"test": 2432232314}
    assert check(sent, BODY, [OLDER], at) == "case/1"


@pytest.mark.parametrize("made", ["v1", "v1,a", "v1,ab,cd"])
def test_why_the_reference_library_does_not_guard_our_door(made: str) -> None:
    """A malformed entry trips it with whatever Python raises, which would be a 500. When this fails, look again."""
    live: dict[str, Any] = headers(timestamp=str(int(datetime.now(UTC).timestamp())), signature=made)
    with pytest.raises(ValueError):
        Webhook(SECRET).verify(BODY, live)


@given(
    st.dictionaries(
        st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature", "x"]), st.text(max_size=60), max_size=4
    )
)
def test_any_standard_webhook_headers_are_refused(made: dict[str, str]) -> None:
    with pytest.raises(BadSignature):
        check(made, BODY, [SECRET], NOW)
