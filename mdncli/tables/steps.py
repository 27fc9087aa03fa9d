"""How finely a column was recorded: its step, and single values that pile up in it."""

import math
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

# A column is recorded in steps only if at least this share of its rows repeat another row's value,
_SHARED = 0.01
# and if the step is larger than this many standard deviations: a smaller one tells nothing.
_SMALLEST = 1e-6
_PILE, _FEWEST_IN_PILE = 0.05, 3


def step_of(values: NDArray[np.float64]) -> float | None:
    """Return the step in which values were recorded, in their units, or None if continuous.

    The greatest common divisor of the differences between the values, each taken as the shortest
    decimal that reads back as it, in exact arithmetic.

    Args:
        values: (N,), finite, not all the same.
    """
    distinct, counts = np.unique(values, return_counts=True)
    if counts[counts > 1].sum() < _SHARED * len(values):
        return None
    smallest = _SMALLEST * float(np.std(values / _largest(values)) * _largest(values))
    decimals = [Decimal(repr(value)) for value in distinct.tolist()]
    exponent = min(int(decimal.as_tuple().exponent) for decimal in decimals)
    first, *others = (int(decimal.scaleb(-exponent)) for decimal in decimals)
    step, divisor = 0.0, 0
    for other in others:
        before, divisor = divisor, math.gcd(divisor, other - first)
        if divisor != before:
            step = float(Decimal(divisor).scaleb(exponent))
            # It only shrinks, so a continuous column is settled after a few values.
            if step <= smallest:
                return None
    return step


def pile_of(values: NDArray[np.float64]) -> tuple[float, float] | None:
    """Return the one value that more than 5% of the rows hold and their share, if there is one."""
    distinct, counts = np.unique(values, return_counts=True)
    most = int(counts.argmax())
    share = float(counts[most] / len(values))
    many = counts[most] >= _FEWEST_IN_PILE and share > _PILE
    return (float(distinct[most]), share) if many else None


def _largest(values: NDArray[np.float64]) -> float:
    return float(np.abs(values).max()) or 1.0
