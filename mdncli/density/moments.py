"""How well distributions meet the values that came true.

Moments and scores of a target with bounds: closed forms for one bound, quadrature for two.

Correlations of targets with bounds, by quadrature.
"""

from collections.abc import Callable

import numpy as np
from scipy.special import expit, log_ndtr, logit, ndtr

from mdncli.columns.transforms import Bounds
from mdncli.density.marginal import Univariate
from mdncli.density.mixture import LOG_2PI, GaussianMixture
from mdncli.density.parallel import by_pieces
from mdncli.density.solvers import integrals
from mdncli.types import Array, Positions

_PAIRS_AT_ONCE = 4_000_000


def cdf(mixture: GaussianMixture, y: Array) -> Array:
    """Return P(Y_t <= y_t) of each target on its own, sum_k pi_k Phi((y - mu_k) / sigma_k).

    Args:
        mixture: N of them.
        y: (N, T), in the units of the mixtures.

    Returns:
        Shape (N, T). At the values that came true, the probability integral transform.
    """
    z = (y[:, None, :] - mixture.mu) / mixture.sigma
    total: Array = np.einsum("nk,nkt->nt", mixture.pi, ndtr(z))
    return total


def crps(mixture: GaussianMixture, y: Array) -> Array:
    """Return the continuous ranked probability score of each target, in closed form.

        sum_k pi_k A(y - mu_k, sigma_k^2)
            - 1/2 sum_j sum_k pi_j pi_k A(mu_j - mu_k, sigma_j^2 + sigma_k^2),
        A(m, s^2) = 2 s phi(m / s) + m (2 Phi(m / s) - 1)

    (Grimit, Gneiting, Berrocal and Johnson 2006, eq. 5).

    Args:
        mixture: N of them.
        y: (N, T), in the units of the mixtures.

    Returns:
        Shape (N, T), in the units of y: 0 is perfect.
    """
    rows, components, _ = mixture.mu.shape
    at_once = max(1, _PAIRS_AT_ONCE // components**2)
    parts = [
        _crps(*(v[at : at + at_once] for v in (mixture.pi, mixture.mu, mixture.sigma, y)))
        for at in range(0, rows, at_once)
    ]
    return np.concatenate([np.empty((0, y.shape[1])), *parts])


def _crps(pi: Array, mu: Array, sigma: Array, y: Array) -> Array:
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
    distance: Array = 2.0 * std * density + mean * (2.0 * ndtr(z) - 1.0)
    return distance


def coverage(mixture: GaussianMixture, y: Array, level: float) -> float:
    """Return the share of values inside their central interval of this level, over all targets.

    Args:
        mixture: N of them.
        y: (N, T), in the units of the mixtures.
        level: such as 0.9.
    """
    tail = 0.5 * (1.0 - level)
    reached = cdf(mixture, y)
    return float(((reached >= tail) & (reached <= 1.0 - tail)).mean())


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
_LOGNORMAL_PAIRS = 1_000_000
_TERMS_AT_ONCE = 20_000


def bounded_moments(mixture: Univariate, bounds: Bounds) -> Array:
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


def bounded_crps(mixture: Univariate, bounds: Bounds, y: Array) -> Array:
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

    at_once = max(1, _LOGNORMAL_PAIRS // components**2)
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

    def rest(rows: Positions, u: Array) -> Array:
        return _slope(u) * _tail(mixture, rows, u, True)

    mean = np.clip(expit(low) + integrals(rest, _cuts(low, high)), expit(low), expit(high))
    middle = np.clip(logit(mean), low, high)

    def below(rows: Positions, u: Array) -> Array:
        short: Array = mean[rows, None] - expit(u)
        return _slope(u) * short * _tail(mixture, rows, u, False)

    def above(rows: Positions, u: Array) -> Array:
        over: Array = expit(u) - mean[rows, None]
        return _slope(u) * over * _tail(mixture, rows, u, True)

    sides = integrals(below, _cuts(low, middle)), integrals(above, _cuts(middle, high))
    return np.stack([mean, 2.0 * np.maximum(sides[0] + sides[1], 0.0)], axis=1)


def _between_crps(mixture: Univariate, u: Array) -> Array:
    """Return int_0^v F^2 dv + int_v^1 (1 - F)^2 dv of the share of the way, at logit v = u (N,)."""
    low, high = _ends(mixture)
    at = np.clip(u, low, high)

    def below(rows: Positions, points: Array) -> Array:
        return _slope(points) * _tail(mixture, rows, points, False) ** 2

    def above(rows: Positions, points: Array) -> Array:
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


def _tail(mixture: Univariate, rows: Positions, u: Array, upper: bool) -> Array:
    """Return the cdf of some rows (D,) at points u (D, P), or 1 less that."""
    part = mixture.rows(rows)
    z = (u - part.mu[..., None]) / part.sigma[..., None]
    tail: Array = (part.pi[..., None] * ndtr(-z if upper else z)).sum(axis=0)
    return tail


def _log_sum(terms: Array) -> Array:
    """Return log sum_k exp(terms_k) over the first axis."""
    total: Array = np.logaddexp.reduce(terms, axis=0)
    return total


# In sigmas: far enough for a Gaussian, and for one that exp(u) of a sigma of 4 has shifted.
_PAIR_REACH = 13.0
# Of the step, in sigmas and on the scale of the mixture: the trapezoidal rule is exact to the last
# digits for the former, and the logit's poles, pi i away, ask for the latter (Trefethen and
# Weideman 2014, theorem 5.1).
_PAIR_STEP, _STEP_OF_MAP = 0.375, 0.7
_MOST_NODES = 600
_NODES_AT_ONCE = 4_000_000


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
    at_once = max(1, _NODES_AT_ONCE // (components * len(nodes) ** 2))
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
    step = min(_PAIR_STEP, _STEP_OF_MAP / max(widest, 1e-300))
    half = min(int(np.ceil(_PAIR_REACH / step)), _MOST_NODES // 2)
    nodes = np.linspace(-_PAIR_REACH, _PAIR_REACH, 2 * half + 1)
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
