"""What a world came to, in words without its ids, so that two worlds can be compared line by line."""

import re
from collections import Counter
from datetime import datetime, timedelta
from typing import Any, Final

from models.customers import DealRow, OfferRow
from models.tables import (
    Access,
    Account,
    CaseNote,
    CaseRow,
    CaseSubject,
    EffectRow,
    InboxEvent,
    Message,
    RiskSignal,
    TaskRow,
)
from tests.crash.stage import Stage
from tests.town import DAY
from workers.audit import audit

Lines = dict[str, Counter[str]]
DATE: Final = re.compile(r"\d{4}-\d\d-\d\d")
REACTION: Final = re.compile(r"-\d+/")
"""The number in a step that answers news: how much was answered before, which two at once may settle either way."""
ANSWER: Final = "-answer-"
"""The step in which an answer, or that none came, is taken in."""
NAMED: Final = ("customer", "subscription", "invoice", "payment_method", "charge", "coupon")


async def seen(place: Stage) -> Lines:
    """Everything a customer, a colleague, Stripe or the product can tell afterwards."""
    name = _Names(place, await place.rows(Account))
    cases = {row.id: row for row in await place.rows(CaseRow)}
    starts = {case: await place.started_at(case) for case in cases}
    mails = Counter(name(mail["custom_args"]["effect"]) for mail in await place.simulator.mailbox())
    calls = {(name(call["headers"]["webhook-id"]), call["body"]["data"]["level"]) for call in await _product(place)}
    world = place.simulator.world
    lines: dict[str, list[str]] = {
        "cases": [f"{name(row.id)} {row.ended} {row.outcome} {row.reason} {row.stage}" for row in cases.values()],
        "subjects": [
            f"{name(row.case_id)} {name(row.subject)} {row.fate != ''}" for row in await place.rows(CaseSubject)
        ],
        "effects": [
            f"{name(row.key)} {row.kind} {row.state} {row.rule} {_day(row, starts[row.case_id])}"
            for row in await place.rows(EffectRow)
            if row.state != "dropped"  # nobody saw it; whether it came to that depends on which news came first
        ],
        "charges": [f"{name(each['invoice'])} {each['outcome']}" for each in await place.simulator.ledger()],
        "money": [f"{name(invoice)} {cents}" for invoice, cents in (await place.simulator.received()).items()],
        "tasks": [f"{name(row.key)} {row.owner} {row.outcome}" for row in await place.rows(TaskRow)],
        "access": [f"{name(row.key)} {row.level}" for row in await place.rows(Access)],
        "product": [f"{key} {level}" for key, level in calls],
        "banners": [
            f"{name(row.key)} {row.template} {row.taken_down_at is None}"
            for row in await place.rows(Message)
            if row.channel != "email"
        ],
        "risks": [f"{name(row.key)} {row.signal} {row.cleared_at is None}" for row in await place.rows(RiskSignal)],
        "offers": [f"{name(row.key)} {row.state} {bool(row.provider_id)}" for row in await place.rows(OfferRow)],
        "deals": [f"{name(row.case_id)} {row.stage}" for row in await place.rows(DealRow)],
        "notes": [f"{name(row.case_id)} {name(row.text)}" for row in await place.rows(CaseNote)],
        "inbox": [f"{row.source} {row.type} {name(row.subject)} {row.state}" for row in await place.rows(InboxEvent)],
        "subscriptions": [
            f"{name(each['id'])} {each['status']} {each.get('pause_collection') is None} "
            f"{len(each.get('discounts') or [])}"
            for each in world.kinds.get("subscription", {}).values()
        ],
        "invoices": [
            f"{name(each['id'])} {each['status']} {each['auto_advance']}"
            for each in world.kinds.get("invoice", {}).values()
        ],
    }
    return {**{kind: Counter(what) for kind, what in lines.items()}, "mails": mails}


def _day(row: EffectRow, start: datetime) -> str:
    # When two timers are due within milliseconds the server's time skipping may pass over the second one, days late.
    # Deadlines of tasks are such timers where sessions are as far apart as a deadline is long.
    if ANSWER in row.key:
        return ""
    # What counts back from a date is due at midnight, however late on its day the run began.
    midnight = row.at.replace(hour=0, minute=0, second=0, microsecond=0)
    if row.at - midnight < timedelta(minutes=3):
        return f"midnight {(row.at.date() - start.date()).days}"
    return f"day {(row.at - start) / DAY:.2f}"


async def _product(place: Stage) -> list[Any]:
    return await place.simulator.product_calls()


class _Names:
    """Says `invoice2` where a world says an id of its own."""

    def __init__(self, place: Stage, accounts: list[Account]) -> None:
        kinds = place.simulator.world.kinds
        self._known = {
            identifier: f"{kind}{number}"
            for kind in NAMED
            for number, identifier in enumerate(list(kinds.get(kind, {})), start=1)
        }
        others = sorted(row.id for row in accounts if row.id not in self._known)
        self._known |= {identifier: f"account{number}" for number, identifier in enumerate(others, start=1)}
        longest_first = sorted(self._known, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")

    def __call__(self, text: str) -> str:
        named = self._pattern.sub(lambda found: self._known[found.group()], text)
        return REACTION.sub("/", DATE.sub("DATE", named))


async def differences(place: Stage, clean: Lines, now: Lines) -> tuple[list[str], int]:
    """What is other than in the world without crashes, and what the audit finds; and how many mails are in doubt.

    SendGrid has no key and no look-up. So a mail whose worker died between the claim and the record is `in_doubt`,
    and is not sent again: it is in the mailbox once, or not at all where the worker died just before it was sent.
    """
    report = await audit(place.database, client=place.client, billing=place.billing)
    wrong = [f"audit: {each}" for each in report.violations]
    doubtful = {row.key for row in await place.rows(EffectRow, state="in_doubt", kind="email")}
    names = _Names(place, await place.rows(Account))
    unsent = {names(key) for key in doubtful if f"mail {key}" in place.faults.died}
    now = {kind: Counter(lines) for kind, lines in now.items()}
    for key in map(names, doubtful):
        (line,) = [line for line in now["effects"] if line.startswith(f"{key} email in_doubt ")]
        now["effects"][line] -= 1
        now["effects"][line.replace(" in_doubt ", " done ")] += 1
        if key in unsent and not now["mails"][key]:
            now["mails"][key] = 1
    if len(doubtful) > len(place.faults.fired):
        wrong.append(f"{len(doubtful)} mails in doubt after {len(place.faults.fired)} crashes")
    for kind, lines in clean.items():
        wrong += [f"{kind}: lacks {line}" for line in lines - now[kind]]
        wrong += [f"{kind}: has {line}" for line in now[kind] - lines]
    return wrong, len(doubtful)
