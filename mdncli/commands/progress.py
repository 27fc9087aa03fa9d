"""Learning as a person watches it: a live line on a terminal, a few plain lines elsewhere."""

import math
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from mdncli.commands.console import error_console, say

if TYPE_CHECKING:
    from mdncli.learning.trainer import Epoch

Result = TypeVar("Result")
Draw = Callable[["Epoch"], None]


@contextmanager
def stop_on_interrupt() -> Iterator[Callable[[], bool]]:
    """Yield a question that the first Ctrl-C answers with yes; a second one interrupts at once."""
    asked = False

    def remember(*_: object) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    before = signal.signal(signal.SIGINT, remember)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)


def watch(learning: "Generator[Epoch, None, Result]", *, quiet: bool) -> tuple[Result, float]:
    """Draw the epochs as they end; return what learning returns and the seconds it took."""
    show = _silent if quiet else _live if sys.stderr.isatty() else _plain
    # Of every fit that is one of several, the time of its last epoch.
    seconds: dict[str, float] = {}
    with show() as draw:
        while True:
            try:
                epoch = next(learning)
            except StopIteration as ended:
                return ended.value, sum(seconds.values())
            seconds[epoch.fold] = epoch.seconds
            draw(epoch)


@contextmanager
def _silent() -> Iterator[Draw]:
    yield lambda epoch: None


@contextmanager
def _plain() -> Iterator[Draw]:
    """Yield a function that writes about ten lines, for a log."""

    def draw(epoch: "Epoch") -> None:
        tenth = max(1, epoch.epochs // 10)
        if epoch.epoch == 1 or epoch.epoch % tenth == 0:
            valid = "" if math.isnan(epoch.nll_valid) else f"  {epoch.nll_valid:.4f} valid"
            say(
                f"{_at(epoch)}  NLL {epoch.nll_train:.4f} train{valid}  "
                f"({epoch.reference:.4f} without x)  {epoch.seconds:.1f} s"
            )

    yield draw


@contextmanager
def _live() -> Iterator[Draw]:
    """Yield a function that redraws one line: a bar, the NLLs and the time left."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn(
            "NLL {task.fields[train]:.4f} train {task.fields[valid]:.4f} valid "
            "({task.fields[reference]:.4f} without x)"
        ),
        TimeRemainingColumn(),
    )
    tasks: dict[str, Any] = {}
    with Progress(*columns, console=error_console(), transient=True) as progress:

        def draw(epoch: "Epoch") -> None:
            figures: dict[str, Any] = {
                "train": epoch.nll_train,
                "valid": epoch.nll_valid,
                "reference": epoch.reference,
            }
            name = epoch.fold + epoch.stage
            if name not in tasks:
                tasks[name] = progress.add_task("", total=epoch.epochs, **figures)
            progress.update(tasks[name], completed=epoch.epoch, description=_at(epoch), **figures)

        yield draw


def _at(epoch: "Epoch") -> str:
    return f"{epoch.fold}{epoch.stage}epoch {epoch.epoch}/{epoch.epochs}"
