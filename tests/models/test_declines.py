"""Declines and the card networks' caps."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from models.declines import NETWORK_RULES, Decline, broken_rule, rules_for

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
DAYS, SECOND = timedelta(days=1), timedelta(seconds=1)

CLASSES = {
    "soft": [
        "insufficient_funds",
        "do_not_honor",
        "generic_decline",
        "processing_error",
        "try_again_later",
        "issuer_not_available",
        "card_velocity_exceeded",
        "withdrawal_count_limit_exceeded",
        "incorrect_cvc",
        "a_code_of_next_year",
        "",
    ],
    "hard": [
        "expired_card",
        "lost_card",
        "stolen_card",
        "pickup_card",
        "fraudulent",
        "incorrect_number",
        "invalid_account",
        "card_not_supported",
        "stop_payment_order",
        "revocation_of_authorization",
        "revocation_of_all_authorizations",
        "transaction_not_allowed",
        "restricted_card",
    ],
    "authentication": ["authentication_required", "invoice_payment_intent_requires_action"],
}


@pytest.mark.parametrize(("code", "kind"), [(code, kind) for kind, codes in CLASSES.items() for code in codes])
def test_p1_2_each_code_has_its_class(code: str, kind: str) -> None:
    assert Decline(code="card_declined", decline_code=code).kind == kind
    assert Decline(code=code).kind == kind


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ({"advice_code": "do_not_try_again"}, "hard"),
        ({"advice_code": "try_again_later"}, "soft"),
        ({"advice_code": "confirm_card_data"}, "soft"),
        ({"network": "mastercard", "network_advice_code": "03"}, "hard"),
        ({"network": "mastercard", "network_advice_code": "21"}, "hard"),
        ({"network": "mastercard", "network_advice_code": "02"}, "soft"),
        ({"network": "visa", "network_advice_code": "03"}, "soft"),
        ({"network_advice_code": "03"}, "soft"),
        ({"code": "authentication_required", "advice_code": "do_not_try_again"}, "authentication"),
    ],
)
def test_p1_9_advice_can_make_a_soft_code_hard(said: dict[str, Any], kind: str) -> None:
    assert Decline(**{"decline_code": "insufficient_funds", **said}).kind == kind


def test_p1_2_the_name_is_the_most_telling_code() -> None:
    assert Decline(code="card_declined", decline_code="lost_card").name == "lost_card"
    assert Decline(code="expired_card").name == "expired_card"
    assert Decline().name == "unknown"


def before(*ago: timedelta) -> list[datetime]:
    return [NOW - each for each in ago]


@pytest.mark.parametrize("network", ["visa", "amex", ""])
def test_p1_11_the_sixteenth_attempt_within_30_days_breaks_the_cap_of_15(network: str) -> None:
    fourteen, fifteen = before(*[DAYS] * 14), before(*[DAYS] * 15)
    assert broken_rule(network, [], NOW) is None
    assert broken_rule(network, fourteen, NOW) is None
    rule = broken_rule(network, fifteen, NOW)
    assert rule is not None
    assert (rule.network, rule.limit, rule.window) == ("visa" if network == "visa" else "", 15, 30 * DAYS)


def test_p1_11_an_attempt_leaves_the_window_after_exactly_30_days() -> None:
    recent = before(*[DAYS] * 14)
    assert broken_rule("visa", [*recent, NOW - 30 * DAYS], NOW) is None
    assert broken_rule("visa", [*recent, NOW - 30 * DAYS + SECOND], NOW) is not None


def test_p1_11_mastercard_has_a_cap_a_day_and_one_a_month() -> None:
    assert broken_rule("mastercard", before(*[SECOND] * 9), NOW) is None
    daily = broken_rule("mastercard", before(*[SECOND] * 10), NOW)
    assert daily is not None
    assert (daily.limit, daily.window) == (10, DAYS)
    assert broken_rule("mastercard", before(*[DAYS] * 34), NOW) is None
    monthly = broken_rule("mastercard", before(*[DAYS] * 35), NOW)
    assert monthly is not None
    assert (monthly.limit, monthly.window) == (35, 30 * DAYS)


def test_p1_11_a_rule_is_in_force_from_its_day_on() -> None:
    assert rules_for("visa", date(2020, 10, 16)) == ()
    assert [rule.limit for rule in rules_for("visa", date(2020, 10, 17))] == [15]
    # Before a network's own rules, the strictest we know.
    assert [(rule.network, rule.limit) for rule in rules_for("mastercard", date(2021, 12, 31))] == [("", 15)]
    assert [rule.limit for rule in rules_for("mastercard", date(2022, 1, 1))] == [35, 10]
    long_ago = datetime(2020, 10, 16, 12, tzinfo=UTC)
    assert broken_rule("visa", [long_ago - DAYS] * 20, long_ago) is None


def test_p1_11_every_rule_names_its_source() -> None:
    assert all(rule.source for rule in NETWORK_RULES)
