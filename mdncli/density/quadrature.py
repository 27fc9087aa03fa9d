"""Integrals that have no closed form, for many rows at a time, to a set relative error."""

from collections.abc import Callable

import numpy as np
from numpy.polynomial.legendre import leggauss
from numpy.typing import NDArray

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

_CLOSE = 1e-7
_ROUNDS = 60
# The difference of the two rules is the error of the lower one; the other, which is kept, is off by
# about the square of that.
_FEW, _MANY = (leggauss(count) for count in (6, 12))


def integrals(integrand: Callable[[Rows, Array], Array], cuts: Array) -> Array:
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
    rows: Rows
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
    integrand: Callable[[Rows, Array], Array],
    rows: Rows,
    start: Array,
    end: Array,
    nodes: Array,
    weights: Array,
) -> Array:
    half = 0.5 * (end - start)
    points = 0.5 * (start + end)[:, None] + half[:, None] * nodes
    value: Array = half * (integrand(rows, points) @ weights)
    return value
