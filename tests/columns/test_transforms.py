"""Transforms of targets with bounds: forward, inverse, and the log-Jacobian."""

import numpy as np
import pytest
import scipy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from scipy.stats import beta
from torch.distributions import transforms as torch_transforms

from mdncli.columns.transforms import (
    HIGHEST_ORDER,
    IDENTITY,
    ORDER,
    Interval,
    LowerBound,
    Transform,
    UpperBound,
    inverse_and_log_jacobian,
    transform_between,
    transforms_by_name,
)
from mdncli.errors import ParameterError, in_python, with_parameters

ALL = [
    LowerBound(-2.0),
    LowerBound(0.0),
    UpperBound(3.0),
    Interval(0.0, 1.0, 1),
    Interval(0.0, 1.0),
    Interval(-1e6, 1e6 + 1.0),
    Interval(2.0, 7.0, HIGHEST_ORDER),
]
EVERY = pytest.mark.parametrize("transform", ALL, ids=str)
ORDERS = pytest.mark.parametrize("order", [1, 2, ORDER, 7, HIGHEST_ORDER])


def test_without_bounds_a_transform_is_the_identity() -> None:
    y = np.array([-1.0, 0.0, 5.0])
    assert IDENTITY.is_identity
    assert IDENTITY.inverse(y) is y
    assert IDENTITY.forward(y) is y
    assert not IDENTITY.outside(y).any()
    np.testing.assert_array_equal(IDENTITY.log_abs_det_jacobian(y), np.zeros(3))
    assert IDENTITY.describe() == ""
    assert IDENTITY.name_of_u("y") == "y"


def test_the_transforms_are_logs_and_the_logit() -> None:
    y = np.array([0.25, 0.5, 0.9])
    np.testing.assert_allclose(LowerBound(-2.0).inverse(y), np.log(y + 2.0))
    np.testing.assert_allclose(UpperBound(3.0).inverse(y), -np.log(3.0 - y))
    np.testing.assert_allclose(Interval(0.0, 1.0, 1).inverse(y), logit(y))
    np.testing.assert_allclose(Interval(-1.0, 3.0, 1).forward(y), -1.0 + 4.0 * expit(y))
    slope = np.log(4.0 * expit(y) * expit(-y))
    np.testing.assert_allclose(Interval(-1.0, 3.0, 1).log_abs_det_jacobian(y), slope)


@ORDERS
def test_between_two_bounds_the_transform_is_the_cdf_of_a_beta_distribution(order: int) -> None:
    transform = Interval(-1.0, 3.0, order)
    u = np.linspace(-20.0, 20.0, 401) / np.sqrt(order)
    known = beta(order, order, loc=-1.0, scale=4.0)
    np.testing.assert_allclose(transform.forward(u), -1.0 + 4.0 * known.cdf(4.0 * expit(u) - 1.0))
    np.testing.assert_allclose(transform.share(u), scipy.special.betainc(order, order, expit(u)))
    v = np.concatenate([np.linspace(0.001, 0.999, 500), 10.0 ** -np.arange(3.0, 40.0)])
    p = scipy.special.betaincinv(order, order, v)
    np.testing.assert_allclose(Interval(0.0, 1.0, order).inverse(v), logit(p), atol=1e-12)
    density = np.log(4.0 * known.pdf(4.0 * expit(u) - 1.0) * 4.0 * expit(u) * expit(-u))
    np.testing.assert_allclose(transform.log_abs_det_jacobian(u), density, rtol=1e-9, atol=1e-9)


@ORDERS
@settings(derandomize=True, database=None)
@given(log_share=st.floats(-690.0, np.log(0.5)), upper=st.booleans())
def test_the_inverse_has_all_digits_of_the_nearer_distance(
    order: int, log_share: float, upper: bool
) -> None:
    """The distance from a bound of 0 has the digits of a float."""
    distance = np.exp(np.array([log_share]))
    transform = Interval(-2.0, 0.0, order) if upper else Interval(0.0, 2.0, order)
    u = transform.inverse(-2.0 * distance if upper else 2.0 * distance)
    assert (u >= -1e-15).all() if upper else (u <= 1e-15).all()
    # The last digit of u is that of 1, or of u if it is larger.
    digit = np.spacing(np.maximum(np.abs(u), 1.0))
    slope = np.exp(Interval(0.0, 1.0, order).log_abs_det_jacobian(u) - log_share)
    missed = np.abs(transform.share(-np.abs(u)) / distance - 1.0)
    assert (missed <= (8.0 * digit) * slope + 1e-14).all()


