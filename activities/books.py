"""The daily look at segments and books (S1.5, S3): page after page, each one transaction that can be repeated.

What it finds depends on the day and the tables alone: killed, doubled or late it ends as one clean look does.
"""

from collections import Counter, defaultdict
from datetime import date, timedelta
from typing import Any

from sqlmodel import col, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from models import books, ledger, parking
from models.customers import Contract, Owner
from models.days import midnight
from models.facts import SEGMENT_CHANGED
from models.policy import Policy
from models.scans import Found
from models.segments import SEGMENTS, Segments, move, segment_of, worth_a_year
from models.tables import OURSELVES, Account, InboxEvent


async def look_over(session: AsyncSession, day: date, policy: Policy, after: str, size: int) -> Found:
    """Bring the next `size` accounts by id to the segment and the CSM they should have on a day.

    Takes turns with loads, so that neither undoes what the other writes.
    """
    await parking.before_loading(session)
    statement = select(Account).where(Account.id > after).order_by(col(Account.id)).limit(size)
    accounts = (await session.exec(statement)).all()
    here = [account for account in accounts if account.churned_at is None]
    told = await _segments(session, here, day, policy.segments)
    told += await _owners(session, here, day, policy)
    done = len(accounts) < size
    if done:
        # Last, so that tasks of who has left go to the accounts' new CSMs first.
        told["tasks handed over"] += await _covers(session, day, policy)
    changes = sum(told.values())
    return Found(
        after=accounts[-1].id if accounts else after,
        done=done,
        pages=1,
        accounts=len(accounts),
        found=changes,
        recorded=changes,
        by_value={name: count for name, count in sorted(told.items()) if count},
    )


async def _segments(session: AsyncSession, accounts: list[Account], day: date, rules: Segments) -> Counter[str]:
    """Accounts whose segment nobody gave us, to where their revenue puts them."""
    told = Counter[str]()
    ours = [account for account in accounts if not account.segment or account.segment_computed]
    worth = await _worth(session, ours) if rules.basis == "acv" else {}
    for account in ours:
        amount = worth.get(account.id, 0) if rules.basis == "acv" else account.mrr
        computed = segment_of(amount, rules, strategic=account.strategic, growth=account.growth)
        before = account.segment
        after, since = move(before, computed, account.segment_below_since, day, rules)
        if (after, since, True) == (before, account.segment_below_since, account.segment_computed):
            continue
        account.segment, account.segment_below_since, account.segment_computed = after, since, True
        session.add(account)
        if after != before:
            up = before not in SEGMENTS or SEGMENTS.index(computed) > SEGMENTS.index(before)
            told["given a segment" if not before else "moved up" if up else "moved down"] += 1
            if before:
                await ledger.insert_once(session, _moved(account, day))
    return told


async def _worth(session: AsyncSession, accounts: list[Account]) -> dict[str, int]:
    """What each account's running contracts are worth in a year."""
    statement = select(Contract).where(
        col(Contract.account_id).in_([account.id for account in accounts]), col(Contract.state) != "lost"
    )
    found: Counter[str] = Counter()
    for contract in (await session.exec(statement)).all() if accounts else ():
        found[contract.account_id] += worth_a_year(contract.value, contract.term)
    return found


def _moved(account: Account, day: date) -> InboxEvent:
    return InboxEvent(
        source=OURSELVES,
        event_id=f"{SEGMENT_CHANGED}/{account.id}/{day}",
        type=SEGMENT_CHANGED,
        kind=SEGMENT_CHANGED,
        account_id=account.id,
        value=account.segment,
        at_stake=account.mrr,
        currency=account.currency,
        occurred_at=midnight(day),
        body=b"{}",
    )


async def _owners(session: AsyncSession, accounts: list[Account], day: date, policy: Policy) -> Counter[str]:
    """A CSM for each account that should have one, and another one where theirs has left (S3.3, S3.5)."""
    told = Counter[str]()
    rules, lead = policy.books, policy.people.csm_lead
    gone = await _gone(session, day)
    lacking = [account for account in accounts if not account.owner or account.owner in gone]
    if not lacking:
        return told
    seats = await books.seats(session, rules, day)
    if not seats and not gone:
        return told  # nobody keeps books here
    # Each a little later than the one before, so that it is known whose turn it is.
    at = max([midnight(day), *(seat.last for seat in seats if seat.last)])
    full: defaultdict[str, int] = defaultdict(int)
    for account in lacking:
        seat = books.pick(seats, account.segment, rules)
        if seat:
            at += timedelta(microseconds=1)
            told["given to a CSM" if not account.owner else "passed on"] += 1
            await books.assign(session, account, seat.owner.handle, at, held=False)
            seat.take(account, at)
        elif account.segment in rules.named_csm:
            full[account.segment] += 1
    for segment, waiting in full.items():
        told["capacity full"] += await books.say_it_is_full(session, segment, waiting, day, lead)
    return told


async def _gone(session: AsyncSession, day: date) -> set[str]:
    left = select(Owner.handle).where(col(Owner.left_on).is_not(None), col(Owner.left_on) <= day)
    return set((await session.exec(left)).all())


async def _covers(session: AsyncSession, day: date, policy: Policy) -> int:
    """Open tasks of those who are away or have left go to whoever covers for them."""
    absent: Any = or_(col(Owner.left_on) <= day, col(Owner.away_until) >= day)
    owners = (await session.exec(select(Owner).where(absent))).all()
    return sum([await books.cover(session, owner, day, policy.people.csm_lead) for owner in owners])
