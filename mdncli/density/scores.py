"""How well distributions meet the values that came true."""

import numpy as np
from scipy.special import ndtr

from mdncli.density.mixture import LOG_2PI, GaussianMixture
from mdncli.density.network import Array

_PAIRS_AT_ONCE = 4_000_000


def cdf(mixture: GaussianMixture, y: Array) -> Array:
    """Return P(Y_t <= y_t) of each target on its own, sum_k pi_k Phi((y - mu_k) / sigma_k).

    Args:
        mixture: N of them.
        y: (N, T), in the units of the mixtures.

    Returns:
        Shape (N, T). At the values that came true, the probability integral transform.
    """
    z = (y[:, None, :] - mixture.mu) / mixture.sigma
    total: Array = np.einsum("nk,nkt->nt", mixture.pi, ndtr(z))
    return total


def crps(mixture: GaussianMixture, y: Array) -> Array:
    """Return the continuous ranked probability score of each target, in closed form.

        sum_k pi_k A(y - mu_k, sigma_k^2)
            - 1/2 sum_j sum_k pi_j pi_k A(mu_j - mu_k, sigma_j^2 + sigma_k^2),
        A(m, s^2) = 2 s phi(m / s) + m (2 Phi(m / s) - 1)

    (Grimit, Gneiting, Berrocal and Johnson 2006, eq. 5).

    Args:
        mixture: N of them.
        y: (N, T), in the units of the mixtures.

    Returns:
        Shape (N, T), in the units of y: 0 is perfect.
    """
    rows, components, _ = mixture.mu.shape
    at_once = max(1, _PAIRS_AT_ONCE // components**2)
    parts = [
        _crps(*(v[at : at + at_once] for v in (mixture.pi, mixture.mu, mixture.sigma, y)))
        for at in range(0, rows, at_once)
    ]
    return np.concatenate([np.empty((0, y.shape[1])), *parts])


def _crps(pi: Array, mu: Array, sigma: Array, y: Array) -> Array:
    to_value = np.einsum("nk,nkt->nt", pi, _expected_distance(y[:, None] - mu, sigma))
    apart = mu[:, :, None] - mu[:, None]
    spread = np.hypot(sigma[:, :, None], sigma[:, None])
    among = np.einsum("nj,nk,njkt->nt", pi, pi, _expected_distance(apart, spread), optimize=True)
    score: Array = to_value - 0.5 * among
    return score


def _expected_distance(mean: Array, std: Array) -> Array:
    """Return E|X| of X ~ N(mean, std^2)."""
    z = mean / std
    density = np.exp(-0.5 * (z * z + LOG_2PI))
    distance: Array = 2.0 * std * density + mean * (2.0 * ndtr(z) - 1.0)
    return distance


def coverage(mixture: GaussianMixture, y: Array, level: float) -> float:
    """Return the share of values inside their central interval of this level, over all targets.

    Args:
        mixture: N of them.
        y: (N, T), in the units of the mixtures.
        level: such as 0.9.
    """
    tail = 0.5 * (1.0 - level)
    reached = cdf(mixture, y)
    return float(((reached >= tail) & (reached <= 1.0 - tail)).mean())
