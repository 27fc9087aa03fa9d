"""Numerical tools for many rows: root search, quadrature, and work on pieces of long tables.

Pieces are computed in bounded memory and on every processor core. Nothing here changes the number
of threads that BLAS uses, since that would affect the whole process. The matrix products inside a
piece are small instead, so that BLAS starts no threads.
"""

import math
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np

from mdncli.types import Array, Mask, Numbers, Positions

_MOST_STEPS = 300
# After this many steps every other step halves the bracket or the value, so that no shape can stall
# the search.
_STEPS_BEFORE_HALVING = 8
# The roots that are found are removed from the arrays once they are a tenth of them.
_SHARE_TO_REMOVE = 0.9


class Buffers(threading.local):
    """Arrays that a thread reuses: allocating new memory for every block is slow."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Any, ...], Numbers] = {}

    def take(self, purpose: str, shape: tuple[int, ...], dtype: Any = np.float64) -> Numbers:
        """Return an uninitialized array; the next call for this purpose may return it again."""
        key, size = (purpose, dtype), math.prod(shape)
        if key not in self._kept or len(self._kept[key]) < size:
            self._kept[key] = np.empty(size, dtype)
        return self._kept[key][:size].reshape(shape)


def added_up(terms: Array) -> Array:
    """Return the sum over the first axis, (K, N) to (N,), added up in its order.

    NumPy's own order depends on how the terms lie in memory, and on whether N is 1, so that the
    last bits of a row would depend on the rows beside it.
    """
    alone = terms.shape[-1] == 1
    total: Array = terms.cumsum(axis=0)[-1] if alone else np.ascontiguousarray(terms).sum(axis=0)
    return total


class RootProblem(Protocol):
    """N increasing functions with one root each."""

    def evaluate(self, at: Array) -> tuple[Array, Array, Mask]:
        """Return the values at points (N,), the proposed steps, and which roots are found.

        A step may be anything, even NaN. One that leaves the bracket is replaced by a halving.
        """

    def keep(self, chosen: Mask) -> None:
        """Drop all functions except the chosen ones."""


def find_roots(problem: RootProblem, low: Array, high: Array, start: Array) -> Array:
    """Return the root of each function, shape (N,), as exactly as floating point allows.

    The root of one row does not depend on the other rows: once found it stays unchanged.

    Args:
        problem: the functions; the search drops functions from it.
        low, high: (N,), ends of a bracket around each root.
        start: (N,), inside the brackets.
    """
    found, where, sought = start.copy(), np.arange(len(start)), np.ones(len(start), dtype=bool)
    low, high, at = low.copy(), high.copy(), start
    missed_low, missed_high, before = np.full((3, len(start)), np.inf)
    for step in range(_MOST_STEPS):
        value, change, done = problem.evaluate(at)
        below, missed = value < 0.0, np.abs(value)
        for end, missed_end, side in ((low, missed_low, below), (high, missed_high, ~below)):
            np.copyto(end, at, where=side)
            np.copyto(missed_end, missed, where=side)
        middle = low + 0.5 * (high - low)
        ends = sought & (done | (middle <= low) | (middle >= high) | (step == _MOST_STEPS - 1))
        # Where only two neighbouring floats are left, the better one is the answer.
        better = np.where(done, at, np.where(missed_low < missed_high, low, high))
        found[where[ends]] = better[ends]
        sought &= ~ends
        left = np.count_nonzero(sought)
        if not left:
            break
        with np.errstate(invalid="ignore", over="ignore"):
            at = at + change
        outside = ~((at > low) & (at < high))
        if step > _STEPS_BEFORE_HALVING and step % 2:
            outside |= missed > 0.5 * before
        np.copyto(at, middle, where=outside)
        before = missed
        if left <= _SHARE_TO_REMOVE * len(at):
            problem.keep(sought)
            low, high, at = low[sought], high[sought], at[sought]
            missed_low, missed_high = missed_low[sought], missed_high[sought]
            where, before, sought = where[sought], before[sought], sought[sought]
    return found


_TOLERANCE = 1e-7
_MOST_HALVINGS = 60
# The difference of the two rules estimates the error of the lower one. The higher one is kept; its
# error is about the square of that.
_LOW_ORDER, _HIGH_ORDER = 6, 12


def integrate(integrand: Callable[[Positions, Array], Array], cuts: Array) -> Array:
    """Return the integral of each row's function over an interval of its own, shape (N,).

    Each piece is integrated by Gauss-Legendre rules of 6 and 12 points. A piece where they differ
    by more than 1e-7 of the row's integral is halved. The functions should not be negative, so that
    no digits cancel.

    Args:
        integrand: takes rows (D,) and points (D, P), and returns the values (D, P).
        cuts: (N, C), finite and in rising order: the ends of the first pieces. The function must be
            smooth within each piece.
    """
    total = np.zeros(len(cuts))
    start: Array
    end: Array
    rows: Positions
    low, high = (np.polynomial.legendre.leggauss(order) for order in (_LOW_ORDER, _HIGH_ORDER))
    rows, piece = np.nonzero(cuts[:, 1:] > cuts[:, :-1])
    start, end = cuts[rows, piece], cuts[rows, piece + 1]
    for step in range(_MOST_HALVINGS):
        if not len(rows):
            break
        rough, fine = (_apply_rule(integrand, rows, start, end, *rule) for rule in (low, high))
        whole = total + np.bincount(rows, weights=fine, minlength=len(total))
        middle = 0.5 * (start + end)
        settled = np.abs(fine - rough) <= _TOLERANCE * whole[rows]
        settled |= (middle <= start) | (middle >= end) | (step == _MOST_HALVINGS - 1)
        total += np.bincount(rows[settled], weights=fine[settled], minlength=len(total))
        rows = rows[~settled].repeat(2)
        start, middle, end = (part[~settled] for part in (start, middle, end))
        start, end = np.stack([start, middle], axis=1).ravel(), np.stack([middle, end], 1).ravel()
    return total


def _apply_rule(
    integrand: Callable[[Positions, Array], Array],
    rows: Positions,
    start: Array,
    end: Array,
    nodes: Array,
    weights: Array,
) -> Array:
    """Return a Gauss-Legendre rule's integral of each piece, shape (D,)."""
    half = 0.5 * (end - start)
    points = 0.5 * (start + end)[:, None] + half[:, None] * nodes
    value: Array = half * (integrand(rows, points) @ weights)
    return value


