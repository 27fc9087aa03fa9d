"""Writes tables in the format that the file name says: CSV, tabs, Parquet or JSON lines.

In text, a number is written as the shortest decimal that reads back exactly.
"""

import csv
import io
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from mdncli.errors import DataError, ParameterError
from mdncli.tables.cells import as_text, has_text, parquet_module
from mdncli.tables.decoding import compressing
from mdncli.tables.dialect import (
    COMPRESSED,
    SUFFIXES,
    format_of,
    uncompressed_name,
)
from mdncli.text import quoted
from mdncli.types import Positions

# The rows that Arrow passes to a stream at once; every time it waits for the other threads.
_ROWS_AT_ONCE = 1 << 14
_JSON_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
# A NumPy array of numbers or an Arrow column. The type is Any because pyarrow has no annotations.
Values = Any
Columns = Mapping[str, Values]


def write_table(
    stream: BinaryIO,
    chunks: Iterable[Columns],
    path: str | None = None,
    *,
    otherwise: str | None = None,
) -> None:
    """Write tables one below another, under the header of the first.

    Args:
        stream: receives the bytes.
        chunks: at least one. Each maps the same column names to values of one length.
        path: the name of the file. Its suffix says whether the file has tabs (`.tsv`), is a Parquet
            file (`.parquet`), holds a JSON object on each line (`.jsonl`, `.ndjson`), and is
            compressed (`.gz`, `.zst`, `.xz`). None or `-` for a stream.
        otherwise: the format of a stream, or of a name without a suffix; by default CSV.

    Raises:
        DataError: a column cannot be written as text.
        ParameterError: no format belongs to the suffix.
    """
    path = path or ""
    require_known_suffix(path)
    form = format_of(path, otherwise)
    with compressing(stream, path) as sink:
        if form == "parquet":
            tables = (_arrow_table(columns) for columns in chunks)
            _write_parquet(sink, tables)
        elif form == "jsonl":
            _write_json_lines(sink, chunks)
        else:
            write_csv(sink, chunks, separator="\t" if form == "tsv" else ",")


def _write_parquet(stream: BinaryIO, tables: Iterator[pa.Table]) -> None:
    """Write tables with the same columns one below another; there is at least one."""
    first = next(tables)
    with parquet_module().ParquetWriter(stream, first.schema) as writer:
        writer.write_table(first)
        for table in tables:
            writer.write_table(_as_above(table, first.schema))


