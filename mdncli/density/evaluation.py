"""Scores: how well the densities of a model describe rows with known targets."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy

from mdncli.density.distribution import Distribution
from mdncli.density.marginal import Marginal
from mdncli.density.mixture import GaussianMixture
from mdncli.density.model import MixtureDensityNetwork
from mdncli.types import Array, Mask

LEVELS = (0.5, 0.8, 0.9, 0.95)

ROWS_AT_ONCE = 1 << 15
# So many values of the PIT are kept at most; more of them are counted in so many bins.
_MOST_KEPT, _BINS = 10_000_000, 1 << 22


@dataclass(frozen=True)
class RowScores:
    """The scores of N rows, in the units of the file.

    Attributes:
        nll: -log p(y | x), the joint density of all targets, in nats, (N,); inf where that is 0.
        crps: the continuous ranked probability score, (N, T).
        error: the mean minus the value, (N, T).
        pit: the probability integral transform, (N, T), randomized within the step of a target
            that was recorded in steps.
        cdf: the cdf at the values, (N, T), without randomization.
        below: the probability of smaller values, (N, T); for a continuous target it is `cdf`.
        width: the widths of the central intervals of `LEVELS`, (N, T, L).
        nll_marginal, nll_baseline: the NLL of the marginal reference and of the least-squares
            baseline, (N,); NaN if the model has none.
    """

    nll: Array
    crps: Array
    error: Array
    pit: Array
    cdf: Array
    below: Array
    width: Array
    nll_marginal: Array
    nll_baseline: Array


@dataclass(frozen=True)
class Evaluation:
    """The scores of a model on some rows; arrays have a value for each target, (T,).

    Attributes:
        targets: the names of the targets.
        rows: N.
        nll: the mean NLL of the joint density of all targets, in nats per row; infinite if a row
            has a target at a bound or beyond it.
        resolution: the lowest NLL that the steps of the targets allow; NaN if one is continuous.
        crps: the mean CRPS, in the units of each target (Grimit et al. 2006).
        rmse: the root mean squared error of the mean, in the units of each target.
        coverage: by level, the share of values inside the central interval; see `share_inside`.
        width: by level, the mean width of the central interval.
        pit_ks: the Kolmogorov-Smirnov distance of the probability integral transform from uniform.
        pit_ks_p: the probability of a distance that large if the densities are correct.
        improvement_marginal, improvement_baseline: the NLL of the marginal reference, and of the
            least-squares baseline, minus that of the model; NaN if the model has none.
        rows_censored: the number of rows where only a limit of the target is known. They count in
            the NLL, in coverage and in the PIT, and not in the CRPS and the RMSE.
        rows_beyond_bounds: the number of rows with a target at a bound of the model or beyond it,
            where the density is 0.
        by_row: the scores of each row; None for a table that was read block by block.
    """

    targets: list[str]
    rows: int
    nll: float
    resolution: float
    crps: Array
    rmse: Array
    coverage: dict[float, Array]
    width: dict[float, Array]
    pit_ks: Array
    pit_ks_p: Array
    improvement_marginal: float
    improvement_baseline: float
    rows_censored: int
    rows_beyond_bounds: int
    by_row: RowScores | None = field(repr=False)

    def to_plain(self) -> dict[str, Any]:
        """Return the scores as plain values; with several targets, as dicts by target."""
        return {
            "rows": self.rows,
            "rows_censored": self.rows_censored,
            "rows_beyond_bounds": self.rows_beyond_bounds,
            "nll": self.nll,
            "resolution": self.resolution,
            "crps": self._plain(self.crps),
            "rmse": self._plain(self.rmse),
            "coverage": {f"{level:g}": self._plain(v) for level, v in self.coverage.items()},
            "width": {f"{level:g}": self._plain(v) for level, v in self.width.items()},
            "pit_ks": self._plain(self.pit_ks),
            "pit_ks_p": self._plain(self.pit_ks_p),
            "skill": {
                "unconditional": self.improvement_marginal,
                "baseline": self.improvement_baseline,
            },
        }

    def _plain(self, values: Array) -> float | dict[str, float]:
        if len(self.targets) == 1:
            return float(values[0])
        return {name: float(value) for name, value in zip(self.targets, values, strict=True)}


def evaluate(
    model: MixtureDensityNetwork,
    x: Array,
    y: Array,
    weights: Array | None = None,
    known: Mask | None = None,
    *,
    seed: int = 0,
) -> Evaluation:
    """Return the scores of a model on some rows, N at least 1; see `Scores.add`."""
    scores = Scores(model, seed, keep=True)
    scores.add(x, y, weights, known)
    return scores.evaluation()


class Scores:
    """The scores of rows that come block by block, in bounded memory.

    The means are sums over pieces of rows. The distance of the PIT from uniform is exact up to ten
    million values. Beyond that, the values are counted in 4 million equal bins, and the distance is
    exact to 5e-7.

    Args:
        model: the model.
        seed: of the randomized PIT of targets that were recorded in steps.
        keep: whether the scores of each row are a part of the evaluation.
    """

    def __init__(self, model: MixtureDensityNetwork, seed: int = 0, *, keep: bool = False) -> None:
        self._model, self._rng = model, np.random.default_rng(seed)
        self._keep: list[RowScores] | None = [] if keep else None
        self._sums: list[dict[str, Array]] = []
        self._exponents: list[int] = []
        self._transforms = _Transforms()
        self.rows = self._censored = self._beyond = 0

    def add(
        self, x: Array, y: Array, weights: Array | None = None, known: Mask | None = None
    ) -> RowScores:
        """Return the scores of some rows, which from now on count in the evaluation.

        Where only a limit of the target is known, the NLL is that of all values beyond it, and the
        PIT is drawn from those. The CRPS and the error are NaN there, and do not count.

        Args:
            x: (N, F), in the order of the model's schema; NaN where a value is missing.
            y: (N, T), finite, in the units of the file.
            weights: (N,), positive, how much each row counts in every score; by default all rows
                count alike.
            known: (N,), False where the target is only known to exceed y; None where it is known.
        """
        parts = []
        for at in range(0, max(1, len(y)), ROWS_AT_ONCE):
            part = slice(at, at + ROWS_AT_ONCE)
            scores = _row_scores(
                self._model, x[part], y[part], None if known is None else known[part], self._rng
            )
            if len(scores.nll):
                self._count(scores, y[part], None if weights is None else weights[part])
            parts.append(scores)
        if self._keep is not None:
            self._keep += parts
        return _concatenated(parts)

    # A sum beyond the end of float64 is infinite, without a warning.
    @np.errstate(over="ignore")
    def _count(self, scores: RowScores, y: Array, weights: Array | None) -> None:
        known = ~np.isnan(scores.error[:, 0])
        self.rows += len(y)
        self._censored += int((~known).sum())
        self._beyond += int((self._model.schema.outside(y) & np.isinf(scores.nll)).sum())
        exponent = 0
        if weights is not None:
            # Only the ratios matter. Divided by a power of 2, their sums do not overflow.
            exponent = int(np.frexp(weights.max())[1])
            weights = np.ldexp(weights, -exponent)
        self._transforms.add(scores.pit, weights, exponent)

        def total(values: Array, rows: Mask | slice = slice(None)) -> Array:
            values = values[rows]
            if weights is None:
                return np.asarray(values.sum(axis=0))
            own = weights[rows].reshape(-1, *[1] * (values.ndim - 1))
            return np.asarray((values * own).sum(axis=0))

        ones = np.ones(len(y))
        self._exponents.append(exponent)
        self._sums.append(
            {
                "rows": total(ones),
                "known": total(ones, known),
                "nll": total(scores.nll),
                "marginal": total(scores.nll_marginal),
                "baseline": total(scores.nll_baseline),
                "crps": total(scores.crps, known),
                "square": total(scores.error**2, known),
                "width": total(scores.width),
                **{
                    f"{level}": total(share_inside(scores.cdf, scores.below, level))
                    for level in LEVELS
                },
            }
        )

    @np.errstate(over="ignore")
    def evaluation(self) -> Evaluation:
        """Return the scores of all rows, of which there is at least one."""
        shifts = np.array(self._exponents) - max(self._exponents)
        scale = np.ldexp(1.0, shifts)
        names = self._sums[0]
        sums = {
            name: np.tensordot(scale, np.stack([each[name] for each in self._sums]), 1)
            if len(scale) > 1
            else self._sums[0][name]
            for name in names
        }
        mean = {name: values / sums["rows"] for name, values in sums.items()}
        with np.errstate(invalid="ignore", divide="ignore"):
            crps, square = (sums[name] / sums["known"] for name in ("crps", "square"))
        nll, resolution = float(mean["nll"]), self._model.schema.resolution
        others = (float(mean[name]) - nll for name in ("marginal", "baseline"))
        improvements = [math.nan if self._beyond else other for other in others]
        tests = self._transforms.distances()
        return Evaluation(
            targets=self._model.schema.target_names,
            rows=self.rows,
            nll=nll,
            resolution=math.nan if resolution is None else resolution,
            crps=crps,
            rmse=np.sqrt(square),
            coverage={level: mean[f"{level}"] for level in LEVELS},
            width=dict(zip(LEVELS, mean["width"].T, strict=True)),
            pit_ks=np.array([distance for distance, _ in tests]),
            pit_ks_p=np.array([p_value for _, p_value in tests]),
            improvement_marginal=improvements[0],
            improvement_baseline=improvements[1],
            rows_censored=self._censored,
            rows_beyond_bounds=self._beyond,
            by_row=None if self._keep is None else _concatenated(self._keep),
        )


def _concatenated(parts: list[RowScores]) -> RowScores:
    if len(parts) == 1:
        return parts[0]
    return RowScores(
        **{name: np.concatenate([vars(part)[name] for part in parts]) for name in vars(parts[0])}
    )


class _Transforms:
    """The values of the PIT: each of them, or in bins once they are too many to keep."""

    def __init__(self) -> None:
        self._values: list[Array] = []
        self._weights: list[tuple[Array | None, int]] = []
        self._bins: Array | None = None
        self._kept = self._rows = 0
        self._weight, self._square, self._exponent = 0.0, 0.0, 0

    def add(self, values: Array, weights: Array | None, exponent: int) -> None:
        """Add values (N, T), with weights (N,) that are to be multiplied by 2^exponent."""
        self._values.append(values)
        self._weights.append((weights, exponent))
        self._kept += values.size
        if self._kept > _MOST_KEPT or self._bins is not None:
            self._to_bins()

    def _to_bins(self) -> None:
        if self._bins is None:
            self._bins = np.zeros((self._values[0].shape[1], _BINS))
            self._exponent = self._weights[0][1]
        for values, (weights, exponent) in zip(self._values, self._weights, strict=True):
            own = None if weights is None else np.ldexp(weights, exponent - self._exponent)
            self._rows += len(values)
            self._weight += len(values) if own is None else float(own.sum())
            self._square += len(values) if own is None else float((own**2).sum())
            for bins, target in zip(self._bins, values.T, strict=True):
                at = np.minimum((target * _BINS).astype(np.int64), _BINS - 1)
                np.add.at(bins, at, 1.0 if own is None else own)
        self._values, self._weights, self._kept = [], [], 0

    def distances(self) -> list[tuple[float, float]]:
        """Return what `distance_from_uniform` does, for each target."""
        if self._bins is None:
            largest = max(exponent for _, exponent in self._weights)
            own = [np.ldexp(w, e - largest) for w, e in self._weights if w is not None]
            weights = np.concatenate(own) if own else None
            columns = range(self._values[0].shape[1])
            transforms = (np.concatenate([v[:, at] for v in self._values]) for at in columns)
            return [distance_from_uniform(pit, weights) for pit in transforms]
        found = []
        edges = np.arange(_BINS + 1) / _BINS
        count = self._weight**2 / self._square
        for bins in self._bins:
            shares = np.append(0.0, bins.cumsum() / self._weight)
            distance = float(np.abs(shares - edges).max())
            found.append((distance, _p_value(distance, count)))
        return found


def _row_scores(
    model: MixtureDensityNetwork,
    x: Array,
    y: Array,
    known: Mask | None,
    rng: np.random.Generator,
) -> RowScores:
    predicted, target = model.distribution(x), model.schema.targets[0]
    tails = [0.5 * (1.0 + sign * level) for level in LEVELS for sign in (-1.0, 1.0)]
    ends = predicted.quantile(tails).reshape(*y.shape, len(LEVELS), 2)
    width, error = ends[..., 1] - ends[..., 0], predicted.mean().reshape(y.shape) - y
    if target.period is not None:
        width = np.mod(width, target.period)
        error = error - target.period * np.rint(error / target.period)
    taken = probabilities_taken_up(model, predicted, y, known)
    below, cdf, censored = taken

    def nll_of(mixture: GaussianMixture | None) -> Array:
        return -model.log_prob(mixture, y, known) if mixture else np.full(len(y), math.nan)

    return RowScores(
        nll=nll_of(predicted.mixture),
        crps=np.where(censored, math.nan, predicted.crps(y).reshape(y.shape)),
        error=np.where(censored, math.nan, error),
        pit=pit(predicted, y, [each.step for each in model.schema.targets], taken, rng),
        cdf=cdf,
        below=below,
        width=width,
        nll_marginal=nll_of(model.reference_mixture(x) if model.reference else None),
        nll_baseline=nll_of(model.baseline_mixture(x) if model.baseline else None),
    )


def probabilities_taken_up(
    model: MixtureDensityNetwork, predicted: Distribution, y: Array, known: Mask | None = None
) -> tuple[Array, Array, Mask]:
    """Return the probability below what each value stands for, and up to its end, both (N, T).

    They are equal for a point. Of an angle they are counted from the point opposite its mean.

    Args:
        model: of the rows.
        predicted: its distributions at N rows.
        y: (N, T), in the units of the file.
        known: (N,), False where the target is only known to exceed y; None where it is known.

    Returns:
        The two, and where only a limit of the target is known, (N, 1).
    """
    target, *others = model.schema.targets
    nowhere = np.zeros((len(y), 1), dtype=bool)
    if others or target.period is not None:
        cdf = predicted.cdf_around_mean(y).reshape(y.shape)
        return cdf, cdf, nowhere
    cells, one = target.cells(y[:, 0], known), Marginal.of(predicted.mixture, 0)
    # Rounding of the weights must not leave the end of an infinite cell below 1.
    cdf = np.where(np.isposinf(cells.high), 1.0, one.cdf(cells.high))
    return one.cdf(cells.low)[:, None], cdf[:, None], target.is_limit(y[:, 0], known)[:, None]


def pit(
    predicted: Distribution,
    y: Array,
    steps: list[float | None],
    taken_up: tuple[Array, Array, Mask],
    rng: np.random.Generator,
) -> Array:
    """Return the probability integral transform F(y | x) of each target, shape (N, T).

    Where a value takes up a probability, the transform is drawn uniformly from it. For a continuous
    target that was recorded in steps it is drawn from [F(y - step/2), F(y + step/2)]. The recorded
    value says no more, and without randomization the PIT would not be uniform even under the true
    density. (Czado, Gneiting and Held 2009, section 2.1)

    Args:
        predicted: the distributions at N rows.
        y: (N, T), in the units of the file.
        steps: of each target, in the units of the file; None for a continuous one.
        taken_up: what `probabilities_taken_up` returns.
        rng: the source of randomness; its numbers are unused where a value is a point.
    """
    low, high, _ = taken_up
    half = np.array([0.0 if step is None else 0.5 * step for step in steps])
    if half.any():
        is_point = low == high
        low = np.where(is_point, predicted.cdf_around_mean(y - half).reshape(y.shape), low)
        high = np.where(is_point, predicted.cdf_around_mean(y + half).reshape(y.shape), high)
    # So many random numbers are drawn in any case that those of a row do not depend on the others.
    uniform = rng.random(y.shape)
    if not (low < high).any():
        return low
    drawn: Array = low + uniform * (high - low)
    return drawn


def share_inside(cdf: Array, below: Array, level: float) -> Array:
    """Return the share of each value that is inside its central interval: 0 or 1 if continuous.

    A rounded value takes up the probabilities from `below` to `cdf`. The share of them between
    (1 - level)/2 and (1 + level)/2 counts, so that the mean is the level under the true density.

    Args:
        cdf: at the values, of any shape.
        below: the probability of smaller values; equal to `cdf` for continuous targets.
        level: of the interval.
    """
    tail = 0.5 * (1.0 - level)
    width = cdf - below
    overlap = np.minimum(cdf, 1.0 - tail) - np.maximum(below, tail)
    at_once = (cdf >= tail) & (cdf <= 1.0 - tail)
    rounded = width > 0.0
    share = np.maximum(overlap, 0.0) / np.where(rounded, width, 1.0)
    return np.where(rounded, share, at_once.astype(np.float64))


def _distance_of_sorted(values: Array) -> float:
    """Return the distance of sorted values from uniform, in the memory of a piece of them."""
    distance, rows = 0.0, len(values)
    for at in range(0, rows, ROWS_AT_ONCE):
        some = values[at : at + ROWS_AT_ONCE]
        ranks = np.arange(at, at + len(some), dtype=np.float64)
        above, below = (ranks + 1.0) / rows - some, some - ranks / rows
        distance = max(distance, float(above.max()), float(below.max()))
    return distance


def distance_from_uniform(values: Array, weights: Array | None) -> tuple[float, float]:
    """Return the Kolmogorov-Smirnov distance of values from uniform, and its p-value.

    With weights, the distance is that of the weighted distribution function, and the p-value is
    that of the effective number of values, (sum w)^2 / sum w^2 (Kish 1965).

    Args:
        values: (N,), from 0 to 1.
        weights: (N,), positive; None if all values count alike.
    """
    if weights is None:
        distance = _distance_of_sorted(np.sort(values))
        return distance, _p_value(distance, float(len(values)))
    order = values.argsort()
    weights = weights[order]
    shares = np.append(0.0, weights.cumsum() / weights.sum())
    above, below = shares[1:] - values[order], values[order] - shares[:-1]
    distance = float(max(above.max(), below.max()))
    return distance, _p_value(distance, float(weights.sum() ** 2 / (weights**2).sum()))


_MOST_EXACT = 10_000
_SMALL_P_VALUE = 0.01


def _p_value(distance: float, count: float) -> float:
    """Return the probability that so many uniform values are at least this far from uniform.

    The p-value is exact for a whole number of values up to 10,000. Otherwise it is Kolmogorov's
    limit with the correction of Vrbik (2018), which is right to a thousandth of it. SciPy has the
    same figures in `scipy.stats`, whose import takes 0.4 s.

    With n d = k - h, k whole and 0 <= h < 1, the probability of a smaller distance d is
    n!/n^n (H^n)_kk (Marsaglia, Tsang and Wang 2003). H has 2k - 1 rows, H_ij = 1/(i - j + 1)! and
    0 above the first superdiagonal, with corrections in the first column and the last row. A small
    p-value is twice that of the distance to one side, except for a share below 1e-7.
    """
    if count > _MOST_EXACT or not count.is_integer():
        root = math.sqrt(count)
        corrected = (root + 0.25 / root) * distance + 1.0 / (6.0 * root) - 0.25 / count
        return float(scipy.special.kolmogorov(corrected))
    n = int(count)
    one_sided = 2.0 * float(scipy.special.smirnov(n, distance))
    if one_sided < _SMALL_P_VALUE:
        return one_sided
    k = int(n * distance) + 1
    h, size = k - n * distance, 2 * k - 1
    powers = np.arange(1.0, size + 1.0)
    step = np.arange(size)[:, None] - np.arange(size) + 1.0
    matrix = np.where(step >= 0.0, 1.0, 0.0)
    matrix[:, 0] -= h**powers
    matrix[-1] -= (h**powers)[::-1]
    matrix[-1, 0] += max(2.0 * h - 1.0, 0.0) ** size
    # Both factors are scaled by e^n, so that neither overflows.
    matrix *= np.exp(-scipy.special.gammaln(np.maximum(step, 0.0) + 1.0) - 1.0)
    scale = math.exp(math.lgamma(n + 1.0) - n * math.log(n) + n)
    return 1.0 - scale * float(np.linalg.matrix_power(matrix, n)[k - 1, k - 1])
