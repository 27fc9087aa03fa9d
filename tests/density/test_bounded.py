"""Targets with bounds: every answer against SciPy, and integrals over the target itself."""

import math

import numpy as np
import pytest
from scipy import integrate, stats
from scipy.special import expit

from mdncli.columns.transforms import Bounds
from mdncli.density.distribution import BoundedDistribution, Distribution
from mdncli.density.mixture import GaussianMixture

ABOVE, BELOW, BETWEEN = Bounds(2.0, None), Bounds(None, -1.0), Bounds(0.0, 5.0)
EVERY = pytest.mark.parametrize("bounds", [ABOVE, BELOW, BETWEEN], ids=str)


def mixtures(rows: int, components: int, targets: int = 1, width: float = 0.4) -> GaussianMixture:
    rng = np.random.default_rng(components)
    shape = rows, components, targets
    log_pi = np.log(rng.dirichlet(np.ones(components), rows))
    mu, spread = rng.normal(size=(2, *shape))
    return GaussianMixture(log_pi, mu, width * np.exp(0.7 * spread))


def alone(mu: float, sigma: float, bounds: Bounds) -> BoundedDistribution:
    """Return one row of one component."""
    parts = np.zeros((1, 1)), np.full((1, 1, 1), mu), np.full((1, 1, 1), sigma)
    return BoundedDistribution(GaussianMixture(*parts), (bounds,))


def row(given: BoundedDistribution, at: int, times: int = 1) -> BoundedDistribution:
    parts = (np.repeat(part[at : at + 1], times, axis=0) for part in given.mixture.arrays())
    return BoundedDistribution(GaussianMixture(*parts), given.bounds)


def line(mixture: GaussianMixture, at: int, including: float) -> tuple[np.ndarray, ...]:
    """Return points that cover a row's mixture closely, the density there, cdf and its rest."""
    pi, mu, sigma = mixture.pi[at], mixture.mu[at, :, 0], mixture.sigma[at, :, 0]
    near = (mu + sigma * np.linspace(-20.0, 20.0, 20001)[:, None]).ravel()
    between = np.linspace(near.min(), near.max(), 400001)
    u = np.unique(np.concatenate([near, between, [including]]))
    z = (u[:, None] - mu) / sigma
    parts = stats.norm.pdf(z) / sigma, stats.norm.cdf(z), stats.norm.sf(z)
    return u, *((pi * part).sum(axis=1) for part in parts)


# Closed forms: one component is a lognormal or, mapped by the logit, that of scipy.


@pytest.mark.parametrize("sigma", [0.01, 0.5, 1.0, 3.0])
def test_one_component_above_a_bound_is_the_lognormal(sigma: float) -> None:
    known = stats.lognorm(sigma, loc=2.0, scale=math.exp(0.3))
    one = alone(0.3, sigma, ABOVE)
    y = np.array([2.9])
    np.testing.assert_allclose(one.log_prob(y), known.logpdf(y), rtol=1e-9)
    np.testing.assert_allclose(one.cdf(y), known.cdf(y), rtol=1e-9)
    np.testing.assert_allclose(one.cdf(y, upper=True), known.sf(y), rtol=1e-9)
    np.testing.assert_allclose(one.quantile([0.1, 0.9])[0], known.ppf([0.1, 0.9]), rtol=1e-12)
    np.testing.assert_allclose(
        [one.mean()[0], one.std()[0]], [known.mean(), known.std()], rtol=1e-9
    )
    np.testing.assert_allclose(one.mode(), 2.0 + math.exp(0.3 - sigma**2), rtol=1e-9)
    np.testing.assert_allclose(one.component_mean(), known.median(), rtol=1e-12)


@EVERY
def test_the_density_is_that_of_the_cdf_and_integrates_to_one(bounds: Bounds) -> None:
    given = BoundedDistribution(mixtures(1, 3), (bounds,))
    q = given.quantile([1e-9, 0.5, 1.0 - 1e-9])[0]

    def density(y: float) -> float:
        return float(np.exp(given.log_prob([y])[0]))

    parts = [integrate.quad(density, *ends, limit=200)[0] for ends in (q[:2], q[1:])]
    np.testing.assert_allclose(parts, 0.5, atol=1e-6)
    np.testing.assert_allclose(given.cdf(q[1:2]), 0.5, atol=1e-12)


