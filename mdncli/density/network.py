"""The forward pass of networks, in NumPy, and the memory, which gives them further inputs.

The counterpart of the forward pass in `mdncli.learning.network` learns the weights. A test checks
that both agree.

The memory says what trees and the nearest training rows know about a row. Extremely randomized
trees (Geurts, Ernst and Wehenkel 2006), boosted trees (Friedman 2001) and nearest rows find steps,
interactions and repeated rows that a small network finds late.
"""

import itertools
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy

from mdncli.density.mixture import GaussianMixture, empty_mixture, normalize_rows
from mdncli.density.numerics import Buffers
from mdncli.settings import Activation, Covariance
from mdncli.types import Array, Mask, Numbers, Positions

# The number of rows in one matrix product: of a network whose layers are wide, and of another one.
_NARROW_PANEL, _PANEL = 16, 48
# OpenBLAS starts threads for a larger product, counted in multiplications. Ours run in threads
# already, so a larger one is split, which is also faster.
_MOST_MULTIPLICATIONS = 1 << 18
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


@dataclass(frozen=True)
class Architecture:
    """The shape of a network: all that is needed to read its weights.

    Attributes:
        mixtures: K, the number of components.
        hidden: the widths of the hidden layers, from the input on.
        activation: the function after each hidden layer.
        covariance: of a component: `diagonal`, one sigma for each target; `isotropic`, one sigma
            for all (standardized) targets; or `full`, by a Cholesky factor.
        frequencies: Q, the number of sines, and of cosines, of each periodic input.
    """

    mixtures: int
    hidden: tuple[int, ...]
    activation: Activation
    covariance: Covariance
    frequencies: int

    def trunk_width(self, periodic: int, plain: int) -> int:
        """Return the width of the first layer's input for these numbers of inputs."""
        return periodic * (1 + 2 * self.frequencies) + plain

    def head_sizes(self, targets: int) -> list[int]:
        """Return the numbers of outputs: logits, means, log-scales and slopes; see `split_head`.

        They are K logits, K*T means, K or K*T log-scales and, with `full`, K*T(T-1)/2 slopes.
        """
        each = (1, targets, self.sigmas(targets), self.slopes(targets))
        return [self.mixtures * width for width in each]

    def head_width(self, targets: int) -> int:
        """Return the number of outputs."""
        return sum(self.head_sizes(targets))

    def sigmas(self, targets: int) -> int:
        """Return S, the number of scales of a component: 1 or T."""
        return 1 if self.covariance == "isotropic" else targets

    def slopes(self, targets: int) -> int:
        """Return the number of pairs of targets that a component may correlate."""
        return targets * (targets - 1) // 2 if self.covariance == "full" else 0

    def limits_of_sigmas(self, limits: Array) -> Array:
        """Return a limit of each sigma, shape (S,), from those of the targets, (T,)."""
        return limits.max(keepdims=True) if self.covariance == "isotropic" else limits

    def to_plain(self) -> dict[str, Any]:
        """Return the architecture as plain values."""
        return {**asdict(self), "hidden": list(self.hidden)}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "Architecture":
        """Return the architecture that `to_plain` returned."""
        return cls(**{**plain, "hidden": tuple(plain["hidden"])})


_buffers = Buffers()


def _silu(half: Numbers, spare: Numbers) -> None:
    # x / (1 + exp(-x)) = h (1 + tanh h) with h = x / 2.
    np.tanh(half, out=spare)
    spare += 1.0
    np.multiply(half, spare, out=half)


def _leaky_relu(x: Numbers, spare: Numbers) -> None:
    np.multiply(x, 0.01, out=spare)
    np.maximum(x, spare, out=x)


# Each changes x in place and may use the other array as working memory. What it is given is x times
# the factor beside it, which costs nothing in the weights of the layer.
ACTIVATIONS: dict[str, tuple[float, Callable[[Numbers, Numbers], object]]] = {
    "tanh": (1.0, lambda x, spare: np.tanh(x, out=x)),
    "relu": (1.0, lambda x, spare: np.maximum(x, 0.0, out=x)),
    "silu": (0.5, _silu),
    "leaky-relu": (1.0, _leaky_relu),
}


