"""The export of a model to a graph of ONNX: from the cells of a row to mixtures, means, quantiles.

The graph repeats the forward pass of `mdncli.density`. The networks compute in single precision, as
ours do, and all else computes in double precision. A tensor of the graph takes part in the
arithmetic of NumPy, so that features and transforms write their formulas into the graph themselves.
"""

import io
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from statistics import NormalDist
from typing import Any, BinaryIO, get_args

import numpy as np
import scipy

from mdncli import __version__
from mdncli.columns.discrete import Atoms, Rounding, Wrapped
from mdncli.columns.features import CategoryFeature, DateFeature, Feature
from mdncli.columns.roles import probabilities
from mdncli.columns.transforms import Interval, Transform
from mdncli.density.marginal import IMAGES, normal_between
from mdncli.density.model import MixtureDensityNetwork, Rung
from mdncli.density.network import (
    BoostedTrees,
    Forest,
    Perceptron,
    as_inputs_of_memory,
    pairs_of_targets,
)
from mdncli.errors import DataError, ParameterError, parameter
from mdncli.files import replacing
from mdncli.modelfile.writer import OnnxGraph, Tensor, write_safetensors
from mdncli.settings import ExportFormat
from mdncli.text import quoted
from mdncli.types import Array

ExportTarget = str | os.PathLike[str] | BinaryIO
QUANTILES = (0.05, 0.5, 0.95)
_FORMAT = "mdncli.onnx"
_OUTPUTS = ("pi", "mu", "sigma", "factor", "mean", "quantiles")

_SECONDS_A_DAY = 86_400.0
_SQRT_2PI, _TINY = math.sqrt(2.0 * math.pi), 1e-300
# The search of a quantile: after some steps every other one halves the bracket.
_TOLERANCE, _MOST_STEPS, _STEPS_BEFORE_HALVING = 1e-13, 300, 8
# In sigmas: beyond this a component has no probability that counts.
_REACH = 9.0
# An integral between two bounds: the nodes on a piece, which is at most so many sigmas and units of
# u long; and where y has reached a bound, in units of u.
_NODES, _PIECE, _PIECE_OF_U, _FLAT = 12, 1.5, 2.0, 40.0


def _inputs(features: Sequence[Feature], cells: Sequence[Tensor]) -> tuple[Any, Any]:
    """Return the inputs of the networks, (N, I), and which rows have a cell that is refused.

    A missing number is NaN, and a missing text is empty. A cell is refused if it is missing where
    none was in training, or if it is infinite.
    """
    periodic, plain, refused = [], [], []
    # Any: NumPy's types do not know tensors.
    columns: Sequence[Any] = cells
    for feature, column in zip(features, columns, strict=True):
        if isinstance(feature, CategoryFeature):
            inputs, wrong = _levels(feature, column)
            plain.append(inputs)
        else:
            values = np.where(np.isinf(column), np.nan, column)
            wrong = np.isinf(column) if feature.allows_missing else np.isnan(values)
            if isinstance(feature, DateFeature):
                values = values / _SECONDS_A_DAY
            periodic.append(feature.periodic_inputs(values))
            plain += [feature.plain_inputs(values)] if feature.plain_width else []
        refused.append(wrong)
    anywhere = refused[0]
    for more in refused[1:]:
        anywhere = anywhere | more
    return np.column_stack([*periodic, *plain]), anywhere[:, None]


def _levels(feature: CategoryFeature, texts: Tensor) -> tuple[Any, Any]:
    """Return the one-hot inputs of a category, (N, P), and which cells are refused, (N,)."""
    graph, other, width = texts.graph, feature.other, feature.plain_width
    places = [other if place in feature.rare else place for place in range(len(feature.levels))]
    empty = other + 1
    [place] = graph.nodes_of(
        "LabelEncoder",
        texts,
        dtypes=[np.int64],
        domain="ai.onnx.ml",
        keys_strings=[*feature.levels, ""],
        values_int64s=[*places, empty],
        default_int64=other,
    )
    inputs = graph.tensor(np.eye(empty + 1)[:, :width]).take(place)
    return inputs, place == (empty if width == empty else -1)


