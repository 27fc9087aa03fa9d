"""Rows out as CSV: numbers as the shortest decimals that read back exactly."""

import csv
import io
from collections.abc import Iterable, Mapping
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
from numpy.typing import NDArray

Columns = Mapping[str, NDArray[np.float64] | NDArray[np.int64] | pa.ChunkedArray]

_WITHOUT_HEADER = pa_csv.WriteOptions(include_header=False, quoting_style="needed")


def write_csv(stream: BinaryIO, chunks: Iterable[Columns]) -> None:
    """Write tables one below another, under the header of the first.

    Args:
        stream: takes the bytes, UTF-8 with LF line ends.
        chunks: at least one; each maps the same column names to values of one length.
    """
    for position, columns in enumerate(chunks):
        if position == 0:
            stream.write(_header(list(columns)))
        table = pa.table(dict(columns))
        if table.num_rows:
            pa_csv.write_csv(table, pa.PythonFile(stream, mode="w"), _WITHOUT_HEADER)


def _header(names: list[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(names)
    return text.getvalue().encode()
