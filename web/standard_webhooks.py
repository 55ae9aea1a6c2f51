"""The Standard Webhooks signature (webhook-id, -timestamp, -signature), checked before anything is parsed."""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from web.signatures import BadSignature

TOLERANCE_S: Final = 300
MOST_CANDIDATES: Final = 16
LONGEST_ID: Final = 255
_TIMESTAMP: Final = re.compile(r"[0-9]{1,12}")
_SIGNATURE: Final = re.compile(r"[A-Za-z0-9+/]{43}=")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]+={0,2}")

Headers = Mapping[str, str] | Iterable[tuple[str, str]]


class BadSecret(ValueError):
    """A signing secret that cannot be one; the message never holds the secret."""


def key_of(secret: str) -> bytes:
    """The HMAC key of a secret: base64, padded or not, with or without the `whsec_` prefix.

    Raises:
        BadSecret: it is empty or not base64.
    """
    text = secret.removeprefix("whsec_")
    if not _BASE64.fullmatch(text):
        raise BadSecret("a webhook secret is whsec_ and then base64; this one is not")
    bare = text.rstrip("=")
    try:
        key = base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except binascii.Error:
        raise BadSecret("a webhook secret is whsec_ and then base64; this one is not") from None
    if not key:
        raise BadSecret("a webhook secret is whsec_ and then base64; this one is empty")
    return key


def check(headers: Headers, body: bytes, secrets: Sequence[str], now: float) -> str:
    """Check the three headers against every secret in use, and return the webhook-id.

    `headers` is a mapping or, so that a header that came twice can be seen, pairs such as Starlette's
    `request.headers.items()`; names in any case. `now` is seconds since 1970, the window ±300 s both ways.

    Raises:
        BadSignature: a header is missing, twice there or malformed, the timestamp stale or in the future, or no
            secret fits.
        BadSecret: one of our own secrets is not base64.
    """
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    ours: dict[str, list[str]] = {"webhook-id": [], "webhook-timestamp": [], "webhook-signature": []}
    for name, value in pairs:
        if name.lower() in ours:
            ours[name.lower()].append(value)
    for name, values in ours.items():
        if len(values) != 1:
            raise BadSignature(f"expected exactly one {name} header, got {len(values)}")
    ((message_id,), (timestamp,), (signatures,)) = ours.values()
    _check_id(message_id)
    _check_timestamp(timestamp, now)
    candidates = _v1_candidates(signatures)
    # The text of the header is signed, not the number in it: nobody may respell a timestamp.
    signed = b".".join((message_id.encode(), timestamp.encode(), body))
    wanted = [hmac.new(key_of(secret), signed, hashlib.sha256).digest() for secret in secrets if secret]
    fits = False
    for candidate in candidates:
        for each in wanted:
            fits |= hmac.compare_digest(candidate, each)
    if not fits:
        raise BadSignature("no signature fits; is the sender's signing secret among those we know?")
    return message_id


def _check_id(message_id: str) -> None:
    if not 0 < len(message_id) <= LONGEST_ID or not (message_id.isascii() and message_id.isprintable()):
        raise BadSignature(f"the webhook-id header must be 1 to {LONGEST_ID} printable ASCII characters")


def _check_timestamp(timestamp: str, now: float) -> None:
    if not _TIMESTAMP.fullmatch(timestamp):
        raise BadSignature("the webhook-timestamp header is not whole seconds since 1970")
    age = now - int(timestamp)
    if age > TOLERANCE_S:
        raise BadSignature("the timestamp is too old (more than 300 seconds)")
    if age < -TOLERANCE_S:
        raise BadSignature("the timestamp lies in the future (more than 300 seconds)")


def _v1_candidates(signatures: str) -> list[bytes]:
    """The decoded v1 signatures; other versions (v1a, v2) are passed over, as the specification asks."""
    found: list[bytes] = []
    entries = signatures.split(" ")
    if len(entries) > MOST_CANDIDATES:
        raise BadSignature(f"the webhook-signature header has more than {MOST_CANDIDATES} signatures")
    for entry in entries:
        version, separator, value = entry.partition(",")
        if not separator:
            raise BadSignature("the webhook-signature header is malformed; expected v1,... with spaces between")
        if version == "v1" and _SIGNATURE.fullmatch(value):
            found.append(base64.b64decode(value))
    if not found:
        raise BadSignature("the webhook-signature header has no usable v1 signature")
    return found