def _boosted(trees: BoostedTrees, inputs: Any) -> Any:
    """Return the sum of boosted trees, (N, T), from inputs in single precision."""
    count, levels = trees.feature.shape
    asked = inputs.take(trees.feature.astype(np.int64).ravel(), 1)
    above = (asked > trees.threshold.ravel()).astype(np.int64).reshape(0, count, levels)
    leaf = (above * 2 ** np.arange(levels - 1, -1, -1)).sum(2) + (np.arange(count) << levels)
    values = trees.value.astype(np.float32).reshape(count << levels, -1)
    return inputs.graph.tensor(values).take(leaf).astype(np.float64).sum(1) + trees.base


def _forest(forest: Forest, inputs: Any) -> Any:
    """Return the mean of the trees of a forest, (N, T), from inputs in single precision."""
    graph, node, left = inputs.graph, forest.roots, forest.left
    depth = 0
    while len(node := node[left[node] != node]):
        node = np.concatenate([left[node], left[node] + 1])
        depth += 1
    parts = (forest.feature, np.int32), (forest.threshold, np.float32), (left, np.int32)
    feature, threshold, children = (graph.tensor(part.astype(kind)) for part, kind in parts)

    def descend(_: Any, node: Any) -> tuple[Any, list[Any]]:
        asked = graph.node("GatherElements", inputs, feature.take(node), axis=1)
        above = (asked > threshold.take(node)).astype(np.int32)
        return graph.tensor(np.array(True)), [children.take(node) + above]

    start = (inputs.take(np.array([0]), 1) * 0.0).astype(np.int32) + forest.roots
    [leaf] = graph.loop(np.array(depth), [start], descend)
    values = graph.tensor(forest.value.astype(np.float32)).take(leaf)
    return values.astype(np.float64).sum(1) / len(forest.roots)


@dataclass(frozen=True)
class _Mixture:
    """N mixtures of K components over T targets: log_pi (N, K), mu and sigma (N, K, T).

    `factor`, (N, K, T, T), is the Cholesky factor of the correlations of each component, or None.
    """

    log_pi: Any
    mu: Any
    sigma: Any
    factor: Any = None


def _outputs(network: Perceptron, inputs: Any) -> Any:
    """Return the outputs of a network, (N, O), from inputs in single precision, (N, I)."""
    columns, (count, waves) = inputs, network.frequencies.shape
    if count * waves:
        rates = 2.0 * np.pi * network.frequencies
        angles = (inputs.take(np.arange(count), 1)[:, :, None] * rates).reshape(0, count * waves)
        columns = np.concatenate([inputs, np.sin(angles), np.cos(angles)], axis=1)
    for position, (weight, bias) in enumerate(network.layers):
        product = inputs.graph.node("MatMul", columns, weight.T.astype(np.float32))
        columns = product + bias
        if position < len(network.layers) - 1:
            columns = _activated(network.activation, columns)
    return columns


def _activated(activation: str, x: Any) -> Any:
    if activation == "silu":
        return x * x.graph.node("Sigmoid", x)
    if activation == "tanh":
        return np.tanh(x)
    return np.maximum(x, 0.01 * x if activation == "leaky-relu" else 0.0)


