"""The scorecards as polars expressions: many accounts at once, to the last digit as `Scorecard.standing` says (H0).

A frame has a column for each metric: Int32 hundredths, or the Enum of its labels. What was held stands in columns such
as `h1_held`, Enum of the bands; what comes out in `h1_score` (thousandths of a point), `h1_band`, `h1_coverage`.
"""

from collections.abc import Iterable, Sequence
from functools import reduce
from operator import add
from typing import Any, Final

import polars as pl

from models.health.metrics import ALL, METRICS
from models.health.risk import BASE, EACH_OTHER, LEVELS, OF_MANY, RISK
from models.health.scorecard import (
    HYSTERESIS,
    LEAST_COVERAGE,
    POINT,
    THOUSANDTH,
    Labels,
    Part,
    Proportion,
    Rule,
    Scorecard,
    hundredths,
)

METRIC_TYPES: Final = {metric.name: pl.Enum(metric.labels) if metric.labels else pl.Int32() for metric in ALL}


def bands_type(names: Iterable[str]) -> pl.Enum:
    """The column type of bands, the best first."""
    return pl.Enum(list(names))


def bands_of(card: Scorecard) -> pl.Enum:
    """The column type of a model's bands."""
    return bands_type(band.name for band in card.bands)


LEVELS_TYPE: Final = bands_type(level.name for level in LEVELS)


def scored(frame: pl.LazyFrame, cards: Sequence[Scorecard]) -> pl.LazyFrame:
    """The frame with score, band and coverage by every card, in place of metrics and what was held."""
    parts = [_units(part).alias(f"{card.name}/{n}") for card in cards for n, part in enumerate(card.parts)]
    sums = [each for card in cards for each in _sums(card)]
    scores = [_score(card).alias(f"{card.name}_score") for card in cards]
    bands = [_band(card).alias(f"{card.name}_band") for card in cards]
    coverage = [(pl.col(f"{card.name}/known") * 100 // card.weights).alias(f"{card.name}_coverage") for card in cards]
    others = pl.exclude("^h[0-9]+/.*$", *METRICS)
    return (
        frame.with_columns(parts)
        .select(others, *sums)
        .with_columns(scores)
        .select(pl.exclude("^.*/.*$"), *coverage, *bands)
    )


def _stairs(steps: pl.Expr, stairs: Sequence[tuple[int, int]], lowest: int) -> pl.Expr:
    """The worth at the highest limit that is reached, `lowest` below them all; null stays null."""
    chain: Any = pl
    for limit, worth in reversed(stairs):
        chain = chain.when(steps >= limit).then(pl.lit(worth, pl.Int32))
    found: pl.Expr = chain.when(steps < stairs[0][0]).then(pl.lit(lowest, pl.Int32))
    return found


def _worth(rule: Rule, part: Part) -> pl.Expr:
    unit = part.unit(rule)
    reading = pl.col(rule.metric)
    if isinstance(rule, Proportion):
        return reading.clip(0, rule.best) * unit
    if isinstance(rule, Labels):
        worths = dict(rule.worths)
        codes = [worths[label] * unit for label in METRICS[rule.metric].labels]
        return _stairs(reading.to_physical(), list(enumerate(codes))[1:], codes[0])
    return _stairs(reading, [(hundredths(limit), worth * unit) for limit, worth in rule.limits], rule.below * unit)


def _units(part: Part) -> pl.Expr:
    worths = [_worth(rule, part) for rule in part.rules]
    if len(worths) == 1:
        return worths[0]
    if not part.mean:
        return pl.coalesce(worths)
    known = _total([pl.col(rule.metric).is_not_null().cast(pl.Int32) for rule in part.rules])
    # Nothing known: 0 divided by nothing is null.
    return _total([worth.fill_null(0) for worth in worths]) // pl.when(known > 0).then(known)


def _total(terms: Iterable[pl.Expr]) -> pl.Expr:
    return reduce(add, terms)


def _sums(card: Scorecard) -> list[pl.Expr]:
    """What all parts give; the weights that are known, and those of them that may give something."""
    columns = [(pl.col(f"{card.name}/{n}"), part.weight) for n, part in enumerate(card.parts)]
    known = [(column.is_not_null().cast(pl.Int32), weight) for column, weight in columns]
    return [
        _total(column.fill_null(0) for column, _ in columns).alias(f"{card.name}/given"),
        _total(there * abs(weight) for there, weight in known).alias(f"{card.name}/known"),
        *(
            [_total(there * weight for there, weight in known if weight > 0).alias(f"{card.name}/attainable")]
            if card.best < card.weights
            else []
        ),
    ]


def _score(card: Scorecard) -> pl.Expr:
    given, known = pl.col(f"{card.name}/given"), pl.col(f"{card.name}/known")
    attainable = pl.col(f"{card.name}/attainable") if card.best < card.weights else known
    enough = (known * 100 >= LEAST_COVERAGE * card.weights) & (attainable > 0)
    points = given.clip(0).cast(pl.Int64) * (card.best * 100 * THOUSANDTH)
    # Divided by null where there is not enough, which is null.
    divisor = pl.when(enough).then(attainable).cast(pl.Int64) * (POINT * card.out_of)
    return (points // divisor).clip(0, 100 * THOUSANDTH)


def _band(card: Scorecard) -> pl.Expr:
    """What was held, where the band of the score lies no further than the hysteresis to either side of it (H0.4)."""
    score, held = pl.col(f"{card.name}_score"), pl.col(f"{card.name}_held").to_physical().cast(pl.Int32)

    def place(of: pl.Expr) -> pl.Expr:
        return _total((of < band.low * THOUSANDTH).cast(pl.Int32) for band in card.bands[:-1])

    stays = held.is_between(place(score + HYSTERESIS), place(score - HYSTERESIS)) | score.is_null()
    return pl.when(stays).then(held).otherwise(place(score)).cast(pl.UInt8).cat.to(bands_of(card))


def risks(live: pl.LazyFrame) -> pl.LazyFrame:
    """Score and level of every account that has live signals: rows of `account` and `level`, one for each signal."""
    base = pl.col("level").replace_strict(dict(BASE), return_dtype=pl.Int64)
    many = pl.len().cast(pl.Int64)
    points = pl.min_horizontal(base.max() + (many - 1) * EACH_OTHER, pl.lit(100))
    at_least = pl.coalesce(*[pl.when(many >= count).then(low) for count, low in OF_MANY.items()], pl.lit(0))
    found = live.group_by("account").agg(points=points, at_least=at_least)
    place = _total((pl.max_horizontal("points", "at_least") < level.low).cast(pl.UInt8) for level in LEVELS[:-1])
    return found.select(
        "account",
        (pl.col("points") * THOUSANDTH).alias(f"{RISK}_score"),
        place.cat.to(LEVELS_TYPE).alias(f"{RISK}_band"),
    )
