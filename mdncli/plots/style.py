"""The look that the pictures share: colours, text from the user's file, and how they are saved."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from mdncli.density.mixture import GaussianMixture
from mdncli.plots.slice import Scene
from mdncli.types import Array

# Okabe and Ito's palette, told apart by colour-blind people, its yellow darkened for white paper.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#C9B800", "#000000")
GREY = "#C8C8C8"
BAND = "#E4E4E4"
DATA = "#555555"
# Letters on a horizontal axis that do not touch.
_ROOM_FOR_TICKS = 60

_SETTINGS: dict[Any, Any] = {
    "backend": "agg",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "font.family": "DejaVu Sans",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "savefig.dpi": 130,
    # A column may be called "$x_1$": text is drawn as it is, never read as a formula.
    "text.parse_math": False,
    # The same picture is the same file: SVG would otherwise draw its names at random.
    "svg.hashsalt": "mdn",
    "pdf.compression": 6,
}
_METADATA = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


@contextmanager
def style() -> Iterator[None]:
    """Draw and save with the pictures' own settings, whatever a user's matplotlibrc says."""
    with mpl.rc_context(rc=dict(mpl.rcParamsDefault) | _SETTINGS):
        yield


def save(figure: Figure, stream: BinaryIO, file_format: str) -> None:
    """Write a figure as `png`, `svg` or `pdf`; the same figure gives the same bytes."""
    with style():
        figure.savefig(stream, format=file_format, metadata=_METADATA[file_format])


def canvas(width: float, height: float) -> Figure:
    """Return an empty figure of this size in inches, that belongs to no window."""
    return Figure(figsize=(width, height), layout="constrained")


def grid_of_panels(
    panels: int, across: int, size: tuple[float, float]
) -> tuple[Figure, list[Axes]]:
    """Return a figure of so many panels of this size in inches, row by row, and the panels."""
    across = min(panels, across)
    down = -(-panels // across)
    # One panel alone is as wide as its title and legend.
    figure = canvas(max(7.0, size[0] * across), 1.2 + max(3.0, size[1] * down))
    return figure, [figure.add_subplot(down, across, 1 + place) for place in range(panels)]


def label_panels(figure: Figure, panels: list[Axes], across: int, *, y: str) -> None:
    """Name the vertical axes of the panels on the left, and give all one legend below them."""
    for place, axes in enumerate(panels):
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10], min_n_ticks=3))
        if place % across == 0:
            axes.set_ylabel(y)
    entries: dict[str, Artist] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    handles, labels = list(entries.values()), list(entries)
    drawn = figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    _strengthen(drawn)


def plain(text: str, most: int = 40) -> str:
    """Return text from a user's file with unprintable characters as dots, cut at `most`."""
    visible = "".join(c if c.isprintable() else "·" for c in text)
    return visible if len(visible) <= most else visible[: most - 1] + "…"


def pale(colour: str, strength: float) -> tuple[float, float, float]:
    """Return an opaque colour that looks as this one of an opacity from 0 to 1 on white paper.

    Where areas overlap or touch, it shows no darker places and no seams.
    """
    red, green, blue = (1.0 - strength * (1.0 - part) for part in to_rgb(colour))
    return red, green, blue


def component_colours(mixture: GaussianMixture) -> list[str]:
    """Return a colour for each of K components: the eight heaviest on average, the rest grey.

    They go by their place in the model, so that a component keeps its colour in every panel.
    """
    weight = mixture.pi.mean(axis=0)
    heaviest = sorted(np.argsort(-weight, kind="stable")[: len(COLOURS)])
    colours = [GREY] * len(weight)
    for colour, component in zip(COLOURS, heaviest, strict=False):
        colours[component] = colour
    return colours


def label_components(figure: Figure, colours: list[str]) -> None:
    """Give a figure a legend of the coloured components, and of the grey rest as one."""
    handles = []
    for component, colour in enumerate(colours):
        if colour != GREY:
            handles.append(Line2D([], [], color=colour, label=str(component + 1)))
    rest = colours.count(GREY)
    if rest:
        handles.append(Line2D([], [], color=GREY, label=f"{rest} lighter"))
    figure.legend(handles=handles, title="component", loc="outside right upper")


