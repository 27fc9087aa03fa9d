"""Marginals: Gaussian mixtures of a single target, with density, cdf and quantiles."""

from dataclasses import dataclass, replace

import numpy as np
import scipy

from mdncli.columns.transforms import IDENTITY, Cells, Transform
from mdncli.density.mixture import LOG_2PI, GaussianMixture
from mdncli.density.numerics import find_roots
from mdncli.types import Array, Mask, Positions

# The error of a quantile's cdf, relative to the smaller of p and 1 - p.
_TOLERANCE = 1e-13
# The first guess lies between these two quantiles of its component: _EDGE and 1 - _EDGE.
_EDGE = 1e-3
# How many periods to each side of a point count for a wrapped mixture.
IMAGES = 4
_ZERO = np.zeros(1)
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
        return Marginal(self.log_pi[:, chosen], self.mu[:, chosen], self.sigma[:, chosen])

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
        mass: Array = (self.pi * normal_between(*ends)).sum(axis=0)
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
        total = share.sum(axis=0)
        share /= total
        slopes = (self.mu - y) / self.sigma**2
        slope = (share * slopes).sum(axis=0)
        curvature = (share * ((slopes - slope) ** 2 - self.sigma**-2.0)).sum(axis=0)
        return top + np.log(total), slope, curvature

    def cdf(self, y: Array, *, upper: bool = False) -> Array:
        """Return P(Y <= y) = sum_k pi_k Phi((y - mu_k) / sigma_k), shape (N,).

        With `upper` return P(Y > y), summed from the upper tails so that no digits cancel.
        """
        z = (y - self.mu) / self.sigma
        total: Array = (self.pi * scipy.special.ndtr(-z if upper else z)).sum(axis=0)
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
        total: Array = np.log(np.exp(terms - top).sum(axis=0))
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
    found = np.empty((marginal.mu.shape[1], len(p)))
    for position, each in enumerate(p):
        if each in (0.0, 1.0):
            found[:, position] = -np.inf if each == 0.0 else np.inf
        elif each <= 0.5:
            found[:, position] = _lower_quantile(marginal, each)
        else:
            # The mirrored mixture has a small lower tail, which loses no digits to 1 - p.
            mirrored = Marginal(marginal.log_pi, -marginal.mu, marginal.sigma)
            found[:, position] = -_lower_quantile(mirrored, 1.0 - each)
    rising = np.argsort(p, kind="stable")
    found[:, rising] = np.maximum.accumulate(found[:, rising], axis=1)
    return found


def _lower_quantile(marginal: Marginal, p: float) -> Array:
    """Return the p-quantile, shape (N,), for p of at most a half.

    It lies between the smallest and the largest quantile of the components. Inside this bracket
    Halley's steps on log cdf converge quickly. A step that would leave it is replaced by a halving.
    """
    pi, mu, sigma = marginal.pi, marginal.mu, marginal.sigma
    of_components = mu + sigma * scipy.special.ndtri(p)
    used = pi > 0.0
    low = np.where(used, of_components, np.inf).min(axis=0)
    high = np.where(used, of_components, -np.inf).max(axis=0)
    start = np.clip(_first_guess(pi, mu, sigma, p), low, high)
    # Each end is rounded, so the quantile may be the next float outside.
    low, high = np.nextafter(low, -np.inf), np.nextafter(high, np.inf)
    return find_roots(_LowerTail(pi, mu, 1.0 / sigma, p), low, high, start)


def _first_guess(pi: Array, mu: Array, sigma: Array, p: float) -> Array:
    """Return the quantiles, (N,), that the mixtures would have if no components overlapped."""
    order = np.argsort(mu, axis=0)
    pi, mu, sigma = (np.take_along_axis(part, order, axis=0) for part in (pi, mu, sigma))
    cumulated = pi.cumsum(axis=0)
    within = np.minimum((cumulated < p).sum(axis=0), len(mu) - 1), np.arange(mu.shape[1])
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (p - (cumulated[within] - pi[within])) / pi[within]
    # Where rounding leaves the sum below p, a component of weight zero may be chosen.
    share = np.where(np.isnan(share), 0.5, np.clip(share, _EDGE, 1.0 - _EDGE))
    guess: Array = mu[within] + sigma[within] * scipy.special.ndtri(share)
    return guess


class _LowerTail:
    """The root problem of quantiles: cdf(y) - p."""

    def __init__(self, pi: Array, mu: Array, rate: Array, p: float) -> None:
        self._pi, self._mu, self._rate, self._p = pi, mu, rate, p
        self._heights = pi * rate * _INV_SQRT_2PI

    def evaluate(self, y: Array) -> tuple[Array, Array, Mask]:
        """Return cdf(y) - p, Halley's step towards log cdf = log p, and which are found."""
        z = (y - self._mu) * self._rate
        cdf = (self._pi * scipy.special.ndtr(z)).sum(axis=0)
        terms = self._heights * np.exp(-0.5 * z * z)
        density = terms.sum(axis=0)
        slope = -(terms * z * self._rate).sum(axis=0)
        with np.errstate(all="ignore"):
            # g = log(cdf / p): g' = density / cdf, and g'' / g' = slope / density - g'.
            rise = density / cdf
            newton = -np.log(cdf / self._p) / rise
            change = newton / np.maximum(1.0 + 0.5 * newton * (slope / density - rise), 0.25)
        excess = cdf - self._p
        return excess, change, np.abs(excess) <= _TOLERANCE * self._p

    def keep(self, chosen: Mask) -> None:
        """Drop all rows except the chosen ones."""
        self._pi, self._mu, self._rate, self._heights = (
            np.compress(chosen, part, axis=1)
            for part in (self._pi, self._mu, self._rate, self._heights)
        )
