"""Helpers of the tests of pictures: the words and the bytes of a figure, and its lines by label."""

import io

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from mdncli.plots import save, style


def words_of(figure: Figure) -> str:
    """Return every text of a picture."""
    with style.picture_style():
        figure.draw_without_rendering()
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def bytes_of(figure: Figure, file_format: str = "png") -> bytes:
    """Return a picture as a file."""
    stream = io.BytesIO()
    save(figure, stream, file_format)
    return stream.getvalue()


def title_of(figure: Figure) -> str:
    """Return the title of a picture."""
    return figure.get_suptitle()


def panel_titles(figure: Figure) -> list[str]:
    """Return the titles of the panels."""
    return [axes.get_title(loc="left") for axes in figure.axes]


def lines_of(axes: Axes, label: str) -> list[Line2D]:
    """Return the lines with this label."""
    return [line for line in axes.lines if line.get_label() == label]


def points_of(axes: Axes, label: str) -> np.ndarray:
    """Return the points, (N, 2), of the scatter with this label."""
    [points] = [each for each in axes.collections if each.get_label() == label]
    return np.asarray(points.get_offsets())
