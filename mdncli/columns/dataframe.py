"""Tables as Python has them: data frames and arrays become columns of numbers, by name."""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mdncli.columns.features import Feature, NumberFeature
from mdncli.columns.kinds import column_of
from mdncli.errors import DataError
from mdncli.tables import arrow
from mdncli.tables.table import Table
from mdncli.text import listed, nearest, quoted
from mdncli.types import Array


def matrix(rows: Any, names: list[str]) -> Array:
    """Return the named columns as finite numbers, shape (N, len(names)).

    Args:
        rows: a data frame, of which other columns are ignored; or an array of these columns in
            their order, of one dimension where there is one name.
        names: of the columns.

    Raises:
        DataError: a column is missing, their number is another, or a value is not a finite number.
    """
    values = _number_columns(rows, names)
    _require(np.isfinite(values), values, names)
    return values


def target_matrix(rows: Any, names: list[str]) -> Array:
    """Return what `matrix` does, with NaN where a value is missing."""
    values = _number_columns(rows, names)
    _require(~np.isinf(values), values, names)
    return values


def feature_matrix(rows: Any, features: tuple[Feature, ...]) -> Array:
    """Return the features' columns as a model takes them, shape (N, F), NaN where missing.

    Args:
        rows: a data frame or an array, as for `matrix`. Categories are texts, or what prints as
            they do; dates are texts of their format, or moments.
        features: of the model.

    Raises:
        DataError: as for `matrix`; or a value is missing in a column that had none missing in
            training.
    """
    columns = _columns(rows, [feature.name for feature in features])
    pairs = zip(columns, features, strict=True)
    values = np.column_stack([_feature(column, feature) for (column, _), feature in pairs])
    gaps = np.array([feature.gaps for feature in features])
    _require(np.isfinite(values) | (np.isnan(values) & gaps), values, [f.name for f in features])
    return values


def _feature(values: Any, feature: Feature) -> Array:
    if type(feature) is NumberFeature:
        return _numbers(values, feature.name)
    given = np.asarray(values)
    if given.dtype.kind == "M":
        days = given.astype("datetime64[us]").astype(np.float64) / 86.4e9
        return np.where(np.isnat(given), np.nan, days)
    texts = ["" if _is_nothing(value) else str(value) for value in given.tolist()]
    table = Table("the rows", {feature.name: pa.chunked_array([arrow.texts(texts)])})
    return column_of(feature).read(table).values


def _is_nothing(value: Any) -> bool:
    """Return whether a value is None, NaN, or pandas' NA."""
    return value is None or str(value) in ("nan", "<NA>", "NaT")


def _require(good: NDArray[np.bool_], values: Array, names: list[str]) -> None:
    if not good.all():
        row, column = np.argwhere(~good)[0]
        raise DataError(
            f"row {row + 1}, column {quoted(names[column])}: {values[row, column]} is not a finite "
            "number. Leave the row out."
        )


def _columns(rows: Any, names: list[str]) -> list[tuple[Any, str]]:
    """Return each named column as it is, with its name."""
    if not hasattr(rows, "columns"):
        values = _two_dimensional(rows, names)
        return [(values[:, position], name) for position, name in enumerate(names)]
    texts = [str(name) for name in rows.columns]
    there = dict(zip(texts, rows.columns, strict=True))
    for name in names:
        if texts.count(name) > 1:
            raise DataError(f"two columns are named {quoted(name)}. Rename one.")
        if name not in there:
            raise DataError(
                f"there is no column {quoted(name)}.{nearest(name, texts)} The columns are: "
                f"{listed(texts)}."
            )
    return [(rows[there[name]], name) for name in names]


def _two_dimensional(rows: Any, names: list[str]) -> Any:
    try:
        values = np.asarray(rows)
    except ValueError as error:
        raise DataError(f"the rows are no array: {error}.") from error
    if values.ndim == 1 and len(names) == 1:
        values = values[:, None]
    if values.ndim != 2 or values.shape[1] != len(names):
        raise DataError(
            f"the array is of shape {values.shape}: it must have {len(names)} "
            f"{'column' if len(names) == 1 else 'columns'}, {listed(names)}."
        )
    return values


def _number_columns(rows: Any, names: list[str]) -> Array:
    return np.column_stack([_numbers(column, name) for column, name in _columns(rows, names)])


def _numbers(values: Any, name: str) -> Array:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"column {quoted(name)} holds what is not a number: {error}.") from error
