"""The playbooks. Adding one is one line here; routing, workers, pages and the catalogue read this list."""

from workflows.accepted_offer import AcceptedOffer
from workflows.card_expiry import CardExpiry
from workflows.onboarding import Onboarding
from workflows.payment_failure import PaymentFailure
from workflows.playbook import Playbook
from workflows.reinstatement import Reinstatement
from workflows.renewal import Renewal
from workflows.scan import ScanAccounts
from workflows.trial_ending import TrialEnding
from workflows.usage_decline import UsageDecline
from workflows.win_back import WinBack

PLAYBOOKS: tuple[type[Playbook], ...] = (
    PaymentFailure,
    Reinstatement,
    UsageDecline,
    Renewal,
    Onboarding,
    WinBack,
    CardExpiry,
    AcceptedOffer,
    TrialEnding,
)

JOBS: tuple[type, ...] = (ScanAccounts,)
"""What runs on a schedule and is no playbook: it has no case, it finds what starts them."""
