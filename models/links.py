"""Links that need no login: signed, expiring, single-purpose."""

from typing import Final, Literal

from itsdangerous import BadSignature, SignatureExpired, URLSafeTimedSerializer

Purpose = Literal["pay", "offer", "unsubscribe", "preferences"]
DAYS: Final[dict[Purpose, int]] = {"pay": 90, "offer": 90, "unsubscribe": 3650, "preferences": 365}
"""How long a link of each purpose can be followed."""


class BadLink(ValueError):
    """The link cannot be followed; the message is fit for a customer."""


def link(public_url: str, secret: str, purpose: Purpose, subject: str) -> str:
    """A link for one purpose: to pay for a case, to answer an offer, to stop mails to an account or contact,
    to choose what they get mails about."""
    return f"{public_url.rstrip('/')}/{purpose}/{_signer(secret, purpose).dumps(subject)}"


def subject_of(secret: str, purpose: Purpose, token: str) -> str:
    """What a link was made for.

    Raises:
        BadLink: it was tampered with, made for another purpose, or is too old.
    """
    try:
        subject = _signer(secret, purpose).loads(token, max_age=DAYS[purpose] * 86_400)
    except SignatureExpired:
        raise BadLink("This link has expired. Please use the one in our latest mail.") from None
    except BadSignature:
        raise BadLink("This link is not valid. Please use the one in our latest mail.") from None
    return str(subject)


def _signer(secret: str, purpose: Purpose) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(secret, salt=f"{purpose}-link")
