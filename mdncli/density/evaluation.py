"""How well a model's densities meet rows that came true."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import kstest, kstwobign

from mdncli.columns.dataframe import feature_matrix, matrix, target_matrix
from mdncli.density.distribution import Distribution
from mdncli.density.model import ConditionalDensity
from mdncli.errors import DataError
from mdncli.types import Array

LEVELS = (0.5, 0.8, 0.9, 0.95)

_ROWS_AT_ONCE = 1 << 15


@dataclass(frozen=True)
class RowScores:
    """The scores of N rows, in the units of the file.

    Attributes:
        nll: -log p(y | x) of all targets together, nats, (N,); inf where the density is 0.
        crps: (N, T).
        error: the mean less the value, (N, T).
        pit: (N, T), randomized within the step of a target recorded in steps.
        reached: the cdf at the values as they are, (N, T).
        width: of the central intervals of `LEVELS`, (N, T, L).
        nll_unconditional, nll_baseline: (N,), NaN where the model holds none.
    """

    nll: Array
    crps: Array
    error: Array
    pit: Array
    reached: Array
    width: Array
    nll_unconditional: Array
    nll_baseline: Array


@dataclass(frozen=True)
class Evaluation:
    """The scores of a model on some rows; arrays have a value for each target, (T,).

    Attributes:
        targets: their names.
        rows: N.
        rows_beyond_bounds: those with a target at a bound of the model or beyond it, where the
            density is 0.
        nll: mean, nats a row, the joint density of all targets; infinite where there are such.
        resolution: the NLL that values recorded in such steps allow at best; NaN if continuous.
        crps: mean, in the units of each target (Grimit et al. 2006).
        rmse: root of the mean squared error of the mean.
        coverage: by level, the share of values inside the central interval.
        width: by level, its mean width.
        pit_ks: the Kolmogorov-Smirnov distance of the probability integral transform from uniform.
        pit_ks_p: the chance of one as large, if the densities were right.
        skill_unconditional, skill_baseline: how much lower the NLL is than that of the mixture
            that knows nothing of x, or of the least-squares baseline; NaN where there is none.
        by_row: the scores that these are means of.
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
    skill_unconditional: float
    skill_baseline: float
    rows_beyond_bounds: int
    by_row: RowScores

    def to_plain(self) -> dict[str, Any]:
        """Return the scores as plain values; with several targets, an object by their names."""
        return {
            "rows": self.rows,
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
                "unconditional": self.skill_unconditional,
                "baseline": self.skill_baseline,
            },
        }

    def _plain(self, values: Array) -> float | dict[str, float]:
        if len(self.targets) == 1:
            return float(values[0])
        return {name: float(value) for name, value in zip(self.targets, values, strict=True)}


def evaluate(
    model: ConditionalDensity, x: Array, y: Array, weights: Array | None = None, *, seed: int = 0
) -> Evaluation:
    """Return how well a model meets rows x (N, F) and y (N, T), N at least 1.

    Args:
        model: to be judged.
        x: in the order of its schema, NaN where missing.
        y: finite, likewise.
        weights: (N,), how much each row counts in every score, positive; all alike if not given.
        seed: of the randomized PIT of targets recorded in steps.
    """
    rng = np.random.default_rng(seed)
    if weights is not None:
        # Only their ratios matter; sums and squares of them stay floats so.
        weights = weights / weights.max()
    parts = [
        _row_scores(model, x[at : at + _ROWS_AT_ONCE], y[at : at + _ROWS_AT_ONCE], rng)
        for at in range(0, len(y), _ROWS_AT_ONCE)
    ]
    by_row = RowScores(
        **{name: np.concatenate([vars(part)[name] for part in parts]) for name in vars(parts[0])}
    )
    resolution = model.schema.resolution
    tests = [distance_from_uniform(pit, weights) for pit in by_row.pit.T]

    def mean(values: Array) -> Array:
        return np.asarray(np.average(values, axis=0, weights=weights))

    nll, beyond = float(mean(by_row.nll)), int(model.schema.outside(y).sum())
    skills = [math.nan, math.nan]
    if not beyond:
        others = by_row.nll_unconditional, by_row.nll_baseline
        skills = [float(mean(other)) - nll for other in others]
    return Evaluation(
        targets=model.schema.target_names,
        rows=len(y),
        nll=nll,
        resolution=math.nan if resolution is None else resolution,
        crps=mean(by_row.crps),
        rmse=np.sqrt(mean(by_row.error**2)),
        coverage={level: mean(_inside(by_row.reached, level)) for level in LEVELS},
        width=dict(zip(LEVELS, mean(by_row.width).T, strict=True)),
        pit_ks=np.array([distance for distance, _ in tests]),
        pit_ks_p=np.array([chance for _, chance in tests]),
        skill_unconditional=skills[0],
        skill_baseline=skills[1],
        rows_beyond_bounds=beyond,
        by_row=by_row,
    )


