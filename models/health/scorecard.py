"""What a health scorecard is: parts with weights, what readings are worth, bands. Whole numbers only (ledger H0).

A reading that is a number is kept in whole hundredths, what it is worth in `POINT`ths of a point, and a score in
thousandths of a point. There is one rounding, down, where the score is made. Band limits are whole points, so it never
moves a score into another band, and the plain way here and the vectorised one in `vectors` agree to the last digit.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

POINT: Final = 600_000
"""Units of worth in a point: enough for hundredths of a percent and for the mean of up to six signals."""
MOST_SIGNALS: Final = 6
HUNDREDTH: Final = 100
"""Hundredths in one whole of a reading."""
THOUSANDTH: Final = 1000
"""Thousandths in one point of a score."""
LEAST_COVERAGE: Final = 50
"""Percent of the weights that must be known, else the status is unknown and nothing is started (H0.3)."""
HYSTERESIS: Final = 2 * THOUSANDTH
"""How far a score must be beyond the limit of its band to leave it (H0.4)."""

Readings = Mapping[str, int | str]
"""By metric: a number in hundredths, or a label."""


def hundredths(number: float) -> int:
    """A number as a reading is kept; more than two places are rounded."""
    return round(number * HUNDREDTH)


def over(number: float) -> float:
    """The lowest reading above a number, for limits that do not count themselves."""
    return number + 1 / HUNDREDTH


@dataclass(frozen=True)
class Steps:
    """A number's worth: `below` the first limit, then what stands with the highest limit it reaches."""

    metric: str
    below: int
    limits: tuple[tuple[float, int], ...]

    @property
    def best(self) -> int:
        """The most it may be worth."""
        return max(self.below, *(worth for _, worth in self.limits))

    def grain(self, out_of: int) -> int:
        """What POINT times the weight is divided by."""
        return out_of

    def worth(self, reading: int | str, out_of: int) -> int:
        """Of a reading, in `grain`ths of the weight."""
        reached = [worth for limit, worth in self.limits if int(reading) >= hundredths(limit)]
        return reached[-1] if reached else self.below


@dataclass(frozen=True)
class Labels:
    """A label's worth."""

    metric: str
    worths: tuple[tuple[str, int], ...]

    @property
    def best(self) -> int:
        """The most it may be worth."""
        return max(worth for _, worth in self.worths)

    def grain(self, out_of: int) -> int:
        """What POINT times the weight is divided by."""
        return out_of

    def worth(self, reading: int | str, out_of: int) -> int:
        """Of a reading, in `grain`ths of the weight."""
        return dict(self.worths)[str(reading)]


@dataclass(frozen=True)
class Proportion:
    """A number's worth grows with it, from nothing at 0 to all at `full`."""

    metric: str
    full: int = 100

    @property
    def best(self) -> int:
        """The most it may be worth."""
        return self.full * HUNDREDTH

    def grain(self, out_of: int) -> int:
        """What POINT times the weight is divided by."""
        return self.full * HUNDREDTH

    def worth(self, reading: int | str, out_of: int) -> int:
        """Of a reading, in `grain`ths of the weight."""
        return min(max(int(reading), 0), self.best)


Rule = Steps | Labels | Proportion


@dataclass(frozen=True)
class Part:
    """One line of a scorecard: how many points it may give, or take where `weight` is negative, and for what.

    With several rules the first whose metric is known counts; with `mean`, the mean of all that are known. Worths of
    steps and labels are `out_of` this number.

    Raises:
        ValueError: a worth would not come out in whole units, or there are more signals than a mean can take.
    """

    title: str
    weight: int
    rules: tuple[Rule, ...]
    out_of: int = 10
    mean: bool = False

    def __post_init__(self) -> None:
        """Refuse what could not be calculated exactly."""
        if len(self.rules) > MOST_SIGNALS:
            raise ValueError(f"{self.title}: a mean of {len(self.rules)} signals; {MOST_SIGNALS} are the most")
        for rule in self.rules:
            if POINT // 60 * self.weight % rule.grain(self.out_of):
                raise ValueError(f"{self.title}: {rule.metric} does not come out in whole units; choose another out_of")

    def unit(self, rule: Rule) -> int:
        """What one of a rule's worth is, in units."""
        return POINT * self.weight // rule.grain(self.out_of)

    def units(self, readings: Readings, best: str = "") -> int | None:
        """What it gives, in units; None where no metric is known. `best` names a metric to take at its best."""
        known = [rule for rule in self.rules if rule.metric in readings]
        if not known:
            return None
        worths = [
            self.unit(rule)
            * (self._best(rule) if rule.metric == best else rule.worth(readings[rule.metric], self.out_of))
            for rule in (known if self.mean else known[:1])
        ]
        return sum(worths) // len(worths)

    def _best(self, rule: Rule) -> int:
        return 0 if self.weight < 0 else rule.best

    def counted(self, readings: Readings) -> tuple[str, ...]:
        """The metrics that count, of those that are known."""
        known = [rule.metric for rule in self.rules if rule.metric in readings]
        return tuple(known if self.mean else known[:1])


