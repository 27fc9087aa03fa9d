"""Highest-density regions: the smallest set that holds a given probability (Hyndman 1996)."""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from mdncli.columns.transforms import FREE, Bounds
from mdncli.density.marginal import Univariate
from mdncli.density.mixture import LOG_2PI
from mdncli.density.modes import critical_points
from mdncli.density.solvers import bracketed_zeros
from mdncli.types import Array, Mask, Positions

_CLOSE = 1e-12
# Of the log density at a border, in nats.
_ON_LEVEL = 1e-13
_LAST_STEPS = 3


@dataclass(frozen=True)
class _Profile:
    """N densities on the mixture's scale: where probability lies, and how high the target's is.

    Without bounds both are one mixture.
    """

    masses: Univariate
    heights: Univariate

    def rows(self, chosen: Positions | Mask) -> "_Profile":
        """Return those at these positions, in their order."""
        masses = self.masses.rows(chosen)
        one = self.heights is self.masses
        return _Profile(masses, masses if one else self.heights.rows(chosen))

    def log_mass(self, u: Array, log_height: Array) -> Array:
        """Return the log density of the mixture at u (N,), given the log height there."""
        return log_height if self.heights is self.masses else self.masses.log_density(u)


def highest_density_regions(mixture: Univariate, mass: float, bounds: Bounds = FREE) -> Array:
    """Return the intervals where each density is above the level that leaves `mass` above it.

    The density rises and falls between its critical points, so for a level each such stretch holds
    one border at most. The level is found by a bracketed search, the borders anew for each.

    Args:
        mixture: N of them.
        mass: above 0 and below 1.
        bounds: of the target; the density compared is then the target's, not the mixture's.

    Returns:
        Shape (N, I, 2): low and high ends of the intervals, in rising order and on the mixture's
        scale; a row of fewer than I ends with NaN.

    Raises:
        ValueError: the mass is not between 0 and 1.
    """
    if not 0.0 < mass < 1.0:
        raise ValueError("the mass is not between 0 and 1")
    if not mixture.mu.shape[1]:
        return np.empty((0, 1, 2))
    mixture = mixture.resolved()
    profile = _Profile(mixture, mixture.heights(bounds))
    points = critical_points(profile.heights)
    heights = _heights(profile.heights, points)
    highest = np.nanmax(heights, axis=1)
    # The latter where floats are so far apart that they miss the height of the peak.
    lowest = np.minimum(_below_level(mixture, mass, bounds), highest - 1.0)
    stretches = _Stretches.of(profile, points, heights, lowest - 1.0)
    excess = _Excess(stretches, mass)
    level = bracketed_zeros(excess, lowest, highest, lowest)
    return _packed(stretches.settled(stretches.borders(level), mass))


def joined(regions: Array, most: int) -> tuple[Array, Mask]:
    """Return regions of at most so many intervals, the closest joined, and which rows had more.

    Args:
        regions: (N, I, 2), as `highest_density_regions` returns them.
        most: at least 1.
    """
    more = (~np.isnan(regions[:, :, 0])).sum(axis=1) > most
    fewer = np.full((len(regions), most, 2), np.nan)
    kept = min(most, regions.shape[1])
    fewer[:, :kept] = regions[:, :kept]
    for row in np.flatnonzero(more):
        intervals = regions[row][~np.isnan(regions[row, :, 0])]
        gaps = intervals[1:, 0] - intervals[:-1, 1]
        apart = np.sort(np.argsort(-gaps, kind="stable")[: most - 1])
        fewer[row, :, 0] = intervals[np.append(0, apart + 1), 0]
        fewer[row, :, 1] = intervals[np.append(apart, len(intervals) - 1), 1]
    return fewer, more


