"""Correlations of targets with bounds, by quadrature."""

import numpy as np
from numpy.typing import NDArray

from mdncli.density.mixture import GaussianMixture
from mdncli.tables.maps import Bounds

Array = NDArray[np.float64]

# In sigmas: far enough for a Gaussian, and for one that exp(u) of a sigma of 4 has shifted.
_REACH = 13.0
# Of the step, in sigmas and on the scale of the mixture: the trapezoidal rule is exact to the last
# digits for the former, and the logit's poles, pi i away, ask for the latter (Trefethen and
# Weideman 2014, theorem 5.1).
_STEP, _STEP_OF_MAP = 0.375, 0.7
_MOST_NODES = 600
_TERMS_AT_ONCE = 4_000_000


def correlations(
    mixture: GaussianMixture, bounds: tuple[Bounds, ...], mean: Array, std: Array
) -> Array:
    """Return the correlation matrices of targets that are maps of a mixture, (N, T, T).

    Args:
        mixture: N of them, of T targets, on the scales of the maps.
        bounds: of each target, with its map.
        mean: of the targets, (N, T), in the units of the file.
        std: their standard deviations, (N, T).
    """
    targets = len(bounds)
    found = np.broadcast_to(np.eye(targets), (len(mean), targets, targets)).copy()
    for one in range(targets):
        for other in range(one):
            pair = mixture.targets([one, other])
            maps = bounds[one], bounds[other]
            centre, unit = mean[:, [one, other]], std[:, [one, other]]
            value = np.clip(_expected_product(pair, maps, centre, unit), -1.0, 1.0)
            found[:, one, other] = found[:, other, one] = value
    return found


def _expected_product(
    pair: GaussianMixture, maps: tuple[Bounds, Bounds], mean: Array, std: Array
) -> Array:
    """Return the mean of the product of two standardized targets, shape (N,)."""
    rows, components = pair.log_pi.shape
    nodes, weights = _rule(float(pair.sigma.max(initial=0.0)))
    at_once = max(1, _TERMS_AT_ONCE // (components * len(nodes) ** 2))
    parts = []
    for at in range(0, rows, at_once):
        part = pair.rows(slice(at, at + at_once))
        centre, unit = mean[at : at + at_once, None], std[at : at + at_once, None]
        first, second = _places(part, nodes)
        y = (maps[0].to_target(first) - centre[..., 0, None]) / unit[..., 0, None]
        z = (maps[1].to_target(second) - centre[..., 1, None, None]) / unit[..., 1, None, None]
        inner = (z * weights).sum(axis=3)
        parts.append((part.pi * (y * inner * weights).sum(axis=2)).sum(axis=1))
    return np.concatenate([np.empty(0), *parts])


def _rule(widest: float) -> tuple[Array, Array]:
    """Return the nodes and weights, (Q,), of the trapezoidal rule for a standard Gaussian."""
    step = min(_STEP, _STEP_OF_MAP / max(widest, 1e-300))
    half = min(int(np.ceil(_REACH / step)), _MOST_NODES // 2)
    nodes = np.linspace(-_REACH, _REACH, 2 * half + 1)
    weights = np.exp(-0.5 * nodes * nodes)
    return nodes, weights / weights.sum()


def _places(pair: GaussianMixture, nodes: Array) -> tuple[Array, Array]:
    """Return u of the first target, (N, K, Q), and of the second given it, (N, K, Q, Q)."""
    first = pair.mu[:, :, 0, None] + pair.sigma[:, :, 0, None] * nodes
    together = np.broadcast_to(nodes, (1, 1, len(nodes), len(nodes)))
    if pair.factor is not None:
        shared, own = (pair.factor[:, :, 1, each, None, None] for each in (0, 1))
        together = shared * nodes[:, None] + own * nodes
    second = pair.mu[:, :, 1, None, None] + pair.sigma[:, :, 1, None, None] * together
    return first, second
