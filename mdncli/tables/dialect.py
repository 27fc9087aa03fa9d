"""How a table is written as text: its delimiter, quotes, decimal point, encoding and so on."""

import codecs
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from mdncli.errors import ParameterError, parameter
from mdncli.text import quoted

COMPRESSED = (".gz", ".zst", ".xz")
_LINE_ENDS_AND_NULL = "\r\n\0"
# In these encodings one text can be written in several ways, so they do not suit files.
_NOT_FOR_FILES = {"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined"}


def _option(default: Any, help_text: str, metavar: str = "") -> Any:
    return field(default=default, metadata={"help": help_text, "metavar": metavar})


@dataclass(frozen=True)
class Dialect:
    """How a text file is read. The reader never guesses any of this from the file.

    The metadata of each field holds its help text and its metavar for a command line.

    Attributes:
        delimiter: between fields; None for a comma, or for a tab in a `.tsv` file.
        decimal: the decimal point, `.` or `,`.
        encoding: a name that Python knows; UTF-8 is read with or without a byte order mark.
        quote: the character around quoted fields; None or an empty text if the file has no quoted
            fields.
        escape: the escape character, which makes the next one an ordinary character; None if the
            file has none.
        comment: the character that begins a comment line; None if the file has no comments.
        header: whether the first row holds the column names. Without it they are c1, c2, …
        na: texts that stand for a missing value, in addition to the usual ones.

    Raises:
        ParameterError: a value is not a single character, two of them are the same character, or
            the encoding is unknown.
    """

    delimiter: str | None = _option(
        None,
        "Field delimiter, such as ';' or \\t for a tab. Default: a comma; a tab for .tsv.",
        "CHAR",
    )
    decimal: str = _option(".", "Decimal point: . (the default) or a comma.", "CHAR")
    encoding: str = _option(
        "utf-8", "Text encoding, such as cp1252 or utf-16. Default: UTF-8.", "NAME"
    )
    quote: str | None = _option(
        '"', "Quote character, \" by default. Use '' if the file has no quoted fields.", "CHAR"
    )
    escape: str | None = _option(None, "Escape character. Default: none.", "CHAR")
    comment: str | None = _option(
        None, "Skip lines that begin with this character. Default: none.", "CHAR"
    )
    # The help is for a switch that sets it to False.
    header: bool = _option(True, "The first row is data. The columns are named c1, c2 and so on.")
    na: tuple[str, ...] = _option(
        (), "Another text that stands for a missing value. May be repeated.", "TEXT"
    )

    def __post_init__(self) -> None:
        if self.quote == "":
            object.__setattr__(self, "quote", None)
        all_marks = {
            name: getattr(self, name) for name in ("delimiter", "quote", "escape", "comment")
        }
        marks = {name: mark for name, mark in all_marks.items() if mark is not None}
        for name, mark in marks.items():
            _require_character(name, mark)
        if self.decimal not in (".", ","):
            raise ParameterError(
                f"{parameter('decimal')} is {quoted(self.decimal)}. It must be a point or a comma."
            )
        marks = {"decimal": self.decimal, **marks}
        for name, mark in marks.items():
            for other, other_mark in marks.items():
                if name < other and mark == other_mark:
                    raise ParameterError(
                        f"{parameter(name)} and {parameter(other)} are both {quoted(mark)}."
                    )
        _require_encoding(self.encoding)

    @property
    def utf8(self) -> bool:
        """Whether the encoding is UTF-8, by any of its names."""
        return codecs.lookup(self.encoding).name in ("utf-8", "utf-8-sig")

    def separator(self, file_name: str) -> str:
        """Return the character that separates the fields of a file with this name.

        Raises:
            ParameterError: the default delimiter of the file has another meaning too.
        """
        separator = self.delimiter or ("\t" if is_tsv(file_name) else ",")
        for name in ("quote", "escape", "comment"):
            if getattr(self, name) == separator:
                raise ParameterError(
                    f"{parameter(name)} and the delimiter are both {quoted(separator)}. Set "
                    f"another {parameter('delimiter')}."
                )
        return separator

    def to_plain(self) -> dict[str, Any]:
        """Return the values that differ from their defaults, by name; `na` as a list."""
        changed = [each.name for each in fields(self) if getattr(self, each.name) != each.default]
        plain = {name: getattr(self, name) for name in changed}
        return {**plain, "na": list(self.na)} if self.na else plain

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """Return the dialect with these values, and the defaults of all others.

        Raises:
            ParameterError: as for the class.
            TypeError: a name is not that of a field.
        """
        return cls(**{**plain, "na": tuple(plain.get("na", ()))})


def is_tsv(path: str) -> bool:
    """Return whether the name of a file says that tabs separate its fields."""
    return uncompressed_name(path).endswith(".tsv")


def is_parquet(path: str) -> bool:
    """Return whether the name of a file says that it is a Parquet file."""
    return uncompressed_name(path).endswith(".parquet")


def uncompressed_name(path: str) -> str:
    """Return the name of a file in lower case, without the suffix of a compression."""
    lowered = path.lower()
    for suffix in COMPRESSED:
        lowered = lowered.removesuffix(suffix)
    return lowered


def _require_character(name: str, mark: str) -> None:
    # Half of a surrogate pair is how Python holds a byte that is not valid UTF-8.
    if len(mark) != 1 or "\ud800" <= mark <= "\udfff":
        tab = " Write a tab as \\t." if name == "delimiter" else ""
        raise ParameterError(
            f"{parameter(name)} is {quoted(mark)}. It must be a single character.{tab}"
        )
    if mark in _LINE_ENDS_AND_NULL:
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
