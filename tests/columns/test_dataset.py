"""Datasets: which rows of a table count, and the matrices of those that do."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from small_tables import table_of_text

from mdncli.columns.dataset import (
    Dataset,
    RowRules,
    measure_schema,
    model_dataset,
    read_dataset,
    training_dataset,
)
from mdncli.columns.kinds import CategoryReader, Layout, NumberReader
from mdncli.columns.schema import Schema
from mdncli.columns.transforms import Interval, LowerBound
from mdncli.errors import DataError, MdnWarning
from mdncli.files import FileContent
from mdncli.tables.dialect import Dialect
from mdncli.tables.table import Table, read_table

X, READERS = NumberReader("x"), [NumberReader("x")]


@contextmanager
def warned(*texts: str) -> Iterator[None]:
    """Check that a block gives these warnings and no others."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    assert [str(each.message) for each in caught] == list(texts)
    assert all(each.category is MdnWarning for each in caught)


def table(*rows: str, names: str = "x,y,w,g") -> Table:
    return table_of_text("\n".join([names, *rows]) + "\n")


# Row:      1          2       3        4         5         6         7
ROWS = ["1,10,1,a", "2,,1,b", "3,30,0,a", "4,40,2,b", "5,50,3,a", ",60,1,c", "7,70,1,b"]


def test_a_row_counts_if_it_has_a_target_and_a_weight() -> None:
    rules = RowRules(targets=["y"], weights="w", groups="g")
    with warned(
        "1 of 7 rows have no target and are left out.",
        "1 of 7 rows have a weight of 0 and are left out.",
    ):
        dataset = read_dataset(table(*ROWS), READERS, rules)
    assert len(dataset) == 5
    np.testing.assert_array_equal(dataset.x[:, 0], [1.0, 4.0, 5.0, np.nan, 7.0])
    np.testing.assert_array_equal(dataset.y[:, 0], [10.0, 40.0, 50.0, 60.0, 70.0])
    assert dataset.weights is not None
    np.testing.assert_allclose(dataset.weights, np.array([1, 2, 3, 1, 1]) / 1.6)
    assert dataset.weights.mean() == pytest.approx(1.0)
    np.testing.assert_array_equal(dataset.groups, [0, 1, 0, 2, 1])
    np.testing.assert_array_equal(dataset.positions, [0, 3, 4, 5, 6])
    assert dataset.left_out == {"without_target": 1, "bad": 0, "zero_weight": 1}


def test_all_rows_may_count() -> None:
    with warned():
        dataset = read_dataset(table(*ROWS[3:5]), READERS, RowRules(targets=["y"]))
    assert dataset.positions is None
    assert dataset.weights is None
    assert dataset.groups is None
    np.testing.assert_array_equal(dataset.row_weights, [1.0, 1.0])
    assert set(dataset.left_out.values()) == {0}
    assert len(read_dataset(table(*ROWS), READERS, RowRules())) == 7
    assert read_dataset(table(), READERS, RowRules(targets=["y"])).x.shape == (0, 1)


