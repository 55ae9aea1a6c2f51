"""How urgent a playbook is beside the others of an account (P0.8). Words only: playbooks and the gate share them."""

from typing import Final, Literal, get_args

Precedence = Literal[
    "",
    "cancel_flow",
    "payment",
    "support",
    "competitor",
    "renewal",
    "churn_risk",
    "at_risk",
    "usage_decline",
    "value",
    "re_engagement",
    "expansion",
    "advocacy",
]
"""What a playbook is about, the most urgent first; empty: it neither holds the floor nor yields it (P0.8)."""
ORDER: Final[tuple[str, ...]] = get_args(Precedence)[1:]
URGENT: Final = ("cancel_flow", "payment", "support", "competitor")
"""These hold the floor for as long as they are open. The others hold it for some days after they spoke: a renewal is
open for half a year, and nobody would hear of anything else in all that time."""
TROUBLE: Final = (*URGENT, "churn_risk", "at_risk", "usage_decline")
"""Whoever is in one of these is asked no favours."""


def more_urgent_than(precedence: str) -> tuple[str, ...]:
    """What goes before it; nothing goes before what takes no part."""
    return ORDER[: ORDER.index(precedence)] if precedence in ORDER else ()
