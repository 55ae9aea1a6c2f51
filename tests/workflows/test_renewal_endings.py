"""How a renewal ends, and what else happens to it: signatures, losses, several contracts, repeats, restarts."""

from datetime import timedelta

import pytest

from models.customers import Contract
from models.tables import Account, CaseRow, InboxEvent
from tests.playbook_kit import Kit
from tests.town import DAY
from tests.workflows.renewals import Renewal, renewal
from tests.workflows.test_renewal import BASE, LAST, NEGOTIATE, UNSIGNED
from workers.cases import steer


async def sign(it: Renewal, *, amount: int = 0, next_year: bool = True) -> None:
    """The customer signs; by default the new date is said too."""
    more = {"renews_on": (it.renews_on + timedelta(days=365)).isoformat()} if next_year else {}
    await it.run.hear("contract.signed", subject=it.contract, at_stake=amount, **more)


def before(day: int) -> dict[str, list[str]]:
    """The base timeline before so many days before the date."""
    return {name: lines for name, lines in BASE.items() if int(name[1:]) < -day}


@pytest.mark.parametrize("day", [121, 89, 29, 2, -10])
async def test_p6_16_a_signature_ends_it_as_won_at_any_time(kit: Kit, day: int) -> None:
    it = await renewal(kit, 123)
    await it.to(day)
    await sign(it)
    ending = await it.run.finish()
    calendar = await it.calendar()
    name = f"R{-day}" if day > 0 else f"R+{-day}"
    assert calendar.pop(name)[-1] == "deal"
    assert calendar == before(day)
    assert ending.outcome == "renewed"
    deal = await it.deal()
    assert (deal.stage, deal.renewal_date) == ("Won", it.renews_on)
    assert deal.name == f"Renewal - Acme - {it.renews_on.year}"


async def test_p6_16_the_next_term_has_a_run_of_its_own(kit: Kit) -> None:
    it = await renewal(kit, 10)
    await it.run.to_day(2)
    await sign(it)
    await it.run.finish()
    (contract,) = await kit.place.rows(Contract, id=it.contract)
    assert (contract.state, contract.renews_on) == ("active", it.renews_on + timedelta(days=365))
    again = await kit.start(
        "renewal.ahead", it.run.account, subject=f"{it.contract}/{contract.renews_on}", object_id=it.contract
    )
    assert again.case == f"renewal/{it.contract}/{contract.renews_on}"
    await again.to_day(1)
    assert await again.calendar() == {}


@pytest.mark.parametrize(
    ("amount", "outcome"),
    [(1_200_000, "renewed"), (0, "renewed"), (1_200_001, "renewed_expanded"), (1_199_999, "renewed_reduced")],
)
async def test_p6_21_renewed_for_as_much_for_more_or_for_less(kit: Kit, amount: int, outcome: str) -> None:
    it = await renewal(kit, 10)
    await it.run.to_day(2)
    await sign(it, amount=amount)
    assert (await it.run.finish()).outcome == outcome
    assert ((await it.deal()).stage, (await it.deal()).value) == ("Won", amount or 1_200_000)


async def test_p6_21_lost_with_the_reason_and_win_back_begins(kit: Kit) -> None:
    it = await renewal(kit, 40)
    await it.to(29)
    await it.run.hear("renewal.lost", subject=it.contract, value="price")
    assert (await it.run.finish()).outcome == "lost"
    assert (await it.calendar())["R-29"] == ["deal", "tell renewal.lapsed"]
    (told,) = await kit.place.rows(InboxEvent, kind="renewal.lapsed")
    assert (told.value, told.reason.startswith("started win-back/")) == ("price", True)
    (account,) = await kit.place.rows(Account, id=it.run.account)
    assert account.churn_reason == "price"
    assert (await it.deal()).stage == "Lost"


async def test_p6_21_cancelled_is_lost_and_says_so_only_once(kit: Kit) -> None:
    it = await renewal(kit, 40)
    await it.to(29)
    await it.run.hear("subscription.cancelled")
    assert (await it.run.finish()).outcome == "lost"
    assert (await it.calendar())["R-29"] == ["deal"]
    assert await kit.place.rows(InboxEvent, kind="renewal.lapsed") == []


