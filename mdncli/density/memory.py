"""The memory: what trees and the nearest training rows say about a row, as inputs of networks.

Extremely randomized trees (Geurts, Ernst and Wehenkel 2006), boosted trees (Friedman 2001) and
nearest rows find steps, interactions and repeated rows that a small network finds late.
"""

import itertools
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy

from mdncli.types import Array, Mask, Numbers, Positions

# The number of rows that go down a tree together, and the steps between two looks at which of them
# have reached a leaf.
_ROWS_IN_TREE, _STEPS_IN_TREE = 16384, 4
HIGHEST_INPUT = float(np.finfo(np.float32).max)
# The number of levels of a boosted tree at most: the leaf of a row fits into one byte.
MOST_LEVELS = 8
NEAREST = 8
# What keeps logarithms finite: of the spread of targets, in standard deviations, and of distances.
_LEAST_SPREAD, _LEAST_DISTANCE = 0.01, 1e-3
# A neighbour counts as if it were this share of the farthest distance farther away.
_SOFT_DISTANCE = 0.1
_TINY = 1e-6


def as_inputs_of_memory(inputs: Numbers) -> Numbers:
    """Return inputs, (N, I), in the precision of thresholds and of stored rows."""
    return np.clip(inputs, -HIGHEST_INPUT, HIGHEST_INPUT).astype(np.float32)


@dataclass(frozen=True)
class Forest:
    """Regression trees over the inputs of the networks: the mean target of similar rows.

    A row at a node goes to the left child if its input `feature` is at most `threshold`, otherwise
    to the right child, the node after the left one. A leaf is its own left child, and no input is
    above its threshold, `HIGHEST_INPUT`. Every other child comes after its parent, so that each
    path ends.

    Attributes:
        roots: (R,), the first node of each tree, in rising order.
        feature, threshold, left: (N,), of each node; a threshold has single precision.
        value: (N, T), the mean of the standardized targets of the node's training rows.
    """

    roots: Positions
    feature: Positions
    threshold: Numbers
    left: Positions
    value: Array

    def summary(self) -> dict[str, int]:
        """Return how large it is, as plain values."""
        return {"trees": len(self.roots), "nodes": len(self.left)}

    def __call__(self, inputs: Array) -> Array:
        """Return the mean of all trees, (N, T), for the inputs that `Schema.inputs` gives."""
        return self.total(inputs, range(len(self.roots))) / len(self.roots)

    def total(self, inputs: Numbers, trees: Iterable[int]) -> Array:
        """Return the sum of some trees, (N, T), for the inputs that `Schema.inputs` gives."""
        total = np.zeros((len(inputs), self.value.shape[1]))
        for start in range(0, len(inputs), _ROWS_IN_TREE):
            rows = slice(start, start + _ROWS_IN_TREE)
            columns = np.ascontiguousarray(as_inputs_of_memory(inputs[rows]).T)
            for tree in trees:
                total[rows] += self.value[self._leaves(columns, tree)]
        return total

    def _leaves(self, columns: Numbers, tree: int) -> Positions:
        """Return the leaf of a tree where each row ends, (N,), from the inputs, (I, N)."""
        flat, count = columns.ravel(), columns.shape[1]
        leaves: Positions = np.full(count, self.roots[tree], dtype=np.int32)
        node = leaves
        rows = np.arange(count, dtype=np.int32)
        for step in itertools.count(1):
            places = self.feature.take(node)
            places *= count
            places += rows
            after = self.left.take(node)
            after += flat.take(places) > self.threshold.take(node)
            if step % _STEPS_IN_TREE == 0:
                leaves[rows] = after
                moving = after != node
                rows, after = rows[moving], after[moving]
                if not len(rows):
                    break
            node = after
        return leaves


@dataclass(frozen=True)
class BoostedTrees:
    """A sum of small regression trees (Friedman 2001): the mean target, fitted step by step.

    All nodes of a level of a tree ask the same question, whether the input `feature` is above
    `threshold` (oblivious trees: Prokhorenkova et al. 2018, section 3). The answers, 0 or 1, are
    the binary digits of the leaf, the first one being the highest.

    Attributes:
        feature, threshold: (R, D), of each level of each tree; a threshold has single precision.
        value: (R, 2^D, T), what each leaf adds, standardized.
        base: (T,), the sum begins with it.
    """

    feature: Positions
    threshold: Numbers
    value: Array
    base: Array

    def summary(self) -> dict[str, int]:
        """Return how large they are, as plain values."""
        return {"trees": len(self.feature), "levels": self.feature.shape[1]}

    def __call__(self, inputs: Numbers) -> Array:
        """Return the sum of all trees, (N, T), for the inputs that `Schema.inputs` gives."""
        total = np.tile(self.base, (len(inputs), 1))
        for start in range(0, len(inputs), _ROWS_IN_TREE):
            rows = slice(start, start + _ROWS_IN_TREE)
            columns = np.ascontiguousarray(as_inputs_of_memory(inputs[rows]).T)
            above = np.empty(columns.shape[1], bool)
            for features, thresholds, value in zip(
                self.feature.tolist(), self.threshold, self.value, strict=True
            ):
                leaf = np.zeros(len(above), np.uint8)
                for feature, threshold in zip(features, thresholds, strict=True):
                    np.greater(columns[feature], threshold, out=above)
                    leaf += leaf
                    leaf += above
                total[rows] += value.take(leaf, axis=0)
        return total


