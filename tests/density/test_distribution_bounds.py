"""Targets with bounds: every answer against SciPy, and against integrals over the target."""

import itertools
import math

import numpy as np
import pytest
from scipy import integrate, stats
from scipy.special import betainc, betaln, expit, log_expit, polygamma

from mdncli.columns.transforms import (
    HIGHEST_ORDER,
    IDENTITY,
    ORDER,
    Transform,
    transform_between,
)
from mdncli.density.distribution import Distribution
from mdncli.density.mixture import GaussianMixture

ABOVE = transform_between(2.0, None)
BELOW = transform_between(None, -1.0)
BETWEEN = transform_between(0.0, 5.0)
LOGIT = transform_between(0.0, 5.0, 1)
EVERY = pytest.mark.parametrize("transform", [ABOVE, BELOW, BETWEEN, LOGIT], ids=str)
ORDERS = pytest.mark.parametrize("order", [1, 2, ORDER, HIGHEST_ORDER])


def mixtures(rows: int, components: int, targets: int = 1, width: float = 0.4) -> GaussianMixture:
    rng = np.random.default_rng(components)
    shape = rows, components, targets
    log_pi = np.log(rng.dirichlet(np.ones(components), rows))
    mu, spread = rng.normal(size=(2, *shape))
    return GaussianMixture(log_pi, mu, width * np.exp(0.7 * spread))


def alone(mu: float, sigma: float, transform: Transform) -> Distribution:
    """Return one row of one component."""
    parts = np.zeros((1, 1)), np.full((1, 1, 1), mu), np.full((1, 1, 1), sigma)
    return Distribution(GaussianMixture(*parts), (transform,))


def row(given: Distribution, at: int, times: int = 1) -> Distribution:
    parts = (np.repeat(part[at : at + 1], times, axis=0) for part in given.mixture.arrays())
    return Distribution(GaussianMixture(*parts), given.transforms)


def line(mixture: GaussianMixture, at: int, including: float) -> tuple[np.ndarray, ...]:
    """Return points that resolve a row's mixture, and density, cdf and upper tail there."""
    pi, mu, sigma = mixture.pi[at], mixture.mu[at, :, 0], mixture.sigma[at, :, 0]
    near = (mu + sigma * np.linspace(-20.0, 20.0, 20001)[:, None]).ravel()
    between = np.linspace(near.min(), near.max(), 400001)
    u = np.unique(np.concatenate([near, between, [including]]))
    z = (u[:, None] - mu) / sigma
    parts = stats.norm.pdf(z) / sigma, stats.norm.cdf(z), stats.norm.sf(z)
    return u, *((pi * part).sum(axis=1) for part in parts)


# Closed forms: one component with one bound is a lognormal distribution.


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
def test_the_density_is_that_of_the_cdf_and_integrates_to_one(transform: Transform) -> None:
    given = Distribution(mixtures(1, 3), (transform,))
    q = given.quantile([1e-9, 0.5, 1.0 - 1e-9])[0]

    def density(y: float) -> float:
        return float(np.exp(given.log_prob([y])[0]))

    parts = [integrate.quad(density, *ends, limit=200)[0] for ends in (q[:2], q[1:])]
    np.testing.assert_allclose(parts, 0.5, atol=1e-6)
    np.testing.assert_allclose(given.cdf(q[1:2]), 0.5, atol=1e-12)


@EVERY
@pytest.mark.parametrize("width", [0.01, 0.4, 1.2])
def test_moments_and_crps_are_the_integrals(transform: Transform, width: float) -> None:
    mixture = mixtures(4, 3, width=width)
    given = Distribution(mixture, (transform,))
    values = given.sample(1, seed=3)[:, 0]
    mean, variance, crps = given.mean(), given.variance(), given.crps(values)
    for at, value in enumerate(values):
        knot = transform.inverse(np.array(value))
        u, density, cdf, left = line(mixture, at, knot)
        y, dy = transform.forward(u), np.exp(transform.log_abs_det_jacobian(u))
        first = integrate.trapezoid(density * y, u)
        second = integrate.trapezoid(density * (y - first) ** 2, u)
        np.testing.assert_allclose([mean[at], variance[at]], [first, second], rtol=1e-6)
        below, above = slice(0, u.searchsorted(knot) + 1), slice(u.searchsorted(knot), None)
        score = integrate.trapezoid((cdf**2 * dy)[below], u[below])
        score += integrate.trapezoid((left**2 * dy)[above], u[above])
        assert score == pytest.approx(crps[at], rel=1e-6)


