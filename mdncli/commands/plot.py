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
    "overview", "parameters", "components", "samples", "density", "modes", "comparison", "training"
]


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
            "the one with the largest effect on the mean.",
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(metavar="COL", help="Which of several targets; by default the first."),
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

    Example: mdn plot model.pt data.csv --kind density -o density.svg
    """
    file_format = _format(output)
    only_one_from_standard_input(MODEL=model, DATA=data)
    spare_inputs(output, model, data)
    if kind == "comparison" and data is None:
        raise UsageError("--kind comparison shows the data: mdn plot MODEL DATA --kind comparison")

    density = open_model(model)
    if kind == "comparison" and density.baseline is None:
        raise DataError(
            f"{input_name(model)} holds no least-squares baseline. Fit one beside the mixture: "
            f"mdn fit {data} --baseline"
        )
    x, y = _rows(density, data)
    from mdncli.plots import kinds, style

    with warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes; that is no reason for noise.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure = kinds.draw(kind, density, x, y, along=along, target=target, seed=seed)
        with writing(output) as stream:
            style.save(figure, stream, file_format)
    say_written(output, quiet=quiet)


def _format(output: str) -> str:
    if output == STANDARD:
        return "png"
    suffix = output.rpartition(".")[2].lower() if "." in output else ""
    if suffix not in ("png", "svg", "pdf"):
        raise UsageError(f"-o {quoted(output)}: the name must end in .png, .svg or .pdf.")
    return suffix


def _rows(density: "ConditionalDensity", data: str | None) -> tuple["Array", "Array"]:
    """Return the rows to show, x (N, F) and y (N, T); none without a table."""
    import numpy as np

    features, targets = density.schema.feature_names, density.schema.target_names
    if data is None:
        return np.empty((0, len(features))), np.empty((0, len(targets)))
    table = open_table(data)
    return table.numbers(features), table.numbers(targets)