class _ThreadState(threading.local):
    """Whether the current thread is computing a piece already."""

    in_piece = False

    def begin(self) -> None:
        """Note that the current thread computes pieces."""
        self.in_piece = True


_state = _ThreadState()
# By the number of the process.
_pools: dict[int, ThreadPoolExecutor] = {}


def _pieces(rows: int, at_once: int) -> list[slice]:
    """Return pieces of `at_once` rows, and the rest.

    A rest of a single row is added to the piece before it; see `added_up`.
    """
    starts = range(0, rows, at_once)
    if len(starts) > 1 and rows - starts[-1] == 1:
        starts = starts[:-1]
    return [slice(at, at + at_once) for at in starts[:-1]] + [slice(at, rows) for at in starts[-1:]]


def for_each_piece(work: Callable[[slice], None], rows: int, at_once: int) -> None:
    """Call `work` with every piece of about `at_once` rows, several pieces at a time.

    A call from inside a piece runs in the thread of that piece.
    """
    pieces = _pieces(rows, at_once)
    if len(pieces) <= 1 or _state.in_piece:
        for piece in pieces:
            work(piece)
        return

    # The list makes an error in a piece appear here. After an error or an interruption, pieces that
    # have not begun are left out.
    list(_workers().map(work, pieces))


def in_pieces(compute: Callable[[slice], Array], rows: int, at_once: int) -> Array:
    """Return the results of `compute` for every piece of about `at_once` rows, concatenated."""
    if rows <= at_once + 1:
        return compute(slice(0, rows))
    first = compute(slice(0, at_once))
    whole = np.empty((rows, *first.shape[1:]), first.dtype)
    whole[:at_once] = first

    def fill(piece: slice) -> None:
        rest = slice(piece.start + at_once, piece.stop + at_once)
        whole[rest] = compute(rest)

    for_each_piece(fill, rows - at_once, at_once)
    return whole


def _workers() -> ThreadPoolExecutor:
    """Return the threads that compute pieces, one for each core.

    They are kept, and with them their buffers: new memory would have to be cleared for every call.
    A process that was forked needs its own threads.
    """
    process = os.getpid()
    if process not in _pools:
        _pools.clear()
        _pools[process] = ThreadPoolExecutor(_cores(), "pieces", _state.begin)
    return _pools[process]


def _cores() -> int:
    """Return the number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
