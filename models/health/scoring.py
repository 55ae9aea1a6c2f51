"""One pass over all accounts: every model scored, held against what stands, one fact for each crossing (H0.4, T2.1).

A crossing is a change of the primary model's band, or of the level of churn risk, of an account that stood in another
before. Its id follows from the account, the business day and the new band.
"""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

import polars as pl
from sqlalchemy import ColumnElement, Text, and_, cast, func
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from models import facts
from models.health import CARDS
from models.health.frames import read_frame
from models.health.known import crossing, live_signals, primary_model
from models.health.metrics import ALL
from models.health.risk import RISK, about, signal_named
from models.health.rows import AccountHealth, AccountMetrics
from models.health.scorecard import THOUSANDTH
from models.health.vectors import LEVELS_TYPE, METRIC_TYPES, bands_of, risks, scored
from models.policy import Policy
from models.tables import Account, InboxEvent, RiskSignal

MODELS: Final = (*(card.name for card in CARDS), RISK)
BANDS: Final = {**{card.name: bands_of(card) for card in CARDS}, RISK: LEVELS_TYPE}
READINGS: Final = {metric.name: pl.String() if metric.labels else pl.Float64() for metric in ALL}
LIVE: Final = {"account": pl.String(), "level": pl.String()}
STANDING: Final = {"score": pl.Int64(), "band": pl.String(), "coverage": pl.Int32()}
STANDINGS: Final = {f"{model}_{each}": kind for model in MODELS for each, kind in STANDING.items()}
READ: Final = {
    "account": pl.String(),
    "primary": pl.String(),
    "readings": pl.String(),
    "standings": pl.String(),
    "version": pl.Int64(),
    "told": pl.String(),
}


@dataclass(frozen=True)
class Page:
    """Some accounts as they are in the database; `live` has a row of account and level for each live risk signal.

    `after` is the id to read on from, and `last` says that nothing follows.
    """

    rows: pl.DataFrame
    live: pl.DataFrame
    after: str = ""
    last: bool = True


@dataclass(frozen=True)
class Changes:
    """What a page's scores change as of a day: whole rows to write, history, and the facts of bands crossed.

    `rows` are as `account_health` has them, with the version they will have; `history` as `health_changes`.
    """

    day: date
    rows: pl.DataFrame
    history: pl.DataFrame
    events: list[InboxEvent] = field(default_factory=list)


async def read_page(session: AsyncSession, day: date, policy: Policy, after: str, size: int) -> Page:
    """The next `size` accounts by id, without those that have left. Three queries, whatever their number."""
    ids = select(Account.id).where(Account.id > after).order_by(col(Account.id)).limit(size).subquery()
    count, last = (await session.exec(select(func.count(ids.c.id), func.max(ids.c.id)))).one()
    if not count:
        return Page(pl.DataFrame(schema=READ), pl.DataFrame(schema=LIVE), after)

    def here(column: Any) -> ColumnElement[bool]:
        # Said of every table, so that no planner reads one of them whole for each page.
        return and_(col(column) > after, col(column) <= last)

    metrics, health = AccountMetrics.account_id, AccountHealth.account_id
    statement: Any = (
        select(  # type: ignore[call-overload]
            col(Account.id),
            primary_model(policy, day),
            cast(AccountMetrics.readings, Text),
            cast(AccountHealth.standings, Text),
            col(AccountHealth.version),
            col(AccountHealth.band),
        )
        .join(AccountMetrics, and_(col(metrics) == col(Account.id), here(metrics)), isouter=True)
        .join(AccountHealth, and_(col(health) == col(Account.id), here(health)), isouter=True)
        .where(here(Account.id), col(Account.churned_at).is_(None))
        .order_by(col(Account.id))
    )
    rows = await read_frame(session, statement, READ)
    live = await live_signals(session, day, here(RiskSignal.account_id))
    pairs = {"account": [account for account, _ in live], "level": [signal_named(name).level for _, name in live]}
    return Page(rows, pl.DataFrame(pairs, schema=LIVE), last, last=count < size)


async def changes_of(page: Page, day: date) -> Changes:
    """What the scores of a page change, worked out in a thread."""
    return await asyncio.to_thread(lambda: compare(score(decode(page)), day))


def decode(page: Page) -> pl.DataFrame:
    """The page with a column for each metric, what stood in `<model>_..._was` and `_held`, and the risk of today."""
    frame = pl.concat(
        [
            page.rows.drop("readings", "standings"),
            _documents(page.rows["readings"], READINGS),
            _documents(page.rows["standings"], STANDINGS),
        ],
        how="horizontal",
    )
    readings = [_reading(metric.name, metric.least, metric.most) for metric in ALL]
    was = {name: f"{name}_was" for name in STANDINGS}
    held = [pl.col(f"{model}_band").cast(BANDS[model], strict=False).alias(f"{model}_held") for model in MODELS]
    return (
        frame.lazy()
        .with_columns(*readings, *held)
        .rename(was)
        .join(risks(page.live.lazy()), on="account", how="left", maintain_order="left")
        .with_columns(
            pl.col(f"{RISK}_score").fill_null(0),
            pl.col(f"{RISK}_band").fill_null(pl.lit("low", LEVELS_TYPE)),
            pl.lit(100, pl.Int32).alias(f"{RISK}_coverage"),
        )
        .collect()
    )


