"""Links that need no login: signed, expiring, single-purpose."""

from typing import Final

from itsdangerous import BadSignature, SignatureExpired, URLSafeTimedSerializer

PAY_LINK_DAYS: Final = 90


class BadLink(ValueError):
    """The link cannot be followed; the message is fit for a customer."""


def pay_link(public_url: str, secret: str, case: str) -> str:
    """The link in a dunning mail: leads to the hosted page of the oldest unpaid invoice of the case."""
    return f"{public_url.rstrip('/')}/pay/{_signer(secret).dumps(case)}"


def case_of_pay_link(secret: str, token: str) -> str:
    """The case a link was made for.

    Raises:
        BadLink: it was tampered with, made for another purpose, or is too old.
    """
    try:
        case = _signer(secret).loads(token, max_age=PAY_LINK_DAYS * 86_400)
    except SignatureExpired:
        raise BadLink("This link has expired. Please use the one in our latest mail.") from None
    except BadSignature:
        raise BadLink("This link is not valid. Please use the one in our latest mail.") from None
    return str(case)


def _signer(secret: str) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(secret, salt="pay-link")
