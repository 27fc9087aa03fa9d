"""Datasets: the rows of a table that count, as the matrices that a model reads.

Here alone it is decided which rows of a table count: for fitting, for every later question, and for
the Python interface alike.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import numpy as np

from mdncli.columns.discrete import Atoms
from mdncli.columns.features import Column
from mdncli.columns.kinds import (
    FeatureReader,
    Layout,
    NumberReader,
    known_rows,
    reader_of,
    row_groups,
    row_weights,
)
from mdncli.columns.schema import Schema, measure_targets
from mdncli.columns.transforms import IDENTITY, LARGEST_TARGET, Transform
from mdncli.errors import DataError, parameter, parameter_for, warn
from mdncli.tables.table import Fault, Table
from mdncli.text import counted, listed, quoted
from mdncli.types import Array, Mask, Positions

FEWEST_ROWS = 10
# A table to learn from is refused if more than this share of its rows cannot be used.
MOST_SKIPPED = 0.1
# The smallest scale of a target; see `LARGEST_TARGET`.
_SMALLEST_SCALE = 1e-60
# The largest size of a feature: the range of the column is a number, too.
_LARGEST_FEATURE = 1e300
# In scales of a target: the farthest value that single precision can learn beside the others.
_FARTHEST_TARGET = 1e8
_CORRECT = "Correct them, or leave such rows out"


@dataclass(frozen=True)
class Dataset:
    """N rows of a table that can be used.

    Attributes:
        x: (N, F), the features, NaN where missing.
        y: (N, T), the targets, NaN where unknown; finite in rows to learn from.
        weights: (N,), positive, of mean 1; None where all rows count alike.
        groups: (N,), the group of each row, numbered from 0; None where rows are independent.
        known: (N,), False where the target is only known to exceed its value; None where all
            values are known.
        positions: (N,), the positions of the rows in the table, in rising order; None where they
            are all of its rows.
        left_out: the number of rows of the table that are not among these, by the reason.
        validation: rows of the user's own to hold out for early stopping, instead of some of these.
    """

    x: Array
    y: Array
    weights: Array | None = None
    groups: Positions | None = None
    known: Mask | None = None
    positions: Positions | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)
    validation: "Dataset | None" = None

    def __len__(self) -> int:
        return len(self.x)

    @property
    def row_weights(self) -> Array:
        """How much each row counts, (N,)."""
        return np.ones(len(self.y)) if self.weights is None else self.weights

    @property
    def known_rows(self) -> Mask:
        """Where the target is known, (N,)."""
        return np.ones(len(self.y), dtype=bool) if self.known is None else self.known

    def take(self, rows: Positions) -> "Dataset":
        """Return the rows at these positions: groups renumbered, weights of mean 1."""
        return Dataset(
            self.x[rows],
            self.y[rows],
            None if self.weights is None else mean_one(self.weights[rows]),
            None if self.groups is None else renumbered(self.groups[rows]),
            None if self.known is None else self.known[rows],
        )


def mean_one(weights: Array) -> Array:
    """Return positive weights scaled to a mean of 1."""
    return weights / weights.mean() if len(weights) else weights


def renumbered(groups: Positions) -> Positions:
    """Return groups as numbers from 0 on, each of which occurs."""
    return np.unique(groups, return_inverse=True)[1].astype(np.int64)


@dataclass
class RowTally:
    """Counts of the rows of a table, which may be read block by block.

    Attributes:
        rows, skipped: the rows that were read, and those that were left out before that.
        first_skipped, first_bad: what is wrong with the first of them.
        bad, without_target, of_no_weight: the rows that do not count, by the reason.
        unseen: the cells with a category that was not learned, by column.
        weighted: whether a row has a positive weight.
    """

    rows: int = 0
    skipped: int = 0
    first_skipped: str = ""
    bad: int = 0
    first_bad: str = ""
    without_target: int = 0
    of_no_weight: int = 0
    unseen: Counter[str] = field(default_factory=Counter)
    weighted: bool = False

    def warn(self, rules: "RowRules") -> None:
        """Warn of all that was counted."""
        total = self.rows + self.skipped
        if self.skipped:
            warn(
                f"{self.skipped} of {total} rows have a different number of fields than the header "
                f"and are left out. The first: {self.first_skipped}."
            )
        if self.bad:
            warn(
                f"{self.bad} of {total} rows have a cell that cannot be used and "
                f"{rules.consequence}. The first: {self.first_bad}."
            )
        reasons = {"no target": self.without_target, "a weight of 0": self.of_no_weight}
        for what, rows in reasons.items():
            if rows:
                warn(f"{rows} of {total} rows have {what} and are left out.")
        for name, cells in self.unseen.items() if rules.warn_of_unseen else ():
            warn(
                f"{cells} of {self.rows} rows have a category in {quoted(name)} that the model has "
                "not learned. They are answered like its rare categories."
            )


@dataclass(frozen=True)
class RowRules:
    """What a row must have in order to count.

    A row that breaks a rule is bad: it is an error, or with `skip` it is left out with a warning.

    Attributes:
        targets: the targets to read.
        missing_target: what to do with a row that lacks one of them: `leave out` the row with a
            warning, `keep` it with NaN, or take it as a `fault` like any bad cell.
        complete: the features that must not have missing cells.
        warn_of_unseen: whether to warn of categories that the readers do not know.
        inside: the transforms of the targets with values that must be inside bounds, by name.
        weights: the name of a column, or (N,) numbers; None where all rows count alike.
        groups: the name of a column, or (N,) values; None where rows are independent.
        event: the name of a column, or (N,) values, 1 where the target is known and 0 where it is
            only known to exceed its value; None where it is known everywhere.
        censor: the limits of a target, below and above, by name; None for none. Values beyond them
            are moved to them.
        clip: whether to do so for a model, whose limits are known.
        skip: whether bad rows are left out.
        most_skipped: the largest share of bad rows that may be left out.
        remedy: what to do about bad cells, for the error.
        feature_remedy: the same, if all bad cells are of features; empty for `remedy`.
        consequence: what happens to bad rows that are skipped, for the warning.
        tally: to which the rows of a block are added, without a warning and with their own weights.
    """

    targets: Sequence[str] = ()
    missing_target: Literal["leave out", "keep", "fault"] = "leave out"
    complete: Sequence[str] = ()
    warn_of_unseen: bool = False
    inside: Mapping[str, Transform] = field(default_factory=dict)
    weights: Any = None
    groups: Any = None
    event: Any = None
    censor: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)
    clip: bool = True
    skip: bool = False
    most_skipped: float = 1.0
    remedy: str = f"{_CORRECT}: {parameter('on_bad_rows', repr('skip'))}."
    feature_remedy: str = ""
    consequence: str = "are left out"
    tally: RowTally | None = None

    def scaled(self, weights: Array) -> Array:
        """Return weights of mean 1; those of a block as they are."""
        return mean_one(weights) if self.tally is None else weights


def read_dataset(table: Table, readers: Sequence[FeatureReader], rules: RowRules) -> Dataset:
    """Return the rows of a table that count, with y (N, T) of the targets in `rules.targets`.

    Warnings say how many rows are left out and why, and how many cells hold a category that was not
    learned.

    Raises:
        DataError: a column does not exist, there are bad rows without `rules.skip` or too many of
            them, or no row has a positive weight.
    """
    table.require(rules.targets)
    features = _read_columns(table, readers)
    targets = _read_columns(table, [NumberReader(name) for name in rules.targets])
    _clip(targets.values, rules)
    weights, weight_faults = row_weights(table, rules.weights, whole=rules.tally is None)
    known, event_faults = known_rows(table, rules.event)
    faults = [*features.faults, *targets.faults, *weight_faults, *event_faults]
    faults += _missing(table, features, [reader.name for reader in readers], rules.complete)
    faults += _too_large(targets.values, rules.targets)
    faults += _outside_bounds(targets.values, rules)
    lacking = np.isnan(targets.values).any(axis=1) & ~_rows_of(targets.faults, table.rows)
    if rules.missing_target == "fault":
        faults += _missing(table, targets, rules.targets, rules.targets)
    bad = _rows_of(faults, table.rows)
    no_target = lacking if rules.missing_target == "leave out" else np.zeros_like(bad)
    bad &= ~no_target
    zero = (weights == 0.0) & ~bad & ~no_target
    tally = rules.tally or RowTally()
    tally.weighted |= bool((weights > 0.0).any())
    _settle_bad_rows(table, _in_rows(faults, bad), bad, rules, tally)
    tally.without_target += int(no_target.sum())
    tally.of_no_weight += int(zero.sum())
    tally.unseen.update(features.unseen)
    if rules.tally is None:
        tally.warn(rules)
    used, groups = ~(bad | no_target | zero), row_groups(table, rules.groups)
    left_out = {
        "without_target": int(no_target.sum()),
        "bad": int(bad.sum()) + table.skipped,
        "zero_weight": int(zero.sum()),
    }
    return Dataset(
        features.values if used.all() else features.values[used],
        targets.values if used.all() else targets.values[used],
        None if rules.weights is None else rules.scaled(weights[used]),
        None if groups is None else renumbered(groups[used]),
        None if known is None else known[used],
        None if used.all() else np.flatnonzero(used),
        left_out,
    )


def training_dataset(table: Table, layout: Layout, rules: RowRules) -> Dataset:
    """Return the rows to learn from, with all features of the layout.

    Args:
        table: to learn from.
        layout: how its columns are read.
        rules: weights, groups and what to do with bad rows; the rest follows from the layout.

    Raises:
        DataError: as for `read_dataset`; too many rows may be skipped as well, or the values of a
            target are too large, too small, or too far from each other.
    """
    require_units(table, layout.targets)
    whole = replace(
        rules,
        targets=layout.targets,
        inside=layout.transforms,
        censor=layout.censor,
        most_skipped=MOST_SKIPPED,
    )
    dataset = read_dataset(table, layout.features, whole)
    for position, name in enumerate(layout.targets):
        values, transform = dataset.y[:, position], layout.transforms.get(name, IDENTITY)
        require_spread(table, name, values, dataset.positions, transform)
    return dataset


def require_units(table: Table, targets: Sequence[str]) -> None:
    """Check that most values of the targets have a size that can be squared.

    Raises:
        DataError: more than a tenth of the values of a target have not.
    """
    for name in targets:
        size = np.abs(table.cells(name).values)
        if (size > LARGEST_TARGET).sum() > MOST_SKIPPED * table.rows:
            raise _too_large_column(
                table.source, f"target {quoted(name)}", float(np.nanmax(size)), LARGEST_TARGET
            )


def _too_large_column(source: str, column: str, largest: float, limit: float) -> DataError:
    return DataError(
        f"{source}: the {column} has values up to {largest:.3g} in size, and the limit is "
        f"{limit:g}. Divide the column by {_power_of_ten(math.log10(largest)):g}."
    )


def require_spread(
    table: Table, name: str, values: Array, positions: Positions | None, transform: Transform
) -> None:
    """Check that the values of a target differ by amounts that a network can learn.

    Args:
        table: with the target's column.
        name: of the target.
        values: (N,), those that count, between the bounds of the transform.
        positions: (N,), their rows in the table; None where they are all of its rows.
        transform: of the target.

    Raises:
        DataError: the scale of the target is less than 1e-60, or a value is more than 1e8 scales
            from the others.
    """
    if not len(values) or not values.min() < values.max():
        return
    scale = Column.measure(name, values).scale
    if scale < _SMALLEST_SCALE:
        raise DataError(
            f"{table.source}: the values of the target {quoted(name)} differ by about {scale:.1g}, "
            f"and the limit is {_SMALLEST_SCALE:g}. Multiply the column by "
            f"{_power_of_ten(-math.log10(scale)):g}."
        )
    column, distance = _distances(name, transform.inverse(values))
    if distance.max() <= _FARTHEST_TARGET * column.scale:
        return
    farthest = int(distance.argmax())
    row = farthest if positions is None else int(positions[farthest])
    of = "" if transform.is_identity else f" on the scale of {transform.name_of_u(name)}"
    fault = Fault(
        name,
        np.array([row]),
        lambda cell: (
            f"{quoted(cell.strip())} is {distance[farthest] / column.scale:.1g} times as far from "
            f"the median as most values are{of}, and the limit is {_FARTHEST_TARGET:g}"
        ),
    )
    raise DataError(table.fault_message([fault], _remedy_of_far(table, name, row, values)))


def _distances(name: str, values: Array) -> tuple[Column, Array]:
    """Return the column of these values and their distances from its mean, (N,)."""
    column = Column.measure(name, values)
    return column, np.abs(values - column.mean)


def _remedy_of_far(table: Table, name: str, row: int, values: Array) -> str:
    """Return what to do about a target's value that is too far from the others."""
    remedy = "Correct it, or remove the row."
    if table.file is not None:
        text = table.columns[name][row].as_py().strip()
        remedy = f"Correct it, or leave out such rows: {parameter_for('na', text)}."
    if values.min() > 0.0:
        column, distance = _distances(name, np.log(values))
        if distance.max() <= _FARTHEST_TARGET * column.scale:
            return f"{remedy} If it is right, set {parameter_for('lower', name, '=0')}."
    return remedy


