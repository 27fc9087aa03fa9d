"""The command line, and the signals that end it, which are handled before all else is imported."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SignalHandler = Callable[[int, FrameType | None], object]

# What asks a process to end: Ctrl-C, `kill`, and a terminal that is closed.
_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


def handle_signals(handler: SignalHandler) -> None:
    """Let a function handle every signal that asks the process to end.

    A signal that the parent ignores stays ignored: `nohup` and `&` in a script rely on that.
    """
    for number in _SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


class Interrupted(BaseException):
    """A signal asked the process to end; Typer takes a KeyboardInterrupt for its own.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def handling_signals(handler: SignalHandler) -> Iterator[None]:
    """Let a function handle these signals inside the block."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    handle_signals(handler)
    try:
        yield
    finally:
        for number, each in before.items():
            signal.signal(number, each)


def end_at_once(number: int, _: FrameType | None) -> None:
    """End the process."""
    os.write(2, b"interrupted\n")
    os._exit(status_of(number))


def interrupt(number: int, _: FrameType | None) -> None:
    """Raise `Interrupted`; the next signal ends the process."""
    handle_signals(end_at_once)
    raise Interrupted(number)


def status_of(number: int) -> int:
    """Return the exit status of a process that a signal ended, as a shell gives it."""
    return 128 + number