def scatter(axes: Axes, x: Array, y: Array, *, colour: str, label: str) -> None:
    """Draw rows as points, fainter and smaller the more there are."""
    if not len(x):
        return
    size = float(np.clip(4000.0 / len(x), 1.5, 14.0))
    alpha = float(np.clip(400.0 / len(x) ** 0.75, 0.12, 0.7))
    axes.scatter(
        x, y, s=size, alpha=alpha, color=colour, linewidths=0, label=label, rasterized=True
    )


def legend(axes: Axes) -> None:
    """Add a legend above a panel, off the data."""
    _strengthen(axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=4, borderpad=0.0))


def _strengthen(drawn: Legend) -> None:
    """Make the points of a legend strong enough to read."""
    for handle in drawn.legend_handles:
        if isinstance(handle, PathCollection):
            handle.set_alpha(1.0)
            handle.set_sizes([18.0])


def target_limits(scene: Scene) -> tuple[float, float]:
    """Return limits of the target that show its training range and the table's, with a margin."""
    column = scene.density.schema.targets[scene.target]
    values = np.append(scene.data[1], [column.lowest, column.highest])
    low, high = float(values.min()), float(values.max())
    margin = 0.05 * (high - low)
    return low - margin, high + margin


def label_axes(axes: Axes, scene: Scene) -> None:
    """Name the axes after the columns and show the ranges of the training rows and the table."""
    label_feature(axes, scene)
    axes.set_ylabel(plain(scene.target_name))
    axes.set_ylim(*target_limits(scene))


def label_feature(axes: Axes, scene: Scene) -> None:
    """Name the horizontal axis and show the feature's training range and the table's."""
    axes.set_xlabel(plain(scene.feature_name))
    values = np.append(scene.data[0], scene.grid)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    margin = 0.03 * (high - low)
    axes.set_xlim(low - margin, high + margin)
    label_ticks(axes, scene.ticks)


def label_ticks(axes: Axes, ticks: dict[float, str]) -> None:
    """Put texts at places of the horizontal axis, if there are any."""
    if ticks:
        limits = axes.get_xlim()
        slanted = max(map(len, ticks.values())) * len(ticks) > _ROOM_FOR_TICKS
        axes.set_xticks(list(ticks), [plain(text, 15) for text in ticks.values()])
        axes.set_xlim(*limits)
        if slanted:
            axes.tick_params(axis="x", labelrotation=30)


def title(figure: Figure, scene: Scene) -> None:
    """Say what is shown, and where the other features are held."""
    text = f"{plain(scene.target_name, 30)} given {plain(scene.feature_name, 30)}"
    headline(figure, text, plain(scene.held, 60))


def headline(figure: Figure, text: str, remark: str = "") -> None:
    """Give a figure its title, and a remark in brackets below it if there is one."""
    # On a line of its own: long names would run off the figure.
    figure.suptitle(f"{text}\n({remark})" if remark else text, x=0.01, ha="left")


def grey_first(colours: list[str]) -> list[int]:
    """Return the components in the order to draw them: the coloured ones on top."""
    return sorted(range(len(colours)), key=lambda k: colours[k] != GREY)


def strong_line(axes: Axes, x: Array, y: Array, strength: Array, colour: str) -> None:
    """Draw a curve whose opacity follows the square root of a strength between 0 and 1."""
    points = np.stack([x, y], axis=1)
    segments = np.stack([points[:-1], points[1:]], axis=1)
    alpha = np.clip(np.sqrt(0.5 * (strength[:-1] + strength[1:])), 0.08, 1.0)
    lines = LineCollection(list(segments), colors=[(colour, float(a)) for a in alpha])
    lines.set_linewidth(1.8)
    axes.add_collection(lines)