def _power_of_ten(exponent: float) -> float:
    return float(f"1e{math.floor(min(exponent, 300.0))}")


def model_dataset(table: Table, schema: Schema, rules: RowRules) -> Dataset:
    """Return the rows of a table for a model: x (N, F) and y (N, T) in the order of its schema.

    Targets that are not in `rules.targets` are NaN.

    Raises:
        DataError: as for `read_dataset`.
    """
    complete = [feature.name for feature in schema.features if not feature.allows_missing]
    limits = {t.name: (t.censor_below, t.censor_above) for t in schema.targets if rules.clip}
    rules = replace(rules, complete=complete, warn_of_unseen=True, censor=limits)
    dataset = read_dataset(table, [reader_of(feature) for feature in schema.features], rules)
    y = np.full((len(dataset), len(schema.targets)), np.nan)
    for position, name in enumerate(rules.targets):
        y[:, schema.target_names.index(name)] = dataset.y[:, position]
    return replace(dataset, y=y)


def measure_schema(source: str, dataset: Dataset, layout: Layout) -> tuple[Schema, Dataset]:
    """Return the schema of rows to learn from, and the rows without the constant features.

    Args:
        source: the table's name in messages.
        dataset: with all features of the layout.
        layout: how the columns were read.

    Raises:
        DataError: there are fewer than 10 rows, a target is constant, its smallest sigma is too
            small, a feature is too large, or no feature varies.
    """
    require_rows(source, len(dataset))
    targets = measure_targets(
        source, layout.targets, dataset.y, dict(layout.transforms), dict(layout.min_sigma)
    )
    limits = {t.name: layout.censor.get(t.name, (None, None)) for t in targets}
    targets = tuple(
        replace(t, censor_below=limits[t.name][0], censor_above=limits[t.name][1]) for t in targets
    )
    known = len(dataset) - int(targets[0].is_limit(dataset.y[:, 0], dataset.known).sum())
    if known < FEWEST_ROWS:
        raise DataError(
            f"{source}: {quoted(targets[0].name)} is known in {counted(known, 'row')}, and at "
            f"least {FEWEST_ROWS} are needed. Elsewhere only a limit of it is known."
        )
    kept = [i for i in range(len(layout.features)) if _varies(dataset.x[:, i])]
    if not kept:
        raise DataError(f"{source}: every feature is constant, and at least one must vary.")
    largest = np.abs(np.nan_to_num(dataset.x)).max(axis=0)
    for i in np.flatnonzero(largest > _LARGEST_FEATURE):
        column = f"feature {quoted(layout.features[i].name)}"
        raise _too_large_column(source, column, float(largest[i]), _LARGEST_FEATURE)
    features = tuple(layout.features[i].measure(dataset.x[:, i]) for i in kept)
    schema = Schema(features, targets, layout.weight, layout.event)
    cells = schema.cells(dataset.y, dataset.known)
    if cells is not None and np.isposinf(cells.low).any():
        raise DataError(
            f"{source}: a row only says that {quoted(targets[0].name)} exceeds "
            f"{dataset.y[np.argmax(cells.low), 0]:g}, and that is its highest possible value. "
            f"Leave out {parameter('upper')}, or correct the row."
        )
    if len(kept) == len(layout.features):
        return schema, dataset
    return schema, replace(dataset, x=dataset.x[:, kept])


