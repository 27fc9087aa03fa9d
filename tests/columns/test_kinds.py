"""The kind that is found for each column, and how its cells are read."""

from typing import Any

import numpy as np
import pytest
from small_tables import table_of_text

from mdncli.columns.dataset import RowRules, model_dataset, read_dataset
from mdncli.columns.kinds import (
    CategoryReader,
    DateReader,
    FeatureReader,
    NumberReader,
    feature_readers,
    reader_of,
)
from mdncli.columns.roles import Roles
from mdncli.columns.schema import Schema
from mdncli.errors import DataError, MdnWarning, ParameterError
from mdncli.settings import FitOptions
from mdncli.tables.table import Table


def table(*cells: str) -> Table:
    """Return a table with these cells as the column a, and a column y of numbers."""
    lines = ["a,y", *(f'"{cell}",{row}' for row, cell in enumerate(cells))]
    return table_of_text("\n".join(lines))


def kind(*cells: str, **parameters: Any) -> FeatureReader:
    [reader] = feature_readers(table(*cells), Roles(["a"], ["y"]), FitOptions(**parameters))
    return reader


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["1", "2.5", "-3e4"], NumberReader("a")),
        (["1", "", "NA", "nan"], NumberReader("a")),
        (["x", "x", "y"], CategoryReader("a", ["x"])),
        (["x"] * 5 + ["y"] * 6 + ["z"], CategoryReader("a", ["y", "x"])),
        (["NA", "NA", "x", ""], CategoryReader("a", ["NA"])),
        (["2026-01-01", "", "2025-12-31"], DateReader("a", "")),
        (["2026-01-01T10:30", "2026-01-01 10:30:05.5"], DateReader("a", "")),
        (["2026-01-01", "soon", "soon"], CategoryReader("a", ["soon"])),
        (["2026-02-30", "2026-02-30", "2026-01-01"], CategoryReader("a", ["2026-02-30"])),
    ],
)
def test_kinds(cells: list[str], expected: object) -> None:
    assert kind(*cells) == expected


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        (["ann", "bob", "eve"], "it has a different text in every row, as an identifier does"),
        (["", "", ""], "it has no value"),
        (
            ["a", "a", "b", "b", "c", "c", *map(str, range(300)), "x"],
            "it has no text that is frequent enough to learn from",
        ),
    ],
)
def test_a_column_without_information_is_left_out(cells: list[str], reason: str) -> None:
    cells = [f"t{cell}" if cell.isdigit() else cell for cell in cells]
    with (
        pytest.warns(MdnWarning, match=f"'a' is left out, because {reason}"),
        pytest.raises(DataError, match="no feature is left"),
    ):
        kind(*cells)


def test_one_typing_error_does_not_make_a_column_of_numbers_categories() -> None:
    with pytest.raises(DataError, match=r"t\.csv, row 2, line 3, column 'a': 'l2' is not") as met:
        kind("1", "l2", "3")
    for remedy in ("categorical='a'", "na=TEXT", "on_bad_rows='skip'", "ignore='a'"):
        assert remedy in str(met.value)
    assert kind("1", "l2", "3", on_bad_rows="skip") == NumberReader("a")


def test_one_typing_error_does_not_make_a_column_of_dates_categories() -> None:
    dates = ["2026-01-01", "2026-01-02", "2026-02-30"]
    with pytest.raises(DataError, match="row 3, line 4, column 'a': '2026-02-30' is not a date"):
        kind(*dates)
    assert kind(*dates, on_bad_rows="skip") == DateReader("a", "")


def test_kinds_can_be_set() -> None:
    assert kind("1", "1", "2", categorical=["a"]) == CategoryReader("a", ["1"])
    assert kind("1", "x", numeric="a") == NumberReader("a")
    dated = DateReader("a", "%d.%m.%y")
    assert kind("31.12.99", datetime={"a": "%d.%m.%y"}) == dated
    assert kind("31.12.99", datetime="a=%d.%m.%y") == dated
    # A column that is named in `categorical` has a level, even if every text is different.
    assert kind("p", "q", categorical="a") == CategoryReader("a", ["p"])
    for other in ({"numeric": "a"}, {"datetime": "a"}):
        with pytest.raises(ParameterError, match="'a' has two kinds"):
            kind("1", "2", categorical=["a"], **other)
    for name in ("categorical", "numeric", "datetime"):
        with pytest.raises(DataError, match="there is no column 'z'"):
            kind("1", "2", **{name: "z"})
    with pytest.raises(DataError, match="the column 'a' has no value"):
        kind("", "", categorical="a")


