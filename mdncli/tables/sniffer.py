"""Guesses how a text file is written, for `mdn inspect` alone. No other command guesses."""

import codecs
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mdncli.errors import DataError, parameter
from mdncli.files import FileContent
from mdncli.tables.cells import affix_of
from mdncli.tables.csv_reader import records
from mdncli.tables.decoding import (
    BYTE_ORDER_MARK,
    CsvText,
    decompressed,
    require_utf8,
    utf16_without_mark,
)
from mdncli.tables.dialect import Dialect, format_of
from mdncli.text import quoted

_BYTES_READ = 1 << 16
_ROWS_READ = 200
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", " ": "spaces"}
# These are tried where none of the others gives all rows equally many fields.
_LONG_SEPARATORS = (", ", "; ", " | ", "||", "::", "\t ", "  ")
_QUOTES = (('"', None), ('"', "\\"), ("'", None))
# What a reading is worth: what an unusual choice costs, and a share of cells with quotes or blanks
# around them; and what a header with all names, or without the first one, adds.
_UNUSUAL, _QUOTED, _WHOLE, _LACKING = 0.02, 0.1, 0.3, 0.2
_MOST_SKIPPED = 20
_LINE_ENDS = {"\r\n": "CRLF", "\n": "LF", "\r": "CR"}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_NUMBER_WITH_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
# A number in groups of three digits, and perhaps a decimal point or comma.
_GROUPED = re.compile(r"[+-]?\d{1,3}(?:([,.'’ \u00a0\u202f])\d{3})(?:\1\d{3})*(?:([.,])\d*)?")
_RULE = re.compile(r"[-=+|,;:\s]*[-=]{2,}[-=+|,;:\s]*")
_MOST_OF_COLUMN = 0.9
# Text in cp1252 contains none of these bytes.
_NOT_IN_CP1252 = (0x81, 0x8D, 0x8F, 0x90, 0x9D)
# A run of characters of two bytes in Shift-JIS.
_SHIFT_JIS = re.compile(rb"(?:[\x81-\x9f\xe0-\xfc][\x40-\x7e\x80-\xfc])+")
_TWO_OF_THEM = 4


@dataclass(frozen=True)
class TableFormat:
    """How a file seems to be written.

    Attributes:
        dialect: the one that would read it.
        byte_order_mark: whether the file begins with a byte order mark.
        line_ends: CRLF, LF, CR, or several of them.
        separator: what seems to separate the fields.
        doubt: a sentence about numbers that may be read in two ways, or an empty text; it mentions
            parameters, as errors do.
    """

    dialect: Dialect
    byte_order_mark: bool
    line_ends: str
    separator: str
    doubt: str = ""

    def describe(self) -> str:
        """Return the format as a phrase."""
        dialect = self.dialect
        encoding = "UTF-8" if dialect.utf8 else dialect.encoding
        separator = _SEPARATORS.get(self.separator, quoted(self.separator))
        lines = "1 line" if dialect.skip_lines == 1 else f"{dialect.skip_lines} lines"
        parts = [
            encoding + (" with a byte order mark" if self.byte_order_mark else ""),
            f"line ends: {self.line_ends}",
            *([f"{lines} above the table"] if dialect.skip_lines else []),
            f"fields separated by {separator}",
            *(["quotes are apostrophes"] if dialect.quote == "'" else []),
            *([f"{dialect.escape} before a quote in a field"] if dialect.escape else []),
            *(["decimal commas"] if dialect.decimal == "," else []),
            *([f"{quoted(dialect.thousands)} between thousands"] if dialect.thousands else []),
            *([f"numbers with {', '.join(map(quoted, dialect.strip))}"] if dialect.strip else []),
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
            "thousands": self.dialect.thousands,
            "strip": list(self.dialect.strip),
            "quote": self.dialect.quote,
            "escape": self.dialect.escape,
            "comment": self.dialect.comment,
            "header": self.dialect.header,
            "skip_lines": self.dialect.skip_lines,
            "name_columns": self.dialect.name_columns,
        }


def sniff(file: FileContent) -> TableFormat:
    """Return how a text file seems to be written, judged by its beginning.

    Raises:
        DataError: the file is compressed and cannot be decompressed.
    """
    file = decompressed(file)
    encoding, byte_order_mark = _encoding(file)
    beginning = FileContent(file.name, _beginning(file.content, encoding).encode())
    dialect = Dialect(comment=_comment(beginning.content.decode()))
    dialect, rows = _best_reading(beginning, dialect)
    separator = dialect.separator(file.name)
    cells = [[cell.strip() for cell in row] for row in rows]
    below = cells[1:] or cells
    decimal, thousands, doubt = _marks_of_numbers([cell for row in below for cell in row])
    strip = _affixes(below)
    first_row = cells[0] if cells else []
    dialect = replace(
        dialect,
        delimiter=None
        if separator == ("\t" if format_of(file.name) == "tsv" else ",")
        else separator,
        decimal=decimal,
        thousands=thousands,
        strip=strip,
        encoding=encoding,
        header=not any(_is_number(cell, decimal) for cell in first_row),
        name_columns=_lacks_names(cells),
    )
    return TableFormat(
        dialect, byte_order_mark, _line_ends(beginning.content.decode()), separator, doubt
    )


