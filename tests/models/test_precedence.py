"""Several runs of one account (P0.8), and no favours from those in trouble (P0.9), on both databases."""

from typing import get_args

import pytest

from models.cases import Banner, Offer, Task
from models.database import Database
from models.tables import CaseRow
from models.urgency import ORDER, Precedence, more_urgent_than
from tests.models.gate_kit import ACCOUNT, DAY, KNOWN, MONDAY, asked, case_of, deferrals, mail, people, said


def test_p0_8_the_order_is_one_and_every_playbook_has_its_place() -> None:
    assert get_args(Precedence) == ("", *ORDER)
    assert {name: kind.precedence for name, kind in KNOWN.items()} == {
        "payment-failure": "payment",
        "reinstatement": "",
        "usage-decline": "usage_decline",
        "renewal": "renewal",
        "onboarding": "value",
        "win-back": "re_engagement",
        "card-expiry": "payment",
        "accepted-offer": "",
        "trial-ending": "value",
        "at-risk": "at_risk",
        "churn-risk": "churn_risk",
        "alert": "value",
    }
    assert more_urgent_than("renewal") == ("cancel_flow", "payment", "support", "competitor")
    assert more_urgent_than("cancel_flow") == more_urgent_than("") == ()


async def test_p0_8_a_less_urgent_run_says_nothing_while_a_payment_is_failing(both: Database) -> None:
    usage = await case_of(both, "usage-decline")
    assert said(await asked(both, usage, mail(usage, 1))) == ("claimed", "contact_rules")
    await case_of(both, "payment-failure")
    row = await asked(both, usage, mail(usage, 2))
    assert (*said(row), row.reason) == ("dropped", "precedence", "suppressed: payment-failure holds the floor")
    banner = Banner(key=f"{usage.case}/step/3", title="Banner", template="usage.d1", marketing=True)
    assert said(await asked(both, usage, banner)) == ("dropped", "precedence")
    offer = Offer(key=f"{usage.case}/step/4", title="Offer", pct=20, months=3, expires=MONDAY + DAY)
    assert said(await asked(both, usage, offer)) == ("dropped", "precedence")
    task = Task(key=f"{usage.case}/step/5", title="Call", due=MONDAY)
    assert said(await asked(both, usage, task)) == ("claimed", "")
    down = Banner(key=f"{usage.case}/step/6", title="Take it down")
    assert said(await asked(both, usage, down)) == ("claimed", "")


async def test_p0_8_the_more_urgent_and_those_of_one_rank_speak(both: Database) -> None:
    await case_of(both, "usage-decline")
    payment, card = await case_of(both, "payment-failure"), await case_of(both, "card-expiry")
    assert said(await asked(both, payment, mail(payment, marketing=False))) == ("claimed", "contact_rules")
    assert said(await asked(both, card, mail(card, marketing=False))) == ("claimed", "contact_rules")


async def test_p0_8_a_run_that_has_ended_or_is_another_account_s_holds_no_floor(both: Database) -> None:
    usage = await case_of(both, "usage-decline")
    await case_of(both, "payment-failure", "cus_2")
    await case_of(both, "payment-failure")
    async with both.writing() as session:
        row = await session.get(CaseRow, f"payment-failure/{ACCOUNT}")
        assert row
        row.ended = True
        session.add(row)
    assert said(await asked(both, usage, mail(usage))) == ("claimed", "contact_rules")


async def test_p0_8_a_renewal_holds_the_floor_for_a_week_after_it_spoke(both: Database) -> None:
    usage, renewal = await case_of(both, "usage-decline"), await case_of(both, "renewal")
    assert said(await asked(both, usage, mail(usage, 1), people("a@example.com"))) == ("claimed", "contact_rules")
    assert said(await asked(both, renewal, mail(renewal, marketing=False))) == ("claimed", "contact_rules")
    tomorrow = usage.model_copy(update={"now": MONDAY + DAY})
    assert said(await asked(both, tomorrow, mail(usage, 2))) == ("dropped", "precedence")
    week_later = usage.model_copy(update={"now": MONDAY + 7 * DAY})
    assert said(await asked(both, week_later, mail(usage, 3))) == ("claimed", "contact_rules")


async def test_p0_8_a_renewal_waits_for_the_floor_and_not_for_ever(both: Database) -> None:
    await case_of(both, "payment-failure")
    renewal = await case_of(both, "renewal")
    terms = mail(renewal, marketing=False)
    for day in range(7):
        today = renewal.model_copy(update={"now": MONDAY + day * DAY})
        answer = await asked(both, today, terms)
        assert (*said(answer), getattr(answer, "until", None)) == ("waits", "precedence", MONDAY + (day + 1) * DAY)
    assert len(await deferrals(both)) == 7
    last = await asked(both, renewal.model_copy(update={"now": MONDAY + 7 * DAY}), terms)
    assert (*said(last), last.reason) == (
        "dropped",
        "precedence",
        "suppressed: payment-failure holds the floor, and has for 7 days",
    )


async def test_p0_8_what_is_owed_at_the_end_never_waits_for_the_floor(both: Database) -> None:
    await case_of(both, "payment-failure")
    renewal = await case_of(both, "renewal")
    assert said(await asked(both, renewal, mail(renewal, marketing=False), parting=True)) == ("dropped", "precedence")


@pytest.mark.parametrize("notice", ["billing", "legal", "security"])
async def test_p0_8_a_required_notice_passes_and_says_so(both: Database, notice: str) -> None:
    await case_of(both, "payment-failure")
    renewal = await case_of(both, "renewal")
    row = await asked(both, renewal, mail(renewal, marketing=False, notice=notice))
    assert (*said(row), row.reason) == (
        "claimed",
        "required_notice",
        f"a {notice} notice: no cap and no other playbook holds it back; Mon 23 Nov, 12:00 in UTC",
    )


@pytest.mark.parametrize("trouble", ["payment-failure", "usage-decline"])
async def test_p0_9_no_favour_is_asked_while_the_account_is_in_trouble(both: Database, trouble: str) -> None:
    onboarding = await case_of(both, "onboarding")
    asks = Task(key=f"{onboarding.case}/step/1", title="Speak of expansion", favour="upsell", due=MONDAY)
    assert said(await asked(both, onboarding, asks)) == ("claimed", "")
    await case_of(both, trouble)
    again = asks.model_copy(update={"key": f"{onboarding.case}/step/2"})
    row = await asked(both, onboarding, again)
    assert (*said(row), row.reason) == ("dropped", "no_favours", f"no upsell while {trouble} is open")
    review = mail(onboarding, 3, favour="review")
    assert said(await asked(both, onboarding, review)) == ("dropped", "no_favours")


async def test_p0_9_a_renewal_is_no_trouble(both: Database) -> None:
    onboarding = await case_of(both, "onboarding")
    await case_of(both, "renewal")
    assert said(await asked(both, onboarding, mail(onboarding, favour="advocacy"))) == ("claimed", "contact_rules")