def _split_head(rung: Rung, raw: Any, limits: tuple[Array, Array]) -> _Mixture:
    """Return the mixture that a network's outputs stand for, standardized; see `split_head`."""
    shape, targets = rung.architecture, len(limits[0])
    sizes = [size for size in shape.head_sizes(targets) if size]
    found = raw.graph.nodes_of(
        "Split", raw, np.array(sizes), dtypes=[np.float32] * len(sizes), axis=1
    )
    logits, mu, log_scale, *slopes = (each.astype(np.float64) for each in found)
    log_pi = raw.graph.node("LogSoftmax", logits / rung.temperature, axis=1)
    least, largest = (shape.limits_of_sigmas(limit) for limit in limits)
    scale = np.exp(np.minimum(log_scale, 80.0)).reshape(0, shape.mixtures, len(least))
    scale = np.minimum(scale, largest) * rung.sigma_scale
    sigma = np.sqrt(scale * scale + least**2) * np.ones(targets)
    mu = mu.reshape(0, shape.mixtures, targets)
    if not slopes:
        return _Mixture(log_pi, mu, sigma)
    unit = np.eye(targets)
    rows = [sigma.take(np.array([target]), 2) * unit[target] for target in range(targets)]
    pairs = slopes[0].reshape(0, shape.mixtures, shape.slopes(targets))
    for pair, (later, earlier) in enumerate(pairs_of_targets(targets)):
        rows[later] = rows[later] + pairs.take(np.array([pair]), 2) * rows[earlier]
    norms = [np.sqrt((row * row).sum(2, keepdims=True)) for row in rows]
    factor = [(row / norm)[:, :, None] for row, norm in zip(rows, norms, strict=True)]
    return _Mixture(log_pi, mu, np.concatenate(norms, axis=2), np.concatenate(factor, axis=2))


def _mixture(model: MixtureDensityNetwork, inputs: Any) -> _Mixture:
    """Return the mixture of u, as `MixtureDensityNetwork.mixture` does."""
    schema, memory = model.schema, model.memory
    asked = as_inputs_of_memory(inputs)
    said = {
        **({"forest": _forest(memory.forest, asked)} if memory.forest else {}),
        **({"boosted": _boosted(memory.boosted, asked)} if memory.boosted else {}),
    }
    limits, unit = (schema.min_sigma, schema.max_sigma), np.eye(len(schema.targets))
    rows = inputs.take(np.array([0]), 1) * 0.0
    parts, weights = [], []
    if model.background is not None:
        broad = model.background.mixture()
        mu, sigma = (rows[:, :, None] + part for part in (broad.mu, broad.sigma))
        parts.append(_Mixture(rows, mu, sigma))
        weights.append(model.background.weight)
    for rung in model.rungs:
        columns = np.concatenate([inputs, *(said[part] for part in rung.reads)], axis=1)
        single = columns.astype(np.float32)
        for network in rung.networks:
            parts.append(_split_head(rung, _outputs(network, single), limits))
            weights.append(rung.weight / len(rung.networks))
    pairs = zip(parts, weights, strict=True)
    log_pi = np.concatenate([part.log_pi + math.log(weight) for part, weight in pairs], axis=1)
    mu = np.concatenate([part.mu for part in parts], axis=1)
    sigma = np.concatenate([part.sigma for part in parts], axis=1)
    mu = mu * schema.target_scales + np.array([target.mean for target in schema.targets])
    factors = [
        (part.log_pi * 0.0)[:, :, None, None] + unit if part.factor is None else part.factor
        for part in parts
    ]
    correlated = any(part.factor is not None for part in parts)
    factor = np.concatenate(factors, axis=1) if correlated else None
    return _Mixture(log_pi, mu, sigma * schema.target_scales, factor)