@dataclass(frozen=True)
class Band:
    """From `low` points on (inclusive, on the unrounded score) an account is called so; `action` is what is due."""

    low: int
    name: str
    title: str
    action: str


@dataclass(frozen=True)
class Standing:
    """Where an account stands: score in thousandths of a point, band, and percent of the weights that are known.

    Without a score the status is unknown; `band` is then the last that was known, or empty.
    """

    score: int | None
    band: str
    coverage: int

    @property
    def whole(self) -> int | None:
        """As it is shown: rounded down (H0.1)."""
        return None if self.score is None else self.score // THOUSANDTH


@dataclass(frozen=True)
class Scorecard:
    """A health model: a table of parts, and bands from the best to the worst.

    The score is what the parts give, of `out_of`, as 0 to 100. Where metrics are missing their part is dropped, and
    what is left is scaled so that the best possible score stays what it is (H0.3).
    """

    name: str
    title: str
    ledger: str
    parts: tuple[Part, ...]
    bands: tuple[Band, ...]
    out_of: int = 100
    best: int = field(init=False)
    """The sum of the positive weights: what the best account gets."""
    weights: int = field(init=False)

    def __post_init__(self) -> None:
        """Add up the weights, once."""
        object.__setattr__(self, "best", sum(part.weight for part in self.parts if part.weight > 0))
        object.__setattr__(self, "weights", sum(abs(part.weight) for part in self.parts))

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics it reads, each once."""
        return tuple(dict.fromkeys(rule.metric for part in self.parts for rule in part.rules))

    def score(self, units: Sequence[int | None]) -> tuple[int | None, int]:
        """The score in thousandths from what each part gives, None while it is unknown; and the coverage in percent."""
        known = [(part.weight, each) for part, each in zip(self.parts, units, strict=True) if each is not None]
        coverage = sum(abs(weight) for weight, _ in known) * 100 // self.weights
        attainable = sum(weight for weight, _ in known if weight > 0)
        if coverage < LEAST_COVERAGE or not attainable:
            return None, coverage
        given = max(0, sum(each for _, each in known))
        score = given * self.best * 100 * THOUSANDTH // (attainable * POINT * self.out_of)
        return min(score, 100 * THOUSANDTH), coverage

    def standing(self, readings: Readings, held: str = "") -> Standing:
        """Where an account with these readings stands, having stood in the band `held`."""
        score, coverage = self.score([part.units(readings) for part in self.parts])
        return Standing(score, held if score is None else self.band(score, held), coverage)

    def band(self, score: int, held: str = "") -> str:
        """The band of a score in thousandths; the one held until the score is 2 points beyond its limits (H0.4)."""
        above: int | None = None
        for each in self.bands:
            low = each.low * THOUSANDTH
            if each.name == held and score >= low - HYSTERESIS and (above is None or score < above + HYSTERESIS):
                return held
            above = low
        return next(each.name for each in self.bands if score >= each.low * THOUSANDTH)

    def title_of(self, band: str) -> str:
        """What people call a band."""
        return next((each.title for each in self.bands if each.name == band), "Unknown")


POOR, FAIR, GOOD, EXCELLENT = RATINGS = 0, 5, 8, 10
"""One worth, out of 10, for each of the four ratings (H1.1)."""
DEFAULT_BANDS: Final = (
    Band(80, "healthy", "Healthy", "expansion"),
    Band(60, "stable", "Stable", "regular engagement"),
    Band(40, "at_risk", "At Risk", "proactive outreach"),
    Band(0, "critical", "Critical", "immediate intervention"),
)
"""80/60/40, and what is due (H0.5, H3.2)."""


def default_band(points: int) -> Band:
    """The band of a health in whole points, whichever model it is of."""
    return next(band for band in DEFAULT_BANDS if points >= band.low)


def rated(metric: str, fair: float, good: float, excellent: float) -> Steps:
    """A number rated by the limits from which it is fair, good and excellent (H1.1)."""
    return Steps(metric, POOR, ((fair, FAIR), (good, GOOD), (excellent, EXCELLENT)))


def labelled(metric: str, labels: Iterable[str], worths: Iterable[int] = RATINGS) -> Labels:
    """Labels from the worst to the best, with their worths; the four ratings where nothing else is said."""
    return Labels(metric, tuple(zip(labels, worths, strict=True)))
