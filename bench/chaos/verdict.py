"""The reckoning: our tables against what the simulator knows to be true."""

import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from sqlmodel import select

from bench.chaos import witness
from bench.chaos.play import without_a_wait
from bench.chaos.stage import Stage
from bench.chaos.storm import Fault
from models.facts import INVOICE_PAID
from models.stripe_events import READERS
from models.tables import CaseRow, CaseSubject, EffectRow, InboxEvent
from workers.audit import audit

SHOWN: Final = 40
ON_ITS_WAY: Final = timedelta(seconds=6)
"""A mail may leave so long after it was claimed (activities.systems.FRESH_S, and the way itself)."""
OVER: Final = ("paid", "void", "uncollectible")
ENDS: Final = ("applied", "ignored")


@dataclass
class Verdict:
    """What was found; each complaint names the row."""

    cases: int = 0
    effects: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    after_paid: list[str] = field(default_factory=list)
    in_doubt: list[str] = field(default_factory=list)
    audit: list[str] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    slowest_settle_s: float = 0.0
    slowest_after: str = ""

    @property
    def figures(self) -> dict[str, Any]:
        """How much was looked at, and how much of it does not hold."""
        return {
            "cases": self.cases,
            "effects": self.effects,
            "lost": len(self.lost),
            "doubled": len(self.doubled),
            "after_paid": len(self.after_paid),
            "in_doubt": len(self.in_doubt),
            "audit": len(self.audit),
            "outcomes": dict(self.outcomes.most_common()),
        }

    @property
    def complaints(self) -> list[str]:
        """Everything that does not hold."""
        kinds = {"lost": self.lost, "doubled": self.doubled, "after paid": self.after_paid, "in doubt": self.in_doubt}
        return [f"{kind}: {what}" for kind, all_of_it in {**kinds, "audit": self.audit}.items() for what in all_of_it]


