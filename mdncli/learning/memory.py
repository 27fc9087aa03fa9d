"""The memory of a fit: what is learned, which networks read it, and what it says about the rows."""

from typing import Literal, NamedTuple

import numpy as np

from mdncli.density.network import Memory, Neighbours, as_inputs_of_memory
from mdncli.errors import DataError, parameter
from mdncli.learning.closed_forms import as_stored, smooth_error
from mdncli.learning.splits import Split, StandardizedRows, parts_of_rows
from mdncli.learning.trees import (
    FARTHEST,
    PARTS,
    Boosted,
    BoostingPlan,
    boost,
    forest_and_column,
)
from mdncli.settings import Settings
from mdncli.types import Array, Positions

# Which networks read the memory: none, one kind beside the others, or all.
UseOfMemory = Literal["none", "some", "all"]
_FEWEST_ROWS = 50
# The rows by which trees are compared with a smooth function, and the trees that leave out the same
# two parts then.
_MOST_COMPARED, _TREES_TO_COMPARE = 3000, 2
# The squared errors of trees, as multiples of that of a smooth function: up to the first ones, of
# the forest and of boosted trees, all networks read the memory, and up to the last one some do.
_FOREST_FOR_ALL, _FOREST_BESIDE_BOOSTED, _BOOSTED_FOR_ALL, _FOR_SOME = 1.0, 1.35, 0.9, 1.5
# From so many rows on some networks may read it beside the others.
_ROWS_FOR_SOME = 400
# After so many trees, divided by their rate, boosting must not be worse than this multiple of a
# smooth function.
_TREES_OF_TRIAL, _HOPELESS = 5.0, 4.0
# The plans of boosting: on few and on many rows, and of the preset `best`.
_MANY_ROWS = 3000
_PLAN, _PLAN_OF_MANY = BoostingPlan(250, 0.2, 5), BoostingPlan(300, 0.3, 8)
_PLAN_OF_BEST, _PLAN_OF_MANY_OF_BEST = BoostingPlan(250, 0.15, 6), BoostingPlan(500, 0.2, 8)
# The most inputs and the most rows of neighbours; and the powers of the importance of an input that
# are tried as its scale.
_MOST_INPUTS, _MOST_NEIGHBOURS = 10, 200_000
_POWERS_OF_IMPORTANCE = 0.25, 0.5


class Learned(NamedTuple):
    """Which networks read a memory, the memory, and what each part says about the rows, (N, W)."""

    use: UseOfMemory
    memory: Memory
    said: dict[str, Array]


def learn_memory(
    rows: StandardizedRows, split: Split, groups: Positions | None, settings: Settings
) -> Learned:
    """Return the memory of a fit.

    Args:
        rows: N rows.
        split: of these rows.
        groups: (N,), the group of each row; nothing that is said about a row comes from its group.
        settings: of the fit.

    Raises:
        DataError: the settings ask for a memory, and there are too few rows or groups, or the
            target is an angle.
    """
    count, targets = rows.y.shape
    nothing = Learned("none", Memory(), {})
    asked = settings.memory == "on"
    is_angle = rows.cells is not None and rows.cells.period > 0.0
    if is_angle and asked:
        raise DataError(
            "A memory does not suit an angle: trees and neighbours do not know that it begins "
            f"again. Leave out {parameter('memory', repr('on'))}."
        )
    if is_angle or not settings.uses_memory(count, targets):
        return nothing
    rng = np.random.default_rng(settings.seed)
    parts = parts_of_rows(count, split, PARTS, rng, groups)
    enough = count >= _FEWEST_ROWS and len(np.unique(parts[parts >= 0])) == PARTS
    if asked and not enough:
        raise DataError(
            f"A memory needs at least {_FEWEST_ROWS} rows, and {PARTS} groups if there are any. "
            f"Leave out {parameter('memory', repr('on'))}."
        )
    if not enough:
        return nothing
    use, boosted = use_of_memory(rows, parts, settings, rng)
    if use == "none" and not asked:
        return nothing
    if boosted is None:
        boosted = boost(rows, parts, _plan(count, settings), rng)
    return _learned("some" if use == "none" else use, rows, parts, boosted, settings, rng)