def require_rows(source: str, rows: int) -> None:
    """Check that there are enough rows to learn from.

    Raises:
        DataError: there are fewer than 10.
    """
    if rows < FEWEST_ROWS:
        verb = "is" if rows == 1 else "are"
        raise DataError(
            f"{source}: {counted(rows, 'row')} {verb} too few. At least {FEWEST_ROWS} are needed."
        )


def _varies(values: Array) -> bool:
    """Return whether a feature's values differ, or some are missing and others are not."""
    there = values[~np.isnan(values)]
    if not len(there):
        return False
    return len(there) < len(values) or not Column.measure("", there).constant


@dataclass(frozen=True)
class _Columns:
    """Columns of a table as floats.

    Attributes:
        values: (R, C), NaN where a cell is missing or cannot be used.
        faults: the cells that cannot be used.
        unseen: the number of cells with a category that was not learned, by the column.
    """

    values: Array
    faults: list[Fault]
    unseen: dict[str, int]


def _read_columns(table: Table, readers: Sequence[FeatureReader]) -> _Columns:
    # Each column is contiguous in memory, since columns are written and read one by one.
    values = np.empty((len(readers), table.rows)).T
    faults: list[Fault] = []
    unseen: dict[str, int] = {}
    for position, reader in enumerate(readers):
        read = reader.read(table)
        values[:, position] = read.values
        faults += read.faults
        if read.unseen is not None and read.unseen.any():
            unseen[reader.name] = int(read.unseen.sum())
    return _Columns(values, faults, unseen)


