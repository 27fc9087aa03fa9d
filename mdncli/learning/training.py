"""Learning: from rows to a conditional density, one record an epoch."""

import contextlib
import platform
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace

import numpy as np
import torch

from mdncli import __version__
from mdncli.density.model import ConditionalDensity
from mdncli.density.record import Origin
from mdncli.learning.lesson import Epoch, Lesson, Watch
from mdncli.learning.search import choose_mixtures
from mdncli.learning.splits import Examples
from mdncli.settings import Settings
from mdncli.tables.schema import Schema


def fit(
    examples: Examples,
    schema: Schema,
    settings: Settings,
    *,
    stop: Callable[[], bool] = lambda: False,
) -> Generator[Epoch, None, ConditionalDensity]:
    """Learn p(y | x): yield a record after every epoch, return the density.

    Args:
        examples: the rows.
        schema: of these rows.
        settings: what is asked for.
        stop: asked after every step; once it says True, learning ends with the best so far.

    Raises:
        UsageError: CUDA was asked for and there is none.
        DataError: not one epoch ended with a finite loss, or all rows are of one group.
    """
    watch = Watch(stop, settings.time_limit)
    settings = settings.for_rows(len(examples.y))
    with _threads(settings.threads):
        tried = {}
        if settings.mixtures == "auto":
            choice = yield from choose_mixtures(examples, schema, settings, watch)
            settings, tried = replace(settings, mixtures=choice.mixtures), choice.tried
            if watch.reason_to_end():
                record = replace(choice.density.record, stopped=watch.reason_to_end(), tried=tried)
                return replace(choice.density, record=record)
        lesson = Lesson(examples, schema, settings, watch)
        networks, outcome = yield from lesson.mixture()
        baseline = None
        if settings.baseline:
            if not watch.reason_to_end():
                baseline = yield from lesson.least_squares()
            if watch.reason_to_end():
                outcome.stopped, baseline = watch.reason_to_end(), None
        density = lesson.density(networks, outcome, baseline)
        return replace(density, record=replace(density.record, tried=tried))


def learned(examples: Examples, schema: Schema, settings: Settings) -> ConditionalDensity:
    """Return what `fit` does, without a word on the way."""
    learning = fit(examples, schema, settings)
    while True:
        try:
            next(learning)
        except StopIteration as ended:
            density: ConditionalDensity = ended.value
            return replace(density, origin=Origin(versions=versions()))


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def versions() -> dict[str, str]:
    """Return the versions of what decides a fit's result, by name."""
    return {
        "mdncli": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
    }
