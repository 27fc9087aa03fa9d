"""The checks of rows to learn from: odd values, targets, leakage, sigmas and few rows."""

import re
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from small_tables import measured, table_of_text

from mdncli.columns.checks import (
    check_training_rows,
    describe_table,
    far_values,
    leaking_features,
    missing_markers,
    repeated_value,
    table_suspicions,
)
from mdncli.columns.dataframe import table_of
from mdncli.errors import MdnWarning, in_python, with_parameters
from mdncli.settings import Settings

RNG = np.random.default_rng(0)
NORMAL = RNG.normal(size=1000)


def warnings_of(x: np.ndarray, *targets: np.ndarray, settings: Settings | None = None) -> list[str]:
    """Return the warnings about rows with features x0, x1, … and targets y0, y1, …"""
    features = [f"x{i}" for i in range(x.shape[1])]
    names = [f"y{i}" for i in range(len(targets))]
    schema, dataset = measured(x, np.column_stack(targets), features, names)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_training_rows(dataset, schema, settings or Settings())
    assert all(issubclass(each.category, MdnWarning) for each in caught)
    return [str(each.message) for each in caught]


def test_a_value_that_many_rows_hold_is_found() -> None:
    values = NORMAL.copy()
    assert repeated_value(values) is None
    values[:60] = 2.5
    assert repeated_value(values) == (2.5, 0.06)
    assert repeated_value(values[995:]) is None


def test_ordinary_rows_have_no_warning() -> None:
    x = RNG.normal(size=(1000, 2))
    assert warnings_of(x, x[:, 0] + NORMAL) == []
    # A target that is recorded in large steps repeats its values.
    assert warnings_of(x, np.round(NORMAL)) == []


def test_a_repeated_value_of_a_continuous_target_is_named() -> None:
    values = np.where(np.arange(1000) < 80, 2.5, NORMAL)
    [text] = warnings_of(RNG.normal(size=(1000, 1)), values)
    assert text.startswith("8% of the rows have exactly 2.5 as 'y0'.")


@pytest.mark.parametrize("leak", [3.0 - 2.0 * NORMAL, np.exp(NORMAL), NORMAL + 1e-4 * NORMAL[::-1]])
def test_a_feature_that_is_nearly_the_target_is_named(leak: np.ndarray) -> None:
    x = np.column_stack([RNG.normal(size=1000), leak])
    assert leaking_features(x, NORMAL, ["x0", "x1"]) == ["x1"]
    [text] = warnings_of(x, NORMAL)
    assert "'x1' is nearly the target 'y0' itself" in text
    assert "ignore='x1'" in text


def test_missing_cells_do_not_hide_the_check() -> None:
    x = np.column_stack([RNG.normal(size=1000), np.where(RNG.random(1000) < 0.1, np.nan, NORMAL)])
    # A tenth of the cells is missing, so the feature is not nearly the target.
    assert warnings_of(x, NORMAL) == []


def test_an_isotropic_sigma_that_is_wide_for_all_targets_is_reported() -> None:
    x, stepped = RNG.normal(size=(1000, 1)), np.round(NORMAL[::-1])
    settings = Settings(covariance="isotropic")
    [text] = warnings_of(x, NORMAL, stepped, settings=settings)
    assert "covariance='isotropic'" in text
    assert "'y1' was recorded in large steps" in text
    assert warnings_of(x, NORMAL, stepped) == []


def test_few_rows_are_reported() -> None:
    x, y = RNG.normal(size=(49, 1)), RNG.normal(size=49)
    assert warnings_of(x, y) == ["With 49 rows the validation NLL is unreliable."]


# Values that seem to stand for missing ones.


def marked(values: np.ndarray, *markers: float, share: float = 0.03) -> np.ndarray:
    """Return values with each marker in some of their places."""
    values, rows = values.copy(), np.random.default_rng(0).permutation(len(values))
    count = int(share * len(values))
    for position, marker in enumerate(markers):
        values[rows[position * count : (position + 1) * count]] = marker
    return values


SHARE = RNG.random(1000)


@pytest.mark.parametrize(
    ("values", "markers"),
    [
        (NORMAL, [-9999.0]),
        (NORMAL, [-999.0, 999.0]),
        (NORMAL, [-9999.0, -999.0, -99.0]),
        (10.0 * NORMAL, [-99.9]),
        (1400.0 * SHARE + 647.0, [-200.0]),
        # All others are positive, so a negative one is odd at any distance.
        (1e6 * SHARE, [-999.0]),
        (SHARE, [-1.0]),
        (np.round(12.0 * SHARE), [99.0]),
        (3000.0 * SHARE, [65535.0]),
    ],
)
def test_a_repeated_number_apart_from_the_others_marks_missing_values(
    values: np.ndarray, markers: list[float]
) -> None:
    assert sorted(missing_markers(marked(values, *markers))) == markers
    # The same, if most values are missing.
    if len(markers) == 1:
        assert missing_markers(marked(values, *markers, share=0.9)) == markers


