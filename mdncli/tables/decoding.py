"""The bytes of a file: decompressed, and decoded into UTF-8 text.

The suffix of a file's name alone says how the file is compressed.
"""

import codecs
import contextlib
import gzip
import hashlib
import io
import itertools
import lzma
import os
import re
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, cast

import numpy as np
import pyarrow as pa

from mdncli.errors import DataError, InputOutputError, MissingInputError, parameter
from mdncli.files import FileContent, FileStream, reason
from mdncli.tables.dialect import Dialect, uncompressed_name
from mdncli.types import Positions

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
File = str | FileContent | FileStream

_READ_AT_ONCE = 1 << 20
# The first piece of a text is small, so that the first answers come early.
_FIRST_PIECE, _TIMES_LARGER = 1 << 16, 4
# A row with more bytes is refused: a quote in it may never be closed.
_LONGEST_ROW = 1 << 28
_LF, _CR = b"\n\r"
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
    text = b"".join(_decoded(_parts_of(file), file.name, dialect.encoding))
    _require_no_null(text, file.name, dialect.encoding)
    return FileContent(file.name, text)


def _require_no_null(text: bytes, name: str, encoding: str) -> None:
    if b"\0" in text:
        raise DataError(
            f"{name}: the file contains null characters when it is read as {encoding}. Is "
            f"{parameter('encoding')} another one?"
        )


@dataclass(frozen=True)
class CsvText:
    """CSV text in UTF-8, and the dialect in which it is written.

    Attributes:
        file: its name and its bytes.
        dialect: its delimiter is a single character.
        delimiter: of the file, if it has several characters, for which that of the dialect stands.
        lines_before, rows_before: where the text is a part of a longer one: the lines and the rows
            of data that are above it.
        continued: whether the header is in a part above it.
    """

    file: FileContent
    dialect: Dialect
    delimiter: str = ""
    lines_before: int = 0
    rows_before: int = 0
    continued: bool = False

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

    @property
    def has_header(self) -> bool:
        """Whether the first record is the header."""
        return self.dialect.header and not self.continued

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


def require_utf8(file: FileContent, lines_before: int = 0) -> None:
    """Check that a file, or a part of it that begins below so many lines, is UTF-8 text.

    Raises:
        DataError: it is not; the message names the line.
    """
    for _ in _decoded(_parts_of(file), file.name, "utf-8", lines_before):
        pass


def text_parts(parts: Iterator[bytes], name: str, dialect: Dialect) -> Iterator[bytes]:
    """Yield the parts of a file with its text in UTF-8; see `utf8_text`.

    Raises:
        DataError: a byte is not valid in the encoding, or the file is not text.
    """
    if not dialect.utf8:
        for part in _decoded(parts, name, dialect.encoding):
            _require_no_null(part, name, dialect.encoding)
            yield part
        return
    beginning = b""
    for part in parts:
        if len(beginning) < _FIRST_BYTES:
            beginning += part
            if len(beginning) >= _FIRST_BYTES:
                _require_text(FileContent(name, beginning))
                yield beginning
            continue
        if b"\0" in part:
            _require_text(FileContent(name, beginning + part))
        yield part
    if len(beginning) < _FIRST_BYTES:
        _require_text(FileContent(name, beginning))
        yield beginning


def _parts_of(file: FileContent) -> Iterator[bytes]:
    for start in range(0, len(file.content), _DECODED_AT_ONCE):
        yield file.content[start : start + _DECODED_AT_ONCE]


def _decoded(
    parts: Iterable[bytes], name: str, encoding: str, lines_before: int = 0
) -> Iterator[bytes]:
    """Yield the parts of a text in UTF-8."""
    decoder = codecs.getincrementaldecoder(encoding)()
    line = 1 + lines_before
    for part in itertools.chain(parts, [b""]):
        try:
            text = decoder.decode(part, final=not part)
        except UnicodeError as error:
            raise DataError(_decoding_message(error, encoding, line, name)) from error
        line += _count_lines(text)
        yield text.encode("utf-8", "replace")


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
    for part in decompressed_parts(io.BytesIO(file.content), file.name):
        content.write(part)
        require_acceptable_size(content.tell(), file.name)
    return FileContent(file.name, content.getvalue())


