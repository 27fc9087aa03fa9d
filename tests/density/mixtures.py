"""Mixtures that hypothesis draws, and their true answers, computed in extended precision."""

import math

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from mdncli.density.distribution import Distribution
from mdncli.density.mixture import GaussianMixture

MOST_COMPONENTS = 8
# Relative to the largest |mu|. Below it neighbouring floats are so far apart that the cdf has gaps
# of 1e-8.
LEAST_SIGMA = 1e-8


def thorough(examples: int):
    """Return settings that draw the same examples every time."""
    return settings(max_examples=examples, deadline=None, derandomize=True, database=None)


def distribution(log_pi, mu, sigma) -> Distribution:
    """Return distributions, with weights made to sum to 1; mu and sigma (N, K) or (N, K, T)."""
    log_pi, mu, sigma = (np.array(part, dtype=np.float64) for part in (log_pi, mu, sigma))
    log_pi = log_pi - np.logaddexp.reduce(log_pi, axis=1, keepdims=True)
    if mu.ndim == 2:
        mu, sigma = mu[:, :, None], sigma[:, :, None]
    return Distribution(GaussianMixture(log_pi, mu, sigma))


def ordinary(rows: int, components: int, targets: int = 1, seed: int = 0) -> Distribution:
    """Return many rows of mixtures as networks learn them: overlapping, with several maxima."""
    rng = np.random.default_rng(seed)
    shape = (rows, components, targets)
    return distribution(
        np.log(rng.dirichlet(np.ones(components), rows)),
        rng.normal(scale=3.0, size=shape),
        np.exp(rng.normal(size=shape)),
    )


def row(given: Distribution, at: int) -> Distribution:
    """Return the distribution of one row."""
    return Distribution(GaussianMixture(*(part[at : at + 1] for part in given.mixture.arrays())))


def reordered(given: Distribution, order) -> Distribution:
    """Return the same distributions with their components in another order."""
    return Distribution(GaussianMixture(*(part[:, order] for part in given.mixture.arrays())))


def affine(given: Distribution, a: float, b: float) -> Distribution:
    """Return the distributions of a y + b."""
    log_pi, mu, sigma = given.mixture.arrays()
    return Distribution(GaussianMixture(log_pi, a * mu + b, abs(a) * sigma))


@st.composite
def weights(draw, components: int):
    """Return log weights: some light, some of zero, at least one that is neither."""
    one = st.floats(-3.0, 0.0) | st.floats(-30.0, 0.0) | st.just(-math.inf)
    log_pi = [draw(one) for _ in range(components)]
    log_pi[draw(st.integers(0, components - 1))] = 0.0
    return log_pi


@st.composite
def univariate(draw):
    """Return one row with one target: duplicates, shoulders, and gaps of different widths."""
    components = draw(st.integers(1, MOST_COMPONENTS))
    scale = 10.0 ** draw(st.integers(-6, 6))
    mu = [scale * draw(st.just(0.0) | st.floats(-3.0, 3.0))]
    sigma = [scale * 10.0 ** draw(st.floats(-2.0, 1.0))]
    for _ in range(components - 1):
        # Each component is placed and scaled relative to an earlier one.
        at = draw(st.integers(0, len(mu) - 1))
        away = 10.0 ** draw(st.floats(-9.0, 1.0) | st.floats(-1.0, 1.0) | st.floats(1.0, 3.5))
        mu.append(mu[at] + draw(st.sampled_from([-1.0, 0.0, 1.0])) * away * sigma[at])
        wider = draw(st.just(0.0) | st.floats(-0.5, 0.5) | st.floats(-5.0, 3.0))
        sigma.append(sigma[at] * 10.0**wider)
    least = LEAST_SIGMA * max(abs(each) for each in mu)
    return distribution([draw(weights(components))], [mu], [[max(each, least) for each in sigma]])


@st.composite
def extreme(draw, targets: int = 1):
    """Return rows with sigmas from 1e-12 to 1e12, and means up to 1e12."""
    components, rows = draw(st.integers(1, MOST_COMPONENTS)), draw(st.integers(1, 3))
    one_mu = st.just(0.0) | st.floats(-1e12, 1e12) | st.floats(-1.0, 1.0) | st.just(1e12)
    one_sigma = (st.floats(-12.0, 12.0) | st.sampled_from([-12.0, 12.0])).map(lambda e: 10.0**e)
    shape = (rows, components, targets)
    mu, sigma = (
        np.reshape([draw(one) for _ in range(math.prod(shape))], shape)
        for one in (one_mu, one_sigma)
    )
    return distribution([draw(weights(components)) for _ in range(rows)], mu, sigma)


_erfc = np.vectorize(math.erfc, otypes=[np.float64])


class Truth:
    """The true answers for one row with one target, in extended precision."""

    def __init__(self, given: Distribution) -> None:
        [log_pi], [mu], [sigma] = given.mixture.arrays()
        used = log_pi > -np.inf
        # (K, 1), for points along the second axis.
        log_pi, self.mu, self.sigma = (
            part[used, None].astype(np.longdouble) for part in (log_pi, mu[:, 0], sigma[:, 0])
        )
        self.pi = np.exp(log_pi)
        self.pi /= self.pi.sum()

    def tails(self, y):
        """Return P(Y <= y) and P(Y > y), each without cancellation."""
        u = (np.asarray(y, dtype=np.longdouble) - self.mu) / self.sigma / np.sqrt(np.longdouble(2))
        head = u.astype(np.float64)
        # erfc at the float64 part, plus its slope times the remaining digits.
        rest = 2.0 / math.sqrt(math.pi) * np.exp(-u * u) * (u - head)
        below, above = _erfc(-head) + rest, _erfc(head) - rest
        return (0.5 * self.pi * below).sum(axis=0), (0.5 * self.pi * above).sum(axis=0)

    def excess(self, y, p):
        """Return cdf(y) - p, from the smaller tail."""
        below, above = self.tails(y)
        return np.where(p > 0.5, (1.0 - p) - above, below - p)

    def log_density(self, y):
        """Return log p(y)."""
        z = (np.asarray(y, dtype=np.longdouble) - self.mu) / self.sigma
        scale = np.log(self.pi) - np.log(self.sigma) - np.log(2 * np.longdouble(np.pi)) / 2
        return np.logaddexp.reduce(scale - z * z / 2, axis=0)

    def quantile(self, p):
        """Return the quantiles, found by bisection."""
        low = np.full(len(p), (self.mu - 40 * self.sigma).min())
        high = np.full(len(p), (self.mu + 40 * self.sigma).max())
        for _ in range(200):
            middle = low + (high - low) / 2
            if not ((middle > low) & (middle < high)).any():
                break
            short = self.excess(middle, p) < 0.0
            low, high = np.where(short, middle, low), np.where(short, high, middle)
        return high

    def mass(self, region):
        """Return the probability of intervals (I, 2)."""
        below, above = (tail.reshape(-1, 2) for tail in self.tails(region.ravel()))
        up, down = below[:, 1] - below[:, 0], above[:, 0] - above[:, 1]
        return np.where(below[:, 1] < 0.5, up, down).sum()

    def grid(self):
        """Return points near every mean at several scales of its sigma, and between all."""
        steps = np.outer([0.0, 1e-3, 0.01, 0.1, 1.0, 10.0], np.linspace(-1.0, 1.0, 41))
        near = (self.mu[:, :, None] + self.sigma[:, :, None] * np.unique(steps)).ravel()
        between = np.linspace(near.min(), near.max(), 401)
        return np.unique(np.concatenate([near, between]).astype(np.float64))
