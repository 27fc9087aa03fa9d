"""The columns that a model predicts from, one class for each kind: numbers, dates and categories.

A kind knows how its values become the inputs of the networks, which range it had in training, and
which value is typical. All kinds meet in a float matrix x, (N, F): a number is itself, a date its
days since 1970, a category the position of its level. NaN is a missing cell.
"""

import math
import re
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from statistics import NormalDist
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mdncli.tables import cells
from mdncli.text import listed
from mdncli.types import Array, Mask

_DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME = r"[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,9})?)?"
_ZONE = r"(Z|[+-][0-9]{2}:?[0-9]{2})"
_ISO = rf"^{_DATE}({_TIME}{_ZONE}?)?$"
_HAS_ZONE = rf"{_TIME}{_ZONE}$"
_MICROSECONDS_A_DAY = 86_400_000_000.0

# In scales of a feature: standardized values are cut here.
FARTHEST = 1e6
# A column has heavy tails if its standard deviation exceeds its robust scale by this factor.
_HEAVY = 3.0
# The shares of the rows in each tail that a robust scale leaves out.
_TAILS = (0.1, 0.05, 0.025, 0.01)
# A range that is smaller than this share of a wider one is as good as empty.
_NEGLIGIBLE = 1e-8
# In robust scales: beyond this distance from the median, a feature with heavy tails is read on a
# logarithmic scale.
_LINEAR_UP_TO = 4.0
_LARGEST = float(np.finfo(np.float64).max)
_KNOTS = 64
_NORMAL = NormalDist()
# Dates that span fewer days than this have no input for the time of the year, or for the weekday.
_DAYS_FOR_YEARS, _DAYS_FOR_WEEKS = 365.0, 14.0
YEAR, WEEK = 365.2425, 7.0
# 1 January 1970 was a Thursday.
THURSDAY = 3.0
# A column has a step only if at least this share of its rows repeat the value of another row, and
# if the step is larger than this many scales of the column.
_REPEATED = 0.01
_SMALLEST_STEP = 1e-6
# A value outside the training range by more than this share of it is far outside.
_FAR_OUTSIDE = 0.1
# The name of the level that stands for all other texts; a file may have a level "other" of its own.
OTHER = "(other)"
# A level needs five rows; in a table of fewer than 100 rows, a twentieth of them, at least two.
_ROWS_OF_A_LEVEL, _SHARE_OF_A_LEVEL, _LEAST_ROWS_OF_A_LEVEL = 5, 20, 2
_MOST_LEVELS = 200


@dataclass(frozen=True)
class Column:
    """The range and the scale of a number column in training, in the units of the file.

    Attributes:
        name: of the column.
        mean, scale: what standardizes it: value -> (value - mean) / scale. They are the mean and
            the standard deviation, or with heavy tails the median and the robust scale.
        lowest, median, highest: of its values.
    """

    name: str
    mean: float
    scale: float
    lowest: float
    median: float
    highest: float

    @classmethod
    def measure(cls, name: str, values: Array) -> "Column":
        """Return the column of these values, shape (N,), N at least 1."""
        # Dividing by the largest magnitude first keeps the sums finite at the ends of float64.
        unit = float(np.abs(values).max()) or 1.0
        median = median_of(values)
        robust = scale_with_heavy_tails(values)
        mean = float((values / unit).mean() * unit)
        return Column(
            name,
            mean=mean if robust is None else median,
            scale=float((values / unit).std() * unit) if robust is None else robust,
            lowest=float(values.min()),
            median=median,
            highest=float(values.max()),
        )

    @property
    def constant(self) -> bool:
        """Whether the column holds one value, at the resolution of float64."""
        return not self.lowest < self.highest or not self.scale > 0.0


def scale_with_heavy_tails(values: Array) -> float | None:
    """Return the robust scale of values with heavy tails, (N,); None if they have no such tails.

    They have heavy tails if their standard deviation is more than three times the robust scale: a
    few values decide it then, and on its scale the others would hardly differ.
    """
    robust = robust_scale(values)
    unit = float(np.abs(values).max()) or 1.0
    return robust if 0.0 < _HEAVY * robust < float((values / unit).std() * unit) else None


def median_of(values: Array) -> float:
    """Return the median of finite values, (N,), N at least 1."""
    if np.abs(values).max() <= 0.5 * _LARGEST:
        return float(np.median(values))
    # The sum of two values in the middle may overflow.
    return 2.0 * float(np.median(0.5 * values))


