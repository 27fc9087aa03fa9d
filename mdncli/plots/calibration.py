"""Calibration: whether the observed values fall into the predicted densities as often as predicted.

`draw_calibration` shows this over all rows, and `draw_residuals` along each feature. Both use the
probability integral transform (PIT) of a target. If the model is right the PIT is uniform.
"""

from dataclasses import dataclass

import numpy as np
import scipy
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mdncli.columns.features import CategoryFeature
from mdncli.density.evaluation import pit, probabilities_taken_up
from mdncli.density.model import MixtureDensityNetwork
from mdncli.plots.slice import feature_places, feature_ticks
from mdncli.plots.style import (
    BAND,
    COLOURS,
    DATA,
    canvas,
    grid_of_panels,
    headline,
    label_panels,
    label_ticks,
    legend,
    plain,
    scatter,
)
from mdncli.types import Array, Mask, Positions

_ROWS_AT_ONCE = 1 << 15
# Of the calibration picture.
_BINS = 20
_POINTS = 100
_SIMULATIONS = 4000
_SEED = 0
_CONFIDENCE = 0.95
# Of the residuals.
_MOST_FEATURES = 12
_ACROSS = 4
_LEVELS = (0.1, 0.5, 0.9)
_ROWS_PER_BIN, _MOST_BINS = 80, 20
# A feature with at most this many distinct values has a bin for each.
_FEW_VALUES = 10
_CLASSES = 5


@dataclass(frozen=True)
class Calibration:
    """The PIT of one target at the rows of a table.

    Attributes:
        model: the model.
        target: the position of the target.
        x: (N, F), the rows; N is at least 1.
        pit: (N,), the probability integral transform of the target.
    """

    model: MixtureDensityNetwork
    target: int
    x: Array
    pit: Array

    @classmethod
    def of(
        cls,
        model: MixtureDensityNetwork,
        x: Array,
        y: Array,
        target: int = 0,
        known: Mask | None = None,
        *,
        seed: int = 0,
    ) -> "Calibration":
        """Return the calibration of a model.

        Args:
            model: the model.
            x: (N, F), rows of a table in the order of the model's schema; N at least 1.
            y: (N, T), their targets.
            target: the position of the target to show.
            known: (N,), False where the target is only known to exceed y; None where it is known.
            seed: of the randomized PIT of a target that was recorded in steps, as for `evaluate`.
        """
        rng = np.random.default_rng(seed)
        steps = [column.step for column in model.schema.targets]
        pieces = [slice(at, at + _ROWS_AT_ONCE) for at in range(0, len(x), _ROWS_AT_ONCE)]
        transforms = []
        for piece in pieces:
            predicted = model.distribution(x[piece])
            own = None if known is None else known[piece]
            taken = probabilities_taken_up(model, predicted, y[piece], own)
            transforms.append(pit(predicted, y[piece], steps, taken, rng)[:, target])
        # By rounding, the weights may add up to slightly more than 1.
        return cls(model, target, x, np.clip(np.concatenate(transforms), 0.0, 1.0))

    @property
    def target_name(self) -> str:
        """The name of the target."""
        return self.model.schema.targets[self.target].name

    @property
    def randomized(self) -> str:
        """What the title says of a target that was recorded in steps; else empty."""
        step = self.model.schema.targets[self.target].step
        return "" if step is None else f"PIT drawn at random within the target's steps of {step:g}"


def draw_calibration(calibration: Calibration) -> Figure:
    """Return three panels: the PIT's histogram, its ECDF minus the uniform cdf, and the coverage.

    For a target that was recorded in steps, the coverage is that of the randomized PIT as well: the
    band is valid for that one only.
    """
    figure = canvas(13.0, 4.8)
    histogram, ecdf, coverage = figure.subplots(1, 3)
    _draw_histogram(histogram, calibration.pit)
    _draw_ecdf(ecdf, calibration.pit)
    _draw_coverage(coverage, calibration.pit)
    for axes in (histogram, ecdf, coverage):
        axes.set_xlim(0.0, 1.0)
    rows = "1 row" if len(calibration.pit) == 1 else f"{len(calibration.pit):,} rows"
    headline(
        figure,
        f"{plain(calibration.target_name, 30)}: calibration on {rows}",
        calibration.randomized,
    )
    return figure


