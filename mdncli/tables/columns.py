"""One column as it was in training: its range, its scale, and how finely it was recorded."""

import math
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mdncli.tables.maps import FREE, Bounds
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

    A target with bounds is learned on the scale of `bounds`, the mixture's: `mean` and `scale` are
    of its values there.

    Attributes:
        step: in which it was recorded, or None for a continuous one; in the units of the file.
        min_sigma: the smallest sigma of any component, on the mixture's scale.
        lower, upper: what it stays above and below, in the units of the file; None for no bound.
    """

    step: float | None
    min_sigma: float
    lower: float | None = None
    upper: float | None = None

    @property
    def bounds(self) -> Bounds:
        """The bounds, with the map from the file's units to the mixture's scale."""
        return Bounds(self.lower, self.upper)

    @classmethod
    def of(
        cls,
        column: Column,
        values: NDArray[np.float64],
        min_sigma: float | None = None,
        bounds: Bounds = FREE,
    ) -> "Target":
        """Return the target of this column and its values, shape (N,), with the sigma it allows.

        A Gaussian of sigma = step / sqrt(2 pi) is 1/step high. So no mixture claims a density above
        1/step anywhere, which is all that values recorded in steps can support. With bounds it is
        so at the median, where a width in the units of the file is du/dy times that on the
        mixture's scale; elsewhere the densities of y are higher or lower by the map.

        Args:
            column: as it was measured.
            values: all of them between the bounds.
            min_sigma: in the units of the file, instead.
            bounds: none by default.
        """
        step, at_median = step_of(values), 1.0
        if bounds:
            on_line = Column.measure(column.name, bounds.to_mixture(values))
            column = replace(column, mean=on_line.mean, scale=on_line.scale)
            at_median = float(np.exp(bounds.log_slope(np.array(column.median))))
        floor = _LEAST_SIGMA * column.scale
        if step is not None:
            floor = step * at_median / math.sqrt(2.0 * math.pi)
        return cls(
            **asdict(column),
            step=step,
            min_sigma=min_sigma * at_median if min_sigma else floor,
            lower=bounds.lower,
            upper=bounds.upper,
        )
