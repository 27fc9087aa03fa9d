"""The records of a CSV one by one, with the lines that they begin on: for what Arrow cannot read.

Every dialect is read here by the rules of Python's own `csv` module, in its strict mode.
"""

import csv
import io
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from mdncli.errors import DataError
from mdncli.tables.dialect import Dialect

_BLANK = ("\n", "\r\n", "\r")


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
    lines = _Lines(text)
    dialect = text.dialect
    reader = csv.reader(
        lines,
        delimiter=text.separator,
        quotechar=dialect.quote,
        quoting=csv.QUOTE_MINIMAL if dialect.quote else csv.QUOTE_NONE,
        escapechar=dialect.escape,
        strict=True,
    )
    # The limit belongs to the whole process, so it is given back.
    before = csv.field_size_limit(sys.maxsize)
    try:
        while True:
            lines.begin_record()
            try:
                fields = next(reader)
            except StopIteration:
                return
            yield lines.begun, fields
    except csv.Error as error:
        raise DataError(lines.refusal(str(error))) from error
    finally:
        csv.field_size_limit(before)


class _Lines:
    """The lines of a text, without those that hold nothing where a record may begin."""

    def __init__(self, text: Text) -> None:
        self._text = text
        self._lines = io.TextIOWrapper(
            io.BytesIO(text.content), encoding="utf-8-sig", newline="", errors="strict"
        )
        self._read = 0
        self._record: list[str] = []
        self.begun = 0

    def begin_record(self) -> None:
        self._record.clear()

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        comment = self._text.dialect.comment
        for line in self._lines:
            self._read += 1
            if not self._record:
                if line in _BLANK or (comment and line.startswith(comment)):
                    continue
                self.begun = self._read
            self._record.append(line)
            return line
        raise StopIteration

    def refusal(self, problem: str) -> str:
        """Return why the record at hand cannot be read."""
        source = self._text.source
        if "unexpected end" not in problem:
            return (
                f"{source}, line {self._read}: there is text after a closing quote. Write a quote "
                "inside quotes twice, or with --quote '' read quotes as any other character."
            )
        record = "".join(self._record)
        if self._text.dialect.quote is None:
            return f"{source}, line {self._read}: the file ends after an escape character."
        line = self.begun + len(_LINE_END.findall(record[: self._open_quote(record)]))
        return (
            f"{source}, line {line}: a quote opens here and is never closed. Close it, or with "
            "--quote '' read quotes as any other character."
        )

    def _open_quote(self, record: str) -> int:
        """Return where the field begins that is never closed: after all that are whole."""
        dialect = self._text.dialect
        quote, separator = re.escape(dialect.quote or '"'), re.escape(self._text.separator)
        escape = re.escape(dialect.escape) if dialect.escape else ""
        escaped = f"|{escape}." if escape else ""
        inside = f"{quote}(?:[^{quote}{escape}]++|{quote}{quote}{escaped})*+{quote}"
        plain = f"(?!{quote})(?:[^{separator}{escape}]{escaped})*+"
        whole = re.compile(f"(?:{inside}|{plain}){separator}", re.DOTALL)
        position = 0
        while found := whole.match(record, position):
            position = found.end()
        return position


_LINE_END = re.compile("\r\n|\r|\n")
