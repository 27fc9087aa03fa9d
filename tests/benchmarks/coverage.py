"""The share of values inside central intervals, for the benchmarks."""

from typing import Any

import numpy as np
from scipy.special import ndtr

from mdncli.columns.transforms import IDENTITY
from mdncli.density.evaluation import share_inside


def coverage(distribution: Any, y: np.ndarray, level: float = 0.9) -> float:
    """Return the share of values y, (N,), inside their central intervals.

    Where a value has a probability, see `share_inside`.

    Args:
        distribution: of a single target; it has `cdf`.
        y: (N,).
        level: of the intervals.
    """
    [transform] = getattr(distribution, "transforms", [IDENTITY])
    y = np.ravel(y)
    cells = transform.cells(y)
    cdf = below = distribution.cdf(y)
    if not cells.is_point.all():
        mixture = distribution.mixture
        z = (cells.low[:, None] - mixture.mu[:, :, 0]) / mixture.sigma[:, :, 0]
        below = np.where(cells.is_point, cdf, (mixture.pi * ndtr(z)).sum(axis=1))
    return float(share_inside(cdf, below, level).mean())
