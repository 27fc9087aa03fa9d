"""`parameters`: π, μ and σ of every component against a feature."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mdncli.density.mixture import GaussianMixture
from mdncli.plots.slice import Scene
from mdncli.plots.style import (
    canvas,
    component_colours,
    grey_first,
    label_components,
    label_feature,
    plain,
    strong_line,
    target_limits,
    title,
)

_PRESENT = 0.02


def draw(scene: Scene) -> Figure:
    """Return three panels, one above another: π, μ and σ."""
    figure = canvas(7.5, 8.5)
    weights, means, scales = figure.subplots(3, 1, sharex=True)
    mixture = scene.mixture()
    draw_weights(weights, scene, mixture)
    draw_means(means, scene, mixture)
    draw_scales(scales, scene, mixture)
    label_components(figure, component_colours(mixture))
    label_feature(scales, scene)
    title(figure, scene)
    return figure


def draw_weights(axes: Axes, scene: Scene, mixture: GaussianMixture) -> None:
    """Draw the components' weights."""
    colours = component_colours(mixture)
    for k in grey_first(colours):
        axes.plot(scene.grid, mixture.pi[:, k], color=colours[k], linewidth=1.8)
    # The components of many members share a weight of 1 among so many that each is small.
    top = min(1.0, 2.0 * float(mixture.pi.max()))
    axes.set_ylim(-0.02 * top, 1.02 * top)
    axes.set_title("weights π")
    axes.set_ylabel("π")


def draw_means(axes: Axes, scene: Scene, mixture: GaussianMixture) -> None:
    """Draw the components' means, fading with their weights."""
    colours = component_colours(mixture)
    for k in grey_first(colours):
        strong_line(axes, scene.grid, mixture.mu[:, k, 0], mixture.pi[:, k], colours[k])
    axes.set_ylim(*_limits_of_means(scene))
    axes.set_title("means μ, fading with π")
    axes.set_ylabel(f"μ of {plain(scene.underneath, 25)}")


def _limits_of_means(scene: Scene) -> tuple[float, float]:
    """Return limits that show the target's training range and the table's, as its map has them."""
    if not scene.bounds:
        return target_limits(scene)
    column = scene.density.schema.targets[scene.target]
    values = np.append(scene.data[1], [column.lowest, column.highest])
    mapped = scene.bounds.to_mixture(values[~scene.bounds.outside(values)])
    margin = 0.05 * float(np.ptp(mapped))
    return float(mapped.min()) - margin, float(mapped.max()) + margin


def draw_scales(axes: Axes, scene: Scene, mixture: GaussianMixture) -> None:
    """Draw the components' standard deviations, fading with their weights."""
    colours = component_colours(mixture)
    for k in grey_first(colours):
        strong_line(axes, scene.grid, mixture.sigma[:, k, 0], mixture.pi[:, k], colours[k])
    # With many components none may reach that share.
    present = mixture.sigma[:, :, 0][mixture.pi >= min(_PRESENT, float(mixture.pi.max()))]
    axes.set_ylim(0.0, 1.1 * float(np.max(present)))
    axes.set_title("standard deviations σ, fading with π")
    axes.set_ylabel(f"σ of {plain(scene.underneath, 25)}")
