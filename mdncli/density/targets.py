"""Every question about a single target: one class for each way in which u becomes the target."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy

from mdncli.columns.discrete import Atoms, Rounding, Wrapped
from mdncli.columns.transforms import Transform
from mdncli.density import moments
from mdncli.density.hdr import first_intervals, highest_density_regions, regions_of_segments
from mdncli.density.marginal import IMAGES, Marginal, TargetDensity, quantiles
from mdncli.density.mixture import GaussianMixture
from mdncli.density.modes import critical_points, modes
from mdncli.density.numerics import find_roots
from mdncli.types import Array, Mask

# Of the values of a rounded target: how many sigmas around the means of components count, and the
# log weight of a component that does not count.
_REACH, _NO_WEIGHT = 8.3, -40.0
# A coverage is reached up to rounding.
_ROUNDED_COVERAGE = 1e-12
# The error of the cdf at the quantile of an angle.
_TOLERANCE = 1e-13
_TINY = 1e-300
# The terms of the Fourier series of a score: they vanish beyond so many over the smallest sigma, in
# radians, and there are at most so many.
_LAST_TERM, _MOST_TERMS = 7.0, 2000


@dataclass(frozen=True)
class ContinuousTarget:
    """N distributions of y = transform.forward(u), with or without bounds.

    Attributes:
        mixture: N mixtures of u.
        transform: from u to the target.
    """

    mixture: Marginal
    transform: Transform

    def log_prob(self, y: Array) -> Array:
        """Return log p(y), or the log probability where y has one, in nats, (N,), at y, (N,)."""
        return self.mixture.log_prob_of(self.transform.cells(y))

    def log_probability(self, y: Array) -> Array:
        """Return log P(Y = y), in nats, (N,): of a continuous target -inf."""
        return np.full(len(y), -np.inf)

    def cdf(self, y: Array, *, upper: bool = False, log: bool = False) -> Array:
        """Return P(Y <= y), with `upper` P(Y > y), (N,), or its logarithm."""
        u, one = self.transform.edge_above(y), self.mixture
        found = one.log_cdf(u, upper=upper) if log else one.cdf(u, upper=upper)
        if self.transform.is_identity:
            return found
        # By rounding, the weights may add up to slightly less than 1.
        side = -u if upper else u
        found = np.where(side == np.inf, 0.0 if log else 1.0, found)
        return np.where(side == -np.inf, -np.inf if log else 0.0, found)

    def cdf_of_quantiles(self, y: Array) -> Array:
        """Return the cdf that `quantiles` inverts, (N,), at y, (N,)."""
        return self.cdf(y)

    def quantiles(self, p: Array) -> Array:
        """Return the quantiles at probabilities p, (Q,), shape (N, Q); they never cross."""
        found = self.transform.forward(quantiles(self.mixture, p))
        rising = np.argsort(p, kind="stable")
        # Rounding in the transform could let two quantiles cross.
        found[:, rising] = np.maximum.accumulate(found[:, rising], axis=1)
        return found

    def moments(self) -> Array:
        """Return the mean and the variance, (N, 2)."""
        if self.transform.is_identity:
            mixture = self._as_mixture()
            return np.concatenate([mixture.mean(), mixture.variance()], axis=1)
        return moments.bounded_moments(self.mixture, self.transform)

    def mode(self) -> Array:
        """Return where the density is highest, (N,)."""
        return self.transform.forward(modes(TargetDensity(self.mixture, self.transform)))

    def regions(self, coverage: float) -> Array:
        """Return the intervals of the smallest set that holds this probability, (N, I, 2)."""
        found = highest_density_regions(self.mixture, coverage, self.transform)
        return self.transform.forward(found)

    def crps(self, y: Array) -> Array:
        """Return the continuous ranked probability score of values y, (N,), in units of y."""
        if self.transform.is_identity:
            return moments.crps(self._as_mixture(), y[:, None])[:, 0]
        return moments.bounded_crps(self.mixture, self.transform, y)

    def _as_mixture(self) -> GaussianMixture:
        one = self.mixture
        return GaussianMixture(one.log_pi.T, one.mu.T[:, :, None], one.sigma.T[:, :, None])


@dataclass(frozen=True)
class RoundedTarget(ContinuousTarget):
    """N distributions over the values of a grid."""

    transform: Rounding

    def log_probability(self, y: Array) -> Array:
        """Return log P(Y = y), in nats, (N,); y stands for the nearest value of the grid."""
        found: Array = self.log_prob(y) + np.log(self.transform.step)
        return found

    def moments(self) -> Array:
        """Return the mean and the variance, (N, 2)."""
        values, probability = self._cells
        total = probability.sum(axis=1)
        mean = (probability * values).sum(axis=1) / total
        squares = (values - mean[:, None]) ** 2
        return np.stack([mean, (probability * squares).sum(axis=1) / total], axis=1)

    def mode(self) -> Array:
        """Return the most probable value, (N,); the lowest one if there are several."""
        values, probability = self._cells
        found: Array = values[np.arange(len(values)), probability.argmax(axis=1)]
        return found

    def crps(self, y: Array) -> Array:
        """Return the continuous ranked probability score of values y of the grid, (N,).

        It is the integral of (F(t) - [y <= t])^2, and F is constant between two values.
        """
        (values, probability), step = self._cells, self.transform.step
        cdf = np.minimum(probability.cumsum(axis=1), 1.0)
        reached = values >= y[:, None] - 0.5 * step
        score: Array = step * ((cdf - reached) ** 2).sum(axis=1)
        # Beyond the values, F is 0 or 1.
        below = np.maximum(values[:, 0] - y, 0.0)
        beyond = np.maximum(y - values[:, -1] - step, 0.0)
        return score + below + beyond

    def regions(self, coverage: float) -> Array:
        """Return the smallest sets of values with this probability, as intervals, (N, I, 2)."""
        values, probability = self._cells
        order = np.argsort(-probability, axis=1, kind="stable")
        held = np.take_along_axis(probability, order, axis=1).cumsum(axis=1)
        needed = np.minimum((held < coverage - _ROUNDED_COVERAGE).sum(axis=1), order.shape[1] - 1)
        rank = np.argsort(order, axis=1)
        inside = rank <= needed[:, None]
        edges = np.diff(inside.astype(np.int8), axis=1, prepend=0, append=0)
        starts, ends = edges[:, :-1] == 1, edges[:, 1:] == -1
        most = max(1, int(starts.sum(axis=1).max(initial=1)))
        found = np.full((len(values), most, 2), np.nan)
        for side, marks in enumerate((starts, ends)):
            rows, cells = np.nonzero(marks)
            number = marks.cumsum(axis=1)[rows, cells] - 1
            found[rows, number, side] = values[rows, cells]
        return found

    @cached_property
    def _cells(self) -> tuple[Array, Array]:
        """The values that hold all of the probability but about 1e-15, and their probabilities.

        Both have the shape (N, C), and adjacent values of the grid are in rising order. The
        probability of a value beyond a bound is 0.
        """
        mixture, rounding = self.mixture, self.transform
        used = mixture.log_pi > _NO_WEIGHT
        reach = _REACH * mixture.sigma
        low = np.where(used, mixture.mu - reach, np.inf).min(axis=0)
        high = np.where(used, mixture.mu + reach, -np.inf).max(axis=0)
        first, last = rounding.forward(low), rounding.forward(high)
        count = int(np.rint((last - first) / rounding.step).max(initial=0)) + 1
        values = first[:, None] + rounding.step * np.arange(count)
        tails, ones = np.zeros((2, len(first), count + 1))
        pi, rate = mixture.pi, 1.0 / mixture.sigma
        for cell in range(count):
            # F is Phi(z) below a component's mean, and 1 - Phi(-z) above it. The ones are summed
            # separately, so that no digits cancel in either tail.
            z = (rounding.edge_above(values[:, cell]) - mixture.mu) * rate
            above = z >= 0.0
            tail = scipy.special.ndtr(-np.abs(z))
            np.negative(tail, out=tail, where=above)
            tails[:, cell + 1] = (pi * tail).sum(axis=0)
            ones[:, cell + 1] = (pi * above).sum(axis=0)
        probability = np.diff(tails, axis=1) + np.diff(ones, axis=1)
        return values, np.maximum(probability, 0.0)


@dataclass(frozen=True)
class TargetWithAtoms(ContinuousTarget):
    """N distributions with a density and with atoms: values that have a probability."""

    transform: Atoms

    def log_probability(self, y: Array) -> Array:
        """Return log P(Y = y), in nats, (N,); -inf where y is no atom."""
        return np.where(self.transform.atom(y) >= 0, self.log_prob(y), -np.inf)

    def moments(self) -> Array:
        """Return the mean and the variance, (N, 2).

        They are sums over the atoms and over partial moments of the components; see
        `moments.partial_moments`.
        """
        values, probability = np.array(self.transform.values)[:, None], self._probability
        mean = (probability * values).sum(axis=0)
        mean += self._partial(np.zeros(len(mean)))[0]
        squares = (probability * (values - mean) ** 2).sum(axis=0) + self._partial(mean)[1]
        return np.stack([mean, squares], axis=1)

    def _partial(self, centre: Array) -> tuple[Array, Array]:
        """Return the integrals of y p(y) and of (y - centre)^2 p(y) between the atoms, (N,)."""
        first, second = np.zeros((2, len(centre)))
        for low, high, shift in self.transform.segments:
            part = self.mixture.shifted(-shift)
            ends = low - shift, high - shift
            more = moments.partial_moments(part, self.transform.inner, ends, centre)
            first, second = first + more[0], second + more[1]
        return first, second

    def mode(self) -> Array:
        """Return the atom with a probability of at least a half, or where the density is highest.

        A density and a probability cannot be compared, so this decides between them.
        """
        values, probability = np.array(self.transform.values), self._probability
        best = np.full(len(probability[0]), -np.inf)
        found = np.zeros(len(best))
        for density, (low, high) in self._densities():
            points = critical_points(density)
            ends = [np.full((len(best), 1), end) for end in (low, high) if np.isfinite(end)]
            points = np.clip(np.concatenate([points, *ends], axis=1), low, high)
            rows = np.repeat(np.arange(len(points)), points.shape[1])
            heights = density.rows(rows).log_prob(points.ravel()).reshape(points.shape)
            top = np.nanargmax(heights, axis=1)
            own = np.arange(len(best)), top
            better = heights[own] > best
            best = np.where(better, heights[own], best)
            found = np.where(better, self.transform.inner.forward(points[own]), found)
        likely = probability.argmax(axis=0)
        is_atom = probability.max(axis=0) >= 0.5
        return np.where(is_atom, values[likely], found)

    def regions(self, coverage: float) -> Array:
        """Return the smallest set that holds this probability: atoms, then intervals, (N, I, 2).

        An atom is an interval of length 0. The most probable atoms come first into the set, and
        the intervals with the highest density hold the rest of the probability.
        """
        values, probability = np.array(self.transform.values), self._probability.T
        order = np.argsort(-probability, axis=1, kind="stable")
        held = np.take_along_axis(probability, order, axis=1).cumsum(axis=1)
        before = np.concatenate([np.zeros((len(held), 1)), held[:, :-1]], axis=1)
        needed: Mask = np.take_along_axis(before, np.argsort(order, axis=1), axis=1) < coverage
        rest = coverage - (probability * needed).sum(axis=1)
        parts = [np.where(needed, values, np.nan)[:, :, None].repeat(2, axis=2)]
        some = rest > _ROUNDED_COVERAGE
        if some.any():
            segments = [(density.rows(some), ends) for density, ends in self._densities()]
            for found in regions_of_segments(segments, rest[some], coverage):
                whole = np.full((len(rest), found.shape[1], 2), np.nan)
                whole[some] = self.transform.inner.forward(found)
                parts.append(whole)
        return first_intervals(np.concatenate(parts, axis=1))

    def crps(self, y: Array) -> Array:
        """Return the continuous ranked probability score of values y, (N,), by quadrature."""
        return moments.crps_of_segments(self.mixture, self.transform, y)

    @cached_property
    def _probability(self) -> Array:
        """The probability of each atom, (A, N)."""
        rows = self.mixture.mu.shape[1]
        return np.stack([np.exp(self.log_prob(np.full(rows, v))) for v in self.transform.values])

    def _densities(self) -> list[tuple[TargetDensity, tuple[float, float]]]:
        """Return for each interval between the atoms the density, and the ends, on u of `inner`."""
        return [
            (
                TargetDensity(self.mixture.shifted(-shift), self.transform.inner),
                (low - shift, high - shift),
            )
            for low, high, shift in self.transform.segments
        ]


@dataclass(frozen=True)
class WrappedMixture:
    """N mixtures of K wrapped Gaussians (Mardia and Jupp 2000, section 3.5.7).

    A Gaussian is wrapped around a circle by adding up its density at all points that are whole
    periods apart. On a window of one period a wrapped mixture equals a mixture on the line with
    images of each component, moved by whole periods.

    Attributes:
        mixture: of the Gaussians before they are wrapped.
        period: in the units of the target.
        start: (N,), the point opposite the circular mean. Each window begins there.
    """

    mixture: Marginal
    period: float
    start: Array

    @classmethod
    def of(cls, mixture: Marginal, period: float) -> "WrappedMixture":
        """Return these mixtures, wrapped."""
        whole = cls(mixture, period, np.zeros(mixture.mu.shape[1]))
        return cls(mixture, period, whole.moments()[0] - 0.5 * period)

    @property
    def _rate(self) -> float:
        return 2.0 * math.pi / self.period

    def moments(self) -> tuple[Array, Array]:
        """Return the circular mean, and the square of the circular standard deviation, (N,).

        With the mean of exp(i angle), R exp(i m), they are m and -2 log R, an angle and its square
        in units of the target. (Mardia and Jupp 2000, eq. 2.3.11)
        """
        first = self._characteristic(1)
        length = np.maximum(np.abs(first), _TINY)
        variance = np.maximum(-2.0 * np.log(length), 0.0) / self._rate**2
        return np.angle(first) / self._rate, variance

    def _characteristic(self, order: int) -> Any:
        """Return E exp(i order angle), complex, (N,)."""
        rate = order * self._rate
        size = self.mixture.log_pi - 0.5 * (rate * self.mixture.sigma) ** 2
        return np.exp(size + 1j * rate * self.mixture.mu).sum(axis=0)

    @cached_property
    def unrolled(self) -> Marginal:
        """The mixtures with images, each moved so that its window begins at 0.

        Its density is that of the angle on the window, and on a period to each side of it.
        """
        mu = np.mod(self.mixture.mu - self.start, self.period)
        images = [mu + number * self.period for number in range(-IMAGES, IMAGES + 1)]
        count = len(images), 1
        log_pi, sigma = np.tile(self.mixture.log_pi, count), np.tile(self.mixture.sigma, count)
        return Marginal(log_pi, np.concatenate(images), sigma)

    def between(self, low: Array, high: Array) -> Array:
        """Return the probability of the angles from `low` to `high`, (N,), at most a period on."""
        moved = WrappedMixture(self.mixture, self.period, low).unrolled
        return moved.mass_between(np.zeros(len(low)), high - low)

    def from_start(self, y: Array) -> Array:
        """Return the probability of the angles from the start of the window to y, (N,)."""
        return self.between(self.start, self.start + np.mod(y - self.start, self.period))

    def quantiles(self, p: Array) -> Array:
        """Return the quantiles at probabilities p, (Q,), counted from the start, (N, Q)."""
        found = np.empty((len(self.start), len(p)))
        low = np.zeros(len(self.start))
        for position in np.argsort(p, kind="stable"):
            problem = _Cumulated(self.unrolled, float(p[position]))
            high = np.full(len(low), self.period)
            low = find_roots(problem, low, high, low + 0.5 * (high - low))
            found[:, position] = low
        return found + self.start[:, None]

    def mode(self) -> Array:
        """Return where the density is highest, (N,)."""
        return modes(TargetDensity(self.unrolled)) + self.start

    def regions(self, coverage: float) -> Array:
        """Return the intervals of the highest-density region, (N, I, 2), in rising order.

        An interval that begins in one window and ends in the next is one interval.
        """
        window = TargetDensity(self.unrolled), (0.0, self.period)
        mass = np.full(len(self.start), coverage)
        [found] = regions_of_segments([window], mass, coverage)
        last = np.maximum((~np.isnan(found[:, :, 0])).sum(axis=1) - 1, 0)
        rows = np.arange(len(found))
        crosses = (found[:, 0, 0] <= 0.0) & (found[rows, last, 1] >= self.period) & (last > 0)
        found[crosses, 0, 0] = found[rows, last, 0][crosses] - self.period
        found[rows[crosses], last[crosses]] = np.nan
        return first_intervals(found) + self.start[:, None, None]

    def crps(self, y: Array) -> Array:
        """Return the circular continuous ranked probability score, (N,), in units of the target.

        It is E d(Y, y) - E d(Y, Y') / 2 with the length d of the shorter arc (Grimit, Gneiting,
        Berrocal and Johnson 2006, eq. 8). An arc of a radians is pi/2 - (4/pi) sum cos(k a) / k^2
        over odd k, so both means follow from E exp(i k Y). The series ends after 2000 terms, which
        leaves an error of at most 2e-4 radians.
        """
        narrowest = float(self.mixture.sigma.min(initial=self.period)) * self._rate
        last = min(_MOST_TERMS, math.ceil(_LAST_TERM / narrowest))
        total = np.full(len(y), 0.25 * math.pi)
        for order in range(1, last + 2, 2):
            of_y = self._characteristic(order)
            to_value = (of_y * np.exp(-1j * order * self._rate * y)).real
            total -= 4.0 / math.pi * (to_value - 0.5 * np.abs(of_y) ** 2) / order**2
        score: Array = np.maximum(total, 0.0) / self._rate
        return score


class _Cumulated:
    """The root problem of quantiles: the probability from the start of the window, minus p."""

    def __init__(self, unrolled: Marginal, p: float) -> None:
        self._unrolled, self._p = unrolled, p

    def evaluate(self, at: Array) -> tuple[Array, Array, Mask]:
        """Return the excess, Newton's step, and which quantiles are found."""
        excess = self._unrolled.mass_between(np.zeros(len(at)), at) - self._p
        with np.errstate(all="ignore"):
            change = -excess / np.exp(self._unrolled.log_prob(at))
        return excess, change, np.abs(excess) <= _TOLERANCE

    def keep(self, chosen: Mask) -> None:
        """Drop all rows except the chosen ones."""
        self._unrolled = self._unrolled.rows(chosen)


