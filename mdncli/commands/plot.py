"""`mdn plot`."""

from typing import Annotated, Any

import typer

from mdncli.commands.console import (
    STANDARD,
    check_paths,
    model_source,
    require_output,
    say_written,
    source,
    writing,
)
from mdncli.commands.options import (
    DEFAULT_SIZE,
    MaxModelSize,
    Model,
    Quiet,
    Seed,
    bytes_of,
    option,
    with_parameters_of,
)
from mdncli.errors import ParameterError
from mdncli.settings import PlotKind
from mdncli.tables.dialect import Dialect
from mdncli.text import quoted

_SINGLE_ROWS = ("row", "pairs")
_FORMATS = ("png", "svg", "pdf")


@with_parameters_of(Dialect)
def plot(
    model: Model,
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="[DATA]", help="A table whose rows are shown; - for standard input."
        ),
    ] = None,
    kind: Annotated[
        PlotKind,
        typer.Option(
            help="What to show. comparison, calibration and residuals need DATA; row needs --rows."
        ),
    ] = "overview",
    along: Annotated[
        str | None,
        option(
            "Feature on the horizontal axis; the others stay at their medians. By default the one "
            "with the largest effect on the mean. Some kinds have no such axis.",
            metavar="COL",
            columns=True,
        ),
    ] = None,
    target: Annotated[
        str | None,
        option("Which of several targets; by default the first.", metavar="COL", columns=True),
    ] = None,
    rows: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="With --kind row or pairs: a table. The densities of its first rows are shown, "
            "with their targets if it has them; - for standard input.",
        ),
    ] = None,
    given: Annotated[
        list[str] | None,
        option(
            "With several targets: show the others, given that a is 1. With --rows, a alone stands "
            "for each row's own value. All rows of DATA are shown, whatever their value of a. May "
            "be repeated.",
            metavar="a=1",
            columns=True,
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
    max_model_size: MaxModelSize = DEFAULT_SIZE,
    quiet: Quiet = False,
    *,
    parameters: dict[str, Any],
) -> None:
    """Draw a fitted density: its parameters, samples, and more, over the data if there is any.

    Example: mdn plot model.pt data.csv -o overview.png

    Example: mdn plot model.pt data.csv --kind calibration -o calibration.svg

    Example: mdn plot model.pt --kind row --rows new.csv

    Example: mdn plot model.pt --kind pairs --rows new.csv
    """
    file_format = _format(output)
    limit = bytes_of(max_model_size)
    check_paths(output, {"MODEL": model, "DATA": data, "--rows": rows})
    _check(kind, data, rows)
    require_output(output)

    from mdncli.conditional_density import PlotRequest, load

    request = PlotRequest.of(
        kind=kind, along=along, target=target, given=given, seed=seed, **parameters
    )
    shown = rows if kind in _SINGLE_ROWS else data
    density = load(model_source(model, limit), max_size=limit)
    with writing(output) as stream:
        table = None if shown is None else source(shown)
        density.write_figure(stream, file_format, table, request)
    say_written(output, quiet=quiet)


def _check(kind: str, data: str | None, rows: str | None) -> None:
    if kind in ("comparison", "calibration", "residuals") and data is None:
        raise ParameterError(f"--kind {kind} shows the data: mdn plot MODEL DATA --kind {kind}")
    if kind == "row" and rows is None:
        raise ParameterError(
            "--kind row shows the rows of a file: mdn plot MODEL --kind row --rows FILE"
        )
    if kind not in _SINGLE_ROWS and rows is not None:
        raise ParameterError(
            "--rows is for --kind row or pairs. Add that, or give the table as DATA."
        )
    if kind == "pairs" and data is not None:
        raise ParameterError(
            "--kind pairs shows single rows: give the table with --rows, not as DATA."
        )


def _format(output: str) -> str:
    if output == STANDARD:
        return "png"
    suffix = output.rpartition(".")[2].lower() if "." in output else ""
    if suffix not in _FORMATS:
        raise ParameterError(f"-o {quoted(output)}: the name must end in .png, .svg or .pdf.")
    return suffix
