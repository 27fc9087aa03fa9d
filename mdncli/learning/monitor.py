"""What watches over learning, and the threads in which it runs."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import TypeVar

import torch

Result = TypeVar("Result")

_LOCK = threading.Lock()


@dataclass(frozen=True)
class Epoch:
    """The result of one epoch, for a progress display.

    Attributes:
        stage: what is trained; empty for a single network, otherwise some members of a kind, the
            model as a whole, the least-squares baseline or a trial with another number of
            components.
        epoch: from 1.
        epochs: the largest number of epochs.
        nll_train: mean over the training rows during the epoch, in nats per row, in the units of
            the file.
        nll_valid: mean over the validation rows after the epoch, of the averaged weights; NaN if
            there are no such rows.
        reference: the NLL of the marginal reference on the validation rows, or on the training rows
            if there are no validation rows.
        seconds: of learning so far.
        fold: the name of the fold of a cross-validation; empty otherwise.
    """

    stage: str
    epoch: int
    epochs: int
    nll_train: float
    nll_valid: float
    reference: float
    seconds: float
    fold: str = ""


class Monitor:
    """Measures the time of learning, passes epochs on, and knows when learning must stop.

    Threads may share it.

    Args:
        progress: is called with every epoch.
        stop: returns True once learning must stop.
        time_limit: seconds after which learning must stop; None for no limit.
    """

    def __init__(
        self,
        progress: Callable[[Epoch], None] | None = None,
        stop: Callable[[], bool] | None = None,
        time_limit: float | None = None,
    ) -> None:
        self._progress, self._stop, self._time_limit = progress, stop, time_limit
        self._started = perf_counter()
        self._lock = threading.Lock()

    def seconds(self) -> float:
        """Return the seconds since learning began."""
        return perf_counter() - self._started

    def show(self, epoch: Epoch) -> None:
        """Pass an epoch on."""
        if self._progress is not None:
            with self._lock:
                self._progress(epoch)

    def reason_to_stop(self) -> str:
        """Return why learning must stop now, `interrupted` or `time`; empty if it need not."""
        if self._stop is not None and self._stop():
            return "interrupted"
        return "time" if self._time_limit and self.seconds() > self._time_limit else ""


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
    # PyTorch gives a thread the initial number at the thread's first use of it. After that, the
    # number that is set here stays.
    torch.get_num_threads()
    with _LOCK, ThreadPoolExecutor(1) as new_thread:
        initial = new_thread.submit(torch.get_num_threads).result()
        torch.set_num_threads(count)
        new_thread.submit(torch.set_num_threads, initial).result()
