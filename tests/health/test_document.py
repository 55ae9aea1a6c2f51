"""docs/health.md says what the code does."""

from workers.health_document import DOCUMENT, in_step


def test_the_scorecards_in_the_document_are_those_of_the_code() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert in_step(text) == text, "run python -m workers.health_document"
