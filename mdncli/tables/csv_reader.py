"""CSV text as columns of text: by Arrow where that is safe, otherwise record by record.

Arrow reads `"a"b` as `ab`, and it accepts a file with a quote that is never closed. So a file goes
to Arrow only if all of its quotes surround whole fields, as RFC 4180 requires. Any other file is
read by the `csv` module of Python in strict mode, which is slower and covers every dialect.
"""

import csv
import itertools
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from mdncli.errors import DataError, parameter
from mdncli.tables.cells import text_array
from mdncli.tables.decoding import BYTE_ORDER_MARK, CsvText, require_utf8
from mdncli.text import and_more, first_phrases, quoted

_BYTES_AT_ONCE = 1 << 24
_BLOCK = 1 << 24
_RECORDS_AT_ONCE = 1 << 8
_ROWS_AT_ONCE = 1 << 16
_MAX_DESCRIBED = 10
_EMPTY_LINES = ("\n", "\r\n", "\r")
_LINE_END = re.compile("\r\n|\r|\n")
_TWO = 2
# The limit on the length of a field belongs to the whole process.
_FIELD_LIMIT = threading.Lock()


# The line on which a record begins, from 1, and the text of its fields. A plain tuple is fastest.
Record = tuple[int, list[str]]


class FieldCountError(DataError):
    """A row has more or fewer fields than the header."""


class Place(NamedTuple):
    """Where a row is in a file.

    Attributes:
        row: its number, from 1, without the header.
        line: the line on which it begins, from 1; None if the file has no lines.
        source: the name of the file, in a table of several files.
    """

    row: int
    line: int | None
    source: str = ""


# From the positions of rows in a table to their places in the file.
Locate = Callable[[list[int]], list[Place]]


def records(text: CsvText) -> Iterator[Record]:
    """Yield every record. Empty lines and comment lines are skipped.

    Raises:
        DataError: a quote is never closed, or has text after it; the message names the line.
        UnicodeDecodeError: the text is not UTF-8.
    """
    reader = _RecordReader(text)
    # The first batch is a single record, so that the header alone is read quickly.
    size = 1
    while batch := reader.read(size):
        yield from batch
        size = min(16 * size, _RECORDS_AT_ONCE)


class _RecordReader:
    """Reads records in batches.

    The limit on the length of a field is a setting of the process. Each batch sets and restores it
    within one call, so that no other code can run meanwhile in the same thread.
    """

    def __init__(self, text: CsvText) -> None:
        self._text = text
        # A filter in Python makes reading ten times slower, so it is there only for comments.
        self._filter = _CommentFilter(text) if text.dialect.comment else None
        self._reader = _csv_reader(self._filter or text.lines(), text)
        self._first_line = 1 + text.lines_before
        self._error: Exception | None = None

    def read(self, size: int) -> list[Record]:
        """Return the next records, at most `size`, and none at the end.

        An error is raised by the call after the one that returns the last records before it.
        """
        batch: list[Record] = []
        with _FIELD_LIMIT:
            limit = csv.field_size_limit(sys.maxsize)
            try:
                if self._error is None:
                    self._fill(batch, size)
            except (csv.Error, UnicodeDecodeError) as error:
                self._error = error
            finally:
                csv.field_size_limit(limit)
        if self._error is not None and not batch:
            self._raise(self._error)
        return batch

    def _fill(self, batch: list[Record], size: int) -> None:
        reader, lines = self._reader, self._filter
        for fields in reader:
            if fields:
                batch.append((lines.first_line if lines else self._first_line, fields))
            self._first_line = reader.line_num + 1 + self._text.lines_before
            if lines:
                lines.between_records = True
            if len(batch) == size:
                return

    def _raise(self, error: Exception) -> None:
        if not isinstance(error, csv.Error):
            raise error
        first, last = self._first_line, self._reader.line_num + self._text.lines_before
        if self._filter:
            first, last = self._filter.first_line, self._filter.lines_read
        raise DataError(_syntax_message(self._text, str(error), first, last)) from error


