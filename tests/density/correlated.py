"""Mixtures with correlated targets, and their densities by SciPy."""

import numpy as np
from scipy import stats
from scipy.special import logsumexp

from mdncli.density.mixture import GaussianMixture, log_sum_exp


def correlated(
    rows: int, components: int, targets: int, seed: int = 0, near: float = 1.0
) -> GaussianMixture:
    """Return random mixtures with full covariances; the smaller `near`, the closer to singular."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(rows, components))
    lower = np.tril(rng.normal(size=(rows, components, targets, targets)))
    each = np.arange(targets)
    lower[..., each, each] = near * np.exp(0.5 * rng.normal(size=(rows, components, targets)))
    lower[..., 0, 0] = 1.0
    norms = np.linalg.norm(lower, axis=3)
    return GaussianMixture(
        logits - log_sum_exp(logits)[:, None],
        rng.normal(scale=2.0, size=(rows, components, targets)),
        np.exp(rng.normal(size=(rows, components, targets))),
        lower / norms[..., None],
    )


def covariances(mixture: GaussianMixture) -> np.ndarray:
    """Return the covariance of every component, (N, K, T, T)."""
    scaled = mixture.sigma[..., None] * mixture.factor
    return scaled @ scaled.swapaxes(2, 3)


def log_density(mixture: GaussianMixture, y: np.ndarray) -> np.ndarray:
    """Return log p(y) by SciPy's multivariate normal density."""
    whole = covariances(mixture)
    parts = [
        [
            stats.multivariate_normal(mixture.mu[n, k], whole[n, k]).logpdf(y[n])
            for k in range(mixture.mu.shape[1])
        ]
        for n in range(len(y))
    ]
    return logsumexp(mixture.log_pi + np.array(parts), axis=1)