def test_a_uniform_target_is_nearly_gaussian_in_u() -> None:
    """The logit of a uniform share has the logistic distribution, which is farther from it."""
    v = (np.arange(20_000) + 0.5) / 20_000
    excess = [float(scipy.stats.kurtosis(Interval(0.0, 1.0, order).inverse(v))) for order in (1, 4)]
    assert excess[0] == pytest.approx(1.2, abs=0.03)
    # The excess kurtosis of u is psi3(a) / (2 psi1(a)^2), with the polygamma functions.
    trigamma, fourth = scipy.special.polygamma([1, 3], 4)
    assert excess[1] == pytest.approx(fourth / (2.0 * trigamma**2), abs=0.01)
    assert excess[1] < 0.3


@EVERY
def test_the_density_of_the_target_integrates_to_one(transform: Transform) -> None:
    """The density of y is that of u, a Gaussian, divided by dy/du."""
    u = np.linspace(-5.0, 5.0, 20_001)
    y = transform.forward(u)
    density = scipy.stats.norm.pdf(u, 0.1, 0.4) / np.exp(transform.log_abs_det_jacobian(u))
    assert scipy.integrate.trapezoid(density, y) == pytest.approx(1.0, abs=1e-5)


@EVERY
def test_the_slope_of_the_log_jacobian_is_its_derivative_and_never_rises(
    transform: Transform,
) -> None:
    u, step = np.linspace(-6.0, 6.0, 41), 1e-5
    ends = (transform.log_abs_det_jacobian(u + side) for side in (step, -step))
    slope = transform.slope_of_log_jacobian(u)
    np.testing.assert_allclose(slope, np.subtract(*ends) / (2.0 * step), atol=1e-8)
    assert (np.diff(slope) <= 0.0).all()
    least, most = (transform.exponentials()[end][0] for end in (0, -1))
    assert ((-slope >= least) & (-slope <= most)).all()


def affine(loc: float, scale: float) -> torch_transforms.AffineTransform:
    return torch_transforms.AffineTransform(loc, scale)


@pytest.mark.parametrize(
    ("transform", "parts"),
    [
        (LowerBound(-2.0), [torch_transforms.ExpTransform(), affine(-2.0, 1.0)]),
        (UpperBound(3.0), [affine(0.0, -1.0), torch_transforms.ExpTransform(), affine(3.0, -1.0)]),
        (Interval(-1.0, 3.0, 1), [torch_transforms.SigmoidTransform(), affine(-1.0, 4.0)]),
        (IDENTITY, []),
    ],
    ids=["lower", "upper", "both", "identity"],
)
def test_the_transforms_are_those_of_torch(transform: Transform, parts: list) -> None:
    theirs = torch_transforms.ComposeTransform(parts)
    u = np.linspace(-8.0, 8.0, 101)
    ours, tensor = transform.forward(u), torch.from_numpy(u)
    y = theirs(tensor)
    np.testing.assert_allclose(ours, y.numpy(), rtol=1e-12)
    np.testing.assert_allclose(transform.inverse(ours), theirs.inv(y).numpy(), atol=1e-9)
    expected = theirs.log_abs_det_jacobian(tensor, y)
    expected = expected.numpy() if torch.is_tensor(expected) else np.full(len(u), expected)
    np.testing.assert_allclose(transform.log_abs_det_jacobian(u), expected, atol=1e-12)
    np.testing.assert_allclose(transform.log_abs_det_jacobian(u, ours), expected, atol=1e-9)


@EVERY
def test_forward_rises_and_undoes_inverse(transform: Transform) -> None:
    u = np.linspace(-9.0, 9.0, 1001) / transform.order
    y = transform.forward(u)
    assert (np.diff(y) > 0.0).all()
    np.testing.assert_allclose(transform.inverse(y), u, atol=1e-6)


@EVERY
@settings(derandomize=True, database=None)
@given(u=st.floats(-1e308, 1e308))
def test_no_finite_u_gives_a_value_at_a_bound_or_beyond(transform: Transform, u: float) -> None:
    y = transform.forward(np.array([u]))
    assert np.isfinite(y).all()
    assert not transform.outside(y).any()


