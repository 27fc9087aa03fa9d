"""A table's columns become the matrix that a model takes, and what is wrong with them.

Features that say more about the target than a feature should.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from mdncli.columns.features import Feature
from mdncli.columns.kinds import FeatureColumn, NumberColumn, column_of
from mdncli.columns.transforms import Bounds
from mdncli.tables.table import Fault, Table
from mdncli.types import Array


@dataclass(frozen=True)
class Encoded:
    """Columns of N rows as numbers.

    Attributes:
        values: (N, F), NaN where a cell is missing or cannot be used.
        faults: cells that cannot be used.
        unseen: how many cells of each category, by its name, were not learned.
    """

    values: Array
    faults: list[Fault]
    unseen: dict[str, int]

    def missing(self, names: dict[int, str], table: Table) -> list[Fault]:
        """Return the missing cells of columns, named by their positions, as faults."""
        faults: list[Fault] = []
        for position, name in names.items():
            lacking = np.isnan(self.values[:, position])
            for other, rows, _ in self.faults:
                if other == name:
                    lacking[rows] = False
            if lacking.any():
                faults.append((name, np.flatnonzero(lacking), table.why))
        return faults

    def bad(self) -> NDArray[np.bool_]:
        """Return which rows have a cell that cannot be used, (N,)."""
        return rows_at_fault(self.faults, len(self.values))


def rows_at_fault(faults: Sequence[Fault], rows: int) -> NDArray[np.bool_]:
    """Return which of so many rows have a cell among these, (N,)."""
    at_fault = np.zeros(rows, dtype=bool)
    for _, places, _ in faults:
        at_fault[places] = True
    return at_fault


def encoded(table: Table, columns: Sequence[FeatureColumn]) -> Encoded:
    """Return columns of a table, each read as it says.

    Raises:
        DataError: one is not there.
    """
    # Each column on its own in memory: so it is written, and so it will be read.
    values = np.empty((len(columns), table.rows)).T
    faults: list[Fault] = []
    unseen: dict[str, int] = {}
    for position, column in enumerate(columns):
        read = column.read(table)
        values[:, position] = read.values
        faults += read.faults
        if read.unseen is not None and read.unseen.any():
            unseen[column.name] = int(read.unseen.sum())
    return Encoded(values, faults, unseen)


def encoded_features(table: Table, features: Sequence[Feature]) -> Encoded:
    """Return the columns of a model's features; a missing cell in one without gaps is a fault too.

    Raises:
        DataError: one is not there.
    """
    found = encoded(table, [column_of(feature) for feature in features])
    whole = [position for position, feature in enumerate(features) if not feature.gaps]
    missing = found.missing({position: features[position].name for position in whole}, table)
    return Encoded(found.values, [*found.faults, *missing], found.unseen)


def encoded_numbers(table: Table, names: list[str]) -> tuple[Encoded, NDArray[np.bool_]]:
    """Return columns of numbers, (N, len(names)), and which rows lack one of them, (N,).

    Raises:
        DataError: one is not there.
    """
    found = encoded(table, [NumberColumn(name) for name in names])
    return found, np.isnan(found.values).any(axis=1) & ~found.bad()


def outside_bounds(values: Array, names: Sequence[str], limits: Sequence[Bounds]) -> list[Fault]:
    """Return the values of targets, (N, T), that are at a bound or beyond it, as faults."""
    faults: list[Fault] = []
    for column, name, bounds in zip(values.T, names, limits, strict=True):
        places = np.flatnonzero(bounds.outside(column))
        if len(places):
            faults.append((name, places, partial(_not_between, bounds)))
    return faults


def _not_between(bounds: Bounds, cell: str) -> str:
    return f"{cell.strip()} is not {bounds.in_words()}"


# Of the linear correlation, or of that between ranks.
_NEARLY = 0.9999
_MOST_ROWS = 20_000


def near_targets(x: NDArray[np.float64], y: NDArray[np.float64], names: list[str]) -> list[str]:
    """Return the names of the features that are nearly the target, or a monotone map of it.

    Args:
        x: (N, F), none of them constant.
        y: (N,), not constant.
        names: of the features, (F,).
    """
    some = slice(None, None, max(1, len(y) // _MOST_ROWS))
    near = []
    for position, name in enumerate(names):
        feature, target = x[some, position], y[some]
        pairs = (feature, target), (_ranks(feature), _ranks(target))
        if any(_correlation(*pair) > _NEARLY for pair in pairs):
            near.append(name)
    return near


def _correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    one, other = (v / (np.abs(v).max() or 1.0) for v in (one, other))
    one, other = one - one.mean(), other - other.mean()
    size = float(np.sqrt((one @ one) * (other @ other)))
    return abs(float(one @ other)) / size if size > 0.0 else 0.0


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean rank of each value among them."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (counts.cumsum() - 0.5 * counts)[place]
    return ranks