def _as_above(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a table with the types of the tables above it.

    Raises:
        DataError: a column has values of another type.
    """
    columns = []
    for above, name, column in zip(schema, table.column_names, table.columns, strict=True):
        try:
            columns.append(pc.cast(column, above.type))
        except pa.ArrowException as error:
            raise DataError(
                f"column {quoted(name)} holds {column.type}, and {above.type} in the rows above. "
                "Write a CSV file, or make the input files alike."
            ) from error
    return pa.table(columns, schema=schema)


def require_known_suffix(path: str) -> None:
    """Check that the name of a file says in which format a table is written to it.

    Raises:
        ParameterError: its suffix does not.
    """
    suffix = os.path.splitext(os.path.basename(uncompressed_name(path)))[1]
    if suffix and suffix not in SUFFIXES:
        raise ParameterError(
            f"{path}: no table is written to a file that ends in {suffix}. The suffixes are "
            f"{', '.join(SUFFIXES)}, and {', '.join(COMPRESSED)} after one of them."
        )


def _write_json_lines(stream: BinaryIO, chunks: Iterable[Columns]) -> None:
    """Write a JSON object for each row. A missing value is null.

    A text that is a number in JSON is written as that number.
    """
    for columns in chunks:
        table = _arrow_table(columns)
        texts = _in_text(table)
        cells = [_in_json(*both) for both in zip(table.columns, texts.columns, strict=True)]
        keys = [f"{json.dumps(name, ensure_ascii=False)}: " for name in columns]
        rows = (", ".join(map(str.__add__, keys, row)) for row in zip(*cells, strict=True))
        stream.write("".join(f"{{{row}}}\n" for row in rows).encode())


def _in_json(column: pa.ChunkedArray, texts: pa.ChunkedArray) -> list[str]:
    """Return the cells of a column as JSON.

    Args:
        column: (N,), of any type.
        texts: (N,), the same column as numbers or texts.
    """
    cells = texts.to_pylist()
    if not pa.types.is_string(texts.type):
        return ["null" if cell is None or not math.isfinite(cell) else repr(cell) for cell in cells]
    truth = pa.types.is_boolean(column.type)
    written = {cell: _text_in_json(cell, truth=truth) for cell in dict.fromkeys(cells)}
    return [written[cell] for cell in cells]


def _text_in_json(cell: str | None, *, truth: bool) -> str:
    if cell is None or not cell.strip():
        return "null"
    as_it_is = truth or _JSON_NUMBER.fullmatch(cell)
    return cell if as_it_is else json.dumps(cell, ensure_ascii=False)


def write_csv(stream: BinaryIO, chunks: Iterable[Columns], *, separator: str = ",") -> None:
    """Write tables one below another as CSV, under the header of the first.

    NaN and null become empty cells. Text is quoted only where necessary. The encoding is UTF-8 and
    the line ends are LF.

    Args:
        stream: receives the bytes.
        chunks: as for `write_table`.
        separator: between fields.

    Raises:
        DataError: a column cannot be written as text.
    """
    options = pa_csv.WriteOptions(
        include_header=False, quoting_style="none", delimiter=separator, batch_size=_ROWS_AT_ONCE
    )
    special = [character.encode() for character in (separator, '"', "\r", "\n")]
    for position, columns in enumerate(chunks):
        # The conversion comes first, so that nothing is written of a table that cannot be.
        table = _in_text(_arrow_table(columns))
        if position == 0:
            _write_rows(stream, [list(columns)], separator)
        if any(_holds(column, special) for column in table.columns) or _has_blanks(table):
            # Arrow would quote every text cell.
            texts = [_texts(column, options) for column in table.columns]
            _write_rows(stream, zip(*texts, strict=True), separator)
        elif table.num_rows:
            pa_csv.write_csv(table, pa.PythonFile(stream, mode="w"), options)


def whole_numbers(values: Values) -> Values:
    """Return a NumPy array of whole numbers as an Arrow column of int64, null for NaN."""
    return pa.chunked_array([pc.cast(to_arrow(values), pa.int64())])


def take_rows(values: Values, rows: Positions) -> Values:
    """Return the cells of a column at these positions, in their order.

    Neighbours share the memory of the column.
    """
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and (rows[1:] > rows[:-1]).all():
        first, last = int(rows[0]), int(rows[-1])
        is_array = isinstance(values, np.ndarray)
        return values[first : last + 1] if is_array else values.slice(first, len(rows))
    return values[rows] if isinstance(values, np.ndarray) else values.take(to_arrow(rows))


def _arrow_table(columns: Columns) -> pa.Table:
    return pa.table({name: to_arrow(values) for name, values in columns.items()})


def _in_text(table: pa.Table) -> pa.Table:
    """Return a table with every column converted to text that is not a number."""
    for position, name in enumerate(table.column_names):
        kind = table.column(position).type
        if not has_text(kind):
            raise DataError(
                f"column {quoted(name)} holds {kind}, which cannot be written as text. Write a "
                "Parquet file (a name that ends in .parquet), or leave the column out."
            )
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or kind == pa.string()):
            table = table.set_column(position, name, as_text(table.column(position)))
    return table


def _holds(column: pa.ChunkedArray, special: Sequence[bytes]) -> bool:
    """Return whether a column of text holds one of some bytes; a regex takes ten times as long."""
    if not pa.types.is_string(column.type):
        return False
    for chunk in column.chunks:
        _, offsets, text = chunk.buffers()
        if text is not None:
            ends = np.frombuffer(offsets, np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
            used = text.slice(int(ends[0]), int(ends[-1] - ends[0])).to_pybytes()
            if any(each in used for each in special):
                return True
    return False


def _has_blanks(table: pa.Table) -> bool:
    """Return whether a row would be an empty line, which readers skip."""
    return table.num_columns == 1 and (
        table.column(0).null_count > 0 or _has_empty_texts(table.column(0))
    )


def _has_empty_texts(column: pa.ChunkedArray) -> bool:
    if not pa.types.is_string(column.type):
        return False
    return bool(pc.any(pc.equal(pc.binary_length(column), 0)).as_py())


def _texts(column: pa.ChunkedArray, options: pa_csv.WriteOptions) -> list[str]:
    """Return every cell as the text that Arrow writes for it."""
    if pa.types.is_string(column.type):
        cells: list[str] = column.to_pylist()
        return cells
    lines = io.BytesIO()
    pa_csv.write_csv(pa.table({"": column}), lines, options)
    return lines.getvalue().decode().splitlines()


def to_arrow(values: Values) -> Any:
    """Return a column as an Arrow array that shares its memory; NaN becomes null.

    `pa.table` would import pandas if it got a NumPy array.
    """
    if not isinstance(values, np.ndarray):
        return values
    kind = pa.float64() if values.dtype.kind == "f" else pa.int64()
    memory = pa.py_buffer(np.ascontiguousarray(values))
    there = values == values
    valid = None if there.all() else pa.py_buffer(np.packbits(there, bitorder="little"))
    return pa.Array.from_buffers(kind, len(values), [valid, memory])


def _write_rows(stream: BinaryIO, rows: Iterable[Iterable[str]], separator: str) -> None:
    # A cell is quoted if it has a character of the line end, and a single CR needs quotes, too.
    lines: list[str] = []
    writer = csv.writer(_Lines(lines.append), delimiter=separator, lineterminator="\r\n")
    writer.writerows(rows)
    stream.write("".join(f"{line[:-2]}\n" for line in lines).encode())


class _Lines(NamedTuple):
    """A text file that passes on every line that is written."""

    write: Callable[[str], Any]
