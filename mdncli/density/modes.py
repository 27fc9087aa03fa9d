"""Modes of Gaussian mixtures: all critical points of one target, and a search for joint modes."""

import math
from collections.abc import Sequence

import numpy as np

from mdncli.columns.transforms import Transform
from mdncli.density.marginal import Marginal, TargetDensity
from mdncli.density.mixture import GaussianMixture, log_sum_exp, solve_lower
from mdncli.density.numerics import find_roots
from mdncli.types import Array, Mask, Positions

_MOST_HALVINGS = 100
# In sigmas: a component farther away than _NEAR does not shape the density, and zeros of the slope
# closer together than _NARROW need not be distinguished.
_NEAR = 40.0
_NARROW = 2.0**-12
# A component that du/dy changes by more than so many nats in a sigma is cut here, in sigmas.
_STEEP, _CUTS = 20.0, (-9.0, -6.0, -3.0, 0.0, 3.0, 6.0, 9.0)
# The joint search starts from at most this many points, the most probable ones.
_MOST_STARTS = 64
_SHIFTS = 200
# So many steps lead to about the mode that a component would have alone.
_FIRST_STEPS = 10
_STILL = 1e-9
_TERMS_AT_ONCE = 2_000_000
# Keeps the linear systems of almost perfectly correlated targets solvable.
_RIDGE = 1e-14
# A search ends when slope^2 / curvature, about twice the distance of log p from its extreme in
# nats, is this small.
_FLAT = 1e-24
# Bounds of a log density are exact up to this share.
_ROUNDING = 1e-6
# The exponent of a density at most; exp of about 709 is the largest number of float64.
_LARGEST_EXPONENT = 600.0


def modes(density: TargetDensity) -> Array:
    """Return u at the global maximum of each density, shape (N,).

    The intervals between the means are halved while the slope may vanish inside and the density may
    exceed the highest one found; see `critical_points`.
    """
    mixture, transform = density.mixture, density.transform
    resolvable = TargetDensity(mixture.with_resolvable_sigma(), transform)
    tops = critical_points(resolvable, only_highest=True)[:, ::2]
    # The peak of a component may be narrower than the distance of floats.
    peaks = mixture.mu - mixture.sigma**2 * transform.slope_of_log_jacobian(mixture.mu)
    tops = np.column_stack([tops, peaks.T])
    rows = np.repeat(np.arange(len(tops)), tops.shape[1])
    flat = tops.ravel()
    there = ~np.isnan(flat)
    heights = np.full(len(flat), -np.inf)
    heights[there] = density.rows(rows[there]).log_prob(flat[there])
    best = heights.reshape(tops.shape).argmax(axis=1)
    top: Array = tops[np.arange(len(tops)), best]
    return top


def critical_points(
    density: TargetDensity, *, only_highest: bool = False, least: Array | None = None
) -> Array:
    """Return u where each density has slope zero: maximum, minimum, maximum, … in rising order.

    All lie between the smallest and the largest mean; with bounds, of `Marginal.with_jacobian`. On
    an interval, each component adds a term with known extremes to the slope and to the curvature.
    This bounds both. An interval where neither has a certain sign is halved, so that no peak is
    missed, however narrow; see `_undecided`. Then every change of sign of the slope is a bracket
    for a root search.

    Args:
        density: N densities.
        only_highest: leave out the points that are neither the highest maximum nor next to it.
        least: (N,), a log density; points where it is lower may be left out.

    Returns:
        Shape (N, S) with odd S; a row with fewer points ends with NaN.
    """
    if not density.mixture.mu.shape[1]:
        return np.empty((0, 1))
    rows, x = _first_points(density)
    left, right = _neighbours(rows)
    best, known = np.full(density.mixture.mu.shape[1], -np.inf), 0
    for _ in range(_MOST_HALVINGS):
        if only_highest:
            np.maximum.at(best, rows[known:], density.rows(rows[known:]).log_prob(x[known:]))
            known = len(x)
            may_be = _may_be_highest(density, best, rows[left], x[left], x[right])
            left, right = left[may_be], right[may_be]
        elif least is not None:
            may_be = _may_be_highest(density, least, rows[left], x[left], x[right])
            left, right = left[may_be], right[may_be]
        undecided = _undecided(density, rows[left], x[left], x[right])
        left, right = left[undecided], right[undecided]
        middle = 0.5 * (x[left] + x[right])
        inside = (middle > x[left]) & (middle < x[right])
        left, right, middle = left[inside], right[inside], middle[inside]
        if not len(left):
            break
        new = len(x) + np.arange(len(middle))
        rows, x = np.append(rows, rows[left]), np.append(x, middle)
        left, right = np.append(left, new), np.append(new, right)
    return _between_signs(density, rows, x, best if only_highest else None)


