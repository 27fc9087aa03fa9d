"""Tables as Python has them: data frames and arrays become columns of numbers, by name."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mdncli.errors import DataError
from mdncli.words import listed, nearest, quoted


def matrix(rows: Any, names: list[str]) -> NDArray[np.float64]:
    """Return the named columns as finite numbers, shape (N, len(names)).

    Args:
        rows: a data frame, of which other columns are ignored; or an array of these columns in
            their order, of one dimension where there is one name.
        names: of the columns.

    Raises:
        DataError: a column is missing, their number is another, or a value is not a finite number.
    """
    values = _by_name(rows, names) if hasattr(rows, "columns") else _in_order(rows, names)
    if not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0]
        raise DataError(
            f"row {row + 1}, column {quoted(names[column])}: {values[row, column]} is not a finite "
            "number. Leave the row out."
        )
    return values


def _by_name(frame: Any, names: list[str]) -> NDArray[np.float64]:
    texts = [str(name) for name in frame.columns]
    there = dict(zip(texts, frame.columns, strict=True))
    for name in names:
        if texts.count(name) > 1:
            raise DataError(f"two columns are named {quoted(name)}. Rename one.")
        if name not in there:
            raise DataError(
                f"there is no column {quoted(name)}.{nearest(name, texts)} The columns are: "
                f"{listed(texts)}."
            )
    return np.column_stack([_numbers(frame[there[name]], name) for name in names])


def _in_order(rows: Any, names: list[str]) -> NDArray[np.float64]:
    values = _numbers(rows, names[0] if len(names) == 1 else "")
    if values.ndim == 1 and len(names) == 1:
        values = values[:, None]
    if values.ndim != 2 or values.shape[1] != len(names):
        raise DataError(
            f"the array is of shape {values.shape}: it must have {len(names)} "
            f"{'column' if len(names) == 1 else 'columns'}, {listed(names)}."
        )
    return values


def _numbers(values: Any, name: str) -> NDArray[np.float64]:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        where = f"column {quoted(name)}" if name else "the array"
        raise DataError(f"{where} holds what is not a number: {error}.") from error