def decompressed_parts(stream: BinaryIO, name: str) -> Iterator[bytes]:
    """Yield the content of a file part by part, decompressed if its suffix says so.

    Args:
        stream: of the file. What it raises other than an OSError passes through.
        name: of the file.

    Raises:
        DataError: the file is not compressed as its suffix says, or ends too early.
    """
    suffix = _suffix(name)
    # A pipe gives what it has, so that the first rows do not wait for the last.
    read = getattr(stream, "read1", stream.read)
    if suffix not in _COMPRESSIONS:
        while part := read(_READ_AT_ONCE):
            yield part
        return
    try:
        with _decompressing(stream, suffix) as whole:
            while part := whole.read(_READ_AT_ONCE):
                yield part
    except (OSError, EOFError, zlib.error, lzma.LZMAError, pa.ArrowInvalid) as error:
        raise DataError(
            f"{name}: the name ends in {suffix}, but this is not a complete "
            f"{_COMPRESSIONS[suffix]} file."
        ) from error


def _suffix(name: str) -> str:
    return os.path.splitext(name.lower())[1]


def _decompressing(stream: BinaryIO, suffix: str) -> Any:
    if suffix == ".zst":
        return pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), "zstd")
    return gzip.GzipFile(fileobj=stream) if suffix == ".gz" else lzma.LZMAFile(stream)


class Digest:
    """The SHA-256 of files, one after another."""

    def __init__(self) -> None:
        self.state = hashlib.sha256()

    def hexdigest(self) -> str:
        """Return it in hexadecimal."""
        return self.state.hexdigest()


class _Raw:
    """The bytes of a file as they are, from which the other streams read.

    Attributes:
        kept: all bytes that were read so far; None if they are not kept.
    """

    closed = False

    def __init__(
        self, stream: Any, name: str, digest: Digest | None, kept: list[bytes] | None
    ) -> None:
        self._stream, self._name, self._digest, self.kept = stream, name, digest, kept

    def read(self, size: int = 1 << 20) -> bytes:
        """Return the next bytes, at most so many; a pipe gives what it has."""
        try:
            data: bytes = getattr(self._stream, "read1", self._stream.read)(size)
        except (OSError, ValueError) as error:
            raise InputOutputError(f"{self._name}: cannot be read: {reason(error)}.") from error
        if self._digest is not None:
            self._digest.state.update(data)
        if self.kept is not None:
            self.kept.append(data)
        return data

    def close(self) -> None:
        """Do nothing: the stream belongs to whoever opened it."""


