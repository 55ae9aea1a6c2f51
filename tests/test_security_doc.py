"""docs/security.md names tests as its proofs: each of them exists, and each row says what it has to."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TEXT.split("## Secrets")[0].splitlines()
    if line.startswith("|") and not line.startswith(("|---", "| row "))
]


def known_tests() -> set[str]:
    """The names of all test functions."""
    return {
        node.name
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


def test_every_test_that_the_document_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", TEXT))
    assert len(named) >= 40
    assert named - known_tests() == set()


def test_every_row_is_met_with_a_test_or_honestly_not() -> None:
    assert len(ROWS) >= 70
    for row in ROWS:
        assert len(row) == 4, row
        what, state, how, test = row
        assert state in ("met", "not yet", "yours"), what
        assert bool(test) == (state == "met") or state == "yours", f"{what}: met means a test, not yet means none"
        assert not test or re.fullmatch(r"`test_\w+`", test), what
        assert how or test, what


def test_every_chapter_that_applies_is_there() -> None:
    chapters = re.findall(r"^## V(\d+) ", TEXT, re.MULTILINE)
    assert chapters == ["1", "2", "3", "4", "9", "11", "12", "13", "14", "16"]
