"""An account's story, on both databases: in order, with what was not sent and why."""

import pytest

from models import holds, ledger
from models.database import Database
from models.policy import Policy
from models.story import NoSuchAccount, story_of
from models.tables import CaseNote, CaseRow, TaskRow
from tests.models.gate_kit import ACCOUNT, DAY, MONDAY, asked, case_of, mail


async def an_account_with_a_story(database: Database) -> None:
    """Usage falls; a mail goes, one has to wait, a payment fails, one is suppressed, a task is done."""
    usage = await case_of(database, "usage-decline")
    policy = Policy.model_validate({"hours": {"spread_minutes": 0}})
    sent = await asked(database, usage, mail(usage, 1), policy=policy)
    async with database.writing() as session:
        await ledger.settle(session, mail(usage, 1).key, "done")
        session.add(CaseNote(case_id=usage.case, at=MONDAY + DAY, by="ana", text="Called them."))
        session.add(
            TaskRow(
                key=f"{usage.case}/call/1",
                account_id=ACCOUNT,
                case_id=usage.case,
                owner="ana",
                title="Call them",
                opened_at=MONDAY,
                due_at=MONDAY + DAY,
                outcome="reached",
                done_at=MONDAY + DAY,
            )
        )
    assert sent.rule == "contact_rules"
    await asked(database, usage, mail(usage, 2), policy=policy)
    await case_of(database, "payment-failure")
    await asked(database, usage.model_copy(update={"now": MONDAY + 2 * DAY}), mail(usage, 2), policy=policy)
    async with database.writing() as session:
        case = await session.get(CaseRow, "payment-failure/cus_1")
        assert case
        case.ended, case.outcome, case.reason, case.ended_at = True, "paid", "invoice.paid", MONDAY + 3 * DAY
        session.add(case)
        hold, _ = await holds.place(session, "account", ACCOUNT, "ana", "a complaint")
        hold.wall_placed_at = MONDAY + 4 * DAY
        await holds.place(session, "account", "cus_2", "ana", "another")


async def test_r_a_story_tells_what_was_sent_what_was_not_and_why_in_order(both: Database) -> None:
    await an_account_with_a_story(both)
    async with both.reading() as session:
        story = await story_of(session, ACCOUNT)
    assert [(f"{entry.at:%d}", entry.what, entry.text, entry.rule) for entry in story.entries] == [
        ("22", "case", "payment-failure opened", ""),
        ("22", "case", "usage-decline opened", ""),
        ("23", "sent", "E-mail", "contact_rules"),
        ("23", "waits", "E-mail", "caps"),
        ("24", "said", "Called them.", ""),
        ("24", "task", "Call them: reached", ""),
        ("25", "not sent", "E-mail", "precedence"),
        ("26", "case", "payment-failure ended: paid", ""),
        ("27", "hold", "this account put on hold", ""),
    ]
    assert story.entries[3].why == (
        "this person heard 1 today and 1 in seven days; 1 and 3 is the most; until 24 Nov 2026, 09:00 UTC"
    )
    assert story.entries[6].why == "suppressed: payment-failure holds the floor"
    assert story.entries[8].why == "by ana: a complaint"
    assert all(entry.why for entry in story.entries if entry.what in ("sent", "not sent", "waits"))


async def test_r_of_an_account_nobody_knows_there_is_no_story(both: Database) -> None:
    async with both.reading() as session:
        with pytest.raises(NoSuchAccount, match="there is no account 'cus_9'"):
            await story_of(session, "cus_9")
