"""Marginals: Gaussian mixtures of a single target, with density, cdf and quantiles."""

from dataclasses import dataclass, replace
from math import factorial

import numpy as np
import scipy

from mdncli.columns.transforms import IDENTITY, Cells, Transform
from mdncli.density.mixture import LOG_2PI, GaussianMixture
from mdncli.density.numerics import Buffers, added_up, find_roots
from mdncli.types import Array, Mask, Numbers, Positions

# The error of a quantile's cdf, relative to the smaller of p and 1 - p.
_TOLERANCE = 1e-13
# Phi(z) is (1 + tanh(z (a + b z^2))) / 2, up to 1.4e-4 (Bowling et al. 2009, eq. 6). So many steps
# on it, in single precision, lead near a quantile; cdfs closer to 0 or 1 than _ROUGH, or than
# _CLOSE to p, are not told apart.
_ROUGH_LINEAR, _ROUGH_CUBIC = 0.5 * 1.5976, 0.5 * 0.070566
_ROUGH_STEPS, _ROUGH, _CLOSE = 10, 1e-7, 1e-5
_MOST_IN_PAIRS, _LEAST_SHARE, _TINIEST_WIDTH = 12, 1e-3, 1e-300
# The largest quotient of two scales in single precision; its square is finite.
_LARGEST_RATE = 1e15
# How many periods to each side of a point count for a wrapped mixture.
IMAGES = 4
_ZERO = np.zeros(1)
_STEPS_ON_SERIES, _MOST_SERIES = 3, 3
_buffers = Buffers()
_INV_SQRT_2PI = 1.0 / np.sqrt(2.0 * np.pi)


