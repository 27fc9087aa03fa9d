"""What a table is, column by column, before anything is made of it."""

import math
import shlex
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mdncli.columns.features import parsed_dates
from mdncli.columns.schema import step_of
from mdncli.tables.cells import Cells
from mdncli.tables.table import Table


@dataclass(frozen=True)
class ColumnDescription:
    """One column of a table.

    Attributes:
        name: as the header has it.
        kind: `number`, `text` (no cell is a number), `date` (ISO 8601), `mixed`, `empty`, or
            `other` (lists, bytes).
        missing: cells that are empty or stand for a missing value.
        distinct: different texts.
        lowest, median, highest: of the numbers; NaN if there are none.
        step: in which they were recorded, None if they are continuous or there are too few.
        examples: some of the texts that are no numbers; of `other` its type.
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
    """A table: its rows, its columns, and the options that `fit` would need for it.

    The options are None where none would do: a target is needed, numbers that vary, and a feature.
    """

    rows: int
    columns: list[ColumnDescription]
    options: list[str] | None

    def to_plain(self) -> dict[str, Any]:
        """Return the description as plain values."""
        return asdict(self)


_MOST_EXAMPLES = 5
_MOST_LOOKED_AT = 10_000
_FEWEST_FOR_A_STEP = 2


def describe_table(table: Table) -> TableDescription:
    """Return what each column holds, and which options of `fit` would make the table learnable."""
    columns = [_describe(table, name) for name in table.names]
    targets = [each for each in columns if each.kind == "number" and each.lowest < each.highest]
    if not targets or not any(each is not targets[-1] and _tells(each, table) for each in columns):
        return TableDescription(table.rows, columns, None)
    options: list[str] = []
    if columns[-1] is not targets[-1]:
        options.append(f"-t {shlex.quote(targets[-1].name)}")
    unusable = [column for column in columns if column.kind in ("mixed", "other")]
    options += [f"--ignore {shlex.quote(column.name)}" for column in unusable]
    return TableDescription(table.rows, columns, options)


def _tells(column: ColumnDescription, table: Table) -> bool:
    """Return whether a column may be a feature: it varies, and is not another text in every row."""
    if column.kind not in ("number", "text", "date"):
        return False
    there = column.distinct - bool(column.missing)
    identifier = column.kind == "text" and there == table.rows - column.missing > 1
    return (there > 1 or column.missing > 0) and not identifier


def _describe(table: Table, name: str) -> ColumnDescription:
    if name not in table.columns:
        return _beyond_text(name, str(table.originals[name].type))
    column, cells = table.columns[name], table.cells(name)
    numbers = cells.values[~np.isnan(cells.values)]
    others = np.flatnonzero(cells.text | cells.infinite)
    words = dict.fromkeys(column[row].as_py() for row in others[:_MOST_LOOKED_AT].tolist())
    low, middle, high = (
        (float(numbers.min()), float(np.median(numbers)), float(numbers.max()))
        if len(numbers)
        else (math.nan,) * 3
    )
    return ColumnDescription(
        name=name,
        kind=_kind(column, cells),
        missing=int(cells.missing.sum()),
        distinct=int(pc.count_distinct(column).as_py()),
        lowest=low,
        median=middle,
        highest=high,
        step=step_of(numbers) if len(numbers) >= _FEWEST_FOR_A_STEP and low < high else None,
        examples=list(words)[:_MOST_EXAMPLES],
    )


def _kind(column: pa.ChunkedArray, cells: Cells) -> str:
    """Return what `fit` takes a column for."""
    if cells.kind == "text" and not np.isnan(parsed_dates(column, "")[~cells.missing]).any():
        return "date"
    return cells.kind


def _beyond_text(name: str, kind: str) -> ColumnDescription:
    """Describe a column of lists or bytes, which no command uses."""
    return ColumnDescription(name, "other", 0, 0, math.nan, math.nan, math.nan, None, [kind])
