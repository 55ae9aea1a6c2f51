"""The plain way and the vectorised one agree to the last digit, whatever is missing (ledger H0.1, H0.3, H0.4, H6)."""

import json
import random
from datetime import date
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from models.health import CARDS, risk
from models.health.metrics import ALL, Metric, readings_of
from models.health.scorecard import Steps, hundredths
from models.health.scoring import READ, Page, compare, decode, score

ACCOUNTS = 2_500
EXAMPLES = 4
LIMITS: dict[str, list[float]] = {}
for card in CARDS:
    for part in card.parts:
        for rule in part.rules:
            if isinstance(rule, Steps):
                LIMITS.setdefault(rule.metric, []).extend(limit for limit, _ in rule.limits)


def value_of(metric: Metric, rng: random.Random) -> Any:
    """A label, or a number: whole, with hundredths, or right at a limit or beside it."""
    if metric.labels:
        return rng.choice(metric.labels)
    most = min(metric.most, 200)
    near = [limit + step for limit in LIMITS.get(metric.name, ()) for step in (-0.01, 0, 0.01)]
    drawn = [rng.randint(metric.least, most), round(rng.uniform(metric.least, most), 2), metric.least, most, *near]
    return min(max(round(rng.choice(drawn), 2), metric.least), metric.most)


def stored_of(rng: random.Random) -> dict[str, Any]:
    """The readings of an account, few or many."""
    share = rng.choice((0.1, 0.5, 0.8, 1))
    return {metric.name: value_of(metric, rng) for metric in ALL if rng.random() < share}


def page(stored: list[dict[str, Any]], held: list[dict[str, str]], live: list[tuple[str, str]]) -> Page:
    """Accounts as they are read from the database, named by their number."""
    standings = [json.dumps({f"{model}_band": band or None for model, band in each.items()}) for each in held]
    count = range(len(stored))
    columns: dict[str, Any] = {
        "account": [f"{n:05}" for n in count],
        "primary": ["h1" for _ in count],
        "readings": [json.dumps(each) for each in stored],
        "standings": standings,
        "version": [1 for _ in count],
        "told": ["" for _ in count],
    }
    raised = {"account": [each for each, _ in live], "level": [risk.signal_named(name).level for _, name in live]}
    return Page(
        pl.DataFrame(columns, schema=READ), pl.DataFrame(raised, {"account": pl.String(), "level": pl.String()})
    )


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.integers(0, 2**32))
def test_h0_10_000_random_accounts_come_out_the_same_row_by_row_and_vectorised(seed: int) -> None:
    rng = random.Random(seed)
    stored = [stored_of(rng) for _ in range(ACCOUNTS)]
    names = [each.name for each in risk.SIGNALS]
    signals = [set(rng.sample(names, rng.choice((0, 0, 1, 2, 3, 9)))) for _ in stored]
    held = [{card.name: rng.choice(["", *(band.name for band in card.bands)]) for card in CARDS} for _ in stored]
    live = [(f"{n:05}", name) for n, each in enumerate(signals) for name in sorted(each)]
    frame = score(decode(page(stored, held, live)))
    columns = [
        f"{model}_{each}" for model in (*(c.name for c in CARDS), "risk") for each in ("score", "band", "coverage")
    ]
    expected = []
    for readings, bands, raised in zip(stored, held, signals, strict=True):
        known = readings_of(readings)
        stands = [card.standing(known, bands[card.name]) for card in CARDS]
        stands.append(risk.standing(raised))
        expected.append(tuple(what for each in stands for what in (each.score, each.band or None, each.coverage)))
    assert frame.select(columns).rows() == expected


def test_h0_a_reading_that_its_metric_does_not_allow_any_more_is_missing_and_stops_no_page() -> None:
    """A metric that was a label in another version, one out of its range, one that is gone."""
    stored: list[dict[str, Any]] = [
        {"nps": 9, "growth": "high", "gone": 1},
        {"nps": "nine", "growth": 3, "payment": "auto_pay"},
        {"nps": 11, "growth": "explosive", "payment": "on_time"},
    ]
    frame = decode(page(stored, [{}, {}, {}], []))
    assert frame.select("nps", "growth", "payment").rows() == [
        (hundredths(9), "high", None),
        (None, None, "auto_pay"),
        (None, None, "on_time"),
    ]


def test_h0_an_empty_page_changes_nothing() -> None:
    changes = compare(score(decode(page([], [], []))), date(2026, 3, 30))
    assert (changes.rows.height, changes.history.height, changes.events) == (0, 0, [])
