"""Segments (S1), how each is looked after (S2), and its support tier (S4). Tables that read like the ledger's."""

import re
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction
from typing import Final, Literal

from pydantic import Field

from models.frozen import Frozen

Segment = Literal["starter", "mid", "enterprise"]
SEGMENTS: Final[tuple[Segment, ...]] = ("starter", "mid", "enterprise")
"""From the lowest to the highest."""
Tier = Literal["self_service", "email", "priority", "dedicated"]


class Segments(Frozen):
    """How accounts are told apart by size (S1). The same for all, so no segment has a section of its own for it."""

    basis: Literal["mrr", "acv"] = "mrr"
    """Monthly revenue, or what the contracts are worth in a year (X20)."""
    mid_above: int = Field(50_000, ge=0)
    enterprise_above: int = Field(200_000, ge=0)
    """Monthly revenue (minor unit, of the account's own currency) above which an account is of this segment (S1.4)."""
    mid_above_acv: int = Field(500_000, ge=0)
    enterprise_above_acv: int = Field(2_500_000, ge=0)
    """The same for what contracts are worth in a year (S1.1, S1.2)."""
    down_after_days: int = Field(60, ge=0)
    """An account moves up at once, and down after so many days below (S1.5)."""
    free_plans: tuple[str, ...] = ("free",)
    """Plans without a price: their accounts help themselves (S4.5)."""
    support: dict[str, Tier] = {"starter": "email", "mid": "priority", "enterprise": "dedicated"}
    """The support tier by segment (S4.5)."""

    def problems(self) -> list[str]:
        """What does not hold together."""
        found = []
        for low, high in (("mid_above", "enterprise_above"), ("mid_above_acv", "enterprise_above_acv")):
            if getattr(self, low) >= getattr(self, high):
                found.append(f"{low} {getattr(self, low)} must be below {high} {getattr(self, high)}")
        return found


class Books(Frozen):
    """How accounts are given to CSMs (S3). The same for all segments, which it names itself."""

    by: Literal["accounts", "revenue", "round_robin"] = "accounts"
    """Who gets the next account: whose book is fullest least (by accounts), who has the least revenue, or in turn."""
    capacity: dict[str, int] = {"enterprise": 20, "mid": 60, "starter": 500}
    """Most accounts of a segment that one CSM looks after (S3.1). Who serves two has room for a share of each."""
    named_csm: tuple[str, ...] = ("enterprise", "mid")
    """Segments whose accounts have a CSM by name; others get one only from somebody who says they serve them."""
    accounts_per_sponsor: int = Field(10, ge=1)
    """Enterprise accounts for each executive sponsor, at most (S3.2)."""
    accounts_per_tam: int = Field(50, ge=1)
    """Enterprise accounts for each technical account manager, at most (S3.2)."""

    def problems(self) -> list[str]:
        """What does not hold together."""
        wrong = sorted({*self.capacity, *self.named_csm} - set(SEGMENTS))
        found = [f"{name!r} is no segment; there are {', '.join(SEGMENTS)}" for name in wrong]
        found += [f"named_csm has {name}, capacity has not" for name in self.named_csm if name not in self.capacity]
        found += [f"capacity.{name} is {room}; at least 1" for name, room in self.capacity.items() if room < 1]
        return found


def segment_of(amount: int, rules: Segments, *, strategic: bool = False, growth: bool = False) -> Segment:
    """The segment of an account, by the policy's basis (minor unit); exactly at a threshold is below it (S1.4).

    A strategic account is enterprise whatever it pays; one that is expected to grow is one segment higher.
    """
    in_mrr = rules.basis == "mrr"
    high, middle = (
        (rules.enterprise_above, rules.mid_above) if in_mrr else (rules.enterprise_above_acv, rules.mid_above_acv)
    )
    rank = (amount > middle) + (amount > high)
    if strategic:
        return "enterprise"
    return SEGMENTS[min(rank + growth, len(SEGMENTS) - 1)]


