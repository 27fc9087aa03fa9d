"""What kind of column each is taken for, and how its cells are read."""

import numpy as np
import pytest

from mdncli.columns.dataset import encoded, encoded_features
from mdncli.columns.kinds import (
    Asked,
    CategoryColumn,
    DateColumn,
    NumberColumn,
    feature_columns,
    refuse_as_target,
)
from mdncli.errors import DataError, UsageError
from mdncli.tables.table import Table, read_table


def table(*cells: str, name: str = "a") -> Table:
    lines = [f"{name},y", *(f'"{cell}",{row}' for row, cell in enumerate(cells))]
    return read_table("\n".join(lines).encode(), "t.csv")


def kind(*cells: str, asked: Asked | None = None, skip: bool = False) -> object:
    columns, left_out = feature_columns(table(*cells), ["a"], asked or Asked(), skip=skip)
    return columns[0] if columns else left_out["a"]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["1", "2.5", "-3e4"], NumberColumn("a")),
        (["1", "", "NA", "nan"], NumberColumn("a")),
        (["x", "x", "y"], CategoryColumn("a", ["x"])),
        (["x"] * 5 + ["y"] * 6 + ["z"], CategoryColumn("a", ["y", "x"])),
        (["NA", "NA", "x", ""], CategoryColumn("a", ["NA"])),
        (["2026-01-01", "", "2025-12-31"], DateColumn("a", "")),
        (["2026-01-01T10:30", "2026-01-01 10:30:05.5"], DateColumn("a", "")),
        (["2026-01-01", "soon", "soon"], CategoryColumn("a", ["soon"])),
        (["2026-02-30", "2026-02-30", "2026-01-01"], CategoryColumn("a", ["2026-02-30"])),
    ],
)
def test_kinds(cells: list[str], expected: object) -> None:
    assert kind(*cells) == expected


def test_what_tells_nothing_is_left_out() -> None:
    assert "identifier" in str(kind("ann", "bob", "eve"))
    assert "no value" in str(kind("", "", ""))


def test_one_typo_makes_no_categories() -> None:
    with pytest.raises(DataError, match=r"t\.csv, row 2, line 3, column 'a': 'l2' is not") as met:
        kind("1", "l2", "3")
    for remedy in ("--categorical a", "--na TEXT", "--on-bad-rows skip"):
        assert remedy in str(met.value)
    assert kind("1", "l2", "3", skip=True) == NumberColumn("a")


def test_one_typo_makes_no_categories_of_dates() -> None:
    dates = ["2026-01-01", "2026-01-02", "2026-02-30"]
    with pytest.raises(DataError, match="row 3, line 4, column 'a': '2026-02-30' is not a date"):
        kind(*dates)
    assert kind(*dates, skip=True) == DateColumn("a", "")


def test_kinds_can_be_set() -> None:
    assert kind("1", "1", "2", asked=Asked(categorical=["a"])) == CategoryColumn("a", ["1"])
    assert kind("1", "x", asked=Asked(numeric=["a"])) == NumberColumn("a")
    dated = DateColumn("a", "%d.%m.%y")
    assert kind("31.12.99", asked=Asked(dates={"a": "%d.%m.%y"})) == dated
    with pytest.raises(UsageError, match="'a' is given two kinds"):
        Asked(categorical=["a"], numeric=["a"])


@pytest.mark.parametrize("cells", [["x", "y"], ["2026-01-01", "2026-01-02"], ["", ""]])
def test_no_density_of_texts(cells: list[str]) -> None:
    with pytest.raises(DataError, match="[Tt]he target 'a'"):
        refuse_as_target(table(*cells), "a", Asked())


def test_cells_are_read_by_their_kind() -> None:
    read = encoded(table("1", "", "x", "inf"), [NumberColumn("a")])
    np.testing.assert_array_equal(read.values[:, 0], [1.0, np.nan, np.nan, np.nan])
    assert read.bad().tolist() == [False, False, True, True]
    read = encoded(table("1970-01-03", "", "no", "1970-01-01T12:00Z"), [DateColumn("a", "")])
    np.testing.assert_array_equal(read.values[:, 0], [2.0, np.nan, np.nan, 0.5])
    assert read.bad().tolist() == [False, False, True, False]
    read = encoded(table("x", "", "new", "y"), [CategoryColumn("a", ["x", "y"])])
    np.testing.assert_array_equal(read.values[:, 0], [0.0, np.nan, 2.0, 1.0])
    assert read.unseen == {"a": 1}
    assert not read.bad().any()


@pytest.mark.parametrize("cells", [["1", "2", "5"], ["x", "y", "y"], ["2026-01-01"] * 3])
def test_a_gap_is_bad_where_there_was_none_in_training(cells: list[str]) -> None:
    [column], _ = feature_columns(table(*cells, *cells), ["a"], Asked(), skip=False)
    whole = column.measured(column.read(table(*cells)).values)
    gapped = column.measured(column.read(table(*cells, "")).values)
    later = table(cells[0], "")
    assert encoded_features(later, [whole]).bad().tolist() == [False, True]
    assert encoded_features(later, [gapped]).bad().tolist() == [False, False]
