"""The playbooks. Adding one is one line here; routing, workers, pages and the catalogue read this list.

Named, and imported when first asked for: each run's sandbox imports this package anew, and would otherwise import
every playbook to run one.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from workflows.playbook import Playbook

    PLAYBOOKS: tuple[type[Playbook], ...]
    JOBS: tuple[type, ...]

NAMED: Final = {
    "PLAYBOOKS": (
        "payment_failure:PaymentFailure",
        "reinstatement:Reinstatement",
        "usage_decline:UsageDecline",
        "renewal:Renewal",
        "onboarding:Onboarding",
        "win_back:WinBack",
        "card_expiry:CardExpiry",
        "at_risk:AtRiskAccount",
        "churn_risk:ChurnRiskAccount",
        "alert:Alert",
        "accepted_offer:AcceptedOffer",
        "trial_ending:TrialEnding",
    ),
    # What runs on a schedule and is no playbook: it has no case, it finds what starts them.
    "JOBS": ("scan:ScanAccounts",),
}


def __getattr__(name: str) -> Any:
    if name not in NAMED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = tuple(_imported(each) for each in NAMED[name])
    globals()[name] = found
    return found


def _imported(named: str) -> Any:
    module, _, kind = named.partition(":")
    return getattr(import_module("." + module, __name__), kind)
