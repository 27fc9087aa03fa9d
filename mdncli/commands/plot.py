"""`mdn plot`."""

import warnings
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mdncli.commands.console import say_written
from mdncli.commands.options import Model, Quiet, Seed
from mdncli.commands.streams import (
    STANDARD,
    input_name,
    only_one_from_standard_input,
    open_model,
    open_table,
    spare_inputs,
    writing,
)
from mdncli.errors import DataError, UsageError
from mdncli.words import quoted

if TYPE_CHECKING:
    from mdncli.density.model import ConditionalDensity
    from mdncli.density.network import Array

Kind = Literal[
    "overview",
    "parameters",
    "components",
    "samples",
    "density",
    "modes",
    "intervals",
    "comparison",
    "training",
    "calibration",
    "residuals",
    "row",
]
_NEED_DATA = ("comparison", "calibration", "residuals")
_NEED_ROWS = ("calibration", "residuals", "row")


def plot(
    model: Model,
    data: Annotated[
        str | None,
        typer.Argument(metavar="[DATA]", help="A CSV whose rows are shown; - for standard input."),
    ] = None,
    kind: Annotated[Kind, typer.Option(help="What to show.")] = "overview",
    along: Annotated[
        str | None,
        typer.Option(
            metavar="COL",
            help="The feature on the horizontal axis, the others held at their medians. By default "
            "the one with the largest effect on the mean. Some kinds have no such axis.",
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(metavar="COL", help="Which of several targets; by default the first."),
    ] = None,
    rows: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="With --kind row: a CSV whose first rows' predicted densities are shown, with "
            "their targets if it has them; - for standard input.",
        ),
    ] = None,
    seed: Seed = 0,
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="A .png, .svg or .pdf; - for a PNG on standard output.",
        ),
    ] = "plot.png",
    quiet: Quiet = False,
) -> None:
    """Draw a fitted density: its parameters, samples, and more, with the data where there is any.

    Example: mdn plot model.pt data.csv -o overview.png

    Example: mdn plot model.pt data.csv --kind calibration -o calibration.svg

    Example: mdn plot model.pt --kind row --rows new.csv
    """
    file_format = _format(output)
    _check(kind, model, data, rows)
    spare_inputs(output, model, data, rows)

    density = open_model(model)
    if kind == "comparison" and density.baseline is None:
        raise DataError(
            f"{input_name(model)} holds no least-squares baseline. Fit one beside the mixture: "
            f"mdn fit {data} --baseline"
        )
    shown = data if rows is None else rows
    x, y = _rows(density, shown, known=rows is None)
    if kind in _NEED_ROWS and not len(x):
        raise DataError(f"{input_name(str(shown))}: --kind {kind} needs rows, and there are none.")
    from mdncli.plots import kinds, style

    with warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes; that is no reason for noise.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure = kinds.draw(kind, density, x, y, along=along, target=target, seed=seed)
        with writing(output) as stream:
            style.save(figure, stream, file_format)
    say_written(output, quiet=quiet)


def _check(kind: str, model: str, data: str | None, rows: str | None) -> None:
    only_one_from_standard_input(MODEL=model, DATA=data, **{"--rows": rows})
    if kind in _NEED_DATA and data is None:
        raise UsageError(f"--kind {kind} shows the data: mdn plot MODEL DATA --kind {kind}")
    if kind == "row" and rows is None:
        raise UsageError(
            "--kind row shows the rows of a file: mdn plot MODEL --kind row --rows FILE"
        )
    if kind != "row" and rows is not None:
        raise UsageError("--rows is for --kind row. Add that, or give the table as DATA.")


def _format(output: str) -> str:
    if output == STANDARD:
        return "png"
    suffix = output.rpartition(".")[2].lower() if "." in output else ""
    if suffix not in ("png", "svg", "pdf"):
        raise UsageError(f"-o {quoted(output)}: the name must end in .png, .svg or .pdf.")
    return suffix


def _rows(
    density: "ConditionalDensity", path: str | None, *, known: bool
) -> tuple["Array", "Array"]:
    """Return the rows to show, x (N, F) and y (N, T); none without a table.

    Unless the targets must be `known`, those without a column are NaN.
    """
    import numpy as np

    features, targets = density.schema.feature_names, density.schema.target_names
    if path is None:
        return np.empty((0, len(features))), np.empty((0, len(targets)))
    table = open_table(path)
    x = table.numbers(features)
    if known:
        return x, table.numbers(targets)
    y = np.full((table.rows, len(targets)), np.nan)
    there = [position for position, name in enumerate(targets) if name in table.columns]
    y[:, there] = table.numbers([targets[position] for position in there])
    return x, y
