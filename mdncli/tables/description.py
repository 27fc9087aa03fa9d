"""What a table is, column by column, before anything is made of it."""

import math
import shlex
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc

from mdncli.tables.steps import step_of
from mdncli.tables.table import Table


@dataclass(frozen=True)
class ColumnDescription:
    """One column of a table.

    Attributes:
        name: as the header has it.
        kind: `number`, `text` (no cell is a number), `mixed`, `empty`, or `other` (lists, bytes).
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

    The options are None where none would do: two columns of numbers that vary are needed.
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
_FEWEST_COLUMNS = 2


def describe_table(table: Table) -> TableDescription:
    """Return what each column holds, and which options of `fit` would make the table learnable."""
    columns = [_describe(table, name) for name in table.names]
    usable = [column for column in columns if column.kind == "number" and not column.missing]
    varied = [column for column in usable if column.lowest < column.highest]
    if len(varied) < _FEWEST_COLUMNS:
        return TableDescription(table.rows, columns, None)
    options: list[str] = []
    if columns[-1] is not varied[-1]:
        options.append(f"-t {shlex.quote(varied[-1].name)}")
    unusable = [column for column in columns if column not in usable]
    options += [f"--ignore {shlex.quote(column.name)}" for column in unusable]
    return TableDescription(table.rows, columns, options)


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
        kind=cells.kind,
        missing=int(cells.missing.sum()),
        distinct=int(pc.count_distinct(column).as_py()),
        lowest=low,
        median=middle,
        highest=high,
        step=step_of(numbers) if len(numbers) >= _FEWEST_FOR_A_STEP and low < high else None,
        examples=list(words)[:_MOST_EXAMPLES],
    )


def _beyond_text(name: str, kind: str) -> ColumnDescription:
    """Describe a column of lists or bytes, which no command uses."""
    return ColumnDescription(name, "other", 0, 0, math.nan, math.nan, math.nan, None, [kind])