def points() -> Array:
    """Return where the ECDF is compared with the uniform cdf, shape (P,), from 0 to 1."""
    return np.linspace(0.0, 1.0, _POINTS + 1)


def ecdf_difference(pit: Array) -> Array:
    """Return the share of the PIT, (N,), that is at most u, minus u, at `points`, shape (P,)."""
    difference: Array = _share_below(pit, points()) - points()
    return difference


def simultaneous_band(rows: int) -> tuple[Array, Array]:
    """Return the low and the high end of a band for `ecdf_difference`, each (P,).

    It contains 95% of all independent uniform samples of this size, at all points simultaneously:

        Bin_{N,u}^{-1}(gamma / 2) / N - u    to    Bin_{N,u}^{-1}(1 - gamma / 2) / N - u,

    where gamma is the 5% quantile of 2 min_u min{P(X_u <= x_u), P(X_u >= x_u)} over simulated
    counts x_u. (Säilynoja, Bürkner and Vehtari 2022, section 2.2)
    """
    inner = points()[1:-1]
    rng = np.random.default_rng(_SEED)
    cells = rng.multinomial(rows, np.full(_POINTS, 1.0 / _POINTS), size=_SIMULATIONS)
    counts = cells.cumsum(axis=1)[:, :-1]
    below = scipy.stats.binom.cdf(counts, rows, inner)
    above = scipy.stats.binom.cdf(rows - counts, rows, 1.0 - inner)
    tail = np.quantile(np.minimum(below, above).min(axis=1), 1.0 - _CONFIDENCE, method="lower")
    # The tail is the probability of a count, and rounding must not exclude that count.
    tail *= 1.0 - 1e-9
    low = scipy.stats.binom.ppf(tail, rows, inner) / rows - inner
    high = 1.0 - scipy.stats.binom.ppf(tail, rows, 1.0 - inner) / rows - inner
    # At 0 and 1 the difference of every sample is 0.
    return np.pad(low, 1), np.pad(high, 1)


def coverage_of(pit: Array, levels: Array) -> Array:
    """Return the share of the PIT, (N,), inside the central interval of each level, (L,)."""
    return _share_below(np.abs(2.0 * pit - 1.0), levels)


def _share_below(values: Array, limits: Array) -> Array:
    """Return the share of values, (N,), that is at most each limit, (L,)."""
    share: Array = np.searchsorted(np.sort(values), limits, side="right") / len(values)
    return share


def _pointwise(rows: int, share: Array | float) -> tuple[Array, Array]:
    """Return the ends of the central 95% interval of a binomial share of this many rows."""
    low, high = scipy.stats.binom.interval(_CONFIDENCE, rows, share)
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
    axes.set_title("ECDF minus uniform")
    axes.set_xlabel("u")
    axes.set_ylabel("share of PIT ≤ u, minus u")
    legend(axes)


def _draw_coverage(axes: Axes, pit: Array) -> None:
    levels = points()
    low, high = _pointwise(len(pit), levels)
    axes.fill_between(levels, low, high, color=BAND, linewidth=0, label="95% band, each level")
    axes.plot(levels, levels, color=DATA, linewidth=1.0, linestyle="--")
    axes.plot(levels, coverage_of(pit, levels), color=COLOURS[0], linewidth=1.8)
    # A line at 1 would be cut in half by the edge.
    axes.set_ylim(0.0, 1.01)
    axes.set_title("coverage")
    axes.set_xlabel("nominal share of central interval")
    axes.set_ylabel("observed share")
    legend(axes)


def draw_residuals(calibration: Calibration) -> Figure:
    """Return a panel for each feature; of more than 12, those that the PIT depends on most.

    If the model is right the PIT is uniform at each value of each feature: its 10%, 50% and 90%
    quantiles are 0.1, 0.5 and 0.9 everywhere.
    """
    features = calibration.x.shape[1]
    chosen = list(range(features))
    if features > _MOST_FEATURES:
        strength = [dependence(*_present(calibration, feature)) for feature in chosen]
        chosen = np.argsort(-np.array(strength), kind="stable")[:_MOST_FEATURES].tolist()
    figure, panels = grid_of_panels(len(chosen), _ACROSS, (3.4, 2.7))
    for feature, axes in zip(chosen, panels, strict=True):
        values, pit = _present(calibration, feature)
        shown = calibration.model.schema.features[feature]
        _draw_feature(axes, values, pit, feature_places(shown, values))
        axes.set_xlabel(plain(shown.name, 28))
    label_panels(figure, panels, _ACROSS, y="PIT")
    for feature, axes in zip(chosen, panels, strict=True):
        shown = calibration.model.schema.features[feature]
        label_ticks(axes, feature_ticks(shown, calibration.x[:, feature]))
    most = f"the {_MOST_FEATURES} of {features} features with the strongest dependence"
    most *= features > _MOST_FEATURES
    remarks = [remark for remark in (most, calibration.randomized) if remark]
    headline(
        figure,
        f"{plain(calibration.target_name, 30)}: PIT against the features",
        "; ".join(remarks),
    )
    return figure


