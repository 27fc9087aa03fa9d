"""Bytes become UTF-8 text, or a refusal that names the line and the remedy."""

import codecs
import io

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
