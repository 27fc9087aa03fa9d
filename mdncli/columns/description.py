"""What a table holds, column by column, and what `fit` would need to learn from it."""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mdncli.columns.features import parsed_dates
from mdncli.columns.schema import step_of
from mdncli.tables.cells import Cells
from mdncli.tables.table import Table

_MOST_EXAMPLES = 5
# Examples are looked for among so many cells that are not numbers.
_CELLS_FOR_EXAMPLES = 10_000
_FEWEST_FOR_A_STEP = 2


@dataclass(frozen=True)
class ColumnDescription:
    """One column of a table.

    Attributes:
        name: of the column.
        kind: `number`, `text` (no cell is a number), `date` (ISO 8601), `mixed`, `empty`, or
            `other` (lists, bytes).
        missing: the number of cells that are empty or stand for a missing value.
        distinct: the number of different texts.
        lowest, median, highest: of the numbers; NaN if there are none.
        step: the step in which the numbers were recorded; None if they are continuous or too few.
        examples: some of the texts that are not numbers; for `other` the type.
    """

    name: str
    kind: str
    missing: int
    distinct: int
    lowest: float
    median: float
    highest: float
    step: float | None
    examples: list[str]


@dataclass(frozen=True)
class TableDescription:
    """A table: its rows, its columns, and the parameters that `fit` would need for it.

    Attributes:
        rows: their number.
        columns: in the order of the table.
        parameters: `target` and `ignore`, where they are needed; None where no parameter would do,
            because there is no target (numbers that vary) or no feature beside it.
    """

    rows: int
    columns: list[ColumnDescription]
    parameters: dict[str, list[str]] | None

    @property
    def numbers(self) -> list[str]:
        """The names of the columns of numbers that vary: each could be a target."""
        return [
            column.name
            for column in self.columns
            if column.kind == "number" and column.lowest < column.highest
        ]

    @property
    def target(self) -> str | None:
        """The column that `fit` would take as the target; None if there is none."""
        if self.parameters is None:
            return None
        return self.parameters.get("target", [self.columns[-1].name])[0]

    def to_plain(self) -> dict[str, Any]:
        """Return the rows and the columns as plain values."""
        return {"rows": self.rows, "columns": [asdict(column) for column in self.columns]}


def describe_table(table: Table) -> TableDescription:
    """Return what each column of a table holds, and what `fit` would need to learn from it."""
    columns = [_describe(table, name) for name in table.names]
    found = TableDescription(table.rows, columns, None)
    target = found.numbers[-1] if found.numbers else None
    others = [each for each in columns if each.name != target]
    if target is None or not any(_may_be_feature(each, table) for each in others):
        return found
    parameters: dict[str, list[str]] = {}
    if columns[-1].name != target:
        parameters["target"] = [target]
    unusable = [column.name for column in columns if column.kind in ("mixed", "other")]
    if unusable:
        parameters["ignore"] = unusable
    return replace(found, parameters=parameters)


def _may_be_feature(column: ColumnDescription, table: Table) -> bool:
    """Return whether a column varies, and is not a different text in every row."""
    if column.kind not in ("number", "text", "date"):
        return False
    there = column.distinct - bool(column.missing)
    identifier = column.kind == "text" and there == table.rows - column.missing > 1
    return (there > 1 or column.missing > 0) and not identifier


def _describe(table: Table, name: str) -> ColumnDescription:
    if name not in table.columns:
        kind = str(table.originals[name].type)
        return ColumnDescription(name, "other", 0, 0, math.nan, math.nan, math.nan, None, [kind])
    column, cells = table.columns[name], table.cells(name)
    numbers = cells.values[~np.isnan(cells.values)]
    others = np.flatnonzero(cells.text | cells.infinite)
    examples = dict.fromkeys(column[row].as_py() for row in others[:_CELLS_FOR_EXAMPLES].tolist())
    lowest, median, highest = (
        (float(numbers.min()), float(np.median(numbers)), float(numbers.max()))
        if len(numbers)
        else (math.nan,) * 3
    )
    has_step = len(numbers) >= _FEWEST_FOR_A_STEP and lowest < highest
    return ColumnDescription(
        name=name,
        kind=_kind(column, cells),
        missing=int(cells.missing.sum()),
        distinct=int(pc.count_distinct(column).as_py()),
        lowest=lowest,
        median=median,
        highest=highest,
        step=step_of(numbers) if has_step else None,
        examples=list(examples)[:_MOST_EXAMPLES],
    )


def _kind(column: pa.ChunkedArray, cells: Cells) -> str:
    """Return the kind that `fit` would find for a column."""
    if cells.kind == "text" and not np.isnan(parsed_dates(column, "")[~cells.missing]).any():
        return "date"
    return cells.kind
