"""The mode of one target is the global maximum; that of several is the best one found."""

import numpy as np
import pytest
from density.mixtures import Truth, distribution, extreme, ordinary, thorough, univariate
from hypothesis import example, given
from hypothesis import strategies as st

from mdncli.columns.transforms import Interval, LowerBound, UpperBound
from mdncli.density.hdr import highest_density_regions
from mdncli.density.marginal import Marginal, TargetDensity
from mdncli.density.modes import critical_points, modes

pytestmark = pytest.mark.filterwarnings("error")

SHOULDERS = [
    distribution([[0.0, -2.0]], [[0.0, side]], [[1.0, sigma]])
    for side in (1.0, -1.0)
    for sigma in (1e-2, 1e-3, 1e-4, 1e-6, 1e-8)
]


def shortfall(truth: Truth, y) -> float:
    """Return the highest log density on a grid minus that at y, up to the rounding of y."""
    here = truth.log_density(y)
    around = [truth.log_density(np.nextafter(y, to)) for to in (-np.inf, np.inf)]
    rounding = np.abs(np.array(around) - here).max()
    return float(truth.log_density(truth.grid()).max() - here[0] - rounding)


@given(univariate())
@example(distribution([[0.0, 0.0]], [[3.0, 3.0]], [[1.0, 1.0]]))
@example(distribution([[0.0, 0.0]], [[-1.0, 1.0]], [[1.0, 1.0]]))
@thorough(300)
def test_no_point_of_a_grid_has_a_higher_density_than_the_mode(one):
    assert shortfall(Truth(one), one.mode()) <= 1e-12


@pytest.mark.parametrize("one", SHOULDERS)
def test_a_narrow_light_component_on_a_shoulder_is_the_mode(one):
    """The wide component has a lower maximum near 0."""
    assert shortfall(Truth(one), one.mode()) <= 1e-12
    assert abs(one.mode()[0]) > 0.9


@pytest.mark.parametrize("one", SHOULDERS)
def test_both_maxima_and_the_minimum_between_are_found(one):
    points = critical_points(TargetDensity(Marginal.of(one.mixture, 0)))[0]
    truth = Truth(one)
    assert len(points) == 3
    heights = truth.log_density(points)
    assert heights[1] < min(heights[0], heights[2])
    for at, sign in zip(points, (1.0, -1.0, 1.0), strict=True):
        step = 1e-3 * float(one.sigma.min()) * np.array([-1.0, 1.0])
        assert (sign * truth.log_density(at) >= sign * truth.log_density(at + step)).all()


@pytest.mark.parametrize("seed", range(20))
def test_close_maxima_of_different_heights_are_distinguished(seed):
    """Two components are a little more than two sigmas apart, and one is a little heavier."""
    rng = np.random.default_rng(seed)
    apart = 1.0 + 10.0 ** rng.uniform(-2.5, -1.0)
    one = distribution(
        [[0.0, rng.uniform(-1.0, 1.0) * (apart - 1.0) ** 1.5]], [[-apart, apart]], [[1.0, 1.0]]
    )
    heights = Truth(one).log_density(np.linspace(-apart, apart, 4001))
    turns = np.diff(np.sign(np.diff(heights)))
    points = critical_points(TargetDensity(Marginal.of(one.mixture, 0)))[0]
    assert len(points) == np.count_nonzero(turns)


@given(univariate())
@thorough(100)
def test_maxima_and_minima_alternate(one):
    points = critical_points(TargetDensity(Marginal.of(one.mixture, 0)))[0]
    assert len(points) % 2 == 1
    assert (np.diff(points) >= 0.0).all()
    heights = Truth(one).log_density(points)
    peaks, dips = heights[::2], heights[1::2]
    rounding = 1e-12 + 4e-16 * np.abs(dips).max(initial=0.0)
    assert (dips <= np.minimum(peaks[:-1], peaks[1:]) + rounding).all()


@given(univariate())
@thorough(100)
def test_a_mode_is_among_the_maxima(one):
    truth = Truth(one)
    maxima = critical_points(TargetDensity(Marginal.of(one.mixture, 0)))[0, ::2]
    best = truth.log_density(maxima).max()
    assert float(truth.log_density(one.mode())[0]) == pytest.approx(float(best), abs=1e-12)


TRANSFORMS = [Interval(0.0, 1.0, 1), Interval(0.0, 1.0), LowerBound(0.0), UpperBound(2.0)]


@pytest.mark.parametrize("transform", TRANSFORMS, ids=str)
@pytest.mark.parametrize("width", [0.05, 0.7, 2.5])
def test_with_bounds_the_critical_points_are_those_of_the_sum_of_gaussians(transform, width):
    """`with_jacobian` writes the same density as a mixture, and its search uses no transform."""
    rng, shape = np.random.default_rng(3), (4, 300)
    sigma = width * np.exp(0.9 * rng.normal(size=shape))
    log_pi = np.log(rng.dirichlet(np.ones(shape[0]), shape[1]).T)
    mixture = Marginal(log_pi, rng.normal(size=shape), sigma)
    density = TargetDensity(mixture, transform)
    expanded = TargetDensity(mixture.with_jacobian(transform))
    found, expected = critical_points(density), critical_points(expanded)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    top = modes(density)
    np.testing.assert_allclose(density.log_prob(top), expanded.log_prob(top), atol=1e-9)
    np.testing.assert_allclose(density.log_prob(top), density.log_prob(modes(expanded)), atol=1e-9)
    for one, other in zip(
        density.log_prob_and_derivatives(mixture.mu[0] + 0.1),
        expanded.log_prob_and_derivatives(mixture.mu[0] + 0.1),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-8)