def _first_points(density: TargetDensity) -> tuple[Positions, Array]:
    """Return the row of each distinct mean, and the means, flat and in rising order in each row.

    With bounds these are the smallest and the largest mean of `Marginal.with_jacobian`, and about
    where each component of u has its maximum in the density of the target. If du/dy changes a wide
    component by hundreds of nats, there are also points between which its terms do not underflow.
    """
    mixture, transform = density.mixture, density.transform
    used = mixture.log_pi > -np.inf
    heaviest = mixture.log_pi.argmax(axis=0), np.arange(mixture.mu.shape[1])
    points = np.where(used, mixture.mu, mixture.mu[heaviest])
    if not transform.is_identity:
        sigma = np.where(used, mixture.sigma, mixture.sigma[heaviest])
        exponents = [c for c, _ in transform.exponentials()]
        lowest = (points + min(exponents) * sigma**2).min(axis=0)
        highest = (points + max(exponents) * sigma**2).max(axis=0)
        peaks = points - transform.slope_of_log_jacobian(points) * sigma**2
        between = np.where(max(exponents) * sigma > _STEEP, sigma, 0.0)
        cuts = [points + z * between for z in _CUTS if between.any()]
        inside = np.clip(np.concatenate([peaks, *cuts]), lowest, highest)
        points = np.vstack([lowest, inside, highest])
    points = np.sort(points, axis=0).T
    distinct = np.ones(points.shape, dtype=bool)
    distinct[:, 1:] = points[:, 1:] > points[:, :-1]
    return np.nonzero(distinct)[0], points[distinct]


def _neighbours(rows: Positions) -> tuple[Positions, Positions]:
    """Return the positions of the left and right ends of the intervals, none across two rows."""
    left = np.flatnonzero(rows[1:] == rows[:-1])
    return left, left + 1


def _undecided(density: TargetDensity, rows: Positions, low: Array, high: Array) -> Mask:
    """Return whether each interval may hold two relevant zeros of the slope, shape (I,).

    It does not where the slope or the curvature keeps its sign. Nor does it where the interval is
    narrow beside the sigma of every component near it: then the density is the same at both zeros.
    """
    part = _with_chord(density, rows, low, high)
    first, last = (low - part.mu) / part.sigma, (high - part.mu) / part.sigma
    near = np.clip(0.0, first, last)
    scale = part.log_pi - 2.0 * np.log(part.sigma)
    # The largest term is scaled to 1, so that not all terms underflow.
    scale -= (scale - 0.5 * near * near).max(axis=0)
    bounds = _bounds_of_terms(scale, part.sigma, first, last)
    if not density.transform.is_identity:
        bounds = _with_rest(density.transform, part, low, high, bounds)
    slope, curvature = (each.sum(axis=1) for each in bounds[1:])
    distance = np.maximum(1.0, np.abs(near) / _NEAR)
    smallest = np.where(scale > -np.inf, distance * part.sigma, np.inf)
    undecided: Mask = high - low > _NARROW * smallest.min(axis=0)
    undecided &= (slope[0] <= 0.0) & (slope[1] >= 0.0)
    undecided &= (curvature[0] < 0.0) & (curvature[1] > 0.0)
    return undecided