def robust_scale(values: Array) -> float:
    """Return the distance of two quantiles, divided by that of a standard Gaussian.

    The quantiles are those of 10% and 90%. Where (almost) all values between them are equal, they
    are those of 5% and 95%, and so on. The scale is 0 if less than 1% of the values differ from the
    others in each tail. A share of up to a tenth of the values, however extreme, changes it little.

    Args:
        values: (N,), finite.
    """
    cuts = {int(share * len(values)): share for share in _TAILS if share * len(values) >= 1.0}
    places = sorted({place for cut in cuts for place in (cut, len(values) - 1 - cut)})
    ordered = np.partition(values, places) if places else values
    # A half of each end, since their difference may overflow.
    scales = [
        float(0.5 * ordered[-1 - cut] - 0.5 * ordered[cut]) / -_NORMAL.inv_cdf(share)
        for cut, share in cuts.items()
    ]
    least = _NEGLIGIBLE * max(scales, default=0.0)
    return next((scale for scale in scales if scale > least), 0.0)


def step_of(values: Array) -> float | None:
    """Return the step in which values were recorded, in their units; None if they are continuous.

    The step is the greatest common divisor of the differences between the values. Each value counts
    as the shortest decimal that reads back exactly; the arithmetic is exact.

    Args:
        values: (N,), finite, not all the same.
    """
    distinct, counts = np.unique(values, return_counts=True)
    if counts[counts > 1].sum() < _REPEATED * len(values):
        return None
    largest = float(np.abs(values).max()) or 1.0
    scale = scale_with_heavy_tails(values) or float(np.std(values / largest) * largest)
    smallest = _SMALLEST_STEP * scale
    decimals = [Decimal(repr(value)) for value in distinct.tolist()]
    exponent = min(int(decimal.as_tuple().exponent) for decimal in decimals)
    first, *others = (int(decimal.scaleb(-exponent)) for decimal in decimals)
    step, divisor = 0.0, 0
    for other in others:
        before, divisor = divisor, math.gcd(divisor, other - first)
        if divisor != before:
            step = float(Decimal(divisor).scaleb(exponent))
            # The divisor only shrinks, so a continuous column is recognized after a few values.
            if step <= smallest:
                return None
    return step