@dataclass(frozen=True)
class _Marginal:
    """N mixtures of u of one target, (N, K) each, with the transform to the target."""

    log_pi: Any
    pi: Any
    mu: Any
    sigma: Any
    transform: Transform

    @property
    def graph(self) -> OnnxGraph:
        """The graph of the tensors."""
        graph: OnnxGraph = self.pi.graph
        return graph

    def _ends(self, of_components: Any) -> tuple[Any, Any]:
        """Return the lowest and the highest of points of the components, (N, K, Q), each (N, Q)."""
        used = self.pi[:, :, None] > 0.0
        low, high = (_where(used, sign * of_components, -np.inf).largest(1) for sign in (-1.0, 1.0))
        return -low, high

    def quantiles(self, p: Array) -> Any:
        """Return the quantiles of the target at probabilities p, (Q,), shape (N, Q)."""
        if isinstance(self.transform, Wrapped):
            return self.transform.forward(self._of_angle(self.transform.period, p))
        # The mirrored mixture has a small lower tail, which loses no digits to 1 - p.
        sign, lesser = np.where(p <= 0.5, 1.0, -1.0), np.minimum(p, 1.0 - p)
        mu, sigma = self.mu[:, :, None] * sign, self.sigma[:, :, None]
        scores = np.array([NormalDist().inv_cdf(each) for each in lesser])
        low, high = self._ends(mu + sigma * scores)
        parts = self.pi[:, :, None], mu, sigma
        return self.transform.forward(sign * _root(parts, lesser, 0.0, low, high))

    def _of_angle(self, period: float, p: Array) -> Any:
        """Return u at probabilities counted from opposite the circular mean; see `targets`."""
        start = self._circular_mean(period) - 0.5 * period
        mu = np.remainder(self.mu - start, period)
        images = [mu + number * period for number in range(-IMAGES, IMAGES + 1)]
        pi, sigma = (
            np.concatenate([part] * len(images), axis=1)[:, :, None]
            for part in (self.pi, self.sigma)
        )
        mu = np.concatenate(images, axis=1)[:, :, None]
        before = (pi * scipy.special.ndtr(-mu / sigma)).sum(1)
        low = start * np.zeros(len(p))
        return _root((pi, mu, sigma), p, before, low, low + period) + start

    def mean(self) -> Any:
        """Return the mean of the target, (N, 1)."""
        transform = self.transform
        if isinstance(transform, Rounding):
            return self._rounded_mean(transform)
        if isinstance(transform, Wrapped):
            return transform.forward(self._circular_mean(transform.period))
        if not isinstance(transform, Atoms):
            return self._integral(transform, (-math.inf, math.inf))
        total = 0.0
        for low, high, shift in transform.segments:
            part = replace(self, mu=self.mu - shift)
            total = part._integral(transform.inner, (low - shift, high - shift)) + total
        for value, ends in zip(transform.values, transform.intervals, strict=True):
            total = total + self._sum(self._held(ends)) * value
        return total

    def _sum(self, of_components: Any) -> Any:
        """Return the sum over the components by their weights, (N, 1)."""
        return (self.pi * of_components).sum(1, keepdims=True)

    def _standard(self, ends: tuple[float, float], shift: Any = 0.0) -> tuple[Any, Any]:
        """Return ends of u in sigmas from the means of the components, less a shift, (N, K)."""
        low, high = ((end - self.mu) / self.sigma - shift for end in ends)
        return low, high

    def _held(self, ends: tuple[float, float]) -> Any:
        """Return the probability that each component gives to an interval of u, (N, K)."""
        return normal_between(*self._standard(ends))

    def _rounded_mean(self, rounding: Rounding) -> Any:
        """Return the mean of the sums over the grid, first + step sum P(Y > v), of the components.

        Each component has a first value of its own, so that the sum has few terms.
        """
        reach = _REACH * self.sigma
        first, last = rounding.forward(self.mu - reach), rounding.forward(self.mu + reach)
        span: Any = last - first
        steps = np.rint(span.largest() / rounding.step).astype(np.int64)

        def add(step: Any, total: Any) -> tuple[Any, list[Any]]:
            edge = rounding.edge_above(first + step.astype(np.float64) * rounding.step)
            tail = scipy.special.ndtr((self.mu - edge) / self.sigma)
            return self.graph.tensor(np.array(True)), [total + tail]

        [total] = self.graph.loop(steps, [self.mu * 0.0], add)
        return self._sum(first + total * rounding.step)

    def _circular_mean(self, period: float) -> Any:
        """Return the circular mean, (N, 1), in units of u."""
        rate = 2.0 * math.pi / period
        size = self.pi * np.exp(-0.5 * (self.sigma * rate) ** 2.0)
        cosine = (size * np.cos(self.mu * rate)).sum(1, keepdims=True)
        sine = (size * np.sin(self.mu * rate)).sum(1, keepdims=True)
        length = np.maximum(np.sqrt(cosine * cosine + sine * sine), _TINY)
        cosine, sine = cosine / length, sine / length
        # The half of the angle has the tangent s / (1 + c) = (1 - c) / s. onnxruntime has an arc
        # tangent in single precision only. One step towards the sine makes it exact.
        half = np.where(cosine < 0.0, (1.0 - cosine) / sine, sine / (1.0 + cosine))
        angle = 2.0 * self.graph.node("Atan", half.astype(np.float32)).astype(np.float64)
        angle = angle + sine * np.cos(angle) - cosine * np.sin(angle)
        return angle / rate

    def _integral(self, inner: Transform, ends: tuple[float, float]) -> Any:
        """Return the integral of y p(y) between two ends of u, (N, 1), y = inner.forward(u).

        See `moments.partial_moments`.
        """
        if isinstance(inner, Interval):
            return self._integral_between(inner, ends)
        held = self._held(ends)
        if inner.is_identity:
            low, high = (np.exp(-0.5 * z * z) for z in self._standard(ends))
            return self._sum(self.mu * held - self.sigma * (high - low) / _SQRT_2PI)
        # y = bound + sign exp(sign u). In logs, a part without probability cannot overflow.
        sign, bound = (1.0, inner.lower) if inner.upper is None else (-1.0, inner.upper)
        shifted = normal_between(*self._standard(ends, sign * self.sigma))
        log_mean = self.log_pi + sign * self.mu + 0.5 * self.sigma * self.sigma
        part = np.exp(log_mean + np.log(shifted)).sum(1, keepdims=True)
        return self._sum(held) * bound + part * sign

    def _integral_between(self, inner: Interval, ends: tuple[float, float]) -> Any:
        """Return the integral by Gauss-Legendre nodes on pieces of each component's interval."""
        low, high = (float(np.clip(end, -_FLAT, _FLAT)) for end in ends)
        outside = [(ends[0], low, inner.lower), (high, ends[1], inner.upper)]
        rest = [self._sum(self._held((a, b))) * y for a, b, y in outside if a < b]
        a, b = (np.clip(z, -_REACH, _REACH)[:, :, None] for z in self._standard((low, high)))
        span: Any = np.minimum(2.0 * _REACH * self.sigma.largest(), 2.0 * _FLAT)
        pieces = np.ceil(np.maximum(span / _PIECE_OF_U, 2.0 * _REACH / _PIECE))
        width = (b - a) / pieces
        nodes, weights = np.polynomial.legendre.leggauss(_NODES)
        mu, sigma = self.mu[:, :, None], self.sigma[:, :, None]

        def add(step: Any, total: Any) -> tuple[Any, list[Any]]:
            z = a + width * (step.astype(np.float64) + 0.5 * (nodes + 1.0))
            share = np.exp(-0.5 * z * z) * (0.5 / _SQRT_2PI * weights) * width
            part = (share * inner.forward(mu + sigma * z)).sum(2)
            return self.graph.tensor(np.array(True)), [total + part]

        [total] = self.graph.loop(pieces.astype(np.int64), [self.mu * 0.0], add)
        return sum(rest, self._sum(total))