def _missing(
    table: Table, columns: _Columns, names: Sequence[str], complete: Sequence[str]
) -> list[Fault]:
    """Return the missing cells of the columns that must be complete, as faults."""
    faults: list[Fault] = []
    for position, name in enumerate(names):
        if name in complete:
            lacking = np.isnan(columns.values[:, position])
            for fault in columns.faults:
                if fault.column == name:
                    lacking[fault.rows] = False
            if lacking.any():
                faults.append(Fault(name, np.flatnonzero(lacking), table.reason_not_number))
    return faults


def _clip(y: Array, rules: RowRules) -> None:
    """Move the values of targets, (R, T), that are beyond a limit of censoring to the limit."""
    for position, name in enumerate(rules.targets):
        below, above = rules.censor.get(name, (None, None))
        if below is not None or above is not None:
            y[:, position] = np.clip(y[:, position], below, above)


def _outside_bounds(y: Array, rules: RowRules) -> list[Fault]:
    faults: list[Fault] = []
    learning = rules.most_skipped < 1.0 and len(rules.targets) == 1
    for position, name in enumerate(rules.targets):
        transform = rules.inside.get(name)
        if transform is None:
            continue
        values = y[:, position]
        outside = transform.outside(values)
        bounded = transform.inner if isinstance(transform, Atoms) else transform
        at_bound = np.isin(values, [e for e in (bounded.lower, bounded.upper) if e is not None])
        for rows, hint in ((outside & at_bound, learning), (outside & ~at_bound, False)):
            if rows.any():
                reason = partial(_not_inside, transform, hint)
                faults.append(Fault(name, np.flatnonzero(rows), reason))
    return faults


