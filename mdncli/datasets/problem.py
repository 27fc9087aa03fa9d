"""What a built-in problem is: how its rows are drawn, and its exact conditional densities."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Problem:
    """One built-in problem.

    It draws (x, y) in its forward direction, its inverse swaps the two. `draw(rng, n, noise)` gives
    x and y; `log_prob(x, y, noise)` is log p(y | x) and `inverse_log_prob(y, x, noise)` is
    log p(x | y), in nats, shape (N,). A side of one column is (N,), one of several (N, columns).

    Attributes:
        name: what `mdn generate` calls it.
        rows: of a table, unless asked for another number.
        noise: its scale, in the units of y.
        x_names, y_names: the columns of the forward direction.
        names_follow: whether a name stays with its quantity in the inverse direction; else the
            feature is called `x` and the target `y` in both.
    """

    name: str
    rows: int
    noise: float
    draw: Callable[[np.random.Generator, int, float], tuple[Array, Array]]
    log_prob: Callable[[Array, Array, float], Array]
    inverse_log_prob: Callable[[Array, Array, float], Array]
    x_names: tuple[str, ...] = ("x",)
    y_names: tuple[str, ...] = ("y",)
    names_follow: bool = False

    def features(self, *, inverse: bool = False) -> tuple[str, ...]:
        """Return the names of the features of a direction."""
        return self.y_names if inverse and self.names_follow else self.x_names

    def targets(self, *, inverse: bool = False) -> tuple[str, ...]:
        """Return the names of the targets of a direction."""
        return self.x_names if inverse and self.names_follow else self.y_names
