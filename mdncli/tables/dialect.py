"""How a table is written as text: its delimiter, quotes, decimal point, encoding and so on."""

import codecs
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from mdncli.errors import ParameterError, parameter
from mdncli.text import is_unicode, quoted

COMPRESSED = (".gz", ".zst", ".xz")
# The suffixes of tables; `.txt` and `.dat` hold CSV.
SUFFIXES = (".csv", ".tsv", ".txt", ".dat", ".parquet", ".jsonl", ".ndjson")
FORMATS = ("csv", "tsv", "jsonl", "parquet")
_FORMATS_OF_SUFFIXES = {
    **{".tsv": "tsv", ".parquet": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl"},
    ".csv": "csv",
}
_LINE_ENDS_AND_NULL = "\r\n\0"
_LONGEST_COMMENT = 20
_MOST_LINES = 10**9
# In these encodings one text can be written in several ways, so they do not suit files.
_NOT_FOR_FILES = {"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined"}


def _option(default: Any, help_text: str, metavar: str = "") -> Any:
    kind = type(default) if isinstance(default, bool | int) else str
    repeats = isinstance(default, tuple)
    metadata = {"help": help_text, "metavar": metavar, "type": kind, "repeats": repeats}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Dialect:
    """How a text file is read. The reader never guesses any of this from the file.

    The metadata of each field holds its help text, and its metavar, its type and whether it may be
    repeated on a command line.

    Attributes:
        delimiter: between fields, one to three characters; None for a comma, or for a tab in a
            `.tsv` file.
        decimal: the decimal point, `.` or `,`.
        thousands: the character between groups of three digits; None if there is none. A space also
            stands for the no-break spaces.
        strip: texts to take off the beginning and the end of cells that are numbers, such as `%`.
        encoding: a name that Python knows; UTF-8 is read with or without a byte order mark.
        quote: the character around quoted fields; None or an empty text if the file has no quoted
            fields.
        escape: the escape character, which makes the next one an ordinary character; None if the
            file has none.
        comment: the text that begins a comment line; None if the file has no comments.
        header: whether the first row holds the column names. Without it they are c1, c2, …
        name_columns: whether a column without a name gets one, c and its position.
        skip_lines: the number of lines above the header.
        format: of a file whose name does not say it, `csv`, `tsv`, `jsonl` or `parquet`.
        na: texts that stand for a missing value, in addition to the usual ones. A number stands for
            every cell of that value.

    Raises:
        ParameterError: a value has a wrong length, two of them are the same character, or the
            encoding is unknown.
    """

    delimiter: str | None = _option(
        None,
        "Field delimiter, such as ';' or \\t for a tab; at most three characters. Default: a "
        "comma; a tab for .tsv.",
        "CHAR",
    )
    decimal: str = _option(".", "Decimal point: . (the default) or a comma.", "CHAR")
    thousands: str | None = _option(
        None, "Separator of groups of three digits, as in 1,234. Default: none.", "CHAR"
    )
    strip: tuple[str, ...] = _option(
        (), "Take this text off numbers, such as % or kg. May be repeated.", "TEXT"
    )
    encoding: str = _option(
        "utf-8", "Text encoding, such as cp1252 or utf-16. Default: UTF-8.", "NAME"
    )
    quote: str | None = _option(
        '"', "Quote character, \" by default. Use '' if the file has no quoted fields.", "CHAR"
    )
    escape: str | None = _option(None, "Escape character. Default: none.", "CHAR")
    comment: str | None = _option(
        None, "Skip lines that begin with this text. Default: none.", "TEXT"
    )
    skip_lines: int = _option(0, "Skip this many lines above the header. Default: 0.", "N")
    # The help is for a switch that sets it to False.
    header: bool = _option(True, "The first row is data. The columns are named c1, c2 and so on.")
    name_columns: bool = _option(
        False, "Give a column without a name the name c1, c2 and so on, by its position."
    )
    format: str | None = _option(
        None,
        "Format of standard input and output: csv (the default), tsv, jsonl or parquet.",
        "NAME",
    )
    na: tuple[str, ...] = _option(
        (), "Another text that stands for a missing value. May be repeated.", "TEXT"
    )

    def __post_init__(self) -> None:
        if self.quote == "":
            object.__setattr__(self, "quote", None)
        for name in ("na", "strip"):
            # In Python one text may stand for a tuple of one.
            if isinstance(getattr(self, name), str):
                object.__setattr__(self, name, (getattr(self, name),))
            for text in getattr(self, name):
                _require_characters(name, text)
        all_marks = {
            name: getattr(self, name) for name in ("delimiter", "quote", "escape", "comment")
        }
        marks = {name: mark for name, mark in all_marks.items() if mark is not None}
        for name, mark in marks.items():
            _require_short(name, mark, {"delimiter": 3, "comment": _LONGEST_COMMENT}.get(name, 1))
        if self.delimiter is not None and len(self.delimiter) > 1 and self.escape:
            raise ParameterError(
                f"{parameter('delimiter')} with several characters excludes {parameter('escape')}."
            )
        if not 0 <= self.skip_lines <= _MOST_LINES:
            given = f"{parameter('skip_lines')} is {self.skip_lines}"
            raise ParameterError(f"{given}: it must be from 0 to {_MOST_LINES}.")
        if self.decimal not in (".", ","):
            raise ParameterError(
                f"{parameter('decimal')} is {quoted(self.decimal)}. It must be a point or a comma."
            )
        if self.format is not None and self.format not in FORMATS:
            raise ParameterError(
                f"{parameter('format')} is {quoted(self.format)}: it must be one of "
                f"{', '.join(FORMATS)}."
            )
        self._require_marks_of_numbers()
        marks = {"decimal": self.decimal, **marks}
        for name, mark in marks.items():
            for other, other_mark in marks.items():
                if name < other and mark == other_mark:
                    raise ParameterError(
                        f"{parameter(name)} and {parameter(other)} are both {quoted(mark)}."
                    )
        _require_encoding(self.encoding)

    def _require_marks_of_numbers(self) -> None:
        if self.thousands is not None:
            _require_short("thousands", self.thousands, 1)
            if self.thousands == self.decimal or self.thousands.isalnum() or self.thousands in "+-":
                raise ParameterError(
                    f"{parameter('thousands')} is {quoted(self.thousands)}. It must be neither the "
                    "decimal point nor a letter, a digit or a sign."
                )
        for text in self.strip:
            if not text.strip() or any(character in "+-.,0123456789" for character in text):
                raise ParameterError(
                    f"{parameter('strip')} is {quoted(text)}. It must be a text without digits, "
                    "signs, points and commas."
                )

    @property
    def utf8(self) -> bool:
        """Whether the encoding is UTF-8, by any of its names."""
        return codecs.lookup(self.encoding).name in ("utf-8", "utf-8-sig")

    def separator(self, file_name: str) -> str:
        """Return what separates the fields of a file with this name.

        Raises:
            ParameterError: the default delimiter of the file has another meaning too.
        """
        tabs = format_of(file_name, self.format) == "tsv"
        separator = self.delimiter or ("\t" if tabs else ",")
        for name in ("quote", "escape", "comment"):
            if getattr(self, name) == separator:
                raise ParameterError(
                    f"{parameter(name)} and the delimiter are both {quoted(separator)}. Set "
                    f"another {parameter('delimiter')}."
                )
        return separator

    def to_plain(self) -> dict[str, Any]:
        """Return the values that differ from their defaults, by name; several texts as a list."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        changed = {
            each.name: values[each.name]
            for each in fields(self)
            if values[each.name] != each.default
        }
        return {k: list(v) if isinstance(v, tuple) else v for k, v in changed.items()}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """Return the dialect with these values, and the defaults of all others.

        Raises:
            ParameterError: as for the class.
            TypeError: a name is not that of a field.
        """
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in plain.items()
        }
        return cls(**values)


def format_of(path: str, otherwise: str | None = None) -> str:
    """Return the format that the name of a file says: `tsv`, `parquet`, `jsonl`, or else `csv`.

    Args:
        path: the name.
        otherwise: the format of a file whose name says nothing.
    """
    suffix = os.path.splitext(uncompressed_name(path))[1]
    return _FORMATS_OF_SUFFIXES.get(suffix, otherwise or "csv")


def uncompressed_name(path: str) -> str:
    """Return the name of a file in lower case, without the suffix of a compression."""
    lowered = path.lower()
    for suffix in COMPRESSED:
        lowered = lowered.removesuffix(suffix)
    return lowered


def _require_characters(name: str, text: str) -> None:
    if not is_unicode(text):
        raise ParameterError(f"{parameter(name)} is {quoted(text)}. It must be valid Unicode.")


def _require_short(name: str, mark: str, longest: int) -> None:
    if not 0 < len(mark) <= longest or not is_unicode(mark):
        tab = " Write a tab as \\t." if name == "delimiter" else ""
        most = "one to three characters" if longest > 1 else "a single character"
        if longest == _LONGEST_COMMENT:
            most = f"a text of at most {longest} characters"
        raise ParameterError(f"{parameter(name)} is {quoted(mark)}. It must be {most}.{tab}")
    if any(each in _LINE_ENDS_AND_NULL for each in mark):
        raise ParameterError(
            f"{parameter(name)} is {quoted(mark)}. It must not be a line end or a null character."
        )


def _require_encoding(name: str) -> None:
    try:
        codec = codecs.lookup(name)
        known = codec._is_text_encoding and codec.name not in _NOT_FOR_FILES
        codecs.getincrementaldecoder(name)
    except (LookupError, ValueError):
        known = False
    if not known:
        raise ParameterError(
            f"{parameter('encoding')} is {quoted(name)}, which is unknown. Examples of encodings: "
            "utf-8, utf-16, latin-1, cp1252."
        )