class Input:
    """A file that is read from its beginning, and again after `keep`.

    Attributes:
        name: what messages call it.
    """

    def __init__(self, file: File, digest: Digest | None = None) -> None:
        self.name = file if isinstance(file, str) else file.name
        self._file, self._digest = file, digest
        self._before = None if digest is None else digest.state.copy()
        self._raw: _Raw | None = None
        self._copied = False

    def raw(self) -> _Raw:
        """Return the bytes of the file as they are, from its beginning.

        Raises:
            MissingInputError: there is no such file.
            InputOutputError: it cannot be read.
        """
        if self._digest is not None and self._before is not None:
            self._digest.state = self._before.copy()
        once = isinstance(self._file, FileStream) and not self._copied
        kept: list[bytes] | None = [] if once else None
        self._raw = _Raw(self._opened(), self.name, self._digest, kept)
        return self._raw

    def _opened(self) -> Any:
        if isinstance(self._file, FileStream):
            if self._copied:
                self._file.stream.seek(0)
            return self._file.stream
        if isinstance(self._file, FileContent):
            return io.BytesIO(self._file.content)
        try:
            return open(self._file, "rb", buffering=0)
        except FileNotFoundError as error:
            raise MissingInputError(f"{self.name}: there is no such file.") from error
        except (OSError, ValueError) as error:
            raise InputOutputError(f"{self.name}: cannot be read: {reason(error)}.") from error

    def parts(self) -> Iterator[bytes]:
        """Yield the content of the file part by part, decompressed, from its beginning."""
        return decompressed_parts(cast(BinaryIO, self.raw()), self.name)

    def settle(self) -> None:
        """Say that the file is not read again, so that nothing of it needs to be kept."""
        if self._raw is not None:
            self._raw.kept = None

    def keep(self) -> None:
        """Make it possible to read the file again: a stream is copied to a temporary file."""
        if isinstance(self._file, FileStream) and self._raw is not None and not self._copied:
            begun, self._raw.kept = self._raw.kept or [], None
            copy = spooled(itertools.chain(begun, iter(self._raw.read, b"")))
            self._file, self._copied = FileStream(self.name, copy), True

    def random_access(self) -> Any:
        """Return what Arrow can read at any place; a stream is copied to a temporary file."""
        compressed = uncompressed_name(self.name) != self.name.lower()
        if compressed or isinstance(self._file, FileStream):
            return spooled(self.parts())
        raw = self.raw()
        if self._digest is not None:
            for _ in iter(raw.read, b""):
                pass
        if isinstance(self._file, FileContent):
            return pa.BufferReader(self._file.content)
        return pa.OSFile(self._file)


def spooled(parts: Iterable[bytes]) -> Any:
    """Return a temporary file with this content, at its beginning; it is removed once closed."""
    try:
        copy = tempfile.TemporaryFile()  # noqa: SIM115 - closed with its last user
        copy.writelines(parts)
        copy.seek(0)
    except OSError as error:
        raise InputOutputError(
            f"a temporary file in {tempfile.gettempdir()}: cannot be written: {reason(error)}."
        ) from error
    return copy


def text_pieces(
    parts: Iterator[bytes], end_of_rows: Callable[[bytes], int], name: str, at_once: int
) -> Iterator[tuple[bytes, bool]]:
    """Yield pieces of a text that end where a row ends, and whether each is the last; at least one.

    Args:
        parts: of the text, cut anywhere.
        end_of_rows: returns the length of the whole rows at the beginning of a text, 0 for none.
        name: of the file.
        at_once: the bytes of a piece at most, unless a single row has more.
    """
    held, ended, size = b"", False, min(_FIRST_PIECE, at_once)
    usual = size
    while True:
        more, length = [held], len(held)
        while length <= size and not ended:
            part = next(parts, None)
            ended = part is None
            more.append(part or b"")
            length += len(more[-1])
        held = b"".join(more)
        last = ended and length <= size
        end = length if last else end_of_rows(held[:size])
        if not end and not last:
            size *= 2
            if size > _LONGEST_ROW:
                raise DataError(
                    f"{name}: a row has more than {_LONGEST_ROW >> 20} MiB. Is a quote in it "
                    "never closed?"
                )
            continue
        last |= ended and end == length
        yield held[:end], last
        if last:
            return
        held = held[end:]
        usual = size = min(usual * _TIMES_LARGER, at_once)


def last_line_end(text: bytes) -> int:
    """Return the position after the last line end of a text that goes on; 0 if it has none."""
    # What follows a final CR may be an LF.
    return max(text.rfind(b"\n"), text.rfind(b"\r", 0, len(text) - 1)) + 1


def count_lines(text: bytes) -> int:
    """Return the number of line ends, of which a CR and an LF are one."""
    returns = text.count(b"\r")
    return text.count(b"\n") + (returns - text.count(b"\r\n") if returns else 0)


def line_ends(content: bytes) -> Positions:
    """Return the positions after the line ends of a text, of which a CR and an LF are one."""
    data = np.frombuffer(content, np.uint8)
    ends = np.flatnonzero((data == _LF) | (data == _CR))
    followed = np.append(data, 0)[ends + 1] == _LF
    found: Positions = ends[~((data[ends] == _CR) & followed)] + 1
    return found


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
