"""`mdn sample`."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mdncli.commands.console import say_written
from mdncli.commands.given import GivenTargets, conditions
from mdncli.commands.options import Model, Output, Quiet, Seed, point
from mdncli.commands.streams import (
    only_one_from_standard_input,
    open_model,
    open_table,
    spare_inputs,
    writing,
)
from mdncli.errors import UsageError
from mdncli.settings import MOST_ROWS
from mdncli.words import quoted

if TYPE_CHECKING:
    from mdncli.density.model import ConditionalDensity, Samples
    from mdncli.density.network import Array

_DEFAULT_DRAWS = 1000
_COMPONENT = "component"


def sample(
    model: Model,
    n: Annotated[
        int | None,
        typer.Option(
            help="Draws: with one feature, one at each of N evenly spaced points of its training "
            "range (default 1000); with --at, N there; with --rows, N for every row (default 1).",
            show_default=False,
        ),
    ] = None,
    rows: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Draw for the rows of this CSV; - for standard input."),
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option(
            metavar="a=1,b=2", help="Draw at this value of every feature. May be repeated."
        ),
    ] = None,
    given: GivenTargets = None,
    temperature: Annotated[
        float, typer.Option(help="Above 0: makes the weights proportional to π^(1/T).")
    ] = 1.0,
    sigma_temperature: Annotated[float, typer.Option(help="0 or more: multiplies every σ.")] = 1.0,
    component: Annotated[
        bool, typer.Option("--component", help="Put the number of the drawn component first.")
    ] = False,
    seed: Seed = 0,
    output: Output = None,
    quiet: Quiet = False,
) -> None:
    """Draw targets from a fitted density, as CSV: the features, then the targets.

    With --given the others are drawn, and the given targets keep their values.

    Example: mdn sample model.pt --n 1000 > samples.csv
    """
    from mdncli.density.mixture import generator_of_draws
    from mdncli.tables.writer import write_csv

    _check(model, n, rows, at, temperature, sigma_temperature)
    spare_inputs(output, model, rows)
    density = open_model(model)
    known = conditions(given, density.schema.target_names)
    if known.own and rows is None:
        name = quoted(known.own[0])
        raise UsageError(
            f"--given {name} is the row's own value, and there are no rows. Add --rows FILE, or "
            "give a value, NAME=VALUE."
        )
    points, own, columns, draws = _points(density, n, rows, at, known.own)
    if component and _COMPONENT in (*density.schema.feature_names, *density.schema.target_names):
        raise UsageError("--component: the model has a column of that name already.")
    samples = density.sample(
        points,
        draws,
        generator_of_draws(seed),
        temperature=temperature,
        sigma_temperature=sigma_temperature,
        given={**known.numbers, **own},
    )
    with writing(output) as stream:
        write_csv(stream, _tables(samples, columns, density, component))
    say_written(output, quiet=quiet)


def _check(
    model: str,
    n: int | None,
    rows: str | None,
    at: list[str] | None,
    temperature: float,
    sigma_temperature: float,
) -> None:
    only_one_from_standard_input(MODEL=model, **{"--rows": rows})
    if rows is not None and at:
        raise UsageError("--rows and --at exclude each other.")
    if n is not None and not 1 <= n <= MOST_ROWS:
        raise UsageError(f"--n is {n}: it must be from 1 to {MOST_ROWS}.")
    if not 0.0 < temperature < math.inf:
        raise UsageError(f"--temperature is {temperature}: it must be a positive number.")
    if not 0.0 <= sigma_temperature < math.inf:
        raise UsageError(
            f"--sigma-temperature is {sigma_temperature}: it must be zero or a positive number."
        )


def _points(
    density: "ConditionalDensity",
    n: int | None,
    rows: str | None,
    at: list[str] | None,
    own: list[str],
) -> tuple["Array", dict[str, "Array"], dict[str, Any], int]:
    """Return where to draw (N, F), the rows' own targets, columns as written, and draws of each."""
    import numpy as np

    features = density.schema.features
    names = density.schema.feature_names
    if rows is not None:
        table = open_table(rows)
        values = table.numbers([*names, *own])
        points, known = values[:, : len(names)], values[:, len(names) :]
        columns = {name: table.columns[name] for name in names}
        return points, dict(zip(own, known.T, strict=True)), columns, n or 1
    if at:
        chosen = point(at, names)
        points, draws = np.array([[chosen[name] for name in names]]), n or _DEFAULT_DRAWS
    elif len(features) == 1:
        [only] = features
        points = np.linspace(only.lowest, only.highest, n or _DEFAULT_DRAWS)[:, None]
        draws = 1
    else:
        raise UsageError(
            f"The model has {len(features)} features: say where to draw, with --rows FILE or with "
            f"--at '{','.join(f'{name}=…' for name in names)}'."
        )
    return points, {}, {name: points[:, i] for i, name in enumerate(names)}, draws


def _tables(
    samples: "Iterator[Samples]",
    columns: dict[str, Any],
    density: "ConditionalDensity",
    component: bool,
) -> Iterator[dict[str, Any]]:
    """Yield every piece of the samples as columns to write."""
    from mdncli.tables.writer import picked

    for rows, y, drawn in samples:
        first = {_COMPONENT: drawn + 1} if component else {}
        carried = {name: picked(values, rows) for name, values in columns.items()}
        targets = {name: y[:, i] for i, name in enumerate(density.schema.target_names)}
        yield {**first, **carried, **targets}
