"""Marginals: Gaussian mixtures of a single target, with density, cdf and quantiles."""

from dataclasses import dataclass

import numpy as np
import scipy

from mdncli.columns.transforms import IDENTITY, Rounding, Transform
from mdncli.density.mixture import LOG_2PI, GaussianMixture
from mdncli.density.solvers import find_roots
from mdncli.types import Array, Mask, Positions

# The error of a quantile's cdf, relative to the smaller of p and 1 - p.
_TOLERANCE = 1e-13
# The first guess lies between these two quantiles of its component: _EDGE and 1 - _EDGE.
_EDGE = 1e-3
# Of the values of a rounded target: how many sigmas around the means of components count, and the
# log weight of a component that does not count.
_REACH, _NO_WEIGHT = 8.3, -40.0
# A coverage is reached up to rounding.
_ROUNDED_COVERAGE = 1e-12
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
        # In the upper tail the probabilities of the mirrored cell lose no digits.
        mirrored = a + b > 0.0
        a, b = np.where(mirrored, -b, a), np.where(mirrored, -a, b)
        log_upto_b = scipy.special.log_ndtr(b)
        with np.errstate(divide="ignore"):
            log_share = np.log(-np.expm1(scipy.special.log_ndtr(a) - log_upto_b))
        total = _log_sum_exp(self.log_pi + log_upto_b + log_share)
        return np.asarray(np.minimum(total, 0.0))


@dataclass(frozen=True)
class CellProbabilities:
    """The probabilities of the values of a rounded target, at N rows.

    Attributes:
        values: (N, C), adjacent values of the grid, in rising order.
        probability: (N, C), of each; 0 for a value beyond a bound.
    """

    values: Array
    probability: Array

    @classmethod
    def of(cls, mixture: Marginal, rounding: Rounding) -> "CellProbabilities":
        """Return the values that hold all of the probability but about 1e-15."""
        used = mixture.log_pi > _NO_WEIGHT
        reach = _REACH * mixture.sigma
        low = np.where(used, mixture.mu - reach, np.inf).min(axis=0)
        high = np.where(used, mixture.mu + reach, -np.inf).max(axis=0)
        first, last = rounding.forward(low), rounding.forward(high)
        count = int(np.rint((last - first) / rounding.step).max(initial=0)) + 1
        values = first[:, None] + rounding.step * np.arange(count)
        upto = np.empty((len(first), count))
        above = np.empty((len(first), count))
        for cell in range(count):
            # Below the median the cdf has all digits, and above it the upper tail.
            edge = rounding.edge_above(values[:, cell])
            upto[:, cell] = mixture.cdf(edge)
            above[:, cell] = mixture.cdf(edge, upper=True)
        from_below = np.diff(upto, axis=1, prepend=0.0)
        from_above = -np.diff(above, axis=1, prepend=1.0)
        probability = np.where(upto < 0.5, from_below, from_above)
        return cls(values, np.maximum(probability, 0.0))

    def moments(self) -> Array:
        """Return the mean and the variance, (N, 2)."""
        mean = (self.probability * self.values).sum(axis=1) / self.probability.sum(axis=1)
        squares = (self.values - mean[:, None]) ** 2
        variance = (self.probability * squares).sum(axis=1) / self.probability.sum(axis=1)
        return np.stack([mean, variance], axis=1)

    def mode(self) -> Array:
        """Return the most probable value, (N,); the lowest one if there are several."""
        most = self.probability.argmax(axis=1)
        found: Array = self.values[np.arange(len(self.values)), most]
        return found

    def crps(self, y: Array, step: float) -> Array:
        """Return the continuous ranked probability score, (N,), of values y of the grid, (N,).

        It is the integral of (F(t) - [y <= t])^2, and F is constant between two values.
        """
        cdf = np.minimum(self.probability.cumsum(axis=1), 1.0)
        reached = self.values >= y[:, None] - 0.5 * step
        score: Array = step * ((cdf - reached) ** 2).sum(axis=1)
        # Beyond the values, F is 0 or 1.
        below = np.maximum(self.values[:, 0] - y, 0.0)
        beyond = np.maximum(y - self.values[:, -1] - step, 0.0)
        return score + below + beyond

    def regions(self, coverage: float, step: float) -> Array:
        """Return the smallest sets of values with this probability, as intervals, (N, I, 2)."""
        order = np.argsort(-self.probability, axis=1, kind="stable")
        held = np.take_along_axis(self.probability, order, axis=1).cumsum(axis=1)
        needed = np.minimum((held < coverage - _ROUNDED_COVERAGE).sum(axis=1), order.shape[1] - 1)
        rank = np.argsort(order, axis=1)
        inside = rank <= needed[:, None]
        edges = np.diff(inside.astype(np.int8), axis=1, prepend=0, append=0)
        starts, ends = edges[:, :-1] == 1, edges[:, 1:] == -1
        most = max(1, int(starts.sum(axis=1).max(initial=1)))
        found = np.full((len(self.values), most, 2), np.nan)
        for side, marks in enumerate((starts, ends)):
            rows, cells = np.nonzero(marks)
            number = marks.cumsum(axis=1)[rows, cells] - 1
            found[rows, number, side] = self.values[rows, cells]
        return found


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
