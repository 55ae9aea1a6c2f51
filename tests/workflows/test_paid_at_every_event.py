"""`paid` before and after every event of a history, delivered or lost: a sample of `make crash` (I3, P1.13)."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.client import Client

from simulator.running import SimulatorControl
from tests.crash.paid import NEWS, News, paid_at_every_point
from tests.crash.stage import Stage, stage
from tests.town import fresh_database

EVERY = 61
"""With this between them the sample meets batches, tasks and answers of early and of late steps."""


@pytest.fixture(scope="module")
async def place(
    client: Client, the_simulator: SimulatorControl, migrated: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    """A stage for all tests here."""
    async with stage(client, the_simulator, fresh_database(migrated, tmp_path_factory.mktemp("paid"))) as running:
        yield running


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("news", "first"), [(each, 3 + 11 * number) for number, each in enumerate(NEWS)])
async def test_p1_13_paid_at_any_event_nothing_of_the_plan_follows(place: Stage, news: News, first: int) -> None:
    tried, wrong = await paid_at_every_point(place, news, iter(range(first, 1000, EVERY)), lambda _: None)
    assert wrong == []
    assert tried >= 3
