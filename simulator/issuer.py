"""The card issuer: what a card answers to a charge, and what Stripe says about each decline.

A behaviour is one of
    {"script": ["insufficient_funds", "ok"]}              one item per attempt, the last one repeats
    {"ok_from": 1795420000, "until_then": "insufficient_funds"}     simulated unix seconds
    {"always": "lost_card"}
    {"probability": 0.3, "decline": "generic_decline"}    probability of success, seeded
An outcome is "ok", a decline code, or "processing": a slow method such as a bank debit, whose bank answers days later
(`/_sim/bank/answer`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from simulator.errors import ApiError
from simulator.world import World

Json = dict[str, Any]
OK = "ok"
SLOW = "processing"


@dataclass(frozen=True)
class Decline:
    """How Stripe reports a decline. `code` is the error code, `advice` Stripe's advice_code."""

    code: str
    advice: str | None
    network_code: str | None
    mastercard_advice: str | None
    hard: bool = False

    def network_advice(self, brand: str) -> str | None:
        """The network's advice; in the simulator only Mastercard gives one."""
        return self.mastercard_advice if brand == "mastercard" else None


RETRY, STOP, CONFIRM = "try_again_later", "do_not_try_again", "confirm_card_data"

DECLINES = {
    "insufficient_funds": Decline("card_declined", RETRY, "51", "26"),
    "generic_decline": Decline("card_declined", RETRY, "05", "02"),
    "do_not_honor": Decline("card_declined", RETRY, "05", "02"),
    "try_again_later": Decline("card_declined", RETRY, "05", "24"),
    "issuer_not_available": Decline("card_declined", RETRY, "91", "24"),
    "reenter_transaction": Decline("card_declined", RETRY, "19", "24"),
    "processing_error": Decline("processing_error", RETRY, "96", "24"),
    "card_velocity_exceeded": Decline("card_declined", RETRY, "65", "25"),
    "withdrawal_count_limit_exceeded": Decline("card_declined", RETRY, "65", "25"),
    "approve_with_id": Decline("card_declined", RETRY, "05", "02"),
    "call_issuer": Decline("card_declined", RETRY, "01", "02"),
    "authentication_required": Decline("authentication_required", None, "1A", None),
    "incorrect_cvc": Decline("incorrect_cvc", CONFIRM, "N7", "01"),
    "incorrect_zip": Decline("incorrect_zip", CONFIRM, "05", "01"),
    "expired_card": Decline("expired_card", CONFIRM, "54", "01", hard=True),
    "incorrect_number": Decline("incorrect_number", CONFIRM, "14", "01", hard=True),
    "invalid_account": Decline("card_declined", CONFIRM, "14", "03", hard=True),
    "new_account_information_available": Decline("card_declined", CONFIRM, "05", "01", hard=True),
    "card_not_supported": Decline("card_declined", STOP, "57", "03", hard=True),
    "currency_not_supported": Decline("card_declined", STOP, "57", "03", hard=True),
    "do_not_try_again": Decline("card_declined", STOP, "05", "03", hard=True),
    "fraudulent": Decline("card_declined", STOP, "59", "03", hard=True),
    "lost_card": Decline("card_declined", STOP, "41", "03", hard=True),
    "merchant_blacklist": Decline("card_declined", STOP, "59", "03", hard=True),
    "pickup_card": Decline("card_declined", STOP, "04", "03", hard=True),
    "restricted_card": Decline("card_declined", STOP, "62", "03", hard=True),
    "revocation_of_authorization": Decline("card_declined", STOP, "R1", "21", hard=True),
    "revocation_of_all_authorizations": Decline("card_declined", STOP, "R3", "21", hard=True),
    "stolen_card": Decline("card_declined", STOP, "43", "03", hard=True),
    "stop_payment_order": Decline("card_declined", STOP, "R0", "21", hard=True),
    "transaction_not_allowed": Decline("card_declined", STOP, "57", "03", hard=True),
}

