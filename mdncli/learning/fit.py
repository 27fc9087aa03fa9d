"""Fit a mixture density network to a dataset, choose its number of components, cross-validate."""

import math
import platform
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from mdncli import __version__
from mdncli.columns.dataset import Dataset, measure_schema
from mdncli.columns.kinds import Layout
from mdncli.columns.schema import Schema
from mdncli.density.evaluation import Evaluation, evaluate
from mdncli.density.model import MixtureDensityNetwork
from mdncli.errors import DataError, parameter
from mdncli.learning.loop import one_core
from mdncli.learning.monitor import Checkpoint as Checkpoint
from mdncli.learning.monitor import Epoch, Monitor
from mdncli.learning.network import device_of as device_of
from mdncli.learning.processes import TorchrunProcesses as TorchrunProcesses
from mdncli.learning.splits import random_parts
from mdncli.learning.stream import RowsOnDisk as RowsOnDisk
from mdncli.learning.stream import rows_on_disk as rows_on_disk
from mdncli.learning.trainer import Trainer
from mdncli.settings import Settings
from mdncli.types import Array

Progress = Callable[[Epoch], None]

# Numbers of components that `mixtures="auto"` tries.
CANDIDATES = (1, 2, 3, 5, 8, 12, 20)
# The share of the epochs of a fit that a trial takes. The search and the fit together then take at
# most 4.5 times as long as the fit, unless the fit has so few epochs that they cannot be halved.
_SHARE_OF_EPOCHS = 0.5
_HELD_OUT = 0.2
# Beyond the rows of an epoch, the steps grow with this power of the rows.
_GROWTH_OF_STEPS = 0.15
# On so many rows, more components are worth more than several networks.
_MIXTURES = 10
# The search ends after this many candidates in a row without an improvement.
_PATIENCE = 2


def fit(
    dataset: Dataset,
    schema: Schema,
    settings: Settings,
    *,
    progress: Progress | None = None,
    stop: Callable[[], bool] | None = None,
    checkpoint: Checkpoint | None = None,
    fold: str = "",
    init: MixtureDensityNetwork | None = None,
    stream: RowsOnDisk | None = None,
) -> MixtureDensityNetwork:
    """Return a model of p(y | x), learned from the rows of a dataset.

    Args:
        dataset: the rows.
        schema: of these rows.
        settings: what to learn, and how.
        progress: is called after every epoch.
        stop: is called after every step; once it returns True, learning stops, and the result is
            the best model so far.
        checkpoint: keeps the state of learning, and may have one to go on from.
        fold: of a cross-validation; empty otherwise.
        init: a model of the same schema to start from.
        stream: the training rows, of which those of the dataset are a sample; None if those are
            all.

    Raises:
        ParameterError: the settings ask for CUDA, which is not available.
        DataError: no epoch ended with a finite loss, or all rows are in one group.
    """
    processes = None if stream is None else stream.processes
    monitor = Monitor(progress, stop, settings.time_limit, checkpoint, fold, processes)
    rows = len(dataset.y) if stream is None else stream.all_rows
    settings = settings if stream is None else _for_stream(settings, stream)
    settings = settings.for_rows(rows, len(schema.targets))
    with one_core():
        tried: dict[int, float] = {}
        if settings.mixtures == "auto":
            choice = choose_mixtures(dataset, schema, settings, monitor, stream)
            settings, tried = replace(settings, mixtures=choice.mixtures), choice.tried
            reason = monitor.reason_to_stop()
            if reason:
                record = replace(choice.model.record, stopped=reason, tried=tried)
                return replace(choice.model, record=record)
        trainer = Trainer(dataset, schema, settings, monitor, init, stream)
        model = trainer.train()
        baseline, record = None, model.record
        if settings.baseline:
            if not monitor.reason_to_stop():
                baseline = trainer.train_baseline(model)
            reason = monitor.reason_to_stop()
            if reason:
                record, baseline = replace(record, stopped=reason), None
        return replace(model, record=replace(record, tried=tried), baseline=baseline)


def _for_stream(settings: Settings, stream: RowsOnDisk) -> Settings:
    """Return the settings for rows on disk."""
    if settings.uses_ladder and settings.steps is not None:
        mixtures, members = settings.mixtures or _MIXTURES, settings.members or 1
        settings = replace(settings, ladder=True, mixtures=mixtures, members=members)
    epochs, steps = settings.epochs, settings.steps
    if epochs is not None:
        epochs *= stream.epochs_of_pass
    if steps is not None:
        steps = round(steps * stream.epochs_of_pass**_GROWTH_OF_STEPS)
    threads = settings.threads if stream.processes.count == 1 else 1
    # What trees say about a row would have to be computed for every row on disk.
    return replace(settings, memory="off", epochs=epochs, steps=steps, threads=threads)