def _csv_reader(lines: Iterable[str], text: CsvText) -> Any:
    dialect = text.dialect
    return csv.reader(
        lines,
        delimiter=text.separator,
        quotechar=dialect.quote,
        quoting=csv.QUOTE_MINIMAL if dialect.quote else csv.QUOTE_NONE,
        escapechar=dialect.escape,
        strict=True,
    )


class _CommentFilter:
    """The lines of a text without comment lines and without empty lines between records.

    Attributes:
        between_records: whether the next line begins a record. The reader of the lines sets it.
        lines_read: the number of lines read so far.
        first_line: the line on which the current record begins.
    """

    def __init__(self, text: CsvText) -> None:
        self._lines = text.lines()
        self._comment = text.dialect.comment or ""
        self.between_records = True
        self.lines_read = self.first_line = text.lines_before

    def __iter__(self) -> "_CommentFilter":
        return self

    def __next__(self) -> str:
        for line in self._lines:
            self.lines_read += 1
            if self.between_records:
                if line in _EMPTY_LINES or line.startswith(self._comment):
                    continue
                self.first_line = self.lines_read
            self.between_records = False
            return line
        raise StopIteration


def _syntax_message(text: CsvText, problem: str, first: int, last: int) -> str:
    """Return why the record from line `first` to line `last` cannot be read."""
    name = text.file.name
    without_quotes = f"or use {parameter('quote', repr(''))} to read quotes as any other character"
    if "unexpected end" not in problem:
        return (
            f"{name}, line {last}: there is text after a closing quote. Double the quotes inside "
            f"a quoted field, {without_quotes}."
        )
    if text.dialect.quote is None:
        return f"{name}, line {last}: the file ends after an escape character."
    record = "".join(itertools.islice(text.lines(), first - 1 - text.lines_before, None))
    line = first + len(_LINE_END.findall(record[: _open_quote(record, text)]))
    return (
        f"{name}, line {line}: a quote opens here and is never closed. Close it, {without_quotes}."
    )


def _open_quote(record: str, text: CsvText) -> int:
    """Return the position of the field that is never closed: the first after all whole fields."""
    dialect = text.dialect
    quote, separator = re.escape(dialect.quote or '"'), re.escape(text.separator)
    escape = re.escape(dialect.escape) if dialect.escape else ""
    escaped = f"|{escape}." if escape else ""
    inside = f"{quote}(?:[^{quote}{escape}]++|{quote}{quote}{escaped})*+{quote}"
    plain = f"(?!{quote})(?:[^{separator}{escape}]{escaped})*+"
    whole = re.compile(f"(?:{inside}|{plain}){separator}", re.DOTALL)
    position = 0
    while found := whole.match(record, position):
        position = found.end()
    return position


@dataclass(frozen=True)
class CsvColumns:
    """The columns of a CSV file.

    Attributes:
        columns: text by name. The name of a first column of row names may be empty.
        locate: finds the places of rows in the file.
        unnamed: the number of columns that have no name and no value, which are left out.
        skipped: the number of rows that were left out.
        first_skipped: what is wrong with the first of them.
    """

    columns: dict[str, pa.ChunkedArray]
    locate: Locate
    unnamed: int = 0
    skipped: int = 0
    first_skipped: str = ""


def read_csv(text: CsvText, *, skip_bad_rows: bool) -> CsvColumns:
    """Return the columns of a CSV file.

    Args:
        text: in UTF-8.
        skip_bad_rows: leave out rows with a number of fields that differs from the header's, and
            count them.

    Raises:
        DataError: the file is empty or not UTF-8; a row has more or fewer fields than the header; a
            column has no name, or the name of another one; quotes do not match.
    """
    header = header_of(text)
    return with_names(read_columns(text, header, skip_bad_rows), header, text)


@dataclass(frozen=True)
class Header:
    """The names of the columns.

    Attributes:
        names: of all columns, as in the header or `c1, c2, …` without one; empty where a name is
            missing.
        before: the number of columns before the first name, 1 in a file of R with row names.
    """

    names: list[str]
    before: int = 0

    @property
    def keys(self) -> list[str]:
        """A distinct text for each column: its name, or its position where it has none."""
        return [name if name.strip() else f"\0{at}" for at, name in enumerate(self.names, start=1)]


