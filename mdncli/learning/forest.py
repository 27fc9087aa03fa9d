"""The forest: what regression trees say about each row, as an input of the networks.

Extremely randomized trees (Geurts, Ernst and Wehenkel 2006) find steps and interactions that a
small network finds late. A library would take as long to import as PyTorch, so they are grown here,
all trees of a level at once.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np

from mdncli.density.network import HIGHEST_INPUT, Forest, as_inputs_of_forest
from mdncli.errors import DataError, parameter
from mdncli.learning.closed_forms import as_stored, smooth_error
from mdncli.learning.splits import Split, StandardizedRows, parts_of_rows
from mdncli.settings import Settings
from mdncli.types import Array, Mask, Numbers, Positions

# Which networks read the forest: none, one kind beside the others, or all.
UseOfForest = Literal["none", "some", "all"]
_FEWEST_ROWS = 50
# The rows are in so many parts, and each tree leaves out two of them.
_PARTS, _LEFT_OUT = 5, 2
# The trees that leave out the same two parts, and from how many rows on there are fewer.
_TREES_OF_PAIR, _FEWER_TREES_OF_PAIR, _MANY_ROWS = 10, 5, 3000
# The most rows of a tree. A leaf may have a single row, because rows nearly recur in many tables.
_MOST_ROWS = 10_000
# A target further out than this, in scales, counts as this far out.
_FARTHEST = 10.0
# The rows by which the forest is compared with a smooth function, and the trees that leave out the
# same two parts then. Up to the first ratio of their errors all networks read the forest, and up to
# the second one some of them.
_MOST_COMPARED, _TREES_TO_COMPARE = 3000, 2
_ERROR_FOR_ALL, _ERROR_FOR_SOME = 1.0, 1.05
# The rows by which inputs are compared, and the numbers that are computed at once.
_ROWS_TO_COMPARE = 10_000
_MOST_NUMBERS = 1 << 22


def learn_forest(
    rows: StandardizedRows, split: Split, groups: Positions | None, settings: Settings
) -> tuple[UseOfForest, Forest | None, StandardizedRows]:
    """Return which networks read a forest, the forest, and all rows with what it says as inputs.

    Args:
        rows: N rows.
        split: of these rows.
        groups: (N,), the group of each row; no tree that a row sees has learned from its group.
        settings: of the fit.

    Raises:
        DataError: the settings ask for a forest, and there are too few rows or groups.
    """
    count, targets = rows.y.shape
    if not settings.uses_memory(count, targets):
        return "none", None, rows
    rng, asked = np.random.default_rng(settings.seed), settings.memory == "on"
    parts = parts_of_rows(count, split, _PARTS, rng, groups)
    enough = count >= _FEWEST_ROWS and len(np.unique(parts[parts >= 0])) == _PARTS
    if asked and not enough:
        raise DataError(
            f"A forest needs at least {_FEWEST_ROWS} rows, and {_PARTS} groups if there are any. "
            f"Leave out {parameter('memory', repr('on'))}."
        )
    use = use_of_forest(rows, parts, rng) if enough else "none"
    if asked and use == "none":
        use = "some"
    if use == "none":
        return use, None, rows
    forest, column = forest_and_column(rows, parts, rng)
    return use, forest, replace(rows, inputs=np.column_stack([rows.inputs, column]))


def forest_and_column(
    rows: StandardizedRows, parts: Positions, rng: np.random.Generator, trees_of_pair: int = 0
) -> tuple[Forest, Array]:
    """Return a forest, and what it says about its own rows, (N, T).

    Each tree leaves out two of five parts. What the forest says about a row is the mean of the
    trees that left out the row's part, so a row never sees its own target.

    Args:
        rows: N rows.
        parts: (N,), the part of each row, from 0 to 4; -1 for a row that no tree may learn from.
        rng: the source of randomness.
        trees_of_pair: how many trees leave out the same two parts; 0 for the usual number.

    Raises:
        ValueError: there are not more than two parts, so that a tree would have no rows.
    """
    if len(np.unique(parts[parts >= 0])) <= _LEFT_OUT:
        raise ValueError(f"the rows are in at most {_LEFT_OUT} parts")
    pairs = list(itertools.combinations(range(_PARTS), _LEFT_OUT))
    inputs = as_inputs_of_forest(rows.inputs)
    y = np.clip(rows.y, -_FARTHEST, _FARTHEST)
    usual = _TREES_OF_PAIR if len(y) < _MANY_ROWS else _FEWER_TREES_OF_PAIR
    trees_of_pair = trees_of_pair or usual
    rows_of_trees = []
    for pair, _ in itertools.product(pairs, range(trees_of_pair)):
        own = np.flatnonzero((parts >= 0) & ~np.isin(parts, pair))
        rows_of_trees.append(own if len(own) <= _MOST_ROWS else rng.choice(own, _MOST_ROWS, False))
    forest = grow(inputs, y, rows.weights, rows_of_trees, rng)
    column = np.zeros(y.shape)
    for part in range(-1, _PARTS):
        own = np.flatnonzero(parts == part)
        trees = [
            pair * trees_of_pair + tree
            for pair, left_out in enumerate(pairs)
            for tree in range(trees_of_pair)
            if part < 0 or part in left_out
        ]
        column[own] = forest.total(inputs[own], trees) / len(trees)
    return forest, column


def use_of_forest(
    rows: StandardizedRows, parts: Positions, rng: np.random.Generator
) -> UseOfForest:
    """Return which networks should read what a forest says.

    A forest is a step function. Where the mean is smooth, networks come closer to it without one.
    So the error of a few trees, at rows that they have not seen, is compared with that of a smooth
    function.

    Args:
        rows: N rows.
        parts: of the rows, as for `forest_and_column`.
        rng: the source of randomness.
    """
    _, column = forest_and_column(rows, parts, rng, _TREES_TO_COMPARE)
    some = np.flatnonzero(parts >= 0)
    if len(some) > _MOST_COMPARED:
        some = rng.choice(some, _MOST_COMPARED, replace=False)
    y, weights = np.clip(rows.y[some], -_FARTHEST, _FARTHEST), rows.weights[some]
    squares = float(np.average(((column[some] - y) ** 2).mean(axis=1), weights=weights))
    smooth = smooth_error(rows.inputs[some], y, weights, rng)
    if squares < _ERROR_FOR_ALL**2 * smooth:
        return "all"
    return "some" if squares < _ERROR_FOR_SOME**2 * smooth else "none"


def grow(
    inputs: Numbers,
    y: Array,
    weights: Array,
    rows_of_trees: Sequence[Positions],
    rng: np.random.Generator,
) -> Forest:
    """Return a forest of extremely randomized trees.

    At each node, every input proposes a threshold that is uniform over its range there. The split
    that lowers the sum of squares most is made (Geurts et al. 2006, table 1, with all inputs).

    Args:
        inputs: (N, I), in single precision.
        y: (N, T).
        weights: (N,), how much each row counts.
        rows_of_trees: the positions of the rows of each tree.
        rng: the source of randomness.
    """
    kept = _distinct_columns(inputs)
    growth = _Growth(np.ascontiguousarray(inputs[:, kept].T), y, weights, rng)
    most = max(len(rows) for rows in rows_of_trees) * len(kept)
    at_once = max(1, _MOST_NUMBERS // most)
    roots, nodes, count = [], [], 0
    for start in range(0, len(rows_of_trees), at_once):
        some_roots, some = growth.grow(rows_of_trees[start : start + at_once])
        roots.append(some_roots + count)
        nodes.append(replace(some, left=some.left + count))
        count += len(some.left)
    whole = _Nodes.together(nodes)
    return Forest(
        roots=np.concatenate(roots),
        feature=kept[whole.feature].astype(np.int32),
        threshold=whole.threshold,
        left=whole.left.astype(np.int32),
        value=as_stored(whole.value),
    )


def _distinct_columns(inputs: Numbers) -> Positions:
    """Return the positions of inputs that order the rows differently, (I',).

    A number has several inputs that rise together, and to a tree they are the same.
    """
    some = inputs[:: max(1, len(inputs) // _ROWS_TO_COMPARE)]
    ranks = [np.unique(column, return_inverse=True)[1].tobytes() for column in some.T]
    return np.array(sorted({rank: place for place, rank in reversed([*enumerate(ranks)])}.values()))


@dataclass(frozen=True)
class _Nodes:
    """Some nodes; see `Forest`."""

    tree: Positions
    feature: Positions
    threshold: Numbers
    left: Positions
    value: Array

    def take(self, places: Positions) -> "_Nodes":
        """Return the nodes at some places."""
        return _Nodes(
            self.tree[places],
            self.feature[places],
            self.threshold[places],
            self.left[places],
            self.value[places],
        )

    @classmethod
    def together(cls, parts: "Sequence[_Nodes]") -> "_Nodes":
        """Return the nodes of some parts, those of one part after those of another."""
        names = [each.name for each in fields(cls)]
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


@dataclass(frozen=True)
class _Growth:
    """Grows trees, one level of all of them after another; see `grow`."""

    columns: Numbers
    y: Array
    weights: Array
    rng: np.random.Generator

    def grow(self, rows_of_trees: Sequence[Positions]) -> tuple[Positions, _Nodes]:
        """Return the roots and the nodes, those of one tree after those of another."""
        rows = np.concatenate(rows_of_trees)
        sizes = np.array([len(each) for each in rows_of_trees])
        trees, levels, first = np.arange(len(sizes)), [], 0
        while len(sizes):
            feature, threshold, right, splits = self._splits(rows, sizes)
            total = np.add.reduceat(self.weights[rows], _starts(sizes))[:, None]
            sums = np.add.reduceat(self.weights[rows, None] * self.y[rows], _starts(sizes))
            own = first + np.arange(len(sizes))
            left = np.where(splits, first + len(sizes) + 2 * (splits.cumsum() - 1), own)
            levels.append(_Nodes(trees, feature, threshold, left, sums / total))
            first += len(sizes)
            # The rows of nodes that split go on, those of a left child before those of the right.
            node = np.repeat(np.arange(len(sizes)), sizes)
            goes_on = splits[node]
            child = 2 * (splits.cumsum() - 1)[node[goes_on]] + right[goes_on]
            rows = rows[goes_on][child.argsort(kind="stable")]
            sizes = np.bincount(child, minlength=2 * np.count_nonzero(splits))
            trees = np.repeat(trees[splits], 2)
        nodes = _Nodes.together(levels)
        order = nodes.tree.argsort(kind="stable")
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        nodes = replace(nodes, left=place[nodes.left])
        return place[: len(rows_of_trees)], nodes.take(order)

    def _splits(self, rows: Positions, sizes: Positions) -> tuple[Positions, Numbers, Mask, Mask]:
        """Return for each node of a level the best split.

        Args:
            rows: (S,), the rows of all nodes, those of one node after those of another.
            sizes: (N,), the number of rows of each node.

        Returns:
            The feature and the threshold of each node, which rows go right, (S,), and which nodes
            split.
        """
        starts, node = _starts(sizes), np.repeat(np.arange(len(sizes)), sizes)
        values = self.columns[:, rows]
        low, high = (each.reduceat(values, starts, axis=1) for each in (np.minimum, np.maximum))
        # Where the range overflows, the threshold is the lowest input.
        with np.errstate(over="ignore", invalid="ignore"):
            threshold = low + (high - low) * self.rng.random(low.shape, dtype=np.float32)
        threshold = np.where(threshold < high, threshold, low)
        right = values > threshold[:, node]
        count = np.add.reduceat(right, starts, axis=1, dtype=np.int64)
        weights = self.weights[rows]
        weight = np.add.reduceat(right * weights, starts, axis=1)
        total = np.add.reduceat(weights, starts)
        gain = np.zeros(weight.shape)
        for y in self.y.T:
            weighted = weights * y[rows]
            on_right = np.add.reduceat(right * weighted, starts, axis=1)
            on_left = np.add.reduceat(weighted, starts) - on_right
            with np.errstate(divide="ignore", invalid="ignore"):
                gain += on_right**2 / weight + on_left**2 / (total - weight)
        gain[(count == 0) | (count == sizes)] = -np.inf
        best, nodes = gain.argmax(axis=0), np.arange(len(sizes))
        splits = np.isfinite(gain[best, nodes])
        feature = np.where(splits, best, 0)
        at = np.where(splits, threshold[best, nodes], np.float32(HIGHEST_INPUT))
        return feature, at.astype(np.float32), right[best[node], np.arange(len(rows))], splits


def _starts(sizes: Positions) -> Positions:
    starts: Positions = np.cumsum(sizes) - sizes
    return starts
