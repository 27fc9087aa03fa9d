"""Dates as text become days since 1970, and back.

Which texts of a category are learned on their own.

One column as it was in training: its range, its scale, and how finely it was recorded.

The columns that a model predicts from, one class a kind: numbers, categories and dates.

Each kind knows how its cells become numbers, how the networks read those, and what its values are
where nothing else is asked for. All of them meet in a float matrix x, (N, F): a number is itself, a
category the position of its level, a date its days since 1970; NaN is a missing cell.
"""

import math
import re
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from statistics import NormalDist
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mdncli.tables import arrow
from mdncli.tables.arrow import floats
from mdncli.text import listed
from mdncli.types import Array

_DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME = r"[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,6})?)?"
_ZONE = r"(Z|[+-][0-9]{2}:?[0-9]{2})"
_ISO = rf"^{_DATE}({_TIME}{_ZONE}?)?$"
_HAS_ZONE = rf"{_TIME}{_ZONE}$"
_A_DAY = 86_400_000_000.0


def parsed_dates(texts: pa.ChunkedArray, form: str) -> NDArray[np.float64]:
    """Return each text as days since 1970, (N,), NaN where it is no such date.

    A time is a part of a day, in UTC where a zone is given.

    Args:
        texts: the cells; a blank around one does not matter.
        form: as `strptime` takes it; empty for ISO 8601, with a time or without.
    """
    texts = pc.utf8_trim_whitespace(texts)
    if form:
        return _days(pc.strptime(texts, format=form, unit="us", error_is_null=True))
    try:
        return _days(_iso(texts))
    except pa.ArrowInvalid:
        # 30 February, and the like: one by one.
        return np.array([_day(text) for text in texts.to_pylist()])


def date_texts(days: NDArray[np.float64], form: str) -> list[str]:
    """Return days since 1970, (N,), as texts of a date format, ISO 8601 where that is empty."""
    moments = (days * 86400.0).round().astype("datetime64[s]")
    if form:
        return [moment.item().strftime(form) for moment in moments]
    texts = np.datetime_as_string(moments)
    return [text.removesuffix("T00:00:00") for text in texts.tolist()]


def _days(moments: Any) -> NDArray[np.float64]:
    return floats(pc.cast(moments, pa.int64())) / _A_DAY


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
    return zoned.timestamp() * 1e6 / _A_DAY


# A level of fewer rows is not learned on its own, and of more levels only the most frequent are.
_FEWEST_OF_A_LEVEL, _ROWS_A_LEVEL = 5, 20
_MOST_LEVELS = 200


def levels_of(counts: dict[str, int], rows: int) -> list[str]:
    """Return the texts that are often enough to have a level of their own, the most frequent first.

    Args:
        counts: of each text.
        rows: of the table.
    """
    often = sorted(counts, key=lambda text: (-counts[text], text))[:_MOST_LEVELS]
    return [text for text in often if counts[text] >= fewest_of_a_level(rows)]


