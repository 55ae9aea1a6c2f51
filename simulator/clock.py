"""Moving the clock: what Stripe does by itself on the way, each at its own moment."""

from __future__ import annotations

from typing import Any

from simulator import billing, discounts
from simulator.world import World

Json = dict[str, Any]


def due_invoices(world: World, until: int) -> list[Json]:
    """Open invoices with an own attempt of Stripe due at or before `until`, earliest first."""
    due = [
        invoice
        for invoice in world.kinds.get("invoice", {}).values()
        if invoice["status"] == "open"
        and invoice["auto_advance"]
        and invoice["next_payment_attempt"] is not None
        and invoice["next_payment_attempt"] <= until
    ]
    return sorted(due, key=lambda invoice: (invoice["next_payment_attempt"], invoice["id"]))


def move_clock(world: World, target: int) -> int:
    """Set the clock to `target` unix seconds; due attempts, ends of discounts and of pauses happen on the way.

    Returns how many attempts Stripe made.
    """
    attempts = 0
    while True:
        invoices, lapse = due_invoices(world, target), discounts.next_lapse(world, target)
        if lapse and not (invoices and invoices[0]["next_payment_attempt"] < lapse[0]):
            world.set_clock(max(world.now(), lapse[0]))
            discounts.lapse(world, lapse[1])
        elif invoices:
            world.set_clock(max(world.now(), invoices[0]["next_payment_attempt"]))
            billing.retry_by_stripe(world, invoices[0])
            attempts += 1
        else:
            world.set_clock(target)
            return attempts
