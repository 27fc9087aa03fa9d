"""Every choice that learning offers, with its default: the one place for both."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from mdncli.errors import UsageError

Activation = Literal["tanh", "relu", "silu", "leaky-relu"]
Covariance = Literal["isotropic", "diagonal"]
Device = Literal["auto", "cpu", "cuda"]

SIGMA_FLOOR = 1e-4
# Of one command: more would be a slip of the finger, and would fill the memory.
MOST_ROWS = 10**9

# Steps of learning when no number of epochs is given: a curve of several turns needs some hundreds
# whatever the table; beyond that, what more rows can still teach grows with their square root.
_FEWEST_STEPS = 500
_STEPS_PER_ROOT_ROW = 6
# Weight decay stands for a prior on the weights, which weighs less the more rows there are.
_DECAY_TIMES_ROWS = 300.0
_LARGEST_DECAY = 0.2
# Far beyond the processor's own number PyTorch crashes instead of complaining.
_MOST_THREADS = 256


@dataclass(frozen=True)
class Settings:
    """What `fit` is asked for.

    Attributes:
        mixtures: K, the number of components.
        hidden: widths of the trunk's layers.
        activation: after each hidden layer.
        frequencies: sines and cosines of each feature that the trunk reads beside it; 0 for none.
        covariance: with several targets, `diagonal` (a sigma each) or `isotropic` (one for all, in
            standard deviations of each target).
        valid: share of the rows held out for early stopping, from 0 up to below 1.
        epochs: passes over the training rows; None for as many as the table calls for.
        patience: epochs without a better validation NLL before stopping; None for a third of all.
        batch_size: rows a step.
        lr: the learning rate's peak.
        weight_decay: decoupled; None for 300 / rows, at most 0.2.
        seed: of the split, the starting weights and the order of rows.
        threads: of the processor. One is fastest for networks of the default width.
        device: `auto` takes CUDA where there is one.
        baseline: train the same trunk by least squares as well.

    Raises:
        UsageError: a value out of its range.
    """

    mixtures: int = 5
    hidden: tuple[int, ...] = (64, 64)
    activation: Activation = "silu"
    frequencies: int = 4
    covariance: Covariance = "diagonal"
    valid: float = 0.1
    epochs: int | None = None
    patience: int | None = None
    batch_size: int = 256
    lr: float = 0.005
    weight_decay: float | None = None
    seed: int = 0
    threads: int = 1
    device: Device = "auto"
    baseline: bool = False

    def __post_init__(self) -> None:
        for name in ("mixtures", "epochs", "patience", "batch_size", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{_flag(name)} is {value}: it must be at least 1.")
        if self.threads > _MOST_THREADS:
            raise UsageError(f"--threads is {self.threads}: it must be at most {_MOST_THREADS}.")
        if not all(width >= 1 for width in self.hidden):
            raise UsageError("--hidden must name widths of at least 1, such as 64,64.")
        if self.frequencies < 0:
            raise UsageError(f"--frequencies is {self.frequencies}: it must be zero or more.")
        for name, words in _CHOICES.items():
            choices = get_args(words)
            if getattr(self, name) not in choices:
                raise UsageError(
                    f"{_flag(name)} is {getattr(self, name)!r}: choose one of {', '.join(choices)}."
                )
        if not 0.0 <= self.valid < 1.0:
            raise UsageError(f"--valid is {self.valid}: it must be from 0 up to below 1.")
        if not (self.lr > 0.0 and math.isfinite(self.lr)):
            raise UsageError(f"--lr is {self.lr}: it must be a positive number.")
        decay = self.weight_decay
        if decay is not None and not (decay >= 0.0 and math.isfinite(decay)):
            raise UsageError(f"--weight-decay is {decay}: it must be zero or a positive number.")
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"--seed is {self.seed}: it must be from 0 up to below 2^63.")

    def steps_per_epoch(self, rows: int) -> int:
        """Return how many steps a pass over this many training rows takes."""
        return math.ceil(rows / self.batch_size)

    def epochs_for(self, rows: int) -> int:
        """Return the number of epochs on this many training rows."""
        if self.epochs is not None:
            return self.epochs
        steps = max(_FEWEST_STEPS, _STEPS_PER_ROOT_ROW * math.sqrt(rows))
        return max(2, math.ceil(steps / self.steps_per_epoch(rows)))

    def patience_for(self, rows: int) -> int:
        """Return the patience in epochs on this many training rows."""
        return self.patience or max(2, self.epochs_for(rows) // 3)

    def weight_decay_for(self, rows: int) -> float:
        """Return the weight decay on this many training rows."""
        if self.weight_decay is not None:
            return self.weight_decay
        return min(_LARGEST_DECAY, _DECAY_TIMES_ROWS / rows)

    def to_plain(self) -> dict[str, Any]:
        """Return the settings as plain values."""
        return {**asdict(self), "hidden": list(self.hidden)}


_CHOICES = {"activation": Activation, "covariance": Covariance, "device": Device}


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