@dataclass(frozen=True)
class Marginal:
    """N mixtures of K components over a single target.

    The axis of components comes first, (K, N). A sum over the first axis of contiguous memory is
    several times faster than one over a short last axis.

    Attributes:
        log_pi: (K, N), log weights; -inf for a component of weight zero.
        mu: (K, N), in the units of the target.
        sigma: (K, N), positive.
    """

    log_pi: Array
    mu: Array
    sigma: Array

    @classmethod
    def of(cls, mixture: GaussianMixture, target: int) -> "Marginal":
        """Return the marginal of the target at this position."""
        parts = mixture.log_pi, mixture.mu[:, :, target], mixture.sigma[:, :, target]
        return cls(*(np.ascontiguousarray(part.T) for part in parts))

    @property
    def pi(self) -> Array:
        """The weights, shape (K, N)."""
        return np.exp(self.log_pi)

    def rows(self, chosen: Positions | Mask) -> "Marginal":
        """Return the mixtures of these rows, in their order."""
        if chosen.dtype == bool:
            chosen = np.flatnonzero(chosen)
        # Unlike an index, this keeps the axis of rows last in memory: sums are faster.
        return Marginal(*(part.take(chosen, axis=1) for part in (self.log_pi, self.mu, self.sigma)))

    def with_resolvable_sigma(self) -> "Marginal":
        """Return the mixtures with every sigma at least the distance of floats at its mean.

        The peak of a narrower component would fall between two floats, where no search finds it.
        """
        return Marginal(self.log_pi, self.mu, np.maximum(self.sigma, np.spacing(np.abs(self.mu))))

    def with_jacobian(self, transform: Transform) -> "Marginal":
        """Return the density of y = transform.forward(u) as a function of u.

        It is the density of u times du/dy. `Transform.exponentials` gives du/dy as a sum of
        exponentials, and

            N(u; mu, sigma^2) exp(c u) = exp(c mu + c^2 sigma^2 / 2) N(u; mu + c sigma^2, sigma^2).

        So the result has the form of a mixture, with one component for each component and each
        exponential. Its weights do not sum to 1. For the identity it is the mixture itself.
        """
        if transform.is_identity:
            return self
        variance = self.sigma * self.sigma
        shifted = [
            (self.log_pi + weight + c * self.mu + 0.5 * c * c * variance, self.mu + c * variance)
            for c, weight in transform.exponentials()
        ]
        log_weights, means = (np.concatenate(each) for each in zip(*shifted, strict=True))
        return Marginal(log_weights, means, np.tile(self.sigma, (len(shifted), 1)))

    def log_components(self, y: Array) -> Array:
        """Return log pi_k N(y; mu_k, sigma_k^2), in nats, shape (K, N), for y of shape (N,)."""
        z = (y - self.mu) / self.sigma
        terms: Array = self.log_pi - np.log(self.sigma) - 0.5 * (z * z + LOG_2PI)
        return terms

    def log_prob(self, y: Array) -> Array:
        """Return log p(y), in nats, shape (N,), for y of shape (N,)."""
        return _log_sum_exp(self.log_components(y))

    def log_prob_of(self, cells: Cells) -> Array:
        """Return the log density or probability of what N values stand for, in nats, (N,).

        Either there are N mixtures, or a single one for all values.
        """
        point = cells.is_point
        if point.all():
            found = self._log_prob_of_points(cells)
        elif not point.any():
            found = self.log_prob_between(cells.low, cells.high)
        else:
            found = np.empty(len(point))
            for chosen in (point, ~point):
                alone = self.mu.shape[1] == 1
                part = self if alone else self.rows(chosen)
                found[chosen] = part.log_prob_of(replace(cells.rows(chosen), log_unit=_ZERO))
        return found - cells.log_unit

    def _log_prob_of_points(self, cells: Cells) -> Array:
        if not cells.period:
            return self.log_prob(cells.low)
        away = cells.low - self.mu
        nearest = away - cells.period * np.rint(away / cells.period)
        images = cells.period * np.arange(-IMAGES, IMAGES + 1.0)
        z = (nearest + images[:, None, None]) / self.sigma
        terms = self.log_pi - np.log(self.sigma) - 0.5 * (z * z + LOG_2PI)
        return _log_sum_exp(terms.reshape(-1, terms.shape[2]))

    def shifted(self, change: float) -> "Marginal":
        """Return the mixtures with their means moved."""
        return Marginal(self.log_pi, self.mu + change, self.sigma) if change else self

    def mass_between(self, low: Array, high: Array) -> Array:
        """Return P(low < Y <= high), (N,), each component's from its smaller tails."""
        ends = (low - self.mu) / self.sigma, (high - self.mu) / self.sigma
        mass: Array = added_up(self.pi * normal_between(*ends))
        return mass

    def log_prob_and_derivatives(self, y: Array) -> tuple[Array, Array, Array]:
        """Return log p(y) and its first and second derivative, each (N,), for y of shape (N,).

        With r_k = pi_k N_k / p and s_k = (mu_k - y) / sigma_k^2 the derivatives are sum_k r_k s_k
        and sum_k r_k (s_k^2 - 1 / sigma_k^2) - (sum_k r_k s_k)^2. The r_k are normalized in logs,
        so that the derivatives stay exact where p underflows.
        """
        terms = self.log_components(y)
        top = terms.max(axis=0)
        share = np.exp(terms - top)
        total = added_up(share)
        share /= total
        slopes = (self.mu - y) / self.sigma**2
        slope = added_up(share * slopes)
        curvature = added_up(share * ((slopes - slope) ** 2 - self.sigma**-2.0))
        return top + np.log(total), slope, curvature

    def cdf(self, y: Array, *, upper: bool = False) -> Array:
        """Return P(Y <= y) = sum_k pi_k Phi((y - mu_k) / sigma_k), shape (N,).

        With `upper` return P(Y > y), summed from the upper tails so that no digits cancel.
        """
        z = (y - self.mu) / self.sigma
        total: Array = added_up(self.pi * scipy.special.ndtr(-z if upper else z))
        return np.minimum(total, 1.0)

    def log_cdf(self, y: Array, *, upper: bool = False) -> Array:
        """Return the log of `cdf`; it is finite where the probability underflows."""
        z = (y - self.mu) / self.sigma
        log_tails = scipy.special.log_ndtr(-z if upper else z)
        return np.minimum(_log_sum_exp(self.log_pi + log_tails), 0.0)

    def log_prob_between(self, low: Array, high: Array) -> Array:
        """Return log P(low < Y <= high), in nats, shape (N,), for low < high, each (N,)."""
        a, b = (low - self.mu) / self.sigma, (high - self.mu) / self.sigma
        # In the upper tail the probabilities of the mirrored cell lose no digits. The ends of a
        # cell that is the whole line have no sum.
        with np.errstate(invalid="ignore"):
            mirrored = a + b > 0.0
        a, b = np.where(mirrored, -b, a), np.where(mirrored, -a, b)
        log_upto_b = scipy.special.log_ndtr(b)
        with np.errstate(divide="ignore"):
            log_share = np.log(-np.expm1(scipy.special.log_ndtr(a) - log_upto_b))
        total = _log_sum_exp(self.log_pi + log_upto_b + log_share)
        return np.asarray(np.minimum(total, 0.0))


