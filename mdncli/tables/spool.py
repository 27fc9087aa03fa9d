"""Tables larger than the memory: their rows in random order on disk, and samples of them.

Each row goes to one of many parts at random. So every part is a random sample of all rows, and
reading one part after another, each in random order, gives all rows in random order. The files of
the parts have no names: the system frees them when the process ends, in whatever way it ends.
"""

import contextlib
import hashlib
import itertools
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import IO, Any

import numpy as np
import pyarrow as pa

from mdncli.errors import InputOutputError, parameter
from mdncli.files import reason
from mdncli.tables.blocks import chained, with_columns_of
from mdncli.tables.cells import TextColumns, is_missing, to_numpy
from mdncli.tables.csv_reader import Place
from mdncli.tables.decoding import Digest
from mdncli.tables.table import Table
from mdncli.tables.writer import take_rows, to_arrow
from mdncli.types import Array, Mask, Positions

# The most rows of the sample that shows what the columns hold, and of those that are held out.
ROWS_OF_SAMPLE, ROWS_HELD_OUT = 200_000, 50_000
_SHARE_HELD_OUT = 0.1
# The rows of a part, roughly; and the most parts, each of which is an open file.
_ROWS_OF_PART, _MOST_PARTS = 1 << 17, 200
# The free space must exceed the space that is needed by this factor.
_MARGIN = 1.1
_BYTES_OF_NUMBER, _BYTES_OF_PLACE = 8, 12
_FILE, _ROW = "\0file", "\0row"
_NUMBER, _TEXT, _AS_IT_IS = "number", "text", "as it is"


@dataclass(frozen=True)
class SpoolPlan:
    """How rows are kept on disk.

    Attributes:
        rows: how many there are, roughly.
        folder: where; None for the system's folder of temporary files.
        text: the names of columns that stay text, though their cells may be numbers.
        seed: of the random order.
        share: of the rows of the whole table that these are; others belong to other processes.
        holds_out: whether rows are held out.
    """

    rows: int
    folder: str | None = None
    text: Sequence[str] = ()
    seed: Sequence[int] = (0,)
    share: float = 1.0
    holds_out: bool = True

    @property
    def all_rows(self) -> float:
        """The number of rows of the whole table, roughly."""
        return max(1.0, self.rows / max(self.share, 1e-9))

    @property
    def parts(self) -> int:
        """The number of parts; the same for all processes."""
        return min(_MOST_PARTS, math.ceil(self.all_rows / _ROWS_OF_PART))

    @property
    def share_of_sample(self) -> float:
        """The probability that a row belongs to the sample."""
        return min(1.0, ROWS_OF_SAMPLE / self.all_rows)

    @property
    def share_held_out(self) -> float:
        """The probability that a row is held out."""
        return self.holds_out * min(_SHARE_HELD_OUT, ROWS_HELD_OUT / self.all_rows)


@dataclass(frozen=True)
class SpoolProgress:
    """How far the rows are on disk.

    Attributes:
        rows, size: the number of rows and of bytes so far.
        expected_rows, expected_size: in the end, roughly.
        folder: where they are.
    """

    rows: int
    size: int
    expected_rows: int
    expected_size: int
    folder: str


