"""One safeguarded search for all that has no closed form, many brackets at a time."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

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
