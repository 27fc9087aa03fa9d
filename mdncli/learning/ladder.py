"""The ladder of models from simple to rich, and how held-out rows weigh its rungs.

The models without hidden layers, the marginal and the linear-Gaussian model, are fitted here in
closed form. Each is a network whose only layer is its head, so it is treated like the others.

The rungs are the marginal, a linear-Gaussian model, networks that read the features alone, networks
that also read sines and cosines of them, and deeper ones. The density is a weighted mean of theirs
(stacking: Smyth and Wolpert 1999). Each row is scored by a member that held it out.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mdncli.density.mixture import GaussianMixture, log_sum_exp, pooled
from mdncli.density.model import Background
from mdncli.density.network import Architecture, Perceptron, pairs_of_targets, split_head
from mdncli.learning.splits import StandardizedRows
from mdncli.settings import FEW_ROWS, Settings
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

# Of the preset `best`: the rows from which on there are deep networks, and wide ones; and the steps
# of the other networks, as a share of those of the periodic ones.
_DEEP_ROWS, _WIDE_ROWS = 700, 2000
_STEPS_OF_PLAIN, _STEPS_OF_DEEP = 0.35, 0.5
# On a small table, each member of `best` learns from more of the rows.
_PARTS_OF_BEST = 20
_RATE_OF_MANY_ROWS = 2.0
_SMALL_STEPS, _SMALL_DROPOUT = 150, 0.3
# Rows that count for equal weights, in addition to those held out.
_PRIOR_ROWS = 5.0
_ROUNDS = 500
_CONVERGED = 1e-7
# The background is this many standard deviations wide, and has a weight of at least this number
# over the rows plus this number. So no row costs more than under a Gaussian marginal that is twice
# as wide, plus log(rows / 2 + 1).
_WIDTH = 2.0
# Calibration acts as if so many rows spoke for no change.
_ROWS_OF_NO_CHANGE = 20.0
_LARGEST_CHANGE = math.log(3.0)
# A pool is already broader than its members, by which the scale was chosen, so a widening counts
# half.
_WIDENING_OF_POOL = 0.5


# From the positions of training rows to a network that is fitted to them.
Fit = Callable[[Positions], Perceptron]


def network_rungs(settings: Settings, rows: int, targets: int = 1) -> list[tuple[str, Settings]]:
    """Return the kinds of networks to learn from this many rows, by name.

    Args:
        settings: of the fit, with every choice made.
        rows: to learn from.
        targets: T. A joint density needs means that are exact, so there is no dropout.
    """
    if not settings.ladder:
        return [("networks", settings)]
    plain = replace(settings, hidden=settings.hidden or (64, 64, 64), frequencies=0)
    if rows < FEW_ROWS:
        steps = min(settings.steps or _SMALL_STEPS, _SMALL_STEPS)
        hidden = settings.hidden or (64, 64)
        return [("small", replace(plain, hidden=hidden, steps=steps, dropout=_SMALL_DROPOUT))]
    if targets > 1:
        return [("plain", replace(plain, dropout=0.0))]
    periodic = replace(
        settings, hidden=settings.hidden or (64, 64), frequencies=settings.frequencies or 8
    )
    if settings.steps is not None:
        return [("plain", plain), ("periodic", periodic)]
    # The preset `best` leaves the steps open: they are those of the periodic networks.
    rate = settings.lr * (_RATE_OF_MANY_ROWS if rows >= _WIDE_ROWS else 1.0)
    plain = replace(plain, batch_size=max(256, settings.batch_size or 0))
    rungs = [
        ("plain", _with_steps(plain, _STEPS_OF_PLAIN, rows)),
        ("periodic", replace(periodic, dropout=0.0, lr=rate)),
    ]
    if rows >= _DEEP_ROWS:
        hidden = settings.hidden or ((128, 128, 64) if rows >= _WIDE_ROWS else (128, 64, 32))
        deep = replace(settings, hidden=hidden, frequencies=2, dropout=0.2, batch_size=256)
        rungs.append(("deep", _with_steps(deep, _STEPS_OF_DEEP, rows)))
    return rungs


def _with_steps(settings: Settings, share: float, rows: int) -> Settings:
    """Return the settings with this share of the steps on a table of so many rows."""
    return replace(settings, epochs=max(2, round(share * settings.epochs_for(rows))))


def parts_to_hold_out(settings: Settings, rows: int) -> int:
    """Return the number of parts of which a member holds one out, if it is more than usual."""
    few = settings.ladder and settings.steps is None and FEW_ROWS <= rows < _WIDE_ROWS
    return _PARTS_OF_BEST if few else 0


def background_of(y: Array, weights: Array) -> Background:
    """Return the background of targets y, (N, T), standardized, with its least weight."""
    mean = np.average(y, axis=0, weights=weights)
    # A target with a few distant values has a huge variance, which its square may not hold.
    unit = np.abs(y - mean).max(axis=0) + 1e-300
    std = unit * np.sqrt(np.average(((y - mean) / unit) ** 2, axis=0, weights=weights))
    arrays = [each.astype(np.float32).astype(np.float64) for each in (mean, _WIDTH * std)]
    return Background(_WIDTH / (len(y) + _WIDTH), *arrays)


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


@dataclass(frozen=True)
class HeldOut:
    """The outputs of a rung at rows that were held out.

    Attributes:
        architecture: of its networks.
        raw: outputs of networks, each (N, O), whose densities are averaged.
        y: (N, T), standardized.
        min_sigma: (T,), standardized.
    """

    architecture: Architecture
    raw: list[Array]
    y: Array
    min_sigma: Array

    @property
    def is_network(self) -> bool:
        """Whether there are hidden layers. Other rungs are not calibrated."""
        return bool(self.architecture.hidden)

    def log_prob(self, sigma_scale: float = 1.0, temperature: float = 1.0) -> Array:
        """Return the log density of each row, (N,), after a calibration."""
        members = []
        for raw in self.raw:
            mixture = split_head(raw, self.architecture, self.min_sigma, sigma_scale=sigma_scale)
            members.append(mixture.tempered(temperature=temperature))
        return pooled(members, [-math.log(len(members))] * len(members)).log_prob(self.y)


@dataclass(frozen=True)
class Stack:
    """The weights of the rungs, and the calibration of the networks among them.

    Attributes:
        weights: of every rung; 0 for a rung that is left out.
        background: the weight of the background; 0 without one.
        sigma_scale, temperature: of the networks.
        nll: the mean NLL of the whole on the held-out rows, standardized.
    """

    weights: list[float]
    background: float
    sigma_scale: float
    temperature: float
    nll: float


@dataclass(frozen=True)
class Stacking:
    """Finds the stack with the lowest NLL on held-out rows.

    Attributes:
        rungs: their outputs at the N rows.
        row_weights: (N,), how much each row counts.
        log_background: (N,), the log density of the background; None without one.
        least: the smallest weight of the background.
        calibrate: whether to calibrate the networks.
        pools: whether the networks will be pooled with others that learned from the row.
        least_gain: by which a rung must lower the NLL at least, beside its noise, in nats.
    """

    rungs: Sequence[HeldOut]
    row_weights: Array
    log_background: Array | None
    least: float
    calibrate: bool
    pools: bool
    least_gain: float = 0.0

    def solve(self) -> Stack:
        """Return the stack. A rung stays only if it lowers the NLL by more than its noise."""
        terms = self._terms(1.0, 1.0)
        kept = self._prune(terms)
        scale, temperature = self._calibration(terms, kept) if self.calibrate else (1.0, 1.0)
        terms = self._terms(scale, temperature)
        weights, background = self._weights(terms, kept)
        log_density = self._log_density(terms, weights, background)
        nll = -float(np.average(log_density, weights=self.row_weights))
        return Stack(weights.tolist(), background, scale, temperature, nll)

    def _terms(self, scale: float, temperature: float) -> Array:
        """Return the log density of each rung at each row, (R, N)."""
        calibration = scale, temperature
        return np.stack(
            [rung.log_prob(*(calibration if rung.is_network else ())) for rung in self.rungs]
        )

    def _weights(self, terms: Array, kept: list[int]) -> tuple[Array, float]:
        """Return the weights of all rungs, (R,), and of the background, by maximum likelihood.

        The expectation-maximization algorithm finds them; the problem is convex.
        """
        parts = [terms[rung] for rung in kept]
        if self.log_background is not None:
            parts.append(self.log_background)
        stacked, count = np.stack(parts), len(kept)
        prior = np.zeros(len(parts))
        prior[:count] = _PRIOR_ROWS / count
        share = np.full(len(parts), 1.0 / len(parts))
        for _ in range(_ROUNDS):
            joint = np.log(np.maximum(share, 1e-300))[:, None] + stacked
            responsibility = np.exp(joint - log_sum_exp(joint.T)) * self.row_weights
            new = responsibility.sum(axis=1) + prior
            new /= new.sum()
            done = float(np.abs(new - share).max()) < _CONVERGED
            share = new
            if done:
                break
        background = 0.0
        if self.log_background is not None:
            background = min(max(float(share[-1]), self.least), 0.99)
        weights = np.zeros(len(terms))
        weights[kept] = (1.0 - background) * share[:count] / share[:count].sum()
        return weights, background

    def _log_density(self, terms: Array, weights: Array, background: float) -> Array:
        kept = np.flatnonzero(weights)
        parts = [math.log(weights[rung]) + terms[rung] for rung in kept]
        if self.log_background is not None:
            parts.append(math.log(background) + self.log_background)
        return log_sum_exp(np.stack(parts, axis=1))

    def _prune(self, terms: Array) -> list[int]:
        """Return the rungs to keep: leave out one after another while that costs only noise."""
        kept = list(range(len(terms)))
        while len(kept) > 1:
            whole = self._log_density(terms, *self._weights(terms, kept))
            costs = []
            for rung in kept:
                rest = [each for each in kept if each != rung]
                loss = whole - self._log_density(terms, *self._weights(terms, rest))
                cost = float(np.average(loss, weights=self.row_weights))
                spread = float(np.average((loss - cost) ** 2, weights=self.row_weights))
                noise = self._noise * math.sqrt(spread / len(loss))
                costs.append(cost - max(noise, self.least_gain))
            least = int(np.argmin(costs))
            if costs[least] > 0.0:
                break
            del kept[least]
        return kept

    @property
    def _noise(self) -> float:
        """The standard errors that a rung must gain; fewer where few rows can show a gain."""
        return min(1.0, len(self.row_weights) / 500.0)

    def _calibration(self, terms: Array, kept: list[int]) -> tuple[float, float]:
        """Return the scale of sigma and the temperature of pi with the lowest NLL.

        Args:
            terms: the log density of each rung at each row without a calibration, (R, N).
            kept: the rungs that stay.
        """
        networks = [rung for rung in kept if self.rungs[rung].is_network]
        if not networks:
            return 1.0, 1.0
        weights, background = self._weights(terms, kept)
        terms = terms.copy()

        def nll(log_scale: float, log_temperature: float) -> float:
            calibration = math.exp(log_scale), math.exp(log_temperature)
            for rung in networks:
                terms[rung] = self.rungs[rung].log_prob(*calibration)
            log_density = self._log_density(terms, weights, background)
            penalty = _ROWS_OF_NO_CHANGE * (log_scale**2 + log_temperature**2) / len(log_density)
            return penalty - float(np.average(log_density, weights=self.row_weights))

        log_scale = _minimum(lambda value: nll(value, 0.0))
        log_temperature = 0.0
        if any(self.rungs[rung].architecture.mixtures > 1 for rung in networks):
            log_temperature = _minimum(lambda value: nll(log_scale, value))
            log_scale = _minimum(lambda value: nll(value, log_temperature))
        if self.pools and log_scale > 0.0:
            log_scale *= _WIDENING_OF_POOL
        return math.exp(log_scale), math.exp(log_temperature)


def _minimum(function: Callable[[float], float], tolerance: float = 0.02) -> float:
    """Return where a function of one variable has its minimum, by golden-section search."""
    low, high = -_LARGEST_CHANGE, _LARGEST_CHANGE
    ratio = 0.5 * (math.sqrt(5.0) - 1.0)
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = function(left), function(right)
    while high - low > tolerance:
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = function(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = function(right)
    return 0.5 * (low + high)