def _present(calibration: Calibration, feature: int) -> tuple[Array, Array]:
    """Return a feature's values and the PIT of the rows with a value; for a category, of all."""
    shown, values = calibration.model.schema.features[feature], calibration.x[:, feature]
    if isinstance(shown, CategoryFeature):
        return np.where(np.isnan(values), shown.plain_width - 1, values), calibration.pit
    there = ~np.isnan(values)
    return values[there], calibration.pit[there]


def bins(values: Array) -> Positions:
    """Return the bin of each value, (N,), counted from 0.

    The bins have equal counts; a few distinct values have a bin each. Equal values share a bin.
    """
    most = int(np.clip(len(values) // _ROWS_PER_BIN, 1, _MOST_BINS))
    distinct, place = np.unique(values, return_inverse=True)
    if len(distinct) <= max(_FEW_VALUES, most):
        return place
    edges = np.quantile(values, np.arange(1, most) / most)
    return np.unique(np.searchsorted(edges, values, side="right"), return_inverse=True)[1]


def running_quantiles(values: Array, pit: Array) -> tuple[Array, Array]:
    """Return a feature's median and quantiles of the PIT in each bin, (B,) and (B, Q).

    Args:
        values: (N,), of the feature.
        pit: (N,).
    """
    place = bins(values)
    members = [place == each for each in range(place.max() + 1)]
    middles = np.array([np.median(values[inside]) for inside in members])
    return middles, np.array([np.quantile(pit[inside], _LEVELS) for inside in members])


def dependence(values: Array, pit: Array) -> float:
    """Return how strongly the PIT depends on a feature; about 0 if they are independent.

    This is Pearson's chi-squared statistic of the feature's bins and five classes of the PIT,
    standardized under independence: (X² - df) / sqrt(2 df).

    Args:
        values: (N,), of the feature.
        pit: (N,).
    """
    place, classes = bins(values), np.minimum((_CLASSES * pit).astype(np.int64), _CLASSES - 1)
    seen = np.zeros((place.max() + 1, _CLASSES))
    np.add.at(seen, (place, classes), 1.0)
    expected = np.outer(seen.sum(axis=1), seen.sum(axis=0)) / len(pit)
    occurs = expected > 0.0
    freedom = (len(seen) - 1) * (int(occurs[0].sum()) - 1)
    if not freedom:
        return 0.0
    chi_squared = (((seen - expected)[occurs]) ** 2 / expected[occurs]).sum()
    return float((chi_squared - freedom) / np.sqrt(2.0 * freedom))


def _draw_feature(axes: Axes, values: Array, pit: Array, places: Array) -> None:
    """Draw the PIT of the rows, and its running quantiles, against one feature."""
    scatter(axes, places, pit, colour=DATA, label="rows")
    if not len(values):
        return
    middles, quantiles = running_quantiles(values, pit)
    if len(middles) == 1:
        # A single point would look like a row.
        middles, quantiles = np.array([values.min(), values.max()]), quantiles.repeat(2, axis=0)
    for level, running in zip(_LEVELS, quantiles.T, strict=True):
        axes.axhline(level, color="black", linewidth=0.8, linestyle="--", zorder=1.5)
        middle = level == 0.5
        axes.plot(
            middles,
            running,
            color=COLOURS[0] if middle else COLOURS[4],
            linewidth=1.6,
            marker="o",
            markersize=3.0,
            label="running median" if middle else "running 10% and 90%",
        )
    axes.set_ylim(0.0, 1.0)
    axes.set_yticks([0.0, *_LEVELS, 1.0])
