"""Which columns of a table a model predicts, and which it predicts from.

What kind of column each feature is, found from all of its cells or said by the user.
"""

import shlex
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from mdncli.columns.features import (
    CategoryFeature,
    DateFeature,
    NumberFeature,
    levels_of,
    parsed_dates,
)
from mdncli.errors import DataError, UsageError
from mdncli.tables.arrow import counted, is_missing, positions
from mdncli.tables.table import Fault, Table
from mdncli.text import listed, quoted
from mdncli.types import Array, Mask


@dataclass(frozen=True)
class Roles:
    """Which columns of a table are features, which are targets, and which holds weights, if any."""

    features: list[str]
    targets: list[str]
    weight: str | None = None


def choose_roles(
    table: Table,
    *,
    targets: list[str] | None = None,
    features: list[str] | None = None,
    ignore: list[str] | None = None,
) -> Roles:
    """Return the roles of a table's columns: by default the last is the target, the rest features.

    Raises:
        DataError: a named column is not there, or no feature or no target is left.
        UsageError: a column would be both.
    """
    targets, features, ignore = targets or [], features or [], ignore or []
    table.require([*targets, *features, *ignore])
    left = [name for name in table.names if name not in ignore]
    targets = targets or left[-1:]
    for first, second, flags in (
        (targets, features, "the target (-t, by default the last column) and a feature (-x)"),
        (targets, ignore, "the target (-t) and left out (--ignore)"),
        (features, ignore, "a feature (-x) and left out (--ignore)"),
    ):
        both = [name for name in first if name in second]
        if both:
            raise UsageError(f"{listed(both)} would be both {flags}.")
    features = features or [name for name in left if name not in targets]
    if not features:
        raise DataError(
            f"{table.source}: no feature is left beside the target. A table needs at least two "
            "columns, separated by commas."
        )
    return Roles(features, targets)


# Of the cells of a column of dates: more of another kind, and it is taken for text.
_MOST_BAD_DATES = 0.5


@dataclass(frozen=True)
class Asked:
    """The kinds that a user has set.

    Attributes:
        categorical, numeric: names of columns.
        dates: formats by name, as `strptime` takes them; empty for ISO 8601.
    """

    categorical: list[str] = field(default_factory=list)
    numeric: list[str] = field(default_factory=list)
    dates: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        named = Counter([*set(self.categorical), *set(self.numeric), *self.dates])
        for name, times in named.items():
            if times > 1:
                raise UsageError(
                    f"{quoted(name)} is given two kinds by --categorical, --numeric and --datetime."
                )


@dataclass(frozen=True)
class Values:
    """A column as a model takes it.

    Attributes:
        values: (N,), NaN where missing or wrong.
        faults: cells that cannot be used at all.
        unseen: (N,), cells that name no category the model has learned.
    """

    values: Array
    faults: list[Fault]
    unseen: Mask | None = None


@dataclass(frozen=True)
class NumberColumn:
    """A feature's column that is to be read as numbers."""

    name: str

    def read(self, table: Table) -> Values:
        """Return the numbers of a table's column."""
        cells = table.cells(self.name)
        wrong = np.flatnonzero(cells.text | cells.infinite)
        return Values(cells.values, [(self.name, wrong, table.why)] if len(wrong) else [])

    def measured(self, values: Array) -> NumberFeature:
        """Return the feature of these values, (N,), some of them there."""
        return NumberFeature.of(self.name, values)


@dataclass(frozen=True)
class DateColumn:
    """A feature's column that is to be read as dates of a format; empty for ISO 8601."""

    name: str
    format: str

    def read(self, table: Table) -> Values:
        """Return the days since 1970 of a table's column."""
        table.require([self.name])
        texts = table.columns[self.name]
        days = parsed_dates(texts, self.format)
        missing = is_missing(texts, table.dialect.na)
        wrong = np.flatnonzero(np.isnan(days) & ~missing)
        what = f"a date of the form {self.format}" if self.format else "a date as 2026-01-31"
        days[missing] = np.nan
        faults: list[Fault] = []
        if len(wrong):
            faults.append((self.name, wrong, lambda cell: f"{quoted(cell)} is not {what}"))
        return Values(days, faults)

    def measured(self, values: Array) -> DateFeature:
        """Return the feature of these values, (N,), some of them there."""
        return DateFeature.of(self.name, values, format=self.format)