@dataclass(frozen=True)
class TargetDensity:
    """N densities of a target y = transform.forward(u), as functions of u: log p(y) = log q(u) + g.

    q is the density of u, and g = log du/dy.

    Attributes:
        mixture: N mixtures of u.
        transform: from u to the target.
    """

    mixture: Marginal
    transform: Transform = IDENTITY

    def rows(self, chosen: Positions | Mask) -> "TargetDensity":
        """Return the densities of these rows, in their order."""
        return TargetDensity(self.mixture.rows(chosen), self.transform)

    def log_jacobian(self, u: Array) -> Array:
        """Return g at points u of any shape, in nats."""
        return -self.transform.log_abs_det_jacobian(u)

    def log_prob(self, u: Array) -> Array:
        """Return log p(y), in nats, shape (N,), at points u, (N,)."""
        return self.mixture.log_prob(u) + self.log_jacobian(u)

    def log_prob_and_derivatives(self, u: Array) -> tuple[Array, Array, Array]:
        """Return log p(y) and its first and second derivative by u, each (N,), at u, (N,)."""
        found = self.mixture.log_prob_and_derivatives(u)
        if self.transform.is_identity:
            return found
        log_prob, slope, curvature = found
        slope = slope - self.transform.slope_of_log_jacobian(u)
        curvature = curvature - self.transform.curvature_of_log_jacobian(u)
        return log_prob + self.log_jacobian(u), slope, curvature


def normal_between(a: Array, b: Array) -> Array:
    """Return Phi(b) - Phi(a) for a < b of any shape, from the smaller tails."""
    upper = a > 0.0
    low, high = np.where(upper, -b, a), np.where(upper, -a, b)
    mass: Array = scipy.special.ndtr(high) - scipy.special.ndtr(low)
    return mass


def _log_sum_exp(terms: Array) -> Array:
    """Return log sum_k exp(terms_k) over the first axis; -inf where all terms are."""
    top = terms.max(axis=0)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        total: Array = np.log(added_up(np.exp(terms - top)))
    return total + top


def quantiles(marginal: Marginal, p: Array) -> Array:
    """Return the quantiles of each mixture at probabilities p, shape (N, Q).

    |cdf(q) - p| is at most 1e-12, or as small as neighbouring floats allow. The quantile of a
    larger p is never smaller.

    Args:
        marginal: N mixtures.
        p: (Q,), each from 0 to 1; the quantiles of 0 and 1 are infinite.

    Returns:
        Shape (N, Q), in the units of the mixture.

    Raises:
        ValueError: a probability is not from 0 to 1.
    """
    p = np.asarray(p, dtype=np.float64)
    if not ((p >= 0.0) & (p <= 1.0)).all():
        raise ValueError("a probability is not from 0 to 1")
    found = np.empty((len(p), marginal.mu.shape[1]))
    inside = (p > 0.0) & (p < 1.0)
    found[p == 0.0], found[p == 1.0] = -np.inf, np.inf
    if inside.any():
        # The mirrored mixture has a small lower tail, which loses no digits to 1 - p.
        side = np.where(p[inside] > 0.5, -1.0, 1.0)
        lower = np.minimum(p[inside], 1.0 - p[inside])
        normal = scipy.special.ndtri(lower).repeat(found.shape[1])
        lower = lower.repeat(found.shape[1])
        start = side[:, None] * _first_quantiles(marginal, p[inside])
        pi, mu, sigma = (
            _repeated(f"repeated {number}", part, len(side))
            for number, part in enumerate((marginal.pi, marginal.mu, marginal.sigma))
        )
        mu *= side.repeat(found.shape[1])
        found[inside] = side[:, None] * _lower_quantiles(
            (pi, mu, sigma), lower, normal, start.ravel()
        ).reshape(len(side), -1)
    rising = np.argsort(p, kind="stable")
    found[rising] = np.maximum.accumulate(found[rising], axis=0)
    return np.ascontiguousarray(found.T)


