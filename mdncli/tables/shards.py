"""The files of a large table: how large they are, and which belong to one of many processes."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from mdncli.tables.blocks import files_of, read_blocks
from mdncli.tables.cells import parquet_module
from mdncli.tables.decoding import Digest, Input
from mdncli.tables.dialect import Dialect, format_of, uncompressed_name
from mdncli.tables.table import Table

# A table whose text is longer than this does not stay in memory. How much shorter a compressed file
# is, roughly and at most; and how long a cell is.
_LARGE, _COMPRESSION, _MOST_COMPRESSED, _BYTES_OF_CELL = 1 << 26, 4.0, 50, 10


class OwnBlocks:
    """The blocks of a table that belong to one of several processes.

    Each process reads some of the files, so that all read about as many bytes. If there are fewer
    files than processes, each process reads all files, and they take the blocks in turn.

    Args:
        source: see `files_of`.
        dialect: how the files are written.
        skip: see `read_blocks`.
        rank, count: of this process, from 0, and of all.

    Raises:
        MissingInputError: there are no such files.
    """

    def __init__(
        self, source: Any, dialect: Dialect, *, skip: bool, rank: int = 0, count: int = 1
    ) -> None:
        self._dialect, self._skip, self._rank = dialect, skip, rank
        files = files_of(source)
        self._step = count if len(files) < count else 1
        self._files = files if self._step > 1 else _own_files(files, rank, count)

    def estimated_rows(self) -> int:
        """Return how many rows there are, roughly."""
        rows = sum(_estimated_rows(file, self._dialect) for file in self._files)
        return max(1, round(rows / self._step))

    def blocks(self, digest: Digest) -> Iterator[Table]:
        """Yield the blocks, of which the first may have no rows."""
        every = read_blocks(self._files, self._dialect, skip_bad_rows=self._skip, digest=digest)
        for number, block in enumerate(every):
            if number % self._step == self._rank % self._step:
                yield block
            elif number == 0:
                yield block.with_rows({n: c.slice(0, 0) for n, c in block.originals.items()})


def _own_files(files: Sequence[str], rank: int, count: int) -> list[str]:
    """Return the files of one process, in their order; the largest ones are given out first."""
    loads, own = [0] * count, []
    for file in sorted(files, key=lambda each: -_size(each)):
        owner = loads.index(min(loads))
        loads[owner] += _size(file)
        if owner == rank:
            own.append(file)
    return [file for file in files if file in own]


def is_large(source: Any, dialect: Dialect) -> bool:
    """Return whether a table may be too large for the memory."""
    files = files_of(source)
    if sum(_size(file) for file in files) > _LARGE / _MOST_COMPRESSED:
        return sum(_bytes_of_text(file, dialect) for file in files) > _LARGE
    return False


def _size(file: str) -> int:
    # A pipe has no size, and whether a file is there is for its reader to say.
    return os.path.getsize(file) if os.path.isfile(file) else 0


def _bytes_of_text(file: str, dialect: Dialect) -> float:
    """Return how long a file would be as CSV without compression, roughly."""
    rows, columns = _shape_of_parquet(file, dialect)
    if rows:
        return float(rows * columns * _BYTES_OF_CELL)
    compressed = uncompressed_name(file) != file
    return _size(file) * (_COMPRESSION if compressed else 1.0)


def _estimated_rows(file: str, dialect: Dialect) -> float:
    rows, _ = _shape_of_parquet(file, dialect)
    if rows:
        return float(rows)
    parts = Input(file, None).parts()
    first = next(iter(parts), b"")
    lines = max(1, first.count(b"\n"), first.count(b"\r"))
    return _bytes_of_text(file, dialect) * lines / max(1, len(first))


def _shape_of_parquet(file: str, dialect: Dialect) -> tuple[int, int]:
    """Return the numbers of rows and columns; zeros for any other file, or a damaged one."""
    if format_of(file, dialect.format) != "parquet" or not os.path.isfile(file):
        return 0, 0
    try:
        metadata = parquet_module().read_metadata(file)
    except (pa.ArrowException, OSError):
        # Its reader says what is wrong with it.
        return 0, 0
    return metadata.num_rows, metadata.num_columns
