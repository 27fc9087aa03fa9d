"""Moments and scores of a target with bounds: closed forms for one bound, quadrature for two."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_ndtr, logit, ndtr

from mdncli.density.pieces import by_pieces
from mdncli.density.quadrature import Rows, integrals
from mdncli.density.univariate import Univariate
from mdncli.tables.maps import Bounds

Array = NDArray[np.float64]

# In sigmas: beyond, a component's probability is below the last digit of a float.
_REACH = 9.0
# On the scale of the logit: where the last digit of 1 - v ends, and that of v.
_END, _LOWEST = 40.0, 740.0
_CUTS = np.array([-740.0, -300.0, -100.0, -40.0, -15.0, -5.0, 0.0, 5.0, 15.0, 40.0, 100.0, 740.0])
# Up to this sigma one rule of so many points does for the moments between two bounds. Its points
# reach four sigmas further than a Gaussian does, by which exp(2 u) shifts it.
_WIDE = 2.0
_STEP = 0.375
_NODES = _STEP * np.arange(-35, 36)
_WEIGHTS = _STEP * np.exp(-0.5 * _NODES**2) / np.sqrt(2.0 * np.pi)
_PAIRS_AT_ONCE = 1_000_000
_TERMS_AT_ONCE = 20_000


def moments(mixture: Univariate, bounds: Bounds) -> Array:
    """Return the mean and the variance of each target with bounds, shape (N, 2).

    Args:
        mixture: N of them, on the scale of `bounds.to_mixture`.
        bounds: at least one.
    """
    if bounds.lower is not None and bounds.upper is not None:
        return _between(mixture, bounds.lower, bounds.upper)
    # Below B it is B less what is above 0 by the mirrored mixture.
    mean, variance = _lognormal(mixture if bounds.upper is None else _mirrored(mixture))
    mean = bounds.lower + mean if bounds.lower is not None else (bounds.upper or 0.0) - mean
    return np.stack([mean, variance], axis=1)


def crps(mixture: Univariate, bounds: Bounds, y: Array) -> Array:
    """Return the continuous ranked probability score of each target with bounds, shape (N,).

    Args:
        mixture: N of them, on the scale of `bounds.to_mixture`.
        bounds: at least one.
        y: (N,), in the units of the file; at a bound or beyond it too.
    """
    if bounds.lower is None:
        return _lognormal_crps(_mirrored(mixture), (bounds.upper or 0.0) - y)
    if bounds.upper is None:
        return _lognormal_crps(mixture, y - bounds.lower)
    inside = np.clip(y, bounds.lower, bounds.upper)
    score = _by_rows(_between_crps, mixture, bounds.to_mixture(inside))
    # From a bound on, the distance to every value grows alike.
    total: Array = (bounds.upper - bounds.lower) * score + np.abs(y - inside)
    return total


def _mirrored(mixture: Univariate) -> Univariate:
    return Univariate(mixture.log_pi, -mixture.mu, mixture.sigma)


def _lognormal(mixture: Univariate) -> tuple[Array, Array]:
    """Return mean and variance of exp(U), each (N,).

    A component has the mean m = exp(mu + sigma^2 / 2) and the variance m^2 (exp(sigma^2) - 1); all
    in logs, and in shares of the mean, so that what can be written as a float does not overflow on
    the way. (Johnson, Kotz and Balakrishnan 1994, chapter 14)
    """
    variance = mixture.sigma * mixture.sigma
    log_means = mixture.mu + 0.5 * variance
    log_mean = _log_sum(mixture.log_pi + log_means)
    # log(exp(s) - 1) = s + log(1 - exp(-s)).
    within = variance + np.log(-np.expm1(-variance))
    gap = log_means - log_mean
    # |m_k / mean - 1|, of which only the logarithm is needed.
    with np.errstate(divide="ignore"):
        between = np.maximum(gap, 0.0) + np.log(-np.expm1(-np.abs(gap)))
    squares = np.logaddexp(2.0 * gap + within, 2.0 * between)
    with np.errstate(over="ignore"):
        return np.exp(log_mean), np.exp(2.0 * log_mean + _log_sum(mixture.log_pi + squares))


def _lognormal_crps(mixture: Univariate, t: Array) -> Array:
    """Return the CRPS of exp(U) at t (N,), of any sign.

        sum_k pi_k (t (2 Phi(z_k) - 1) - 2 m_k Phi(z_k - sigma_k))
            + 2 sum_j sum_k pi_j pi_k m_j Phi(-d_jk),
        d_jk = (mu_j - mu_k + sigma_j^2) / sqrt(sigma_j^2 + sigma_k^2),

    with z = (log t - mu) / sigma and m = exp(mu + sigma^2 / 2): E|Y - t| - E|Y - Y'| / 2, where the
    means themselves cancel. (For one component: Baran and Lerch 2015)
    """
    with np.errstate(divide="ignore"):
        log_t = np.log(np.maximum(t, 0.0))
    z = (log_t - mixture.mu) / mixture.sigma
    log_weighted = mixture.log_pi + mixture.mu + 0.5 * mixture.sigma**2
    to_value = (mixture.pi * t * (2.0 * ndtr(z) - 1.0)).sum(axis=0)
    to_value -= 2.0 * np.exp(log_weighted + log_ndtr(z - mixture.sigma)).sum(axis=0)
    components = len(mixture.mu)

    def among(part: slice) -> Array:
        pi, mu, sigma = (a[:, part] for a in (mixture.pi, mixture.mu, mixture.sigma))
        apart = mu[:, None] - mu + (sigma * sigma)[:, None]
        lesser = log_ndtr(-apart / np.hypot(sigma[:, None], sigma))
        pairs: Array = (pi * np.exp(log_weighted[:, None, part] + lesser)).sum(axis=(0, 1))
        return pairs

    at_once = max(1, _PAIRS_AT_ONCE // components**2)
    score: Array = to_value + 2.0 * by_pieces(among, len(t), at_once)
    return score


def _between(mixture: Univariate, lower: float, upper: float) -> Array:
    """Return mean and variance between two bounds, shape (N, 2).

    By the share V of the way from the bound that is nearer to the heaviest component, so that a
    small one keeps its digits.
    """
    heaviest = mixture.log_pi.argmax(axis=0)
    turned = mixture.mu[heaviest, np.arange(len(heaviest))] > 0.0
    near = Univariate(mixture.log_pi, np.where(turned, -mixture.mu, mixture.mu), mixture.sigma)
    widest = np.where(mixture.log_pi > -np.inf, mixture.sigma, 0.0).max(axis=0)
    share = np.empty((len(turned), 2))
    for chosen, answer in ((widest <= _WIDE, _share_by_sum), (widest > _WIDE, _share)):
        some = near.rows(chosen)
        share[chosen] = _by_rows(answer, some)
    mean, variance = share.T
    width = upper - lower
    mean = np.where(turned, upper - width * mean, lower + width * mean)
    return np.stack([mean, width * width * variance], axis=1)


def _share_by_sum(mixture: Univariate) -> Array:
    """Return what `_share` does, shape (N, 2), for components that are not wide.

    By the trapezoidal rule in z, which for a Gaussian times what is analytic near the line errs by
    exp(-2 pi d / step) for poles at a distance of d; those of 1 / (1 + exp(-mu - sigma z)) are at
    d = pi / sigma, where that is below 1e-11. (Trefethen and Weideman 2014, theorem 5.1)
    """
    pi = mixture.pi
    share = expit(mixture.mu[..., None] + mixture.sigma[..., None] * _NODES)
    mean = (pi * (share @ _WEIGHTS)).sum(axis=0)
    share -= mean[:, None]
    variance = (pi * (share**2 @ _WEIGHTS)).sum(axis=0)
    return np.stack([mean, variance], axis=1)


def _share(mixture: Univariate) -> Array:
    """Return mean and variance of the share of the way V, of which logit V is U; shape (N, 2).

    E[V] = int (1 - F) dv,  Var[V] = 2 int_0^m (m - v) F dv + 2 int_m^1 (v - m) (1 - F) dv.
    """
    low, high = _ends(mixture)

    def rest(rows: Rows, u: Array) -> Array:
        return _slope(u) * _tail(mixture, rows, u, True)

    mean = np.clip(expit(low) + integrals(rest, _cuts(low, high)), expit(low), expit(high))
    middle = np.clip(logit(mean), low, high)

    def below(rows: Rows, u: Array) -> Array:
        short: Array = mean[rows, None] - expit(u)
        return _slope(u) * short * _tail(mixture, rows, u, False)

    def above(rows: Rows, u: Array) -> Array:
        over: Array = expit(u) - mean[rows, None]
        return _slope(u) * over * _tail(mixture, rows, u, True)

    sides = integrals(below, _cuts(low, middle)), integrals(above, _cuts(middle, high))
    return np.stack([mean, 2.0 * np.maximum(sides[0] + sides[1], 0.0)], axis=1)


def _between_crps(mixture: Univariate, u: Array) -> Array:
    """Return int_0^v F^2 dv + int_v^1 (1 - F)^2 dv of the share of the way, at logit v = u (N,)."""
    low, high = _ends(mixture)
    at = np.clip(u, low, high)

    def below(rows: Rows, points: Array) -> Array:
        return _slope(points) * _tail(mixture, rows, points, False) ** 2

    def above(rows: Rows, points: Array) -> Array:
        return _slope(points) * _tail(mixture, rows, points, True) ** 2

    # Beyond the ends F is 0 or 1: what is left there is a length.
    rest = _distance(u, at)
    return rest + integrals(below, _cuts(low, at)) + integrals(above, _cuts(at, high))


def _by_rows(answer: Callable[..., Array], mixture: Univariate, *values: Array) -> Array:
    """Return what `answer` gives for pieces of the mixtures and of values, (N,) each."""

    def of_piece(piece: slice) -> Array:
        part = mixture.rows(np.arange(piece.start, piece.stop))
        return answer(part, *(each[piece] for each in values))

    components, rows = mixture.mu.shape
    return by_pieces(of_piece, rows, max(16, _TERMS_AT_ONCE // components))


def _ends(mixture: Univariate) -> tuple[Array, Array]:
    """Return points below and above which nothing is left that matters, each (N,).

    What lies in a wide component's tail weighs more in a moment the farther it is from the bound:
    the square of exp(u) moves its peak by two variances, but none goes on where v is at its end.
    """
    used = mixture.log_pi > -np.inf
    reach = _REACH * mixture.sigma
    further = 2.0 * mixture.sigma**2
    low = np.maximum(mixture.mu - reach - further, np.minimum(mixture.mu - reach, -_END))
    high = np.minimum(mixture.mu + reach + further, np.maximum(mixture.mu + reach, _END))
    low = np.where(used, low, np.inf).min(axis=0)
    high = np.where(used, high, -np.inf).max(axis=0)
    return np.clip(low, -_LOWEST, _LOWEST), np.clip(high, -_LOWEST, _LOWEST)


def _cuts(low: Array, high: Array) -> Array:
    """Return from where to where to integrate (N, C), with cuts where dv/du changes its size."""
    cuts: Array = np.clip(_CUTS, low[:, None], np.maximum(low, high)[:, None])
    return cuts


def _slope(u: Array) -> Array:
    """Return dv/du of v = 1 / (1 + exp(-u))."""
    small = np.exp(-np.abs(u))
    slope: Array = small / (1.0 + small) ** 2
    return slope


def _distance(u: Array, other: Array) -> Array:
    """Return the distance of the shares of the way at u and at another point, each (N,)."""
    mirrored = u + other > 0.0
    one, two = np.where(mirrored, -u, u), np.where(mirrored, -other, other)
    distance: Array = np.abs(expit(one) - expit(two))
    return distance


def _tail(mixture: Univariate, rows: Rows, u: Array, upper: bool) -> Array:
    """Return the cdf of some rows (D,) at points u (D, P), or 1 less that."""
    part = mixture.rows(rows)
    z = (u - part.mu[..., None]) / part.sigma[..., None]
    tail: Array = (part.pi[..., None] * ndtr(-z if upper else z)).sum(axis=0)
    return tail


def _log_sum(terms: Array) -> Array:
    """Return log sum_k exp(terms_k) over the first axis."""
    total: Array = np.logaddexp.reduce(terms, axis=0)
    return total
