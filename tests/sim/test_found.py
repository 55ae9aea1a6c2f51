"""Every world that ever broke, played again; and some that are always the same."""

import json
from pathlib import Path

import pytest

from tests.sim.playing import play
from tests.sim.script import from_json, script_of

FOUND = Path(__file__).parent / "found"


@pytest.mark.parametrize("name", sorted(path.stem for path in FOUND.glob("*.json")))
def test_what_was_found_stays_mended(name: str) -> None:
    """A world that once broke an invariant keeps them all."""
    script = from_json(json.loads((FOUND / f"{name}.json").read_text())["script"])
    assert play(script).violation == ""


@pytest.mark.parametrize("seed", range(30))
def test_these_worlds_hold(seed: int) -> None:
    """Fixed seeds, so that every change meets the same worlds."""
    assert play(script_of(seed)).violation == ""


@pytest.mark.parametrize("seed", [3, 11])
def test_a_seed_decides_everything(seed: int) -> None:
    """The same seed gives the same trace: every event, fault, row and moment."""
    first, second = play(script_of(seed)), play(script_of(seed))
    assert (first.trace, first.steps) == (second.trace, second.steps)
    assert first.steps > 5
