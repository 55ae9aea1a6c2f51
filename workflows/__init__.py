"""The playbooks. Adding one is one line here; routing, workers, pages and the catalogue read this list."""

from workflows.payment_failure import PaymentFailure
from workflows.playbook import Playbook
from workflows.reinstatement import Reinstatement
from workflows.scan import ScanAccounts

PLAYBOOKS: tuple[type[Playbook], ...] = (PaymentFailure, Reinstatement)

JOBS: tuple[type, ...] = (ScanAccounts,)
"""What runs on a schedule and is no playbook: it has no case, it finds what starts them."""