@dataclass(frozen=True)
class NumberFeature(Column):
    """A column of numbers to predict from.

    With heavy tails, `scale` is the largest distance from the median, so that the linear part of
    `periodic_inputs` stays below 1. Then the scores hold the values on the robust scale, too.

    Attributes:
        knots: values in rising order, (Q,); empty in a model of the first file format.
        scores: the normal score at each knot, (Q,), with standard deviation 1 over the training
            rows; with heavy tails, plus the distance from the median in robust scales, which beyond
            4 of them grows like its logarithm.
        allows_missing: whether the column had missing cells in training, so that it may have some
            later.
        linear: whether the networks also read the standardized value itself, as a plain input.
    """

    knots: list[float]
    scores: list[float]
    allows_missing: bool = False
    linear: bool = True

    kind: ClassVar[str] = "number"
    periodic_width: ClassVar[int] = 1

    @classmethod
    def measure_feature(cls, name: str, values: Array, **more: Any) -> Self:
        """Return the feature of these values, shape (N,), NaN where missing, not all missing.

        The normal score of a value is the standard normal quantile of (rank - 1/2) / N, with the
        mean rank of equal values.
        """
        there = values[~np.isnan(values)]
        distinct, counts = np.unique(there, return_counts=True)
        ranks = (counts.cumsum() - 0.5 * counts) / len(there)
        chosen = np.arange(len(distinct))
        if len(distinct) > _KNOTS:
            # Evenly spaced in score, since scores change fastest in the tails.
            ends = _NORMAL.inv_cdf(ranks[0]), _NORMAL.inv_cdf(ranks[-1])
            levels = [_NORMAL.cdf(score) for score in np.linspace(*ends, _KNOTS)]
            with_ends = [0, *np.searchsorted(ranks, levels), len(distinct) - 1]
            chosen = np.unique(np.clip(with_ends, 0, len(distinct) - 1))
        scores = np.array([_NORMAL.inv_cdf(rank) for rank in ranks[chosen]])
        everywhere = np.interp(distinct, distinct[chosen], scores)
        center = float(np.average(everywhere, weights=counts))
        spread = math.sqrt(float(np.average((everywhere - center) ** 2, weights=counts)))
        column, knots = asdict(Column.measure(name, there)), distinct[chosen]
        scores = (scores - center) / (spread or 1.0)
        robust = scale_with_heavy_tails(there)
        if robust is not None:
            with np.errstate(over="ignore"):
                distance = np.clip(knots - column["median"], -_LARGEST, _LARGEST)
                scores += _with_short_tails(np.clip(distance / robust, -_LARGEST, _LARGEST))
            column["scale"] = float(np.abs(distance).max())
        # A single value has no spread, but whether the cell is missing may still be informative.
        column["scale"] = column["scale"] or 1.0
        return cls(
            **column,
            knots=knots.tolist(),
            scores=scores.tolist(),
            allows_missing=len(there) < len(values),
            **more,
        )

    @property
    def plain_width(self) -> int:
        """The number of inputs without sines and cosines."""
        return int(self.linear) + int(self.allows_missing)

    @property
    def typical(self) -> float:
        """The value at which the feature is held where another one is shown."""
        return self.median

    def periodic_inputs(self, values: Array) -> Array:
        """Return values, shape (N,), as the networks read them, (N, 1): the mean of two scales.

        One scale is linear, in units of `scale`, cut at a million of them. The other is that of the
        scores, which spread a skewed feature evenly. A missing value stands at the median.
        """
        linear = self._standardized(values)
        if not self.knots:
            return linear[:, None]
        there = np.where(np.isnan(values), self.median, values)
        return 0.5 * (linear + np.interp(there, self.knots, self.scores))[:, None]

    def _standardized(self, values: Array) -> Array:
        values = np.where(np.isnan(values), self.median, values)
        with np.errstate(over="ignore"):
            return np.clip((values - self.mean) / self.scale, -FARTHEST, FARTHEST)

    def plain_inputs(self, values: Array) -> Array:
        """Return the other inputs, (N, P): the standardized value, and 1 where it is missing."""
        columns = [self._standardized(values)] if self.linear else []
        columns += [np.isnan(values).astype(np.float64)] if self.allows_missing else []
        return np.stack(columns, axis=1) if columns else np.empty((len(values), 0))

    def far_outside(self, values: Array) -> Mask:
        """Return which values, (N,), exceed the training range by more than a tenth of it."""
        with np.errstate(over="ignore"):
            margin = _FAR_OUTSIDE * (self.highest - self.lowest)
            low, high = self.lowest - margin, self.highest + margin
            outside: Mask = (values < low) | (values > high)
        return outside

    def points(self, count: int) -> Array:
        """Return evenly spaced values over the training range, (count,)."""
        return np.linspace(self.lowest, self.highest, count)

    def column(self, values: Array) -> Any:
        """Return values, (N,), as a column to be written."""
        return values

    def three_points(self) -> list[str]:
        """Return the lowest, the median and the highest value in training, as text."""
        return [f"{value:g}" for value in (self.lowest, self.median, self.highest)]

    @property
    def range(self) -> str:
        """The range in training, as text."""
        low, _, high = self.three_points()
        return f"{low} to {high}"


def _with_short_tails(z: Array) -> Array:
    """Return z up to 4 in size, and beyond that 4 + log(1 + |z| - 4) with the sign of z."""
    beyond = np.maximum(np.abs(z) - _LINEAR_UP_TO, 0.0)
    shortened: Array = np.clip(z, -_LINEAR_UP_TO, _LINEAR_UP_TO) + np.sign(z) * np.log1p(beyond)
    return shortened


@dataclass(frozen=True)
class DateFeature(NumberFeature):
    """A column of dates: days since 1970, and the times of the year and the week.

    Attributes:
        format: as `strptime` takes it; empty for ISO 8601.
    """

    format: str = ""

    kind: ClassVar[str] = "date"

    @property
    def plain_width(self) -> int:
        """The number of inputs without sines and cosines."""
        return super().plain_width + 2 * len(self.phases())

    def plain_inputs(self, values: Array) -> Array:
        """Return the other inputs, (N, P): 1 where missing; sine and cosine of each phase."""
        there = np.where(np.isnan(values), self.median, values)
        phases = [2.0 * np.pi * phase(there) for phase in self.phases()]
        waves = [wave(phase) for phase in phases for wave in (np.sin, np.cos)]
        return np.column_stack([super().plain_inputs(values), *waves])

    def column(self, values: Array) -> Any:
        """Return days since 1970, (N,), as a column of dates to be written."""
        there = np.where(np.isnan(values), 0.0, values)
        texts = zip(date_texts(there, self.format), np.isnan(values), strict=True)
        return cells.text_column(["" if missing else text for text, missing in texts])

    def phases(self) -> list[Any]:
        """Return the functions from days to the shares of cycles whose waves are inputs."""
        span = self.highest - self.lowest
        return [year_phase] * (span >= _DAYS_FOR_YEARS) + [week_phase] * (span >= _DAYS_FOR_WEEKS)

    def three_points(self) -> list[str]:
        """Return the first, the middle and the last day in training, as text."""
        return date_texts(np.array([self.lowest, self.median, self.highest]), "")


