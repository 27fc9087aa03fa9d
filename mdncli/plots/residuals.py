"""`residuals`: the PIT against each feature, to see where a model fails."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mdncli.columns.features import CategoryFeature
from mdncli.plots.calibration import Judged
from mdncli.plots.slice import feature_places, feature_ticks
from mdncli.plots.style import (
    COLOURS,
    DATA,
    grid_of_panels,
    headline,
    label_panels,
    label_ticks,
    plain,
    scatter,
)
from mdncli.types import Array

_MOST = 12
_ACROSS = 4
_LEVELS = (0.1, 0.5, 0.9)
_ROWS_A_BIN, _MOST_BINS = 80, 20
# A feature of so few distinct values has a bin for each, however few its rows.
_FEW_VALUES = 10
_CLASSES = 5


def draw(judged: Judged) -> Figure:
    """Return a panel for each feature, of more than 12 for those that the PIT depends on most.

    Where a model is right, the PIT is uniform at any value of any feature: its 10%, 50% and 90%
    quantiles are 0.1, 0.5 and 0.9 all along.
    """
    features = judged.x.shape[1]
    chosen = list(range(features))
    if features > _MOST:
        strength = [dependence(*_there(judged, feature)) for feature in chosen]
        chosen = np.argsort(-np.array(strength), kind="stable")[:_MOST].tolist()
    figure, panels = grid_of_panels(len(chosen), _ACROSS, (3.4, 2.7))
    for feature, axes in zip(chosen, panels, strict=True):
        values, pit = _there(judged, feature)
        shown = judged.density.schema.features[feature]
        _draw_feature(axes, values, pit, feature_places(shown, values))
        axes.set_xlabel(plain(shown.name, 28))
        label_ticks(axes, feature_ticks(shown, judged.x[:, feature]))
    label_panels(figure, panels, _ACROSS, y="PIT")
    most = f"the {_MOST} of {features} features that it depends on most" * (features > _MOST)
    remarks = [remark for remark in (most, judged.randomized) if remark]
    headline(
        figure, f"{plain(judged.target_name, 30)}: PIT against the features", "; ".join(remarks)
    )
    return figure


def _there(judged: Judged, feature: int) -> tuple[Array, Array]:
    """Return a feature's values and the PIT of the rows that have one; of a category, of all."""
    shown, values = judged.density.schema.features[feature], judged.x[:, feature]
    if isinstance(shown, CategoryFeature):
        return np.where(np.isnan(values), shown.plain - 1, values), judged.pit
    there = ~np.isnan(values)
    return values[there], judged.pit[there]


def bins(values: Array) -> NDArray[np.int64]:
    """Return the bin of each value, (N,), counted from 0: of equal counts, or one for each value.

    Equal values share a bin.
    """
    most = int(np.clip(len(values) // _ROWS_A_BIN, 1, _MOST_BINS))
    distinct, place = np.unique(values, return_inverse=True)
    if len(distinct) <= max(_FEW_VALUES, most):
        return place
    edges = np.quantile(values, np.arange(1, most) / most)
    return np.unique(np.searchsorted(edges, values, side="right"), return_inverse=True)[1]


def running_quantiles(values: Array, pit: Array) -> tuple[Array, Array]:
    """Return the median of a feature in each of its B bins, (B,), and quantiles of the PIT, (B, Q).

    Args:
        values: of the feature, (N,).
        pit: (N,).
    """
    place = bins(values)
    members = [place == each for each in range(place.max() + 1)]
    middles = np.array([np.median(values[inside]) for inside in members])
    return middles, np.array([np.quantile(pit[inside], _LEVELS) for inside in members])


def dependence(values: Array, pit: Array) -> float:
    """Return how far the PIT (N,) depends on a feature (N,): 0 or so if not at all.

    Pearson's chi-squared of the feature's bins and five classes of the PIT, in its standard
    deviations above what independence leads one to expect, (X² - df) / sqrt(2 df).
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
    scatter(axes, places, pit, colour=DATA, label="rows")
    if not len(values):
        return
    middles, quantiles = running_quantiles(values, pit)
    if len(middles) == 1:
        # Points alone could not be told from rows.
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
