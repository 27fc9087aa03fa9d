"""The components of a model along a feature: weights, means and standard deviations."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from mdncli.plots.density import draw_samples_on
from mdncli.plots.slice import Slice, label_axes, label_feature, limits_of_u, title
from mdncli.plots.style import (
    COLOURS,
    DATA,
    GREY,
    canvas,
    component_colours,
    grey_first,
    label_components,
    legend,
    plain,
    scatter,
    strong_line,
)
from mdncli.types import Array

# The panel of σ shows all components with at least this weight somewhere.
_LEAST_WEIGHT = 0.02


def draw_overview(shown: Slice, seed: int) -> Figure:
    """Return four panels: π, μ and σ against the feature, and samples over the data."""
    figure = canvas(11.0, 8.0)
    (weights, means), (scales, samples) = figure.subplots(2, 2)
    _draw_weights(weights, shown)
    label_components(figure, component_colours(shown.mixture))
    _draw_means(means, shown)
    _draw_sigmas(scales, shown)
    for axes in (weights, means, scales):
        label_feature(axes, shown)
    draw_samples_on(samples, shown, seed)
    title(figure, shown)
    return figure


def draw_parameters(shown: Slice) -> Figure:
    """Return three panels, one above the other: π, μ and σ."""
    figure = canvas(7.5, 8.5)
    weights, means, scales = figure.subplots(3, 1, sharex=True)
    _draw_weights(weights, shown)
    _draw_means(means, shown)
    _draw_sigmas(scales, shown)
    label_components(figure, component_colours(shown.mixture))
    label_feature(scales, shown)
    title(figure, shown)
    return figure


def draw_components(shown: Slice) -> Figure:
    """Return one panel: each mean with a band of one σ over the data, with opacity by π."""
    figure = canvas(8.0, 5.5)
    axes = figure.subplots()
    scatter(axes, *shown.data, colour=DATA, label="data")
    mixture, forward = shown.mixture, shown.transform.forward
    colours = component_colours(mixture)
    for k in grey_first(colours):
        pi, mu, sigma = mixture.pi[:, k], mixture.mu[:, k, 0], mixture.sigma[:, k, 0]
        low, middle, high = (forward(mu + by * sigma) for by in (-1.0, 0.0, 1.0))
        _draw_band(axes, shown.grid, low, high, 0.4 * np.sqrt(pi), colours[k])
        strong_line(axes, shown.grid, middle, pi, colours[k])
    label_axes(axes, shown)
    axes.set_title(f"means ± one σ{_of_u(shown, ' ')}, opacity by π")
    label_components(figure, colours)
    title(figure, shown)
    return figure


def draw_modes(shown: Slice) -> Figure:
    """Return one panel: all means, and that of the most probable component, over the data."""
    figure = canvas(8.0, 5.5)
    axes = figure.subplots()
    scatter(axes, *shown.data, colour=DATA, label="data")
    mixture, forward = shown.mixture, shown.transform.forward
    for k in range(mixture.mu.shape[1]):
        name = "all means" if k == 0 else None
        axes.plot(shown.grid, forward(mixture.mu[:, k, 0]), color=GREY, linewidth=1.2, label=name)
    # The most probable component changes suddenly. A line would suggest values in between.
    axes.scatter(
        shown.grid,
        shown.distribution.component_mean(),
        s=9,
        color=COLOURS[0],
        linewidths=0,
        zorder=3,
        label="mean of the most probable component",
    )
    label_axes(axes, shown)
    of_u = _of_u(shown, "\n")
    axes.set_title(f"means of the components{of_u}")
    legend(axes)
    title(figure, shown)
    return figure


def _of_u(shown: Slice, before: str) -> str:
    """Return `of` and what the mixtures are of, if that is not the target itself."""
    return "" if shown.transform.is_identity else f"{before}of {plain(shown.name_of_u, 40)}"


def _draw_weights(axes: Axes, shown: Slice) -> None:
    """Draw the components' weights."""
    mixture = shown.mixture
    colours = component_colours(mixture)
    for k in grey_first(colours):
        axes.plot(shown.grid, mixture.pi[:, k], color=colours[k], linewidth=1.8)
    # With many members every weight is small.
    top = min(1.0, 2.0 * float(mixture.pi.max()))
    axes.set_ylim(-0.02 * top, 1.02 * top)
    axes.set_title("weights π")
    axes.set_ylabel("π")


def _draw_means(axes: Axes, shown: Slice) -> None:
    """Draw the components' means with opacity by their weights."""
    mixture = shown.mixture
    colours = component_colours(mixture)
    for k in grey_first(colours):
        strong_line(axes, shown.grid, mixture.mu[:, k, 0], mixture.pi[:, k], colours[k])
    axes.set_ylim(*limits_of_u(shown))
    axes.set_title("means μ, opacity by π")
    axes.set_ylabel(f"μ of {plain(shown.name_of_u, 25)}")


def _draw_sigmas(axes: Axes, shown: Slice) -> None:
    """Draw the components' standard deviations with opacity by their weights."""
    mixture = shown.mixture
    colours = component_colours(mixture)
    for k in grey_first(colours):
        strong_line(axes, shown.grid, mixture.sigma[:, k, 0], mixture.pi[:, k], colours[k])
    # With many components, none may reach the least weight.
    visible = mixture.pi >= min(_LEAST_WEIGHT, float(mixture.pi.max()))
    axes.set_ylim(0.0, 1.1 * float(np.max(mixture.sigma[:, :, 0][visible])))
    axes.set_title("standard deviations σ, opacity by π")
    axes.set_ylabel(f"σ of {plain(shown.name_of_u, 25)}")


def _draw_band(axes: Axes, x: Array, low: Array, high: Array, strength: Array, colour: str) -> None:
    """Draw a band between two curves, all (P,), with an opacity at each point."""
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
