"""A table: columns of text that become numbers when they are used, and messages about its cells.

Every cell stays text until its column is used as numbers, so a column that is not used may hold
anything. Nothing about a file is guessed. Its name says what it is (`.tsv`, `.parquet`, `.jsonl`,
`.gz`, `.zst`, `.xz`), and its dialect says how it is written.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pa_json
from numpy.typing import NDArray

from mdncli.errors import DataError, parameter
from mdncli.files import FileContent, read_file
from mdncli.tables.cells import (
    Cells,
    TextColumns,
    cells_of_numbers,
    cells_of_text,
    parquet_module,
    reason_not_number,
    text_column,
    text_scalar,
)
from mdncli.tables.csv_reader import (
    CsvColumns,
    FieldCountError,
    Locate,
    Place,
    read_csv,
    require_names,
)
from mdncli.tables.decoding import CsvText, decompressed, require_acceptable_size, utf8_text
from mdncli.tables.dialect import Dialect, format_of
from mdncli.tables.sniffer import separator_of
from mdncli.text import and_more, counted, first_phrases, listed, nearest, quoted
from mdncli.types import Array, Positions

_MAX_DESCRIBED = 10


class Fault(NamedTuple):
    """What is wrong with some cells of a column.

    Attributes:
        column: its name.
        rows: positions of the rows, in rising order.
        reason: a phrase; or a function that returns one for the text of a cell.
    """

    column: str
    rows: NDArray[np.intp]
    reason: str | Callable[[str], str]


def rows_without_lines(positions: list[int]) -> list[Place]:
    """Return the places of rows in a table that has no lines."""
    return [Place(position + 1, None) for position in positions]


@dataclass(frozen=True)
class Table:
    """N rows of columns, in the order of the file.

    Attributes:
        source: the name of the table in messages.
        columns: text without nulls, by name. Columns of lists, maps or bytes are not among them.
        originals: the columns with their own types, to be carried to an output. For a CSV file they
            are the text.
        dialect: how the file was read.
        row_names: names of the columns that name the rows: they are carried to an output, and are
            features or targets only if they are named as such.
        notes: sentences about columns that are not used, for whoever fits the table.
        declared: a kind that the source declares for a column, `category` or `date`, by the name of
            the column. Files declare none.
        locate: finds the places of rows in the file.
        skipped: the number of rows that were left out because of their number of fields.
        first_skipped: what is wrong with the first of them.
        file: the file before decompression; None for a table that does not come from a file. That
            of a block of rows, or of several files, has a name and no bytes.
        sha256: of several files, one after another, in hexadecimal.
    """

    source: str
    columns: Mapping[str, pa.ChunkedArray]
    originals: Mapping[str, pa.ChunkedArray] = field(default_factory=dict)
    dialect: Dialect = field(default_factory=Dialect)
    row_names: Sequence[str] = ()
    notes: Sequence[str] = ()
    declared: Mapping[str, str] = field(default_factory=dict)
    locate: Locate = rows_without_lines
    skipped: int = 0
    first_skipped: str = ""
    file: FileContent | None = field(default=None, repr=False)
    sha256: str = ""

    def __post_init__(self) -> None:
        if not self.originals:
            object.__setattr__(self, "originals", self.columns)

    @property
    def names(self) -> list[str]:
        """The column names, in the order of the file, without those that name the rows."""
        return [name for name in self.originals if name not in self.row_names]

    @property
    def rows(self) -> int:
        """The number of data rows."""
        return len(next(iter(self.originals.values())))

    @property
    def rows_in_file(self) -> int:
        """The number of data rows, including those that were left out."""
        return self.rows + self.skipped

    @cached_property
    def content_sha256(self) -> str:
        """The SHA-256 of the file's bytes in hexadecimal; empty for a table without a file."""
        if self.file is None or not self.file.content:
            return self.sha256
        return hashlib.sha256(self.file.content).hexdigest()

    def with_rows(self, originals: Mapping[str, pa.ChunkedArray]) -> "Table":
        """Return a table with other rows of the same columns, which do not know their places.

        The function that finds places may keep the text of a file in memory.
        """
        typed = self.columns is not self.originals
        columns = TextColumns(originals) if typed else originals
        return replace(self, columns=columns, originals=originals, locate=rows_without_lines)

    def require(self, names: Sequence[str]) -> None:
        """Check that every name is a column that can be used.

        Raises:
            DataError: a column does not exist or cannot be used; the message suggests the nearest
                name.
        """
        for name in names:
            if name in self.columns:
                continue
            if name in self.originals:
                raise DataError(
                    f"{self.source}, column {quoted(name)}: it holds "
                    f"{self.originals[name].type}, which is neither numbers nor text."
                )
            hint = ""
            if self.file is not None and len(self.names) == 1:
                hint = f" If its cells are separated by another mark, set {parameter('delimiter')}."
            raise DataError(
                f"{self.source}: there is no column {quoted(name)}."
                f"{nearest(name, self.names)} The columns are: {listed(self.names)}.{hint}"
            )

    def cells(self, name: str) -> Cells:
        """Return the cells of a column as numbers, missing cells and text.

        A column of numbers is not converted to text on the way. A column of booleans is 0 and 1,
        except in a file, where it is the text `true` and `false`.

        Raises:
            DataError: the column does not exist or cannot be used.
        """
        self.require([name])
        kind = self.originals[name].type
        numeric = (
            pa.types.is_integer(kind)
            or pa.types.is_floating(kind)
            or (pa.types.is_boolean(kind) and self.file is None)
        )
        if numeric:
            return cells_of_numbers(self.originals[name], self.dialect.na)
        return cells_of_text(self.columns[name], self.dialect)

    def numbers(self, names: Sequence[str]) -> Array:
        """Return the named columns as finite numbers, shape (N, len(names)).

        Raises:
            DataError: a column does not exist, or a cell is empty or not a finite number.
        """
        self.require(names)
        # Each column is contiguous in memory, since columns are written and read one by one.
        values = np.empty((len(names), self.rows)).T
        faults: list[Fault] = []
        for position, name in enumerate(names):
            values[:, position] = self.cells(name).values
            wrong = np.flatnonzero(np.isnan(values[:, position]))
            if len(wrong):
                faults.append(Fault(name, wrong, self.reason_not_number))
        if faults:
            raise DataError(self.fault_message(faults, "Correct the cell or remove the row."))
        return values

    def holds(self, marker: str) -> bool:
        """Return whether a cell is this text, or this number in whatever way it is written."""
        plain = replace(self, dialect=replace(self.dialect, na=()))
        marked = replace(self, dialect=replace(self.dialect, na=(marker,)))
        for name, column in self.columns.items():
            same = pc.equal(pc.utf8_trim_whitespace(column), text_scalar(marker.strip()))
            if (
                pc.any(same).as_py()
                or marked.cells(name).missing.sum() > plain.cells(name).missing.sum()
            ):
                return True
        return False

    def codes(self, name: str) -> Positions:
        """Return a number for each distinct text of a column, from 0, shape (N,).

        Raises:
            DataError: the column does not exist or cannot be used.
        """
        self.require([name])
        numbers: dict[str, int] = {}
        texts = self.columns[name].to_pylist()
        return np.array([numbers.setdefault(text, len(numbers)) for text in texts], dtype=np.int64)

    def reason_not_number(self, cell: str) -> str:
        """Return why the text of a cell is not a finite number."""
        return reason_not_number(cell, self.dialect)

    def fault_message(self, faults: Sequence[Fault], remedy: str = "") -> str:
        """Return the first faulty cells with their places, the number of others, and a remedy.

        There are ten at most, and fewer if they need many words.

        Args:
            faults: at least one, with at least one row each.
            remedy: one or more sentences.
        """
        first, *others = self.describe_faults(faults, _MAX_DESCRIBED)
        source = first.partition(", row ")[0]
        phrases = [first, *(other.removeprefix(f"{source}, ") for other in others)]
        phrases = first_phrases(phrases)
        rest = and_more(sum(len(fault.rows) for fault in faults) - len(phrases), "cell")
        return f"{'; '.join(phrases)}{rest}.{' ' if remedy else ''}{remedy}"

    def describe_faults(self, faults: Sequence[Fault], count: int) -> list[str]:
        """Return the first `count` faulty cells by row, each as a phrase with its place.

        The place is the row (1 is the first data row), the line of the file and the column.
        """
        first = sorted(
            (int(row), number) for number, fault in enumerate(faults) for row in fault.rows[:count]
        )[:count]
        places = self.locate([row for row, _ in first])
        phrases = []
        for (position, number), place in zip(first, places, strict=True):
            name, _, reason = faults[number]
            if not isinstance(reason, str):
                reason = reason(self.columns[name][position].as_py())
            row = f"row {place.row}"
            where = row if place.line is None else f"{row}, line {place.line}"
            source = place.source or self.source
            phrases.append(f"{source}, {where}, column {quoted(name)}: {reason}")
        return phrases


