"""`mdn fit`."""

import math
import os
from typing import Annotated, Any

import typer

from mdncli.commands.console import STANDARD, check_paths, require_output, warn, write_json
from mdncli.commands.options import Quiet, option, with_parameters_of
from mdncli.errors import MissingInputError, ParameterError
from mdncli.settings import FitOptions, Settings
from mdncli.tables.dialect import Dialect


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
    checkpoint_every: Annotated[
        float,
        option(
            "Keep the state of learning in FILE.checkpoint, beside the model, after so many "
            "seconds, by default 60, and again and again; 0 keeps none. It is removed once the "
            "model is written.",
            "--checkpoint-every",
            panel="Result",
            metavar="SECONDS",
        ),
    ] = 60.0,
    resume: Annotated[
        bool,
        option(
            "Go on from FILE.checkpoint, with the table and the options of the fit that was "
            "interrupted. The model is the same as without a break.",
            "--resume",
            panel="Result",
        ),
    ] = False,
    spool: Annotated[
        str | None,
        option(
            "A folder for the rows while learning goes on, so that they need not be in memory. By "
            "default only the rows of large files are kept so, in the system's temporary folder.",
            "--spool",
            panel="Result",
            metavar="DIR",
        ),
    ] = None,
    quiet: Quiet = False,
    *,
    parameters: dict[str, Any],
) -> None:
    """Learn p(y | x) from a table and write it to a model file.

    DATA may be a folder or a quoted pattern such as 'part-*.csv': all files are one table.

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

    checkpoint = _checkpoint(output, checkpoint_every, resume=resume)

    from mdncli.commands.report import fit_and_report

    rows = {"spool": spool, "distributed": "TORCHELASTIC_RUN_ID" in os.environ}
    first = os.environ.get("RANK", "0") == "0" or not rows["distributed"]
    result, status = fit_and_report(
        data,
        parameters,
        output if first else None,
        {**checkpoint, **rows},
        quiet=quiet or not first,
    )
    if as_json and first:
        write_json(result)
    raise typer.Exit(status)


def _checkpoint(output: str, every: float, *, resume: bool) -> dict[str, Any]:
    """Return what `mdncli.fit` should know of the checkpoint beside the model; empty for none.

    Raises:
        ParameterError: the options make no sense.
        MissingInputError: there is no checkpoint to go on from.
    """
    if not every >= 0.0:
        raise ParameterError("--checkpoint-every must be at least 0.")
    if output == STANDARD:
        if resume:
            raise ParameterError("--resume needs the -o FILE of the fit that was interrupted.")
        return {}
    path = f"{output}.checkpoint"
    there = os.path.exists(path)
    if resume and not there:
        raise MissingInputError(
            f"{path}: there is no such file. The fit ended, or was too short to keep its state. "
            "Leave out --resume."
        )
    if there and not resume:
        warn(f"{path} is from a fit that did not end. With --resume it goes on.")
    return {"checkpoint": path, "checkpoint_every": every or math.inf, "resume": resume}
