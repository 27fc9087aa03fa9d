"""Parquet files, read and written. Columns keep their types."""

from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from mdncli.errors import DataError
from mdncli.files import FileContent
from mdncli.tables.arrow import TextColumns
from mdncli.tables.csv_reader import require_names
from mdncli.tables.decoding import require_acceptable_size
from mdncli.tables.dialect import uncompressed_name


def is_parquet(path: str) -> bool:
    """Return whether the name of a file says that it is a Parquet file."""
    return uncompressed_name(path).endswith(".parquet")


def read_parquet(
    file: FileContent,
) -> tuple[Mapping[str, pa.ChunkedArray], dict[str, pa.ChunkedArray]]:
    """Return the columns of a Parquet file, first as text and then with their own types.

    Raises:
        DataError: the file is not a complete Parquet file, has no columns, has two columns of one
            name, or grows too large.
    """
    parquet = _parquet_module()
    try:
        reader = parquet.ParquetFile(pa.BufferReader(file.content))
        metadata = reader.metadata
        groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
        require_acceptable_size(sum(group.total_byte_size for group in groups), file.name)
        table = reader.read()
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{file.name}: the name ends in .parquet, but this is not a complete Parquet file."
        ) from error
    if not table.num_columns:
        raise DataError(f"{file.name}: the file has no columns.")
    require_names(table.column_names, file.name)
    columns = zip(table.column_names, table.columns, strict=True)
    originals = {name: _without_dictionary(column) for name, column in columns}
    return TextColumns(originals), originals


def write_parquet(stream: BinaryIO, tables: Iterator[pa.Table]) -> None:
    """Write tables with the same columns one below another; there is at least one."""
    first = next(tables)
    with _parquet_module().ParquetWriter(stream, first.schema) as writer:
        writer.write_table(first)
        for table in tables:
            writer.write_table(table)


def _parquet_module() -> Any:
    # The import takes 21 ms, and most tables are CSV.
    import pyarrow.parquet

    return pyarrow.parquet


def _without_dictionary(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not pa.types.is_dictionary(column.type):
        return column
    return pc.cast(column, column.type.value_type)
