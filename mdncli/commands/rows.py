"""The rows of a table that a fitted model is asked about."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mdncli.commands.console import warn
from mdncli.commands.reading import warn_of_left_out
from mdncli.errors import DataError
from mdncli.text import listed, quoted
from mdncli.types import Array, Mask

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mdncli.columns.schema import Schema
    from mdncli.tables.table import Fault, Table


_LEFT_OUT = "Correct them, or leave such rows out: --on-bad-rows skip."
_REMEDY = "Correct them, or leave such rows without an answer: --on-bad-rows skip."


@dataclass(frozen=True)
class Rows:
    """Rows in the order of a model's schema.

    Attributes:
        table: that they were read from.
        x: (N, F), NaN where missing; what is typical of the features in a bad row.
        y: (N, T), NaN for targets that were not asked for.
        bad: (N,), rows that have a cell that cannot be used.
        fault: what is wrong with the first of them.
        no_target: (N,), rows that lack a target that was asked for.
    """

    table: "Table"
    x: "Array"
    y: "Array"
    bad: "Mask"
    fault: str
    no_target: "Mask"

    @property
    def count(self) -> int:
        """The number of rows, bad ones included."""
        return len(self.bad)

    def carried(self, piece: slice) -> dict[str, Any]:
        """Return the table's own columns over some rows, as they were."""
        length = piece.stop - piece.start
        return {
            name: column.slice(piece.start, length) for name, column in self.table.originals.items()
        }


def read_rows(
    schema: "Schema",
    table: "Table",
    targets: list[str],
    *,
    skip: bool,
    no_target: str = "",
    remedy: str = _REMEDY,
    complete: bool = False,
    given: Sequence[str] = (),
) -> Rows:
    """Return a table's rows for a model, and warn of categories that it has not learned.

    Args:
        schema: the model's columns.
        table: that has the features, and these targets.
        targets: those whose values are needed; where one is missing, the row is marked.
        skip: mark a row with a bad cell instead of refusing the table.
        no_target: what else to say where a target is not there.
        remedy: what can be done about a bad cell.
        complete: a missing target is a bad cell too.
        given: of the targets, those whose value is given: one at a bound or beyond it is bad too.

    Raises:
        DataError: a column is missing, or a cell cannot be used.
    """
    import numpy as np

    from mdncli.columns.dataset import (
        encoded_features,
        encoded_numbers,
        outside_bounds,
        rows_at_fault,
    )

    _require_targets(table, targets, no_target)
    features = encoded_features(table, schema.features)
    values, lacking = encoded_numbers(table, targets)
    missing = values.missing(dict(enumerate(targets)), table) if complete else []
    places = [targets.index(name) for name in given]
    limits = [schema.bounds[schema.target_names.index(name)] for name in given]
    beyond = outside_bounds(values.values[:, places], given, limits)
    faults = [*features.faults, *values.faults, *missing, *beyond]
    if faults and not skip:
        raise DataError(table.complaint(faults, f"{_about_gaps(schema, faults)}{remedy}"))
    bad = rows_at_fault(faults, table.rows)
    x = features.values
    if bad.any():
        x = np.where(bad[:, None], [feature.typical for feature in schema.features], x)
    y = np.full((table.rows, len(schema.targets)), np.nan)
    for position, name in enumerate(targets):
        y[:, schema.target_names.index(name)] = values.values[:, position]
    warn_of_unseen(features.unseen, table.rows)
    fault = table.told(faults, 1)[0] if faults else ""
    return Rows(table, x, y, bad, fault, lacking & ~bad)


def _about_gaps(schema: "Schema", faults: "list[Fault]") -> str:
    """Return why a missing cell matters where one does."""
    named = {name for name, _, _ in faults}
    whole = [each.name for each in schema.features if each.name in named and not each.gaps]
    return f"No cell of {listed(whole)} was missing in training. " if whole else ""


def usable_rows(
    schema: "Schema",
    table: "Table",
    targets: list[str],
    *,
    skip: bool,
    lacking: bool = False,
    given: Sequence[str] = (),
) -> tuple["Array", "Array", "NDArray[np.int64]"]:
    """Return the rows that can be used, x (N, F) and y (N, T), and their positions in the table.

    What is left out is told in a warning. Arguments and errors are those of `read_rows`, and

    Args:
        lacking: keep rows that lack a target, with NaN for it.
    """
    import numpy as np

    rows = read_rows(schema, table, targets, skip=skip, remedy=_LEFT_OUT, given=given)
    warn_of_left_out(table)
    warn_of_skipped(rows, "they are left out")
    if rows.no_target.any() and not lacking:
        warn(f"{int(rows.no_target.sum())} of {rows.count} rows have no target: left out.")
    used = np.flatnonzero(~rows.bad & (lacking | ~rows.no_target))
    return rows.x[used], rows.y[used], used


def weights_of(table: "Table", name: str) -> tuple["Array", "list[Fault]"]:
    """Return each row's weight, (N,), NaN for a cell that is none, and those cells.

    Raises:
        DataError: no row has a positive weight.
    """
    import numpy as np

    from mdncli.columns.dataset import encoded_numbers

    found, missing = encoded_numbers(table, [name])
    weights = found.values[:, 0]
    faults = list(found.faults)
    for places, why in (
        (np.flatnonzero(missing), "the weight is missing"),
        (np.flatnonzero(weights < 0.0), "a weight must be zero or more"),
    ):
        if len(places):
            faults.append((name, places, why))
            weights[places] = np.nan
    if not faults and not (weights > 0.0).any():
        raise DataError(f"{table.source}: no row has a positive weight in {quoted(name)}.")
    return weights, faults


def warn_of_unseen(unseen: dict[str, int], count: int) -> None:
    """Warn of texts that name no category the model has learned."""
    for name, cells in unseen.items():
        warn(
            f"{cells} of {count} rows have in {quoted(name)} what the model has not learned; it is "
            "answered as a category that is none of the learned ones."
        )


def _require_targets(table: "Table", targets: list[str], no_target: str) -> None:
    """Say what needs a target that is not there, before the table says only that it is not."""
    try:
        table.require(targets)
    except DataError as error:
        raise DataError(f"{error}{no_target}") from error


def warn_of_skipped(rows: Rows, what: str) -> None:
    """Warn of rows that could not be used, saying what became of them."""
    skipped = int(rows.bad.sum())
    if skipped:
        warn(
            f"{skipped} of {rows.table.rows_in_file} rows have a cell that cannot be used; {what}. "
            f"The first: {rows.fault}."
        )


def warn_of_extrapolation(outside: int, count: int) -> None:
    """Warn of rows outside the training range."""
    if outside:
        warn(
            f"{outside} of {count} rows have a feature outside its training range by more than a "
            "tenth of that: the model has seen nothing there."
        )
