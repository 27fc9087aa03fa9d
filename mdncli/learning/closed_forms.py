"""The models that are fitted in closed form: the background, the marginal and the linear model.

The last two are networks whose only layer is their head, so they are treated like the others.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from mdncli.columns.transforms import Cells
from mdncli.density.marginal import Marginal
from mdncli.density.mixture import LOG_2PI, GaussianMixture, log_sum_exp
from mdncli.density.model import Background, Rung
from mdncli.density.network import Architecture, Perceptron, pairs_of_targets, split_head
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
# How the wide Gaussian of linear residuals starts, its least width, and what it must gain, in nats.
_FIRST_SHARE, _FIRST_WIDTH, _LEAST_WIDTH, _LEAST_GAIN_OF_TAIL = 0.1, 5.0, 1.5, 0.01
# The random cosines of a smooth function: their number, and the lengths that are tried.
_WAVES, _WAVE_LENGTHS = 150, (0.7, 1.5, 3.0)
_ROWS_AT_ONCE = 8192
# The median of |z| for a Gaussian z.
_MAD_OF_GAUSSIAN = 0.6745
# The logarithm of the scale that leaves a sigma at its minimum.
_AT_MINIMUM = -30.0
# The background is this many standard deviations wide, and has a weight of at least this number
# over the rows plus this number. So no row costs more than under a Gaussian marginal that is twice
# as wide, plus log(rows / 2 + 1).
_WIDTH = 2.0


# From the positions of training rows to a network that is fitted to them.
Fit = Callable[[Positions], Perceptron]


def background_of(y: Array, weights: Array) -> Background:
    """Return the background of targets y, (N, T), standardized, with its least weight."""
    mean = np.average(y, axis=0, weights=weights)
    # A target with a few distant values has a huge variance, which its square may not hold.
    unit = np.abs(y - mean).max(axis=0) + 1e-300
    std = unit * np.sqrt(np.average(((y - mean) / unit) ** 2, axis=0, weights=weights))
    weight = _WIDTH / (len(y) + _WIDTH)
    return Background(weight, as_stored(mean), as_stored(_WIDTH * std))


def as_stored(values: Array) -> Array:
    """Return values in single precision, as the file stores them.

    So a model answers with the same numbers before it is written and after it is read.
    """
    return values.astype(np.float32).astype(np.float64)


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
        cells = rows.cells_of(train)
        mixture = marginal_mixture(y, weights, components, min_sigma, rng, cells)
        scale = _log_scale(mixture.sigma, min_sigma)
        bias = np.concatenate([part.ravel() for part in (mixture.log_pi, mixture.mu, scale)])
        return _head_alone(rows, np.zeros((len(bias), rows.inputs.shape[1])), bias)

    return architecture, fit


def outputs_of(network: Perceptron, rows: StandardizedRows, chosen: Positions) -> Array:
    """Return the outputs of a network at the chosen rows, (N, O)."""
    pieces = np.split(chosen, range(_ROWS_AT_ONCE, len(chosen), _ROWS_AT_ONCE))
    return np.concatenate([network(rows.inputs[p], precision=np.float32) for p in pieces])


def mixture_of_marginal(rung: Rung, min_sigma: Array) -> GaussianMixture:
    """Return the marginal as one mixture, standardized."""
    [(_, bias)] = rung.networks[0].layers
    return split_head(bias[None], rung.architecture, min_sigma)


def smooth_error(x: Array, y: Array, weights: Array, rng: np.random.Generator) -> float:
    """Return the variance that a smooth function of x leaves, estimated for new rows.

    The function is a ridge regression on the inputs and on random cosines of them (Rahimi and Recht
    2007), with the best of three lengths of their waves.

    Args:
        x: (N, I), the inputs of the networks.
        y: (N, T), standardized. The variances of the targets are averaged.
        weights: (N,), how much each row counts.
        rng: the source of randomness.
    """
    variances = []
    for length in _WAVE_LENGTHS:
        directions = rng.normal(size=(x.shape[1], _WAVES)) / (length * math.sqrt(x.shape[1]))
        waves = np.cos(x @ directions + rng.uniform(0.0, 2.0 * math.pi, _WAVES))
        covariance = _ridge(np.column_stack([x, waves]), y, weights).covariance
        variances.append(float(np.diagonal(covariance).mean()))
    return min(variances)


def linear(rows: StandardizedRows, min_sigma: Array) -> tuple[Architecture, Fit]:
    """Return the linear-Gaussian model: its architecture, and how it is fitted.

    The mean is a ridge regression on the inputs. The penalty minimizes the generalized
    cross-validation score (Golub, Heath and Wahba 1979), rss / (1 - degrees of freedom / N)^2,
    which also estimates the variance of a new row. The covariance is that of the residuals. Where
    these have heavy tails, there is a second component with the same mean and a multiple of the
    covariance (the contaminated normal distribution of Tukey 1960).

    Args:
        rows: all rows.
        min_sigma: (T,), the smallest sigma of each target, standardized.
    """
    targets = len(min_sigma)
    some = slice(None, None, max(1, len(rows.y) // _MOST_ROWS))
    x, y, weights = rows.inputs[some], rows.y[some], rows.weights[some]
    ridge = _ridge(x, y, weights)
    with_tail = _with_tail(_start_of_tail(ridge, x, y), x, y, weights)
    gain = ridge.nll(x, y, weights) - with_tail.nll(x, y, weights)
    components = 2 if gain > max(_LEAST_GAIN_OF_TAIL, math.log(len(y)) / len(y)) else 1
    architecture = Architecture(components, (), "silu", "full", 0)

    def fit(train: Positions) -> Perceptron:
        own = rows.inputs[train], rows.y[train], rows.weights[train]
        model = _ridge(*own) if components == 1 else _with_tail(with_tail, *own)
        lower = np.linalg.cholesky(model.covariance + np.diag(1e-3 * min_sigma**2))
        scales = np.diagonal(lower)
        regression = np.eye(targets) - scales[:, None] * np.linalg.inv(lower)
        pairs = [regression[pair] for pair in pairs_of_targets(targets)]
        # The wide component comes last, if there is one.
        logits = [math.log1p(-model.share), math.log(max(model.share, 1e-300))][:components]
        widths = np.array([1.0, model.width])[:components, None]
        log_scales = _log_scale(widths * scales, min_sigma).ravel()
        means = np.tile(model.intercept, components)
        bias = np.concatenate([logits, means, log_scales, pairs * components])
        weight = np.zeros((len(bias), rows.inputs.shape[1]))
        weight[components : components * (1 + targets)] = np.tile(model.slopes, (components, 1))
        return _head_alone(rows, weight, bias)

    return architecture, fit


def _head_alone(rows: StandardizedRows, weight: Array, bias: Array) -> Perceptron:
    layer = as_stored(weight), as_stored(bias)
    return Perceptron("silu", np.zeros((rows.periodic, 0)), [layer])


def _log_scale(sigma: Array, min_sigma: Array) -> Array:
    """Return s with sigma^2 = min_sigma^2 + exp(2 s)."""
    above = np.maximum(sigma * sigma - min_sigma * min_sigma, math.exp(2.0 * _AT_MINIMUM))
    log_scale: Array = 0.5 * np.log(above)
    return log_scale


@dataclass(frozen=True)
class _Linear:
    """A linear mean and residuals from one Gaussian, or from a narrow and a wide one.

    Attributes:
        slopes: (T, I).
        intercept: (T,).
        covariance: of the narrow Gaussian, (T, T).
        share, width: of the wide one: its weight, and its sigmas as a multiple of the others.
    """

    slopes: Array
    intercept: Array
    covariance: Array
    share: float = 0.0
    width: float = 1.0

    def log_terms(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Return log(weight) + log density of both Gaussians, (N, 2), and d^2, (N,).

        d is the Mahalanobis distance to the mean by the narrow Gaussian.
        """
        residual, targets = y - x @ self.slopes.T - self.intercept, y.shape[1]
        lower = np.linalg.cholesky(self.covariance + 1e-300 * np.eye(targets))
        squared = (np.linalg.solve(lower, residual.T) ** 2).sum(axis=0)
        narrow = -0.5 * (squared + targets * LOG_2PI) - np.log(np.diagonal(lower)).sum()
        change = 0.5 * squared * (1.0 - self.width**-2) - targets * math.log(self.width)
        logs = math.log1p(-self.share), math.log(max(self.share, 1e-300))
        return np.stack([logs[0] + narrow, logs[1] + narrow + change], axis=1), squared

    def nll(self, x: Array, y: Array, weights: Array) -> float:
        """Return the mean NLL of the rows."""
        return -float(np.average(log_sum_exp(self.log_terms(x, y)[0]), weights=weights))