def _learned(
    use: UseOfMemory,
    rows: StandardizedRows,
    parts: Positions,
    boosted: Boosted | None,
    settings: Settings,
    rng: np.random.Generator,
) -> Learned:
    """Return the memory with boosted trees and all that belongs beside them."""
    assert boosted is not None
    if settings.private:
        return Learned(use, Memory(boosted=boosted.trees), {"boosted": boosted.column})
    forest, column = forest_and_column(rows, parts, rng)
    neighbours, columns = neighbours_and_columns(rows, parts, boosted.importance, rng)
    said = {"forest": column, "boosted": boosted.column, "neighbours": columns}
    return Learned(use, Memory(forest, boosted.trees, neighbours), said)


def _plan(rows: int, settings: Settings) -> BoostingPlan:
    if settings.steps is None:
        return _PLAN_OF_BEST if rows < _MANY_ROWS else _PLAN_OF_MANY_OF_BEST
    return _PLAN if rows < _MANY_ROWS else _PLAN_OF_MANY


def use_of_memory(
    rows: StandardizedRows, parts: Positions, settings: Settings, rng: np.random.Generator
) -> tuple[UseOfMemory, Boosted | None]:
    """Return which networks should read a memory, and boosted trees if they are worth it.

    Trees are step functions. Where the mean is smooth, networks come closer to it without them. So
    the errors of boosted trees and of a small forest, at rows that they have not seen, are compared
    with that of a smooth function.

    Args:
        rows: N rows.
        parts: (N,), the part of each row, from 0 to 4; -1 for a row that no tree may learn from.
        settings: of the fit.
        rng: the source of randomness.
    """
    some = np.flatnonzero(parts >= 0)
    if len(some) > _MOST_COMPARED:
        some = rng.choice(some, _MOST_COMPARED, replace=False)
    y, weights = np.clip(rows.y[some], -FARTHEST, FARTHEST), rows.weights[some]

    def ratio(column: Array) -> float:
        squares = ((column[some] - y) ** 2).mean(axis=1)
        return float(np.average(squares, weights=weights)) / smooth

    smooth = max(smooth_error(rows.inputs[some], y, weights, rng), 1e-300)
    plan = _plan(len(rows.y), settings)
    hopeless = round(_TREES_OF_TRIAL / plan.rate), _HOPELESS * smooth
    boosted = boost(rows, parts, plan, rng, hopeless)
    of_boosted = np.inf if boosted is None else ratio(boosted.column)
    of_forest = ratio(forest_and_column(rows, parts, rng, _TREES_TO_COMPARE)[1])
    beside = of_forest < _FOREST_BESIDE_BOOSTED and of_boosted < _BOOSTED_FOR_ALL
    if of_forest < _FOREST_FOR_ALL or beside:
        return "all", boosted
    worth = min(of_forest, of_boosted) < _FOR_SOME
    return "some" if worth and len(rows.y) >= _ROWS_FOR_SOME else "none", boosted


def neighbours_and_columns(
    rows: StandardizedRows, parts: Positions, importance: Array, rng: np.random.Generator
) -> tuple[Neighbours, Array]:
    """Return training rows as neighbours, and what is said about all rows, (N, 3 T + 2).

    A row sees only rows of other parts.

    Args:
        rows: N rows.
        parts: (N,), the part of each row, from 0 to 4; -1 for a row that is nobody's neighbour.
        importance: (I,), of each input. Inputs count by the power of it that gives better means.
        rng: the source of randomness.
    """
    own = np.flatnonzero(parts >= 0)
    if len(own) > _MOST_NEIGHBOURS:
        own = np.sort(rng.choice(own, _MOST_NEIGHBOURS, replace=False))
    columns = np.sort(np.argsort(-importance, kind="stable")[:_MOST_INPUTS])
    columns = columns[importance[columns] > 0.0] if importance.any() else columns[:1]
    points = as_inputs_of_memory(rows.inputs[np.ix_(own, columns)])
    y, targets = as_stored(np.clip(rows.y[own], -FARTHEST, FARTHEST)), rows.y.shape[1]
    candidates = [
        Neighbours(columns.astype(np.int32), as_stored(importance[columns] ** power), points, y)
        for power in _POWERS_OF_IMPORTANCE
    ]
    left_out = parts[own] == 0
    some = np.flatnonzero(left_out)[:_MOST_COMPARED]

    def error(candidate: Neighbours) -> float:
        said = candidate.without(left_out, rows.inputs[own[some]])
        return float(((said[:, :targets] - y[some]) ** 2).mean())

    neighbours = min(candidates, key=error)
    said = np.empty((len(parts), Neighbours.width(targets)))
    for part in np.unique(parts):
        chosen = parts == part
        said[chosen] = neighbours.without(parts[own] == part, rows.inputs[chosen])
    return neighbours, said
