"""`samples`: draws from the model over the data."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mdncli.plots.slice import Scene
from mdncli.plots.style import COLOURS, DATA, canvas, label_axes, legend, scatter, title


def draw(scene: Scene, seed: int) -> Figure:
    """Return one panel of draws and data."""
    figure = canvas(8.0, 5.5)
    axes = figure.subplots()
    draw_samples(axes, scene, seed)
    title(figure, scene)
    return figure


def draw_samples(axes: Axes, scene: Scene, seed: int) -> None:
    """Draw one sample at every row of the table, or along the feature without a table."""
    scatter(axes, *scene.data, colour=DATA, label="data")
    scatter(axes, *scene.sampled(seed), colour=COLOURS[4], label="samples")
    label_axes(axes, scene)
    axes.set_title("samples at the rows of the data" if len(scene.x) else "samples")
    legend(axes)