@dataclass(frozen=True)
class Neighbours:
    """Training rows, of which a row sees the nearest ones.

    A distance is Euclidean. Each input counts by its rank among the training rows, a number from 0
    to 1, times a scale.

    Attributes:
        columns: (C,), the inputs that count.
        scale: (C,), how much each of them counts.
        points: (N, C), these inputs of the training rows, in single precision.
        y: (N, T), their standardized targets.
    """

    columns: Positions
    scale: Array
    points: Numbers
    y: Array

    @staticmethod
    def width(targets: int) -> int:
        """Return the number of values that are said about a row."""
        return 3 * targets + 2

    def summary(self) -> dict[str, int]:
        """Return how large it is, as plain values."""
        return {"rows": len(self.y), "inputs": len(self.columns)}

    def __call__(self, inputs: Numbers) -> Array:
        """Return what the nearest rows say, (N, 3 T + 2).

        It is the weighted mean of the targets of the nearest eight rows, the logarithm of their
        spread and the target of the nearest row; then the logarithms of the distances to the
        nearest row and to the eighth.

        Args:
            inputs: that `Schema.inputs` gives.
        """
        return self._said_by(self._tree, self.y, inputs)

    def without(self, left_out: Mask, inputs: Numbers) -> Array:
        """Return the same, but as if some training rows, (N,), were not there."""
        return self._said_by(_tree(self._places[~left_out]), self.y[~left_out], inputs)

    def _said_by(self, tree: Any, y: Array, inputs: Numbers) -> Array:
        distance, nearest = tree.query(self._place(inputs), NEAREST)
        near = y[nearest]
        weight = 1.0 / (distance + _SOFT_DISTANCE * distance[:, -1:] + _TINY)
        weight = (weight / weight.sum(axis=1, keepdims=True))[..., None]
        mean = (weight * near).sum(axis=1)
        spread = np.sqrt((weight * (near - mean[:, None]) ** 2).sum(axis=1))
        ends = distance[:, [0, -1]]
        # They are shifted and shrunk to the size of standardized inputs.
        logs = np.log(spread + _LEAST_SPREAD) + 2.0, 0.5 * np.log(ends + _LEAST_DISTANCE) + 1.0
        return np.column_stack([mean, logs[0], near[:, 0], logs[1]])

    @cached_property
    def _sorted(self) -> Numbers:
        return np.sort(self.points, axis=0)

    @cached_property
    def _places(self) -> Array:
        return self._place_of(self.points)

    @cached_property
    def _tree(self) -> Any:
        return _tree(self._places)

    def _place(self, inputs: Numbers) -> Array:
        return self._place_of(as_inputs_of_memory(inputs[:, self.columns]))

    def _place_of(self, points: Numbers) -> Array:
        """Return the scaled ranks of points, (N, C)."""
        places = np.empty(points.shape)
        for column, (values, scale) in enumerate(zip(self._sorted.T, self.scale, strict=True)):
            below = np.searchsorted(values, points[:, column], "left")
            upto = np.searchsorted(values, points[:, column], "right")
            places[:, column] = (below + upto) * (0.5 * scale / len(values))
        return places


def _tree(places: Array) -> Any:
    # SciPy imports this part of it when it is first used: only a model with neighbours needs it.
    return scipy.spatial.cKDTree(places)


@dataclass(frozen=True)
class Memory:
    """What networks may read besides the features.

    Attributes:
        forest: extremely randomized trees; each leaf holds the mean target of a few training rows,
            often of a single one.
        boosted: boosted trees.
        neighbours: training rows.

    A part is None if no network reads it.
    """

    forest: Forest | None = None
    boosted: BoostedTrees | None = None
    neighbours: Neighbours | None = None

    def parts(self) -> dict[str, Forest | BoostedTrees | Neighbours]:
        """Return the parts that there are, by name, in the order in which networks read them."""
        every = {"forest": self.forest, "boosted": self.boosted, "neighbours": self.neighbours}
        return {name: part for name, part in every.items() if part is not None}

    def summary(self) -> dict[str, dict[str, int]]:
        """Return what it consists of, as plain values."""
        return {name: part.summary() for name, part in self.parts().items()}

    def __call__(self, inputs: Array) -> dict[str, Array]:
        """Return what each part says, for the inputs that `Schema.inputs` gives, (N, W) each."""
        return {name: part(inputs) for name, part in self.parts().items()}

    @staticmethod
    def width(parts: Iterable[str], targets: int) -> int:
        """Return the number of inputs that some parts give to networks, with T targets."""
        widths = {"neighbours": Neighbours.width(targets)}
        return sum(widths.get(part, targets) for part in parts)

    def only(self, parts: Collection[str]) -> "Memory":
        """Return these parts of it."""
        return Memory(**{name: part for name, part in vars(self).items() if name in parts})