def move(now: str, computed: Segment, below_since: date | None, day: date, rules: Segments) -> tuple[str, date | None]:
    """The segment from `day` on, and since when the account has been below it (S1.5).

    Up at once; down only after the days below, counted from the first day that found it there.
    """
    if now not in SEGMENTS or SEGMENTS.index(computed) >= SEGMENTS.index(now):
        return computed, None
    since = below_since or day
    if day - since >= timedelta(days=rules.down_after_days):
        return computed, None
    return now, since


YEARS: Final = re.compile(r"^\s*(\d{1,2})[\s-]*years?\s*$", re.IGNORECASE)
A_YEAR: Final[dict[str, Fraction]] = {
    "annual": Fraction(1),
    "yearly": Fraction(1),
    "monthly": Fraction(12),
    "month-to-month": Fraction(12),
    "quarterly": Fraction(4),
    "semi-annual": Fraction(2),
    "biennial": Fraction(1, 2),
}
"""How many such terms are in a year."""


def worth_a_year(value: int, term: str) -> int:
    """What a contract is worth in a year (minor unit), from its whole value and its term; a strange term is a year."""
    years = YEARS.match(term)
    if years and int(years[1]):
        return int(Fraction(value) / int(years[1]))
    return int(value * A_YEAR.get(term.strip().lower(), Fraction(1)))


# How each segment is looked after (S2.1, S2.2).


@dataclass(frozen=True)
class TouchModel:
    """What an account of a segment gets from people, and what from the product."""

    csm: str
    plan: str
    contact: str
    training: str
    work: str
    sponsor: bool = False
    qbr: bool = False


TOUCH: Final[dict[Segment, TouchModel]] = {
    "enterprise": TouchModel(
        csm="a dedicated CSM",
        plan="a success plan of its own",
        contact="a check-in each week",
        training="white-glove onboarding, training for the account alone",
        work="proactive: the CSM leads",
        sponsor=True,
        qbr=True,
    ),
    "mid": TouchModel(
        csm="a CSM shared with others",
        plan="the playbooks as they are",
        contact="regular check-ins",
        training="guided onboarding, group training",
        work="reactive, and proactive where a playbook asks for it",
    ),
    "starter": TouchModel(
        csm="nobody by name",
        plan="automated journeys",
        contact="messages on what happens",
        training="self-service and the community",
        work="automated, for all at once",
    ),
}


def touch_model(segment: str) -> TouchModel:
    """How an account of this segment is looked after; one without a segment like a starter."""
    return TOUCH.get(segment, TOUCH["starter"])  # type: ignore[call-overload, no-any-return]


# Support (S4). Tiers have names: by number, the lowest of one source is the highest of another (X22).


@dataclass(frozen=True)
class Sla:
    """What a support tier promises."""

    channels: str
    answer_within: timedelta | None = None
    """To the first answer; None where the answers are there already."""
    solved_within: timedelta | None = None
    """For `solved_pct` of all tickets."""
    solved_pct: int = 80
    extras: str = ""


HOUR: Final = timedelta(hours=1)
SLAS: Final[dict[Tier, Sla]] = {
    "self_service": Sla("knowledge base, videos, community, FAQ"),
    "email": Sla("e-mail", 4 * HOUR, 24 * HOUR, extras="detailed troubleshooting, and a follow-up"),
    "priority": Sla("e-mail, live chat", 2 * HOUR, 12 * HOUR, extras="phone on request"),
    "dedicated": Sla(
        "e-mail, live chat, phone", HOUR, 6 * HOUR, extras="an account manager, day and night, guaranteed"
    ),
}


def support_tier(segment: str, plan: str, rules: Segments) -> Tier:
    """An account's support tier: by its segment, and self-service on a plan without a price (S4.5)."""
    if segment in ("", "starter") and plan in rules.free_plans:
        return "self_service"
    return rules.support.get(segment, rules.support.get("starter", "email"))
