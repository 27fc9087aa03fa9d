"""The kind of each column, found from all of its cells or set by the user, and how it is read.

A reader turns a column of a table into floats: a number is itself, a date its days since 1970, a
category the position of its level. A missing cell is NaN.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mdncli.columns.features import (
    AngleFeature,
    CategoryFeature,
    DateFeature,
    Feature,
    NumberFeature,
    days_of_moments,
    frequent_levels,
    parsed_dates,
)
from mdncli.columns.roles import Roles, column_names, date_formats, events_of, periods_of
from mdncli.columns.transforms import Transform
from mdncli.errors import DataError, ParameterError, parameter, parameter_for, warn
from mdncli.settings import FitOptions
from mdncli.tables.cells import is_missing, positions, remedy_of_number, to_mask, value_counts
from mdncli.tables.table import Fault, Table
from mdncli.text import counted, quoted
from mdncli.types import Array, Mask, Positions

# A column of dates may hold other texts in up to this share of its cells; with more it is text.
_MOST_OTHER_TEXTS = 0.5
# Numbers that people write with a sign or a unit are refused if so many are written alike; others
# may be categories, such as 1st and 2nd.
_MOST_WRITTEN_ALIKE = 0.9
_DAY_DIGITS = 2
_LEADING_ZERO = r"^\s*[+-]?0[0-9]+\s*$"
# A date that is not ISO 8601, such as 10/09/2024 or 10.09.24 18:00.
_LIKE_DATE = (
    r"^\s*([0-9]{1,4}(/[0-9]{1,2}/|\.[0-9]{1,2}\.)|[0-9]{1,2}-[0-9]{1,2}-)[0-9]{1,4}"
    r"([ T][0-9]{1,2}:[0-9]{2}(:[0-9]{2})?)?\s*$"
)


@dataclass(frozen=True)
class ColumnValues:
    """A column as floats.

    Attributes:
        values: (N,), NaN where a cell is missing or cannot be used.
        faults: the cells that cannot be used.
        unseen: (N,), cells with a category that the model has not learned; None for other kinds.
    """

    values: Array
    faults: list[Fault]
    unseen: Mask | None = None


@dataclass(frozen=True)
class NumberReader:
    """Reads a column as numbers."""

    name: str

    def read(self, table: Table) -> ColumnValues:
        """Return the numbers of a table's column."""
        cells = table.cells(self.name)
        wrong = np.flatnonzero(cells.text | cells.infinite)
        faults: list[Fault] = (
            [Fault(self.name, wrong, table.reason_not_number)] if len(wrong) else []
        )
        return ColumnValues(cells.values, faults)

    def measure(self, values: Array) -> NumberFeature:
        """Return the feature of these values, (N,), not all of them missing."""
        return NumberFeature.measure_feature(self.name, values)


@dataclass(frozen=True)
class AngleReader(NumberReader):
    """Reads a column as numbers that wrap around after a period."""

    period: float

    def measure(self, values: Array) -> AngleFeature:
        """Return the feature of these values, (N,), not all of them missing."""
        return AngleFeature.measure_feature(self.name, values, period=self.period)


@dataclass(frozen=True)
class DateReader:
    """Reads a column as dates of a format; empty for ISO 8601."""

    name: str
    format: str

    def read(self, table: Table) -> ColumnValues:
        """Return the days since 1970 of a table's column."""
        table.require([self.name])
        original = table.originals[self.name]
        if pa.types.is_timestamp(original.type) or pa.types.is_date(original.type):
            return ColumnValues(days_of_moments(original), [])
        texts = table.columns[self.name]
        days = parsed_dates(texts, self.format)
        missing = is_missing(texts, table.dialect.na)
        wrong = np.flatnonzero(np.isnan(days) & ~missing)
        what = f"a date of the form {self.format}" if self.format else "a date such as 2026-01-31"
        days[missing] = np.nan
        faults: list[Fault] = []
        if len(wrong):
            faults.append(Fault(self.name, wrong, lambda cell: f"{quoted(cell)} is not {what}"))
        return ColumnValues(days, faults)

    def measure(self, values: Array) -> DateFeature:
        """Return the feature of these values, (N,), not all of them missing."""
        return DateFeature.measure_feature(self.name, values, format=self.format)


