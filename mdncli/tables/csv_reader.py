"""Whether the quotes of a CSV stand where they may, seen at the speed of NumPy.

Arrow reads `"a"b` as `ab` and takes a file whose last quote stays open. So a file goes to Arrow
only if all its quotes surround whole fields, as RFC 4180 has it; any other is read by record.

The records of a CSV one by one, with the lines that they begin on: for what Arrow cannot read.

Every dialect is read here by the rules of Python's own `csv` module, in its strict mode.

A CSV becomes columns of text: by Arrow where it can, else record by record.
"""

import csv
import io
import itertools
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from mdncli.errors import DataError
from mdncli.tables.arrow import texts
from mdncli.tables.decoding import BYTE_ORDER_MARK, require_utf8
from mdncli.tables.dialect import Dialect
from mdncli.text import counted_rest, quoted

_AT_ONCE = 1 << 24


def surround_fields(content: bytes, separator: str, quote: str | None) -> bool:
    """Return whether every quote opens or closes a field, or stands twice inside one.

    Counted from 0, the even quotes open and the odd ones close; a doubled quote closes and opens
    again at once.

    Args:
        content: UTF-8.
        separator: one character of ASCII.
        quote: one character of ASCII, or None where there are no quotes.
    """
    if quote is None or quote.encode() not in content:
        return True
    data = np.frombuffer(content, dtype=np.uint8)
    neighbour = np.zeros(256, dtype=bool)
    neighbour[[ord(mark) for mark in (separator, quote, "\n", "\r")]] = True
    first = len(BYTE_ORDER_MARK.encode()) if content.startswith(BYTE_ORDER_MARK.encode()) else 0
    count = 0
    for start in range(0, len(data), _AT_ONCE):
        at = np.flatnonzero(data[start : start + _AT_ONCE] == ord(quote)) + start
        opening, closing = at[count % 2 :: 2], at[1 - count % 2 :: 2]
        count += len(at)
        opening = opening[opening > first]
        closing = closing[closing < len(data) - 1]
        if not (neighbour[data[opening - 1]].all() and neighbour[data[closing + 1]].all()):
            return False
    return count % 2 == 0


_BLANK = ("\n", "\r\n", "\r")
_LINE_END = re.compile("\r\n|\r|\n")


@dataclass(frozen=True)
class Text:
    """A table's text: `content` in UTF-8, what messages call it, and how it is written."""

    content: bytes
    source: str
    dialect: Dialect

    @property
    def separator(self) -> str:
        """What separates the fields."""
        return self.dialect.separator(self.source)


def records(text: Text) -> Iterator[tuple[int, list[str]]]:
    """Yield every record with the line that it begins on, from 1.

    Blank lines are passed over, and those that begin with the comment character.

    Raises:
        DataError: a quote is never closed, or has text after it; the message names the line.
        UnicodeDecodeError: it is not UTF-8.
    """
    # Line by line in Python only where it must be: it is ten times slower.
    uncommented = _Uncommented(text) if text.dialect.comment else None
    reader = _reader(uncommented or _lines(text), text)
    # The limit belongs to the whole process, so it is given back.
    limit = csv.field_size_limit(sys.maxsize)
    begun = 1
    try:
        for fields in reader:
            if fields:
                yield (uncommented.begun if uncommented else begun), fields
            begun = reader.line_num + 1
            if uncommented:
                uncommented.begin_record()
    except csv.Error as error:
        place = (uncommented.begun, uncommented.read) if uncommented else (begun, reader.line_num)
        raise DataError(_refusal(text, str(error), *place)) from error
    finally:
        csv.field_size_limit(limit)


def _reader(lines: Iterable[str], text: Text) -> Any:
    dialect = text.dialect
    return csv.reader(
        lines,
        delimiter=text.separator,
        quotechar=dialect.quote,
        quoting=csv.QUOTE_MINIMAL if dialect.quote else csv.QUOTE_NONE,
        escapechar=dialect.escape,
        strict=True,
    )


def _lines(text: Text) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(text.content), encoding="utf-8-sig", newline="")