def read_table(
    file: str | os.PathLike[str] | FileContent,
    dialect: Dialect | None = None,
    *,
    skip_bad_rows: bool = False,
) -> Table:
    """Return the table in a file.

    Args:
        file: its path, or a content that was read already. The suffix of the name says whether it
            is compressed, a Parquet file, or separated by tabs.
        dialect: how the file is written; by default UTF-8 with commas and a header.
        skip_bad_rows: leave out rows with a number of fields that differs from the header's, and
            count them, instead of refusing the file.

    Raises:
        MissingInputError: there is no such file.
        DataError: the file cannot be read without doubt; the message says why, where, and what to
            do.
        ParameterError: the dialect does not fit the default delimiter of the file.
    """
    dialect, file = dialect or Dialect(), read_file(file)
    content = decompressed(file)
    form = format_of(file.name, dialect.format)
    if form == "parquet":
        reader, row_names = parquet_reader(pa.BufferReader(content.content), file.name)
        with complete_parquet(file.name):
            read = reader.read()
        return replace(typed_table(read, file.name, dialect, row_names), file=file)
    if form == "jsonl":
        read = read_json_lines(utf8_text(content, dialect))
        return replace(typed_table(read, file.name, dialect), file=file)
    text = utf8_text(content, dialect)
    with naming_the_delimiter(text, dialect):
        csv = read_csv(CsvText.of_file(text, dialect), skip_bad_rows=skip_bad_rows)
    return replace(csv_table(csv, file.name, dialect), file=file)


