"""Compressed files, in and out, by the suffix of their names alone."""

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

_AT_ONCE = 1 << 22
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
            while piece := stream.read(_AT_ONCE):
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