class _Uncommented:
    """The lines of a text, without those that hold nothing where a record may begin.

    Attributes:
        read: the lines read so far.
        begun: the line on which the record at hand begins.
    """

    def __init__(self, text: Text) -> None:
        self._lines = _lines(text)
        self._comment = text.dialect.comment or ""
        self._between = True
        self.read = self.begun = 0

    def begin_record(self) -> None:
        self._between = True

    def __iter__(self) -> "_Uncommented":
        return self

    def __next__(self) -> str:
        for line in self._lines:
            self.read += 1
            if self._between:
                if line in _BLANK or line.startswith(self._comment):
                    continue
                self.begun = self.read
            self._between = False
            return line
        raise StopIteration


def _refusal(text: Text, problem: str, begun: int, read: int) -> str:
    """Return why the record from line `begun` to line `read` cannot be read."""
    source = text.source
    if "unexpected end" not in problem:
        return (
            f"{source}, line {read}: there is text after a closing quote. Write a quote inside "
            "quotes twice, or with --quote '' read quotes as any other character."
        )
    record = "".join(itertools.islice(_lines(text), begun - 1, None))
    if text.dialect.quote is None:
        return f"{source}, line {read}: the file ends after an escape character."
    line = begun + len(_LINE_END.findall(record[: _open_quote(record, text)]))
    return (
        f"{source}, line {line}: a quote opens here and is never closed. Close it, or with "
        "--quote '' read quotes as any other character."
    )


def _open_quote(record: str, text: Text) -> int:
    """Return where the field begins that is never closed: after all that are whole."""
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


_BLOCK = 1 << 24
_ROWS_AT_ONCE = 1 << 16
_MOST_TOLD = 10

# Of rows by their positions: the number of each in the file, from 1, and the line it begins on.
Places = Callable[[list[int]], list[tuple[int, int | None]]]


@dataclass(frozen=True)
class Columns:
    """What a CSV holds: text by name, and the rows that were left out."""

    columns: dict[str, pa.ChunkedArray]
    places: Places
    skipped: int = 0
    first_skipped: str = ""


def read_text(text: Text, *, skip_bad_rows: bool) -> Columns:
    """Return the columns of a CSV.

    Args:
        text: in UTF-8.
        skip_bad_rows: leave out rows of another number of fields than the header, and count them.

    Raises:
        DataError: the file is empty or not UTF-8; a row has another number of fields than the
            header; columns without a name or of the same name; quotes that do not match.
    """
    try:
        names = column_names(text)
        if _for_arrow(text):
            try:
                return Columns(_by_arrow(text, names), _Locator(text, len(names)))
            except pa.ArrowInvalid:
                # Record by record it shows where the fault is; or that only a row is very long.
                require_utf8(text.content, text.source)
        return _by_record(text, names, skip_bad_rows)
    except UnicodeDecodeError:
        require_utf8(text.content, text.source)
        raise


def column_names(text: Text) -> list[str]:
    """Return the names that the header has, or `c1, c2, …` without one."""
    first = next((fields for _, fields in records(text)), None)
    if first is None:
        needed = "A header and rows are needed." if text.dialect.header else "Rows are needed."
        raise DataError(f"{text.source}: the file is empty. {needed}")
    if not text.dialect.header:
        return [f"c{position}" for position in range(1, len(first) + 1)]
    require_names(first, text.source, _mark(text))
    return first


def require_names(names: list[str], source: str, mark: str = "a delimiter") -> None:
    """Check that every column has a name of its own; `mark` is what messages call the delimiter.

    Raises:
        DataError: one has none, or that of another.
    """
    seen: set[str] = set()
    for position, name in enumerate(names, start=1):
        if not name.strip():
            trailing = f" Does every row end with {mark}?" if position == len(names) > 1 else ""
            raise DataError(f"{source}: column {position} has no name in the header.{trailing}")
        if BYTE_ORDER_MARK in name:
            raise DataError(
                f"{source}: column {position}, {quoted(name)}, has a byte order mark in its name. "
                "Remove it from the header."
            )
        if name in seen:
            raise DataError(f"{source}: two columns are named {quoted(name)}. Rename one.")
        seen.add(name)


