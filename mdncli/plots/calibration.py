"""What the pictures that judge a model show: where each value fell in its predicted density.

`calibration`: whether values fall in their predicted densities as often as these say.
"""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import binom

from mdncli.density.evaluation import pit
from mdncli.density.model import ConditionalDensity
from mdncli.plots.slice import position_of_target
from mdncli.plots.style import BAND, COLOURS, DATA, canvas, headline, legend, plain
from mdncli.types import Array

_ROWS_AT_ONCE = 1 << 15


@dataclass(frozen=True)
class Judged:
    """A model and the rows of a table that came true.

    Attributes:
        density: the model.
        target: the position of the target shown.
        x: (N, F), the rows; N is at least 1.
        pit: (N,), the probability integral transform of the target, uniform if the model is right.
    """

    density: ConditionalDensity
    target: int
    x: Array
    pit: Array

    @property
    def target_name(self) -> str:
        """The name of the target shown."""
        return self.density.schema.targets[self.target].name

    @property
    def randomized(self) -> str:
        """What the title says of a target recorded in steps: nothing of a continuous one."""
        step = self.density.schema.targets[self.target].step
        return "" if step is None else f"PIT drawn at random within the target's steps of {step:g}"


def judged(
    density: ConditionalDensity, x: Array, y: Array, *, target: str | None = None, seed: int = 0
) -> Judged:
    """Return a model as the pictures that judge it show it.

    Args:
        density: the model.
        x: (N, F), rows of a table in the order of its schema.
        y: (N, T), their targets.
        target: the target shown; by default the first.
        seed: of the randomized PIT of a target recorded in steps, as `evaluate` draws it.

    Raises:
        DataError: the model has no such target.
        ValueError: there are no rows.
    """
    shown = position_of_target(density, target)
    if not len(x):
        raise ValueError("there are no rows to judge the model by")
    rng = np.random.default_rng(seed)
    steps = [column.step for column in density.schema.targets]
    pieces = [slice(at, at + _ROWS_AT_ONCE) for at in range(0, len(x), _ROWS_AT_ONCE)]
    reached = [
        pit(density.distribution(density.mixture(x[piece])), y[piece], steps, rng)[:, shown]
        for piece in pieces
    ]
    # The sum of the weights may exceed 1 by rounding.
    return Judged(density, shown, x, np.clip(np.concatenate(reached), 0.0, 1.0))


_BINS = 20
_POINTS = 100
_SIMULATIONS = 4000
_SEED = 0
_CONFIDENCE = 0.95


def draw(judged: Judged) -> Figure:
    """Return three panels: the PIT's histogram, its ECDF less the uniform, and the coverage.

    Of a target recorded in steps the coverage, too, is that of the randomized PIT: the band is for
    that one.
    """
    figure = canvas(13.0, 4.8)
    histogram, ecdf, coverage = figure.subplots(1, 3)
    _draw_histogram(histogram, judged.pit)
    _draw_ecdf(ecdf, judged.pit)
    _draw_coverage(coverage, judged.pit)
    for axes in (histogram, ecdf, coverage):
        axes.set_xlim(0.0, 1.0)
    rows = "1 row" if len(judged.pit) == 1 else f"{len(judged.pit):,} rows"
    headline(figure, f"{plain(judged.target_name, 30)}: calibration on {rows}", judged.randomized)
    return figure


def points() -> Array:
    """Return where the ECDF is compared with the uniform, shape (P,), from 0 to 1."""
    return np.linspace(0.0, 1.0, _POINTS + 1)


def ecdf_difference(pit: Array) -> Array:
    """Return the share of the PIT (N,) that is at most u, less u, at `points`, shape (P,)."""
    difference: Array = _share_below(pit, points()) - points()
    return difference


