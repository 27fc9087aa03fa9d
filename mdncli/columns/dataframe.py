"""Data frames and arrays: into a table, and out of one.

This module imports pandas only where a data frame is made. Data frames that come in bring it along.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mdncli.errors import DataError
from mdncli.tables.cells import TextColumns, text_column
from mdncli.tables.table import Table
from mdncli.text import counted, listed, quoted

if TYPE_CHECKING:
    import pandas as pd

_SOURCE = "the rows"
_DATE, _CATEGORY = "date", "category"


def is_data_frame(rows: Any) -> bool:
    """Return whether rows have named columns, as a data frame does."""
    return hasattr(rows, "columns") and hasattr(rows, "dtypes")


def table_of(rows: Any, names: Sequence[str] = ()) -> Table:
    """Return the table that a data frame, a mapping or an array holds.

    The kinds of a data frame's columns count: `category` and `bool` are categories, `datetime64` of
    any unit is a date, with a zone it is taken in UTC. A column of objects is read as text.

    Args:
        rows: a data frame; a mapping from names to columns; or an array of N rows and as many
            columns as there are names, of one dimension if there is one name.
        names: of the columns of an array; `x1`, `x2`, … by default.

    Raises:
        DataError: two columns have one name, columns differ in length, an array has another number
            of columns, or a column holds values of another kind.
    """
    if is_data_frame(rows):
        columns = [(str(name), rows.iloc[:, i]) for i, name in enumerate(rows.columns)]
    elif isinstance(rows, Mapping):
        columns = [(str(name), np.asarray(values)) for name, values in rows.items()]
    else:
        array = _two_dimensional(rows, names)
        names = names or [f"x{position + 1}" for position in range(array.shape[1])]
        columns = [(name, array[:, position]) for position, name in enumerate(names)]
    if not columns:
        raise DataError(f"{_SOURCE} have no columns.")
    originals: dict[str, pa.ChunkedArray] = {}
    declared: dict[str, str] = {}
    texts = {name: _category_texts(values) for name, values in columns if _names_numbers(values)}
    for name, values in columns:
        if name in originals:
            raise DataError(f"{_SOURCE}: two columns are named {quoted(name)}. Rename one.")
        originals[name], kind = _column(values, name)
        if kind:
            declared[name] = kind
    if len({len(column) for column in originals.values()}) > 1:
        raise DataError(f"{_SOURCE}: the columns have different lengths.")
    columns_of_text: Mapping[str, pa.ChunkedArray] = TextColumns(originals)
    if texts:
        columns_of_text = {**columns_of_text, **texts}
    return Table(_SOURCE, columns_of_text, originals, declared=declared)


def frame_of(pieces: Iterable[Mapping[str, Any]]) -> "pd.DataFrame":
    """Return tables with the same columns, one below another, as a data frame.

    Args:
        pieces: each maps names to NumPy arrays or to Arrow's columns.
    """
    import pandas as pd

    frames = [
        pd.DataFrame({name: _values(column) for name, column in piece.items()}) for piece in pieces
    ]
    return frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)


def joined(table: Table, other: Table, names: Sequence[str]) -> Table:
    """Return a table with these columns of another one, the targets, in place of its own.

    Raises:
        DataError: the tables differ in their number of rows.
    """
    if other.rows != table.rows:
        raise DataError(
            f"Got {table.rows} rows but {other.rows} targets; the counts must match and be at "
            "least one."
        )
    originals = {**table.originals, **{name: other.originals[name] for name in names}}
    declared = {**table.declared, **other.declared}
    columns = {**table.columns, **{name: other.columns[name] for name in names}}
    return replace(table, columns=columns, originals=originals, declared=declared)


def numbers_where_possible(table: Table) -> dict[str, Any]:
    """Return a table's columns for a data frame: numbers as floats, other columns as text.

    A column is numbers if every cell is a number or missing. A missing number is NaN.
    """
    columns: dict[str, Any] = {}
    for name, text in table.columns.items():
        cells = table.cells(name)
        columns[name] = cells.values if cells.kind == "number" else text
    return columns


def _values(column: Any) -> Any:
    return column if isinstance(column, np.ndarray) else column.to_pylist()


def _two_dimensional(rows: Any, names: Sequence[str]) -> NDArray[Any]:
    try:
        array = np.asarray(rows)
    except ValueError as error:
        raise DataError(f"{_SOURCE} are not an array: {error}.") from error
    if array.ndim == 1 and len(names) <= 1:
        array = array[:, None]
    if array.ndim != 2 or (names and array.shape[1] != len(names)):
        wanted = f" It must have {counted(len(names), 'column')}, {listed(names)}." if names else ""
        raise DataError(f"The array has the shape {array.shape}.{wanted}")
    return array


def _column(values: Any, name: str) -> tuple[pa.ChunkedArray, str]:
    """Return a column for a table, and the kind that it declares, or an empty text."""
    dtype = values.dtype
    if str(dtype) == "category":
        return _category(values, name), _CATEGORY
    kind = getattr(dtype, "kind", "O")
    if kind == "M":
        return _moments(values), _DATE
    if kind == "b":
        return _truth(values), _CATEGORY
    if kind in "iuf":
        return _numbers(values), ""
    if kind in "OUST" or str(dtype).startswith("string"):
        return _objects(values, name)
    raise DataError(
        f"{_SOURCE}, column {quoted(name)}: it holds {dtype}, neither numbers nor text."
    )


def _category(values: Any, name: str) -> pa.ChunkedArray:
    if _names_numbers(values):
        kind = "float64" if values.hasnans else values.cat.categories.dtype
        return _numbers(values.astype(kind))
    column, _ = _objects(values.astype(object), name)
    return column


def _names_numbers(values: Any) -> bool:
    """Return whether a column is one of categories that are numbers."""
    if str(values.dtype) != "category":
        return False
    return getattr(values.cat.categories.dtype, "kind", "O") in "iuf"


def _category_texts(values: Any) -> pa.ChunkedArray:
    """Return categories that are numbers as the texts that pandas writes to a file, such as 1.0."""
    texts = [*map(str, values.cat.categories.tolist()), ""]
    # The code of a missing category is -1.
    return text_column([texts[code] for code in values.cat.codes.tolist()])


def _moments(values: Any) -> pa.ChunkedArray:
    """Return dates and times; those with a zone in UTC."""
    moments = np.ascontiguousarray(np.asarray(values, dtype="datetime64[us]"))
    there = ~np.isnat(moments)
    return _from_memory(pa.timestamp("us"), moments.view(np.int64), there)


def _truth(values: Any) -> pa.ChunkedArray:
    """Return truth values as `True` and `False`, as Python and pandas write them."""
    return text_column(
        ["" if _is_missing(value) else str(bool(value)) for value in values.tolist()]
    )


def _numbers(values: Any) -> pa.ChunkedArray:
    """Return numbers, null where missing; those of NumPy's own kinds share their memory."""
    if not isinstance(values.dtype, np.dtype):
        # A nullable kind of pandas.
        there = ~np.asarray(values.isna())
        values = values.to_numpy(dtype=np.float64, na_value=np.nan)
        return _from_memory(pa.float64(), values, there)
    array = np.asarray(values)
    if array.dtype.kind == "f" or array.dtype.itemsize > 8 or array.dtype == np.uint64:
        floats = np.ascontiguousarray(array, dtype=np.float64)
        return _from_memory(pa.float64(), floats, ~np.isnan(floats))
    return _from_memory(pa.int64(), np.ascontiguousarray(array, dtype=np.int64))


def _from_memory(
    kind: Any, values: NDArray[Any], there: NDArray[np.bool_] | None = None
) -> pa.ChunkedArray:
    valid = None
    if there is not None and not there.all():
        valid = pa.py_buffer(np.packbits(there, bitorder="little"))
    buffers = [valid, pa.py_buffer(values)]
    return pa.chunked_array([pa.Array.from_buffers(kind, len(values), buffers)])


def _objects(values: Any, name: str) -> tuple[pa.ChunkedArray, str]:
    """Return a column of Python's objects: truth values as categories, anything else as text."""
    cells = values.tolist()
    there = [cell for cell in cells if not _is_missing(cell)]
    if there and all(isinstance(cell, bool | np.bool_) for cell in there):
        return _truth(values), _CATEGORY
    texts = ["" if _is_missing(cell) else str(cell) for cell in cells]
    if not texts:
        return pa.chunked_array([], pa.string()), ""
    if any("\0" in text for text in texts):
        raise DataError(f"{_SOURCE}, column {quoted(name)}: a text holds a null character.")
    return text_column(texts), ""


def _is_missing(value: Any) -> bool:
    """Return whether a value is None, NaN, NaT, or NA."""
    return value is None or str(value) in ("nan", "<NA>", "NaT")