@pytest.mark.parametrize("cells", [["x", "y"], ["2026-01-01", "2026-01-02"], ["", ""]])
def test_a_target_must_hold_numbers(cells: list[str]) -> None:
    with pytest.raises(DataError, match="[Tt]he target 'a'"):
        feature_readers(table(*cells), Roles(["y"], ["a"]), FitOptions())
    for name in ("categorical", "datetime"):
        with pytest.raises(ParameterError, match="'a' is the target, which must be a number"):
            feature_readers(table("1", "2"), Roles(["y"], ["a"]), FitOptions(**{name: "a"}))


@pytest.mark.parametrize(
    ("cells", "reader", "values", "bad"),
    [
        (
            ["1", "", "x", "inf"],
            NumberReader("a"),
            [1.0, np.nan, np.nan, np.nan],
            [False, False, True, True],
        ),
        (
            ["1970-01-03", "", "no", "1970-01-01T12:00Z"],
            DateReader("a", ""),
            [2.0, np.nan, np.nan, 0.5],
            [False, False, True, False],
        ),
        (
            ["03.01.1970", "1970-01-03", ""],
            DateReader("a", "%d.%m.%Y"),
            [2.0, np.nan, np.nan],
            [False, True, False],
        ),
        (
            ["x", "", "new", "y"],
            CategoryReader("a", ["x", "y"]),
            [0.0, np.nan, 2.0, 1.0],
            [False, False, False, False],
        ),
    ],
)
def test_cells_are_read_by_their_kind(
    cells: list[str], reader: FeatureReader, values: list[float], bad: list[bool]
) -> None:
    read = reader.read(table(*cells))
    np.testing.assert_array_equal(read.values, values)
    at_fault = np.zeros(len(cells), dtype=bool)
    for fault in read.faults:
        at_fault[fault.rows] = True
    assert at_fault.tolist() == bad
    if isinstance(reader, CategoryReader):
        assert read.unseen is not None
        assert read.unseen.tolist() == [False, False, True, False]


@pytest.mark.parametrize("cells", [["1", "2", "5"], ["x", "y", "y"], ["2026-01-01"] * 3])
def test_a_missing_cell_is_bad_where_there_was_none_in_training(cells: list[str]) -> None:
    reader = kind(*cells, *cells)
    whole = reader.measure(reader.read(table(*cells)).values)
    gapped = reader.measure(reader.read(table(*cells, "")).values)
    assert (whole.allows_missing, gapped.allows_missing) == (False, True)
    later = table(cells[0], "")
    with pytest.warns(MdnWarning, match="1 of 2 rows have a cell that cannot be used"):
        dataset = model_dataset(later, Schema((whole,), ()), RowRules(skip=True))
    assert (len(dataset), dataset.left_out["bad"]) == (1, 1)
    with pytest.raises(DataError, match="row 2, line 3, column 'a'.*No cell of 'a' was missing"):
        model_dataset(later, Schema((whole,), ()), RowRules())
    assert len(model_dataset(later, Schema((gapped,), ()), RowRules())) == 2


@pytest.mark.parametrize(
    "reader", [NumberReader("a"), DateReader("a", "%Y"), CategoryReader("a", ["x"])]
)
def test_the_reader_of_a_feature_is_the_one_that_measured_it(reader: FeatureReader) -> None:
    feature = reader.measure(np.array([0.0, 0.0, np.nan]))
    assert reader_of(feature) == reader


def test_readers_stand_in_the_order_of_the_columns() -> None:
    two = table_of_text("a,b\nx,1\ny,2\n")
    dataset = read_dataset(two, [NumberReader("b"), CategoryReader("a", ["x", "y"])], RowRules())
    np.testing.assert_array_equal(dataset.x, [[1.0, 0.0], [2.0, 1.0]])
