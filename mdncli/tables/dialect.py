"""How a table is written as text: what separates, quotes and marks its cells, and its encoding."""

import codecs
import shlex
from dataclasses import dataclass, fields
from typing import Any

from mdncli.errors import UsageError
from mdncli.text import quoted

COMPRESSED = (".gz", ".zst", ".xz")
_LINE_ENDS_AND_NULL = "\r\n\0"
# None of these keeps one character for one text, so a file in them could be read in two ways.
_NO_FILE_ENCODINGS = {"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined"}


@dataclass(frozen=True)
class Dialect:
    """What the reader is told about a file of text; it never finds any of it out by itself.

    Attributes:
        delimiter: between fields; None for a comma, or a tab where the file is a `.tsv`.
        decimal: the decimal point of numbers.
        encoding: by a name that Python knows; utf-8 with or without a byte order mark.
        quote: around fields; None where quotes are characters as any other.
        escape: takes the meaning from the character that follows it.
        comment: begins a line that is passed over.
        header: whether the first row holds the names; otherwise they are c1, c2, …
        na: texts that stand for a missing cell, beside the usual ones.

    Raises:
        UsageError: one of them is not a single character, two are the same, or the encoding is
            unknown.
    """

    delimiter: str | None = None
    decimal: str = "."
    encoding: str = "utf-8"
    quote: str | None = '"'
    escape: str | None = None
    comment: str | None = None
    header: bool = True
    na: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        marks = {name: getattr(self, name) for name in ("delimiter", "quote", "escape", "comment")}
        given = {name: mark for name, mark in marks.items() if mark is not None}
        for name, mark in given.items():
            _require_one_character(name, mark)
        for name, mark in given.items():
            for other, same in given.items():
                if name < other and mark == same:
                    raise UsageError(f"--{name} and --{other} are both {quoted(mark)}.")
        if self.decimal not in (".", ","):
            raise UsageError(f"--decimal is {quoted(self.decimal)}: it must be . or a comma.")
        if self.decimal in given.values():
            [name] = (name for name, mark in given.items() if mark == self.decimal)
            raise UsageError(f"--decimal and --{name} are both {quoted(self.decimal)}.")
        _require_encoding(self.encoding)

    @property
    def utf8(self) -> bool:
        """Whether the encoding is UTF-8, by any of its names."""
        return codecs.lookup(self.encoding).name in ("utf-8", "utf-8-sig")

    def separator(self, source: str) -> str:
        """Return what separates the fields of a file of this name.

        Raises:
            UsageError: it is a character that has another meaning.
        """
        separator = self.delimiter or ("\t" if is_tsv(source) else ",")
        for name in ("quote", "escape", "comment"):
            if getattr(self, name) == separator:
                raise UsageError(
                    f"--{name} and the delimiter are both {quoted(separator)}. Give --delimiter."
                )
        return separator

    def words(self) -> list[str]:
        """Return the options, as words of a command line, that give this dialect."""
        words: list[str] = []
        for each in fields(self):
            value: Any = getattr(self, each.name)
            if value == each.default:
                continue
            if each.name == "header":
                words.append("--no-header")
            elif each.name == "na":
                words += [word for text in value for word in ("--na", text)]
            else:
                words += [f"--{each.name}", {None: "", "\t": "\\t"}.get(value, value)]
        return words

    def command_text(self) -> str:
        """Return the options as a person would type them, such as `--delimiter ';'`."""
        return shlex.join(self.words())


def is_tsv(path: str) -> bool:
    """Return whether a file's name says that tabs separate its fields."""
    return uncompressed_name(path).endswith(".tsv")


def uncompressed_name(path: str) -> str:
    """Return a file's name in small letters, without the suffix of a compression."""
    lowered = path.lower()
    for suffix in COMPRESSED:
        lowered = lowered.removesuffix(suffix)
    return lowered


def _require_one_character(name: str, mark: str) -> None:
    if len(mark) != 1 or mark in _LINE_ENDS_AND_NULL:
        raise UsageError(
            f"--{name} is {quoted(mark)}: it must be one character, and no line end. "
            "A tab is written \\t."
        )
    if "\ud800" <= mark <= "\udfff":
        raise UsageError(f"--{name} is no character of UTF-8.")


def _require_encoding(name: str) -> None:
    try:
        codec = codecs.lookup(name)
        known = codec._is_text_encoding and codec.name not in _NO_FILE_ENCODINGS
        codecs.getincrementaldecoder(name)
    except (LookupError, ValueError):
        known = False
    if not known:
        raise UsageError(
            f"--encoding is {quoted(name)}, which is unknown. Some that are known: utf-8, utf-16, "
            "latin-1, cp1252."
        )
