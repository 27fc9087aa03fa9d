"""Data frames, mappings and arrays as tables; and tables as data frames."""

import datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from small_tables import table_of_text

from mdncli.columns.dataframe import (
    frame_of,
    is_data_frame,
    joined,
    numbers_where_possible,
    table_of,
)
from mdncli.columns.kinds import CategoryReader, DateReader, feature_readers
from mdncli.columns.roles import Roles
from mdncli.errors import DataError
from mdncli.settings import FitOptions

NAMES = ["a", "b", "c"]
VALUES = np.arange(12.0).reshape(4, 3)
FRAME = pd.DataFrame(VALUES, columns=NAMES)


def matrix(rows: Any, names: list[str]) -> np.ndarray:
    """Return the named columns of rows as finite numbers."""
    return table_of(rows, () if is_data_frame(rows) else names).numbers(names)


def test_the_columns_of_a_frame_are_found_by_name_in_any_order() -> None:
    for order in (["c", "a", "b"], ["b", "more", "c", "a"]):
        frame = FRAME.assign(more="text")[order]
        np.testing.assert_array_equal(matrix(frame, NAMES), VALUES)
    np.testing.assert_array_equal(matrix(FRAME, ["c", "a"]), VALUES[:, [2, 0]])


@pytest.mark.parametrize(
    "columns",
    [
        pd.DataFrame({"x": [1, 0, 1]}),
        pd.DataFrame({"x": ["1", " 0.0", "1e0"]}),
        pd.DataFrame({"x": [1.0, 0.0, 1.0]}, index=[5, 5, 2]),
        pd.DataFrame({"x": pd.array([1, 0, 1], dtype="Int64")}),
        pd.DataFrame({"x": pd.array([1.0, 0.0, 1.0], dtype="Float64")}),
        pd.DataFrame({"x": pd.array([1, 0, 1], dtype="UInt8")}),
        pd.DataFrame({"x": pd.array(["1", "0", "1"], dtype="string")}),
        pd.DataFrame({"x": pd.Categorical([1.0, 0.0, 1.0])}),
        pd.DataFrame({"x": pd.Categorical(["1", "0", "1"])}),
        {"x": [1, 0, 1]},
        {"x": np.array([1, 0, 1], dtype=np.uint64)},
        pd.Series([1, 0, 1]),
        [1, 0, 1],
        [[1], [0], [1]],
        ((1,), (0,), (1,)),
        np.array([1.0, 0.0, 1.0], dtype=np.float32),
        np.array([1.0, 0.0, 1.0], dtype=np.float16),
        np.array([1.0, 0.0, 1.0], dtype=np.longdouble),
        np.array([[1], [0], [1]], dtype=">i2"),
        np.array([1.0, 9.0, 0.0, 9.0, 1.0])[::2],
    ],
)
def test_numbers_of_every_type_are_floats(columns: object) -> None:
    found = matrix(columns, ["x"])
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, [[1.0], [0.0], [1.0]])


@pytest.mark.parametrize(
    "column",
    [
        [1.5, np.nan, -2.0],
        pd.array([1.5, None, -2.0], dtype="Float64"),
        pd.array([1.5, None, -2.0], dtype="Float32"),
        pd.Series([1.5, None, -2.0], dtype=object),
        pd.array(["1.5", None, "-2"], dtype="string"),
        pd.Categorical([1.5, None, -2.0]),
        pd.Categorical(["1.5", None, "-2"]),
        np.array([1.5, np.nan, -2.0], dtype=np.float32),
    ],
)
def test_missing_cells_of_numbers_are_missing(column: Any) -> None:
    cells = table_of(pd.DataFrame({"x": column})).cells("x")
    assert cells.missing.tolist() == [False, True, False]
    np.testing.assert_array_equal(cells.values, [1.5, np.nan, -2.0])
    whole = table_of(pd.DataFrame({"x": pd.array([3, None], dtype="Int64")})).cells("x")
    assert whole.missing.tolist() == [False, True]
    assert whole.values[0] == 3.0


# The kinds that a data frame declares.


def reader_of(frame: pd.DataFrame, **parameters: Any) -> object:
    """Return how the column x of a frame is read as a feature."""
    table = table_of(frame.assign(y=np.arange(len(frame))))
    [reader] = feature_readers(table, Roles(["x"], ["y"]), FitOptions(**parameters))
    return reader


