"""Modes of Gaussian mixtures: all critical points of one target, and a search for joint modes."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mdncli.columns.transforms import Transform
from mdncli.density.marginal import Marginal
from mdncli.density.mixture import GaussianMixture, log_sum_exp, solve_lower
from mdncli.density.solvers import find_roots
from mdncli.types import Array, Mask, Positions

_MOST_HALVINGS = 100
# In sigmas: a component farther away than _NEAR does not shape the density, and zeros of the slope
# closer together than _NARROW need not be distinguished.
_NEAR = 40.0
_NARROW = 2.0**-12
# The joint search starts from at most this many points, the most probable ones.
_MOST_STARTS = 64
_SHIFTS = 200
_STILL = 1e-9
_TERMS_AT_ONCE = 2_000_000
# Keeps the linear systems of almost perfectly correlated targets solvable.
_RIDGE = 1e-14
# A search ends when slope^2 / curvature, about twice the distance of log p from its extreme in
# nats, is this small.
_FLAT = 1e-24


def modes(mixture: Marginal) -> Array:
    """Return the global maximum of each density, shape (N,).

    It lies between two neighbouring means. The intervals between them are halved while the slope
    may vanish inside and the density may exceed the highest one found; see `critical_points`.
    """
    tops = critical_points(mixture.with_resolvable_sigma(), only_highest=True)[:, ::2]
    # A mean may be a peak that is narrower than the distance of floats.
    tops = np.column_stack([tops, mixture.mu.T])
    rows = np.repeat(np.arange(len(tops)), tops.shape[1])
    flat = tops.ravel()
    there = ~np.isnan(flat)
    heights = np.full(len(flat), -np.inf)
    heights[there] = mixture.rows(rows[there]).log_prob(flat[there])
    best = heights.reshape(tops.shape).argmax(axis=1)
    top: Array = tops[np.arange(len(tops)), best]
    return top


def critical_points(mixture: Marginal, *, only_highest: bool = False) -> Array:
    """Return where each density has slope zero: maximum, minimum, maximum, … in rising order.

    All lie between the smallest and the largest mean. On an interval without a mean inside, the
    components on its left lower the slope and those on its right raise it, each by a term with a
    single peak. This bounds the slope and the curvature. An interval where neither has a certain
    sign is halved, so that no peak is missed, however narrow; see `_undecided`. Then every change
    of sign of the slope is a bracket for a root search.

    Args:
        mixture: N mixtures.
        only_highest: leave out the points that are neither the highest maximum nor next to it.

    Returns:
        Shape (N, S) with odd S; a row with fewer points ends with NaN.
    """
    if not mixture.mu.shape[1]:
        return np.empty((0, 1))
    rows, x = _distinct_means(mixture)
    left, right = _neighbours(rows)
    for _ in range(_MOST_HALVINGS):
        undecided = _undecided(mixture, rows[left], x[left], x[right])
        if only_highest:
            undecided &= _may_be_highest(mixture, rows, x, left, right)
        left, right = left[undecided], right[undecided]
        middle = 0.5 * (x[left] + x[right])
        inside = (middle > x[left]) & (middle < x[right])
        left, right, middle = left[inside], right[inside], middle[inside]
        if not len(left):
            break
        new = len(x) + np.arange(len(middle))
        rows, x = np.append(rows, rows[left]), np.append(x, middle)
        left, right = np.append(left, new), np.append(new, right)
    return _between_signs(mixture, rows, x)


def _distinct_means(mixture: Marginal) -> tuple[Positions, Array]:
    """Return the row of each distinct mean, and the means, flat and in rising order in each row."""
    used = mixture.log_pi > -np.inf
    heaviest = mixture.mu[mixture.log_pi.argmax(axis=0), np.arange(mixture.mu.shape[1])]
    means = np.sort(np.where(used, mixture.mu, heaviest), axis=0).T
    distinct = np.ones(means.shape, dtype=bool)
    distinct[:, 1:] = means[:, 1:] > means[:, :-1]
    return np.nonzero(distinct)[0], means[distinct]


def _neighbours(rows: Positions) -> tuple[Positions, Positions]:
    """Return the positions of the left and right ends of the intervals, none across two rows."""
    left = np.flatnonzero(rows[1:] == rows[:-1])
    return left, left + 1


def _undecided(mixture: Marginal, rows: Positions, low: Array, high: Array) -> Mask:
    """Return whether each interval may hold two relevant zeros of the slope, shape (I,).

    It does not where the slope or the curvature keeps its sign. Nor does it where the interval is
    narrow beside the sigma of every component near it: then the density is the same at both zeros.
    A component k on the right adds pi_k / sigma_k^2 z phi(z) to the slope of p, and one on the left
    subtracts it. Both add pi_k / sigma_k^3 (z^2 - 1) phi(z) to the curvature. For z > 0 the former
    has its only maximum at 1, and the latter at sqrt(3), after its minimum at 0.
    """
    part = mixture.rows(rows)
    on_left = part.mu <= low
    near = np.where(on_left, low - part.mu, part.mu - high) / part.sigma
    far = np.where(on_left, high - part.mu, part.mu - low) / part.sigma
    scale = part.log_pi - 2.0 * np.log(part.sigma)
    # The largest term is scaled to 1, so that not all terms underflow.
    scale -= (scale - 0.5 * near * near).max(axis=0)

    def slope_term(z: Array) -> Array:
        return z * np.exp(scale - 0.5 * z * z)

    def curvature_term(z: Array) -> Array:
        return (z * z - 1.0) * np.exp(scale - 0.5 * z * z) / part.sigma

    least, most = np.minimum(slope_term(near), slope_term(far)), slope_term(np.clip(1.0, near, far))
    up, down = ~on_left, on_left
    slope_open = (least * up).sum(axis=0) <= (most * down).sum(axis=0)
    slope_open &= (most * up).sum(axis=0) >= (least * down).sum(axis=0)
    curvature_open = np.minimum(curvature_term(near), curvature_term(far)).sum(axis=0) < 0.0
    curvature_open &= curvature_term(np.clip(math.sqrt(3.0), near, far)).sum(axis=0) > 0.0
    smallest = np.where(scale > -np.inf, np.maximum(1.0, near / _NEAR) * part.sigma, np.inf)
    wide = high - low > _NARROW * smallest.min(axis=0)
    undecided: Mask = slope_open & curvature_open & wide
    return undecided


def _may_be_highest(
    mixture: Marginal, rows: Positions, x: Array, left: Positions, right: Positions
) -> Mask:
    """Return whether the density may be higher in each interval than at all points x of the row.

    There is no mean inside, so each component is largest at one of the ends.
    """
    parts = mixture.rows(rows).log_components(x)
    heights = np.exp(parts - parts.max(axis=0)).sum(axis=0)
    heights = np.log(heights) + parts.max(axis=0)
    best = np.full(mixture.mu.shape[1], -np.inf)
    np.maximum.at(best, rows, heights)
    ends = np.maximum(parts[:, left], parts[:, right])
    top = ends.max(axis=0)
    most = np.log(np.exp(ends - top).sum(axis=0)) + top
    may_be: Mask = most >= best[rows[left]]
    return may_be


def _between_signs(mixture: Marginal, rows: Positions, x: Array) -> Array:
    """Return the zeros of the slope where its sign changes, (N, S), with NaN at the end of rows."""
    order = np.lexsort((x, rows))
    rows, x = rows[order], x[order]
    rises = mixture.rows(rows).log_prob_and_derivatives(x)[1] >= 0.0
    # The signs at the outermost means are known, even where the slope underflows.
    rises[np.append(True, rows[1:] != rows[:-1])] = True
    last = np.append(rows[1:] != rows[:-1], True)
    lone = last & np.append(True, last[:-1])
    rises[last] = False
    left, right = _neighbours(rows)
    change = rises[left] != rises[right]
    left, right = left[change], right[change]
    slope = _Slope(mixture.rows(rows[left]), rises[left])
    zeros = find_roots(slope, x[left], x[right], 0.5 * (x[left] + x[right]))
    rows_found, found = np.append(rows[lone], rows[left]), np.append(x[lone], zeros)
    order = np.lexsort((found, rows_found))
    rows_found, found = rows_found[order], found[order]
    counts = np.bincount(rows_found, minlength=mixture.mu.shape[1])
    points = np.full((len(counts), int(counts.max(initial=1))), np.nan)
    place = np.arange(len(found)) - np.repeat(counts.cumsum() - counts, counts)
    points[rows_found, place] = found
    return points


class _Slope:
    """The root problem of critical points: the slope of log p, negated where it falls."""

    def __init__(self, mixture: Marginal, falls: Mask) -> None:
        self._mixture, self._falls = mixture, falls

    def evaluate(self, y: Array) -> tuple[Array, Array, Mask]:
        """Return the slope, Newton's step, and where log p has reached its extreme."""
        _, slope, curvature = self._mixture.log_prob_and_derivatives(y)
        with np.errstate(all="ignore"):
            change = -slope / curvature
        done = (np.abs(change * slope) <= _FLAT) & ((curvature < 0.0) == self._falls)
        return np.where(self._falls, -slope, slope), change, done

    def keep(self, chosen: Mask) -> None:
        """Drop all brackets except the chosen ones."""
        self._mixture, self._falls = self._mixture.rows(chosen), self._falls[chosen]


