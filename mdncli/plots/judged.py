"""What the pictures that judge a model show: where each value fell in its predicted density."""

from dataclasses import dataclass

import numpy as np

from mdncli.density.evaluation import pit
from mdncli.density.model import ConditionalDensity
from mdncli.density.network import Array
from mdncli.plots.scene import position_of_target

_ROWS_AT_ONCE = 1 << 15


@dataclass(frozen=True)
class Judged:
    """A model and the rows of a table that came true.

    Attributes:
        density: the model.
        target: the position of the target shown.
        x: (N, F), the rows; N is at least 1.
        pit: (N,), the probability integral transform of the target, uniform if the model is right.
    """

    density: ConditionalDensity
    target: int
    x: Array
    pit: Array

    @property
    def target_name(self) -> str:
        """The name of the target shown."""
        return self.density.schema.targets[self.target].name

    @property
    def randomized(self) -> str:
        """What the title says of a target recorded in steps: nothing of a continuous one."""
        step = self.density.schema.targets[self.target].step
        return "" if step is None else f"PIT drawn at random within the target's steps of {step:g}"


def judged(
    density: ConditionalDensity, x: Array, y: Array, *, target: str | None = None, seed: int = 0
) -> Judged:
    """Return a model as the pictures that judge it show it.

    Args:
        density: the model.
        x: (N, F), rows of a table in the order of its schema.
        y: (N, T), their targets.
        target: the target shown; by default the first.
        seed: of the randomized PIT of a target recorded in steps, as `evaluate` draws it.

    Raises:
        DataError: the model has no such target.
        ValueError: there are no rows.
    """
    shown = position_of_target(density, target)
    if not len(x):
        raise ValueError("there are no rows to judge the model by")
    rng = np.random.default_rng(seed)
    steps = [column.step for column in density.schema.targets]
    pieces = [slice(at, at + _ROWS_AT_ONCE) for at in range(0, len(x), _ROWS_AT_ONCE)]
    reached = [
        pit(density.distribution(density.mixture(x[piece])), y[piece], steps, rng)[:, shown]
        for piece in pieces
    ]
    # The sum of the weights may exceed 1 by rounding.
    return Judged(density, shown, x, np.clip(np.concatenate(reached), 0.0, 1.0))
