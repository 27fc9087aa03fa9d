"""A table as it was read: columns of text, numbers where they are asked for, and what is wrong.

A file becomes a table, or a refusal that names the file, the place and the remedy.

Every cell stays the text that it was until a column is asked for as numbers, so a column that is
not used may hold anything. Nothing about a file is guessed: what it is, its name says (`.tsv`,
`.parquet`, `.gz`, `.zst`, `.xz`), and how it is written, its dialect.
"""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mdncli.errors import DataError
from mdncli.tables.cells import Cells, cells_of_numbers, cells_of_text, fault
from mdncli.tables.csv_reader import Places, Text, read_text
from mdncli.tables.decoding import decompressed, utf8_text
from mdncli.tables.dialect import Dialect
from mdncli.tables.parquet import is_parquet, read_parquet
from mdncli.text import counted_rest, listed, nearest, quoted

_MOST_TOLD = 10

# A column, the rows where something is wrong, rising, and what it is: of each cell, or of all.
Fault = tuple[str, NDArray[np.intp], str | Callable[[str], str]]


def rows_in_turn(rows: list[int]) -> list[tuple[int, int | None]]:
    """Return the places of rows in a file that has no lines."""
    return [(row + 1, None) for row in rows]


@dataclass(frozen=True)
class Table:
    """Columns of one length, in the file's order.

    Attributes:
        source: the table's name in messages.
        columns: text without nulls; a column of lists or bytes is not among them.
        originals: what is carried to an output: the text, or what a Parquet file holds.
        dialect: by which it was read.
        places: says where in the file rows stand.
        skipped: rows of another number of fields that were left out.
        first_skipped: what is wrong with the first of them.
    """

    source: str
    columns: Mapping[str, pa.ChunkedArray]
    originals: Mapping[str, pa.ChunkedArray] = field(default_factory=dict)
    dialect: Dialect = field(default_factory=Dialect)
    places: Places = rows_in_turn
    skipped: int = 0
    first_skipped: str = ""

    def __post_init__(self) -> None:
        if not self.originals:
            object.__setattr__(self, "originals", self.columns)

    @property
    def names(self) -> list[str]:
        """The column names, in the file's order."""
        return list(self.originals)

    @property
    def rows(self) -> int:
        """The number of data rows."""
        return len(next(iter(self.originals.values())))

    @property
    def rows_in_file(self) -> int:
        """The number of data rows, those that were left out included."""
        return self.rows + self.skipped

    def require(self, names: list[str]) -> None:
        """Check that every name is a column that can be used.

        Raises:
            DataError: one is not; the message offers the nearest name.
        """
        for name in names:
            if name in self.columns:
                continue
            if name in self.originals:
                raise DataError(
                    f"{self.source}, column {quoted(name)}: it holds "
                    f"{self.originals[name].type}, neither numbers nor text."
                )
            hint = ""
            if len(self.names) == 1 and self.source != "standard input":
                hint = f" Is its delimiter another? mdn inspect {shlex.quote(self.source)} says."
            raise DataError(
                f"{self.source}: there is no column {quoted(name)}."
                f"{nearest(name, self.names)} The columns are: {listed(self.names)}.{hint}"
            )

    def cells(self, name: str) -> Cells:
        """Return a column's cells as numbers, missing ones and text.

        Raises:
            DataError: there is no such column.
        """
        self.require([name])
        kind = self.originals[name].type
        numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind)
        if numeric and not self.dialect.na:
            return cells_of_numbers(self.originals[name])
        decimal = "." if numeric else self.dialect.decimal
        return cells_of_text(self.columns[name], decimal, self.dialect.na)

    def numbers(self, names: list[str], *, remedy: str = "") -> NDArray[np.float64]:
        """Return the named columns as finite numbers, shape (N, len(names)).

        `remedy` is a further one for a bad cell, with {} for its column's name.

        Raises:
            DataError: a column is missing, or a cell is empty, is not a number, or is not finite.
        """
        values = self._values(names)
        faults = self._faults(names, values)
        if faults:
            ways = remedy.format(shlex.quote(faults[0][0]))
            raise DataError(self.complaint(faults, f"Correct the cell or remove the row{ways}."))
        return values

    def codes(self, name: str) -> NDArray[np.int64]:
        """Return a number for each distinct text of a column, from 0, shape (N,).

        Raises:
            DataError: there is no such column.
        """
        self.require([name])
        distinct: dict[str, int] = {}
        texts = self.columns[name].to_pylist()
        return np.array([distinct.setdefault(text, len(distinct)) for text in texts], dtype=int)

    def complaint(self, faults: Sequence[Fault], remedy: str = "") -> str:
        """Return what is wrong with cells: the first ten of them, a count of the rest, the remedy.

        Each cell by its row (1 is the first data row), the line of the file and the column.
        """
        told = self.told(faults, _MOST_TOLD)
        rest = counted_rest(sum(len(rows) for _, rows, _ in faults) - len(told), "cell")
        first, *others = told
        prefix = f"{self.source}, "
        phrases = [first, *(each.removeprefix(prefix) for each in others)]
        return f"{'; '.join(phrases)}{rest}.{' ' if remedy else ''}{remedy}"

    def told(self, faults: Sequence[Fault], most: int) -> list[str]:
        """Return what is wrong with the first cells by row, each as a phrase with its place."""
        cells = sorted(
            (int(row), order) for order, (_, rows, _) in enumerate(faults) for row in rows[:most]
        )[:most]
        told = []
        for (row, order), (number, line) in zip(
            cells, self.places([row for row, _ in cells]), strict=True
        ):
            name, _, reason = faults[order]
            why = reason if isinstance(reason, str) else reason(self.columns[name][row].as_py())
            where = f"row {number}" if line is None else f"row {number}, line {line}"
            told.append(f"{self.source}, {where}, column {quoted(name)}: {why}")
        return told

    def _values(self, names: list[str]) -> NDArray[np.float64]:
        """Return columns as numbers, shape (N, len(names)), a bad cell as NaN."""
        self.require(names)
        # Each column on its own in memory: so it is written, and so it will be read.
        values = np.empty((len(names), self.rows)).T
        for position, name in enumerate(names):
            values[:, position] = self.cells(name).values
        return values

    def _faults(self, names: list[str], values: NDArray[np.float64]) -> list[Fault]:
        wrong = np.isnan(values)
        return [
            (name, np.flatnonzero(wrong[:, position]), self.why)
            for position, name in enumerate(names)
            if wrong[:, position].any()
        ]

    def why(self, cell: str) -> str:
        """Return why a cell is no finite number."""
        return fault(cell, self.dialect.decimal, self.dialect.na)


__all__ = ["Table", "read_table"]


def read_table(
    content: bytes, source: str, dialect: Dialect | None = None, *, skip_bad_rows: bool = False
) -> Table:
    """Return the table that a file holds.

    Args:
        content: the file's bytes.
        source: its name, which says whether it is compressed, Parquet or separated by tabs.
        dialect: how it is written; by default comma-separated UTF-8 with a header.
        skip_bad_rows: leave out rows of another number of fields than the header, and count them,
            instead of refusing the file.

    Raises:
        DataError: it cannot be read rightly; the message says why, where, and what to do.
    """
    dialect = dialect or Dialect()
    content = decompressed(content, source)
    if is_parquet(source):
        columns, originals = read_parquet(content, source)
        return Table(source, columns, originals, dialect)
    text = Text(utf8_text(content, dialect, source), source, dialect)
    read = read_text(text, skip_bad_rows=skip_bad_rows)
    return Table(
        source,
        read.columns,
        dialect=dialect,
        places=read.places,
        skipped=read.skipped,
        first_skipped=read.first_skipped,
    )
