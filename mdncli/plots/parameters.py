"""The components of a model along a feature: weights, means and standard deviations."""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from mdncli.plots.density import draw_samples_on
from mdncli.plots.slice import Slice, label_axes, label_feature, limits_of_u, title
from mdncli.plots.style import (
    BACKGROUND,
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

# The panel of σ shows all components with at least this weight somewhere. The background is drawn
# only where it has at least this weight.
_LEAST_WEIGHT = 0.02


@dataclass(frozen=True)
class _Component:
    """A component of one target along the feature, as pictures draw it; arrays are (P,).

    Attributes:
        position: among all components.
        colour: of its curves.
        pi: its weight.
        mu, sigma: NaN where it is not drawn.
    """

    position: int
    colour: str
    pi: Array
    mu: Array
    sigma: Array


def _components(shown: Slice) -> list[_Component]:
    """Return the components to draw, the coloured ones last, the background only where it matters.

    A background has a weight of a few per mille and a σ of several standard deviations.
    """
    mixture, colours = shown.mixture, _colours(shown)
    drawn = []
    for k in grey_first(colours):
        pi, mu, sigma = mixture.pi[:, k], mixture.mu[:, k, 0], mixture.sigma[:, k, 0]
        if colours[k] == BACKGROUND:
            matters = pi >= _LEAST_WEIGHT
            if not matters.any():
                continue
            mu, sigma = (np.where(matters, part, np.nan) for part in (mu, sigma))
        drawn.append(_Component(k, colours[k], pi, mu, sigma))
    return drawn


def _colours(shown: Slice) -> list[str]:
    return component_colours(shown.mixture, shown.distribution.first_component)


def _label(figure: Figure, shown: Slice) -> None:
    """Add a legend of the components that are drawn."""
    drawn = [each.position for each in _components(shown)]
    label_components(figure, _colours(shown), drawn, shown.distribution.first_component)


def draw_overview(shown: Slice, seed: int) -> Figure:
    """Return four panels: π, μ and σ against the feature, and samples over the data."""
    figure = canvas(11.0, 8.0)
    (weights, means), (scales, samples) = figure.subplots(2, 2)
    _draw_weights(weights, shown)
    _label(figure, shown)
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
    _label(figure, shown)
    label_feature(scales, shown)
    title(figure, shown)
    return figure


def draw_components(shown: Slice) -> Figure:
    """Return one panel: each mean with a band of one σ over the data, with opacity by π."""
    figure = canvas(8.0, 5.5)
    axes = figure.subplots()
    scatter(axes, *shown.data, colour=DATA, label="data")
    forward = shown.transform.forward
    for each in _components(shown):
        low, middle, high = (forward(each.mu + by * each.sigma) for by in (-1.0, 0.0, 1.0))
        _draw_band(axes, shown.grid, low, high, 0.4 * np.sqrt(each.pi), each.colour)
        strong_line(axes, shown.grid, middle, each.pi, each.colour)
    label_axes(axes, shown)
    axes.set_title(f"means ± one σ{_of_u(shown, ' ')}, opacity by π")
    _label(figure, shown)
    title(figure, shown)
    return figure


def draw_modes(shown: Slice) -> Figure:
    """Return one panel: all means, and that of the most probable component, over the data."""
    figure = canvas(8.0, 5.5)
    axes = figure.subplots()
    scatter(axes, *shown.data, colour=DATA, label="data")
    forward, label = shown.transform.forward, "all means"
    for each in sorted(_components(shown), key=lambda each: each.position):
        curve = shown.grid, forward(each.mu)
        if each.colour == BACKGROUND:
            axes.plot(*curve, color=BACKGROUND, linewidth=1.2)
            continue
        axes.plot(*curve, color=GREY, linewidth=1.2, label=label)
        label = ""
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
    for each in _components(shown):
        axes.plot(shown.grid, each.pi, color=each.colour, linewidth=1.8)
    # With many members every weight is small.
    top = min(1.0, 2.0 * float(shown.mixture.pi.max()))
    axes.set_ylim(-0.02 * top, 1.02 * top)
    axes.set_title("weights π")
    axes.set_ylabel("π")


def _draw_means(axes: Axes, shown: Slice) -> None:
    """Draw the components' means with opacity by their weights."""
    for each in _components(shown):
        strong_line(axes, shown.grid, each.mu, each.pi, each.colour)
    axes.set_ylim(*limits_of_u(shown))
    axes.set_title("means μ, opacity by π")
    axes.set_ylabel(f"μ of {plain(shown.name_of_u, 25)}")


def _draw_sigmas(axes: Axes, shown: Slice) -> None:
    """Draw the components' standard deviations with opacity by their weights."""
    for each in _components(shown):
        strong_line(axes, shown.grid, each.sigma, each.pi, each.colour)
    # The background may be many times as wide as the others, which would be flat beside it.
    others = shown.mixture.components(slice(1 - shown.distribution.first_component, None))
    # With many components, none may reach the least weight.
    visible = others.pi >= min(_LEAST_WEIGHT, float(others.pi.max()))
    axes.set_ylim(0.0, 1.1 * float(np.max(others.sigma[:, :, 0][visible])))
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