@given(extreme(), st.sampled_from(TRANSFORMS), st.sampled_from([0.01, 0.9]))
@thorough(40)
def test_with_bounds_and_extreme_numbers_every_search_ends(one, transform, coverage):
    """Beyond u = 1000, no number is as near to a bound."""
    mixture = Marginal.of(one.mixture, 0)
    mu, sigma = np.clip(mixture.mu, -1e3, 1e3), np.minimum(mixture.sigma, 1e3)
    mixture = Marginal(mixture.log_pi, mu, sigma)
    regions = highest_density_regions(mixture, coverage, transform)
    assert np.isfinite(regions[:, 0]).all()
    steps = np.diff(regions.reshape(len(regions), -1), axis=1)
    assert ((steps >= 0.0) | np.isnan(steps)).all()
    assert np.isfinite(modes(TargetDensity(mixture, transform))).all()


def test_many_nearly_flat_tops_are_searched_in_little_memory():
    """Two components are about two sigmas apart, where slope and curvature are almost zero."""
    rng = np.random.default_rng(0)
    rows = 300
    off = 10.0 ** rng.uniform(-17.0, -3.0, (rows, 1)) * rng.choice([-1.0, 0.0, 1.0], (rows, 1))
    flat = distribution(np.zeros((rows, 2)), [[-1.0, 1.0]] * (1.0 + off), np.ones((rows, 2)))
    # The maximum solves y = m tanh(m y), with m a little more than 1.
    maximum = np.sqrt(6.0 * np.maximum(off[:, 0], 0.0))
    mode = flat.mode()
    assert (flat.log_prob(mode) >= flat.log_prob(maximum) - 1e-14).all()
    assert (np.abs(mode) <= 1.01 * maximum + 1e-3).all()


@st.composite
def well_separated(draw, targets: int):
    """Return one row with components at least 12 times the largest sigma apart."""
    components = draw(st.integers(1, 6))
    sigma = [
        [10.0 ** draw(st.floats(-3.0, 0.0)) for _ in range(targets)] for _ in range(components)
    ]
    cells = draw(
        st.lists(
            st.tuples(*[st.integers(-5, 5)] * targets),
            min_size=components,
            max_size=components,
            unique=True,
        )
    )
    log_pi = [draw(st.floats(-8.0, 0.0)) for _ in range(components)]
    return distribution([log_pi], [np.multiply(12.0, cells)], [sigma])


@given(st.one_of(well_separated(2), well_separated(3)), st.integers(0, 1000))
@thorough(60)
def test_no_random_point_near_a_mean_beats_the_joint_mode(one, seed):
    rng = np.random.default_rng(seed)
    [mu], [sigma] = one.mu, one.sigma
    steps = (
        rng.normal(size=(4, 200, 1, mu.shape[1]))
        * np.array([1.0, 0.1, 1e-3, 1e-5])[:, None, None, None]
    )
    points = (mu + sigma * steps).reshape(-1, mu.shape[1])
    heights = [one.log_prob(point[None])[0] for point in (one.mode()[0], *mu)]
    many = distribution(*(part.repeat(len(points), axis=0) for part in one.mixture.arrays()))
    assert heights[0] >= max(heights) - 1e-12
    assert heights[0] >= many.log_prob(points).max() - 1e-9


@pytest.mark.parametrize("targets", [2, 3])
def test_joint_modes_are_no_lower_than_any_mean(targets):
    """The search starts at the means and never goes down, however the components overlap."""
    many = ordinary(40, 5, targets)
    best = many.log_prob(many.mode())
    for component in range(5):
        assert (best >= many.log_prob(many.mu[:, component]) - 1e-12).all()


def test_the_highest_of_more_peaks_than_starts_is_found():
    """Twelve components have 78 means and midpoints, and the search starts at 64 points."""
    mu = np.random.default_rng(0).uniform(0.0, 100.0, size=(1, 12, 2))
    for highest in range(12):
        sigma = np.full((1, 12, 2), 0.5)
        sigma[:, highest] = 0.1
        one = distribution(np.zeros((1, 12)), mu, sigma)
        np.testing.assert_allclose(one.mode(), mu[:, highest])


def test_the_joint_mode_is_not_that_of_the_marginals():
    """Two components have the same first coordinate, and the highest one has another."""
    mu = [[[0.0, -5.0], [0.0, 5.0], [4.0, 0.0]]]
    one = distribution([np.log([0.3, 0.3, 0.4])], mu, np.ones((1, 3, 2)))
    np.testing.assert_allclose(one.mode(), [[4.0, 0.0]], atol=1e-3)
    first = distribution([np.log([0.3, 0.3, 0.4])], [[0.0, 0.0, 4.0]], np.ones((1, 3)))
    assert abs(first.mode()[0]) < 1e-2