def _repeated(purpose: str, part: Array, times: int) -> Array:
    """Return values, (K, N), one after another several times, (K, Q N)."""
    whole = _buffers.take(purpose, (len(part), times, part.shape[1]))
    whole[:] = part[:, None]
    return whole.reshape(len(part), -1)


def _first_quantiles(marginal: Marginal, p: Array) -> Array:
    """Return about the quantiles of N mixtures at probabilities p, (Q,), shape (Q, N).

    The other components' probability below the mean of one tells which share of its own probability
    is below the quantile, as if they did not overlap. The component where that share is closest to
    a half counts. With many components it is the quantile of a Gaussian with the same mean and
    variance: the work for every pair of components would take longer than it saves.
    """
    pi, mu, sigma = marginal.pi, marginal.mu, marginal.sigma
    with np.errstate(all="ignore"):
        if len(mu) > _MOST_IN_PAIRS:
            mean = added_up(pi * mu)
            spread = np.sqrt(added_up(pi * ((mu - mean) ** 2 + sigma * sigma)))
            whole: Array = mean + scipy.special.ndtri(p)[:, None] * spread
            return whole
        chosen_mu, chosen_sigma, share = _components_at(pi, mu, sigma, p)
        share += np.float32(0.5)
        normal = scipy.special.ndtri(np.clip(share, _LEAST_SHARE, 1.0 - _LEAST_SHARE, out=share))
        found: Array = chosen_mu + chosen_sigma * normal
    return found


def _components_at(pi: Array, mu: Array, sigma: Array, p: Array) -> tuple[Array, Array, Numbers]:
    """Return mu and sigma of the component of `_first_quantiles`, and its share less a half.

    Each has the shape (Q, N).
    """
    single, shape = np.float32, (len(p), mu.shape[1])
    wanted, share = p.astype(single)[:, None] - single(0.5), np.full(shape, np.inf, single)
    chosen_mu, chosen_sigma = np.broadcast_to(mu[0], shape), np.broadcast_to(sigma[0], shape)
    away = mu - mu[0]
    width = np.maximum(np.abs(away).max(axis=0), _TINIEST_WIDTH)
    away, rate = (away / width).astype(single), (width / sigma).astype(single)
    pi = pi.astype(single)
    z, terms = (_buffers.take(name, mu.shape, single) for name in ("z", "terms"))
    for k in range(len(mu)):
        np.subtract(away[k], away, out=z)
        z *= rate
        _rough_sign(z, terms)
        terms *= pi
        # The component itself counts by half.
        own = (wanted - single(0.5) * added_up(terms)) / pi[k]
        closer = np.abs(own) < np.abs(share)
        share = np.where(closer, own, share)
        chosen_mu = np.where(closer, mu[k], chosen_mu)
        chosen_sigma = np.where(closer, sigma[k], chosen_sigma)
    return chosen_mu, chosen_sigma, share


def _rough_sign(z: Numbers, out: Numbers) -> None:
    """Write about 2 Phi(z) - 1 to `out`."""
    np.multiply(z, z, out=out)
    out *= _ROUGH_CUBIC
    out += _ROUGH_LINEAR
    out *= z
    np.tanh(out, out=out)


def _rough_cdf(
    at: Numbers, pi: Numbers, mu: Numbers, rate: Numbers, height: Numbers
) -> tuple[Numbers, Numbers]:
    """Return about the cdfs of mixtures, (K, N), and their densities, at points, each (N,)."""
    z, squares, terms = (_buffers.take(n, mu.shape, np.float32) for n in ("z", "z^2", "terms"))
    np.subtract(at, mu, out=z)
    z *= rate
    np.multiply(z, z, out=squares)
    _rough_sign(z, terms)
    terms *= pi
    squares *= -0.5
    np.exp(squares, out=squares)
    squares *= height
    return 0.5 + 0.5 * added_up(terms), added_up(squares)