@pytest.mark.parametrize(
    ("column", "levels"),
    [
        (pd.Categorical(["u", "v", "u", "v", None]), ["u", "v"]),
        (pd.Categorical([2, 1, 2, 1, 2]), ["2", "1"]),
        (pd.Categorical([2.5, None, 2.5, 1.0, 1.0]), ["1.0", "2.5"]),
        (pd.Categorical([2, None, 2, 1, 1]), ["1", "2"]),
        (pd.Categorical([True, False, True, False, True]), ["True", "False"]),
        ([True, False, True, False, True], ["True", "False"]),
        (pd.array([True, False, True, None, False], dtype="boolean"), ["False", "True"]),
        (pd.Series([True, False, None, True, False], dtype=object), ["False", "True"]),
        (["u", "v", "u", "v", None], ["u", "v"]),
        (pd.array(["u", "v", "u", None, "v"], dtype="string"), ["u", "v"]),
        (pd.Series(["u", None, "u", "v", "v"], dtype=object), ["u", "v"]),
    ],
)
def test_categories(column: Any, levels: list[str]) -> None:
    frame = pd.DataFrame({"x": column})
    reader = reader_of(frame)
    assert reader == CategoryReader("x", levels)
    read = reader.read(table_of(frame))
    np.testing.assert_array_equal(np.isnan(read.values), frame["x"].isna())
    assert not read.unseen.any()


def test_a_category_of_a_data_frame_may_differ_in_every_row() -> None:
    """An identifier as text is left out, but a column that is declared a category is not."""
    frame = pd.DataFrame({"x": pd.Categorical(["p", "q", "q", "r", "p"])})
    assert reader_of(frame) == CategoryReader("x", ["p", "q"])


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Tokyo"])
def test_dates_of_every_unit_with_and_without_a_zone(unit: str, zone: str | None) -> None:
    stamps = pd.Series(["1970-01-02T12:00:00", None, "1969-12-31T00:00:00"])
    moments = pd.to_datetime(stamps, utc=zone is not None).astype(
        f"datetime64[{unit}]" if zone is None else f"datetime64[{unit}, UTC]"
    )
    if zone is not None:
        moments = moments.dt.tz_convert(zone)
    frame = pd.DataFrame({"x": moments})
    assert reader_of(frame) == DateReader("x", "")
    read = DateReader("x", "").read(table_of(frame))
    np.testing.assert_array_equal(read.values, [1.5, np.nan, -1.0])
    assert not read.faults


def test_dates_as_numpy_has_them_and_as_objects() -> None:
    days = np.array(["1970-01-03", "NaT"], dtype="datetime64[D]")
    np.testing.assert_array_equal(
        DateReader("x", "").read(table_of({"x": days})).values, [2.0, np.nan]
    )
    objects = pd.DataFrame({"x": pd.Series([datetime.date(1970, 1, 3), None], dtype=object)})
    np.testing.assert_array_equal(DateReader("x", "").read(table_of(objects)).values, [2.0, np.nan])


@pytest.mark.parametrize("cells", [["1", "1.50", "007"], ["2", "3", "-4.0"]])
def test_levels_that_were_numbers_in_a_file_are_found_by_number(cells: list[str]) -> None:
    text = "x,y\n" + "".join(f"{cell},{row}\n" for row, cell in enumerate(cells * 6))
    options = FitOptions(categorical="x")
    [reader] = feature_readers(table_of_text(text), Roles(["x"], ["y"]), options)
    assert sorted(reader.levels) == sorted(cells)
    expected = [reader.levels.index(cell) for cell in cells]
    numbers = np.array([float(cell) for cell in cells])
    for column in (numbers, numbers.astype(np.float32), pd.Categorical(numbers), cells):
        read = reader.read(table_of(pd.DataFrame({"x": column})))
        np.testing.assert_array_equal(read.values, expected)
        assert not read.unseen.any()
    new = reader.read(table_of({"x": np.array([99.0, np.nan])}))
    np.testing.assert_array_equal(new.values, [len(cells), np.nan])
    assert new.unseen.tolist() == [True, False]


def test_a_category_of_numbers_has_the_texts_that_pandas_writes() -> None:
    frame = pd.DataFrame({"x": pd.Categorical([0.5, 1.0, None, 1e20, 1e-7])})
    written = table_of_text(frame.assign(y=0).to_csv(index=False))
    assert table_of(frame).columns["x"].to_pylist() == written.columns["x"].to_pylist()
    np.testing.assert_array_equal(table_of(frame).cells("x").values, written.cells("x").values)