def _where(condition: Any, one: Any, other: Any) -> Any:
    """Return what NumPy's `where` does, which knows no type for tensors."""
    return np.where(condition, one, other)


def _root(parts: tuple[Any, Any, Any], p: Array, before: Any, low: Any, high: Any) -> Any:
    """Return where the cdf of mixtures is p, (N, Q).

    Newton's steps on the logarithm of the cdf, and halvings of the bracket where they leave it.

    Args:
        parts: pi, mu and sigma, (N, K, Q) or broadcast to it.
        p: (Q,), the probability beyond `before`.
        before: where the cdf begins, (N, 1) or a number.
        low, high: (N, Q), a bracket.
    """
    pi, mu, sigma = parts
    graph = pi.graph

    def improve(step: Any, at: Any, low: Any, high: Any) -> tuple[Any, list[Any]]:
        z = (at[:, None] - mu) / sigma
        held = (pi * scipy.special.ndtr(z)).sum(1) - before
        density = (pi * np.exp(-0.5 * z * z) / sigma).sum(1) / _SQRT_2PI
        excess = held - p
        low, high = np.where(excess < 0.0, at, low), np.where(excess < 0.0, high, at)
        middle = low + 0.5 * (high - low)
        done = (np.abs(excess) <= _TOLERANCE * p) | (middle <= low) | (middle >= high)
        log_excess = np.log(np.maximum(held, _TINY) / p)
        newton = at - log_excess * held / np.maximum(density, _TINY)
        halves = (step > _STEPS_BEFORE_HALVING) & (graph.node("Mod", step, np.array(2)) == 1)
        inside = (newton > low) & (newton < high) & ~halves
        after = np.where(done, at, np.where(inside, newton, middle))
        goes_on = (~done).astype(np.int32).largest().astype(bool)
        return goes_on, [after, low, high]

    start = low + 0.5 * (high - low)
    return graph.loop(np.array(_MOST_STEPS), [start, low, high], improve)[0]


