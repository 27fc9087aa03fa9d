"""The models without hidden layers, in closed form: the marginal and the linear-Gaussian model.

Each is a network whose only layer is its head, so that the ladder treats it like the others.
"""

import math
from collections.abc import Callable

import numpy as np

from mdncli.density.mixture import GaussianMixture, log_sum_exp
from mdncli.density.network import Architecture, Perceptron, pairs_of_targets
from mdncli.learning.splits import StandardizedRows
from mdncli.types import Array, Positions

# More rows and rounds change the NLL by about a hundredth of a nat, but take much longer.
_MOST_ROWS = 5000
_MOST_ROUNDS = 100
_LEAST_GAIN = 1e-4
_LEAST_TOTAL = 1e-6
_ROWS_A_COMPONENT = 30
# The penalties that the linear model tries, per row.
_PENALTIES = np.logspace(-6.0, 2.0, 25)
_MOST_DEGREES = 0.9
# The logarithm of the scale that leaves a sigma at its minimum.
_AT_MINIMUM = -30.0

# From the positions of training rows to a network that is fitted to them.
Fit = Callable[[Positions], Perceptron]


def marginal(
    rows: StandardizedRows, components: int, min_sigma: Array, rng: np.random.Generator
) -> tuple[Architecture, Fit]:
    """Return the marginal, a mixture that ignores x: its architecture, and how it is fitted.

    Args:
        rows: all rows.
        components: K at most; there are at least 30 rows for each component.
        min_sigma: (T,), the smallest sigma of each target, standardized.
        rng: chooses the rows where there are more than 5000.
    """
    components = min(components, max(1, len(rows.y) // _ROWS_A_COMPONENT))
    architecture = Architecture(components, (), "silu", "diagonal", 0)

    def fit(train: Positions) -> Perceptron:
        y, weights = rows.y[train], rows.weights[train]
        mixture = marginal_mixture(y, weights, components, min_sigma, rng)
        scale = _log_scale(mixture.sigma, min_sigma)
        bias = np.concatenate([part.ravel() for part in (mixture.log_pi, mixture.mu, scale)])
        return _head_alone(rows, np.zeros((len(bias), rows.inputs.shape[1])), bias)

    return architecture, fit


def linear(rows: StandardizedRows, min_sigma: Array) -> tuple[Architecture, Fit]:
    """Return the linear-Gaussian model: its architecture, and how it is fitted.

    The mean is a ridge regression on the inputs. The penalty minimizes the generalized
    cross-validation score (Golub, Heath and Wahba 1979), rss / (1 - degrees of freedom / N)^2,
    which also estimates the variance of a new row. The covariance is that of the residuals.

    Args:
        rows: all rows.
        min_sigma: (T,), the smallest sigma of each target, standardized.
    """
    targets = len(min_sigma)
    architecture = Architecture(1, (), "silu", "full", 0)

    def fit(train: Positions) -> Perceptron:
        slopes, intercept, covariance = _ridge(
            rows.inputs[train], rows.y[train], rows.weights[train]
        )
        lower = np.linalg.cholesky(covariance + np.diag(1e-3 * min_sigma**2))
        scales = np.diagonal(lower)
        regression = np.eye(targets) - scales[:, None] * np.linalg.inv(lower)
        pairs = [regression[pair] for pair in pairs_of_targets(targets)]
        bias = np.concatenate([[0.0], intercept, _log_scale(scales, min_sigma), pairs])
        weight = np.zeros((len(bias), rows.inputs.shape[1]))
        weight[1 : 1 + targets] = slopes
        return _head_alone(rows, weight, bias)

    return architecture, fit


def _head_alone(rows: StandardizedRows, weight: Array, bias: Array) -> Perceptron:
    # The file stores single precision, so the model must answer with the same numbers.
    weight, bias = (each.astype(np.float32).astype(np.float64) for each in (weight, bias))
    return Perceptron("silu", np.zeros((rows.periodic, 0)), [(weight, bias)])


def _log_scale(sigma: Array, min_sigma: Array) -> Array:
    """Return s with sigma^2 = min_sigma^2 + exp(2 s)."""
    above = np.maximum(sigma * sigma - min_sigma * min_sigma, math.exp(2.0 * _AT_MINIMUM))
    log_scale: Array = 0.5 * np.log(above)
    return log_scale


def _ridge(x: Array, y: Array, weights: Array) -> tuple[Array, Array, Array]:
    """Return the slopes, (T, I), the intercepts, (T,), and the residual covariance, (T, T)."""
    rows, total = len(y), weights.sum()
    x_mean, y_mean = (np.average(each, axis=0, weights=weights) for each in (x, y))
    x_centred, y_centred = x - x_mean, y - y_mean
    values, axes = np.linalg.eigh((x_centred.T * weights) @ x_centred / total)
    values = np.maximum(values, 0.0)
    along = axes.T @ ((x_centred.T * weights) @ y_centred / total)
    y_squares = np.average(y_centred**2, axis=0, weights=weights)
    best = math.inf
    for penalty in _PENALTIES:
        shrunk = 1.0 / (values + penalty)
        used = min(1.0 + float((values * shrunk).sum()), _MOST_DEGREES * rows)
        explained = (2.0 * shrunk - values * shrunk**2)[:, None] * along**2
        left = np.maximum(y_squares - explained.sum(axis=0), 1e-12 * y_squares + 1e-300)
        score = float(np.log(left).sum() - 2.0 * len(left) * math.log1p(-used / rows))
        if score < best:
            best, degrees, chosen = score, used, shrunk
    slopes = (axes @ (chosen[:, None] * along)).T
    residual = y_centred - x_centred @ slopes.T
    covariance = (residual.T * weights) @ residual / total / (1.0 - degrees / rows) ** 2
    return slopes, y_mean - slopes @ x_mean, covariance


def marginal_mixture(
    y: Array, weights: Array, components: int, min_sigma: Array, rng: np.random.Generator
) -> GaussianMixture:
    """Return the mixture of K components with the largest likelihood of the rows of y, one row.

    The expectation-maximization algorithm finds it. Each round computes the responsibilities r of
    the components for the rows, multiplied by the weights of the rows, and then

        pi_k = mean r_k,   mu_k = sum r_k y / sum r_k,   sigma_k^2 = sum r_k (y - mu_k)^2 / sum r_k

    (Bishop 2006, eq. 9.23 to 9.26, diagonal). No sigma is below `min_sigma`. The rounds end when
    the NLL falls by less than 1e-4 nats.

    Args:
        y: (N, T), standardized.
        weights: (N,), how much each row counts, positive.
        components: K.
        min_sigma: (T,), the smallest sigma of each target, standardized.
        rng: chooses the rows where there are more than 5000.
    """
    if len(y) > _MOST_ROWS:
        chosen = rng.choice(len(y), _MOST_ROWS, replace=False)
        y, weights = y[chosen], weights[chosen]
    order = y[:, 0].argsort(kind="stable")
    start = order[((np.arange(components) + 0.5) / components * len(y)).astype(int)]
    mixture = GaussianMixture(
        np.full((1, components), -math.log(components)),
        y[start][None],
        np.maximum(np.full((1, components, y.shape[1]), max(1.0 / components, 0.1)), min_sigma),
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
        mixture = _maximization_step(responsibility, y, min_sigma)
    return mixture


def _maximization_step(responsibility: Array, y: Array, min_sigma: Array) -> GaussianMixture:
    # A component without rows keeps a tiny weight, so that nothing is divided by zero.
    total = np.maximum(responsibility.sum(axis=0), _LEAST_TOTAL)
    mu = (responsibility.T @ y) / total[:, None]
    variance = (responsibility.T @ (y * y)) / total[:, None] - mu * mu
    sigma = np.sqrt(np.maximum(variance, min_sigma * min_sigma))
    return GaussianMixture(np.log(total / total.sum())[None], mu[None], sigma[None])