@pytest.mark.parametrize("levels", [["True", "False"], ["true", "false"], ["TRUE", "FALSE"]])
def test_truth_values_are_found_however_a_file_writes_them(levels: list[str]) -> None:
    frame = pd.DataFrame({"x": [True, False]})
    read = CategoryReader("x", levels).read(table_of(frame))
    np.testing.assert_array_equal(read.values, [0.0, 1.0])


# Shapes and names.


def test_the_columns_of_an_array_have_names() -> None:
    assert table_of(VALUES).names == ["x1", "x2", "x3"]
    assert table_of([1.0, 2.0]).names == ["x1"]
    assert table_of(VALUES, NAMES).names == NAMES


def test_names_that_are_not_text_are_found_by_their_text() -> None:
    frame = pd.DataFrame(VALUES, columns=[10, 20, 30])
    np.testing.assert_array_equal(matrix(frame, ["30", "10"]), VALUES[:, [2, 0]])


def test_no_rows_are_not_an_error() -> None:
    assert matrix(FRAME[:0], NAMES).shape == (0, 3)
    assert matrix(np.empty((0, 3)), NAMES).shape == (0, 3)
    assert matrix([], ["x"]).shape == (0, 1)
    assert matrix({"x": []}, ["x"]).shape == (0, 1)
    empty = pd.DataFrame({"x": pd.Series([], dtype="datetime64[ns]"), "c": pd.Categorical([])})
    assert table_of(empty).rows == 0


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (FRAME.rename(columns={"b": "B"}), "no column 'b'. Did you mean 'B'? The columns are"),
        (FRAME.assign(b=[1, 2, np.nan, 4]), "row 3, column 'b'"),
        (FRAME.assign(c=[1, np.inf, 3, 4]), "row 2, column 'c': 'inf' is not a finite number"),
        (FRAME.assign(a=["1", "x", "3", "4"]), "row 2, column 'a': 'x' is not a number"),
        (FRAME.assign(a=1j), "column 'a': it holds complex128, neither numbers nor text"),
        (FRAME.assign(a=pd.Timedelta(1, "s")), "column 'a': it holds timedelta64"),
        (FRAME.assign(a="nul\0"), "column 'a': a text holds a null character"),
        (VALUES[:, :2], "must have 3 columns, 'a', 'b', 'c'"),
        (VALUES[0], "shape (3,)"),
        (VALUES[None], "shape (1, 4, 3)"),
        ([["1", "2", "x"]], "row 1, column 'c': 'x' is not a number"),
        ([[1, 2], [3]], "not an array"),
        (1.0, "shape ()"),
        (None, "The array"),
    ],
)
def test_errors(rows: object, words: str) -> None:
    with pytest.raises(DataError) as refusal:
        matrix(rows, NAMES)
    assert words in str(refusal.value)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (pd.DataFrame(VALUES, columns=["a", "b", "b"]), "two columns are named 'b'"),
        ({1: [0.0], "1": [0.0]}, "two columns are named '1'"),
        ({"a": [1, 2], "b": [1]}, "the columns have different lengths"),
        ({}, "have no columns"),
        (pd.DataFrame(index=range(3)), "have no columns"),
    ],
)
def test_tables_that_cannot_be(rows: object, words: str) -> None:
    with pytest.raises(DataError, match=words):
        table_of(rows)


# Back to data frames.


def test_pieces_become_one_frame() -> None:
    pieces = [
        {"a": np.array([1.0, 2.0]), "b": pa.chunked_array([["x", "y"]])},
        {"a": np.array([3.0]), "b": pa.chunked_array([["z"]])},
    ]
    expected = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": ["x", "y", "z"]})
    pd.testing.assert_frame_equal(frame_of(pieces), expected)
    pd.testing.assert_frame_equal(frame_of(pieces[:1]), expected[:2])


def test_columns_of_numbers_become_numbers() -> None:
    table = table_of_text("a,b,c\n1,x,\n,2,\n")
    frame = frame_of([numbers_where_possible(table)])
    np.testing.assert_array_equal(frame["a"], [1.0, np.nan])
    assert frame["b"].tolist() == ["x", "2"]
    assert frame["c"].tolist() == ["", ""]


def test_joined_columns_keep_their_kinds() -> None:
    table = table_of(FRAME)
    other = table_of(pd.DataFrame({"b": pd.Categorical(["p"] * 4), "d": np.arange(4)}))
    both = joined(table, other, ["b", "d"])
    assert both.names == ["a", "b", "c", "d"]
    assert both.columns["b"].to_pylist() == ["p"] * 4
    assert both.declared == {"b": "category"}