def _bounds_of_terms(scale: Array, sigma: Array, first: Array, last: Array) -> list[Array]:
    """Return bounds of what each component adds to q, q' and q'' on intervals, each (2, K, I).

    With z = (u - mu_k) / sigma_k, a component adds pi_k / sigma_k phi(z) to q. It adds
    -pi_k / sigma_k^2 z phi(z) to the slope, whose extremes are at -1 and 1, and
    pi_k / sigma_k^3 (z^2 - 1) phi(z) to the curvature, whose extremes are at 0, -sqrt(3) and
    sqrt(3).

    Args:
        scale: (K, I), log(pi_k / sigma_k^2), up to a constant for each interval.
        sigma: (K, I).
        first, last: (K, I), z at the ends of each interval.
    """

    # Far from a bound the constant can be too large for float64.
    highest = (scale - 0.5 * np.clip(0.0, first, last) ** 2).max(axis=0)
    scale = scale - np.maximum(highest - _LARGEST_EXPONENT, 0.0)

    rate = 1.0 / sigma

    def height(z: Array) -> Array:
        return np.asarray(np.exp(np.minimum(scale - 0.5 * z * z, _LARGEST_EXPONENT)))

    def slope(z: Array) -> Array:
        return -z * height(z)

    def curvature(z: Array) -> Array:
        return (z * z - 1.0) * height(z) * rate

    def inside(side: float) -> Array:
        return np.asarray(np.clip(side, first, last))

    ends = [height(end) for end in (first, last)]
    slopes = [-z * end for z, end in zip((first, last), ends, strict=True)]
    bends = [(z * z - 1.0) * end * rate for z, end in zip((first, last), ends, strict=True)]
    centre = inside(0.0)
    top = height(centre)
    root = math.sqrt(3.0)
    pairs = (
        (sigma * np.minimum(*ends), sigma * top),
        (
            np.minimum(slope(inside(1.0)), slopes[0]),
            np.maximum(slope(inside(-1.0)), slopes[1]),
        ),
        (
            np.minimum.reduce([(centre * centre - 1.0) * top * rate, *bends]),
            np.maximum(curvature(inside(-root)), curvature(inside(root))),
        ),
    )
    return [np.stack(pair) for pair in pairs]


def _with_chord(density: TargetDensity, rows: Positions, low: Array, high: Array) -> Marginal:
    """Return q(u) exp(chord(u)) on each interval, where the chord has the value of g at both ends.

    It is a mixture again, and not lower than the density of the target, since g is convex.
    """
    part = density.mixture.rows(rows)
    if density.transform.is_identity:
        return part
    rise, start = _chord(density.transform, low, high), density.log_jacobian(low)
    variance = part.sigma * part.sigma
    constant = start + rise * (part.mu - low + 0.5 * rise * variance)
    return Marginal(part.log_pi + constant, part.mu + rise * variance, part.sigma)


def _chord(transform: Transform, low: Array, high: Array) -> Array:
    """Return the slope of the chord of g = log du/dy between two points, shape (I,)."""
    fall = transform.log_abs_det_jacobian(high) - transform.log_abs_det_jacobian(low)
    rise = -fall / (high - low)
    least, most = (-transform.slope_of_log_jacobian(end) for end in (low, high))
    slope: Array = np.clip(rise, least, most)
    return slope


