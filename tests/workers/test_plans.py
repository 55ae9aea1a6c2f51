"""The plan lock: what the repository has locked replays, and each row of the guide's table gets the right verdict."""

import re
from pathlib import Path

import pytest

from tests.town import Town
from tests.workflows.edited import EDITS, NAME, AddedFirst, AddedFirstForGood, AddedFirstPlain, Edit, Original
from tests.workflows.test_edits import GUIDE, cut, failures, recorded
from tests.workflows.test_trial_ending import __file__ as example_test
from workers import plans
from workers.authoring import ROOT
from workers.plans import PlanChanged
from workflows import PLAYBOOKS
from workflows.steps import name_of
from workflows.trial_ending import TrialEnding

LOCK = plans.locked({}, [Original])
"""What would be committed with the original code."""
NEED_A_PATCH = [edit for edit in EDITS if edit.plain]
STEPS = {
    "step added first": "added",
    "step added in the middle": "added",
    "step added last": "added",
    "step removed": "second",
    "step renamed": "second_renamed",
    "steps reordered": "second",
    "only_if or fresh added to a step, or taken from it": "third",
}


def of(edit: Edit) -> str:
    """A test's id."""
    return edit.what


def test_every_plan_that_is_locked_here_replays_and_every_plan_of_today_is_locked() -> None:
    lock = plans.read()
    plans.check(lock)
    assert lock.keys() == {name_of(each) for each in PLAYBOOKS}


@pytest.mark.parametrize("edit", [edit for edit in EDITS if not edit.plain], ids=of)
def test_an_edit_that_needs_nothing_passes_the_lock(edit: Edit) -> None:
    plans.check(LOCK, [edit.code])
    assert plans.locked(LOCK, [edit.code]) == LOCK


@pytest.mark.parametrize("edit", NEED_A_PATCH, ids=of)
def test_an_edit_that_needs_a_patch_is_refused_with_the_line_to_write(edit: Edit) -> None:
    assert edit.plain
    for refuses in (plans.check, plans.locked):
        with pytest.raises(PlanChanged) as raised:
            refuses(LOCK, [edit.plain])
        lines = str(raised.value).splitlines()
        assert lines[0].startswith(
            "letters: runs that sleep under the plan 'starter/user.signed_up' would not replay ("
        )
        written = [
            re.fullmatch(r"    on_day\(\.\.\., self\.(\w+)\) if (?:not )?workflow\.patched\(.*", each) for each in lines
        ]
        steps = [each.group(1) for each in written if each]
        assert steps[0] == STEPS[edit.what]
        assert len(steps) == (2 if "both" in row_of(edit) else 1)


@pytest.mark.parametrize("edit", NEED_A_PATCH, ids=of)
def test_with_the_patch_the_lock_grows_by_the_new_plan_and_keeps_the_old(edit: Edit) -> None:
    with pytest.raises(PlanChanged, match=r"^letters has a new shape \(starter/user\.signed_up\): lock it with"):
        plans.check(LOCK, [edit.code])
    grown = plans.locked(LOCK, [edit.code])
    old, new = grown[NAME]
    assert old == LOCK[NAME][0]
    assert new.commands != old.commands
    assert (old.patches, len(new.patches)) == ((), 1)
    plans.check(grown, [edit.code])
    assert plans.locked(grown, [edit.code]) == grown


def test_a_playbook_that_is_taken_out_of_the_list_is_noticed() -> None:
    lock = plans.read()
    rest = [each for each in PLAYBOOKS if each is not TrialEnding]
    with pytest.raises(PlanChanged, match=r"^the playbook trial-ending is locked but not in workflows/"):
        plans.check(lock, rest)
    assert plans.locked(lock, rest) == lock, "locking again does not forget it"


def test_a_playbook_that_is_not_locked_yet_is_noticed() -> None:
    with pytest.raises(PlanChanged, match="^letters has a new shape .*`./holdfast plans lock`"):
        plans.check({}, [Original])


def test_a_patch_that_is_taken_out_too_early_is_refused_with_what_stands_in_its_place() -> None:
    lock = plans.locked({}, [AddedFirst])
    plans.check(lock, [AddedFirst])
    with pytest.raises(PlanChanged, match=r"^letters: runs that sleep have taken the patch added-0, ") as raised:
        plans.check(lock, [AddedFirstPlain])
    assert str(raised.value).splitlines()[1:] == ['    workflow.deprecate_patch("added-0")']
    plans.check(plans.locked(lock, [AddedFirstForGood]), [AddedFirstForGood])


async def test_the_replay_says_the_same_of_a_patch_that_is_taken_out_too_early(place: Town) -> None:
    histories = cut(await recorded(place, AddedFirst))
    assert any("added-0" in each for each in await failures(AddedFirstPlain, histories))
    assert await failures(AddedFirstForGood, histories) == [""] * len(histories)


def test_a_lock_is_read_as_it_was_written(tmp_path: Path) -> None:
    lock = plans.locked(plans.read(), [*PLAYBOOKS, Original])
    plans.write(lock, tmp_path / "lock.json")
    assert plans.read(tmp_path / "lock.json") == lock
    assert plans.read(tmp_path / "none.json") == {}
    plans.write(plans.read(), tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text() == plans.LOCK.read_text(), "as the command writes it"


# The guide, which promises all of this.

TEXT = GUIDE.read_text(encoding="utf-8")
TABLE = re.findall(r"^\| ([^|]+) \| ([^|]+) \| [^|]+ \|$", TEXT[TEXT.index("| edit |") :], re.MULTILINE)


def row_of(edit: Edit) -> str:
    """What the guide says the edit needs."""
    needs: str = dict(TABLE)[edit.what]
    return needs


def test_the_guides_table_has_the_rows_that_are_tested_and_says_which_need_a_patch() -> None:
    assert TABLE[0] == ("edit", "what it needs")
    said = [(what, "nothing" not in needs) for what, needs in TABLE[1:]]
    tested = [(edit.what, edit.plain is not None) for edit in EDITS]
    assert sorted(said) == sorted(tested)


def test_the_guide_quotes_the_real_file() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    head, mark, rest = block.partition("    ...\n")
    assert (mark, rest) == ("    ...\n", "")
    assert head.startswith('@workflow.defn(name="trial-ending")\n')
    assert head in (ROOT / "workflows" / "trial_ending.py").read_text(encoding="utf-8")


def test_the_example_is_as_small_as_the_guide_promises() -> None:
    def lines(path: Path) -> int:
        return len(path.read_text(encoding="utf-8").splitlines())

    assert lines(ROOT / "workflows" / "trial_ending.py") <= 40
    assert lines(Path(example_test)) <= 25
    listed = (ROOT / "workflows" / "__init__.py").read_text(encoding="utf-8").splitlines()
    assert [line for line in listed if re.search("trial.?ending", line, re.IGNORECASE)] == [
        '        "trial_ending:TrialEnding",',
    ]
    named = {path.name for path in (ROOT / "emails").iterdir() if "trial" in path.name}
    assert named == {"trial.ending"}
    assert {path.name for path in (ROOT / "emails" / "trial.ending").iterdir()} == {
        "subject.txt",
        "body.txt",
        "body.mjml",
    }
    elsewhere = [
        path.relative_to(ROOT).as_posix()
        for room in ("models", "activities", "web", "workers", "workflows")
        for path in (ROOT / room).rglob("*.py")
        if re.search("trial.?ending|trial.started", path.read_text(encoding="utf-8"), re.IGNORECASE)
    ]
    assert sorted(elsewhere) == ["workflows/__init__.py", "workflows/trial_ending.py"]