@dataclass(frozen=True)
class PeriodicTarget(ContinuousTarget):
    """N distributions of an angle, each a mixture of wrapped Gaussians; see `WrappedMixture`."""

    transform: Wrapped

    def cdf(self, y: Array, *, upper: bool = False, log: bool = False) -> Array:
        """Return P(origin <= Y <= y), with `upper` P(Y > y), (N,), or its logarithm.

        The origin is the lowest value of the target. Angles beyond a turn are wrapped.
        """
        origin, period = np.full(len(y), self.transform.origin), self.transform.period
        # The end of the period is the whole turn, not its beginning.
        inside = np.where(y == origin + period, y, self.transform.forward(y))
        ends = (inside, origin + period) if upper else (origin, inside)
        found = np.clip(self._wrapped.between(*ends), 0.0, 1.0)
        with np.errstate(divide="ignore"):
            return np.log(found) if log else found

    def cdf_of_quantiles(self, y: Array) -> Array:
        """Return the probability of the angles from opposite the mean to y, (N,)."""
        return self._wrapped.from_start(y)

    def quantiles(self, p: Array) -> Array:
        """Return the quantiles, (N, Q), counted from the point opposite the circular mean."""
        return self.transform.forward(self._wrapped.quantiles(p))

    def moments(self) -> Array:
        """Return the circular mean, and the square of the circular standard deviation, (N, 2)."""
        mean, variance = self._wrapped.moments()
        return np.stack([self.transform.forward(mean), variance], axis=1)

    def mode(self) -> Array:
        """Return where the density is highest, (N,)."""
        return self.transform.forward(self._wrapped.mode())

    def regions(self, coverage: float) -> Array:
        """Return the intervals of the smallest set that holds this probability, (N, I, 2).

        The end of an interval that crosses the origin is less than its beginning.
        """
        return self.transform.forward(self._wrapped.regions(coverage))

    def crps(self, y: Array) -> Array:
        """Return the circular continuous ranked probability score, (N,), in units of y."""
        return self._wrapped.crps(y)

    @cached_property
    def _wrapped(self) -> WrappedMixture:
        return WrappedMixture.of(self.mixture, self.transform.period)


def on_target(mixture: Marginal, transform: Transform) -> ContinuousTarget:
    """Return the distributions of a target with these mixtures of u."""
    if isinstance(transform, Rounding):
        return RoundedTarget(mixture, transform)
    if isinstance(transform, Atoms):
        return TargetWithAtoms(mixture, transform)
    if isinstance(transform, Wrapped):
        return PeriodicTarget(mixture, transform)
    return ContinuousTarget(mixture, transform)
