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

USAGE_DECLINED: Final = "usage.declined"
"""Found by the usage scan; the value is `moderate` or `severe` (P3.1, P3.2)."""
USAGE_RECOVERED: Final = "usage.recovered"
LULL_PLANNED: Final = "lull.planned"
DECLINE_UNRESOLVED: Final = "usage.unresolved"
TRAINING_BOOKED: Final = "training.booked"
CANCEL_REQUESTED: Final = "cancel.requested"

RENEWAL_AHEAD: Final = "renewal.ahead"
"""Found by the renewal scan; the subject is the contract."""
RENEWAL_DATE_CHANGED: Final = "renewal_date.changed"
CONTRACT_SENT: Final = "contract.sent"
CONTRACT_SIGNED: Final = "contract.signed"
CONTRACT_EXPANDED: Final = "contract.expanded"
CONTRACT_REDUCED: Final = "contract.reduced"
"""A signature for more, or for less, than the contract was worth; found by looking (P6.21)."""
RENEWAL_LOST: Final = "renewal.lost"
RENEWAL_LAPSED: Final = "renewal.lapsed"
"""Said by a renewal run that ended without a signature; win-back starts on it (P6.17)."""

USER_SIGNED_UP: Final = "user.signed_up"
HANDOFF_COMPLETED: Final = "handoff.completed"
STEP_DONE: Final = "onboarding.step_done"
ONBOARDED: Final = "onboarding.completed"
ONBOARDING_STALLED: Final = "onboarding.stalled"

SUBSCRIPTION_REACTIVATED: Final = "subscription.reactivated"
UNSUBSCRIBED: Final = "contact.unsubscribed"
PREFERENCES: Final = "contact.preferences"
"""A person chose which topics they want mails about; `topics` in the event's data says yes or no to each."""

MAIL_BOUNCED: Final = "mail.bounced"
MAIL_DROPPED: Final = "mail.dropped"
MAIL_REPORTED: Final = "mail.reported_as_spam"
"""Said by the mail provider of a mail of ours; the object is the effect's key."""

HEALTH_SCORED: Final = "health.scored"
"""An account's health score was computed elsewhere; the value is 0 to 100."""

METRICS_RECORDED: Final = "metrics.recorded"
"""Readings of an account's metrics, under `data.metrics` (H0)."""
HEALTH_RECOVERED: Final = "health.recovered"
"""Health has been above the line for some days; found by looking (P8.11)."""
RISK_RAISED: Final = "risk.raised"
"""A sign that a customer may leave; the value is the signal's name (H7, T2.4)."""
RISK_CLEARED: Final = "risk.cleared"
"""The sign is gone; the value is its name."""
RISK_ESCALATED: Final = "risk.escalated"
"""A playbook could not help; the value says which (P8.12)."""
RISK_CALMED: Final = "risk.calmed"
"""The churn risk has been below high for some weeks; found by looking (P9.7)."""
RULE_CROSSED: Final = "rule.crossed"
"""Found by the rules scan; the value is the rule (T3)."""
ROOT_CAUSE_FOUND: Final = "root_cause.found"
"""Why an account is at risk; the value is the cause (P8.8)."""

SEGMENT_CHANGED: Final = "segment.changed"
"""Found by the daily look at segments; the value is the new segment (S1.5)."""
OWNER_CHANGED: Final = "owner.changed"
"""An account has another CSM; the value is the handle. Every open run of the account hears it (S3.5)."""
HEALTH_BAND_CHANGED: Final = "health.band_changed"
RISK_LEVEL_CHANGED: Final = "risk.level_changed"
"""Found by the health scan; the value is the band or level an account is in now, the object the model (H0.4, H6)."""

CARD_EXPIRING: Final = "card.expiring"
CARD_REPLACED: Final = "card.replaced"

OFFER_ACCEPTED: Final = "offer.accepted"
OFFER_DECLINED: Final = "offer.declined"

TASK_DONE: Final = "task.done"
"""A person finished a task; the object is the task's key, the value its outcome (T1.18)."""
TASK_OVERDUE: Final = "task.overdue"
"""Said by a run to itself when a task it waits for has passed its deadline (P0.3, P0.7)."""

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
    `object_id` the object that proves it (a charge, a payment method), `value` one word of what was said (a severity,
    a task's outcome); each may be empty.
    """

    kind: str
    at: datetime
    account: str
    subject: str = ""
    object_id: str = ""
    value: str = ""