@dataclass(frozen=True)
class AngleFeature(NumberFeature):
    """A column of numbers that wrap around, such as hours of the day or directions.

    Attributes:
        period: after which the values begin again, in the units of the file.
    """

    period: float = 1.0

    kind: ClassVar[str] = "angle"
    periodic_width: ClassVar[int] = 2

    @property
    def plain_width(self) -> int:
        """The number of inputs without sines and cosines of them."""
        return int(self.allows_missing)

    def periodic_inputs(self, values: Array) -> Array:
        """Return sine and cosine of the angles, (N, 2), of size sqrt 2; 0 where one is missing."""
        angle = 2.0 * np.pi * (values % self.period) / self.period
        return np.nan_to_num(math.sqrt(2.0) * np.column_stack([np.sin(angle), np.cos(angle)]))

    def plain_inputs(self, values: Array) -> Array:
        """Return 1 where a value is missing, (N, P)."""
        missing = np.isnan(values).astype(np.float64)
        return missing[:, None] if self.allows_missing else np.empty((len(values), 0))

    def far_outside(self, values: Array) -> Mask:
        """Return which values, (N,), are far outside the training range: no angle is."""
        return np.zeros(len(values), dtype=bool)


@dataclass(frozen=True)
class CategoryFeature:
    """A column of texts that name categories.

    Attributes:
        name: of the column.
        levels: the texts that have an input of their own, the most frequent first. One more level
            stands for all other texts: rare ones in training, and any new ones later.
        allows_missing: whether the column had empty cells in training, so that it may have some
            later.
        rare: positions of levels that too few of the rows learned from had; they are read as the
            level of other texts.
    """

    name: str
    levels: list[str]
    allows_missing: bool = False
    rare: list[int] = field(default_factory=list)

    kind: ClassVar[str] = "category"
    periodic_width: ClassVar[int] = 0
    typical: ClassVar[float] = 0.0

    @classmethod
    def measure_feature(cls, name: str, levels: list[str], values: Array) -> "CategoryFeature":
        """Return the category with these levels; the rows have levels at these positions, (N,)."""
        there = values[~np.isnan(values)].astype(np.int64)
        counts = np.bincount(there, minlength=len(levels))[: len(levels)]
        fewest = min(rows_of_a_level(len(values)), int(counts.max()))
        rare = np.flatnonzero(counts < fewest).tolist()
        return cls(name, levels, len(there) < len(values), rare)

    @property
    def plain_width(self) -> int:
        """The number of inputs: one for each level, for other texts, and for an empty cell."""
        return len(self.levels) + 1 + self.allows_missing

    @property
    def other(self) -> int:
        """The position of the level of all other texts."""
        return len(self.levels)

    def periodic_inputs(self, values: Array) -> Array:
        """Return no input, (N, 0): sines and cosines of a category have no meaning."""
        return np.empty((len(values), 0))

    def plain_inputs(self, values: Array) -> Array:
        """Return one-hot inputs, (N, P); the last one is that of an empty cell."""
        place = np.where(np.isnan(values), self.plain_width - 1, values).astype(np.int64)
        place[np.isin(place, self.rare)] = self.other
        inputs = np.zeros((len(values), self.plain_width))
        inputs[np.arange(len(values)), place] = 1.0
        return inputs

    def far_outside(self, values: Array) -> Mask:
        """Return which values, (N,), are far outside the training range: none of a category."""
        return np.zeros(len(values), dtype=bool)

    def points(self, count: int) -> Array:
        """Return the positions of the levels in turn, (count,), without the rare ones."""
        learned = [place for place in range(len(self.levels)) if place not in self.rare]
        return np.resize(np.array(learned, dtype=np.float64), count)

    def three_points(self) -> list[str]:
        """Return nothing: levels have no order."""
        return []

    @property
    def range(self) -> str:
        """The levels, as text."""
        return listed(self.levels, 6)

    def column(self, values: Array) -> Any:
        """Return the level of each value, (N,), as a column to be written."""
        names = [*self.levels, OTHER, ""]
        return cells.text_column(
            [names[-1 if math.isnan(value) else int(value)] for value in values]
        )


Feature = NumberFeature | DateFeature | CategoryFeature

