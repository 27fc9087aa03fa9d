"""`mdn generate`."""

from typing import Annotated, Literal

import typer

from mdncli.commands.console import require_output, say_written, writing
from mdncli.commands.options import Output, Quiet, Seed

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
