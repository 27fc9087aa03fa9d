"""Schemas: the features and targets of a model, with their ranges, scales, steps and bounds."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_tables import measured

from mdncli.columns.schema import Schema, step_of
from mdncli.columns.transforms import (
    IDENTITY,
    ORDER,
    LowerBound,
    Transform,
    transform_between,
)
from mdncli.errors import DataError

RNG = np.random.default_rng(0)
NORMAL = RNG.normal(size=1000)


def test_constant_features_are_dropped_and_a_constant_target_is_an_error() -> None:
    x = np.column_stack([np.arange(20.0), np.full(20, 3.0), np.arange(20.0) ** 2])
    y = np.arange(20.0)[:, None]
    schema, dataset = measured(x, y, ["a", "b", "c"], ["d"])
    assert schema.feature_names == ["a", "c"]
    np.testing.assert_array_equal(dataset.x, x[:, [0, 2]])
    np.testing.assert_array_equal(dataset.y, y)
    with pytest.raises(DataError, match="the target 'd' is 3 in every row"):
        measured(y, x[:, 1:2], ["a"], ["d"])
    with pytest.raises(DataError, match="every feature is constant"):
        measured(x[:, 1:2], y, ["b"], ["d"])


@pytest.mark.parametrize("rows", [0, 1, 9])
def test_fewer_than_ten_rows_are_refused(rows: int) -> None:
    values = np.arange(float(rows))[:, None]
    with pytest.raises(DataError, match=f"{rows} rows? (is|are) too few"):
        measured(values, values, ["a"], ["d"])


def test_a_schema_goes_through_plain_values() -> None:
    x, y = np.arange(20.0)[:, None] ** 3, np.arange(20.0)[:, None]
    schema, _ = measured(x, np.hstack([y, y]), ["a"], ["b", "c"], {"b": LowerBound(-1.0)})
    assert Schema.from_plain(schema.to_plain()) == schema
    standard = schema.standardize_targets(np.hstack([y, y]))
    assert standard.std() == pytest.approx(1.0)


def test_the_smallest_sigma_follows_from_the_step_or_is_given() -> None:
    rng = np.random.default_rng(0)
    x, continuous = rng.normal(size=(300, 1)), rng.normal(size=300)
    y = np.column_stack([np.round(continuous, 1), continuous])
    names = ["stepped", "free"]
    schema, _ = measured(x, y, ["a"], names)
    stepped, free = schema.targets
    assert stepped.step == 0.1
    assert stepped.min_sigma == pytest.approx(0.1 / np.sqrt(2.0 * np.pi))
    assert free.step is None
    assert free.min_sigma == pytest.approx(1e-4 * continuous.std())
    assert schema.resolution is None
    given_sigma, _ = measured(x, y, ["a"], names, min_sigma={"free": 0.2})
    assert given_sigma.targets[1].min_sigma == 0.2
    assert given_sigma.targets[0] == stepped
    with pytest.raises(DataError, match="min_sigma of 'free' is 1e-08: it must be at least"):
        measured(x, y, ["a"], names, min_sigma={"free": 1e-8})


# Targets with bounds.


X = np.linspace(0.0, 1.0, 200)[:, None]
Y = np.exp(np.random.default_rng(3).normal(size=(200, 1)))


def schema_of(
    y: np.ndarray, transform: Transform = IDENTITY, min_sigma: float | None = None
) -> Schema:
    smallest = {} if min_sigma is None else {"y": min_sigma}
    return measured(X, y, ["x"], ["y"], {"y": transform}, smallest)[0]


def test_a_target_with_a_bound_is_standardized_on_the_scale_of_u() -> None:
    schema = schema_of(Y, LowerBound(0.0))
    standard = schema.standardize_targets(Y)
    np.testing.assert_allclose([standard.mean(), standard.std()], [0.0, 1.0], atol=1e-12)
    logs = np.log(Y[:, 0])
    np.testing.assert_allclose(standard[:, 0] * logs.std() + logs.mean(), logs, atol=1e-12)
    [target] = schema.targets
    assert (target.lowest, target.highest) == (Y.min(), Y.max())
    assert target.min_sigma == pytest.approx(1e-4 * logs.std())
    np.testing.assert_allclose(schema.log_abs_det_jacobian(Y), logs, rtol=1e-12)
    np.testing.assert_array_equal(schema.outside(np.array([[1.0], [0.0]])), [False, True])


@pytest.mark.parametrize("bounds", [(-1e20, None), (None, 1e30), (-1e20, 1e20)])
def test_a_bound_from_which_all_values_look_alike_is_refused(
    bounds: tuple[float | None, float | None],
) -> None:
    with pytest.raises(DataError, match="That is so far from its values"):
        schema_of(Y, transform_between(*bounds))
    # From a nearer bound on the other side they differ.
    transform = transform_between(0.0, 1e30)
    [target] = schema_of(Y, transform).targets
    assert target.order == transform.order == ORDER
    assert target.scale == pytest.approx(np.log(Y).std() / ORDER)


def test_with_bounds_the_smallest_sigma_applies_at_the_median() -> None:
    y = np.maximum(np.round(Y, 1), 0.1)
    transform = transform_between(-1.0, 30.0, 1)
    schema = schema_of(y, transform)
    [target] = schema.targets
    assert target.step == pytest.approx(0.1)
    median = float(np.median(y))
    slope = 1.0 / (median + 1.0) + 1.0 / (30.0 - median)
    assert target.min_sigma == pytest.approx(0.1 * slope / math.sqrt(2.0 * math.pi))
    assert schema.resolution is None
    assert schema_of(y).resolution == pytest.approx(math.log(0.1))
    assert schema_of(y, transform, 0.5).targets[0].min_sigma == pytest.approx(0.5 * slope)


def test_outliers_of_a_target_leave_the_resolution_of_the_others() -> None:
    y = np.random.default_rng(4).normal(size=(200, 1))
    y[7] = 1e6
    [target] = schema_of(y).targets
    assert 0.5 < target.scale < 2.0
    assert target.min_sigma == pytest.approx(1e-4 * target.scale)
    rest = np.delete(schema_of(y).standardize_targets(y)[:, 0], 7)
    assert 0.5 < rest.std() < 2.0
    # On the scale of u, too.
    y = np.exp(y.clip(max=5.0))
    y[7] = 1e-300
    [target] = schema_of(y, LowerBound(0.0)).targets
    assert 0.5 < target.scale < 2.0


# Steps.


@pytest.mark.parametrize(
    ("values", "step"),
    [
        (np.round(NORMAL, 2), 0.01),
        (RNG.integers(3, 9, 500).astype(float), 1.0),
        (np.round(4.0 * NORMAL) / 4.0 + 7.0, 0.25),
        (np.array([float(f"{whole}e299") for whole in RNG.integers(-9, 9, 99)]), 1e299),
        (np.array([5.0, 8.0, 17.0, 5.0]), 3.0),
        (np.array([0.1, 0.2, 0.3, 0.3]), 0.1),
        (NORMAL, None),
        # These are whole numbers, but none is repeated, so the column may be continuous.
        (np.arange(500.0), None),
        # This step is too small to matter.
        (np.array([0.0, 0.0, 1e-7, 1.0, 1.0]), None),
        # An outlier does not hide the step of the others.
        (np.append(np.round(NORMAL, 2), 1e7), 0.01),
        # Many rows are zero, and the other values are continuous.
        (np.where(RNG.random(1000) < 0.3, 0.0, NORMAL), None),
    ],
)
def test_the_step_of_a_column(values: np.ndarray, step: float | None) -> None:
    assert step_of(values) == step


@given(st.integers(1, 999), st.integers(-4, 4), st.lists(st.integers(-500, 500), min_size=2))
def test_the_step_divides_every_difference(unit: int, exponent: int, wholes: list[int]) -> None:
    if len(set(wholes)) < 2:
        return
    values = np.array([float(f"{whole * unit}e{exponent}") for whole in wholes + wholes])
    step = step_of(values)
    divisor = math.gcd(*(whole - wholes[0] for whole in wholes)) * unit
    assert step == float(f"{divisor}e{exponent}")