def _ridge(x: Array, y: Array, weights: Array) -> _Linear:
    """Return the ridge regression with the best score, with one Gaussian."""
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
        used = 1.0 + float((values * shrunk).sum())
        if used > _MOST_DEGREES * rows:
            # The score of a fit that passes through almost every row means nothing.
            if penalty < _PENALTIES[-1]:
                continue
            used = _MOST_DEGREES * rows
        explained = (2.0 * shrunk - values * shrunk**2)[:, None] * along**2
        left = np.maximum(y_squares - explained.sum(axis=0), 1e-12 * y_squares + 1e-300)
        score = float(np.log(left).sum() - 2.0 * len(left) * math.log1p(-used / rows))
        if score < best:
            best, degrees, chosen = score, used, shrunk
    slopes = (axes @ (chosen[:, None] * along)).T
    residual = y_centred - x_centred @ slopes.T
    covariance = (residual.T * weights) @ residual / total / (1.0 - degrees / rows) ** 2
    return _Linear(slopes, y_mean - slopes @ x_mean, covariance)


def _start_of_tail(ridge: _Linear, x: Array, y: Array) -> _Linear:
    """Return a first guess of both Gaussians, which distant rows do not widen."""
    residual = np.abs(y - x @ ridge.slopes.T - ridge.intercept)
    typical = np.median(residual, axis=0) / _MAD_OF_GAUSSIAN
    covariance = np.diag(np.maximum(typical, 1e-6 * residual.max(axis=0) + 1e-300) ** 2)
    return replace(ridge, covariance=covariance, share=_FIRST_SHARE, width=_FIRST_WIDTH)


