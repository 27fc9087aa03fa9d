"""Transforms of targets: from the whole line, where a mixture lives, to a target with bounds.

A mixture is learned over u, which has no bounds. A target is y = forward(u). Without bounds the
transform is the identity. The methods are named as in `torch.distributions.transforms`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mdncli.errors import ParameterError, parameter
from mdncli.text import quoted
from mdncli.types import Array, Mask

# The largest size of a target: its square, and that of a quotient of two such numbers, is far from
# the ends of float64.
LARGEST_TARGET = 1e60

_LARGEST = float(np.finfo(np.float64).max)


class Transform:
    """The identity: y = u.

    Subclasses are increasing functions from the whole line onto the values between two bounds.

    Attributes:
        lower, upper: the bounds of y, in its units; None where there is none.
    """

    lower: float | None = None
    upper: float | None = None

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

    def exponentials(self) -> tuple[tuple[float, float], ...]:
        """Return the one of du/dy = exp(u)."""
        return ((1.0, 0.0),)

    def name_of_u(self, name: str) -> str:
        """Return `−log(B − y)`."""
        return f"−log({self.upper:g} − {name})"


@dataclass(frozen=True)
class Interval(_Bounded):
    """y = A + (B - A) / (1 + exp(-u)), between the bounds A and B."""

    lower: float
    upper: float

    def _unrounded(self, u: Array) -> Array:
        # Each value is its nearer bound and a distance, so that the distance keeps its digits.
        small = np.exp(-np.abs(u))
        distance = (self.upper - self.lower) * (small / (1.0 + small))
        nearer: Array = np.where(u < 0.0, self.lower + distance, self.upper - distance)
        return nearer

    def inverse(self, y: Array) -> Array:
        """Return u = log(y - A) - log(B - y)."""
        with np.errstate(divide="ignore"):
            above = np.log(np.maximum(y - self.lower, 0.0))
            u: Array = above - np.log(np.maximum(self.upper - y, 0.0))
        return u

    def log_abs_det_jacobian(self, u: Array, y: Array | None = None) -> Array:
        """Return log(dy/du), dy/du = (y - A) (B - y) / (B - A)."""
        if y is None:
            size = np.abs(u)
            jacobian: Array = self._log_width() - size - 2.0 * np.log1p(np.exp(-size))
            return jacobian
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log(y - self.lower) + np.log(self.upper - y)
        return np.where(self.outside(y), 0.0, logs - self._log_width())

    def exponentials(self) -> tuple[tuple[float, float], ...]:
        """Return the three of du/dy = (exp(-u) + 2 + exp(u)) / (B - A)."""
        width = self._log_width()
        return ((-1.0, -width), (0.0, math.log(2.0) - width), (1.0, -width))

    def _log_width(self) -> float:
        return math.log(self.upper - self.lower)

    def name_of_u(self, name: str) -> str:
        """Return `logit of y, A to B`."""
        return f"logit of {name}, {self.lower:g} to {self.upper:g}"


IDENTITY = Transform()


def transform_between(lower: float | None, upper: float | None) -> Transform:
    """Return the transform of a target with these bounds; None for no bound on a side."""
    if lower is not None and upper is not None:
        return Interval(lower, upper)
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
