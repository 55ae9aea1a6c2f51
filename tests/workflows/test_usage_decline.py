"""Usage decline, line by line of the ledger (P3)."""

from tests.playbook_kit import Kit


async def test_p3_5_to_p3_11_a_moderate_decline(kit: Kit) -> None:
    account = await kit.account(segment="mid", health=80)
    today = kit.today()
    await kit.use(account, "activity", 10, days=(-28, -14), today=today)
    await kit.use(account, "activity", 6, days=(-14, 40), today=today)
    run = await kit.start("usage.declined", account, value="moderate")
    ending = await run.finish()
    assert await run.calendar() == {
        0.0: ["banner usage.d1"],
        2.0: ["email usage.d3"],
        13.0: ["email usage.training"],
        21.0: ["banner", "tell usage.unresolved"],
    }
    assert ending.outcome == "escalated_unresolved"