def _too_large(y: Array, targets: Sequence[str]) -> list[Fault]:
    """Return the cells of targets y, (N, T), that are too large, as faults."""
    large = [np.flatnonzero(np.abs(values) > LARGEST_TARGET) for values in y.T]
    rows_by_name = zip(targets, large, strict=True)
    return [Fault(name, rows, _reason_too_large) for name, rows in rows_by_name if len(rows)]


def _reason_too_large(cell: str) -> str:
    return (
        f"{quoted(cell.strip())} is too large: a target must be from {-LARGEST_TARGET:g} to "
        f"{LARGEST_TARGET:g}"
    )


def _not_inside(transform: Transform, hint: bool, cell: str) -> str:
    text = f"{cell.strip()} is not {transform.describe()}"
    atom = parameter("atom", cell.strip())
    return f"{text}; if that is a possible value, add {atom}" if hint else text


def _rows_of(faults: Sequence[Fault], rows: int) -> Mask:
    """Return which of so many rows have a cell among these, (R,)."""
    at_fault = np.zeros(rows, dtype=bool)
    for fault in faults:
        at_fault[fault.rows] = True
    return at_fault


def _in_rows(faults: Sequence[Fault], rows: Mask) -> list[Fault]:
    """Return the faults in some of the rows."""
    within = [fault._replace(rows=fault.rows[rows[fault.rows]]) for fault in faults]
    return [fault for fault in within if len(fault.rows)]


