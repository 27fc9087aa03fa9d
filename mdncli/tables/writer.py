"""Rows out as CSV: numbers as the shortest decimals that read back exactly."""

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
from numpy.typing import NDArray

# NumPy's numbers, or Arrow's text: pyarrow has no types for a checker to see.
Values = Any
Columns = Mapping[str, Values]

_PLAIN = pa_csv.WriteOptions(include_header=False, quoting_style="none")
_NEEDS_QUOTES = '[",\r\n]'


def write_csv(stream: BinaryIO, chunks: Iterable[Columns]) -> None:
    """Write tables one below another, under the header of the first.

    Numbers are written as they read back, NaN as an empty cell; text as it is, in quotes only where
    it needs them.

    Args:
        stream: takes the bytes, UTF-8 with LF line ends.
        chunks: at least one; each maps the same column names to values of one length.
    """
    for position, columns in enumerate(chunks):
        if position == 0:
            _write_rows(stream, [list(columns)])
        table = pa.table({name: _arrow(values) for name, values in columns.items()})
        if any(_needs_quotes(column) for column in table.columns) or _has_blank_lines(table):
            # Arrow would put every text cell in quotes.
            texts = [_texts(column) for column in table.columns]
            _write_rows(stream, zip(*texts, strict=True))
        elif table.num_rows:
            pa_csv.write_csv(table, pa.PythonFile(stream, mode="w"), _PLAIN)


def picked(values: Values, rows: NDArray[np.int64]) -> Values:
    """Return the cells of a column at these positions, in their order."""
    return values[rows] if isinstance(values, np.ndarray) else values.take(_arrow(rows))


def _needs_quotes(column: pa.ChunkedArray) -> bool:
    if not pa.types.is_string(column.type):
        return False
    import pyarrow.compute as pc

    return bool(pc.any(pc.match_substring_regex(column, _NEEDS_QUOTES)).as_py())


def _has_blank_lines(table: pa.Table) -> bool:
    """Return whether a row would be an empty line, which readers pass over."""
    return table.num_columns == 1 and (
        table.column(0).null_count > 0 or _holds_empty_text(table.column(0))
    )


def _holds_empty_text(column: pa.ChunkedArray) -> bool:
    if not pa.types.is_string(column.type):
        return False
    import pyarrow.compute as pc

    return bool(pc.any(pc.equal(column, "")).as_py())


def _texts(column: pa.ChunkedArray) -> list[str]:
    """Return every cell as the text that Arrow writes for it."""
    if pa.types.is_string(column.type):
        cells: list[str] = column.to_pylist()
        return cells
    lines = io.BytesIO()
    pa_csv.write_csv(pa.table({"": column}), lines, _PLAIN)
    return lines.getvalue().decode().splitlines()


def _arrow(values: Values) -> Any:
    """Return a column as Arrow's, around the same memory.

    Through the buffer: given a NumPy array, `pa.table` would import pandas.
    """
    if not isinstance(values, np.ndarray):
        return values
    kind = pa.float64() if values.dtype.kind == "f" else pa.int64()
    memory = pa.py_buffer(np.ascontiguousarray(values))
    there = values == values
    valid = None if there.all() else pa.py_buffer(np.packbits(there, bitorder="little"))
    return pa.Array.from_buffers(kind, len(values), [valid, memory])


def _write_rows(stream: BinaryIO, rows: Iterable[Iterable[str]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    stream.write(text.getvalue().encode())
