"""`mdn fit`."""

from typing import Annotated, Any

import typer

from mdncli.commands.console import STANDARD, check_paths, require_output, write_json
from mdncli.commands.options import Quiet, option, with_parameters_of
from mdncli.errors import ParameterError
from mdncli.settings import FitOptions, Settings
from mdncli.tables.dialect import Dialect

_EXIT_STATUS = {"faults": 1, "interrupted": 130}


@with_parameters_of(FitOptions, Settings, Dialect)
def fit(
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="A table with a header; - for standard input.")
    ],
    output: Annotated[
        str,
        option(
            "The model file, by default model.pt; - for standard output.",
            *("--output", "-o"),
            panel="Result",
            metavar="FILE",
        ),
    ] = "model.pt",
    as_json: Annotated[bool, option("Print the result as JSON.", "--json", panel="Result")] = False,
    quiet: Quiet = False,
    *,
    parameters: dict[str, Any],
) -> None:
    """Learn p(y | x) from a table and write it to a model file.

    NLL is the mean of -log p(y | x), in nats per row and in the units of the file. Smaller is
    better. It is negative where the density exceeds 1.

    Example: mdn fit data.csv --mixtures 5

    Example: mdn fit table.csv -t price --ignore id --preset best -o price.pt
    """
    if output == STANDARD and as_json:
        raise ParameterError(
            "-o - and --json both use standard output. Write one of them to a file."
        )
    FitOptions(**{k: v for k, v in parameters.items() if k in FitOptions.__dataclass_fields__})
    check_paths(output, {"DATA": data, "--valid-file": parameters.get("valid_file")})
    require_output(output)
    if as_json:
        require_output(STANDARD)

    from mdncli.commands.report import fit_and_report

    result = fit_and_report(data, parameters, output, quiet=quiet)
    if as_json:
        write_json(result)
    raise typer.Exit(_EXIT_STATUS.get(result["stopped"], 0))
