"""Guesses how a text file is written, for `mdn inspect` alone. No other command guesses."""

import codecs
import itertools
import re
from dataclasses import dataclass, replace
from typing import Any

from mdncli.errors import DataError
from mdncli.files import FileContent
from mdncli.tables.csv_reader import CsvText, records
from mdncli.tables.decoding import (
    BYTE_ORDER_MARK,
    decompressed,
    require_utf8,
    utf16_without_mark,
)
from mdncli.tables.dialect import Dialect, is_tsv

_BYTES_READ = 1 << 16
_ROWS_READ = 200
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", " ": "spaces"}
_LINE_ENDS = {"\r\n": "CRLF", "\n": "LF", "\r": "CR"}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_NUMBER_WITH_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
# Text in cp1252 contains none of these bytes.
_NOT_IN_CP1252 = (0x81, 0x8D, 0x8F, 0x90, 0x9D)


@dataclass(frozen=True)
class TableFormat:
    """How a file seems to be written.

    Attributes:
        dialect: the one that would read it.
        byte_order_mark: whether the file begins with a byte order mark.
        line_ends: CRLF, LF, CR, or several of them.
        separator: the character that seems to separate the fields.
    """

    dialect: Dialect
    byte_order_mark: bool
    line_ends: str
    separator: str

    def describe(self) -> str:
        """Return the format as a phrase."""
        dialect = self.dialect
        encoding = "UTF-8" if dialect.utf8 else dialect.encoding
        parts = [
            encoding + (" with a byte order mark" if self.byte_order_mark else ""),
            f"line ends: {self.line_ends}",
            f"fields separated by {_SEPARATORS.get(self.separator, self.separator)}",
            *(["decimal commas"] if dialect.decimal == "," else []),
            *([f"comments after {dialect.comment}"] if dialect.comment else []),
            "a header" if dialect.header else "no header",
        ]
        return "; ".join(parts)

    def to_plain(self) -> dict[str, Any]:
        """Return the format as plain values."""
        return {
            "encoding": self.dialect.encoding,
            "byte_order_mark": self.byte_order_mark,
            "line_ends": self.line_ends,
            "delimiter": self.separator,
            "decimal": self.dialect.decimal,
            "comment": self.dialect.comment,
            "header": self.dialect.header,
        }


def sniff(file: FileContent) -> TableFormat:
    """Return how a text file seems to be written, judged by its beginning.

    Raises:
        DataError: the file is compressed and cannot be decompressed.
    """
    file = decompressed(file)
    encoding, byte_order_mark = _encoding(file)
    beginning = _beginning(file.content, encoding)
    dialect = Dialect(comment=_comment(beginning))
    separator, rows = _separator(CsvText(FileContent(file.name, beginning.encode()), dialect))
    cells = [cell.strip() for row in rows[1:] or rows for cell in row]
    commas = sum(_NUMBER_WITH_COMMA.fullmatch(cell) is not None for cell in cells)
    points = sum("." in cell and _NUMBER.fullmatch(cell) is not None for cell in cells)
    decimal = "," if commas > points else "."
    first_row = rows[0] if rows else []
    dialect = replace(
        dialect,
        delimiter=None if separator == ("\t" if is_tsv(file.name) else ",") else separator,
        decimal=decimal,
        encoding=encoding,
        header=not any(_is_number(cell, decimal) for cell in first_row),
    )
    return TableFormat(dialect, byte_order_mark, _line_ends(beginning), separator)


def _encoding(file: FileContent) -> tuple[str, bool]:
    """Return a possible encoding of a file, and whether the file begins with a byte order mark."""
    content = file.content
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16", True
    utf16 = utf16_without_mark(content) if b"\0" in content else ""
    if utf16:
        return utf16, False
    try:
        require_utf8(file)
    except DataError:
        latin = any(bytes([byte]) in content for byte in _NOT_IN_CP1252)
        return "latin-1" if latin else "cp1252", False
    return "utf-8", content.startswith(codecs.BOM_UTF8)


def _beginning(content: bytes, encoding: str) -> str:
    text = content[:_BYTES_READ].decode(encoding, "ignore").removeprefix(BYTE_ORDER_MARK)
    if len(content) > _BYTES_READ and re.search("[\r\n]", text):
        # The last line may be incomplete.
        return re.split("[^\r\n]*$", text)[0]
    return text


def _comment(text: str) -> str | None:
    """Return the first character of the text if it seems to begin a comment line."""
    lines = [line for line in text.splitlines() if line]
    marks = [line[0] in "#%" and line[0] == lines[0][0] for line in lines]
    # If there is only one such line, it may be a header such as `#x,y`.
    header = sum(marks) == 1 and not lines[0][1:2].isspace()
    return lines[0][0] if lines and marks[0] and not all(marks) and not header else None


def _separator(text: CsvText) -> tuple[str, list[list[str]]]:
    """Return the separator that gives all rows equally many fields, and those rows.

    If there are several such separators, the one with the most numbers among its fields is chosen.
    """
    usual = text.separator
    best, best_score, best_rows = usual, 0.0, _rows(text, usual)
    for separator in dict.fromkeys([usual, *_SEPARATORS]):
        rows = _rows(text, separator)
        if len({len(row) for row in rows}) != 1 or len(rows[0]) == 1:
            continue
        cells = [cell for row in rows for cell in row]
        numbers = sum(_is_number(cell, ".") or _is_number(cell, ",") for cell in cells)
        # Any separator is better than none, and the usual one wins a tie.
        score = 0.01 + numbers / len(cells)
        if score > best_score + 1e-9:
            best, best_score, best_rows = separator, score, rows
    return best, best_rows


def _rows(text: CsvText, separator: str) -> list[list[str]]:
    tried = replace(text, dialect=replace(text.dialect, delimiter=separator))
    try:
        return [fields for _, fields in itertools.islice(records(tried), _ROWS_READ)]
    except DataError:
        return []


def _is_number(cell: str, decimal: str) -> bool:
    cell = cell.strip()
    if decimal == ",":
        return _NUMBER_WITH_COMMA.fullmatch(cell) is not None or cell.lstrip("+-").isdigit()
    return _NUMBER.fullmatch(cell) is not None


def _line_ends(text: str) -> str:
    found = dict.fromkeys(re.findall("\r\n|\n|\r", text))
    return " and ".join(_LINE_ENDS[end] for end in found) or "none"
