"""`mdn predict`."""

from typing import Annotated, Any

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
    bytes_of,
    option,
    with_parameters_of,
)
from mdncli.tables.dialect import Dialect

_VALUES, _INTERVALS, _AT = "Values", "Intervals", "Densities and probabilities"


@with_parameters_of(Dialect)
def predict(
    model: Model,
    rows: Annotated[
        str,
        typer.Argument(
            metavar="ROWS", help="A table with the model's features; - for standard input."
        ),
    ],
    mean: Annotated[bool, option("The mean: y_mean.", "--mean", panel=_VALUES)] = False,
    std: Annotated[bool, option("The standard deviation: y_std.", "--std", panel=_VALUES)] = False,
    median: Annotated[bool, option("The median: y_median.", "--median", panel=_VALUES)] = False,
    mode: Annotated[
        bool,
        option(
            "The value with the highest density: y_mode. With several targets it is their joint "
            "mode, found by a search from the mean of every component and the midpoint of every "
            "two.",
            "--mode",
            panel=_VALUES,
        ),
    ] = False,
    component_mean: Annotated[
        bool,
        option(
            "The mean of the most probable component: y_component_mean. With bounds it is that "
            "component's median.",
            "--component-mean",
            panel=_VALUES,
        ),
    ] = False,
    parameters_of_mixture: Annotated[
        bool,
        option(
            "π, μ and σ of every component: pi1 y_mu1 y_sigma1 … For a target with bounds they "
            "describe the mixture of the transformed target.",
            "--parameters",
            panel=_VALUES,
        ),
    ] = False,
    correlation: Annotated[
        bool,
        option(
            "The correlation of every two targets: u_v_correlation.",
            "--correlation",
            panel=_VALUES,
        ),
    ] = False,
    quantiles: Annotated[
        list[str] | None,
        option("Quantiles, such as 0.05,0.5,0.95: y_q05 …", panel=_INTERVALS, metavar="P,…"),
    ] = None,
    interval: Annotated[
        list[str] | None,
        option("Central intervals, such as 0.9: y_lo90 y_hi90.", panel=_INTERVALS, metavar="P,…"),
    ] = None,
    hdr: Annotated[
        list[str] | None,
        option(
            "Highest-density regions: y_hdr90_lo1 y_hdr90_hi1 … There is a pair of columns for "
            "each component and each atom, at most 8. Pairs that a row does not use are empty.",
            panel=_INTERVALS,
            metavar="P,…",
        ),
    ] = None,
    density: Annotated[
        bool,
        option(
            "The density at the row's own target: y_density. With several targets it is the joint "
            "density.",
            "--density",
            panel=_AT,
        ),
    ] = False,
    probability: Annotated[
        bool,
        option(
            "The probability of the row's own value: y_probability. For a rounded target, or one "
            "with atoms.",
            "--probability",
            panel=_AT,
        ),
    ] = False,
    cdf: Annotated[bool, option("P(y ≤ the row's own target): y_cdf.", "--cdf", panel=_AT)] = False,
    at_target: Annotated[
        list[str] | None,
        option(
            "Evaluate --density, --probability and --cdf at this value instead; u=1,v=2 for "
            "several targets.",
            panel=_AT,
            metavar="V",
            columns=True,
        ),
    ] = None,
    exceed: Annotated[
        list[str] | None,
        option(
            "P(y > V): y_exceed; u=1,v=2 for several targets.",
            panel=_AT,
            metavar="V",
            columns=True,
        ),
    ] = None,
    survival: Annotated[
        list[str] | None,
        option("P(y > T) at several times: y_survival10 …", panel=_AT, metavar="T,…"),
    ] = None,
    marginal: Annotated[
        bool,
        option("With several targets, the density of each.", "--marginal", panel=_AT),
    ] = False,
    log: Annotated[
        bool,
        option(
            "The logarithm of densities and probabilities: y_log_… A cell is empty if the "
            "probability is 0.",
            "--log",
            panel=_AT,
        ),
    ] = False,
    given: Given = None,
    flag_extrapolation: Annotated[
        bool,
        option(
            "Add the column extrapolates: 1 where a feature is outside its training range by more "
            "than a tenth of that range.",
            "--flag-extrapolation",
        ),
    ] = False,
    only: Annotated[
        bool, option("Write only the answers, without the columns of the input.", "--only")
    ] = False,
    output: Output = None,
    max_model_size: MaxModelSize = DEFAULT_SIZE,
    quiet: Quiet = False,
    *,
    parameters: dict[str, Any],
) -> None:
    """Answer questions about y for every row of a table: one row out for each row in.

    Without a question the answers are --mean --interval 0.9. Means, quantiles, regions and cdfs are
    of each target on its own. With --given, all answers are about the other targets.

    Example: mdn predict model.pt rows.csv --quantiles 0.05,0.5,0.95 > answers.csv
    """
    limit = bytes_of(max_model_size)
    check_paths(output, {"MODEL": model, "ROWS": rows})
    require_output(output)

    from mdncli.conditional_density import PredictRequest, load

    request = PredictRequest.of(
        mean=mean,
        std=std,
        median=median,
        mode=mode,
        component_mean=component_mean,
        parameters=parameters_of_mixture,
        correlation=correlation,
        quantiles=quantiles,
        interval=interval,
        hdr=hdr,
        density=density,
        probability=probability,
        cdf=cdf,
        at_target=at_target,
        exceed=exceed,
        survival=survival,
        marginal=marginal,
        log=log,
        given=given,
        flag_extrapolation=flag_extrapolation,
        only=only,
        **parameters,
    )
    answers = load(model_source(model, limit), max_size=limit).predictions(source(rows), request)
    with writing(output) as stream, counting_rows(quiet=quiet) as counted:
        answers.write(stream, output, otherwise=parameters.get("format"), watch=counted)
    say_written(output, quiet=quiet)
