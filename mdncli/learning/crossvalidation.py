"""Cross-validation: the scores of one recipe on rows that it did not learn from."""

from collections.abc import Callable, Generator
from dataclasses import replace

import numpy as np

from mdncli.density.evaluation import Evaluation, evaluate
from mdncli.density.model import ConditionalDensity
from mdncli.errors import DataError
from mdncli.learning.lesson import Epoch
from mdncli.learning.splits import Examples, parts
from mdncli.learning.training import fit
from mdncli.settings import Settings
from mdncli.tables.kinds import column_of
from mdncli.tables.roles import Roles
from mdncli.tables.schema import Schema, learnable


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
