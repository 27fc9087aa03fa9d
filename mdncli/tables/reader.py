"""A CSV becomes a table of text columns, or a refusal that names the file, row, column and remedy.

Every cell stays the text that it was until a column is asked for as numbers, so a column that is
not used may hold anything.
"""

import csv
import io
import re
import shlex
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
from numpy.typing import NDArray

from mdncli.errors import DataError
from mdncli.words import listed, nearest, quoted

_BLOCK = 1 << 24
_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_NUMBER_OR_INF = rf"{_NUMBER}|[+-]?inf(inity)?"


@dataclass(frozen=True)
class Table:
    """Columns of text, all of one length, in the file's order; `source` is its name in messages."""

    source: str
    columns: dict[str, pa.ChunkedArray]

    @property
    def names(self) -> list[str]:
        """The column names, in the file's order."""
        return list(self.columns)

    @property
    def rows(self) -> int:
        """The number of data rows."""
        return len(next(iter(self.columns.values())))

    def require(self, names: list[str]) -> None:
        """Check that every name is a column.

        Raises:
            DataError: one is not; the message offers the nearest name.
        """
        for name in names:
            if name not in self.columns:
                raise DataError(
                    f"{self.source}: there is no column {quoted(name)}."
                    f"{nearest(name, self.names)} The columns are: {listed(self.names)}."
                )

    def numbers(self, names: list[str], *, remedy: str = "") -> NDArray[np.float64]:
        """Return the named columns as finite numbers, shape (N, len(names)).

        `remedy` is a further one for a bad cell, with {} for its column's name.

        Raises:
            DataError: a column is missing, or a cell is empty, is not a number, or is not finite.
        """
        values = self._parsed(names)
        wrong = ~np.isfinite(values)
        if wrong.any():
            position = int(wrong.any(axis=0).argmax())
            rows = np.flatnonzero(wrong[:, position])
            raise DataError(self._bad_cells(names[position], rows, remedy))
        return values

    def usable_numbers(self, names: list[str]) -> tuple[NDArray[np.float64], str]:
        """Return what `numbers` does with NaN for every bad cell, and what is wrong with the first.

        Raises:
            DataError: a column is missing.
        """
        values = self._parsed(names)
        wrong = ~np.isfinite(values)
        values[wrong] = np.nan
        if not wrong.any():
            return values, ""
        row, position = (int(each) for each in np.argwhere(wrong)[0])
        return values, self._bad_cell(names[position], row)

    def codes(self, name: str) -> NDArray[np.int64]:
        """Return a number for each distinct text of a column, from 0, shape (N,).

        Raises:
            DataError: there is no such column.
        """
        self.require([name])
        distinct: dict[str, int] = {}
        texts = self.columns[name].to_pylist()
        return np.array([distinct.setdefault(text, len(distinct)) for text in texts])

    def _parsed(self, names: list[str]) -> NDArray[np.float64]:
        """Return columns as numbers, shape (N, len(names)), a bad cell as NaN or infinite."""
        self.require(names)
        # Each column on its own in memory: so it is written, and so it will be read.
        values = np.empty((len(names), self.rows)).T
        for position, name in enumerate(names):
            values[:, position] = self._column(name)
        return values

    def _column(self, name: str) -> NDArray[np.float64]:
        text = self.columns[name]
        try:
            values = pc.cast(text, pa.float64())
        except pa.ArrowInvalid:
            # Slower, for the column that has a blank around a number or a cell that is none.
            text = pc.utf8_trim_whitespace(text)
            cells = pc.if_else(pc.match_substring_regex(text, _NUMBER), text, "nan")
            values = pc.cast(cells, pa.float64())
        return _array(values)

    def _bad_cells(self, name: str, rows: NDArray[np.intp], remedy: str) -> str:
        more = f" {len(rows) - 1} more cells of this column are like it." if len(rows) > 1 else ""
        return (
            f"{self._bad_cell(name, int(rows[0]))}.{more} "
            f"Correct the cell or remove the row{remedy.format(shlex.quote(name))}."
        )

    def _bad_cell(self, name: str, row: int) -> str:
        cell = self.columns[name][row].as_py()
        return f"{self.source}, row {row + 1}, column {quoted(name)}: {_fault(cell)}"