def joint_modes(mixture: GaussianMixture) -> Array:
    """Return the highest maximum found of each joint density, shape (N, T).

    The search is by mean shift (Carreira-Perpiñán 2000, section 5). It starts from every mean and
    from the midpoint of every pair of means, or from the most probable 64 of these points. With the
    components' precisions P_k and their shares r_k of the density at y, the step

        y <- (sum_k r_k P_k)^-1 sum_k r_k P_k mu_k

    never lowers the density.
    """
    one, other = np.triu_indices(mixture.mu.shape[1], k=1)
    at_once = max(1, _TERMS_AT_ONCE // ((len(one) + 1) * math.prod(mixture.mu.shape[1:])))
    best = [np.empty((0, mixture.mu.shape[2]))]
    for at in range(0, len(mixture.mu), at_once):
        some = mixture.rows(slice(at, at + at_once))
        midpoints = 0.5 * (some.mu[:, one] + some.mu[:, other])
        best.append(_highest(some, np.concatenate([some.mu, midpoints], axis=1)))
    return np.concatenate(best)


def _highest(mixture: GaussianMixture, y: Array) -> Array:
    """Return the highest point that mean shift reaches from each row's starts y, (N, S, T)."""
    rows = np.arange(len(y))[:, None]
    order = np.argsort(-log_sum_exp(_log_components(mixture, y)), axis=1, kind="stable")
    starts = y[rows, order[:, :_MOST_STARTS]]
    found = starts.copy()
    narrowest = mixture.sigma.min(axis=1)[:, None]
    moving = np.arange(len(y))
    for _ in range(_SHIFTS):
        new = _mean_shift(mixture.rows(moving), found[moving])
        moved = np.abs(new - found[moving]) / narrowest[moving]
        found[moving] = new
        moving = moving[moved.max(axis=(1, 2), initial=0.0) >= _STILL]
        if not len(moving):
            break
    # By rounding, a start may be slightly better than the point that the search ends at.
    y = np.concatenate([found, starts], axis=1)
    best = log_sum_exp(_log_components(mixture, y)).argmax(axis=1)
    top: Array = y[rows[:, 0], best]
    return top


def _mean_shift(mixture: GaussianMixture, y: Array) -> Array:
    """Return points y, (N, S, T), after one step of mean shift."""
    z = _whiten(mixture, y)
    parts = _constants(mixture)[:, None] - 0.5 * (z * z).sum(axis=3)
    share = np.exp(parts - parts.max(axis=2, keepdims=True))
    if mixture.factor is None:
        precision = mixture.sigma**-2.0
        straight: Array = (share @ (precision * mixture.mu)) / (share @ precision)
        return straight
    targets = y.shape[2]
    # W = C^-1 D^-1, column by column: P = W^T W, and P (mu - y) = -W^T z.
    columns = [solve_lower(mixture.factor, axis) for axis in np.eye(targets)]
    whitening = np.stack(columns, axis=3) / mixture.sigma[:, :, None]
    precision = np.einsum("nkjt,nkju->nktu", whitening, whitening)
    total = (share @ precision.reshape(*share.shape[::2], -1)).reshape(*y.shape, targets)
    pull = -sum((share * z[..., j]) @ whitening[:, :, j] for j in range(targets))
    # Each target is scaled by its own precision: narrow ones would dominate the others.
    units = 1.0 / np.sqrt(np.diagonal(total, axis1=2, axis2=3))
    total = total * units[..., None] * units[:, :, None] + _RIDGE * np.eye(targets)
    shifted: Array = y + units * np.linalg.solve(total, (units * pull)[..., None])[..., 0]
    return shifted


def _log_components(mixture: GaussianMixture, y: Array) -> Array:
    """Return log pi_k N_k at points y, (N, S, T), up to a constant: (N, S, K)."""
    z = _whiten(mixture, y)
    parts: Array = _constants(mixture)[:, None] - 0.5 * (z * z).sum(axis=3)
    return parts


def _whiten(mixture: GaussianMixture, y: Array) -> Array:
    """Return C^-1 (y - mu) / sigma of every component at points y, (N, S, T): (N, S, K, T)."""
    z: Array = (y[:, :, None] - mixture.mu[:, None]) / mixture.sigma[:, None]
    return z if mixture.factor is None else solve_lower(mixture.factor[:, None], z)


def _constants(mixture: GaussianMixture) -> Array:
    """Return log pi_k N_k at each component's mean, up to a constant: (N, K)."""
    constants: Array = mixture.log_pi - np.log(mixture.sigma).sum(axis=2)
    if mixture.factor is not None:
        constants -= np.log(np.diagonal(mixture.factor, axis1=2, axis2=3)).sum(axis=2)
    return constants


def joint_with_jacobian(
    mixture: GaussianMixture, transforms: Sequence[Transform]
) -> GaussianMixture:
    """Return the joint density of targets y as a function of u, both (N, T).

    Each target in turn is treated as in `Marginal.with_jacobian`: the result has one component for
    each component and each exponential, and its weights do not sum to 1.
    """
    for target, transform in enumerate(transforms):
        if transform.is_identity:
            continue
        covariance = mixture.component_covariance(target)
        location, variance = mixture.mu[:, :, target], covariance[:, :, target]
        shifted = [
            replace(
                mixture,
                log_pi=mixture.log_pi + log_weight + c * location + 0.5 * c * c * variance,
                mu=mixture.mu + c * covariance,
            )
            for c, log_weight in transform.exponentials()
        ]
        parts = zip(*(part.arrays() for part in shifted), strict=True)
        mixture = GaussianMixture(*(np.concatenate(part, axis=1) for part in parts))
    return mixture
