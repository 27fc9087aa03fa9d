"""A Gaussian mixture for every row, and the closed forms of what can be asked of it."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LOG_2PI = float(np.log(2.0 * np.pi))


@dataclass(frozen=True)
class GaussianMixture:
    """N mixtures of K Gaussian components over T targets, with diagonal covariances.

    p(y) = sum_k pi_k prod_t N(y_t; mu_kt, sigma_kt^2)    (Bishop 1994, eq. 22 and 23)

    Attributes:
        log_pi: (N, K), log weights; each row's weights sum to 1.
        mu: (N, K, T), in the units of y.
        sigma: (N, K, T), standard deviations in the units of y, all positive.
    """

    log_pi: Array
    mu: Array
    sigma: Array

    @cached_property
    def pi(self) -> Array:
        """The weights, shape (N, K)."""
        return np.exp(self.log_pi)

    def arrays(self) -> tuple[Array, Array, Array]:
        """Return log_pi, mu and sigma."""
        return self.log_pi, self.mu, self.sigma

    def log_prob(self, y: Array) -> Array:
        """Return log p(y) in nats, shape (N,), the joint density of all targets.

        Args:
            y: (N, T), one point for each mixture.
        """
        return log_sum_exp(self.log_pi + self.log_components(y))

    def log_components(self, y: Array) -> Array:
        """Return log N(y; mu_k, sigma_k^2) of every component, nats, shape (N, K).

        Args:
            y: (N, T), one point for each mixture; N points for a single one.
        """
        z = (np.asarray(y)[:, None, :] - self.mu) / self.sigma
        terms: Array = -0.5 * (z * z + LOG_2PI).sum(axis=2) - np.log(self.sigma).sum(axis=2)
        return terms

    def mean(self) -> Array:
        """Return E[y] = sum_k pi_k mu_k, shape (N, T), in the units of y."""
        mean: Array = (self.pi[:, :, None] * self.mu).sum(axis=1)
        return mean

    def variance(self) -> Array:
        """Return Var[y] = sum_k pi_k (sigma_k^2 + (mu_k - E[y])^2), shape (N, T).

        In the units of y squared. The sum of squares about the mean avoids the cancellation in
        E[y^2] - E[y]^2.
        """
        deviation = self.mu - self.mean()[:, None, :]
        squares = self.sigma * self.sigma + deviation * deviation
        variance: Array = (self.pi[:, :, None] * squares).sum(axis=1)
        return variance

    def component_mean(self) -> Array:
        """Return the mean of each row's most probable component, shape (N, T), units of y."""
        best = self.log_pi.argmax(axis=1)
        mean: Array = self.mu[np.arange(len(best)), best]
        return mean

    def tempered(
        self, *, temperature: float = 1.0, sigma_temperature: float = 1.0
    ) -> "GaussianMixture":
        """Return the mixture with weights in proportion to pi^(1/temperature) and scaled sigmas.

        Args:
            temperature: positive; below 1 favours the heavy components.
            sigma_temperature: zero or more; multiplies every sigma. At zero only `sample` and the
                means have a meaning.
        """
        # Subtracting the largest first: log_pi / temperature would overflow when T is tiny.
        scaled = (self.log_pi - self.log_pi.max(axis=1, keepdims=True)) / temperature
        log_pi = scaled - log_sum_exp(scaled)[:, None]
        return GaussianMixture(log_pi, self.mu, self.sigma * sigma_temperature)

    def sample(self, n: int, rng: np.random.Generator) -> tuple[Array, NDArray[np.int64]]:
        """Return n draws of each row's mixture and the components they came from.

        A component is drawn by inverting the cumulated weights at a uniform number, exactly, so
        one of weight zero is never drawn; then y ~ N(mu_k, sigma_k^2).

        Args:
            n: draws for each row.
            rng: the source of randomness.

        Returns:
            y: (N, n, T), in the units of y.
            component: (N, n), from 0.
        """
        cumulated = self.pi.cumsum(axis=1)
        cumulated /= cumulated[:, -1:]
        uniform = rng.random((len(cumulated), n, 1))
        component = (uniform >= cumulated[:, None, :]).sum(axis=2)
        rows = np.arange(len(cumulated))[:, None]
        mu, sigma = self.mu[rows, component], self.sigma[rows, component]
        return mu + sigma * rng.standard_normal(mu.shape), component


def pooled(members: list[GaussianMixture]) -> GaussianMixture:
    """Return the mean of M densities, p(y) = 1/M sum_m p_m(y), as one mixture of their components.

    Those of the first member come first, each with its weight divided by M.
    """
    if len(members) == 1:
        return members[0]
    log_pi, mu, sigma = (
        np.concatenate(parts, axis=1)
        for parts in zip(*(member.arrays() for member in members), strict=True)
    )
    return GaussianMixture(log_pi - math.log(len(members)), mu, sigma)


def generator_of_draws(seed: int) -> np.random.Generator:
    """Return a stream of random numbers for draws, apart from NumPy's own stream of that seed.

    A table drawn by `default_rng(seed)` and samples at its rows from the same stream would share
    their random numbers row by row, and the samples would follow the data.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1,)))


def log_sum_exp(terms: Array) -> Array:
    """Return log sum_k exp(terms_k) over the last axis, finite wherever the largest term is."""
    top = terms.max(axis=-1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        total: Array = np.log(np.exp(terms - top).sum(axis=-1))
    return total + top[..., 0]
