"""Stripe's events as it sends them, small; invoices in both shapes."""

import hashlib
import hmac
import json
import time
from typing import Any

Json = dict[str, Any]
SECRET = "whsec_present0123456789"
OLDER_SECRET = "whsec_older0123456789"
AT = 1_795_420_000


def invoice(**changes: Any) -> Json:
    """An open invoice, as API versions since 2025-03-31 render it."""
    return {
        "id": "in_1",
        "object": "invoice",
        "customer": "cus_1",
        "status": "open",
        "collection_method": "charge_automatically",
        "currency": "usd",
        "amount_due": 2900,
        "amount_paid": 0,
        "amount_remaining": 2900,
        "number": "A-1",
        "attempt_count": 1,
        "auto_advance": True,
        "next_payment_attempt": AT + 86_400,
        "hosted_invoice_url": "https://invoice.stripe.com/i/x",
        "livemode": False,
        "parent": {"type": "subscription_details", "subscription_details": {"subscription": "sub_1"}},
        **changes,
    }


def older_invoice(**changes: Any) -> Json:
    """The same invoice, as API versions before 2025-03-31 render it."""
    older = invoice(subscription="sub_1", charge="ch_1", paid=False, payment_intent="pi_1", **changes)
    del older["parent"]
    return older


def event(kind: str = "invoice.payment_failed", obj: Any = None, **changes: Any) -> Json:
    """An event about `obj`, by default the invoice."""
    return {
        "id": "evt_1",
        "object": "event",
        "api_version": "2026-10-28.endive",
        "created": AT,
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": None},
        "type": kind,
        "data": {"object": invoice() if obj is None else obj},
        **changes,
    }


def encoded(value: Any) -> bytes:
    """The bytes on the wire."""
    return json.dumps(value, separators=(",", ":")).encode()


def v1(body: bytes, timestamp: str, secret: str = SECRET) -> str:
    """The signature of a body at a time."""
    return hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def signed(body: bytes, timestamp: str | int | None = None, secret: str = SECRET) -> bytes:
    """The Stripe-Signature header's value."""
    at = str(int(time.time()) if timestamp is None else timestamp)
    return f"t={at},v1={v1(body, at, secret)}".encode()
