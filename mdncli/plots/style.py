"""The style that the pictures share: colours, text from the user's file, and how they are saved."""

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
from mdncli.text import counted
from mdncli.types import Array

# Okabe and Ito's palette, which colour-blind people can distinguish, with a darker yellow.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#C9B800", "#000000")
GREY = "#C8C8C8"
# Of the background of a model, darker than the components that have no colour of their own.
BACKGROUND = "#8A8A8A"
BAND = "#E4E4E4"
DATA = "#555555"
# With more letters than this on a horizontal axis, the labels are slanted.
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
    # A column may be called "$x_1$". Text must never be read as a formula.
    "text.parse_math": False,
    # The same picture gives the same bytes. Otherwise SVG would contain random ids.
    "svg.hashsalt": "mdn",
    "pdf.compression": 6,
}
_METADATA = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


@contextmanager
def picture_style() -> Iterator[None]:
    """Apply the settings of the pictures instead of the user's, and restore them afterwards."""
    with mpl.rc_context(rc=dict(mpl.rcParamsDefault) | _SETTINGS):
        yield


def save(figure: Figure, stream: BinaryIO, file_format: str) -> None:
    """Write a figure as `png`, `svg` or `pdf`. The same figure gives the same bytes."""
    with picture_style():
        figure.savefig(stream, format=file_format, metadata=_METADATA[file_format])


def canvas(width: float, height: float) -> Figure:
    """Return an empty figure of this size, in inches, that belongs to no window."""
    return Figure(figsize=(width, height), layout="constrained")


def grid_of_panels(
    panels: int, across: int, size: tuple[float, float]
) -> tuple[Figure, list[Axes]]:
    """Return a figure with a grid of panels, and the panels, row by row.

    Args:
        panels: their number.
        across: the most panels in a row.
        size: the width and the height of a panel, in inches.
    """
    across = min(panels, across)
    down = -(-panels // across)
    # A single panel needs more width than the others, for its title and legend.
    figure = canvas(max(7.0, size[0] * across), 1.2 + max(3.0, size[1] * down))
    return figure, [figure.add_subplot(down, across, 1 + place) for place in range(panels)]


def label_panels(figure: Figure, panels: list[Axes], across: int, *, y: str) -> None:
    """Name the vertical axes of the panels on the left, and add one legend below all panels."""
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
    _emphasize(drawn)


def plain(text: str, most: int = 40) -> str:
    """Return text from a user's file, cut at `most` characters, with unprintable ones as dots."""
    visible = "".join(c if c.isprintable() else "·" for c in text)
    return visible if len(visible) <= most else visible[: most - 1] + "…"


def pale(colour: str, strength: float) -> tuple[float, float, float]:
    """Return an opaque colour that looks like a colour with this opacity, 0 to 1, on white paper.

    Areas of an opaque colour show no darker places where they overlap, and no seams.
    """
    red, green, blue = (1.0 - strength * (1.0 - part) for part in to_rgb(colour))
    return red, green, blue


def component_colours(mixture: GaussianMixture, first: int = 1) -> list[str]:
    """Return a colour for each of K components; only the eight heaviest on average are not grey.

    The colours follow the order of the components, so that one has the same colour in every panel.

    Args:
        mixture: of all components.
        first: the number of the first component: 0 if it is a background, which is grey, too.
    """
    weight = mixture.pi.mean(axis=0)
    background = [0] if first == 0 else []
    ordered = [k for k in np.argsort(-weight, kind="stable").tolist() if k not in background]
    colours = [GREY] * len(weight)
    for colour, component in zip(COLOURS, sorted(ordered[: len(COLOURS)]), strict=False):
        colours[component] = colour
    for component in background:
        colours[component] = BACKGROUND
    return colours


def label_components(figure: Figure, colours: list[str], drawn: list[int], first: int = 1) -> None:
    """Add a legend with an entry for each coloured component and one for the others.

    Args:
        figure: the figure.
        colours: of all components.
        drawn: the positions of the components that are drawn.
        first: the number of the first component.
    """
    handles = []
    for k in sorted(drawn):
        if colours[k] != GREY:
            name = f"{k + first}, background" if colours[k] == BACKGROUND else str(k + first)
            handles.append(Line2D([], [], color=colours[k], label=name))
    rest = colours.count(GREY)
    if rest:
        handles.append(Line2D([], [], color=GREY, label=counted(rest, "other")))
    figure.legend(handles=handles, title="component", loc="outside right upper")


def scatter(axes: Axes, x: Array, y: Array, *, colour: str, label: str) -> None:
    """Draw rows as points. The more rows there are, the fainter and smaller the points are."""
    if not len(x):
        return
    size = float(np.clip(4000.0 / len(x), 1.5, 14.0))
    alpha = float(np.clip(400.0 / len(x) ** 0.75, 0.12, 0.7))
    axes.scatter(
        x, y, s=size, alpha=alpha, color=colour, linewidths=0, label=label, rasterized=True
    )


def legend(axes: Axes) -> None:
    """Add a legend above a panel, where it hides no data."""
    _emphasize(axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=4, borderpad=0.0))


def _emphasize(drawn: Legend) -> None:
    """Make the points of a legend large and dark enough."""
    for handle in drawn.legend_handles:
        if isinstance(handle, PathCollection):
            handle.set_alpha(1.0)
            handle.set_sizes([18.0])


def label_ticks(axes: Axes, ticks: dict[float, str]) -> None:
    """Label places on the horizontal axis with texts, if there are any."""
    if ticks:
        limits = axes.get_xlim()
        slanted = max(map(len, ticks.values())) * len(ticks) > _ROOM_FOR_TICKS
        axes.set_xticks(list(ticks), [plain(text, 15) for text in ticks.values()])
        axes.set_xlim(*limits)
        if slanted:
            axes.tick_params(axis="x", labelrotation=30)


def headline(figure: Figure, text: str, remark: str = "") -> None:
    """Give a figure a title and, if there is one, a remark in parentheses below it."""
    # The remark has its own line, since long names would otherwise leave the figure.
    figure.suptitle(f"{text}\n({remark})" if remark else text, x=0.01, ha="left")


def grey_first(colours: list[str]) -> list[int]:
    """Return the components in the order of drawing, so that the coloured ones are on top."""
    return sorted(range(len(colours)), key=lambda k: colours[k] not in (GREY, BACKGROUND))


def strong_line(axes: Axes, x: Array, y: Array, strength: Array, colour: str) -> None:
    """Draw a curve; its opacity is the square root of a strength, (N,), between 0 and 1."""
    points = np.stack([x, y], axis=1)
    segments = np.stack([points[:-1], points[1:]], axis=1)
    alpha = np.clip(np.sqrt(0.5 * (strength[:-1] + strength[1:])), 0.08, 1.0)
    lines = LineCollection(list(segments), colors=[(colour, float(a)) for a in alpha])
    lines.set_linewidth(1.8)
    axes.add_collection(lines)
