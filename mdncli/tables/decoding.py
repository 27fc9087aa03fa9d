"""The bytes of a file: decompressed, and decoded into UTF-8 text.

The suffix of a file's name alone says how the file is compressed.
"""

import codecs
import contextlib
import gzip
import io
import itertools
import lzma
import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

import pyarrow as pa

from mdncli.errors import DataError, parameter
from mdncli.files import FileContent
from mdncli.tables.dialect import Dialect

BYTE_ORDER_MARK = "\ufeff"
_DECODED_AT_ONCE = 1 << 20
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# The first bytes of files that are not text, and what to do about each.
_NOT_TEXT = {
    b"\x1f\x8b": "it is compressed by gzip. Give it a name that ends in .gz",
    b"\x28\xb5\x2f\xfd": "it is compressed by zstd. Give it a name that ends in .zst",
    b"\xfd7zXZ\0": "it is compressed by xz. Give it a name that ends in .xz",
    b"PAR1": "it is a Parquet file. Give it a name that ends in .parquet",
    b"PK\x03\x04": "it is a zip archive or a workbook. Save the table as CSV",
}
_LINE_END = re.compile(b"\r\n|\r|\n")
# Characters that hardly ever occur in a text: one of them stands for a longer delimiter.
_TWO = 2
_RARE = ("\x1f", "\x1e", "\x1d", "\x1c", "\x01", "\x02")
_FIRST_BYTES = 64
_MIN_ZEROS = 4

_READ_AT_ONCE = 1 << 22
_MAX_BYTES = 1 << 34
_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".xz": "xz"}


def utf8_text(file: FileContent, dialect: Dialect) -> FileContent:
    """Return a file with its text in UTF-8.

    A file in UTF-8 is returned as it is, without a check. The parsers find bytes that are not
    UTF-8, and `require_utf8` finds their line.

    Raises:
        DataError: a byte is not valid in the encoding, or the file is not text.
    """
    if dialect.utf8:
        _require_text(file)
        return file
    text = _decoded(file, dialect.encoding)
    if b"\0" in text:
        raise DataError(
            f"{file.name}: the file contains null characters when it is read as "
            f"{dialect.encoding}. Is {parameter('encoding')} another one?"
        )
    return FileContent(file.name, text)


@dataclass(frozen=True)
class CsvText:
    """CSV text in UTF-8, and the dialect in which it is written.

    Attributes:
        file: its name and its bytes.
        dialect: its delimiter is a single character.
        delimiter: of the file, if it has several characters, for which that of the dialect stands.
    """

    file: FileContent
    dialect: Dialect
    delimiter: str = ""

    @classmethod
    def of_file(cls, file: FileContent, dialect: Dialect) -> "CsvText":
        """Return the text of a file in UTF-8, without the lines above its header.

        Raises:
            DataError: every character that could stand for a delimiter occurs in the text.
        """
        if dialect.skip_lines:
            file = FileContent(file.name, _without_lines(file.content, dialect.skip_lines))
        delimiter = dialect.delimiter or ""
        if len(delimiter) < _TWO:
            return cls(file, dialect)
        mark = next((each for each in _RARE if each.encode() not in file.content), None)
        if mark is None:
            raise DataError(
                f"{file.name}: {parameter('delimiter')} cannot have several characters here: the "
                "file holds control characters."
            )
        content = _with_delimiter(file.content, dialect, mark)
        file = FileContent(file.name, content)
        return cls(file, replace(dialect, delimiter=mark), delimiter)

    @property
    def separator(self) -> str:
        """The character that separates the fields."""
        return self.dialect.separator(self.file.name)

    def lines(self) -> Iterator[str]:
        """Return the lines of the text, without a byte order mark and with their line ends."""
        return io.TextIOWrapper(io.BytesIO(self.file.content), encoding="utf-8-sig", newline="")


def _without_lines(content: bytes, count: int) -> bytes:
    """Return a text whose first lines are empty, so that the other lines keep their numbers."""
    ends = list(itertools.islice(_LINE_END.finditer(content), count))
    if len(ends) < count:
        return b""
    return b"".join(end[0] for end in ends) + content[ends[-1].end() :]


def _with_delimiter(content: bytes, dialect: Dialect, mark: str) -> bytes:
    """Return a text with its delimiter replaced by another one, except inside quotes."""
    delimiter, quote = re.escape((dialect.delimiter or "").encode()), dialect.quote
    pattern = delimiter
    if quote is not None:
        q = re.escape(quote.encode())
        begins = rb"(?:(?<![^\r\n])|(?<=%b))" % delimiter
        pattern = rb"%b%b(?:(?!%b)[\s\S]|%b%b)*+%b|%b" % (begins, q, q, q, q, q, delimiter)
    own = (dialect.delimiter or "").encode()
    return re.sub(pattern, lambda found: mark.encode() if found[0] == own else found[0], content)


def require_utf8(file: FileContent) -> None:
    """Check that a file is UTF-8 text.

    Raises:
        DataError: it is not; the message names the line.
    """
    _decoded(file, "utf-8")


def _decoded(file: FileContent, encoding: str) -> bytes:
    decoder = codecs.getincrementaldecoder(encoding)()
    text = io.BytesIO()
    line = 1
    for start in range(0, max(1, len(file.content)), _DECODED_AT_ONCE):
        end = start + _DECODED_AT_ONCE
        try:
            part = decoder.decode(file.content[start:end], final=end >= len(file.content))
        except UnicodeError as error:
            raise DataError(_decoding_message(error, encoding, line, file.name)) from error
        line += _count_lines(part)
        text.write(part.encode("utf-8", "replace"))
    return text.getvalue()


