"""Fit a mixture density network to a dataset, and cross-validate the settings of a fit."""

import contextlib
import platform
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import torch

from mdncli import __version__
from mdncli.columns.dataset import Dataset, measure_schema
from mdncli.columns.kinds import Layout
from mdncli.columns.schema import Schema
from mdncli.density.evaluation import Evaluation, evaluate
from mdncli.density.model import MixtureDensityNetwork
from mdncli.errors import DataError, parameter
from mdncli.learning.component_search import choose_mixtures
from mdncli.learning.splits import random_parts
from mdncli.learning.trainer import Epoch, Monitor, Trainer
from mdncli.settings import Settings

Progress = Callable[[Epoch], None]
_THREADS_LOCK = threading.Lock()


def fit(
    dataset: Dataset,
    schema: Schema,
    settings: Settings,
    *,
    progress: Progress | None = None,
    stop: Callable[[], bool] | None = None,
) -> MixtureDensityNetwork:
    """Return a model of p(y | x), learned from the rows of a dataset.

    Args:
        dataset: the rows.
        schema: of these rows.
        settings: what to learn, and how.
        progress: is called after every epoch.
        stop: is called after every step; once it returns True, learning stops, and the result is
            the best model so far.

    Raises:
        ParameterError: the settings ask for CUDA, which is not available.
        DataError: no epoch ended with a finite loss, or all rows are in one group.
    """
    monitor = Monitor(progress, stop, settings.time_limit)
    settings = settings.for_rows(len(dataset.y))
    with _torch_threads(settings.threads):
        tried: dict[int, float] = {}
        if settings.mixtures == "auto":
            choice = choose_mixtures(dataset, schema, settings, monitor)
            settings, tried = replace(settings, mixtures=choice.mixtures), choice.tried
            reason = monitor.reason_to_stop()
            if reason:
                record = replace(choice.model.record, stopped=reason, tried=tried)
                return replace(choice.model, record=record)
        trainer = Trainer(dataset, schema, settings, monitor)
        networks, result = trainer.train_mixture()
        baseline = None
        if settings.baseline:
            if not monitor.reason_to_stop():
                baseline = trainer.train_baseline()
            reason = monitor.reason_to_stop()
            if reason:
                result.stopped, baseline = reason, None
        model = trainer.model(networks, result, baseline)
        return replace(model, record=replace(model.record, tried=tried))


def cross_validate(
    dataset: Dataset,
    layout: Layout,
    settings: Settings,
    folds: int,
    *,
    source: str,
    progress: Progress | None = None,
    stop: Callable[[], bool] | None = None,
) -> list[Evaluation]:
    """Return the scores of each fold, by a model that was fitted without the fold.

    The ranges and scales of the columns and the smallest sigmas are those of the rows that the
    model learns from. No group is split. If `stop` ends learning, the current fold and those after
    it are left out.

    Args:
        dataset: the rows, without validation rows.
        layout: how the columns of the table are read.
        settings: of each fit.
        folds: from 2 to the number of rows, or of groups.
        source: the name of the table in messages.
        progress: as for `fit`; each epoch has the name of its fold.
        stop: as for `fit`.

    Raises:
        DataError: there are more folds than rows or groups, or the rows outside a fold are not
            enough to learn from.
    """
    rows = len(dataset.y)
    most = rows if dataset.groups is None else int(dataset.groups.max()) + 1
    if folds > most:
        what = "rows" if dataset.groups is None else "groups"
        raise DataError(
            f"{source}: {parameter('cv')} is {folds}, but there are only {most} {what}."
        )
    rng = np.random.default_rng(settings.seed)
    held_out = random_parts(rows, np.full(folds, rows / folds), rng, dataset.groups)
    feature_names = [feature.name for feature in layout.features]
    scores: list[Evaluation] = []
    for number, fold in enumerate(held_out, start=1):
        train = dataset.take(np.setdiff1d(np.arange(rows), fold))
        schema, train = measure_schema(f"{source}, fold {number}", train, layout)
        named_progress = _with_fold(f"fold {number} ", progress)
        model = fit(train, schema, settings, progress=named_progress, stop=stop)
        if stop is not None and stop():
            break
        test = dataset.take(fold)
        # A feature that is constant outside the fold is left out.
        kept = [feature_names.index(name) for name in schema.feature_names]
        scores.append(evaluate(model, test.x[:, kept], test.y, test.weights))
    return scores


def versions() -> dict[str, str]:
    """Return the versions of the software that decides the result of a fit, by name."""
    return {
        "mdncli": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
    }


def _with_fold(name: str, progress: Progress | None) -> Progress | None:
    """Return a function that passes epochs on with the name of a fold."""
    if progress is None:
        return None
    return lambda epoch: progress(replace(epoch, fold=name))


@contextlib.contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    """Let PyTorch use this many threads in the current thread, inside the block."""
    before = torch.get_num_threads()
    _set_threads_here(count)
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
    with _THREADS_LOCK, ThreadPoolExecutor(1) as new_thread:
        initial = new_thread.submit(torch.get_num_threads).result()
        torch.set_num_threads(count)
        new_thread.submit(torch.set_num_threads, initial).result()