def onnx_bytes(model: MixtureDensityNetwork, p: Sequence[float]) -> bytes:
    """Return a model as an ONNX file; the same model gives the same bytes.

    Each feature is an input, (N,), with the name of its column: a number or an angle as double, a
    date as seconds since 1970, a category as text. NaN and an empty text are missing cells. The
    outputs are answers of `mdn predict`: pi (N, K), mu and sigma (N, K, T), with correlated targets
    factor (N, K, T, T), then mean (N, T) and quantiles (N, T, Q). They are NaN in a row with a cell
    that `predict` refuses.

    Args:
        model: to export.
        p: the probabilities of the quantiles, (Q,).

    Raises:
        ParameterError: the package of ONNX is not installed.
        DataError: the model has a part that the graph cannot compute, or is too large.
    """
    schema = model.schema
    if model.memory.neighbours is not None:
        raise DataError(
            "The model reads the nearest training rows, and ONNX does not say which of equally "
            f"distant rows is nearest. Fit it with {parameter('private', 'True')}, which leaves "
            f"them out, or write {parameter('format', repr('safetensors'))}."
        )
    names = schema.feature_names
    free = {name: _free(name, names) for name in _OUTPUTS}
    graph = OnnxGraph(_onnx(), [*names, *free.values()])
    kinds = [str if isinstance(each, CategoryFeature) else np.float64 for each in schema.features]
    cells = [Tensor(graph, name, kind) for name, kind in zip(names, kinds, strict=True)]
    inputs, refused = _inputs(schema.features, cells)
    answers = _answers(model, _mixture(model, inputs), np.array(p))
    outputs = []
    for name, (answer, *shape) in answers.items():
        there = (
            refused if len(shape) == 1 else refused[(slice(None),) * 2 + (None,) * (len(shape) - 1)]
        )
        graph.node("Where", there, np.array(np.nan), answer, dtype=np.float64)
        graph.nodes[-1].output[0] = free[name]
        outputs += graph.described([Tensor(graph, free[name], np.float64)], ["rows", *shape])
    return graph.file(cells, outputs, _properties(model, p, free))


def _onnx() -> Any:
    try:
        return import_module("onnx")
    except ImportError as error:
        raise ParameterError(
            f"{parameter('format', repr('onnx'))} needs the package onnx: pip install "
            "'mdncli[onnx]'."
        ) from error


def _free(name: str, taken: Sequence[str]) -> str:
    """Return the name of an output; a feature of that name moves it to the next free one."""
    while name in taken:
        name += "_"
    return name