@dataclass(frozen=True)
class CategoryReader:
    """Reads a column as categories with these levels."""

    name: str
    levels: list[str]

    @classmethod
    def of_table(cls, table: Table, name: str) -> "CategoryReader":
        """Return the reader of a table's column, with the levels that are frequent enough."""
        counts = value_counts(table.columns[name], table.dialect.na)
        if not counts:
            raise DataError(f"{table.source}: the column {quoted(name)} has no value.")
        # A column that the user names in `categorical` has at least one level.
        levels = frequent_levels(counts, table.rows) or [max(counts, key=lambda k: counts[k])]
        return cls(name, levels)

    def read(self, table: Table) -> ColumnValues:
        """Return the positions of the levels in a table's column."""
        table.require([self.name])
        texts, kind = table.columns[self.name], table.originals[self.name].type
        missing = is_missing(texts, table.dialect.na)
        found = positions(texts, self.levels)
        if pa.types.is_integer(kind) or pa.types.is_floating(kind):
            # Numbers have lost the text that they had in a file: 1.0 may be the level "1".
            found = np.where(np.isnan(found), self._by_number(table), found)
        elif self.name in table.declared:
            # Truth values are written as True by Python and as true in a Parquet file.
            lowered = [level.lower() for level in self.levels]
            again = positions(pc.utf8_lower(texts), lowered)
            found = np.where(np.isnan(found), again, found)
        values = np.where(missing, np.nan, found)
        unseen = np.isnan(values) & ~missing
        values[unseen] = len(self.levels)
        return ColumnValues(values, [], unseen)

    def _by_number(self, table: Table) -> Array:
        """Return the position of the level that is the same number, (N,), NaN where none is."""
        numbers: dict[float, int] = {}
        for position, level in enumerate(self.levels):
            try:
                numbers.setdefault(float(level), position)
            except ValueError:
                continue
        cells = table.cells(self.name).values
        return np.array([numbers.get(value, np.nan) for value in cells.tolist()], dtype=np.float64)

    def measure(self, values: Array) -> CategoryFeature:
        """Return the feature of rows with levels at these positions, (N,)."""
        return CategoryFeature.measure_feature(self.name, self.levels, values)


FeatureReader = NumberReader | DateReader | CategoryReader


def reader_of(feature: Feature) -> FeatureReader:
    """Return the reader of the column of a model's feature."""
    if isinstance(feature, CategoryFeature):
        return CategoryReader(feature.name, feature.levels)
    if isinstance(feature, DateFeature):
        return DateReader(feature.name, feature.format)
    if isinstance(feature, AngleFeature):
        return AngleReader(feature.name, feature.period)
    return NumberReader(feature.name)


@dataclass(frozen=True)
class Layout:
    """How the columns of a table to learn from are read.

    Attributes:
        features: the reader of each feature.
        targets: the names of the targets.
        weight, group: the names of the columns of weights and groups, if any.
        transforms: by name, of the targets with bounds or of another kind.
        min_sigma: by name, of the targets with a smallest sigma of the user's choice.
        event: the column that says whether the value of the target is known, as in `Schema`.
        censor: the limits of a target, below and above, by name.
    """

    features: list[FeatureReader]
    targets: list[str]
    weight: str | None = None
    group: str | None = None
    transforms: Mapping[str, Transform] = field(default_factory=dict)
    min_sigma: Mapping[str, float] = field(default_factory=dict)
    event: str | None = None
    censor: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)


def feature_readers(table: Table, roles: Roles, options: FitOptions) -> list[FeatureReader]:
    """Return the reader of each feature that can be used.

    All cells of a column decide its kind. A warning names each feature that is left out.

    Raises:
        DataError: a column holds numbers and other texts, and nothing says how to read it; or no
            feature is left.
        ParameterError: a column has two kinds, or a target has a kind that it cannot have.
    """
    kinds = _Kinds.of_options(table, options)
    for target in roles.targets:
        kinds.require_numbers(target)
    readers: list[FeatureReader] = []
    for name in roles.features:
        found = kinds.reader(name)
        if isinstance(found, str):
            warn(f"{quoted(name)} is left out, because it {found}.")
        else:
            readers.append(found)
    if not readers:
        raise DataError(f"{table.source}: no feature is left beside the target.")
    return readers


