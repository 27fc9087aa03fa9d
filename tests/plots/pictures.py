"""What the tests of pictures share: a fitted folder opened, and a figure's words and bytes."""

import io
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Text

from mdncli.density.model import ConditionalDensity
from mdncli.modelfile import reader as checkpoint
from mdncli.plots import style
from mdncli.tables.table import read_table


def opened(folder: Path) -> tuple[ConditionalDensity, np.ndarray, np.ndarray]:
    density = checkpoint.load((folder / "model.pt").read_bytes(), "model.pt")
    table = read_table((folder / "data.csv").read_bytes(), "data.csv")
    schema = density.schema
    return density, table.numbers(schema.feature_names), table.numbers(schema.target_names)


def texts(figure: Figure) -> str:
    """Return every word of a picture."""
    with style.style():
        figure.draw_without_rendering()
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def saved(figure: Figure, file_format: str = "png") -> bytes:
    stream = io.BytesIO()
    style.save(figure, stream, file_format)
    return stream.getvalue()
