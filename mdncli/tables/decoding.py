"""Bytes become UTF-8 text, or a refusal that names the line and the remedy.

Compressed files, in and out, by the suffix of their names alone.
"""

import codecs
import contextlib
import gzip
import io
import lzma
import os
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import pyarrow as pa

from mdncli.errors import DataError
from mdncli.tables.dialect import Dialect

BYTE_ORDER_MARK = "\ufeff"
_AT_ONCE = 1 << 20
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# What a file begins with that is no text, and what to do about it.
_NO_TEXT = {
    b"\x1f\x8b": "it is compressed by gzip. Give it a name that ends in .gz",
    b"\x28\xb5\x2f\xfd": "it is compressed by zstd. Give it a name that ends in .zst",
    b"\xfd7zXZ\0": "it is compressed by xz. Give it a name that ends in .xz",
    b"PAR1": "it is a Parquet file. Give it a name that ends in .parquet",
    b"PK\x03\x04": "it is a zip archive or a workbook. Save the table as CSV",
}
_SHOWN = 64
_FEWEST_ZEROS = 4


def utf8_text(content: bytes, dialect: Dialect, source: str) -> bytes:
    """Return the text in UTF-8, as it stands where it is so already.

    UTF-8 itself is not checked here: the parsers do, and `require_utf8` says where it is not.

    Raises:
        DataError: a byte is none of the encoding, or the file is no text.
    """
    if dialect.utf8:
        _refuse_what_is_no_text(content, source)
        return content
    text = _decoded(content, dialect.encoding, source)
    if b"\0" in text:
        raise DataError(f"{source}: read as {dialect.encoding}, it holds null characters.")
    return text


def require_utf8(content: bytes, source: str) -> None:
    """Check that text is UTF-8.

    Raises:
        DataError: it is not; the message names the line.
    """
    _decoded(content, "utf-8", source)


def _decoded(content: bytes, encoding: str, source: str) -> bytes:
    decoder = codecs.getincrementaldecoder(encoding)()
    text = io.BytesIO()
    line = 1
    for start in range(0, max(1, len(content)), _AT_ONCE):
        piece = content[start : start + _AT_ONCE]
        try:
            read = decoder.decode(piece, final=start + _AT_ONCE >= len(content))
        except UnicodeError as error:
            raise DataError(_undecodable(error, encoding, line, source)) from error
        line += _line_ends(read)
        text.write(read.encode("utf-8", "replace"))
    return text.getvalue()


def _undecodable(error: UnicodeError, encoding: str, line: int, source: str) -> str:
    if not isinstance(error, UnicodeDecodeError):
        return f"{source}: this is not {encoding} text. Give its --encoding."
    before = error.object[: error.start].decode(encoding, "ignore")
    byte = " ".join(f"0x{value:02X}" for value in error.object[error.start : error.end][:4])
    name = "UTF-8" if encoding == "utf-8" else encoding
    return (
        f"{source}, line {line + _line_ends(before)}: this is not {name} text (the byte {byte}). "
        "Give its --encoding, such as cp1252 or latin-1, or save the file in UTF-8."
    )


def _line_ends(text: str) -> int:
    return text.count("\n") or text.count("\r")


def _refuse_what_is_no_text(content: bytes, source: str) -> None:
    for beginning, remedy in _NO_TEXT.items():
        if content.startswith(beginning) and (b"\0" in content[:_SHOWN] or beginning[0] > 127):
            raise DataError(f"{source}: this is no text: {remedy}.")
    if content.startswith(_UTF16_MARKS):
        raise DataError(f"{source}: the file is UTF-16, by its first bytes. Add --encoding utf-16.")
    if b"\0" in content:
        encoding = wide_encoding(content)
        remedy = f" It looks like UTF-16: --encoding {encoding}." if encoding else ""
        raise DataError(f"{source}: the file holds null bytes: it is not CSV text.{remedy}")


def wide_encoding(content: bytes) -> str:
    """Return which UTF-16 a file without a byte order mark looks like; nothing for none."""
    some = content[: 1 << 12]
    evens, odds = some[::2].count(0), some[1::2].count(0)
    for zeros, others, name in ((odds, evens, "utf-16-le"), (evens, odds, "utf-16-be")):
        if zeros >= _FEWEST_ZEROS and zeros > 0.5 * len(some) / 2 and others < 0.2 * zeros:
            return name
    return ""


_PIECE = 1 << 22
_MOST_BYTES = 1 << 34
_NAMES = {".gz": "gzip", ".zst": "zstd", ".xz": "xz"}


def most_bytes() -> int:
    """Return how large a file may grow when it is decompressed: 16 GiB or half of the memory."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(_MOST_BYTES, memory // 2)


def require_bearable(size: int, source: str) -> None:
    """Check that a decompressed file of this many bytes may be held in memory.

    Raises:
        DataError: it is too large.
    """
    if size > most_bytes():
        raise DataError(
            f"{source}: it grows beyond {most_bytes() / (1 << 30):.3g} GiB when decompressed, more "
            "than is read at once. Split the table."
        )


def decompressed(content: bytes, source: str) -> bytes:
    """Return the content of a file that its name calls compressed; of any other, as it is.

    Raises:
        DataError: it is not compressed as its name says, ends too early, or grows too large.
    """
    suffix = os.path.splitext(source.lower())[1]
    if suffix not in _NAMES:
        return content
    whole = io.BytesIO()
    try:
        with _opened(content, suffix) as stream:
            while piece := stream.read(_PIECE):
                whole.write(piece)
                require_bearable(whole.tell(), source)
    except (OSError, EOFError, zlib.error, lzma.LZMAError, pa.ArrowInvalid) as error:
        raise DataError(
            f"{source}: this is not a whole file of {_NAMES[suffix]}, as its name says."
        ) from error
    return whole.getvalue()


def _opened(content: bytes, suffix: str) -> Any:
    if suffix == ".zst":
        return pa.CompressedInputStream(pa.BufferReader(content), "zstd")
    stream = io.BytesIO(content)
    return gzip.GzipFile(fileobj=stream) if suffix == ".gz" else lzma.LZMAFile(stream)


@contextlib.contextmanager
def compressing(stream: BinaryIO, path: str) -> Iterator[BinaryIO]:
    """Yield a stream that compresses into another, as the suffix of a file's name says.

    The same bytes in give the same bytes out: no name and no time is stored.
    """
    suffix = os.path.splitext(path.lower())[1]
    if suffix not in _NAMES:
        yield stream
        return
    with _closing_into(stream, suffix) as compressed:
        yield compressed


def _closing_into(stream: BinaryIO, suffix: str) -> Any:
    if suffix == ".zst":
        return pa.CompressedOutputStream(pa.PythonFile(_Kept(stream), mode="w"), "zstd")
    if suffix == ".gz":
        return gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=stream, mtime=0)
    return lzma.LZMAFile(stream, "wb")


class _Kept:
    """A stream that stays open when Arrow is done with it: it is replaced into its place later."""

    closed = False

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, data: bytes) -> int:
        return self._stream.write(data)

    def flush(self) -> None:
        self._stream.flush()

    def close(self) -> None:
        pass