def evaluate_rows(
    model: ConditionalDensity, rows: Any, targets: Any = None, weights: Any = None
) -> Evaluation:
    """Return what `ConditionalDensity.evaluate` does."""
    x = feature_matrix(rows, model.schema.features)
    y = target_matrix(rows if targets is None else targets, model.schema.target_names)
    if len(x) != len(y) or not len(x):
        raise DataError(f"{len(x)} rows with {len(y)} targets: as many are needed, and one.")
    used = ~np.isnan(y).any(axis=1)
    name = model.schema.weight
    if weights is None and name is not None and name in getattr(rows, "columns", []):
        weights = rows[name]
    if weights is not None:
        weights = matrix(weights, ["weights"])[:, 0]
        used &= weights > 0.0
        weights = weights[used]
    if not used.any():
        raise DataError("no row has a target and a positive weight.")
    return evaluate(model, x[used], y[used], weights)


def _row_scores(
    model: ConditionalDensity, x: Array, y: Array, rng: np.random.Generator
) -> RowScores:
    answer = model.distribution(model.mixture(x))
    tails = [0.5 * (1.0 + sign * level) for level in LEVELS for sign in (-1.0, 1.0)]
    ends = answer.quantile(tails).reshape(*y.shape, len(LEVELS), 2)
    nothing = np.full(len(y), math.nan)
    return RowScores(
        nll=-answer.log_prob(y),
        crps=answer.crps(y).reshape(y.shape),
        error=answer.mean().reshape(y.shape) - y,
        pit=pit(answer, y, [target.step for target in model.schema.targets], rng),
        reached=answer.cdf(y).reshape(y.shape),
        width=ends[..., 1] - ends[..., 0],
        nll_unconditional=(
            nothing if model.reference is None else -model.log_prob(model.condition_reference(x), y)
        ),
        nll_baseline=(
            nothing if model.baseline is None else -model.log_prob(model.condition_baseline(x), y)
        ),
    )


def pit(
    answer: Distribution, y: Array, steps: list[float | None], rng: np.random.Generator
) -> Array:
    """Return the probability integral transform F(y | x) of each target, shape (N, T).

    For a target recorded in steps it is drawn uniformly from [F(y - step/2), F(y + step/2)]: the
    recorded value says no more, and the plain one would not be uniform even of the true density.
    (Czado, Gneiting and Held 2009, section 2.1)
    """
    half = np.array([0.0 if step is None else 0.5 * step for step in steps])
    low = answer.cdf(y - half).reshape(y.shape)
    if not half.any():
        return low
    high = answer.cdf(y + half).reshape(y.shape)
    drawn: Array = low + rng.random(y.shape) * (high - low)
    return drawn


def _inside(reached: Array, level: float) -> Array:
    """Return 1 where a value is inside its central interval of this level, else 0."""
    tail = 0.5 * (1.0 - level)
    return ((reached >= tail) & (reached <= 1.0 - tail)).astype(np.float64)


def distance_from_uniform(values: Array, weights: Array | None) -> tuple[float, float]:
    """Return the Kolmogorov-Smirnov distance of values (N,) from uniform, and its p-value.

    With weights the distance is that of their weighted distribution function, and its p-value that
    of as many unweighted values as would give a mean as exact (Kish 1965).
    """
    if weights is None:
        test = kstest(values, "uniform")
        return float(test.statistic), float(test.pvalue)
    order = values.argsort()
    reached = np.append(0.0, weights[order].cumsum() / weights.sum())
    above, below = reached[1:] - values[order], values[order] - reached[:-1]
    distance = float(max(above.max(), below.max()))
    count = float(weights.sum() ** 2 / (weights**2).sum())
    return distance, float(kstwobign.sf(distance * math.sqrt(count)))
