"""`mdn sample`."""

from typing import Annotated, Any

import typer

from mdncli.commands.console import check_paths, model_source, say_written, source, writing
from mdncli.commands.options import (
    DEFAULT_SIZE,
    Given,
    MaxModelSize,
    Model,
    Output,
    Quiet,
    Seed,
    bytes_of,
    option,
    with_parameters_of,
)
from mdncli.errors import ParameterError
from mdncli.tables.dialect import Dialect


@with_parameters_of(Dialect)
def sample(
    model: Model,
    n: Annotated[
        int | None,
        typer.Option(
            help="Number of draws. With one feature: one at each of N evenly spaced points of its "
            "training range (default 1000). With --at: N there (default 1000). With --rows: N for "
            "every row (default 1).",
            show_default=False,
        ),
    ] = None,
    rows: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Draw for the rows of this table; - for standard input."),
    ] = None,
    at: Annotated[
        list[str] | None,
        option(
            "Draw at this value of every feature. May be repeated.", metavar="a=1,b=2", columns=True
        ),
    ] = None,
    given: Given = None,
    temperature: Annotated[
        float, typer.Option(help="Positive: makes the weights proportional to π^(1/T).")
    ] = 1.0,
    sigma_temperature: Annotated[
        float, typer.Option(help="Zero or positive: multiplies every σ.")
    ] = 1.0,
    component: Annotated[
        bool, typer.Option("--component", help="Put the number of the drawn component first.")
    ] = False,
    seed: Seed = 0,
    output: Output = None,
    max_model_size: MaxModelSize = DEFAULT_SIZE,
    quiet: Quiet = False,
    *,
    parameters: dict[str, Any],
) -> None:
    """Draw targets from a fitted density, as CSV: the features, then the targets.

    With --given, the given targets keep their values and the others are drawn.

    Example: mdn sample model.pt --n 1000 > samples.csv
    """
    limit = bytes_of(max_model_size)
    check_paths(output, {"MODEL": model, "--rows": rows})
    if rows is not None and at:
        raise ParameterError("--rows and --at exclude each other.")

    from mdncli.conditional_density import SampleRequest, load

    request = SampleRequest.of(
        n=n,
        at=at,
        given=given,
        temperature=temperature,
        sigma_temperature=sigma_temperature,
        component=component,
        seed=seed,
        **parameters,
    )
    density = load(model_source(model, limit), max_size=limit)
    draws = density.draws(None if rows is None else source(rows), request)
    with writing(output) as stream:
        draws.write(stream, output, otherwise=parameters.get("format"))
    say_written(output, quiet=quiet)
