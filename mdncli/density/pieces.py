"""Long tables in pieces: in bounded memory, on every processor core."""

import contextlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def each_piece(work: Callable[[slice], None], rows: int, at_once: int) -> None:
    """Call `work` with every piece of so many rows, several at a time."""
    pieces = [slice(at, min(at + at_once, rows)) for at in range(0, rows, at_once)]
    if len(pieces) <= 1:
        for piece in pieces:
            work(piece)
        return
    with _one_thread_per_product(), ThreadPoolExecutor(_cores()) as pool:
        # Through a list, so that an error in a piece is raised here.
        list(pool.map(work, pieces))


def by_pieces(answer: Callable[[slice], Array], rows: int, at_once: int) -> Array:
    """Return what `answer` gives for every piece of so many rows, one below another."""
    if rows <= at_once:
        return answer(slice(0, rows))
    first = answer(slice(0, at_once))
    whole = np.empty((rows, *first.shape[1:]), first.dtype)
    whole[:at_once] = first

    def fill(piece: slice) -> None:
        rest = slice(piece.start + at_once, piece.stop + at_once)
        whole[rest] = answer(rest)

    each_piece(fill, rows - at_once, at_once)
    return whole


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextlib.contextmanager
def _one_thread_per_product() -> Iterator[None]:
    """Keep matrix products from starting threads of their own inside ours."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="blas"):
        yield
