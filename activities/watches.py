"""Every watch over our own tables: what a playbook may name in `watches`, beside what is billed."""

from typing import Final

from activities.known import CardWatch, ChurnWatch, ContractWatch, Facts, OnboardingWatch, UsageWatch
from activities.known_health import HealthWatch, RiskWatch
from models.database import Database
from models.policy import PolicyFile

WATCHES: Final[tuple[type[Facts], ...]] = (
    Facts,
    UsageWatch,
    ContractWatch,
    OnboardingWatch,
    ChurnWatch,
    CardWatch,
    HealthWatch,
    RiskWatch,
)


def known_watches(database: Database, policy: PolicyFile) -> list[Facts]:
    """One of each."""
    return [watch(database, policy) for watch in WATCHES]