def csv_table(csv: CsvColumns, name: str, dialect: Dialect) -> Table:
    """Return the table with the columns of a CSV file of this name."""
    if not csv.columns:
        raise DataError(f"{name}: no column has a name. Give each column a name in the header.")
    named = "" in csv.columns
    notes = ["The first column has no name, so its cells are the names of the rows."] * named
    if csv.unnamed:
        unnamed = counted(csv.unnamed, "column")
        notes.append(f"{unnamed} without a name and without a value is left out.")
    return Table(
        name,
        csv.columns,
        dialect=dialect,
        row_names=[""] * named,
        notes=notes,
        locate=csv.locate,
        skipped=csv.skipped,
        first_skipped=csv.first_skipped,
    )


def typed_table(
    table: pa.Table, name: str, dialect: Dialect, row_names: Sequence[str] = ()
) -> Table:
    """Return the table with the typed columns of a file of this name."""
    columns = zip(table.column_names, table.columns, strict=True)
    originals = {each: _without_dictionary(column) for each, column in columns}
    notes = [f"{listed(row_names)} is the index of the data frame in the file."]
    text = TextColumns(originals)
    return Table(name, text, originals, dialect, row_names, notes if row_names else [])


@contextlib.contextmanager
def naming_the_delimiter(content: FileContent, dialect: Dialect) -> Iterator[None]:
    """Add to an error about the number of fields the delimiter that would read the file.

    Args:
        content: the text of the file in UTF-8, or the beginning of it.
        dialect: with another delimiter.
    """
    try:
        yield
    except FieldCountError as error:
        separator = separator_of(content, dialect)
        hint = f" Another delimiter reads it: {parameter('delimiter', repr(separator))}."
        raise DataError(f"{error.message}{hint if separator else ''}") from error


def parquet_reader(file: Any, name: str, *, in_parts: bool = False) -> tuple[Any, list[str]]:
    """Return the reader of a Parquet file, and the names of the columns that name its rows.

    Args:
        file: its bytes, which can be read at any place.
        name: of the file.
        in_parts: whether it is read part by part; then only a part must fit into memory.

    Raises:
        DataError: the file is not a complete Parquet file, has no columns, has two columns of one
            name, or grows too large.
    """
    parquet = parquet_module()
    with complete_parquet(name):
        reader = parquet.ParquetFile(file, pre_buffer=not in_parts)
        metadata = reader.metadata
        sizes = [metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups)]
        require_acceptable_size(max(sizes, default=0) if in_parts else sum(sizes), name)
        schema = reader.schema_arrow
    if not schema.names:
        raise DataError(f"{name}: the file has no columns.")
    require_names(schema.names, name)
    index = _index_columns(schema.metadata or {})
    row_names = [each for each in schema.names if each in index]
    return reader, row_names if len(row_names) < len(schema.names) else []