def fewest_of_a_level(rows: int) -> int:
    """Return how many rows a level needs: five, and fewer in a table of less than a hundred."""
    return min(max(rows // _ROWS_A_LEVEL, 2), _FEWEST_OF_A_LEVEL)


@dataclass(frozen=True)
class Column:
    """A number column as it was in training: every value in the units of the file."""

    name: str
    mean: float
    scale: float
    lowest: float
    median: float
    highest: float

    @classmethod
    def measure(cls, name: str, values: NDArray[np.float64]) -> "Column":
        """Return the column of these values, shape (N,)."""
        # Dividing by the largest magnitude first keeps the sums finite at the ends of float64.
        unit = float(np.abs(values).max()) or 1.0
        return cls(
            name,
            mean=float((values / unit).mean() * unit),
            scale=float((values / unit).std() * unit),
            lowest=float(values.min()),
            median=float(np.median(values)),
            highest=float(values.max()),
        )

    @property
    def constant(self) -> bool:
        """Whether the column holds one value, at the resolution of float64."""
        return not self.lowest < self.highest or not self.scale > 0.0


_FARTHEST = 1e6
_KNOTS = 64
_NORMAL = NormalDist()
# Days from which on a month, or a weekday, is more than another way to say the date.
_MONTHS_FROM, _WEEKDAYS_FROM = 365.0, 14.0
_YEAR, _WEEK = 365.2425, 7.0
_THURSDAY = 3.0
_FAR_OUTSIDE = 0.1
# What the level of all other texts is called; a file may well have an "other" of its own.
OTHER = "(other)"


@dataclass(frozen=True)
class NumberFeature(Column):
    """A column of numbers to predict from.

    Attributes:
        knots: values in rising order, (Q,); empty in a model of the first file format.
        scores: the normal score at each, (Q,), of unit standard deviation over the training rows.
        gaps: whether it had missing cells in training, so that it may have some later.
    """

    knots: list[float]
    scores: list[float]
    gaps: bool = False

    kind: ClassVar[str] = "number"
    waves: ClassVar[int] = 1

    @classmethod
    def of(cls, name: str, values: Array, **more: Any) -> Self:
        """Return the feature of these values, shape (N,), NaN where missing; some are there.

        A normal score is the standard normal quantile of a value's mean rank, (rank - 1/2) / N.
        """
        there = values[~np.isnan(values)]
        distinct, counts = np.unique(there, return_counts=True)
        ranks = (counts.cumsum() - 0.5 * counts) / len(there)
        chosen = np.arange(len(distinct))
        if len(distinct) > _KNOTS:
            # Evenly spaced in score: the tails, where scores change fastest, get their share.
            ends = _NORMAL.inv_cdf(ranks[0]), _NORMAL.inv_cdf(ranks[-1])
            levels = [_NORMAL.cdf(score) for score in np.linspace(*ends, _KNOTS)]
            ends_too = [0, *np.searchsorted(ranks, levels), len(distinct) - 1]
            chosen = np.unique(np.clip(ends_too, 0, len(distinct) - 1))
        scores = np.array([_NORMAL.inv_cdf(rank) for rank in ranks[chosen]])
        everywhere = np.interp(distinct, distinct[chosen], scores)
        center = float(np.average(everywhere, weights=counts))
        spread = math.sqrt(float(np.average((everywhere - center) ** 2, weights=counts)))
        column = asdict(Column.measure(name, there))
        # One value that is there or missing has no spread, but whether it is there may tell a lot.
        column["scale"] = column["scale"] or 1.0
        return cls(
            **column,
            knots=distinct[chosen].tolist(),
            scores=((scores - center) / (spread or 1.0)).tolist(),
            gaps=len(there) < len(values),
            **more,
        )

    @property
    def plain(self) -> int:
        """The number of inputs that the networks read without sines and cosines."""
        return int(self.gaps)

    @property
    def typical(self) -> float:
        """The value at which it is held where another feature is shown."""
        return self.median

    def waving_inputs(self, values: Array) -> Array:
        """Return values, shape (N,), as the networks read them, (N, 1): the mean of two scales.

        One is the training standard deviation, cut at a million of them: beyond, no answer means
        anything, but it stays a number. The other is the normal score, on which a skewed feature
        is spread as evenly as any. A missing value stands at the median.
        """
        values = np.where(np.isnan(values), self.median, values)
        with np.errstate(over="ignore"):
            linear = np.clip((values - self.mean) / self.scale, -_FARTHEST, _FARTHEST)
        if not self.knots:
            return linear[:, None]
        return 0.5 * (linear + np.interp(values, self.knots, self.scores))[:, None]

    def plain_inputs(self, values: Array) -> Array:
        """Return what the networks read beside that: 1 where a value is missing, (N, P)."""
        return np.isnan(values)[:, None].astype(np.float64) if self.gaps else values[:, None][:, :0]

    def far_outside(self, values: Array) -> NDArray[np.bool_]:
        """Return which values, (N,), exceed the training range by more than a tenth of it."""
        with np.errstate(over="ignore"):
            margin = _FAR_OUTSIDE * (self.highest - self.lowest)
            outside: NDArray[np.bool_] = (values < self.lowest - margin) | (
                values > self.highest + margin
            )
        return outside

    def points(self, count: int) -> Array:
        """Return values all over its training range, evenly spaced, (count,)."""
        return np.linspace(self.lowest, self.highest, count)

    def column(self, values: Array) -> Any:
        """Return values, (N,), as a column to be written."""
        return values

    def three_points(self) -> list[str]:
        """Return its lowest, median and highest value in training, in words."""
        return [f"{value:g}" for value in (self.lowest, self.median, self.highest)]

    @property
    def range(self) -> str:
        """Its range in training, in words."""
        low, _, high = self.three_points()
        return f"{low} to {high}"


@dataclass(frozen=True)
class DateFeature(NumberFeature):
    """A column of dates: days since 1970, and where it spans enough of them month and weekday.

    Attributes:
        format: as `strptime` takes it; empty for ISO 8601.
    """

    format: str = ""

    kind: ClassVar[str] = "date"

    @property
    def plain(self) -> int:
        """The number of inputs that the networks read without sines and cosines."""
        return super().plain + 2 * len(self._cycles())

    def plain_inputs(self, values: Array) -> Array:
        """Return whether a date is missing, and sine and cosine of its place in each cycle."""
        there = np.where(np.isnan(values), self.median, values)
        phases = [2.0 * np.pi * phase(there) for phase in self._cycles()]
        waves = [wave(phase) for phase in phases for wave in (np.sin, np.cos)]
        return np.column_stack([super().plain_inputs(values), *waves])

    def column(self, values: Array) -> Any:
        """Return days since 1970, (N,), as a column of dates to be written."""
        there = np.where(np.isnan(values), 0.0, values)
        texts = zip(date_texts(there, self.format), np.isnan(values), strict=True)
        return arrow.column(["" if missing else text for text, missing in texts])

    def _cycles(self) -> list[Any]:
        span = self.highest - self.lowest
        return [_year_phase] * (span >= _MONTHS_FROM) + [_week_phase] * (span >= _WEEKDAYS_FROM)

    def three_points(self) -> list[str]:
        """Return its first, middle and last day in training, in words."""
        return date_texts(np.array([self.lowest, self.median, self.highest]), "")


@dataclass(frozen=True)
class CategoryFeature:
    """A column of texts that name categories.

    Attributes:
        name: as the header has it.
        levels: the texts with a position of their own, the most frequent first. All others, the
            rare ones of the training rows and any that come later, are one level more: `other`.
        gaps: whether it had empty cells in training, so that it may have some later.
        rare: positions of levels that hardly any of the rows learned from had, after all: they too
            are read as `other`.
    """

    name: str
    levels: list[str]
    gaps: bool = False
    rare: list[int] = field(default_factory=list)

    kind: ClassVar[str] = "category"
    waves: ClassVar[int] = 0
    typical: ClassVar[float] = 0.0

    @classmethod
    def of(cls, name: str, levels: list[str], values: Array) -> "CategoryFeature":
        """Return the category of these levels and of training rows at these positions, (N,)."""
        there = values[~np.isnan(values)].astype(np.int64)
        counts = np.bincount(there, minlength=len(levels))[: len(levels)]
        fewest = min(fewest_of_a_level(len(values)), int(counts.max()))
        rare = np.flatnonzero(counts < fewest).tolist()
        return cls(name, levels, len(there) < len(values), rare)

    @property
    def plain(self) -> int:
        """The number of inputs that the networks read: one a level, `other` and an empty cell."""
        return len(self.levels) + 1 + self.gaps

    @property
    def other(self) -> int:
        """The position of the level of all other texts."""
        return len(self.levels)

    def waving_inputs(self, values: Array) -> Array:
        """Return no input, (N, 0): sines and cosines of a category have no meaning."""
        return np.empty((len(values), 0))

    def plain_inputs(self, values: Array) -> Array:
        """Return a one at the place of each row's level, (N, P); the last is the empty cell's."""
        place = np.where(np.isnan(values), self.plain - 1, values).astype(np.int64)
        place[np.isin(place, self.rare)] = self.other
        inputs = np.zeros((len(values), self.plain))
        inputs[np.arange(len(values)), place] = 1.0
        return inputs

    def far_outside(self, values: Array) -> NDArray[np.bool_]:
        """Return which values, (N,), are outside what was learned: none, for `other` is learned."""
        return np.zeros(len(values), dtype=bool)

    def points(self, count: int) -> Array:
        """Return its levels in turn, (count,)."""
        learned = [place for place in range(len(self.levels)) if place not in self.rare]
        return np.resize(np.array(learned, dtype=np.float64), count)

    def three_points(self) -> list[str]:
        """Return nothing: levels have no order."""
        return []

    @property
    def range(self) -> str:
        """Its levels, in words."""
        return listed(self.levels, 6)

    def column(self, values: Array) -> Any:
        """Return the level of each value, (N,), as a column to be written."""
        names = [*self.levels, OTHER, ""]
        return arrow.column([names[-1 if math.isnan(value) else int(value)] for value in values])


Feature = NumberFeature | DateFeature | CategoryFeature

KINDS: dict[str, type[Any]] = {
    "number": NumberFeature,
    "date": DateFeature,
    "category": CategoryFeature,
}


def to_plain(feature: Feature) -> dict[str, Any]:
    """Return a feature as plain values."""
    return {"kind": feature.kind, **asdict(feature)}


def from_plain(plain: dict[str, Any]) -> Feature:
    """Return the feature that `to_plain` gave."""
    fields = dict(plain)
    feature: Feature = KINDS[fields.pop("kind")](**fields)
    return feature


def _year_phase(days: Array) -> Array:
    """Return the part of the year that has passed, roughly: leap days move it by one."""
    phase: Array = (days % _YEAR) / _YEAR
    return phase


def _week_phase(days: Array) -> Array:
    """Return the part of the week that has passed; 1 January 1970 was a Thursday."""
    phase: Array = ((np.floor(days) + _THURSDAY) % _WEEK) / _WEEK
    return phase
