"""The catalogue says what the code does: its page, its pictures, its templates."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import pytest

from activities.letters import templates
from models import facts
from workers import authoring
from workers.catalogue import Entry, as_json, catalogue
from workers.plans import variants
from workers.timeline import svg
from workflows import PLAYBOOKS
from workflows.playbook import Playbook
from workflows.steps import name_of
from workflows.trial_ending import TrialEnding

WORKFLOWS = authoring.ROOT / "workflows"
NOT_YET_USED = {
    "pause.confirm": "a subscription that is paused: the cancel flow sends it, and is not there yet",
    "pause.resume_7d": "a pause that ends in a week: the cancel flow sends it, and is not there yet",
}


@cache
def entries() -> list[Entry]:
    """The whole catalogue, made once."""
    return catalogue()


def test_the_page_and_the_pictures_are_what_the_code_says() -> None:
    stale = [path.relative_to(authoring.ROOT).as_posix() for path in authoring.out_of_date()]
    assert stale == [], f"{', '.join(stale)}: run `./holdfast playbooks --write` and commit what it writes"


def test_what_is_stale_missing_or_left_over_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authoring, "PAGE", tmp_path / "playbooks.md")
    monkeypatch.setattr(authoring, "PICTURES", tmp_path / "pictures")
    written = authoring.write_catalogue()
    assert [path.name for path in written] == [*sorted(f"{name_of(each)}.svg" for each in PLAYBOOKS), "playbooks.md"]
    assert authoring.out_of_date() == []
    page, picture, missing = tmp_path / "playbooks.md", written[0], written[1]
    page.write_text(page.read_text(encoding="utf-8").replace("Day 14", "Day 15"), encoding="utf-8")
    picture.write_text("<svg/>", encoding="utf-8")
    missing.unlink()
    left_over = picture.with_name("gone.svg")
    left_over.write_text("<svg/>", encoding="utf-8")
    assert authoring.out_of_date() == sorted([page, picture, missing, left_over])
    authoring.write_catalogue()
    assert authoring.out_of_date() == []
    assert not left_over.exists()


def test_every_playbook_has_a_chapter_a_picture_and_an_entry() -> None:
    page = authoring.PAGE.read_text(encoding="utf-8")
    names = [name_of(each) for each in PLAYBOOKS]
    assert re.findall(r"^## (.*)$", page, re.MULTILINE) == names
    assert re.findall(r"^!\[(.*)\]\(pictures/playbooks/\1\.svg\)$", page, re.MULTILINE) == names
    assert [entry["name"] for entry in as_json(entries())] == names


def test_an_entry_says_what_starts_it_its_calendar_what_ends_it_and_its_contents() -> None:
    (entry,) = as_json(catalogue(playbooks=[TrialEnding]))
    assert entry == {
        "name": "trial-ending",
        "summary": "A trial began: show what it is good for, and say when it ends.",
        "starts_on": ["trial.started"],
        "answers": {},
        "ends_on": {"plan.upgraded": ["upgraded"], "trial.cancelled": ["cancelled"]},
        "outcomes": ["upgraded", "trial_over", "cancelled"],
        "watches": "facts",
        "contents": ["trial.ending"],
        "variants": [
            {
                "label": "",
                "rows": [
                    {"when": when, "title": title, "does": [f"e-mail: {subject} (trial.ending)"], "only_if": ""}
                    for when, title, subject in (
                        ("Day 0", "Say what the trial is good for.", "Your trial of Holdfast Demo begins"),
                        ("Day 5", "Help them to a first result.", "A first result in Holdfast Demo"),
                        ("Day 12", "Say that the trial ends in two days.", "Your trial ends in 2 days"),
                    )
                ],
            }
        ],
    }


def test_a_picture_marks_each_effect_on_its_day() -> None:
    (entry,) = catalogue(playbooks=[TrialEnding])
    picture = ElementTree.fromstring(svg(entry))  # noqa: S314 - our own
    space = "{http://www.w3.org/2000/svg}"
    marks = [each for each in picture.iter(f"{space}circle") if each.find(f"{space}title") is not None]
    assert [each.findtext(f"{space}title") for each in marks] == [
        "Day 0: Say what the trial is good for.",
        "Day 5: Help them to a first result.",
        "Day 12: Say that the trial ends in two days.",
    ]
    first, second, third = (float(each.attrib["cx"]) for each in marks)
    assert (second - first) / (third - first) == pytest.approx(5 / 12, abs=0.01)
    assert [each.text for each in picture.iter(f"{space}text")][-3:] == ["0", "5", "12"]


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=name_of)
def test_every_public_step_has_a_docstring_that_names_it(playbook: type[Playbook]) -> None:
    """A method without one would take the base class's words, or none."""
    own = {name: each for name, each in vars(playbook).items() if callable(each) and not name.startswith("_")}
    assert own
    assert [name for name, each in own.items() if not (each.__doc__ or "").strip()] == []
    done = {each.removeprefix("do ") for shape in variants(playbook).values() for each in shape.commands}
    assert done & own.keys(), "its steps are among these methods"


def named_in_the_code() -> Iterator[str]:
    """Every text of a playbook file that may be a template's name; those of f-strings as patterns."""
    for path in sorted(WORKFLOWS.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        parts_of_others = {
            id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                parts = [str(each.value) if isinstance(each, ast.Constant) else "\0" for each in node.values]
                yield re.escape("".join(parts)).replace("\0", r"\w+")
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts_of_others:
                yield re.escape(node.value)


FACTS = {each for each in vars(facts).values() if isinstance(each, str)} | {
    fact for each in PLAYBOOKS for fact in (*each.ends_on, *(start.fact for start in each.starts_on))
}


def test_every_template_a_playbook_names_exists() -> None:
    """A text of a playbook that begins as our templates do, and is no fact, is a template's name."""
    families = "|".join({re.escape(each.partition(".")[0]) for each in templates()})
    texts = {re.sub(r"\\(.)", r"\1", each) for each in named_in_the_code()}
    asked = {each for each in texts if re.fullmatch(rf"({families})(\.\w+)+", each)} - FACTS
    assert {"trial.ending", "dunning.hard", "payment.call", "renewal.pricing", "usage.training"} <= asked
    assert asked - set(templates()) == set()
    assert {each for entry in entries() for each in entry.contents} - set(templates()) == set()


def test_every_template_is_used_or_listed_with_the_reason_why_not() -> None:
    used = {each for entry in entries() for each in entry.contents}
    patterns = [re.compile(each) for each in named_in_the_code()]
    used |= {each for each in templates() if any(pattern.fullmatch(each) for pattern in patterns)}
    assert set(templates()) - used == NOT_YET_USED.keys()
    assert all(NOT_YET_USED.values())
