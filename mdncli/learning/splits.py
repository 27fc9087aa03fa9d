"""Which rows each member learns from, and which it holds out to know when to stop."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mdncli.errors import DataError
from mdncli.types import Array, Positions

_FEWEST_FOLDS = 5


@dataclass(frozen=True)
class Examples:
    """The rows to learn from, in the units of the file.

    Attributes:
        x: (N, F), the columns of the schema's features, NaN where missing.
        y: (N, T), finite, the columns of its targets.
        groups: (N,), the group of each row from 0, if groups are not to be split.
        weights: (N,), positive, of mean 1; None where all rows count alike.
        own: rows of one's own to hold out, instead of some of these.
    """

    x: Array
    y: Array
    groups: Positions | None = None
    weights: Array | None = None
    own: "Examples | None" = None

    @property
    def counts(self) -> Array:
        """How much each row counts, (N,)."""
        return np.ones(len(self.y)) if self.weights is None else self.weights

    def some(self, rows: Positions) -> "Examples":
        """Return the examples at these positions, groups numbered anew, weights of mean 1."""
        groups = None if self.groups is None else renumbered(self.groups[rows])
        weights = None if self.weights is None else mean_one(self.weights[rows])
        return Examples(self.x[rows], self.y[rows], groups, weights)


@dataclass(frozen=True)
class Split:
    """Positions of rows in the table: for each of M members those to learn from and those held out.

    Either all members hold out the same rows, or each another part.
    """

    train: list[Positions]
    valid: list[Positions]

    @property
    def shared(self) -> bool:
        """Whether all members hold out the same rows."""
        return len(self.valid) == 1 or np.array_equal(self.valid[0], self.valid[1])


def renumbered(groups: Positions) -> Positions:
    """Return groups as numbers from 0 on, each of which occurs."""
    return np.unique(groups, return_inverse=True)[1].astype(np.int64)


def mean_one(weights: Array) -> Array:
    """Return positive weights scaled to a mean of 1."""
    return weights / weights.mean() if len(weights) else weights


def divided(
    examples: Examples, members: int, share: float, rng: np.random.Generator
) -> tuple[Examples, Split]:
    """Return all rows, one's own to hold out last, and which of them each member holds out."""
    rows, own = len(examples.y), examples.own
    if own is None:
        return examples, split(rows, members, share, rng, examples.groups)
    weights = None
    if examples.weights is not None or own.weights is not None:
        weights = np.concatenate([examples.counts, own.counts])
    x, y = (np.concatenate(v) for v in ((examples.x, own.x), (examples.y, own.y)))
    return Examples(x, y, weights=weights), own_rows(rows, len(own.y), members)


def own_rows(rows: int, held_out: int, members: int) -> Split:
    """Return the split where the last `held_out` rows, after the first `rows`, are for everyone."""
    train, valid = np.arange(rows), np.arange(rows, rows + held_out)
    return Split([train] * members, [valid] * members)


def split(
    rows: int,
    members: int,
    share: float,
    rng: np.random.Generator,
    groups: NDArray[np.int64] | None = None,
) -> Split:
    """Return a random split.

    One member holds out the given share of the rows. Of several, each holds out another of
    max(M, 5) parts, or the same as another where there are fewer rows or groups than that.

    Args:
        rows: N.
        members: M.
        share: of the rows, for one member; 0 holds out none.
        rng: the source of randomness.
        groups: (N,), the group of each row, all numbers from 0 on; its rows stay together.

    Raises:
        DataError: all rows are of one group.
    """
    if members == 1 and share == 0.0:
        return Split([rng.permutation(rows)], [np.empty(0, dtype=np.int64)])
    if groups is not None and not groups.any():
        raise DataError("--group: the column holds one group alone, so none can be held out.")
    if members == 1:
        held_out = min(rows - 1, max(1, round(share * rows)))
        goals = np.array([held_out, rows - held_out])
    else:
        most = rows if groups is None else int(groups.max()) + 1
        folds = min(max(members, _FEWEST_FOLDS), most)
        goals = np.full(folds, rows / folds)
    folds_of_rows = parts(rows, goals, rng, groups)
    mine = [member % len(folds_of_rows) for member in range(members)]
    train = [np.concatenate([part for j, part in enumerate(folds_of_rows) if j != i]) for i in mine]
    return Split(train, [folds_of_rows[i] for i in mine])


def parts(
    rows: int,
    goals: NDArray[np.float64],
    rng: np.random.Generator,
    groups: NDArray[np.int64] | None = None,
) -> list[Positions]:
    """Return the rows in random parts of about as many as each goal says, no group in two."""
    if groups is not None:
        return _whole_groups(groups, goals, rng)
    return np.split(rng.permutation(rows), np.round(goals.cumsum()[:-1]).astype(int))


def _whole_groups(
    groups: NDArray[np.int64], goals: NDArray[np.float64], rng: np.random.Generator
) -> list[Positions]:
    """Return parts of about as many rows as each goal says, no group in two of them.

    The groups go one by one, the largest first, to the part that lacks most rows of its goal.
    """
    sizes = np.bincount(groups)
    order = rng.permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    part_of = np.empty(len(sizes), dtype=np.int64)
    lacking = goals.astype(float)
    for group in order:
        part_of[group] = int(np.argmax(lacking))
        lacking[part_of[group]] -= sizes[group]
    if not (part_of == 0).any():
        # The rows to hold out are fewer than any group: the smallest has to do.
        part_of[order[-1]] = 0
    assigned = part_of[groups]
    return [rng.permutation(np.flatnonzero(assigned == part)) for part in range(len(goals))]