def read_columns(text: CsvText, header: Header, skip_bad_rows: bool) -> CsvColumns:
    """Return the columns of a CSV file, or of some rows of it, by the keys of the header.

    Raises:
        DataError: as for `read_csv`.
    """
    if not (header.before and text.has_header) and _safe_for_arrow(text):
        try:
            columns = _read_by_arrow(text, header.keys)
            return CsvColumns(columns, _Locator(text, len(header.names)))
        except pa.ArrowInvalid:
            # Reading record by record finds the fault, or reads a row too long for Arrow.
            require_utf8(text.file, text.lines_before)
    try:
        return _read_by_record(text, header.keys, skip_bad_rows)
    except UnicodeDecodeError:
        require_utf8(text.file, text.lines_before)
        raise


def with_names(read: CsvColumns, header: Header, text: CsvText) -> CsvColumns:
    """Return the columns by their names, without those that have neither a name nor a value.

    Raises:
        DataError: a column other than the first has values and no name.
    """
    columns: dict[str, pa.ChunkedArray] = {}
    named = {name for name in header.names if name.strip()}
    empty = 0
    for position, (key, column) in enumerate(read.columns.items(), start=1):
        if not key.startswith("\0"):
            columns[key] = column
            continue
        blank = pc.all(pc.match_substring_regex(column, r"^\s*$"), min_count=0).as_py()
        if len(header.names) > 1 and blank and (position > 1 or len(column)):
            empty += 1
            continue
        name = "" if position == 1 and len(header.names) > 1 else f"c{position}"
        if name and not text.dialect.name_columns:
            raise DataError(
                f"{text.file.name}: column {position} has no name in the header. Give it a name, "
                f"or use {parameter('name_columns', 'True')} to call it c{position}."
            )
        if name in named:
            raise DataError(f"{text.file.name}: two columns are named {quoted(name)}. Rename one.")
        columns[name] = column
    return replace(read, columns=columns, unnamed=empty)


def header_of(text: CsvText) -> Header:
    """Return the names of the columns of a CSV file.

    Raises:
        DataError: as for `read_csv`.
    """
    try:
        return _header(text)
    except UnicodeDecodeError:
        require_utf8(text.file, text.lines_before)
        raise


def _header(text: CsvText) -> Header:
    first, second = (next(every, None) for every in [iter(records(text))] * 2)
    if first is None:
        needed = "a header and rows" if text.dialect.header else "rows"
        raise DataError(f"{text.file.name}: the file is empty. It needs {needed}.")
    _, names = first
    if not text.dialect.header:
        return Header([f"c{position}" for position in range(1, len(names) + 1)])
    require_distinct([name for name in names if name.strip()], text.file.name)
    # A header of one field is rather that of a file with another delimiter.
    one_more = second is not None and len(second[1]) == len(names) + 1 > _TWO
    if one_more and all(map(str.strip, names)):
        # R writes row names without a name for their column. A delimiter at the end of each row
        # looks the same at first.
        side = _extra_field(text, len(names) + 1)
        if side == "first":
            return Header(["", *names], before=1)
        if side == "last":
            return Header([*names, ""])
    return Header(names)


def _extra_field(text: CsvText, width: int) -> str:
    """Return where the column is that the header does not name: `first`, `last` or an empty text.

    It is the last one if it is always empty, and the first one if no two rows agree there.
    """
    firsts: set[str] = set()
    rows, empty = 0, True
    for _, fields in _data_records(text):
        if len(fields) != width:
            return ""
        rows += 1
        empty &= not fields[-1].strip()
        firsts.add(fields[0])
    return "last" if empty else "first" if len(firsts) == rows else ""


def require_names(names: list[str], source: str) -> None:
    """Check that every column has a name of its own.

    Args:
        names: of all columns.
        source: the name of the table in messages.

    Raises:
        DataError: a column has no name, or the name of another one.
    """
    for position, name in enumerate(names, start=1):
        if not name.strip():
            raise DataError(f"{source}: column {position} has no name. Give it a name.")
    require_distinct(names, source)


