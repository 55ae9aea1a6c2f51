"""The worked example's test, as docs/authoring.md has it."""

from tests.playbook_kit import Kit


async def test_a_trial_is_spoken_of_on_day_0_5_and_12(kit: Kit) -> None:
    run = await kit.start("trial.started", await kit.account())
    assert (await run.finish()).outcome == "trial_over"
    assert await run.calendar() == {day: ["email trial.ending"] for day in (0.0, 5.0, 12.0)}
    assert [mail.subject for mail in await run.messages()] == [
        "Your trial of Holdfast Demo begins",
        "A first result in Holdfast Demo",
        "Your trial ends in 2 days",
    ]


async def test_an_upgrade_ends_it(kit: Kit) -> None:
    run = await kit.start("trial.started", await kit.account())
    await run.to_day(6)
    await run.hear("plan.upgraded")
    assert (await run.finish()).outcome == "upgraded"
    assert list(await run.calendar()) == [0.0, 5.0]
