"""`components`: each mean with a band of one σ, as strong as its weight, over the data."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from mdncli.plots.slice import Scene
from mdncli.plots.style import (
    DATA,
    canvas,
    component_colours,
    grey_first,
    label_axes,
    label_components,
    plain,
    scatter,
    strong_line,
    title,
)
from mdncli.types import Array


def draw(scene: Scene) -> Figure:
    """Return one panel of means and bands."""
    figure = canvas(8.0, 5.5)
    axes = figure.subplots()
    scatter(axes, *scene.data, colour=DATA, label="data")
    mixture, to_target = scene.mixture(), scene.bounds.to_target
    colours = component_colours(mixture)
    for k in grey_first(colours):
        pi, mu, sigma = mixture.pi[:, k], mixture.mu[:, k, 0], mixture.sigma[:, k, 0]
        low, middle, high = (to_target(mu + by * sigma) for by in (-1.0, 0.0, 1.0))
        _band(axes, scene.grid, low, high, 0.4 * np.sqrt(pi), colours[k])
        strong_line(axes, scene.grid, middle, pi, colours[k])
    label_axes(axes, scene)
    mapped = f" of {plain(scene.underneath, 40)}" if scene.bounds else ""
    axes.set_title(f"means ± one σ{mapped}, as strong as π")
    label_components(figure, colours)
    title(figure, scene)
    return figure


def _band(axes: Axes, x: Array, low: Array, high: Array, strength: Array, colour: str) -> None:
    corners = np.stack(
        [
            np.stack([x[:-1], low[:-1]], axis=1),
            np.stack([x[1:], low[1:]], axis=1),
            np.stack([x[1:], high[1:]], axis=1),
            np.stack([x[:-1], high[:-1]], axis=1),
        ],
        axis=1,
    )
    alphas = 0.5 * (strength[:-1] + strength[1:])
    shades = [(colour, float(alpha)) for alpha in alphas]
    axes.add_collection(PolyCollection(list(corners), facecolors=shades, linewidths=0))
