"""Highest-density regions: the smallest set that holds a given probability (Hyndman 1996)."""

from collections.abc import Sequence

import numpy as np
import scipy

from mdncli.columns.transforms import IDENTITY, Transform
from mdncli.density.marginal import Marginal, TargetDensity
from mdncli.density.mixture import LOG_2PI
from mdncli.density.modes import critical_points
from mdncli.density.numerics import find_roots, in_pieces
from mdncli.types import Array, Mask

# The error of the probability that a region holds.
_TOLERANCE = 1e-12
# The error of the log density at the end of an interval, in nats.
_ON_LEVEL, _ROUGHLY_ON_LEVEL, _ROUGH_LEVELS = 1e-13, 1e-5, 2
_LAST_STEPS = 3
_LAST_DIGITS = 4.0 * float(np.finfo(np.float64).eps)
# The number of points of each component where the density is compared with a first level, and the
# halvings of the interval where that level lies.
_NODES = 16
_HALVINGS = 10
_TERMS_AT_ONCE = 1 << 19


def highest_density_regions(
    mixture: Marginal, mass: float, transform: Transform = IDENTITY
) -> Array:
    """Return the highest-density region of each row: the intervals where p(y) exceeds a level.

    The level is such that the intervals hold the probability `mass`. The density is monotone
    between two neighbouring critical points, so at most one interval ends there. The level is found
    by a bracketed search, which finds the ends of the intervals anew for each level.

    Args:
        mixture: N mixtures of u.
        mass: the probability, more than 0 and less than 1.
        transform: from u to the target y. The density that is compared with the level is that of y.

    Returns:
        Shape (N, I, 2): low and high ends of the intervals, in rising order and as values of u; a
        row with fewer than I intervals ends with NaN.

    Raises:
        ValueError: the mass is not between 0 and 1.
    """
    if not 0.0 < mass < 1.0:
        raise ValueError("the mass is not between 0 and 1")
    if not mixture.mu.shape[1]:
        return np.empty((0, 1, 2))
    [pieces], lowest, highest = _pieces_and_levels([TargetDensity(mixture, transform)], mass)
    start = np.clip(_near_level(pieces.density, mass), lowest, highest)
    level = find_roots(_MissingMass(pieces, mass), lowest, highest, start)
    return _as_intervals(pieces.with_exact_mass(pieces.crossings(level), mass))


# A density as a function of u, and the ends of the part of it that counts.
Segment = tuple[TargetDensity, tuple[float, float]]


def regions_of_segments(segments: Sequence[Segment], mass: Array, coverage: float) -> list[Array]:
    """Return the intervals of u in each segment, (N, I, 2), where p(y) exceeds a common level.

    Args:
        segments: N densities each, of different parts of one target.
        mass: (N,), the probability that the intervals of all segments hold together.
        coverage: the probability that the intervals and the atoms hold together; at least the mass.
    """
    pieces, lowest, highest = _pieces_and_levels([density for density, _ in segments], coverage)
    limits = [ends for _, ends in segments]
    level = find_roots(_MissingMassOfSegments(pieces, limits, mass), lowest, highest, lowest)
    return [
        first_intervals(_within(_as_intervals(each.crossings(level)), ends))
        for each, ends in zip(pieces, limits, strict=True)
    ]


def _pieces_and_levels(
    densities: Sequence[TargetDensity], coverage: float
) -> tuple[list["_MonotonePieces"], Array, Array]:
    """Return the monotone pieces of each density, and a bracket of their common level, each (N,).

    Args:
        densities: N each.
        coverage: the probability that the regions hold together.
    """
    densities = [
        TargetDensity(each.mixture.with_resolvable_sigma(), each.transform) for each in densities
    ]
    lowest = np.min([_level_below(d.mixture, coverage, d.transform) for d in densities], axis=0)
    # Where floats are so far apart that they miss the peak, the second one is the lower.
    peaks = [_height_at_heaviest(density) for density in densities]
    lowest = np.minimum(lowest, np.max(peaks, axis=0) - 1.0)
    points = [critical_points(density, least=lowest - 1.0) for density in densities]
    heights = [_log_prob_at(*pair) for pair in zip(densities, points, strict=True)]
    highest = np.max([np.nanmax(each, axis=1) for each in heights], axis=0)
    # At the very peak a region is empty.
    highest = np.nextafter(highest, -np.inf)
    pieces = [
        _MonotonePieces.between(*each, lowest - 1.0)
        for each in zip(densities, points, heights, strict=True)
    ]
    return pieces, lowest, highest