class _Stretches:
    """The stretches of N densities between their critical points: S of them, every even one rises.

    Of each the ends, (N, S), and the log densities there; NaN where a row has fewer.
    """

    def __init__(self, profile: _Profile, ends: list[Array], heights: list[Array]) -> None:
        self.profile, self._ends, self._heights = profile, ends, heights

    @classmethod
    def of(cls, profile: _Profile, points: Array, heights: Array, level: Array) -> "_Stretches":
        """Return them from the critical points and the log densities there, (N, S - 1).

        They go out to where p is below a level.
        """
        peaks, dips = heights[:, ::2], heights[:, 1::2]
        # Else, where a peak is flat, rounding could leave a region without a beginning or an end.
        dips[:] = np.minimum(dips, np.minimum(peaks[:, :-1], peaks[:, 1:]))
        nowhere = np.full(len(points), -np.inf)
        ends = _framed(points, *_outermost(profile.heights, level))
        return cls(profile, ends, _framed(heights, nowhere, nowhere))

    def rows(self, chosen: Mask) -> "_Stretches":
        """Return those of the chosen rows."""
        ends, heights = ([each[chosen] for each in pair] for pair in (self._ends, self._heights))
        return _Stretches(self.profile.rows(chosen), ends, heights)

    def borders(self, level: Array, near: Array | None = None) -> Array:
        """Return where each stretch meets its density's level, (N, S), NaN where it does not.

        Args:
            level: (N,), of log p.
            near: (N, S), borders of a level near by, to start from.
        """
        wanted = level[:, None]
        low, high = np.minimum(*self._heights), np.maximum(*self._heights)
        row, stretch = np.nonzero((low <= wanted) & (high > wanted))
        since, to = (each[row, stretch] for each in self._ends)
        start = 0.5 * (since + to)
        if near is not None:
            before = near[row, stretch]
            start = np.where((before > since) & (before < to), before, start)
        borders = np.full(low.shape, np.nan)
        crossing = _Crossing(self.profile.heights.rows(row), level[row], stretch % 2 == 0)
        borders[row, stretch] = bracketed_zeros(crossing, since, to, start)
        return borders

    def settled(self, borders: Array, mass: float) -> Array:
        """Return borders moved alike, in log p, until they hold the mass.

        On a flat top the last digit of the level decides on more mass than may be wrong. Their
        order stays, since none leaves its stretch.
        """
        row, stretch = np.nonzero(~np.isnan(borders))
        since, to = (each[row, stretch] for each in self._ends)
        outwards = np.where(stretch % 2 == 0, -1.0, 1.0)
        part, borders = self.profile.heights.rows(row), borders.copy()
        for _ in range(_LAST_STEPS):
            held, loss = _held(self.profile, borders)
            y = borders[row, stretch]
            slope = np.abs(part.log_density_and_slopes(y)[1])
            with np.errstate(all="ignore"):
                shift = outwards * ((mass - held) / loss)[row] / slope
            shift = np.where(np.isfinite(shift), shift, 0.0)
            borders[row, stretch] = np.clip(y + shift, since, to)
        return borders


class _Crossing:
    """How far log p is from a level, as the search asks for it; negated where it falls."""

    def __init__(self, mixture: Univariate, level: Array, rises: Mask) -> None:
        self._mixture, self._level, self._rises = mixture, level, rises

    def ask(self, y: Array) -> tuple[Array, Array, Mask]:
        """Return the distance, Newton's step, and which are on their level."""
        log_density, slope, _ = self._mixture.log_density_and_slopes(y)
        error = log_density - self._level
        with np.errstate(all="ignore"):
            change = -error / slope
        return np.where(self._rises, error, -error), change, np.abs(error) <= _ON_LEVEL

    def keep(self, chosen: Mask) -> None:
        """Forget all brackets but the chosen ones."""
        self._mixture = self._mixture.rows(chosen)
        self._level, self._rises = self._level[chosen], self._rises[chosen]


class _Excess:
    """The mass asked for less that above a level, as the search asks for it."""

    def __init__(self, stretches: _Stretches, mass: float) -> None:
        self._stretches, self._mass = stretches, mass
        self._borders: Array | None = None

    def ask(self, level: Array) -> tuple[Array, Array, Mask]:
        """Return the mass that is missing, Newton's step, and which levels are found."""
        self._borders = self._stretches.borders(level, self._borders)
        held, loss = _held(self._stretches.profile, self._borders)
        missing = self._mass - held
        with np.errstate(all="ignore"):
            change = -missing / loss
        return missing, change, np.abs(missing) <= _CLOSE

    def keep(self, chosen: Mask) -> None:
        """Forget all rows but the chosen ones."""
        self._stretches = self._stretches.rows(chosen)
        if self._borders is not None:
            self._borders = self._borders[chosen]


