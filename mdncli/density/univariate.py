"""Gaussian mixtures of one target: their cdf, and what they answer on the line."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtr

from mdncli.density.mixture import LOG_2PI, GaussianMixture
from mdncli.tables.maps import Bounds

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Univariate:
    """N mixtures of K components on a line.

    Components come first, (K, N): sums over the first axis of contiguous memory are several times
    faster than sums over a short last one.

    Attributes:
        log_pi: (K, N), log weights; -inf for a component that is not used.
        mu: (K, N).
        sigma: (K, N), all positive.
    """

    log_pi: Array
    mu: Array
    sigma: Array

    @classmethod
    def marginal(cls, mixture: GaussianMixture, target: int) -> "Univariate":
        """Return the distribution of one target, the others integrated out."""
        parts = mixture.log_pi, mixture.mu[:, :, target], mixture.sigma[:, :, target]
        return cls(*(np.ascontiguousarray(part.T) for part in parts))

    @property
    def pi(self) -> Array:
        """The weights, shape (K, N)."""
        return np.exp(self.log_pi)

    def rows(self, chosen: NDArray[np.int64] | NDArray[np.bool_]) -> "Univariate":
        """Return the mixtures at these positions, in their order."""
        return Univariate(self.log_pi[:, chosen], self.mu[:, chosen], self.sigma[:, chosen])

    def resolved(self) -> "Univariate":
        """Return the mixtures with no sigma less than the distance of floats at its mean.

        The peak of a narrower component would fall between two floats, and no search would see it.
        """
        return Univariate(self.log_pi, self.mu, np.maximum(self.sigma, np.spacing(np.abs(self.mu))))

    def heights(self, bounds: Bounds) -> "Univariate":
        """Return the density of the target as a function of u, where u is what these are of.

        It is that of u times du/dy, which `Bounds.tilts` gives as a sum of exponentials, and

            N(u; mu, sigma^2) exp(c u) = exp(c mu + c^2 sigma^2 / 2) N(u; mu + c sigma^2, sigma^2).

        So it has the form of a mixture again, of one component for each exponential and component,
        with weights that do not sum to 1; without bounds it is the mixture itself.
        """
        if not bounds:
            return self
        variance = self.sigma * self.sigma
        tilted = [
            (self.log_pi + weight + c * self.mu + 0.5 * c * c * variance, self.mu + c * variance)
            for c, weight in bounds.tilts()
        ]
        log_weights, means = (np.concatenate(each) for each in zip(*tilted, strict=True))
        return Univariate(log_weights, means, np.tile(self.sigma, (len(tilted), 1)))

    def log_parts(self, y: Array) -> Array:
        """Return log pi_k N(y; mu_k, sigma_k^2), nats, shape (K, N), for y of shape (N,)."""
        z = (y - self.mu) / self.sigma
        parts: Array = self.log_pi - np.log(self.sigma) - 0.5 * (z * z + LOG_2PI)
        return parts

    def log_density(self, y: Array) -> Array:
        """Return log p(y), nats, shape (N,), for y of shape (N,)."""
        return _log_sum_exp(self.log_parts(y))

    def log_density_and_slopes(self, y: Array) -> tuple[Array, Array, Array]:
        """Return log p(y) and its first and second derivative, each (N,), for y of shape (N,).

        With r_k = pi_k N_k / p and s_k = (mu_k - y) / sigma_k^2 the derivatives are sum_k r_k s_k
        and sum_k r_k (s_k^2 - 1 / sigma_k^2) - (sum_k r_k s_k)^2. The r_k are normalized in logs,
        so neither is lost where p underflows.
        """
        parts = self.log_parts(y)
        top = parts.max(axis=0)
        share = np.exp(parts - top)
        total = share.sum(axis=0)
        share /= total
        slopes = (self.mu - y) / self.sigma**2
        slope = (share * slopes).sum(axis=0)
        bend = (share * ((slopes - slope) ** 2 - self.sigma**-2.0)).sum(axis=0)
        return top + np.log(total), slope, bend

    def cdf(self, y: Array, *, upper: bool = False) -> Array:
        """Return P(Y <= y) = sum_k pi_k Phi((y - mu_k) / sigma_k), shape (N,).

        With `upper` it is P(Y > y), summed from the upper tails: nothing cancels.
        """
        z = (y - self.mu) / self.sigma
        total: Array = (self.pi * ndtr(-z if upper else z)).sum(axis=0)
        return np.minimum(total, 1.0)

    def log_cdf(self, y: Array, *, upper: bool = False) -> Array:
        """Return the log of `cdf`, finite where that underflows."""
        z = (y - self.mu) / self.sigma
        return np.minimum(_log_sum_exp(self.log_pi + log_ndtr(-z if upper else z)), 0.0)


def _log_sum_exp(parts: Array) -> Array:
    """Return log sum_k exp(parts_k) over the first axis, -inf where all are."""
    top = parts.max(axis=0)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        total: Array = np.log(np.exp(parts - top).sum(axis=0))
    return total + top
