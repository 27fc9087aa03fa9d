"""The mixture that knows nothing of x: the yardstick for whether x helps at all."""

import math

import numpy as np

from mdncli.density.mixture import GaussianMixture, log_sum_exp
from mdncli.density.network import Array

# A yardstick need not be exact: this is within about a hundredth of a nat of more rows and rounds,
# in a small part of the time of learning.
_MOST_ROWS = 5000
_MOST_ROUNDS = 100
_LEAST_GAIN = 1e-4
_LIGHTEST = 1e-6


def unconditional_mixture(
    y: Array, weights: Array, components: int, floor: Array, rng: np.random.Generator
) -> GaussianMixture:
    """Return one row, the mixture of K components that fits the rows of y best, by EM.

    Each round takes the responsibilities r of the components for the rows, times the rows' weights,
    then

        pi_k = mean r_k,   mu_k = sum r_k y / sum r_k,   sigma_k^2 = sum r_k (y - mu_k)^2 / sum r_k

    (Bishop 2006, eq. 9.23 to 9.26, diagonal), sigma no smaller than the floor, until the NLL falls
    by less than 1e-4 nats.

    Args:
        y: (N, T), standardized.
        weights: (N,), how much each row counts, positive.
        components: K.
        floor: (T,), the smallest sigma of each target.
        rng: chooses the rows when there are more than 5000.
    """
    if len(y) > _MOST_ROWS:
        some = rng.choice(len(y), _MOST_ROWS, replace=False)
        y, weights = y[some], weights[some]
    first = y[:, 0].argsort(kind="stable")
    start = first[((np.arange(components) + 0.5) / components * len(y)).astype(int)]
    mixture = GaussianMixture(
        np.full((1, components), -math.log(components)),
        y[start][None],
        np.maximum(np.full((1, components, y.shape[1]), max(1.0 / components, 0.1)), floor),
    )
    best = math.inf
    for _ in range(_MOST_ROUNDS):
        log_joint = mixture.log_pi + mixture.log_components(y)
        log_density = log_sum_exp(log_joint)
        nll = -float(np.average(log_density, weights=weights))
        if nll > best - _LEAST_GAIN:
            break
        best = nll
        responsibility = np.exp(log_joint - log_density[:, None]) * weights[:, None]
        mixture = _improved(responsibility, y, floor)
    return mixture


def _improved(responsibility: Array, y: Array, floor: Array) -> GaussianMixture:
    # A component that no row belongs to keeps a trace of weight, so that nothing divides by zero.
    total = np.maximum(responsibility.sum(axis=0), _LIGHTEST)
    mu = (responsibility.T @ y) / total[:, None]
    squares = (responsibility.T @ (y * y)) / total[:, None] - mu * mu
    sigma = np.sqrt(np.maximum(squares, floor * floor))
    return GaussianMixture(np.log(total / total.sum())[None], mu[None], sigma[None])
