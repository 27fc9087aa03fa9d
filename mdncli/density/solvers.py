"""One safeguarded search for all that has no closed form, many brackets at a time.

Integrals that have no closed form, for many rows at a time, to a set relative error.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.polynomial.legendre import leggauss

from mdncli.types import Array, Mask, Positions

_MOST_STEPS = 300
# From here on every other step halves the bracket, so that no shape can stall the search.
_STEPS_BEFORE_HALVING = 8
# Those that are found leave the search once they are a tenth of those in it.
_SHARE_TO_LEAVE = 0.9


class Problem(Protocol):
    """N increasing functions, each with a zero to be found."""

    def ask(self, at: Array) -> tuple[Array, Array, Mask]:
        """Return at (N,) each function's value, the step proposed from there, and which are done.

        A step may be anything, not a number too: one that leaves the bracket is replaced.
        """

    def keep(self, chosen: Mask) -> None:
        """Forget all functions but the chosen ones."""


def bracketed_zeros(problem: Problem, low: Array, high: Array, start: Array) -> Array:
    """Return where each function is zero, shape (N,), or as close to it as floats come.

    A row's zero does not depend on the other rows: once found it stays as it is.

    Args:
        problem: the functions; it is used up.
        low, high: (N,), around each zero.
        start: (N,), within them.
    """
    found, where, sought = start.copy(), np.arange(len(start)), np.ones(len(start), dtype=bool)
    low, high, at = low.copy(), high.copy(), start
    missed_low, missed_high = np.full((2, len(start)), np.inf)
    for step in range(_MOST_STEPS):
        value, change, done = problem.ask(at)
        below, missed = value < 0.0, np.abs(value)
        for end, missed_end, side in ((low, missed_low, below), (high, missed_high, ~below)):
            np.copyto(end, at, where=side)
            np.copyto(missed_end, missed, where=side)
        middle = low + 0.5 * (high - low)
        ends = sought & (done | (middle <= low) | (middle >= high) | (step == _MOST_STEPS - 1))
        # The nearer end, where two neighbouring floats are left. On a plateau many are as near.
        nearer = np.where(done, at, np.where(missed_low < missed_high, low, high))
        found[where[ends]] = nearer[ends]
        sought &= ~ends
        left = np.count_nonzero(sought)
        if not left:
            break
        with np.errstate(invalid="ignore", over="ignore"):
            at = at + change
        outside = ~((at > low) & (at < high))
        if step > _STEPS_BEFORE_HALVING and step % 2:
            outside[:] = True
        np.copyto(at, middle, where=outside)
        if left <= _SHARE_TO_LEAVE * len(at):
            problem.keep(sought)
            low, high, at = low[sought], high[sought], at[sought]
            missed_low, missed_high = missed_low[sought], missed_high[sought]
            where, sought = where[sought], sought[sought]
    return found


_CLOSE = 1e-7
_ROUNDS = 60
# The difference of the two rules is the error of the lower one; the other, which is kept, is off by
# about the square of that.
_FEW, _MANY = (leggauss(count) for count in (6, 12))


def integrals(integrand: Callable[[Positions, Array], Array], cuts: Array) -> Array:
    """Return the integral of a function of each row over an interval of its own, shape (N,).

    By two rules of Gauss and Legendre, of 6 and 12 points: a piece where they differ by more than
    1e-7 of the row's integral is halved. Meant for what is never negative, so that nothing cancels.

    Args:
        integrand: of rows (D,) and points (D, P), its values (D, P).
        cuts: (N, C), finite, never falling: the pieces to begin with. Between two of them the
            function must be smooth.
    """
    total = np.zeros(len(cuts))
    start: Array
    end: Array
    rows: Positions
    rows, piece = np.nonzero(cuts[:, 1:] > cuts[:, :-1])
    start, end = cuts[rows, piece], cuts[rows, piece + 1]
    for step in range(_ROUNDS):
        if not len(rows):
            break
        rough, fine = (_by_rule(integrand, rows, start, end, *rule) for rule in (_FEW, _MANY))
        whole = total + np.bincount(rows, weights=fine, minlength=len(total))
        middle = 0.5 * (start + end)
        settled = np.abs(fine - rough) <= _CLOSE * whole[rows]
        settled |= (middle <= start) | (middle >= end) | (step == _ROUNDS - 1)
        total += np.bincount(rows[settled], weights=fine[settled], minlength=len(total))
        rows = rows[~settled].repeat(2)
        start, middle, end = (part[~settled] for part in (start, middle, end))
        start, end = np.stack([start, middle], axis=1).ravel(), np.stack([middle, end], 1).ravel()
    return total


def _by_rule(
    integrand: Callable[[Positions, Array], Array],
    rows: Positions,
    start: Array,
    end: Array,
    nodes: Array,
    weights: Array,
) -> Array:
    half = 0.5 * (end - start)
    points = 0.5 * (start + end)[:, None] + half[:, None] * nodes
    value: Array = half * (integrand(rows, points) @ weights)
    return value