def first_intervals(regions: Array) -> Array:
    """Return intervals, (N, I, 2), in rising order, with NaN at the end of a row with fewer."""
    order = np.argsort(regions[:, :, 0], axis=1, kind="stable")
    regions = np.take_along_axis(regions, order[:, :, None], axis=1)
    return regions[:, : max(1, int((~np.isnan(regions[:, :, 0])).sum(axis=1).max(initial=1)))]


def _within(intervals: Array, ends: tuple[float, float]) -> Array:
    """Return the parts of intervals, (N, I, 2), between two ends; NaN where there is none."""
    inside = np.clip(intervals, *ends)
    empty = ~(inside[:, :, 0] < inside[:, :, 1])
    inside[empty] = np.nan
    return inside


class _MissingMassOfSegments:
    """The root problem of levels for several segments: the wanted mass minus that above a level."""

    def __init__(
        self,
        pieces: Sequence["_MonotonePieces"],
        limits: Sequence[tuple[float, float]],
        mass: Array,
    ) -> None:
        self._pieces, self._limits, self._mass = list(pieces), limits, mass
        self._crossings: list[Array | None] = [None] * len(self._pieces)

    def evaluate(self, level: Array) -> tuple[Array, Array, Mask]:
        """Return the missing mass, Newton's step, and which levels are found."""
        missing, loss = self._mass.copy(), np.zeros(len(level))
        for position, (pieces, ends) in enumerate(zip(self._pieces, self._limits, strict=True)):
            crossings = pieces.crossings(level, self._crossings[position])
            self._crossings[position] = crossings
            moving = np.where((crossings > ends[0]) & (crossings < ends[1]), crossings, np.nan)
            loss += _mass_between(pieces.density, moving)[1]
            intervals = _within(_as_intervals(crossings), ends)
            row, number = np.nonzero(~np.isnan(intervals[:, :, 0]))
            mixture = pieces.density.mixture.rows(row)
            held = mixture.mass_between(*intervals[row, number].T)
            missing -= np.bincount(row, weights=held, minlength=len(missing))
        with np.errstate(all="ignore"):
            change = -missing / loss
        return missing, change, np.abs(missing) <= _TOLERANCE

    def keep(self, chosen: Mask) -> None:
        """Drop all rows except the chosen ones."""
        self._pieces = [pieces.rows(chosen) for pieces in self._pieces]
        self._crossings = [None if each is None else each[chosen] for each in self._crossings]
        self._mass = self._mass[chosen]


