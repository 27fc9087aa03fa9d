"""The learned conditional density: rows of features in, a mixture over the targets out."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mdncli.density.mixture import GaussianMixture
from mdncli.density.network import Architecture, Array, Perceptron, split_head
from mdncli.tables.schema import Schema

Samples = tuple[NDArray[np.int64], Array, NDArray[np.int64]]

_ROWS_AT_ONCE = 8192
_DRAWS_AT_ONCE = 1 << 16


def generator_of_draws(seed: int) -> np.random.Generator:
    """Return a stream of random numbers for draws, apart from NumPy's own stream of that seed.

    A table drawn by `default_rng(seed)` and samples at its rows from the same stream would share
    their random numbers row by row, and the samples would follow the data.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1,)))


@dataclass(frozen=True)
class Baseline:
    """The same trunk fitted by least squares: a Gaussian of one sigma a target.

    Attributes:
        network: its output is the standardized mean, (N, T).
        sigma: (T,), the root mean squared error on the validation rows, standardized.
    """

    network: Perceptron
    sigma: Array


@dataclass(frozen=True)
class TrainingRecord:
    """How training went; NLLs are in nats a row, in the units of the file.

    Attributes:
        rows: of the training table.
        rows_valid: of them, held out for early stopping.
        epochs: trained.
        best_epoch: whose weights are the model's, from 1.
        stopped: why training ended: `epochs`, `patience`, `interrupted` or `faults`.
        faults: epochs that met NaN or inf and were undone.
        nll_train: of the model on the rows that it learned from.
        nll_valid: of the model on the rows held out.
        history: `nll_train` and `nll_valid` by epoch, as they were measured during training.
    """

    rows: int
    rows_valid: int
    epochs: int
    best_epoch: int
    stopped: str
    faults: int
    nll_train: float
    nll_valid: float
    history: dict[str, list[float]]


@dataclass(frozen=True)
class ConditionalDensity:
    """p(y | x) as a mixture density network (Bishop 1994) over standardized columns.

    Attributes:
        schema: the columns, in the model's order.
        architecture: the network's shape.
        network: its output is what `split_head` reads.
        settings: what `fit` was asked for, as plain values.
        record: how training went.
        baseline: the least-squares fit, if one was asked for.
    """

    schema: Schema
    architecture: Architecture
    network: Perceptron
    settings: dict[str, Any]
    record: TrainingRecord
    baseline: Baseline | None = None

    def condition(self, x: Array) -> GaussianMixture:
        """Return the distribution of the targets given each row's features.

        Args:
            x: (N, F), in the units of the file and the order of the schema.

        Returns:
            N mixtures, in the units of the file.
        """
        standardized = self.schema.standardize_features(x)
        raw = self.network(standardized)
        return self._in_user_units(split_head(raw, self.architecture, len(self.schema.targets)))

    def nll(self, x: Array, y: Array) -> Array:
        """Return -log p(y | x), nats, shape (N,), for x (N, F) and y (N, T) as in the file."""
        return -self.condition(x).log_prob(y)

    def sample(
        self,
        x: Array,
        n: int,
        rng: np.random.Generator,
        *,
        temperature: float = 1.0,
        sigma_temperature: float = 1.0,
    ) -> Iterator[Samples]:
        """Yield n draws of the targets for every row of x, in pieces of bounded size.

        Args:
            x: (N, F), in the units of the file.
            n: draws for each row.
            rng: the source of randomness.
            temperature: positive; the weights become proportional to pi^(1/temperature).
            sigma_temperature: zero or more; multiplies every sigma.

        Yields:
            Of each draw, those of one row adjacent: its row in x, (D,); the targets in the units of
            the file, (D, T); and the component that it came from, counted from 0, (D,).
        """
        at_once = max(1, _DRAWS_AT_ONCE // n)
        for start in range(0, max(1, len(x)), at_once):
            mixture = self.condition(x[start : start + at_once]).tempered(
                temperature=temperature, sigma_temperature=sigma_temperature
            )
            for done in range(0, n, _DRAWS_AT_ONCE):
                y, component = mixture.sample(min(n - done, _DRAWS_AT_ONCE), rng)
                rows = start + np.arange(len(y)).repeat(y.shape[1])
                yield rows, y.reshape(len(rows), y.shape[2]), component.reshape(-1)

    def mean_nll(self, x: Array, y: Array) -> float:
        """Return the mean of `nll` over rows, in bounded memory; NaN for no rows."""
        if not len(y):
            return math.nan
        parts = range(0, len(y), _ROWS_AT_ONCE)
        total = sum(
            float(self.nll(x[at : at + _ROWS_AT_ONCE], y[at : at + _ROWS_AT_ONCE]).sum())
            for at in parts
        )
        return total / len(y)

    def condition_baseline(self, x: Array) -> GaussianMixture:
        """Return the least-squares baseline's Gaussian given each row of x, shape (N, F).

        Raises:
            ValueError: the model holds none.
        """
        if self.baseline is None:
            raise ValueError("the model has no baseline")
        standardized = self.schema.standardize_features(x)
        mean = self.baseline.network(standardized)
        sigma = np.broadcast_to(self.baseline.sigma, mean.shape)
        one = GaussianMixture(np.zeros((len(mean), 1)), mean[:, None], sigma[:, None])
        return self._in_user_units(one)

    def _in_user_units(self, standardized: GaussianMixture) -> GaussianMixture:
        location = np.array([column.mean for column in self.schema.targets])
        scale = self.schema.target_scales
        return GaussianMixture(
            standardized.log_pi,
            standardized.mu * scale + location,
            standardized.sigma * scale,
        )