def why_kind(feature: Feature, parameters: Mapping[str, Any], names: Sequence[str]) -> str:
    """Return why a column got its kind, and what its categories look like.

    The phrase may mention parameters, as errors do.

    Args:
        feature: of a schema.
        parameters: of the fit, as `FitOptions` takes them.
        names: of the columns of the table.
    """
    chosen = {
        "categorical": column_names("categorical", parameters.get("categorical") or (), names),
        "numeric": column_names("numeric", parameters.get("numeric") or (), names),
        "datetime": date_formats(parameters.get("datetime") or (), names),
    }
    named = next((option for option in chosen if feature.name in chosen[option]), None)
    if named is not None:
        why = f"named in {parameter(named)}"
    elif isinstance(feature, AngleFeature):
        why = f"it wraps around after {feature.period:g}, as {parameter('period')} says"
    elif isinstance(feature, DateFeature):
        why = "its cells are dates"
    else:
        why = "its cells are texts" if feature.kind == "category" else "every cell is a number"
    if not isinstance(feature, CategoryFeature):
        return why
    for what, like in _LOOKS.items():
        if all(like(level.strip()) for level in feature.levels):
            return f"{why}; looks like {what}"
    return why


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?[\d.,]*\d[\d.,]*", text) is not None


# What categories may look like, the first that fits.
_LOOKS: dict[str, Callable[[str], bool]] = {
    "codes": lambda text: re.fullmatch(r"0\d+", text) is not None,
    "dates": lambda text: re.search(f"{_LIKE_DATE}|^[0-9]{{4}}-[0-9]{{2}}-", text) is not None,
    "numbers": lambda text: _is_number(text) or bool(remedy_of_number(text, ".")),
}


def _date_formats(text: str) -> list[str]:
    """Return the formats in which a text, such as 10/09/2024 18:00, may be a date."""
    date, between, time = text.partition("T" if "T" in text else " ")
    mark = next(character for character in date if not character.isdigit())
    first, _, last = date.split(mark)
    if len(first) > _DAY_DIGITS:
        orders = ["Y m d", "Y d m"]
    else:
        year = "Y" if len(last) > _DAY_DIGITS else "y"
        orders = [f"d m {year}", f"m d {year}"]
    clock = ["", "%H:%M", "%H:%M:%S"][time.count(":")]
    return [mark.join(f"%{part}" for part in order.split()) + between + clock for order in orders]


