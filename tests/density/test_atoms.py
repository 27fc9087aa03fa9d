"""Targets with atoms: every answer against integrals and sums by SciPy."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from mdncli.columns.discrete import Atoms
from mdncli.columns.transforms import IDENTITY, Interval, LowerBound, UpperBound
from mdncli.density.distribution import Distribution
from mdncli.density.mixture import GaussianMixture

ROWS, COMPONENTS = 5, 3
KINDS = {
    "a cap": Atoms(IDENTITY, (1.5,), 2.0, (False, True)),
    "zero, logarithms above": Atoms(LowerBound(-0.05), (0.0,), 4.0, (True, False)),
    "below an upper bound": Atoms(UpperBound(3.1), (3.0,), 4.0, (False, True)),
    "between": Atoms(IDENTITY, (-0.5, 1.0), 1.5, (False, False)),
    "both ends": Atoms(IDENTITY, (-0.5, 2.0), 2.0, (True, True)),
    "a share": Atoms(Interval(-0.02, 1.02), (0.0, 1.0), 2.0, (True, True)),
}


def mixtures(seed: int = 0) -> GaussianMixture:
    rng = np.random.default_rng(seed)
    log_pi = np.log(rng.dirichlet(np.ones(COMPONENTS), ROWS))
    mu = rng.uniform(-1.5, 2.5, (ROWS, COMPONENTS, 1))
    return GaussianMixture(log_pi, mu, np.exp(rng.uniform(-1.5, 0.2, mu.shape)))


@pytest.fixture(params=KINDS.values(), ids=KINDS.keys())
def transform(request: pytest.FixtureRequest) -> Atoms:
    found: Atoms = request.param
    return found


@pytest.fixture
def predicted(transform: Atoms) -> Distribution:
    return Distribution(mixtures(), [transform])


def probabilities(transform: Atoms, row: int) -> np.ndarray:
    """Return the probability of each atom, by SciPy."""
    mixture = mixtures()
    pi, mu, sigma = mixture.pi[row], mixture.mu[row, :, 0], mixture.sigma[row, :, 0]
    between = [
        norm.cdf(high, mu, sigma) - norm.cdf(low, mu, sigma) for low, high in transform.intervals
    ]
    return np.array([(pi * each).sum() for each in between])


def integral(
    transform: Atoms,
    row: int,
    of: Callable[[float], float],
    low: float = -np.inf,
    high: float = np.inf,
) -> float:
    """Return the integral of a function of y times its density between the atoms, over u."""
    mixture = mixtures()
    pi, mu, sigma = mixture.pi[row], mixture.mu[row, :, 0], mixture.sigma[row, :, 0]

    def integrand(u: float) -> float:
        [y] = transform.forward(np.array([u]))
        return of(float(y)) * float((pi * norm.pdf(u, mu, sigma)).sum()) * (low <= y <= high)

    total, reach = 0.0, 12.0
    for start, end, _ in transform.segments:
        start, end = max(start, -reach), min(end, reach)
        cuts = np.unique(np.clip([*mu, *transform.inverse(np.array([low, high]))], start, end))
        for one, other in zip([start, *cuts], [*cuts, end], strict=True):
            total += quad(integrand, one, other, epsabs=1e-12, epsrel=1e-11, limit=200)[0]
    return total


def test_probabilities_and_density_add_up(transform: Atoms, predicted: Distribution) -> None:
    for row in range(ROWS):
        at_atoms = probabilities(transform, row)
        assert at_atoms.sum() + integral(transform, row, lambda y: 1.0) == pytest.approx(
            1.0, abs=1e-8
        )
    for position, value in enumerate(transform.values):
        expected = [probabilities(transform, row)[position] for row in range(ROWS)]
        np.testing.assert_allclose(np.exp(predicted.log_prob(value)), expected, rtol=1e-10)
        np.testing.assert_allclose(np.exp(predicted.log_probability(value)), expected, rtol=1e-10)
    assert (predicted.log_probability(0.123) == -np.inf).all()


def test_the_density_is_the_slope_of_the_cdf(transform: Atoms, predicted: Distribution) -> None:
    for y in (-0.3, 0.2, 0.7):
        if transform.outside(np.array([y]))[0]:
            continue
        slope = (predicted.cdf(y + 1e-6) - predicted.cdf(y - 1e-6)) / 2e-6
        np.testing.assert_allclose(np.exp(predicted.log_prob(y)), slope, rtol=1e-4, atol=1e-7)


def test_the_cdf_jumps_at_an_atom(transform: Atoms, predicted: Distribution) -> None:
    for position, value in enumerate(transform.values):
        jump = predicted.cdf(value) - predicted.cdf(value - 1e-9)
        expected = [probabilities(transform, row)[position] for row in range(ROWS)]
        np.testing.assert_allclose(jump, expected, atol=1e-6)
        both = predicted.cdf(value) + predicted.cdf(value, upper=True)
        np.testing.assert_allclose(both, 1.0, atol=1e-12)
    if transform.closed[0]:
        assert (predicted.cdf(transform.values[0] - 0.1) == 0.0).all()
        assert (predicted.log_prob(transform.values[0] - 0.1) == -np.inf).all()
    if transform.closed[1]:
        assert (predicted.cdf(transform.values[-1]) == 1.0).all()


def test_quantiles_invert_the_cdf(predicted: Distribution) -> None:
    levels = np.array([0.02, 0.2, 0.5, 0.8, 0.98])
    found = predicted.quantile(levels)
    assert (np.diff(found, axis=1) >= 0.0).all()
    for position, level in enumerate(levels):
        upto = predicted.cdf(found[:, position])
        below = predicted.cdf(found[:, position] - 1e-9)
        assert ((below <= level + 1e-6) & (upto >= level - 1e-6)).all()


def test_moments_are_those_of_quadrature(transform: Atoms, predicted: Distribution) -> None:
    mean, variance = predicted.mean(), predicted.variance()
    values = np.array(transform.values)
    for row in range(ROWS):
        weights = probabilities(transform, row)
        first = weights @ values + integral(transform, row, lambda y: y)
        second = weights @ (values - first) ** 2
        second += integral(transform, row, lambda y, m=first: (y - m) ** 2)  # type: ignore[misc]
        assert mean[row] == pytest.approx(first, rel=1e-6, abs=1e-7)
        assert variance[row] == pytest.approx(second, rel=1e-6, abs=1e-7)


def test_the_crps_is_the_integral_of_its_definition(
    transform: Atoms, predicted: Distribution
) -> None:
    ends = predicted.quantile([1e-7, 1.0 - 1e-7])
    for y in (*transform.values, 0.4, float(np.median(ends))):
        score = predicted.crps(y)
        grid = np.linspace(min(ends.min(), y) - 0.01, max(ends.max(), y) + 0.01, 200_001)
        for row in (0, 3):
            one = Distribution(mixtures().rows(slice(row, row + 1)), [transform])
            repeated = Distribution(
                GaussianMixture(
                    *(np.repeat(part, len(grid), axis=0) for part in one.mixture.arrays())
                ),
                [transform],
            )
            squares = (repeated.cdf(grid) - (grid >= y)) ** 2
            expected = squares.sum() * (grid[1] - grid[0])
            assert score[row] == pytest.approx(expected, rel=3e-3, abs=3e-3)


def test_regions_hold_their_probability_and_list_the_atoms(
    transform: Atoms, predicted: Distribution
) -> None:
    for coverage in (0.5, 0.9):
        regions = predicted.hdr(coverage)
        for row, intervals in enumerate(regions):
            weights, held, heights = probabilities(transform, row), 0.0, []
            listed = []
            for low, high in intervals[~np.isnan(intervals[:, 0])]:
                if low == high:
                    listed.append(low)
                    held += weights[transform.values.index(low)]
                    continue
                held += integral(transform, row, lambda y: 1.0, low, high)
                one = Distribution(mixtures().rows(slice(row, row + 1)), [transform])
                for end in (low, high):
                    if not np.isclose(end, transform.values, atol=1e-6).any():
                        heights.append(float(one.log_prob(end)[0]))
            if weights.sum() < coverage:
                assert held == pytest.approx(coverage, abs=1e-5)
                # All ends that are not cut by an atom are on one level of the density.
                assert np.ptp(heights) < 1e-6 if heights else True
            else:
                assert held >= coverage
            assert listed == sorted(listed)
            assert transform.values[int(weights.argmax())] in listed


def test_the_mode_is_a_heavy_atom_or_the_highest_density(
    transform: Atoms, predicted: Distribution
) -> None:
    mode = predicted.mode()
    for row in range(ROWS):
        weights = probabilities(transform, row)
        one = Distribution(mixtures().rows(slice(row, row + 1)), [transform])
        if weights.max() >= 0.5:
            assert mode[row] == transform.values[int(weights.argmax())]
            continue
        low, high = one.quantile([0.001, 0.999])[0]
        grid = np.linspace(low, high, 4001)
        grid = grid[~np.isclose(grid, np.array(transform.values)[:, None], atol=1e-3).any(axis=0)]
        heights = [float(one.log_prob(y)[0]) for y in grid[::4]]
        near = mode[row] + np.array([-1e-7, 1e-7])
        own = max(float(one.log_prob(y)[0]) for y in near)
        assert own >= max(heights) - 1e-3


def test_draws_have_the_probabilities_of_the_atoms(
    transform: Atoms, predicted: Distribution
) -> None:
    draws = predicted.sample(40_000, seed=3)
    for position, value in enumerate(transform.values):
        expected = [probabilities(transform, row)[position] for row in range(ROWS)]
        np.testing.assert_allclose((draws == value).mean(axis=1), expected, atol=0.01)
    np.testing.assert_allclose(draws.mean(axis=1), predicted.mean(), atol=0.05, rtol=0.05)


def test_the_score_of_an_impossible_value_grows_with_its_distance() -> None:
    inner = LowerBound(0.0)
    for transform in (Atoms(inner, (5.0,), 2.0, (False, False)), KINDS["both ends"]):
        predicted = Distribution(mixtures(), [transform])
        near, far = predicted.crps(-4.0), predicted.crps(-6.0)
        np.testing.assert_allclose(far - near, 2.0, atol=1e-6)
        assert np.isfinite(near).all()
