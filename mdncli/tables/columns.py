"""One column as it was in training: its range, its scale, and how finely it was recorded."""

import math
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from mdncli.tables.steps import step_of

# Of a continuous target, in its standard deviations.
_LEAST_SIGMA = 1e-4


@dataclass(frozen=True)
class Column:
    """A number column as it was in training: every value in the units of the file."""

    name: str
    mean: float
    scale: float
    lowest: float
    median: float
    highest: float

    @classmethod
    def measure(cls, name: str, values: NDArray[np.float64]) -> "Column":
        """Return the column of these values, shape (N,)."""
        # Dividing by the largest magnitude first keeps the sums finite at the ends of float64.
        unit = float(np.abs(values).max()) or 1.0
        return cls(
            name,
            mean=float((values / unit).mean() * unit),
            scale=float((values / unit).std() * unit),
            lowest=float(values.min()),
            median=float(np.median(values)),
            highest=float(values.max()),
        )

    @property
    def constant(self) -> bool:
        """Whether the column holds one value, at the resolution of float64."""
        return not self.lowest < self.highest or not self.scale > 0.0


@dataclass(frozen=True)
class Target(Column):
    """A column to predict.

    Attributes:
        step: in which it was recorded, or None for a continuous one.
        min_sigma: the smallest sigma of any component, in the units of the file.
    """

    step: float | None
    min_sigma: float

    @classmethod
    def of(
        cls, column: Column, values: NDArray[np.float64], min_sigma: float | None = None
    ) -> "Target":
        """Return the target of this column and its values, shape (N,), with the sigma it allows.

        A Gaussian of sigma = step / sqrt(2 pi) is 1/step high. So no mixture claims a density above
        1/step anywhere, which is all that values recorded in steps can support.
        """
        step = step_of(values)
        floor = _LEAST_SIGMA * column.scale if step is None else step / math.sqrt(2.0 * math.pi)
        return cls(**asdict(column), step=step, min_sigma=min_sigma or floor)
