"""The invariants, checked on a live database, against Stripe and Temporal where they can be reached."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from sqlmodel import and_, col, func, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from activities.billing import Billing
from models.consent_rows import Suppression
from models.database import Database
from models.declines import rules_for
from models.facts import INVOICE_PAID
from models.tables import Access, Attempt, CaseRow, CaseSubject, EffectRow, InboxEvent, Message, wall
from workflows import PLAYBOOKS
from workflows.steps import name_of

STALE: Final = timedelta(minutes=10)
"""How long an event may wait, or an effect stay claimed, before it counts as stuck."""
ON_ITS_WAY: Final = timedelta(seconds=1)
"""An event is dated as it arrives, and can be known from its commit on: so much later, when much comes at once."""


SIDE_BY_SIDE: Final = timedelta(seconds=10)
"""A claim and the word of a bounce may be written at the same time, each without seeing the other."""


@dataclass
class Report:
    """What the audit found: each violation names the rule and the row; counts say how much was looked at."""

    violations: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def broken(self, rule: str, what: str) -> None:
        """Note a violation."""
        self.violations.append(f"{rule}: {what}")


LIMITED_ENDS: Final = ("suspended", "still_unpaid", "skipped_to_the_end", "run_lost")
"""Outcomes after which an account may stay restricted."""

ABOUT_INVOICES: Final = [name_of(playbook) for playbook in PLAYBOOKS if playbook.watches == "invoices"]
"""Playbooks whose subjects are Stripe's invoices; those of others are accounts, contracts, cards, offers."""

Check = Callable[[AsyncSession, Report], Awaitable[None]]


async def one_success_an_invoice(session: AsyncSession, report: Report) -> None:
    """At most one successful charge an invoice."""
    statement = select(Attempt.invoice, func.count()).where(col(Attempt.succeeded)).group_by(col(Attempt.invoice))
    for invoice, count in (await session.exec(statement)).all():
        report.counts["charged"] += 1
        if count > 1:
            report.broken("charged twice", f"{invoice} has {count} successful charges")


async def nothing_after_the_money(
    session: AsyncSession, report: Report, durable: Mapping[str, datetime], on_its_way: timedelta
) -> None:
    """No charge, message or restriction begun after we knew that everything was paid; what is owed at the end is.

    `durable` has the moments of commits by event id, where they are known; an event that is not in it counts from its
    arrival, and what was begun within `on_its_way` of that is counted, no more.
    """
    paid: dict[str, datetime] = {}
    for event in (await session.exec(select(InboxEvent).where(InboxEvent.kind == INVOICE_PAID))).all():
        moment = durable.get(event.event_id, event.wall_received_at)
        paid[event.subject] = min(paid.get(event.subject, moment), moment)
    subjects: dict[str, list[str]] = {}
    for row in (await session.exec(select(CaseSubject))).all():
        subjects.setdefault(row.case_id, []).append(row.subject)
    for effect in (await session.exec(select(EffectRow).where(EffectRow.state != "dropped"))).all():
        mine = subjects.get(effect.case_id, [])
        if _is_owed(effect) or not mine:
            continue
        if all(subject in paid for subject in mine):
            late = effect.wall_claimed_at - max(paid[each] for each in mine)
            if timedelta() < late <= on_its_way:
                report.counts["begun_as_the_money_was_told"] += 1
            elif late > timedelta():
                report.broken("after the money", f"{effect.key}, by {late.total_seconds():.3f} s")


def _is_owed(effect: EffectRow) -> bool:
    """Whether it is part of how its case ends: thanks, access given back."""
    return effect.step.startswith("ending:") or "/ending:" in effect.key


async def nothing_after_the_end(session: AsyncSession, report: Report) -> None:
    """No effect of a later business time than its case's end; what is owed at the end may have been on hold."""
    statement = select(EffectRow, CaseRow).where(
        EffectRow.case_id == CaseRow.id, EffectRow.state != "dropped", col(CaseRow.ended)
    )
    for effect, case in (await session.exec(statement)).all():
        report.counts["effects"] += 1
        if case.ended_at and effect.at > case.ended_at and not _is_owed(effect):
            report.broken("after the end", effect.key)


async def mails_match_the_ledger(session: AsyncSession, report: Report) -> None:
    """Each mail sent has one ledger row, and each done mail in the ledger was kept."""
    kept = set((await session.exec(select(Message.key).where(Message.channel == "email"))).all())
    statement = select(EffectRow.key, EffectRow.state).where(EffectRow.kind == "email")
    states = dict((await session.exec(statement)).all())
    for key in kept - states.keys():
        report.broken("mail without ledger", key)
    for key, state in states.items():
        if state == "done" and key not in kept:
            report.broken("ledger without mail", key)
        if state == "dropped" and key in kept:
            report.broken("dropped but sent", key)


async def every_event_ends(session: AsyncSession, report: Report) -> None:
    """Every accepted event reaches an end."""
    for event in (await session.exec(select(InboxEvent).where(InboxEvent.state != "ignored"))).all():
        report.counts["events"] += 1
        if event.state == "dead":
            report.broken("dead event", f"{event.event_id} ({event.type}): {event.reason}")
        elif event.state == "pending" and wall() - event.wall_received_at > STALE:
            report.broken("stuck event", f"{event.event_id} ({event.type}): {event.reason or 'the relay does not run'}")


