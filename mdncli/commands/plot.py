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
    "pairs",
]
_NEED_DATA = ("comparison", "calibration", "residuals")
_NEED_ROWS = ("calibration", "residuals", "row")
_TAKE_ROWS = ("row", "pairs")
# Of the model as a whole, or of rows whose given targets have other values.
_NOT_GIVEN = ("training", "calibration", "residuals")


def plot(
    model: Model,
    data: Annotated[
        str | None,
        typer.Argument(metavar="[DATA]", help="A CSV whose rows are shown; - for standard input."),
    ] = None,
    kind: Annotated[
        Kind,
        typer.Option(
            help="What to show: comparison, calibration and residuals need DATA, row needs --rows."
        ),
    ] = "overview",
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
            help="With --kind row or pairs: a CSV whose first rows' predicted densities are shown, "
            "with their targets if it has them; - for standard input.",
        ),
    ] = None,
    given: Annotated[
        list[str] | None,
        typer.Option(
            metavar="a=1",
            help="With several targets: show the others, given that a is 1. Rows of DATA are shown "
            "whatever theirs is. May be repeated.",
            show_default=False,
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

    Example: mdn plot model.pt --kind pairs --rows new.csv
    """
    file_format = _format(output)
    _check(kind, model, data, rows)
    if given and kind in _NOT_GIVEN:
        raise UsageError(f"--given is not for --kind {kind}: leave it out.")
    spare_inputs(output, model, data, rows)

    density = open_model(model)
    if kind == "comparison" and density.baseline is None:
        raise DataError(
            f"{input_name(model)} holds no least-squares baseline. Fit one beside the mixture: "
            f"mdn fit {data} --baseline"
        )
    density = _conditioned(density, given)
    x, y = _data(density, data) if rows is None else _rows(density, rows, kind, target)
    if kind in _NEED_ROWS and not len(x):
        source = input_name(rows or data or "")
        raise DataError(f"{source}: --kind {kind} needs rows, and there are none.")
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
    if kind not in _TAKE_ROWS and rows is not None:
        raise UsageError("--rows is for --kind row or pairs. Add that, or give the table as DATA.")
    if kind == "pairs" and data is not None:
        raise UsageError("--kind pairs shows single rows: give the table with --rows, not as DATA.")


def _format(output: str) -> str:
    if output == STANDARD:
        return "png"
    suffix = output.rpartition(".")[2].lower() if "." in output else ""
    if suffix not in ("png", "svg", "pdf"):
        raise UsageError(f"-o {quoted(output)}: the name must end in .png, .svg or .pdf.")
    return suffix


def _data(density: "ConditionalDensity", data: str | None) -> tuple["Array", "Array"]:
    """Return the rows to show, x (N, F) and y (N, T); none without a table."""
    import numpy as np

    features, targets = density.schema.feature_names, density.schema.target_names
    if data is None:
        return np.empty((0, len(features))), np.empty((0, len(targets)))
    table = open_table(data)
    return table.numbers(features), table.numbers(targets)


def _conditioned(density: "ConditionalDensity", given: list[str] | None) -> "ConditionalDensity":
    """Return the model with the targets of `--given` fixed at their numbers."""
    if not given:
        return density
    from mdncli.commands.given import conditions
    from mdncli.density.conditioned import Conditioned

    known = conditions(given, density.schema.target_names)
    if known.own:
        raise UsageError(
            f"--given {quoted(known.own[0])}: a picture needs a number; write NAME=VALUE."
        )
    return Conditioned.on(density, known.numbers)


def _rows(
    density: "ConditionalDensity", rows: str, kind: str, target: str | None
) -> tuple["Array", "Array"]:
    """Return the rows of `--rows`, x (N, F) and y (N, T): NaN but for the targets shown, if there.

    No other target is looked at: its column may be missing, or hold anything.
    """
    import numpy as np

    table = open_table(rows)
    x = table.numbers(density.schema.feature_names)
    y = np.full((len(x), len(density.schema.targets)), np.nan)
    names = density.schema.target_names
    shown = names if kind == "pairs" else [target or names[0]]
    for position, name in enumerate(names):
        if name in shown and name in table.columns:
            y[:, [position]] = table.numbers([name])
    return x, y
