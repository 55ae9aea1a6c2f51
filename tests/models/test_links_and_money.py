"""Links that need no login, and amounts as people read them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from itsdangerous import TimestampSigner, URLSafeTimedSerializer
from itsdangerous.encoding import base64_decode, base64_encode, int_to_bytes

from activities.merge_fields import zone_of
from models.links import DAYS, BadLink, link, subject_of
from models.money import money

SECRET = "a-secret-for-links-in-tests"
CASE = "payment-failure/in_1"
NOT_VALID = "This link is not valid. Please use the one in our latest mail."
EXPIRED = "This link has expired. Please use the one in our latest mail."


def token() -> str:
    return link("https://pay.example.com/", SECRET, "pay", CASE).removeprefix("https://pay.example.com/pay/")


class MadeEarlier(TimestampSigner):
    """Signs with a clock that is `age` behind."""

    age = timedelta()

    def get_timestamp(self) -> int:
        return int((datetime.now(UTC) - self.age).timestamp())


def aged(age: timedelta, salt: str = "pay-link") -> str:
    signer = type("Earlier", (MadeEarlier,), {"age": age})
    return str(URLSafeTimedSerializer(SECRET, salt=salt, signer=signer).dumps(CASE))


def test_p1_3_a_pay_link_leads_to_its_case() -> None:
    assert subject_of(SECRET, "pay", token()) == CASE
    assert "/" not in token()


@pytest.mark.parametrize(
    ("age", "error"),
    [
        (timedelta(days=DAYS["pay"], seconds=-5), None),
        (timedelta(days=DAYS["pay"], seconds=5), EXPIRED),
        (timedelta(days=400), EXPIRED),
        (timedelta(days=-1), EXPIRED),
    ],
)
def test_p1_3_a_pay_link_expires(age: timedelta, error: str | None) -> None:
    if error is None:
        assert subject_of(SECRET, "pay", aged(age)) == CASE
        return
    with pytest.raises(BadLink) as raised:
        subject_of(SECRET, "pay", aged(age))
    assert str(raised.value) == error


def changed(link: str) -> dict[str, str]:
    payload, stamp, signature = link.split(".")
    later = base64_encode(int_to_bytes(int.from_bytes(base64_decode(stamp), "big") + 1)).decode()
    return {
        "another case": f"{base64_encode(b'payment-failure/in_2').decode()}.{stamp}.{signature}",
        "another time": f"{payload}.{later}.{signature}",
        "another signature": f"{payload}.{stamp}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}",
        "no signature": f"{payload}.{stamp}",
        "cut short": link[:-3],
        "empty": "",
        "not base64": "ä.ö.ü",
        "NUL": "\0",
        "made for another purpose": aged(timedelta(), salt="unsubscribe"),
        "signed with another secret": str(URLSafeTimedSerializer("another", salt="pay-link").dumps(CASE)),
    }


@pytest.mark.parametrize("how", changed(token()))
def test_p1_3_a_pay_link_that_was_tampered_with_is_refused(how: str) -> None:
    with pytest.raises(BadLink) as raised:
        subject_of(SECRET, "pay", changed(token())[how])
    assert str(raised.value) == NOT_VALID


@pytest.mark.parametrize(
    ("minor", "currency", "shown"),
    [
        (2900, "usd", "$29.00"),
        (2900, "USD", "$29.00"),
        (0, "usd", "$0.00"),
        (1, "eur", "€0.01"),
        (123_456_789, "gbp", "£1,234,567.89"),
        (2900, "jpy", "¥2,900"),
        (2900, "krw", "KRW 2,900"),
        (1000, "chf", "CHF 10.00"),
        (2**53 + 1, "usd", "$90,071,992,547,409.93"),
    ],
)
def test_p1_3_money_is_shown_as_people_write_it(minor: int, currency: str, shown: str) -> None:
    assert money(minor, currency) == shown


@pytest.mark.parametrize(("minor", "shown"), [(29_000, "KWD 29.000"), (10, "KWD 0.010")])
def test_p1_3_currencies_of_three_decimals(minor: int, shown: str) -> None:
    assert money(minor, "kwd") == shown


@pytest.mark.parametrize(
    ("name", "key"),
    [("Europe/Berlin", "Europe/Berlin"), ("", "UTC"), ("Mars/Olympus", "UTC"), ("../etc/passwd", "UTC"), ("\0", "UTC")],
)
def test_p1_3_an_unknown_zone_is_utc(name: Any, key: str) -> None:
    assert zone_of(name).key == key
