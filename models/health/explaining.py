"""How one account's score came about, so that it can be repeated with a pencil (ledger H0)."""

from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from typing import Any

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from models.health import card_named, risk
from models.health.known import live_signals, primary_model
from models.health.metrics import METRICS, readings_of
from models.health.rows import AccountHealth, AccountMetrics
from models.health.scorecard import POINT, Readings, Scorecard, Standing
from models.policy import Policy
from models.tables import Account, RiskSignal


@dataclass(frozen=True)
class Line:
    """One part: what was read, the points it gave of its weight (None where nothing is known), what is missing."""

    title: str
    weight: int
    points: Fraction | None
    readings: dict[str, int | float | str]
    missing: tuple[str, ...]

    @property
    def share(self) -> int | None:
        """Percent of the weight, rounded down."""
        return None if self.points is None else int(self.points * 100 / self.weight)


@dataclass(frozen=True)
class Explanation:
    """A score with its parts.

    `given` and `attainable` are the sums of the points and of the weights that may give some, over the parts that are
    known. `improve` is the metric that would raise the score most if it alone were at its best, and `improved` that
    score in thousandths; empty and None where nothing would.
    """

    card: Scorecard
    standing: Standing
    held: str
    lines: tuple[Line, ...]
    given: Fraction
    attainable: int
    improve: str
    improved: int | None


def explain(card: Scorecard, readings: Readings, held: str = "") -> Explanation:
    """The score of an account with these readings that stood in the band `held`."""
    units = [part.units(readings) for part in card.parts]
    lines = tuple(
        Line(
            part.title,
            part.weight,
            None if each is None else Fraction(each, POINT),
            {name: METRICS[name].said(readings[name]) for name in part.counted(readings)},
            tuple(rule.metric for rule in part.rules if rule.metric not in readings),
        )
        for part, each in zip(card.parts, units, strict=True)
    )
    known = [line for line in lines if line.points is not None]
    standing = card.standing(readings, held)
    best, improved = "", None
    if standing.score is not None:
        for name in dict.fromkeys(name for part in card.parts for name in part.counted(readings)):
            score, _ = card.score([part.units(readings, best=name) for part in card.parts])
            if score is not None and score > (standing.score if improved is None else improved):
                best, improved = name, score
    return Explanation(
        card,
        standing,
        held,
        lines,
        sum((line.points for line in known if line.points is not None), Fraction()),
        sum(line.weight for line in known if line.weight > 0),
        best,
        improved,
    )


@dataclass(frozen=True)
class Known:
    """What is on record of an account: its readings, where it stood at the last pass, its live risk signals."""

    primary: str
    readings: dict[str, int | str]
    stood: dict[str, Any]
    signals: tuple[str, ...]

    def explanation(self, model: str = "") -> Explanation:
        """How the score by a model comes about, the primary one if none is named.

        Raises:
            LookupError: there is no such model.
        """
        card = card_named(model or self.primary)
        return explain(card, self.readings, self.stood.get(f"{card.name}_band") or "")

    @property
    def risk(self) -> Standing:
        """The churn risk."""
        return risk.standing(self.signals)


async def known_of(session: AsyncSession, account: str, policy: Policy, day: date) -> Known:
    """What is on record of an account, by its id.

    Raises:
        LookupError: there is no such account.
    """
    primary = (await session.exec(select(primary_model(policy, day)).where(Account.id == account))).one_or_none()
    if primary is None:
        raise LookupError(f"account {account!r} is not known; import the account first")
    metrics = await session.get(AccountMetrics, account)
    health = await session.get(AccountHealth, account)
    live = await live_signals(session, day, col(RiskSignal.account_id) == account)
    return Known(
        primary,
        readings_of(metrics.readings if metrics else {}),
        health.standings if health else {},
        tuple(name for _, name in live),
    )