def _with_rest(
    transform: Transform, part: Marginal, low: Array, high: Array, bounds: list[Array]
) -> list[Array]:
    """Return bounds of what each component adds to p and its derivatives, divided by exp(e).

    Here p = q exp(e), where q includes exp(chord), and e = g - chord is the rest. A component q
    adds q' + e' q to the slope, which is (l + e') q with its own l = -z / sigma. It adds
    q'' + 2 e' q' + (e'' + e'^2) q to the curvature, which is ((l + e')^2 + e'' - 1 / sigma^2) q.
    Both forms give bounds, and the narrower ones are taken. The slope e' rises with u. The
    curvature e'' is constant, or it rises until u = 0 and falls after it.

    Args:
        transform: g is log du/dy.
        part: q on each interval; see `_with_chord`.
        low, high: (I,), the ends of the intervals.
        bounds: those of q, q' and q'', each (2, K, I).
    """
    q, slope, curvature = bounds
    chord = _chord(transform, low, high)
    rest = np.stack([-transform.slope_of_log_jacobian(end) - chord for end in (low, high)])
    bends = -transform.curvature_of_log_jacobian(np.stack([low, high, np.clip(0.0, low, high)]))
    rest = rest[:, None]
    bend = np.stack([bends.min(axis=0), bends.max(axis=0)])[:, None]
    both = np.stack([part.mu - high, part.mu - low]) / part.sigma**2 + rest
    own = _square(both) + bend - part.sigma**-2.0
    curvature = curvature + 2.0 * _product(rest, slope) + _product(_square(rest) + bend, q)
    slope = slope + _product(rest, q)
    return [q, _narrower(slope, _product(both, q)), _narrower(curvature, _product(own, q))]


def _product(one: Array, other: Array) -> Array:
    """Return the bounds of a product, (2, K, I), from the bounds of its factors."""
    every = one[:, None] * other
    return np.stack([every.min(axis=(0, 1)), every.max(axis=(0, 1))])


def _square(bounds: Array) -> Array:
    """Return the bounds of a square, from those of its root."""
    squares = np.sort(bounds * bounds, axis=0)
    squares[0] = np.where((bounds[0] < 0.0) & (bounds[1] > 0.0), 0.0, squares[0])
    return squares


def _narrower(one: Array, other: Array) -> Array:
    """Return what both bounds of the same quantity, (2, K, I), allow."""
    return np.stack([np.maximum(one[0], other[0]), np.minimum(one[1], other[1])])


def _may_be_highest(
    density: TargetDensity, best: Array, rows: Positions, low: Array, high: Array
) -> Mask:
    """Return whether the density may be higher in each interval than the best known of its row.

    Each component is largest at its mean or at the end that is nearer to it.
    """
    part = _with_chord(density, rows, low, high)
    largest = part.log_components(np.clip(part.mu, low, high))
    top = largest.max(axis=0)
    most = np.log(np.exp(largest - top).sum(axis=0)) + top
    may_be: Mask = most >= best[rows]
    return may_be


def _between_signs(
    density: TargetDensity, rows: Positions, x: Array, best: Array | None = None
) -> Array:
    """Return the zeros of the slope where its sign changes, (N, S), with NaN at the end of rows.

    With the best known log density of each row, (N,), only maxima that may exceed it are exact.
    """
    order = np.lexsort((x, rows))
    rows, x = rows[order], x[order]
    rises = density.rows(rows).log_prob_and_derivatives(x)[1] >= 0.0
    # The signs at the outermost means are known, even where the slope underflows.
    rises[np.append(True, rows[1:] != rows[:-1])] = True
    last = np.append(rows[1:] != rows[:-1], True)
    lone = last & np.append(True, last[:-1])
    rises[last] = False
    left, right = _neighbours(rows)
    change = rises[left] != rises[right]
    left, right = left[change], right[change]
    zeros, sought = 0.5 * (x[left] + x[right]), np.ones(len(left), bool)
    if best is not None:
        # At the end of an interval, rounding could leave the bound below the density itself.
        least = best - _ROUNDING * (1.0 + np.abs(best))
        sought = rises[left] & _may_be_highest(density, least, rows[left], x[left], x[right])
    slope = _Slope(density.rows(rows[left[sought]]), rises[left[sought]])
    zeros[sought] = find_roots(slope, x[left[sought]], x[right[sought]], zeros[sought])
    rows_found, found = np.append(rows[lone], rows[left]), np.append(x[lone], zeros)
    order = np.lexsort((found, rows_found))
    rows_found, found = rows_found[order], found[order]
    counts = np.bincount(rows_found, minlength=density.mixture.mu.shape[1])
    points = np.full((len(counts), int(counts.max(initial=1))), np.nan)
    place = np.arange(len(found)) - np.repeat(counts.cumsum() - counts, counts)
    points[rows_found, place] = found
    return points