def _reading(name: str, least: int, most: int) -> pl.Expr:
    """A stored reading as the scorecards take it; what its metric does not allow is missing."""
    stored = pl.col(name)
    kind = METRIC_TYPES[name]
    if isinstance(kind, pl.Enum):
        return stored.cast(kind, strict=False).alias(name)
    return pl.when(stored.is_between(least, most)).then((stored * 100).round()).cast(kind).alias(name)


def _documents(texts: pl.Series, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """A column for each name in JSON documents. What is not of its type is null, as is all of a document not there."""
    lines = "\n".join(texts.fill_null("{}"))
    # Reading lines takes half the time of decoding each.
    return pl.read_ndjson(lines.encode(), schema=schema, ignore_errors=True) if lines else pl.DataFrame(schema=schema)


def score(frame: pl.DataFrame) -> pl.DataFrame:
    """Score, band and coverage by every model."""
    return scored(frame.lazy(), CARDS).collect()


def compare(frame: pl.DataFrame, day: date) -> Changes:
    """What is to be written: accounts seen first, and those that any model sees differently."""
    before, now = pl.col("version"), pl.col(f"{RISK}_score")
    moved = {model: _moved(model) for model in MODELS}
    # Without a signal nothing is known to have changed when an account is seen first.
    moved[RISK] = moved[RISK] & (before.is_not_null() | (now > 0))
    other = [
        pl.col(f"{model}_coverage").ne_missing(pl.col(f"{model}_coverage_was").fill_null(0)) for model in MODELS[:-1]
    ]
    primary = {
        each: pl.coalesce(pl.when(pl.col("primary") == model).then(pl.col(f"{model}_{each}")) for model in MODELS[:-1])
        for each in ("score", "coverage")
    }
    band = pl.coalesce(
        pl.when(pl.col("primary") == model, pl.col(f"{model}_score").is_not_null()).then(
            pl.col(f"{model}_band").cast(pl.String)
        )
        for model in MODELS[:-1]
    )
    changed = (
        frame.lazy()
        .with_columns(*(expr.alias(f"{model}_moved") for model, expr in moved.items()))
        .with_columns(score=primary["score"], coverage=primary["coverage"], band=pl.coalesce(band, "told", pl.lit("")))
        .with_columns(
            crossed=((pl.col("told") != "") & (pl.col("band") != pl.col("told"))).fill_null(False),
            risk_crossed=before.is_not_null() & pl.col(f"{RISK}_moved") & _other_band(RISK),
        )
        .filter(before.is_null() | pl.any_horizontal(*(f"{model}_moved" for model in MODELS), *other, "crossed"))
        .collect()
    )
    return Changes(day, _rows(changed), _history(changed), list(_events(changed, day)))


def _other_band(model: str) -> pl.Expr:
    return pl.col(f"{model}_band").ne_missing(pl.col(f"{model}_held"))


def _moved(model: str) -> pl.Expr:
    """Whether the band or the whole number is another."""
    now, was = pl.col(f"{model}_score"), pl.col(f"{model}_score_was")
    return (now // THOUSANDTH).ne_missing(was // THOUSANDTH) | _other_band(model)


def _rows(changed: pl.DataFrame) -> pl.DataFrame:
    standings = pl.struct(pl.col(name).cast(kind) for name, kind in STANDINGS.items())
    return changed.select(
        account_id="account",
        model="primary",
        band="band",
        score=pl.col("score"),
        coverage=pl.col("coverage"),
        standings=standings.struct.json_encode(),
        version=pl.col("version").fill_null(0) + 1,
    )


def _history(changed: pl.DataFrame) -> pl.DataFrame:
    return pl.concat(
        changed.filter(f"{model}_moved").select(
            account_id="account",
            model=pl.lit(model),
            score=pl.col(f"{model}_score").cast(pl.Int64),
            band=pl.col(f"{model}_band").cast(pl.String).fill_null(""),
            coverage=pl.col(f"{model}_coverage"),
        )
        for model in MODELS
    )


def _events(changed: pl.DataFrame, day: date) -> Iterator[InboxEvent]:
    crossed = changed.filter("crossed").select("account", "primary", "told", "band", "score")
    for row in crossed.iter_rows():
        yield crossing(facts.HEALTH_BAND_CHANGED, day, *row)
    crossed = changed.filter("risk_crossed").select(
        "account", *(f"{RISK}_{each}" for each in ("held", "band", "score"))
    )
    for account, was, band, score in crossed.iter_rows():
        yield crossing(facts.RISK_LEVEL_CHANGED, day, account, about(band, score), was, band, score)
