"""Arrow's arrays from Python's values and to NumPy's, by ways that do not import pandas.

`pa.array`, `pa.scalar` and `to_numpy` would: half a second for nothing.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow.lib import StringBuilder


def texts(values: Sequence[str | None]) -> pa.Array:
    """Return texts as an array, null for None."""
    builder = StringBuilder()
    builder.append_values(list(values))
    return builder.finish()


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
