"""Rounded targets: every answer against sums over the grid, with cdfs of SciPy."""

import numpy as np
import pytest
from scipy.stats import norm

from mdncli.columns.discrete import Rounding
from mdncli.density.distribution import Distribution
from mdncli.density.mixture import GaussianMixture

ROWS, COMPONENTS = 7, 3
GRIDS = [
    Rounding(1.0, 0.0, lower=0.0),
    Rounding(1.0, 3.0),
    Rounding(0.5, 0.25, lower=-0.75, upper=3.25),
    Rounding(2.0, 1.0, upper=9.0),
]


def mixtures(seed: int = 0) -> GaussianMixture:
    rng = np.random.default_rng(seed)
    log_pi = np.log(rng.dirichlet(np.ones(COMPONENTS), ROWS))
    mu = rng.uniform(-1.0, 6.0, (ROWS, COMPONENTS, 1))
    return GaussianMixture(log_pi, mu, np.exp(rng.uniform(-2.5, 1.0, mu.shape)))


def sums(mixture: GaussianMixture, grid: Rounding) -> tuple[np.ndarray, np.ndarray]:
    """Return the values of the grid, (C,), and their probabilities, (N, C), by SciPy."""
    values = grid.origin + grid.step * np.arange(-120, 120)
    if grid.lower is not None:
        values = values[values > grid.lower - 0.5 * grid.step]
    if grid.upper is not None:
        values = values[values < grid.upper + 0.5 * grid.step]
    low, high = values - 0.5 * grid.step, values + 0.5 * grid.step
    if grid.lower is not None:
        low[0] = -np.inf
    if grid.upper is not None:
        high[-1] = np.inf
    pi, mu, sigma = mixture.pi[:, :, None], mixture.mu, mixture.sigma
    # In the upper tail, differences of survival functions keep their digits.
    upper = low > mu
    between = np.where(
        upper,
        norm.sf(low, mu, sigma) - norm.sf(high, mu, sigma),
        norm.cdf(high, mu, sigma) - norm.cdf(low, mu, sigma),
    )
    return values, (pi * between).sum(axis=1)


@pytest.fixture(params=GRIDS, ids=["counts", "whole", "both bounds", "upper bound"])
def grid(request: pytest.FixtureRequest) -> Rounding:
    found: Rounding = request.param
    return found


@pytest.fixture
def rounded(grid: Rounding) -> Distribution:
    return Distribution(mixtures(), [grid])


def test_the_probabilities_sum_to_one(grid: Rounding, rounded: Distribution) -> None:
    values, probability = sums(mixtures(), grid)
    np.testing.assert_allclose(probability.sum(axis=1), 1.0, rtol=1e-12)
    ours = np.exp([rounded.log_probability(value) for value in values]).T
    np.testing.assert_allclose(ours, probability, rtol=1e-9, atol=1e-290)


