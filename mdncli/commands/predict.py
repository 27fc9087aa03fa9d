"""`mdn predict`."""

from dataclasses import replace
from typing import Annotated, Any

import typer

from mdncli.commands.answers import Answers, read_asked
from mdncli.commands.console import (
    only_one_from_standard_input,
    open_model,
    open_table,
    say_written,
    spare_inputs,
)
from mdncli.commands.given import GivenTargets, conditions
from mdncli.commands.options import Model, Output, Quiet, numbers_of_targets, probabilities
from mdncli.commands.reading import OnBadRows, reads_tables, recalling
from mdncli.tables.dialect import Dialect

_POINT, _SPREAD, _AT = "Values", "Intervals", "Densities and probabilities"


def _option(panel: str, text: str, *names: str, metavar: str | None = None) -> Any:
    return typer.Option(
        *names, help=text, metavar=metavar, rich_help_panel=panel, show_default=False
    )


@reads_tables
def predict(
    model: Model,
    rows: Annotated[
        str,
        typer.Argument(
            metavar="ROWS", help="A table with the model's features; - for standard input."
        ),
    ],
    mean: Annotated[bool, _option(_POINT, "The mean: y_mean.", "--mean")] = False,
    std: Annotated[bool, _option(_POINT, "The standard deviation: y_std.", "--std")] = False,
    median: Annotated[bool, _option(_POINT, "The median: y_median.", "--median")] = False,
    mode: Annotated[
        bool,
        _option(
            _POINT,
            "Where the density is highest: y_mode. With several targets the joint point, by a "
            "search from every component's mean and the midpoints of two.",
            "--mode",
        ),
    ] = False,
    component_mean: Annotated[
        bool,
        _option(
            _POINT,
            "The mean of the most probable component, mapped where there are bounds: "
            "y_component_mean.",
            "--component-mean",
        ),
    ] = False,
    parameters: Annotated[
        bool,
        _option(
            _POINT,
            "π, μ and σ of every component: pi1 y_mu1 y_sigma1 …; with --lower or --upper in fit, "
            "those of the mixture underneath, on the scale of the map.",
            "--parameters",
        ),
    ] = False,
    correlation: Annotated[
        bool,
        _option(_SPREAD, "The correlation of every two targets: u_v_correlation.", "--correlation"),
    ] = False,
    quantiles: Annotated[
        list[str] | None,
        _option(_SPREAD, "Quantiles, such as 0.05,0.5,0.95: y_q05 …", metavar="P,…"),
    ] = None,
    interval: Annotated[
        list[str] | None,
        _option(_SPREAD, "Central intervals, such as 0.9: y_lo90 y_hi90.", metavar="P,…"),
    ] = None,
    hdr: Annotated[
        list[str] | None,
        _option(
            _SPREAD,
            "Highest-density regions: y_hdr90_lo1 y_hdr90_hi1 …, as many pairs as there are "
            "components, at most 8; what a row does not use is empty.",
            metavar="P,…",
        ),
    ] = None,
    density: Annotated[
        bool,
        _option(
            _AT,
            "The density at the row's own target: y_density; with several targets the joint one.",
            "--density",
        ),
    ] = False,
    cdf: Annotated[bool, _option(_AT, "P(y ≤ the row's own target): y_cdf.", "--cdf")] = False,
    at_target: Annotated[
        list[str] | None,
        _option(
            _AT, "Ask --density and --cdf at this value instead; u=1,v=2 for several.", metavar="V"
        ),
    ] = None,
    exceed: Annotated[
        list[str] | None,
        _option(_AT, "P(y > V): y_exceed; u=1,v=2 for several targets.", metavar="V"),
    ] = None,
    marginal: Annotated[
        bool, _option(_AT, "With several targets the density of each.", "--marginal")
    ] = False,
    log: Annotated[
        bool,
        _option(
            _AT,
            "The logarithm of densities and probabilities: y_log_…; empty where one is 0.",
            "--log",
        ),
    ] = False,
    given: GivenTargets = None,
    flag_extrapolation: Annotated[
        bool,
        typer.Option(
            "--flag-extrapolation",
            help="Add the column extrapolates: 1 where a feature is outside its training range by "
            "more than a tenth of that.",
        ),
    ] = False,
    only: Annotated[
        bool, typer.Option("--only", help="Write the answers alone, without the input's columns.")
    ] = False,
    output: Output = None,
    quiet: Quiet = False,
    *,
    dialect: Dialect,
    on_bad_rows: OnBadRows,
) -> None:
    """Answer questions about y for every row of a table: one row out for each row in.

    Without a question it is --mean --interval 0.9. Means, quantiles, regions and cdfs are of each
    target on its own. With --given all of it is about the other targets, given the values of these.

    Example: mdn predict model.pt rows.csv --quantiles 0.05,0.5,0.95 > answers.csv
    """
    from mdncli.density.answers import Questions

    only_one_from_standard_input(MODEL=model, ROWS=rows)
    spare_inputs(output, model, rows)
    levels = {
        "quantiles": probabilities("--quantiles", quantiles),
        "intervals": probabilities("--interval", interval),
        "regions": probabilities("--hdr", hdr),
    }
    # Of which targets the model will say; what does not go together shows before it is opened.
    anything = {"": 0.0}
    questions = Questions(
        mean=mean,
        std=std,
        median=median,
        mode=mode,
        component_mean=component_mean,
        correlation=correlation,
        density=density,
        marginal=marginal,
        cdf=cdf,
        exceed=anything if exceed else {},
        at=anything if at_target else {},
        log=log,
        parameters=parameters,
        **levels,
    )
    density_model = open_model(model)
    known = conditions(given, density_model.schema.target_names)
    targets = known.left
    questions = replace(
        questions,
        exceed=numbers_of_targets("--exceed", exceed, targets),
        at=numbers_of_targets("--at-target", at_target, targets),
    )
    if questions == Questions():
        questions = Questions(mean=True, intervals=(0.9,))
    skip = on_bad_rows == "skip"
    with recalling(density_model.origin.command, dialect):
        table = open_table(rows, dialect, skip_bad_rows=skip)
        asked = read_asked(density_model, questions, known, table, skip=skip)
    answers = Answers(density_model, questions, known, asked, only=only, flag=flag_extrapolation)
    answers.write(output)
    answers.warn()
    say_written(output, quiet=quiet)
