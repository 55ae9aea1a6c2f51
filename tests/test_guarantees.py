"""docs/guarantees.md names tests; they exist. And what it is about is all in it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", TEXT)))


@pytest.mark.parametrize(("file", "test"), NAMED, ids=[test for _, test in NAMED])
def test_every_test_that_is_named_exists(file: str, test: str) -> None:
    source = (ROOT / file).read_text(encoding="utf-8")
    assert re.search(rf"^(async )?def {test}\(", source, flags=re.MULTILINE)


def test_every_promise_names_a_test() -> None:
    rows = [line for line in TEXT.splitlines() if line.startswith("| ") and not line.startswith("| promise")]
    assert len(rows) > 10
    assert [row for row in rows if "::test_" not in row] == []


def test_every_make_target_that_is_named_and_is_ours_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "make restore-drill" in TEXT
    assert re.search(r"^restore-drill:", makefile, flags=re.MULTILINE)