@dataclass(frozen=True)
class Spool:
    """Rows on disk, and samples of them in memory.

    Attributes:
        sample: random rows; and of every column, the rows with the smallest number, with the
            largest number and with the first missing cell, so that it shows what the column may
            hold. These rows are on disk, too.
        held_out: other random rows, which are not on disk.
        rows: the number of rows on disk.
        skipped: the number of rows that were left out because of their number of fields.
    """

    sample: Table
    held_out: Table
    rows: int
    skipped: int
    _samples: tuple["_Rows", "_Rows"] = field(repr=False)
    _parts: "_Parts" = field(repr=False)

    @classmethod
    def of(
        cls, samples: tuple["_Rows", "_Rows"], rows: int, skipped: int, parts: "_Parts", sha256: str
    ) -> "Spool":
        """Return a spool, given its samples."""
        sample, held_out = (replace(each.table(), sha256=sha256) for each in samples)
        return cls(sample, held_out, rows, skipped, samples, parts)

    def tables(self) -> Iterator[Table]:
        """Yield the rows of one part after another; each part is freed once it is read."""
        for number in range(len(self._parts.files)):
            read = self._parts.read(number)
            if read is not None:
                yield self._located(read)

    def shared(self, gather: Callable[[Any], list[Any]]) -> "Spool":
        """Return a spool whose samples are those of all processes.

        Args:
            gather: returns the values of all processes.

        Raises:
            DataError: two processes have files with different columns.
        """
        both = [
            _joined(list(map(_Rows.unpacked, gather(own.packed()), itertools.repeat(own.block))))
            for own in self._samples
        ]
        hashes = "".join(gather(self.sample.content_sha256))
        sha256 = hashlib.sha256(hashes.encode()).hexdigest()
        skipped = sum(gather(self.skipped))
        return Spool.of((both[0], both[1]), self.rows, skipped, self._parts, sha256)

    def close(self) -> None:
        """Free the space of all parts."""
        self._parts.close()

    def _located(self, rows: Any) -> Table:
        columns = dict(zip(rows.column_names, rows.columns, strict=True))
        file, row = (to_numpy(columns.pop(name), np.int64) for name in (_FILE, _ROW))
        block = replace(self.sample, columns=TextColumns(columns), originals=columns)
        return _Rows(block, file, row, self._parts.sources).table()


def spooled(
    blocks: Callable[[Digest], Iterable[Table]],
    plan: SpoolPlan,
    show: Callable[[SpoolProgress], None] = lambda progress: None,
) -> Spool:
    """Return the rows of blocks on disk.

    Args:
        blocks: returns the blocks of rows of one table, at least one; the bytes that are read are
            hashed. It is called again if a column that begins with numbers turns out to hold texts.
        plan: how they are kept.
        show: is called before the first row is written, and after every block.

    Raises:
        InputOutputError: the folder has too little space, or cannot be written to.
    """
    text = set(plan.text)
    while True:
        writer, digest = _Writer(replace(plan, text=sorted(text))), Digest()
        try:
            for block in blocks(digest):
                if not writer.rows:
                    writer.begin(block)
                    show(writer.progress)
                writer.add(block)
                show(writer.progress)
            return writer.spool(digest.hexdigest())
        except _NotNumbersError as found:
            writer.close()
            text.add(found.name)
        except OSError as error:
            writer.close()
            raise InputOutputError(f"{_name_of(plan.folder)}: {reason(error)}.") from error
        except BaseException:
            writer.close()
            raise


def require_space(folder: str | None, size: int) -> None:
    """Check that a folder exists and has space for so many bytes.

    Raises:
        InputOutputError: it does not exist, or has too little space.
    """
    name = _name_of(folder)
    try:
        free = shutil.disk_usage(name).free
    except OSError as error:
        raise InputOutputError(f"{name}: cannot hold rows: {reason(error)}.") from error
    if size * _MARGIN > free:
        raise InputOutputError(
            f"{name}: the rows need about {size / 1e9:.1f} GB on disk, and {free / 1e9:.1f} GB are "
            f"free. Name another folder: {parameter('spool', 'DIR')}."
        )


def _name_of(folder: str | None) -> str:
    return tempfile.gettempdir() if folder is None else folder


class _NotNumbersError(Exception):
    """A column that began with numbers holds something else."""

    def __init__(self, name: str) -> None:
        self.name = name