TEST_CARDS = {
    "4242424242424242": OK,
    "4000056655665556": OK,
    "5555555555554444": OK,
    "4000000000000341": "generic_decline",
    "4000000000000002": "generic_decline",
    "4000000000009995": "insufficient_funds",
    "4000000000009987": "lost_card",
    "4000000000009979": "stolen_card",
    "4000000000000069": "expired_card",
    "4000000000000127": "incorrect_cvc",
    "4000000000000119": "processing_error",
    "4000000000006975": "card_velocity_exceeded",
    "4000002760003184": "authentication_required",
    "4000002500003155": "authentication_required",
}
TOKENS = {
    "pm_card_visa": "4242424242424242",
    "pm_card_visa_debit": "4000056655665556",
    "pm_card_mastercard": "5555555555554444",
    "pm_card_chargeCustomerFail": "4000000000000341",
    "pm_card_chargeDeclined": "4000000000000002",
    "pm_card_visa_chargeDeclined": "4000000000000002",
    "pm_card_chargeDeclinedInsufficientFunds": "4000000000009995",
    "pm_card_visa_chargeDeclinedInsufficientFunds": "4000000000009995",
    "pm_card_visa_chargeDeclinedLostCard": "4000000000009987",
    "pm_card_visa_chargeDeclinedStolenCard": "4000000000009979",
    "pm_card_chargeDeclinedExpiredCard": "4000000000000069",
    "pm_card_chargeDeclinedIncorrectCvc": "4000000000000127",
    "pm_card_chargeDeclinedProcessingError": "4000000000000119",
    "pm_card_authenticationRequired": "4000002760003184",
}


def card_brand(number: str) -> str:
    """visa, mastercard or amex by the first digit."""
    return {"4": "visa", "5": "mastercard", "2": "mastercard", "3": "amex"}.get(number[:1], "unknown")


def fingerprint(number: str) -> str:
    """The same 16 characters for the same card number."""
    return hashlib.sha256(f"card {number}".encode()).hexdigest()[:16]


def check_outcome(outcome: str) -> str:
    """Return `outcome` if it is "ok", "processing" or a known decline code; 400 otherwise."""
    if outcome not in (OK, SLOW) and outcome not in DECLINES:
        raise ApiError(400, f"unknown outcome {outcome!r}; use ok, processing or one of {', '.join(sorted(DECLINES))}")
    return outcome


def check_behaviour(behaviour: Json) -> Json:
    """Return `behaviour` if it has one of the four forms of this module's text; 400 otherwise."""
    match behaviour:
        case {"script": [_, *_] as script}:
            for outcome in script:
                check_outcome(outcome)
        case {"ok_from": int(), "until_then": outcome} | {"always": outcome}:
            check_outcome(outcome)
        case {"probability": float() | int(), "decline": outcome}:
            check_outcome(outcome)
        case _:
            raise ApiError(400, "behaviour must be script, ok_from+until_then, always, or probability+decline")
    return behaviour


def set_behaviour(world: World, payment_method: str, behaviour: Json) -> None:
    """From now on the card answers by `behaviour`."""
    world.get("payment_method", payment_method)
    world.behaviours[payment_method] = check_behaviour(behaviour)
    world.behaviour_attempts[payment_method] = 0


def ask(world: World, payment_method: str) -> str:
    """The issuer's answer to one charge attempt now: "ok" or a decline code."""
    attempt = world.behaviour_attempts.get(payment_method, 0)
    world.behaviour_attempts[payment_method] = attempt + 1
    match world.behaviours[payment_method]:
        case {"script": script}:
            return str(script[min(attempt, len(script) - 1)])
        case {"ok_from": moment, "until_then": outcome}:
            return OK if world.now() >= moment else str(outcome)
        case {"probability": probability, "decline": outcome}:
            return OK if world.random.random() < probability else str(outcome)
        case {"always": outcome}:
            return str(outcome)
    raise AssertionError("check_behaviour let an unknown form through")
