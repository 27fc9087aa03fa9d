"""Arrow's arrays from Python's values and to NumPy's, by ways that do not import pandas.

`pa.array`, `pa.scalar` and `to_numpy` would: half a second for nothing.

What columns of text hold: missing cells, counts, and places among known texts.
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


def is_missing(column: pa.ChunkedArray, na: tuple[str, ...]) -> NDArray[np.bool_]:
    """Return which texts are blank or one of those that stand for a missing value, (N,)."""
    known = texts(["", *na])
    return flags(pc.is_in(pc.utf8_trim_whitespace(column), value_set=known))


def counted(column: pa.ChunkedArray, na: tuple[str, ...]) -> dict[str, int]:
    """Return how often each text occurs, missing ones aside, in the order of their first places."""
    counts = {each["values"]: each["counts"] for each in pc.value_counts(column).to_pylist()}
    return {text: count for text, count in counts.items() if text.strip() not in ("", *na)}


def positions(column: pa.ChunkedArray, levels: list[str]) -> NDArray[np.float64]:
    """Return the position of each text among the levels, (N,), NaN where it is none of them."""
    return floats(pc.index_in(column, value_set=texts(levels)))


def floats(column: Any) -> NDArray[np.float64]:
    """Return a column of whole numbers as float64, (N,), NaN where it is null."""
    there = flags(pc.is_valid(column))
    numbers = pc.fill_null_forward(pc.cast(column, pa.float64(), safe=False))
    return np.where(there, values_of(numbers, np.float64), np.nan)
