"""Modes of Gaussian mixtures: every one on the line, the best one found in several dimensions."""

import math

import numpy as np

from mdncli.density.marginal import Univariate
from mdncli.density.mixture import GaussianMixture, log_sum_exp, solved
from mdncli.density.solvers import bracketed_zeros
from mdncli.types import Array, Mask, Positions

_ROUNDS_OF_HALVING = 100
# In sigmas: within which a component shapes the density, and how much apart two zeros matter.
_NEAR_BY = 40.0
_NARROW = 2.0**-12
# Starts of the search in several dimensions, from the most probable on.
_MOST_STARTS = 64
_SHIFTS = 200
_STILL = 1e-9
_TERMS_AT_ONCE = 2_000_000
# Keeps a system solvable whose targets are correlated to the last digit; shortens a step by less.
_RIDGE = 1e-14
# Of slope^2 / bend, twice what log p is still short of its extreme, in nats.
_FLAT = 1e-24


def modes(mixture: Univariate) -> Array:
    """Return the global maximum of each density, shape (N,).

    It lies between two neighbouring means. Intervals between them are halved while the slope may
    vanish inside and the density may exceed the best met so far; see `critical_points`.
    """
    tops = critical_points(mixture.resolved(), only_highest=True)[:, ::2]
    # Any mean may be a peak that is narrower than the distance of floats.
    tops = np.column_stack([tops, mixture.mu.T])
    rows = np.repeat(np.arange(len(tops)), tops.shape[1])
    flat = tops.ravel()
    there = ~np.isnan(flat)
    heights = np.full(len(flat), -np.inf)
    heights[there] = mixture.rows(rows[there]).log_density(flat[there])
    best = heights.reshape(tops.shape).argmax(axis=1)
    top: Array = tops[np.arange(len(tops)), best]
    return top


def critical_points(mixture: Univariate, *, only_highest: bool = False) -> Array:
    """Return where each density is flat: a maximum, a minimum, a maximum, … in rising order.

    All lie between the smallest and the largest mean. On an interval without a mean inside, the
    components to its left pull the slope down and those to its right push it up, each by a term
    that has one peak. While the bounds this gives leave open the signs of both slope and bend the
    interval is halved, so that no peak is missed, however narrow; see `_undecided`. Each change of
    sign of the slope is then a bracket.

    Args:
        mixture: N of them.
        only_highest: leave out what cannot be the highest maximum, or beside it.

    Returns:
        Shape (N, S), S odd; rows with fewer points end with NaN.
    """
    if not mixture.mu.shape[1]:
        return np.empty((0, 1))
    rows, x = _ends(mixture)
    left, right = _neighbours(rows)
    for _ in range(_ROUNDS_OF_HALVING):
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


def _ends(mixture: Univariate) -> tuple[Positions, Array]:
    """Return the distinct means of each row in rising order, flat, with the rows they are of."""
    used = mixture.log_pi > -np.inf
    heaviest = mixture.mu[mixture.log_pi.argmax(axis=0), np.arange(mixture.mu.shape[1])]
    means = np.sort(np.where(used, mixture.mu, heaviest), axis=0).T
    distinct = np.ones(means.shape, dtype=bool)
    distinct[:, 1:] = means[:, 1:] > means[:, :-1]
    return np.nonzero(distinct)[0], means[distinct]


def _neighbours(rows: Positions) -> tuple[Positions, Positions]:
    """Return the positions of the left and right ends of the intervals within a row."""
    left = np.flatnonzero(rows[1:] == rows[:-1])
    return left, left + 1


