"""The rows of a table that a fitted model is asked about."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mdncli.commands.console import warn
from mdncli.commands.reading import warn_of_left_out
from mdncli.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mdncli.density.network import Array
    from mdncli.tables.schema import Roles, Schema
    from mdncli.tables.table import Table

_MOST_LEFT_OUT = 0.1
_IGNORE = ", or leave the column out with --ignore {}"
_SKIP = ", or leave such rows out: --on-bad-rows skip"
_REMEDY = ", or leave such rows without an answer: --on-bad-rows skip"


@dataclass(frozen=True)
class Rows:
    """Rows in the order of a model's schema.

    Attributes:
        table: that they were read from.
        x: (N, F); the features' medians in a bad row.
        y: (N, T), NaN for targets that were not asked for.
        bad: (N,), rows that have a cell that cannot be used.
        fault: what is wrong with the first of them.
    """

    table: "Table"
    x: "Array"
    y: "Array"
    bad: "NDArray[np.bool_]"
    fault: str

    @property
    def count(self) -> int:
        """The number of rows, bad ones included."""
        return len(self.bad)

    def carried(self, piece: slice) -> dict[str, Any]:
        """Return the table's own columns over some rows, as they were in the file."""
        length = piece.stop - piece.start
        return {
            name: column.slice(piece.start, length) for name, column in self.table.originals.items()
        }


def read_rows(
    schema: "Schema", table: "Table", targets: list[str], *, skip: bool, no_target: str = ""
) -> Rows:
    """Return a table's rows for a model.

    Args:
        schema: the model's columns.
        table: that has the features, and these targets.
        targets: those whose values are needed.
        skip: mark a row with a bad cell instead of refusing the table.
        no_target: what else to say where a target is not there.

    Raises:
        DataError: a column is missing, or a cell is not a finite number.
    """
    import numpy as np

    _require_targets(table, targets, no_target)
    features = schema.feature_names
    names = [*features, *targets]
    if skip:
        values, fault = table.usable_numbers(names)
    else:
        values, fault = table.numbers(names, remedy=_REMEDY), ""
    bad = np.asarray(np.isnan(values).any(axis=1))
    x = values[:, : len(features)]
    if bad.any():
        x = np.where(bad[:, None], [feature.median for feature in schema.features], x)
    y = np.full((table.rows, len(schema.targets)), np.nan)
    for position, name in enumerate(targets, start=len(features)):
        y[:, schema.target_names.index(name)] = values[:, position]
    return Rows(table, x, y, bad, fault)


def _require_targets(table: "Table", targets: list[str], no_target: str) -> None:
    """Say what needs a target that is not there, before the table says only that it is not."""
    try:
        table.require(targets)
    except DataError as error:
        raise DataError(f"{error}{no_target}") from error


def usable_rows(
    table: "Table", names: list[str], *, skip: bool
) -> tuple["Array", "NDArray[np.int64]"]:
    """Return columns as numbers, (N, len(names)), and the positions of the rows without a bad cell.

    Raises:
        DataError: a column is missing; or a cell is no finite number, unless such rows are skipped.
    """
    import numpy as np

    if not skip:
        return table.numbers(names, remedy=_SKIP), np.arange(table.rows)
    values, fault = table.usable_numbers(names)
    bad = np.asarray(np.isnan(values).any(axis=1))
    if bad.any():
        warn(
            f"{int(bad.sum())} of {table.rows_in_file} rows have a cell that cannot be used and "
            f"are left out. The first: {fault}."
        )
    return values, np.flatnonzero(~bad)


def usable_examples(
    table: "Table", roles: "Roles", *, skip: bool
) -> tuple["Array", "Array", "NDArray[np.int64]"]:
    """Return the rows to learn from, x (N, F) and y (N, T), and their positions in the table.

    Raises:
        DataError: a column is missing; a cell is no finite number; or such rows are skipped, and
            are more than 10% of the rows that have a target.
    """
    import numpy as np

    features = roles.features
    if not skip:
        x = table.numbers(features, remedy=f"{_IGNORE}{_SKIP}")
        return x, table.numbers(roles.targets, remedy=_SKIP), np.arange(table.rows)
    values, used = usable_rows(table, [*features, *roles.targets], skip=True)
    warn_of_left_out(table)
    untold = np.zeros(table.rows, bool)
    for name in roles.targets:
        untold |= table.cells(name).missing
    _require_few(table, table.rows_in_file - len(used) - int(untold.sum()))
    return values[used, : len(features)], values[used, len(features) :], used


def _require_few(table: "Table", left_out: int) -> None:
    if left_out > _MOST_LEFT_OUT * table.rows_in_file:
        raise DataError(
            f"{table.source}: {left_out} of {table.rows_in_file} rows cannot be used, more than "
            f"{_MOST_LEFT_OUT:.0%}. Correct them, or leave out the columns at fault with --ignore."
        )


def warn_of_skipped(rows: Rows, what: str) -> None:
    """Warn of rows that could not be used, saying what became of them."""
    skipped = int(rows.bad.sum())
    if skipped:
        warn(f"{skipped} of {rows.count} rows cannot be used; {what}. The first: {rows.fault}.")


def warn_of_extrapolation(outside: int, count: int) -> None:
    """Warn of rows outside the training range."""
    if outside:
        warn(
            f"{outside} of {count} rows have a feature outside its training range by more than a "
            "tenth of that: the model has seen nothing there."
        )