@dataclass(frozen=True)
class Perceptron:
    """A multilayer perceptron with sines and cosines of its periodic inputs.

    Attributes:
        activation: the function between the layers, one of `ACTIVATIONS`.
        frequencies: (P, Q), of the P periodic inputs, in turns per standard deviation of the input;
            Q may be 0.
        layers: (weight, bias) pairs of shapes (out, in) and (out,).
    """

    activation: Activation
    frequencies: Array
    layers: list[tuple[Array, Array]]

    def __call__(self, x: Array, *, precision: Any = np.float64) -> Numbers:
        """Return the outputs, shape (N, O), for the inputs that `Schema.inputs` gives.

        The first layer reads x, and for the first P columns of it sin 2 pi c x and cos 2 pi c x
        with the frequencies c. This is the periodic embedding of Gorishniy et al. (2022, section
        3.3), with x kept beside it.

        The rows are computed in panels of 48 or 16. How a matrix product is rounded depends on its
        shape and on the place in it. With panels of one shape, a row's result in single precision
        does not visibly depend on the rows around it.

        Args:
            x: (N, P + I), the inputs: P periodic ones, then I plain ones.
            precision: of the computation; the weights are stored in single precision.

        Returns:
            The axis of rows comes last in memory.
        """
        weights, panel = self._weights(precision), self._panel
        panels = -(-len(x) // panel)
        columns = self._embed(x, panels, precision)
        _, activate = ACTIVATIONS[self.activation]
        for position, weight in enumerate(weights[:-1]):
            # The last row is for the bias of the next layer.
            whole = _buffers.take(
                f"layer {position % 2}", (panels, len(weight) + 1, panel), precision
            )
            outputs = whole[:, :-1]
            _multiply(weight, columns, outputs)
            activate(outputs, _buffers.take("spare", outputs.shape, precision))
            whole[:, -1] = 1.0
            columns = whole
        last = _buffers.take("outputs", (panels, len(weights[-1]), panel), precision)
        _multiply(weights[-1], columns, last)
        # The copy is needed: the next call overwrites the buffers.
        whole = np.empty((last.shape[1], panels, panel), precision)
        whole[:] = last.transpose(1, 0, 2)
        return whole.reshape(len(whole), panels * panel)[:, : len(x)].T

    @cached_property
    def _panel(self) -> int:
        """The number of rows in one matrix product."""
        largest = max(weight.shape[0] * (weight.shape[1] + 1) for weight, _ in self.layers)
        return _PANEL if largest * _PANEL <= _MOST_MULTIPLICATIONS else _NARROW_PANEL

    def _weights(self, precision: Any) -> list[Numbers]:
        """Return the weights of the layers, (out, in + 1), with the bias as the last column."""
        name = np.dtype(precision).name
        if name not in self._kept_weights:
            factor, _ = ACTIVATIONS[self.activation]
            factors = [factor] * (len(self.layers) - 1) + [1.0]
            self._kept_weights[name] = [
                (each * np.column_stack(layer)).astype(precision)
                for each, layer in zip(factors, self.layers, strict=True)
            ]
        return self._kept_weights[name]

    @cached_property
    def _kept_weights(self) -> dict[str, list[Numbers]]:
        return {}

    def _embed(self, x: Array, panels: int, precision: Any) -> Numbers:
        """Return the input of the first layer, (panels, inputs, rows of a panel).

        These are x, then sines, then cosines, then 1 for the bias.
        """
        panel, inputs = self._panel, x.shape[1]
        padded = _buffers.take("padded", (panels * panel, inputs), precision)
        padded[: len(x)], padded[len(x) :] = x, 0.0
        periodic, waves = len(self.frequencies), self.frequencies.size
        columns = _buffers.take("inputs", (panels, inputs + 2 * waves + 1, panel), precision)
        columns[:, :inputs] = padded.reshape(panels, panel, inputs).transpose(0, 2, 1)
        columns[:, -1] = 1.0
        rates = (2.0 * np.pi * self.frequencies).astype(precision)
        angles = _buffers.take("angles", (panels, *rates.shape, panel), precision)
        np.multiply(columns[:, :periodic, None], rates[:, :, None], out=angles)
        flat = angles.reshape(panels, waves, panel)
        np.sin(flat, out=columns[:, inputs : inputs + waves])
        np.cos(flat, out=columns[:, inputs + waves : -1])
        return columns


def _multiply(weight: Numbers, columns: Numbers, out: Numbers) -> None:
    """Write weight @ columns to `out`, in products so small that BLAS starts no threads.

    Args:
        weight: (O, I).
        columns: (panels, I, R), with R rows in a panel.
        out: (panels, O, R).
    """
    outputs, inputs = weight.shape
    panel = out.shape[2]
    at_once = max(1, _MOST_MULTIPLICATIONS // (panel * inputs))
    if outputs <= at_once:
        np.matmul(weight, columns, out=out)
        return
    # A power of two is usually a divisor of the width, and suits the kernels of BLAS.
    at_once = 1 << (at_once.bit_length() - 1)
    whole = outputs - outputs % at_once
    blocks = weight[:whole].reshape(-1, at_once, inputs)
    if whole == outputs:
        split = out.reshape(len(out), len(blocks), at_once, panel)
        np.matmul(blocks, columns[:, None], out=split)
        return
    out[:, :whole] = np.matmul(blocks, columns[:, None]).reshape(len(out), whole, panel)
    np.matmul(weight[whole:], columns, out=out[:, whole:])


def pairs_of_targets(targets: int) -> list[tuple[int, int]]:
    """Return every (later, earlier) pair of positions, in the order of the slopes."""
    return [(later, earlier) for later in range(targets) for earlier in range(later)]


def split_head(
    raw: Numbers,
    architecture: Architecture,
    min_sigma: Array,
    max_sigma: Array | None = None,
    *,
    sigma_scale: float = 1.0,
    temperature: float = 1.0,
    out: GaussianMixture | None = None,
) -> GaussianMixture:
    """Return the mixture that a network's outputs stand for, standardized.

    log pi = logits - log sum exp(logits), mu as it is, sigma^2 = min_sigma^2 + exp(2 s). So sigma
    is smooth in s, never below its minimum, and close to exp(s) well above it.

    With `full` each target is a regression on those before it, y_i = mu_i + sum_{j<i} B_ij (y_j -
    mu_j) + d_i z_i with d^2 = min_sigma^2 + exp(2 s). The Cholesky factor of the covariance is
    L = (I - B)^-1 diag(d). Its diagonal is d, so no density exceeds that of the minimum sigmas.
    Unlike the entries of L, the slopes B do not change when a scale does (Pourahmadi 1999).

    Args:
        raw: (N, O), K logits, K*T means, then K*T or (isotropic) K log-scales s, then with `full`
            K*T(T-1)/2 slopes B, in the order of `pairs_of_targets`.
        architecture: of the network.
        min_sigma: (T,), the smallest sigma of each target, standardized.
        max_sigma: (T,), the largest exp(s) of each target. Far from the training rows, log-scales
            can grow without end.
        sigma_scale: is multiplied with exp(s), so that no sigma falls below its minimum.
        temperature: the logits are divided by it.
        out: where the mixture is written; by default it is new.
    """
    targets, rows = len(min_sigma), len(raw)
    components, slopes = architecture.mixtures, architecture.slopes(targets)
    if out is None:
        out = empty_mixture(rows, components, targets, with_factor=slopes > 0)
    # The axis of rows comes last in memory, as in the network: sums over components are fast.
    ends = np.cumsum(architecture.head_sizes(targets))[:-1]
    logits, mu, log_scale, slope = np.split(raw.T, ends)
    _write_log_pi(logits, temperature, out.log_pi.T)
    out.mu.transpose(1, 2, 0)[:] = mu.reshape(components, targets, rows)
    sigma = out.sigma.transpose(1, 2, 0)
    most = None if max_sigma is None else architecture.limits_of_sigmas(max_sigma)
    # A float32 overflows beyond exp(88).
    scale = _buffers.take("scale", log_scale.shape, raw.dtype)
    np.exp(np.minimum(log_scale, 80.0, out=scale), out=scale)
    scale = scale.reshape(components, -1, rows)
    if most is not None:
        np.minimum(scale, most[:, None].astype(raw.dtype), out=scale)
    scale *= sigma_scale
    sigma[:] = scale
    sigma *= sigma
    sigma += architecture.limits_of_sigmas(min_sigma)[:, None] ** 2
    np.sqrt(sigma, out=sigma)
    if out.factor is None:
        return out
    if slopes:
        lower = _cholesky(slope.reshape(components, slopes, rows).astype(np.float64), sigma)
        out.factor[:], out.sigma[:] = normalize_rows(lower.transpose(3, 0, 1, 2))
    else:
        out.factor[:] = np.eye(targets)
    return out


def _write_log_pi(logits: Numbers, temperature: float, out: Array) -> None:
    """Write the log weights, (K, N), of logits, (K, N)."""
    np.subtract(logits, logits.max(axis=0), out=out)
    if temperature != 1.0:
        out /= temperature
    share = _buffers.take("share", out.shape)
    out -= np.log(np.exp(out, out=share).sum(axis=0))


def _cholesky(slopes: Array, scale: Array) -> Array:
    """Return L = (I - B)^-1 diag(d), (K, T, T, N), from B, (K, T(T-1)/2, N), and d, (K, T, N)."""
    components, targets, rows = scale.shape
    lower = np.zeros((components, targets, targets, rows))
    for target in range(targets):
        lower[:, target, target] = scale[:, target]
    for pair, (later, earlier) in enumerate(pairs_of_targets(targets)):
        lower[:, later, :later] += slopes[:, pair, None] * lower[:, earlier, :later]
    return lower


# The memory.


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