@dataclass(frozen=True)
class Choice:
    """The result of the search.

    Attributes:
        mixtures: K.
        tried: the mean NLL of each candidate on the held-out rows, nats.
        model: of the trial with K components, in case no time is left for a longer fit.
    """

    mixtures: int
    tried: dict[int, float]
    model: MixtureDensityNetwork


def choose_mixtures(
    dataset: Dataset,
    schema: Schema,
    settings: Settings,
    monitor: Monitor,
    stream: RowsOnDisk | None = None,
) -> Choice:
    """Return the smallest number of components with the lowest NLL on held-out rows, within noise.

    For each candidate K, one member learns for half as many epochs as the fit will. It holds out a
    fifth of the rows, or the user's own validation rows, the same for all candidates. The choice is
    the smallest K with a mean NLL that exceeds the lowest one by no more than the standard error of
    their difference over the rows (the one-standard-error rule: Breiman et al. 1984, section 3.4.3,
    for paired differences).

    Args:
        dataset: the rows.
        schema: of these rows.
        settings: of the fit to come.
        monitor: once it has a reason to stop, the best candidate so far is chosen.
        stream: as for `fit`.

    Raises:
        DataError: not even the first candidate has an epoch with a finite loss.
    """
    nlls: dict[int, Array] = {}
    models: dict[int, MixtureDensityNetwork] = {}
    without_improvement = 0
    for candidate in CANDIDATES:
        trial = _trial_settings(settings, candidate, dataset, stream)
        trainer = Trainer(dataset, schema, trial, monitor, stream=stream)
        try:
            models[candidate] = trainer.train(f"trying K = {candidate}: ")
        except DataError:
            # Training may fail for many components and succeed for few.
            if not nlls:
                raise
            break
        nlls[candidate], weights = trainer.nll_held_out(models[candidate])
        improved = _smallest_within_noise(nlls, weights) == candidate
        without_improvement = 0 if improved else without_improvement + 1
        if without_improvement == _PATIENCE or monitor.reason_to_stop():
            break
    chosen = _smallest_within_noise(nlls, weights)
    tried = {candidate: float(np.average(nll, weights=weights)) for candidate, nll in nlls.items()}
    return Choice(chosen, tried, models[chosen])


def _trial_settings(
    settings: Settings, candidate: int, dataset: Dataset, stream: RowsOnDisk | None
) -> Settings:
    held_out = max(settings.valid, _HELD_OUT)
    learned = 1.0 if dataset.validation is not None else 1.0 - held_out
    rows = round(learned * len(dataset.y)) if stream is None else stream.rows_of_epoch
    epochs = max(1, round(_SHARE_OF_EPOCHS * settings.epochs_for(rows)))
    return replace(settings, mixtures=candidate, members=1, valid=held_out, epochs=epochs)


def _smallest_within_noise(nlls: dict[int, Array], weights: Array) -> int:
    means = {candidate: float(np.average(nll, weights=weights)) for candidate, nll in nlls.items()}
    best = nlls[min(means, key=lambda candidate: means[candidate])]
    # The effective number of rows: as many rows of equal weight have as exact a mean (Kish 1965).
    count = float(weights.sum() ** 2 / (weights**2).sum())
    for candidate, nll in nlls.items():
        difference = nll - best
        mean = float(np.average(difference, weights=weights))
        spread = math.sqrt(float(np.average((difference - mean) ** 2, weights=weights)))
        standard_error = spread / math.sqrt(count - 1.0) if count > 1.0 else math.inf
        if mean <= standard_error:
            return candidate
    raise AssertionError("the best candidate does not differ from itself")


def cross_validate(
    dataset: Dataset,
    layout: Layout,
    settings: Settings,
    folds: int,
    *,
    source: str,
    progress: Progress | None = None,
    stop: Callable[[], bool] | None = None,
    checkpoint: Checkpoint | None = None,
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
        stop, checkpoint: as for `fit`.

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
        name = f"fold {number}"
        watch: dict[str, Any] = {"stop": stop, "checkpoint": checkpoint, "fold": f"{name}, "}
        model = fit(train, schema, settings, progress=_with_fold(name, progress), **watch)
        if stop is not None and stop():
            break
        test = dataset.take(fold)
        # A feature that is constant outside the fold is left out.
        kept = [feature_names.index(name) for name in schema.feature_names]
        scores.append(evaluate(model, test.x[:, kept], test.y, test.weights, test.known))
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
