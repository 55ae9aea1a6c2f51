"""Amounts for people. Everywhere else money is a whole number of the currency's minor unit."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Final

ZERO_DECIMAL: Final = frozenset(
    ["bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "ugx", "vnd", "vuv", "xaf", "xof", "xpf"]
)
THREE_DECIMAL: Final = frozenset(["bhd", "jod", "kwd", "omr", "tnd"])
SYMBOLS: Final = {"usd": "$", "eur": "€", "gbp": "£", "jpy": "¥"}


def major(minor: int, currency: str) -> Decimal:
    """The amount in the major unit: 2900 of usd is 29.00, 2900 of jpy is 2900."""
    return Decimal(minor).scaleb(-_places(currency.lower()))


def money(minor: int, currency: str) -> str:
    """An amount as people write it: $29.00, ¥2,900, CHF 10.00."""
    currency = currency.lower()
    amount = f"{major(minor, currency):,.{_places(currency)}f}"
    symbol = SYMBOLS.get(currency)
    return f"{symbol}{amount}" if symbol else f"{currency.upper()} {amount}"


def total(amounts: Iterable[tuple[int, str]]) -> str:
    """Amounts of (minor unit, currency) added up by currency: "$29.00 and €10.00"."""
    sums: dict[str, int] = {}
    for minor, currency in amounts:
        sums[currency.lower()] = sums.get(currency.lower(), 0) + minor
    return " and ".join(money(minor, currency) for currency, minor in sums.items())


def _places(currency: str) -> int:
    return 0 if currency in ZERO_DECIMAL else 3 if currency in THREE_DECIMAL else 2
