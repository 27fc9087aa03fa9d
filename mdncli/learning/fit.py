"""Learning: from rows to a conditional density, one record an epoch.

Cross-validation: the scores of one recipe on rows that it did not learn from.
"""

import contextlib
import platform
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace

import numpy as np
import torch

from mdncli import __version__
from mdncli.columns.kinds import Roles, column_of
from mdncli.columns.schema import Schema, learnable
from mdncli.density.evaluation import Evaluation, evaluate
from mdncli.density.model import ConditionalDensity
from mdncli.density.record import Origin
from mdncli.errors import DataError
from mdncli.learning.component_search import choose_mixtures
from mdncli.learning.splits import Examples, parts
from mdncli.learning.trainer import Epoch, Lesson, Watch
from mdncli.settings import Settings


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


def cross_validate(
    examples: Examples,
    schema: Schema,
    settings: Settings,
    folds: int,
    *,
    min_sigma: dict[str, float] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Generator[Epoch, None, list[Evaluation]]:
    """Learn without each fold in turn: yield a record after every epoch, return the folds' scores.

    The scales of the columns and the floors of sigma are those of the rows learned from, so a fold
    is as unknown to its model as a new table would be. Groups are not split. A fold that `stop`
    ends early, and those after it, are left out.

    Args:
        examples: the rows.
        schema: of all of them.
        settings: of each fit.
        folds: from 2 to the number of rows, or of groups.
        min_sigma: as `learnable` takes it.
        stop: as `fit` takes it.

    Raises:
        DataError: there are fewer rows or groups than folds, or those left are no table to learn
            from.
    """
    rng = np.random.default_rng(settings.seed)
    rows = len(examples.y)
    most = rows if examples.groups is None else int(examples.groups.max()) + 1
    if folds > most:
        what = "rows" if examples.groups is None else "groups"
        raise DataError(f"--cv {folds}: there are {most} {what} only.")
    goals = np.full(folds, rows / folds)
    held_out = parts(rows, goals, rng, examples.groups)
    roles = Roles(schema.feature_names, schema.target_names, schema.weight)
    columns = [column_of(feature) for feature in schema.features]
    bounds = {target.name: target.bounds for target in schema.targets}
    scores: list[Evaluation] = []
    for number, fold in enumerate(held_out, start=1):
        left = np.setdiff1d(np.arange(rows), fold)
        some = examples.some(left)
        own, kept = learnable(
            f"fold {number} of --cv",
            some.x,
            some.y,
            roles,
            columns=columns,
            min_sigma=min_sigma,
            bounds=bounds,
        )
        learning = fit(replace(some, x=some.x[:, kept]), own, settings, stop=stop)
        density = yield from _called(f"fold {number} ", learning)
        if stop():
            break
        held = examples.some(fold)
        scores.append(evaluate(density, held.x[:, kept], held.y, held.weights))
    return scores


def _called(
    name: str, learning: Generator[Epoch, None, ConditionalDensity]
) -> Generator[Epoch, None, ConditionalDensity]:
    """Pass records on under the name of a fold."""
    while True:
        try:
            epoch = next(learning)
        except StopIteration as ended:
            density: ConditionalDensity = ended.value
            return density
        yield replace(epoch, fold=name)