def _lower_quantiles(
    mixture: tuple[Array, Array, Array], p: Array, normal: Array, start: Array
) -> Array:
    """Return the quantile of each of N mixtures, (K, N), at its p of at most a half, (N,).

    The quantile of a standard Gaussian at p is `normal`, (N,), and `start` is not far, (N,).

    It lies between the smallest and the largest quantile of the components. A rough search leads so
    near it that usually a single evaluation of the cdf and its derivatives gives it exactly. Where
    it does not, Halley's steps on log cdf converge quickly. A step that would leave the bracket is
    replaced by a halving.
    """
    pi, mu, sigma = mixture
    of_components = mu + sigma * normal
    if not pi.all():
        of_components = np.where(pi > 0.0, of_components, np.nan)
    low, high = np.fmin.reduce(of_components, axis=0), np.fmax.reduce(of_components, axis=0)
    found = np.clip(_near_quantiles(mixture, p, start, low, high), low, high)
    # Each end is rounded, so the quantile may be the next float outside.
    low, high = np.nextafter(low, -np.inf), np.nextafter(high, np.inf)
    tail, left = _LowerTail(pi, mu, 1.0 / sigma, p), np.arange(len(p))
    for _ in range(_MOST_SERIES):
        found[left], exact = tail.solve_series(np.clip(found[left], low, high))
        if exact.all():
            return found
        more = ~exact
        left, low, high = left[more], low[more], high[more]
        tail.keep(more)
    found[left] = find_roots(tail, low, high, np.clip(found[left], low, high))
    return found


def _hermite(order: int, z: Array, squares: Array, out: Array) -> None:
    """Write the derivative of phi(z) of order n - 1, divided by phi(z), for n from 2 to 5."""
    if order == 2:
        np.negative(z, out=out)
    elif order == 3:
        np.subtract(squares, 1.0, out=out)
    elif order == 4:
        np.subtract(3.0, squares, out=out)
        out *= z
    else:
        np.subtract(squares, 6.0, out=out)
        out *= squares
        out += 3.0


def _root_of_series(constant: Array, series: list[Array]) -> Array:
    """Return s, (N,), near 0 with constant + sum_n series_n s^n = 0, by Newton's steps."""
    step = -constant / series[0]
    for _ in range(_STEPS_ON_SERIES):
        value, slope = series[-1], np.zeros(len(step))
        for term in reversed(series[:-1]):
            slope = slope * step + value
            value = value * step + term
        step = step - (constant + step * value) / (slope * step + value)
    return step


def _near_quantiles(
    mixture: tuple[Array, Array, Array], p: Array, start: Array, low: Array, high: Array
) -> Array:
    """Return points near the quantiles of mixtures, (K, N), at p, (N,), between ends of brackets.

    These are Newton's steps on the logit of an approximate cdf, which is close to a straight line.
    """
    single = np.float32
    pi, mu, sigma = mixture
    with np.errstate(all="ignore"):
        origin, width = 0.5 * low + 0.5 * high, high - low
        width = np.where((width > 0.0) & np.isfinite(width), width, 1.0)
        mu = ((mu - origin) / width).astype(single)
        rate = np.minimum(width / sigma, _LARGEST_RATE).astype(single)
        pi = pi.astype(single)
        parts: list[Numbers] = [pi, mu, rate, pi * rate * single(_INV_SQRT_2PI)]
        found: Numbers = np.clip((start - origin) / width, -0.5, 0.5).astype(single)
        half = np.full(len(p), 0.5, single)
        wanted = np.log(p / (1.0 - p))
        state: list[Numbers] = [found, -half, half, p.astype(single), wanted.astype(single)]
        where = np.arange(len(p))
        for _ in range(_ROUGH_STEPS):
            state, close = _rough_step(state, *_rough_cdf(state[0], *parts))
            if 2 * np.count_nonzero(close) > len(close):
                found[where] = state[0]
                more = np.flatnonzero(~close)
                parts = [each.take(more, axis=1) for each in parts]
                state = [each.take(more) for each in state]
                where = where[more]
        found[where] = state[0]
        near: Array = origin + width * found
    return np.where(np.isfinite(near), near, origin)