@EVERY
def test_infinite_u_gives_the_bounds(transform: Transform) -> None:
    low, high = transform.forward(np.array([-np.inf, np.inf]))
    assert low == (-np.inf if transform.lower is None else transform.lower)
    assert high == (np.inf if transform.upper is None else transform.upper)
    np.testing.assert_array_equal(transform.inverse(np.array([low, high])), [-np.inf, np.inf])
    assert np.isnan(transform.forward(np.array([np.nan]))).all()


@EVERY
def test_the_log_jacobian_is_that_of_forward(transform: Transform) -> None:
    u = np.linspace(-6.0, 6.0, 41) / transform.order
    y = transform.forward(u)
    step = 1e-5
    dy = (transform.forward(u + step) - transform.forward(u - step)) / (2.0 * step)
    np.testing.assert_allclose(transform.log_abs_det_jacobian(u, y), np.log(dy), atol=1e-4)
    np.testing.assert_allclose(
        transform.log_abs_det_jacobian(u), transform.log_abs_det_jacobian(u, y), atol=1e-6
    )
    slope = sum(np.exp(log_weight + c * u) for c, log_weight in transform.exponentials())
    np.testing.assert_allclose(np.log(slope), -transform.log_abs_det_jacobian(u), atol=1e-12)


@EVERY
def test_values_at_a_bound_have_no_density(transform: Transform) -> None:
    inside = float(transform.forward(np.array(0.3)))
    ends = [end for end in (transform.lower, transform.upper) if end is not None]
    y = np.array([[inside], *([end] for end in ends)])
    u, minus = inverse_and_log_jacobian([transform], y)
    assert u[0, 0] == pytest.approx(0.3, abs=1e-6)
    assert minus[0, 0] == -transform.log_abs_det_jacobian(transform.inverse(y[0]), y[0])[0]
    np.testing.assert_array_equal(u[1:], 0.0)
    np.testing.assert_array_equal(minus[1:], -np.inf)
    np.testing.assert_array_equal(transform.log_abs_det_jacobian(np.zeros(len(ends)), y[1:, 0]), 0)


def test_digits_next_to_a_bound_are_kept() -> None:
    tiny = np.array([1e-300, 1e-30, 1e-17])
    for transform in (LowerBound(0.0), Interval(0.0, 1.0, 1), Interval(0.0, 1.0)):
        np.testing.assert_allclose(transform.forward(transform.inverse(tiny)), tiny, rtol=1e-12)
    np.testing.assert_allclose(UpperBound(0.0).inverse(-tiny), -np.log(tiny), rtol=1e-15)


def test_transforms_follow_from_the_bounds() -> None:
    assert transform_between(None, None) is IDENTITY
    assert transform_between(1.0, None) == LowerBound(1.0)
    assert transform_between(None, 2.0) == UpperBound(2.0)
    assert transform_between(1.0, 2.0) == Interval(1.0, 2.0, ORDER)
    assert transform_between(1.0, 2.0, 1) == Interval(1.0, 2.0, 1)
    assert transform_between(1.0, None, 1) == LowerBound(1.0)


def test_bounds_in_the_wrong_order_are_refused() -> None:
    by_name = transforms_by_name({"a": 1.0}, {"b": 2.0})
    assert by_name == {"a": LowerBound(1.0), "b": UpperBound(2.0)}
    for upper in (1.0, 0.5):
        with pytest.raises(ParameterError, match="lower of 'a' is 1 and upper"):
            transforms_by_name({"a": 1.0}, {"a": upper})


@pytest.mark.parametrize(
    ("transform", "condition", "name"),
    [
        (LowerBound(0.0), "above lower=0", "log(y)"),
        (LowerBound(2.5), "above lower=2.5", "log(y − 2.5)"),
        (LowerBound(-2.0), "above lower=-2", "log(y + 2)"),
        (UpperBound(3.0), "below upper=3", "−log(3 − y)"),
        (Interval(0.0, 1.0), "above lower=0 and below upper=1", "transformed y, 0 to 1"),
        (Interval(0.0, 1.0, 1), "above lower=0 and below upper=1", "logit of y, 0 to 1"),
    ],
)
def test_words_for_a_transform(transform: Transform, condition: str, name: str) -> None:
    assert with_parameters(transform.describe(), in_python) == condition
    assert transform.name_of_u("y") == name
