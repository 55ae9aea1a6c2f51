"""Caps over all playbooks and channels (T4.2), on both databases: by calendar day, and however many ask at once."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlmodel import col, func, select

from models import ledger
from models.cases import Banner, Batch
from models.database import Database
from models.gate import Held
from models.policy import Policy
from models.tables import EffectRow
from tests.models.gate_kit import DAY, MONDAY, asked, case_of, deferrals, mail, people, said

NO_SPREAD = Policy.model_validate({"hours": {"spread_minutes": 0}})
ALL_DAY = Policy.model_validate({"hours": {"enabled": False, "spread_minutes": 0}})


def on(batch: Batch, moment: datetime) -> Batch:
    return batch.model_copy(update={"now": moment})


async def test_t4_2_one_marketing_mail_a_day_for_a_person_over_all_playbooks(both: Database) -> None:
    usage, trial = await case_of(both, "usage-decline"), await case_of(both, "trial-ending", "cus_2")
    assert said(await asked(both, usage, mail(usage))) == ("claimed", "contact_rules")
    # The same person at another account, with the address written in another way.
    held = await asked(both, trial, mail(trial), people(" Max@Example.com "), policy=NO_SPREAD)
    assert held == Held(
        "caps",
        "this person heard 1 today and 1 in seven days; 1 and 3 is the most",
        datetime(2026, 11, 24, 9, tzinfo=UTC),
    )
    (row,) = await deferrals(both)
    assert (row.key, row.rule, row.at, row.until) == (
        mail(trial).key,
        "caps",
        MONDAY,
        datetime(2026, 11, 24, 9, tzinfo=UTC),
    )
    assert said(await asked(both, on(trial, row.until), mail(trial))) == ("claimed", "contact_rules")


async def test_t4_1_some_messages_go_to_an_account_so_often_in_a_month_whichever_run_has_them(both: Database) -> None:
    usage, trial = await case_of(both, "usage-decline"), await case_of(both, "trial-ending")
    rules = Policy.model_validate({"caps": {"month": {"usage.d3": 2, "usage.d1": 1}, "account_week": 99}})

    async def on_day(day: int, batch: Batch, template: str = "usage.d3") -> tuple[str, str]:
        sent = mail(batch, day, template=template)
        return said(await asked(both, on(batch, MONDAY + DAY * day), sent, policy=rules))

    assert [await on_day(day, usage) for day in (0, 7)] == [("claimed", "contact_rules")] * 2
    assert await on_day(14, trial) == ("dropped", "frequency")
    assert await on_day(15, trial, "usage.training") == ("claimed", "contact_rules")
    # The first of the two was 30 days ago.
    assert await on_day(30, trial) == ("claimed", "contact_rules")
    banner = Banner(key=f"{usage.case}/step/90", title="Show", template="usage.d1", marketing=True)
    again = banner.model_copy(update={"key": f"{usage.case}/step/91"})
    late = on(usage, MONDAY + 42 * DAY)
    assert said(await asked(both, late, banner, policy=rules)) == ("claimed", "contact_rules")
    dropped = await asked(both, late, again, policy=rules)
    assert (*said(dropped), dropped.reason) == ("dropped", "frequency", "1 in 30 days; 1 is the most of this message")


async def test_t4_2_three_in_any_seven_days_and_the_fourth_waits_for_room_or_is_dropped(both: Database) -> None:
    usage = await case_of(both, "usage-decline")
    for day in (0, 2, 3):
        assert said(await asked(both, on(usage, MONDAY + day * DAY), mail(usage, day))) == ("claimed", "contact_rules")
    late = await asked(both, on(usage, MONDAY + 4 * DAY), mail(usage, 8), policy=NO_SPREAD)
    # The first of the three leaves the seven days on the next Monday.
    assert (*said(late), getattr(late, "until", None)) == ("waits", "caps", datetime(2026, 11, 30, 9, tzinfo=UTC))
    impatient = Policy.model_validate({"caps": {"wait_days": 1}})
    gone = await asked(both, on(usage, MONDAY + 4 * DAY), mail(usage, 9), policy=impatient)
    assert (*said(gone), gone.reason) == (
        "dropped",
        "caps",
        "this person heard 0 today and 3 in seven days; 1 and 3 is the most, and there is no room within 1 days",
    )


async def test_t4_2_a_mail_waits_three_days_in_all_however_often_it_is_put_off(both: Database) -> None:
    usage = await case_of(both, "usage-decline")
    first = mail(usage, 99)
    for day in range(3):
        today = on(usage, MONDAY + day * DAY)
        assert said(await asked(both, today, mail(usage, day), policy=ALL_DAY)) == ("claimed", "contact_rules")
        assert said(await asked(both, today, first, policy=ALL_DAY)) == (
            ("waits", "caps") if day < 2 else ("dropped", "caps")
        )


async def test_t4_2_days_are_those_of_the_reader_s_calendar(both: Database) -> None:
    usage = await case_of(both, "usage-decline")
    late = datetime(2026, 11, 23, 10, 30, tzinfo=UTC)
    assert said(await asked(both, on(usage, late), mail(usage, 1), people(zone="Pacific/Auckland"), policy=ALL_DAY))[
        0
    ] == ("claimed")
    before = on(usage, late + timedelta(minutes=29))
    held = await asked(both, before, mail(usage, 2), people(zone="Pacific/Auckland"), policy=ALL_DAY)
    assert (said(held), getattr(held, "until", None)) == (("waits", "caps"), late + timedelta(minutes=30))
    after = on(usage, late + timedelta(minutes=30))
    assert (
        said(await asked(both, after, mail(usage, 2), people(zone="Pacific/Auckland"), policy=ALL_DAY))[0] == "claimed"
    )


async def test_t4_2_an_account_hears_twice_a_day_over_all_channels_whoever_it_is(both: Database) -> None:
    trial, onboarding = await case_of(both, "trial-ending"), await case_of(both, "onboarding")
    assert said(await asked(both, trial, mail(trial, 1), people("a@example.com")))[0] == "claimed"
    banner = Banner(key=f"{trial.case}/step/2", title="Banner", template="onboarding.nudge", marketing=True)
    assert said(await asked(both, trial, banner))[0] == "claimed"
    held = await asked(both, onboarding, mail(onboarding, 3), people("b@example.com"))
    assert (*said(held), held.reason) == (
        "waits",
        "caps",
        "the account heard 2 today and 2 in seven days; 2 and 6 is the most",
    )


async def test_t4_2_required_and_service_mails_are_exempt(both: Database) -> None:
    payment, card = await case_of(both, "payment-failure"), await case_of(both, "card-expiry")
    await asked(both, payment, mail(payment, 1, marketing=False))
    await asked(both, payment, mail(payment, 2, marketing=False))
    assert said(await asked(both, card, mail(card, 3, marketing=False))) == ("claimed", "contact_rules")
    assert said(await asked(both, card, mail(card, 4, marketing=False, notice="billing"))) == (
        "claimed",
        "required_notice",
    )


async def test_t4_2_what_did_not_go_does_not_count(both: Database) -> None:
    usage = await case_of(both, "usage-decline")
    first = mail(usage, 1)
    await asked(both, usage, first)
    async with both.writing() as session:
        await ledger.settle(session, first.key, "refused", "no such address")
    assert said(await asked(both, usage, mail(usage, 2)))[0] == "claimed"


async def test_t4_2_twenty_runs_that_write_to_one_person_at_once_never_pass_the_cap(both: Database) -> None:
    batches = [await case_of(both, "usage-decline", f"cus_{number}") for number in range(20)]

    async def claims(batch: Batch) -> Any:
        async with both.writing() as session:
            row, _ = await ledger.claim(
                session, batch, mail(batch), people(), parting=False, detail={}, policy=Policy()
            )
            await asyncio.sleep(0)
        return said(row)

    answers = await asyncio.gather(*(claims(batch) for batch in batches))
    assert sorted(answers) == [("claimed", "contact_rules"), *[("waits", "caps")] * 19]
    async with both.reading() as session:
        statement = select(func.count()).where(col(EffectRow.state) == "claimed")
        assert (await session.exec(statement)).one() == 1
    assert len(await deferrals(both)) == 19


async def test_t4_2_at_the_end_of_a_run_a_mail_beyond_the_cap_is_dropped(both: Database) -> None:
    usage = await case_of(both, "usage-decline")
    await asked(both, usage, mail(usage, 1))
    assert said(await asked(both, usage, mail(usage, 2), parting=True)) == ("dropped", "caps")