def require_distinct(names: list[str], source: str) -> None:
    """Check that no two columns have the same name.

    Raises:
        DataError: two have.
    """
    seen: set[str] = set()
    for position, name in enumerate(names, start=1):
        if BYTE_ORDER_MARK in name:
            raise DataError(
                f"{source}: column {position}, {quoted(name)}, has a byte order mark in its name. "
                "Remove it from the header."
            )
        if name in seen:
            raise DataError(f"{source}: two columns are named {quoted(name)}. Rename one.")
        seen.add(name)


def _separator_phrase(text: CsvText) -> str:
    separator = text.delimiter or text.separator
    return "a comma" if separator == "," else quoted(separator)


def _safe_for_arrow(text: CsvText) -> bool:
    dialect = text.dialect
    marks = text.separator + (dialect.quote or "")
    if dialect.escape or dialect.comment or not marks.isascii():
        return False
    return quotes_surround_fields(text.file.content, text.separator, dialect.quote)


def quotes_surround_fields(content: bytes, separator: str, quote: str | None) -> bool:
    """Return whether every quote opens or closes a field, or is doubled inside one.

    Counted from 0, the quotes with even numbers open a field and those with odd numbers close it.
    A doubled quote counts as one that closes and one that opens again.

    Args:
        content: text in UTF-8.
        separator: one ASCII character.
        quote: one ASCII character, or None if the file has no quoted fields.
    """
    if quote is None or quote.encode() not in content:
        return True
    data = np.frombuffer(content, dtype=np.uint8)
    may_be_next_to = np.zeros(256, dtype=bool)
    may_be_next_to[[ord(mark) for mark in (separator, quote, "\n", "\r")]] = True
    first = len(BYTE_ORDER_MARK.encode()) if content.startswith(BYTE_ORDER_MARK.encode()) else 0
    count = 0
    for start in range(0, len(data), _BYTES_AT_ONCE):
        at = np.flatnonzero(data[start : start + _BYTES_AT_ONCE] == ord(quote)) + start
        opening, closing = at[count % 2 :: 2], at[1 - count % 2 :: 2]
        count += len(at)
        before = data[opening[opening > first] - 1]
        after = data[closing[closing < len(data) - 1] + 1]
        if not (may_be_next_to[before].all() and may_be_next_to[after].all()):
            return False
    return count % 2 == 0


def _read_by_arrow(text: CsvText, names: list[str]) -> dict[str, pa.ChunkedArray]:
    positions = [str(position) for position in range(len(names))]
    quote = text.dialect.quote
    table = pa_csv.read_csv(
        pa.BufferReader(text.file.content),
        # The header is parsed as a row, so that its quotes follow the same rules.
        read_options=pa_csv.ReadOptions(column_names=positions, block_size=_BLOCK),
        parse_options=pa_csv.ParseOptions(
            delimiter=text.separator,
            quote_char=quote or False,
            newlines_in_values=quote is not None,
        ),
        convert_options=pa_csv.ConvertOptions(
            column_types=dict.fromkeys(positions, pa.string()), strings_can_be_null=False
        ),
    )
    columns = table.slice(1 if text.has_header else 0).columns
    return dict(zip(names, columns, strict=True))


@dataclass
class _BadRows:
    """Rows with more or fewer fields than the header.

    Attributes:
        text: the file.
        expected: the number of fields of the header.
        count: the number of bad rows.
        descriptions: what is wrong with the first ones.
        trailing: whether each of them only ends with one delimiter too many.
    """

    text: CsvText
    expected: int
    count: int = 0
    descriptions: list[str] = field(default_factory=list)
    trailing: bool = True

    def add(self, row: int, line: int, fields: list[str]) -> None:
        """Count a row."""
        found = len(fields)
        self.count += 1
        self.trailing &= found == self.expected + 1 and not fields[-1]
        if len(self.descriptions) < _MAX_DESCRIBED:
            number = "1 field" if found == 1 else f"{found} fields"
            reference = "header" if self.text.dialect.header else "first row"
            self.descriptions.append(
                f"row {row}, line {line}: {number} where the {reference} has {self.expected}"
            )

    def message(self) -> str:
        """Return what is wrong with the rows, and what to do."""
        separator = _separator_phrase(self.text)
        hint = f" Does every row end with {separator}?" if self.trailing else ""
        phrases = first_phrases(self.descriptions)
        return (
            f"{self.text.file.name}, {'; '.join(phrases)}"
            f"{and_more(self.count - len(phrases), 'row')}. Correct the row; a field "
            f"that contains {separator} needs quotes around it.{hint} To leave out such rows, use "
            f"{parameter('on_bad_rows', repr('skip'))}."
        )


