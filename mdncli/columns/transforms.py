"""Bounds of a target, and the increasing map from between them to the whole line."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mdncli.errors import UsageError
from mdncli.text import quoted
from mdncli.types import Array

_LARGEST = float(np.finfo(np.float64).max)


@dataclass(frozen=True)
class Bounds:
    """What a target stays above and below, and the map u of its values y to the whole line.

        u = y                              without bounds,
        u = log(y - A)                     above A,
        u = -log(B - y)                    below B,
        u = log((y - A) / (B - y))         between both (the logit of the share of the way).

    A mixture is learned and kept on the scale of u; a density of y is that of u times du/dy.

    Attributes:
        lower: A, in the units of the file; None for none.
        upper: B, likewise; more than A.
    """

    lower: float | None = None
    upper: float | None = None

    def __bool__(self) -> bool:
        """Whether there is any."""
        return self.lower is not None or self.upper is not None

    def outside(self, y: Array) -> NDArray[np.bool_]:
        """Return which values are at a bound or beyond it: there the density is 0."""
        beyond = np.zeros(np.shape(y), dtype=bool)
        if self.lower is not None:
            beyond |= y <= self.lower
        if self.upper is not None:
            beyond |= y >= self.upper
        return beyond

    def to_mixture(self, y: Array) -> Array:
        """Return u of values y of any shape: infinite where they are at a bound or beyond it."""
        with np.errstate(divide="ignore"):
            mapped = np.zeros(np.shape(y)) if self else y
            if self.lower is not None:
                mapped = mapped + np.log(np.maximum(y - self.lower, 0.0))
            if self.upper is not None:
                mapped = mapped - np.log(np.maximum(self.upper - y, 0.0))
        return mapped

    def to_target(self, u: Array) -> Array:
        """Return y of values u of any shape: between the bounds, and at them only where u is inf.

        Near either bound y is that bound and a distance, so none of the digits of the distance
        are lost but those that a float next to the bound has no room for.
        """
        if not self:
            return u
        with np.errstate(over="ignore"):
            y = self._unrounded(u)
        low = -_LARGEST if self.lower is None else np.nextafter(self.lower, math.inf)
        high = _LARGEST if self.upper is None else np.nextafter(self.upper, -math.inf)
        inside: Array = np.where(np.isinf(u), self._ends(u), np.clip(y, low, high))
        return np.where(np.isnan(u), u, inside)

    def _unrounded(self, u: Array) -> Array:
        if self.upper is None:
            return self.lower + np.exp(u)
        if self.lower is None:
            return self.upper - np.exp(-u)
        small = np.exp(-np.abs(u))
        distance = (self.upper - self.lower) * (small / (1.0 + small))
        nearer: Array = np.where(u < 0.0, self.lower + distance, self.upper - distance)
        return nearer

    def _ends(self, u: Array) -> Array:
        low = -math.inf if self.lower is None else self.lower
        high = math.inf if self.upper is None else self.upper
        return np.where(u < 0.0, low, high)

    def log_slope(self, y: Array) -> Array:
        """Return log du/dy at values y of any shape; 0 at a bound and beyond it.

        The Jacobian of the map: 1/(y - A), 1/(B - y), or their sum, (B - A) / ((y - A) (B - y)).
        """
        slope = np.zeros(np.shape(y))
        with np.errstate(divide="ignore", invalid="ignore"):
            if self.lower is not None:
                slope -= np.log(y - self.lower)
            if self.upper is not None:
                slope -= np.log(self.upper - y)
        return np.where(self.outside(y), 0.0, slope + self._log_width())

    def tilts(self) -> tuple[tuple[float, float], ...]:
        """Return pairs (c, log w) such that du/dy = sum w exp(c u).

        So the density of y, as a function of u, is a sum of Gaussians again: each component times
        each exponential. Above A it is exp(-u), below B exp(u), between both
        (exp(-u) + 2 + exp(u)) / (B - A).
        """
        if not self:
            return ((0.0, 0.0),)
        if self.upper is None:
            return ((-1.0, 0.0),)
        if self.lower is None:
            return ((1.0, 0.0),)
        width = self._log_width()
        return ((-1.0, -width), (0.0, math.log(2.0) - width), (1.0, -width))

    def log_slope_at(self, u: Array) -> Array:
        """Return log du/dy at finite values u of any shape."""
        if not self:
            return np.zeros(np.shape(u))
        if self.upper is None:
            return -u
        if self.lower is None:
            return u
        steep = np.abs(u)
        slope: Array = steep + 2.0 * np.log1p(np.exp(-steep)) - self._log_width()
        return slope

    def _log_width(self) -> float:
        """Return log(B - A), 0 where there are not both."""
        if self.lower is None or self.upper is None:
            return 0.0
        return math.log(self.upper - self.lower)

    def in_words(self) -> str:
        """Return where values are between the bounds, as `above --lower 0`."""
        ends = ("above --lower", self.lower), ("below --upper", self.upper)
        return " and ".join(f"{side} {end:g}" for side, end in ends if end is not None)

    def scale_name(self, name: str) -> str:
        """Return what the scale of u is called for a target of this name: `log(y − 2)`."""
        if self.lower is None and self.upper is None:
            return name
        if self.upper is None:
            return f"log({_less(name, self.lower)})"
        if self.lower is None:
            return f"−log({self.upper:g} − {name})"
        return f"logit of {name}, {self.lower:g} to {self.upper:g}"


FREE = Bounds()


def underneath(bounds: Sequence[Bounds], y: Array) -> tuple[Array, Array]:
    """Return u and log du/dy of targets y, both (N, T), such that log p(y) = log p(u) + log du/dy.

    Where a value is at a bound or beyond it, u is 0 and log du/dy -inf: with correlated targets
    infinite u would cancel each other.
    """
    pairs = list(zip(bounds, y.T, strict=True))
    u = np.stack([each.to_mixture(values) for each, values in pairs], axis=1)
    log_slope = np.stack([each.log_slope(values) for each, values in pairs], axis=1)
    outside = np.stack([each.outside(values) for each, values in pairs], axis=1)
    return np.where(outside, 0.0, u), np.where(outside, -np.inf, log_slope)


def _less(name: str, bound: float | None) -> str:
    if not bound:
        return name
    return f"{name} − {bound:g}" if bound > 0.0 else f"{name} + {-bound:g}"


def bounds_of(lower: dict[str, float], upper: dict[str, float]) -> dict[str, Bounds]:
    """Return the bounds of each target that has one, by name.

    Raises:
        UsageError: a lower one is not less than the upper one.
    """
    found = {name: Bounds(lower.get(name), upper.get(name)) for name in {**lower, **upper}}
    for name in lower:
        if name in upper and not lower[name] < upper[name]:
            raise UsageError(
                f"--lower of {quoted(name)} is {lower[name]:g} and --upper {upper[name]:g}: the "
                "lower bound must be less than the upper one."
            )
    return found
