"""Long tables in pieces: in bounded memory, on every processor core."""

import contextlib
import functools
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from mdncli.types import Array

Item = TypeVar("Item")


class _Inside(threading.local):
    """Whether a thread works on a piece already."""

    piece = False


_inside = _Inside()


def each_piece(work: Callable[[slice], None], rows: int, at_once: int) -> None:
    """Call `work` with every piece of so many rows, several at a time."""
    pieces = [slice(at, min(at + at_once, rows)) for at in range(0, rows, at_once)]
    if len(pieces) <= 1 or _inside.piece:
        for piece in pieces:
            work(piece)
        return

    def alone(piece: slice) -> None:
        # Pieces of a piece stay in its thread.
        _inside.piece = True
        work(piece)

    with _one_thread_per_product(), ThreadPoolExecutor(_cores()) as pool:
        # Through a list, so that an error in a piece is raised here.
        list(pool.map(alone, pieces))


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


def ahead(items: Iterator[Item]) -> Iterator[Item]:
    """Yield the items, each made while the one before is being used."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextlib.contextmanager
def _one_thread_per_product() -> Iterator[None]:
    """Keep matrix products from starting threads of their own inside ours."""
    with _libraries().limit(limits=1, user_api="blas"):
        yield


@functools.cache
def _libraries() -> Any:
    from threadpoolctl import ThreadpoolController

    # Looking for them takes milliseconds.
    return ThreadpoolController()
