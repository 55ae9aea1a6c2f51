"""The signature of SendGrid's event webhook: ECDSA over the timestamp and the raw body, checked before any parsing.

SendGrid tries again for a day and does not say whether a later try is signed anew, so the window is as long; what is
sent again within it is known by its sg_event_id.
"""

import base64
import binascii
import re
from collections.abc import Sequence
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from web.signatures import TOLERANCE_S, BadSignature

OLDEST_S: Final = 25 * 3600
_SECONDS: Final = re.compile(r"[0-9]{1,12}")


class BadPublicKey(ValueError):
    """The webhook's public key cannot be read; the message says what it has to be."""


def public_keys(text: str) -> tuple[ec.EllipticCurvePublicKey, ...]:
    """The keys of SENDGRID_WEBHOOK_PUBLIC_KEY, base64 as SendGrid shows them, commas between.

    Raises:
        BadPublicKey: one of them is no such key.
    """
    keys = []
    for each in (part.strip() for part in text.split(",")):
        if not each:
            continue
        try:
            key = load_der_public_key(base64.b64decode(each, validate=True))
        except (ValueError, binascii.Error):
            key = None
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise BadPublicKey("copy the verification key of SendGrid's signed event webhook as it stands (MFkw...)")
        keys.append(key)
    return tuple(keys)


def check_sendgrid_signature(
    signature: str, timestamp: str, body: bytes, keys: Sequence[ec.EllipticCurvePublicKey], now: float
) -> None:
    """Check the ECDSA signature over timestamp and body with every key in use; `now` is seconds since 1970.

    Raises:
        BadSignature: malformed, from the future, older than SendGrid tries again, or no key fits.
    """
    if not _SECONDS.fullmatch(timestamp):
        raise BadSignature("the webhook's timestamp header is malformed; expected seconds since 1970")
    age = now - int(timestamp)
    if age > OLDEST_S:
        raise BadSignature(f"the timestamp is too old (more than {OLDEST_S // 3600} hours)")
    if age < -TOLERANCE_S:
        raise BadSignature(f"the timestamp lies in the future (more than {TOLERANCE_S} seconds)")
    try:
        signed = base64.b64decode(signature, validate=True)
    except (ValueError, binascii.Error):
        raise BadSignature("the webhook's signature header is not base64") from None
    for key in keys:
        try:
            key.verify(signed, timestamp.encode() + body, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            continue
        return
    raise BadSignature("the signature does not fit; is the webhook's verification key SENDGRID_WEBHOOK_PUBLIC_KEY?")
