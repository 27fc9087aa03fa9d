"""Arrow columns: made from Python text, turned into NumPy arrays, and written as text.

`pa.array`, `pa.scalar` and `to_numpy` import pandas, which takes half a second. The functions here
do the same without it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mdncli.errors import DataError
from mdncli.types import Array, Mask

_MAX_BYTES = 1 << 31


def text_array(values: Sequence[str]) -> pa.Array:
    """Return texts as an Arrow array.

    Args:
        values: at least one text; none contains a null character.

    Raises:
        DataError: together the texts are longer than 2 GiB.
    """
    # The texts are joined with null characters and encoded at once. One by one would be slow.
    joined = np.frombuffer("\0".join(values).encode(), np.uint8)
    if len(joined) >= _MAX_BYTES:
        raise DataError(
            "A block of rows holds more than 2 GiB of text. Shorten the longest cells, or split "
            "the table."
        )
    separators = np.flatnonzero(joined == 0)
    ends = np.append(separators, len(joined)) - np.arange(len(separators) + 1)
    offsets = pa.py_buffer(np.insert(ends, 0, 0).astype(np.int32))
    content = pa.py_buffer(joined[joined != 0])
    return pa.Array.from_buffers(pa.string(), len(values), [None, offsets, content])


def text_column(values: Sequence[str]) -> pa.ChunkedArray:
    """Return texts, at least one, as a column of a table."""
    return pa.chunked_array([text_array(values)])


def text_scalar(value: str) -> pa.Scalar:
    """Return one text as an Arrow scalar."""
    return text_array([value])[0]


def to_numpy(column: pa.ChunkedArray, dtype: Any) -> NDArray[Any]:
    """Return a column of numbers without nulls as a NumPy array, shape (N,).

    Args:
        column: (N,).
        dtype: the NumPy type that matches the type of the column.
    """
    parts = [np.empty(0, dtype)]
    for chunk in column.chunks:
        if len(chunk):
            values = np.frombuffer(chunk.buffers()[1], dtype=dtype)
            parts.append(values[chunk.offset : chunk.offset + len(chunk)])
    return np.concatenate(parts)


def to_mask(column: pa.ChunkedArray) -> Mask:
    """Return a column of booleans without nulls as a NumPy array, shape (N,)."""
    return to_numpy(pc.cast(column, pa.uint8()), np.uint8).astype(bool)


def to_floats(column: Any) -> Array:
    """Return a column of numbers or booleans as float64, shape (N,), with NaN for null."""
    numbers = pc.cast(column, pa.float64(), safe=False)
    if numbers.null_count:
        numbers = pc.fill_null(numbers, pc.cast(text_scalar("nan"), pa.float64()))
    return to_numpy(numbers, np.float64)


def is_missing(column: pa.ChunkedArray, na: tuple[str, ...]) -> Mask:
    """Return which texts are blank or stand for a missing value, shape (N,).

    Args:
        column: (N,), text.
        na: texts that stand for a missing value.
    """
    missing = text_array(["", *na])
    return to_mask(pc.is_in(pc.utf8_trim_whitespace(column), value_set=missing))


def value_counts(column: pa.ChunkedArray, na: tuple[str, ...]) -> dict[str, int]:
    """Return how often each text occurs, in the order of first occurrence.

    Missing cells are not counted; see `is_missing`.
    """
    counts = {each["values"]: each["counts"] for each in pc.value_counts(column).to_pylist()}
    return {text: count for text, count in counts.items() if text.strip() not in ("", *na)}


def positions(column: pa.ChunkedArray, levels: list[str]) -> Array:
    """Return the position of each text in `levels`, shape (N,), with NaN for any other text."""
    return to_floats(pc.index_in(column, value_set=text_array(levels)))


class TextColumns(Mapping[str, pa.ChunkedArray]):
    """Typed columns as text. Each is converted when it is first used.

    Columns of lists, maps or bytes are left out; see `has_text`.
    """

    def __init__(self, originals: Mapping[str, pa.ChunkedArray]) -> None:
        self._originals = {
            name: column for name, column in originals.items() if has_text(column.type)
        }
        self._converted: dict[str, pa.ChunkedArray] = {}

    def __getitem__(self, name: str) -> pa.ChunkedArray:
        if name not in self._converted:
            self._converted[name] = as_text(self._originals[name])
        return self._converted[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._originals)

    def __len__(self) -> int:
        return len(self._originals)


def has_text(kind: Any) -> bool:
    """Return whether values of an Arrow type can be written as text: no lists, maps or bytes."""
    without_text = (
        pa.types.is_nested,
        pa.types.is_binary,
        pa.types.is_large_binary,
        pa.types.is_fixed_size_binary,
        pa.types.is_binary_view,
    )
    return not any(is_kind(kind) for is_kind in without_text)


def as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column as text without nulls.

    A null becomes the empty text. A date or a time is written as in ISO 8601, with microseconds at
    most.
    """
    kind = column.type
    if pa.types.is_timestamp(kind):
        column = _timestamps_as_text(column)
    elif pa.types.is_duration(kind):
        column = pc.cast(pc.cast(column, pa.int64()), pa.string())
    elif kind != pa.string():
        column = pc.cast(column, pa.string())
    return pc.fill_null(column, text_scalar("")) if column.null_count else column


def _timestamps_as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    if kind.unit == "ns":
        column = pc.cast(column, pa.timestamp("us", kind.tz), safe=False)
    zone = "%z" if kind.tz else ""
    return pc.strftime(column, format=f"%Y-%m-%dT%H:%M:%S{zone}")