def test_weights_and_groups_may_be_arrays() -> None:
    by_name = RowRules(targets=["y"], weights="w", groups="g")
    by_array = RowRules(
        targets=["y"], weights=[1, 1, 0, 2, 3, 1, 1], groups=np.array(list("abababc"))
    )
    with pytest.warns(MdnWarning, match="left out"):
        expected = read_dataset(table(*ROWS), READERS, by_name)
    with pytest.warns(MdnWarning, match="left out"):
        dataset = read_dataset(table(*ROWS), READERS, by_array)
    np.testing.assert_array_equal(dataset.weights, expected.weights)
    np.testing.assert_array_equal(dataset.positions, expected.positions)
    np.testing.assert_array_equal(dataset.groups, [0, 1, 0, 1, 2])
    assert dataset.left_out == expected.left_out


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([1.0] * 6, "weight must be 7 numbers, none of them negative and not all of them zero"),
        ([1.0] * 6 + [-1.0], "none of them negative"),
        ([1.0] * 6 + [np.nan], "weight must be 7 numbers"),
        ([0.0] * 7, "not all of them zero"),
        ("g", "row 1, line 2, column 'g': 'a' is not a number"),
        ("z", "there is no column 'z'"),
    ],
)
def test_weights_that_are_none(weights: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_dataset(table(*ROWS), READERS, RowRules(weights=weights))


def test_cells_that_are_not_weights_are_bad() -> None:
    rows = ["1,1,-2,a", "2,2,,a", "3,3,1,a"]
    with pytest.raises(DataError) as met:
        read_dataset(table(*rows), READERS, RowRules(weights="w"))
    assert "row 1, line 2, column 'w': a weight must be zero or more" in str(met.value)
    assert "row 2, line 3, column 'w': the weight is missing" in str(met.value)
    with pytest.warns(MdnWarning, match="2 of 3 rows have a cell that cannot be used"):
        dataset = read_dataset(table(*rows), READERS, RowRules(weights="w", skip=True))
    np.testing.assert_array_equal(dataset.positions, [2])
    with pytest.raises(DataError, match="no row has a positive weight in 'w'"):
        read_dataset(table("1,1,0,a"), READERS, RowRules(weights="w"))


def test_groups_need_a_value_for_each_row() -> None:
    with pytest.raises(DataError, match="group must be 7 values"):
        read_dataset(table(*ROWS), READERS, RowRules(groups=[1, 2]))


# Bad rows.


BAD = ["1,1,1,a", "x,2,1,a", "3,y,1,a", "4,,1,a", "5,inf,1,a", "x,,1,a"]


def test_bad_rows_are_an_error_that_names_all_of_their_cells() -> None:
    with pytest.raises(DataError) as met:
        read_dataset(table(*BAD), READERS, RowRules(targets=["y"], remedy="Mend them."))
    assert str(met.value) == (
        "t.csv, row 2, line 3, column 'x': 'x' is not a number; row 3, line 4, column 'y': 'y' is "
        "not a number; row 5, line 6, column 'y': 'inf' is not a finite number. Mend them."
    )


def test_bad_rows_may_be_skipped() -> None:
    rules = RowRules(targets=["y"], skip=True, consequence="are of no use")
    with warned(
        "3 of 6 rows have a cell that cannot be used and are of no use. The first: t.csv, row 2, "
        "line 3, column 'x': 'x' is not a number.",
        "2 of 6 rows have no target and are left out.",
    ):
        dataset = read_dataset(table(*BAD), READERS, rules)
    np.testing.assert_array_equal(dataset.positions, [0])
    # A row without a target is not bad, whatever its features hold.
    assert dataset.left_out == {"without_target": 2, "bad": 3, "zero_weight": 0}


def test_a_missing_target_may_be_kept_or_be_bad() -> None:
    rows = table("1,1,1,a", "2,,1,a")
    kept = read_dataset(rows, READERS, RowRules(targets=["y"], missing_target="keep"))
    np.testing.assert_array_equal(kept.y[:, 0], [1.0, np.nan])
    with pytest.raises(DataError, match="row 2, line 3, column 'y': the cell is empty"):
        read_dataset(rows, READERS, RowRules(targets=["y"], missing_target="fault"))
    with pytest.warns(MdnWarning, match="1 of 2 rows have a cell that cannot be used"):
        rules = RowRules(targets=["y"], missing_target="fault", skip=True)
        skipped = read_dataset(rows, READERS, rules)
    assert skipped.left_out == {"without_target": 0, "bad": 1, "zero_weight": 0}


@pytest.mark.parametrize(
    ("transform", "words"),
    [
        (LowerBound(1.0), "row 1, line 2, column 'y': 1 is not above lower=1"),
        (Interval(0.0, 2.0), "row 2, line 3, column 'y': 2 is not above lower=0 and below upper=2"),
    ],
)
def test_a_target_at_a_bound_is_bad(transform: Any, words: str) -> None:
    rows = table("1,1,1,a", "2,2,1,a", "3,,1,a", "4,1.5,1,a")
    with pytest.raises(DataError, match=words):
        read_dataset(rows, READERS, RowRules(targets=["y"], inside={"y": transform}))
    with pytest.warns(MdnWarning):
        rules = RowRules(targets=["y"], inside={"y": transform}, skip=True)
        dataset = read_dataset(rows, READERS, rules)
    assert dataset.left_out == {"without_target": 1, "bad": 1, "zero_weight": 0}


def test_rows_with_a_different_number_of_fields_are_counted() -> None:
    content = "x,y\n1,1\n2\n3,3\n4,4,4\n"
    skipping = read_table(FileContent("t.csv", content.encode()), skip_bad_rows=True)
    with warned(
        "2 of 4 rows have a different number of fields than the header and are left out. The "
        "first: t.csv, row 2, line 3: 1 field where the header has 2."
    ):
        dataset = read_dataset(skipping, READERS, RowRules(targets=["y"], skip=True))
    assert dataset.left_out["bad"] == 2


def test_cells_with_a_category_that_was_not_learned_are_counted() -> None:
    reader = CategoryReader("g", ["a"])
    with warned(
        "2 of 3 rows have a category in 'g' that the model has not learned. They are answered "
        "like its rare categories."
    ):
        rules = RowRules(warn_of_unseen=True)
        dataset = read_dataset(table("1,1,1,a", "1,1,1,b", "1,1,1,c"), [reader], rules)
    np.testing.assert_array_equal(dataset.x[:, 0], [0.0, 1.0, 1.0])


# Rows to learn from.


def layout(**more: Any) -> Layout:
    return Layout([X], ["y"], **more)


@pytest.mark.parametrize(("bad", "good"), [(1, 9), (2, 18), (2, 17)])
def test_at_most_a_tenth_of_the_rows_to_learn_from_may_be_skipped(bad: int, good: int) -> None:
    rows = table(*["x,1,1,a"] * bad, *(f"{i},{i},1,a" for i in range(good)))
    if bad <= 0.1 * (bad + good):
        with pytest.warns(MdnWarning, match=f"{bad} of {bad + good} rows"):
            dataset = training_dataset(rows, layout(), RowRules(skip=True))
        assert len(dataset) == good
    else:
        with pytest.raises(DataError, match=r"2 of 19 rows cannot be used, more than 10%"):
            training_dataset(rows, layout(), RowRules(skip=True))


def test_rows_of_another_length_count_among_those_skipped() -> None:
    lines = ["x,y", *(f"{i},{i}" for i in range(17)), "z,1", "1,2,3"]
    skipping = read_table(FileContent("t.csv", "\n".join(lines).encode()), skip_bad_rows=True)
    with pytest.raises(DataError, match=r"2 of 19 rows cannot be used, more than 10%"):
        training_dataset(skipping, layout(), RowRules(skip=True))


def test_the_rows_of_a_fit_are_those_of_every_later_question() -> None:
    """The same table has the same rows that count, whether a layout or a schema reads it."""
    rows = [f"{i},{i * i % 7},{i % 3},a" for i in range(30)]
    rows[3], rows[8] = "3,,1,a", "q,1,1,a"
    made = table(*rows)
    rules = RowRules(weights="w", skip=True)
    with pytest.warns(MdnWarning):
        learned = training_dataset(made, layout(weight="w"), rules)
    schema, learned = measure_schema("t.csv", learned, layout(weight="w"))
    with pytest.warns(MdnWarning):
        later = model_dataset(
            made, schema, RowRules(targets=schema.target_names, weights="w", skip=True)
        )
    for name in ("x", "y", "weights", "positions"):
        np.testing.assert_array_equal(getattr(later, name), getattr(learned, name))
    assert (
        later.left_out
        == learned.left_out
        == {
            "without_target": 1,
            "bad": 1,
            "zero_weight": 9,
        }
    )


# Sizes of targets and features.


PLAIN = [f"{i},{1.0 + i * i % 7 / 10.0}" for i in range(40)]


def with_cell(cell: str) -> Table:
    return table(*PLAIN[:7], f"7,{cell}", *PLAIN[8:], names="x,y")


@pytest.mark.parametrize(
    ("unit", "message"),
    [
        (
            "e60",
            r"has values up to 1.4e\+60 in size, and the limit is 1e\+60. Divide .* by 1e\+60\.",
        ),
        ("e200", r"the target 'y' has values up to 1.4e\+200 .* Divide the column by 1e\+200\."),
        ("e307", r"Divide the column by 1e\+300\."),
        ("e-60", r"differ by about 1e-61, and the limit is 1e-60. Multiply the column by 1e\+60\."),
        ("e-200", r"Multiply the column by 1e\+200\."),
        ("e-320", r"Multiply the column by 1e\+300\."),
    ],
)
def test_a_target_whose_squares_leave_float64_needs_another_unit(unit: str, message: str) -> None:
    rows = table(*(f"{row}{unit}" for row in PLAIN), names="x,y")
    with pytest.raises(DataError, match=message):
        training_dataset(rows, layout(), RowRules())


@pytest.mark.parametrize("unit", ["e59", "e-58", "e-5"])
def test_a_target_of_another_size_is_learned(unit: str) -> None:
    rows = table(*(f"{row}{unit}" for row in PLAIN), names="x,y")
    assert len(training_dataset(rows, layout(), RowRules())) == 40


def test_a_single_target_that_is_too_large_is_a_bad_cell() -> None:
    rows = with_cell("2e60")
    message = (
        r"t.csv, row 8, line 9, column 'y': '2e60' is too large: a target must be from -1e\+60"
    )
    with pytest.raises(DataError, match=message):
        training_dataset(rows, layout(), RowRules())
    with pytest.warns(MdnWarning, match=message):
        assert len(training_dataset(rows, layout(), RowRules(skip=True))) == 39
    # So it is in later rows, where the target is needed.
    schema, _ = measure_schema("t.csv", *measured_rows())
    with pytest.raises(DataError, match=message):
        model_dataset(rows, schema, RowRules(targets=["y"]))
    assert len(model_dataset(rows, schema, RowRules())) == 40


def measured_rows() -> tuple[Dataset, Layout]:
    return training_dataset(table(*PLAIN, names="x,y"), layout(), RowRules()), layout()


@pytest.mark.parametrize(("cell", "right"), [("1e7", True), ("-1e7", True), ("1e10", False)])
def test_a_target_that_is_too_far_from_the_others_is_refused(cell: str, right: bool) -> None:
    rows = with_cell(cell)
    if right:
        assert len(training_dataset(rows, layout(), RowRules())) == 40
        return
    with pytest.raises(DataError, match=r"row 8, line 9, column 'y': '1e10' is .* limit is 1e\+08"):
        training_dataset(rows, layout(), RowRules())
    # Both remedies of the message help.
    bounded = layout(transforms={"y": LowerBound(0.0)})
    assert len(training_dataset(rows, bounded, RowRules())) == 40
    missing = replace(rows, dialect=Dialect(na=("1e10",)))
    with pytest.warns(MdnWarning, match="1 of 40 rows have no target"):
        assert len(training_dataset(missing, layout(), RowRules())) == 39


def test_a_feature_may_have_any_size_that_has_a_range() -> None:
    for unit in ("e-300", "e300"):
        x = np.array([float(f"{i}{unit}") for i in range(-9, 11)])[:, None] / 10.0
        schema, _ = measure_schema("t.csv", Dataset(x, x**0 * np.arange(20.0)[:, None]), layout())
        inputs = schema.inputs(x)
        np.testing.assert_allclose(inputs, schema.inputs(np.nextafter(x, 0.0)), atol=1e-9)
        assert (np.diff(inputs[:, 0]) > 0.1).all()
    with pytest.raises(DataError, match=r"the feature 'x' has values up to 1.7e\+308 in size"):
        measure_schema("t.csv", Dataset(x * 1.7e8, np.arange(20.0)[:, None]), layout())


# Rows for a model.


def two_targets() -> Schema:
    rng = np.random.default_rng(0)
    both = Layout([X], ["y", "w"], transforms={"w": LowerBound(-9.0)})
    rows = Dataset(rng.normal(size=(20, 1)), rng.normal(size=(20, 2)))
    return measure_schema("t.csv", rows, both)[0]


def test_targets_that_are_not_needed_are_nan() -> None:
    schema = two_targets()
    rows = table("1,,5,a", "2,4,q,a")
    dataset = model_dataset(rows, schema, RowRules())
    assert np.isnan(dataset.y).all()
    assert dataset.y.shape == (2, 2)
    with pytest.warns(MdnWarning):
        one = model_dataset(rows, schema, RowRules(targets=["w"], skip=True))
    np.testing.assert_array_equal(one.y, [[np.nan, 5.0]])
    with pytest.raises(DataError, match="there is no column 'y'"):
        model_dataset(table("1", names="x"), schema, RowRules(targets=["y"]))


def test_rows_are_taken_with_their_weights_and_groups() -> None:
    x = np.arange(4.0)[:, None]
    dataset = Dataset(x, x, np.array([1.0, 1.0, 0.5, 1.5]), np.array([0, 1, 2, 2]))
    part = dataset.take(np.array([3, 2]))
    np.testing.assert_array_equal(part.x[:, 0], [3.0, 2.0])
    np.testing.assert_array_equal(part.weights, [1.5, 0.5])
    np.testing.assert_array_equal(part.groups, [0, 0])
    np.testing.assert_array_equal(dataset.take(np.array([2, 0])).weights, [2.0 / 3.0, 4.0 / 3.0])
    assert Dataset(x, x).take(np.array([1])).weights is None