def _lacks_names(rows: list[list[str]]) -> bool:
    """Return whether a column other than the first has cells, but no name in the header."""
    if len({len(row) for row in rows}) != 1:
        return False
    columns = list(zip(*rows, strict=True))[1:]
    return any(not column[0] and any(column[1:]) for column in columns)


def separator_of(file: FileContent, dialect: Dialect) -> str | None:
    """Return what else would separate the fields of a file in UTF-8; None if nothing would."""
    beginning = FileContent(file.name, _beginning(file.content, "utf-8").encode())
    usual = dialect.separator(file.name)
    taken = {usual, dialect.decimal, dialect.quote, dialect.escape, dialect.comment}
    every = [each for each in _SEPARATORS if each not in taken]
    readings = [
        (each, _score(_rows(beginning, replace(dialect, delimiter=each)))) for each in every
    ]
    best, score = max(readings, key=lambda reading: reading[1])
    return best if score > 0.0 else None


def _best_reading(text: FileContent, dialect: Dialect) -> tuple[Dialect, list[list[str]]]:
    """Return the dialect that reads the rows best, and those rows.

    All rows must have equally many fields, at least two. Of several such dialects, the one with the
    most numbers among its cells is chosen, and the usual one if they are equal.
    """
    usual = replace(dialect, delimiter=dialect.separator(text.name))
    lines = text.content.decode().splitlines()
    best, best_score, best_rows = usual, 0.0, _rows(text, usual)
    for tried in _dialects(usual, lines):
        # A header that lacks a name may be a line above the real header.
        if best_score > 0.0 and tried is None and len(best_rows[0]) == len(best_rows[-1]):
            break
        if tried is None:
            continue
        rows = _rows(text, tried)
        score = _score(rows) - _UNUSUAL * (tried.quote != usual.quote or tried.escape is not None)
        whole = not tried.skip_lines or _skips_no_row(lines, tried, rows)
        if whole and score > best_score + 1e-9:
            best, best_score, best_rows = tried, score, rows
    return best, best_rows


def _dialects(usual: Dialect, lines: Sequence[str]) -> Iterator[Dialect | None]:
    """Yield dialects to try, in groups from usual to unusual, with None between two groups."""
    first = next((line for line in lines if line.strip()), "")
    longer = [each for each in _LONG_SEPARATORS if each in first]
    separators = dict.fromkeys([usual.delimiter or ",", *_SEPARATORS, *longer])
    rule = _rule_below_header(lines)
    comments = dict.fromkeys([rule or usual.comment, usual.comment])
    for comment in comments:
        for (quote, escape), separator in itertools.product(_QUOTES, separators):
            if escape is None or len(separator) == 1:
                marks = {"delimiter": separator, "quote": quote, "escape": escape}
                yield replace(usual, **marks, comment=comment)
        yield None
    for skipped in range(1, min(_MOST_SKIPPED, len(lines) - 2) + 1):
        for separator in separators:
            yield replace(usual, delimiter=separator, skip_lines=skipped)
        yield None


def _rule_below_header(lines: Sequence[str]) -> str | None:
    """Return how a line of dashes below the header begins; None if there is none."""
    below = next((line for line in lines[1:3] if line.strip()), "")
    if not _RULE.fullmatch(below):
        return None
    begins = re.match(r"[-=+|]{2,}", below)
    return begins[0][:3] if begins else None


def _skips_no_row(lines: Sequence[str], dialect: Dialect, rows: list[list[str]]) -> bool:
    """Return whether no skipped line has as many fields as a row, and the header has no number."""
    if not rows or len(rows[0]) != len(rows[-1]) or any(_is_number(cell, ".") for cell in rows[0]):
        return False
    skipped = [line for line in lines[: dialect.skip_lines] if line.strip()]
    separator = dialect.delimiter or ","
    return all(line.count(separator) + 1 != len(rows[0]) for line in skipped)


