"""A rehearsed run does what a real one does: the same calendar, the same order, and it fails as loudly."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio import workflow

from models.cases import Case, Ending
from models.policy import Policy
from tests.workflows.edited import AddedFirst, AddedInTheMiddle, Original
from tests.workflows.test_payment_failure import MONTH
from workers.preview import About, rehearsed, sample_case
from workers.rehearsal import Moment, RehearsalError, Rehearsed, rehearse
from workflows.payment_failure import PaymentFailure
from workflows.playbook import Playbook
from workflows.steps import Start, on_day
from workflows.trial_ending import TrialEnding

START = datetime(2026, 11, 25, 9, tzinfo=UTC)
ABOUT = About(segment="starter")


def acted(playbook: type[Playbook], decline: str = "") -> Rehearsed:
    """The run of a sample account that begins at `START`."""
    case = sample_case(playbook, Policy(), ABOUT, START)
    return rehearsed(playbook, case, ABOUT, START, decline=decline)[0]


def lines(moment: Moment) -> list[str]:
    """What one batch did, in the words of the calendar that tests of real runs compare with."""
    found = []
    for effect in moment.batch.effects:
        said: dict[str, Any] = effect.model_dump()
        detail = said.get("template") or said.get("level") or said.get("fact") or ""
        if effect.kind == "risk":
            detail = "raised" if said["raised"] else "cleared"
        if effect.kind == "task":
            detail = effect.title
        state = moment.outcome.results[effect.key].state
        if state != "dropped":
            found.append(" ".join(filter(None, (effect.kind, detail, "" if state == "done" else state))))
    return found


def calendar(run: Rehearsed) -> dict[float, list[str]]:
    """By day after the start."""
    days: dict[float, list[str]] = {}
    for moment in run.moments:
        if found := lines(moment):
            days.setdefault(round((moment.at - run.started) / timedelta(days=1), 2), []).extend(found)
    return days


def test_a_rehearsed_month_is_the_month_of_the_real_server() -> None:
    run = acted(PaymentFailure)
    assert calendar(run) == MONTH
    assert run.ending is not None
    assert run.ending.outcome == "suspended"


def test_a_card_that_is_lost_is_never_charged_in_a_rehearsal_either() -> None:
    without = {day: [each for each in what if each != "charge refused"] for day, what in MONTH.items()}
    assert calendar(acted(PaymentFailure, "lost_card")) == {day: what for day, what in without.items() if what}


def test_a_run_tells_its_own_steps_and_every_way_to_end() -> None:
    run = acted(TrialEnding)
    assert [(step.name, step.title, step.stage) for step in run.steps] == [
        ("welcome", "Day 0: Say what the trial is good for.", ""),
        ("help_them", "Day 5: Help them to a first result.", ""),
        ("say_that_it_ends", "Day 12: Say that the trial ends in two days.", "Ending"),
    ]
    assert run.endings == {"plan.upgraded": ["upgraded"], "trial.cancelled": ["cancelled"]}
    assert [(moment.at - START).days for moment in run.moments if not moment.is_a_look] == [0, 5, 12]


def test_its_commands_are_those_a_replay_compares_in_their_order() -> None:
    assert acted(Original).commands == [
        *("do first", "wait", "do second", "wait", "do third-look", "show the stage", "do third"),
        *("wait", "do fourth", "show the stage"),
    ]


def test_a_run_that_began_before_a_patch_is_rehearsed_without_it() -> None:
    case = sample_case(AddedInTheMiddle, Policy(), ABOUT, START)
    today, _ = rehearsed(AddedInTheMiddle, case, ABOUT, START)
    before, _ = rehearsed(AddedInTheMiddle, case, ABOUT, START, patches=())
    assert "do added" in today.commands
    assert before.commands == acted(Original).commands
    assert (today.patches, before.patches) == (["added-5"], [])
    other, _ = rehearsed(AddedFirst, case, ABOUT, START, patches=("added-5",))
    assert other.commands == before.commands, "another patch is not this one"


@workflow.defn(name="fails")
class Fails(Playbook):
    """A playbook with a defect in its second step."""

    starts_on = (Start("x"),)

    @workflow.run
    async def run(self, case: Case) -> Ending:
        """Two steps."""
        return await self.follow(case, on_day(0, self.well), on_day(3, self.badly), otherwise="over")

    def well(self) -> None:
        """Do nothing."""

    def badly(self) -> None:
        """Divide by nothing."""
        self.task(str(1 / 0))


@workflow.defn(name="waits")
class Waits(Playbook):
    """A playbook that nothing ever ends."""

    starts_on = (Start("x"),)

    @workflow.run
    async def run(self, case: Case) -> Ending:
        """Wait for what never comes."""
        await workflow.wait_condition(lambda: False)
        return await self.follow(case, otherwise="over")


@pytest.mark.parametrize(
    ("playbook", "says"),
    [(Fails, "fails: .*division by zero"), (Waits, "waits waits for something that never comes")],
)
def test_a_playbook_that_fails_says_so(playbook: type[Playbook], says: str) -> None:
    case = sample_case(playbook, Policy(), ABOUT, START)
    with pytest.raises(RehearsalError, match=says):
        rehearse(playbook, case, start=START)
