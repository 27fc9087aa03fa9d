"""`intervals`: the median with 50% and 90% bands; highest-density regions where they split."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from mdncli.density.distribution import Distribution
from mdncli.plots.slice import Scene
from mdncli.plots.style import (
    COLOURS,
    DATA,
    canvas,
    label_axes,
    legend,
    pale,
    scatter,
    target_limits,
    title,
)
from mdncli.types import Array

_LEVELS = ((0.9, 0.2), (0.5, 0.45))


def draw(scene: Scene) -> Figure:
    """Return one panel of bands under the data.

    A central interval says nothing of a gap inside it. So where a 50% or 90% highest-density region
    consists of several intervals anywhere along the feature, those regions are drawn.
    """
    figure = canvas(8.0, 5.5)
    axes = figure.subplots()
    answer = scene.answer()
    bands, split = _bands(answer)
    for (level, strength), band in zip(_LEVELS, bands, strict=True):
        _fill(axes, _outlines(scene.grid, band), pale(COLOURS[0], strength), f"{level:.0%}")
    scatter(axes, *scene.data, colour=DATA, label="data")
    # Between branches the median is no likely value: there it only halves the probability.
    look: dict[str, Any] = {"color": DATA, "linestyle": "--", "linewidth": 1.0}
    if not split:
        look = {"color": COLOURS[0], "linewidth": 2.0}
    axes.plot(scene.grid, answer.median(), label="median", **look)
    label_axes(axes, scene)
    axes.set_ylim(*_limits(scene, bands))
    axes.set_title("highest-density regions" if split else "central intervals")
    legend(axes)
    title(figure, scene)
    return figure


def _bands(answer: Distribution) -> tuple[list[Array], bool]:
    """Return the intervals (P, I, 2) of each level, and whether they are highest-density regions.

    A row of fewer than I ends with NaN.
    """
    regions = [answer.hdr(level) for level, _ in _LEVELS]
    if any(region.shape[1] > 1 for region in regions):
        return regions, True
    return [answer.interval(level)[:, None] for level, _ in _LEVELS], False


def _limits(scene: Scene, bands: list[Array]) -> tuple[float, float]:
    """Return limits of the target that show the data and, up to a quarter of that more, bands."""
    low, high = target_limits(scene)
    more = 0.25 * (high - low)
    lowest, highest = (float(find(bands[0])) for find in (np.nanmin, np.nanmax))
    return max(low - more, min(low, lowest)), min(high + more, max(high, highest))


def _fill(axes: Axes, outlines: list[Array], colour: tuple[float, float, float], name: str) -> None:
    # Edged in their own colour, or pieces that meet would show a seam.
    axes.add_collection(
        PolyCollection(outlines, facecolors=colour, edgecolors=colour, linewidths=0.5, label=name)
    )


def _outlines(x: Array, intervals: Array) -> list[Array]:
    """Return polygons (V, 2) that fill intervals (P, I, 2) at evenly spaced x (P,).

    Intervals of neighbouring points are joined where there are as many and each meets its like;
    elsewhere a branch begins or ends, halfway between the points.
    """
    low, high = intervals[..., 0], intervals[..., 1]
    none = np.isnan(low)
    meet = (low[1:] <= high[:-1]) & (low[:-1] <= high[1:])
    alike = (meet | (none[1:] & none[:-1])).all(axis=1)
    half = 0.5 * (x[1] - x[0])
    outlines = []
    for run in np.split(np.arange(len(x)), np.flatnonzero(~alike) + 1):
        across = np.concatenate([[x[run[0]] - half], x[run], [x[run[-1]] + half]]).clip(x[0], x[-1])
        for branch in np.flatnonzero(~none[run[0]]):
            bottom, top = (np.pad(end[run, branch], 1, mode="edge") for end in (low, high))
            there_and_back = np.append(across, across[::-1]), np.append(bottom, top[::-1])
            outlines.append(np.stack(there_and_back, axis=1))
    return outlines