@dataclass(frozen=True)
class CategoryColumn:
    """A feature's column that names categories, with the levels that are learned."""

    name: str
    levels: list[str]

    @classmethod
    def of(cls, table: Table, name: str) -> "CategoryColumn":
        """Return a table's column with its levels, but for the rare ones."""
        counts = counted(table.columns[name], table.dialect.na)
        # A category that is asked for has one level at least.
        return cls(name, levels_of(counts, table.rows) or [max(counts, key=lambda k: counts[k])])

    def read(self, table: Table) -> Values:
        """Return the positions of the levels in a table's column."""
        table.require([self.name])
        texts = table.columns[self.name]
        missing = is_missing(texts, table.dialect.na)
        values = np.where(missing, np.nan, positions(texts, self.levels))
        unseen = np.isnan(values) & ~missing
        values[unseen] = len(self.levels)
        return Values(values, [], unseen)

    def measured(self, values: Array) -> CategoryFeature:
        """Return the feature of these values, (N,)."""
        return CategoryFeature.of(self.name, self.levels, values)


FeatureColumn = NumberColumn | DateColumn | CategoryColumn


def column_of(feature: NumberFeature | CategoryFeature) -> FeatureColumn:
    """Return how the column of a model's feature is to be read."""
    if isinstance(feature, CategoryFeature):
        return CategoryColumn(feature.name, feature.levels)
    if isinstance(feature, DateFeature):
        return DateColumn(feature.name, feature.format)
    return NumberColumn(feature.name)


def feature_columns(
    table: Table, names: list[str], asked: Asked, *, skip: bool
) -> tuple[list[FeatureColumn], dict[str, str]]:
    """Return how each feature is to be read, and why some are to be left out, by their names.

    Args:
        table: all of it: one cell decides what a column is.
        names: of the features.
        asked: kinds that are set.
        skip: whether a row with a cell of another kind may be left out.

    Raises:
        DataError: a column holds numbers and other texts, and nothing says what it is.
    """
    table.require(names)
    columns: list[FeatureColumn] = []
    left_out: dict[str, str] = {}
    for name in names:
        if name in asked.categorical:
            columns.append(CategoryColumn.of(table, name))
        elif name in asked.dates:
            columns.append(DateColumn(name, asked.dates[name]))
        elif name in asked.numeric:
            columns.append(NumberColumn(name))
        else:
            found = _found(table, name, skip=skip)
            if isinstance(found, str):
                left_out[name] = found
            else:
                columns.append(found)
    return columns, left_out


def _found(table: Table, name: str, *, skip: bool) -> FeatureColumn | str:
    """Return how a column is to be read, or why it is to be left out."""
    cells = table.cells(name)
    if cells.kind == "number":
        return NumberColumn(name)
    if cells.kind == "empty":
        return "has no value"
    if cells.kind == "mixed":
        if skip or not cells.text.any():
            return NumberColumn(name)
        flag = shlex.quote(name)
        raise DataError(
            table.complaint(
                [(name, np.flatnonzero(cells.text | cells.infinite), table.why)],
                f"Use --categorical {flag} if it names categories, --na TEXT for a text that "
                f"stands for a missing value, --on-bad-rows skip to leave such rows out, or "
                f"--ignore {flag}.",
            )
        )
    texts = table.columns[name]
    there = ~is_missing(texts, table.dialect.na)
    no_date = np.isnan(parsed_dates(texts, "")) & there
    if no_date.sum() <= _MOST_BAD_DATES * there.sum():
        column = DateColumn(name, "")
        if no_date.any() and not skip:
            raise DataError(table.complaint(column.read(table).faults, _no_date(name)))
        return column
    counts = counted(texts, table.dialect.na)
    if len(counts) == there.sum() > 1:
        return "has another text in every row, as an identifier does"
    if not levels_of(counts, table.rows):
        return "has no text that is in enough rows to be learned"
    return CategoryColumn.of(table, name)


def _no_date(name: str) -> str:
    flag = shlex.quote(name)
    return (
        f"Most cells are dates. Use --categorical {flag} if they name categories, --na TEXT for a "
        "text that stands for a missing value, --on-bad-rows skip to leave such rows out, or "
        f"--ignore {flag}."
    )


def refuse_as_target(table: Table, name: str, asked: Asked) -> None:
    """Check that a target's column holds numbers.

    Raises:
        DataError: it holds texts or dates.
        UsageError: the user says so.
    """
    table.require([name])
    if name in asked.categorical or name in asked.dates:
        raise UsageError(
            f"{quoted(name)} is the target, and a density is of numbers: it cannot be "
            "--categorical or --datetime."
        )
    cells = table.cells(name)
    if cells.kind == "text":
        raise DataError(
            table.complaint(
                [(name, np.flatnonzero(cells.text), table.why)],
                f"The target {quoted(name)} holds texts, and a density is of numbers: choose "
                "another with -t.",
            )
        )
    if cells.kind == "empty" and table.rows:
        raise DataError(
            f"{table.source}: the target {quoted(name)} has no value. Choose another with -t."
        )