def _undecided(mixture: Univariate, rows: Positions, low: Array, high: Array) -> Mask:
    """Return whether each interval may hold two zeros of the slope that matter, shape (I,).

    Not where the slope keeps its sign, nor where the bend does, nor where the interval is narrow
    beside the sigma of any component near by: the heights at two zeros in it are the same.
    Component k adds pi_k / sigma_k^2 z phi(z) to the slope of p if it is to the right, else it
    takes that away; to the bend it adds pi_k / sigma_k^3 (z^2 - 1) phi(z). For z > 0 the one has
    its only maximum at 1, the other at sqrt(3), after its minimum at 0.
    """
    part = mixture.rows(rows)
    on_left = part.mu <= low
    near = np.where(on_left, low - part.mu, part.mu - high) / part.sigma
    far = np.where(on_left, high - part.mu, part.mu - low) / part.sigma
    scale = part.log_pi - 2.0 * np.log(part.sigma)
    # A common factor, so that not all underflow.
    scale -= (scale - 0.5 * near * near).max(axis=0)

    def pull(z: Array) -> Array:
        return z * np.exp(scale - 0.5 * z * z)

    def curl(z: Array) -> Array:
        return (z * z - 1.0) * np.exp(scale - 0.5 * z * z) / part.sigma

    least, most = np.minimum(pull(near), pull(far)), pull(np.clip(1.0, near, far))
    up, down = ~on_left, on_left
    slope_open = (least * up).sum(axis=0) <= (most * down).sum(axis=0)
    slope_open &= (most * up).sum(axis=0) >= (least * down).sum(axis=0)
    bend_open = np.minimum(curl(near), curl(far)).sum(axis=0) < 0.0
    bend_open &= curl(np.clip(math.sqrt(3.0), near, far)).sum(axis=0) > 0.0
    smallest = np.where(scale > -np.inf, np.maximum(1.0, near / _NEAR_BY) * part.sigma, np.inf)
    wide = high - low > _NARROW * smallest.min(axis=0)
    undecided: Mask = slope_open & bend_open & wide
    return undecided


def _may_be_highest(
    mixture: Univariate, rows: Positions, x: Array, left: Positions, right: Positions
) -> Mask:
    """Return whether each interval may hold a density above the highest of those at all x.

    Without a mean inside, each component is largest at one of the ends.
    """
    parts = mixture.rows(rows).log_parts(x)
    heights = np.exp(parts - parts.max(axis=0)).sum(axis=0)
    heights = np.log(heights) + parts.max(axis=0)
    best = np.full(mixture.mu.shape[1], -np.inf)
    np.maximum.at(best, rows, heights)
    ends = np.maximum(parts[:, left], parts[:, right])
    top = ends.max(axis=0)
    most = np.log(np.exp(ends - top).sum(axis=0)) + top
    may_be: Mask = most >= best[rows[left]]
    return may_be


def _between_signs(mixture: Univariate, rows: Positions, x: Array) -> Array:
    """Return the zeros of the slope between points of unlike sign, (N, S), ended with NaN."""
    order = np.lexsort((x, rows))
    rows, x = rows[order], x[order]
    rises = mixture.rows(rows).log_density_and_slopes(x)[1] >= 0.0
    # At the outermost means the sign is certain, even where it is lost to underflow.
    rises[np.append(True, rows[1:] != rows[:-1])] = True
    last = np.append(rows[1:] != rows[:-1], True)
    lone = last & np.append(True, last[:-1])
    rises[last] = False
    left, right = _neighbours(rows)
    change = rises[left] != rises[right]
    left, right = left[change], right[change]
    slope = _Slope(mixture.rows(rows[left]), rises[left])
    zeros = bracketed_zeros(slope, x[left], x[right], 0.5 * (x[left] + x[right]))
    rows_found, found = np.append(rows[lone], rows[left]), np.append(x[lone], zeros)
    order = np.lexsort((found, rows_found))
    rows_found, found = rows_found[order], found[order]
    counts = np.bincount(rows_found, minlength=mixture.mu.shape[1])
    points = np.full((len(counts), int(counts.max(initial=1))), np.nan)
    place = np.arange(len(found)) - np.repeat(counts.cumsum() - counts, counts)
    points[rows_found, place] = found
    return points


class _Slope:
    """The slope of log p, as the search asks for it; negated where it falls through its zero."""

    def __init__(self, mixture: Univariate, falls: Mask) -> None:
        self._mixture, self._falls = mixture, falls

    def ask(self, y: Array) -> tuple[Array, Array, Mask]:
        """Return the slope, Newton's step, and where log p is as good as its extreme."""
        _, slope, bend = self._mixture.log_density_and_slopes(y)
        with np.errstate(all="ignore"):
            change = -slope / bend
        done = (np.abs(change * slope) <= _FLAT) & ((bend < 0.0) == self._falls)
        return np.where(self._falls, -slope, slope), change, done

    def keep(self, chosen: Mask) -> None:
        """Forget all brackets but the chosen ones."""
        self._mixture, self._falls = self._mixture.rows(chosen), self._falls[chosen]


