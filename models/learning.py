"""What our own tables take from facts (ledger T1): once each, in the relay's transaction, newest provider time wins."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import date
from typing import Any, Final

import orjson
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from models import consent, counting, doubts, facts, found, ledger, loading, mail_events, parking
from models.columns import AccountColumns, BadRow, ContactColumns, read_row
from models.counting import USAGE
from models.customers import ChecklistItem, Contact, Contract, OfferRow
from models.health import alerts
from models.health.metrics import BadMetric
from models.health.recording import record_metrics
from models.health.rescoring import rescore
from models.tables import OURSELVES, SENDGRID, Account, InboxEvent
from models.topics import TOPICS

HANDOFF: Final = ("goals", "stakeholders", "promised", "terms", "technical_contact")
"""What sales hands over before a guided or white-glove onboarding (P7.3)."""
Lesson = Callable[[AsyncSession, InboxEvent, Mapping[str, Any]], Awaitable[None]]


class BadFact(ValueError):
    """The fact does not say what it must; the message names the field and what it may hold."""


async def learn(session: AsyncSession, event: InboxEvent, lead: str = "") -> None:
    """Take in what an event says, once, however often it is delivered. `lead` gets tasks of accounts without a CSM.

    Raises:
        BadFact: a field that this kind of fact needs is missing or of the wrong shape.
    """
    lesson = LESSONS.get(event.kind)
    told_by_mail = event.kind in mail_events.LEARNED and event.source == SENDGRID
    if event.learned or not (lesson or told_by_mail):
        return
    if lesson:
        await lesson(session, event, _said(event))
    else:
        await mail_events.learn(session, event, _said(event), lead)
    event.learned = True
    session.add(event)


def _said(event: InboxEvent) -> Mapping[str, Any]:
    try:
        body = orjson.loads(event.body)
    except orjson.JSONDecodeError:
        return {}
    data = body.get("data") if isinstance(body, dict) else None
    return data if isinstance(data, dict) else {}


async def _churned(session: AsyncSession, event: InboxEvent, said: Mapping[str, Any]) -> None:
    account = await session.get(Account, event.account_id)
    if account and account.churned_at is None:
        account.churned_at, account.churn_reason = event.occurred_at, event.value
        session.add(account)


async def _came_back(session: AsyncSession, event: InboxEvent, said: Mapping[str, Any]) -> None:
    account = await session.get(Account, event.account_id)
    if account and account.churned_at and event.occurred_at >= account.churned_at:
        account.churned_at, account.churn_reason = None, ""
        session.add(account)


async def _signed_up(session: AsyncSession, event: InboxEvent, said: Mapping[str, Any]) -> None:
    account = await session.get(Account, event.account_id)
    if account and account.signed_up_at is None:
        account.signed_up_at = event.occurred_at
        session.add(account)
    await _item(session, event, "signed_up")
    await _item(session, event, "created")


async def _handoff(session: AsyncSession, event: InboxEvent, said: Mapping[str, Any]) -> None:
    missing = [name for name in HANDOFF if not said.get(name)]
    if missing:
        raise BadFact(f"{event.kind}: the handoff record lacks {', '.join(missing)} (P7.3)")


async def _step_done(session: AsyncSession, event: InboxEvent, said: Mapping[str, Any]) -> None:
    item = event.value or str(said.get("step", ""))
    if not item:
        raise BadFact(f"{event.kind}: value must name the checklist item that was done, such as first_report")
    await _item(session, event, item)


async def _item(session: AsyncSession, event: InboxEvent, item: str) -> None:
    await ledger.insert_once(session, ChecklistItem(account_id=event.account_id, item=item, done_at=event.occurred_at))


async def _renewal_date(session: AsyncSession, event: InboxEvent, said: Mapping[str, Any]) -> None:
    contract = await _newer(session, event)
    if contract:
        contract.renews_on = _day(event, event.value)


async def _contract_sent(session: AsyncSession, event: InboxEvent, said: Mapping[str, Any]) -> None:
    contract = await _newer(session, event)
    if contract and contract.state == "active":
        contract.state = "sent"
        contract.sign_url = str(said.get("url", "")) or contract.sign_url


async def _contract_signed(session: AsyncSession, event: InboxEvent, said: Mapping[str, Any]) -> None:
    contract = await _newer(session, event)
    if contract:
        contract.state, contract.value = "signed", event.at_stake or contract.value
        if said.get("renews_on"):
            # The next term begins: its own run is due before its own date (P6.16).
            contract.state, contract.renews_on = "active", _day(event, str(said["renews_on"]))


async def _renewal_lost(session: AsyncSession, event: InboxEvent, said: Mapping[str, Any]) -> None:
    contract = await _newer(session, event)
    if contract:
        contract.state = "lost"


async def _renewal_lapsed(session: AsyncSession, event: InboxEvent, said: Mapping[str, Any]) -> None:
    """Nobody signed, or they said no: without another contract the account has left (P6.17)."""
    lapsed = event.subject.partition("/")[0]
    await _renewal_lost(session, event, said)
    statement = select(Contract.id).where(
        Contract.account_id == event.account_id, Contract.id != lapsed, col(Contract.state) != "lost"
    )
    if (await session.exec(statement)).first() is None:
        await _churned(session, event, said)


async def _newer(session: AsyncSession, event: InboxEvent) -> Contract | None:
    """The contract, if this event is not older than what it already says (T1.20)."""
    contract = await session.get(Contract, event.subject.partition("/")[0], with_for_update=True)
    if contract is None or (contract.told_at and event.occurred_at < contract.told_at):
        return None
    contract.told_at = event.occurred_at
    session.add(contract)
    return contract


def _day(event: InboxEvent, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise BadFact(f"{event.kind}: {text!r} is no date; expected one such as 2027-03-01") from None


async def _opted_out(session: AsyncSession, event: InboxEvent, said: Mapping[str, Any]) -> None:
    person: Contact | Account | None = await session.get(Contact, event.object_id) if event.object_id else None
    # Somebody we do not know is put on record, for an opt-out must not get lost.
    person = person or await session.get(Account, event.account_id) or Account(id=event.account_id)
    if person.opted_out_at is None:
        person.opted_out_at = event.occurred_at
        session.add(person)


async def _chose(session: AsyncSession, event: InboxEvent, said: Mapping[str, Any]) -> None:
    topics = said.get("topics")
    expected = f"expected yes or no (true, false) for some of {', '.join(TOPICS)}"
    if not isinstance(topics, dict) or not topics:
        raise BadFact(f"{event.kind}: topics is missing; {expected}")
    for name, wanted in topics.items():
        if name not in TOPICS or not isinstance(wanted, bool):
            raise BadFact(f"{event.kind}: topics.{name[:60]} is none of ours, or neither true nor false; {expected}")
    await consent.choose(session, event.account_id, event.object_id, topics, event.occurred_at)


async def _task_done(session: AsyncSession, event: InboxEvent, said: Mapping[str, Any]) -> None:
    await ledger.finish_task(session, event.object_id, event.value or "done", event.occurred_at)
    asked_about = doubts.effect_asked_about(event.object_id)
    if asked_about:
        try:
            await doubts.decide(session, asked_about, event.value or "done", "the task's answer")
        except doubts.NotInDoubt:
            return  # found out meanwhile
        except ValueError as error:
            raise BadFact(f"{event.kind}: {error}") from None


async def _offer_answered(session: AsyncSession, event: InboxEvent, said: Mapping[str, Any]) -> None:
    """The first answer stands. The value is how many months of a pause are wanted, if not all that was offered."""
    offer = await session.get(OfferRow, event.object_id, with_for_update=True)
    if offer is None or offer.state != "made":
        return
    offer.state = "accepted" if event.kind == facts.OFFER_ACCEPTED else "declined"
    offer.answered_at = event.occurred_at
    if offer.what == "pause" and event.value.isdigit() and 0 < int(event.value) < offer.months:
        offer.months = int(event.value)
    session.add(offer)


async def _health(session: AsyncSession, event: InboxEvent, said: Mapping[str, Any]) -> None:
    if not event.value.isdigit() or int(event.value) > 100:
        raise BadFact(f"{event.kind}: value is {event.value!r}, expected a whole number from 0 to 100")
    account = await session.get(Account, event.account_id)
    if account:
        account.health = int(event.value)
        session.add(account)


async def _risk_raised(session: AsyncSession, event: InboxEvent, said: Mapping[str, Any]) -> None:
    await alerts.raise_signal(session, event.account_id, _signal(event), f"told/{event.event_id}", event.occurred_at)


async def _risk_cleared(session: AsyncSession, event: InboxEvent, said: Mapping[str, Any]) -> None:
    await alerts.clear_signal(session, event.account_id, _signal(event), event.occurred_at)


def _signal(event: InboxEvent) -> str:
    if event.value not in alerts.NAMES:
        raise BadFact(f"{event.kind}: value is {event.value!r}, expected one of {', '.join(alerts.NAMES)}")
    return event.value


async def _metrics(session: AsyncSession, event: InboxEvent, said: Mapping[str, Any]) -> None:
    given = said.get("metrics")
    if not isinstance(given, dict) or not given:
        raise BadFact(f"{event.kind}: data.metrics must name at least one metric with its reading")
    try:
        changed = await record_metrics(session, event.account_id, given, event.occurred_at)
    except BadMetric as error:
        raise BadFact(f"{event.kind}: {error}") from None
    if changed:
        await rescore(session, event.account_id, event.occurred_at)


async def _counted(session: AsyncSession, event: InboxEvent, said: Mapping[str, Any]) -> None:
    await counting.add(session, [parking.count_of(event)])


async def _described(session: AsyncSession, event: InboxEvent, said: Mapping[str, Any]) -> None:
    wanted = (
        (AccountColumns, said.get("account"), {"id": event.account_id}),
        (ContactColumns, said.get("contact"), {"account_id": event.account_id}),
    )
    for kind, given, whose in wanted:
        if not given:
            continue
        try:
            (loaded,) = await loading.load(session, [read_row(kind, {**given, **whose})])
        except BadRow as error:
            raise BadFact(f"{event.type}: {error}") from None
        if loaded.problem:
            raise BadFact(f"{event.type}: {loaded.problem}")


async def _found(session: AsyncSession, event: InboxEvent, said: Mapping[str, Any]) -> None:
    if event.source != OURSELVES:
        raise BadFact(f"{event.kind}: only `holdfast reconcile` puts rows back")
    await found.take_in(session, event.account_id, said)


LESSONS: Final[dict[str, Lesson]] = {
    facts.SUBSCRIPTION_CANCELLED: _churned,
    facts.SERVICE_SUSPENDED: _churned,
    facts.SUBSCRIPTION_REACTIVATED: _came_back,
    facts.USER_SIGNED_UP: _signed_up,
    facts.HANDOFF_COMPLETED: _handoff,
    facts.STEP_DONE: _step_done,
    facts.RENEWAL_DATE_CHANGED: _renewal_date,
    facts.CONTRACT_SENT: _contract_sent,
    facts.CONTRACT_SIGNED: _contract_signed,
    facts.RENEWAL_LOST: _renewal_lost,
    facts.RENEWAL_LAPSED: _renewal_lapsed,
    facts.UNSUBSCRIBED: _opted_out,
    facts.PREFERENCES: _chose,
    facts.TASK_DONE: _task_done,
    facts.OFFER_ACCEPTED: _offer_answered,
    facts.OFFER_DECLINED: _offer_answered,
    facts.HEALTH_SCORED: _health,
    facts.METRICS_RECORDED: _metrics,
    facts.RISK_RAISED: _risk_raised,
    facts.RISK_CLEARED: _risk_cleared,
    USAGE: _counted,
    loading.DESCRIBED: _described,
    found.LEDGER_FOUND: _found,
}
TOLD: Final = frozenset(LESSONS) - {USAGE, loading.DESCRIBED, found.LEDGER_FOUND}
"""The kinds of facts that our tables take something from, whoever hears them; the others are not told as facts."""
