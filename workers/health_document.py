"""The scorecards as tables, between two marks of docs/health.md: `python -m workers.health_document` writes them."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from models.health import CARDS
from models.health.metrics import ALL, METRICS
from models.health.risk import BASE, EACH_OTHER, LEVELS, SIGNALS
from models.health.scorecard import HUNDREDTH, Band, Labels, Part, Proportion, Rule, Scorecard, hundredths

DOCUMENT: Final = Path(__file__).parent.parent / "docs" / "health.md"
MARKS: Final = "<!-- from here on written by python -m workers.health_document -->", "<!-- to here -->"


def tables() -> str:
    """Every scorecard, the churn risk and the metrics, as Markdown."""
    return "\n".join([line for card in CARDS for line in _card(card)] + list(_risk()) + list(_metrics()))


def in_step(text: str) -> str:
    """The document with today's tables."""
    begin, end = MARKS
    found = re.search(f"{re.escape(begin)}.*{re.escape(end)}", text, re.DOTALL)
    if found is None:
        raise LookupError(f"{DOCUMENT.name} has lost the lines {begin!r} and {end!r}")
    return text.replace(found[0], f"{begin}\n\n{tables()}\n{end}")


def _table(head: str, rows: list[str]) -> Iterator[str]:
    yield f"| {head} |"
    yield f"|{'---|' * (head.count('|') + 1)}"
    yield from (f"| {row} |" for row in rows)
    yield ""


def _card(card: Scorecard) -> Iterator[str]:
    yield f"### {card.name}: {card.title} ({card.ledger})\n"
    rows = [f"{part.title} | {part.weight} | {_reading(part)} | {_worth(part)}" for part in card.parts]
    yield from _table("part | weight | reading | worth", rows)
    yield from _bands(card.bands)


def _bands(bands: tuple[Band, ...]) -> Iterator[str]:
    yield from _table("from | band | due", [f"{band.low} | {band.title} | {band.action}" for band in bands])


def _reading(part: Part) -> str:
    names = [f"`{rule.metric}`" for rule in part.rules]
    return ("mean of " if part.mean and len(names) > 1 else "") + (", " if part.mean else ", else ").join(names)


def _worth(part: Part) -> str:
    worths = list(dict.fromkeys(_rule(rule, part) for rule in part.rules))
    return "; ".join(worths)


def _rule(rule: Rule, part: Part) -> str:
    if isinstance(rule, Proportion):
        return f"in proportion, all at {rule.full}"
    if isinstance(rule, Labels):
        return ", ".join(f"{label.replace('_', ' ')} {_points(worth, part)}" for label, worth in rule.worths)
    steps = [f"{_limit(limit)} {_points(worth, part)}" for limit, worth in dict(rule.limits).items()]
    return ", ".join([f"less {_points(rule.below, part)}", *steps])


def _points(worth: int, part: Part) -> str:
    return f"**{worth * abs(part.weight) / part.out_of:g}**"


def _limit(limit: float) -> str:
    """A limit that is a hundredth above a whole number does not count itself."""
    return f"from {limit:g}" if hundredths(limit) % HUNDREDTH == 0 else f"over {int(limit // 1)}"


def _risk() -> Iterator[str]:
    yield "### Churn risk (H6, H7)\n"
    base = ", ".join(f"{level} {points}" for level, points in BASE.items())
    yield f"Points of the worst live signal ({base}), and {EACH_OTHER} for each other, 100 at most. Three live signals"
    yield "are always critical, two at least high.\n"
    yield from _bands(LEVELS)
    rows = []
    for each in SIGNALS:
        after = f", and {each.days} days after" if each.days else ""
        life = f"while it is open{after}" if each.while_open else f"{each.days} days, unless cleared"
        rows.append(f"{each.name} | {each.level} | {life} | {each.ledger}")
    yield from _table("signal | level | counts | ledger", rows)


def _metrics() -> Iterator[str]:
    yield "### Metrics\n"
    readers = {name: ", ".join(card.name for card in CARDS if name in card.metrics) or "no model" for name in METRICS}
    rows = [f"`{each.name}` | {each.title} | {each.allowed} | {readers[each.name]}" for each in ALL]
    yield from _table("name | what | allowed | read by", rows)


if __name__ == "__main__":
    DOCUMENT.write_text(in_step(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(f"{DOCUMENT.name} is in step with the code\n")