def joint_modes(mixture: GaussianMixture) -> Array:
    """Return the highest maximum found of each joint density, shape (N, T).

    A search, by mean shift (Carreira-Perpiñán 2000, section 5): from every mean and the midpoint
    of every pair, with the components' precisions P_k and their shares r_k of the density at y,

        y <- (sum_k r_k P_k)^-1 sum_k r_k P_k mu_k

    never lowers the density. Of more than 64 starts the most probable are taken.
    """
    one, other = np.triu_indices(mixture.mu.shape[1], k=1)
    at_once = max(1, _TERMS_AT_ONCE // ((len(one) + 1) * math.prod(mixture.mu.shape[1:])))
    best = [np.empty((0, mixture.mu.shape[2]))]
    for at in range(0, len(mixture.mu), at_once):
        some = mixture.rows(slice(at, at + at_once))
        midpoints = 0.5 * (some.mu[:, one] + some.mu[:, other])
        best.append(_highest_of(some, np.concatenate([some.mu, midpoints], axis=1)))
    return np.concatenate(best)


def _highest_of(mixture: GaussianMixture, y: Array) -> Array:
    """Return the best of the maxima that mean shift reaches from each row's starts, (N, S, T)."""
    rows = np.arange(len(y))[:, None]
    order = np.argsort(-log_sum_exp(_log_parts(mixture, y)), axis=1, kind="stable")
    starts = y[rows, order[:, :_MOST_STARTS]]
    found = starts.copy()
    narrowest = mixture.sigma.min(axis=1)[:, None]
    moving = np.arange(len(y))
    for _ in range(_SHIFTS):
        new = _shifted(mixture.rows(moving), found[moving])
        moved = np.abs(new - found[moving]) / narrowest[moving]
        found[moving] = new
        moving = moving[moved.max(axis=(1, 2), initial=0.0) >= _STILL]
        if not len(moving):
            break
    # A start is better than where it leads only by rounding, where floats are sparse.
    y = np.concatenate([found, starts], axis=1)
    best = log_sum_exp(_log_parts(mixture, y)).argmax(axis=1)
    top: Array = y[rows[:, 0], best]
    return top


def _shifted(mixture: GaussianMixture, y: Array) -> Array:
    """Return where one round of mean shift takes points y (N, S, T)."""
    z = _whitened(mixture, y)
    parts = _constants(mixture)[:, None] - 0.5 * (z * z).sum(axis=3)
    share = np.exp(parts - parts.max(axis=2, keepdims=True))
    if mixture.factor is None:
        precision = mixture.sigma**-2.0
        straight: Array = (share @ (precision * mixture.mu)) / (share @ precision)
        return straight
    targets = y.shape[2]
    # W = C^-1 D^-1, column by column: P = W^T W, and P (mu - y) = -W^T z.
    columns = [solved(mixture.factor, axis) for axis in np.eye(targets)]
    whitening = np.stack(columns, axis=3) / mixture.sigma[:, :, None]
    precision = np.einsum("nkjt,nkju->nktu", whitening, whitening)
    total = (share @ precision.reshape(*share.shape[::2], -1)).reshape(*y.shape, targets)
    pull = -sum((share * z[..., j]) @ whitening[:, :, j] for j in range(targets))
    # Every target in units of its own precision, or narrow ones would drown the others.
    units = 1.0 / np.sqrt(np.diagonal(total, axis1=2, axis2=3))
    total = total * units[..., None] * units[:, :, None] + _RIDGE * np.eye(targets)
    shifted: Array = y + units * np.linalg.solve(total, (units * pull)[..., None])[..., 0]
    return shifted


def _log_parts(mixture: GaussianMixture, y: Array) -> Array:
    """Return log pi_k N_k at points y (N, S, T), but for a constant: (N, S, K)."""
    z = _whitened(mixture, y)
    parts: Array = _constants(mixture)[:, None] - 0.5 * (z * z).sum(axis=3)
    return parts


def _whitened(mixture: GaussianMixture, y: Array) -> Array:
    """Return C^-1 (y - mu) / sigma of every component at points y (N, S, T): (N, S, K, T)."""
    z: Array = (y[:, :, None] - mixture.mu[:, None]) / mixture.sigma[:, None]
    return z if mixture.factor is None else solved(mixture.factor[:, None], z)


def _constants(mixture: GaussianMixture) -> Array:
    """Return what log pi_k N_k is at the component's mean, but for a constant: (N, K)."""
    constants: Array = mixture.log_pi - np.log(mixture.sigma).sum(axis=2)
    if mixture.factor is not None:
        constants -= np.log(np.diagonal(mixture.factor, axis1=2, axis2=3)).sum(axis=2)
    return constants
