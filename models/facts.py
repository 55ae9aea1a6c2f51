"""What happened, in the field's words, whichever provider said it (ledger T1)."""

from datetime import datetime
from typing import Final

from models.frozen import Frozen

PAYMENT_FAILED: Final = "payment.failed"
INVOICE_PAID: Final = "invoice.paid"
INVOICE_VOIDED: Final = "invoice.voided"
INVOICE_WRITTEN_OFF: Final = "invoice.written_off"
PAYMENT_REFUNDED: Final = "payment.refunded"
PAYMENT_DISPUTED: Final = "payment.disputed"
SUBSCRIPTION_CANCELLED: Final = "subscription.cancelled"
CARD_UPDATED: Final = "payment_method.updated"
SERVICE_SUSPENDED: Final = "service.suspended"

SUBJECT_JOINED: Final = "subject.joined"
"""Said to an open run when a second subject (an invoice) joined its case (P1.20)."""

PAID_BY_RETRY: Final = "paid.by_retry"
PAID_BY_NEW_CARD: Final = "paid.by_new_card"
ENDED_BY_LEAD: Final = "ended.by_lead"
PLAN_DONE: Final = "plan.done"
RUN_LOST: Final = "run.lost"


class Fact(Frozen):
    """Something that happened to an account. Carries ids only; whoever acts on it reads the object again.

    `at` is the provider's time (UTC). `subject` is what the fact is about (an invoice, a subscription),
    `object_id` the object that proves it (a charge, a payment method); either may be empty.
    """

    kind: str
    at: datetime
    account: str
    subject: str = ""
    object_id: str = ""
