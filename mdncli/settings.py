"""Every choice that learning offers, with its default: the one place for both."""

import math
import operator
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Literal, get_args

from mdncli.errors import UsageError

Activation = Literal["tanh", "relu", "silu", "leaky-relu"]
Covariance = Literal["isotropic", "diagonal", "full"]
Device = Literal["auto", "cpu", "cuda"]

Preset = Literal["fast", "default", "best"]
Mixtures = int | Literal["auto"]
Noise = float | Literal["auto"]

# Of one command: more would be a slip of the finger, and would fill the memory.
MOST_ROWS = 10**9

# Beyond so many rows, what more of them can still teach grows with their square root.
_ROWS_OF_PLAIN_STEPS = 5000
# What is left open by `best`: steps on up to so many rows, rows for each component of a member, and
# rows from which on a step takes twice as many of them.
_OPEN_STEPS, _ROWS_OF_OPEN_STEPS = 1200, 1250
_ROWS_A_COMPONENT, _FEWEST_COMPONENTS, _MOST_COMPONENTS = 120, 6, 20
_ROWS_OF_SMALL_BATCHES, _SMALL_BATCH = 5000, 256
_NOISE_TIMES = 0.1


@dataclass(frozen=True)
class Settings:
    """What `fit` is asked for.

    Attributes:
        members: M, networks whose densities are averaged; each holds out other rows.
        mixtures: K, the number of components of each member; `auto` for as many as held-out rows
            call for; None for one for every 120 rows, from 6 to 20.
        hidden: widths of the trunk's layers.
        activation: after each hidden layer.
        frequencies: sines and cosines of each feature that the trunk reads beside it; 0 for none.
        covariance: with several targets, `diagonal` (a sigma each), `isotropic` (one for all, in
            standard deviations of each target) or `full` (correlated within a component).
        valid: share of the rows that a single member holds out for early stopping, from 0 up to
            below 1; several hold out 1/max(M, 5) each.
        steps: of learning, when no number of epochs is given, on up to 5000 rows; on more,
            sqrt(rows / 5000) times as many. None for 1200, and sqrt(rows / 1250) times as many on
            more than 1250 rows.
        epochs: passes over the training rows; None for as many as make the steps.
        patience: epochs without a better validation NLL before stopping; None for a third of all.
        batch_size: rows a step; None for 256, twice as many from 5000 rows on.
        lr: the learning rate's peak.
        weight_decay: decoupled.
        dropout: the chance that a hidden unit is left out of a step, from 0 up to below 1.
        noise_x: fresh noise on the standardized features at every step, its standard deviation;
            `auto` for a tenth of rows^(-1/(4 + F + T)), the rate of Rothfuss et al. (2019).
        noise_y: likewise on the standardized targets.
        time_limit: seconds after which learning ends with the best so far; None for no limit.
        seed: of the split, the starting weights and the order of rows.
        threads: of the processor. One is fastest for networks of the default width.
        device: `auto` takes CUDA where there is one.
        baseline: train the same trunk by least squares as well.

    Raises:
        UsageError: a value out of its range.
    """

    members: int = 1
    mixtures: Mixtures | None = 5
    hidden: tuple[int, ...] = (64, 64)
    activation: Activation = "silu"
    frequencies: int = 8
    covariance: Covariance = "diagonal"
    valid: float = 0.1
    steps: int | None = 500
    epochs: int | None = None
    patience: int | None = None
    batch_size: int | None = 256
    lr: float = 0.01
    weight_decay: float = 0.05
    dropout: float = 0.05
    noise_x: Noise = 0.0
    noise_y: Noise = 0.0
    time_limit: float | None = None
    seed: int = 0
    threads: int = 1
    device: Device = "auto"
    baseline: bool = False

    def __post_init__(self) -> None:
        for name in ("members", "mixtures", "steps", "epochs", "patience", "batch_size", "threads"):
            self._require(name, lambda value: value == "auto" or value >= 1, "at least 1")
        for name, most in _MOST.items():
            if getattr(self, name) != "auto":
                self._require(name, partial(operator.ge, most), f"at most {most}")
        if not all(1 <= width <= _MOST["mixtures"] for width in self.hidden):
            raise UsageError("--hidden must name widths of at least 1, such as 64,64.")
        for name, words in _CHOICES.items():
            choices = get_args(words)
            self._require(name, partial(operator.contains, choices), _one_of(choices))
        for name in ("valid", "dropout"):
            self._require(name, lambda value: 0.0 <= value < 1.0, "from 0 up to below 1")
        for name in ("lr", "time_limit"):
            self._require(name, lambda value: 0.0 < value < _HUGE, "a positive number")
        for name in ("frequencies", "weight_decay"):
            self._require(name, lambda value: 0.0 <= value < _HUGE, "zero or a positive number")
        for name in ("noise_x", "noise_y"):
            self._require(
                name,
                lambda value: value == "auto" or 0.0 <= value < _HUGE,
                "auto, zero or a positive number",
            )
        self._require("seed", lambda value: 0 <= value < 2**63, "from 0 up to below 2^63")

    def _require(self, name: str, holds: Callable[[Any], bool], words: str) -> None:
        """Refuse a value that is given and is not as the words say."""
        value = getattr(self, name)
        if value is not None and not holds(value):
            raise UsageError(f"--{name.replace('_', '-')} is {value}: it must be {words}.")

    @classmethod
    def of(cls, preset: Preset = "default", **given: Any) -> "Settings":
        """Return a preset's settings, except for what is given and not None."""
        chosen = {name: value for name, value in given.items() if value is not None}
        return cls(**{**PRESETS[preset], **chosen})

    def for_rows(self, rows: int) -> "Settings":
        """Return the settings with what they leave open chosen for a table of this many rows."""
        components = min(max(rows // _ROWS_A_COMPONENT, _FEWEST_COMPONENTS), _MOST_COMPONENTS)
        batch_size = _SMALL_BATCH * (2 if rows >= _ROWS_OF_SMALL_BATCHES else 1)
        return replace(
            self,
            mixtures=components if self.mixtures is None else self.mixtures,
            batch_size=batch_size if self.batch_size is None else self.batch_size,
        )

    def steps_per_epoch(self, rows: int) -> int:
        """Return how many steps a pass over this many training rows takes."""
        return math.ceil(rows / (self.batch_size or _SMALL_BATCH))

    def epochs_for(self, rows: int) -> int:
        """Return the number of epochs on this many training rows."""
        if self.epochs is not None:
            return self.epochs
        least, plain_rows = self.steps, _ROWS_OF_PLAIN_STEPS
        if least is None:
            least, plain_rows = _OPEN_STEPS, _ROWS_OF_OPEN_STEPS
        steps = least * max(1.0, math.sqrt(rows / plain_rows))
        return max(2, math.ceil(steps / self.steps_per_epoch(rows)))

    def patience_for(self, rows: int) -> int:
        """Return the patience in epochs on this many training rows."""
        return self.patience or max(2, self.epochs_for(rows) // 3)

    def noise_for(self, rows: int, columns: int) -> tuple[float, float]:
        """Return the noise on x and on y for this many training rows, of F + T columns."""
        auto = _NOISE_TIMES * rows ** (-1.0 / (4 + columns))
        on_x, on_y = (auto if each == "auto" else each for each in (self.noise_x, self.noise_y))
        return on_x, on_y

    def to_plain(self) -> dict[str, Any]:
        """Return the settings as plain values."""
        return {**asdict(self), "hidden": list(self.hidden)}


# Whole recipes, by what they change.
PRESETS: dict[str, dict[str, Any]] = {
    "fast": {"steps": 250},
    "default": {},
    "best": {
        **{"members": 20, "mixtures": None, "steps": None, "batch_size": None},
        **{"dropout": 0.0, "threads": 2},
    },
}

_CHOICES = {"activation": Activation, "covariance": Covariance, "device": Device}
# More would be a slip of the finger, and would fill the memory; of threads, PyTorch would crash.
_MOST = {"members": 1000, "mixtures": 100_000, "frequencies": 10_000, "threads": 256}
_HUGE = 1e30


def _one_of(choices: tuple[str, ...]) -> str:
    return f"one of {', '.join(choices)}"