class _Writer:
    """Distributes the rows of blocks over the parts and the samples.

    Attributes:
        rows: written so far.
    """

    def __init__(self, plan: SpoolPlan) -> None:
        self.rows = self._size = self._expected_size = 0
        self._plan, self._rng = plan, np.random.default_rng(list(plan.seed))
        self._first: Table | None = None
        self._kinds: dict[str, str] = {}
        self._parts = _Parts([])
        self._sources: list[str] = []
        self._sample = _Sample(plan.share_of_sample, plan.share * ROWS_OF_SAMPLE)
        self._held_out = _Sample(plan.share_held_out, plan.share * ROWS_HELD_OUT)
        self._extremes = _Extremes()
        self._skipped = 0

    def add(self, block: Table) -> None:
        """Distribute the rows of a block."""
        self._skipped += block.skipped
        if not block.rows:
            return
        if not self._sources or self._sources[-1] != block.source:
            self._sources.append(block.source)
        rows = _Rows.of(block, len(self._sources) - 1, self._sources)
        out = self._rng.random(block.rows) < self._held_out.share
        self._held_out.add(rows.take(np.flatnonzero(out)))
        self._keep(rows, ~out)
        left = self._held_out.thinned(self._rng)
        if left is not None:
            self._keep(left, np.ones(len(left.row), dtype=bool))

    def spool(self, sha256: str) -> Spool:
        """Return all rows, given the hash of the files."""
        assert self._first is not None
        self._parts.end(self._sources)
        sample = [*self._sample.pieces, *self._extremes.pieces(self._sample.pieces)]
        none = _Rows.of(self._first, 0, self._sources).take(np.empty(0, dtype=np.int64))
        samples = _joined([none, *sample]), _joined([none, *self._held_out.pieces])
        return Spool.of(samples, self.rows, self._skipped, self._parts, sha256)

    def close(self) -> None:
        """Free all space."""
        self._parts.close()

    def begin(self, block: Table) -> None:
        """Open the parts, after a look at the first block.

        Raises:
            InputOutputError: there is not enough space for them.
        """
        if self._first is not None:
            return
        self._first = block
        self._kinds = {name: self._kind(block, name) for name in block.originals}
        width = sum(self._width(block, name) for name in block.originals) + _BYTES_OF_PLACE
        self._expected_size = round(width * self._plan.rows)
        require_space(self._plan.folder, self._expected_size)
        self._parts = _Parts.opened(self._plan.parts, self._plan.folder)

    @property
    def progress(self) -> SpoolProgress:
        """How far the rows are on disk."""
        folder = os.path.abspath(_name_of(self._plan.folder))
        expected = self._plan.rows, self._expected_size
        return SpoolProgress(self.rows, self._size, *expected, folder)

    def _kind(self, block: Table, name: str) -> str:
        """Return how a column is kept: as numbers, as text, or with its own type."""
        kind = block.originals[name].type
        if pa.types.is_temporal(kind) or name not in block.columns:
            return _AS_IT_IS
        if name in self._plan.text or name in block.row_names or pa.types.is_boolean(kind):
            return _TEXT
        return _NUMBER if block.cells(name).kind in ("number", "empty") else _TEXT

    def _width(self, block: Table, name: str) -> float:
        if self._kinds[name] != _TEXT:
            return _BYTES_OF_NUMBER
        return float(block.columns[name].nbytes) / max(1, block.rows)

    def _keep(self, rows: "_Rows", kept: Mask) -> None:
        """Write some of the rows to the parts, and a few of them to the sample as well."""
        typed = {name: self._stored(rows.block, name) for name in self._kinds}
        self._extremes.look(rows, typed, kept)
        chosen = kept & (self._rng.random(len(kept)) < self._sample.share)
        self._sample.add(rows.take(np.flatnonzero(chosen)))
        self._sample.thinned(self._rng)
        typed |= {_FILE: to_arrow(rows.file), _ROW: to_arrow(rows.row)}
        part = self._rng.integers(0, len(self._parts.files), len(kept))
        self._size += self._parts.write(pa.table(typed), np.where(kept, part, -1))
        self.rows += int(kept.sum())

    def _stored(self, block: Table, name: str) -> Any:
        """Return a column as it is kept.

        Raises:
            _NotNumbersError: it does not hold the numbers that it began with.
        """
        kind = self._kinds[name]
        if kind == _NUMBER:
            cells = block.cells(name)
            if cells.text.any() or cells.infinite.any():
                raise _NotNumbersError(name)
            return to_arrow(cells.values)
        return block.columns[name] if kind == _TEXT else block.originals[name]


