"""What a preview makes up for its sample account, and how it names whom and what a step reaches."""

from collections.abc import Mapping
from typing import Final

from models.cases import Reading

FIELDS: Final[Mapping[str, str | int]] = {
    "amount": "$29.00",
    "card_last4": "4242",
    "invoice_number": "INV-0042",
    "account_name": "Acme Ltd",
    "usage_delta": 62,
    "usage_trend": "down 62% (48 now, 126 in as many days before the fall)",
    "unused_feature": "saved reports",
    "usage_summary": "48 in the last 30 days, 126 in the 30 days before",
    "sign_url": "https://sign.example.com/acme",
    "health": "65 of 100",
    "score": 52,
    "level": "critical",
    "signals": "usage decline; champion left; payment issues",
    "value": "$12,000.00",
    "term": "annual",
    "roles": "champion, sponsor",
    "open_items": "first report, dashboard",
    "next_step": "first report",
    "next_url": "https://app.example.com/setup",
    "goals": "A weekly report for every team",
    "churned_on": "2 November 2026",
    "exp_date": "31 January 2027",
}
READINGS: Final[Mapping[str, Reading]] = {
    "health": 65,
    "signals": "usage decline; champion left; payment issues",
    "risk_level": "critical",
    "can_be_signed": True,
    "completion": 40,
    "onboarding_band": "at_risk",
    "open_items": "first_report dashboard",
    "done_items": "signed_up email_verified",
    "missed": "first_value",
}
HEALTH_IN: Final[Mapping[str, int]] = {"at_risk": 52, "critical": 31, "lost": 18}
"""The score of a sample account in a band that starts a run."""

ROLES: Final = {"billing": "billing contact", "champion": "main contact", "sponsor": "sponsor"}
WHO: Final = {
    "charge": "the card on file",
    "access": "the product",
    "hold_retries": "Stripe",
    "cancel_subscription": "Stripe",
    "apply_offer": "Stripe",
    "deal": "the pipeline",
    "risk": "the account",
    "tell": "other playbooks",
    "offer": "the account",
    "banner": "users",
}
CHANNEL: Final = {
    "charge": "billing",
    "hold_retries": "billing",
    "cancel_subscription": "billing",
    "apply_offer": "billing",
    "access": "access",
    "deal": "CRM",
    "risk": "CRM",
    "tell": "fact",
    "offer": "offer",
    "banner": "in-app",
}