def _read_by_record(text: CsvText, names: list[str], skip_bad_rows: bool) -> CsvColumns:
    bad = _BadRows(text, len(names))
    doubtful: list[tuple[int, Record]] = []
    quote = text.dialect.quote
    chunks: list[list[Any]] = [[] for _ in names]
    rows: list[list[str]] = []
    for row, (line, fields) in enumerate(_data_records(text), text.rows_before + 1):
        if len(fields) != len(names):
            bad.add(row, line, fields)
        elif skip_bad_rows or not bad.count:
            rows.append(fields)
            if quote is not None and sum(cell.count(quote) % 2 for cell in fields) > 1:
                doubtful.append((row, (line, fields)))
            if len(rows) == _ROWS_AT_ONCE:
                _add_rows(chunks, rows)
                rows = []
    if bad.count and not skip_bad_rows:
        raise FieldCountError(bad.message())
    if doubtful:
        _require_no_stray_quotes(text, names, doubtful)
    if rows:
        _add_rows(chunks, rows)
    columns = {
        name: pa.chunked_array(chunk, pa.string())
        for name, chunk in zip(names, chunks, strict=True)
    }
    first_skipped = f"{text.file.name}, {bad.descriptions[0]}" if bad.descriptions else ""
    return CsvColumns(columns, _Locator(text, len(names)), 0, bad.count, first_skipped)


def _require_no_stray_quotes(
    text: CsvText, names: list[str], doubtful: list[tuple[int, Record]]
) -> None:
    """Check that no field without quotes around it holds a quote, while a later field does too.

    Its author may have meant the delimiter between the two as text.

    Args:
        text: the file.
        names: of its columns.
        doubtful: numbers of rows, and their records, with odd numbers of quotes in several fields.

    Raises:
        DataError: there is such a field.
    """
    separator, quote = text.separator, text.dialect.quote or '"'
    lines, at = text.lines(), text.lines_before
    for row, (line, fields) in doubtful:
        raw = next(itertools.islice(lines, line - 1 - at, None))
        at = line
        for position, cell in enumerate(fields):
            # In a field with quotes around it, a quote is doubled in the file. A field that begins
            # with a quote has quotes around it.
            as_it_is = f"{separator}{cell}" in raw or (position == 0 and raw.startswith(cell))
            if cell.count(quote) % 2 and as_it_is and not cell.startswith(quote):
                raise DataError(
                    f"{text.file.name}, row {row}, line {line}, column {quoted(names[position])}: "
                    f"there is a quote inside {quoted(cell)}, which does not begin with one. Put "
                    "the whole field into quotes and double those inside it, or use "
                    f"{parameter('quote', repr(''))} to read quotes as any other character."
                )


def _add_rows(chunks: list[list[Any]], rows: list[list[str]]) -> None:
    for chunk, cells in zip(chunks, zip(*rows, strict=True), strict=True):
        chunk.append(text_array(cells))


def _data_records(text: CsvText) -> Iterator[Record]:
    """Return the records below the header."""
    every = records(text)
    if text.has_header:
        next(every, None)
    return every


@dataclass(frozen=True)
class _Locator:
    """Finds the places of rows in a file. It reads the file again, so it serves messages only."""

    text: CsvText
    width: int

    def __call__(self, positions: list[int]) -> list[Place]:
        found: dict[int, Place] = {}
        wanted = iter(sorted(set(positions)))
        next_wanted = next(wanted, None)
        position = -1
        for row, (line, fields) in enumerate(_data_records(self.text), self.text.rows_before + 1):
            if next_wanted is None:
                break
            position += len(fields) == self.width
            if position == next_wanted:
                found[position] = Place(row, line)
                next_wanted = next(wanted, None)
        return [found[position] for position in positions]
