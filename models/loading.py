"""Accounts, contacts, contracts and owners as others know them, into our tables: by API, CSV and Segment alike."""

import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
from sqlalchemy import insert
from sqlmodel import SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from models import books, ledger, parking
from models.columns import AccountColumns, ContactColumns, ContractColumns, Loadable, OwnerColumns, Problem
from models.customers import Contact, Contract, Owner
from models.facts import RENEWAL_DATE_CHANGED
from models.tables import OURSELVES, Account, CaseRow, InboxEvent, wall

KEYS_AT_ONCE: Final = 500
DESCRIBED: Final = "account.described"
"""The kind of an inbox row that says what an account and a person at it are like: `data.account` and `data.contact` of
its body hold the columns (I6)."""


@dataclass(frozen=True)
class _Table:
    rows: type[SQLModel]
    key: str = "id"
    new_needs: tuple[str, ...] = ()


TABLES: Final[Mapping[type[Loadable], _Table]] = {
    AccountColumns: _Table(Account),
    ContactColumns: _Table(Contact, new_needs=("account_id",)),
    ContractColumns: _Table(Contract, new_needs=("account_id", "renews_on")),
    OwnerColumns: _Table(Owner, key="handle"),
}


@dataclass(frozen=True)
class Loaded:
    """What became of one row: `created`, `changed` or `unchanged`; or `bad`, with the problem."""

    state: str
    problem: Problem | None = None
    went_on: int = 0
    """How many parked events went on because of it."""


async def load(session: AsyncSession, given: Sequence[Loadable]) -> list[Loaded]:
    """Insert or update rows of one kind, each key once; what became of each, in order.

    Only the fields that were given are written. Loads take turns until their transaction ends, so that two of them
    never make the same row, and no event is parked while its account is being loaded (T1.19).
    """
    if not given:
        return []
    table = TABLES[type(given[0])]
    await parking.before_loading(session)
    wanted = {str(getattr(each, table.key)): each for each in given}
    known = await _known(session, table, sorted(wanted))
    problems = await _problems(session, given, known)
    accounts = await _accounts_named(session, given)
    states: dict[str, str] = {}
    new: list[dict[str, Any]] = []
    names: dict[str, str] = {}
    for key, each in wanted.items():
        values = {name: getattr(each, name) for name in each.model_fields_set}
        if "account_id" in values:
            if values["account_id"] not in accounts:
                reason = f"{values['account_id']!r} is not known; load the account first"
                problems.setdefault(key, Problem("account_id", reason))
            values["account_id"] = accounts.get(values["account_id"], "")
        row = known.get(key)
        lacking = [name for name in table.new_needs if row is None and name not in values]
        if lacking:
            description = type(each).model_fields[lacking[0]].description
            problems.setdefault(key, Problem(lacking[0], f"is missing; a new row needs it: {description}"))
        if key in problems:
            continue
        if row is None:
            new.append(table.rows(**values).model_dump())
            states[key] = "created"
            names[key] = key
        else:
            states[key] = await _change(session, row, values)
        if isinstance(each, AccountColumns) and values.get("external_id") and states[key] != "unchanged":
            names[str(values["external_id"])] = key
    await session.flush()
    if new:
        await session.exec(insert(SQLModel.metadata.tables[str(table.rows.__tablename__)]), params=new)
    went_on: Counter[str] = Counter()
    if isinstance(given[0], AccountColumns) and names:
        went_on = await parking.go_on(session, names)
    found = []
    for each in given:
        key = str(getattr(each, table.key))
        problem = problems.get(key)
        found.append(Loaded("bad", problem) if problem else Loaded(states[key], went_on=went_on[key]))
    return found


async def _known(session: AsyncSession, table: _Table, keys: list[str]) -> dict[str, SQLModel]:
    found: dict[str, SQLModel] = {}
    key = getattr(table.rows, table.key)
    for start in range(0, len(keys), KEYS_AT_ONCE):
        statement = select(table.rows).where(col(key).in_(keys[start : start + KEYS_AT_ONCE])).with_for_update()
        for row in (await session.exec(statement)).all():
            found[str(getattr(row, table.key))] = row
    return found


async def _accounts_named(session: AsyncSession, given: Sequence[Loadable]) -> dict[str, str]:
    names = {each.account_id for each in given if isinstance(each, ContactColumns | ContractColumns)}
    return await parking.accounts_called(session, names) if names else {}


async def _problems(
    session: AsyncSession, given: Sequence[Loadable], known: Mapping[str, SQLModel]
) -> dict[str, Problem]:
    """Accounts that would become somebody else: every name belongs to one account."""
    found: dict[str, Problem] = {}
    accounts = [each for each in given if isinstance(each, AccountColumns)]
    if not accounts:
        return found
    outside = {each.external_id for each in accounts if each.external_id}
    unmet = {each.id for each in accounts} - known.keys()
    called = await parking.accounts_called(session, outside | unmet)
    taken: dict[str, str] = {}
    for each in accounts:
        own = called.get(each.id) if each.id in unmet else None
        if own:
            reason = f"{each.id!r} is the external_id of account {own!r}; load it under that id"
            found[each.id] = Problem("id", reason)
        elif each.external_id:
            holder = taken.get(each.external_id) or called.get(each.external_id)
            if holder and holder != each.id:
                found[each.id] = Problem("external_id", f"{each.external_id!r} belongs to account {holder!r} already")
            else:
                taken[each.external_id] = each.id
    return found


async def _change(session: AsyncSession, row: SQLModel, values: Mapping[str, Any]) -> str:
    if isinstance(row, Account) and values.get("segment"):
        values = {**values, "segment_computed": False, "segment_below_since": None}
    before = {name: getattr(row, name) for name in values}
    if all(before[name] == value for name, value in values.items()):
        return "unchanged"
    for name, value in values.items():
        setattr(row, name, value)
    if isinstance(row, Account):
        row.wall_updated_at = wall()
        if row.owner != before.get("owner", row.owner):
            row.owner_since = row.wall_updated_at
            await books.follow_up(session, row, before["owner"])
    session.add(row)
    if isinstance(row, Contract) and before.get("renews_on", row.renews_on) != row.renews_on:
        await _tell_open_renewals(session, row)
    return "changed"


async def _tell_open_renewals(session: AsyncSession, contract: Contract) -> None:
    """A run that sleeps until a day before the renewal has to hear that the day has moved (T1.15)."""
    statement = select(CaseRow.id).where(CaseRow.lane == contract.id, col(CaseRow.ended).is_(False))
    if (await session.exec(statement)).first() is None:
        return
    said = {"account": contract.account_id, "subject": contract.id, "value": contract.renews_on.isoformat()}
    row = InboxEvent(
        source=OURSELVES,
        event_id=f"{RENEWAL_DATE_CHANGED}/{uuid.uuid4()}",
        type=RENEWAL_DATE_CHANGED,
        kind=RENEWAL_DATE_CHANGED,
        account_id=contract.account_id,
        subject=contract.id,
        value=contract.renews_on.isoformat(),
        occurred_at=wall(),
        body=orjson.dumps({"type": RENEWAL_DATE_CHANGED, "data": said}),
        # The contract says so already; learning it again could undo a load that came in between.
        learned=True,
    )
    await ledger.insert_once(session, row)