@pytest.mark.parametrize("transform", [ABOVE, BELOW], ids=str)
def test_crps_of_one_component_is_scipys(transform: Transform) -> None:
    for sigma in (0.05, 0.5, 1.5, 4.0):
        given = alone(0.0, sigma, transform)
        known = stats.lognorm(sigma)

        def below_squared(v: float, known=known) -> float:
            return known.cdf(v) ** 2

        # The integral is over w = log v, where the upper tail is short.
        def above_squared(w: float, known=known) -> float:
            return known.sf(math.exp(w)) ** 2 * math.exp(w)

        for t in (0.2, 1.0, 3.0):
            tail = math.log(t), 12.0 * sigma + sigma**2
            score = integrate.quad(below_squared, 0.0, t, epsabs=1e-13)[0]
            score += integrate.quad(above_squared, *tail, epsabs=1e-13, limit=500)[0]
            y = 2.0 + t if transform is ABOVE else -1.0 - t
            assert given.crps([y])[0] == pytest.approx(score, rel=1e-6)


@ORDERS
@pytest.mark.parametrize(
    ("mu", "sigma"),
    # One fixed rule gives the moments up to a sigma of 2, 1.41, 1 and 0.5 of these orders.
    [(0.0, 0.3), (-2.0, 0.49), (-4.0, 0.99), (0.0, 1.0), (-2.0, 1.01), (-1.0, 6.0), (-30.0, 4.0)],
)
def test_between_bounds_quadrature_holds_for_any_sigma(order: int, mu: float, sigma: float) -> None:
    given = alone(mu, sigma, transform_between(0.0, 1.0, order))
    reach = (12.0 + 2.0 * order * sigma) * sigma
    u = np.linspace(mu - reach, mu + reach, 400_001)
    density, share = stats.norm.pdf(u, mu, sigma), betainc(order, order, expit(u))
    mean = integrate.trapezoid(density * share, u)
    assert given.mean()[0] == pytest.approx(mean, rel=1e-9)
    variance = integrate.trapezoid(density * (share - mean) ** 2, u)
    assert given.variance()[0] == pytest.approx(variance, rel=1e-9)
    at = u.searchsorted(mu + 0.4 * sigma)
    cdf = stats.norm.cdf(u, mu, sigma)
    slope = np.exp(order * (log_expit(u) + log_expit(-u)) - betaln(order, order))
    score = integrate.trapezoid((cdf**2 * slope)[: at + 1], u[: at + 1])
    score += integrate.trapezoid((stats.norm.sf(u, mu, sigma) ** 2 * slope)[at:], u[at:])
    y = transform_between(0.0, 1.0, order).forward(u[at])
    assert given.crps([y])[0] == pytest.approx(score, rel=1e-6)


@ORDERS
def test_moments_near_a_bound_are_those_of_the_lognormal(order: int) -> None:
    """There the share of y is C(2a - 1, a) exp(a u)."""
    for mu, sigma in ((-20.0, 0.3), (-25.0, 0.45), (-40.0, 1.2)):
        given = alone(mu, sigma, transform_between(0.0, 1.0, order))
        scale = math.comb(2 * order - 1, order) * math.exp(order * mu)
        known = stats.lognorm(order * sigma, scale=scale)
        if mu + 2.0 * order * sigma**2 > -15.0:
            continue
        assert given.mean()[0] == pytest.approx(known.mean(), rel=1e-6)
        assert given.std()[0] == pytest.approx(known.std(), rel=1e-6)


def test_a_gaussian_is_close_to_a_uniform_target_with_two_bounds() -> None:
    """That is what the order is for: two bounds and no other information."""
    u_std = math.sqrt(2.0 * float(polygamma(1, ORDER)))
    given = alone(0.0, u_std, transform_between(-1.0, 3.0))
    y = np.linspace(-0.99, 2.99, 1001)
    many = row(given, 0, len(y))
    logit = row(alone(0.0, math.pi / math.sqrt(3.0), transform_between(-1.0, 3.0, 1)), 0, len(y))
    missed = [np.abs(np.exp(each.log_prob(y)) - 0.25).mean() for each in (many, logit)]
    assert missed[0] < 0.02
    assert missed[0] < 0.4 * missed[1]
    np.testing.assert_allclose(given.mean(), 1.0, atol=1e-12)
    np.testing.assert_allclose(given.std(), 4.0 / math.sqrt(12.0), rtol=0.01)
    levels = np.array([0.1, 0.25, 0.5, 0.75, 0.9])
    np.testing.assert_allclose(given.quantile(levels)[0], -1.0 + 4.0 * levels, atol=0.05)