@pytest.mark.parametrize(
    "values",
    [
        NORMAL,
        np.round(999.0 * SHARE),
        marked(1e5 * NORMAL, -999.0),
        marked(100.0 * SHARE, -1.0),
        np.round(2.0 * SHARE) - 1.0,
        marked(np.round(17.0 + 70.0 * SHARE), 99.0),
        marked(8.0 * SHARE, 9.99),
        marked(NORMAL, -7.5),
        np.append(NORMAL, -9999.0),
        np.array([]),
    ],
)
def test_other_numbers_do_not_mark_missing_values(values: np.ndarray) -> None:
    assert missing_markers(values).size == 0


# Values far from the others.


Draw = Callable[[np.random.Generator, int], np.ndarray]
SKEWED: dict[str, Draw] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "exponential": lambda rng, n: rng.exponential(size=n),
    "lognormal": lambda rng, n: np.exp(rng.normal(size=n)),
    "wide lognormal": lambda rng, n: np.exp(2.0 * rng.normal(size=n)),
    "incomes": lambda rng, n: np.round(np.exp(10.3 + 0.8 * rng.normal(size=n)), -2),
    "Student's t, 3 degrees": lambda rng, n: rng.standard_t(3, size=n),
    "Pareto": lambda rng, n: rng.pareto(1.5, size=n),
    "mostly zero": lambda rng, n: np.where(rng.random(n) < 0.9, 0.0, rng.exponential(size=n)),
    "counts": lambda rng, n: rng.geometric(0.01, size=n).astype(float),
    "two groups": lambda rng, n: np.where(rng.random(n) < 0.2, 99.0, 0.0) + rng.normal(size=n),
}


@pytest.mark.parametrize("name", SKEWED)
def test_the_tail_of_a_skewed_column_is_not_far_from_the_others(name: str) -> None:
    rng = np.random.default_rng(1)
    found = [far_values(SKEWED[name](rng, rows)) for rows in (20, 100, 1000) for _ in range(100)]
    # A column with heavy tails may look odd once in a hundred times.
    assert sum(far is not None for far in found) <= 2


@pytest.mark.parametrize("name", ["normal", "exponential", "lognormal", "two groups"])
@pytest.mark.parametrize("outliers", [[1e6], [-1e6], [1e5, -1e6], [1e5, 2e5, 1e6]])
def test_values_far_from_the_others_are_counted(name: str, outliers: list[float]) -> None:
    rng = np.random.default_rng(2)
    values = np.concatenate([SKEWED[name](rng, 300), outliers, SKEWED[name](rng, 300)])
    far = far_values(values)
    assert far is not None
    assert far.count == len(outliers)
    assert abs(values[far.farthest]) == 1e6
    assert far.median == np.median(values)
    # It is the same in any unit.
    again = far_values(1e-30 * values)
    assert again is not None
    assert (again.count, again.farthest) == (far.count, far.farthest)
    assert again.distance == pytest.approx(far.distance)


def test_a_twentieth_of_the_values_may_be_far_away() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(size=600)
    values[:30] += 50.0 * rng.choice([-1.0, 1.0], 30)
    far = far_values(values)
    assert far is not None
    assert (far.count, far.farthest < 30) == (30, True)
    assert 40.0 < far.distance < 60.0


@pytest.mark.parametrize("values", [np.array([]), np.array([5.0]), np.full(50, 2.0)])
def test_without_a_scale_no_value_is_far(values: np.ndarray) -> None:
    assert far_values(values) is None


# What is said of a table.


def said_of(cells: dict[str, list[str]], target: str | None = "y") -> list[str]:
    rows = (",".join(row) for row in zip(*cells.values(), strict=True))
    table = table_of_text("\n".join([",".join(cells), *rows]) + "\n")
    return [with_parameters(text, in_python) for text in table_suspicions(table, target)]


def texts(values: np.ndarray, cells: dict[int, str] | None = None) -> list[str]:
    """Return numbers as texts, with other texts in some rows."""
    return [(cells or {}).get(row, repr(value)) for row, value in enumerate(values.tolist())]


PLAIN = texts(SHARE)


