"""Invoices as API versions before 2025-03-31 showed them, for receivers that must understand old accounts."""

from __future__ import annotations

from typing import Any

from simulator import billing
from simulator.world import World

Json = dict[str, Any]
LEGACY_VERSION = "2024-06-20"


def legacy_event(world: World, event: Json) -> Json:
    """The event as an endpoint pinned to 2024-06-20 gets it; only invoices look different."""
    old = {**event, "api_version": LEGACY_VERSION}
    if event["data"]["object"]["object"] == "invoice":
        old["data"] = {**event["data"], "object": legacy_invoice(world, event["data"]["object"])}
    return old


def legacy_invoice(world: World, invoice: Json) -> Json:
    """Subscription, charge, payment intent and paid at the top level; no parent."""
    old = {key: value for key, value in invoice.items() if key not in ("parent", "payments", "total_taxes")}
    details = (invoice["parent"] or {}).get("subscription_details")
    payments = [payment for payment in billing.payments_of(world, invoice) if payment["is_default"]]
    intent = billing.intent_of(world, payments[0]) if payments else None
    old.update(
        charge=intent["latest_charge"] if intent else None,
        discount=None,
        paid=invoice["status"] == "paid",
        paid_out_of_band=invoice["id"] in world.paid_out_of_band,
        payment_intent=intent["id"] if intent else None,
        subscription=details["subscription"] if details else None,
        subscription_details={"metadata": details["metadata"]} if details else None,
        tax=None,
        total_tax_amounts=[],
    )
    return old
