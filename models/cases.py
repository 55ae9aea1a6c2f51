"""One playbook run for one account: what it is given, what it asks for, what it is told back."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from models.facts import Fact
from models.frozen import Frozen
from models.policy import Policy

AccessLevel = Literal["full", "restricted", "suspended"]
Notice = Literal["", "billing", "legal", "security"]
"""As what a message has to go out, whatever else would hold it back; empty for one that may be."""
Reading = str | int | bool
"""One value read at the source of truth; times are ISO 8601 text."""


class Case(Frozen):
    """The input of every playbook run, fixed at its start (P0.15): ids, money at stake, the policy of that day.

    `at_stake` and `mrr` are in the currency's minor unit (cents). `trigger` is the kind of fact that started the run
    and `value` what it said; `anchor` the date its days count back from, where there is one (a renewal, an expiry).
    """

    id: str
    playbook: str
    account: str
    subject: str
    at_stake: int = 0
    currency: str = "usd"
    owner: str = ""
    segment: str = ""
    mrr: int = 0
    strategic: bool = False
    trigger: str = ""
    value: str = ""
    anchor: datetime | None = None
    policy: Policy = Policy()


class _Effect(Frozen):
    """Something done to the world at most once. `key` is decided in the workflow: case / step / n (P0.14)."""

    key: str
    title: str


class Charge(_Effect):
    """Charge the open invoice `invoice`; `then` is the ending a success brings about.

    With `new_card_only` the charge is dropped unless a card is on file that has not failed yet (P1.12).
    """

    kind: Literal["charge"] = "charge"
    invoice: str
    then: str
    new_card_only: bool = False


class HoldRetries(_Effect):
    """Switch the provider's own retries off for one invoice, so that only one of us charges (P1.24)."""

    kind: Literal["hold_retries"] = "hold_retries"
    invoice: str


class CancelSubscription(_Effect):
    """Cancel the subscriptions behind the case's invoices, at once (P1.17)."""

    kind: Literal["cancel_subscription"] = "cancel_subscription"


class Email(_Effect):
    """Send the template to a person of the account; words and address are looked up when it is sent.

    `to` is the person's role, the billing contact where there is nobody of that role. `by_decline` names another
    template for a decline class, chosen by how the last attempt was refused by then. `fields` and `dates` are merge
    fields the playbook knows; dates are written in the account's own zone. With `offer` (the key of an offer made
    before) its terms are merge fields, and without that offer the mail is not sent. `marketing` mail is not sent to
    those who opted out (T4.3).
    """

    kind: Literal["email"] = "email"
    template: str
    to: str = "billing"
    marketing: bool = False
    notice: Notice = ""
    at_once: bool = False
    favour: str = ""
    by_decline: dict[str, str] = {}
    fields: dict[str, str | int] = {}
    dates: dict[str, datetime] = {}
    offer: str = ""


class Banner(_Effect):
    """Show the in-app message made from `template`, or with an empty template take down every one (P1.19)."""

    kind: Literal["banner"] = "banner"
    template: str = ""
    marketing: bool = False
    notice: Notice = ""
    fields: dict[str, str | int] = {}
    dates: dict[str, datetime] = {}


class Task(_Effect):
    """Open a task for a person. An empty `owner` means the account's CSM, else the CSM lead.

    `to` is the role of the customer's person it is about; the guide names them.
    With a `deadline` the run waits for its outcome (one of `answers`, if any are named) and escalates after it.
    `favour` is what the person is to ask the customer for, where it is one (P0.9).
    """

    kind: Literal["task"] = "task"
    template: str = ""
    owner: str = ""
    to: str = "billing"
    favour: str = ""
    due: datetime
    deadline: datetime | None = None
    answers: tuple[str, ...] = ()
    fields: dict[str, str | int] = {}
    dates: dict[str, datetime] = {}


class SetAccess(_Effect):
    """Set what the account may still do in our product (P1.18), and tell the product so."""

    kind: Literal["access"] = "access"
    level: AccessLevel