def _array(values: pa.ChunkedArray) -> NDArray[np.float64]:
    """Return float64 values, none of them missing, as NumPy's.

    Through the buffers: `to_numpy` would import pandas, half a second for nothing.
    """
    parts = [np.empty(0)]
    for chunk in values.chunks:
        whole = np.frombuffer(chunk.buffers()[1], dtype=np.float64)
        parts.append(whole[chunk.offset : chunk.offset + len(chunk)])
    return np.concatenate(parts)


def _fault(cell: str) -> str:
    if not cell.strip():
        return "the cell is empty"
    if cell.strip().lower() in {"nan", "+nan", "-nan"}:
        return f"{quoted(cell)} stands for a missing value"
    finite = "" if re.fullmatch(_NUMBER_OR_INF, cell.strip(), re.IGNORECASE) is None else " finite"
    return f"{quoted(cell)} is not a{finite} number"


def parse_csv(content: bytes, source: str) -> Table:
    """Return the table that a CSV with a header holds, every cell as text.

    Args:
        content: the file, in UTF-8 with or without a byte order mark.
        source: what messages call it.

    Raises:
        DataError: the file is empty, is not UTF-8 text, has a row with another number of fields
            than its header, or columns without a name or of the same name.
    """
    if b"\0" in content:
        raise DataError(f"{source}: the file holds null bytes: it is not CSV text.")
    names = _header(content, source)
    positions = [f"c{position}" for position in range(len(names))]
    try:
        # The header goes through the parser as a row, so that its quoting follows the same rules.
        table = _parse(content, positions, threads=True)
    except pa.ArrowInvalid as error:
        raise DataError(_why_not(content, positions, source, error)) from error
    columns = table.slice(1).columns
    return Table(source, dict(zip(names, columns, strict=True)))


def _header(content: bytes, source: str) -> list[str]:
    text = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig", newline="")
    try:
        names = next((row for row in csv.reader(text) if row), [])
    except csv.Error as error:
        raise DataError(f"{source}: the header cannot be read: {error}.") from error
    except UnicodeDecodeError as error:
        raise DataError(_not_utf8(content, source)) from error
    if not names:
        raise DataError(f"{source}: the file is empty. A header and rows are needed.")
    for position, name in enumerate(names, start=1):
        if not name.strip():
            hint = " Does every row end with a comma?" if position == len(names) > 1 else ""
            raise DataError(f"{source}: column {position} has no name in the header.{hint}")
        if names.index(name) != position - 1:
            raise DataError(f"{source}: two columns are named {quoted(name)}. Rename one.")
    return names


def _parse(
    content: bytes, positions: list[str], *, threads: bool, on_bad_row: object = None
) -> pa.Table:
    return pa_csv.read_csv(
        pa.BufferReader(content),
        read_options=pa_csv.ReadOptions(
            column_names=positions, use_threads=threads, block_size=_BLOCK
        ),
        parse_options=pa_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=on_bad_row),
        convert_options=pa_csv.ConvertOptions(
            column_types=dict.fromkeys(positions, pa.string()), strings_can_be_null=False
        ),
    )


def _why_not(content: bytes, positions: list[str], source: str, error: Exception) -> str:
    """Return what is wrong with the file, or with its first row of too few or too many fields."""
    undecodable = _not_utf8(content, source)
    if undecodable:
        return undecodable
    bad: list[pa_csv.InvalidRow] = []

    def remember(row: pa_csv.InvalidRow) -> str:
        if not bad:
            bad.append(row)
        return "skip"

    _parse(content, positions, threads=False, on_bad_row=remember)
    if not bad:
        return f"{source}: the file cannot be read as CSV: {error}."
    [row] = bad
    hint = " Does every row end with a comma?" if row.text.rstrip().endswith(",") else ""
    fields = "1 field" if row.actual_columns == 1 else f"{row.actual_columns} fields"
    return (
        f"{source}, row {row.number - 1}: {fields} where the header has {row.expected_columns}. "
        f"Correct the row; a comma inside a field needs quotes around the field.{hint}"
    )


def _not_utf8(content: bytes, source: str) -> str:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return f"{source}, line {line}: this is not UTF-8 text. Save the file as CSV in UTF-8."
    return ""
