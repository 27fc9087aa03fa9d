"""Parquet files, in and out: columns keep their types, and have a text where one is needed."""

from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from mdncli.errors import DataError
from mdncli.tables.arrow import text_scalar
from mdncli.tables.csv_reader import require_names
from mdncli.tables.decoding import require_bearable
from mdncli.tables.dialect import uncompressed_name


def is_parquet(path: str) -> bool:
    """Return whether a file's name says that it is Parquet."""
    return uncompressed_name(path).endswith(".parquet")


def read_parquet(
    content: bytes, source: str
) -> tuple[Mapping[str, pa.ChunkedArray], dict[str, pa.ChunkedArray]]:
    """Return the columns of a Parquet file, as text and as they are; null is a missing cell.

    Raises:
        DataError: it is no Parquet file, has no columns or two of one name, or grows too large.
    """
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(pa.BufferReader(content))
        metadata = file.metadata
        groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
        require_bearable(sum(group.total_byte_size for group in groups), source)
        table = file.read()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{source}: this is not a whole Parquet file, as its name says.") from error
    if not table.num_columns:
        raise DataError(f"{source}: the file has no columns.")
    require_names(table.column_names, source)
    columns = zip(table.column_names, table.columns, strict=True)
    originals = {name: _values_of_dictionary(column) for name, column in columns}
    return _Texts(originals), originals


class _Texts(Mapping[str, pa.ChunkedArray]):
    """The columns of a Parquet file as text, each made when it is asked for."""

    def __init__(self, originals: Mapping[str, pa.ChunkedArray]) -> None:
        self._originals = {
            name: column for name, column in originals.items() if has_text(column.type)
        }
        self._made: dict[str, pa.ChunkedArray] = {}

    def __getitem__(self, name: str) -> pa.ChunkedArray:
        if name not in self._made:
            self._made[name] = as_text(self._originals[name])
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._originals)

    def __len__(self) -> int:
        return len(self._originals)


def has_text(kind: Any) -> bool:
    """Return whether values of an Arrow type can be written in a cell: no lists, maps or bytes."""
    unfit = (
        pa.types.is_nested,
        pa.types.is_binary,
        pa.types.is_large_binary,
        pa.types.is_fixed_size_binary,
        pa.types.is_binary_view,
    )
    return not any(is_unfit(kind) for is_unfit in unfit)


def as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column as text without nulls: a null is the empty cell, a date or time ISO 8601."""
    kind = column.type
    if pa.types.is_null(kind):
        column = pc.cast(column, pa.string())
    elif pa.types.is_timestamp(kind):
        zone = "%z" if kind.tz else ""
        column = pc.strftime(column, format=f"%Y-%m-%dT%H:%M:%S{zone}")
    elif pa.types.is_duration(kind):
        column = pc.cast(pc.cast(column, pa.int64()), pa.string())
    elif kind != pa.string():
        column = pc.cast(column, pa.string())
    return pc.fill_null(column, text_scalar("")) if column.null_count else column


def _values_of_dictionary(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not pa.types.is_dictionary(column.type):
        return column
    return pc.cast(column, column.type.value_type)


def write_parquet(stream: BinaryIO, tables: Iterator[pa.Table]) -> None:
    """Write tables of the same columns one below another."""
    import pyarrow.parquet as pq

    first = next(tables)
    with pq.ParquetWriter(stream, first.schema) as writer:
        writer.write_table(first)
        for table in tables:
            writer.write_table(table)
