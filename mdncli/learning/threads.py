"""Threads that each work alone, each with PyTorch's operations on one core."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Result = TypeVar("Result")

_LOCK = threading.Lock()


def in_threads(jobs: Sequence[Callable[[], Result]], threads: int) -> list[Result]:
    """Return what the jobs return, in their order, run by this many threads.

    A thread that works alone never waits for another one, so two fits side by side share the cores
    fairly. The results do not depend on the number of threads.
    """
    if threads == 1 or len(jobs) == 1:
        with one_core():
            return [job() for job in jobs]
    with ThreadPoolExecutor(threads, initializer=_set_threads_here, initargs=(1,)) as pool:
        return list(pool.map(lambda job: job(), jobs))


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Let PyTorch use one core in the current thread, inside the block."""
    before = torch.get_num_threads()
    _set_threads_here(1)
    try:
        yield
    finally:
        _set_threads_here(before)


def _set_threads_here(count: int) -> None:
    """Set PyTorch's number of threads in the current thread, and in no other.

    PyTorch keeps one number for each thread, and one with which a new thread begins.
    `set_num_threads` changes the current thread's and the initial one. A new thread reads the
    initial number and puts it back.
    """
    with _LOCK, ThreadPoolExecutor(1) as new_thread:
        initial = new_thread.submit(torch.get_num_threads).result()
        torch.set_num_threads(count)
        new_thread.submit(torch.set_num_threads, initial).result()
