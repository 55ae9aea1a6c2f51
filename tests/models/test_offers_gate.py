"""The gate's rules about offers and opting out, on both databases, asked as the one door asks them."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlmodel import select

from models import ledger
from models.cases import Batch, Effect, Email, Offer
from models.customers import Contact, OfferRow
from models.database import Database
from models.gate import Held
from models.offers import months_after
from models.picture import Person, Picture
from models.policy import Offers, Policy
from models.tables import Account, CaseRow, EffectRow
from tests.town import ALWAYS

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
DAY = timedelta(days=1)
ACCOUNT = "cus_1"
LIMITS = Offers()


async def with_case(database: Database, playbook: str = "win-back", account: str = ACCOUNT) -> Batch:
    """A case in the database, and a batch of it."""
    case = f"{playbook}/{account}"
    async with database.writing() as session:
        session.add(CaseRow(id=case, playbook=playbook, account_id=account, subject=account, opened_at=NOON))
    return Batch(
        case=case,
        account=account,
        subject=account,
        playbook=playbook,
        step="step",
        title="A step.",
        since=NOON,
        now=NOON,
    )


def offer(batch: Batch, **changes: Any) -> Offer:
    """20 % off for three months, unless told otherwise."""
    terms = {"pct": 20, "months": 3, "expires": NOON + 14 * DAY, **changes}
    return Offer(key=f"{batch.case}/step/1", title="Offer", **terms)


def row_of(key: str, **changes: Any) -> OfferRow:
    """An offer another case made."""
    terms: dict[str, Any] = {"pct": 20, "months": 3, "account_id": ACCOUNT, **changes}
    return OfferRow(key=key, case_id="usage-decline/1", **{"made_at": NOON - DAY, "expires_at": NOON + DAY, **terms})


async def claimed(
    database: Database,
    batch: Batch,
    effect: Effect,
    picture: Picture | None = None,
    limits: Offers = LIMITS,
    before_the_end: float = 0,
) -> tuple[str, str, str]:
    """Claim an effect as the one door does, an offer being made in the same transaction: state, rule and reason."""
    async with database.writing() as session:
        row, fresh = await ledger.claim(
            session,
            batch,
            effect,
            picture or Picture(),
            parting=False,
            detail={},
            policy=Policy.model_validate({"offers": limits, **ALWAYS}),
        )
        assert not isinstance(row, Held)
        if fresh and row.state == "claimed" and isinstance(effect, Offer):
            terms: dict[str, Any] = effect.model_dump(include={"key", "what", "pct", "months", "approver"})
            terms |= {"account_id": batch.account, "case_id": batch.case, "expires_at": effect.expires}
            await ledger.insert_once(session, OfferRow(**terms, made_at=batch.now))
        await asyncio.sleep(before_the_end)
    return row.state, row.rule, row.reason


@pytest.mark.parametrize(
    ("terms", "reason"),
    [
        ({}, ""),
        ({"pct": 30}, ""),
        ({"pct": 31}, "31 % is beyond the limit of 30 %"),
        ({"pct": 40, "approver": "vp"}, ""),
        ({"pct": 49, "approver": "vp"}, ""),
        ({"pct": 50, "approver": "vp"}, "50 % is beyond the limit of 30 %"),
        ({"pct": 0}, "0 % is beyond the limit of 30 %"),
        ({"months": 4}, "4 months: an offer is for 1 to 3"),
        ({"months": 4, "approver": "vp"}, ""),
        ({"months": 0}, "0 months: an offer is for 1 to 3"),
    ],
)
async def test_o2_o8_a_discount_keeps_to_the_limits(both: Database, terms: dict[str, Any], reason: str) -> None:
    batch = await with_case(both)
    expected = ("dropped", "offer_limit", reason) if reason else ("claimed", "", "")
    assert await claimed(both, batch, offer(batch, **terms)) == expected


@pytest.mark.parametrize(
    ("months", "approver", "rule"), [(3, "", ""), (4, "", "offer_limit"), (4, "vp", "offer_limit")]
)
async def test_o3_no_pause_is_longer_than_three_months_whoever_approves(
    both: Database, months: int, approver: str, rule: str
) -> None:
    batch = await with_case(both)
    pause = offer(batch, what="pause", pct=0, months=months, approver=approver)
    assert (await claimed(both, batch, pause))[1] == rule


async def test_o2_the_limit_is_the_policys(both: Database) -> None:
    batch = await with_case(both)
    found = await claimed(both, batch, offer(batch, pct=21), limits=Offers(max_pct=20, long_tenure_pct=20))
    assert found == ("dropped", "offer_limit", "21 % is beyond the limit of 20 %")


@pytest.mark.parametrize(
    ("other", "allowed"),
    [
        ({"state": "accepted", "answered_at": NOON - 364 * DAY}, False),
        ({"state": "accepted", "answered_at": NOON - 366 * DAY}, True),
        ({"state": "made"}, False),
        ({"state": "made", "expires_at": NOON - timedelta(seconds=1)}, True),
        ({"state": "declined", "answered_at": NOON}, True),
        ({"state": "withdrawn"}, True),
        ({"state": "accepted", "answered_at": NOON, "what": "pause"}, True),
        ({"state": "accepted", "answered_at": NOON, "account_id": "cus_2"}, True),
    ],
)
async def test_o7_one_discount_a_year_and_never_two_at_once(
    both: Database, other: dict[str, Any], allowed: bool
) -> None:
    batch = await with_case(both)
    async with both.writing() as session:
        session.add(row_of("usage-decline/1/step/1", **other))
    state, rule, reason = await claimed(both, batch, offer(batch))
    if allowed:
        assert (state, rule) == ("claimed", "")
    else:
        assert (state, rule) == ("dropped", "one_discount")
        assert reason == f"a discount was {other['state']} on 22 Nov 2026: one in a year, never two"


async def test_o7_an_offer_is_not_in_its_own_way(both: Database) -> None:
    batch = await with_case(both)
    async with both.writing() as session:
        session.add(row_of(offer(batch).key))
    assert (await claimed(both, batch, offer(batch)))[0] == "claimed"


async def test_o7_of_two_cases_of_one_account_at_once_one_may_offer(both: Database) -> None:
    batches = [await with_case(both, f"playbook-{number}") for number in range(4)]
    found = await asyncio.gather(*(claimed(both, each, offer(each), before_the_end=0.05) for each in batches))
    assert sorted(state for state, _, _ in found) == ["claimed", "dropped", "dropped", "dropped"]
    assert {rule for _, rule, _ in found} == {"", "one_discount"}
    async with both.reading() as session:
        assert len((await session.exec(select(OfferRow))).all()) == 1
        assert len((await session.exec(select(EffectRow))).all()) == 4


async def test_o7_accounts_do_not_wait_for_each_other(request: pytest.FixtureRequest) -> None:
    database = Database(await request.getfixturevalue("postgres").migrated())
    first, second = await with_case(database), await with_case(database, account="cus_2")
    slow = asyncio.create_task(claimed(database, first, offer(first), before_the_end=1))
    await asyncio.sleep(0.1)
    assert (await asyncio.wait_for(claimed(database, second, offer(second)), 0.7))[0] == "claimed"
    assert not slow.done()
    assert (await slow)[0] == "claimed"
    await database.close()


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (None, "the offer it speaks of was not made"),
        ({"state": "made"}, ""),
        ({"state": "made", "expires_at": NOON}, "the offer it speaks of has expired"),
        ({"state": "accepted", "answered_at": NOON, "expires_at": NOON}, ""),
        ({"state": "declined"}, "the offer it speaks of was declined"),
        ({"state": "withdrawn"}, "the offer it speaks of was withdrawn"),
    ],
)
async def test_o12_a_mail_goes_only_while_its_offer_stands(
    both: Database, found: dict[str, Any] | None, reason: str
) -> None:
    batch = await with_case(both)
    if found is not None:
        async with both.writing() as session:
            session.add(row_of("o/1", **found))
    mail = Email(key=f"{batch.case}/step/2", title="Mail", template="winback.offer", offer="o/1")
    went = ("claimed", "contact_rules", "service, within caps and hours; Mon 23 Nov, 12:00 in UTC")
    assert await claimed(both, batch, mail) == (("dropped", "offer_stands", reason) if reason else went)


@pytest.mark.parametrize(
    ("account_out", "contact_out", "to", "marketing", "goes"),
    [
        (False, False, "champion", True, True),
        (True, False, "champion", True, False),
        (True, False, "champion", False, True),
        (False, True, "champion", True, False),
        (False, True, "champion", False, True),
        (False, True, "billing", True, True),
        (True, False, "billing", True, False),
    ],
)
async def test_t4_3_those_who_opted_out_get_only_service_mail(
    both: Database, account_out: bool, contact_out: bool, to: str, marketing: bool, goes: bool
) -> None:
    batch = await with_case(both)
    async with both.writing() as session:
        session.add(Account(id=ACCOUNT, opted_out_at=NOON if account_out else None))
        session.add(Contact(id="con_1", account_id=ACCOUNT, opted_out_at=NOON if contact_out else None))
    picture = Picture(people={"champion": Person(id="con_1"), "billing": Person()})
    mail = Email(key=f"{batch.case}/step/1", title="Mail", template="t", to=to, marketing=marketing)
    state, rule, _ = await claimed(both, batch, mail, picture)
    assert (state, rule) == (("claimed", "contact_rules") if goes else ("dropped", "opted_out"))


@pytest.mark.parametrize(
    ("at", "months", "then"),
    [
        (NOON, 3, datetime(2027, 2, 23, 12, tzinfo=UTC)),
        (datetime(2026, 11, 30, tzinfo=UTC), 3, datetime(2027, 2, 28, tzinfo=UTC)),
        (datetime(2026, 12, 31, tzinfo=UTC), 1, datetime(2027, 1, 31, tzinfo=UTC)),
        (datetime(2027, 12, 31, tzinfo=UTC), 2, datetime(2028, 2, 29, tzinfo=UTC)),
    ],
)
def test_o3_months_are_calendar_months(at: datetime, months: int, then: datetime) -> None:
    assert months_after(at, months) == then
