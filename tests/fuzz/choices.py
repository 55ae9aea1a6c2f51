"""From a fuzzer's bytes to structure: each byte is a choice, so that a small change of the input is a small change."""

import copy
import hashlib
import json
from typing import Any, Final

from tests.web.events import event, invoice, older_invoice

Json = dict[str, Any]


class Choices:
    """Reads bytes as decisions; when they are used up, every further decision is the first one."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def digest(self) -> str:
        """A name for the whole input: the same input, the same name."""
        return hashlib.sha256(self._data).hexdigest()[:32]

    def below(self, count: int) -> int:
        """A whole number from 0 to count - 1; `count` up to 65,536."""
        width = 1 if count <= 256 else 2
        return int.from_bytes(self.some(width), "big") % count

    def one_of(self, things: Any) -> Any:
        """One of a sequence."""
        return things[self.below(len(things))]

    def some(self, count: int) -> bytes:
        """The next bytes, fewer at the end."""
        taken = self._data[self._at : self._at + count]
        self._at += count
        return taken

    def rest(self) -> bytes:
        """All that is left."""
        return self.some(len(self._data))

    def text(self) -> str:
        """A short text of any characters that UTF-8 can hold."""
        return self.some(self.below(24)).decode("utf-8", "replace")


CUSTOMER: Final[Json] = {"id": "cus_1", "object": "customer", "email": "a@b.c", "invoice_settings": {}}
SUBSCRIPTION: Final[Json] = {"id": "sub_1", "object": "subscription", "customer": "cus_1", "status": "canceled"}
CARD: Final[Json] = {"id": "pm_1", "object": "payment_method", "customer": "cus_1", "type": "card"}
CHARGE: Final[Json] = {"id": "ch_1", "object": "charge", "customer": "cus_1", "refunded": True}
DISPUTE: Final[Json] = {"id": "dp_1", "object": "dispute", "charge": "ch_1"}
BEFORE: Final[Json] = {"default_payment_method": "pm_0", "invoice_settings": {"default_payment_method": None}}
OBJECTS: Final[dict[str, list[Json]]] = {
    "invoice.": [invoice(), older_invoice(), invoice(parent=None), invoice(customer=CUSTOMER)],
    "customer.subscription.": [SUBSCRIPTION],
    "customer.updated": [CUSTOMER],
    "payment_method.": [CARD],
    "charge.refunded": [CHARGE],
    "charge.dispute.": [DISPUTE],
}
"""Valid objects for the kinds of events that begin so."""
NASTY: Final[list[Any]] = [
    None, True, False, 0, 1, -1, 2**31, 2**33, 2**63 - 1, 2**63, -(2**63), 2**64, 0.5, -0.0, 1e300, 1e-300,
    "", " ", "x", "\0", "\n", "\ud7ff", "\ufeff", "\u202e", "ä" * 255, "x" * 255, "x" * 256, "x" * 5_000,
    "invoice", "event", "payment-failure/", "'; DROP TABLE inbox; --", "{{7*7}}", "../../etc/passwd", "=cmd()",
    [], {}, [[]], [None], {"id": None}, {"id": {"id": "x"}}, {"": ""}, {"id": "cus_1"}, [{"id": "cus_1"}],
]  # fmt: skip


def valid_event(kind: str, choices: Choices) -> Json:
    """An event of this kind as Stripe would send it."""
    objects = next((made for prefix, made in OBJECTS.items() if kind.startswith(prefix)), [CUSTOMER])
    data: Json = {"object": choices.one_of(objects)}
    if choices.below(2):
        data["previous_attributes"] = BEFORE
    return copy.deepcopy(event(kind, data=data))


def mutated(value: Json, choices: Choices, *, most: int = 6) -> Json:
    """The same with up to `most` fields anywhere in it replaced, dropped, added, moved or nested deeper."""
    for _ in range(choices.below(most + 1)):
        places = list(_places(value))
        holder, key = choices.one_of(places)
        action = choices.below(8)
        if action <= 3:
            holder[key] = copy.deepcopy(choices.one_of(NASTY))
        elif action == 4:
            holder[key] = choices.text()
        elif action == 5:
            if isinstance(holder, dict):
                holder.pop(key)
        elif action == 6:
            other_holder, other_key = choices.one_of(places)
            # Not through itself: what is moved into its own inside would never end.
            holder[key] = json.loads(
                json.dumps(other_holder.get(other_key) if isinstance(other_holder, dict) else None)
            )
        elif isinstance(holder, dict):
            holder[choices.text()] = copy.deepcopy(choices.one_of(NASTY))
    return value


def _places(value: Any) -> Any:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items):
        yield value, key
        yield from _places(inner)


def encoded(value: Any) -> bytes:
    """JSON bytes, lone surrogates and all."""
    return json.dumps(value, ensure_ascii=True).encode()
