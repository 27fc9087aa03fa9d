"""Computations over long tables, piece by piece: in bounded memory and on every processor core.

Nothing here changes the number of threads that BLAS uses, since that would affect the whole
process. The matrix products inside a piece are small instead, so that BLAS starts no threads.
"""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from mdncli.types import Array

Item = TypeVar("Item")


class _ThreadState(threading.local):
    """Whether the current thread is computing a piece already."""

    in_piece = False


_state = _ThreadState()


def for_each_piece(work: Callable[[slice], None], rows: int, at_once: int) -> None:
    """Call `work` with every piece of at most `at_once` rows, several pieces at a time.

    A call from inside a piece runs in the thread of that piece.
    """
    pieces = [slice(at, min(at + at_once, rows)) for at in range(0, rows, at_once)]
    if len(pieces) <= 1 or _state.in_piece:
        for piece in pieces:
            work(piece)
        return

    def work_in_thread(piece: slice) -> None:
        _state.in_piece = True
        work(piece)

    with ThreadPoolExecutor(_cores()) as pool:
        # The list makes an error in a piece appear here.
        list(pool.map(work_in_thread, pieces))


def in_pieces(compute: Callable[[slice], Array], rows: int, at_once: int) -> Array:
    """Return the results of `compute` for every piece of at most `at_once` rows, concatenated."""
    if rows <= at_once:
        return compute(slice(0, rows))
    first = compute(slice(0, at_once))
    whole = np.empty((rows, *first.shape[1:]), first.dtype)
    whole[:at_once] = first

    def fill(piece: slice) -> None:
        rest = slice(piece.start + at_once, piece.stop + at_once)
        whole[rest] = compute(rest)

    for_each_piece(fill, rows - at_once, at_once)
    return whole


def prefetched(items: Iterator[Item]) -> Iterator[Item]:
    """Yield the items; each is computed in a thread while the one before it is being used."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item


def _cores() -> int:
    """Return the number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
