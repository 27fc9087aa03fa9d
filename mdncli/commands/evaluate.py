"""`mdn evaluate`."""

import hashlib
import math
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mdncli.commands.console import (
    STANDARD,
    answer,
    input_name,
    only_one_from_standard_input,
    open_model,
    read_input,
    say,
    say_written,
    spare_inputs,
    warn,
    write_json,
    writing,
)
from mdncli.commands.options import Model, Quiet, limits
from mdncli.commands.reading import OnBadRows, reads_tables, recalling, warn_of_left_out
from mdncli.commands.rows import Rows, read_rows, warn_of_extrapolation, warn_of_skipped, weights_of
from mdncli.errors import DataError, UsageError
from mdncli.tables.dialect import Dialect
from mdncli.text import listed, quoted
from mdncli.types import Array, Mask

if TYPE_CHECKING:
    from mdncli.density.evaluation import Evaluation
    from mdncli.density.model import ConditionalDensity


SCORES = ("nll", "crps", "rmse", "pit_ks")


@reads_tables
def evaluate(
    model: Model,
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA", help="A table with features and targets; - for standard input."
        ),
    ],
    fail_over: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SCORE=MOST",
            help="Exit with 1 when a score (nll, crps, rmse, pit_ks) is greater, such as nll=1.5. "
            "May be repeated.",
        ),
    ] = None,
    per_row: Annotated[
        bool,
        typer.Option(
            "--per-row",
            help="Write every row with its scores as CSV: nll, y_crps, y_error, y_pit.",
        ),
    ] = False,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Where --per-row writes; by default to standard output.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON.")] = False,
    quiet: Quiet = False,
    *,
    dialect: Dialect,
    on_bad_rows: OnBadRows,
) -> None:
    """Score a fitted density on rows whose targets are known.

    NLL in nats a row, CRPS and RMSE in the target's units: smaller is better. Skill is how many
    nats lower the NLL is than that of a mixture that knows nothing of x. The PIT of right densities
    is uniform. There is no NLL (null in JSON, an empty cell in --per-row) where a target is at or
    beyond a bound of the model.

    Example: mdn evaluate model.pt test.csv

    Example: mdn evaluate model.pt test.csv --json --fail-over nll=1.5
    """
    from mdncli.tables.table import read_table

    most = limits(fail_over, SCORES)
    _check(model, data, per_row, output, as_json)
    density = open_model(model)
    content = read_input(data)
    skip = on_bad_rows == "skip"
    with recalling(density.origin.command, dialect):
        table = read_table(content, input_name(data), dialect, skip_bad_rows=skip)
        rows = read_rows(density.schema, table, density.schema.target_names, skip=skip)
    used = ~(rows.bad | rows.no_target)
    weights = _weights(density.schema.weight, rows, skip=skip)
    if weights is not None:
        used &= weights > 0.0
    if not used.any():
        raise DataError(f"{table.source}: there are no rows to evaluate.")
    if hashlib.sha256(content).hexdigest() == density.origin.table_sha256:
        warn(f"{table.source} is the training table: scores on other rows will be worse.")
    warn_of_left_out(table)
    warn_of_skipped(rows, "they are left out of the scores")
    if rows.no_target.any():
        warn(f"{int(rows.no_target.sum())} of {rows.count} rows have no target; they do not count.")
    x, y = rows.x[used], rows.y[used]
    warn_of_extrapolation(int(density.schema.extrapolates(x).sum()), len(x))

    from mdncli.density.evaluation import evaluate as scores_of

    result = scores_of(density, x, y, None if weights is None else weights[used])
    if per_row:
        _write_rows(result, rows, used, output, quiet=quiet)
    if as_json:
        write_json(result.to_plain())
    elif not quiet and (not per_row or output not in (None, STANDARD)):
        tell(result)
    if not quiet:
        _say_of_steps(density)
    _warn(result)
    raise typer.Exit(1 if _exceeded(result, most) else 0)


def _check(model: str, data: str, per_row: bool, output: str | None, as_json: bool) -> None:
    only_one_from_standard_input(MODEL=model, DATA=data)
    spare_inputs(output, model, data)
    if output is not None and not per_row:
        raise UsageError("-o is where --per-row writes: add it. Scores go to the terminal.")
    if per_row and as_json and output in (None, STANDARD):
        raise UsageError("--per-row and --json both want standard output. Give --per-row an -o.")