def _mark(text: Text) -> str:
    return "a comma" if text.separator == "," else quoted(text.separator)


def _for_arrow(text: Text) -> bool:
    dialect = text.dialect
    marks = text.separator + (dialect.quote or "")
    plain = not dialect.escape and not dialect.comment and marks.isascii()
    return plain and surround_fields(text.content, text.separator, dialect.quote)


def _by_arrow(text: Text, names: list[str]) -> dict[str, pa.ChunkedArray]:
    positions = [str(position) for position in range(len(names))]
    quote = text.dialect.quote
    table = pa_csv.read_csv(
        pa.BufferReader(text.content),
        # The header goes through the parser as a row, so its quoting follows the same rules.
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
    columns = table.slice(1 if text.dialect.header else 0).columns
    return dict(zip(names, columns, strict=True))


@dataclass
class _BadRows:
    """Rows of another number of fields: how many, the first of them, and whether all trail."""

    text: Text
    expected: int
    count: int = 0
    told: list[str] = field(default_factory=list)
    trailing: bool = True

    def add(self, row: int, line: int, fields: list[str]) -> None:
        """Count a row."""
        self.count += 1
        self.trailing &= len(fields) == self.expected + 1 and not fields[-1]
        if len(self.told) < _MOST_TOLD:
            number = "1 field" if len(fields) == 1 else f"{len(fields)} fields"
            beside = "header" if self.text.dialect.header else "first row"
            self.told.append(
                f"row {row}, line {line}: {number} where the {beside} has {self.expected}"
            )

    def refusal(self) -> str:
        """Return what is wrong with them, and what to do."""
        mark = _mark(self.text)
        hint = f" Does every row end with {mark}?" if self.trailing else ""
        return (
            f"{self.text.source}, {'; '.join(self.told)}"
            f"{counted_rest(self.count - len(self.told), 'row')}. Correct the row; {mark} inside "
            f"a field needs quotes around the field.{hint} Or leave such rows out: "
            "--on-bad-rows skip."
        )


def _by_record(text: Text, names: list[str], skip_bad_rows: bool) -> Columns:
    bad = _BadRows(text, len(names))
    chunks: list[list[Any]] = [[] for _ in names]

    def good_rows() -> Iterator[list[str]]:
        for row, (line, fields) in enumerate(_data(text), start=1):
            if len(fields) != len(names):
                bad.add(row, line, fields)
            elif skip_bad_rows or not bad.count:
                yield fields

    for rows in _batches(good_rows()):
        for chunk, cells in zip(chunks, zip(*rows, strict=True), strict=True):
            chunk.append(texts(cells))
    if bad.count and not skip_bad_rows:
        raise DataError(bad.refusal())
    columns = {
        name: pa.chunked_array(chunk, pa.string())
        for name, chunk in zip(names, chunks, strict=True)
    }
    first = f"{text.source}, {bad.told[0]}" if bad.told else ""
    return Columns(columns, _Locator(text, len(names)), bad.count, first)


def _data(text: Text) -> Iterator[tuple[int, list[str]]]:
    """Yield the records below the header."""
    every = records(text)
    if text.dialect.header:
        next(every, None)
    return every


def _batches(rows: Iterator[list[str]]) -> Iterator[list[list[str]]]:
    while batch := list(islice(rows, _ROWS_AT_ONCE)):
        yield batch


@dataclass(frozen=True)
class _Locator:
    """Finds where rows stand in the file; only asked when something is wrong with them."""

    text: Text
    width: int

    def __call__(self, positions: list[int]) -> list[tuple[int, int | None]]:
        wanted: Iterable[int] = sorted(set(positions))
        found: dict[int, tuple[int, int | None]] = {}
        kept = -1
        remaining = iter(wanted)
        goal = next(remaining, None)
        for row, (line, fields) in enumerate(_data(self.text), start=1):
            if goal is None:
                break
            kept += len(fields) == self.width
            if kept == goal:
                found[goal] = row, line
                goal = next(remaining, None)
        return [found[position] for position in positions]
