"""What a table is, column by column, before anything is made of it."""

import math
import shlex
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mdncli.tables.reader import Table
from mdncli.tables.steps import step_of


@dataclass(frozen=True)
class ColumnDescription:
    """One column of a table.

    Attributes:
        name: as the header has it.
        kind: `number`, `text` (no cell is a number), `mixed` or `empty`.
        missing: cells that are empty or stand for a missing value.
        distinct: different texts.
        lowest, median, highest: of the numbers; NaN if there are none.
        step: in which they were recorded, None if they are continuous or there are too few.
        examples: some of the texts that are no numbers.
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


_MISSING = {"", "nan", "+nan", "-nan", "na", "n/a", "null", "none"}
_MOST_EXAMPLES = 5
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
    values, _ = table.usable_numbers([name])
    texts = table.columns[name].to_pylist()
    numbers = values[np.isfinite(values[:, 0]), 0]
    others = [text for text, bad in zip(texts, np.isnan(values[:, 0]), strict=True) if bad]
    words = [text for text in others if text.strip().lower() not in _MISSING]
    low, middle, high = (
        (float(numbers.min()), float(np.median(numbers)), float(numbers.max()))
        if len(numbers)
        else (math.nan,) * 3
    )
    return ColumnDescription(
        name=name,
        kind=_kind(bool(len(numbers)), bool(words)),
        missing=len(others) - len(words),
        distinct=len(set(texts)),
        lowest=low,
        median=middle,
        highest=high,
        step=step_of(numbers) if len(numbers) >= _FEWEST_FOR_A_STEP and low < high else None,
        examples=list(dict.fromkeys(words))[:_MOST_EXAMPLES],
    )


def _kind(numbers: bool, words: bool) -> str:
    if numbers:
        return "mixed" if words else "number"
    return "text" if words else "empty"
