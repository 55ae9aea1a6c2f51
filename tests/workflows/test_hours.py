"""Working hours under a sleeping run: the wait is outside of the plan, and whoever pauses it keeps the mail back."""

from datetime import UTC, datetime, timedelta

import pytest

from models.contact_rows import Deferral
from tests.playbook_kit import Kit
from tests.town import HOUR
from workers.cases import steer

OPENS = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + 3 * HOUR
CLOCK = {"opens": f"{OPENS:%H:%M}", "closes": f"{OPENS + 6 * HOUR:%H:%M}", "days": [0, 1, 2, 3, 4, 5, 6]}
THREE_HOURS = {"hours": {**CLOCK, "enabled": True, "spread_minutes": 0}}
"""A window that opens two to three hours from now: whenever a run starts, it is closed."""


@pytest.mark.parametrize("kit_with", [THREE_HOURS], indirect=True)
async def test_p0_17_mails_wait_for_their_hour_and_the_plan_keeps_its_days(kit_with: Kit) -> None:
    run = await kit_with.start("trial.started", await kit_with.account())
    ending = await run.finish()
    assert (ending.outcome, ending.skipped) == ("trial_over", ())
    assert ending.done == ("welcome", "help_them", "say_that_it_ends")
    opens = [OPENS + timedelta(days=day) for day in (0, 5, 12)]
    assert [round((row.at - at) / HOUR, 1) for row, at in zip(await run.messages(), opens, strict=True)] == [0, 0, 0]
    waited: list[Deferral] = await kit_with.place.rows(Deferral, case_id=run.case)
    assert [(row.rule, row.step, row.until) for row in waited] == [
        ("hours", step, at) for step, at in zip(ending.done, opens, strict=True)
    ]


@pytest.mark.parametrize("kit_with", [THREE_HOURS], indirect=True)
async def test_p0_12_a_run_that_is_paused_while_a_mail_waits_sends_it_after_the_pause(kit_with: Kit) -> None:
    run = await kit_with.start("trial.started", await kit_with.account())
    await run.to_day(0)
    said = await steer(kit_with.place.client, run.case, "pause", "ana")
    assert said == "Paused. welcome waits, and goes out after the pause at the earliest."
    await run.to_day(0, hour=4)
    assert await run.messages() == []
    assert (await run.row()).state == "paused"
    await steer(kit_with.place.client, run.case, "resume", "ana")
    await run.to_day(0, hour=4.2)
    assert [row.template for row in await run.messages()] == ["trial.ending"]
    await steer(kit_with.place.client, run.case, "end", "ana")
    assert (await run.finish()).outcome == "ended_by_lead"