@dataclass(frozen=True)
class _Kinds:
    """The kinds of a table's columns, as far as the user has set them.

    Attributes:
        table: all of it.
        categorical, numeric: names of columns.
        dates: date formats by name.
        periods: by name, of columns of numbers that wrap around.
        skip: whether rows with a cell of another kind may be left out.
    """

    table: Table
    categorical: Sequence[str]
    numeric: Sequence[str]
    dates: Mapping[str, str]
    periods: Mapping[str, float]
    skip: bool

    @classmethod
    def of_options(cls, table: Table, options: FitOptions) -> "_Kinds":
        categorical = column_names("categorical", options.categorical, table.names)
        numeric = column_names("numeric", options.numeric, table.names)
        dates = date_formats(options.datetime, table.names)
        periods = periods_of(options, table.names)
        table.require([*categorical, *numeric, *dates])
        for name, times in Counter([*categorical, *numeric, *dates, *periods]).items():
            if times > 1:
                names = ("categorical", "numeric", "datetime", "period")
                raise ParameterError(
                    f"{quoted(name)} has two kinds: name it in only one of "
                    f"{', '.join(parameter(each) for each in names)}."
                )
        return cls(table, categorical, numeric, dates, periods, options.on_bad_rows == "skip")

    def reader(self, name: str) -> FeatureReader | str:
        """Return the reader of a feature, or the reason to leave it out."""
        self.table.require([name])
        if name in self.categorical:
            return CategoryReader.of_table(self.table, name)
        if name in self.dates:
            return DateReader(name, self.dates[name])
        if name in self.periods:
            return AngleReader(name, self.periods[name])
        if name in self.numeric:
            return NumberReader(name)
        declared = self.table.declared.get(name)
        if declared == "date":
            return DateReader(name, "")
        if declared == "category":
            return self._category(name, may_be_identifier=False)
        return self._found(name)

    def _found(self, name: str) -> FeatureReader | str:
        cells = self.table.cells(name)
        if cells.kind == "number":
            self._warn_of_leading_zeros(name)
            return NumberReader(name)
        if cells.kind == "empty":
            return "has no value"
        if cells.kind == "mixed":
            if not self.skip and cells.text.any():
                wrong = np.flatnonzero(cells.text | cells.infinite)
                raise DataError(
                    self._unclear([Fault(name, wrong, self.table.reason_not_number)], name)
                )
            return NumberReader(name)
        texts = self.table.columns[name]
        there = ~is_missing(texts, self.table.dialect.na)
        no_date = np.isnan(parsed_dates(texts, "")) & there
        if no_date.sum() <= _MOST_OTHER_TEXTS * there.sum():
            reader = DateReader(name, "")
            if no_date.any() and not self.skip:
                faults = reader.read(self.table).faults
                raise DataError(self._unclear(faults, name, "Most cells are dates. "))
            return reader
        self._require_no_other_dates(name, int(there.sum()))
        self._require_no_written_numbers(name)
        return self._category(name, may_be_identifier=True)

    def _warn_of_leading_zeros(self, name: str) -> None:
        texts = self.table.columns[name]
        if self.table.file is None or self.table.originals[name].type != pa.string():
            return
        codes = texts.filter(pc.match_substring_regex(texts, _LEADING_ZERO))
        if len(codes):
            warn(
                f"{quoted(name)} is read as numbers, and {len(codes)} cells begin with a zero, "
                f"such as {quoted(codes[0].as_py())}. If they are codes, use "
                f"{parameter_for('categorical', name)}."
            )

    def _require_no_other_dates(self, name: str, there: int) -> None:
        """Check that the texts of a column are not dates that may be read in several ways.

        Raises:
            DataError: most of the cells that are there are such dates.
        """
        texts = self.table.columns[name]
        like = to_mask(pc.match_substring_regex(texts, _LIKE_DATE))
        if like.sum() <= _MOST_OTHER_TEXTS * there:
            return
        example = texts[int(np.argmax(like))].as_py().strip()
        fitting = [
            form
            for form in _date_formats(example)
            if not np.isnan(parsed_dates(texts, form)[like]).any()
        ]
        ways = [parameter_for("datetime", name, f"={form}") for form in fitting]
        by = f"Say how they are written: {' or '.join(ways)}. " if ways else ""
        raise DataError(
            f"{self.table.source}, column {quoted(name)}: it holds dates such as "
            f"{quoted(example)}. {by}Use {parameter_for('categorical', name)} if they are "
            f"categories, or {parameter_for('ignore', name)}."
        )

    def _require_no_written_numbers(self, name: str) -> None:
        """Check that the texts of a column are not numbers as people write them.

        Raises:
            DataError: most of them are, and there is one way to read them, or no other use for
                them.
        """
        counts = value_counts(self.table.columns[name], self.table.dialect.na)
        ways: Counter[str] = Counter()
        examples: dict[str, str] = {}
        for text, count in counts.items():
            remedy = remedy_of_number(text.strip(), self.table.dialect.decimal)
            if remedy:
                ways[remedy] += count
                examples.setdefault(remedy, text)
        if not ways or ways.total() <= _MOST_OTHER_TEXTS * sum(counts.values()):
            return
        [(way, most)] = ways.most_common(1)
        category = isinstance(self._category(name, may_be_identifier=True), CategoryReader)
        if most < _MOST_WRITTEN_ALIKE * ways.total() and category:
            return
        raise DataError(
            f"{self.table.source}, column {quoted(name)}: its cells look like numbers, such as "
            f"{quoted(examples[way])}: {way}. Use {parameter_for('categorical', name)} if they are "
            f"categories, or {parameter_for('ignore', name)}."
        )

    def _category(self, name: str, *, may_be_identifier: bool) -> FeatureReader | str:
        counts = value_counts(self.table.columns[name], self.table.dialect.na)
        if not counts:
            return "has no value"
        if may_be_identifier and len(counts) == sum(counts.values()) > 1:
            return "has a different text in every row, as an identifier does"
        if not frequent_levels(counts, self.table.rows):
            return "has no text that is frequent enough to learn from"
        return CategoryReader.of_table(self.table, name)

    def _unclear(self, faults: list[Fault], name: str, first: str = "") -> str:
        return self.table.fault_message(
            faults,
            f"{first}Use {parameter_for('categorical', name)} if the cells are categories, "
            f"{parameter('na', 'TEXT')} for a text that stands for a missing value, "
            f"{parameter('on_bad_rows', repr('skip'))} to leave such rows out, or "
            f"{parameter_for('ignore', name)}.",
        )

    def require_numbers(self, target: str) -> None:
        """Check that a target's column holds numbers.

        Raises:
            DataError: it holds texts or dates, or nothing.
            ParameterError: the user has set another kind for it.
        """
        table, another = self.table, f"Choose another {parameter('target')}."
        table.require([target])
        if target in self.categorical or target in self.dates:
            raise ParameterError(
                f"{quoted(target)} is the target, which must be a number: it cannot be in "
                f"{parameter('categorical')} or {parameter('datetime')}."
            )
        cells = table.cells(target)
        if cells.kind == "text":
            faults = [Fault(target, np.flatnonzero(cells.text), table.reason_not_number)]
            remedy = f"The target {quoted(target)} holds texts, but it must hold numbers. {another}"
            raise DataError(table.fault_message(faults, remedy))
        if cells.kind == "empty" and table.rows:
            raise DataError(f"{table.source}: the target {quoted(target)} has no value. {another}")


