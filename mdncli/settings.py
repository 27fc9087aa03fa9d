"""The parameters of `fit`: each is declared once, with its default, range and help text.

`FitOptions` says which columns to use and how. `Settings` says what to learn and how. The options
of `mdn fit`, its help, the keywords of `mdncli.fit` and the parameters of the scikit-learn class
come from these declarations.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Literal

from mdncli.declarations import (
    AT_LEAST_ONE,
    NOT_NEGATIVE,
    POSITIVE,
    SHARE,
    Range,
    between,
    check,
    declared,
    document,
    is_whole,
    number_or_auto,
)
from mdncli.errors import ParameterError, parameter
from mdncli.text import quoted

Activation = Literal["tanh", "relu", "silu", "leaky-relu"]
Covariance = Literal["isotropic", "diagonal", "full"]
Device = Literal["auto", "cpu", "cuda"]
Preset = Literal["fast", "default", "best"]
OnBadRows = Literal["fail", "skip"]
Memory = Literal["auto", "on", "off"]
TargetKind = Literal["auto", "continuous", "rounded"]
Mixtures = int | Literal["auto"]
Noise = float | Literal["auto"]
_Simple = Literal["overview", "parameters", "components", "samples", "density", "modes"]
PlotKind = Literal[
    _Simple,
    "intervals",
    "survival",
    "comparison",
    "training",
    "calibration",
    "residuals",
    "row",
    "pairs",
]
ExportFormat = Literal["safetensors", "onnx"]
# One name, or several in a list. A text that is not a column's name is split at its commas.
Names = str | Sequence[str]
# One number, or one for each target by its name.
NumberByTarget = float | str | Sequence[str] | Mapping[str, float]

# The most rows of one command. A larger number is likely a typing error, and would fill the memory.
MOST_ROWS = 10**9

# Above this number of rows, the number of steps grows with the square root of the rows.
_ROWS_OF_PLAIN_STEPS, _ROWS_OF_LADDER_STEPS, _FEWEST_STEPS = 5000, 1000, 0.65
# What `best` chooses by the number of rows: the steps up to so many rows, the rows for each
# component of a member, and below how many rows a step takes 128 and 256 of them, not 512.
_OPEN_STEPS, _ROWS_OF_OPEN_STEPS, _MOST_TIMES_OPEN_STEPS = 1100, 1250, 1.8
_ROWS_A_COMPONENT, _FEWEST_COMPONENTS, _MOST_COMPONENTS = 120, 6, 12
_SOME_ROWS, _MANY_ROWS, _SMALL_BATCH = 2000, 5000, 256
# Below this number of rows, a ladder has one kind of network, which is smaller.
FEW_ROWS = 150
# What a network is by default, and how many there are of each kind in a ladder.
_MIXTURES, _HIDDEN, _FREQUENCIES, _MEMBERS_OF_LADDER, _MEMBERS_OF_BEST = 5, (64, 64), 8, 5, 6
_COLUMNS, _NETWORK, _LEARNING, _RESULT = "Columns", "Network", "Learning", "Result"
READING = "Reading"


def _columns(text: str, short: str = "", metavar: str = "COL,…") -> Any:
    return declared(
        (), text, _COLUMNS, repeats=True, metavar=metavar, short=short, names_columns=True
    )


def _by_target(text: str, metavar: str) -> Any:
    return declared(None, text, _COLUMNS, repeats=True, metavar=metavar, names_columns=True)


@dataclass(frozen=True)
class FitOptions:
    """Which columns `fit` uses, which rows it holds out, and which preset it starts from."""

    target: Names = _columns("What to predict. By default the last column.", "-t")
    feature: Names = _columns("What to predict from. By default all other columns.", "-x")
    ignore: Names = _columns("Columns to leave out.")
    categorical: Names = _columns("Features to read as categories, even if they are numbers.")
    numeric: Names = _columns("Features to read as numbers; any other text is an error.")
    datetime: Names | Mapping[str, str] = _columns(
        "Features to read as dates. The format is as in strptime, such as %d.%m.%Y; by default it "
        "is ISO 8601.",
        metavar="COL[=FORMAT]",
    )
    period: NumberByTarget | None = _by_target(
        "Columns that begin again after so much: hour=24,direction=360. If the target is one of "
        "them, its answers are on the circle, and an interval may cross the origin.",
        "COL=N,…",
    )
    weight: Any = declared(
        None,
        "A column that says how much each row counts, in learning and in scores: zero or more.",
        _COLUMNS,
        metavar="COL",
        names_columns=True,
    )
    group: Any = declared(
        None,
        "A column whose groups are kept whole: rows of one group are either all learned from or "
        "all held out.",
        _COLUMNS,
        metavar="COL",
        names_columns=True,
    )
    valid_file: Any = declared(
        None,
        "A table of rows to hold out for early stopping, instead of a share of DATA.",
        _COLUMNS,
        metavar="FILE",
    )
    init: Any = declared(
        None,
        "A model of the same columns to start from. Its networks go on learning from DATA; its "
        "columns, its scales and the shape of its networks stay.",
        _NETWORK,
        metavar="MODEL",
    )
    min_sigma: NumberByTarget | None = _by_target(
        "The smallest σ, in the units of the target; a=0.1,b=2 for several targets. By default "
        "step/√(2π) for a target recorded in steps, else 1e-4 of its scale. With bounds, this "
        "minimum applies at the median.",
        "SIGMA",
    )
    target_kind: TargetKind = declared(
        "auto",
        "What the values of the target stand for. rounded: cells of a grid, as counts do, each "
        "with a probability. auto: rounded, if it has at most 100 different values in at most 300 "
        "steps; otherwise a value that more than 5% of the rows hold is an atom. "
        "continuous: neither.",
        _COLUMNS,
        choices=TargetKind,
    )
    atom: Any = declared(
        None,
        "A value of the target with a probability of its own, such as 0 where nothing happened, or "
        "a cap: 0 or 0,100. The other values have a density.",
        _COLUMNS,
        repeats=True,
        metavar="V,…",
    )
    event: Any = declared(
        None,
        "A column that is 1 where the target is known, and 0 where it is only known to exceed its "
        "value, such as the survival time of a patient who left the study.",
        _COLUMNS,
        metavar="COL",
        names_columns=True,
    )
    censor_below: NumberByTarget | None = _by_target(
        "A detection limit. A value at or below it only says that the target is at or below it.",
        "V",
    )
    censor_above: NumberByTarget | None = _by_target(
        "The highest value that was recorded. A value at or above it only says that the target is "
        "at least this.",
        "V",
    )
    lower: NumberByTarget | None = _by_target(
        "A lower bound: the target is always above it; a=0,b=2 for several targets. The mixture is "
        f"then over log(y − A), or with {parameter('upper')} over a function of y that is infinite "
        "at both bounds: π, μ and σ describe that mixture. Every other answer is in the units of "
        "the target.",
        "A",
    )
    upper: NumberByTarget | None = _by_target(
        "An upper bound: the target is always below it; a=1,b=9 for several targets.", "B"
    )
    cv: int | None = declared(
        None,
        "Cross-validation: first score the same settings on this many folds, each held out in "
        "turn; then fit on all rows.",
        _RESULT,
        range=Range("at least 2", lambda value: value >= 2),
        metavar="FOLDS",
        type=int,
        whole=True,
    )
    preset: Preset = declared(
        "default",
        "A set of defaults; other options override it. fast learns one network, in at most half as "
        "many steps as default, which learns the ladder. best learns six members of each kind, "
        "with 6 to 12 components and more steps; it takes many times as long as default.",
        _NETWORK,
        choices=Preset,
    )
    on_bad_rows: OnBadRows = declared(
        "fail",
        "What to do with malformed rows, and with rows that have an unusable cell: fail or skip. "
        "Skipped rows are counted.",
        READING,
        choices=OnBadRows,
    )

    def __post_init__(self) -> None:
        check(self)
        if self.group is not None and self.valid_file is not None:
            raise ParameterError(
                f"{parameter('group')} and {parameter('valid_file')} exclude each other: with your "
                "own rows to hold out, the table is not split."
            )
        self._require_columns_of_model()
        if self.cv is not None and self.valid_file is not None:
            raise ParameterError(
                f"{parameter('cv')} and {parameter('valid_file')} exclude each other: in "
                "cross-validation each fold is held out in turn."
            )

    def _require_columns_of_model(self) -> None:
        """Refuse what a model to start from decides."""
        if self.init is None:
            return
        columns = "cv", "group", "event", "target", "feature", "atom"
        for name in (*columns, "min_sigma", "lower", "upper"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, list | tuple) and not value):
                raise ParameterError(
                    f"{parameter('init')} and {parameter(name)} exclude each other: the columns of "
                    "the model stay as they are, and its rows are split anew."
                )


def _widths(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ParameterError(f"{quoted(text)} is not a list of widths such as 64,64.") from None


# A whole number.
_COUNT: dict[str, Any] = {"metavar": "N", "type": int, "whole": True}
_network, _learning = partial(declared, panel=_NETWORK), partial(declared, panel=_LEARNING)


@dataclass(frozen=True)
class Settings:
    """What `fit` learns, and how. A value out of its range raises a ParameterError.

    >>> Settings(mixtures=8).mixtures
    8

    Attributes:
    """

    ladder: bool | None = _network(
        None,
        "Let held-out rows weigh models of several kinds, from simple to rich: the marginal, a "
        "linear one, networks without sines and cosines, and with them. By default on, unless you "
        f"set {parameter('mixtures')}, {parameter('hidden')} or {parameter('frequencies')}.",
        type=bool,
        on_off=True,
    )
    members: int | None = _network(
        None,
        "Number of networks M of each kind. Their densities are averaged. Each of several holds "
        "out 1/max(M, 5) of the rows. By default 5 with the ladder (6 for best), else 1.",
        range=between(1, 1000),
        metavar="M",
        type=int,
        whole=True,
    )
    mixtures: Mixtures | None = _network(
        None,
        "Number of components K of each network, by default 5. auto tries several on held-out rows "
        "and takes the fewest that do well, in at most about 4.5 times the steps of one fit.",
        range=between(1, 100_000),
        metavar="K",
        short="-k",
        parse=number_or_auto(int, "a whole number"),
        or_auto=True,
        whole=True,
    )
    hidden: tuple[int, ...] | None = _network(
        None, "Widths of hidden layers; 64,64 in a single network.", metavar="W,…", parse=_widths
    )
    activation: Activation = _network(
        "silu", "Activation function of the hidden layers.", choices=Activation
    )
    frequencies: int | None = _network(
        None,
        "Number of sines and cosines of each feature that the network also reads, for curves that "
        "turn often. In a single network 8.",
        range=between(0, 10_000),
        metavar="Q",
        type=int,
        whole=True,
    )
    covariance: Covariance = _network(
        "full",
        "Of several targets within a component: diagonal has one σ for each target, isotropic one "
        "σ for all (in standard deviations of each), full correlates them.",
        choices=Covariance,
    )
    memory: Memory = _network(
        "auto",
        "Whether networks also read what trees and the nearest training rows say: auto (where that "
        "helps, for one target and at least 150 rows), on or off.",
        choices=Memory,
    )
    private: bool = _network(
        False,
        "Keep training rows, targets of single rows, the hash of the table and the names of unused "
        "columns out of the model.",
        type=bool,
    )
    valid: float = _learning(
        0.1,
        "Share of the rows that a single network holds out for early stopping.",
        range=SHARE,
        metavar="SHARE",
        type=float,
    )
    steps: int | None = _learning(
        500,
        "Number of steps on up to 5000 rows (1000 with the ladder); on more rows, √(rows/5000) or "
        "√(rows/1000) times as many.",
        range=AT_LEAST_ONE,
        **_COUNT,
    )
    epochs: int | None = _learning(
        None,
        "Number of passes over the rows, instead of a number of steps.",
        range=AT_LEAST_ONE,
        **_COUNT,
    )
    patience: int | None = _learning(
        None,
        "Stop after this many epochs without a lower validation NLL. By default a third of all "
        "epochs.",
        range=AT_LEAST_ONE,
        **_COUNT,
    )
    batch_size: int | None = _learning(
        256,
        "Number of rows in a step.",
        range=AT_LEAST_ONE,
        **_COUNT,
    )
    lr: float = _learning(
        0.01,
        "Learning rate at its highest.",
        range=POSITIVE,
        metavar="RATE",
        type=float,
    )
    weight_decay: float = _learning(
        0.05,
        "Decoupled weight decay. Between 0 and 0.2 it hardly matters.",
        range=NOT_NEGATIVE,
        metavar="DECAY",
        type=float,
    )
    dropout: float = _learning(
        0.1,
        "Probability that a hidden unit is left out of a step, in the first 60% of the steps.",
        range=SHARE,
        metavar="P",
        type=float,
    )
    finish: int | None = _learning(
        None,
        "Number of further steps with the optimizer Soap, which makes means more exact. By default "
        "as many as before, but only where the features tell y almost exactly.",
        range=between(0, 100_000),
        **_COUNT,
    )
    noise_x: Noise = _learning(
        0.0,
        "Standard deviation of fresh noise on the standardized features in every step; auto is "
        "0.1 rows^(-1/(4 + columns)). It makes the density broader. It improved no table we tried.",
        range=NOT_NEGATIVE,
        metavar="STD",
        parse=number_or_auto(float, "a number"),
        or_auto=True,
    )
    noise_y: Noise = _learning(
        0.0,
        "The same for the standardized targets.",
        range=NOT_NEGATIVE,
        metavar="STD",
        parse=number_or_auto(float, "a number"),
        or_auto=True,
    )
    calibrate: bool = _learning(
        True,
        "Scale σ and sharpen or flatten π after learning, so that held-out rows are most likely.",
        type=bool,
        on_off=True,
    )
    background: bool = _learning(
        True,
        "Add component 0: a broad Gaussian with a weight of at least 2/(rows + 2), so that no "
        "single row costs much more than under the marginal.",
        type=bool,
        on_off=True,
    )
    time_limit: float | None = _learning(
        None,
        "Stop after this many seconds of learning and keep the best model so far.",
        range=POSITIVE,
        metavar="SECONDS",
        type=float,
    )
    seed: int = _learning(
        0,
        "Seed of the random split, the first weights and the order of the rows.",
        range=Range("from 0 to 2^63 - 1", lambda value: 0 <= value < 2**63),
        **_COUNT,
    )
    threads: int = _learning(
        1,
        "Number of processor threads. They share the networks among them; the model is the same "
        "for any number.",
        range=between(1, 256),
        **_COUNT,
    )
    device: Device = _learning(
        "auto",
        "Where to learn. auto uses CUDA where it is available, from 100,000 rows on.",
        choices=Device,
    )
    baseline: bool = _learning(
        False, "Also fit the heaviest network by least squares, for comparison.", type=bool
    )

    def __post_init__(self) -> None:
        check(self)
        if self.hidden is None:
            return
        widths = tuple(self.hidden) if isinstance(self.hidden, Iterable) else ()
        if not widths or not all(is_whole(each) and 1 <= each <= 100_000 for each in widths):
            raise ParameterError(
                f"{parameter('hidden')} is {self.hidden!r}: it must be a list of widths of at "
                "least 1, such as 64,64."
            )
        object.__setattr__(self, "hidden", tuple(map(int, widths)))

    @classmethod
    def of(cls, preset: Preset = "default", **given: Any) -> "Settings":
        """Return the settings of a preset, with the given ones in their place."""
        return cls(**{**PRESETS[preset], **given})

    def for_rows(self, rows: int, targets: int = 1) -> "Settings":
        """Return the settings with every open choice made for so many rows and targets."""
        ladder, few, many = self.uses_ladder, rows < FEW_ROWS, rows >= _MANY_ROWS
        components = 2 if ladder and few else _MIXTURES
        if self.steps is None and not (ladder and few):
            components = min(max(rows // _ROWS_A_COMPONENT, _FEWEST_COMPONENTS), _MOST_COMPONENTS)
        best = self.steps is None
        members = 10 if few else _MEMBERS_OF_BEST if best else _MEMBERS_OF_LADDER
        if ladder and targets > 1:
            components, members = min(2 * components, 20), 1 if many and not best else members
        sizes = zip((_SOME_ROWS, _MANY_ROWS, math.inf), (128, 256, 512), strict=True)
        chosen: dict[str, Any] = {
            "ladder": ladder,
            "members": members if ladder or best else 1,
            "mixtures": components,
            "hidden": None if ladder else _HIDDEN,
            "frequencies": None if ladder else _FREQUENCIES,
            "batch_size": next(size for most, size in sizes if rows < most),
        }
        return replace(self, **{k: v for k, v in chosen.items() if getattr(self, k) is None})

    @property
    def uses_ladder(self) -> bool:
        """Whether models of several kinds take part. It needs rows that are held out."""
        if self.ladder is not None:
            return self.ladder
        named = (self.mixtures, self.hidden, self.frequencies)
        return named == (None, None, None) and self.valid > 0.0

    def uses_memory(self, rows: int, targets: int) -> bool:
        """Return whether a memory may take part in a fit of so many rows and targets."""
        if self.memory != "auto":
            return self.memory == "on"
        return self.uses_ladder and rows >= FEW_ROWS and targets == 1

    def steps_per_epoch(self, rows: int) -> int:
        """Return the number of steps of a pass over this many training rows."""
        return math.ceil(rows / (self.batch_size or _SMALL_BATCH))

    def epochs_for(self, rows: int) -> int:
        """Return the number of epochs on this many training rows."""
        if self.epochs is not None:
            return self.epochs
        if self.steps is None:
            times = math.sqrt(rows / _ROWS_OF_OPEN_STEPS)
            steps = _OPEN_STEPS * min(max(1.0, times), _MOST_TIMES_OPEN_STEPS)
        else:
            least, plain_rows = 1.0, _ROWS_OF_PLAIN_STEPS
            if self.ladder:
                least, plain_rows = _FEWEST_STEPS, _ROWS_OF_LADDER_STEPS
            steps = self.steps * max(least, math.sqrt(rows / plain_rows))
        return max(2, math.ceil(steps / self.steps_per_epoch(rows)))

    def patience_for(self, rows: int) -> int:
        """Return the patience, in epochs, on this many training rows."""
        return self.patience or max(2, self.epochs_for(rows) // 3)

    def to_plain(self) -> dict[str, Any]:
        """Return the settings as plain values."""
        return {**asdict(self), "hidden": None if self.hidden is None else list(self.hidden)}


# What each preset changes. None leaves a choice open until the number of rows is known.
PRESETS: dict[str, dict[str, Any]] = {
    "fast": {"steps": 250, "ladder": False},
    "default": {},
    "best": {"steps": None, "batch_size": None, "threads": 2},
}


document(FitOptions)
document(Settings)