def join_closest(regions: Array, most: int) -> tuple[Array, Mask]:
    """Return regions of at most `most` intervals, and which rows had more.

    The intervals with the smallest gaps between them are joined.

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
        widest = np.sort(np.argsort(-gaps, kind="stable")[: most - 1])
        fewer[row, :, 0] = intervals[np.append(0, widest + 1), 0]
        fewer[row, :, 1] = intervals[np.append(widest, len(intervals) - 1), 1]
    return fewer, more


class _MonotonePieces:
    """The S pieces of each of N densities between critical points; the even ones rise.

    A piece has two ends, (N, S), with a log density at each; NaN where a row has fewer pieces.
    """

    def __init__(self, density: TargetDensity, ends: list[Array], heights: list[Array]) -> None:
        self.density, self._ends, self._heights = density, ends, heights

    @classmethod
    def between(
        cls, density: TargetDensity, points: Array, heights: Array, level: Array
    ) -> "_MonotonePieces":
        """Return the pieces between critical points, and outwards to where p is below a level.

        Args:
            density: N densities.
            points: (N, S - 1), the critical points.
            heights: (N, S - 1), the log densities there.
            level: (N,), of log p.
        """
        peaks, dips = heights[:, ::2], heights[:, 1::2]
        # Where a peak is flat, rounding could otherwise lose the start or the end of an interval.
        dips[:] = np.minimum(dips, np.minimum(peaks[:, :-1], peaks[:, 1:]))
        nowhere = np.full(len(points), -np.inf)
        ends = _before_and_after(points, *_outermost(density, level))
        return cls(density, ends, _before_and_after(heights, nowhere, nowhere))

    def rows(self, chosen: Mask) -> "_MonotonePieces":
        """Return the pieces of the chosen rows."""
        ends, heights = ([each[chosen] for each in pair] for pair in (self._ends, self._heights))
        return _MonotonePieces(self.density.rows(chosen), ends, heights)

    def crossings(
        self, level: Array, near: Array | None = None, tolerance: float = _ON_LEVEL
    ) -> Array:
        """Return where each piece crosses its row's level, (N, S); NaN where it does not.

        Args:
            level: (N,), of log p.
            near: (N, S), the crossings of a similar level, to start from.
            tolerance: the error of log p there, in nats.
        """
        wanted = level[:, None]
        low, high = np.minimum(*self._heights), np.maximum(*self._heights)
        row, piece = np.nonzero((low <= wanted) & (high > wanted))
        left, right = (each[row, piece] for each in self._ends)
        start = 0.5 * (left + right)
        if near is not None:
            before = near[row, piece]
            start = np.where((before > left) & (before < right), before, start)
        found = np.full(low.shape, np.nan)
        crossing = _Crossing(self.density.rows(row), level[row], piece % 2 == 0, tolerance)
        found[row, piece] = find_roots(crossing, left, right, start)
        return found

    def with_exact_mass(self, crossings: Array, mass: float) -> Array:
        """Return the crossings, all moved by the same change of log p, so that they hold the mass.

        On a flat top the last digit of the level changes the mass by more than the tolerance. No
        crossing leaves its piece, so their order does not change.
        """
        row, piece = np.nonzero(~np.isnan(crossings))
        left, right = (each[row, piece] for each in self._ends)
        outwards = np.where(piece % 2 == 0, -1.0, 1.0)
        part, crossings = self.density.rows(row), crossings.copy()
        for _ in range(_LAST_STEPS):
            held, loss = _mass_between(self.density, crossings)
            y = crossings[row, piece]
            slope = np.abs(part.log_prob_and_derivatives(y)[1])
            with np.errstate(all="ignore"):
                shift = outwards * ((mass - held) / loss)[row] / slope
            shift = np.where(np.isfinite(shift), shift, 0.0)
            crossings[row, piece] = np.clip(y + shift, left, right)
        return crossings


class _Crossing:
    """The root problem of crossings: log p minus a level, negated where the density falls."""

    def __init__(self, density: TargetDensity, level: Array, rises: Mask, tolerance: float) -> None:
        self._density, self._level, self._rises = density, level, rises
        self._tolerance = tolerance

    def evaluate(self, y: Array) -> tuple[Array, Array, Mask]:
        """Return the difference, Halley's step, and which points are on their level."""
        log_prob, slope, curvature = self._density.log_prob_and_derivatives(y)
        error = log_prob - self._level
        with np.errstate(all="ignore"):
            newton = -error / slope
            change = newton / np.maximum(1.0 + 0.5 * newton * curvature / slope, 0.25)
        return np.where(self._rises, error, -error), change, np.abs(error) <= self._tolerance

    def keep(self, chosen: Mask) -> None:
        """Drop all brackets except the chosen ones."""
        self._density = self._density.rows(chosen)
        self._level, self._rises = self._level[chosen], self._rises[chosen]


