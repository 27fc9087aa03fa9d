"""Regression trees: extremely randomized ones, and boosted ones.

A library would take as long to import as PyTorch, so they are grown here, all trees of a level at
once.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import numpy as np

from mdncli.density.network import HIGHEST_INPUT, BoostedTrees, Forest, as_inputs_of_memory
from mdncli.learning.closed_forms import as_stored
from mdncli.learning.splits import StandardizedRows
from mdncli.types import Array, Mask, Numbers, Positions

# The rows are in so many parts, and each tree of a forest leaves out two of them.
PARTS, _LEFT_OUT = 5, 2
# The trees that leave out the same two parts, and from how many rows on there are fewer.
_TREES_OF_PAIR, _FEWER_TREES_OF_PAIR, _MANY_ROWS = 10, 5, 3000
# The most rows of a tree. A leaf may have a single row, because rows nearly recur in many tables.
_MOST_ROWS = 10_000
# A target further out than this, in scales, counts as this far out.
FARTHEST = 10.0
# The rows by which inputs are compared, and the numbers that are computed at once.
_ROWS_TO_COMPARE = 10_000
_MOST_NUMBERS = 1 << 22
# Of boosted trees: the most thresholds of an input, and how many of them a tree tries; the share of
# rows that a tree reads; and the most rows, and the most numbers, that all of them read.
_THRESHOLDS, _TRIED_THRESHOLDS = 255, 15
_SHARE_OF_ROWS, _MOST_BOOSTED_ROWS, _MOST_BOOSTED_NUMBERS = 0.8, 50_000, 400_000
# A leaf counts as if it had so many more rows, without an error.
_PENALTY = 1.0


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
    pairs = list(itertools.combinations(range(PARTS), _LEFT_OUT))
    inputs = as_inputs_of_memory(rows.inputs)
    y = np.clip(rows.y, -FARTHEST, FARTHEST)
    usual = _TREES_OF_PAIR if len(y) < _MANY_ROWS else _FEWER_TREES_OF_PAIR
    trees_of_pair = trees_of_pair or usual
    rows_of_trees = []
    for pair, _ in itertools.product(pairs, range(trees_of_pair)):
        own = np.flatnonzero((parts >= 0) & ~np.isin(parts, pair))
        rows_of_trees.append(own if len(own) <= _MOST_ROWS else rng.choice(own, _MOST_ROWS, False))
    forest = grow(inputs, y, rows.weights, rows_of_trees, rng)
    column = np.zeros(y.shape)
    for part in range(-1, PARTS):
        own = np.flatnonzero(parts == part)
        trees = [
            pair * trees_of_pair + tree
            for pair, left_out in enumerate(pairs)
            for tree in range(trees_of_pair)
            if part < 0 or part in left_out
        ]
        column[own] = forest.total(inputs[own], trees) / len(trees)
    return forest, column


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


@dataclass(frozen=True)
class BoostingPlan:
    """How to boost trees.

    Attributes:
        trees: their number at most; there are fewer where more would not help.
        rate: the share of the remaining error that a tree removes.
        levels: of each tree.
        patience: stop after so many trees without a lower error.
    """

    trees: int
    rate: float
    levels: int
    patience: int = 40


@dataclass(frozen=True)
class Boosted:
    """The result of boosting.

    Attributes:
        trees: that have learned from all parts.
        column: what is said about the rows, (N, T), by trees that have not learned from their part.
        importance: (I,), the error that the thresholds of each input have removed; the sum is 1.
    """

    trees: BoostedTrees
    column: Array
    importance: Array


def boost(
    rows: StandardizedRows,
    parts: Positions,
    plan: BoostingPlan,
    rng: np.random.Generator,
    hopeless: tuple[int, float] | None = None,
) -> Boosted | None:
    """Return boosted trees (Friedman 2001), with those that leave out one part beside them.

    Each tree is fitted to the residuals of those before it. On every level it has one question for
    all nodes, the best one of a few random thresholds of each input.

    Args:
        rows: N rows.
        parts: (N,), the part of each row, from 0 to 4; -1 for a row that no tree may learn from.
        plan: how.
        rng: the source of randomness.
        hopeless: a number of trees and a mean squared error. If the error at left-out rows is
            larger after so many trees, boosting stops and the result is None.
    """
    inputs, y = as_inputs_of_memory(rows.inputs), np.clip(rows.y, -FARTHEST, FARTHEST)
    own, kept = np.flatnonzero(parts >= 0), _distinct_columns(inputs)
    most = min(_MOST_BOOSTED_ROWS, max(_MANY_ROWS, _MOST_BOOSTED_NUMBERS // len(kept)))
    if len(own) > most:
        own = np.sort(rng.choice(own, most, replace=False))
    boosting = _Boosting(inputs[np.ix_(own, kept)], y[own], rows.weights[own], parts[own], plan)
    learned = boosting.run(rng, hopeless)
    if learned is None:
        return None
    *of_parts, whole = (replace(each, feature=kept[each.feature]) for each in learned)
    column = np.empty(y.shape)
    for part, trees in zip(range(-1, PARTS), [whole, *of_parts], strict=True):
        column[parts == part] = trees(inputs[parts == part])
    importance = np.zeros(inputs.shape[1])
    importance[kept] = boosting.importance / max(float(boosting.importance.sum()), 1e-300)
    return Boosted(whole, column, importance)


class _Rows(NamedTuple):
    """The R rows that a tree reads, once for each of M models and each of I inputs.

    Attributes:
        place: the bin of an input, counted over all inputs, (I, R).
        weight: (M*I*R,).
        residual: times the weight, T arrays of shape (M*I*R,).
    """

    place: Positions
    weight: Array
    residual: list[Array]


class _Boosting:
    """Boosts six models at once: five that leave out one part each, and one with all parts.

    There are M models, N rows, I inputs, B bins between the tried thresholds, and T targets.
    """

    def __init__(
        self, inputs: Numbers, y: Array, weights: Array, parts: Positions, plan: BoostingPlan
    ) -> None:
        self._y, self._plan, self._parts = y, plan, parts
        self._weights = np.stack([weights * (parts != model) for model in range(PARTS + 1)])
        self._thresholds = [_thresholds(column) for column in inputs.T]
        # How many thresholds are below each input, (I, N).
        self._codes = np.stack(
            [np.searchsorted(t, x) for t, x in zip(self._thresholds, inputs.T, strict=True)]
        )
        self._base = np.average(y, axis=0, weights=weights)
        self._fitted = np.tile(self._base, (PARTS + 1, len(y), 1))
        self.importance = np.zeros(inputs.shape[1])

    def run(
        self, rng: np.random.Generator, hopeless: tuple[int, float] | None
    ) -> list[BoostedTrees] | None:
        """Return the trees of each model up to the lowest error; None if it is hopeless."""
        trees, best, count = [], np.inf, 0
        weights = self._weights[-1]
        for number in range(1, self._plan.trees + 1):
            trees.append(self._grow(rng))
            left_out = self._fitted[self._parts, np.arange(len(self._y))]
            squares = ((left_out - self._y) ** 2).mean(axis=1)
            error = float(np.average(squares, weights=weights))
            if error < best:
                best, count = error, number
            if hopeless is not None and number == hopeless[0] and error > hopeless[1]:
                return None
            if number - count >= self._plan.patience:
                break
        feature, threshold, value = (
            np.stack(part, axis=1) for part in zip(*trees[:count], strict=True)
        )
        return [
            BoostedTrees(
                feature[model].astype(np.int32),
                threshold[model].astype(np.float32),
                as_stored(value[model]),
                as_stored(self._base),
            )
            for model in range(PARTS + 1)
        ]

    def _grow(self, rng: np.random.Generator) -> tuple[Positions, Numbers, Array]:
        """Grow one tree of each model; return features and thresholds, (M, D), and values."""
        bins, tried = self._bins(rng)
        read = np.flatnonzero(rng.random(len(self._y)) < _SHARE_OF_ROWS)
        weights = self._weights[:, read]
        residual = weights[..., None] * (self._y[read] - self._fitted[:, read])
        models = np.arange(PARTS + 1)[:, None]
        leaf = np.zeros((PARTS + 1, len(self._y)), dtype=np.int64)
        rows = self._rows(read, bins, weights, residual)
        features, thresholds = [], []
        for level in range(self._plan.levels):
            node = (models << level) + leaf.take(read, axis=1)
            feature, place = self._question(rows, node, 1 << level, tried)
            leaf <<= 1
            leaf += bins[feature] > place[:, None]
            features.append(feature)
            thresholds.append(tried[feature, place])
        leaves = 1 << self._plan.levels
        ends = (models * leaves + leaf.take(read, axis=1)).ravel()
        total = np.bincount(ends, weights.ravel(), len(models) * leaves) + _PENALTY
        sums = [np.bincount(ends, r.ravel(), len(total)) for r in np.moveaxis(residual, 2, 0)]
        value = self._plan.rate * np.stack(sums, axis=1) / total[:, None]
        value = value.reshape(len(models), leaves, -1)
        self._fitted += value[models, leaf]
        return np.stack(features, axis=1), np.stack(thresholds, axis=1), value

    def _bins(self, rng: np.random.Generator) -> tuple[Positions, Numbers]:
        """Return the bin of each input between random thresholds, (I, N), and these, (I, B)."""
        tried = np.full((len(self._codes), _TRIED_THRESHOLDS + 1), HIGHEST_INPUT)
        bins = np.empty_like(self._codes)
        for place, thresholds in enumerate(self._thresholds):
            some = np.arange(len(thresholds))
            if len(some) > _TRIED_THRESHOLDS:
                some = np.sort(rng.choice(some, _TRIED_THRESHOLDS, replace=False))
            tried[place, : len(some)] = thresholds[some]
            bins[place] = np.searchsorted(some, np.arange(len(thresholds) + 1))[self._codes[place]]
        return bins, tried

    def _rows(self, read: Positions, bins: Positions, weights: Array, residual: Array) -> _Rows:
        """Return the rows that are read, from bins, (I, N), weights, (M, R), and residuals."""
        inputs, count = len(bins), _TRIED_THRESHOLDS + 1

        def every(values: Array) -> Array:
            return np.repeat(values[:, None], inputs, axis=1).ravel()

        place = bins.take(read, axis=1) + count * np.arange(inputs)[:, None]
        return _Rows(place, every(weights), [every(each) for each in np.moveaxis(residual, 2, 0)])

    def _question(
        self, rows: _Rows, node: Positions, nodes: int, tried: Numbers
    ) -> tuple[Positions, Positions]:
        """Return the input and the place of the threshold that remove most error, (M,) each.

        Args:
            rows: that are read.
            node: of each row, counted over all models, (M, R).
            nodes: their number in each model.
            tried: the thresholds, (I, B).
        """
        inputs, count = tried.shape
        models = len(node)
        shape = models, nodes, inputs, count
        flat = ((node * tried.size)[:, None] + rows.place).ravel()

        def below_and_above(values: Array) -> tuple[Array, Array]:
            sums = np.bincount(flat, values, models * nodes * tried.size).astype(np.float64)
            below = sums.reshape(shape).cumsum(axis=3)
            return below, below[..., -1:] - below

        weight = [np.maximum(each, 0.0) + _PENALTY for each in below_and_above(rows.weight)]
        gain = np.zeros(shape)
        for residual in rows.residual:
            for total, each in zip(below_and_above(residual), weight, strict=True):
                gain += total * total / each
        gain = gain.sum(axis=1)
        # The last bin has no threshold, so that nothing is above it.
        before = gain[..., -1].max(axis=1)
        gain = np.where(tried < HIGHEST_INPUT, gain, before[:, None, None]).reshape(models, -1)
        best = gain.argmax(axis=1)
        np.add.at(self.importance, best // count, gain[np.arange(models), best] - before)
        return best // count, best % count


def _thresholds(column: Numbers) -> Numbers:
    """Return the thresholds of an input, (H,), rising: half between quantiles, half even."""
    values = np.unique(column).astype(np.float64)
    if len(values) <= _THRESHOLDS:
        middle = 0.5 * (values[1:] + values[:-1])
    else:
        half = _THRESHOLDS // 2
        shares = np.arange(1, half + 1) / (half + 1)
        even = values[0] + (values[-1] - values[0]) * shares
        middle = np.append(np.quantile(column.astype(np.float64), shares), even)
    # In single precision, as the answers compare them; none is above every input.
    middle = np.unique(middle.astype(np.float32))
    below: Numbers = middle[middle < column.max(initial=-np.inf)]
    return below
