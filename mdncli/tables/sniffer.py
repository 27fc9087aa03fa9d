"""What a file of text looks like, for `mdn inspect` alone: no other command guesses."""

import codecs
import itertools
import re
from dataclasses import dataclass, replace
from typing import Any

from mdncli.errors import DataError
from mdncli.tables.csv_reader import Text, records
from mdncli.tables.decoding import require_utf8, wide_encoding
from mdncli.tables.dialect import Dialect, is_tsv

_LOOKED_AT = 1 << 16
_MOST_ROWS = 200
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", " ": "blanks"}
_LINE_ENDS = {"\r\n": "CRLF", "\n": "LF", "\r": "CR"}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_WITH_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")


@dataclass(frozen=True)
class Looks:
    """What a file seems to be.

    Attributes:
        dialect: that would read it.
        marked: whether it begins with a byte order mark.
        line_ends: CRLF, LF, CR, or several of them.
        separator: what seems to separate its fields.
    """

    dialect: Dialect
    marked: bool
    line_ends: str
    separator: str

    def phrase(self) -> str:
        """Return it in words."""
        dialect = self.dialect
        encoding = "UTF-8" if dialect.utf8 else dialect.encoding
        parts = [
            encoding + (" with a byte order mark" if self.marked else ""),
            f"line ends: {self.line_ends}",
            f"fields separated by {_SEPARATORS.get(self.separator, self.separator)}",
            *(["decimal commas"] if dialect.decimal == "," else []),
            *([f"comments after {dialect.comment}"] if dialect.comment else []),
            "a header" if dialect.header else "no header",
        ]
        return "; ".join(parts)

    def to_plain(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "encoding": self.dialect.encoding,
            "byte_order_mark": self.marked,
            "line_ends": self.line_ends,
            "delimiter": self.separator,
            "decimal": self.dialect.decimal,
            "comment": self.dialect.comment,
            "header": self.dialect.header,
        }


def look_at(content: bytes, source: str) -> Looks:
    """Return what a file, decompressed, looks like by its beginning."""
    encoding, marked = _encoding(content, source)
    head = content[:_LOOKED_AT].decode(encoding, "ignore").removeprefix("\ufeff")
    if len(content) > _LOOKED_AT and re.search("[\r\n]", head):
        # The last line may be cut.
        head = re.split("[^\r\n]*$", head)[0]
    text = Text(head.encode(), source, Dialect(comment=_comment(head)))
    separator, rows = _separator(text)
    usual = "\t" if is_tsv(source) else ","
    numbers = [cell.strip() for row in rows[1:] or rows for cell in row]
    commas = sum(_WITH_COMMA.fullmatch(cell) is not None for cell in numbers)
    points = sum("." in cell and _NUMBER.fullmatch(cell) is not None for cell in numbers)
    decimal = "," if commas > points else "."
    named = not any(_is_number(cell, decimal) for cell in (rows[0] if rows else []))
    dialect = replace(
        text.dialect,
        delimiter=None if separator == usual else separator,
        decimal=decimal,
        encoding=encoding,
        header=named,
    )
    return Looks(dialect, marked, _line_ends(head), separator)


def _encoding(content: bytes, source: str) -> tuple[str, bool]:
    """Return the encoding that the bytes may be in, and whether they begin with a mark."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16", True
    wide = wide_encoding(content) if b"\0" in content else ""
    if wide:
        return wide, False
    try:
        require_utf8(content, source)
    except DataError:
        # These five bytes are nothing in cp1252.
        undefined = any(bytes([byte]) in content for byte in (0x81, 0x8D, 0x8F, 0x90, 0x9D))
        return "latin-1" if undefined else "cp1252", False
    return "utf-8", content.startswith(codecs.BOM_UTF8)


def _comment(head: str) -> str | None:
    """Return a character that begins the first line, and seems to make a comment of it."""
    lines = [line for line in head.splitlines() if line]
    marks = [line[0] in "#%" and line[0] == lines[0][0] for line in lines]
    # A single line may be a header such as `#x,y`.
    lone = sum(marks) == 1 and not lines[0][1:2].isspace()
    return lines[0][0] if lines and marks[0] and not all(marks) and not lone else None


def _separator(text: Text) -> tuple[str, list[list[str]]]:
    """Return what cuts all rows into as many fields, most of them numbers, and those rows."""
    usual = text.separator
    best, best_score, best_rows = usual, 0.0, _rows(text, usual)
    for separator in dict.fromkeys([usual, *_SEPARATORS]):
        rows = _rows(text, separator)
        if len({len(row) for row in rows}) != 1 or len(rows[0]) == 1:
            continue
        cells = [cell for row in rows for cell in row]
        numbers = sum(_is_number(cell, ".") or _is_number(cell, ",") for cell in cells)
        # Any delimiter is better than none, the usual one better than another.
        score = 0.01 + numbers / len(cells)
        if score > best_score + 1e-9:
            best, best_score, best_rows = separator, score, rows
    return best, best_rows


def _rows(text: Text, separator: str) -> list[list[str]]:
    tried = replace(text, dialect=replace(text.dialect, delimiter=separator))
    rows: list[list[str]] = []
    try:
        for _, fields in itertools.islice(records(tried), _MOST_ROWS):
            rows.append(fields)
    except DataError:
        return []
    return rows


def _is_number(cell: str, decimal: str) -> bool:
    cell = cell.strip()
    if decimal == ",":
        return _WITH_COMMA.fullmatch(cell) is not None or cell.lstrip("+-").isdigit()
    return _NUMBER.fullmatch(cell) is not None


def _line_ends(head: str) -> str:
    found = dict.fromkeys(re.findall("\r\n|\n|\r", head))
    return " and ".join(_LINE_ENDS[end] for end in found) or "none"
