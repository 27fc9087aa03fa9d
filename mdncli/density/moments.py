"""Moments, correlations and the CRPS of targets, with and without bounds.

Without bounds and with one bound there are closed forms. Two bounds need quadrature.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from math import comb

import numpy as np
import scipy

from mdncli.columns.discrete import Atoms
from mdncli.columns.transforms import Interval, Transform
from mdncli.density.marginal import Marginal, normal_between, quantiles
from mdncli.density.mixture import LOG_2PI, GaussianMixture
from mdncli.density.numerics import in_pieces, integrate
from mdncli.types import Array, Positions

_PAIRS_AT_ONCE = 4_000_000


def crps(mixture: GaussianMixture, y: Array) -> Array:
    """Return the continuous ranked probability score of each target, in closed form.

        sum_k pi_k A(y - mu_k, sigma_k^2)
            - 1/2 sum_j sum_k pi_j pi_k A(mu_j - mu_k, sigma_j^2 + sigma_k^2),
        A(m, s^2) = 2 s phi(m / s) + m (2 Phi(m / s) - 1)

    (Grimit, Gneiting, Berrocal and Johnson 2006, eq. 5).

    Args:
        mixture: N mixtures of targets without bounds.
        y: (N, T), in the units of the mixtures.

    Returns:
        Shape (N, T), in the units of y; 0 is perfect.
    """
    rows, components, _ = mixture.mu.shape
    at_once = max(1, _PAIRS_AT_ONCE // components**2)
    parts = [
        _crps_of_piece(*(v[at : at + at_once] for v in (mixture.pi, mixture.mu, mixture.sigma, y)))
        for at in range(0, rows, at_once)
    ]
    return np.concatenate([np.empty((0, y.shape[1])), *parts])


def _crps_of_piece(pi: Array, mu: Array, sigma: Array, y: Array) -> Array:
    to_value = np.einsum("nk,nkt->nt", pi, _expected_distance(y[:, None] - mu, sigma))
    apart = mu[:, :, None] - mu[:, None]
    spread = np.hypot(sigma[:, :, None], sigma[:, None])
    among = np.einsum("nj,nk,njkt->nt", pi, pi, _expected_distance(apart, spread), optimize=True)
    score: Array = to_value - 0.5 * among
    return score


def _expected_distance(mean: Array, std: Array) -> Array:
    """Return E|X| of X ~ N(mean, std^2)."""
    z = mean / std
    density = np.exp(-0.5 * (z * z + LOG_2PI))
    distance: Array = 2.0 * std * density + mean * (2.0 * scipy.special.ndtr(z) - 1.0)
    return distance


# In sigmas: the probability of a component beyond this is below the last digit of a float.
_REACH = 9.0
# With the order 1, the values of u where the share v has lost the last digit of 1 - v, and of v
# itself; and where the integrals are cut in pieces. With a higher order they are nearer to 0.
_END, _LOWEST = 40.0, 740.0
_CUTS = np.array([-740.0, -300.0, -100.0, -40.0, -15.0, -5.0, 0.0, 5.0, 15.0, 40.0, 100.0, 740.0])
# Up to this sigma, divided by the root of the order, one rule with fixed nodes gives the moments
# between two bounds. This is its step, in sigmas.
_WIDE = 2.0
_STEP = 0.375
_LOGNORMAL_PAIRS = 1_000_000
_TERMS_AT_ONCE = 20_000


def bounded_moments(mixture: Marginal, transform: Transform) -> Array:
    """Return the mean and the variance of a target with bounds, shape (N, 2), in its units.

    Args:
        mixture: N mixtures of u.
        transform: from u to the target; it has at least one bound.
    """
    if isinstance(transform, Interval):
        return _moments_between(mixture, transform)
    # With the upper bound B, B - y is lognormal; its mixture is the mirrored one.
    mean, variance = _lognormal(mixture if transform.upper is None else _mirrored(mixture))
    mean = (
        transform.lower + mean if transform.lower is not None else (transform.upper or 0.0) - mean
    )
    return np.stack([mean, variance], axis=1)


def bounded_crps(mixture: Marginal, transform: Transform, y: Array) -> Array:
    """Return the CRPS of a target with bounds, shape (N,), in its units; 0 is perfect.

    Args:
        mixture: N mixtures of u.
        transform: from u to the target; it has at least one bound.
        y: (N,), in the units of the file; it may be at a bound or beyond it.
    """
    if not isinstance(transform, Interval):
        if transform.lower is None:
            return _lognormal_crps(_mirrored(mixture), (transform.upper or 0.0) - y)
        return _lognormal_crps(mixture, y - transform.lower)
    inside = np.clip(y, transform.lower, transform.upper)
    compute = partial(_crps_between, _onto_shares(transform))
    score = _in_pieces_of_rows(compute, mixture, transform.inverse(inside))
    # Beyond a bound, the distance to every possible value grows by the same amount.
    total: Array = (transform.upper - transform.lower) * score + np.abs(y - inside)
    return total


def _mirrored(mixture: Marginal) -> Marginal:
    return Marginal(mixture.log_pi, -mixture.mu, mixture.sigma)


def _lognormal(mixture: Marginal) -> tuple[Array, Array]:
    """Return the mean and the variance of exp(u), each (N,).

    A component has the mean m = exp(mu + sigma^2 / 2) and the variance m^2 (exp(sigma^2) - 1). All
    terms are computed in logs and relative to the mean, so that none of them overflows unless the
    result does. (Johnson, Kotz and Balakrishnan 1994, chapter 14)
    """
    variance = mixture.sigma * mixture.sigma
    log_means = mixture.mu + 0.5 * variance
    log_mean = _log_sum(mixture.log_pi + log_means)
    # log(exp(s) - 1) = s + log(1 - exp(-s)).
    within = variance + np.log(-np.expm1(-variance))
    gap = log_means - log_mean
    # This is log |m_k / mean - 1|.
    with np.errstate(divide="ignore"):
        between = np.maximum(gap, 0.0) + np.log(-np.expm1(-np.abs(gap)))
    squares = np.logaddexp(2.0 * gap + within, 2.0 * between)
    with np.errstate(over="ignore"):
        return np.exp(log_mean), np.exp(2.0 * log_mean + _log_sum(mixture.log_pi + squares))


def _lognormal_crps(mixture: Marginal, t: Array) -> Array:
    """Return the CRPS of exp(u) at t, (N,), which may be negative.

        sum_k pi_k (t (2 Phi(z_k) - 1) - 2 m_k Phi(z_k - sigma_k))
            + 2 sum_j sum_k pi_j pi_k m_j Phi(-d_jk),
        d_jk = (mu_j - mu_k + sigma_j^2) / sqrt(sigma_j^2 + sigma_k^2),

    with z = (log t - mu) / sigma and m = exp(mu + sigma^2 / 2). This is E|Y - t| - E|Y - Y'| / 2,
    where the means themselves cancel. (For one component: Baran and Lerch 2015)
    """
    with np.errstate(divide="ignore"):
        log_t = np.log(np.maximum(t, 0.0))
    z = (log_t - mixture.mu) / mixture.sigma
    log_weighted = mixture.log_pi + mixture.mu + 0.5 * mixture.sigma**2
    to_value = (mixture.pi * t * (2.0 * scipy.special.ndtr(z) - 1.0)).sum(axis=0)
    with np.errstate(over="ignore"):
        upto = np.exp(log_weighted + scipy.special.log_ndtr(z - mixture.sigma))
    to_value -= 2.0 * upto.sum(axis=0)
    components = len(mixture.mu)

    def among(part: slice) -> Array:
        pi, mu, sigma = (a[:, part] for a in (mixture.pi, mixture.mu, mixture.sigma))
        apart = mu[:, None] - mu + (sigma * sigma)[:, None]
        lesser = scipy.special.log_ndtr(-apart / np.hypot(sigma[:, None], sigma))
        with np.errstate(over="ignore", invalid="ignore"):
            terms = pi * np.exp(log_weighted[:, None, part] + lesser)
        pairs: Array = terms.sum(axis=(0, 1))
        return pairs

    at_once = max(1, _LOGNORMAL_PAIRS // components**2)
    # An infinite mean has no CRPS.
    with np.errstate(invalid="ignore"):
        score: Array = to_value + 2.0 * in_pieces(among, len(t), at_once)
    return score


def _moments_between(mixture: Marginal, transform: Interval) -> Array:
    """Return the mean and the variance of a target between two bounds, shape (N, 2).

    They are computed from the share V of the distance between the bounds. It is measured from the
    bound that is nearer to the heaviest component, so that a small share keeps its digits.
    """
    heaviest = mixture.log_pi.argmax(axis=0)
    mirrored = mixture.mu[heaviest, np.arange(len(heaviest))] > 0.0
    from_nearer = Marginal(
        mixture.log_pi, np.where(mirrored, -mixture.mu, mixture.mu), mixture.sigma
    )
    widest = np.where(mixture.log_pi > -np.inf, mixture.sigma, 0.0).max(axis=0)
    share = np.empty((len(mirrored), 2))
    wide = widest > _WIDE / np.sqrt(transform.order)
    shares = _onto_shares(transform)
    for chosen, compute in ((~wide, _share_by_sum), (wide, _share_by_quadrature)):
        some = from_nearer.rows(chosen)
        share[chosen] = _in_pieces_of_rows(partial(compute, shares), some)
    mean, variance = share.T
    width = transform.upper - transform.lower
    mean = np.where(mirrored, transform.upper - width * mean, transform.lower + width * mean)
    return np.stack([mean, width * width * variance], axis=1)


def _onto_shares(transform: Interval) -> Interval:
    """Return the transform from u to the share V, which is between 0 and 1."""
    return replace(transform, lower=0.0, upper=1.0)


def _share_by_sum(shares: Interval, mixture: Marginal) -> Array:
    """Return what `_share_by_quadrature` returns, for components that are not wide.

    This is the trapezoidal rule in z. For a Gaussian times a function with poles at a distance d
    from the real line, its error is about exp(-2 pi d / step), times a constant that grows with the
    order of the poles. Those of the share at u = mu + sigma z are the poles of 1 / (1 + exp(-u)),
    at d = pi / sigma. The share is a polynomial in that, so its poles have the order 2 a - 1. With
    sigma at most 2 / sqrt(a), the largest relative error of the variance is 3e-9 with the order
    a = 1, and less than 1e-10 with a higher one. (Trefethen and Weideman 2014, theorem 5.1)
    """
    pi = mixture.pi
    nodes, weights = _rule_between(shares.order)
    share = shares.share(mixture.mu[..., None] + mixture.sigma[..., None] * nodes)
    mean = (pi * (share @ weights)).sum(axis=0)
    share -= mean[:, None]
    variance = (pi * (share**2 @ weights)).sum(axis=0)
    return np.stack([mean, variance], axis=1)


def _rule_between(order: int) -> tuple[Array, Array]:
    """Return the nodes, in sigmas, and the weights of `_share_by_sum`.

    Near the lower bound the square of the share is proportional to exp(2 a u), which shifts a
    Gaussian by 2 a sigma, in sigmas. The nodes reach that much farther.
    """
    reach = _REACH + 2.0 * _WIDE * np.sqrt(order)
    half = int(np.ceil(reach / _STEP))
    nodes = _STEP * np.arange(-half, half + 1, dtype=np.float64)
    weights: Array = _STEP * np.exp(-0.5 * (nodes * nodes + LOG_2PI))
    return nodes, weights


def _share_by_quadrature(shares: Interval, mixture: Marginal) -> Array:
    """Return the mean and the variance of the share V, shape (N, 2).

    E[V] = int (1 - F) dv,  Var[V] = 2 int_0^m (m - v) F dv + 2 int_m^1 (v - m) (1 - F) dv.
    """
    low, high = _integration_ends(mixture, shares.order)
    cuts, share = partial(_cuts, shares.order), shares.share

    def rest(rows: Positions, u: Array) -> Array:
        return _dv_du(shares, u) * _tail(mixture, rows, u, True)

    mean = share(low) + integrate(rest, cuts(low, high))
    mean = np.clip(mean, share(low), share(high))
    middle = np.clip(shares.inverse(mean), low, high)

    def below(rows: Positions, u: Array) -> Array:
        short: Array = mean[rows, None] - share(u)
        return _dv_du(shares, u) * short * _tail(mixture, rows, u, False)

    def above(rows: Positions, u: Array) -> Array:
        over: Array = share(u) - mean[rows, None]
        return _dv_du(shares, u) * over * _tail(mixture, rows, u, True)

    sides = integrate(below, cuts(low, middle)), integrate(above, cuts(middle, high))
    return np.stack([mean, 2.0 * np.maximum(sides[0] + sides[1], 0.0)], axis=1)


def _crps_between(shares: Interval, mixture: Marginal, u: Array) -> Array:
    """Return int_0^v F^2 dv + int_v^1 (1 - F)^2 dv of the share V at v = share(u), shape (N,)."""
    low, high = _integration_ends(mixture, shares.order)
    at = np.clip(u, low, high)
    cuts = partial(_cuts, shares.order)

    def below(rows: Positions, points: Array) -> Array:
        return _dv_du(shares, points) * _tail(mixture, rows, points, False) ** 2

    def above(rows: Positions, points: Array) -> Array:
        return _dv_du(shares, points) * _tail(mixture, rows, points, True) ** 2

    # Beyond the ends F is 0 or 1, so the integral there is a distance.
    rest = _distance_of_v(shares, u, at)
    return rest + integrate(below, cuts(low, at)) + integrate(above, cuts(at, high))


def _in_pieces_of_rows(compute: Callable[..., Array], mixture: Marginal, *values: Array) -> Array:
    """Return the results of `compute` for pieces of the mixtures and of values, each (N,)."""

    def of_piece(piece: slice) -> Array:
        part = mixture.rows(np.arange(piece.start, piece.stop))
        return compute(part, *(each[piece] for each in values))

    components, rows = mixture.mu.shape
    return in_pieces(of_piece, rows, max(16, _TERMS_AT_ONCE // components))


def _integration_ends(mixture: Marginal, order: int) -> tuple[Array, Array]:
    """Return the points between which the integrals are taken, each (N,).

    In a moment, the tail of a wide component counts more the farther it is from the bound: the
    square of exp(a u), with the order a, moves its peak by 2 a variances. Beyond the ends of v
    nothing is added.
    """
    used = mixture.log_pi > -np.inf
    reach = _REACH * mixture.sigma
    further = 2.0 * order * mixture.sigma**2
    # At the end, 1 - v is about C(2a - 1, a) exp(-a u).
    end = (_END + np.log(comb(2 * order - 1, order))) / order
    low = np.maximum(mixture.mu - reach - further, np.minimum(mixture.mu - reach, -end))
    high = np.minimum(mixture.mu + reach + further, np.maximum(mixture.mu + reach, end))
    low = np.where(used, low, np.inf).min(axis=0)
    high = np.where(used, high, -np.inf).max(axis=0)
    last = _LOWEST / order
    return np.clip(low, -last, last), np.clip(high, -last, last)


def _cuts(order: int, low: Array, high: Array) -> Array:
    """Return the ends of the pieces of an integral, (N, C), cut where dv/du changes its scale."""
    cuts: Array = np.clip(_CUTS / order, low[:, None], np.maximum(low, high)[:, None])
    return cuts


def _dv_du(shares: Interval, u: Array) -> Array:
    """Return dv/du of the share v."""
    return np.exp(shares.log_abs_det_jacobian(u))


def _distance_of_v(shares: Interval, u: Array, other: Array) -> Array:
    """Return the distance between v at u and v at another point, shape (N,)."""
    mirrored = u + other > 0.0
    one, two = np.where(mirrored, -u, u), np.where(mirrored, -other, other)
    distance: Array = np.abs(shares.share(one) - shares.share(two))
    return distance


def _tail(mixture: Marginal, rows: Positions, u: Array, upper: bool) -> Array:
    """Return the cdf of some rows, (D,), at points u, (D, P); with `upper` 1 minus the cdf."""
    part = mixture.rows(rows)
    z = (u - part.mu[..., None]) / part.sigma[..., None]
    tail: Array = (part.pi[..., None] * scipy.special.ndtr(-z if upper else z)).sum(axis=0)
    return tail


def _log_sum(terms: Array) -> Array:
    """Return log sum_k exp(terms_k) over the first axis."""
    total: Array = np.logaddexp.reduce(terms, axis=0)
    return total


# In sigmas: enough for a Gaussian that exp(a u) shifts, with the order a, up to a sigma of 4 / a.
_PAIR_REACH = 13.0
# The largest steps of the trapezoidal rule, in sigmas and in units of u. The Gaussian needs the
# first. The poles of the logistic function, at a distance of pi, need the second (Trefethen and
# Weideman 2014, theorem 5.1); with a higher order it is divided by the root of the order.
_PAIR_STEP, _STEP_OF_U = 0.375, 0.7
_MOST_NODES = 600
_NODES_AT_ONCE = 4_000_000


def correlations(
    mixture: GaussianMixture, transforms: Sequence[Transform], mean: Array, std: Array
) -> Array:
    """Return the correlation matrices of targets with bounds, (N, T, T), by quadrature.

    Args:
        mixture: N mixtures of u, with T targets.
        transforms: from u to each target.
        mean: of the targets, (N, T), in the units of the file.
        std: their standard deviations, (N, T).
    """
    targets = len(transforms)
    found = np.broadcast_to(np.eye(targets), (len(mean), targets, targets)).copy()
    for one in range(targets):
        for other in range(one):
            pair = mixture.marginal([one, other])
            both = transforms[one], transforms[other]
            centre, unit = mean[:, [one, other]], std[:, [one, other]]
            value = np.clip(_expected_product(pair, both, centre, unit), -1.0, 1.0)
            found[:, one, other] = found[:, other, one] = value
    return found


def _expected_product(
    pair: GaussianMixture, transforms: tuple[Transform, Transform], mean: Array, std: Array
) -> Array:
    """Return the mean of the product of two standardized targets, shape (N,)."""
    rows, components = pair.log_pi.shape
    roots = np.sqrt([transform.order for transform in transforms])
    nodes, weights = _rule(float((pair.sigma * roots).max(initial=0.0)))
    at_once = max(1, _NODES_AT_ONCE // (components * len(nodes) ** 2))
    parts = []
    for at in range(0, rows, at_once):
        part = pair.rows(slice(at, at + at_once))
        centre, unit = mean[at : at + at_once, None], std[at : at + at_once, None]
        first, second = _nodes_of_u(part, nodes)
        y = (transforms[0].forward(first) - centre[..., 0, None]) / unit[..., 0, None]
        z = (transforms[1].forward(second) - centre[..., 1, None, None]) / unit[..., 1, None, None]
        inner = (z * weights).sum(axis=3)
        parts.append((part.pi * (y * inner * weights).sum(axis=2)).sum(axis=1))
    return np.concatenate([np.empty(0), *parts])


def _rule(widest: float) -> tuple[Array, Array]:
    """Return the nodes and weights, (Q,), of the trapezoidal rule for a standard Gaussian.

    Args:
        widest: the largest sigma, times the root of the order of the target's transform.
    """
    step = min(_PAIR_STEP, _STEP_OF_U / max(widest, 1e-300))
    half = min(int(np.ceil(_PAIR_REACH / step)), _MOST_NODES // 2)
    nodes = np.linspace(-_PAIR_REACH, _PAIR_REACH, 2 * half + 1)
    weights = np.exp(-0.5 * nodes * nodes)
    return nodes, weights / weights.sum()


def _nodes_of_u(pair: GaussianMixture, nodes: Array) -> tuple[Array, Array]:
    """Return u of the first target, (N, K, Q), and of the second given the first, (N, K, Q, Q)."""
    first = pair.mu[:, :, 0, None] + pair.sigma[:, :, 0, None] * nodes
    together = np.broadcast_to(nodes, (1, 1, len(nodes), len(nodes)))
    if pair.factor is not None:
        shared, own = (pair.factor[:, :, 1, each, None, None] for each in (0, 1))
        together = shared * nodes[:, None] + own * nodes
    second = pair.mu[:, :, 1, None, None] + pair.sigma[:, :, 1, None, None] * together
    return first, second


# The nodes of a component's part between two ends, and how far it reaches, in sigmas.
_NODES, _REACH_OF_NODES = 48, 9.0
# Where an integral over the mixture is cut: at these quantiles.
_WHERE_F_ENDS = np.array([1e-13, 1.0 - 1e-13])
_CUTS_AT = np.array([1e-6, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 1.0 - 1e-6])


def partial_moments(
    mixture: Marginal, transform: Transform, ends: tuple[float, float], centre: Array
) -> tuple[Array, Array]:
    """Return the integrals of y p(y) and (y - centre)^2 p(y) between two ends of u, each (N,).

    For a Gaussian component with z = (u - mu) / sigma between a and b, and D = Phi(b) - Phi(a),

        int z phi = -(phi(b) - phi(a)),   int z^2 phi = D - (b phi(b) - a phi(a)),

    and exp(j u) shifts the mean by j sigma^2, which gives the moments with one bound. With two
    bounds they are sums over Gauss-Legendre nodes of each component.

    Args:
        mixture: N mixtures of u.
        transform: from u to the target: the identity, or one with bounds.
        ends: of u; they may be infinite.
        centre: (N,), in the units of the target.
    """
    if isinstance(transform, Interval):
        return _partial_by_nodes(mixture, transform, ends, centre)
    if transform.is_identity:
        first = _gaussian_part(mixture, ends, 1, np.zeros(1))
        return first, _gaussian_part(mixture, ends, 2, centre)
    # y = bound + sign exp(sign u).
    sign, bound = (1, transform.lower) if transform.lower is not None else (-1, transform.upper)
    origin = 0.0 if bound is None else bound
    held, once, twice = (_exponential_part(mixture, ends, j * sign) for j in (0, 1, 2))
    away = sign * (centre - origin)
    first = origin * held + sign * once
    # Where the squares have no finite mean, the other terms may be infinite, too.
    with np.errstate(invalid="ignore"):
        second = twice - 2.0 * away * once + away * away * held
    return first, np.where(np.isinf(twice), np.inf, second)


def _standard_ends(mixture: Marginal, ends: tuple[float, float]) -> list[Array]:
    return [(end - mixture.mu) / mixture.sigma for end in ends]


def _gaussian_part(
    mixture: Marginal, ends: tuple[float, float], power: int, centre: Array
) -> Array:
    """Return the integral of (u - centre)^power p(u) between the ends, power 1 or 2, (N,)."""
    a, b = _standard_ends(mixture, ends)
    held, away, sigma = normal_between(a, b), mixture.mu - centre, mixture.sigma
    heights = [np.exp(-0.5 * (end * end + LOG_2PI)) for end in (a, b)]
    slope = heights[1] - heights[0]
    if power == 1:
        part: Array = away * held - sigma * slope
    else:
        # At an infinite end the height is 0.
        edges = [
            np.where(np.isinf(end), 0.0, end) * height
            for end, height in zip((a, b), heights, strict=True)
        ]
        part = (away * away + sigma * sigma) * held
        part = part - sigma * (2.0 * away * slope + sigma * (edges[1] - edges[0]))
    return np.asarray((mixture.pi * part).sum(axis=0))


def _exponential_part(mixture: Marginal, ends: tuple[float, float], rate: int) -> Array:
    """Return the integral of exp(rate u) p(u) between the ends, (N,)."""
    a, b = (end - rate * mixture.sigma for end in _standard_ends(mixture, ends))
    weight = mixture.log_pi + rate * mixture.mu + 0.5 * (rate * mixture.sigma) ** 2
    with np.errstate(over="ignore", divide="ignore"):
        part = np.exp(weight + np.log(normal_between(a, b)))
    return np.asarray(part.sum(axis=0))


def _partial_by_nodes(
    mixture: Marginal, transform: Interval, ends: tuple[float, float], centre: Array
) -> tuple[Array, Array]:
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    a, b = (np.clip(z, -_REACH_OF_NODES, _REACH_OF_NODES) for z in _standard_ends(mixture, ends))
    half, middle = 0.5 * (b - a), 0.5 * (a + b)
    first, second = np.zeros((2, mixture.mu.shape[1]))
    for node, weight in zip(nodes, weights, strict=True):
        z = middle + half * node
        y = transform.forward(mixture.mu + mixture.sigma * z)
        share = weight * half * np.exp(mixture.log_pi - 0.5 * (z * z + LOG_2PI))
        first += (share * y).sum(axis=0)
        second += (share * (y - centre) ** 2).sum(axis=0)
    return first, second


def crps_of_segments(mixture: Marginal, transform: Atoms, y: Array) -> Array:
    """Return the CRPS of a target with atoms, int (F(t) - [y <= t])^2 dt, by quadrature, (N,).

    Args:
        mixture: N mixtures of u.
        transform: from u to the target.
        y: (N,), in the units of the target; it may be impossible.
    """
    reached = transform.forward(quantiles(mixture, _WHERE_F_ENDS))
    # Beyond what is possible, the distance to all values grows alike.
    inside = np.where(transform.outside(y), np.clip(y, *reached.T), y)
    at = transform.inverse(inside)

    def compute(part: Marginal, u: Array) -> Array:
        total = np.zeros(len(u))
        for low, high, shift in transform.segments:
            total += _crps_of_segment(part, transform.inner, (low, high, shift), u)
        return total

    return _in_pieces_of_rows(compute, mixture, at) + np.abs(y - inside)


def _crps_of_segment(
    mixture: Marginal, inner: Transform, segment: tuple[float, float, float], u: Array
) -> Array:
    """Return the part of the integral between two atoms, (N,); u is that of the values."""
    low, high, shift = segment
    cuts = quantiles(mixture, _CUTS_AT)
    # The square of an exponential of u moves the tail that counts.
    far = _REACH * mixture.sigma + (0.0 if inner.is_identity else 1.0) * mixture.sigma**2
    used = mixture.log_pi > -np.inf
    first = np.where(used, mixture.mu - far, np.inf).min(axis=0)
    last = np.where(used, mixture.mu + far, -np.inf).max(axis=0)
    first, last = np.minimum(first, u), np.maximum(last, u)
    points = np.column_stack([first, cuts, u, last])
    points = np.sort(np.clip(points, low, high), axis=1)

    def squared(rows: Positions, points: Array) -> Array:
        reached = points > u[rows, None]
        tail = np.where(
            reached, _tail(mixture, rows, points, True), _tail(mixture, rows, points, False)
        )
        # Where the target has no finite mean, it has no CRPS.
        with np.errstate(over="ignore", invalid="ignore"):
            squares: Array = np.exp(inner.log_abs_det_jacobian(points - shift)) * tail**2
        return squares

    return integrate(squared, points)
