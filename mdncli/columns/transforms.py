"""Transforms of targets: from the whole line, where a mixture lives, to a target with bounds.

A mixture is learned over u, which has no bounds. A target is y = forward(u). Without bounds the
transform is the identity. The methods are named as in `torch.distributions.transforms`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mdncli.errors import ParameterError, parameter
from mdncli.text import quoted
from mdncli.types import Array, Mask

# The largest size of a target: its square, and that of a quotient of two such numbers, is far from
# the ends of float64.
LARGEST_TARGET = 1e60

# The order of the transform of a new target with two bounds, and the highest one that a model file
# may have; see `Interval`.
ORDER = 4
HIGHEST_ORDER = 16

_LARGEST = float(np.finfo(np.float64).max)
# Less than the log of any share that is not 0.
_LEAST_LOG_SHARE = -2000.0
# They are enough for the last digit at any order up to the highest one.
_NEWTON_STEPS = 7


@dataclass(frozen=True)
class Cells:
    """What N values of a target stand for on the scale of u: points, or intervals.

    The log density of a value is that of u at a point, or the log probability of an interval, less
    `log_unit`.

    Attributes:
        low, high: (N,), the ends of the intervals; equal for a point. They may be infinite.
        log_unit: (N,), in nats: log |dy/du| at a point, the log of the step for a rounded value,
            and 0 for a value with a probability of its own; infinite where no value is possible.
        period: after which points begin again, in units of u; 0 for a target on a line.
    """

    low: Array
    high: Array
    log_unit: Array
    period: float = 0.0

    @property
    def is_point(self) -> Mask:
        """Whether each is a point, (N,)."""
        same: Mask = self.low == self.high
        return same

    def rows(self, chosen: Any) -> "Cells":
        """Return the cells of some rows."""
        return Cells(self.low[chosen], self.high[chosen], self.log_unit[chosen], self.period)

    def shifted(self, change: Array) -> "Cells":
        """Return the cells moved by an amount of u, (N,)."""
        return replace(self, low=self.low + change, high=self.high + change)

    def standardized(self, mean: float, scale: float) -> "Cells":
        """Return the cells on the scale of (u - mean) / scale."""
        low, high = (self.low - mean) / scale, (self.high - mean) / scale
        unit = self.log_unit + np.where(self.is_point, math.log(scale), 0.0)
        return Cells(low, high, unit, self.period / scale)


class Transform:
    """The identity: y = u.

    The subclasses here are increasing functions from the whole line onto the values between two
    bounds. Those in `mdncli.columns.discrete` give one value to many u.

    Attributes:
        lower, upper: the bounds of y, in its units; None where there is none.
        order: of an `Interval`; otherwise 1.
    """

    lower: float | None = None
    upper: float | None = None
    order: int = 1

    @property
    def is_identity(self) -> bool:
        """Whether y = u."""
        return self.lower is None and self.upper is None

    def forward(self, u: Array) -> Array:
        """Return y at values u of any shape; it equals a bound only where u is infinite."""
        return u

    def inverse(self, y: Array) -> Array:
        """Return u at values y of any shape; infinite where y is at a bound or beyond it."""
        return y

    def log_abs_det_jacobian(self, u: Array, y: Array | None = None) -> Array:
        """Return log |dy/du|, in nats, at values of any shape, so log p(y) = log p(u) - this.

        Args:
            u: finite.
            y: `forward(u)`, where it is known: near a bound it has more digits than u. At a bound
                and beyond it the answer is 0.
        """
        return np.zeros(np.shape(u))

    def slope_of_log_jacobian(self, u: Array) -> Array:
        """Return d/du log |dy/du| at values u of any shape. It never rises with u."""
        return np.zeros(np.shape(u))

    def curvature_of_log_jacobian(self, u: Array) -> Array:
        """Return the second derivative of log |dy/du| at values u of any shape."""
        return np.zeros(np.shape(u))

    def cells(self, y: Array) -> "Cells":
        """Return what values y, (N,), stand for on the scale of u."""
        u = self.inverse(y)
        jacobian = self.log_abs_det_jacobian(u, y)
        return Cells(u, u, np.where(self.outside(y), np.inf, jacobian))

    def edge_above(self, y: Array) -> Array:
        """Return the largest u of which the target is at most y, so P(Y <= y) is the cdf there."""
        return self.inverse(y)

    def outside(self, y: Array) -> Mask:
        """Return which values y are at a bound or beyond it, where the density is 0."""
        beyond = np.zeros(np.shape(y), dtype=bool)
        if self.lower is not None:
            beyond |= y <= self.lower
        if self.upper is not None:
            beyond |= y >= self.upper
        return beyond

    def exponentials(self) -> tuple[tuple[float, float], ...]:
        """Return pairs (c, log w) such that du/dy = sum w exp(c u).

        So the density of y, as a function of u, is a sum of Gaussians again: one for each component
        and each exponential.
        """
        return ((0.0, 0.0),)

    def describe(self) -> str:
        """Return the condition that y meets, such as `above lower=0`, for a message."""
        ends = ("above", "lower", self.lower), ("below", "upper", self.upper)
        return " and ".join(
            f"{side} {parameter(name, f'{end:g}')}" for side, name, end in ends if end is not None
        )

    def name_of_u(self, name: str) -> str:
        """Return what u is called where y has this name, such as `log(y − 2)`."""
        return name


class _Bounded(Transform):
    def forward(self, u: Array) -> Array:
        """Return y at values u of any shape; it equals a bound only where u is infinite."""
        with np.errstate(over="ignore"):
            y = self._unrounded(u)
        low = -_LARGEST if self.lower is None else np.nextafter(self.lower, math.inf)
        high = _LARGEST if self.upper is None else np.nextafter(self.upper, -math.inf)
        first = -math.inf if self.lower is None else self.lower
        last = math.inf if self.upper is None else self.upper
        ends = np.where(u < 0.0, first, last)
        inside: Array = np.where(np.isinf(u), ends, np.clip(y, low, high))
        return np.where(np.isnan(u), u, inside)

    def _unrounded(self, u: Array) -> Array:
        raise NotImplementedError


@dataclass(frozen=True)
class LowerBound(_Bounded):
    """y = A + exp(u), above the lower bound A."""

    lower: float

    def _unrounded(self, u: Array) -> Array:
        return self.lower + np.exp(u)

    def inverse(self, y: Array) -> Array:
        """Return u = log(y - A)."""
        with np.errstate(divide="ignore"):
            u: Array = np.log(np.maximum(y - self.lower, 0.0))
        return u

    def log_abs_det_jacobian(self, u: Array, y: Array | None = None) -> Array:
        """Return log(dy/du) = u = log(y - A)."""
        if y is None:
            return u
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.outside(y), 0.0, np.log(y - self.lower))

    def slope_of_log_jacobian(self, u: Array) -> Array:
        """Return d/du log(dy/du) = 1."""
        return np.ones(np.shape(u))

    def exponentials(self) -> tuple[tuple[float, float], ...]:
        """Return the one of du/dy = exp(-u)."""
        return ((-1.0, 0.0),)

    def name_of_u(self, name: str) -> str:
        """Return `log(y − A)`."""
        if not self.lower:
            return f"log({name})"
        sign = "−" if self.lower > 0.0 else "+"
        return f"log({name} {sign} {abs(self.lower):g})"


@dataclass(frozen=True)
class UpperBound(_Bounded):
    """y = B - exp(-u), below the upper bound B."""

    upper: float

    def _unrounded(self, u: Array) -> Array:
        return self.upper - np.exp(-u)

    def inverse(self, y: Array) -> Array:
        """Return u = -log(B - y)."""
        with np.errstate(divide="ignore"):
            u: Array = -np.log(np.maximum(self.upper - y, 0.0))
        return u

    def log_abs_det_jacobian(self, u: Array, y: Array | None = None) -> Array:
        """Return log(dy/du) = -u = log(B - y)."""
        if y is None:
            return -u
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.outside(y), 0.0, np.log(self.upper - y))

    def slope_of_log_jacobian(self, u: Array) -> Array:
        """Return d/du log(dy/du) = -1."""
        return -np.ones(np.shape(u))

    def exponentials(self) -> tuple[tuple[float, float], ...]:
        """Return the one of du/dy = exp(u)."""
        return ((1.0, 0.0),)

    def name_of_u(self, name: str) -> str:
        """Return `−log(B − y)`."""
        return f"−log({self.upper:g} − {name})"


@dataclass(frozen=True)
class Interval(_Bounded):
    """y = A + (B - A) v,  v = I_p(a, a),  p = 1 / (1 + exp(-u)), between the bounds A and B.

    v is the share of the interval that is below y. I_p(a, b) is the regularized incomplete beta
    function, the cdf of a beta distribution. With the order a = 1 it is p, so u is the logit of v.

    If y is uniform, u has the density p^a (1 - p)^a / B(a, a), with the beta function B. With a = 1
    this is the logistic density, whose tails are far longer than those of a Gaussian. The larger a
    is, the nearer it is to a Gaussian. The same is true of a truncated Gaussian y. So a mixture of
    few components can describe targets with values up to both bounds.

    Attributes:
        lower, upper: A and B, in the units of y.
        order: a, an integer from 1 to `HIGHEST_ORDER`.
    """

    lower: float
    upper: float
    order: int = ORDER

    def share(self, u: Array) -> Array:
        """Return v at values u of any shape; a small v has a small relative error.

        I_p(a, a) = p^a sum_{i=0}^{a-1} C(a - 1 + i, i) (1 - p)^i, where no digits cancel (DLMF,
        eq. 8.17.24).
        """
        small = np.exp(-np.abs(u))
        p = np.where(u < 0.0, small, 1.0) / (1.0 + small)
        share: Array = p**self.order * np.polyval(self._polynomial, 1.0 - p)
        return share

    def _unrounded(self, u: Array) -> Array:
        # Each value is its nearer bound and a distance, so that the distance keeps its digits.
        distance = (self.upper - self.lower) * self.share(-np.abs(u))
        nearer: Array = np.where(u < 0.0, self.lower + distance, self.upper - distance)
        return nearer

    def inverse(self, y: Array) -> Array:
        """Return u; with the order 1 it is log(y - A) - log(B - y)."""
        with np.errstate(divide="ignore"):
            above = np.log(np.maximum(y - self.lower, 0.0))
            below = np.log(np.maximum(self.upper - y, 0.0))
        if self.order == 1:
            logit: Array = above - below
            return logit
        u = self._inverse_of_log_share(np.minimum(above, below) - self._log_width())
        return np.where(above < below, u, -u)

    def _inverse_of_log_share(self, log_share: Array) -> Array:
        """Return u where v is at most a half, by Newton's method on log v.

        log v is concave in u, and the search starts at the u that solves it for v near 0, which is
        never too large. So every step leads towards the solution and not beyond it. (SciPy's
        `betaincinv` returns NaN or wrong values for v below 1e-200.)
        """
        finite = np.maximum(log_share, _LEAST_LOG_SHARE)
        u: Array = (finite - math.log(sum(self._polynomial))) / self.order
        for _ in range(_NEWTON_STEPS):
            log_rest = -np.log1p(np.exp(u))
            total = np.polyval(self._polynomial, np.exp(log_rest))
            excess = self.order * (u + log_rest) + np.log(total) - finite
            u = u - excess * total * np.exp(self._log_beta - self.order * log_rest)
        return np.where(log_share < _LEAST_LOG_SHARE, log_share, u)

    def log_abs_det_jacobian(self, u: Array, y: Array | None = None) -> Array:
        """Return log(dy/du), dy/du = (B - A) p^a (1 - p)^a / B(a, a)."""
        size = np.abs(u)
        log_product = -size - 2.0 * np.log1p(np.exp(-size))
        jacobian: Array = self._log_width() - self._log_beta + self.order * log_product
        return jacobian if y is None else np.where(self.outside(y), 0.0, jacobian)

    def slope_of_log_jacobian(self, u: Array) -> Array:
        """Return d/du log(dy/du) = a (1 - 2 p)."""
        slope: Array = -self.order * np.tanh(0.5 * u)
        return slope

    def curvature_of_log_jacobian(self, u: Array) -> Array:
        """Return the second derivative of log(dy/du), -2 a p (1 - p)."""
        small = np.exp(-np.abs(u))
        curvature: Array = -2.0 * self.order * small / (1.0 + small) ** 2
        return curvature

    def exponentials(self) -> tuple[tuple[float, float], ...]:
        """Return those of du/dy = B(a, a) / (B - A) sum_{c=-a}^{a} C(2a, a + c) exp(c u)."""
        constant = self._log_beta - self._log_width()
        return tuple(
            (float(c), math.log(math.comb(2 * self.order, self.order + c)) + constant)
            for c in range(-self.order, self.order + 1)
        )

    def name_of_u(self, name: str) -> str:
        """Return `transformed y, A to B`, or with the order 1 `logit of y, A to B`."""
        what = "logit of" if self.order == 1 else "transformed"
        return f"{what} {name}, {self.lower:g} to {self.upper:g}"

    @property
    def _polynomial(self) -> list[int]:
        """The coefficients C(a - 1 + i, i), the one of the highest power first."""
        return [math.comb(self.order - 1 + i, i) for i in reversed(range(self.order))]

    @property
    def _log_beta(self) -> float:
        """log B(a, a), B(a, a) = ((a - 1)!)^2 / (2a - 1)!."""
        return 2.0 * math.lgamma(self.order) - math.lgamma(2 * self.order)

    def _log_width(self) -> float:
        return math.log(self.upper - self.lower)


IDENTITY = Transform()


def transform_between(lower: float | None, upper: float | None, order: int = ORDER) -> Transform:
    """Return the transform of a target with these bounds; None for no bound on a side.

    Args:
        lower, upper: in the units of the target.
        order: of the transform if there are two bounds; see `Interval`.
    """
    if lower is not None and upper is not None:
        return Interval(lower, upper, order)
    if lower is not None:
        return LowerBound(lower)
    return IDENTITY if upper is None else UpperBound(upper)


def transforms_by_name(lower: dict[str, float], upper: dict[str, float]) -> dict[str, Transform]:
    """Return the transform of each target that has a bound.

    Raises:
        ParameterError: a lower bound is not less than the upper one.
    """
    for name in lower:
        if name in upper and not lower[name] < upper[name]:
            raise ParameterError(
                f"{parameter('lower')} of {quoted(name)} is {lower[name]:g} and "
                f"{parameter('upper')} is {upper[name]:g}: the lower bound must be less than the "
                "upper one."
            )
    return {
        name: transform_between(lower.get(name), upper.get(name)) for name in {**lower, **upper}
    }


def inverse_and_log_jacobian(transforms: Sequence[Transform], y: Array) -> tuple[Array, Array]:
    """Return u and -log |dy/du| of targets y, each (N, T), so log p(y) = log p(u) + their sum.

    Where a value is at a bound or beyond it, u is 0 and the second is -inf: infinite u of
    correlated targets would cancel each other.
    """
    u, log_slope = np.empty_like(y), np.empty_like(y)
    for target, transform in enumerate(transforms):
        values = y[:, target]
        outside, inverse = transform.outside(values), transform.inverse(values)
        jacobian = transform.log_abs_det_jacobian(inverse, values)
        u[:, target] = np.where(outside, 0.0, inverse)
        log_slope[:, target] = np.where(outside, -np.inf, -jacobian)
    return u, log_slope