def test_moments_and_crps_between_bounds_are_those_of_quad() -> None:
    mixture = mixtures(3, 3, width=0.3)
    # Nearer to the upper bound, floats are too coarse to integrate over y.
    given = Distribution(
        GaussianMixture(mixture.log_pi, 0.3 * mixture.mu, mixture.sigma), (BETWEEN,)
    )
    values = given.sample(1, seed=3)[:, 0]
    for at, value in enumerate(values):
        one = row(given, at)

        def density(y: float, one: Distribution = one) -> float:
            return float(np.exp(one.log_prob([y])[0]))

        def below(y: float, one: Distribution = one) -> float:
            return float(one.cdf([y])[0]) ** 2

        def above(y: float, one: Distribution = one) -> float:
            return float(one.cdf([y], upper=True)[0]) ** 2

        cuts = [0.0, *one.quantile([0.001, 0.1, 0.5, 0.9, 0.999])[0], 5.0]

        def integral(function, cuts=cuts) -> float:
            pairs = itertools.pairwise(cuts)
            return sum(integrate.quad(function, *pair, epsrel=1e-10)[0] for pair in pairs)

        mean = integral(lambda y: y * density(y))
        assert integral(density) == pytest.approx(1.0, abs=1e-8)
        assert given.mean()[at] == pytest.approx(mean, rel=1e-8)
        variance = integral(lambda y, mean=mean: (y - mean) ** 2 * density(y))
        assert given.variance()[at] == pytest.approx(variance, rel=1e-8)
        score = integrate.quad(below, 0.0, value)[0] + integrate.quad(above, value, 5.0)[0]
        assert given.crps(values)[at] == pytest.approx(score, rel=1e-6)


@ORDERS
def test_quantiles_are_those_of_u(order: int) -> None:
    transform = transform_between(0.0, 5.0, order)
    mixture, levels = mixtures(4, 3), [1e-12, 0.1, 0.5, 0.9]
    mixture = GaussianMixture(mixture.log_pi, mixture.mu / order, mixture.sigma / order)
    found = Distribution(mixture, (transform,)).quantile(levels)
    expected = transform.forward(Distribution(mixture).quantile(levels))
    np.testing.assert_allclose(found, expected, rtol=1e-14)
    given = Distribution(mixture, (transform,))
    for at, level in enumerate(levels):
        np.testing.assert_allclose(given.cdf(found[:, at]), level, rtol=1e-6)


def test_a_mirrored_target_has_mirrored_answers() -> None:
    mixture = mixtures(5, 3)
    mirrored = GaussianMixture(mixture.log_pi, -mixture.mu, mixture.sigma)
    pairs = (
        (ABOVE, transform_between(None, -2.0)),
        (transform_between(1.0, 4.0), transform_between(-4.0, -1.0)),
        (transform_between(1.0, 4.0, 1), transform_between(-4.0, -1.0, 1)),
    )
    for one, other in pairs:
        here, there = Distribution(mixture, (one,)), Distribution(mirrored, (other,))
        y = here.sample(1)[:, 0]
        np.testing.assert_allclose(there.mean(), -here.mean(), rtol=1e-9)
        np.testing.assert_allclose(there.std(), here.std(), rtol=1e-8)
        np.testing.assert_allclose(there.crps(-y), here.crps(y), rtol=1e-8)
        np.testing.assert_allclose(there.mode(), -here.mode(), rtol=1e-9)
        np.testing.assert_allclose(there.cdf(-y, upper=True), here.cdf(y), rtol=1e-9)


# At the bounds and beyond.


@EVERY
def test_the_density_is_zero_at_a_bound_and_beyond(transform: Transform) -> None:
    given = Distribution(mixtures(3, 4), (transform,))
    for end, sign in ((transform.lower, -1.0), (transform.upper, 1.0)):
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
    assert not transform.outside(draws).any()
    np.testing.assert_allclose(draws.mean(axis=1), given.mean(), atol=0.2 * given.std().max())


# Modes and regions are those of the density of y, not of u.


@EVERY
@pytest.mark.parametrize("width", [0.1, 0.6, 2.0])
def test_mode_and_region_are_those_of_the_density_of_y(transform: Transform, width: float) -> None:
    # A wide component comes closer to an upper bound than floats do, and the more the higher order.
    given = Distribution(mixtures(5, 3, width=width / transform.order), (transform,))
    top, regions = given.mode(), given.hdr(0.8)
    for at in range(5):
        reach = (9.0 + 3.0 * given.sigma[at]) * given.sigma[at]
        ends = (given.mu[at] - reach).min(), (given.mu[at] + reach).max()
        # Closer to a bound other than 0, floats are too coarse to compare densities.
        last = 18.0 / transform.order
        y = transform.forward(np.linspace(*np.clip(ends, -last, last), 20001))
        heights = row(given, at, len(y)).log_prob(y)
        one = row(given, at)
        assert one.log_prob(top[at : at + 1])[0] >= heights.max() - 1e-9
        intervals = regions[at][~np.isnan(regions[at, :, 0])]
        held = sum(one.cdf([high])[0] - one.cdf([low])[0] for low, high in intervals)
        assert held == pytest.approx(0.8, abs=1e-9)
        inside = ((y[:, None] >= intervals[:, 0]) & (y[:, None] <= intervals[:, 1])).any(axis=1)
        assert heights[inside].min() >= heights[~inside].max() - 1e-9