def _answers(model: MixtureDensityNetwork, mixture: _Mixture, p: Array) -> dict[str, Any]:
    """Return each output with its shape after the rows."""
    transforms, components = model.schema.transforms, model.components
    targets, pi = len(transforms), np.exp(mixture.log_pi)
    marginals = [
        _Marginal(
            mixture.log_pi,
            pi,
            mixture.mu.take(np.array(position), 2),
            mixture.sigma.take(np.array(position), 2),
            transform,
        )
        for position, transform in enumerate(transforms)
    ]
    quantiles = [each.quantiles(p)[:, None] for each in marginals] if len(p) else []
    answers = {
        "pi": (pi, components),
        "mu": (mixture.mu, components, targets),
        "sigma": (mixture.sigma, components, targets),
        "factor": (mixture.factor, components, targets, targets),
        "mean": (np.concatenate([each.mean() for each in marginals], axis=1), targets),
        "quantiles": (np.concatenate(quantiles, axis=1) if quantiles else None, targets, len(p)),
    }
    return {name: answer for name, answer in answers.items() if answer[0] is not None}


def _properties(
    model: MixtureDensityNetwork, p: Sequence[float], names: dict[str, str]
) -> dict[str, str]:
    """Return what the file says about itself: texts, of which all but the first two are JSON."""
    schema = model.schema
    said = {
        "features": {each.name: each.kind for each in schema.features},
        "targets": {each.name: each.kind for each in schema.targets},
        "scales": {each.name: each.transform.name_of_u(each.name) for each in schema.targets},
        "quantiles": list(p),
        "first_component": model.first_component,
        "outputs": names,
        "schema": schema.to_plain(),
    }
    texts = {name: json.dumps(value) for name, value in said.items()}
    return {"mdncli": __version__, "format": _FORMAT, **texts}


def export_format(name: str | None, chosen: str | None = None) -> str:
    """Return the format to write: the chosen one, or that of a file's suffix, or safetensors.

    Args:
        name: of the file; None if it has none.
        chosen: `safetensors`, `onnx`, or None.

    Raises:
        ParameterError: there is no such format, or the suffix stands for none.
    """
    formats = get_args(ExportFormat)
    if chosen is not None and chosen not in formats:
        raise ParameterError(
            f"{parameter('format')} is {quoted(chosen)}: it must be {' or '.join(formats)}."
        )
    suffix = formats[0] if name is None else os.path.splitext(name)[1][1:].lower()
    if chosen is None and suffix not in formats:
        raise ParameterError(
            f"{quoted(str(name))} ends neither in .safetensors nor in .onnx. Choose such a name, "
            f"or say what to write: {parameter('format', repr('onnx'))}."
        )
    return chosen or suffix


def write_export(
    model: MixtureDensityNetwork,
    file: ExportTarget,
    file_format: str | None = None,
    quantiles: Any = None,
) -> None:
    """Write a model to a file, which is replaced only by a complete one, or to a stream.

    Args:
        model: to write.
        file: a path or a stream.
        file_format: `safetensors` or `onnx`; by default the suffix of the path decides.
        quantiles: the probabilities of the quantiles of an ONNX graph; by default `QUANTILES`.

    Raises:
        ParameterError: there is no such format, ONNX is not installed, or a probability is wrong.
        DataError: the model has a part that a graph cannot compute.
        InputOutputError: the file cannot be written.
    """
    path = os.fspath(file) if isinstance(file, str | os.PathLike) else None
    buffer = io.BytesIO()
    if export_format(path, file_format) == "onnx":
        asked = QUANTILES if quantiles is None else probabilities("quantiles", quantiles)
        buffer.write(onnx_bytes(model, asked))
    elif quantiles is not None:
        raise ParameterError(
            f"{parameter('quantiles')} is for {parameter('format', repr('onnx'))}. Safetensors "
            "hold the weights of the networks, and no answers."
        )
    else:
        write_safetensors(model, buffer)
    if isinstance(file, str | os.PathLike):
        with replacing(os.fspath(file)) as stream:
            stream.write(buffer.getbuffer())
    else:
        file.write(buffer.getbuffer())
