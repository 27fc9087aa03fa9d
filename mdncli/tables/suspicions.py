"""Features that say more about the target than a feature should."""

import numpy as np
from numpy.typing import NDArray

# Of the linear correlation, or of that between ranks.
_NEARLY = 0.9999
_MOST_ROWS = 20_000


def near_targets(x: NDArray[np.float64], y: NDArray[np.float64], names: list[str]) -> list[str]:
    """Return the names of the features that are nearly the target, or a monotone map of it.

    Args:
        x: (N, F), none of them constant.
        y: (N,), not constant.
        names: of the features, (F,).
    """
    some = slice(None, None, max(1, len(y) // _MOST_ROWS))
    near = []
    for position, name in enumerate(names):
        feature, target = x[some, position], y[some]
        pairs = (feature, target), (_ranks(feature), _ranks(target))
        if any(_correlation(*pair) > _NEARLY for pair in pairs):
            near.append(name)
    return near


def _correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    one, other = (v / (np.abs(v).max() or 1.0) for v in (one, other))
    one, other = one - one.mean(), other - other.mean()
    size = float(np.sqrt((one @ one) * (other @ other)))
    return abs(float(one @ other)) / size if size > 0.0 else 0.0


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean rank of each value among them."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (counts.cumsum() - 0.5 * counts)[place]
    return ranks
