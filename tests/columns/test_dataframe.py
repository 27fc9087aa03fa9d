"""Data frames and arrays become columns of numbers by name, or are refused by name."""

import numpy as np
import pandas as pd
import pytest

from mdncli.columns.dataframe import matrix
from mdncli.errors import DataError

NAMES = ["a", "b", "c"]
VALUES = np.arange(12.0).reshape(4, 3)
FRAME = pd.DataFrame(VALUES, columns=NAMES)


def test_a_frames_columns_go_by_name_whatever_their_order() -> None:
    for order in (["c", "a", "b"], ["b", "more", "c", "a"]):
        frame = FRAME.assign(more="text")[order]
        np.testing.assert_array_equal(matrix(frame, NAMES), VALUES)
    np.testing.assert_array_equal(matrix(FRAME, ["c", "a"]), VALUES[:, [2, 0]])


@pytest.mark.parametrize(
    "columns",
    [
        pd.DataFrame({"x": [1, 0, 1]}),
        pd.DataFrame({"x": [True, False, True]}),
        pd.DataFrame({"x": ["1", " 0.0", "1e0"]}),
        pd.DataFrame({"x": [1.0, 0.0, 1.0]}, index=[5, 5, 2]),
        pd.Series([1, 0, 1]),
        [1, 0, 1],
        [[1], [0], [1]],
        np.array([1.0, 0.0, 1.0], dtype=np.float32),
    ],
)
def test_whatever_is_a_number_is_taken(columns: object) -> None:
    found = matrix(columns, ["x"])
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, [[1.0], [0.0], [1.0]])


def test_names_that_are_no_text_are_found_by_their_text() -> None:
    frame = pd.DataFrame(VALUES, columns=[10, 20, 30])
    np.testing.assert_array_equal(matrix(frame, ["30", "10"]), VALUES[:, [2, 0]])


def test_no_rows_are_no_mistake() -> None:
    assert matrix(FRAME[:0], NAMES).shape == (0, 3)
    assert matrix(np.empty((0, 3)), NAMES).shape == (0, 3)
    assert matrix([], ["x"]).shape == (0, 1)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (FRAME.rename(columns={"b": "B"}), "no column 'b'. Did you mean 'B'? The columns are"),
        (FRAME.assign(b=[1, 2, np.nan, 4]), "row 3, column 'b': nan is not a finite number"),
        (FRAME.assign(c=[1, np.inf, 3, 4]), "row 2, column 'c': inf"),
        (FRAME.assign(a=["1", "x", "3", "4"]), "column 'a' holds what is not a number"),
        (VALUES[:, :2], "must have 3 columns, 'a', 'b', 'c'"),
        (VALUES[0], "shape (3,)"),
        (VALUES[None], "shape (1, 4, 3)"),
        ([["1", "2", "x"]], "column 'c' holds what is not a number"),
        ([[1, 2], [3]], "no array"),
        (1.0, "shape ()"),
        (None, "the array"),
    ],
)
def test_refusals(rows: object, words: str) -> None:
    with pytest.raises(DataError) as refusal:
        matrix(rows, NAMES)
    assert words in str(refusal.value)


def test_two_columns_of_one_name_are_refused() -> None:
    frame = pd.DataFrame(VALUES, columns=["a", "b", "b"])
    np.testing.assert_array_equal(matrix(frame, ["a"]), VALUES[:, :1])
    with pytest.raises(DataError, match="two columns are named 'b'"):
        matrix(frame, ["a", "b"])
