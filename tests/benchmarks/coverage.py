"""The share of values inside central intervals, for the benchmarks."""

from typing import Any

import numpy as np

from mdncli.columns.transforms import Rounding
from mdncli.density.evaluation import share_inside


def coverage(distribution: Any, y: np.ndarray, level: float = 0.9) -> float:
    """Return the share of values y, (N,), inside their central intervals.

    For a rounded target, see `share_inside`.

    Args:
        distribution: of a single target; it has `cdf`.
        y: (N,).
        level: of the intervals.
    """
    [transform] = getattr(distribution, "transforms", [None])
    cdf = below = distribution.cdf(y)
    if isinstance(transform, Rounding):
        below = distribution.cdf(y - transform.step)
    return float(share_inside(cdf, below, level).mean())