def _rough_step(state: list[Numbers], cdf: Numbers, density: Numbers) -> tuple[list[Numbers], Mask]:
    """Return points after a step, and which of the points before it were close enough.

    Args:
        state: the points, the ends of the brackets, p and the logit of p, each (N,).
        cdf, density: (N,), at the points.
    """
    at, left, right, p, wanted = state
    below, close = cdf < p, np.abs(cdf - p) < _CLOSE
    left, right = np.where(below, at, left), np.where(below, right, at)
    cdf = np.clip(cdf, _ROUGH, 1.0 - _ROUGH)
    rest = 1.0 - cdf
    new = at + (wanted - np.log(cdf / rest)) * cdf * rest / density
    new = np.where((new >= left) & (new <= right), new, 0.5 * (left + right))
    return [np.where(close, at, new), left, right, p, wanted], close


class _LowerTail:
    """The root problem of quantiles: cdf(y) - p."""

    def __init__(self, pi: Array, mu: Array, rate: Array, p: Array) -> None:
        self._pi, self._mu, self._rate, self._p = pi, mu, rate, p
        self._heights = pi * rate * _INV_SQRT_2PI

    def evaluate(self, y: Array) -> tuple[Array, Array, Mask]:
        """Return cdf(y) - p, Halley's step towards log cdf = log p, and which are found."""
        z = (y - self._mu) * self._rate
        cdf = added_up(self._pi * scipy.special.ndtr(z))
        terms = self._heights * np.exp(-0.5 * z * z)
        density = added_up(terms)
        slope = -added_up(terms * z * self._rate)
        with np.errstate(all="ignore"):
            # g = log(cdf / p): g' = density / cdf, and g'' / g' = slope / density - g'.
            rise = density / cdf
            newton = -np.log(cdf / self._p) / rise
            change = newton / np.maximum(1.0 + 0.5 * newton * (slope / density - rise), 0.25)
        excess = cdf - self._p
        return excess, change, np.abs(excess) <= _TOLERANCE * self._p

    def solve_series(self, y: Array) -> tuple[Array, Mask]:
        """Return y + s, (N,), where the Taylor series of cdf(y + s) is p, and where it is exact.

        With h = |s| / sigma_k and a = |z_k|, the rest of a component's series after five terms is
        at most pi_k phi(z_k) exp(a h) (a + h + 2)^5 h^6 / 720, by the sixth derivative, which is a
        Hermite polynomial of fifth degree times phi.
        """
        z, squares, heights, term, rate = (
            _buffers.take(f"{number}", self._mu.shape) for number in range(5)
        )
        np.subtract(y, self._mu, out=z)
        z *= self._rate
        scipy.special.ndtr(z, out=term)
        term *= self._pi
        excess = added_up(term) - self._p
        np.multiply(z, z, out=squares)
        np.multiply(squares, -0.5, out=heights)
        np.exp(heights, out=heights)
        heights *= self._pi
        heights *= _INV_SQRT_2PI
        # The n-th derivative of a component is He(z) phi(z) / sigma^n, with these polynomials.
        np.multiply(heights, self._rate, out=rate)
        series = [added_up(rate)]
        for order in (2, 3, 4, 5):
            rate *= self._rate
            _hermite(order, z, squares, term)
            term *= rate
            series.append(added_up(term) / factorial(order))
        with np.errstate(all="ignore"):
            step = _root_of_series(excess, series)
            shift, far = np.multiply(np.abs(step), self._rate, out=rate), np.abs(z, out=z)
            np.multiply(far, shift, out=term)
            rest = np.exp(term, out=term)
            rest *= heights
            far += shift
            far += 2.0
            rest *= far
            far *= far
            far *= far
            rest *= far
            shift *= shift
            for _ in range(3):
                rest *= shift
            exact = added_up(rest) <= factorial(6) * _TOLERANCE * self._p
            found = y + step
        finite = np.isfinite(found)
        return np.where(finite, found, y), exact & finite

    def keep(self, chosen: Mask) -> None:
        """Drop all rows except the chosen ones."""
        kept = np.flatnonzero(chosen)
        self._p = self._p[kept]
        self._pi, self._mu, self._rate, self._heights = (
            part.take(kept, axis=1) for part in (self._pi, self._mu, self._rate, self._heights)
        )
