"""The options of `mdn fit`, each with its help."""

from typing import Annotated, Any

import typer

from mdncli import settings

_DEFAULTS = settings.Settings()
_COLUMNS, _NETWORK, _LEARNING, _RESULT = "Columns", "Network", "Learning", "Result"


def _option(
    panel: str, text: str, default: object = None, *names: str, metavar: str | None = None
) -> Any:
    """Return an option of a panel, its default told in its help: a preset may have another."""
    ending = "" if default is None else f" By default {default}."
    return typer.Option(
        *names, help=text + ending, metavar=metavar, rich_help_panel=panel, show_default=False
    )


Data = Annotated[
    str, typer.Argument(metavar="DATA", help="A table with a header; - for standard input.")
]
Target = Annotated[
    list[str] | None,
    _option(
        _COLUMNS,
        "What to predict. By default the last column.",
        None,
        "--target",
        "-t",
        metavar="COL,…",
    ),
]
Feature = Annotated[
    list[str] | None,
    _option(
        _COLUMNS,
        "What to predict from. By default all others.",
        None,
        "--feature",
        "-x",
        metavar="COL,…",
    ),
]
Ignore = Annotated[list[str] | None, _option(_COLUMNS, "Columns to leave out.", metavar="COL,…")]
Categorical = Annotated[
    list[str] | None,
    _option(
        _COLUMNS, "Features whose cells name categories, even if they are numbers.", metavar="COL,…"
    ),
]
Numeric = Annotated[
    list[str] | None,
    _option(
        _COLUMNS,
        "Features whose cells must be numbers, whatever most of them are.",
        metavar="COL,…",
    ),
]
Datetime = Annotated[
    list[str] | None,
    _option(
        _COLUMNS,
        "A feature of dates, of a format such as %d.%m.%Y if not ISO 8601. May be repeated.",
        metavar="COL[=FORMAT]",
    ),
]
Weight = Annotated[
    str | None,
    _option(
        _COLUMNS,
        "How much each row counts, in learning and in every score: zero or more. It is no feature.",
        metavar="COL",
    ),
]
Group = Annotated[
    str | None,
    _option(
        _COLUMNS,
        "Rows alike in this column are never split between learning and holding out; it is no "
        "feature.",
        metavar="COL",
    ),
]
ValidFile = Annotated[
    str | None,
    _option(
        _COLUMNS,
        "Rows of your own to hold out for early stopping: a table like DATA.",
        metavar="FILE",
    ),
]
MinSigma = Annotated[
    list[str] | None,
    _option(
        _COLUMNS,
        "The smallest σ, in the target's units; a=0.1,b=2 for several. By default step/√(2π) "
        "for a target recorded in steps, else 1e-4 of its standard deviation. With --lower or "
        "--upper so at the median.",
        metavar="SIGMA",
    ),
]
Lower = Annotated[
    list[str] | None,
    _option(
        _COLUMNS,
        "What the target stays above; a=0,b=2 for several. The mixture is then of log(y − A), with "
        "--upper of the logit between both: π, μ and σ describe that mixture, every other answer "
        "is in the target's units.",
        metavar="A",
    ),
]
Upper = Annotated[
    list[str] | None,
    _option(_COLUMNS, "What the target stays below; a=1,b=9 for several.", metavar="B"),
]
Cv = Annotated[
    int | None,
    _option(
        _RESULT,
        "First score the recipe on each of so many folds, learned without it; then fit on all.",
        None,
        "--cv",
        metavar="FOLDS",
    ),
]
Preset = Annotated[
    settings.Preset,
    _option(
        _NETWORK,
        "A whole recipe; options given by hand override it. On real tables fast takes half "
        "the time of default, for an NLL up to 0.5 nats higher; best, 20 networks of 6 to 20 "
        "components, takes 8 to 75 times as long, for one 0.1 to 0.6 nats lower.",
    ),
]
Members = Annotated[
    int | None,
    _option(
        _NETWORK,
        "Networks learned at once and averaged; each of several holds out 1/max(M, 5) of the rows.",
        _DEFAULTS.members,
        metavar="M",
    ),
]
Mixtures = Annotated[
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
]
Hidden = Annotated[
    str | None,
    _option(
        _NETWORK,
        "Widths of the hidden layers.",
        ",".join(map(str, _DEFAULTS.hidden)),
        metavar="W,…",
    ),
]
Activation = Annotated[
    settings.Activation | None, _option(_NETWORK, "After each hidden layer.", _DEFAULTS.activation)
]
Frequencies = Annotated[
    int | None,
    _option(
        _NETWORK,
        "Sines and cosines of each feature beside it, for curves of many turns.",
        _DEFAULTS.frequencies,
        metavar="Q",
    ),
]
Covariance = Annotated[
    settings.Covariance | None,
    _option(
        _NETWORK,
        "With several targets: a σ each, one for all in standard deviations of each, or full: "
        "correlated within a component.",
        _DEFAULTS.covariance,
    ),
]
Valid = Annotated[
    float | None,
    _option(
        _LEARNING,
        "Share of rows held out for early stopping by a single member.",
        _DEFAULTS.valid,
        metavar="SHARE",
    ),
]
Steps = Annotated[
    int | None,
    _option(
        _LEARNING,
        "Steps of learning on up to 5000 rows; on more, √(rows/5000) times as many.",
        _DEFAULTS.steps,
        metavar="N",
    ),
]
Epochs = Annotated[
    int | None, _option(_LEARNING, "Passes over the rows, instead of steps.", metavar="N")
]
Patience = Annotated[
    int | None,
    _option(
        _LEARNING,
        "Stop after so many epochs without a better validation NLL. By default a third of all.",
        metavar="N",
    ),
]
BatchSize = Annotated[
    int | None, _option(_LEARNING, "Rows a step.", _DEFAULTS.batch_size, metavar="N")
]
Lr = Annotated[
    float | None, _option(_LEARNING, "The learning rate's peak.", _DEFAULTS.lr, metavar="RATE")
]
WeightDecay = Annotated[
    float | None,
    _option(
        _LEARNING,
        "Decoupled weight decay. Between 0 and 0.2 it hardly matters.",
        _DEFAULTS.weight_decay,
        metavar="DECAY",
    ),
]
Dropout = Annotated[
    float | None,
    _option(
        _LEARNING,
        "The chance that a hidden unit is left out of a step. It pays for one member; where σ "
        "must become small, and for ensembles, it does not.",
        _DEFAULTS.dropout,
        metavar="P",
    ),
]
NoiseX = Annotated[
    str | None,
    _option(
        _LEARNING,
        "Fresh noise on the standardized features at every step; auto: 0.1 rows^(-1/(4 + "
        "columns)). It broadens the density; it paid on no table tried.",
        _DEFAULTS.noise_x,
        metavar="STD",
    ),
]
NoiseY = Annotated[
    str | None,
    _option(_LEARNING, "Likewise on the standardized targets.", _DEFAULTS.noise_y, metavar="STD"),
]
TimeLimit = Annotated[
    float | None,
    _option(
        _LEARNING,
        "End with the best model so far after so many seconds of learning.",
        metavar="SECONDS",
    ),
]
Seed = Annotated[
    int | None,
    _option(_LEARNING, "Of the split, the first weights and the order of rows.", _DEFAULTS.seed),
]
Threads = Annotated[int | None, _option(_LEARNING, "Processor threads.", _DEFAULTS.threads)]
Device = Annotated[
    settings.Device | None, _option(_LEARNING, "auto: CUDA where there is one.", _DEFAULTS.device)
]
Baseline = Annotated[
    bool,
    _option(
        _LEARNING,
        "Also fit the same trunk by least squares, to compare with.",
        None,
        "--baseline",
    ),
]
Output = Annotated[
    str,
    _option(
        _RESULT,
        "The model file, by default model.pt; - for standard output.",
        None,
        "--output",
        "-o",
        metavar="FILE",
    ),
]
AsJson = Annotated[bool, _option(_RESULT, "Print the result as JSON.", None, "--json")]
