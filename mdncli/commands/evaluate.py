"""`mdn evaluate`."""

import math
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mdncli.commands.console import (
    STANDARD,
    TextTable,
    check_paths,
    counting_rows,
    model_source,
    require_output,
    say,
    say_written,
    source,
    warn,
    write_answer,
    write_json,
    writing,
)
from mdncli.commands.options import (
    DEFAULT_SIZE,
    MaxModelSize,
    Model,
    Quiet,
    bytes_of,
    with_parameters_of,
)
from mdncli.errors import ParameterError
from mdncli.tables.dialect import Dialect
from mdncli.text import listed, quoted

if TYPE_CHECKING:
    from mdncli.conditional_density import ConditionalDensity
    from mdncli.density.evaluation import Evaluation

SCORES = ("nll", "crps", "rmse", "pit_ks")


@with_parameters_of(Dialect)
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
            help="Exit with 1 if a score (nll, crps, rmse, pit_ks) is greater, such as nll=1.5. "
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
            help="Output file of --per-row; by default standard output.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON.")] = False,
    max_model_size: MaxModelSize = DEFAULT_SIZE,
    quiet: Quiet = False,
    *,
    parameters: dict[str, Any],
) -> None:
    """Score a fitted density on rows whose targets are known.

    NLL (in nats per row), CRPS and RMSE (in the units of the target): smaller is better. The
    improvement over the marginal reference is how much lower the NLL is than that of a mixture that
    ignores x. The PIT is uniform if the densities are right. Where a target is at a bound of the
    model or beyond it, there is no NLL: null in JSON, an empty cell with --per-row. Where only a
    limit of the target is known (--event, --censor-below and --censor-above of mdn fit), the NLL is
    that of all values beyond the limit, and there is no CRPS and no error.

    Example: mdn evaluate model.pt test.csv

    Example: mdn evaluate model.pt test.csv --json --fail-over nll=1.5
    """
    limits = _limits(fail_over)
    limit = bytes_of(max_model_size)
    check_paths(output, {"MODEL": model, "DATA": data})
    to_standard = output in (None, STANDARD)
    if output is not None and not per_row:
        raise ParameterError("-o is the output file of --per-row. Add --per-row, or remove -o.")
    if per_row and as_json and to_standard:
        raise ParameterError("--per-row and --json both use standard output. Add -o FILE.")
    if per_row:
        require_output(output)
    if as_json:
        require_output(STANDARD)

    from mdncli.conditional_density import load

    density = load(model_source(model, limit), max_size=limit)
    rows = density.evaluate_rows(source(data), **parameters)
    if per_row:
        with writing(output) as stream, counting_rows(quiet=quiet) as counted:
            rows.write(stream, output, otherwise=parameters.get("format"), watch=counted)
        say_written(output, quiet=quiet)
    with counting_rows(quiet=quiet) as counted:
        evaluation = rows.evaluation(watch=counted)
    if as_json:
        write_json(evaluation.to_plain())
    elif not quiet and not (per_row and to_standard):
        write_answer(_table(evaluation))
    if not quiet:
        _say_of_steps(density)
    _warn(evaluation)
    raise typer.Exit(1 if _exceeded(evaluation, limits) else 0)


def _limits(texts: list[str] | None) -> dict[str, float]:
    """Return the greatest value allowed of each score in texts such as `nll=1.5`."""
    limits: dict[str, float] = {}
    for text in texts or []:
        name, equals, number = (part.strip() for part in text.partition("="))
        if not equals or name not in SCORES:
            raise ParameterError(
                f"--fail-over {quoted(text)}: write it as SCORE=MOST, where SCORE is one of "
                f"{', '.join(SCORES)}."
            )
        if name in limits:
            raise ParameterError(f"--fail-over names {name} twice.")
        try:
            limits[name] = float(number)
        except ValueError:
            limits[name] = math.nan
        if not math.isfinite(limits[name]):
            raise ParameterError(f"--fail-over {quoted(text)}: {number} is not a finite number.")
    return limits


def _table(evaluation: "Evaluation") -> TextTable:
    """Return the scores, with a column for each target."""
    nll = "none" if evaluation.rows_beyond_bounds else f"{evaluation.nll:.4f}"
    rows = [["rows", str(evaluation.rows)], ["NLL (nats per row)", nll]]
    if evaluation.rows_censored:
        rows.insert(1, ["   with only a limit of the target", str(evaluation.rows_censored)])
    improvements = {
        "the marginal reference": evaluation.improvement_marginal,
        "least squares": evaluation.improvement_baseline,
    }
    for name, improvement in improvements.items():
        if not math.isnan(improvement):
            rows.append([f"improvement over {name} (nats)", f"{improvement:.4f}"])
    rows.append(["CRPS", *(f"{value:.4g}" for value in evaluation.crps)])
    rows.append(["RMSE of the mean", *(f"{value:.4g}" for value in evaluation.rmse)])
    for level, covered in evaluation.coverage.items():
        rows.append([f"{level:.0%} intervals cover", *(f"{value:.1%}" for value in covered)])
        widths = evaluation.width[level]
        rows.append(["   mean width", *(f"{value:.4g}" for value in widths)])
    rows.append(["PIT, distance from uniform", *(f"{value:.4f}" for value in evaluation.pit_ks)])
    rows.append(["   p-value", *(f"{value:.3g}" for value in evaluation.pit_ks_p)])
    columns = ["", *map(quoted, evaluation.targets)] if len(evaluation.targets) > 1 else []
    return TextTable(rows, columns, left=1)


def _say_of_steps(density: "ConditionalDensity") -> None:
    stepped = [target.name for target in density.schema.targets if target.step is not None]
    if stepped:
        say(
            f"Recorded in steps: {listed(stepped)}. The PIT is therefore drawn at random within "
            "each step (with a fixed seed). Without that, not even the true density has a uniform "
            "PIT."
        )


def _warn(evaluation: "Evaluation") -> None:
    if evaluation.rows_beyond_bounds:
        warn(
            f"in {evaluation.rows_beyond_bounds} of {evaluation.rows} rows the target is at a "
            "bound of the model or beyond it, where the density is 0: there is no NLL."
        )
    if evaluation.nll < evaluation.resolution:
        warn(
            f"the NLL of {evaluation.nll:.4f} is lower than the steps of the target support, "
            f"{evaluation.resolution:.4f}."
        )


def _exceeded(evaluation: "Evaluation", limits: dict[str, float]) -> bool:
    """Say which scores are greater than allowed; return whether any is."""
    exceeded = False
    for name, limit in limits.items():
        scores = [evaluation.nll] if name == "nll" else [*map(float, getattr(evaluation, name))]
        if not max(scores) <= limit:
            warn(f"{name} is {max(scores):.6g}, more than {limit:g}.")
            exceeded = True
    return exceeded