# Columns that are no features: what they say of each row.


def row_weights(table: Table, given: Any, *, whole: bool = True) -> tuple[Array, list[Fault]]:
    """Return the weight of each row, (R,), NaN for a cell that is not a weight, and those cells.

    Args:
        table: with R rows.
        given: the name of a column, or (R,) numbers; None where all rows count alike.
        whole: whether there are no other rows, so that one of these must have a weight.

    Raises:
        DataError: no row has a positive weight, or the numbers are no weights.
    """
    if given is None:
        return np.ones(table.rows), []
    if not isinstance(given, str):
        return _given_weights(table, given), []
    column = NumberReader(given).read(table)
    weights, faults = column.values.copy(), list(column.faults)
    missing = np.isnan(weights)
    for fault in faults:
        missing[fault.rows] = False
    for rows, reason in (
        (np.flatnonzero(missing), "the weight is missing"),
        (np.flatnonzero(weights < 0.0), "a weight must be zero or more"),
    ):
        if len(rows):
            faults.append(Fault(given, rows, reason))
            weights[rows] = np.nan
    if whole and not faults and not (weights > 0.0).any():
        raise no_weight(table.source, given)
    return weights, faults


def no_weight(source: str, column: str) -> DataError:
    """Return the error that says that no row counts."""
    return DataError(f"{source}: no row has a positive weight in {quoted(column)}.")


def _given_weights(table: Table, given: Any) -> Array:
    try:
        weights = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        weights = np.empty(0)
    good = weights.shape == (table.rows,) and np.isfinite(weights).all() and (weights >= 0.0).all()
    if not good or not (weights > 0.0).any():
        raise DataError(
            f"{parameter('weight')} must be {counted(table.rows, 'number')}, none of them negative "
            "and not all of them zero."
        )
    return weights


def known_rows(table: Table, given: Any) -> tuple[Mask | None, list[Fault]]:
    """Return where the value of the target is known, (R,), and the cells that do not say.

    Args:
        table: with R rows.
        given: the name of a column, or (R,) values, of 1 or true where it is known, and of 0 or
            false elsewhere; None where all are known.

    Raises:
        DataError: there is no such column, or the values are others.
    """
    if given is None:
        return None, []
    if not isinstance(given, str):
        events = np.asarray(given)
        if events.shape != (table.rows,) or not np.isin(events, (0, 1)).all():
            needed = counted(table.rows, "number")
            raise DataError(f"{parameter('event')} must be {needed}, each of them 0 or 1.")
        return events == 1, []
    known, unknown = events_of(table, given)
    wrong = np.flatnonzero(~(known | unknown))
    return known, [Fault(given, wrong, _not_an_event)] if len(wrong) else []


def _not_an_event(cell: str) -> str:
    return f"an event must be 0 or 1, and it is {quoted(cell.strip())}"


def row_groups(table: Table, given: Any) -> Positions | None:
    """Return the group of each row as a number, (R,).

    Args:
        table: with R rows.
        given: the name of a column, or (R,) values; None where rows are independent.

    Raises:
        DataError: there is no such column, or another number of values.
    """
    if given is None:
        return None
    if isinstance(given, str):
        return table.codes(given)
    groups = np.asarray(given)
    if groups.shape != (table.rows,):
        raise DataError(f"{parameter('group')} must be {counted(table.rows, 'value')}.")
    # In the order of their first rows, as the codes of a column are.
    numbers: dict[str, int] = {}
    codes = [numbers.setdefault(str(group), len(numbers)) for group in groups.tolist()]
    return np.array(codes, dtype=np.int64)