@dataclass(frozen=True)
class _Rows:
    """N rows, and where they stand.

    Attributes:
        block: the rows.
        file: (N,), the number of the file, from 0.
        row: (N,), the number of the row in its file, from 1.
        sources: the names of the files.
    """

    block: Table
    file: Positions
    row: Positions
    sources: Sequence[str]

    @classmethod
    def of(cls, block: Table, file: int, sources: Sequence[str]) -> "_Rows":
        """Return the rows of a block of a file."""
        first = block.locate([0])[0].row if block.rows else 1
        return cls(block, np.full(block.rows, file), first + np.arange(block.rows), sources)

    def take(self, rows: Positions) -> "_Rows":
        """Return the rows at these positions."""
        columns = {name: take_rows(c, rows) for name, c in self.block.originals.items()}
        block = self.block.with_rows(columns)
        return _Rows(block, self.file[rows], self.row[rows], self.sources)

    def places(self) -> Iterator[tuple[int, int]]:
        """Yield the place of each row."""
        return zip(self.file.tolist(), self.row.tolist(), strict=True)

    def table(self) -> Table:
        """Return the rows as a table that knows their places."""
        file, row, sources = self.file, self.row, self.sources

        def locate(positions: list[int]) -> list[Place]:
            return [Place(int(row[p]), None, sources[file[p]]) for p in positions]

        return replace(self.block, locate=locate, skipped=0, first_skipped="")

    def packed(self) -> dict[str, Any]:
        """Return the rows as plain values, for another process."""
        table = pa.table(dict(self.block.originals))
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        content = sink.getvalue().to_pybytes()
        return {"rows": content, "file": self.file, "row": self.row, "sources": self.sources}

    @classmethod
    def unpacked(cls, packed: Mapping[str, Any], like: Table) -> "_Rows":
        """Return rows that were packed; the table is otherwise like that of this process.

        Raises:
            DataError: the columns differ.
        """
        table = pa.ipc.open_stream(pa.BufferReader(packed["rows"])).read_all()
        columns = dict(zip(table.column_names, table.columns, strict=True))
        source = packed["sources"][0] if packed["sources"] else like.source
        block = with_columns_of(replace(like.with_rows(columns), source=source), like)
        return cls(block, packed["file"], packed["row"], packed["sources"])


class _Sample:
    """Random rows, roughly as many as wanted.

    Attributes:
        share: the probability that a row is chosen.
        pieces: the chosen rows.
    """

    def __init__(self, share: float, most: float) -> None:
        self.share, self._most = share, most
        self.pieces: list[_Rows] = []
        self._rows = 0

    def add(self, rows: _Rows) -> None:
        """Add rows that were chosen with the probability `share`."""
        if len(rows.row):
            self.pieces.append(rows)
            self._rows += len(rows.row)

    def thinned(self, rng: np.random.Generator) -> _Rows | None:
        """Give up half of the rows if there are twice as many as wanted, and return that half.

        This happens if the table has more rows than was known at first.
        """
        if self._rows <= 2 * self._most:
            return None
        kept, left = [], []
        for piece in self.pieces:
            stays = rng.random(len(piece.row)) < 0.5
            kept.append(piece.take(np.flatnonzero(stays)))
            left.append(piece.take(np.flatnonzero(~stays)))
        self.share *= 0.5
        self.pieces, self._rows = kept, sum(len(piece.row) for piece in kept)
        return _joined(left)