class _MissingMass:
    """The root problem of levels: the wanted mass minus the mass above a level."""

    def __init__(self, pieces: _MonotonePieces, mass: float) -> None:
        self._pieces, self._mass = pieces, mass
        self._crossings: Array | None = None
        self._rough = _ROUGH_LEVELS

    def evaluate(self, level: Array) -> tuple[Array, Array, Mask]:
        """Return the missing mass, Newton's step, and which levels are found."""
        # The first levels are not near enough for exact crossings to matter.
        self._rough -= 1
        tolerance = _ON_LEVEL if self._rough < 0 else _ROUGHLY_ON_LEVEL
        self._crossings = self._pieces.crossings(level, self._crossings, tolerance)
        held, loss = _mass_between(self._pieces.density, self._crossings)
        missing = self._mass - held
        with np.errstate(all="ignore"):
            change = -missing / loss
        # A step may be too small to change the level.
        found = np.abs(missing) <= _TOLERANCE
        found |= np.abs(change) <= _LAST_DIGITS * np.maximum(np.abs(level), 1.0)
        return missing, change, found & (tolerance == _ON_LEVEL)

    def keep(self, chosen: Mask) -> None:
        """Drop all rows except the chosen ones."""
        self._pieces = self._pieces.rows(chosen)
        if self._crossings is not None:
            self._crossings = self._crossings[chosen]


def _mass_between(density: TargetDensity, crossings: Array) -> tuple[Array, Array]:
    """Return the mass inside the intervals, and how fast it falls as the level of log p rises."""
    row, piece = np.nonzero(~np.isnan(crossings))
    part, u = density.rows(row), crossings[row, piece]
    begins = piece % 2 == 0
    log_prob, slope, _ = part.log_prob_and_derivatives(u)
    # The mass is F at the end of each interval minus F at its beginning. Where the upper tail is
    # the smaller one, F is 1 minus that tail. The ones are summed separately: no digits cancel.
    below, above = part.mixture.cdf(u), part.mixture.cdf(u, upper=True)
    tail = np.where(below <= above, below, -above)
    one = np.where(below <= above, 0.0, 1.0)
    with np.errstate(all="ignore"):
        speed = np.exp(log_prob - part.log_jacobian(u)) / np.abs(slope)
    signed = np.where(begins, -1.0, 1.0)
    tails, ones, loss = (
        np.bincount(row, weights=each, minlength=len(crossings)).astype(np.float64)
        for each in (signed * tail, signed * one, speed)
    )
    return ones + tails, loss


def _height_at_heaviest(density: TargetDensity) -> Array:
    """Return the log density at the mean of each row's heaviest component, (N,)."""
    mixture = density.mixture
    heaviest = mixture.log_pi.argmax(axis=0), np.arange(mixture.mu.shape[1])
    return density.log_prob(mixture.mu[heaviest])


