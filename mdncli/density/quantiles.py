"""Quantiles of Gaussian mixtures by a bracketed search on the cdf, for all rows at once."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from mdncli.density.roots import Mask, bracketed_zeros
from mdncli.density.univariate import Univariate

Array = NDArray[np.float64]

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