def test_the_density_is_the_probability_over_the_step(
    grid: Rounding, rounded: Distribution
) -> None:
    _, probability = sums(mixtures(), grid)
    values = sums(mixtures(), grid)[0]
    for at in (0, len(values) // 2):
        expected = np.log(np.maximum(probability[:, at] / grid.step, 1e-300))
        found = rounded.log_prob(float(values[at]))
        kept = probability[:, at] > 1e-290
        np.testing.assert_allclose(found[kept], expected[kept], rtol=1e-9)
        # A value between two of the grid stands for the nearest one.
        np.testing.assert_array_equal(rounded.log_prob(values[at] + 0.4 * grid.step), found)


def test_far_in_the_tails_no_digits_are_lost() -> None:
    one = GaussianMixture(np.zeros((1, 1)), np.zeros((1, 1, 1)), np.ones((1, 1, 1)))
    distribution = Distribution(one, [Rounding(1.0, 0.0)])
    for value in (-30.0, -9.0, 9.0, 30.0):
        expected = norm.logsf(abs(value) - 0.5) + np.log1p(
            -np.exp(norm.logsf(abs(value) + 0.5) - norm.logsf(abs(value) - 0.5))
        )
        np.testing.assert_allclose(distribution.log_prob(value), expected, rtol=1e-12)


def test_beyond_a_bound_the_probability_is_zero() -> None:
    distribution = Distribution(mixtures(), [Rounding(1.0, 0.0, 0.0, 5.0)])
    assert np.isneginf(distribution.log_prob(-1.0)).all()
    assert np.isneginf(distribution.log_prob(6.0)).all()
    assert (distribution.cdf(-0.5) == 0.0).all()
    np.testing.assert_allclose(distribution.cdf(5.0), 1.0, rtol=1e-14)


def test_cdf_and_its_complement(grid: Rounding, rounded: Distribution) -> None:
    values, probability = sums(mixtures(), grid)
    for at in range(0, len(values), max(1, len(values) // 9)):
        lower = probability[:, : at + 1].sum(axis=1)
        for value in (values[at], values[at] + 0.7 * grid.step):
            np.testing.assert_allclose(rounded.cdf(float(value)), lower, rtol=1e-9, atol=1e-14)
            upper = rounded.cdf(float(value), upper=True)
            np.testing.assert_allclose(upper, probability[:, at + 1 :].sum(axis=1), 1e-9, 1e-14)
            large = lower > 1e-200
            log_cdf = rounded.cdf(float(value), log=True)[large]
            np.testing.assert_allclose(log_cdf, np.log(lower[large]), rtol=1e-7, atol=1e-9)


def test_moments(grid: Rounding, rounded: Distribution) -> None:
    values, probability = sums(mixtures(), grid)
    mean = (probability * values).sum(axis=1)
    variance = (probability * (values - mean[:, None]) ** 2).sum(axis=1)
    np.testing.assert_allclose(rounded.mean(), mean, rtol=1e-10)
    np.testing.assert_allclose(rounded.variance(), variance, rtol=1e-9)


def test_the_mode_is_the_most_probable_value(grid: Rounding, rounded: Distribution) -> None:
    values, probability = sums(mixtures(), grid)
    np.testing.assert_allclose(rounded.mode(), values[probability.argmax(axis=1)])


@pytest.mark.parametrize("p", [0.001, 0.05, 0.3, 0.5, 0.9, 0.999])
def test_a_quantile_is_the_first_value_that_reaches_it(
    p: float, grid: Rounding, rounded: Distribution
) -> None:
    values, probability = sums(mixtures(), grid)
    reached = probability.cumsum(axis=1) >= p - 1e-12
    np.testing.assert_allclose(rounded.quantile(p), values[reached.argmax(axis=1)])


def test_quantiles_of_zero_and_one_are_the_bounds() -> None:
    distribution = Distribution(mixtures(), [Rounding(1.0, 0.0, lower=0.0)])
    np.testing.assert_array_equal(distribution.quantile([0.0, 1.0]), [[0.0, np.inf]] * ROWS)


def test_crps_is_that_of_the_steps(grid: Rounding, rounded: Distribution) -> None:
    values, probability = sums(mixtures(), grid)
    cdf = probability.cumsum(axis=1)
    for y in (values[0], values[len(values) // 2], values[-1] if grid.upper else values[40]):
        expected = grid.step * ((cdf - (values >= y)) ** 2).sum(axis=1)
        np.testing.assert_allclose(rounded.crps(float(y)), expected, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("coverage", [0.5, 0.9])
def test_a_region_is_the_smallest_set_of_values(
    coverage: float, grid: Rounding, rounded: Distribution
) -> None:
    values, probability = sums(mixtures(), grid)
    for row, regions in enumerate(rounded.hdr(coverage)):
        inside = np.zeros(len(values), dtype=bool)
        for low, high in regions[~np.isnan(regions[:, 0])]:
            inside |= (values > low - 1e-9) & (values < high + 1e-9)
        held = probability[row][inside].sum()
        assert held >= coverage - 1e-9
        assert held - probability[row][inside].min() < coverage
        assert probability[row][inside].min() >= probability[row][~inside].max(initial=0.0) - 1e-12


def test_samples_lie_on_the_grid_and_follow_it(grid: Rounding, rounded: Distribution) -> None:
    values, probability = sums(mixtures(), grid)
    drawn = rounded.sample(20_000, seed=3)
    steps = (drawn - grid.origin) / grid.step
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-9)
    for value, expected in zip(values, probability.T, strict=True):
        share = (np.abs(drawn - value) < 0.25 * grid.step).mean(axis=1)
        np.testing.assert_allclose(share, expected, atol=0.02)


def test_a_fine_grid_is_the_density() -> None:
    """As the step shrinks, every answer becomes that of the continuous target."""
    fine, smooth = Distribution(mixtures(), [Rounding(1e-3, 0.0)]), Distribution(mixtures())
    y = np.linspace(-1.0, 5.0, ROWS).round(3)
    np.testing.assert_allclose(fine.log_prob(y), smooth.log_prob(y), atol=1e-4)
    np.testing.assert_allclose(fine.mean(), smooth.mean(), atol=1e-9)
    np.testing.assert_allclose(fine.crps(y), smooth.crps(y), atol=1e-3)
