"""`holdfast reconcile`: both sides of everything compared, each difference told, and mended by the ways there are."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from workers.differences import Comparison, Difference, Sides
from workers.reconcile_customers import access_and_cases, mails_and_sendgrid
from workers.reconcile_runs import cases_and_their_runs, runs_and_their_rows
from workers.reconcile_stripe import (
    attempts_and_charges,
    charges_and_attempts,
    coupons_and_offers,
    events_and_the_inbox,
    open_cases_and_invoices,
    unpaid_invoices_and_cases,
)
from workers.relay import Relay

COMPARED: Final[tuple[tuple[str, Comparison], ...]] = (
    ("runs and their rows", runs_and_their_rows),
    ("cases and their runs", cases_and_their_runs),
    ("charges at Stripe and attempts", charges_and_attempts),
    ("Stripe's events and the inbox", events_and_the_inbox),
    ("unpaid invoices and cases", unpaid_invoices_and_cases),
    ("open cases and invoices", open_cases_and_invoices),
    ("attempts and invoices at Stripe", attempts_and_charges),
    ("access and cases", access_and_cases),
    ("coupons and offers", coupons_and_offers),
    ("mails and SendGrid", mails_and_sendgrid),
)
"""In this order: what the ledger lost is put back before anything is told to a run."""


@dataclass
class Found:
    """How many differences of each kind there were, and how many were mended."""

    differences: Counter[str] = field(default_factory=Counter)
    mended: int = 0


async def reconcile(
    sides: Sides, tell: Callable[[Difference], None], under_way: Callable[[str], None], relay: Relay | None = None
) -> Found:
    """Compare everything; with a relay also mend, and carry what was put into the inbox before going on.

    `tell` is called with each difference as it is found, `under_way` with what is compared now. Memory does not grow
    with what is found.
    """
    found = Found()
    for name, comparison in COMPARED:
        under_way(name)
        mended = 0
        async for difference in comparison(sides):
            found.differences[difference.kind] += 1
            tell(difference)
            if relay:
                await difference.apply()
                mended += 1
        if relay and mended:
            found.mended += mended
            while await relay.once():
                pass
    return found
