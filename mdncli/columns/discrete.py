"""Transforms of targets of which a value stands for more than one point of u.

A rounded value stands for a cell of a grid. An atom is a value with a probability of its own in an
otherwise continuous target. An angle stands for all points of u that are whole periods apart. The
mixture over u stays the same Gaussian mixture on a line.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mdncli.columns.features import Column, step_of
from mdncli.columns.transforms import Cells, Transform, transform_between
from mdncli.errors import DataError, ParameterError, parameter
from mdncli.text import quoted
from mdncli.types import Array, Mask, Positions

# A target with more values than this, or over more steps, is continuous.
_MOST_ROUNDED_VALUES, _MOST_STEPS, _TWO_VALUES = 100, 300, 2
# The most steps of a target that the user calls rounded: each is a sum over the components.
_MOST_STEPS_ASKED_FOR = 10_000
# A value counts as on the grid of a rounding up to this share of a step.
_ON_GRID = 1e-6
# The width of the interval of an atom, in scales of the other values.
_WIDTH_OF_ATOM = 4.0
# A target has atoms if one value has more than this share of the rows. Then others are atoms from a
# smaller share on. There are at most so many, and no other value is nearly as frequent.
_SHARE_OF_ATOM, _LEAST_SHARE_OF_ATOM, _ROWS_OF_ATOM = 0.05, 0.01, 5
_MOST_FOUND, _NEARLY_AS_FREQUENT = 3, 0.25
# A bound with an atom at it is moved away by this share of a quantile of the distances to it.
_SHARE_OF_DISTANCE, _NEAR_QUANTILE = 0.1, 0.01
# By how much logarithms must be nearer to a Gaussian, in nats.
_GAIN_OF_LOG = 0.1


@dataclass(frozen=True)
class Rounding(Transform):
    """y is the value of a grid that is nearest to u: a count, or a number that was rounded.

    A value y stands for the cell from y - step/2 to y + step/2 of u. At a bound the outermost cell
    reaches to infinity.

    Attributes:
        step: of the grid, in the units of y.
        origin: a value of the grid.
        lower, upper: the lowest and the highest value, on the grid; None where there is none.
    """

    step: float
    origin: float
    lower: float | None = None
    upper: float | None = None

    @property
    def is_identity(self) -> bool:
        """Whether y = u: never."""
        return False

    def forward(self, u: Array) -> Array:
        """Return the nearest value of the grid at u of any shape."""
        with np.errstate(invalid="ignore"):
            y = self.origin + self.step * np.rint((u - self.origin) / self.step)
        # An infinite u stays infinite where there is no bound.
        return np.clip(y, self.lower, self.upper) if self._has_bound else y

    def outside(self, y: Array) -> Mask:
        """Return which values y are beyond a bound."""
        beyond = np.zeros(np.shape(y), dtype=bool)
        if self.lower is not None:
            beyond |= y < self.lower
        if self.upper is not None:
            beyond |= y > self.upper
        return beyond

    def off_grid(self, y: Array) -> Mask:
        """Return which values y of any shape are none of the grid."""
        steps = (y - self.origin) / self.step
        off: Mask = np.abs(steps - np.rint(steps)) > _ON_GRID
        return off

    def cells(self, y: Array) -> Cells:
        """Return the cells in which values y, (N,), lie."""
        value = self.forward(y)
        low, high = value - 0.5 * self.step, value + 0.5 * self.step
        if self.lower is not None:
            low = np.where(value <= self.lower, -np.inf, low)
        if self.upper is not None:
            high = np.where(value >= self.upper, np.inf, high)
        unit = np.where(self.outside(y), np.inf, math.log(self.step))
        return Cells(low, high, unit)

    def edge_above(self, y: Array) -> Array:
        """Return the upper end of the cell of the largest value of the grid that is at most y.

        Below the lower bound it is minus infinity.
        """
        with np.errstate(invalid="ignore"):
            number = np.floor((y - self.origin) / self.step + _ON_GRID)
        edge = self.origin + self.step * (number + 0.5)
        if self.lower is not None:
            edge = np.where(edge < self.lower, -np.inf, edge)
        if self.upper is not None:
            edge = np.where(edge > self.upper, np.inf, edge)
        return edge

    def describe(self) -> str:
        """Return the condition that y meets, such as `at least lower=0`, for a message."""
        ends = ("at least", "lower", self.lower), ("at most", "upper", self.upper)
        return " and ".join(
            f"{side} {parameter(name, f'{end:g}')}" for side, name, end in ends if end is not None
        )

    @property
    def _has_bound(self) -> bool:
        return self.lower is not None or self.upper is not None


def rounding_of(
    values: Array, lower: float | None, upper: float | None, *, always: bool = False
) -> Rounding | None:
    """Return the rounding of a target, or None if it is rather continuous.

    A target is rounded if it was recorded in steps and has at most 100 different values, which span
    at most 300 steps. Finer steps hardly differ from a line. If all values are whole numbers of at
    least 0, no lower one is possible.

    Args:
        values: (N,), finite.
        lower, upper: the bounds that the user gave.
        always: whatever the number of different values.

    Raises:
        ParameterError: a bound is not on the grid of the values, or there are too many steps.
    """
    distinct = np.unique(values)
    few = len(distinct) <= _MOST_ROUNDED_VALUES
    if len(distinct) < _TWO_VALUES or not (few or always):
        return None
    step = step_of(values) or (step_of(np.repeat(distinct, 2)) if always else None)
    if step is None:
        return None
    origin = float(distinct[0])
    span = float(distinct[-1]) - origin
    if not always and span > _MOST_STEPS * step:
        return None
    if span > _MOST_STEPS_ASKED_FOR * step:
        raise ParameterError(
            f"{parameter('target_kind', repr('rounded'))}: the values span {span / step:.3g} steps "
            f"of {step:g}, and the limit is {_MOST_STEPS_ASKED_FOR}. Use "
            f"{parameter('target_kind', repr('continuous'))}."
        )
    whole = step == round(step) and origin == round(origin)
    if lower is None and whole and origin >= 0.0:
        lower = origin % step
    rounding = Rounding(step, origin, lower, upper)
    for name, bound in (("lower", lower), ("upper", upper)):
        if bound is None or not Rounding(step, origin).off_grid(np.array(bound)):
            continue
        if not always:
            return None
        raise ParameterError(
            f"{parameter(name)} is {bound:g}: it must be one of the values of the target, such as "
            f"{origin:g} and {origin + step:g}."
        )
    return rounding


@dataclass(frozen=True)
class Atoms(Transform):
    """A continuous target of which some values have a probability of their own: atoms.

    An atom stands for an interval of u, and u between the intervals gives the other values: y =
    inner.forward(u - width m), with m intervals of finite width below u. The interval of an atom
    that is the lowest or the highest value possible reaches to infinity.

    Attributes:
        inner: the transform of the other values; no atom is at one of its bounds.
        values: the atoms, in rising order.
        width: of the intervals that are finite, in units of u. An infinite one counts as centred
            half of this from its end.
        closed: whether no value is below the first atom, and none above the last one.
    """

    inner: Transform
    values: tuple[float, ...]
    width: float
    closed: tuple[bool, bool]

    @property
    def is_identity(self) -> bool:
        """Whether y = u: never."""
        return False

    @cached_property
    def intervals(self) -> list[tuple[float, float]]:
        """The ends of the interval of each atom, in units of u."""
        ends = self.inner.inverse(np.array(self.values)).tolist()
        last, found, shift = len(ends) - 1, [], 0.0
        for position, end in enumerate(ends):
            if position == 0 and self.closed[0]:
                found.append((-math.inf, end))
            elif position == last and self.closed[1]:
                found.append((end + shift, math.inf))
            else:
                found.append((end + shift, end + shift + self.width))
                shift += self.width
        return found

    @property
    def segments(self) -> list[tuple[float, float, float]]:
        """The intervals of u of all other values: their ends, and how much larger u is there than
        the u of `inner`."""
        found, start, shift = [], -math.inf, 0.0
        for low, high in self.intervals:
            if low > start:
                found.append((start, low, shift))
            start = high
            shift += high - low if math.isfinite(high - low) else 0.0
        return [*found, (start, math.inf, shift)] if start < math.inf else found

    def atom(self, y: Array) -> Positions:
        """Return which atom each value is, -1 for none, in the shape of y."""
        found = np.full(np.shape(y), -1)
        for position, value in enumerate(self.values):
            found[y == value] = position
        return found

    def forward(self, u: Array) -> Array:
        """Return y at values u of any shape."""
        y = self.inner.forward(u - self.shift(u))
        for value, (low, high) in zip(self.values, self.intervals, strict=True):
            y = np.where((u >= low) & (u <= high), value, y)
        return y

    def inverse(self, y: Array) -> Array:
        """Return u at values y of any shape; the centre of its interval for an atom."""
        u = self.inner.inverse(y) + self._widths_below(y, strictly=True)
        for value, (low, high) in zip(self.values, self.intervals, strict=True):
            centre = high - 0.5 * self.width if math.isinf(low) else low + 0.5 * self.width
            u = np.where(y == value, centre, u)
        return u

    def log_abs_det_jacobian(self, u: Array, y: Array | None = None) -> Array:
        """Return log |dy/du| of `inner`; between the intervals it is that of y."""
        return self.inner.log_abs_det_jacobian(u - self.shift(u), y)

    def cells(self, y: Array) -> Cells:
        """Return what values y, (N,), stand for on the scale of u."""
        cells, outside = self.inner.cells(y), self.outside(y)
        u = cells.low + self._widths_below(y, strictly=True)
        u = np.where(outside, self.edge_above(y), u)
        cells = Cells(u, u, np.where(outside, np.inf, cells.log_unit))
        for value, ends in zip(self.values, self.intervals, strict=True):
            there = y == value
            low, high = (
                np.where(there, end, known)
                for end, known in zip(ends, (cells.low, cells.high), strict=True)
            )
            cells = Cells(low, high, np.where(there, 0.0, cells.log_unit))
        return cells

    def edge_above(self, y: Array) -> Array:
        """Return the largest u of which the target is at most y."""
        u = self.inner.inverse(y) + self._widths_below(y, strictly=False)
        u = np.where(self.closed[0] & (y < self.values[0]), -np.inf, u)
        return np.where(self.closed[1] & (y >= self.values[-1]), np.inf, u)

    def shift(self, u: Array) -> Array:
        """Return the total width of the finite intervals below values u of any shape."""
        total = np.zeros(np.shape(u))
        for _, high in self._finite():
            total += np.where(u >= high, self.width, 0.0)
        return total

    def outside(self, y: Array) -> Mask:
        """Return which values y are impossible."""
        beyond = self.inner.outside(y)
        beyond |= self.closed[0] & (y < self.values[0])
        return beyond | (self.closed[1] & (y > self.values[-1]))

    def describe(self) -> str:
        """Return the condition that y meets, for a message."""
        ends = [f"at least {self.values[0]:g}"] if self.closed[0] else []
        ends += [f"at most {self.values[-1]:g}"] if self.closed[1] else []
        return " and ".join(ends) or self.inner.describe()

    def name_of_u(self, name: str) -> str:
        """Return what u is called; between the atoms it is what `inner` calls it."""
        return self.inner.name_of_u(name)

    def _finite(self) -> list[tuple[float, float]]:
        return [ends for ends in self.intervals if math.isfinite(ends[1] - ends[0])]

    def _widths_below(self, y: Array, *, strictly: bool) -> Array:
        """Return the total width of the finite intervals of the atoms below y, or at most y."""
        total = np.zeros(np.shape(y))
        for value, ends in zip(self.values, self.intervals, strict=True):
            if math.isfinite(ends[1] - ends[0]):
                below = value < y if strictly else value <= y
                total += np.where(below, self.width, 0.0)
        return total


@dataclass(frozen=True)
class Wrapped(Transform):
    """A target that begins again after a period, such as a direction or an hour of the day.

    Attributes:
        period: in the units of the target.
        origin: the lowest value; all values are less than origin + period.
    """

    period: float
    origin: float = 0.0

    @property
    def is_identity(self) -> bool:
        """Whether y = u: never."""
        return False

    def forward(self, u: Array) -> Array:
        """Return the value between origin and origin + period at u of any shape."""
        y = self.origin + np.mod(u - self.origin, self.period)
        # By rounding, a small negative number may become the period itself.
        return np.where(y >= self.origin + self.period, self.origin, y)

    def inverse(self, y: Array) -> Array:
        """Return the value between origin and origin + period that stands for y of any shape."""
        return self.forward(y)

    def cells(self, y: Array) -> Cells:
        """Return the points that values y, (N,), stand for, one of each."""
        u = self.forward(y)
        return Cells(u, u, np.zeros(len(u)), self.period)

    def describe(self) -> str:
        """Return what y is, for a message."""
        return f"an angle with the period {self.period:g}"


def origin_of(values: Array, period: float) -> float:
    """Return the lowest value of a periodic target: minus half a period if the values suggest it.

    Args:
        values: (N,), at least one.
        period: in their units.
    """
    centred = values.min() < 0.0 and np.abs(values).max() <= 0.5 * period
    return -0.5 * period if centred else 0.0


def found_atoms(values: Array) -> tuple[float, ...]:
    """Return the values that seem to have a probability of their own, in rising order.

    Args:
        values: (N,), known values of a target that is not rounded.
    """
    distinct, counts = np.unique(values, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    many = counts[order] >= max(_LEAST_SHARE_OF_ATOM * len(values), _ROWS_OF_ATOM)
    found = int(many.sum())
    if not 0 < found <= _MOST_FOUND or found == len(distinct):
        return ()
    frequent = counts[order[0]] > _SHARE_OF_ATOM * len(values)
    least, next_most = counts[order[found - 1]], counts[order[found]]
    alone = next_most <= max(1, _NEARLY_AS_FREQUENT * least)
    return tuple(sorted(distinct[order[:found]].tolist())) if frequent and alone else ()


def atoms_of(
    name: str,
    values: Array,
    atoms: tuple[float, ...],
    lower: float | None,
    upper: float | None,
    open_ends: tuple[bool, bool] = (False, False),
) -> Atoms:
    """Return the transform of a target with these atoms.

    Where the other values are all above the lowest atom and skewed, the mixture is over their
    logarithms.

    Args:
        name: of the target, for messages.
        values: (N,), known values.
        atoms: in rising order, at least one.
        lower, upper: the bounds that the user gave.
        open_ends: whether censored values may be below the first atom, and above the last one.

    Raises:
        ParameterError: an atom is outside the bounds.
        DataError: no row has the value of an atom, or too few rows have other values.
    """
    for atom in atoms:
        below, above = lower is not None and atom < lower, upper is not None and atom > upper
        if below or above:
            side, bound = ("lower", lower) if below else ("upper", upper)
            raise ParameterError(
                f"{parameter('atom')} {atom:g} is outside the bound {parameter(side, f'{bound:g}')}"
                f" of {quoted(name)}. Leave out one of them."
            )
        if not (values == atom).any():
            raise DataError(
                f"{parameter('atom')} is {atom:g}, and no row has that value of {quoted(name)}. "
                "Leave it out, or give the value as the table has it."
            )
    others = values[~np.isin(values, atoms)]
    if len(np.unique(others)) < 2:
        raise DataError(
            f"{parameter('atom')}: {quoted(name)} has fewer than two other values, so it has no "
            f"density. Use {parameter('target_kind', repr('rounded'))}."
        )
    closed = (
        not open_ends[0] and bool(others.min() > atoms[0]),
        not open_ends[1] and bool(others.max() < atoms[-1]),
    )
    from_lowest, from_highest = others - atoms[0], atoms[-1] - others
    no_bounds = lower is None and upper is None
    if lower == atoms[0] or (closed[0] and no_bounds and _is_skewed(from_lowest)):
        lower = atoms[0] - _margin(from_lowest)
    if upper == atoms[-1]:
        upper = atoms[-1] + _margin(from_highest)
    inner = transform_between(lower, upper)
    inside = others[~inner.outside(others)]
    scale = Column.measure(name, inner.inverse(inside if len(inside) else others)).scale
    return Atoms(inner, atoms, _WIDTH_OF_ATOM * scale, closed)


def _margin(distances: Array) -> float:
    """Return how far beyond an atom the bound of the other values is, from their distances."""
    positive = distances[distances > 0.0]
    if not len(positive):
        return 1.0
    return _SHARE_OF_DISTANCE * float(np.quantile(positive, _NEAR_QUANTILE))


def _is_skewed(distances: Array) -> bool:
    """Return whether logarithms of positive distances are nearer to a Gaussian than these."""
    logs = np.log(distances + _margin(distances))
    spread = float(np.std(distances)), float(np.std(logs))
    if not min(spread) > 0.0:
        return False
    return math.log(spread[0]) - math.log(spread[1]) - float(logs.mean()) > _GAIN_OF_LOG
