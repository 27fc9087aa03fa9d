"""`density`: p(y | x) as a map."""

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.special import ndtr

from mdncli.plots.slice import Scene
from mdncli.plots.style import canvas, label_axes, plain, scatter, target_limits, title

_LEVELS = 400


def draw(scene: Scene) -> Figure:
    """Return one panel: darker where the density is higher."""
    figure = canvas(8.0, 5.5)
    axes = figure.subplots()
    mixture = scene.mixture()
    edges = np.linspace(*target_limits(scene), _LEVELS + 1)
    mu, sigma = mixture.mu[:, :, 0], mixture.sigma[:, :, 0]
    # The mean density of each cell, by its mass: a spike between two points would be missed.
    reached = scene.bounds.to_mixture(edges)
    cdf = np.array([(mixture.pi * ndtr((edge - mu) / sigma)).sum(axis=1) for edge in reached])
    density = np.diff(cdf, axis=0) / np.diff(edges)[:, None]
    y = 0.5 * (edges[1:] + edges[:-1])
    # A spike of small σ would leave the rest of the map blank: it is cut at the 99.5th percentile.
    highest = float(np.quantile(density, 0.995)) or float(density.max())
    norm = PowerNorm(0.6, vmin=0.0, vmax=highest, clip=True)
    mesh = axes.pcolormesh(
        scene.grid, y, density, norm=norm, cmap="Blues", shading="nearest", rasterized=True
    )
    scatter(axes, *scene.data, colour="#D55E00", label="data")
    label_axes(axes, scene)
    axes.set_title("conditional density")
    names = plain(scene.target_name, 15), plain(scene.feature_name, 15)
    label = "p({} | {})".format(*names)
    figure.colorbar(mesh, ax=axes, label=label, extend="max", ticks=MaxNLocator(5, prune="upper"))
    title(figure, scene)
    return figure