class Risk(_Effect):
    """Raise or clear a risk signal on the account (P1.22)."""

    kind: Literal["risk"] = "risk"
    signal: str
    raised: bool


class Tell(_Effect):
    """Put a fact of our own on record; playbooks that start on it, start (P1.8)."""

    kind: Literal["tell"] = "tell"
    fact: str
    value: str = ""


class Offer(_Effect):
    """Put an offer on record: `pct` off for `months`, or a pause of up to `months` (O2, O3, O12)."""

    kind: Literal["offer"] = "offer"
    what: Literal["discount", "pause"] = "discount"
    pct: int = 0
    months: int
    expires: datetime
    approver: str = ""


class ApplyOffer(_Effect):
    """Give an account what an accepted offer promised: the coupon, or the pause, at the billing provider."""

    kind: Literal["apply_offer"] = "apply_offer"
    offer: str


class Deal(_Effect):
    """Open the case's deal in the renewal pipeline, or move it to another stage (P6.3, P6.14)."""

    kind: Literal["deal"] = "deal"
    stage: str
    expansion_potential: str = ""


Effect = Annotated[
    Charge
    | HoldRetries
    | CancelSubscription
    | Email
    | Banner
    | Task
    | SetAccess
    | Risk
    | Tell
    | Offer
    | ApplyOffer
    | Deal,
    Field(discriminator="kind"),
]


class Parting(Frozen):
    """What is owed when the run ends in one particular way, and the outcome to record (P0.11).

    `reason` is the fact or result that ended it, `plan.done` when nothing did.
    """

    reason: str
    outcome: str
    effects: tuple[Effect, ...] = ()


class Note(Frozen):
    """Something a person said to the run, for the case's history (P0.10)."""

    at: datetime
    by: str
    text: str


class Batch(Frozen):
    """One step's effects, carried out in order by one activity; the first that finds the reason gone ends the run.

    `since` is the run's day 0 and `now` its clock: business time. `partings` holds, for each way to end, what is
    owed then. `closing` ends the run after the effects (the last step, or a lead's word).
    """

    case: str
    account: str
    subject: str
    playbook: str
    step: str
    title: str
    since: datetime
    now: datetime
    watch: str = ""
    precedence: str = ""
    """How urgent the playbook is, and below what a more urgent one does to its words (P0.8)."""
    gives_way: Literal["drop", "wait"] = "drop"
    plan: str = ""
    stage: str = ""
    state: str = "open"
    heard: tuple[Fact, ...] = ()
    notes: tuple[Note, ...] = ()
    answered: dict[str, str] = {}
    """Tasks whose outcome the run was told, to be closed."""
    effects: tuple[Effect, ...] = ()
    partings: dict[str, Parting] = {}
    closing: Parting | None = None
    next_title: str = ""
    next_at: datetime | None = None


class Result(Frozen):
    """How one effect ended: `done`, `refused` by the provider, `dropped` by the gate, or `in_doubt`."""

    state: str
    reason: str = ""
    deadline: datetime | None = None
    """For a task that the run waits for: when it is escalated. Read from the history, not from the code of today."""


class Outcome(Frozen):
    """What a batch came to. `over` names the ending, empty while the run goes on.

    `wait_until` asks the run to come again with the same batch then; what is done stays done.
    """

    over: str = ""
    outcome: str = ""
    wait_until: datetime | None = None
    readings: dict[str, Reading] = {}
    results: dict[str, Result] = {}


class Ending(Frozen):
    """How a run ended (P0.11): the reason, the outcome from the playbook's list, and every step's fate."""

    reason: str
    outcome: str
    done: tuple[str, ...]
    skipped: tuple[str, ...]


def words_and_dates(fields: dict[str, str | int | datetime]) -> tuple[dict[str, str | int], dict[str, datetime]]:
    """Merge fields apart by what they are: a date is written in the account's own zone when the message is sent.

    Here and not in `workflows/`, where the sandbox puts a stand-in into the place of `datetime`.
    """
    dates = {name: value for name, value in fields.items() if isinstance(value, datetime)}
    return {name: value for name, value in fields.items() if not isinstance(value, datetime)}, dates