def _settle_bad_rows(
    table: Table, faults: list[Fault], bad: Mask, rules: RowRules, tally: RowTally
) -> None:
    """Raise an error for bad rows, or count them to be skipped."""
    if bad.any() and not rules.skip:
        raise DataError(
            table.fault_message(
                faults, f"{_about_missing(table, rules, faults)}{_remedy(rules, faults)}"
            )
        )
    count = int(bad.sum()) + table.skipped
    if count > rules.most_skipped * table.rows_in_file:
        first = table.first_skipped or table.describe_faults(faults, 1)[0]
        raise DataError(
            f"{table.source}: {count} of {table.rows_in_file} rows cannot be used, more than "
            f"{rules.most_skipped:.0%}. The first: {first}."
        )
    tally.rows += table.rows
    tally.skipped += table.skipped
    tally.first_skipped = tally.first_skipped or table.first_skipped
    tally.bad += int(bad.sum())
    if bad.any():
        tally.first_bad = tally.first_bad or table.describe_faults(faults, 1)[0]


def _about_missing(table: Table, rules: RowRules, faults: list[Fault]) -> str:
    """Return a sentence on why missing cells matter, if some of the faults are missing cells."""
    names = [
        fault.column
        for fault in faults
        if fault.column in rules.complete and table.cells(fault.column).missing[fault.rows].any()
    ]
    return (
        f"No cell of {listed([*dict.fromkeys(names)])} was missing in training. " if names else ""
    )


def _remedy(rules: RowRules, faults: list[Fault]) -> str:
    names = (name for name in (rules.weights, rules.event) if isinstance(name, str))
    needed = {*rules.targets, *names}
    if rules.feature_remedy and all(fault.column not in needed for fault in faults):
        return rules.feature_remedy
    return rules.remedy
