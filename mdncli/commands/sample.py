"""`mdn sample`."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mdncli.commands.console import (
    only_one_from_standard_input,
    open_model,
    open_table,
    say_written,
    spare_inputs,
    writing,
)
from mdncli.commands.given import GivenTargets, conditions
from mdncli.commands.options import Model, Output, Quiet, Seed, point
from mdncli.commands.reading import OnBadRows, reads_tables, recalling
from mdncli.commands.rows import usable_rows, warn_of_unseen
from mdncli.errors import UsageError
from mdncli.settings import MOST_ROWS
from mdncli.tables.dialect import Dialect
from mdncli.text import quoted
from mdncli.types import Array

if TYPE_CHECKING:
    from mdncli.density.model import ConditionalDensity, Samples
    from mdncli.tables.table import Table

_DEFAULT_DRAWS = 1000
_COMPONENT = "component"


@reads_tables
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
        typer.Option(metavar="FILE", help="Draw for the rows of this table; - for standard input."),
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
    *,
    dialect: Dialect,
    on_bad_rows: OnBadRows,
) -> None:
    """Draw targets from a fitted density, as CSV: the features, then the targets.

    With --given the others are drawn, and the given targets keep their values.

    Example: mdn sample model.pt --n 1000 > samples.csv
    """
    from mdncli.density.mixture import generator_of_draws
    from mdncli.tables.writer import write_table

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
    own: dict[str, Array] = {}
    if rows is None:
        points, columns, draws = _points(density, n, at)
    else:
        with recalling(density.origin.command, dialect):
            table = open_table(rows, dialect, skip_bad_rows=on_bad_rows == "skip")
            points, own, columns = _rows(density, table, known.own, skip=on_bad_rows == "skip")
        draws = n or 1
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
        write_table(stream, _tables(samples, columns, density, component), output)
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
    density: "ConditionalDensity", n: int | None, at: list[str] | None
) -> tuple["Array", dict[str, Any], int]:
    """Return the rows to draw for (N, F), their columns as written, and the draws of each."""
    features = density.schema.features
    names = density.schema.feature_names
    if at:
        points, draws = _point(density, at), n or _DEFAULT_DRAWS
    elif len(features) == 1:
        points, draws = features[0].points(n or _DEFAULT_DRAWS)[:, None], 1
    else:
        raise UsageError(
            f"The model has {len(features)} features: say where to draw, with --rows FILE or with "
            f"--at '{','.join(f'{name}=…' for name in names)}'."
        )
    return points, {each.name: each.column(points[:, i]) for i, each in enumerate(features)}, draws


def _point(density: "ConditionalDensity", at: list[str]) -> "Array":
    """Return the one row that `--at` names, (1, F)."""
    from mdncli.columns.dataset import encoded_features
    from mdncli.tables import arrow
    from mdncli.tables.table import Table

    features = density.schema.features
    texts = point(at, [feature.name for feature in features])
    columns = {name: arrow.column([text]) for name, text in texts.items()}
    found = encoded_features(Table("--at", columns), features)
    for name, _, reason in found.faults:
        why = reason if isinstance(reason, str) else reason(texts[name])
        raise UsageError(f"--at, {quoted(name)}: {why}.")
    warn_of_unseen(found.unseen, 1)
    return found.values


def _rows(
    density: "ConditionalDensity", table: "Table", given: list[str], *, skip: bool
) -> tuple["Array", dict[str, "Array"], dict[str, Any]]:
    """Return the rows of a table to draw for (N, F), their given targets, and their columns."""
    from mdncli.tables.writer import picked

    x, y, used = usable_rows(density.schema, table, given, skip=skip, given=given)
    own = {name: y[:, density.schema.target_names.index(name)] for name in given}
    names = density.schema.feature_names
    return x, own, {name: picked(table.originals[name], used) for name in names}


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
