"""Stripe's webhook signature, checked over the raw bytes before anything is parsed."""

import hashlib
import hmac
import re
from collections.abc import Sequence
from typing import Final

TOLERANCE_S: Final = 300
MOST_CANDIDATES: Final = 16
_TIMESTAMP: Final = re.compile(r"[0-9]{1,12}")
_SIGNATURE: Final = re.compile(r"[0-9a-f]{64}")


class BadSignature(ValueError):
    """The request is not from Stripe, or not from now; the message is safe to send back."""


def check_stripe_signature(header: str, body: bytes, secrets: Sequence[str], now: float) -> None:
    """Check `t=...,v1=...` against every secret in use; `now` is seconds since 1970, the window ±300 s both ways.

    Raises:
        BadSignature: malformed header, stale or future timestamp, or no secret fits.
    """
    if not header.isascii():
        raise BadSignature("the Stripe-Signature header holds characters that are not ASCII")
    timestamps: list[str] = []
    candidates: list[str] = []
    for part in header.split(","):
        scheme, separator, value = part.partition("=")
        if not separator:
            raise BadSignature("the Stripe-Signature header is malformed; expected t=...,v1=...")
        if scheme == "t":
            timestamps.append(value)
        elif scheme == "v1":
            candidates.append(value)
    if len(timestamps) != 1 or not _TIMESTAMP.fullmatch(timestamps[0]):
        raise BadSignature("the Stripe-Signature header has no usable timestamp")
    if not candidates or len(candidates) > MOST_CANDIDATES:
        raise BadSignature("the Stripe-Signature header has no usable v1 signature")
    age = now - int(timestamps[0])
    if age > TOLERANCE_S:
        raise BadSignature("the timestamp is too old (more than 300 seconds)")
    if age < -TOLERANCE_S:
        raise BadSignature("the timestamp lies in the future (more than 300 seconds)")
    signed = timestamps[0].encode() + b"." + body
    wanted = [hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest() for secret in secrets if secret]
    fits = False
    for candidate in candidates:
        if _SIGNATURE.fullmatch(candidate):
            for each in wanted:
                fits |= hmac.compare_digest(candidate, each)
    if not fits:
        raise BadSignature("no signature fits; is the endpoint's signing secret in STRIPE_WEBHOOK_SECRETS?")
