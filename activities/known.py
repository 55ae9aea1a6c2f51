"""What we know ourselves: accounts, use, contracts, onboarding, as sources of truth for the playbooks.

A fact somebody told us is the only source there is for it; it counts from the moment the case was opened. What can be
worked out from tables (usage that came back, a contract that is signed) is worked out at each look, so that a fact that
got lost ends a run all the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import ClassVar, Final

import orjson
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from activities.merge_fields import day_in_words
from activities.stripe_picture import person_of
from models import facts, ledger, onboarding, usage
from models.cases import Batch, Reading
from models.customers import ChecklistItem, Contact, Contract, OfferRow, Owner, UsageDay
from models.database import Database
from models.days import midnight
from models.learning import HANDOFF
from models.money import money
from models.picture import Person, Picture
from models.policy import Policy, PolicyFile
from models.tables import Account, CaseRow, CaseSubject, EffectRow, InboxEvent

BACK: Final = 185
"""Days of use that are read: twice the longest window, which the policy bounds to 90 days."""
Field = str | int


@dataclass(frozen=True)
class Seen:
    """What a watch adds to the picture of an account."""

    over: str = ""
    readings: Mapping[str, Reading] | None = None
    fields: Mapping[str, Field] | None = None


class Facts:
    """The plain watch: an ending is true once we were told of it. Others add what their tables say."""

    name = "facts"
    gives: ClassVar[frozenset[str]] = frozenset({"account_name", "amount"})
    """The merge fields that a look gives, where there is what it looks at (C15)."""

    def __init__(self, database: Database, policy: PolicyFile) -> None:
        self._db = database
        self._policy = policy

    async def look(self, batch: Batch) -> Picture:
        """Read the account, its people, and which ending we were told of since the case was opened."""
        async with self._db.reading() as session:
            account = await session.get(Account, batch.account) or Account(id=batch.account)
            case = await session.get(CaseRow, batch.case)
            subjects = [row.subject for row in await ledger.subjects_of(session, batch.case)]
            policy = self._policy.for_segment(account.segment)
            told = await _told(session, batch, case, subjects)
            opened = case.opened_at if case else batch.since
            seen = await self.see(session, batch, account, policy, opened, told)
            offers = {
                row.key: row.state
                for row in (await session.exec(select(OfferRow).where(OfferRow.case_id == batch.case))).all()
            }
            people = await _people(session, account)
            applied = await _apply_offer(session, batch.case)
            owner = await session.get(Owner, account.owner) if account.owner else None
        gone = facts.SUBSCRIPTION_CANCELLED if account.churned_at else ""
        over = seen.over or told or gone
        return Picture(
            over=over,
            readings={
                "segment": account.segment,
                "owner": account.owner,
                "mrr": account.mrr,
                "high_touch": account.strategic or account.segment == "enterprise",
                "health": account.health if account.health is not None else -1,
                "churned": account.churned_at is not None,
                "offer": " ".join(sorted(set(offers.values()))),
                "apply_offer": applied,
                **(seen.readings or {}),
            },
            fields={
                "account_name": account.company,
                "amount": money(account.mrr, account.currency),
                **_of_owner(owner),
                **(seen.fields or {}),
            },
            people=people,
            fates=dict.fromkeys(subjects, over),
        )

    async def see(
        self, session: AsyncSession, batch: Batch, account: Account, policy: Policy, opened: datetime, told: str
    ) -> Seen:
        """What this watch adds; the plain one adds nothing."""
        return Seen()


class UsageWatch(Facts):
    """Whether usage is still below its baseline (P3.14), and what fell most."""

    name = "usage"
    gives = Facts.gives | {"usage_delta", "usage_trend", "unused_feature"}

    async def see(
        self, session: AsyncSession, batch: Batch, account: Account, policy: Policy, opened: datetime, told: str
    ) -> Seen:
        """The change in use, and `usage.recovered` where it came back."""
        today, began, rules = batch.now.date(), opened.date(), policy.usage
        counts = await usage_of(session, account.id, today, usage.first_needed(began, rules))
        fall = usage.since_the_fall(counts, today, began, rules)
        down = fall.down_pct if fall else 0
        still = usage.still_declining(counts, today, began, rules)
        feature = usage.unused_feature(counts, today, rules)
        return Seen(
            over="" if still or told or account.churned_at else facts.USAGE_RECOVERED,
            readings={
                "severity": usage.severity(counts, today, rules, None),
                "usage_delta": down,
                "feature": feature,
                "tenure_days": (batch.now - account.signed_up_at).days if account.signed_up_at else 0,
            },
            fields={
                "usage_delta": down,
                "usage_trend": f"down {down}% ({fall.now} now, {fall.before} in as many days before the fall)"
                if fall
                else "no figures are on record",
                "unused_feature": feature,
            },
        )


class ContractWatch(Facts):
    """The contract behind a renewal: its date, its value, whether it is signed."""

    name = "contract"
    gives = Facts.gives | {"renewal_date", "days_left", "value", "term", "sign_url", "health", "roles", "usage_summary"}

    async def see(
        self, session: AsyncSession, batch: Batch, account: Account, policy: Policy, opened: datetime, told: str
    ) -> Seen:
        """The renewal date as it is now, and `contract.signed` where the term was renewed."""
        contract = await session.get(Contract, batch.subject.partition("/")[0])
        if contract is None:
            return Seen()
        metric, today = policy.usage.metric, batch.now.date()
        counts = await usage_of(session, account.id, today)
        month = usage.change(counts, metric, today, 30)
        over = told or {"signed": facts.CONTRACT_SIGNED, "lost": facts.RENEWAL_LOST}.get(contract.state, "")
        if over == facts.CONTRACT_SIGNED:
            over = await _for_more_or_less(session, batch, contract)
        return Seen(
            over=over,
            readings={
                "anchor": midnight(contract.renews_on).isoformat(),
                "at_stake": contract.value,
                "contract_state": contract.state,
                "can_be_signed": bool(contract.sign_url),
            },
            fields={
                # A date in a contract is the same day in every zone.
                "renewal_date": day_in_words(contract.renews_on),
                "days_left": (contract.renews_on - today).days,
                "value": money(contract.value, contract.currency),
                "term": contract.term,
                "sign_url": contract.sign_url,
                "health": "not scored" if account.health is None else f"{account.health} of 100",
                "roles": await _roles(session, account.id),
                "usage_summary": f"{metric} {month.now} in the last 30 days, {month.before} in the 30 days before"
                if month.now or month.before
                else "",
            },
        )


class OnboardingWatch(Facts):
    """The checklist, the milestones and the onboarding score of a new customer."""

    name = "onboarding"
    gives = Facts.gives | {"goals", "handoff", "open_items", "next_step", "next_url", "value_metric"}

    async def see(
        self, session: AsyncSession, batch: Batch, account: Account, policy: Policy, opened: datetime, told: str
    ) -> Seen:
        """What is done, what is open, which milestones were missed, and the band of the score (H2)."""
        rules = policy.onboarding
        statement = select(ChecklistItem).where(ChecklistItem.account_id == account.id)
        done = {row.item: row.done_at for row in (await session.exec(statement)).all()}
        still = onboarding.open_items(done, rules)
        missed = onboarding.missed_milestones(done, account.signed_up_at or opened, batch.now, rules)
        due = onboarding.due_items(done, (batch.now - opened).days, rules)
        counts = await usage_of(session, account.id, batch.now.date() + timedelta(days=1))
        points = onboarding.score_of(done, counts, policy, batch.now.date())
        following = onboarding.name_of(still[0], rules) if still else "the next step"
        signed_up, first_value = account.signed_up_at or opened, done.get("first_value")
        hours = (first_value - signed_up) / timedelta(hours=1) if first_value else -1
        wanted = rules.first_value_hours.get(account.segment, rules.first_value_limit_hours)
        since = batch.now.date() - timedelta(days=30)
        what = policy.words.value_metric
        made = usage.total(counts, policy.usage.report_metric, since, batch.now.date() + timedelta(days=1))
        return Seen(
            readings={
                "done_items": " ".join(sorted(done)),
                "open_items": " ".join(still),
                "due_items": " ".join(due),
                "missed": " ".join(missed),
                "completion": onboarding.completion(done, rules),
                "onboarding_score": int(points),
                "onboarding_band": onboarding.band(points, rules),
                "pattern": rules.pattern,
                "first_value_h": round(hours),
                "first_value_in_time": first_value is not None and hours <= wanted,
                "d30_lift": max((lift for item, lift in rules.milestone_lift.items() if item in done), default=0),
                "roi_tenths": usage.latest(counts, "roi_tenths", -1),
            },
            fields={
                **await _handoff(session, account.id),
                "open_items": ", ".join(onboarding.name_of(item, rules) for item in due),
                "next_step": following,
                "next_url": policy.links.wizard,
                "value_metric": f"{made} {what} in the last 30 days" if made else f"no {what} yet",
            },
        )


class ChurnWatch(Facts):
    """A customer that left: how long ago, and whether they are back."""

    name = "churn"
    gives = Facts.gives | {"churned_on", "reactivate_url"}

    async def see(
        self, session: AsyncSession, batch: Batch, account: Account, policy: Policy, opened: datetime, told: str
    ) -> Seen:
        """When they left, and that they are back if our tables say so."""
        left = account.churned_at
        back = left is None and await _was_told(session, account.id, facts.SUBSCRIPTION_REACTIVATED, opened)
        at = left or opened
        return Seen(
            over=facts.SUBSCRIPTION_REACTIVATED if back else "",
            readings={"churned_days": max(0, (batch.now - at).days)},
            fields={"churned_on": f"{at.day} {at:%B %Y}", "reactivate_url": policy.links.reactivate},
        )


class CardWatch(Facts):
    """The card on file of an account, and when it expires (P2)."""

    name = "card"
    gives = Facts.gives | {"card_last4", "exp_date", "update_url"}

    async def see(
        self, session: AsyncSession, batch: Batch, account: Account, policy: Policy, opened: datetime, told: str
    ) -> Seen:
        """The expiry, and `card.replaced` where another card is on file by now (P2.3)."""
        on_file, expiry = account.card_expires_on, named_day(batch.subject)
        return Seen(
            over=facts.CARD_REPLACED if on_file and on_file != expiry else "",
            fields={
                "card_last4": account.card_last4 if on_file else "",
                "exp_date": day_in_words(expiry) if expiry else "",
                "update_url": policy.links.billing,
            },
        )


async def usage_of(
    session: AsyncSession, account: str, today: date, since: date | None = None
) -> dict[tuple[str, date], int]:
    """The counts of the last 100 days before `today`, and of those before from `since` on."""
    since = min(since or today, today - timedelta(days=BACK))
    statement = select(UsageDay).where(
        UsageDay.account_id == account, col(UsageDay.day) >= since, col(UsageDay.day) < today
    )
    return {(row.metric, row.day): row.count for row in (await session.exec(statement)).all()}


def named_day(subject: str) -> date | None:
    """The day that a subject names after its slash: a renewal's, an expiry's."""
    try:
        return date.fromisoformat(subject.rpartition("/")[2])
    except ValueError:
        return None


async def _told(session: AsyncSession, batch: Batch, case: CaseRow | None, subjects: list[str]) -> str:
    """The first ending we were told of that is about this case, since it was opened."""
    kinds = sorted(batch.partings)
    if not kinds:
        return ""
    statement = (
        select(InboxEvent)
        .where(
            InboxEvent.account_id == batch.account,
            col(InboxEvent.kind).in_(kinds),
            col(InboxEvent.state).in_(("pending", "applied")),
            InboxEvent.occurred_at >= (case.opened_at if case else batch.since),
        )
        .order_by(col(InboxEvent.occurred_at), col(InboxEvent.id))
    )
    mine = {"", *subjects, *(subject.partition("/")[0] for subject in subjects)}
    return next((row.kind for row in (await session.exec(statement)).all() if row.subject in mine), "")


async def _for_more_or_less(session: AsyncSession, batch: Batch, contract: Contract) -> str:
    """A signature against what the contract was worth when the run began (P6.21)."""
    begun = await session.get(CaseSubject, (batch.case, batch.subject))
    if begun is None or not begun.at_stake or contract.value == begun.at_stake:
        return facts.CONTRACT_SIGNED
    return facts.CONTRACT_EXPANDED if contract.value > begun.at_stake else facts.CONTRACT_REDUCED


async def _was_told(session: AsyncSession, account: str, kind: str, since: datetime) -> bool:
    statement = select(InboxEvent.id).where(
        InboxEvent.account_id == account, InboxEvent.kind == kind, InboxEvent.occurred_at >= since
    )
    return (await session.exec(statement)).first() is not None


async def _handoff(session: AsyncSession, account: str) -> dict[str, Field]:
    """The sales handoff (P7.2, P7.3): the goals, and the rest of it in a line; words for people, not for a payload."""
    statement = select(InboxEvent.body).where(
        InboxEvent.account_id == account, InboxEvent.kind == facts.HANDOFF_COMPLETED, col(InboxEvent.learned)
    )
    body = (await session.exec(statement.order_by(col(InboxEvent.id).desc()))).first()
    said = orjson.loads(body).get("data", {}) if body else {}
    words = {name: _listed(said.get(name, "")) for name in HANDOFF}
    rest = (f"{name.replace('_', ' ')}: {each}" for name, each in words.items() if each and name != "goals")
    return {"goals": words["goals"], "handoff": "; ".join(rest)}


def _listed(said: object) -> str:
    return ", ".join(str(each) for each in said) if isinstance(said, list) else str(said)


async def _apply_offer(session: AsyncSession, case: str) -> str:
    """How giving the accepted offer of this case went; empty where it has none."""
    statement = select(EffectRow.state).where(EffectRow.case_id == case, EffectRow.kind == "apply_offer")
    return (await session.exec(statement)).first() or ""


async def _people(session: AsyncSession, account: Account) -> dict[str, Person]:
    statement = select(Contact).where(Contact.account_id == account.id, col(Contact.left_at).is_(None))
    people = {
        row.role: Person(row.id, row.name, row.email, row.locale or account.locale, row.timezone or account.timezone)
        for row in (await session.exec(statement.order_by(col(Contact.id).desc()))).all()
    }
    return {"billing": person_of(account), **people}


async def _roles(session: AsyncSession, account: str) -> str:
    """Which roles at the customer somebody is known for; the words for a guide, without names."""
    statement = select(Contact.role).where(Contact.account_id == account, col(Contact.left_at).is_(None)).distinct()
    return ", ".join(sorted((await session.exec(statement)).all())) or "nobody but the billing contact"


def _of_owner(owner: Owner | None) -> dict[str, Field]:
    if owner is None:
        return {}
    said = {"csm_name": owner.name, "csm_email": owner.email, "booking_url": owner.booking_url}
    return {name: value for name, value in said.items() if value}
