"""What a CSM lead can say to a run, and what the base does with time (P0.12, design: pause shifts what is left)."""

import re
from datetime import datetime, timedelta

import pytest
from temporalio.client import WorkflowUpdateFailedError

from models.tables import CaseNote
from tests.town import DAY, Customer, Town
from workers.cases import CaseError, listed, steer, story


async def days_of(place: Town, person: Customer, *kinds: str) -> list[float]:
    """The days on which effects of these kinds were done, to a tenth."""
    calendar = await place.calendar(person.case)
    return [round(day, 1) for day, what in calendar.items() if any(each.startswith(kinds) for each in what)]


async def test_p0_12_pause_stops_the_clock_and_shifts_what_is_left(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds")
    await place.pass_time(person.case, 4 * DAY)
    assert await steer(place.client, person.case, "pause", "ana") == "Paused."
    await place.pass_time(person.case, 20 * DAY)
    assert (await place.case(person.case)).state == "paused"
    assert await days_of(place, person, "email") == [0.0, 3.0]
    await steer(place.client, person.case, "resume", "ana")
    await place.finish(person.case)
    assert await days_of(place, person, "email dunning") == [0.0, 3.0, 27.0, 30.0, 34.0, 50.0]
    notes = await place.rows(CaseNote, case_id=person.case)
    assert [(note.by, note.text) for note in notes] == [
        ("ana", "Paused."),
        ("ana", "Resumed after 20 days; what is left moved by as much."),
    ]


async def test_p1_13_a_payment_ends_a_paused_run(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds")
    await place.pass_time(person.case, 4 * DAY)
    await steer(place.client, person.case, "pause")
    await place.simulator.customer_pays(person.invoice, behaviour={"always": "ok"})
    await place.arrive()
    assert (await place.finish(person.case)).outcome == "recovered_by_customer"


async def test_p0_12_snooze_moves_everything_that_is_left(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds")
    await place.pass_time(person.case, 4 * DAY)
    await steer(place.client, person.case, "snooze", 10)
    await place.finish(person.case)
    assert await days_of(place, person, "email dunning") == [0.0, 3.0, 17.0, 20.0, 24.0, 40.0]


async def test_p1_5_a_snooze_moves_the_days_the_mail_speaks_of(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds")
    await place.pass_time(person.case, 4 * DAY)
    await steer(place.client, person.case, "snooze", 10)
    await place.finish(person.case)
    subjects = [mail["subject"] for mail in await place.simulator.mailbox()]
    assert "Account limited in 7 days" in subjects


async def test_p0_12_skip_leaves_out_one_step(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds")
    await place.pass_time(person.case, 4 * DAY)
    await steer(place.client, person.case, "skip", "warn_them", "bo")
    ending = await place.finish(person.case)
    assert ending.skipped == ("warn_them",)
    assert await days_of(place, person, "email") == [0.0, 3.0, 10.0, 14.0, 30.0]


async def test_p0_12_skipping_the_step_that_is_waited_for_goes_on_to_the_next(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds")
    await place.pass_time(person.case, 15 * DAY)
    await steer(place.client, person.case, "skip", "suspend")
    assert (await place.finish(person.case)).outcome == "skipped_to_the_end"
    assert "access suspended" not in [each for what in (await place.calendar(person.case)).values() for each in what]


async def test_p0_12_end_gives_back_what_was_taken(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds")
    await place.pass_time(person.case, 15 * DAY)
    await steer(place.client, person.case, "end", "ana")
    ending = await place.finish(person.case)
    assert ending.outcome == "ended_by_lead"
    assert (await place.calendar(person.case))[15.0] == ["access full", "banner", "risk cleared"]


@pytest.mark.parametrize(
    ("command", "arguments", "reason"),
    [
        ("resume", (), "this run is not paused"),
        ("snooze", (0,), "snooze by 1 to 90 days, not 0"),
        ("snooze", (91,), "snooze by 1 to 90 days, not 91"),
        ("skip", ("tell_them",), "'tell_them' is not ahead of this run; these are: first_retry, remind_them"),
        ("skip", ("nonsense",), "'nonsense' is not ahead of this run"),
    ],
)
async def test_p0_12_a_command_that_does_not_fit_is_refused_with_its_reason(
    place: Town, command: str, arguments: tuple[object, ...], reason: str
) -> None:
    person = await place.payment_fails("insufficient_funds")
    await place.pass_time(person.case, timedelta(minutes=5))
    with pytest.raises(CaseError, match=re.escape(reason)):
        await steer(place.client, person.case, command, *arguments)
    with pytest.raises(WorkflowUpdateFailedError):
        await place.run(person.case).execute_update(command, args=list(arguments))


async def test_p0_12_a_run_that_has_ended_says_so(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds", "ok")
    await place.finish(person.case)
    with pytest.raises(CaseError, match="there is no running run"):
        await steer(place.client, person.case, "pause")


async def test_p0_12_a_lead_sees_the_plan_what_is_next_and_when(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds")
    await place.pass_time(person.case, 4 * DAY)
    state = await place.run(person.case).query("state")
    assert state["done"] == ["tell_them", "first_retry", "remind_them"]
    assert state["next"] == "warn_them"
    opened = await place.started_at(person.case)
    assert abs(datetime.fromisoformat(state["next_at"]) - opened - 7 * DAY) < timedelta(seconds=5)
    (row,) = await listed(place.database)
    assert (row["state"], row["next"]) == (
        "Reminded",
        "Day 7: Try the card a last time, warn of the restriction, tell the CSM.",
    )
    details = await place.run(person.case).query("__temporal_workflow_metadata")
    assert "✓ Day 3: Try the card again, then remind them." in str(details)


async def test_p0_10_the_story_of_a_case_names_every_effect_and_why_one_was_held_back(place: Town) -> None:
    person = await place.payment_fails("lost_card")
    await place.pass_time(person.case, 4 * DAY)
    told = await story(place.database, person.case)
    lines = [(line["what"], line["state"], line["why"]) for line in told["lines"]]
    assert ("Retry the payment", "dropped", "hard decline (lost_card): this card is not retried") in lines
    with pytest.raises(CaseError, match="there is no case 'nonsense'"):
        await story(place.database, "nonsense")


async def test_p0_14_a_worker_restart_in_the_middle_of_a_wait_repeats_nothing(place: Town) -> None:
    person = await place.payment_fails("insufficient_funds")
    await place.pass_time(person.case, 4 * DAY)
    async with place.no_worker():
        pass
    await place.finish(person.case)
    assert await place.charges(person) == ["insufficient_funds"] * 4
    assert len(await place.simulator.mailbox()) == 6
