"""A table's columns become the matrix that a model takes, and what is wrong with them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mdncli.tables.features import Feature
from mdncli.tables.kinds import FeatureColumn, column_of, read_numbers
from mdncli.tables.maps import Bounds
from mdncli.tables.table import Fault, Table

Array = NDArray[np.float64]


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

    def missing(self, names: list[str]) -> list[Fault]:
        """Return the cells of columns with these names that are missing, as faults."""
        bad = self.bad()
        gaps = [np.flatnonzero(np.isnan(column) & ~bad) for column in self.values.T]
        pairs = zip(names, gaps, strict=True)
        return [(name, rows, "the cell is missing") for name, rows in pairs if len(rows)]

    def bad(self) -> NDArray[np.bool_]:
        """Return which rows have a cell that cannot be used, (N,)."""
        rows = np.zeros(len(self.values), dtype=bool)
        for _, places, _ in self.faults:
            rows[places] = True
        return rows


def encoded(table: Table, columns: Sequence[FeatureColumn]) -> Encoded:
    """Return columns of a table, each read as it says.

    Raises:
        DataError: one is not there.
    """
    values = _empty(table, len(columns))
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
    """Return the columns of a model's features; a missing cell in one without gaps is a fault.

    Raises:
        DataError: one is not there.
    """
    found = encoded(table, [column_of(feature) for feature in features])
    faulty = found.bad()
    missing: list[Fault] = []
    for position, feature in enumerate(features):
        places = np.flatnonzero(np.isnan(found.values[:, position]) & ~faulty)
        if len(places) and not feature.gaps:
            missing.append((feature.name, places, _missing))
    return Encoded(found.values, [*found.faults, *missing], found.unseen)


def encoded_numbers(table: Table, names: list[str]) -> tuple[Encoded, NDArray[np.bool_]]:
    """Return columns of numbers, (N, len(names)), and which rows lack one of them, (N,).

    Raises:
        DataError: one is not there.
    """
    values = _empty(table, len(names))
    faults: list[Fault] = []
    for position, name in enumerate(names):
        read = read_numbers(table, name)
        values[:, position] = read.values
        faults += read.faults
    found = Encoded(values, faults, {})
    return found, np.isnan(values).any(axis=1) & ~found.bad()


def outside_bounds(values: Array, names: list[str], limits: Sequence[Bounds]) -> list[Fault]:
    """Return the values of targets, (N, T), that are at a bound or beyond it, as faults."""
    faults: list[Fault] = []
    for column, name, bounds in zip(values.T, names, limits, strict=True):
        places = np.flatnonzero(bounds.outside(column))
        if len(places):
            faults.append((name, places, f"the density is 0 at and beyond {bounds.in_words()}"))
    return faults


def _missing(cell: str) -> str:
    return "the cell is empty, and none was when the model was fitted"


def _empty(table: Table, columns: int) -> Array:
    # Each column on its own in memory: so it is written, and so it will be read.
    return np.empty((columns, table.rows)).T
