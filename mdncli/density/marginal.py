"""Gaussian mixtures of one target: their cdf, and what they answer on the line.

Quantiles of Gaussian mixtures by a bracketed search on the cdf, for all rows at once.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtr, ndtri

from mdncli.columns.transforms import Bounds
from mdncli.density.mixture import LOG_2PI, GaussianMixture
from mdncli.density.solvers import bracketed_zeros
from mdncli.types import Array, Mask


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


# Relative to the smaller of p and 1 - p.
_CLOSE = 1e-13
# Of a component's own probability, how near to its ends the first guess may be.
_EDGE = 1e-3
_INV_SQRT_2PI = 1.0 / np.sqrt(2.0 * np.pi)


def quantiles(mixture: Univariate, p: Array) -> Array:
    """Return the values that each mixture stays below with these probabilities.

    |cdf(q) - p| is at most 1e-12, or as small as neighbouring floating-point numbers allow; for a
    larger p the quantile is never smaller.

    Args:
        mixture: N of them.
        p: (Q,), each from 0 to 1; at 0 and 1 the answers are infinite.

    Returns:
        Shape (N, Q), in the units of the mixture.

    Raises:
        ValueError: a probability is not from 0 to 1.
    """
    p = np.asarray(p, dtype=np.float64)
    if not ((p >= 0.0) & (p <= 1.0)).all():
        raise ValueError("a probability is not from 0 to 1")
    found = np.empty((mixture.mu.shape[1], len(p)))
    for position, each in enumerate(p):
        if each in (0.0, 1.0):
            found[:, position] = -np.inf if each == 0.0 else np.inf
        elif each <= 0.5:
            found[:, position] = _lower_quantile(mixture, each)
        else:
            # From the mirrored mixture, whose small lower tail loses no digits to 1 - p.
            mirrored = Univariate(mixture.log_pi, -mixture.mu, mixture.sigma)
            found[:, position] = -_lower_quantile(mirrored, 1.0 - each)
    rising = np.argsort(p, kind="stable")
    found[:, rising] = np.maximum.accumulate(found[:, rising], axis=1)
    return found


def _lower_quantile(mixture: Univariate, p: float) -> Array:
    """Return the p-quantile, shape (N,), for p of at most a half.

    It lies between the smallest and the largest quantile of the components. Inside that bracket
    Halley's steps on log cdf converge in a few; one that would leave it is replaced by a halving.
    """
    pi, mu, sigma = mixture.pi, mixture.mu, mixture.sigma
    alone = mu + sigma * ndtri(p)
    used = pi > 0.0
    low = np.where(used, alone, np.inf).min(axis=0)
    high = np.where(used, alone, -np.inf).max(axis=0)
    start = np.clip(_first_guess(pi, mu, sigma, p), low, high)
    # Each end is rounded: the float to be found may be the next one out.
    low, high = np.nextafter(low, -np.inf), np.nextafter(high, np.inf)
    return bracketed_zeros(_LowerTail(pi, mu, 1.0 / sigma, p), low, high, start)


def _first_guess(pi: Array, mu: Array, sigma: Array, p: float) -> Array:
    """Return the quantiles, (N,), as they would be if no two components overlapped."""
    order = np.argsort(mu, axis=0)
    pi, mu, sigma = (np.take_along_axis(part, order, axis=0) for part in (pi, mu, sigma))
    reached = pi.cumsum(axis=0)
    within = np.minimum((reached < p).sum(axis=0), len(mu) - 1), np.arange(mu.shape[1])
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (p - (reached[within] - pi[within])) / pi[within]
    # A component of no weight is chosen where rounding leaves the sum below p: any guess will do.
    share = np.where(np.isnan(share), 0.5, np.clip(share, _EDGE, 1.0 - _EDGE))
    guess: Array = mu[within] + sigma[within] * ndtri(share)
    return guess


class _LowerTail:
    """The cdf less p, as the search asks for it."""

    def __init__(self, pi: Array, mu: Array, rate: Array, p: float) -> None:
        self._pi, self._mu, self._rate, self._p = pi, mu, rate, p
        self._heights = pi * rate * _INV_SQRT_2PI

    def ask(self, y: Array) -> tuple[Array, Array, Mask]:
        """Return the excess over p, Halley's step towards log cdf = log p, and which are done."""
        z = (y - self._mu) * self._rate
        reached = (self._pi * ndtr(z)).sum(axis=0)
        parts = self._heights * np.exp(-0.5 * z * z)
        density = parts.sum(axis=0)
        slope = -(parts * z * self._rate).sum(axis=0)
        with np.errstate(all="ignore"):
            # g = log(cdf / p): g' = density / cdf, and g'' / g' = slope / density - g'.
            rise = density / reached
            newton = -np.log(reached / self._p) / rise
            change = newton / np.maximum(1.0 + 0.5 * newton * (slope / density - rise), 0.25)
        excess = reached - self._p
        return excess, change, np.abs(excess) <= _CLOSE * self._p

    def keep(self, chosen: Mask) -> None:
        """Forget all rows but the chosen ones."""
        self._pi, self._mu, self._rate, self._heights = (
            np.compress(chosen, part, axis=1)
            for part in (self._pi, self._mu, self._rate, self._heights)
        )