async def test_p6_17_signed_within_the_grace_is_renewed_and_after_it_lapsed(kit: Kit) -> None:
    it = await renewal(kit, 5)
    await it.to(-29)
    assert (await it.run.row()).state == "open"
    assert (await it.deal()).stage == "Contract Sent"
    await sign(it)
    assert (await it.run.finish()).outcome == "renewed"
    late = await renewal(kit, 5)
    assert (await late.run.finish()).outcome == "lapsed"
    row = await late.run.row()
    assert row.ended_at
    assert round((row.ended_at.date() - late.renews_on) / DAY) == 30


async def test_p6_17_another_contract_keeps_the_customer(kit: Kit) -> None:
    it = await renewal(kit, 5)
    other = Contract(id=f"other-of-{it.run.account}", account_id=it.run.account, renews_on=it.renews_on + 90 * DAY)
    await kit.add(other)
    await it.run.finish()
    (account,) = await kit.place.rows(Account, id=it.run.account)
    assert account.churned_at is None


async def test_p0_12_end_by_a_lead_leaves_the_deal_as_it_is(kit: Kit) -> None:
    it = await renewal(kit, 32)
    await it.to(29)
    await steer(kit.place.client, it.run.case, "end", "bo")
    assert (await it.run.finish()).outcome == "ended_by_lead"
    assert (await it.deal()).stage == "Negotiation"


async def test_p0_5_two_contracts_of_one_account_have_a_run_each_and_end_apart(kit: Kit) -> None:
    first = await renewal(kit, 40)
    account = first.run.account
    second = await renewal(kit, 40, account=account, name=f"second-of-{account}", value=90_000)
    await first.to(29)
    await second.to(29)
    assert ((await first.deal()).value, (await second.deal()).value) == (1_200_000, 90_000)
    await sign(second)
    assert (await second.run.finish()).outcome == "renewed"
    row = await first.run.row()
    assert (row.state, (await first.deal()).stage) == ("open", "Negotiation")
    await first.to(2)
    assert (await first.calendar())["R-3"] == LAST["R-3"]


async def test_p0_5_p6_19_a_date_that_moves_is_that_contracts_only(kit: Kit) -> None:
    first = await renewal(kit, 33)
    account = first.run.account
    second = await renewal(kit, 33, account=account, name=f"second-of-{account}")
    later = second.renews_on + timedelta(days=100)
    await second.run.hear("renewal_date.changed", subject=second.contract, value=later.isoformat())
    await first.to(29)
    await second.to(29)
    assert (await first.calendar())["R-30"] == ["deal", NEGOTIATE]
    assert "R-30" not in await second.calendar()


async def test_p0_5_a_second_trigger_starts_no_second_run(kit: Kit) -> None:
    it = await renewal(kit, 40)
    await it.run.to_day(2)
    again = await kit.tell("renewal.ahead", it.run.account, subject=f"{it.contract}/{it.renews_on}")
    assert again.reason == f"{it.run.case} is open already"
    moved = await kit.tell("renewal.ahead", it.run.account, subject=f"{it.contract}/{it.renews_on + DAY}")
    assert moved.reason == f"renewal not started: {it.run.case} is open for this account"
    assert len(await kit.place.rows(CaseRow, account_id=it.run.account)) == 1


@pytest.mark.parametrize("day", [89, 44, 5])
async def test_p0_18_a_worker_restart_in_mid_wait_changes_nothing(kit: Kit, day: int) -> None:
    it = await renewal(kit, 92)
    await it.to(day)
    async with kit.place.no_worker():
        pass
    await it.run.finish()
    assert await it.calendar() == {name: lines for name, lines in BASE.items() if name != "R-120"}


async def test_p0_18_p6_16_signed_while_no_worker_was_there(kit: Kit) -> None:
    it = await renewal(kit, 10)
    await it.to(5)
    async with kit.place.no_worker():
        await sign(it)
    assert (await it.run.finish()).outcome == "renewed"
    assert UNSIGNED not in [line for lines in (await it.calendar()).values() for line in lines]


async def test_p0_7_p6_20_a_meeting_is_waited_for_five_days_then_the_lead_is_asked(kit: Kit) -> None:
    it = await renewal(kit, 32)
    await it.to(24)
    calendar = await it.calendar()
    assert (calendar["R-30"], calendar["R-25"]) == (BASE["R-30"], BASE["R-25"])
    await it.run.answer("negotiate", "held")
    asked = next(task for task in await it.run.tasks() if task.title == NEGOTIATE[5:])
    assert asked.outcome == "held"