def _with_tail(start: _Linear, x: Array, y: Array, weights: Array) -> _Linear:
    """Return a ridge regression whose residuals come from a narrow and a wide Gaussian.

    The expectation-maximization algorithm finds both. A row that is likely from the wide one
    counts less in the regression, so that it hardly moves the mean. With more than 5000 rows, all
    rounds but the last read some of them.
    """
    some = slice(None, None, max(1, len(y) // _MOST_ROWS))
    model, best = start, math.inf
    for _ in range(_MOST_ROUNDS):
        nll = model.nll(x[some], y[some], weights[some])
        if nll > best - _LEAST_GAIN:
            break
        best, kept = nll, model
        model = _round_with_tail(model, x[some], y[some], weights[some])
    return _round_with_tail(kept, x, y, weights)


def _round_with_tail(model: _Linear, x: Array, y: Array, weights: Array) -> _Linear:
    log_terms, squared = model.log_terms(x, y)
    wide = np.exp(log_terms[:, 1] - log_sum_exp(log_terms))
    total = max(float((weights * wide).sum()), _LEAST_TOTAL)
    width = math.sqrt(float((weights * wide * squared).sum()) / total / y.shape[1])
    width = max(width, _LEAST_WIDTH)
    counts = weights * (1.0 - wide + wide / width**2)
    ridge = _ridge(x, y, counts)
    share = min(max(total / float(weights.sum()), 1e-9), 0.5)
    # The sum is over the rows by their counts, but the mean over all rows.
    covariance = ridge.covariance * (counts.sum() / weights.sum())
    return replace(ridge, covariance=covariance, share=share, width=width)


def marginal_mixture(
    y: Array,
    weights: Array,
    components: int,
    min_sigma: Array,
    rng: np.random.Generator,
    cells: Cells | None = None,
) -> GaussianMixture:
    """Return the mixture of K components with the largest likelihood of the rows of y, one row.

    The expectation-maximization algorithm finds it. Each round computes the responsibilities r of
    the components for the rows, multiplied by the weights of the rows, and then

        pi_k = mean r_k,   mu_k = sum r_k y / sum r_k,   sigma_k^2 = sum r_k (y - mu_k)^2 / sum r_k

    (Bishop 2006, eq. 9.23 to 9.26, diagonal). Where a value stands for an interval, its y and y^2
    are the expected ones under the component, given the interval (Dempster, Laird and Rubin 1977,
    section 4.2). No sigma is below `min_sigma`. The rounds end when the NLL falls by less than 1e-4
    nats.

    Args:
        y: (N, T), standardized.
        weights: (N,), how much each row counts, positive.
        components: K.
        min_sigma: (T,), the smallest sigma of each target, standardized.
        rng: chooses the rows where there are more than 5000.
        cells: what the values of a single target stand for, standardized; None for points.
    """
    if len(y) > _MOST_ROWS:
        chosen = rng.choice(len(y), _MOST_ROWS, replace=False)
        y, weights = y[chosen], weights[chosen]
        cells = None if cells is None else cells.rows(chosen)
    if cells is not None and (cells.period or cells.is_point.all()):
        cells = None
    order = y[:, 0].argsort(kind="stable")
    start = order[((np.arange(components) + 0.5) / components * len(y)).astype(int)]
    mixture = GaussianMixture(
        np.full((1, components), -math.log(components)),
        y[start][None],
        np.maximum(np.full((1, components, y.shape[1]), max(1.0 / components, 0.1)), min_sigma),
    )
    best = math.inf
    for _ in range(_MOST_ROUNDS):
        if cells is None:
            log_joint = mixture.log_pi + mixture.log_components(y)
        else:
            expected = _Expected.of(cells, mixture)
            log_joint = mixture.log_pi + expected.log_share
        log_density = log_sum_exp(log_joint)
        nll = -float(np.average(log_density, weights=weights))
        if nll > best - _LEAST_GAIN:
            break
        best = nll
        responsibility = np.exp(log_joint - log_density[:, None]) * weights[:, None]
        if cells is None:
            mixture = _maximization_step(responsibility, y, min_sigma)
        else:
            mixture = expected.maximization_step(responsibility, min_sigma)
    return mixture


@dataclass(frozen=True)
class _Expected:
    """What K Gaussians say of N values of which only intervals are known.

    With z from a to b, the ends of an interval in sigmas, and D = Phi(b) - Phi(a), the expected z
    is (phi(a) - phi(b)) / D and the expected z^2 is 1 + (a phi(a) - b phi(b)) / D.

    Attributes:
        log_share: log D, or the log density of a point, (N, K).
        y: the expected value of y, (N, K).
        squares: the expected square of y - mu, (N, K).
        mu: (K,).
    """

    log_share: Array
    y: Array
    squares: Array
    mu: Array

    @classmethod
    def of(cls, cells: Cells, mixture: GaussianMixture) -> "_Expected":
        """Return what the components of one mixture say, one row of a single target."""
        mu, sigma = mixture.mu[0, :, 0], mixture.sigma[0, :, 0]
        log_share, y, squares = np.empty((3, len(cells.low), len(mu)))
        point = cells.is_point
        for component, (centre, width) in enumerate(zip(mu, sigma, strict=True)):
            one = Marginal(np.zeros((1, 1)), np.full((1, 1), centre), np.full((1, 1), width))
            alone = one.log_prob_of(replace(cells, log_unit=np.zeros(len(point))))
            ends = (cells.low - centre) / width, (cells.high - centre) / width
            heights = [np.exp(-0.5 * (end * end + LOG_2PI) - alone) for end in ends]
            edges = [
                np.where(np.isinf(end), 0.0, end) * height
                for end, height in zip(ends, heights, strict=True)
            ]
            z = np.where(point, ends[0], heights[0] - heights[1])
            z_squares = np.where(point, ends[0] ** 2, 1.0 + edges[0] - edges[1])
            log_share[:, component] = alone
            y[:, component] = centre + width * z
            squares[:, component] = width * width * np.maximum(z_squares, 0.0)
        return cls(log_share, y, squares, mu)

    def maximization_step(self, responsibility: Array, min_sigma: Array) -> GaussianMixture:
        """Return the mixture with the largest expected likelihood, one row."""
        total = np.maximum(responsibility.sum(axis=0), _LEAST_TOTAL)
        mu = (responsibility * self.y).sum(axis=0) / total
        squares = (responsibility * self.squares).sum(axis=0) / total
        variance = np.maximum(squares - (mu - self.mu) ** 2, min_sigma * min_sigma)
        shape = (1, len(mu), 1)
        log_pi = np.log(total / total.sum())[None]
        return GaussianMixture(log_pi, mu.reshape(shape), np.sqrt(variance).reshape(shape))


def _maximization_step(responsibility: Array, y: Array, min_sigma: Array) -> GaussianMixture:
    # A component without rows keeps a tiny weight, so that nothing is divided by zero.
    total = np.maximum(responsibility.sum(axis=0), _LEAST_TOTAL)
    mu = (responsibility.T @ y) / total[:, None]
    variance = (responsibility.T @ (y * y)) / total[:, None] - mu * mu
    sigma = np.sqrt(np.maximum(variance, min_sigma * min_sigma))
    return GaussianMixture(np.log(total / total.sum())[None], mu[None], sigma[None])
