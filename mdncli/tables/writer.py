"""Rows out, in the form that the file's name asks for: CSV, tabs or Parquet, compressed or not.

In text, numbers are the shortest decimals that read back exactly.
"""

import csv
import io
import re
from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
from numpy.typing import NDArray

from mdncli.errors import DataError
from mdncli.tables.decoding import compressing
from mdncli.tables.dialect import is_tsv
from mdncli.tables.parquet import as_text, has_text, is_parquet, write_parquet
from mdncli.text import quoted

# NumPy's numbers, or Arrow's text: pyarrow has no types for a checker to see.
Values = Any
Columns = Mapping[str, Values]


def write_table(stream: BinaryIO, chunks: Iterable[Columns], path: str | None = None) -> None:
    """Write tables one below another, under the header of the first.

    Args:
        stream: takes the bytes.
        chunks: at least one; each maps the same column names to values of one length.
        path: the file's name, by whose suffix it is tabs (`.tsv`), `.parquet`, and compressed
            (`.gz`, `.zst`, `.xz`). None or `-` is CSV.

    Raises:
        DataError: a column cannot be written as text.
    """
    path = path or ""
    with compressing(stream, path) as sink:
        if is_parquet(path):
            tables = (_arrow_table(columns) for columns in chunks)
            write_parquet(sink, tables)
        else:
            write_csv(sink, chunks, separator="\t" if is_tsv(path) else ",")


def write_csv(stream: BinaryIO, chunks: Iterable[Columns], *, separator: str = ",") -> None:
    """Write tables one below another as text, under the header of the first.

    Numbers are written as they read back, NaN and null as an empty cell; text as it is, in quotes
    only where it needs them. UTF-8 with LF line ends.
    """
    options = pa_csv.WriteOptions(include_header=False, quoting_style="none", delimiter=separator)
    needs_quotes = f'[{re.escape(separator)}"\r\n]'
    for position, columns in enumerate(chunks):
        # Before the header: nothing is written of what cannot be.
        table = _in_text(_arrow_table(columns))
        if position == 0:
            _write_rows(stream, [list(columns)], separator)
        if any(_matches(column, needs_quotes) for column in table.columns) or _has_blanks(table):
            # Arrow would put every text cell in quotes.
            texts = [_texts(column, options) for column in table.columns]
            _write_rows(stream, zip(*texts, strict=True), separator)
        elif table.num_rows:
            pa_csv.write_csv(table, pa.PythonFile(stream, mode="w"), options)


def picked(values: Values, rows: NDArray[np.int64]) -> Values:
    """Return the cells of a column at these positions, in their order."""
    return values[rows] if isinstance(values, np.ndarray) else values.take(_arrow(rows))


def _arrow_table(columns: Columns) -> pa.Table:
    return pa.table({name: _arrow(values) for name, values in columns.items()})


def _in_text(table: pa.Table) -> pa.Table:
    """Return a table whose columns are all numbers or text."""
    for position, name in enumerate(table.column_names):
        kind = table.column(position).type
        if not has_text(kind):
            raise DataError(
                f"column {quoted(name)} holds {kind}, which cannot be written as text. Write "
                "Parquet (-o answers.parquet) or leave it out."
            )
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or kind == pa.string()):
            table = table.set_column(position, name, as_text(table.column(position)))
    return table


def _matches(column: pa.ChunkedArray, pattern: str) -> bool:
    if not pa.types.is_string(column.type):
        return False
    import pyarrow.compute as pc

    return bool(pc.any(pc.match_substring_regex(column, pattern)).as_py())


def _has_blanks(table: pa.Table) -> bool:
    """Return whether a row would be an empty line, which readers pass over."""
    return table.num_columns == 1 and (
        table.column(0).null_count > 0 or _matches(table.column(0), "^$")
    )


def _texts(column: pa.ChunkedArray, options: pa_csv.WriteOptions) -> list[str]:
    """Return every cell as the text that Arrow writes for it."""
    if pa.types.is_string(column.type):
        cells: list[str] = column.to_pylist()
        return cells
    lines = io.BytesIO()
    pa_csv.write_csv(pa.table({"": column}), lines, options)
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


def _write_rows(stream: BinaryIO, rows: Iterable[Iterable[str]], separator: str) -> None:
    text = io.StringIO()
    csv.writer(text, delimiter=separator, lineterminator="\n").writerows(rows)
    stream.write(text.getvalue().encode())