class _Slope:
    """The root problem of critical points: the slope of log p, negated where it falls."""

    def __init__(self, density: TargetDensity, falls: Mask) -> None:
        self._density, self._falls = density, falls

    def evaluate(self, y: Array) -> tuple[Array, Array, Mask]:
        """Return the slope, Newton's step, and where log p has reached its extreme."""
        _, slope, curvature = self._density.log_prob_and_derivatives(y)
        with np.errstate(all="ignore"):
            change = -slope / curvature
        done = (np.abs(change * slope) <= _FLAT) & ((curvature < 0.0) == self._falls)
        return np.where(self._falls, -slope, slope), change, done

    def keep(self, chosen: Mask) -> None:
        """Drop all brackets except the chosen ones."""
        self._density, self._falls = self._density.rows(chosen), self._falls[chosen]


def joint_modes(mixture: GaussianMixture, transforms: Sequence[Transform]) -> Array:
    """Return u at the highest maximum found of each joint density of the targets, shape (N, T).

    As a function of u, the density of y = forward(u) is q(u) prod_t exp(g_t(u_t)), where q is the
    mixture and g = log du/dy. The search is by mean shift (Carreira-Perpiñán 2000, section 5). With
    the components' precisions P_k and their shares r_k of q at u, and with P = sum_k r_k P_k, the
    step

        u <- P^-1 (sum_k r_k P_k mu_k + g'(u))

    never lowers the density. For g = 0 this is known of mean shift: sum_k r_k log(pi_k N_k), plus a
    constant, is a lower bound of log q that touches it at the present u. And g is convex, so its
    tangent is a lower bound too. The step leads to the maximum of the sum of both.

    Args:
        mixture: N mixtures of u.
        transforms: from u to each target.
    """
    _, components, targets = mixture.mu.shape
    starts = components * (components + 2 * targets + 4)
    at_once = max(1, _TERMS_AT_ONCE // (starts * components * targets))
    best = [np.empty((0, targets))]
    for at in range(0, len(mixture.mu), at_once):
        some = mixture.rows(slice(at, at + at_once))
        best.append(_highest(some, transforms, _starts(some, transforms)))
    return np.concatenate(best)


def _starts(mixture: GaussianMixture, transforms: Sequence[Transform]) -> Array:
    """Return the points where the search for joint modes starts, (N, S, T).

    They are every mean, and the midpoint of every pair of means. With bounds they are also the
    modes that the components would have alone, and the midpoints of these. For a target with two
    bounds a component may have a mode near each bound. So there are also the points that a step
    from its mode would lead to if the g' of one target had its smallest or its largest value, or if
    all of them were negated.
    """
    one, other = np.triu_indices(mixture.mu.shape[1], k=1)
    points, centres = [mixture.mu], mixture.mu
    if not all(transform.is_identity for transform in transforms):
        targets = range(len(transforms))
        covariance = np.stack([mixture.component_covariance(t) for t in targets], axis=2)

        def step(rise: Array) -> Array:
            moved: Array = mixture.mu + (covariance @ rise[..., None])[..., 0]
            return moved

        exponents = [[c for c, _ in transform.exponentials()] for transform in transforms]
        least, most = (np.array([bound(each) for each in exponents]) for bound in (min, max))
        # A search from a minimum in the middle between two bounds would stay there.
        rise = np.where(mixture.mu < 0.0, least, most)
        for _ in range(_FIRST_STEPS):
            centres = step(rise)
            rise = _rise(transforms, centres)
        points += [centres, step(least + most - rise)]
        for target in np.flatnonzero(least < most):
            chosen = np.eye(len(transforms))[target]
            points += [step(rise + chosen * (extreme - rise)) for extreme in (least, most)]
    midpoints = 0.5 * (centres[:, one] + centres[:, other])
    return np.concatenate([*points, midpoints], axis=1)


def _rise(transforms: Sequence[Transform], u: Array) -> Array:
    """Return g'(u) of g = log du/dy at points u, (N, S, T), in the same shape."""
    each = [-transform.slope_of_log_jacobian(u[..., t]) for t, transform in enumerate(transforms)]
    return np.stack(each, axis=-1)


def _log_density(mixture: GaussianMixture, transforms: Sequence[Transform], u: Array) -> Array:
    """Return log p(y) at points u, (N, S, T), up to a constant: (N, S)."""
    density = log_sum_exp(_log_components(mixture, u))
    for target, transform in enumerate(transforms):
        if not transform.is_identity:
            density -= transform.log_abs_det_jacobian(u[..., target])
    return density


def _highest(mixture: GaussianMixture, transforms: Sequence[Transform], u: Array) -> Array:
    """Return the highest point that mean shift reaches from each row's starts u, (N, S, T)."""
    rows = np.arange(len(u))[:, None]
    order = np.argsort(-_log_density(mixture, transforms, u), axis=1, kind="stable")
    starts = u[rows, order[:, :_MOST_STARTS]]
    found = starts.copy()
    narrowest = mixture.sigma.min(axis=1)[:, None]
    moving = np.arange(len(u))
    for _ in range(_SHIFTS):
        new = mean_shift(mixture.rows(moving), transforms, found[moving])
        moved = np.abs(new - found[moving]) / narrowest[moving]
        found[moving] = new
        moving = moving[moved.max(axis=(1, 2), initial=0.0) >= _STILL]
        if not len(moving):
            break
    # By rounding, a start may be slightly better than the point that the search ends at.
    u = np.concatenate([found, starts], axis=1)
    best = _log_density(mixture, transforms, u).argmax(axis=1)
    top: Array = u[rows[:, 0], best]
    return top


def mean_shift(mixture: GaussianMixture, transforms: Sequence[Transform], u: Array) -> Array:
    """Return points u, (N, S, T), after one step of mean shift; see `joint_modes`."""
    z, rise = _whiten(mixture, u), _rise(transforms, u)
    parts = _constants(mixture)[:, None] - 0.5 * (z * z).sum(axis=3)
    share = np.exp(parts - parts.max(axis=2, keepdims=True))
    share /= share.sum(axis=2, keepdims=True)
    if mixture.factor is None:
        precision = mixture.sigma**-2.0
        straight: Array = (share @ (precision * mixture.mu) + rise) / (share @ precision)
        return straight
    targets = u.shape[2]
    # W = C^-1 D^-1, column by column: P = W^T W, and P (mu - u) = -W^T z.
    columns = [solve_lower(mixture.factor, axis) for axis in np.eye(targets)]
    whitening = np.stack(columns, axis=3) / mixture.sigma[:, :, None]
    precision = np.einsum("nkjt,nkju->nktu", whitening, whitening)
    total = (share @ precision.reshape(*share.shape[::2], -1)).reshape(*u.shape, targets)
    pull = rise - sum((share * z[..., j]) @ whitening[:, :, j] for j in range(targets))
    # Each target is scaled by its own precision: narrow ones would dominate the others.
    units = 1.0 / np.sqrt(np.diagonal(total, axis1=2, axis2=3))
    total = total * units[..., None] * units[:, :, None] + _RIDGE * np.eye(targets)
    shifted: Array = u + units * np.linalg.solve(total, (units * pull)[..., None])[..., 0]
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
