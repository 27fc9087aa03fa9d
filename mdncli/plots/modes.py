"""`modes`: the mean of the most probable component, and the means of all."""

from matplotlib.figure import Figure

from mdncli.plots.slice import Scene
from mdncli.plots.style import (
    COLOURS,
    DATA,
    GREY,
    canvas,
    label_axes,
    legend,
    plain,
    scatter,
    title,
)


def draw(scene: Scene) -> Figure:
    """Return one panel of means over the data."""
    figure = canvas(8.0, 5.5)
    axes = figure.subplots()
    scatter(axes, *scene.data, colour=DATA, label="data")
    mixture, to_target = scene.mixture(), scene.bounds.to_target
    for k in range(mixture.mu.shape[1]):
        name = "all means" if k == 0 else None
        axes.plot(scene.grid, to_target(mixture.mu[:, k, 0]), color=GREY, linewidth=1.2, label=name)
    # Points, not a line: the most probable component changes at places, and nothing lies between.
    axes.scatter(
        scene.grid,
        to_target(mixture.component_mean()[:, 0]),
        s=9,
        color=COLOURS[0],
        linewidths=0,
        zorder=3,
        label="mean of the most probable",
    )
    label_axes(axes, scene)
    mapped = f"\nof {plain(scene.underneath, 40)}" if scene.bounds else ""
    axes.set_title(f"means of the components{mapped}")
    legend(axes)
    title(figure, scene)
    return figure