def _held(profile: _Profile, borders: Array) -> tuple[Array, Array]:
    """Return the mass between the borders, and how fast it falls as the level of log p rises."""
    row, stretch = np.nonzero(~np.isnan(borders))
    part, y = profile.rows(row), borders[row, stretch]
    enters = stretch % 2 == 0
    log_height, slope, _ = part.heights.log_density_and_slopes(y)
    # F at each border where one leaves the region, less F where one enters it; F as 1 less the
    # upper tail where that is the smaller, the ones summed by themselves: nothing cancels.
    below, above = part.masses.cdf(y), part.masses.cdf(y, upper=True)
    tail = np.where(below <= above, below, -above)
    one = np.where(below <= above, 0.0, 1.0)
    with np.errstate(all="ignore"):
        speed = np.exp(part.log_mass(y, log_height)) / np.abs(slope)
    signed = np.where(enters, -1.0, 1.0)
    tails, ones, loss = (
        np.bincount(row, weights=each, minlength=len(borders)).astype(np.float64)
        for each in (signed * tail, signed * one, speed)
    )
    return ones + tails, loss


def _below_level(mixture: Univariate, mass: float, bounds: Bounds) -> Array:
    """Return a log density that is below the level sought, shape (N,).

    No set that holds the mass is above the level throughout. Such a set are the central intervals
    of the components, but for light ones, which hold half of what may be outside, together at most.
    The slope du/dy of a map falls, rises, or falls and then rises from u = 0 on.
    """
    components = len(mixture.mu)
    light = mixture.log_pi < np.log(0.5 * (1.0 - mass) / components)
    edge = ndtri(0.5 * (1.0 - mass) / (1.0 + mass))
    at_edge = mixture.log_pi - np.log(mixture.sigma) - 0.5 * (edge * edge + LOG_2PI)
    if bounds:
        reach = mixture.sigma * np.abs(edge)
        ends = mixture.mu - reach, mixture.mu + reach
        between = np.clip(0.0, *ends)
        at_edge += np.minimum.reduce([bounds.log_slope_at(u) for u in (*ends, between)])
    lowest: Array = np.where(light, np.inf, at_edge).min(axis=0)
    return lowest


def _heights(mixture: Univariate, y: Array) -> Array:
    """Return the log densities at y (N, J), NaN where y is."""
    rows = np.repeat(np.arange(len(y)), y.shape[1])
    return mixture.rows(rows).log_density(y.ravel()).reshape(y.shape)


def _framed(points: Array, first: Array, last: Array) -> list[Array]:
    """Return what is before and after each of the gaps between points, first and last, (N, S)."""
    after = np.column_stack([points, np.full(len(points), np.nan)])
    after[np.arange(len(points)), (~np.isnan(points)).sum(axis=1)] = last
    before = np.column_stack([first, points])
    before[np.isnan(after)] = np.nan
    return [before, after]


def _outermost(mixture: Univariate, level: Array) -> tuple[Array, Array]:
    """Return points below and above which each log density is less than its level.

    Beyond them every component is: log pi_k N_k <= level - log K. One float further out, for a
    sigma less than the distance of floats.
    """
    share = level - np.log(len(mixture.mu))
    excess = mixture.log_pi - np.log(mixture.sigma) - 0.5 * np.log(2.0 * np.pi) - share
    reach = mixture.sigma * np.sqrt(2.0 * np.maximum(excess, 0.0))
    used = mixture.log_pi > -np.inf
    low = np.where(used, mixture.mu - reach, np.inf).min(axis=0)
    high = np.where(used, mixture.mu + reach, -np.inf).max(axis=0)
    return np.nextafter(low, -np.inf), np.nextafter(high, np.inf)


def _packed(borders: Array) -> Array:
    """Return borders (N, S) as intervals (N, I, 2), the NaN at the end of each row."""
    order = np.argsort(np.isnan(borders), axis=1, kind="stable")
    packed = np.take_along_axis(borders, order, axis=1)
    most = int((~np.isnan(borders)).sum(axis=1).max(initial=2))
    return packed[:, :most].reshape(len(borders), most // 2, 2)
