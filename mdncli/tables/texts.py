"""What columns of text hold: missing cells, counts, and places among known texts."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mdncli.tables import arrow


def is_missing(column: pa.ChunkedArray, na: tuple[str, ...]) -> NDArray[np.bool_]:
    """Return which texts are blank or one of those that stand for a missing value, (N,)."""
    known = arrow.texts(["", *na])
    return arrow.flags(pc.is_in(pc.utf8_trim_whitespace(column), value_set=known))


def counted(column: pa.ChunkedArray, na: tuple[str, ...]) -> dict[str, int]:
    """Return how often each text occurs, missing ones aside, in the order of their first places."""
    counts = {each["values"]: each["counts"] for each in pc.value_counts(column).to_pylist()}
    return {text: count for text, count in counts.items() if text.strip() not in ("", *na)}


def positions(column: pa.ChunkedArray, levels: list[str]) -> NDArray[np.float64]:
    """Return the position of each text among the levels, (N,), NaN where it is none of them."""
    return floats(pc.index_in(column, value_set=arrow.texts(levels)))


def floats(column: Any) -> NDArray[np.float64]:
    """Return a column of whole numbers as float64, (N,), NaN where it is null."""
    there = arrow.flags(pc.is_valid(column))
    numbers = pc.fill_null_forward(pc.cast(column, pa.float64(), safe=False))
    return np.where(there, arrow.values_of(numbers, np.float64), np.nan)
