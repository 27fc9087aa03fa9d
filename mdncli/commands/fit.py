"""`mdn fit`."""

import json
import math
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mdncli.commands.console import error_console, say, warn
from mdncli.commands.options import Quiet, named_columns, widths
from mdncli.commands.progress import stop_on_interrupt, watch
from mdncli.commands.streams import STANDARD, open_table, spare_inputs, writing
from mdncli.errors import UsageError
from mdncli.files import require_writable
from mdncli.settings import Activation, Covariance, Device, Settings
from mdncli.words import listed

if TYPE_CHECKING:
    from mdncli.density.model import ConditionalDensity
    from mdncli.density.network import Array
    from mdncli.tables.schema import Schema

_DEFAULTS = Settings()
_FEW_ROWS = 50
_COLUMNS, _NETWORK, _LEARNING, _RESULT = "Columns", "Network", "Learning", "Result"
_EXIT_STATUS = {"faults": 1, "interrupted": 130}


def fit(
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="A CSV with a header; - for standard input.")
    ],
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target",
            "-t",
            metavar="COL,…",
            help="What to predict. By default the last column.",
            rich_help_panel=_COLUMNS,
        ),
    ] = None,
    feature: Annotated[
        list[str] | None,
        typer.Option(
            "--feature",
            "-x",
            metavar="COL,…",
            help="What to predict from. By default all others.",
            rich_help_panel=_COLUMNS,
        ),
    ] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option(metavar="COL,…", help="Columns to leave out.", rich_help_panel=_COLUMNS),
    ] = None,
    mixtures: Annotated[
        int, typer.Option("--mixtures", "-k", help="Components K.", rich_help_panel=_NETWORK)
    ] = _DEFAULTS.mixtures,
    hidden: Annotated[
        str, typer.Option(help="Widths of the hidden layers.", rich_help_panel=_NETWORK)
    ] = ",".join(map(str, _DEFAULTS.hidden)),
    activation: Annotated[
        Activation, typer.Option(help="After each hidden layer.", rich_help_panel=_NETWORK)
    ] = _DEFAULTS.activation,
    frequencies: Annotated[
        int,
        typer.Option(
            help="Sines and cosines of each feature beside it, for curves of many turns.",
            rich_help_panel=_NETWORK,
        ),
    ] = _DEFAULTS.frequencies,
    covariance: Annotated[
        Covariance,
        typer.Option(
            help="With several targets: a σ each, or one for all in standard deviations of each.",
            rich_help_panel=_NETWORK,
        ),
    ] = _DEFAULTS.covariance,
    valid: Annotated[
        float,
        typer.Option(help="Share of rows held out for early stopping.", rich_help_panel=_LEARNING),
    ] = _DEFAULTS.valid,
    epochs: Annotated[
        int | None,
        typer.Option(
            help="Passes over the rows. By default as many as make 500 steps, or 6 √rows if more.",
            rich_help_panel=_LEARNING,
        ),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            help="Stop after so many epochs without a better validation NLL. By default a third "
            "of the epochs.",
            rich_help_panel=_LEARNING,
        ),
    ] = None,
    batch_size: Annotated[
        int, typer.Option(help="Rows a step.", rich_help_panel=_LEARNING)
    ] = _DEFAULTS.batch_size,
    lr: Annotated[
        float, typer.Option(help="The learning rate's peak.", rich_help_panel=_LEARNING)
    ] = _DEFAULTS.lr,
    weight_decay: Annotated[
        float | None,
        typer.Option(
            help="Decoupled weight decay. By default 300/rows, at most 0.2.",
            rich_help_panel=_LEARNING,
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            help="Of the split, the first weights and the order of rows.", rich_help_panel=_LEARNING
        ),
    ] = _DEFAULTS.seed,
    threads: Annotated[
        int, typer.Option(help="Processor threads.", rich_help_panel=_LEARNING)
    ] = _DEFAULTS.threads,
    device: Annotated[
        Device,
        typer.Option(help="auto: CUDA where there is one.", rich_help_panel=_LEARNING),
    ] = _DEFAULTS.device,
    baseline: Annotated[
        bool,
        typer.Option(
            "--baseline",
            help="Also fit the same trunk by least squares, to compare with.",
            rich_help_panel=_LEARNING,
        ),
    ] = False,
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The model file; - for standard output.",
            rich_help_panel=_RESULT,
        ),
    ] = "model.pt",
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print the result as JSON.", rich_help_panel=_RESULT),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Learn p(y | x) from a table and write it to a model file.

    NLLs are means of -log p(y | x) in nats a row, in the units of the file: smaller is better, and
    a negative one only says that the density exceeds 1.

    Example: mdn fit data.csv --mixtures 5

    Example: mdn fit table.csv -t price --ignore id -o price.pt
    """
    if output == STANDARD and as_json:
        raise UsageError("-o - and --json both want standard output. Write one of them to a file.")
    settings = Settings(
        mixtures=mixtures,
        hidden=widths(hidden),
        activation=activation,
        frequencies=frequencies,
        covariance=covariance,
        valid=valid,
        epochs=epochs,
        patience=patience,
        batch_size=batch_size,
        lr=lr,
        weight_decay=weight_decay,
        seed=seed,
        threads=threads,
        device=device,
        baseline=baseline,
    )
    columns = {"-t": target, "-x": feature, "--ignore": ignore}
    result = run(data, columns, settings, output, quiet=quiet)
    if as_json:
        with writing(STANDARD) as stream:
            stream.write(json.dumps(result, allow_nan=False).encode() + b"\n")
    raise typer.Exit(_EXIT_STATUS.get(result["stopped"], 0))


def run(
    data: str,
    columns: dict[str, list[str] | None],
    settings: Settings,
    output: str,
    *,
    quiet: bool,
) -> dict[str, Any]:
    """Read a table, learn its density, write the model file, and return what `--json` prints."""
    started = perf_counter()
    spare_inputs(output, data)
    if output != STANDARD:
        require_writable(output)
    x, y, schema = _read(data, columns, quiet=quiet)
    read = perf_counter() - started

    from mdncli import checkpoint
    from mdncli.learning.training import fit as learn

    with stop_on_interrupt() as stop:
        density, seconds = watch(learn(x, y, schema, settings, stop=stop), quiet=quiet)
    with writing(output) as stream:
        checkpoint.save(density, stream)
    total = perf_counter() - started
    if not quiet:
        _tell(density, seconds, output)
    if density.record.stopped == "faults":
        warn("learning met NaN or inf three times; the best model before that was written.")
    elif density.record.faults:
        warn("an epoch met NaN or inf; it was undone and learning went on at a lower rate.")
    return {
        "model": output,
        "features": schema.feature_names,
        "target": schema.target_names,
        "rows": density.record.rows,
        "members": 1,
        "mixtures": settings.mixtures,
        "nll_train": _number(density.record.nll_train),
        "nll_valid": _number(density.record.nll_valid),
        "epochs": density.record.epochs,
        "stopped": density.record.stopped,
        "seconds": {"read": read, "train": seconds, "total": total},
    }


def _read(
    data: str, columns: dict[str, list[str] | None], *, quiet: bool
) -> tuple["Array", "Array", "Schema"]:
    """Return the rows to learn from, x (N, F) and y (N, T), and their schema."""
    from mdncli.tables.schema import choose_roles, learnable

    table = open_table(data)
    targets, features, ignore = (named_columns(texts, table.names) for texts in columns.values())
    roles = choose_roles(table, targets=targets, features=features, ignore=ignore)
    x = table.numbers(roles.features, remedy=", or leave the column out with --ignore {}")
    y = table.numbers(roles.targets)
    schema, kept = learnable(table.source, x, y, roles)
    dropped = [name for name in roles.features if name not in schema.feature_names]
    if dropped:
        warn(f"left out, since constant: {listed(dropped)}.")
    if not quiet:
        say(f"target: {listed(schema.target_names)}; features: {listed(schema.feature_names)}.")
    if len(y) < _FEW_ROWS:
        warn(f"with {len(y)} rows the validation NLL is unreliable.")
    return x[:, kept], y, schema


def _tell(density: "ConditionalDensity", seconds: float, output: str) -> None:
    """Write the small table at the end."""
    from rich.table import Table

    record = density.record
    valid = "none held out" if math.isnan(record.nll_valid) else f"{record.nll_valid:.4f}"
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in (
        ("rows", f"{record.rows}, {record.rows_valid} of them held out"),
        ("target", listed(density.schema.target_names)),
        ("features", listed(density.schema.feature_names)),
        ("NLL, training", f"{record.nll_train:.4f} nats a row"),
        ("NLL, validation", valid),
        ("stopped", f"{_WHY[record.stopped]}; best epoch {record.best_epoch} of {record.epochs}"),
        ("learning", f"{seconds:.2f} s"),
        ("model", "standard output" if output == STANDARD else output),
    ):
        table.add_row(name, value)
    error_console().print(table)
    if min(record.nll_train, record.nll_valid) < 0.0:
        say("A negative NLL is no mistake: the density exceeds 1 where y is known to within less.")


_WHY = {
    "epochs": "all epochs done",
    "patience": "validation NLL no longer falls",
    "interrupted": "interrupted",
    "faults": "NaN or inf",
}


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
