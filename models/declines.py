"""Why a charge was refused, and what may be done about it (P1.2, P1.9 to P1.11).

Sources and dates of the network rules: docs/design.md, "Network rules".
"""

from datetime import date, datetime, timedelta
from typing import Final, Literal

from models.frozen import Frozen

DeclineClass = Literal["soft", "hard", "authentication"]

AUTHENTICATION: Final = frozenset(
    {
        "authentication_required",
        "invoice_payment_intent_requires_action",
        "authentication_not_handled",
        "payment_intent_authentication_failure",
    }
)
HARD: Final = frozenset(
    {
        "card_not_supported",
        "expired_card",
        "fraudulent",
        "highest_risk_level",
        "incorrect_number",
        "invalid_account",
        "invalid_number",
        "lost_card",
        "merchant_blacklist",
        "new_account_information_available",
        "no_action_taken",
        "pickup_card",
        "restricted_card",
        "revocation_of_all_authorizations",
        "revocation_of_authorization",
        "security_violation",
        "stolen_card",
        "stop_payment_order",
        "transaction_not_allowed",
    }
)
"""Codes after which the same card will not pay. `do_not_honor` and `generic_decline` are not among them."""

NEVER_RETRY_ADVICE: Final = frozenset({"do_not_try_again"})
NEVER_RETRY_NETWORK_ADVICE: Final = {"mastercard": frozenset({"03", "21"})}


class Decline(Frozen):
    """A refusal as the provider told it; any field may be empty."""

    code: str = ""
    decline_code: str = ""
    advice_code: str = ""
    network: str = ""
    network_advice_code: str = ""

    @property
    def kind(self) -> DeclineClass:
        """Soft, hard or authentication; an unknown code is soft (P1.2)."""
        said = {self.code, self.decline_code}
        if said & AUTHENTICATION:
            return "authentication"
        if said & HARD or self.advice_code in NEVER_RETRY_ADVICE:
            return "hard"
        if self.network_advice_code in NEVER_RETRY_NETWORK_ADVICE.get(self.network, frozenset()):
            return "hard"
        return "soft"

    @property
    def why_not_retried(self) -> str:
        """Why the card that was refused so is left alone; empty where it may be tried again (P1.9, P1.10)."""
        return "" if self.kind == "soft" else f"{self.kind} decline ({self.name}): this card is not retried"

    @property
    def name(self) -> str:
        """The most telling code, for staff. Customers are never shown it."""
        return self.decline_code or self.code or "unknown"


class NetworkRule(Frozen):
    """At most `limit` declined attempts of one amount on one card within `window`, in force from `since`."""

    network: str
    since: date
    limit: int
    window: timedelta
    source: str


NETWORK_RULES: Final = (
    NetworkRule(network="visa", since=date(2020, 10, 17), limit=15, window=timedelta(days=30),
                source="Visa reattempt rule; raised to 20 on 2025-05-25, 15 kept as safe under both"),
    NetworkRule(network="mastercard", since=date(2022, 1, 1), limit=35, window=timedelta(days=30),
                source="Mastercard excessive attempts, 30 days"),
    NetworkRule(network="mastercard", since=date(2022, 1, 1), limit=10, window=timedelta(days=1),
                source="Mastercard excessive attempts, 24 hours"),
    NetworkRule(network="", since=date(2020, 10, 17), limit=15, window=timedelta(days=30),
                source="Any other network: the strictest 30-day rule we know"),
)  # fmt: skip


def rules_for(network: str, on: date) -> tuple[NetworkRule, ...]:
    """The rules in force for a card network on a day; unknown networks get the strictest."""
    named = tuple(rule for rule in NETWORK_RULES if rule.network == network and rule.since <= on)
    return named or tuple(rule for rule in NETWORK_RULES if rule.network == "" and rule.since <= on)


def broken_rule(network: str, attempts: list[datetime], now: datetime) -> NetworkRule | None:
    """The first rule that one more attempt at `now` would break, given the times of earlier ones."""
    for rule in rules_for(network, now.date()):
        if sum(1 for at in attempts if now - at < rule.window) >= rule.limit:
            return rule
    return None