@pytest.mark.filterwarnings("error")
def test_the_largest_floats_are_described() -> None:
    values = np.array([1e308, 1.5e308] * 30)
    assert far_values(values) is None
    assert far_values(np.full(60, 1e308)) is None
    text = "x,y\n" + "".join(f"{x!r},{i}\n" for i, x in enumerate(values.tolist()))
    description = describe_table(table_of_text(text))
    column = description.columns[0]
    assert (column.lowest, column.median, column.highest) == (1e308, 1.25e308, 1.5e308)


def test_markers_are_named_with_their_texts_and_the_first_place() -> None:
    y = texts(NORMAL, {6: "-9999", 8: " -9999.0", 9: "-9999"})
    [text] = said_of({"x": PLAIN, "y": y})
    assert text.startswith("3 values of 'y' are '-9999', '-9999.0', apart from all others, -3.")
    assert (
        "The first: t.csv, row 7, line 8, column 'y'. If they do, set na='-9999' na='-9999.0'"
        in text
    )
    assert text.endswith("The rows without a target are then left out.")
    [text] = said_of({"x": y, "y": PLAIN})
    assert text.endswith("If they do, set na='-9999' na='-9999.0'.")


def test_an_option_that_would_empty_other_cells_is_not_the_remedy() -> None:
    y, x = texts(NORMAL, {6: "-999", 8: "-999"}), texts(1000.0 * NORMAL, {3: "-999"})
    [text] = said_of({"x": x, "y": y})
    assert "empty these cells; na='-999' would empty cells of 'x', too." in text
    # Two columns with the same marker have one remedy.
    first, second = said_of({"x": y, "y": y})
    assert "set na='-999'." in first
    assert "set na='-999'." in second


def test_a_far_value_is_named_with_its_place() -> None:
    y = texts(NORMAL, {6: "1e6"})
    [text] = said_of({"x": PLAIN, "y": y})
    assert text.startswith(
        "A value is far from all others: t.csv, row 7, line 8, column 'y': '1e6'"
    )
    assert text.endswith("If it is wrong, correct it, or read it as missing: na='1e6'.")
    [text] = said_of({"x": texts(SHARE, {6: "50", 9: "60.5"}), "y": PLAIN})
    assert text.startswith("2 values of 'x' are far from all others. The farthest: t.csv, row 10")
    # Of a column with a marker, the other values are judged on their own.
    marker, far = said_of({"x": PLAIN, "y": texts(NORMAL, {4: "-999", 5: "-999", 6: "900"})})
    assert "are '-999', apart from all others, -3" in marker
    assert "row 7, line 8, column 'y': '900'" in far


def test_a_table_without_a_file_has_no_options_to_read_it() -> None:
    table = table_of({"x": SHARE, "y": marked(NORMAL, -999.0)})
    [text] = table_suspicions(table, "y")
    assert "The first: the rows, row " in text
    assert "If they do, replace them by NaN." in text
    [text] = table_suspicions(table_of({"x": SHARE, "y": np.append(NORMAL[1:], 1e6)}), "y")
    assert text.endswith("If it is wrong, correct it.")


@pytest.mark.parametrize(
    ("y", "words"),
    [
        (np.round(SHARE), "The target 'y' has only two values, 0 and 1. As a rounded target"),
        (np.round(9.0 * SHARE), "The target 'y' has only 10 values, whole numbers from 0 to 9."),
        (np.exp(NORMAL), "'y' is positive and strongly skewed: its median is .*lower='y=0' keeps"),
    ],
)
def test_a_target_that_something_else_suits_better(y: np.ndarray, words: str) -> None:
    [text] = said_of({"x": PLAIN, "y": texts(y)})
    assert re.search(words, text)
    # Nothing is said of such a feature.
    assert said_of({"x": texts(y), "y": texts(NORMAL)}) == []


@pytest.mark.parametrize(
    "y",
    [NORMAL, SHARE, RNG.exponential(size=1000), np.round(30.0 * SHARE), np.round(9 * SHARE) / 2],
)
def test_nothing_is_said_of_an_ordinary_target(y: np.ndarray) -> None:
    assert said_of({"x": PLAIN, "y": texts(y)}) == []


def test_a_target_that_fit_refuses_is_among_what_looks_wrong() -> None:
    [text] = said_of({"x": PLAIN, "y": texts(1e200 * SHARE)})
    assert "Divide the column by 1e+199." in text
    [text] = said_of({"x": PLAIN, "y": texts(NORMAL, {6: "-1e10"})})
    assert "row 7, line 8, column 'y': '-1e10' is 1e+10 times as far" in text
    assert said_of({"x": PLAIN, "y": texts(1e200 * SHARE)}, target=None) == []