def _score(rows: list[list[str]]) -> float:
    """Return what a reading is worth: above 0 if all rows have equally many fields, two or more.

    The header may lack the name of a first column, which then names the rows.
    """
    if not rows:
        return 0.0
    below = rows[1:] or rows
    if len({len(row) for row in below}) != 1 or len(rows[0]) == 1:
        return 0.0
    distinct = len({row[0] for row in below}) == len(below)
    if len(rows[0]) != len(below[0]) and not (len(rows[0]) + 1 == len(below[0]) and distinct):
        return 0.0
    cells = [cell.strip() for row in rows for cell in row]
    numbers = sum(_is_number(cell, ".") or _is_number(cell, ",") for cell in cells)
    in_quotes = sum(len(cell) > 1 and cell[0] == cell[-1] and cell[0] in "'\"" for cell in cells)
    padded = sum(cell != cell.strip() or not cell for row in rows for cell in row)
    # Any separator is better than none, and a whole header is better than one that lacks a name.
    least = _WHOLE if len(rows[0]) == len(below[0]) else _LACKING
    return least + (numbers - _QUOTED * (in_quotes + padded)) / len(cells)


def _rows(text: FileContent, dialect: Dialect) -> list[list[str]]:
    try:
        tried = CsvText.of_file(text, dialect)
        return [fields for _, fields in itertools.islice(records(tried), _ROWS_READ)]
    except DataError:
        return []


def _marks_of_numbers(cells: Sequence[str]) -> tuple[str, str | None, str]:
    """Return the decimal point, the separator of thousands, and a sentence about what is unclear.

    A number such as 1,234 may be one or more than a thousand. Then the decimal point is the usual
    one, there is no separator, and the sentence names both ways.
    """
    bare = [_without_affix(cell) for cell in cells]
    points = sum("." in cell and _NUMBER.fullmatch(cell) is not None for cell in bare)
    commas = sum(_NUMBER_WITH_COMMA.fullmatch(cell) is not None for cell in bare)
    grouped = [found for found in map(_GROUPED.fullmatch, bare) if found]
    certain = [
        found
        for found in grouped
        if found[2] or found[0].count(found[1]) > 1 or found[1] not in ".,"
    ]
    unclear = [found for found in grouped if found not in certain and found[1] == ","]
    if certain:
        texts = {found[0] for found in grouped}
        mark = Counter(found[1] for found in certain).most_common(1)[0][0]
        decimal = next((found[2] for found in certain if found[2]), "," if mark == "." else ".")
        decimal = "," if decimal == "." and mark not in ",." and commas > points else decimal
        mark = " " if mark.isspace() else mark
        plain_points = any(
            "." in cell and _NUMBER.fullmatch(cell) for cell in bare if cell not in texts
        )
        contradiction = decimal == mark or (mark == "." and plain_points)
        return (".", None, "") if contradiction else (decimal, mark, "")
    if commas > len(unclear):
        return (",", None, "") if commas > points else (".", None, "")
    if not unclear:
        return ".", None, ""
    if points:
        return ".", ",", ""
    text = unclear[0][0]
    whole, part = text.replace(",", ""), text.replace(",", ".")
    doubt = (
        f"{quoted(text)} may be {whole} ({parameter('thousands', repr(','))}) or {part} "
        f"({parameter('decimal', repr(','))})."
    )
    return ".", None, doubt


def _without_affix(cell: str) -> str:
    affix = affix_of(cell)
    return cell.replace(affix, "", 1).strip() if affix else cell


def _affixes(rows: list[list[str]]) -> tuple[str, ...]:
    """Return what stands before or after the numbers of a whole column, such as %."""
    found: dict[str, None] = {}
    for column in zip(*rows, strict=True) if len({len(row) for row in rows}) == 1 else ():
        there = [cell for cell in column if cell]
        affixes = Counter(affix for affix in map(affix_of, there) if affix)
        if affixes and affixes.most_common(1)[0][1] >= _MOST_OF_COLUMN * len(there):
            found[affixes.most_common(1)[0][0]] = None
    return tuple(found)


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
        if _is_shift_jis(content):
            return "shift_jis", False
        latin = any(bytes([byte]) in content for byte in _NOT_IN_CP1252)
        return "latin-1" if latin else "cp1252", False
    return "utf-8", content.startswith(codecs.BOM_UTF8)


def _is_shift_jis(content: bytes) -> bool:
    """Return whether a text is valid in Shift-JIS, and its characters of two bytes come in runs.

    In a Western text, an accented letter and the letter after it may look like one such character.
    """
    try:
        content.decode("shift_jis")
    except UnicodeDecodeError:
        return False
    runs = [len(run) for run in _SHIFT_JIS.findall(content[:_BYTES_READ])]
    return sum(length >= _TWO_OF_THEM for length in runs) >= len(runs) / 2


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


def _is_number(cell: str, decimal: str) -> bool:
    cell = cell.strip()
    if decimal == ",":
        return _NUMBER_WITH_COMMA.fullmatch(cell) is not None or cell.lstrip("+-").isdigit()
    return _NUMBER.fullmatch(cell) is not None


def _line_ends(text: str) -> str:
    found = dict.fromkeys(re.findall("\r\n|\n|\r", text))
    return " and ".join(_LINE_ENDS[end] for end in found) or "none"
