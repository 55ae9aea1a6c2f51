"""How things stand at the source of truth, as one look found them. Lives inside one activity, never in a payload."""

from dataclasses import dataclass, field

from models.cases import Reading
from models.declines import Decline
from models.invoices import Invoice


@dataclass(frozen=True)
class Card:
    """A payment method. `fingerprint` is the same for the same card number, whatever its id."""

    id: str
    fingerprint: str = ""
    network: str = ""
    last4: str = ""
    expiry: str = ""


@dataclass(frozen=True)
class Owed:
    """One invoice of a case: how its last attempt was refused, on which card, and a card that has not failed yet.

    `attempts` counts the first one, the provider's own retries and ours. `processing`: a payment of it by a slow method
    (a bank debit) is on its way, and nobody knows yet whether the money comes.
    """

    invoice: Invoice
    decline: Decline | None = None
    failed_card: Card | None = None
    fresh_card: Card | None = None
    latest_charge: str = ""
    attempts: int = 0
    processing: bool = False
    intents: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Person:
    """Somebody a message may go to. `id` is empty for the billing contact that the account itself names."""

    id: str = ""
    name: str = ""
    email: str = ""
    locale: str = ""
    timezone: str = ""


@dataclass(frozen=True)
class Picture:
    """What a look found.

    `over` names the ending if the reason is gone; `readings` go back to the playbook, `fields` into messages;
    `mark` is how much news of an ending there was before we looked, so that anything more calls for another look.
    """

    over: str = ""
    readings: dict[str, Reading] = field(default_factory=dict)
    fields: dict[str, str | int] = field(default_factory=dict)
    owed: dict[str, Owed] = field(default_factory=dict)
    people: dict[str, Person] = field(default_factory=dict)
    fates: dict[str, str] = field(default_factory=dict)
    subscriptions: tuple[str, ...] = ()
    mark: int = 0

    def person(self, role: str) -> Person | None:
        """Who has this role at the account, else the billing contact."""
        return self.people.get(role) or self.people.get("billing")
