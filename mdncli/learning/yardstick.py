"""The rows of a lesson on the scale of the networks, and what a mixture without x makes of them."""

import math

import numpy as np

from mdncli.density.mixture import GaussianMixture
from mdncli.density.network import Array
from mdncli.learning.splits import Examples, Positions, Split
from mdncli.learning.unconditional import unconditional_mixture
from mdncli.tables.schema import Schema

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
