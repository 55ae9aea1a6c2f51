"""How each kind of effect gets out of doubt: who is asked, after how long, and how it can end. The look-up itself."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Literal, get_args

from pydantic import TypeAdapter, ValidationError

from activities.systems import Answer, Outside, Watch
from models.cases import Batch, Effect
from models.database import Database
from models.picture import Picture
from models.tables import Access, CaseRow, EffectRow

End = Literal["done", "not_done", "a_person_decides"]
UNDER_WAY: Final = timedelta(minutes=10)
"""Longer than any try at a batch may take (two minutes), so that a claim this old belongs to nobody any more."""
KINDS: Final[frozenset[str]] = frozenset(each.model_fields["kind"].default for each in get_args(get_args(Effect)[0]))
"""Every kind of effect there is."""
_EFFECT: Final[TypeAdapter[Effect]] = TypeAdapter(Effect)


@dataclass(frozen=True)
class Doubt:
    """One row of the table.

    `asks`: the look-up, in words. `ends`: how it can end; none where it cannot be in doubt. `waits`: how old a claim
    is before it is asked for; `again`: when one still in doubt is asked for again; `person`: how long after the claim a
    person is asked, None: never. `title` and `known` are what that person's task says. `watch` is the source of truth
    that has to be read for the look-up. `repeats`: doing it again is doing it once, so that what an ended run left
    half done is finished.
    """

    asks: str
    ends: tuple[End, ...]
    waits: timedelta = UNDER_WAY
    again: timedelta = UNDER_WAY
    person: timedelta | None = None
    title: str = ""
    known: str = ""
    watch: str = ""
    repeats: bool = False


OURS: Final = Doubt("nobody: a row of ours, written in the transaction that claims it", ends=())
DOUBTS: Final[dict[str, Doubt]] = {
    "charge": Doubt(
        "Stripe: the invoice is paid, or its newest charge is another than before, or a payment is processing",
        ends=("done", "not_done", "a_person_decides"),
        again=timedelta(hours=6),
        person=timedelta(days=21),
        title="A payment is still on its way after three weeks",
        known="Stripe took the payment, and the bank has answered neither yes nor no. Stripe goes on being asked; the "
        "customer is not written to meanwhile. See the invoice at Stripe.",
        watch="invoices",
    ),
    "hold_retries": Doubt("Stripe: the invoice's auto_advance is off", ends=("done", "not_done"), watch="invoices"),
    "cancel_subscription": Doubt(
        "Stripe: no subscription behind the case's invoices is left", ends=("done", "not_done"), watch="invoices"
    ),
    "apply_offer": Doubt(
        "Stripe: the subscription carries the offer's key in its metadata, or its coupon", ends=("done", "not_done")
    ),
    "access": Doubt(
        "our own row: if this effect wrote the level, the product is told once more under the same webhook id",
        ends=("done", "not_done"),
        repeats=True,
    ),
    "email": Doubt(
        "SendGrid: its events as they come in, and its activity by the custom argument `effect`, where that was bought",
        ends=("done", "a_person_decides"),
        again=timedelta(minutes=20),
        person=timedelta(hours=1),
        title="A mail may not have arrived",
        known="The connection to SendGrid was lost while this mail was handed over, so SendGrid may have sent it or "
        "not. It is not sent again by itself. Look in SendGrid's activity for the address and the time, or ask the "
        "customer; then answer done or not_done.",
    ),
    "banner": OURS,
    "task": OURS,
    "risk": OURS,
    "tell": OURS,
    "offer": OURS,
    "deal": OURS,
}


class Unreadable(ValueError):
    """A ledger row that is no effect of today's code any more."""


@dataclass
class LookUps:
    """Asks the outside systems what became of a ledger row, without the run that wrote it."""

    database: Database
    watches: dict[str, Watch] = field(default_factory=dict)
    outside: dict[str, Outside] = field(default_factory=dict)

    @classmethod
    def over(cls, database: Database, watches: Iterable[Watch], outside: Iterable[Outside]) -> "LookUps":
        """Over these systems, each under the kinds it serves."""
        return cls(
            database,
            {watch.name: watch for watch in watches},
            {kind: system for system in outside for kind in system.kinds},
        )

    async def fate(self, row: EffectRow, *, abandoned: bool) -> Answer | None:
        """What became of it; None: certainly not done. `abandoned`: no run is left that could do it again.

        Raises:
            Unreadable: the row is no effect of today's code.
            Exception: whatever the system's client raises while the system is away; ask again later.
        """
        doubt, system = DOUBTS.get(row.kind), self.outside.get(row.kind)
        if doubt is None or system is None:
            return Answer("in_doubt", f"nothing here can be asked about {row.kind}")
        effect = effect_of(row)
        async with self.database.reading() as session:
            case = await session.get(CaseRow, row.case_id)
            access = await session.get(Access, row.account_id)
        batch = _batch_of(row, case)
        picture = await self.watches[doubt.watch].look(batch) if doubt.watch else Picture()
        answer = await system.look_up(effect, batch, picture, row.detail)
        if answer is None and abandoned and doubt.repeats and access and access.key == row.key:
            return await system.perform(effect, batch, picture)
        return answer


def effect_of(row: EffectRow) -> Effect:
    """The effect a ledger row was written for.

    Raises:
        Unreadable: it is none of today's code.
    """
    try:
        return _EFFECT.validate_python({**row.what, "kind": row.kind, "key": row.key, "title": row.title})
    except ValidationError as error:
        raise Unreadable(f"{row.key}: {error.errors()[0]['msg']}") from None


def _batch_of(row: EffectRow, case: CaseRow | None) -> Batch:
    return Batch(
        case=row.case_id,
        account=row.account_id,
        subject=case.subject if case else "",
        playbook=row.playbook,
        step=row.step,
        title=row.title,
        since=case.opened_at if case else row.at,
        now=row.at,
    )