async def restrictions_are_lifted(session: AsyncSession, report: Report) -> None:
    """Nobody stays restricted who owes nothing any more, and with whom nothing is under way."""
    owing = select(CaseSubject.case_id).where(CaseSubject.fate == "")
    limits = or_(
        col(CaseRow.ended).is_(False), and_(col(CaseRow.outcome).in_(LIMITED_ENDS), col(CaseRow.id).in_(owing))
    )
    statement = select(Access).where(col(Access.level) != "full")
    for access in (await session.exec(statement)).all():
        # By invoices alone: other runs of the account (win-back, renewal) neither take access nor give it back.
        cases = select(CaseRow).where(
            CaseRow.account_id == access.account_id, col(CaseRow.playbook).in_(ABOUT_INVOICES)
        )
        last = (await session.exec(cases.order_by(col(CaseRow.opened_at).desc()))).first()
        if last and (await session.exec(cases.where(limits))).first() is None:
            report.broken(
                "still restricted", f"{access.account_id} is {access.level}, but {last.id} ended {last.outcome}"
            )


async def network_caps_hold(session: AsyncSession, report: Report) -> None:
    """No card was tried more often than its network allows."""
    tries: dict[tuple[str, str, int], list[Any]] = {}
    for attempt in (await session.exec(select(Attempt).where(col(Attempt.succeeded).is_(False)))).all():
        if attempt.card:
            tries.setdefault((attempt.card, attempt.network, attempt.amount), []).append(attempt.at)
    for (card, network, _), times in tries.items():
        times.sort()
        for rule in rules_for(network, times[-1].date()):
            for start in times:
                if sum(1 for at in times if start <= at < start + rule.window) > rule.limit:
                    report.broken("network cap", f"card {card}: more than {rule.limit} in {rule.window.days} days")
                    break


async def nothing_hangs(session: AsyncSession, report: Report) -> None:
    """Effects that were claimed long ago and never settled, and those in doubt."""
    for effect in (await session.exec(select(EffectRow))).all():
        if effect.state == "in_doubt":
            report.counts["in_doubt"] += 1
        if effect.state == "claimed" and wall() - effect.wall_claimed_at > STALE:
            report.broken("stuck effect", f"{effect.key}: begun at {effect.wall_claimed_at:%Y-%m-%d %H:%M} UTC")


async def nothing_to_addresses_that_bounced(session: AsyncSession, report: Report) -> None:
    """No mail was claimed for an address after we learned that it takes none (T4.3)."""
    statement = select(EffectRow, Suppression).where(
        EffectRow.reader == Suppression.reader,
        EffectRow.kind == "email",
        col(EffectRow.state).in_(("claimed", "done", "in_doubt")),
        Suppression.why == "bounced",
        col(Suppression.wall_lifted_at).is_(None),
    )
    for effect, row in (await session.exec(statement)).all():
        if effect.wall_claimed_at - row.wall_noted_at > SIDE_BY_SIDE:
            report.broken(
                "mailed to an address that bounced", f"{effect.key}, known since {row.wall_noted_at:%d %b %Y}"
            )


CHECKS: Final[tuple[Check, ...]] = (
    one_success_an_invoice,
    nothing_after_the_end,
    mails_match_the_ledger,
    every_event_ends,
    restrictions_are_lifted,
    network_caps_hold,
    nothing_hangs,
    nothing_to_addresses_that_bounced,
)


async def audit(
    database: Database,
    *,
    client: Client | None = None,
    billing: Billing | None = None,
    durable: Mapping[str, datetime] | None = None,
    on_its_way: timedelta = timedelta(),
) -> Report:
    """Check everything; with a client also that cases and runs agree, with billing also the invoices at Stripe.

    For `durable` and `on_its_way` see `nothing_after_the_money`.
    """
    report = Report()
    async with database.reading() as session:
        await nothing_after_the_money(session, report, durable or {}, on_its_way)
        for check in CHECKS:
            await check(session, report)
        cases = list((await session.exec(select(CaseRow))).all())
        subjects = list((await session.exec(select(CaseSubject))).all())
        charged = {row.invoice for row in (await session.exec(select(Attempt).where(col(Attempt.succeeded)))).all()}
    report.counts["cases"] = len(cases)
    if client:
        for case in cases:
            await _run_agrees(client, case, report)
    if billing:
        open_cases = {case.id for case in cases if not case.ended}
        about_invoices = {case.id for case in cases if case.playbook in ABOUT_INVOICES}
        for subject in (each for each in subjects if each.case_id in about_invoices):
            await _invoice_agrees(billing, subject, subject.case_id in open_cases, subject.subject in charged, report)
    return report


async def _run_agrees(client: Client, case: CaseRow, report: Report) -> None:
    """An open case has a running run; an ended one has none."""
    try:
        run = await client.get_workflow_handle(case.id).describe()
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise
        if not case.ended:
            report.broken("case without run", case.id)
        return
    running = run.status == WorkflowExecutionStatus.RUNNING
    if running and case.ended:
        report.broken("run outlives its case", case.id)
    if not running and not case.ended:
        report.broken("case outlives its run", f"{case.id}: the run is {run.status.name if run.status else 'gone'}")


async def _invoice_agrees(billing: Billing, subject: CaseSubject, is_open: bool, charged: bool, report: Report) -> None:
    """What we charged is paid at Stripe, and what is paid there is not dunned here."""
    status = await billing.status_of(subject.subject)
    report.counts["invoices"] += 1
    if charged and status != "paid":
        report.broken("charged but not paid", f"{subject.subject} is {status} at Stripe")
    if is_open and status in ("paid", "void", "uncollectible") and not subject.fate:
        report.counts["settled_at_stripe_not_yet_seen"] += 1
