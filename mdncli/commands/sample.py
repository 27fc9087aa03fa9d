"""`mdn generate` and `mdn sample`: rows that are drawn."""

from typing import Annotated, Any, Literal

import typer

from mdncli.commands.console import (
    check_paths,
    counting_rows,
    model_source,
    require_output,
    say_written,
    source,
    writing,
)
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

Name = Literal["sinusoid", "bishop", "spiral", "robot-arm", "two-moons"]


def generate(
    name: Annotated[Name, typer.Argument(help="The problem.", show_default=False)],
    n: Annotated[
        int | None,
        typer.Option(help="Number of rows. By default 1000, 2500, 10000, 1000 and 10000."),
    ] = None,
    inverse: Annotated[
        bool,
        typer.Option("--inverse", help="Swap the roles of x and y. The target stays last."),
    ] = False,
    noise: Annotated[
        float | None,
        typer.Option(
            help="Standard deviation of the noise; for bishop its half-width; for two-moons that "
            "of the radius r. By default 1, 0.1, 0.2, 0.01 and 0.01."
        ),
    ] = None,
    seed: Seed = 0,
    output: Output = None,
    quiet: Quiet = False,
) -> None:
    """Write the table of a built-in problem as CSV, with the target in the last column.

    sinusoid: y = 7 sin(0.75x) + 0.5x + N(0, 1).

    bishop: y = x + 0.3 sin(2πx) + U(-0.1, 0.1), as in PRML, figure 5.19.

    spiral: two turns of a noisy spiral in the square from 0 to 5.

    robot-arm: joint angles theta1, theta2 of two links and the position x1, x2 of the hand (Bishop
    1994); --inverse puts the angles last: two targets, two solutions.

    two-moons: parameters theta1, theta2 and a point x1, x2 on a half circle that they move (sbibm);
    --inverse puts the parameters last: their density is two crescents.

    Example: mdn generate sinusoid --inverse --n 500 > data.csv

    Example: mdn generate robot-arm --inverse > arm.csv
    """
    require_output(output)

    from mdncli.api import built_in_problem

    table = built_in_problem(name, n=n, inverse=inverse, noise=noise, seed=seed)
    with writing(output) as stream:
        table.write(stream, output)
    say_written(output, quiet=quiet)


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
    require_output(output)

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
    with writing(output) as stream, counting_rows(quiet=quiet) as counted:
        draws.write(stream, output, otherwise=parameters.get("format"), watch=counted)
    say_written(output, quiet=quiet)
