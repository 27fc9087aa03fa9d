"""The marginal reference: a mixture that ignores x, to show how much the features tell about y."""

import math
from dataclasses import dataclass

import numpy as np

from mdncli.density.mixture import GaussianMixture, log_sum_exp
from mdncli.learning.splits import Split, StandardizedRows
from mdncli.types import Array, Positions

# More rows and rounds change the NLL by about a hundredth of a nat, but take much longer.
_MOST_ROWS = 5000
_MOST_ROUNDS = 100
_LEAST_GAIN = 1e-4
_LEAST_TOTAL = 1e-6
# The validation NLL is the mean over this many members at most.
_MOST_MEMBERS = 5


@dataclass(frozen=True)
class MarginalReference:
    """A mixture of y that ignores x, and its NLL.

    Attributes:
        mixture: one row, fitted to the training rows, standardized.
        nll: `nll_train`, the mean over the training rows; and `nll_valid`, the mean over the
            validation rows, by mixtures that were fitted without them, NaN if there are none. Nats,
            in the units of the file.
    """

    mixture: GaussianMixture
    nll: dict[str, float]

    @classmethod
    def fit(
        cls,
        rows: StandardizedRows,
        split: Split,
        components: int,
        min_sigma: Array,
        rng: np.random.Generator,
    ) -> "MarginalReference":
        """Return the marginal reference of some rows.

        Args:
            rows: all rows.
            split: the training rows and the validation rows of each member.
            components: K.
            min_sigma: (T,), the smallest sigma of each target, standardized.
            rng: chooses the rows where there are more than 5000.
        """

        def fitted(train: Positions) -> GaussianMixture:
            return marginal_mixture(rows.y[train], rows.weights[train], components, min_sigma, rng)

        train = split.train_rows
        mixture = fitted(train)
        nll_train = rows.mean_nll(mixture, train)
        if split.is_shared:
            nll_valid = rows.mean_nll(mixture, split.valid[0])
        else:
            members = list(zip(split.train, split.valid, strict=True))[:_MOST_MEMBERS]
            nlls = [rows.mean_nll(fitted(train), valid) for train, valid in members]
            weights = [rows.total_weight(valid) for _, valid in members]
            nll_valid = float(np.average(nlls, weights=weights))
        return cls(mixture, {"nll_train": nll_train, "nll_valid": nll_valid})


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