def simultaneous_band(rows: int) -> tuple[Array, Array]:
    """Return the low and high end of a band for `ecdf_difference` of that many rows, each (P,).

    Of samples that are uniform and independent 95% lie inside it at all points together:

        Bin_{N,u}^{-1}(gamma / 2) / N - u    to    Bin_{N,u}^{-1}(1 - gamma / 2) / N - u,

    with gamma the 5% quantile of 2 min_u min{P(X_u <= x_u), P(X_u >= x_u)} over simulated counts
    x_u. (Säilynoja, Bürkner and Vehtari 2022, section 2.2)
    """
    inner = points()[1:-1]
    rng = np.random.default_rng(_SEED)
    cells = rng.multinomial(rows, np.full(_POINTS, 1.0 / _POINTS), size=_SIMULATIONS)
    counts = cells.cumsum(axis=1)[:, :-1]
    below = binom.cdf(counts, rows, inner)
    above = binom.cdf(rows - counts, rows, 1.0 - inner)
    tail = np.quantile(np.minimum(below, above).min(axis=1), 1.0 - _CONFIDENCE, method="lower")
    # It is itself the probability of a count, which rounding must not put outside.
    tail *= 1.0 - 1e-9
    low = binom.ppf(tail, rows, inner) / rows - inner
    high = 1.0 - binom.ppf(tail, rows, 1.0 - inner) / rows - inner
    # At 0 and 1 every sample's difference is 0.
    return np.pad(low, 1), np.pad(high, 1)


def coverage_of(pit: Array, levels: Array) -> Array:
    """Return the share of the PIT (N,) inside the central interval of each level, (L,)."""
    return _share_below(np.abs(2.0 * pit - 1.0), levels)


def _share_below(values: Array, limits: Array) -> Array:
    share: Array = np.searchsorted(np.sort(values), limits, side="right") / len(values)
    return share


def _pointwise(rows: int, share: Array | float) -> tuple[Array, Array]:
    """Return the central 95% of the shares that so many rows have of this one."""
    low, high = binom.interval(_CONFIDENCE, rows, share)
    return low / rows, high / rows


def _draw_histogram(axes: Axes, pit: Array) -> None:
    low, high = (_BINS * end for end in _pointwise(len(pit), 1.0 / _BINS))
    heights, edges = np.histogram(pit, bins=_BINS, range=(0.0, 1.0))
    heights = heights * (_BINS / len(pit))
    axes.axhspan(float(low), float(high), color=BAND, linewidth=0, label="95% band, each bin")
    axes.stairs(heights, edges, color=COLOURS[0], linewidth=1.5, baseline=None)
    axes.stairs(heights, edges, color=COLOURS[0], alpha=0.25, fill=True)
    axes.axhline(1.0, color=DATA, linewidth=1.0, linestyle="--")
    axes.set_ylim(0.0, 1.05 * max(float(heights.max()), float(high)))
    axes.set_title("PIT histogram")
    axes.set_xlabel("PIT")
    axes.set_ylabel("density")
    legend(axes)


def _draw_ecdf(axes: Axes, pit: Array) -> None:
    low, high = simultaneous_band(len(pit))
    axes.fill_between(points(), low, high, color=BAND, linewidth=0, label="95% band, whole curve")
    axes.axhline(0.0, color=DATA, linewidth=1.0, linestyle="--")
    axes.plot(points(), ecdf_difference(pit), color=COLOURS[0], linewidth=1.8)
    axes.set_title("ECDF less uniform")
    axes.set_xlabel("u")
    axes.set_ylabel("share of PIT ≤ u, less u")
    legend(axes)


def _draw_coverage(axes: Axes, pit: Array) -> None:
    levels = points()
    low, high = _pointwise(len(pit), levels)
    axes.fill_between(levels, low, high, color=BAND, linewidth=0, label="95% band, each level")
    axes.plot(levels, levels, color=DATA, linewidth=1.0, linestyle="--")
    axes.plot(levels, coverage_of(pit, levels), color=COLOURS[0], linewidth=1.8)
    # A share of 1 would be drawn on the edge, and half of it cut off.
    axes.set_ylim(0.0, 1.01)
    axes.set_title("coverage")
    axes.set_xlabel("central interval, nominal share")
    axes.set_ylabel("observed share")
    legend(axes)
