"""Arrow's arrays from Python's values and to NumPy's, by ways that do not import pandas.

`pa.array`, `pa.scalar` and `to_numpy` would: half a second for nothing.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mdncli.errors import DataError

_MOST_BYTES = 1 << 31


def texts(values: Sequence[str]) -> pa.Array:
    """Return texts without null characters as an array; at least one.

    Raises:
        DataError: together they are longer than 2 GiB.
    """
    # All of them at once, with null characters to tell one from the next: one by one is slow.
    joined = np.frombuffer("\0".join(values).encode(), np.uint8)
    if len(joined) >= _MOST_BYTES:
        raise DataError("some tens of thousands of rows hold more than 2 GiB. Split the cells.")
    between = np.flatnonzero(joined == 0)
    ends = np.append(between, len(joined)) - np.arange(len(between) + 1)
    offsets = pa.py_buffer(np.insert(ends, 0, 0).astype(np.int32))
    content = pa.py_buffer(joined[joined != 0])
    return pa.Array.from_buffers(pa.string(), len(values), [None, offsets, content])


def column(values: Sequence[str]) -> pa.ChunkedArray:
    """Return texts as a column of a table."""
    return pa.chunked_array([texts(values)])


def text_scalar(value: str) -> pa.Scalar:
    """Return one text as a scalar."""
    return texts([value])[0]


def values_of(column: pa.ChunkedArray, kind: Any) -> NDArray[Any]:
    """Return a column of numbers without nulls as NumPy's, of the same kind."""
    parts = [np.empty(0, kind)]
    for chunk in column.chunks:
        whole = np.frombuffer(chunk.buffers()[1], dtype=kind)
        parts.append(whole[chunk.offset : chunk.offset + len(chunk)])
    return np.concatenate(parts)


def flags(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Return a column of truth values without nulls as NumPy's."""
    return values_of(pc.cast(column, pa.uint8()), np.uint8).astype(bool)
