"""A piece of `make crash` for every run of the suite: every point of a short story, and the beginning of another."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.client import Client

from simulator.running import SimulatorControl
from tests.crash.enumeration import Enumeration, Tally
from tests.crash.stage import Stage, stage
from tests.crash.stories import stories
from tests.town import fresh_database
from workflows import PLAYBOOKS
from workflows.steps import name_of


@pytest.fixture(scope="module")
async def place(
    client: Client, the_simulator: SimulatorControl, migrated: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    """A stage for all tests here."""
    async with stage(client, the_simulator, fresh_database(migrated, tmp_path_factory.mktemp("crash"))) as running:
        yield running


async def enumerated(place: Stage, wanted: str, most: int = 0) -> Tally:
    """What came of a crash at every point of a story, or at the first ones of each process."""
    (story,) = [each for each in stories() if str(each) == wanted]
    tally = Tally()
    await Enumeration(place, story, tally, lambda _: None, most=most).points()
    return tally


@pytest.mark.timeout(120)
async def test_a_crash_at_every_point_of_a_trial_changes_nothing(place: Stage) -> None:
    tally = await enumerated(place, "trial-ending/sample")
    assert tally.violations == []
    # Each kind of point there is fired as often as it is there: nothing was left out because the order changed.
    assert tally.expected - tally.names == {}
    assert tally.points == tally.expected.total()


@pytest.mark.timeout(120)
async def test_a_crash_while_an_offer_is_accepted_and_given_changes_nothing(place: Stage) -> None:
    tally = await enumerated(place, "accepted-offer/accepted_an_offer", most=8)
    assert (tally.violations, tally.points) == ([], 4 + 8 + 8)


def test_every_playbook_has_a_story() -> None:
    assert {story.playbook for story in stories()} == {name_of(playbook) for playbook in PLAYBOOKS}