@contextlib.contextmanager
def complete_parquet(name: str) -> Iterator[None]:
    """Turn an error of reading into one that says what is wrong with the Parquet file."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{name}: the name ends in .parquet, but this is not a complete Parquet file."
        ) from error


def _index_columns(metadata: Mapping[bytes, bytes]) -> list[str]:
    """Return the names of the columns that are the index of a data frame of pandas.

    Pandas stores them as JSON under the key `pandas`. An index of numbers in a row is no column.
    """
    try:
        described = json.loads(metadata.get(b"pandas", b"{}"))
        return [name for name in described.get("index_columns", []) if isinstance(name, str)]
    except (ValueError, AttributeError, TypeError, RecursionError):
        return []


def read_json_lines(file: FileContent) -> pa.Table:
    """Return the columns of a file with a JSON object on each line.

    A key that an object lacks is a missing value. A column that holds numbers and texts is text.

    Raises:
        DataError: a line is not a JSON object, or there is no object or no key.
    """
    try:
        table = pa_json.read_json(pa.BufferReader(file.content))
    except pa.ArrowInvalid:
        rows = json_objects(file)
        table = json_texts(rows, list(dict.fromkeys(name for row in rows for name in row)))
    require_keys(table.column_names, file.name)
    return table


def require_keys(names: list[str], source: str) -> None:
    """Check that a file with a JSON object on each line has keys, and no empty one.

    Raises:
        DataError: it has none, or an empty one.
    """
    if not names:
        raise DataError(f"{source}: the file is empty. It needs a JSON object on each line.")
    require_names(names, source)


def json_objects(file: FileContent, lines_before: int = 0) -> list[dict[str, Any]]:
    """Return the object on each line of a file, or of a part that begins below so many lines.

    Raises:
        DataError: a line is not a JSON object.
    """
    rows = []
    for number, line in enumerate(file.content.splitlines(), start=lines_before + 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{file.name}, line {number}: this is not JSON: {error}.") from error
        if not isinstance(row, dict):
            raise DataError(
                f"{file.name}, line {number}: this is not a JSON object, such as "
                '{"x": 1.5, "y": 2}.'
            )
        rows.append(row)
    return rows


def json_texts(rows: list[dict[str, Any]], names: list[str]) -> pa.Table:
    """Return the values of objects, at least one, under these keys as text."""
    return pa.table({name: text_column([_json_cell(r.get(name)) for r in rows]) for name in names})


def json_kinds(contents: Iterable[bytes]) -> dict[str, Any] | None:
    """Return the type of each column; None if every cell must be text."""
    kinds: dict[str, Any] = {}
    for content in contents:
        if not content.strip():
            continue
        try:
            schema = pa_json.read_json(pa.BufferReader(content)).schema
        except pa.ArrowInvalid:
            return None
        for each in schema:
            wider = _wider(kinds.get(each.name, pa.null()), each.type)
            if wider is None:
                return None
            kinds[each.name] = wider
    return kinds


def _wider(one: Any, other: Any) -> Any:
    """Return the type that Arrow gives to JSON values of both types; None if it fails."""
    if one == other or pa.types.is_null(other):
        return one
    kinds = {str(one), str(other)}
    if pa.types.is_null(one) or kinds == {"timestamp[s]", "string"}:
        return other if pa.types.is_null(one) else pa.string()
    if kinds == {"int64", "double"}:
        return pa.float64()
    if not (pa.types.is_nested(one) and pa.types.is_nested(other)):
        return None
    try:
        schemas = [pa.schema([("", kind)]) for kind in (one, other)]
        return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except pa.ArrowException:
        return None


def json_names(contents: Iterable[bytes]) -> list[str]:
    """Return the keys of all objects, in the order in which they first occur."""
    names: dict[str, None] = {}
    for content in contents:
        for line in content.splitlines():
            # What is wrong with a line is said with its number, when its row is read.
            with contextlib.suppress(ValueError, RecursionError, TypeError):
                names.update(dict.fromkeys(json.loads(line)))
    return list(names)


def json_table(
    file: FileContent, kinds: dict[str, Any] | None, names: list[str], lines_before: int
) -> pa.Table:
    """Return the objects in a part of a file.

    Args:
        file: the part.
        kinds: the type of each column; None if every cell becomes text.
        names: of the columns.
        lines_before: how many lines are above the part.

    Raises:
        DataError: a line is not a JSON object.
    """
    if kinds is None:
        rows = json_objects(file, lines_before)
        return json_texts(rows, names) if rows else pa.table({})
    if not file.content.strip():
        return pa.table({})
    options = pa_json.ParseOptions(explicit_schema=pa.schema(list(kinds.items())))
    return pa_json.read_json(pa.BufferReader(file.content), parse_options=options)


def _json_cell(value: object) -> str:
    if value is None:
        return ""
    return value.replace("\0", "\\0") if isinstance(value, str) else json.dumps(value)


def _without_dictionary(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_null(column.type):
        return pc.cast(column, pa.string())
    if not pa.types.is_dictionary(column.type):
        return column
    return pc.cast(column, column.type.value_type)