class _Extremes:
    """The rows with the smallest and the largest number and the first missing cell of a column."""

    def __init__(self) -> None:
        self._lowest: dict[str, tuple[float, _Rows]] = {}
        self._highest: dict[str, tuple[float, _Rows]] = {}
        self._missing: dict[str, _Rows] = {}

    def look(self, rows: _Rows, columns: Mapping[str, Any], kept: Mask) -> None:
        """Take note of those among the kept rows."""
        for name, column in columns.items():
            if isinstance(column, pa.Array):
                values = np.where(kept, np.frombuffer(column.buffers()[1]), np.nan)
                self._look_at_numbers(name, values, rows)
                missing = kept & np.isnan(values)
            elif name in self._missing or name not in rows.block.columns:
                continue
            else:
                missing = kept & is_missing(rows.block.columns[name], rows.block.dialect.na)
            if name not in self._missing and missing.any():
                self._missing[name] = rows.take(np.flatnonzero(missing)[:1])

    def _look_at_numbers(self, name: str, values: Array, rows: _Rows) -> None:
        if np.isnan(values).all():
            return
        for found, place, sign in (
            (self._lowest, int(np.nanargmin(values)), 1.0),
            (self._highest, int(np.nanargmax(values)), -1.0),
        ):
            value = sign * float(values[place])
            if name not in found or value < found[name][0]:
                found[name] = value, rows.take(np.array([place]))

    def pieces(self, others: Sequence[_Rows]) -> list[_Rows]:
        """Return these rows, without those that are among others."""
        taken = {place for piece in others for place in piece.places()}
        found = []
        both = [rows for _, rows in (*self._lowest.values(), *self._highest.values())]
        for rows in (*both, *self._missing.values()):
            if not taken.issuperset(rows.places()):
                taken.update(rows.places())
                found.append(rows)
        return found


class _Parts:
    """The files of the parts, and what writes to each."""

    def __init__(self, files: Sequence[IO[bytes]]) -> None:
        self.files = files
        self.sources: Sequence[str] = ()
        self._writers: list[Any] = []

    @classmethod
    def opened(cls, count: int, folder: str | None) -> "_Parts":
        """Return parts without rows."""
        with contextlib.ExitStack() as stack:
            files = [stack.enter_context(tempfile.TemporaryFile(dir=folder)) for _ in range(count)]
            stack.pop_all()
        return cls(files)

    def write(self, rows: Any, part: Positions) -> int:
        """Write each of some rows to its part, -1 for none; return the number of bytes."""
        order = np.argsort(part, kind="stable")
        rows = rows.take(to_arrow(order)).combine_chunks()
        ends = np.searchsorted(part[order], np.arange(len(self.files) + 1))
        if not self._writers:
            self._writers = [
                pa.ipc.new_stream(pa.PythonFile(f, "w"), rows.schema) for f in self.files
            ]
        for writer, start, end in zip(self._writers, ends[:-1], ends[1:], strict=True):
            if end > start:
                writer.write_table(rows.slice(start, end - start))
        return int(rows.nbytes)

    def end(self, sources: Sequence[str]) -> None:
        """Write what ends each file, and keep the names of the tables' files."""
        self.sources = sources
        for writer in self._writers:
            writer.close()

    def read(self, number: int) -> Any:
        """Return the rows of a part as Arrow's table, and free its space; None for no rows."""
        file = self.files[number]
        file.seek(0)
        rows = pa.ipc.open_stream(pa.PythonFile(file, "r")).read_all() if self._writers else None
        file.close()
        return rows

    def close(self) -> None:
        """Free all space."""
        for file in self.files:
            file.close()


def _joined(pieces: Sequence[_Rows]) -> _Rows:
    """Return the rows of several pieces, at least one, in one."""
    first = pieces[0].block
    columns = {
        name: pa.chunked_array(
            [chained([piece.block.originals[name] for piece in pieces]).combine_chunks()]
        )
        for name in first.originals
    }
    sources: list[str] = []
    files = []
    for piece in pieces:
        if piece.sources is not pieces[0].sources:
            files.append(piece.file + len(sources))
            sources += piece.sources
        else:
            files.append(piece.file)
            sources = sources or list(piece.sources)
    row = np.concatenate([piece.row for piece in pieces])
    return _Rows(first.with_rows(columns), np.concatenate(files), row, sources)