_KINDS: dict[str, type[Any]] = {
    "number": NumberFeature,
    "date": DateFeature,
    "angle": AngleFeature,
    "category": CategoryFeature,
}


def feature_to_plain(feature: Feature) -> dict[str, Any]:
    """Return a feature as plain values."""
    return {"kind": feature.kind, **asdict(feature)}


def feature_from_plain(plain: dict[str, Any]) -> Feature:
    """Return the feature that `feature_to_plain` gave."""
    fields = dict(plain)
    feature: Feature = _KINDS[fields.pop("kind")](**fields)
    return feature


def frequent_levels(counts: dict[str, int], rows: int) -> list[str]:
    """Return the texts that are frequent enough for a level of their own, the most frequent first.

    Args:
        counts: how many rows each text has.
        rows: of the table.
    """
    often = sorted(counts, key=lambda text: (-counts[text], text))[:_MOST_LEVELS]
    return [text for text in often if counts[text] >= rows_of_a_level(rows)]


def rows_of_a_level(rows: int) -> int:
    """Return how many rows a level needs, in a table of this many rows."""
    return min(max(rows // _SHARE_OF_A_LEVEL, _LEAST_ROWS_OF_A_LEVEL), _ROWS_OF_A_LEVEL)


def parsed_dates(texts: pa.ChunkedArray, form: str) -> Array:
    """Return each text as days since 1970, (N,), NaN where it is not such a date.

    A time is a fraction of a day, in UTC where a zone is given.

    Args:
        texts: the cells; white space around them is ignored.
        form: as `strptime` takes it; empty for ISO 8601, with or without a time.
    """
    texts = pc.utf8_trim_whitespace(texts)
    if form:
        return _days(pc.strptime(texts, format=form, unit="us", error_is_null=True))
    # Pandas writes nanoseconds, and Arrow's type here holds microseconds.
    texts = pc.replace_substring_regex(texts, r"(\.[0-9]{6})[0-9]{1,3}", r"\1")
    try:
        return _days(_iso(texts))
    except pa.ArrowInvalid:
        # A text such as 30 February looks like a date: read one by one.
        return np.array([_day(text) for text in texts.to_pylist()])


def days_of_moments(moments: pa.ChunkedArray) -> Array:
    """Return Arrow's dates or timestamps of any unit as days since 1970, (N,), NaN where null.

    With a zone they are in UTC.
    """
    return _days(
        pc.cast(
            moments,
            pa.timestamp("us", moments.type.tz) if _zoned(moments) else pa.timestamp("us"),
            safe=False,
        )
    )


def _zoned(moments: pa.ChunkedArray) -> bool:
    return pa.types.is_timestamp(moments.type) and moments.type.tz is not None


def date_texts(days: Array, form: str) -> list[str]:
    """Return days since 1970, (N,), as texts of a date format; ISO 8601 where it is empty."""
    moments = (days * 86400.0).round().astype("datetime64[s]")
    if form:
        return [moment.item().strftime(form) for moment in moments]
    texts = np.datetime_as_string(moments)
    return [text.removesuffix("T00:00:00") for text in texts.tolist()]


def _days(moments: Any) -> Array:
    return cells.to_floats(pc.cast(moments, pa.int64())) / _MICROSECONDS_A_DAY


def _iso(column: pa.ChunkedArray) -> Any:
    """Return ISO 8601 texts as moments, null for any other text."""
    plain = pc.match_substring_regex(column, _ISO)
    zoned = pc.match_substring_regex(column, _HAS_ZONE)
    nothing = pa.nulls(1, pa.string())[0]
    local = pc.if_else(pc.and_(plain, pc.invert(zoned)), column, nothing)
    there = pc.if_else(pc.and_(plain, zoned), column, nothing)
    universal = pc.cast(pc.cast(there, pa.timestamp("us", "UTC")), pa.timestamp("us"))
    return pc.coalesce(pc.cast(local, pa.timestamp("us")), universal)


def _day(text: str) -> float:
    if re.match(_ISO, text) is None:
        return math.nan
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return math.nan
    zoned = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return zoned.timestamp() * 1e6 / _MICROSECONDS_A_DAY


def year_phase(days: Array) -> Array:
    """Return the share of the year that has passed; leap days move it by up to a day."""
    phase: Array = (days % YEAR) / YEAR
    return phase


def week_phase(days: Array) -> Array:
    """Return the share of the week that has passed, from Monday on."""
    phase: Array = ((np.floor(days) + THURSDAY) % WEEK) / WEEK
    return phase
