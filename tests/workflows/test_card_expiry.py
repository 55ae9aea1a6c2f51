"""Card expiry, line by line of the ledger (P2): alerts counted back from the card's last day."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest

from models.customers import Contract, Owner
from models.tables import Account, CaseRow, RiskSignal
from tests.playbook_kit import Kit, Run
from tests.town import DAY
from workers.cases import steer

ALERTS = {
    -30: ["email predunning.card_30", "banner predunning.card_banner"],
    -15: ["banner", "email predunning.card_15", "banner predunning.card_banner"],
    -7: ["banner", "email predunning.card_7", "banner predunning.card_banner"],
}
EXPIRED = {1: ["banner", "risk raised"]}
PAST = "its day was past when the run began"


@dataclass
class Card:
    """A run about one card."""

    run: Run
    expires_on: date

    async def to(self, days: float) -> None:
        """Let the clock go on to an hour past the beginning of a day, counted from the card's last day (UTC)."""
        left = datetime.combine(self.expires_on, time(), UTC) - await self.run.kit.place.started_at(self.run.case)
        await self.run.to_day(left / DAY + days)

    async def calendar(self) -> dict[int, list[str]]:
        """What was done, by days from the card's last day: -30, …, 1."""
        left = datetime.combine(self.expires_on, time(), UTC) - await self.run.kit.place.started_at(self.run.case)
        return {round(day - left / DAY): lines for day, lines in (await self.run.calendar()).items()}

    async def change(self, **columns: Any) -> None:
        """Change the account."""
        (account,) = await self.run.kit.place.rows(Account, id=self.run.account)
        account.sqlmodel_update(columns)
        await self.run.kit.add(account)


async def expiring(kit: Kit, days: int = 32, **columns: Any) -> Card:
    """A run about a card whose last day is so many days ahead."""
    day = kit.today() + timedelta(days=days)
    account = await kit.account(**{"card_last4": "4242", "card_expires_on": day, **columns})
    return Card(await kit.start("card.expiring", account, subject=f"{account}/{day}"), day)


async def test_p2_1_to_p2_9_three_alerts_then_the_risk_note(kit: Kit) -> None:
    card = await expiring(kit)
    ending = await card.run.finish()
    assert await card.calendar() == {**ALERTS, **EXPIRED}
    assert (await card.run.left_out(), await card.run.dropped()) == ({}, [])
    assert ending.outcome == "expired_unhandled"


async def test_p2_2_mail_and_message_in_the_product_with_the_link_to_update_the_card(kit: Kit) -> None:
    card = await expiring(kit, timezone="America/Los_Angeles")
    await card.run.finish()
    day = f"{card.expires_on:%A} {card.expires_on.day} {card.expires_on:%B %Y}"
    mails = await card.run.messages()
    assert {(mail.subject, mail.recipient) for mail in mails} == {
        ("Your card expires soon", f"zoe@{card.run.account}.example.com")
    }
    for mail in mails:
        assert f"The card ending in 4242 that pays for Holdfast Demo expires on {day}." in mail.text
        assert "Update your card: https://app.example.com/billing" in mail.text
    banners = await card.run.messages("in_app")
    assert {banner.text for banner in banners} == {
        f"The card on file expires on {day}.\n\nUpdate your card: https://app.example.com/billing\n"
    }


async def test_p2_2_only_one_message_stands_in_the_product_at_a_time(kit: Kit) -> None:
    card = await expiring(kit)
    await card.to(-6)
    standing = [banner.taken_down_at is None for banner in await card.run.messages("in_app")]
    assert standing == [False, False, True]
    await card.run.finish()
    assert None not in [banner.taken_down_at for banner in await card.run.messages("in_app")]


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"mrr": 200_000}, False),
        ({"mrr": 200_001}, True),
        ({"segment": "enterprise"}, True),
        ({"strategic": True}, True),
    ],
)
async def test_p2_2_the_last_alert_tells_the_csm_of_high_value_accounts(
    kit: Kit, columns: dict[str, Any], told: bool
) -> None:
    await kit.add(Owner(handle="ana", name="Ana Silva", email="ana@us.example.com"))
    card = await expiring(kit, 9, **columns)
    await card.to(-6)
    tasks = [(task.owner, task.title) for task in await card.run.tasks()]
    assert tasks == [("ana", "The card on file expires in a week")] * told
    assert ("Not done: only for high-value accounts" in [note.text for note in await kit.notes(card.run.case)]) is (
        not told
    )


@pytest.mark.parametrize(
    ("kit_with", "days"),
    [
        ({"card_expiry": {"days": [20, 10, 3]}}, [-20, -10, -3, 1]),
        ({"segment": {"starter": {"card_expiry": {"days": [28, 14, 1]}}}}, [-28, -14, -1, 1]),
    ],
    indirect=["kit_with"],
)
async def test_p2_1_the_days_are_policy(kit_with: Kit, days: list[int]) -> None:
    card = await expiring(kit_with)
    await card.run.finish()
    assert sorted(await card.calendar()) == days


@pytest.mark.parametrize("kit_with", [{"links": {"billing": "https://portal.example.com"}}], indirect=True)
async def test_p2_2_where_the_link_leads_is_policy(kit_with: Kit) -> None:
    card = await expiring(kit_with)
    await card.to(-29)
    assert "Update your card: https://portal.example.com\n" in (await card.run.messages())[0].text