@EVERY
@pytest.mark.parametrize("width", [0.01, 0.4, 1.2])
def test_moments_and_crps_are_the_integrals(bounds: Bounds, width: float) -> None:
    mixture = mixtures(4, 3, width=width)
    given = BoundedDistribution(mixture, (bounds,))
    values = given.sample(1, seed=3)[:, 0]
    mean, variance, crps = given.mean(), given.variance(), given.crps(values)
    for at, value in enumerate(values):
        knot = bounds.to_mixture(np.array(value))
        u, density, reached, left = line(mixture, at, knot)
        y, dy = bounds.to_target(u), np.exp(-bounds.log_slope_at(u))
        first = integrate.trapezoid(density * y, u)
        second = integrate.trapezoid(density * (y - first) ** 2, u)
        np.testing.assert_allclose([mean[at], variance[at]], [first, second], rtol=1e-6)
        below, above = slice(0, u.searchsorted(knot) + 1), slice(u.searchsorted(knot), None)
        score = integrate.trapezoid((reached**2 * dy)[below], u[below])
        score += integrate.trapezoid((left**2 * dy)[above], u[above])
        assert score == pytest.approx(crps[at], rel=1e-6)


@pytest.mark.parametrize("bounds", [ABOVE, BELOW], ids=str)
def test_crps_of_one_component_is_scipys(bounds: Bounds) -> None:
    for sigma in (0.05, 0.5, 1.5, 4.0):
        given = alone(0.0, sigma, bounds)
        known = stats.lognorm(sigma)

        def below_squared(v: float, known=known) -> float:
            return known.cdf(v) ** 2

        # By w = log v, in which the upper tail is short.
        def above_squared(w: float, known=known) -> float:
            return known.sf(math.exp(w)) ** 2 * math.exp(w)

        for t in (0.2, 1.0, 3.0):
            tail = math.log(t), 12.0 * sigma + sigma**2
            score = integrate.quad(below_squared, 0.0, t, epsabs=1e-13)[0]
            score += integrate.quad(above_squared, *tail, epsabs=1e-13, limit=500)[0]
            y = 2.0 + t if bounds is ABOVE else -1.0 - t
            assert given.crps([y])[0] == pytest.approx(score, rel=1e-6)


@pytest.mark.parametrize(("mu", "sigma"), [(0.0, 0.3), (2.0, 1.0), (-1.0, 6.0), (-30.0, 4.0)])
def test_between_bounds_quadrature_holds_for_any_sigma(mu: float, sigma: float) -> None:
    given = alone(mu, sigma, Bounds(0.0, 1.0))
    u = np.linspace(mu - 30.0 * sigma, mu + 30.0 * sigma, 2_000_001)
    density, share = stats.norm.pdf(u, mu, sigma), expit(u)
    mean = integrate.trapezoid(density * share, u)
    assert given.mean()[0] == pytest.approx(mean, rel=1e-6)
    variance = integrate.trapezoid(density * (share - mean) ** 2, u)
    assert given.variance()[0] == pytest.approx(variance, rel=1e-6)
    at = len(u) * 2 // 3
    reached, slope = stats.norm.cdf(u, mu, sigma), share * (1.0 - share)
    score = integrate.trapezoid((reached**2 * slope)[: at + 1], u[: at + 1])
    score += integrate.trapezoid((stats.norm.sf(u, mu, sigma) ** 2 * slope)[at:], u[at:])
    assert given.crps([share[at]])[0] == pytest.approx(score, rel=1e-6)


def test_a_mirrored_target_has_mirrored_answers() -> None:
    mixture = mixtures(5, 3)
    turned = GaussianMixture(mixture.log_pi, -mixture.mu, mixture.sigma)
    pairs = (ABOVE, Bounds(None, -2.0)), (Bounds(1.0, 4.0), Bounds(-4.0, -1.0))
    for one, other in pairs:
        here, there = BoundedDistribution(mixture, (one,)), BoundedDistribution(turned, (other,))
        y = here.sample(1)[:, 0]
        np.testing.assert_allclose(there.mean(), -here.mean(), rtol=1e-9)
        np.testing.assert_allclose(there.std(), here.std(), rtol=1e-8)
        np.testing.assert_allclose(there.crps(-y), here.crps(y), rtol=1e-8)
        np.testing.assert_allclose(there.mode(), -here.mode(), rtol=1e-9)
        np.testing.assert_allclose(there.cdf(-y, upper=True), here.cdf(y), rtol=1e-9)


# At the bounds and beyond.


@EVERY
def test_nothing_is_at_a_bound_or_beyond(bounds: Bounds) -> None:
    given = BoundedDistribution(mixtures(3, 4), (bounds,))
    for end, sign in ((bounds.lower, -1.0), (bounds.upper, 1.0)):
        if end is None:
            continue
        for y in (end, end + sign, end + sign * 1e300):
            values = np.full(3, y)
            np.testing.assert_array_equal(given.log_prob(values), -np.inf)
            np.testing.assert_array_equal(given.cdf(values), 0.0 if sign < 0.0 else 1.0)
            tail = given.cdf(values, upper=True, log=True)
            np.testing.assert_array_equal(tail, 0.0 if sign < 0.0 else -np.inf)
            assert np.isfinite(given.crps(values)).all()
        at, beyond = given.crps(np.full(3, end)), given.crps(np.full(3, end + 3.0 * sign))
        np.testing.assert_allclose(beyond - at, 3.0, rtol=1e-9)
    draws = given.sample(2000, seed=1)
    assert not bounds.outside(draws).any()
    np.testing.assert_allclose(draws.mean(axis=1), given.mean(), atol=0.2 * given.std().max())


