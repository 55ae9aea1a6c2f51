"""The playbooks. Adding one is one line here; routing, workers, pages and the catalogue read this list."""

from workflows.payment_failure import PaymentFailure
from workflows.playbook import Playbook
from workflows.reinstatement import Reinstatement

PLAYBOOKS: tuple[type[Playbook], ...] = (PaymentFailure, Reinstatement)
