"""The records of a CSV one by one, with the lines that they begin on: for what Arrow cannot read.

Every dialect is read here by the rules of Python's own `csv` module, in its strict mode.
"""

import csv
import io
import itertools
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from mdncli.errors import DataError
from mdncli.tables.dialect import Dialect

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