@dataclass
class _Tables:
    cases: Sequence[CaseRow]
    subjects: Sequence[CaseSubject]
    events: Sequence[InboxEvent]
    effects: Sequence[EffectRow]

    def subjects_of(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for row in self.subjects:
            found.setdefault(row.case_id, []).append(row.subject)
        return found


async def reckon(stage: Stage, faults: Sequence[Fault]) -> Verdict:
    """Compare everything with everything."""
    async with stage.database.reading() as session:
        tables = _Tables(
            (await session.exec(select(CaseRow))).all(),
            (await session.exec(select(CaseSubject))).all(),
            (await session.exec(select(InboxEvent))).all(),
            (await session.exec(select(EffectRow))).all(),
        )
    truth = await stage.simulator.call("GET", "truth")
    attempts = await stage.simulator.ledger()
    mails = await stage.simulator.mailbox()
    durable = await witness.durable_since(stage.database)
    found = Verdict(len(tables.cases), sum(row.state == "done" for row in tables.effects))
    found.outcomes.update(case.outcome or "open" for case in tables.cases)
    found.lost += _events_lost(tables, truth["events"], stage.sender.accepted)
    found.lost += _money_lost(tables, {row["id"]: row["status"] for row in truth["invoices"]}, attempts)
    found.lost += await without_a_wait(stage)
    found.doubled += _doubled(attempts, mails)
    found.after_paid += _after_paid(tables, durable, mails, faults)
    found.in_doubt += [
        f"{row.key} is {row.state}: {row.reason}" for row in tables.effects if row.state in ("in_doubt", "claimed")
    ]
    found.audit += (await audit(stage.database, client=stage.client, durable=durable)).violations
    found.slowest_settle_s, found.slowest_after = _slowest(tables, faults)
    return found


def _events_lost(tables: _Tables, said: dict[str, str], told: Sequence[str]) -> Iterable[str]:
    state = {event.event_id: event.state for event in tables.events}
    for event, kind in said.items():
        if kind in READERS and state.get(event) not in ENDS:
            yield f"{event} ({kind}) is {state.get(event, 'not in the inbox')}"
    for event in told:
        if state.get(event) not in ENDS:
            yield f"{event}, which we answered 200, is {state.get(event, 'not in the inbox')}"
    for event_id, how in state.items():
        if event_id not in said and event_id not in told and how not in ENDS:
            yield f"{event_id} is {how}"


def _money_lost(tables: _Tables, status: dict[str, str], attempts: list[dict[str, Any]]) -> Iterable[str]:
    joined = {row.subject for row in tables.subjects}
    for invoice in {each["invoice"] for each in attempts if each["outcome"] != "ok"} - joined:
        yield f"{invoice} was refused, and belongs to no case"
    of_case = tables.subjects_of()
    for case in tables.cases:
        invoices = [each for each in of_case.get(case.id, []) if each in status]
        if not case.ended and invoices and all(status[each] in OVER for each in invoices):
            yield f"{case.id} is open, but {', '.join(invoices)} is settled at Stripe"


def _doubled(attempts: list[dict[str, Any]], mails: list[dict[str, Any]]) -> Iterable[str]:
    taken: dict[str, list[dict[str, Any]]] = {}
    for each in attempts:
        if each["outcome"] == "ok":
            taken.setdefault(each["invoice"], []).append(each)
    for invoice, successes in taken.items():
        # A customer may pay in parts; a second charge of ours, or a second whole payment, is one too many.
        whole = [each for each in successes if each["by"] != "customer"]
        if len(successes) > 1 and whole:
            yield f"{invoice} was charged {len(successes)} times"
    for effect, count in Counter(mail["custom_args"]["effect"] for mail in mails).items():
        if count > 1:
            yield f"{effect} was mailed {count} times"


def _after_paid(
    tables: _Tables, durable: dict[str, datetime], mails: list[dict[str, Any]], faults: Sequence[Fault]
) -> Iterable[str]:
    """Mails and restrictions after we knew of the money; by real time, which all clocks here share."""
    known: dict[str, datetime] = {}
    for event in tables.events:
        if event.kind == INVOICE_PAID:
            moment = durable[event.event_id]
            known[event.subject] = min(known.get(event.subject, moment), moment)
    paid = {
        case: max(known[each] for each in subjects)
        for case, subjects in tables.subjects_of().items()
        if subjects and all(each in known for each in subjects)
    }
    sent = {mail["custom_args"]["effect"]: datetime.fromtimestamp(mail["wall"], UTC) for mail in mails}
    for row in tables.effects:
        since = paid.get(row.case_id)
        if since is None or row.state == "dropped" or "/ending:" in row.key or row.step.startswith("ending:"):
            continue
        left = sent.get(row.key)
        if row.wall_claimed_at > since:
            yield f"{row.key} was begun after the money"
        elif left and left > since and left - row.wall_claimed_at > ON_ITS_WAY and not _held_up(left, faults):
            yield f"{row.key} was mailed {left - since} after the money"


def _held_up(moment: datetime, faults: Sequence[Fault]) -> bool:
    """Whether the mail stood before the door: SendGrid did not answer, or the wire carried nothing."""
    doors = ("stop simulator", "kill simulator", "stall outside", "cut outside")
    return any(fault.kind in doors and fault.began <= moment <= fault.ended + timedelta(seconds=2) for fault in faults)


def _slowest(tables: _Tables, faults: Sequence[Fault]) -> tuple[float, str]:
    """From a fault's end until the last row that it held up was settled."""
    spans = [(row.wall_received_at, row.wall_settled_at) for row in tables.events if row.wall_settled_at]
    spans += [(row.wall_claimed_at, row.wall_settled_at) for row in tables.effects if row.wall_settled_at]
    slowest = (0.0, "")
    for fault in faults:
        held = [settled for began, settled in spans if began <= fault.ended < settled]
        if held:
            slowest = max(slowest, (round((max(held) - fault.ended).total_seconds(), 1), fault.kind))
    return slowest


def show(problems: Sequence[str], folder: Path) -> None:
    """Say the first problems on stderr and keep the logs; without any, the logs are worth nothing."""
    for line in problems[:SHOWN]:
        sys.stderr.write(f"  {line}\n")
    if problems:
        sys.stderr.write(f"Logs are kept in {folder}\n")
    else:
        shutil.rmtree(folder, ignore_errors=True)