@pytest.mark.parametrize(
    ("value", "outcome"), [("", "card_updated"), ("automatic", "auto_updated"), ("customer", "card_updated")]
)
@pytest.mark.parametrize("day", [-31, -20, 0])
async def test_p2_3_p2_6_a_new_card_ends_it_at_once_without_a_word(
    kit: Kit, value: str, outcome: str, day: int
) -> None:
    card = await expiring(kit)
    await card.to(day)
    written = len(await card.run.messages())
    await card.change(card_expires_on=card.expires_on + timedelta(days=1000), card_last4="1881")
    await card.run.hear("payment_method.updated", value=value)
    assert (await card.run.finish()).outcome == outcome
    calendar = await card.calendar()
    assert calendar.pop(day) == ["banner"]
    assert calendar == {when: lines for when, lines in ALERTS.items() if when < day}
    assert len(await card.run.messages()) == written


async def test_p2_3_a_card_that_expires_on_the_same_day_does_not_end_it(kit: Kit) -> None:
    card = await expiring(kit)
    await card.to(-20)
    await card.run.hear("payment_method.updated")
    assert (await card.run.finish()).outcome == "expired_unhandled"
    assert await card.calendar() == {**ALERTS, **EXPIRED}


async def test_p2_3_a_new_card_of_which_we_were_not_told_is_seen_before_the_next_alert(kit: Kit) -> None:
    card = await expiring(kit)
    await card.to(-20)
    await card.change(card_expires_on=card.expires_on + timedelta(days=1000))
    assert (await card.run.finish()).outcome == "card_updated"
    assert await card.calendar() == {-30: ALERTS[-30], -15: ["banner"]}


@pytest.mark.parametrize(("days", "left"), [(30, [-30, -15, -7]), (27, [-15, -7]), (12, [-7]), (5, [])])
async def test_p2_4_entered_late_only_the_alerts_still_ahead_are_sent(kit: Kit, days: int, left: list[int]) -> None:
    card = await expiring(kit, days)
    await card.run.finish()
    mails = [mail.template for mail in await card.run.messages()]
    assert mails == [f"predunning.card_{-day}" for day in left]
    assert list((await card.run.left_out()).values()) == [PAST] * (3 - len(left))
    days_of_mails = [mail.at.date() for mail in await card.run.messages()]
    assert len(set(days_of_mails)) == len(days_of_mails)


async def test_p2_4_a_card_called_after_its_account_is_not_taken_for_a_contract(kit: Kit) -> None:
    day = kit.today() + timedelta(days=32)
    account = await kit.account(card_expires_on=day)
    await kit.add(Contract(id=account, account_id=account, renews_on=day + timedelta(days=200)))
    card = Card(await kit.start("card.expiring", account, subject=f"{account}/{day}"), day)
    await card.run.finish()
    assert sorted(await card.calendar()) == [-30, -15, -7, 1]


@pytest.mark.parametrize("day", [-31, -20, 0])
async def test_p2_8_a_subscription_that_ends_ends_it(kit: Kit, day: int) -> None:
    card = await expiring(kit)
    await card.to(day)
    await card.run.hear("subscription.cancelled")
    assert (await card.run.finish()).outcome == "cancelled"
    calendar = await card.calendar()
    assert calendar.pop(day) == ["banner"]
    assert calendar == {when: lines for when, lines in ALERTS.items() if when < day}


async def test_p2_8_p0_4_a_customer_who_left_before_gets_nothing(kit: Kit) -> None:
    card = await expiring(kit, churned_at=datetime.now(UTC) - timedelta(days=3))
    assert (await card.run.finish()).outcome == "cancelled"
    assert await card.run.messages() == []


async def test_p2_9_unhandled_raises_a_risk_note_on_the_day_after_the_last(kit: Kit) -> None:
    card = await expiring(kit, 9)
    await card.to(0.9)
    assert await kit.place.rows(RiskSignal) == []
    await card.run.finish()
    (signal,) = await kit.place.rows(RiskSignal)
    assert (signal.signal, signal.account_id, signal.cleared_at) == ("card expired", card.run.account, None)


async def test_p2_1_without_a_day_nothing_is_started(kit: Kit) -> None:
    told = await kit.tell("card.expiring", await kit.account(), subject="nobodys")
    assert told.reason == "card-expiry not started: the subject does not say when the card expires"


async def test_p2_2_a_card_that_was_taken_off_the_file_is_still_asked_for(kit: Kit) -> None:
    card = await expiring(kit)
    await card.change(card_expires_on=None, card_last4="")
    await card.to(-29)
    (mail,) = await card.run.messages()
    assert "The card that pays for Holdfast Demo expires on" in mail.text


async def test_p0_5_a_second_trigger_starts_no_second_run(kit: Kit) -> None:
    card = await expiring(kit)
    again = await kit.tell("card.expiring", card.run.account, subject=f"{card.run.account}/{card.expires_on}")
    assert again.reason == f"{card.run.case} is open already"
    assert len(await kit.place.rows(CaseRow, account_id=card.run.account)) == 1


async def test_p0_18_a_worker_restart_in_mid_wait_changes_nothing(kit: Kit) -> None:
    card = await expiring(kit)
    await card.to(-20)
    async with kit.place.no_worker():
        pass
    await card.run.finish()
    assert await card.calendar() == {**ALERTS, **EXPIRED}


async def test_p0_12_end_by_a_lead_takes_the_message_down(kit: Kit) -> None:
    card = await expiring(kit)
    await card.to(-20)
    await steer(kit.place.client, card.run.case, "end")
    assert (await card.run.finish()).outcome == "ended_by_lead"
    assert (await card.calendar())[-20] == ["banner"]
