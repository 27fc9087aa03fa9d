"""`mdn fit`."""

from typing import Annotated, Any

import typer

from mdncli.commands.learn import Request, run
from mdncli.commands.options import Quiet, components, noise, widths
from mdncli.commands.streams import STANDARD, write_json
from mdncli.errors import UsageError
from mdncli.settings import Activation, Covariance, Device, Preset, Settings

_DEFAULTS = Settings()
_COLUMNS, _NETWORK, _LEARNING, _RESULT = "Columns", "Network", "Learning", "Result"
_EXIT_STATUS = {"faults": 1, "interrupted": 130}


def _option(
    panel: str, text: str, default: object = None, *names: str, metavar: str | None = None
) -> Any:
    """Return an option of a panel, its default told in its help: a preset may have another."""
    ending = "" if default is None else f" By default {default}."
    return typer.Option(
        *names, help=text + ending, metavar=metavar, rich_help_panel=panel, show_default=False
    )


def fit(
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="A CSV with a header; - for standard input.")
    ],
    target: Annotated[
        list[str] | None,
        _option(
            _COLUMNS,
            "What to predict. By default the last column.",
            None,
            "--target",
            "-t",
            metavar="COL,…",
        ),
    ] = None,
    feature: Annotated[
        list[str] | None,
        _option(
            _COLUMNS,
            "What to predict from. By default all others.",
            None,
            "--feature",
            "-x",
            metavar="COL,…",
        ),
    ] = None,
    ignore: Annotated[
        list[str] | None, _option(_COLUMNS, "Columns to leave out.", metavar="COL,…")
    ] = None,
    group: Annotated[
        str | None,
        _option(
            _COLUMNS,
            "Rows alike in this column are never split between learning and holding out; it is no "
            "feature.",
            metavar="COL",
        ),
    ] = None,
    valid_file: Annotated[
        str | None,
        _option(
            _COLUMNS,
            "Rows of your own to hold out for early stopping: a CSV like DATA.",
            metavar="FILE",
        ),
    ] = None,
    min_sigma: Annotated[
        list[str] | None,
        _option(
            _COLUMNS,
            "The smallest σ, in the target's units; a=0.1,b=2 for several. By default step/√(2π) "
            "for a target recorded in steps, else 1e-4 of its standard deviation.",
            metavar="SIGMA",
        ),
    ] = None,
    preset: Annotated[
        Preset,
        _option(
            _NETWORK,
            "A whole recipe; options given by hand override it. On real tables fast takes half "
            "the time of default, for an NLL up to 0.5 nats higher; best, 20 networks of 6 "
            "components, takes 8 to 22 times as long, for one 0.1 to 0.6 nats lower.",
        ),
    ] = "default",
    members: Annotated[
        int | None,
        _option(
            _NETWORK,
            "Networks learned at once and averaged; each of several holds out 1/max(M, 5) of the "
            "rows.",
            _DEFAULTS.members,
            metavar="M",
        ),
    ] = None,
    mixtures: Annotated[
        str | None,
        _option(
            _NETWORK,
            "Components K of each member; auto: as few as rows held out call for, found in about "
            "4.5 times the steps of one fit at most.",
            _DEFAULTS.mixtures,
            "--mixtures",
            "-k",
            metavar="K",
        ),
    ] = None,
    hidden: Annotated[
        str | None,
        _option(
            _NETWORK,
            "Widths of the hidden layers.",
            ",".join(map(str, _DEFAULTS.hidden)),
            metavar="W,…",
        ),
    ] = None,
    activation: Annotated[
        Activation | None, _option(_NETWORK, "After each hidden layer.", _DEFAULTS.activation)
    ] = None,
    frequencies: Annotated[
        int | None,
        _option(
            _NETWORK,
            "Sines and cosines of each feature beside it, for curves of many turns.",
            _DEFAULTS.frequencies,
            metavar="Q",
        ),
    ] = None,
    covariance: Annotated[
        Covariance | None,
        _option(
            _NETWORK,
            "With several targets: a σ each, or one for all in standard deviations of each.",
            _DEFAULTS.covariance,
        ),
    ] = None,
    valid: Annotated[
        float | None,
        _option(
            _LEARNING,
            "Share of rows held out for early stopping by a single member.",
            _DEFAULTS.valid,
            metavar="SHARE",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        _option(
            _LEARNING,
            "Steps of learning on up to 5000 rows; on more, √(rows/5000) times as many.",
            _DEFAULTS.steps,
            metavar="N",
        ),
    ] = None,
    epochs: Annotated[
        int | None, _option(_LEARNING, "Passes over the rows, instead of steps.", metavar="N")
    ] = None,
    patience: Annotated[
        int | None,
        _option(
            _LEARNING,
            "Stop after so many epochs without a better validation NLL. By default a third of all.",
            metavar="N",
        ),
    ] = None,
    batch_size: Annotated[
        int | None, _option(_LEARNING, "Rows a step.", _DEFAULTS.batch_size, metavar="N")
    ] = None,
    lr: Annotated[
        float | None, _option(_LEARNING, "The learning rate's peak.", _DEFAULTS.lr, metavar="RATE")
    ] = None,
    weight_decay: Annotated[
        float | None,
        _option(
            _LEARNING,
            "Decoupled weight decay. Between 0 and 0.2 it hardly matters.",
            _DEFAULTS.weight_decay,
            metavar="DECAY",
        ),
    ] = None,
    dropout: Annotated[
        float | None,
        _option(
            _LEARNING,
            "The chance that a hidden unit is left out of a step. It pays for one member; where σ "
            "must become small, and for ensembles, it does not.",
            _DEFAULTS.dropout,
            metavar="P",
        ),
    ] = None,
    noise_x: Annotated[
        str | None,
        _option(
            _LEARNING,
            "Fresh noise on the standardized features at every step; auto: 0.1 rows^(-1/(4 + "
            "columns)). It broadens the density; it paid on no table tried.",
            _DEFAULTS.noise_x,
            metavar="STD",
        ),
    ] = None,
    noise_y: Annotated[
        str | None,
        _option(
            _LEARNING, "Likewise on the standardized targets.", _DEFAULTS.noise_y, metavar="STD"
        ),
    ] = None,
    time_limit: Annotated[
        float | None,
        _option(
            _LEARNING,
            "End with the best model so far after so many seconds of learning.",
            metavar="SECONDS",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        _option(
            _LEARNING, "Of the split, the first weights and the order of rows.", _DEFAULTS.seed
        ),
    ] = None,
    threads: Annotated[
        int | None, _option(_LEARNING, "Processor threads.", _DEFAULTS.threads)
    ] = None,
    device: Annotated[
        Device | None, _option(_LEARNING, "auto: CUDA where there is one.", _DEFAULTS.device)
    ] = None,
    baseline: Annotated[
        bool,
        _option(
            _LEARNING,
            "Also fit the same trunk by least squares, to compare with.",
            None,
            "--baseline",
        ),
    ] = False,
    output: Annotated[
        str,
        _option(
            _RESULT,
            "The model file, by default model.pt; - for standard output.",
            None,
            "--output",
            "-o",
            metavar="FILE",
        ),
    ] = "model.pt",
    as_json: Annotated[bool, _option(_RESULT, "Print the result as JSON.", None, "--json")] = False,
    quiet: Quiet = False,
) -> None:
    """Learn p(y | x) from a table and write it to a model file.

    NLLs are means of -log p(y | x) in nats a row, in the units of the file: smaller is better, and
    a negative one only says that the density exceeds 1.

    Example: mdn fit data.csv --mixtures 5

    Example: mdn fit table.csv -t price --ignore id --preset best -o price.pt
    """
    if output == STANDARD and as_json:
        raise UsageError("-o - and --json both want standard output. Write one of them to a file.")
    settings = Settings.of(
        preset,
        members=members,
        mixtures=components(mixtures),
        hidden=widths(hidden),
        activation=activation,
        frequencies=frequencies,
        covariance=covariance,
        valid=valid,
        steps=steps,
        epochs=epochs,
        patience=patience,
        batch_size=batch_size,
        lr=lr,
        weight_decay=weight_decay,
        dropout=dropout,
        noise_x=noise("--noise-x", noise_x),
        noise_y=noise("--noise-y", noise_y),
        time_limit=time_limit,
        seed=seed,
        threads=threads,
        device=device,
        baseline=baseline or None,
    )
    request = Request(data, target, feature, ignore, group, valid_file, min_sigma)
    result = run(request, settings, output, quiet=quiet, valid_given=valid is not None)
    if as_json:
        write_json(result)
    raise typer.Exit(_EXIT_STATUS.get(result["stopped"], 0))
