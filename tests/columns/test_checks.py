"""The checks of rows to learn from: repeated values, leakage, sigmas and few rows."""

import warnings

import numpy as np
import pytest
from small_tables import measured

from mdncli.columns.checks import check_training_rows, leaking_features, repeated_value
from mdncli.errors import MdnWarning
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