def _weights(name: str | None, rows: Rows, *, skip: bool) -> "Array | None":
    """Return the weights of the rows, (N,), NaN where one is bad; None where all count alike."""
    if name is None:
        return None
    if name not in rows.table.names:
        say(f"{quoted(name)}, which weighted the rows in fit, is not here: they count equally.")
        return None
    weights, faults = weights_of(rows.table, name)
    if faults and not skip:
        raise DataError(rows.table.complaint(faults, "Correct them, or add --on-bad-rows skip."))
    return weights


def _write_rows(
    result: "Evaluation", rows: Rows, used: "Mask", output: str | None, *, quiet: bool
) -> None:
    """Write every row with its scores, empty for one that was not used."""
    import numpy as np

    from mdncli.tables.writer import write_table

    def everywhere(values: Any) -> Any:
        whole = np.full(rows.count, math.nan)
        whole[used] = values
        return whole

    # An infinite one is no number that a table can hold.
    nll = np.where(np.isfinite(result.by_row.nll), result.by_row.nll, math.nan)
    scores = {"nll": everywhere(nll)}
    for position, target in enumerate(result.targets):
        for name in ("crps", "error", "pit"):
            values = getattr(result.by_row, name)[:, position]
            scores[f"{target}_{name}"] = everywhere(values)
    carried = rows.carried(slice(0, rows.count))
    clash = [name for name in scores if name in carried]
    if clash:
        raise UsageError(f"--per-row: the table has {listed(clash)} already. Rename the column.")
    with writing(output) as stream:
        write_table(stream, [{**carried, **scores}], output)
    say_written(output, quiet=quiet)


def tell(result: "Evaluation") -> None:
    """Write the scores as a table: a column for each target."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=len(result.targets) > 1)
    table.add_column("")
    for name in result.targets:
        table.add_column(quoted(name), justify="right")
    table.add_row("rows", str(result.rows))
    table.add_row("NLL, nats a row", "none" if result.rows_beyond_bounds else f"{result.nll:.4f}")
    skills = {
        "without x": result.skill_unconditional,
        "least squares": result.skill_baseline,
    }
    for name, skill in skills.items():
        if not math.isnan(skill):
            table.add_row(f"skill over {name}, nats", f"{skill:.4f}")
    table.add_row("CRPS", *(f"{value:.4g}" for value in result.crps))
    table.add_row("RMSE of the mean", *(f"{value:.4g}" for value in result.rmse))
    for level, covered in result.coverage.items():
        table.add_row(f"{level:.0%} intervals cover", *(f"{value:.1%}" for value in covered))
        table.add_row("   of mean width", *(f"{value:.4g}" for value in result.width[level]))
    table.add_row("PIT's distance from uniform", *(f"{value:.4f}" for value in result.pit_ks))
    table.add_row("   its p-value", *(f"{value:.3g}" for value in result.pit_ks_p))
    answer(table)


def _say_of_steps(density: "ConditionalDensity") -> None:
    stepped = [target.name for target in density.schema.targets if target.step is not None]
    if stepped:
        say(
            f"{listed(stepped)} was recorded in steps, so its PIT is drawn within each value's "
            "step (with a fixed seed): even the true density's would not be uniform otherwise."
        )


def _warn(result: "Evaluation") -> None:
    if result.rows_beyond_bounds:
        warn(
            f"in {result.rows_beyond_bounds} of {result.rows} rows the target is at a bound of the "
            "model or beyond it, where its density is 0: there is no NLL."
        )
    if result.nll < result.resolution:
        warn(
            f"an NLL of {result.nll:.4f} claims more than was recorded: steps as fine as the "
            f"target's allow {result.resolution:.4f} at best."
        )


def _exceeded(result: "Evaluation", most: dict[str, float]) -> bool:
    """Say which scores are greater than asked for; return whether any is."""
    exceeded = False
    for name, limit in most.items():
        values = [result.nll] if name == "nll" else [float(v) for v in getattr(result, name)]
        if not max(values) <= limit:
            warn(f"{name} is {max(values):.6g}, more than {limit:g}.")
            exceeded = True
    return exceeded
