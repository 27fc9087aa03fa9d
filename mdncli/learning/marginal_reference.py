"""The mixture that knows nothing of x: the yardstick for whether x helps at all.

The rows of a lesson on the scale of the networks, and what a mixture without x makes of them.
"""

import math

import numpy as np

from mdncli.columns.schema import Schema
from mdncli.density.mixture import GaussianMixture, log_sum_exp
from mdncli.learning.splits import Examples, Split
from mdncli.types import Array, Positions

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


_ROWS_AT_ONCE = 8192
# Enough to know a yardstick by.
_FOLDS_WITHOUT_X = 5


class StandardRows:
    """Rows with their targets standardized, on the mixture's scale.

    Attributes:
        rows: in the units of the file.
        y: (N, T), standardized.
    """

    def __init__(self, rows: Examples, schema: Schema) -> None:
        self.rows, self._schema = rows, schema
        self.y = schema.standardize_targets(rows.y)

    def weight(self, rows: Positions) -> float:
        """Return how much some rows count together."""
        return float(self.rows.counts[rows].sum())

    def units(self, parts: list[Positions]) -> float:
        """Return what an NLL of standardized targets lacks of one in the units of the file, nats.

        A constant, and with bounds the mean of -log|du/dy| over the rows judged.
        """
        constant = float(np.log(self._schema.target_scales).sum())
        rows = np.concatenate(parts)
        if not self._schema.bounded or not len(rows):
            return constant
        slopes = self._schema.log_slope(self.rows.y[rows])
        return constant - float(np.average(slopes, weights=self.rows.counts[rows]))

    def mean_nll(self, mixture: GaussianMixture, rows: Positions) -> float:
        """Return the mean NLL of one mixture, standardized, over some rows; units of the file."""
        if not len(rows):
            return math.nan
        parts = np.split(rows, range(_ROWS_AT_ONCE, len(rows), _ROWS_AT_ONCE))
        total = sum(float(mixture.log_prob(self.y[p]) @ self.rows.counts[p]) for p in parts)
        return self.units([rows]) - total / self.weight(rows)


class Yardstick:
    """The mixture that knows nothing of x: how good a density is without looking at the features.

    Args:
        standard: the rows.
        learned: positions of those that some member learns from.
        split: which rows are held out.
        components: K.
        floor: (T,), the smallest sigma of each target, standardized.
        rng: the source of randomness.

    Attributes:
        mixture: one row, fitted on the rows learned from, standardized.
        nll: on the rows learned from, `nll_train`, and, by mixtures that did not see them, on those
            held out, `nll_valid`, NaN if there are none.
    """

    def __init__(
        self,
        standard: StandardRows,
        learned: Positions,
        split: Split,
        components: int,
        floor: Array,
        rng: np.random.Generator,
    ) -> None:
        self._standard, self._components, self._floor = standard, components, floor
        self.mixture = self._fitted(learned, rng)
        self.nll = {
            "nll_train": standard.mean_nll(self.mixture, learned),
            "nll_valid": self._held_out(split, rng),
        }

    def _fitted(self, rows: Positions, rng: np.random.Generator) -> GaussianMixture:
        y, weights = self._standard.y[rows], self._standard.rows.counts[rows]
        return unconditional_mixture(y, weights, self._components, self._floor, rng)

    def _held_out(self, split: Split, rng: np.random.Generator) -> float:
        standard = self._standard
        if split.shared:
            return standard.mean_nll(self.mixture, split.valid[0])
        some = list(zip(split.train, split.valid, strict=True))[:_FOLDS_WITHOUT_X]
        nlls = [standard.mean_nll(self._fitted(train, rng), valid) for train, valid in some]
        return float(np.average(nlls, weights=[standard.weight(valid) for _, valid in some]))