@ORDERS
def test_a_wide_component_has_two_modes_near_the_bounds(order: int) -> None:
    [region] = alone(0.0, 3.0 / math.sqrt(order), transform_between(0.0, 1.0, order)).hdr(0.5)
    assert region.shape == (2, 2)
    np.testing.assert_allclose(region[0], 1.0 - region[1, ::-1], atol=1e-9)


def test_the_joint_mode_is_of_the_joint_density_of_the_targets() -> None:
    given = Distribution(mixtures(3, 4, targets=3), (ABOVE, IDENTITY, BETWEEN))
    top, rng = given.mode(), np.random.default_rng(0)
    for at in range(3):
        u = given.mixture.mu[at, 0] + 1.5 * rng.normal(size=(20000, 3))
        near = np.stack([b.forward(u[:, t]) for t, b in enumerate(given.transforms)], axis=1)
        room = np.minimum(1.0, top[at] - [2.0, -9.0, 0.0])
        close = top[at] + 1e-3 * rng.normal(size=(2000, 3)) * room
        points = np.concatenate([near, close])
        best = row(given, at).log_prob(top[at : at + 1])[0]
        assert best >= row(given, at, len(points)).log_prob(points).max() - 1e-9


def test_targets_with_and_without_bounds_do_not_affect_each_other() -> None:
    mixture = mixtures(6, 3, targets=2)
    given = Distribution(mixture, (IDENTITY, LOGIT))
    plain = Distribution(mixture)
    y = np.column_stack([np.linspace(-1.0, 1.0, 6), np.linspace(0.5, 4.5, 6)])
    for name in ("mean", "std", "median"):
        pair = getattr(given, name)()[:, 0], getattr(plain, name)()[:, 0]
        np.testing.assert_allclose(*pair, rtol=1e-12)
    np.testing.assert_allclose(given.crps(y)[:, 0], plain.crps(y)[:, 0], rtol=1e-12)
    np.testing.assert_array_equal(given.hdr(0.9)[:, 0, 0], plain.hdr(0.9)[:, 0, 0])
    second = GaussianMixture(mixture.log_pi, mixture.mu[:, :, 1:], mixture.sigma[:, :, 1:])
    other = Distribution(second, (LOGIT,))
    np.testing.assert_allclose(given.mean()[:, 1], other.mean(), rtol=1e-12)
    np.testing.assert_allclose(given.interval(0.5)[:, 1], other.interval(0.5), rtol=1e-12)
    marginal = given.log_prob(y, marginal=True)
    np.testing.assert_allclose(marginal[:, 1], other.log_prob(y[:, 1]), rtol=1e-12)
    slope = np.log(5.0 / (y[:, 1] * (5.0 - y[:, 1])))
    u = np.column_stack([y[:, 0], np.log(y[:, 1] / (5.0 - y[:, 1]))])
    np.testing.assert_allclose(given.log_prob(y), plain.log_prob(u) + slope, rtol=1e-9)


@pytest.mark.parametrize("targets", [1, 2])
def test_a_list_of_identities_equals_no_transforms_to_the_last_bit(targets: int) -> None:
    mixture = mixtures(40, 3, targets)
    y = np.random.default_rng(0).normal(size=(40, targets))
    questions = [
        lambda d: d.log_prob(y),
        lambda d: d.log_prob(y, marginal=True),
        lambda d: d.cdf(y, upper=True, log=True),
        lambda d: d.crps(y),
        lambda d: d.quantile([0.1, 0.9]),
        lambda d: d.hdr(0.8),
        lambda d: d.sample(3, seed=1),
        *(Distribution.mean, Distribution.std, Distribution.mode, Distribution.component_mean),
        Distribution.correlation,
    ]
    plain, listed = Distribution(mixture), Distribution(mixture, [Transform()] * targets)
    for ask in questions:
        np.testing.assert_array_equal(ask(listed), ask(plain))


@EVERY
def test_the_log_density_is_that_of_u_minus_the_log_jacobian(transform: Transform) -> None:
    mixture = mixtures(30, 3)
    u, _ = mixture.sample(1, np.random.default_rng(0))
    y = transform.forward(u[:, 0, 0])
    jacobian = transform.log_abs_det_jacobian(u[:, 0, 0])
    found = Distribution(mixture, [transform]).log_prob(y)
    np.testing.assert_allclose(found, mixture.log_prob(u[:, 0]) - jacobian, rtol=1e-9, atol=1e-9)