def _near_level(density: TargetDensity, mass: float) -> Array:
    """Return a log density near the level of the region, (N,), in single precision.

    The probability above a level is the weight of the points where the density is higher, among
    points that stand for equal parts of each component.
    """
    components, rows = density.mixture.mu.shape
    nodes = scipy.special.ndtri((np.arange(_NODES) + 0.5) / _NODES)[:, None]

    def of_piece(piece: slice) -> Array:
        one = density.mixture.rows(np.arange(piece.start, piece.stop))
        u = one.mu[:, None] + one.sigma[:, None] * nodes
        rate = (1.0 / one.sigma).astype(np.float32)
        height = one.pi.astype(np.float32) * rate
        total = np.zeros(u.shape, np.float32)
        for k in range(components):
            z = ((u - one.mu[k]) / one.sigma[k]).astype(np.float32)
            z *= z
            z *= -0.5
            np.exp(z, out=z)
            z *= height[k]
            total += z
        heights = np.log(total) - np.float32(0.5 * LOG_2PI)
        if not density.transform.is_identity:
            heights += density.log_jacobian(u).astype(np.float32)
        weight = (one.pi / _NODES).astype(np.float32)[:, None]
        low, high = heights.min(axis=(0, 1)), heights.max(axis=(0, 1))
        for _ in range(_HALVINGS):
            level = 0.5 * (low + high)
            enough = (weight * (heights >= level)).sum(axis=(0, 1)) >= mass
            low, high = np.where(enough, level, low), np.where(enough, high, level)
        return np.asarray(low, np.float64)

    with np.errstate(all="ignore"):
        terms = components * _NODES
        near = in_pieces(of_piece, rows, max(16, _TERMS_AT_ONCE // terms))
    return np.where(np.isfinite(near), near, -np.inf)


def _level_below(mixture: Marginal, mass: float, transform: Transform) -> Array:
    """Return a log density that is below the level of the region, shape (N,).

    A set that holds the mass cannot lie above that level everywhere. The central intervals of the
    components are such a set; light components, which together hold at most half of the rest of the
    probability, may be left out. On each interval the lowest density is at an end, or at u = 0: the
    Jacobian du/dy is monotone, or falls until u = 0 and rises after it.
    """
    components = len(mixture.mu)
    light = mixture.log_pi < np.log(0.5 * (1.0 - mass) / components)
    edge = scipy.special.ndtri(0.5 * (1.0 - mass) / (1.0 + mass))
    at_edge = mixture.log_pi - np.log(mixture.sigma) - 0.5 * (edge * edge + LOG_2PI)
    if not transform.is_identity:
        reach = mixture.sigma * np.abs(edge)
        ends = mixture.mu - reach, mixture.mu + reach
        between = np.clip(0.0, *ends)
        at_edge += np.minimum.reduce([-transform.log_abs_det_jacobian(u) for u in (*ends, between)])
    lowest: Array = np.where(light, np.inf, at_edge).min(axis=0)
    return lowest


def _log_prob_at(density: TargetDensity, y: Array) -> Array:
    """Return the log densities at y, (N, J); NaN where y is."""
    rows = np.repeat(np.arange(len(y)), y.shape[1])
    return density.rows(rows).log_prob(y.ravel()).reshape(y.shape)


def _before_and_after(points: Array, first: Array, last: Array) -> list[Array]:
    """Return the value before and the value after each piece, each (N, S).

    Args:
        points: (N, S - 1), the values between the pieces; NaN at the end of a row.
        first, last: (N,), the values before the first piece and after the last one.
    """
    after = np.column_stack([points, np.full(len(points), np.nan)])
    after[np.arange(len(points)), (~np.isnan(points)).sum(axis=1)] = last
    before = np.column_stack([first, points])
    before[np.isnan(after)] = np.nan
    return [before, after]


def _outermost(density: TargetDensity, level: Array) -> tuple[Array, Array]:
    """Return points outside of which each log density is below its level, two arrays (N,).

    Outside of them every component of the density of the target is low enough: log pi_k N_k <=
    level - log K. Each point is moved outwards by one float, for a sigma smaller than the distance
    of floats.
    """
    mixture = density.mixture.with_jacobian(density.transform)
    share = level - np.log(len(mixture.mu))
    excess = mixture.log_pi - np.log(mixture.sigma) - 0.5 * np.log(2.0 * np.pi) - share
    reach = mixture.sigma * np.sqrt(2.0 * np.maximum(excess, 0.0))
    used = mixture.log_pi > -np.inf
    low = np.where(used, mixture.mu - reach, np.inf).min(axis=0)
    high = np.where(used, mixture.mu + reach, -np.inf).max(axis=0)
    return np.nextafter(low, -np.inf), np.nextafter(high, np.inf)


def _as_intervals(crossings: Array) -> Array:
    """Return crossings, (N, S), as intervals, (N, I, 2), with NaN at the end of each row."""
    order = np.argsort(np.isnan(crossings), axis=1, kind="stable")
    packed = np.take_along_axis(crossings, order, axis=1)
    most = int((~np.isnan(crossings)).sum(axis=1).max(initial=2))
    return packed[:, :most].reshape(len(crossings), most // 2, 2)