# Modes and regions are of the density of the target.


@EVERY
@pytest.mark.parametrize("width", [0.1, 0.6, 2.0])
def test_mode_and_region_are_of_the_mapped_density(bounds: Bounds, width: float) -> None:
    given = BoundedDistribution(mixtures(5, 3, width=width), (bounds,))
    top, regions = given.mode(), given.hdr(0.8)
    for at in range(5):
        reach = (9.0 + 3.0 * given.sigma[at]) * given.sigma[at]
        ends = (given.mu[at] - reach).min(), (given.mu[at] + reach).max()
        # Closer to a bound that is not 0 floats are too coarse to compare densities by.
        y = bounds.to_target(np.linspace(*np.clip(ends, -18.0, 18.0), 20001))
        heights = row(given, at, len(y)).log_prob(y)
        one = row(given, at)
        assert one.log_prob(top[at : at + 1])[0] >= heights.max() - 1e-9
        intervals = regions[at][~np.isnan(regions[at, :, 0])]
        held = sum(one.cdf([high])[0] - one.cdf([low])[0] for low, high in intervals)
        assert held == pytest.approx(0.8, abs=1e-9)
        inside = ((y[:, None] >= intervals[:, 0]) & (y[:, None] <= intervals[:, 1])).any(axis=1)
        assert heights[inside].min() >= heights[~inside].max() - 1e-9


def test_a_wide_logit_normal_has_two_modes_near_the_bounds() -> None:
    [region] = alone(0.0, 3.0, Bounds(0.0, 1.0)).hdr(0.5)
    assert region.shape == (2, 2)
    np.testing.assert_allclose(region[0], 1.0 - region[1, ::-1], atol=1e-9)


def test_the_joint_mode_is_of_the_joint_density_of_the_targets() -> None:
    given = BoundedDistribution(mixtures(3, 4, targets=3), (ABOVE, Bounds(), BETWEEN))
    top, rng = given.mode(), np.random.default_rng(0)
    for at in range(3):
        u = given.mixture.mu[at, 0] + 1.5 * rng.normal(size=(20000, 3))
        near = np.stack([b.to_target(u[:, t]) for t, b in enumerate(given.bounds)], axis=1)
        room = np.minimum(1.0, top[at] - [2.0, -9.0, 0.0])
        close = top[at] + 1e-3 * rng.normal(size=(2000, 3)) * room
        points = np.concatenate([near, close])
        best = row(given, at).log_prob(top[at : at + 1])[0]
        assert best >= row(given, at, len(points)).log_prob(points).max() - 1e-9


def test_targets_with_and_without_bounds_stand_side_by_side() -> None:
    mixture = mixtures(6, 3, targets=2)
    given = BoundedDistribution(mixture, (Bounds(), BETWEEN))
    plain = Distribution(mixture)
    y = np.column_stack([np.linspace(-1.0, 1.0, 6), np.linspace(0.5, 4.5, 6)])
    for name in ("mean", "std", "median"):
        np.testing.assert_array_equal(getattr(given, name)()[:, 0], getattr(plain, name)()[:, 0])
    np.testing.assert_array_equal(given.crps(y)[:, 0], plain.crps(y)[:, 0])
    np.testing.assert_array_equal(given.hdr(0.9)[:, 0, 0], plain.hdr(0.9)[:, 0, 0])
    second = GaussianMixture(mixture.log_pi, mixture.mu[:, :, 1:], mixture.sigma[:, :, 1:])
    other = BoundedDistribution(second, (BETWEEN,))
    np.testing.assert_allclose(given.mean()[:, 1], other.mean(), rtol=1e-12)
    np.testing.assert_allclose(given.interval(0.5)[:, 1], other.interval(0.5), rtol=1e-12)
    marginal = given.log_prob(y, marginal=True)
    np.testing.assert_allclose(marginal[:, 1], other.log_prob(y[:, 1]), rtol=1e-12)
    slope = np.log(5.0 / (y[:, 1] * (5.0 - y[:, 1])))
    u = np.column_stack([y[:, 0], np.log(y[:, 1] / (5.0 - y[:, 1]))])
    np.testing.assert_allclose(given.log_prob(y), plain.log_prob(u) + slope, rtol=1e-9)