def _decoding_message(error: UnicodeError, encoding: str, line: int, name: str) -> str:
    if not isinstance(error, UnicodeDecodeError):
        return f"{name}: this is not {encoding} text. Set another {parameter('encoding')}."
    before = error.object[: error.start].decode(encoding, "ignore")
    byte = " ".join(f"0x{value:02X}" for value in error.object[error.start : error.end][:4])
    encoding_name = "UTF-8" if encoding == "utf-8" else encoding
    return (
        f"{name}, line {line + _count_lines(before)}: this is not {encoding_name} text (the byte "
        f"{byte}). Set {parameter('encoding')}, such as cp1252 or latin-1, or save the file in "
        "UTF-8."
    )


def _count_lines(text: str) -> int:
    return text.count("\n") or text.count("\r")


def _require_text(file: FileContent) -> None:
    content = file.content
    for beginning, remedy in _NOT_TEXT.items():
        binary = beginning[0] > 127 or b"\0" in content[:_FIRST_BYTES]
        if content.startswith(beginning) and binary:
            raise DataError(f"{file.name}: this is not a text file: {remedy}.")
    if content.startswith(_UTF16_MARKS):
        raise DataError(
            f"{file.name}: the first bytes say that the file is UTF-16. Use "
            f"{parameter('encoding', repr('utf-16'))}."
        )
    if b"\0" in content:
        encoding = utf16_without_mark(content)
        remedy = (
            f" It looks like UTF-16. Use {parameter('encoding', repr(encoding))}."
            if encoding
            else ""
        )
        raise DataError(
            f"{file.name}: the file contains null bytes, so it is not CSV text.{remedy}"
        )


def utf16_without_mark(content: bytes) -> str:
    """Return the UTF-16 encoding that a file seems to have, or an empty text.

    The file has no byte order mark. In such a file, every other byte of ordinary text is zero.
    """
    beginning = content[: 1 << 12]
    evens, odds = beginning[::2].count(0), beginning[1::2].count(0)
    for zeros, others, name in ((odds, evens, "utf-16-le"), (evens, odds, "utf-16-be")):
        if zeros >= _MIN_ZEROS and zeros > 0.5 * len(beginning) / 2 and others < 0.2 * zeros:
            return name
    return ""


def max_bytes() -> int:
    """Return how large a decompressed file may be: 16 GiB, or half of the memory if it is less."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(_MAX_BYTES, memory // 2)


def require_acceptable_size(size: int, name: str) -> None:
    """Check that a decompressed file of this many bytes fits into memory.

    Raises:
        DataError: it is too large.
    """
    if size > max_bytes():
        raise DataError(
            f"{name}: the file is larger than {max_bytes() / (1 << 30):.3g} GiB when decompressed, "
            "which is the limit. Split the table."
        )


def decompressed(file: FileContent) -> FileContent:
    """Return a file with its content decompressed, if its suffix says that it is compressed.

    Raises:
        DataError: the file is not compressed as its suffix says, ends too early, or grows too
            large.
    """
    suffix = _suffix(file.name)
    if suffix not in _COMPRESSIONS:
        return file
    content = io.BytesIO()
    try:
        with _decompressing(file.content, suffix) as stream:
            while part := stream.read(_READ_AT_ONCE):
                content.write(part)
                require_acceptable_size(content.tell(), file.name)
    except (OSError, EOFError, zlib.error, lzma.LZMAError, pa.ArrowInvalid) as error:
        raise DataError(
            f"{file.name}: the name ends in {suffix}, but this is not a complete "
            f"{_COMPRESSIONS[suffix]} file."
        ) from error
    return FileContent(file.name, content.getvalue())


def _suffix(name: str) -> str:
    return os.path.splitext(name.lower())[1]


def _decompressing(content: bytes, suffix: str) -> Any:
    if suffix == ".zst":
        return pa.CompressedInputStream(pa.BufferReader(content), "zstd")
    stream = io.BytesIO(content)
    return gzip.GzipFile(fileobj=stream) if suffix == ".gz" else lzma.LZMAFile(stream)


@contextlib.contextmanager
def compressing(stream: BinaryIO, path: str) -> Iterator[BinaryIO]:
    """Yield a stream that compresses into another one, as the suffix of the path says.

    The same bytes in give the same bytes out, since no name and no time is stored.
    """
    suffix = _suffix(path)
    if suffix not in _COMPRESSIONS:
        yield stream
        return
    with _compressor(stream, suffix) as compressed:
        yield compressed


def _compressor(stream: BinaryIO, suffix: str) -> Any:
    if suffix == ".zst":
        return pa.CompressedOutputStream(pa.PythonFile(_KeptOpen(stream), mode="w"), "zstd")
    if suffix == ".gz":
        return gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=stream, mtime=0)
    return lzma.LZMAFile(stream, "wb")


class _KeptOpen:
    """A stream that Arrow cannot close, since its owner still uses it afterwards."""

    closed = False

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, data: bytes) -> int:
        return self._stream.write(data)

    def flush(self) -> None:
        self._stream.flush()

    def close(self) -> None:
        pass
