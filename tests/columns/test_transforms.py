"""The maps of targets with bounds, and the schema of such targets."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit

from mdncli.columns.kinds import Roles
from mdncli.columns.schema import learnable
from mdncli.columns.transforms import Bounds, bounds_of
from mdncli.errors import DataError, UsageError

ALL = [
    Bounds(-2.0, None),
    Bounds(0.0, None),
    Bounds(None, 3.0),
    Bounds(0.0, 1.0),
    Bounds(-1e6, 1e6 + 1.0),
]
EVERY = pytest.mark.parametrize("bounds", ALL, ids=str)


def test_without_bounds_nothing_is_mapped() -> None:
    y = np.array([-1.0, 0.0, 5.0])
    free = Bounds()
    assert not free
    assert free.to_mixture(y) is y
    assert free.to_target(y) is y
    assert not free.outside(y).any()
    np.testing.assert_array_equal(free.log_slope(y), 0.0)


def test_the_maps_are_logs_and_the_logit() -> None:
    y = np.array([0.25, 0.5, 0.9])
    np.testing.assert_allclose(Bounds(-2.0, None).to_mixture(y), np.log(y + 2.0))
    np.testing.assert_allclose(Bounds(None, 3.0).to_mixture(y), -np.log(3.0 - y))
    np.testing.assert_allclose(Bounds(0.0, 1.0).to_mixture(y), logit(y))
    np.testing.assert_allclose(Bounds(-1.0, 3.0).to_target(y), -1.0 + 4.0 * expit(y))


@EVERY
def test_to_target_inverts_to_mixture_and_rises(bounds: Bounds) -> None:
    u = np.linspace(-9.0, 9.0, 1001)
    y = bounds.to_target(u)
    assert (np.diff(y) > 0.0).all()
    np.testing.assert_allclose(bounds.to_mixture(y), u, atol=1e-6)


@EVERY
@settings(derandomize=True, database=None)
@given(u=st.floats(-1e308, 1e308))
def test_no_value_is_at_a_bound_or_beyond(bounds: Bounds, u: float) -> None:
    y = bounds.to_target(np.array([u]))
    assert np.isfinite(y).all()
    assert not bounds.outside(y).any()


@EVERY
def test_the_ends_are_the_bounds(bounds: Bounds) -> None:
    low, high = bounds.to_target(np.array([-np.inf, np.inf]))
    assert low == (-np.inf if bounds.lower is None else bounds.lower)
    assert high == (np.inf if bounds.upper is None else bounds.upper)
    np.testing.assert_array_equal(bounds.to_mixture(np.array([low, high])), [-np.inf, np.inf])


@EVERY
def test_the_slope_is_that_of_the_map(bounds: Bounds) -> None:
    u = np.linspace(-6.0, 6.0, 41)
    y = bounds.to_target(u)
    step = 1e-5
    dy = (bounds.to_target(u + step) - bounds.to_target(u - step)) / (2.0 * step)
    np.testing.assert_allclose(bounds.log_slope(y), -np.log(dy), atol=1e-4)
    np.testing.assert_allclose(bounds.log_slope_at(u), bounds.log_slope(y), atol=1e-6)
    tilted = sum(np.exp(log_weight + c * u) for c, log_weight in bounds.tilts())
    np.testing.assert_allclose(np.log(tilted), bounds.log_slope_at(u), atol=1e-12)


def test_digits_next_to_a_bound_are_kept() -> None:
    tiny = np.array([1e-300, 1e-30, 1e-17])
    for bounds in (Bounds(0.0, None), Bounds(0.0, 1.0)):
        np.testing.assert_allclose(bounds.to_target(bounds.to_mixture(tiny)), tiny, rtol=1e-12)
    np.testing.assert_allclose(Bounds(None, 0.0).to_mixture(-tiny), -np.log(tiny), rtol=1e-15)


def test_bounds_in_the_wrong_order_are_refused() -> None:
    assert bounds_of({"a": 1.0}, {"b": 2.0}) == {"a": Bounds(1.0, None), "b": Bounds(None, 2.0)}
    for upper in (1.0, 0.5):
        with pytest.raises(UsageError, match="--lower of 'a' is 1 and --upper"):
            bounds_of({"a": 1.0}, {"a": upper})


# The schema of a target with bounds.


X = np.linspace(0.0, 1.0, 200)[:, None]
Y = np.exp(np.random.default_rng(3).normal(size=(200, 1)))
ROLES = Roles(["x"], ["y"])


def test_a_target_is_standardized_on_the_scale_of_its_map() -> None:
    schema, _ = learnable("data", X, Y, ROLES, bounds={"y": Bounds(0.0, None)})
    standard = schema.standardize_targets(Y)
    np.testing.assert_allclose([standard.mean(), standard.std()], [0.0, 1.0], atol=1e-12)
    logs = np.log(Y[:, 0])
    np.testing.assert_allclose(standard[:, 0] * logs.std() + logs.mean(), logs, atol=1e-12)
    [target] = schema.targets
    assert (target.lowest, target.highest) == (Y.min(), Y.max())
    assert target.min_sigma == pytest.approx(1e-4 * logs.std())


def test_the_floor_is_a_width_at_the_median() -> None:
    y = np.maximum(np.round(Y, 1), 0.1)
    bounds = Bounds(-1.0, 30.0)
    schema, _ = learnable("data", X, y, ROLES, bounds={"y": bounds})
    [target] = schema.targets
    assert target.step == pytest.approx(0.1)
    median = float(np.median(y))
    slope = 1.0 / (median + 1.0) + 1.0 / (30.0 - median)
    assert target.min_sigma == pytest.approx(0.1 * slope / math.sqrt(2.0 * math.pi))
    assert schema.resolution is None
    assert learnable("data", X, y, ROLES)[0].resolution == pytest.approx(math.log(0.1))
    given, _ = learnable("data", X, y, ROLES, bounds={"y": bounds}, min_sigma={"y": 0.5})
    assert given.targets[0].min_sigma == pytest.approx(0.5 * slope)


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        (Bounds(1.5, None), r"row 8, column 'y': 1.5 is not above --lower 1.5\. "),
        (Bounds(None, 2.5), r"row 3, column 'y': 2.5 is not below --upper 2.5, nor are 1 more\. "),
        (Bounds(1.5, 9.0), r"row 8, column 'y': 1.5 is not above --lower 1.5\. "),
    ],
)
def test_a_value_at_a_bound_is_refused_by_row(bounds: Bounds, said: str) -> None:
    y = np.full((20, 1), 2.0)
    y[[2, 7, 9], 0] = 2.5, 1.5, 3.5
    with pytest.raises(DataError, match=said):
        learnable("data.csv", X[:20], y, ROLES, bounds={"y": bounds})
