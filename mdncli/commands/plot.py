"""`mdn plot`."""

import warnings
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mdncli.commands.console import (
    STANDARD,
    input_name,
    only_one_from_standard_input,
    open_model,
    open_table,
    say_written,
    spare_inputs,
    warn,
    writing,
)
from mdncli.commands.given import Conditions, conditions
from mdncli.commands.options import Model, Quiet, Seed
from mdncli.commands.reading import OnBadRows, reads_tables, recalling
from mdncli.commands.rows import usable_rows
from mdncli.errors import DataError, UsageError
from mdncli.tables.dialect import Dialect
from mdncli.text import quoted
from mdncli.types import Array

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mdncli.density.model import ConditionalDensity
    from mdncli.tables.table import Table

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


@reads_tables
def plot(
    model: Model,
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="[DATA]", help="A table whose rows are shown; - for standard input."
        ),
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
            help="With --kind row or pairs: a table whose first rows' predicted densities are "
            "shown, with their targets if it has them; - for standard input.",
        ),
    ] = None,
    given: Annotated[
        list[str] | None,
        typer.Option(
            metavar="a=1",
            help="With several targets: show the others, given that a is 1; with --rows a alone is "
            "each row's own value. Rows of DATA are shown whatever theirs is. May be repeated.",
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
    *,
    dialect: Dialect,
    on_bad_rows: OnBadRows,
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
    known = _known(density, given, rows)
    shown = rows or data
    if shown is None:
        density = _conditioned(density, known.numbers)
        x, y = _no_rows(density)
    else:
        skip = on_bad_rows == "skip"
        with recalling(density.origin.command, dialect):
            table = open_table(shown, dialect, skip_bad_rows=skip)
            if rows is None:
                density = _conditioned(density, known.numbers)
                x, y, _ = usable_rows(density.schema, table, density.schema.target_names, skip=skip)
            else:
                density, x, y = _shown(density, table, kind, target, known, skip=skip)
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


def _no_rows(density: "ConditionalDensity") -> tuple["Array", "Array"]:
    import numpy as np

    schema = density.schema
    return np.empty((0, len(schema.features))), np.empty((0, len(schema.targets)))


def _known(
    density: "ConditionalDensity", given: list[str] | None, rows: str | None
) -> "Conditions":
    """Return what `--given` says; the row's own value needs rows that are shown one by one."""
    known = conditions(given, density.schema.target_names)
    if known.own and rows is None:
        raise UsageError(
            f"--given {quoted(known.own[0])} is the row's own value, for --kind row or pairs with "
            "--rows FILE. Elsewhere give a value, NAME=VALUE."
        )
    return known


def _conditioned(
    density: "ConditionalDensity", given: "Mapping[str, float | Array]"
) -> "ConditionalDensity":
    """Return the model with some targets fixed."""
    if not given:
        return density
    from mdncli.density.conditioned import Conditioned

    return Conditioned.on(density, given)


def _shown(
    density: "ConditionalDensity",
    table: "Table",
    kind: str,
    target: str | None,
    known: "Conditions",
    *,
    skip: bool,
) -> tuple["ConditionalDensity", "Array", "Array"]:
    """Return the model and the rows of `--rows`, x (N, F) and y (N, T).

    The model is conditioned on what is given; y is NaN but for the targets shown, if they are
    there. No other target is looked at: its column may be missing, or hold anything.
    """
    import numpy as np

    shown = known.left if kind == "pairs" else [target or known.left[0]]
    there = [name for name in known.left if name in shown and name in table.names]
    needed = [*there, *known.own]
    x, y, _ = usable_rows(density.schema, table, needed, skip=skip, lacking=True, given=known.own)
    names = density.schema.target_names
    complete = np.isfinite(y[:, [names.index(name) for name in known.own]]).all(axis=1)
    if not complete.all():
        warn(f"{int((~complete).sum())} of {len(y)} rows lack a given target: left out.")
    x, y = x[complete], y[complete]
    left = y[:, [names.index(name) for name in known.left]]
    return _conditioned(density, known.values(y, names)), x, left
